//! Benchmark of prefix sharing, on against off: `cargo bench --bench prefix`.
//!
//! Groups of eight readings of a document whose prompts are laid out chunk first. The same rollouts are trained on with
//! every conversation by itself, with equal prompts computed once, and with equal beginnings computed once: operations,
//! CPU-seconds of a gradient, and by how much the gradients differ. Then the same for sampling: tokens read and
//! CPU-seconds.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use memtrain::grpo::TrainingSample;
use memtrain::grpo::loss::LossConfig;
use memtrain::grpo::update::accumulate_loss;
use memtrain::optim::GradientBuffer;
use memtrain::policy::{Decoder, preset};
use memtrain::sampler::{LocalSampler, RngKey, SampleRequest, Sampler, SamplingParams};
use memtrain::scoring::PassLimits;
use memtrain::scoring::Sharing;
use memtrain::train::speed::PassWork;
use memtrain_corpora::store;

const VOCABULARY: u32 = 1_024;
/// Documents, and readings of each.
const DOCUMENTS: u32 = 3;
const GROUP: u32 = 8;
/// Chunks of a document: the memory before the first is the same for all.
const CHUNKS: u32 = 3;
/// Tokens of instructions and chunk, of the memory, and of a response; the paper's proportions at a tenth of its size.
const CHUNK: u32 = 512;
const MEMORY: u32 = 96;
const RESPONSE: usize = 96;
const RUNS: usize = 3;

/// The prompt of a reading's turn, chunk first.
fn prompt(document: u32, reading: u32, chunk: u32) -> Vec<u32> {
    let ids = |len: u32, salt: u32| (0..len).map(move |i| 2 + (i * i * 7 + i + salt * 131) % (VOCABULARY - 2));
    let memory = if chunk == 0 { 0 } else { 1 + reading };
    ids(CHUNK, 10 * document + chunk).chain(ids(MEMORY, 1_000 + 100 * document + 10 * chunk + memory)).collect()
}

fn requests() -> Vec<SampleRequest> {
    let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: RESPONSE };
    let turns = (0..DOCUMENTS).flat_map(|document| {
        (0..CHUNKS).flat_map(move |chunk| (0..GROUP).map(move |reading| (document, chunk, reading)))
    });
    let request = |(document, chunk, reading): (u32, u32, u32)| SampleRequest {
        prompt_ids: prompt(document, reading, chunk),
        params,
        rng_key: RngKey { document: document.into(), rollout: reading.into(), turn: chunk.into(), ..RngKey::default() },
    };
    turns.map(request).collect()
}

/// The fewest CPU-seconds of some runs.
fn cpu_seconds(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let before = process_seconds()?;
        work()?;
        least = least.min(process_seconds()? - before);
    }
    Ok(least)
}

/// CPU-seconds of this process so far, in hundredths (Linux).
fn process_seconds() -> Result<f64> {
    let text = store::read_to_string(Path::new("/proc/self/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok((user + system) / 100.0),
        _ => anyhow::bail!("/proc/self/stat has no CPU times"),
    }
}

fn main() -> Result<()> {
    let decoder = Decoder::init(preset::tiny(VOCABULARY as usize), 0, &Device::Cpu, DType::F32)?;
    println!(
        "tiny policy, {DOCUMENTS} documents of {CHUNKS} chunks read {GROUP} times: prompts of {CHUNK} + {MEMORY} tokens, chunk first, responses of {RESPONSE}; {} threads",
        rayon::current_num_threads()
    );
    let requests = requests();
    let completions = draw(&decoder, &requests)?;
    let samples: Vec<TrainingSample> = requests
        .iter()
        .zip(completions)
        .enumerate()
        .map(|(number, (request, completion))| TrainingSample {
            prompt_ids: request.prompt_ids.clone(),
            advantages: vec![[0.5, -0.25, 0.75, -1.0][number % 4]; completion.token_ids.len()],
            sampler_log_probs: Some(completion.log_probs),
            response_ids: completion.token_ids,
            old_log_probs: None,
            reference_log_probs: None,
        })
        .collect();
    train(&decoder, &samples)
}

/// Samples with shared blocks; then each response by a sampler of its own, that has nothing to share with.
fn draw(decoder: &Decoder, requests: &[SampleRequest]) -> Result<Vec<memtrain::sampler::Completion>> {
    let mut sampler = LocalSampler::with_ids(decoder, &[], VOCABULARY as usize)?;
    let mut completions = Vec::new();
    let shared = cpu_seconds(|| {
        completions = sampler.sample(requests)?;
        Ok(())
    })?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed) / RUNS as u64;
    let (read, known) = (count(&sampler.counts().tokens_read), count(&sampler.counts().tokens_shared));
    println!("drawing: {read} tokens read, {known} found in shared blocks, {shared:.2} CPU-s");
    // The same work without anything in common: a first token of its own for each prompt.
    let apart: Vec<SampleRequest> = requests
        .iter()
        .enumerate()
        .map(|(number, request)| {
            let mut request = request.clone();
            request.prompt_ids[0] = 2 + number as u32;
            request
        })
        .collect();
    let alone = cpu_seconds(|| sampler.sample(&apart).map(drop))?;
    println!("drawing with nothing in common: {alone:.2} CPU-s, {:.2} times as many", alone / shared);
    Ok(completions)
}

fn train(decoder: &Decoder, samples: &[TrainingSample]) -> Result<()> {
    let parameters = decoder.parameters()?;
    let pairs: Vec<_> = samples.iter().map(TrainingSample::pair).collect();
    let mut truth: Option<(Vec<Tensor>, f64, f64)> = None;
    for (name, sharing) in [
        ("every conversation by itself", Sharing::None),
        ("equal prompts once", Sharing::Prompts),
        ("equal beginnings once", Sharing::Prefixes),
    ] {
        let limits =
            PassLimits { micro_batch_tokens: 8_192, temperature: 1.0, activation_checkpointing: false, sharing };
        let work = PassWork::of(&decoder.config, &pairs, limits.micro_batch_tokens, sharing);
        let mut gradients = Vec::new();
        let seconds = cpu_seconds(|| {
            let mut buffer = GradientBuffer::new(&parameters)?;
            accumulate_loss(decoder, &parameters, samples, &LossConfig::default(), limits, &mut buffer, &|| true)?;
            gradients = buffer.take()?;
            Ok(())
        })?;
        let operations = work.training_flops();
        print!(
            "gradient, {name}: {} tokens, {:.2} x 10^9 operations, {seconds:.2} CPU-s",
            work.tokens,
            operations / 1e9
        );
        match &truth {
            None => {
                println!();
                truth = Some((gradients, operations, seconds));
            }
            Some((whole, all, slow)) => {
                let (operations, time) = (all / operations, slow / seconds);
                let difference = difference(whole, &gradients)?;
                println!(
                    ": {operations:.2} times fewer operations, {time:.2} times faster; gradient off by {difference:.1e}"
                );
            }
        }
    }
    Ok(())
}

/// Largest difference of two gradients, each tensor's measured by its largest element.
fn difference(left: &[Tensor], right: &[Tensor]) -> Result<f64> {
    let mut worst = 0.0_f64;
    for (left, right) in left.iter().zip(right) {
        let largest = f64::from(left.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?);
        let off = f64::from((left - right)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?);
        worst = worst.max(off / largest.max(f64::MIN_POSITIVE));
    }
    Ok(worst)
}
