//! Display of a reading: memories as they change, answers, and on stderr how far it is.

use std::io::Write;
use std::time::Instant;

use memtrain_corpora::visible::visible;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::print::output;
use crate::eval::metrics::prediction;
use crate::rollout::{RolloutKind, Turn};
use crate::run::progress::{self, Bar};
use crate::sampler::FinishReason;

/// Columns of a memory.
const COLUMNS: usize = 80;

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Answers, and memories before them if asked for.
    Text { show_memory: bool },
    /// JSON lines.
    Json,
}

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    /// The memory after a chunk. Of what is read once for all questions no `question` is told.
    Memory {
        #[serde(skip_serializing_if = "Option::is_none")]
        question: Option<usize>,
        chunk: usize,
        chunks: usize,
        prompt_tokens: usize,
        memory_tokens: usize,
        finish: FinishReason,
        memory: &'a str,
    },
    /// An answer: of the response what is boxed in it, else all of it.
    Answer {
        question: usize,
        ask: &'a str,
        prompt_tokens: usize,
        answer_tokens: usize,
        finish: FinishReason,
        answer: &'a str,
        response: &'a str,
    },
}

/// An answer that waits for its turn to be printed: answers come in the order in which they end.
#[derive(Clone, Debug)]
struct Answer {
    prompt_tokens: usize,
    answer_tokens: usize,
    finish: FinishReason,
    response: String,
}

/// A reading that prints its memories.
#[derive(Clone, Debug, Default)]
struct ReadSoFar {
    chunks: usize,
    memory: String,
}

/// Follows the turns of one or more readings of the same text.
pub struct Display<'a> {
    form: Form,
    questions: &'a [String],
    chunks: usize,
    readings: Vec<ReadSoFar>,
    answers: Vec<Option<Answer>>,
    prompt_tokens: usize,
    response_tokens: usize,
    started: Instant,
    bar: Bar,
}

impl<'a> Display<'a> {
    /// Begins: so many readings of a text of so many chunks.
    pub fn new(form: Form, questions: &'a [String], readings: usize, chunks: usize) -> Self {
        Self {
            form,
            questions,
            chunks,
            readings: vec![ReadSoFar::default(); readings],
            answers: vec![None; questions.len()],
            prompt_tokens: 0,
            response_tokens: 0,
            started: Instant::now(),
            bar: Bar::new("chunks", (chunks * readings) as u64, 0),
        }
    }

    /// The memory of a reading as it is now.
    pub fn memory(&self, reading: usize) -> &str {
        self.readings.get(reading).map_or("", |reading| &reading.memory)
    }

    /// How many chunks have been read.
    pub fn progress(&self) -> String {
        format!("{} of {} chunks", self.num_read(), self.chunks * self.readings.len())
    }

    fn num_read(&self) -> usize {
        self.readings.iter().map(|reading| reading.chunks).sum()
    }

    /// Shows a turn of a reading, or the answer to a question, and drops its tokens, of which a long text has many.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn turn(&mut self, number: usize, turn: &mut Turn) -> anyhow::Result<()> {
        let prompt_tokens = std::mem::take(&mut turn.prompt_ids).len();
        let response_tokens = std::mem::take(&mut turn.completion.token_ids).len();
        turn.completion.log_probs = Vec::new();
        self.prompt_tokens += prompt_tokens;
        self.response_tokens += response_tokens;
        let (finish, text) = (turn.completion.finish, std::mem::take(&mut turn.text));
        match turn.kind {
            RolloutKind::Answer => {
                let answer = Answer { prompt_tokens, answer_tokens: response_tokens, finish, response: text };
                if let Some(place) = self.answers.get_mut(number) {
                    *place = Some(answer);
                }
            }
            _ => {
                let shown = self.memory_event(number, (prompt_tokens, response_tokens), finish, &text)?;
                self.print(&shown)?;
                let reading = &mut self.readings[number];
                reading.chunks += 1;
                reading.memory = text;
                let rate = format!("{:.0} tokens/s", self.tokens_per_second());
                self.bar.advance_to(self.num_read() as u64, &rate);
            }
        }
        Ok(())
    }

    /// What is printed of a memory.
    fn memory_event(
        &self,
        number: usize,
        (prompt_tokens, memory_tokens): (usize, usize),
        finish: FinishReason,
        memory: &str,
    ) -> anyhow::Result<String> {
        let (before, chunks) = (&self.readings[number], self.chunks);
        let chunk = before.chunks + 1;
        let of_question = self.readings.len() == self.questions.len();
        match self.form {
            Form::Json => {
                let question = of_question.then_some(number + 1);
                let event = Event::Memory { question, chunk, chunks, prompt_tokens, memory_tokens, finish, memory };
                Ok(serde_json::to_string(&event)? + "\n")
            }
            Form::Text { show_memory: false } => Ok(String::new()),
            Form::Text { show_memory: true } => {
                let question = match self.questions.len() {
                    of if of > 1 && of_question => format!(", question {} of {of}", number + 1),
                    _ => String::new(),
                };
                let cut = if finish == FinishReason::Length { ", cut off" } else { "" };
                let same = memory == before.memory;
                let (told, memory) = if same { (", unchanged", String::new()) } else { ("", wrapped(memory) + "\n") };
                Ok(format!("[chunk {chunk} of {chunks}{question}: {memory_tokens} tokens{cut}{told}]\n{memory}\n"))
            }
        }
    }

    /// Prints the answers, and on stderr what the reading took.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn finish(self) -> anyhow::Result<()> {
        self.bar.finish();
        tracing::info!(
            "{} tokens shown and {} written, {:.0} tokens/s",
            self.prompt_tokens,
            self.response_tokens,
            self.tokens_per_second()
        );
        let titled = self.questions.len() > 1 || self.form == Form::Text { show_memory: true };
        for (number, (ask, answer)) in self.questions.iter().zip(&self.answers).enumerate() {
            let Some(Answer { prompt_tokens, answer_tokens, finish, response }) = answer else { continue };
            let (prompt_tokens, answer_tokens, finish) = (*prompt_tokens, *answer_tokens, *finish);
            let (question, answer) = (number + 1, prediction(response));
            let shown = match self.form {
                Form::Json => {
                    let event = Event::Answer { question, ask, prompt_tokens, answer_tokens, finish, answer, response };
                    serde_json::to_string(&event)? + "\n"
                }
                Form::Text { .. } if titled => {
                    let gap = if number > 0 { "\n" } else { "" };
                    format!("{gap}[{}]\n{answer}\n", ask.trim())
                }
                Form::Text { .. } => format!("{answer}\n"),
            };
            self.print(&shown)?;
        }
        Ok(())
    }

    fn print(&self, text: &str) -> anyhow::Result<()> {
        let print = || -> std::io::Result<()> {
            let mut out = output();
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        if !text.is_empty() {
            progress::suspended(print)?;
        }
        Ok(())
    }

    /// Tokens that were read and written in a second.
    fn tokens_per_second(&self) -> f64 {
        (self.prompt_tokens + self.response_tokens) as f64 / self.started.elapsed().as_secs_f64().max(1e-3)
    }
}

/// A text in lines of at most [`COLUMNS`] columns, what would steer a terminal made visible before it is measured. Its own line breaks
/// stay; a word that is longer than a line is divided.
fn wrapped(text: &str) -> String {
    let text = visible(text);
    let mut lines = Vec::new();
    for own in text.lines() {
        let mut line = String::new();
        let mut width = 0;
        for word in own.split_whitespace() {
            let word_width = word.width();
            if width > 0 && width + 1 + word_width > COLUMNS {
                lines.push(std::mem::take(&mut line));
                width = 0;
            }
            if width > 0 {
                line.push(' ');
                width += 1;
            }
            for letter in word.chars() {
                let letter_width = letter.width().unwrap_or(0);
                if width + letter_width > COLUMNS {
                    lines.push(std::mem::take(&mut line));
                    width = 0;
                }
                line.push(letter);
                width += letter_width;
            }
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_are_no_wider_than_columns_and_keep_all_letters(text in "([a-zé漢字 ]{0,120}\n?){0,4}\u{1b}?") {
            let shown = wrapped(&text);
            prop_assert!(shown.lines().all(|line| line.width() <= COLUMNS));
            let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&shown), letters(&visible(&text)));
        }
    }

    #[test]
    fn words_are_not_divided_where_they_fit() {
        let text = "word ".repeat(17);
        assert_eq!(wrapped(&text), format!("{}\nword", ["word"; 16].join(" ")));
        assert_eq!(wrapped("one\n\n two  three"), "one\n\ntwo three");
        assert_eq!(wrapped(""), "");
    }
}
