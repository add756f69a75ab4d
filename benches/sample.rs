//! Speed of the sampler on this machine: `cargo bench --bench sample`.
//!
//! Prints tokens drawn per second by the tiny policy for several numbers of live responses, in groups of eight that
//! share a prompt of 80 tokens, and for comparison without sharing and without a cache.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device};
use memtrain::policy::{Decoder, preset};
use memtrain::sampler::{DrawAddress, LocalSampler, SampleRequest, Sampler, SamplingParams};

const VOCABULARY: u32 = 1_024;
const PROMPT: u32 = 80;
const RESPONSE: usize = 32;
const RUNS: usize = 5;

fn requests(live: u32, group: u32) -> Vec<SampleRequest> {
    let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: RESPONSE };
    let prompt = |number: u32| (0..PROMPT).map(|i| (number * 31 + i * i * 7 + i) % VOCABULARY).collect();
    let address = |number: u32| DrawAddress { document: number.into(), ..DrawAddress::default() };
    (0..live)
        .map(|number| SampleRequest { prompt_ids: prompt(number / group), params, address: address(number) })
        .collect()
}

/// The fastest of some runs, in seconds: the machine's other work only ever adds.
fn seconds(sampler: &mut LocalSampler, requests: &[SampleRequest]) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        sampler.sample(requests)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn main() -> Result<()> {
    let decoder = Decoder::init(preset::tiny(VOCABULARY as usize), 0, &Device::Cpu, DType::F32)?;
    let mut sampler = LocalSampler::with_ids(&decoder, &[], VOCABULARY as usize)?;
    println!("tiny policy: {} parameters, {} threads", decoder.config.num_parameters(), rayon::current_num_threads());
    let measure = |name: &str, sampler: &mut LocalSampler, live: u32, group: u32| -> Result<()> {
        let time = seconds(sampler, &requests(live, group))?;
        let rate = f64::from(live) * RESPONSE as f64 / time;
        println!("{live} responses of {RESPONSE} tokens, {name}: {:.1} ms, {rate:.0} tokens/s", time * 1e3);
        Ok(())
    };
    for live in [8, 64, 128, 256, 512] {
        measure("groups of 8", &mut sampler, live, 8)?;
    }
    measure("each with a prompt of its own", &mut sampler, 256, 1)?;
    measure("groups of 8, recomputed", &mut sampler.recomputing(), 64, 8)
}
