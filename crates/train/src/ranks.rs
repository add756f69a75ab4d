//! Agreement between the ranks of a training, and the rollouts that each of them has drawn.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use memtrain_collective::Collective;
use memtrain_engine::sampler::{Completion, FinishReason};
use memtrain_rl::objectives::rollout_group::Reason;
use memtrain_rl::objectives::{GroupCounts, RolloutGroup, ScoredSample};
use memtrain_rl::rollout::Turn;
use memtrain_rollout_types::RolloutKind;
use memtrain_run::RunError;
use serde::{Deserialize, Serialize};

/// How a part of a step ended on one rank.
const DONE: u8 = 0;
const STOPPED: u8 = 1;
const FAILED: u8 = 2;

/// What came of a part of a step on this rank, if all ranks have come to its end; otherwise the same kind of error on all. All
/// ranks call it, whatever came of theirs.
///
/// # Errors
/// What went wrong here; else [`RunError::Stopped`] if somebody asked any rank to stop, or what went wrong elsewhere.
pub(super) fn agreed<T>(collective: &dyn Collective, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
    if collective.world_size() == 1 {
        return outcome;
    }
    let own = match &outcome {
        Ok(_) => vec![DONE],
        Err(error) if RunError::is_stop(error) => vec![STOPPED],
        Err(error) => [&[FAILED][..], format!("{error:#}").as_bytes()].concat(),
    };
    let all = collective.all_gather(&own)?;
    let outcome = match outcome {
        Err(error) if !RunError::is_stop(&error) => return Err(error),
        outcome => outcome,
    };
    for (rank, told) in all.iter().enumerate() {
        if let [FAILED, text @ ..] = &told[..] {
            anyhow::bail!("rank {rank} failed: {}", String::from_utf8_lossy(text));
        }
    }
    if all.iter().any(|told| told.first() == Some(&STOPPED)) {
        return Err(RunError::Stopped.into());
    }
    outcome
}

/// The groups of `count` items, of which this rank has rolled out its own ([`own_items`]), in the order of the items. Banks stay
/// where they were kept.
///
/// # Errors
/// As [`agreed`].
pub(super) fn gathered(
    collective: &dyn Collective,
    own: anyhow::Result<Vec<RolloutGroup>>,
    count: usize,
) -> anyhow::Result<Vec<RolloutGroup>> {
    let world_size = collective.world_size();
    if world_size == 1 {
        return own;
    }
    let own = agreed(collective, own)?;
    let sent: Vec<Group> = own.iter().map(Group::of).collect();
    let received = collective.all_gather(&serde_json::to_vec(&sent)?)?;
    drop(sent);
    let mut by_rank = Vec::with_capacity(world_size);
    let mut own = Some(own);
    for (rank, bytes) in received.into_iter().enumerate() {
        by_rank.push(match own.take_if(|_| rank == collective.rank()) {
            Some(own) => own.into_iter(),
            None => {
                let groups: Vec<Group> = serde_json::from_slice(&bytes)?;
                groups.into_iter().map(Group::group).collect::<Vec<_>>().into_iter()
            }
        });
    }
    let groups: Option<Vec<RolloutGroup>> = (0..count).map(|item| by_rank[item % world_size].next()).collect();
    let is_rest = by_rank.iter().any(|rest| rest.len() > 0);
    match groups {
        Some(groups) if !is_rest => Ok(groups),
        _ => anyhow::bail!("the ranks have not rolled out the same {count} items: they were started differently"),
    }
}

/// Those of a step's items that this rank rolls out.
pub(super) fn own_items<T: Clone>(collective: &dyn Collective, items: &[T]) -> Vec<T> {
    items.iter().skip(collective.rank()).step_by(collective.world_size()).cloned().collect()
}

/// A group as ranks send it: numbers by their bits, since all ranks compute with them.
#[derive(Serialize, Deserialize)]
struct Group {
    samples: Vec<Sample>,
    counts: Vec<(String, [usize; 3])>,
    scores: Vec<(String, u64)>,
    gauges: Vec<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
struct Sample {
    kind: RolloutKind,
    prompt_ids: Vec<u32>,
    token_ids: Vec<u32>,
    log_probs: Vec<u32>,
    finish: FinishReason,
    text: String,
    rollout: usize,
    number: usize,
    target: String,
    reward: u64,
    advantage: u64,
    trained: bool,
    readable: bool,
    parts: Vec<(String, u64)>,
    notes: Vec<String>,
}

impl Group {
    fn of(group: &RolloutGroup) -> Self {
        let counts = group.counts.iter().map(|(branch, counts)| {
            let GroupCounts { groups, all_zero, all_equal } = *counts;
            ((*branch).to_owned(), [groups, all_zero, all_equal])
        });
        Self {
            samples: group.samples.iter().map(Sample::of).collect(),
            counts: counts.collect(),
            scores: bits(&group.scores),
            gauges: bits(&group.gauges),
        }
    }

    fn group(self) -> RolloutGroup {
        let counts = self.counts.into_iter().map(|(branch, [groups, all_zero, all_equal])| {
            (interned(&branch), GroupCounts { groups, all_zero, all_equal })
        });
        RolloutGroup {
            samples: self.samples.into_iter().map(Sample::sample).collect(),
            counts: counts.collect(),
            scores: numbers(self.scores),
            gauges: numbers(self.gauges),
            banks: Vec::new(),
        }
    }
}

impl Sample {
    fn of(sample: &ScoredSample) -> Self {
        let completion = &sample.turn.completion;
        Self {
            kind: sample.turn.kind,
            prompt_ids: sample.turn.prompt_ids.clone(),
            token_ids: completion.token_ids.clone(),
            log_probs: completion.log_probs.iter().map(|log_prob| log_prob.to_bits()).collect(),
            finish: completion.finish,
            text: sample.turn.text.clone(),
            rollout: sample.rollout,
            number: sample.number,
            target: sample.target.clone(),
            reward: sample.reward.to_bits(),
            advantage: sample.advantage.to_bits(),
            trained: sample.trained,
            readable: sample.readable,
            parts: bits(&sample.reason.parts),
            notes: sample.reason.notes.clone(),
        }
    }

    fn sample(self) -> ScoredSample {
        let log_probs = self.log_probs.into_iter().map(f32::from_bits).collect();
        let completion = Completion { token_ids: self.token_ids, log_probs, finish: self.finish };
        ScoredSample {
            turn: Turn { kind: self.kind, prompt_ids: self.prompt_ids, completion, text: self.text },
            rollout: self.rollout,
            number: self.number,
            target: self.target,
            reward: f64::from_bits(self.reward),
            advantage: f64::from_bits(self.advantage),
            trained: self.trained,
            readable: self.readable,
            reason: Reason { parts: numbers(self.parts), notes: self.notes },
        }
    }
}

fn bits(named: &[(&'static str, f64)]) -> Vec<(String, u64)> {
    named.iter().map(|(name, number)| ((*name).to_owned(), number.to_bits())).collect()
}

fn numbers(named: Vec<(String, u64)>) -> Vec<(&'static str, f64)> {
    named.into_iter().map(|(name, bits)| (interned(&name), f64::from_bits(bits))).collect()
}

/// A name that the program knows as a constant: each is kept once, and there are as many as objectives have.
fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use memtrain_collective::in_process;

    use super::*;

    /// Runs `act` on so many ranks, each a thread.
    fn on_ranks<T: Send>(world_size: usize, act: impl Fn(&dyn Collective) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let start = |rank| {
                let act = &act;
                scope.spawn(move || act(&rank))
            };
            let running: Vec<_> = in_process(world_size).into_iter().map(start).collect();
            running.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    fn group(item: usize) -> RolloutGroup {
        let sample = |rollout: usize| ScoredSample {
            turn: Turn {
                kind: RolloutKind::Answer,
                prompt_ids: vec![item as u32, 7],
                completion: Completion {
                    token_ids: vec![3, rollout as u32],
                    log_probs: vec![-0.1, f32::NEG_INFINITY],
                    finish: FinishReason::Length,
                },
                text: "\"é\n".to_owned(),
            },
            rollout,
            number: 4,
            target: "Lorn".to_owned(),
            reward: 0.1 + 0.2,
            advantage: -0.0,
            trained: rollout == 1,
            readable: true,
            reason: Reason { parts: vec![("correct", f64::NAN)], notes: vec!["said".to_owned()] },
        };
        RolloutGroup {
            samples: vec![sample(0), sample(1)],
            counts: vec![("end_to_end", GroupCounts { groups: 1, all_zero: 0, all_equal: item })],
            scores: vec![("total", 1.0 / 3.0)],
            gauges: vec![("length", item as f64)],
            banks: Vec::new(),
        }
    }

    #[test]
    fn groups_arrive_on_all_ranks_in_the_order_of_items_and_to_the_bit() {
        for (world_size, count) in [(1, 3), (2, 5), (3, 2), (3, 7)] {
            let expected: Vec<String> = (0..count).map(|item| format!("{:?}", group(item))).collect();
            let items: Vec<usize> = (0..count).collect();
            for groups in on_ranks(world_size, |collective| {
                let own = own_items(collective, &items).into_iter().map(group).collect();
                gathered(collective, Ok(own), count).unwrap()
            }) {
                assert_eq!(groups.iter().map(|group| format!("{group:?}")).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn a_stop_or_a_failure_of_one_rank_is_that_of_all() {
        let outcomes = on_ranks(3, |collective| {
            let own: anyhow::Result<()> = if collective.rank() == 1 { Err(RunError::Stopped.into()) } else { Ok(()) };
            agreed(collective, own)
        });
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(RunError::is_stop)));
        let outcomes = on_ranks(3, |collective| match collective.rank() {
            0 => agreed(collective, Err(RunError::Stopped.into())),
            1 => agreed(collective, Err(anyhow::anyhow!("out of memory"))),
            _ => agreed(collective, Ok(())),
        });
        let told: Vec<String> = outcomes.into_iter().map(|outcome| outcome.unwrap_err().to_string()).collect();
        assert_eq!(told, ["rank 1 failed: out of memory", "out of memory", "rank 1 failed: out of memory"]);
        let lost = on_ranks(2, |collective| gathered(collective, Ok(vec![group(0)]), 3).is_err());
        assert_eq!(lost, [true, true]);
    }
}
