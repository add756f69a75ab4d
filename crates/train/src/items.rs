//! Training items and their order: documents of the corpus, or tasks of a file.

use std::path::Path;

use anyhow::Context;
use memtrain_corpora::rng;
use memtrain_eval::search_qa;
use memtrain_rl::agents::reader::{Reader, Truncation};
use memtrain_rl::objectives::{ChunkedTask, Item, QuestionMode};
use memtrain_run::signal::StopRequest;
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
    /// reader allows are passed over or keep their head and tail, as [`Truncation`] says; tasks keep theirs; both are counted.
    ///
    /// An item's number in RNG keys is its place in the set, plus the size of the set for each epoch before: an item that comes
    /// twice, in one step even, is not read with the same draws again.
    ///
    /// # Errors
    /// If an item cannot be read, if there is none that the reader can read, or if a signal asks to stop meanwhile.
    pub fn take(&mut self, start: u64, count: usize, reader: &Reader<'_>, stop: &StopRequest) -> anyhow::Result<Taken> {
        anyhow::ensure!(!self.is_empty(), "there is nothing to train on: the split has no document");
        let mut taken = Taken { items: Vec::with_capacity(count), next: start, too_long: 0, shortened: 0 };
        while taken.items.len() < count {
            stop.check()?;
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
            let place = self.order[place as usize];
            let number = epoch * self.order.len() as u64 + place as u64;
            match &self.items {
                ItemSet::Documents(set) => {
                    let document = documents::chunked(number, set.get(place)?, reader)?;
                    let is_long = document.chunks.len() > reader.config.max_chunks;
                    let document = match (is_long, reader.config.truncation) {
                        (false, _) => Some(document),
                        (true, Truncation::None) => None,
                        (true, Truncation::Center) => documents::without_centre(document, reader)?,
                    };
                    let Some(document) = document else {
                        taken.too_long += 1;
                        continue;
                    };
                    taken.shortened += usize::from(is_long);
                    taken.items.push(Item::Document(document));
                }
                ItemSet::Tasks(set) => {
                    let mut task = ChunkedTask { number, ..set.get(place, reader)? };
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
    /// Items that lost their middle because they have too many chunks.
    pub shortened: usize,
}

fn shuffled(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut rng::keyed("train/document-order", seed, &[epoch]));
    order
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::store;
    use memtrain_model::policy::PolicyTokenizer;
    use memtrain_rl::agents::prompts::{PromptLayout, PromptSet};
    use memtrain_rl::agents::reader::{ReaderConfig, SamplingConfig, StepKey};

    use super::*;

    #[test]
    fn an_item_has_another_number_in_each_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.jsonl");
        let line = |id: &str| {
            format!(
                "{{\"_id\": \"{id}\", \"question\": \"{id}?\", \"answer\": \"{id}\", \"supporting_facts\": [[\"T\", 0]], \"context\": [[\"T\", [\"Text.\"]]]}}\n"
            )
        };
        store::write_atomic(&path, ["a", "b", "c"].map(line).concat()).unwrap();
        let tokenizer = PolicyTokenizer::of_bytes().unwrap();
        let prompts = PromptSet::load("compact", PromptLayout::MemoryFirst).unwrap();
        let (config, sampling) = (ReaderConfig::default(), SamplingConfig::default());
        let step_key = StepKey { seed: 1, step: 1 };
        let reader =
            Reader { tokenizer: &tokenizer, prompts: &prompts, config: &config, sampling: &sampling, step_key };
        let mut order = ItemOrder::new(ItemSet::Tasks(TaskSet::open(&path, QuestionMode::One, 1).unwrap()), 1);
        let stop = StopRequest::default();
        let taken = order.take(0, 8, &reader, &stop).unwrap();
        let mut seen: Vec<(u64, &str)> = taken.items.iter().map(|item| (item.number(), item.id())).collect();
        // Of epoch e item n has the number 3 e + n: the first epoch's are the items' own.
        assert!(seen.iter().all(|(number, id)| id.ends_with(["a", "b", "c"][*number as usize % 3])), "{seen:?}");
        seen.sort_unstable();
        assert_eq!(seen[..6].iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert!(seen[6..].iter().all(|(number, _)| (6..9).contains(number)) && seen[6] != seen[7]);
        stop.request();
        let error = order.take(8, 8, &reader, &stop).err().expect("asked to stop");
        assert!(memtrain_run::RunError::is_stop(&error), "{error}");
    }
}
