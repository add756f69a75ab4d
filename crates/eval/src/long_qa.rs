//! Questions about long contexts: read in chunks with a memory, and beside it the whole context at once.
//!
//! An item is a question at a length by a method. Every item counts: one that fails (a prompt that does not fit, a sampler
//! that gives up) is wrong and counted as failed, never left out.

use anyhow::Context;
use memtrain_rl::agents::chunks::split_long;
use memtrain_rl::agents::full_context::{self, ContextPrompt, ContextQuestion};
use memtrain_rl::agents::reader::{Reader, ReadingTask};
use memtrain_rl::rollout::{RolloutEngine, Turn};
use memtrain_run::RunError;
use memtrain_tasks::{ContextKind, Task};
use serde::{Deserialize, Serialize};

use super::metrics::{TaskMetric, prediction, score};
use super::record::{EvalTurn, ItemKey, ItemRecord};
use super::summary::Row;
use super::task_scores::{self, Grid};

/// How a question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Chunk by chunk with a memory.
    Reader,
    /// The whole context in one prompt, its middle left out where it does not fit.
    FullContext,
}

impl Method {
    /// The name in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::FullContext => "full-context",
        }
    }

    /// The method of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Reader, Self::FullContext].into_iter().find(|method| method.as_str() == name)
    }
}

/// What answers.
pub struct LongQa<'a> {
    /// The reader with its limits.
    pub reader: Reader<'a>,
    /// The template of the baseline.
    pub context_prompt: &'a ContextPrompt,
    /// Tokens of the baseline's prompt and response together.
    pub full_context_tokens: usize,
}

/// The items of a task, in the order in which they are done.
pub fn items(task: &Task, methods: &[Method]) -> Vec<ItemKey> {
    let item = |question: usize, method: &Method| ItemKey {
        task: task.id.clone(),
        length: task.length,
        question: question as u32,
        method: method.as_str().to_owned(),
    };
    (0..task.questions.len()).flat_map(|question| methods.iter().map(move |method| item(question, method))).collect()
}

/// An item with what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Which one.
    pub key: &'a ItemKey,
    /// The task.
    pub task: &'a Task,
    /// How.
    pub method: Method,
}

/// The turns of an answered item.
struct Answered {
    turns: Vec<Turn>,
    dropped_tokens: u64,
}

impl LongQa<'_> {
    /// Answers items; records and turns in the order of the items. What fails for all of them at once is tried again one
    /// by one, so that one item does not take others with it.
    ///
    /// # Errors
    /// If a prompt that was shown cannot be decoded, or somebody asks to stop.
    pub fn answer(
        &self,
        engine: &mut RolloutEngine<'_>,
        items: &[Item<'_>],
    ) -> anyhow::Result<(Vec<ItemRecord>, Vec<EvalTurn>)> {
        let mut answered: Vec<Option<anyhow::Result<Answered>>> = items.iter().map(|_| None).collect();
        for method in [Method::Reader, Method::FullContext] {
            let places: Vec<usize> = (0..items.len()).filter(|&at| items[at].method == method).collect();
            let together: Vec<Item<'_>> = places.iter().map(|&at| items[at]).collect();
            if together.is_empty() {
                continue;
            }
            match self.attempt(method, engine, &together) {
                Ok(all) => places.iter().zip(all).for_each(|(&at, one)| answered[at] = Some(Ok(one))),
                Err(error) if RunError::is_stop(&error) => return Err(error),
                Err(_) => {
                    for &at in &places {
                        let alone = self.attempt(method, engine, &items[at..=at]);
                        let alone = alone.and_then(|mut all| all.pop().context("no answer"));
                        answered[at] = Some(match alone {
                            Err(error) if RunError::is_stop(&error) => return Err(error),
                            alone => alone,
                        });
                    }
                }
            }
        }
        let (mut records, mut turns) = (Vec::with_capacity(items.len()), Vec::new());
        for (item, answered) in items.iter().zip(answered) {
            let answered = answered.unwrap_or_else(|| Err(anyhow::anyhow!("no method answers it")));
            if let Ok(answered) = &answered {
                for (number, turn) in answered.turns.iter().enumerate() {
                    let prompt = self.reader.tokenizer.decode(&turn.prompt_ids)?;
                    turns.push(EvalTurn::new(item.key, number, turn, prompt));
                }
            }
            records.push(graded(item, answered));
        }
        Ok((records, turns))
    }

    fn attempt(
        &self,
        method: Method,
        engine: &mut RolloutEngine<'_>,
        items: &[Item<'_>],
    ) -> anyhow::Result<Vec<Answered>> {
        let problem = |item: &Item<'_>| item.task.questions[item.key.question as usize].text.clone();
        match method {
            Method::Reader => {
                let task = |item: &Item<'_>| -> anyhow::Result<ReadingTask> {
                    let chunks = self.chunks(item.task)?;
                    Ok(ReadingTask { document: item.key.number(), problem: Some(problem(item)), chunks })
                };
                let tasks = items.iter().map(task).collect::<anyhow::Result<Vec<_>>>()?;
                let trajectories = self.reader.read(engine, &tasks, 1)?.into_iter().flatten();
                Ok(trajectories.map(|read| Answered { turns: read.turns, dropped_tokens: 0 }).collect())
            }
            Method::FullContext => {
                let question = |item: &Item<'_>| ContextQuestion {
                    number: item.key.number(),
                    problem: problem(item),
                    context: item.task.context(),
                };
                let questions: Vec<ContextQuestion> = items.iter().map(question).collect();
                let (prompt, limit) = (self.context_prompt, self.full_context_tokens);
                let answers = full_context::answer(&self.reader, prompt, engine, &questions, limit)?;
                Ok(answers
                    .into_iter()
                    .map(|answer| Answered { turns: vec![answer.turn], dropped_tokens: answer.dropped_tokens })
                    .collect())
            }
        }
    }

    /// The chunks of a task: its own where it comes in chunks, cut further only where one is too long.
    fn chunks(&self, task: &Task) -> anyhow::Result<Vec<String>> {
        let texts: Vec<String> = match task.kind {
            ContextKind::Chunks => task.passages.iter().map(|chunk| chunk.text.clone()).collect(),
            _ => vec![task.context()],
        };
        let (mut chunks, config) = (Vec::new(), self.reader.config);
        for text in texts {
            for spans in split_long(&text, self.reader.tokenizer, config.chunk_tokens, config.cut_at) {
                chunks.extend(spans?.into_iter().map(|span| text[span].to_owned()));
            }
        }
        Ok(chunks)
    }
}

fn graded(item: &Item<'_>, answered: anyhow::Result<Answered>) -> ItemRecord {
    let question = &item.task.questions[item.key.question as usize];
    let mut record = ItemRecord::new(item.key.clone(), &item.task.source, vec![question.answers.clone()]);
    match answered {
        Ok(Answered { turns, dropped_tokens }) => {
            let response = turns.last().map_or("", |turn| turn.text.as_str());
            record.answer = prediction(response).to_owned();
            record.scores = score(response, &question.answers);
            record.scores.task_score =
                task_metric(item.task, item.key.question).map(|metric| metric.score(response, &question.answers));
            record.dropped_tokens = dropped_tokens;
            record.count(turns.iter());
        }
        Err(error) => {
            record.failure = Some(format!("{error:#}"));
            record.scores.task_score = task_metric(item.task, item.key.question).map(|_| 0.0);
        }
    }
    if record.scores.task_score.is_some() {
        task_scores::describe(&mut record, item.task);
    }
    record
}

/// The metric that a task names for a question.
fn task_metric(task: &Task, question: u32) -> Option<TaskMetric> {
    task.metric(question as usize).and_then(TaskMetric::from_name)
}

/// Checks that the metrics which a task names are known.
///
/// # Errors
/// The name that nobody knows.
pub fn check_metrics(task: &Task) -> Result<(), String> {
    let mut named = (0..task.questions.len()).filter_map(|question| task.metric(question));
    match named.find(|name| TaskMetric::from_name(name).is_none()) {
        Some(name) => Err(name.to_owned()),
        None => Ok(()),
    }
}

/// The result: a row for each method and length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LongQaReport {
    /// Items in all.
    pub items: usize,
    /// Those that failed and count as wrong.
    pub failed: usize,
    /// The rows, by method and length; of tasks that name a metric their own score alone.
    pub rows: Vec<Row>,
    /// Of tasks that name a metric the means by method, task and length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Grid>,
}

impl LongQaReport {
    /// Counts records.
    pub fn of(records: &[ItemRecord]) -> Self {
        Self {
            items: records.len(),
            failed: records.iter().filter(|record| record.failure.is_some()).count(),
            rows: Row::all(records, task_scores::metrics(records), |record| record.key.length.to_string()),
            tasks: Grid::all(records),
        }
    }
}
