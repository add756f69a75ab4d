//! The memory plan's activations against what passes really take: peaks of processes of their own.

use std::path::Path;

use candle_core::{DType, Device, Result};
use memtrain::nn::PackedBatch;
use memtrain::optim::{GradientBuffer, MomentType};
use memtrain::plan::{self, MemoryPlan, Setting};
use memtrain::policy::{Checkpointing, Decoder, PolicyConfig, Precision, ScoredRows, preset};
use memtrain_corpora::store;

const CHILD: &str = "MEMTRAIN_TEST_MEMORY_CHILD";

const SEQUENCES: usize = 16;
const TOKENS: usize = 512;
/// Scored at the end of each sequence.
const SCORED: usize = 8;

fn config() -> PolicyConfig {
    PolicyConfig { num_hidden_layers: 6, ..preset::tiny(300) }
}

fn setting(activation_checkpointing: bool) -> Setting {
    Setting {
        policy: config(),
        precision: Precision::F32,
        lora: None,
        moments: MomentType::F32,
        offload_moments: false,
        reference: false,
        activation_checkpointing,
        kept_layers: 0,
        ranks: 1,
        micro_batch_tokens: SEQUENCES * TOKENS,
        scored_rows: SEQUENCES * SCORED,
        context_tokens: TOKENS,
        live_sequences: 1,
        device: plan::Device::Cpu,
    }
}

/// A line of what the system says about this process, in bytes.
fn status(key: &str) -> u64 {
    let text = store::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    1024 * line.trim_start_matches(':').trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap()
}

fn pass(
    decoder: &Decoder,
    sequences: usize,
    checkpointing: Checkpointing,
    gradients: &mut GradientBuffer,
) -> Result<()> {
    let mut batch = PackedBatch::default();
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for sequence in 0..sequences {
        let ids: Vec<u32> = (0..TOKENS as u32).map(|i| (i * i + 31 * sequence as u32) % 300).collect();
        let segment = batch.push(&ids, None);
        let end = batch.segments[segment].rows.end;
        rows.extend((end - SCORED - 1..end - 1).map(|row| row as u32));
        targets.extend_from_slice(&ids[TOKENS - SCORED..]);
    }
    let scored = ScoredRows { batch: &batch, rows: &rows, targets: &targets, temperature: 1.0 };
    let parameters = decoder.parameters()?;
    let mut cotangent = |scores: &memtrain::policy::ScoredTokens| scores.log_probs.ones_like();
    decoder.backward(&scored, &parameters, checkpointing, &mut cotangent, gradients)
}

/// Bytes that a pass needed at its worst, above what was there before it.
fn measured(checkpointing: Checkpointing) -> Result<u64> {
    let decoder = Decoder::init(config(), 1, &Device::Cpu, DType::F32).map_err(candle_core::Error::wrap)?;
    let mut gradients = GradientBuffer::new(&decoder.parameters()?)?;
    // Threads, their buffers and the sums of gradients are there before anything is counted.
    pass(&decoder, 1, checkpointing, &mut gradients)?;
    let before = status("VmRSS");
    pass(&decoder, SEQUENCES, checkpointing, &mut gradients)?;
    Ok(status("VmHWM").saturating_sub(before))
}

#[test]
fn activations_take_what_the_plan_says() -> std::result::Result<(), Box<dyn std::error::Error>> {
    if let Ok(mode) = std::env::var(CHILD) {
        let checkpointing = if mode == "layers" { Checkpointing::Full } else { Checkpointing::Off };
        println!("bytes {}", measured(checkpointing)?);
        return Ok(());
    }
    if !store::exists(Path::new("/proc/self/status")) {
        println!("skipped: this system does not say what a process needs");
        return Ok(());
    }
    let mut peaks = Vec::new();
    for (mode, checkpointing) in [("whole", false), ("layers", true)] {
        let output = std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", "activations_take_what_the_plan_says", "--nocapture"])
            .env(CHILD, mode)
            .env("RAYON_NUM_THREADS", "2")
            .output()?;
        let stdout = String::from_utf8(output.stdout)?;
        let bytes = stdout.split("bytes ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let bytes: u64 = bytes.ok_or_else(|| format!("no bytes in {stdout}"))?.parse()?;
        let plan = MemoryPlan::new(&setting(checkpointing));
        let in_update = |class: &&plan::Class| class.phase == plan::memory::Phase::Update;
        let planned: u64 = plan.classes.iter().filter(in_update).map(|class| class.bytes).sum();
        let ratio = bytes as f64 / planned as f64;
        println!("{mode}: planned {planned}, measured {bytes}, ratio {ratio:.2}");
        assert!((0.7..1.25).contains(&ratio), "{mode}: planned {planned}, measured {bytes}");
        peaks.push(bytes);
    }
    // Six layers: all their tapes against one and the inputs.
    assert!(peaks[0] > 2 * peaks[1], "{peaks:?}");
    Ok(())
}
