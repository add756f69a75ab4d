//! InfoMem (arXiv 2606.03329): an answer is worth more where the memory made it likely.
//!
//! For a trajectory `i` with final memory `m_i`, question `x` and answer `y` of `|y|` tokens, teacher-forced on the answer turn:
//!
//! ```text
//! gain_i = (1/|y|) · [log π(y | x, m_i) − log π(y | x, empty memory)]          no gradient through it
//! ĝ_i    = clip((gain_i − mean) / std, −1, 1)   over the successes of the group; 0 where there are fewer than two
//! R_i    = 1[success_i] · (1 + β·ĝ_i)           β = 0.2 < 1: a success always beats a failure
//! A_i    = R_i − mean_i' R_i'                   copied to every token of every turn of trajectory i
//! ```
//!
//! Read in third-party summaries; two agree. Open there: whose `π` (the current policy here, the frozen reference as an
//! option), and the form of `y` (the boxed answer here, as the answer turn should write it). Runs on tasks with labels and, which
//! is ours, on masked documents without any.

use memtrain_model::scoring::PromptResponse;
use serde::{Deserialize, Serialize};

use super::trajectories::{CORRECT, Rewarded, assign_credit, read, target};
use super::{Agent, Item, Objective, Reason, RolloutContext, RolloutGroup, Scorer};
use crate::agents::answer::{Equality, boxed};
use crate::grpo::advantage::RewardScale;
use crate::rollout::Trajectory;

/// Whose log-probabilities the gain is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GainScorer {
    /// The policy as it is.
    #[default]
    Policy,
    /// The frozen reference.
    Reference,
}

/// Constants of the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InfoMemConfig {
    /// G, readings of an item. Open; 8, MemTrain's.
    pub group_size: usize,
    /// β, weight of the gain. 0.2; at least 0 and below 1.
    pub gain_weight: f64,
    /// Whose log-probabilities the gain is made of. Open.
    pub scorer: GainScorer,
    /// When an answer is right.
    pub equality: Equality,
    /// What centred rewards are divided by: nothing.
    pub reward_scale: RewardScale,
    /// Drop groups whose rewards are all equal.
    pub filter_groups: bool,
}

impl Default for InfoMemConfig {
    fn default() -> Self {
        Self {
            group_size: 8,
            gain_weight: 0.2,
            scorer: GainScorer::Policy,
            equality: Equality::Strict,
            reward_scale: RewardScale::None,
            filter_groups: true,
        }
    }
}

/// Name of the score of gains, of successes alone.
pub const GAIN: &str = "gain";

/// `ĝ`: the gains of a group's successes as standard scores, clipped to [−1, 1]; failures have none. All 0 where fewer than
/// two succeed or all gains are equal.
///
/// ```
/// use memtrain_rl::objectives::infomem::normalised_gains;
/// assert_eq!(normalised_gains(&[Some(3.0), None, Some(1.0)]), [1.0, 0.0, -1.0]);
/// assert_eq!(normalised_gains(&[Some(3.0), None]), [0.0, 0.0]);
/// ```
pub fn normalised_gains(gains: &[Option<f64>]) -> Vec<f64> {
    let known: Vec<f64> = gains.iter().flatten().copied().filter(|gain| gain.is_finite()).collect();
    let count = known.len() as f64;
    let mean = known.iter().sum::<f64>() / count.max(1.0);
    let deviation = (known.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / count.max(1.0)).sqrt();
    let score = |gain: f64| ((gain - mean) / deviation).clamp(-1.0, 1.0);
    let is_defined = known.len() > 1 && deviation > 1e-9;
    gains.iter().map(|gain| gain.filter(|gain| is_defined && gain.is_finite()).map_or(0.0, score)).collect()
}

/// `R` of a group: `gains` holds the gain of each success, nothing of a failure.
///
/// ```
/// use memtrain_rl::objectives::infomem::rewards;
/// assert_eq!(rewards(&[Some(3.0), None, Some(1.0)], 0.2), [1.2, 0.0, 0.8]);
/// ```
pub fn rewards(gains: &[Option<f64>], weight: f64) -> Vec<f64> {
    let normalised = normalised_gains(gains);
    gains
        .iter()
        .zip(normalised)
        .map(|(gain, normalised)| if gain.is_some() { 1.0 + weight * normalised } else { 0.0 })
        .collect()
}

/// Mean log-probability of each response under `scorer`.
fn mean_log_probs(scorer: &dyn Scorer, pairs: &[(Vec<u32>, Vec<u32>)]) -> anyhow::Result<Vec<f64>> {
    let borrowed: Vec<PromptResponse<'_>> =
        pairs.iter().map(|(prompt_ids, response_ids)| PromptResponse { prompt_ids, response_ids }).collect();
    let scored = scorer.log_probs(&borrowed)?;
    Ok(scored.iter().map(|tokens| tokens.iter().sum::<f64>() / tokens.len().max(1) as f64).collect())
}

impl InfoMemConfig {
    /// The gain of each success; nothing of failures.
    fn gains(
        &self,
        context: &RolloutContext<'_>,
        items: &[Item],
        groups: &[Vec<(Trajectory, bool)>],
    ) -> anyhow::Result<Vec<Vec<Option<f64>>>> {
        let scorer = match self.scorer {
            GainScorer::Policy => context.scorer,
            GainScorer::Reference => context
                .frozen_scorer
                .ok_or_else(|| anyhow::anyhow!("the gain is scored by a reference that is not there"))?,
        };
        let reader = &context.reader;
        let mut pairs = Vec::new();
        for (item, group) in items.iter().zip(groups) {
            let question = item.question(reader.prompts);
            let answer = question.answers.first().map_or("", String::as_str);
            let response = reader.tokenizer.response_ids(boxed(answer))?;
            if group.iter().any(|(_, right)| *right) {
                let empty = reader.prompts.about(&question.text).answer_turn(&reader.prompts.empty);
                pairs.push((reader.tokenizer.chat_prompt_ids(&empty)?, response.clone()));
            }
            let successes = group.iter().filter(|(_, right)| *right);
            pairs.extend(
                successes.filter_map(|(trajectory, _)| {
                    Some((trajectory.turns.last()?.prompt_ids.clone(), response.clone()))
                }),
            );
        }
        let mut scored = mean_log_probs(scorer, &pairs)?.into_iter();
        let mut next = || scored.next().unwrap_or(f64::NAN);
        let of_group = |group: &Vec<(Trajectory, bool)>| {
            let without = if group.iter().any(|(_, right)| *right) { next() } else { 0.0 };
            group.iter().map(|(_, right)| right.then(|| next() - without)).collect()
        };
        Ok(groups.iter().map(of_group).collect())
    }
}

impl Objective for InfoMemConfig {
    fn agent(&self) -> Agent {
        Agent::Reader
    }

    fn group_size(&self) -> usize {
        self.group_size
    }

    fn filters_groups(&self) -> bool {
        self.filter_groups
    }

    fn reward_scale(&self) -> RewardScale {
        self.reward_scale
    }

    fn headlines(&self) -> &'static [(&'static str, &'static str)] {
        &[("correct", "reward/correct/mean"), ("gain", "reward/gain/mean")]
    }

    /// Gains are relative to a group; held-out items are compared by their answers.
    fn held_out_score(&self) -> &'static str {
        CORRECT
    }

    fn needs_reference(&self) -> bool {
        self.scorer == GainScorer::Reference
    }

    fn roll_out(
        &self,
        context: &mut RolloutContext<'_>,
        items: &[Item],
        group_size: usize,
    ) -> anyhow::Result<Vec<RolloutGroup>> {
        let groups = read(context, items, group_size, self.equality)?;
        let gains = self.gains(context, items, &groups)?;
        let credited = groups.into_iter().zip(gains).zip(items).map(|((group, gains), item)| {
            let (rewards, normalised) = (rewards(&gains, self.gain_weight), normalised_gains(&gains));
            let rewarded = group.into_iter().enumerate().map(|(place, (trajectory, right))| {
                let mut reason = Reason::of(&[(CORRECT, f64::from(u8::from(right)))]);
                if let Some(gain) = gains[place] {
                    reason.parts.extend([(GAIN, gain), ("gain_normalised", normalised[place])]);
                }
                Rewarded::of(trajectory, rewards[place], reason)
            });
            assign_credit(rewarded.collect(), &target(item, context), self.reward_scale, self.filter_groups)
        });
        Ok(credited.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_group_by_hand() {
        // Gains 1, 2, 6 of three successes: mean 3, population deviation √(14/3) = 2.160; scores −0.926, −0.463, 1.389 → 1.
        let gains = [Some(1.0), None, Some(2.0), Some(6.0)];
        let got = rewards(&gains, 0.2);
        for (got, expected) in got.iter().zip([1.0 - 0.2 * 0.925_820, 0.0, 1.0 - 0.2 * 0.462_910, 1.2]) {
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
        assert_eq!(rewards(&[Some(5.0), None, None], 0.2), [1.0, 0.0, 0.0], "one success has nothing to compare with");
        assert_eq!(rewards(&[Some(2.0), Some(2.0)], 0.2), [1.0, 1.0]);
        assert_eq!(rewards(&[Some(f64::NAN), Some(2.0)], 0.2), [1.0, 1.0]);
        assert!(rewards(&[], 0.2).is_empty());
    }

    proptest! {
        #[test]
        fn a_success_always_beats_a_failure(
            gains in prop::collection::vec(prop::option::of(-1e3_f64..1e3), 0..12),
            weight in 0.0_f64..0.999,
        ) {
            let rewards = rewards(&gains, weight);
            let lowest = gains.iter().zip(&rewards).filter(|(gain, _)| gain.is_some()).map(|(_, r)| *r).fold(f64::INFINITY, f64::min);
            let highest = gains.iter().zip(&rewards).filter(|(gain, _)| gain.is_none()).map(|(_, r)| *r).fold(0.0, f64::max);
            prop_assert!(lowest > highest, "{lowest} {highest}");
            prop_assert!(rewards.iter().all(|reward| (0.0..=2.0).contains(reward)));
        }
    }
}
