//! Speed of the training path on this machine: `cargo bench --bench train`.
//!
//! Prints tokens per second of forward and of forward plus backward for the tiny policy, and how much faster one packed
//! batch with shared prompts is than the same responses with a prompt each. Then the CPU-seconds of a whole GRPO step;
//! with `MEMTRAIN_BENCH_PYTHON` (a Python that has torch, transformers and trl) those of PyTorch and TRL for the same work,
//! and the ratios. Both use `RAYON_NUM_THREADS` threads.

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Result};
use memtrain::grpo::TrainingSample;
use memtrain::grpo::advantage::{RewardScale, advantages};
use memtrain::grpo::loss::{LossAggregation, LossConfig};
use memtrain::grpo::trainer::{UpdateConfig, UpdatePlan, train_on};
use memtrain::nn::{PackedBatch, tape};
use memtrain::optim::{AdamW, AdamWConfig, GradientBuffer};
use memtrain::policy::{Decoder, preset};
use memtrain::sampler::{LocalSampler, RngKey, SampleRequest, Sampler, SamplingParams};
use memtrain_corpora::store;

const VOCABULARY: u32 = 1_024;
const RUNS: u32 = 5;

/// `groups` prompts with `responses` each; unshared prompts are repeated before each response.
fn batch(
    groups: usize,
    responses: usize,
    prompt: usize,
    response: usize,
    shared: bool,
) -> (PackedBatch, Vec<u32>, Vec<u32>) {
    let ids = |len: usize, salt: usize| (0..len).map(|i| ((i * 7 + salt * 31) as u32) % VOCABULARY).collect::<Vec<_>>();
    let (mut batch, mut rows, mut targets) = (PackedBatch::default(), Vec::new(), Vec::new());
    for group in 0..groups {
        let mut prefix = None;
        for number in 0..responses {
            if prefix.is_none() || !shared {
                prefix = Some(batch.push(&ids(prompt, group), None));
            }
            let segment = batch.push(&ids(response, group + number + 1), prefix);
            let own = batch.segments[segment].rows.clone();
            rows.extend(batch.row_before(segment).map(|row| row as u32));
            rows.extend(own.start as u32..own.end as u32 - 1);
            targets.extend_from_slice(&batch.token_ids[own]);
        }
    }
    (batch, rows, targets)
}

fn seconds(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let start = Instant::now();
    for _ in 0..RUNS {
        work()?;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(RUNS))
}

fn main() -> anyhow::Result<()> {
    let decoder = Decoder::init(preset::tiny(VOCABULARY as usize), 0, &Device::Cpu, DType::F32);
    let decoder = decoder?;
    let frozen = decoder.frozen()?;
    let parameters = decoder.parameters()?;
    println!("tiny policy: {} parameters, {} threads", decoder.config.num_parameters(), rayon::current_num_threads());
    let mut times = Vec::new();
    for (name, shape, shared) in [
        ("80 sequences of 100 tokens, all scored", (80, 1, 1, 99), true),
        ("8 prompts of 600 with 8 responses of 50, shared", (8, 8, 600, 50), true),
        ("the same, each response with a prompt of its own", (8, 8, 600, 50), false),
    ] {
        let (groups, responses, prompt, response) = shape;
        let (batch, rows, targets) = batch(groups, responses, prompt, response, shared);
        let forward = seconds(|| {
            frozen.log_probs(&frozen.hidden(&batch)?, &rows, &targets, 1.0)?;
            Ok(())
        })?;
        let both = seconds(|| {
            let scored = decoder.log_probs(&decoder.hidden(&batch)?, &rows, &targets, 1.0)?;
            tape::gradients(&scored.log_probs.mean_all()?.neg()?, &parameters)?;
            Ok(())
        })?;
        let tokens = batch.num_tokens() as f64;
        println!(
            "{name}: {tokens} tokens, forward {:.0} tokens/s ({:.1} ms), forward and backward {:.0} tokens/s ({:.1} ms)",
            tokens / forward,
            forward * 1e3,
            tokens / both,
            both * 1e3
        );
        times.push(both);
    }
    println!("shared prompts: {:.2} times faster", times[2] / times[1]);
    let mut optimizer = AdamW::new(parameters.clone(), AdamWConfig::default())?;
    let gradients = parameters.iter().map(|(_, p)| p.ones_like()).collect::<Result<Vec<_>>>()?;
    let step = seconds(|| optimizer.step(&gradients, 1e-6))?;
    println!("AdamW step: {:.2} ms", step * 1e3);
    compare()
}

/// Prompts of the comparison, responses to each, and their lengths: about what a turn of the quickstart's reader has.
const GROUPS: usize = 8;
const GROUP: usize = 8;
const PROMPT: usize = 224;
const RESPONSE: usize = 32;

/// A GRPO step here and in TRL, forward and backward here and in PyTorch, by CPU time: on a machine with other work a
/// clock on the wall compares nothing.
fn compare() -> anyhow::Result<()> {
    let decoder = Decoder::init(preset::tiny(VOCABULARY as usize), 0, &Device::Cpu, DType::F32)?;
    let ids = |len: usize, salt: usize| -> Vec<u32> {
        (0..len).map(|i| 2 + ((i * i * 7 + i + salt * 131) as u32) % (VOCABULARY - 2)).collect()
    };
    let prompts: Vec<Vec<u32>> = (0..GROUPS).map(|group| ids(PROMPT, group)).collect();
    let responses: Vec<Vec<Vec<u32>>> = (0..GROUPS)
        .map(|group| (0..GROUP).map(|number| ids(RESPONSE, 100 + group * GROUP + number)).collect())
        .collect();
    println!(
        "\n{GROUPS} prompts of {PROMPT} tokens, {GROUP} responses of {RESPONSE} to each, {} threads; CPU-seconds",
        rayon::current_num_threads()
    );
    let [forward, both] = passes(&decoder, &prompts, &responses, false)?;
    let [shared_forward, shared_both] = passes(&decoder, &prompts, &responses, true)?;
    let step = grpo_step(&decoder, &prompts)?;
    let theirs = theirs(&decoder, &prompts, &responses)?;
    for (name, key, ours, shared) in [
        ("forward", "forward", forward, Some(shared_forward)),
        ("forward and backward", "forward_backward", both, Some(shared_both)),
        ("GRPO step", "step", step, None),
    ] {
        let shared = shared.map_or_else(String::new, |seconds| format!(", with shared prompts {seconds:.3}"));
        let other = theirs.as_ref().and_then(|times| times[key].as_f64());
        let other = other.map_or_else(String::new, |other| {
            let by = if key == "step" { "TRL" } else { "PyTorch" };
            format!(", {by} {other:.3}: {:.2} times ours", other / ours)
        });
        println!("{name}: {ours:.3}{shared}{other}");
    }
    Ok(())
}

/// Forward, and forward with backward, over all responses.
fn passes(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    responses: &[Vec<Vec<u32>>],
    shared: bool,
) -> anyhow::Result<[f64; 2]> {
    let (mut batch, mut rows, mut targets) = (PackedBatch::default(), Vec::new(), Vec::new());
    for (prompt, own) in prompts.iter().zip(responses) {
        let mut prefix = None;
        for response in own {
            if prefix.is_none() || !shared {
                prefix = Some(batch.push(prompt, None));
            }
            // The last token of a response predicts nothing that is scored.
            let segment = batch.push(&response[..response.len() - 1], prefix);
            rows.extend(batch.row_before(segment).map(|row| row as u32));
            rows.extend(batch.segments[segment].rows.clone().map(|row| row as u32));
            targets.extend_from_slice(response);
        }
    }
    let (frozen, parameters) = (decoder.frozen()?, decoder.parameters()?);
    let forward = cpu_seconds(|| {
        frozen.log_probs(&frozen.hidden(&batch)?, &rows, &targets, 1.0)?;
        Ok(())
    })?;
    let both = cpu_seconds(|| {
        let scored = decoder.log_probs(&decoder.hidden(&batch)?, &rows, &targets, 1.0)?;
        tape::gradients(&scored.log_probs.mean_all()?.neg()?, &parameters)?;
        Ok(())
    })?;
    Ok([forward, both])
}

/// Draw, reward, loss, backward, AdamW: no KL penalty, one update, a mean over tokens, as TRL's defaults.
fn grpo_step(decoder: &Decoder, prompts: &[Vec<u32>]) -> anyhow::Result<f64> {
    let decoder = decoder.trainable_copy()?;
    let parameters = decoder.parameters()?;
    let mut optimizer = AdamW::new(parameters.clone(), AdamWConfig::default())?;
    let mut gradients = GradientBuffer::new(&parameters)?;
    let loss = LossConfig { kl_beta: 0.0, aggregation: LossAggregation::TokenMean, ..LossConfig::default() };
    let config = UpdateConfig::default();
    let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: RESPONSE };
    let mut step = 0;
    cpu_seconds(|| {
        step += 1;
        let requests: Vec<SampleRequest> = (0..GROUPS * GROUP)
            .map(|number| SampleRequest {
                prompt_ids: prompts[number / GROUP].clone(),
                params,
                rng_key: RngKey { step, document: number as u64, ..RngKey::default() },
            })
            .collect();
        let completions = LocalSampler::with_ids(&decoder, &[], VOCABULARY as usize)?.sample(&requests)?;
        let mut samples = Vec::new();
        for (requests, completions) in requests.chunks(GROUP).zip(completions.chunks(GROUP)) {
            let rewards: Vec<f64> = completions.iter().map(|one| f64::from(one.token_ids[0] % 2)).collect();
            let group = requests.iter().zip(completions).zip(advantages(&rewards, RewardScale::None));
            samples.extend(group.map(|((request, completion), advantage)| TrainingSample {
                prompt_ids: request.prompt_ids.clone(),
                response_ids: completion.token_ids.clone(),
                sampler_log_probs: Some(completion.log_probs.clone()),
                old_log_probs: None,
                reference_log_probs: None,
                advantages: vec![advantage as f32; completion.token_ids.len()],
            }));
        }
        let plan = UpdatePlan { loss: &loss, config: &config, temperature: 1.0, learning_rate: 1e-6 };
        train_on(&decoder, &mut optimizer, &mut gradients, samples, plan, &|| true)?;
        Ok(())
    })
}

/// The same work in Python, where one is given.
fn theirs(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    responses: &[Vec<Vec<u32>>],
) -> anyhow::Result<Option<serde_json::Value>> {
    let Some(python) = std::env::var_os("MEMTRAIN_BENCH_PYTHON") else { return Ok(None) };
    let folder = tempfile::tempdir()?;
    let named: Vec<_> = decoder.weights.named();
    let weights = safetensors::serialize(named.iter().map(|(name, tensor)| (name, (*tensor).clone())), None)?;
    store::write_atomic(&folder.path().join("model.safetensors"), weights)?;
    store::write_json(&folder.path().join("config.json"), &decoder.config.to_json())?;
    let work = folder.path().join("work.json");
    store::write_json(&work, &serde_json::json!({"prompts": prompts, "responses": responses}))?;
    let threads = rayon::current_num_threads().to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/bench_trl.py");
    let output = std::process::Command::new(python)
        .arg(script)
        .args([folder.path(), &work])
        .args([&threads, &RUNS.to_string()])
        .env("OMP_NUM_THREADS", &threads)
        .output()?;
    anyhow::ensure!(output.status.success(), "the script failed: {}", String::from_utf8_lossy(&output.stderr));
    let last = String::from_utf8(output.stdout)?;
    let last = last.lines().last().unwrap_or_default();
    let report: serde_json::Value = serde_json::from_str(last)?;
    println!("compared with {}", report["versions"]);
    Ok(Some(report["times"].clone()))
}

/// CPU-seconds of the fastest of some runs, all threads, user and system.
fn cpu_seconds(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    work()?;
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let before = process_seconds()?;
        work()?;
        least = least.min(process_seconds()? - before);
    }
    Ok(least)
}

/// CPU-seconds of this process so far, in hundredths (Linux).
fn process_seconds() -> anyhow::Result<f64> {
    let text = store::read_to_string(Path::new("/proc/self/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok((user + system) / 100.0),
        _ => anyhow::bail!("/proc/self/stat has no CPU times"),
    }
}
