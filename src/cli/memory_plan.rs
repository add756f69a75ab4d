//! The memory plan of a step, as `memtrain train --dry-run` and `memtrain sft --dry-run` print it.

use memtrain_collective::launch;
use memtrain_session::run_plan::{Machine, RunPlan};
use memtrain_session::step_plan::Work;

use super::failure::WithHint;
use super::machine::MachineArgs;
use super::print::print_line;
use super::time_plan::{self, size};
use crate::config::Config;
use crate::plan::memory::{Phase, changes_to_fit};
use crate::plan::{MemoryPlan, Place, Setting};

/// Prints memory a tensor class, operations and time of a step, time and disk of the run.
///
/// # Errors
/// If the plan does not fit: into the card that was named, or into this machine.
pub(super) fn print(config: &Config, work: &Work, machine: &MachineArgs) -> anyhow::Result<()> {
    let ranks = match machine.ranks {
        Some(ranks) => ranks,
        None => launch::planned_world_size()?,
    };
    let planned =
        Machine { device_memory: machine.device_memory, live_sequences: machine.live_sequences, ranks: Some(ranks) };
    let Some(plan) = RunPlan::of(config, work, &planned)? else {
        print_line!(
            "# memory               unknown: the policy's `config.json` is not here, and no preset has its name"
        )?;
        return Ok(());
    };
    let RunPlan { origin, setting, memory: plan, limit } = plan;
    print_line!()?;
    match setting.ranks {
        1 => print_line!("# Memory, GiB ({origin})")?,
        ranks => print_line!("# Memory of each of {ranks} ranks, GiB ({origin})")?,
    }
    for class in &plan.classes {
        print_line!("# {:<24} {:>9}  {}", class.name, size(class.bytes), class.note)?;
    }
    if work.samples {
        print_line!(
            "# {:<24} {:>9}  weights, optimizer, keys and values",
            "at most in a rollout",
            size(plan.phase_bytes(Place::Device, Phase::Rollout))
        )?;
    }
    print_line!(
        "# {:<24} {:>9}  weights, optimizer, activations",
        "at most in an update",
        size(plan.phase_bytes(Place::Device, Phase::Update))
    )?;
    time_plan::print(config, work, &setting, machine)?;
    check_fit(&setting, &plan, limit, machine)
}

fn check_fit(
    setting: &Setting,
    plan: &MemoryPlan,
    limit: Option<(u64, &'static str)>,
    machine: &MachineArgs,
) -> anyhow::Result<()> {
    let needed = plan.peak_bytes(Place::Device);
    print_line!()?;
    let Some((limit, what)) = limit else {
        let needed = size(needed);
        print_line!("# {:<24} {needed:>9}  needed; `--device-memory GIB` says whether a card has it", "memory")?;
        return Ok(());
    };
    print_line!("# {:<24} {:>9}  of {what}, {} needed", "memory", size(limit), size(needed))?;
    if needed <= limit {
        return Ok(());
    }
    let (changes, fits) = changes_to_fit(setting, limit);
    let context = setting.context_tokens.to_string();
    let key = |key: &str| key.replace("reader.context_tokens", &context);
    let told: Vec<String> =
        changes.iter().map(|change| format!("`{}` (saves {} GiB)", key(&change.key), size(change.saved))).collect();
    let advice = match (told.is_empty(), fits) {
        (true, _) => "nothing in the configuration makes it fit: take a smaller policy or more memory".to_owned(),
        (false, true) => format!("set {}", told.join(", then ")),
        (false, false) => format!("{} are not enough: take a smaller policy or more memory", told.join(", then ")),
    };
    let message = format!("the plan needs {} GiB, but {what} has {}", size(needed), size(limit));
    Err(anyhow::Error::msg(message)).hint(|| match machine.device_memory {
        Some(_) => advice,
        None => format!("{advice}; `--device-memory GIB` plans for a card instead"),
    })
}
