//! Workloads whose requests to a card the recording CUDA driver counts (`scripts/cuda-record.sh`).
//!
//!     cargo bench --bench record -- DEVICE FOLDER TOKENS
//!
//! `FOLDER` is a policy directory, of which the tokenizer is not needed. The parts, each ended by a mark in the driver's
//! report: `loading`, the weights to the device; `scoring`, log-probabilities of one conversation of `TOKENS`, an eighth
//! of it response; `step`, forward, backward, clipping and AdamW on it; `draw N`, drawing N tokens for each of eight
//! prompts, twice, so that the difference is passes of decoding alone. On a device without the recorder it is the same
//! work without a report, with the seconds of each part.

use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use memtrain::device::DeviceChoice;
use memtrain::grpo::update::apply;
use memtrain::optim::{AdamW, AdamWConfig, GradientBuffer};
use memtrain::policy::directory::load_decoder;
use memtrain::policy::{Decoder, Precision};
use memtrain::sampler::{LocalSampler, RngKey, SampleRequest, Sampler, SamplingParams};
use memtrain::scoring::{PassLimits, PromptResponse, Sharing, accumulate, score};

/// Prompts that are drawn from side by side, and tokens of each.
const PROMPTS: usize = 8;
const PROMPT_TOKENS: usize = 128;

/// Tokens drawn for each prompt, in two parts.
const DRAWN: [usize; 2] = [8, 24];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let mut next = |what: &'static str| arguments.next().context(what);
    let device: DeviceChoice = next("a device is expected")?.parse()?;
    let (folder, tokens) = (next("a policy directory is expected")?, next("a number of tokens is expected")?.parse()?);
    let device = device.open()?;
    let precision = if device.is_cpu() { Precision::F32 } else { Precision::Bf16 };
    let start = part("loading", || Ok(load_decoder(Path::new(&folder), &device, precision.dtype())?))?;
    let mut training = part("optimizer", || Training::new(&start, precision, tokens))?;
    part("scoring", || training.score())?;
    part("step", || training.step())?;
    let mut sampler = LocalSampler::with_ids(&training.decoder, &[], training.decoder.config.vocab_size)?;
    for count in DRAWN {
        part(&format!("draw {count}"), || draw(&mut sampler, count))?;
    }
    Ok(())
}

/// Does a part of the work, and ends it in the driver's report.
fn part<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let done = work()?;
    println!("{name}: {:.2} s", started.elapsed().as_secs_f64());
    mark(name)?;
    Ok(done)
}

#[expect(unsafe_code, reason = "a function is found by its name where a driver may or may not have it")]
unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Tells the recording driver, where that is loaded, that a part has ended.
#[expect(unsafe_code, reason = "a function of the recording driver, which no other driver has")]
fn mark(name: &str) -> Result<()> {
    let name = CString::new(name)?;
    // SAFETY: a null handle searches everything that is loaded; the recorder's function takes a string and returns nothing.
    unsafe {
        let function = dlsym(std::ptr::null_mut(), c"recorder_mark".as_ptr());
        if !function.is_null() {
            std::mem::transmute::<*mut c_void, extern "C" fn(*const c_char)>(function)(name.as_ptr());
        }
    }
    Ok(())
}

/// A policy in training, and the conversation it is trained on.
struct Training {
    decoder: Decoder,
    optimizer: AdamW,
    gradients: GradientBuffer,
    prompt: Vec<u32>,
    response: Vec<u32>,
}

impl Training {
    fn new(start: &Decoder, precision: Precision, tokens: usize) -> Result<Self> {
        let (decoder, masters) = start.trainable(precision)?;
        let parameters = decoder.parameters()?;
        let mut optimizer = AdamW::new(parameters.clone(), AdamWConfig::default())?;
        if !masters.is_empty() {
            optimizer.set_masters(&masters)?;
        }
        let ids = |len: usize, salt: usize| (0..len).map(|i| ((i * 31 + salt) % 200) as u32).collect();
        let gradients = GradientBuffer::new(&parameters)?;
        let response = tokens / 8;
        Ok(Self { decoder, optimizer, gradients, prompt: ids(tokens - response, 1), response: ids(response, 5) })
    }

    fn limits(&self) -> PassLimits {
        PassLimits {
            micro_batch_tokens: self.prompt.len() + self.response.len(),
            temperature: 1.0,
            activation_checkpointing: true,
            sharing: Sharing::Prefixes,
        }
    }

    fn score(&self) -> Result<()> {
        let pairs = [PromptResponse { prompt_ids: &self.prompt, response_ids: &self.response }];
        score(&self.decoder, &pairs, self.limits())?;
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let pairs = [PromptResponse { prompt_ids: &self.prompt, response_ids: &self.response }];
        let (parameters, limits) = (self.decoder.parameters()?, self.limits());
        accumulate(&self.decoder, &parameters, &pairs, limits, &mut self.gradients, &|| true, |_| -1e-3)?;
        apply(&mut self.optimizer, &mut self.gradients, 1.0, 1e-6)?;
        Ok(self.decoder.device().synchronize()?)
    }
}

/// Draws `count` tokens for each prompt; none is a stop token.
fn draw(sampler: &mut LocalSampler, count: usize) -> Result<()> {
    let request = |number: usize| SampleRequest {
        prompt_ids: (0..PROMPT_TOKENS).map(|i| ((i * 7 + number * 13) % 200) as u32).collect(),
        params: SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: count },
        rng_key: RngKey { document: number as u64, ..RngKey::default() },
    };
    let requests: Vec<SampleRequest> = (0..PROMPTS).map(request).collect();
    sampler.sample(&requests)?;
    Ok(())
}
