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

const TEXT: &str = "Pikilind was a farmer in Sovany. In the spring of the year 212 Pikilind sold a field to a miller. [MASK] \
                    built a house by the river. The river is called Tamsa. In the autumn [MASK] sailed to the island.";
const QUESTION: &str = "Who is [MASK]?";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "configs/policies/mini".to_owned()));
    let text = arguments.next().map(|file| store::read_to_string(file.as_ref())).transpose()?;
    let text = text.unwrap_or_else(|| TEXT.to_owned());
    let question = arguments.next().unwrap_or_else(|| QUESTION.to_owned());

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
    let task = ReadingTask { document: 0, problem: Some(question.clone()), chunks };
    let mut engine = RolloutEngine::new(LocalSampler::new(&policy.decoder, &policy.tokenizer)?);
    let readings = reader.read(&mut engine, std::slice::from_ref(&task), 1)?;
    let reading = &readings[0][0];
    for (number, chunk) in task.chunks.iter().enumerate() {
        println!("chunk {}:  {}", number + 1, chunk.trim());
        println!("memory:   {}\n", reading.memory(number + 1).trim());
    }
    println!("{question}  {}", reading.answer().trim());
    Ok(())
}
