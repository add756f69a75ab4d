//! Answered questions of held-out documents as items of an evaluation's folder.

use memtrain_model::policy::PolicyTokenizer;
use memtrain_rl::agents::answer::Equality;
use memtrain_rl::rollout::Turn;
use memtrain_tasks::{CATEGORY, METRIC};
use serde_json::json;

use super::metrics::{Scores, prediction, score};
use super::record::{EvalTurn, ItemKey, ItemRecord};

/// What the items call their set.
const SOURCE: &str = "documents";

/// Items and turns in the order in which they were answered.
#[derive(Clone, Debug, Default)]
pub struct AnsweredItems {
    /// The items.
    pub records: Vec<ItemRecord>,
    /// Their turns.
    pub turns: Vec<EvalTurn>,
}

impl AnsweredItems {
    /// Adds an item with all its turns, the last of which answers. Its own metric is whether the objective takes it for right.
    ///
    /// # Errors
    /// If a prompt cannot be decoded.
    pub(crate) fn add(
        &mut self,
        key: ItemKey,
        (target, right): (&str, bool),
        equality: Equality,
        turns: &[Turn],
        tokenizer: &PolicyTokenizer,
    ) -> anyhow::Result<()> {
        let response = turns.last().map_or("", |turn| turn.text.as_str());
        let accepted = vec![target.to_owned()];
        let mut record = ItemRecord {
            answer: prediction(response).to_owned(),
            scores: Scores { task_score: Some(f64::from(u8::from(right))), ..score(response, &accepted) },
            ..ItemRecord::new(key, SOURCE, vec![accepted])
        };
        record.count(turns.iter());
        record.details.insert(CATEGORY.to_owned(), json!(record.key.method));
        record.details.insert(METRIC.to_owned(), json!(equality));
        for (number, turn) in turns.iter().enumerate() {
            let prompt = tokenizer.decode(&turn.prompt_ids)?;
            self.turns.push(EvalTurn::new(&record.key, number, turn, prompt));
        }
        self.records.push(record);
        Ok(())
    }
}
