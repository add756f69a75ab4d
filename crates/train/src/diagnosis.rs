//! Diagnosis of a run whose reward does not move: one plain sentence, with the numbers that tell the causes apart.
//!
//! The usual causes of a reward that does not move: all rewards of a group are equal, since it has one rollout, its rollouts
//! are not sampled, its answers are cut off by their limit, hold nothing that can be read, or are all wrong; or the rate is 0,
//! or every token is clipped. They look the same in a loss curve.

use memtrain_rl::objectives::{AnswerForm, GroupCounts, ScoredSample};

use super::metrics::{groups, is_clipped, scored_samples, share};
use super::rollouts::Rollouts;

/// From this share of groups with equal rewards on, it is said.
const MANY_EQUAL: f64 = 0.5;
/// From this share of responses cut off on, it is said.
const MANY_CLIPPED: f64 = 0.25;
/// From this share of answers on that are cut off, or hold nothing that can be read, that is why their rewards are equal.
const NEARLY_ALL: f64 = 0.9;
/// The same cause is said again after so many steps.
const SILENCE: u64 = 10;

/// What a step taught and what stood in its way, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepNumbers {
    /// Samples trained on.
    pub samples: usize,
    /// Norm of the gradient, averaged over the updates.
    pub gradient_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Share of tokens that the loss clipped.
    pub clipped_tokens: f64,
    /// Rollouts a group.
    pub group_size: usize,
    /// Whether the most probable token is always taken.
    pub is_greedy: bool,
    /// Groups of the branch that has the fewest without a difference in reward: one branch with reward variance is
    /// enough.
    pub groups: usize,
    /// Those whose rewards are all 0.
    pub all_zero: usize,
    /// Those whose rewards are all equal, but not 0.
    pub all_equal: usize,
    /// What an answer should hold.
    pub form: AnswerForm,
    /// Share of answers without it.
    pub unreadable: f64,
    /// Share of answers cut off by their limit.
    pub clipped_answers: f64,
    /// Share of memories cut off by their limit.
    pub clipped_memories: f64,
}

impl StepNumbers {
    /// The numbers of a step's rollouts; what came of the update is for the caller to fill in.
    pub(super) fn of(rollouts: &Rollouts, form: AnswerForm) -> Self {
        let branches = groups(rollouts).into_iter().map(|(_, counts)| counts).filter(|counts| counts.groups > 0);
        let without = |counts: &GroupCounts| share(counts.without_variance(), counts.groups);
        let best = branches.min_by(|a, b| without(a).total_cmp(&without(b))).unwrap_or_default();
        let clipped =
            |of: &[&ScoredSample]| share(of.iter().filter(|sample| is_clipped(&sample.turn)).count(), of.len());
        let (memories, answers): (Vec<&ScoredSample>, Vec<&ScoredSample>) =
            scored_samples(rollouts).partition(|sample| sample.turn.kind.is_reading());
        // Where memories are written in a form, it is theirs that has to be read.
        let formed = if form == AnswerForm::Call { &memories } else { &answers };
        let unreadable = formed.iter().filter(|sample| !sample.readable).count();
        Self {
            groups: best.groups,
            all_zero: best.all_zero,
            all_equal: best.all_equal,
            form,
            unreadable: share(unreadable, formed.len()),
            clipped_answers: clipped(&answers),
            clipped_memories: clipped(&memories),
            ..Self::default()
        }
    }

    /// What keeps the step from teaching, the gravest cause first; nothing where all is well.
    ///
    /// ```
    /// use memtrain_train::diagnosis::StepNumbers;
    /// let numbers = StepNumbers {
    ///     samples: 90,
    ///     gradient_norm: 0.1,
    ///     learning_rate: 1e-6,
    ///     groups: 50,
    ///     all_zero: 28,
    ///     all_equal: 3,
    ///     unreadable: 0.4,
    ///     ..StepNumbers::default()
    /// };
    /// let (_, sentence) = numbers.finding().unwrap();
    /// assert_eq!(
    ///     sentence,
    ///     "62 % of groups have equal rewards: 56 % all 0, 6 % all the same. Of the answers 40 % hold no \\boxed{} that can be read, \
    ///      0 % were cut off by their limit"
    /// );
    /// ```
    pub fn finding(&self) -> Option<(Cause, String)> {
        let equal = share(self.all_zero + self.all_equal, self.groups);
        let groups = format!(
            "{} of groups have equal rewards: {} all 0, {} all the same. Of the {} {} hold no {} that can be read, {} were \
             cut off by their limit",
            percent(equal),
            percent(share(self.all_zero, self.groups)),
            percent(share(self.all_equal, self.groups)),
            if self.form == AnswerForm::Call { "turns" } else { "answers" },
            percent(self.unreadable),
            self.form.as_str(),
            percent(if self.form == AnswerForm::Call { self.clipped_memories } else { self.clipped_answers }),
        );
        let why = self.why_equal();
        let equal_rewards = |prefix: &str| match &why {
            Some((cause, why)) => (*cause, format!("{prefix}{why}. {groups}")),
            None => (Cause::EqualRewards, format!("{prefix}{groups}")),
        };
        if self.samples == 0 {
            return Some(equal_rewards("nothing was learned: "));
        }
        if !self.gradient_norm.is_finite() {
            let sentence = "nothing was learned: the gradient is not finite, the weights were left as they are";
            return Some((Cause::NotFinite, sentence.to_owned()));
        }
        if self.learning_rate == 0.0 {
            let sentence = "nothing was learned: the learning rate is 0 (`optimizer.learning_rate` and its schedule)";
            return Some((Cause::NoRate, sentence.to_owned()));
        }
        if self.gradient_norm == 0.0 {
            if equal >= 1.0 {
                return Some(equal_rewards("nothing was learned: "));
            }
            let clipped = percent(self.clipped_tokens);
            let sentence = format!(
                "nothing was learned: the gradient is 0, since the loss clips {clipped} of tokens and no other has an advantage"
            );
            return Some((Cause::NoGradient, sentence));
        }
        if equal >= MANY_EQUAL {
            return Some(equal_rewards(""));
        }
        if self.clipped_memories >= MANY_CLIPPED || self.clipped_answers >= MANY_CLIPPED {
            let sentence = format!(
                "{} of the memories and {} of the answers were cut off by their limits, `reader.memory_tokens` and \
                 `reader.answer_tokens`",
                percent(self.clipped_memories),
                percent(self.clipped_answers)
            );
            return Some((Cause::CutOff, sentence));
        }
        None
    }

    /// Why the rewards of most groups are equal, where that is known.
    fn why_equal(&self) -> Option<(Cause, String)> {
        let what = if self.form == AnswerForm::Call { "turns" } else { "answers" };
        let (is_cut, limit) = match self.form {
            AnswerForm::Call => (self.clipped_memories, "reader.memory_tokens"),
            AnswerForm::Tags => (self.clipped_answers, "searcher.response_tokens"),
            AnswerForm::Boxed => (self.clipped_answers, "reader.answer_tokens"),
        };
        if self.group_size == 1 {
            let why = "a group has one rollout, and an advantage is the distance from the group's mean: \
                       `objective.group_size` must be 2 or more";
            return Some((Cause::OneRollout, why.to_owned()));
        }
        if self.is_greedy {
            let why = "the rollouts of a group are all the same, since the most probable token is always taken: \
                       `sampling.temperature` is 0 or `sampling.top_k` is 1";
            return Some((Cause::Greedy, why.to_owned()));
        }
        let form = self.form.as_str();
        if is_cut >= NEARLY_ALL && self.unreadable >= NEARLY_ALL {
            let why = format!(
                "nearly all {what} are cut off by `{limit}` without a {form}: the limit is too low, or the policy does not \
                 know the form, which `memtrain sft` teaches"
            );
            return Some((Cause::CutOff, why));
        }
        if self.unreadable >= NEARLY_ALL {
            let why = format!(
                "nearly all {what} hold no {form}: `memtrain sft` teaches the form to a policy that does not know it"
            );
            return Some((Cause::NoForm, why));
        }
        None
    }
}

/// Why little or nothing is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Groups have one rollout each.
    OneRollout,
    /// Nothing is sampled: the most probable token is always taken.
    Greedy,
    /// Responses do not hold what is read from them.
    NoForm,
    /// The gradient is not finite.
    NotFinite,
    /// The learning rate is 0.
    NoRate,
    /// The gradient is 0.
    NoGradient,
    /// Most groups have equal rewards, for none of the reasons above.
    EqualRewards,
    /// Many responses reach their limit.
    CutOff,
}

/// Says a cause when it first shows, and then again only every few steps.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    said: Vec<(Cause, u64)>,
}

impl Diagnosis {
    /// The sentence to say about `step`, if there is one and it was not said of late.
    pub fn sentence(&mut self, step: u64, numbers: &StepNumbers) -> Option<String> {
        let (cause, sentence) = numbers.finding()?;
        let before = self.said.iter_mut().find(|(said, _)| *said == cause);
        match before {
            Some((_, last)) if step < *last + SILENCE => return None,
            Some((_, last)) => *last = step,
            None => self.said.push((cause, step)),
        }
        Some(format!("step {step}: {sentence}"))
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: StepNumbers = StepNumbers {
        samples: 10,
        gradient_norm: 1.0,
        learning_rate: 1e-6,
        clipped_tokens: 0.0,
        group_size: 8,
        is_greedy: false,
        groups: 10,
        all_zero: 2,
        all_equal: 2,
        form: AnswerForm::Boxed,
        unreadable: 0.5,
        clipped_answers: 0.2,
        clipped_memories: 0.2,
    };

    #[test]
    fn each_cause_has_its_sentence_and_the_gravest_is_named() {
        assert_eq!(WELL.finding(), None);
        // No gradient, all rewards 0: whatever the filter of groups leaves.
        let none = StepNumbers { all_zero: 8, gradient_norm: 0.0, ..WELL };
        for (numbers, cause, word) in [
            (StepNumbers { samples: 0, ..none }, Cause::EqualRewards, "nothing was learned: 100 % of groups"),
            (none, Cause::EqualRewards, "nothing was learned: 100 % of groups"),
            (
                StepNumbers { samples: 0, unreadable: 1.0, ..none },
                Cause::NoForm,
                "nearly all answers hold no \\boxed{}",
            ),
            (StepNumbers { unreadable: 1.0, ..none }, Cause::NoForm, "nearly all answers hold no \\boxed{}"),
            // A penalty moves weights, too.
            (StepNumbers { unreadable: 1.0, gradient_norm: 0.1, ..none }, Cause::NoForm, "nearly all answers"),
            (
                StepNumbers { unreadable: 1.0, clipped_answers: 1.0, ..none },
                Cause::CutOff,
                "cut off by `reader.answer_tokens`",
            ),
            (StepNumbers { is_greedy: true, ..none }, Cause::Greedy, "`sampling.temperature` is 0"),
            (StepNumbers { group_size: 1, ..none }, Cause::OneRollout, "`objective.group_size` must be 2"),
            (StepNumbers { gradient_norm: f64::NAN, all_zero: 8, ..WELL }, Cause::NotFinite, "not finite"),
            (StepNumbers { learning_rate: 0.0, all_zero: 8, ..WELL }, Cause::NoRate, "learning rate"),
            (
                StepNumbers { gradient_norm: 0.0, clipped_tokens: 0.75, ..WELL },
                Cause::NoGradient,
                "clips 75 % of tokens",
            ),
            (StepNumbers { all_zero: 3, ..WELL }, Cause::EqualRewards, "50 % of groups"),
            (StepNumbers { clipped_memories: 0.3, ..WELL }, Cause::CutOff, "30 % of the memories"),
        ] {
            let (found, sentence) = numbers.finding().expect("something is wrong");
            assert_eq!(found, cause);
            assert!(sentence.contains(word), "{sentence}");
        }
    }

    #[test]
    fn a_cause_is_not_repeated_at_every_step() {
        let mut diagnosis = Diagnosis::default();
        let equal = StepNumbers { all_zero: 9, ..WELL };
        let said: Vec<u64> = (1..=25).filter(|&step| diagnosis.sentence(step, &equal).is_some()).collect();
        assert_eq!(said, [1, 11, 21]);
        let cut = StepNumbers { clipped_answers: 1.0, ..WELL };
        assert!(diagnosis.sentence(22, &cut).is_some_and(|sentence| sentence.starts_with("step 22: ")));
        assert_eq!(diagnosis.sentence(23, &WELL), None);
    }
}
