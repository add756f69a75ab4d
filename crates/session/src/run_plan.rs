//! The memory that a step of a run takes, before anything is loaded.

use std::path::Path;

use memtrain_corpora::store;

use crate::config::Config;
use crate::device::DeviceChoice;
use crate::models;
use crate::plan::memory;
use crate::plan::{Device, MemoryPlan, Setting};
use crate::policy::{PolicyConfig, built_in, directory, preset};
use crate::step_plan::Work;

/// The machine that a run is planned for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// GiB of a card; this machine's memory without it.
    pub device_memory: Option<f64>,
    /// Sequences whose keys and values are cached at one time; without it as many as there is room for.
    pub live_sequences: Option<usize>,
    /// Processes that train together, each with such a device; one without it.
    pub ranks: Option<usize>,
}

/// What a step of a run takes.
#[derive(Clone, Debug)]
pub struct RunPlan {
    /// Where the shape of the policy is known from.
    pub origin: String,
    /// The run as arithmetic sees it.
    pub setting: Setting,
    /// Bytes a tensor class by the phase of a step.
    pub memory: MemoryPlan,
    /// What there is in bytes, and of what, where that is known.
    pub limit: Option<(u64, &'static str)>,
}

impl RunPlan {
    /// Plans a step of this work; nothing where the shape of the policy is not known.
    ///
    /// # Errors
    /// If the policy's `config.json` cannot be used, or no preset has its name.
    pub fn of(config: &Config, work: &Work, machine: &Machine) -> anyhow::Result<Option<Self>> {
        let Some(shape) = Shape::of(config)? else { return Ok(None) };
        let limit = memory_limit(config, machine);
        let mut setting = setting(config, work, machine, shape.config);
        setting.live_sequences = if work.samples { live_sequences(config, work, machine, &setting) } else { 0 };
        setting.kept_layers = limit.map_or(0, |(bytes, _)| memory::kept_layers(&setting, bytes));
        let memory = MemoryPlan::new(&setting);
        Ok(Some(Self { origin: shape.origin, setting, memory, limit }))
    }
}

/// What a run may take in bytes, and of what, where that is known.
fn memory_limit(config: &Config, machine: &Machine) -> Option<(u64, &'static str)> {
    match (machine.device_memory, config.policy.device) {
        (Some(gib), _) => Some(((gib * crate::plan::GIB) as u64, "the device")),
        (None, DeviceChoice::Cpu) => Some((memory_of_this_machine()?, "this machine")),
        // The card may be another machine's.
        (None, DeviceChoice::Cuda(_)) => None,
    }
}

/// How many sequences are drawn at a time: what was typed, or what the sampler will have room for.
fn live_sequences(config: &Config, work: &Work, machine: &Machine, setting: &Setting) -> usize {
    let drawn: u64 = work.conversations.iter().map(|kind| kind.count).max().unwrap_or(1);
    let drawn = drawn.div_ceil(setting.ranks as u64);
    let most = config.sampler.max_sequences.min(drawn as usize);
    let cache = config.sampler.cache_bytes().map(|bytes| bytes as u64);
    let memory = memory_limit(config, machine).map_or(0, |(bytes, _)| bytes);
    machine.live_sequences.unwrap_or_else(|| memory::live_sequences(setting, cache, memory, most))
}

/// The memory of this machine in bytes, where the system says.
pub fn memory_of_this_machine() -> Option<u64> {
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
        let folder = &models::local_folder(Path::new(path));
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

fn setting(config: &Config, work: &Work, machine: &Machine, policy: PolicyConfig) -> Setting {
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
        ranks: machine.ranks.unwrap_or(1).max(1),
    }
}
