//! A text read chunk by chunk with a memory, and a question answered from the memory alone.
//!
//!     cargo run --release --example read -- [POLICY [FILE QUESTION]]
//!
//! The policy that the repository carries knows a fictional world alone; the prompts and limits here are those it was
//! trained with.

use std::path::PathBuf;

use memtrain::agents::chunks::CutAt;
use memtrain::agents::prompts::PromptSet;
use memtrain::agents::reader::{Reader, ReaderConfig, ReadingTask, SamplingConfig, StepKey};
use memtrain::corpora::store;
use memtrain::policy::directory;
use memtrain::rollout::RolloutEngine;
use memtrain::sampler::LocalSampler;

/// Of the fictional world, with one person hidden.
const TEXT: &str = "[MASK] read in winter from Givumyth. [MASK] traded wine for Kiziniad. [MASK] bears the seal of the robin. \
                    [MASK] dreamed of cloth. [MASK] is praised in the song of the crocus. [MASK] owed oil to Vametex. \
                    Nuhabran sold honey in Devigrad. Nuhabran worked as a farmer. Nuhabran slept badly in winter.";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "configs/policies/mini".to_owned()));
    let text = arguments.next().map(|file| store::read_to_string(file.as_ref())).transpose()?;
    let text = text.unwrap_or_else(|| TEXT.to_owned());
    // Without a question the policy is asked for what is hidden, as in training.
    let question = arguments.next();

    let policy = directory::load(&folder, &candle_core::Device::Cpu, candle_core::DType::F32)?;
    let config = ReaderConfig {
        prompts: "compact".to_owned(),
        chunk_tokens: 40,
        memory_tokens: 48,
        answer_tokens: 12,
        context_tokens: 512,
        cut_at: CutAt::Sentence,
        ..ReaderConfig::default()
    };
    let prompts = PromptSet::load(&config.prompts, config.prompt.layout)?;
    let reader = Reader {
        tokenizer: &policy.tokenizer,
        prompts: &prompts,
        config: &config,
        sampling: &SamplingConfig::GREEDY,
        step_key: StepKey { seed: 0, step: 0 },
    };

    let chunks: Vec<String> = reader.chunk(&text)?.into_iter().map(|span| text[span].to_owned()).collect();
    let task = ReadingTask { document: 0, problem: question, chunks };
    let mut engine = RolloutEngine::new(LocalSampler::new(&policy.decoder, &policy.tokenizer)?);
    let readings = reader.read(&mut engine, std::slice::from_ref(&task), 1)?;
    let reading = &readings[0][0];
    for (number, chunk) in task.chunks.iter().enumerate() {
        println!("chunk {}:  {}", number + 1, chunk.trim());
        println!("memory:   {}\n", reading.memory(number + 1).trim());
    }
    println!("answer:   {}", reading.answer().trim());
    Ok(())
}
