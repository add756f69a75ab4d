//! Speed of the training path on this machine: `cargo bench --bench train`.
//!
//! Prints tokens per second of forward and of forward plus backward for the tiny policy, and how much faster one packed
//! batch with shared prompts is than the same responses with a prompt each.

use std::time::Instant;

use candle_core::{DType, Device, Result};
use memtrain::nn::{PackedBatch, tape};
use memtrain::optim::{AdamW, AdamWConfig};
use memtrain::policy::{Decoder, preset};

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

fn main() -> Result<()> {
    let decoder = Decoder::init(preset::tiny(VOCABULARY as usize), 0, &Device::Cpu, DType::F32);
    let decoder = decoder.map_err(candle_core::Error::wrap)?;
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
    Ok(())
}
