//! RULER's synthetic tasks (arXiv 2404.06654), made from a seed.
//!
//! | tasks | family | asks for |
//! |---|---|---|
//! | `niah_single_1` … `3`, `niah_multikey_1` … `3`, `niah_multivalue`, `niah_multiquery` | `needles` | what was said about a key, somewhere in a long text |
//! | `vt` | `variables` | all variables that a value was handed on to |
//! | `cwe` | `common_words` | the ten most common words of a list |
//! | `fwe` | `frequent_words` | the three most frequent words of a coded text |
//!
//! Structure and parameters are those of the released code at its defaults; every sentence is this project's own, so scores
//! of both are not the same measurement. RULER's two question-answering tasks are [`super::compose`].
//!
//! A length counts all that RULER's counts: context, question and the longest answer, in the tokens of the policy. The
//! haystack is as large as the length allows: its size is searched for, item by item, and never exceeds the length. What is
//! asked is addressed by seed, task and number of the item, so that an item asks the same at all lengths.

mod common_words;
mod essay;
mod frequent_words;
mod needles;
#[cfg(test)]
mod tests;
mod variables;
mod words;

use std::ops::RangeInclusive;

use memtrain_corpora::rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, json};

pub use self::essay::Essay;
use super::{CATEGORY, ContextKind, ContextPassage, METRIC, Question, Task, TaskError};

/// What the tasks call their set.
const SOURCE: &str = "ruler";

/// How tasks are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulerConfig {
    /// Tokens of context, question and longest answer together.
    pub lengths: Vec<u32>,
    /// Items of each task, the same at all lengths.
    pub items: u32,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for RulerConfig {
    /// RULER's lengths. It has 500 items of each task.
    fn default() -> Self {
        Self { lengths: (2..8).map(|power| 1024 << power).collect(), items: 100, seed: 0 }
    }
}

/// A task of RULER.
#[derive(Clone, Copy)]
pub struct RulerTask {
    /// RULER's name of it.
    pub name: &'static str,
    family: &'static dyn Family,
}

impl std::fmt::Debug for RulerTask {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// All tasks in RULER's order.
pub const TASKS: [RulerTask; 11] = [
    RulerTask { name: "niah_single_1", family: &needles::SINGLE_1 },
    RulerTask { name: "niah_single_2", family: &needles::SINGLE_2 },
    RulerTask { name: "niah_single_3", family: &needles::SINGLE_3 },
    RulerTask { name: "niah_multikey_1", family: &needles::MULTIKEY_1 },
    RulerTask { name: "niah_multikey_2", family: &needles::MULTIKEY_2 },
    RulerTask { name: "niah_multikey_3", family: &needles::MULTIKEY_3 },
    RulerTask { name: "niah_multivalue", family: &needles::MULTIVALUE },
    RulerTask { name: "niah_multiquery", family: &needles::MULTIQUERY },
    RulerTask { name: "vt", family: &variables::VT },
    RulerTask { name: "cwe", family: &common_words::CWE },
    RulerTask { name: "fwe", family: &frequent_words::FWE },
];

/// A family of tasks: what is hidden in how much of what.
trait Family: Sync {
    /// Tokens that the length leaves for an answer: RULER's `tokens_to_generate`.
    fn answer_tokens(&self) -> usize;

    /// Whether the haystack is running text that somebody gives.
    fn needs_essay(&self) -> bool {
        false
    }

    /// Fewest units of haystack in which all can be hidden.
    fn fewest_units(&self) -> usize;

    /// Most units that there are.
    fn most_units(&self) -> usize {
        usize::MAX
    }

    /// The item in a haystack of so many units. More units are more text.
    fn build(&self, draw: &Draw<'_>, units: usize) -> Built;
}

/// An item that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Built {
    context: String,
    question: String,
    /// All of them are asked for.
    answers: Vec<String>,
    /// What must stand in the context exactly so many times.
    occurrences: Vec<(String, usize)>,
}

impl Built {
    /// Running text may say by chance what was hidden in it.
    fn is_unambiguous(&self) -> bool {
        self.occurrences.iter().all(|(text, times)| self.context.matches(text.as_str()).count() == *times)
    }
}

/// What the draws of an item are addressed by, and the running text.
struct Draw<'e> {
    task: &'static str,
    seed: u64,
    item: u64,
    attempt: u64,
    length: u32,
    essay: &'e Essay,
}

impl Draw<'_> {
    /// Draws of what is asked.
    fn of_item(&self, purpose: &str) -> ChaCha8Rng {
        self.generator(purpose, &[self.item, self.attempt])
    }

    /// Draws of the haystack and of places in it.
    fn of_length(&self, purpose: &str) -> ChaCha8Rng {
        self.generator(purpose, &[self.item, self.attempt, u64::from(self.length)])
    }

    fn generator(&self, purpose: &str, key: &[u64]) -> ChaCha8Rng {
        rng::keyed(&format!("tasks/ruler/{}/{purpose}", self.task), self.seed, key)
    }
}

/// Bytes of text for a token of room, and beside them: no tokenizer of the text's language comes near it. One that counts next to
/// nothing, as those do that drop what they do not know, would never fill the room.
const MOST_BYTES: (usize, usize) = (64, 1 << 20);

/// Most times that an item is drawn anew because the running text says what was to be hidden in it.
const MAX_ATTEMPTS: u64 = 16;

impl RulerTask {
    /// The task of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        TASKS.into_iter().find(|task| task.name == name)
    }

    /// Whether the haystack is running text, which the program does not carry.
    pub fn needs_essay(&self) -> bool {
        self.family.needs_essay()
    }

    /// Item `number` at a length; `count` counts tokens.
    ///
    /// # Errors
    /// If the length has no room for what is hidden, the task needs an essay and there is none, `count` fails, or counts hardly
    /// anything.
    pub fn item<E: From<TaskError>>(
        &self,
        number: u32,
        length: u32,
        seed: u64,
        essay: &Essay,
        count: impl Fn(&str) -> Result<usize, E>,
    ) -> Result<Task, E> {
        let failed = |detail: String| E::from(TaskError::Compose { detail });
        if self.needs_essay() && essay.num_words() == 0 {
            return Err(failed(format!("`{}` hides needles in running text, and none was given", self.name)));
        }
        let room = (length as usize).saturating_sub(self.family.answer_tokens());
        for attempt in 0..MAX_ATTEMPTS {
            let draw = Draw { task: self.name, seed, item: number.into(), attempt, length, essay };
            let units = self.family.fewest_units()..=self.family.most_units();
            let sized = largest(units, room, |units| -> Result<_, E> {
                let built = self.family.build(&draw, units);
                let (a_token, beside) = MOST_BYTES;
                if built.context.len() > room.saturating_mul(a_token).saturating_add(beside) {
                    let (name, bytes) = (self.name, built.context.len());
                    let detail = format!(
                        "`{name}`: {bytes} bytes have fewer than {room} tokens: the tokenizer is not made for the text"
                    );
                    return Err(failed(detail));
                }
                let tokens = count(&built.context)?;
                Ok((tokens + count(&built.question)?, (built, tokens)))
            })?;
            let Some((built, tokens)) = sized else {
                let (name, answer) = (self.name, self.family.answer_tokens());
                return Err(failed(format!("{length} tokens have no room for `{name}` and {answer} tokens of answer")));
            };
            if built.is_unambiguous() {
                return Ok(self.task(number, length, built, tokens));
            }
        }
        Err(failed(format!("`{}`: the running text says what was to be hidden in it", self.name)))
    }

    fn task(&self, number: u32, length: u32, built: Built, tokens: usize) -> Task {
        Task {
            id: format!("{}-{number:04}", self.name),
            source: SOURCE.to_owned(),
            questions: vec![Question { text: built.question, answers: built.answers }],
            kind: ContextKind::Text,
            passages: vec![ContextPassage { title: String::new(), text: built.context }],
            gold: Vec::new(),
            length,
            extra: Map::from_iter([
                (METRIC.to_owned(), json!("string_match_all")),
                (CATEGORY.to_owned(), json!(self.name)),
                ("num_tokens".to_owned(), json!(tokens)),
                ("answer_tokens".to_owned(), json!(self.family.answer_tokens())),
            ]),
        }
    }
}

/// Share of a length that may stay empty: fewer texts of a million tokens are then counted.
const SLACK: usize = 1_000;

/// The item of the most of these units whose tokens do not exceed `room`; nothing where even the fewest do. Tokens
/// grow with the units, nearly as a line, so the bracket is closed by interpolation, and by halves where that is slow. A
/// bracket need not be closed once less than a thousandth of the room is left.
fn largest<B, E>(
    units: RangeInclusive<usize>,
    room: usize,
    mut build: impl FnMut(usize) -> Result<(usize, B), E>,
) -> Result<Option<B>, E> {
    let (fewest, most) = units.into_inner();
    let (tokens, built) = build(fewest)?;
    if tokens > room {
        return Ok(None);
    }
    let (mut best, mut fits, mut before, mut exceeds) = (built, (fewest, tokens), None, None::<(usize, usize)>);
    for step in 0_u32.. {
        let is_closed = fits.0 == most || exceeds.is_some_and(|(units, _)| units - fits.0 <= 1);
        if is_closed || room - fits.1 <= room / SLACK {
            break;
        }
        let between = |(left, from): (usize, usize), (right, to): (usize, usize)| {
            // A little less than what would fill the room.
            let wanted = (room - room / (2 * SLACK)).saturating_sub(from);
            left.saturating_add(wanted.saturating_mul(right - left) / to.saturating_sub(from).max(1))
        };
        let units = match (exceeds, before) {
            (Some((units, _)), _) if step % 4 == 3 => fits.0.midpoint(units),
            (Some(exceeds), _) => between(fits, exceeds).clamp(fits.0 + 1, exceeds.0 - 1),
            // Never more than eight times as much text at once.
            (None, Some(before)) => between(before, fits).clamp(fits.0 + 1, fits.0.saturating_mul(8)),
            (None, None) => fits.0.saturating_mul(4),
        };
        let units = units.min(most);
        let (tokens, built) = build(units)?;
        if tokens > room {
            exceeds = Some((units, tokens));
        } else {
            before = Some(fits);
            (best, fits) = (built, (units, tokens));
        }
    }
    Ok(Some(best))
}
