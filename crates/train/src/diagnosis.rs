//! Diagnosis of a run whose reward does not move: one plain sentence, with the numbers that tell the causes apart.
//!
//! The three usual causes of a reward that does not move: all rewards of a group are equal, answers are cut off by their
//! limit, or answers hold nothing that can be read. They look the same in a loss curve.

use memtrain_rl::objectives::{AnswerForm, GroupCounts, ScoredSample};

use super::grpo::Rollouts;
use super::metrics::{groups, is_clipped, scored_samples, share};

/// From this share of groups with equal rewards on, it is said.
const MANY_EQUAL: f64 = 0.5;
/// From this share of responses cut off on, it is said.
const MANY_CLIPPED: f64 = 0.25;
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
        if self.samples == 0 {
            return Some((Cause::NothingToTrainOn, format!("nothing was learned: {groups}")));
        }
        if !self.gradient_norm.is_finite() {
            let sentence = "nothing was learned: the gradient is not finite, the weights were left as they are";
            return Some((Cause::NotFinite, sentence.to_owned()));
        }
        if self.learning_rate == 0.0 {
            return Some((Cause::NoRate, "nothing was learned: the learning rate is 0".to_owned()));
        }
        if self.gradient_norm == 0.0 {
            let sentence = "nothing was learned: the gradient is 0, since every token was clipped or has no advantage";
            return Some((Cause::NoGradient, sentence.to_owned()));
        }
        if equal >= MANY_EQUAL {
            return Some((Cause::EqualRewards, groups));
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
}

/// Why little or nothing is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No sample was left after the filter.
    NothingToTrainOn,
    /// The gradient is not finite.
    NotFinite,
    /// The learning rate is 0.
    NoRate,
    /// The gradient is 0.
    NoGradient,
    /// Most groups have equal rewards.
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
        groups: 10,
        all_zero: 2,
        all_equal: 2,
        form: AnswerForm::Boxed,
        unreadable: 0.9,
        clipped_answers: 0.2,
        clipped_memories: 0.2,
    };

    #[test]
    fn each_cause_has_its_sentence_and_the_gravest_is_named() {
        assert_eq!(WELL.finding(), None);
        for (numbers, cause, word) in [
            (StepNumbers { samples: 0, all_zero: 8, ..WELL }, Cause::NothingToTrainOn, "100 % of groups"),
            (StepNumbers { gradient_norm: f64::NAN, all_zero: 8, ..WELL }, Cause::NotFinite, "not finite"),
            (StepNumbers { learning_rate: 0.0, all_zero: 8, ..WELL }, Cause::NoRate, "learning rate"),
            (StepNumbers { gradient_norm: 0.0, all_zero: 8, ..WELL }, Cause::NoGradient, "gradient is 0"),
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
