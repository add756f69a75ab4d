//! An objective of one's own, registered by name and trained: `cargo run --release --example custom_objective`.
//!
//! `kind = "brief"` rewards right answers, and takes from that what the last memory is long:
//!
//! ```text
//! R_i = 1[ŷ_i = y] − w · tokens of the last memory / reader.memory_tokens
//! A_i = R_i − mean_i' R_i'         copied to every token of every turn of trajectory i
//! ```
//!
//! `docs/objectives.md` walks through it.

use std::path::Path;

use memtrain::agents::answer::Equality;
use memtrain::grpo::advantage::RewardScale;
use memtrain::objectives::trajectories::{CORRECT, Rewarded, assign_credit, read, target};
use memtrain::objectives::{Agent, Item, Objective, Reason, Registration, RolloutContext, RolloutGroup, register};
use memtrain::{Config, Observer, StepEvent, StopRequest, build_corpus, train};
use serde::{Deserialize, Serialize};

/// The constants, each a key of `[objective]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Brief {
    /// G, readings of an item.
    group_size: usize,
    /// w, what a memory of full length costs.
    length_weight: f64,
    /// When an answer is right.
    equality: Equality,
}

impl Default for Brief {
    fn default() -> Self {
        Self { group_size: 8, length_weight: 0.25, equality: Equality::Strict }
    }
}

/// Name of the score of lengths: its mean is the metric `reward/length/mean`.
const LENGTH: &str = "length";

impl Objective for Brief {
    fn agent(&self) -> Agent {
        Agent::Reader
    }

    fn group_size(&self) -> usize {
        self.group_size
    }

    fn filters_groups(&self) -> bool {
        false
    }

    fn reward_scale(&self) -> RewardScale {
        RewardScale::None
    }

    fn headlines(&self) -> &'static [(&'static str, &'static str)] {
        &[("correct", "reward/correct/mean"), ("length", "reward/length/mean")]
    }

    fn validate(&self) -> Result<(), String> {
        match (0.0..=1.0).contains(&self.length_weight) {
            true => Ok(()),
            false => Err(format!("`length_weight` is {}: it must be from 0 to 1", self.length_weight)),
        }
    }

    fn roll_out(
        &self,
        context: &mut RolloutContext<'_>,
        items: &[Item],
        group_size: usize,
    ) -> anyhow::Result<Vec<RolloutGroup>> {
        let groups = read(context, items, group_size, self.equality)?;
        let longest = context.reader.config.memory_tokens as f64;
        let credited = groups.into_iter().zip(items).map(|(group, item)| {
            let rewarded = group.into_iter().map(|(trajectory, is_right)| {
                // The last turn answers, the one before it wrote the last memory.
                let memory = trajectory.turns.iter().rev().nth(1);
                let length = memory.map_or(0.0, |turn| turn.completion.token_ids.len() as f64 / longest);
                let correct = f64::from(u8::from(is_right));
                let reason = Reason::of(&[(CORRECT, correct), (LENGTH, length)]);
                Rewarded::of(trajectory, correct - self.length_weight * length, reason)
            });
            assign_credit(rewarded.collect(), &target(item, context), RewardScale::None, false)
        });
        Ok(credited.collect())
    }
}

/// Prints each step.
struct Printer;

impl Observer for Printer {
    fn stepped(&self, event: &StepEvent<'_>) {
        println!("step {}: {}", event.step, event.headline());
    }
}

/// A configuration with the objective, everything in one folder.
fn configuration(folder: &Path, objective: &str) -> Result<Config, toml::de::Error> {
    let mut table: toml::Table = include_str!("two-steps.toml").parse()?;
    let objective: toml::Table = objective.parse()?;
    table.insert("objective".to_owned(), objective.into());
    let mut config: Config = table.try_into()?;
    config.corpus.ingest.dumps = vec![folder.join("dump.xml.bz2").display().to_string()];
    config.run.corpus = folder.join("corpus");
    config.run.runs = folder.join("runs");
    Ok(config)
}

fn main() -> anyhow::Result<()> {
    register(Registration::of::<Brief>("brief"))?;
    let folder = tempfile::tempdir()?;
    let config = configuration(folder.path(), "kind = \"brief\"\ngroup_size = 4\nlength_weight = 0.5")?;
    build_corpus(&config, &())?;
    train(&config, &Printer, &StopRequest::default())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps the metrics of all steps.
    #[derive(Default)]
    struct Kept(Mutex<Vec<(String, f64)>>);

    impl Observer for Kept {
        fn stepped(&self, event: &StepEvent<'_>) {
            let named = event.metrics.iter().map(|(name, value)| (name.to_string(), *value));
            self.0.lock().unwrap().extend(named);
        }
    }

    #[test]
    fn it_is_read_by_its_name_trained_and_recorded() {
        register(Registration::of::<Brief>("brief")).unwrap();
        assert!(
            register(Registration::of::<Brief>("brief")).is_err()
                && register(Registration::of::<Brief>("mem1")).is_err()
        );
        let folder = tempfile::tempdir().unwrap();
        for (wrong, told) in [
            ("kind = \"brief\"\nlength_weight = 2.0", "`length_weight` is 2: it must be from 0 to 1"),
            ("kind = \"brief\"\nrecall_weight = 0.5", "`recall_weight` is no key of `kind = \"brief\"`"),
            ("kind = \"breif\"", "`mem1`, `brief`"),
        ] {
            let error = configuration(folder.path(), wrong).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let config = configuration(folder.path(), "kind = \"brief\"\ngroup_size = 4\nlength_weight = 0.5").unwrap();
        let written = toml::to_string(&config).unwrap();
        assert!(
            written.contains("kind = \"brief\"\ngroup_size = 4\nlength_weight = 0.5\nequality = \"strict\"\n"),
            "{written}"
        );
        build_corpus(&config, &()).unwrap();
        let kept = Kept::default();
        let trained = train(&config, &kept, &StopRequest::default()).unwrap();
        assert!(trained.path.ends_with("step_000002"), "{}", trained.path.display());
        let kept = kept.0.into_inner().unwrap();
        let of = |name: &str| kept.iter().filter(|(key, _)| key == name).map(|(_, value)| *value).collect::<Vec<_>>();
        let (reward, correct, length) = (of("reward/mean"), of("reward/correct/mean"), of("reward/length/mean"));
        assert_eq!(reward.len(), 2);
        for step in 0..2 {
            assert!(length[step] > 0.0 && (reward[step] - (correct[step] - 0.5 * length[step])).abs() < 1e-9);
        }
    }
}
