//! Long contexts: the passages that answer a question among as many others as are asked for.
//!
//! After RULER's question answering (arXiv 2404.06654) and MemAgent's lengths (arXiv 2507.02259). For item `i` and length
//! `n`:
//!
//! * the gold passages, then the question's own distractors, then passages of the pool in an order drawn for `i` alone,
//!   until there are `n`: a longer context holds all passages of a shorter one;
//! * all `n` in an order drawn for `(i, n)`: every place is equally likely for a gold passage.
//!
//! No distractor has the title or the text of a gold passage. The random numbers are keyed by the seed and the item's id, so
//! an item is the same whatever else is in the table.

mod pool;

use std::collections::HashSet;

use memtrain_corpora::rng;
use rand::Rng;
use rand::seq::SliceRandom;
use serde_json::Value;

pub use self::pool::Pool;
use super::{ContextKind, ContextPassage, Task, TaskError};

/// How contexts are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposeConfig {
    /// Passages of a context, one table a length.
    pub lengths: Vec<u32>,
    /// Questions taken, the same at all lengths; all where it is not given.
    pub questions: Option<usize>,
    /// Whether the passages that came with a question and do not answer it are used before those of the pool.
    pub own_distractors: bool,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for ComposeConfig {
    /// MemAgent's: 128 questions at 50 to 6,400 passages.
    fn default() -> Self {
        Self {
            lengths: vec![50, 100, 200, 400, 800, 1_600, 3_200, 6_400],
            questions: Some(128),
            own_distractors: true,
            seed: 0,
        }
    }
}

/// The questions of a composition, and how many could not be used.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The items, in the order they were drawn: fewer questions are the first of more.
    pub tasks: Vec<Task>,
    /// Questions without a passage of their own, which no context can be made for.
    pub without_passages: usize,
    /// Questions with more gold passages than the shortest length.
    pub too_many_gold: usize,
}

/// Chooses the questions. `tasks` may be in any order: the draw is by id.
pub fn choose(tasks: Vec<Task>, config: &ComposeConfig) -> Chosen {
    let shortest = config.lengths.iter().copied().min().unwrap_or(0);
    let (mut without_passages, mut too_many_gold) = (0, 0);
    let mut usable: Vec<(u64, Task)> = Vec::new();
    for task in tasks {
        if task.passages.is_empty() {
            without_passages += 1;
        } else if kept(&task).len() > shortest as usize {
            too_many_gold += 1;
        } else {
            let rank: u64 = rng::keyed("tasks/compose/question", config.seed, &[key(&task.id)]).random();
            usable.push((rank, task));
        }
    }
    usable.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.id.cmp(&right.id)));
    usable.truncate(config.questions.unwrap_or(usize::MAX));
    Chosen { tasks: usable.into_iter().map(|(_, task)| task).collect(), without_passages, too_many_gold }
}

/// The contexts of one item, one a length in the order of `config.lengths`.
///
/// # Errors
/// If the pool has too few passages for a length.
pub fn compose(task: &Task, pool: &Pool, config: &ComposeConfig) -> Result<Vec<Task>, TaskError> {
    let gold = kept(task);
    let golden: HashSet<u32> = gold.iter().copied().collect();
    let mut taken = Taken::default();
    gold.iter().for_each(|&place| taken.add(&task.passages[place as usize]));
    let mut passages: Vec<&ContextPassage> = gold.iter().map(|&place| &task.passages[place as usize]).collect();
    if config.own_distractors {
        let mut own: Vec<u32> = (0..task.passages.len() as u32).filter(|place| !golden.contains(place)).collect();
        own.shuffle(&mut rng::keyed("tasks/compose/own", config.seed, &[key(&task.id)]));
        for place in own {
            let passage = &task.passages[place as usize];
            if taken.is_free(passage) {
                taken.add(passage);
                passages.push(passage);
            }
        }
    }
    let longest = config.lengths.iter().copied().max().unwrap_or(0) as usize;
    if passages.len() < longest {
        let mut generator = rng::keyed("tasks/compose/pool", config.seed, &[key(&task.id)]);
        let mut order: Vec<u32> = (0..pool.passages().len() as u32).collect();
        for at in 0..order.len() {
            let other = generator.random_range(at..order.len());
            order.swap(at, other);
            let passage = &pool.passages()[order[at] as usize];
            if taken.is_free(passage) {
                passages.push(passage);
                if passages.len() == longest {
                    break;
                }
            }
        }
    }
    if passages.len() < longest {
        let detail = format!(
            "a context of {longest} passages for `{}` needs {} more than the pool of {} can give",
            task.id,
            longest - passages.len(),
            pool.passages().len()
        );
        return Err(TaskError::Compose { detail });
    }
    Ok(config.lengths.iter().map(|&length| shuffled(task, &gold, &passages[..length as usize], config.seed)).collect())
}

/// The item with these passages in an order of its own; the first of them are the gold ones.
fn shuffled(task: &Task, gold: &[u32], passages: &[&ContextPassage], seed: u64) -> Task {
    let mut order: Vec<usize> = (0..passages.len()).collect();
    order.shuffle(&mut rng::keyed("tasks/compose/order", seed, &[key(&task.id), passages.len() as u64]));
    let is_gold = |(_, at): &(u32, &usize)| **at < gold.len();
    let places: Vec<u32> = (0..).zip(&order).filter(is_gold).map(|(place, _)| place).collect();
    let known = !task.gold.is_empty() || task.passages.len() == 1;
    Task {
        kind: ContextKind::Passages,
        passages: order.iter().map(|&at| passages[at].clone()).collect(),
        gold: if known { places } else { Vec::new() },
        length: passages.len() as u32,
        extra: task.extra.iter().filter(|(_, value)| is_small(value)).map(|(k, v)| (k.clone(), v.clone())).collect(),
        ..Task { passages: Vec::new(), ..task.clone() }
    }
}

/// What is worth repeating in the table of each length.
fn is_small(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

/// Places of the passages that must be in every context, each once: the gold ones, or all where nobody knows which they are.
fn kept(task: &Task) -> Vec<u32> {
    if task.gold.is_empty() {
        return (0..task.passages.len() as u32).collect();
    }
    let mut seen = HashSet::new();
    task.gold.iter().copied().filter(|place| seen.insert(*place)).collect()
}

/// An id as a number, for addresses of draws.
fn key(id: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(id.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// Titles and texts that no further passage may have.
#[derive(Default)]
struct Taken {
    titles: HashSet<String>,
    texts: HashSet<String>,
}

impl Taken {
    fn add(&mut self, passage: &ContextPassage) {
        let title = comparable(&passage.title);
        if !title.is_empty() {
            self.titles.insert(title);
        }
        self.texts.insert(comparable(&passage.text));
    }

    fn is_free(&self, passage: &ContextPassage) -> bool {
        !self.titles.contains(&comparable(&passage.title)) && !self.texts.contains(&comparable(&passage.text))
    }
}

/// A text as it is compared: lower-cased, letters and digits only.
fn comparable(text: &str) -> String {
    text.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests;
