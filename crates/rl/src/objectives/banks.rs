//! Common parts of objectives with a bank: banks written over items, questions asked of them, rows of their turns.
//!
//! An objective that rewards the share of right answers of the last bank, and gives it to every step that wrote the bank:
//!
//! ```
//! use memtrain_rl::agents::answer::Equality;
//! use memtrain_rl::agents::bank::Layout;
//! use memtrain_rl::grpo::advantage::RewardScale;
//! use memtrain_rl::objectives::banks::{Banks, Credit, mean};
//! use memtrain_rl::objectives::questions::QuestionCounts;
//! use memtrain_rl::objectives::{Agent, Item, Objective, Reason, RolloutContext, RolloutGroup};
//!
//! struct RightAnswers;
//!
//! impl Objective for RightAnswers {
//!     fn agent(&self) -> Agent {
//!         Agent::MemoryWriter(Layout::Flat)
//!     }
//!
//!     fn group_size(&self) -> usize {
//!         8
//!     }
//!
//!     fn filters_groups(&self) -> bool {
//!         false
//!     }
//!
//!     fn reward_scale(&self) -> RewardScale {
//!         RewardScale::Group
//!     }
//!
//!     fn headlines(&self) -> &'static [(&'static str, &'static str)] {
//!         &[("right", "reward/right/mean")]
//!     }
//!
//!     fn roll_out(
//!         &self,
//!         context: &mut RolloutContext<'_>,
//!         items: &[Item],
//!         group_size: usize,
//!     ) -> anyhow::Result<Vec<RolloutGroup>> {
//!         let counts = QuestionCounts { global: 4, of_chunk: 0 };
//!         let banks = Banks::write(context, items, group_size, Layout::Flat, counts, Equality::Strict)?;
//!         let results = banks.ask_globally(context, Equality::Strict)?;
//!         let groups = banks.groups.into_iter().zip(results).map(|(trajectories, results)| {
//!             let mut group = RolloutGroup::default();
//!             let rewards: Vec<f64> = results.iter().map(|asked| mean(asked.iter().map(|one| one.score))).collect();
//!             let formed = group.group_advantages("bank", &rewards, RewardScale::Group, false);
//!             for (rollout, (trajectory, asked)) in trajectories.into_iter().zip(results).enumerate() {
//!                 let credit = |_| Credit {
//!                     reward: rewards[rollout],
//!                     advantage: formed.advantages[rollout],
//!                     trained: formed.trained,
//!                     reason: Reason::of(&[("right", rewards[rollout])]),
//!                 };
//!                 let credits = (0..trajectory.turns.len()).map(credit).collect();
//!                 group.add_bank_rollout(trajectory, asked, credits);
//!             }
//!             group
//!         });
//!         Ok(groups.collect())
//!     }
//! }
//! assert_eq!(RightAnswers.agent().bank_layout(), Some(Layout::Flat));
//! ```

use super::questions::{ItemQuestions, LabelledQuery, QaResult, QuestionCounts, ask};
use super::{AnsweredBank, Item, Reason, RolloutContext, RolloutGroup, ScoredSample};
use crate::agents::answer::Equality;
use crate::agents::bank::Layout;
use crate::agents::bank::writer::{BankStep, BankTrajectory, MemoryWriter, Outcome};

/// The mean; 0 of nothing.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

/// 1 − memory / text, in tokens, at least 0; a text without tokens cannot be compressed.
pub fn compression(memory_tokens: usize, text_tokens: usize) -> f64 {
    if text_tokens == 0 { 0.0 } else { (1.0 - memory_tokens as f64 / text_tokens as f64).max(0.0) }
}

/// Banks written over a set of items, and what they are asked.
pub struct Banks<'a> {
    /// The items.
    pub items: &'a [Item],
    /// The rollouts of each item.
    pub groups: Vec<Vec<BankTrajectory>>,
    /// What each item is asked.
    pub questions: Vec<ItemQuestions>,
    /// Chunks of each item.
    pub chunks: Vec<Vec<String>>,
    /// Their tokens.
    pub text_tokens: Vec<usize>,
}

impl<'a> Banks<'a> {
    /// Writes a bank over every item, `group_size` times.
    ///
    /// # Errors
    /// If the sampler or the tokenizer fails, or an item has nothing to read.
    pub fn write(
        context: &mut RolloutContext<'_>,
        items: &'a [Item],
        group_size: usize,
        layout: Layout,
        counts: QuestionCounts,
        equality: Equality,
    ) -> anyhow::Result<Self> {
        let reader = &context.reader;
        let tasks = Item::readings(items, reader.prompts)?;
        let prompts = (reader.prompts, &context.bank.prompts);
        let of_item = |item| ItemQuestions::of(item, counts, equality, prompts, reader.step_key);
        let questions = items.iter().map(of_item).collect();
        let writer = MemoryWriter { reader, reading: context.bank, layout };
        let groups = writer.write(&mut context.engine, &tasks, group_size)?;
        let mut text_tokens = Vec::with_capacity(tasks.len());
        for task in &tasks {
            let mut sum = 0;
            for chunk in &task.chunks {
                sum += reader.tokenizer.encode_text(chunk)?.len();
            }
            text_tokens.push(sum);
        }
        let chunks = tasks.into_iter().map(|task| task.chunks).collect();
        Ok(Self { items, groups, questions, chunks, text_tokens })
    }

    /// The global questions of all items, asked of the last bank of each rollout: scores by item, rollout and question.
    ///
    /// # Errors
    /// If nobody can answer, or a bank does not fit the answerer's context.
    pub fn ask_globally(
        &self,
        context: &mut RolloutContext<'_>,
        equality: Equality,
    ) -> anyhow::Result<Vec<Vec<Vec<QaResult>>>> {
        let mut asked = Vec::new();
        for ((item, group), questions) in self.items.iter().zip(&self.groups).zip(&self.questions) {
            for trajectory in group {
                let Some(last) = trajectory.outcome.last() else { continue };
                let (bank, item, rollout) = (&last.bank, item.number(), trajectory.rollout);
                asked.extend(questions.global.iter().map(|question| LabelledQuery { bank, question, item, rollout }));
            }
        }
        let mut scored = ask(context, &asked, equality)?.into_iter();
        let of_item = |(group, questions): (&Vec<BankTrajectory>, &ItemQuestions)| {
            group.iter().map(|_| scored.by_ref().take(questions.global.len()).collect()).collect()
        };
        Ok(self.groups.iter().zip(&self.questions).map(of_item).collect())
    }
}

/// What a turn earned.
pub struct Credit {
    /// Its reward.
    pub reward: f64,
    /// Its advantage, copied to each of its tokens.
    pub advantage: f64,
    /// Whether it is trained on.
    pub trained: bool,
    /// Why, but for what went wrong and what was asked.
    pub reason: Reason,
}

impl RolloutGroup {
    /// Adds a rollout of a bank: its turns with what each earned, its last bank with what it was asked, and what is
    /// measured of it whatever is rewarded.
    pub fn add_bank_rollout(&mut self, trajectory: BankTrajectory, asked: Vec<QaResult>, credits: Vec<Credit>) {
        self.gauges.extend(gauges(&trajectory.outcome));
        let (rollout, steps) = (trajectory.rollout, trajectory.outcome);
        let num_turns = steps.len();
        for (number, ((turn, step), credit)) in trajectory.turns.into_iter().zip(&steps).zip(credits).enumerate() {
            let Credit { reward, advantage, trained, mut reason } = credit;
            reason.notes = notes(&step.outcomes);
            if number + 1 == num_turns {
                reason.notes.extend(asked.iter().map(QaResult::note));
            }
            let (readable, target) = (step.formed_share() > 0.0, String::new());
            self.samples.push(ScoredSample {
                turn,
                rollout,
                number,
                target,
                reward,
                advantage,
                trained,
                readable,
                reason,
            });
        }
        self.banks.extend(steps.into_iter().next_back().map(|last| AnsweredBank { bank: last.bank, asked }));
    }
}

fn gauges(steps: &[BankStep]) -> [(&'static str, f64); 4] {
    let calls = || steps.iter().flat_map(|step| &step.outcomes);
    let done = calls().filter(|outcome| outcome.is_done()).count() as f64;
    let turns = steps.len().max(1) as f64;
    let last = steps.last();
    [
        ("bank/items", last.map_or(0.0, |step| step.bank.entries().len() as f64)),
        ("bank/memory_tokens", last.map_or(0.0, |step| step.memory_tokens as f64)),
        ("bank/calls", calls().count() as f64 / turns),
        ("bank/calls_failed", (calls().count() as f64 - done) / turns),
    ]
}

/// What a turn has to say for itself: what was called, what went wrong.
fn notes(outcomes: &[Outcome]) -> Vec<String> {
    if outcomes.is_empty() {
        return vec!["nothing was called".to_owned()];
    }
    outcomes.iter().filter_map(Outcome::complaint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_bounded() {
        assert_eq!(compression(0, 100), 1.0);
        assert_eq!(compression(25, 100), 0.75);
        assert_eq!((compression(200, 100), compression(5, 0)), (0.0, 0.0));
    }
}
