//! Fine-Mem (arXiv 2601.08435): credit for a step of a structured memory.
//!
//! A flat bank is written chunk by chunk (insert, update, delete, skip); a frozen answerer reads the two items that BM25 finds. For
//! trajectory `i`, step `t` of `T`, global questions `j` of `n` with score `s_j` and retrieved items `M_j`, `φ(m)` the step that
//! wrote item `m`:
//!
//! ```text
//! r_global     = (1/n) Σ_j s_j
//! N_t          = Σ_j Σ_{m ∈ M_j, φ(m) = t} s_j / (|M_j|·n)          the share of an empty M_j is spread over all steps
//! r_evidence,t = (1 − β)·r_global/T + β·N_t                          β = 0.5;   Σ_t r_evidence,t = r_global
//! r_chunk,t    = mean score of K = 5 questions about chunk t, answered from M_t
//! r_t          = r_evidence,t + r_format,t + 0.5·r_chunk,t + 0.05·r_compression
//! A_t          = (r_t − mean) / (std + eps)                           over the G = 8 rollouts at the same step t
//! ```
//!
//! Read in third-party summaries; two agree. Open there: `r_format` (here the share of calls that fit their schema, 0 where nothing is
//! called), `r_compression` (here 1 − tokens of the last bank / tokens of the chunks, at least 0). Chunk questions without labels are ours.

use serde::{Deserialize, Serialize};

use super::banks::{Banks, Credit, compression, mean};
use super::questions::{ItemQuestions, LabelledQuery, QaResult, QuestionCounts, ask};
use super::{Agent, Item, Objective, Reason, RolloutContext, RolloutGroup, rollout_group};
use crate::agents::answer::Equality;
use crate::agents::bank::Layout;
use crate::agents::bank::writer::{BankStep, BankTrajectory};
use crate::grpo::advantage::RewardScale;

/// Constants of the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FineMemConfig {
    /// G, rollouts of an item. 8.
    pub group_size: usize,
    /// n, global questions of a document without labels; a task brings its own. Open; 8.
    pub questions: usize,
    /// K, questions about each chunk. 5.
    pub chunk_questions: usize,
    /// β, the part of the global reward that goes to the steps that wrote the evidence. 0.5.
    pub evidence_weight: f64,
    /// Weight of the chunk reward. 0.5.
    pub chunk_weight: f64,
    /// Weight of compression. 0.05.
    pub compression_weight: f64,
    /// When an answer is right.
    pub equality: Equality,
    /// What centred rewards are divided by: the group's deviation.
    pub reward_scale: RewardScale,
    /// Drop groups whose rewards are all equal.
    pub filter_groups: bool,
}

impl Default for FineMemConfig {
    fn default() -> Self {
        Self {
            group_size: 8,
            questions: 8,
            chunk_questions: 5,
            evidence_weight: 0.5,
            chunk_weight: 0.5,
            compression_weight: 0.05,
            equality: Equality::Strict,
            reward_scale: RewardScale::Group,
            filter_groups: true,
        }
    }
}

/// Branch of the groups: one an item and step.
pub const STEP: &str = "step";

/// `N_t` for `t` in `1..=num_steps`: the global reward, dealt to the steps that wrote what each question retrieved. It sums to
/// the mean score; where a question retrieved nothing, its share goes to all steps alike.
///
/// ```
/// use memtrain_rl::objectives::finemem::evidence_shares;
/// // Two questions: one right by items of steps 1 and 3, one wrong.
/// assert_eq!(evidence_shares(&[(1.0, &[1, 3]), (0.0, &[2])], 3), [0.25, 0.0, 0.25]);
/// assert_eq!(evidence_shares(&[(1.0, &[])], 2), [0.5, 0.5]);
/// ```
pub fn evidence_shares(scores: &[(f64, &[u32])], num_steps: usize) -> Vec<f64> {
    let mut shares = vec![0.0; num_steps];
    for (score, evidence) in scores {
        let share = score / scores.len() as f64;
        let known: Vec<usize> =
            evidence.iter().map(|&step| step as usize).filter(|step| (1..=num_steps).contains(step)).collect();
        if known.is_empty() {
            shares.iter_mut().for_each(|sum| *sum += share / num_steps as f64);
        } else {
            known.iter().for_each(|step| shares[step - 1] += share / known.len() as f64);
        }
    }
    shares
}

/// `r_evidence,t`: part of the global reward spread evenly, part by evidence. Its sum is the global reward.
pub fn evidence_rewards(scores: &[(f64, &[u32])], num_steps: usize, weight: f64) -> Vec<f64> {
    let global = mean(scores.iter().map(|(score, _)| *score));
    let even = (1.0 - weight) * global / num_steps as f64;
    evidence_shares(scores, num_steps).into_iter().map(|share| even + weight * share).collect()
}

/// The parts of one rollout's rewards.
struct Parts {
    global: Vec<QaResult>,
    /// Mean score of each chunk's questions.
    chunk: Vec<f64>,
    compression: f64,
}

impl FineMemConfig {
    /// Mean scores of chunk questions by item, rollout and step; 0 where a chunk has none.
    fn chunk_rewards(&self, context: &mut RolloutContext<'_>, banks: &Banks<'_>) -> anyhow::Result<Vec<Vec<Vec<f64>>>> {
        let mut asked = Vec::new();
        for ((item, group), questions) in banks.items.iter().zip(&banks.groups).zip(&banks.questions) {
            for trajectory in group {
                for (step, of_chunk) in trajectory.outcome.iter().zip(&questions.of_chunk) {
                    let (bank, item, rollout) = (&step.bank, item.number(), trajectory.rollout);
                    asked.extend(of_chunk.iter().map(|question| LabelledQuery { bank, question, item, rollout }));
                }
            }
        }
        let mut scored = ask(context, &asked, self.equality)?.into_iter();
        let mut of_step = |questions: &Vec<memtrain_tasks::Question>| {
            mean(scored.by_ref().take(questions.len()).map(|scored| scored.score))
        };
        let mut of_item = |(group, questions): (&Vec<BankTrajectory>, &ItemQuestions)| -> Vec<Vec<f64>> {
            group.iter().map(|_| questions.of_chunk.iter().map(&mut of_step).collect()).collect()
        };
        Ok(banks.groups.iter().zip(&banks.questions).map(&mut of_item).collect())
    }

    /// `r_t` of a rollout for each step, with what it is made of.
    fn step_rewards(&self, steps: &[BankStep], parts: &Parts) -> Vec<(f64, Reason)> {
        let scores: Vec<(f64, &[u32])> =
            parts.global.iter().map(|scored| (scored.score, scored.evidence.as_slice())).collect();
        let global = mean(scores.iter().map(|(score, _)| *score));
        let evidence = evidence_rewards(&scores, steps.len(), self.evidence_weight);
        let of_step = |(step, (evidence, chunk)): (&BankStep, (f64, &f64))| {
            let format = step.formed_share();
            let reward = evidence + format + self.chunk_weight * chunk + self.compression_weight * parts.compression;
            let reason = Reason::of(&[
                ("global", global),
                ("evidence", evidence),
                ("format", format),
                ("chunk", *chunk),
                ("compression", parts.compression),
            ]);
            (reward, reason)
        };
        steps.iter().zip(evidence.into_iter().zip(&parts.chunk)).map(of_step).collect()
    }

    /// Credit of the rollouts of an item: a group a step.
    fn credit(&self, rollouts: Vec<(BankTrajectory, Parts)>) -> RolloutGroup {
        let mut rollout_group = RolloutGroup::default();
        let rewards: Vec<Vec<(f64, Reason)>> =
            rollouts.iter().map(|(trajectory, parts)| self.step_rewards(&trajectory.outcome, parts)).collect();
        let num_steps = rewards.iter().map(Vec::len).max().unwrap_or(0);
        let judged: Vec<_> = (0..num_steps)
            .map(|step| {
                let group: Vec<f64> = rewards.iter().map(|rewards| rewards[step].0).collect();
                rollout_group.group_advantages(STEP, &group, self.reward_scale, self.filter_groups)
            })
            .collect();
        for (place, ((trajectory, parts), rewards)) in rollouts.into_iter().zip(rewards).enumerate() {
            rollout_group.scores.push(("global", mean(parts.global.iter().map(|scored| scored.score))));
            rollout_group.scores.push(("compression", parts.compression));
            let credits = rewards.into_iter().zip(&judged).map(|((reward, reason), judged)| {
                let (advantage, trained) = (judged.advantages[place], judged.trained);
                Credit { reward, advantage, trained, reason }
            });
            let credits: Vec<Credit> = credits.collect();
            for Credit { reward, reason, .. } in &credits {
                rollout_group.scores.push((rollout_group::TOTAL, *reward));
                let of_step = reason.parts.iter().filter(|(name, _)| matches!(*name, "evidence" | "format" | "chunk"));
                rollout_group.scores.extend(of_step.copied());
            }
            rollout_group.add_bank_rollout(trajectory, parts.global, credits);
        }
        rollout_group
    }
}

impl Objective for FineMemConfig {
    fn agent(&self) -> Agent {
        Agent::MemoryWriter(Layout::Flat)
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
        &[("global", "reward/global/mean"), ("chunk", "reward/chunk/mean"), ("format", "reward/format/mean")]
    }

    fn held_out_score(&self) -> &'static str {
        "global"
    }

    fn roll_out(
        &self,
        context: &mut RolloutContext<'_>,
        items: &[Item],
        group_size: usize,
    ) -> anyhow::Result<Vec<RolloutGroup>> {
        let counts = QuestionCounts { global: self.questions, of_chunk: self.chunk_questions };
        let mut banks = Banks::write(context, items, group_size, Layout::Flat, counts, self.equality)?;
        let global = banks.ask_globally(context, self.equality)?;
        let chunk = self.chunk_rewards(context, &banks)?;
        let groups = std::mem::take(&mut banks.groups);
        let of_item = groups.into_iter().zip(global.into_iter().zip(chunk)).zip(&banks.text_tokens);
        let credited = of_item.map(|((group, (global, chunk)), &text_tokens)| {
            let rollouts = group.into_iter().zip(global.into_iter().zip(chunk)).map(|(trajectory, (global, chunk))| {
                let compression = compression(trajectory.memory_tokens(), text_tokens);
                (trajectory, Parts { global, chunk, compression })
            });
            self.credit(rollouts.collect())
        });
        Ok(credited.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attribution_by_hand() {
        // Three steps, two questions. The first is right by two items of step 1 and one of step 3, the second half right by
        // nothing. N = (1/2·2/3 + 1/4·1/3, 1/4·1/3, 1/2·1/3 + 1/4·1/3); the global reward is 3/4.
        let scores: [(f64, &[u32]); 2] = [(1.0, &[1, 1, 3]), (0.5, &[])];
        let shares = evidence_shares(&scores, 3);
        for (got, expected) in shares.iter().zip([5.0 / 12.0, 1.0 / 12.0, 3.0 / 12.0]) {
            assert!((got - expected).abs() < 1e-12, "{shares:?}");
        }
        let rewards = evidence_rewards(&scores, 3, 0.5);
        for (got, expected) in rewards.iter().zip([0.125 + 5.0 / 24.0, 0.125 + 1.0 / 24.0, 0.125 + 3.0 / 24.0]) {
            assert!((got - expected).abs() < 1e-12, "{rewards:?}");
        }
    }

    proptest! {
        #[test]
        fn attribution_conserves_the_global_reward(
            questions in prop::collection::vec((0.0_f64..=1.0, prop::collection::vec(0_u32..8, 0..6)), 1..8),
            num_steps in 1_usize..7,
            weight in 0.0_f64..=1.0,
        ) {
            let scores: Vec<(f64, &[u32])> = questions.iter().map(|(score, steps)| (*score, steps.as_slice())).collect();
            let rewards = evidence_rewards(&scores, num_steps, weight);
            let global = mean(scores.iter().map(|(score, _)| *score));
            prop_assert!((rewards.iter().sum::<f64>() - global).abs() < 1e-9, "{rewards:?} {global}");
            prop_assert!(rewards.iter().all(|reward| (-1e-12..=1.0 + 1e-9).contains(reward)));
        }
    }
}
