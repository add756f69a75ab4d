//! Speed of the sampler on this machine: `cargo bench --bench sample`.
//!
//! Prints tokens sampled per second by the tiny policy for several numbers of live responses, in groups of eight that
//! share a prompt of 80 tokens, and for comparison without sharing and without a cache. Then conversations of different
//! numbers of turns and lengths of response, each turn following from the one before: continuously, and turn by turn with
//! all waiting for the slowest.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device};
use memtrain::policy::{Decoder, LoraConfig, preset};
use memtrain::sampler::{Completion, LocalSampler, RngKey, SampleRequest, Sampler, SamplingParams};

const VOCABULARY: u32 = 1_024;
const PROMPT: u32 = 80;
const RESPONSE: usize = 32;
const RUNS: usize = 5;

fn requests(live: u32, group: u32) -> Vec<SampleRequest> {
    let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: RESPONSE };
    let prompt = |number: u32| (0..PROMPT).map(|i| (number * 31 + i * i * 7 + i) % VOCABULARY).collect();
    let rng_key = |number: u32| RngKey { document: number.into(), ..RngKey::default() };
    (0..live)
        .map(|number| SampleRequest { prompt_ids: prompt(number / group), params, rng_key: rng_key(number) })
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
    measure("groups of 8, recomputed", &mut sampler.clone().recomputing(), 64, 8)?;
    measure("groups of 8, cache of tensors", &mut sampler.clone().with_tensor_cache(), 64, 8)?;
    with_an_adapter(&decoder)?;
    ragged(&sampler)
}

/// What adapters on all matrices cost: they are added into these before the first token.
fn with_an_adapter(decoder: &Decoder) -> Result<()> {
    let adapted = decoder.with_lora(&LoraConfig::default(), 0)?;
    for live in [1, 64] {
        let requests = requests(live, 8);
        let time = |decoder: &Decoder| -> Result<f64> {
            seconds(&mut LocalSampler::with_ids(decoder, &[], VOCABULARY as usize)?, &requests)
        };
        let (with, without) = (time(&adapted)?, time(decoder)?);
        println!("{live} responses with an adapter of rank 16: {:.2} times the time without", with / without);
    }
    Ok(())
}

/// Conversations of [`ragged`].
const CONVERSATIONS: u64 = 48;

/// A sampler that knows no stream: what was submitted is sampled when all of the last round has ended.
struct InRounds(LocalSampler);

impl Sampler for InRounds {
    fn sample(&mut self, requests: &[SampleRequest]) -> Result<Vec<Completion>> {
        self.0.sample(requests)
    }
}

/// Turn `turn` of a conversation, which has one to nine turns of 4 to 96 tokens; most are short, a few are long.
fn turn(conversation: u64, turn: u64) -> Option<SampleRequest> {
    let spread = (conversation * 37 + 11) % 29;
    (turn <= spread * spread / 98).then(|| {
        let length = (conversation * 131 + turn * 71) % 101;
        let prompt_ids =
            (0..PROMPT as u64).map(|i| ((conversation * 31 + turn * 17 + i * i * 7) % 1_000) as u32).collect();
        let max_tokens = 4 + (length * length / 110) as usize;
        let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens };
        SampleRequest { prompt_ids, params, rng_key: RngKey { document: conversation, turn, ..RngKey::default() } }
    })
}

/// Plays all conversations; the tokens sampled.
fn play(sampler: &mut dyn Sampler) -> Result<usize> {
    let mut next_turn = vec![0_u64; CONVERSATIONS as usize];
    let mut stream = sampler.stream()?;
    for conversation in 0..CONVERSATIONS {
        turn(conversation, 0).map_or(Ok(()), |request| stream.submit(conversation as usize, request))?;
    }
    let mut tokens = 0;
    while let Some((conversation, completion)) = stream.next()? {
        tokens += completion.token_ids.len();
        next_turn[conversation] += 1;
        if let Some(request) = turn(conversation as u64, next_turn[conversation]) {
            stream.submit(conversation, request)?;
        }
    }
    Ok(tokens)
}

/// The gain of letting conversations advance on their own.
fn ragged(sampler: &LocalSampler) -> Result<()> {
    let measure = |name: &str, sampler: &mut dyn Sampler, counts: &LocalSampler| -> Result<(f64, u64)> {
        let (mut best, mut tokens, mut passes) = (f64::INFINITY, 0, 0);
        for _ in 0..RUNS {
            let (before, start) = (counts.counts().passes.load(Relaxed), Instant::now());
            tokens = play(sampler)?;
            best = best.min(start.elapsed().as_secs_f64());
            passes = counts.counts().passes.load(Relaxed) - before;
        }
        println!(
            "{CONVERSATIONS} ragged conversations, {name}: {tokens} tokens in {passes} passes, {:.1} ms",
            best * 1e3
        );
        Ok((best, passes))
    };
    let (continuous, few) = measure("continuously", &mut sampler.clone(), sampler)?;
    let (rounds, many) = measure("turn by turn", &mut InRounds(sampler.clone()), sampler)?;
    println!(
        "continuous batching: {:.2} times faster, {:.2} times fewer passes",
        rounds / continuous,
        many as f64 / few as f64
    );
    Ok(())
}
