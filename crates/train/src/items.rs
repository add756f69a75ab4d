//! What is trained on, and in which order: documents of the corpus, or tasks of a file.

use std::path::Path;

use anyhow::Context;
use memtrain_corpora::rng;
use memtrain_eval::search_qa;
use memtrain_rl::agents::reader::Reader;
use memtrain_rl::objectives::{ChunkedTask, Item, QuestionMode};
use memtrain_tasks::Task;
use rand::seq::SliceRandom;

use super::documents::{self, DocumentSet};

/// Tasks of a table, in memory.
pub struct TaskSet {
    tasks: Vec<Task>,
    /// Items in order: a task, and one of its questions where each is an item of its own.
    places: Vec<(usize, Option<usize>)>,
}

impl TaskSet {
    /// Reads the tasks of a table, or of a question set that `memtrain tasks import` knows. `seed` draws which questions are
    /// joined.
    ///
    /// # Errors
    /// If nobody knows what the file is, or it holds no task.
    pub fn open(path: &Path, question_mode: QuestionMode, seed: u64) -> anyhow::Result<Self> {
        let (mut tasks, report) = memtrain_tasks::load(path, None)?;
        for example in report.iter().flat_map(|report| &report.examples) {
            tracing::warn!("{}, {example}", path.display());
        }
        if let QuestionMode::Joined(objectives) = question_mode
            && tasks.iter().all(|task| task.questions.len() == 1)
        {
            tasks = search_qa::join(tasks, objectives, seed).0;
        }
        anyhow::ensure!(!tasks.is_empty(), "`{}` holds no task", path.display());
        let of_task = |(place, task): (usize, &Task)| -> Vec<(usize, Option<usize>)> {
            match question_mode != QuestionMode::One || task.questions.len() == 1 {
                true => vec![(place, None)],
                false => (0..task.questions.len()).map(|question| (place, Some(question))).collect(),
            }
        };
        let places = tasks.iter().enumerate().flat_map(of_task).collect();
        Ok(Self { tasks, places })
    }

    /// Item `number`, its context cut into the reader's chunks.
    fn get(&self, number: usize, reader: &Reader<'_>) -> anyhow::Result<ChunkedTask> {
        let (place, question) = *self
            .places
            .get(number)
            .with_context(|| format!("there is no task {number}: there are {}", self.places.len()))?;
        let mut chunked = ChunkedTask::new(number as u64, &self.tasks[place], reader)?;
        if let Some(question) = question {
            chunked.questions = vec![chunked.questions.swap_remove(question)];
            chunked.id = format!("{}/{question}", chunked.id);
        }
        Ok(chunked)
    }
}

/// What can be trained on, by number.
pub enum ItemSet {
    /// Documents of a split.
    Documents(DocumentSet),
    /// Tasks of a file.
    Tasks(TaskSet),
}

impl ItemSet {
    /// Number of items.
    pub fn len(&self) -> usize {
        match self {
            Self::Documents(documents) => documents.len(),
            Self::Tasks(tasks) => tasks.places.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `count` items, tasks as long as they are; documents that the reader cannot read are passed over.
    ///
    /// # Errors
    /// If an item cannot be read.
    pub fn first(&self, count: usize, reader: &Reader<'_>) -> anyhow::Result<Vec<Item>> {
        match self {
            Self::Documents(set) => Ok(documents::first(set, count, reader)?.into_iter().map(Item::Document).collect()),
            Self::Tasks(set) => {
                (0..count.min(self.len())).map(|number| Ok(Item::Task(set.get(number, reader)?))).collect()
            }
        }
    }
}

/// Items in an order that is shuffled anew each epoch. Position `p` of the endless sequence is a function of the seed alone,
/// so a resumed run draws what the undisturbed one would have drawn.
pub struct ItemOrder {
    items: ItemSet,
    seed: u64,
    epoch: u64,
    order: Vec<usize>,
}

impl ItemOrder {
    /// The items of a set, shuffled with `seed`.
    pub fn new(items: ItemSet, seed: u64) -> Self {
        let order = shuffled(items.len(), seed, 0);
        Self { items, seed, epoch: 0, order }
    }

    /// Number of different items.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is nothing to train on.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The next `count` items from position `start` on, cut into the reader's chunks. Documents with more chunks than the
    /// reader allows are passed over; tasks keep their head and tail; both are counted.
    ///
    /// # Errors
    /// If an item cannot be read, or there is none that the reader can read.
    pub fn take(&mut self, start: u64, count: usize, reader: &Reader<'_>) -> anyhow::Result<Taken> {
        anyhow::ensure!(!self.is_empty(), "there is nothing to train on: the split has no document");
        let mut taken = Taken { items: Vec::with_capacity(count), next: start, too_long: 0, shortened: 0 };
        while taken.items.len() < count {
            anyhow::ensure!(
                taken.too_long < self.order.len() || !taken.items.is_empty(),
                "no training document has at most `reader.max_chunks` = {} chunks of {} tokens",
                reader.config.max_chunks,
                reader.config.chunk_tokens,
            );
            let (epoch, place) = (taken.next / self.order.len() as u64, taken.next % self.order.len() as u64);
            if epoch != self.epoch {
                self.order = shuffled(self.order.len(), self.seed, epoch);
                self.epoch = epoch;
            }
            taken.next += 1;
            let number = self.order[place as usize];
            match &self.items {
                ItemSet::Documents(set) => match documents::chunked(number as u64, set.get(number)?, reader)? {
                    Some(document) => taken.items.push(Item::Document(document)),
                    None => taken.too_long += 1,
                },
                ItemSet::Tasks(set) => {
                    let mut task = set.get(number, reader)?;
                    taken.shortened += usize::from(task.keep_head_and_tail(reader.config.max_chunks));
                    taken.items.push(Item::Task(task));
                }
            }
        }
        Ok(taken)
    }
}

/// Items drawn from an [`ItemOrder`].
pub struct Taken {
    /// The items.
    pub items: Vec<Item>,
    /// Position after the last of them.
    pub next: u64,
    /// Documents passed over because they have too many chunks.
    pub too_long: usize,
    /// Tasks that lost their middle because they have too many chunks.
    pub shortened: usize,
}

fn shuffled(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut rng::keyed("train/document-order", seed, &[epoch]));
    order
}
