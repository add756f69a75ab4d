//! The memory plan of a step, as `memtrain train --dry-run` and `memtrain sft --dry-run` print it.

use std::path::Path;

use clap::Args;
use memtrain_corpora::store;

use super::counts::count;
use super::failure::{Usage, WithHint};
use super::print::print_line;
use super::step_plan::Work;
use super::time_plan;
use crate::config::Config;
use crate::device::DeviceChoice;
use crate::plan::memory::{self, Phase, changes_to_fit, gib};
use crate::plan::{Device, MemoryPlan, Place, Setting};
use crate::policy::{PolicyConfig, built_in, directory, preset};

/// Arguments about the machine that a run is planned for.
#[derive(Clone, Debug, Default, Args)]
pub struct MachineArgs {
    /// With `--dry-run`: plan for a card of so many GiB, and refuse what does not fit; this machine's memory without it
    #[arg(long, value_name = "GIB", requires = "dry_run")]
    pub device_memory: Option<f64>,
    /// With `--dry-run`: share of the peak that is reached, for the time of a step
    #[arg(long, value_name = "SHARE", requires = "dry_run")]
    pub mfu: Option<f64>,
    /// With `--dry-run`: peak of the device in 10¹² operations a second (without it `train.peak_tflops`, what is known of the card, or
    /// what is measured of the processor)
    #[arg(long, value_name = "TFLOPS", requires = "dry_run")]
    pub peak_tflops: Option<f64>,
    /// With `--dry-run`: sequences whose keys and values are cached at one time (without it as many as `sampler.cache_gib`, or half of what is left, has room for)
    #[arg(long, value_name = "N", requires = "dry_run", value_parser = count::<usize>)]
    pub live_sequences: Option<usize>,
}

/// Prints memory a tensor class, operations and time of a step, time and disk of the run.
///
/// # Errors
/// If the plan does not fit: into the card that was named, or into this machine.
pub(super) fn print(config: &Config, work: &Work, machine: &MachineArgs) -> anyhow::Result<()> {
    let positive = |number: f64| number > 0.0 && number.is_finite();
    let MachineArgs { device_memory, mfu, peak_tflops, .. } = *machine;
    if mfu.is_some_and(|share| share > 1.0)
        || ![mfu, peak_tflops, device_memory].iter().flatten().all(|&number| positive(number))
    {
        let detail = "`--mfu` is a share above 0 and up to 1; `--peak-tflops` and `--device-memory` are positive";
        return Err(Usage(detail.to_owned()).into());
    }
    let Some(shape) = Shape::of(config)? else {
        print_line!(
            "# memory               unknown: the policy's `config.json` is not here, and no preset has its name"
        )?;
        return Ok(());
    };
    let mut setting = setting(config, work, machine, shape.config);
    setting.live_sequences = if work.samples { live_sequences(config, work, machine, &setting) } else { 0 };
    setting.kept_layers = memory_limit(config, machine).map_or(0, |(bytes, _)| memory::kept_layers(&setting, bytes));
    let plan = MemoryPlan::new(&setting);
    print_line!()?;
    print_line!("# Memory, GiB ({})", shape.origin)?;
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
    time_plan::print(config, work, &setting, &plan, machine)?;
    check_fit(config, &setting, &plan, machine)
}

/// GiB with as many digits as are needed to see small classes.
pub(super) fn size(bytes: u64) -> String {
    let gib = gib(bytes);
    if gib < 0.995 { format!("{gib:.4}") } else { format!("{gib:.2}") }
}

fn check_fit(config: &Config, setting: &Setting, plan: &MemoryPlan, machine: &MachineArgs) -> anyhow::Result<()> {
    let needed = plan.peak_bytes(Place::Device);
    print_line!()?;
    let Some((limit, what)) = memory_limit(config, machine) else {
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

/// What a run may take in bytes, and of what, where that is known.
fn memory_limit(config: &Config, machine: &MachineArgs) -> Option<(u64, &'static str)> {
    match (machine.device_memory, config.policy.device) {
        (Some(gib), _) => Some(((gib * crate::plan::GIB) as u64, "the device")),
        (None, DeviceChoice::Cpu) => Some((memory_of_this_machine()?, "this machine")),
        // The card may be another machine's.
        (None, DeviceChoice::Cuda(_)) => None,
    }
}

/// How many sequences are drawn at a time: what was typed, or what the sampler will have room for.
fn live_sequences(config: &Config, work: &Work, machine: &MachineArgs, setting: &Setting) -> usize {
    let drawn: u64 = work.conversations.iter().map(|kind| kind.count).max().unwrap_or(1);
    let most = config.sampler.max_sequences.min(drawn as usize);
    let cache = config.sampler.cache_bytes().map(|bytes| bytes as u64);
    let memory = memory_limit(config, machine).map_or(0, |(bytes, _)| bytes);
    machine.live_sequences.unwrap_or_else(|| memory::live_sequences(setting, cache, memory, most))
}

/// The memory of this machine in bytes, where the system says.
pub(super) fn memory_of_this_machine() -> Option<u64> {
    let text = store::read_to_string(Path::new("/proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The shape of the configured policy.
struct Shape {
    config: PolicyConfig,
    origin: String,
}

impl Shape {
    /// From the directory's `config.json`, which is enough; from the program; or from the preset that is meant.
    fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        match (&config.policy.path, &config.policy.preset) {
            (Some(path), _) => match path.strip_prefix("built-in:") {
                Some(name) => {
                    let origin = format!("the policy `{name}` of the program");
                    Ok(Some(Self { config: built_in::config(name)?, origin }))
                }
                None => Self::of_path(path),
            },
            (None, Some(name)) => {
                let config = preset::by_name(name, config.corpus.tokenizer.vocab_size)?;
                Ok(Some(Self { config, origin: format!("preset `{name}`") }))
            }
            (None, None) => Ok(None),
        }
    }

    fn of_path(path: &str) -> anyhow::Result<Option<Self>> {
        let folder = &super::models::local_folder(Path::new(path));
        if store::exists(&folder.join("config.json")) {
            let (config, origin) = (directory::load_config(folder)?, format!("`{}/config.json`", folder.display()));
            return Ok(Some(Self { config, origin }));
        }
        let name = path.to_ascii_lowercase();
        // Longest first, so that a name that holds another one is not taken for it.
        let published = ["qwen2.5-7b", "qwen3-4b"].into_iter().find(|preset| name.contains(preset));
        let Some(published) = published else { return Ok(None) };
        let origin = format!("`{path}` is not here: the published shape of {published}");
        Ok(Some(Self { config: preset::by_name(published, 0)?, origin }))
    }
}

fn setting(config: &Config, work: &Work, machine: &MachineArgs, policy: PolicyConfig) -> Setting {
    let reader = &config.reader;
    let micro_batch_tokens = work.micro_batch_tokens(config.update.micro_batch_tokens);
    let response = reader.memory_tokens.max(reader.answer_tokens);
    let shortest = reader.chunk_tokens.max(response);
    // The most scored rows of a micro-batch: responses to one shared prompt.
    let scored_rows = micro_batch_tokens.saturating_sub(shortest).max(response);
    Setting {
        policy,
        precision: config.policy.precision,
        lora: config.policy.lora.clone(),
        moments: config.optimizer.moments,
        offload_moments: config.optimizer.offload_moments,
        reference: work.reference,
        activation_checkpointing: config.update.activation_checkpointing,
        kept_layers: 0,
        micro_batch_tokens,
        scored_rows,
        context_tokens: reader.context_tokens,
        live_sequences: 1,
        device: match (machine.device_memory, config.policy.device) {
            (None, DeviceChoice::Cpu) => Device::Cpu,
            _ => Device::Card,
        },
    }
}
