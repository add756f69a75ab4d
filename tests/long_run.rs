//! The memory of a long run stays what it was.

use std::path::Path;

use candle_core::{DType, Device};
use memtrain::grpo::TrainingSample;
use memtrain::grpo::loss::LossConfig;
use memtrain::grpo::trainer::{UpdateConfig, UpdatePlan, score_reference, train_on};
use memtrain::optim::{AdamW, AdamWConfig, GradientBuffer};
use memtrain::policy::{Decoder, PolicyConfig, preset};
use memtrain::sampler::{LocalSampler, RngKey, SampleRequest, Sampler, SamplingParams};
use memtrain_corpora::store;

/// Bytes that the process holds.
fn resident() -> u64 {
    let text = store::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap()
}

/// Draws, scores by the reference, updates: the phases of a step, each returning what it took.
fn step(
    number: u64,
    decoder: &Decoder,
    reference: &Decoder,
    optimizer: &mut AdamW,
    gradients: &mut GradientBuffer,
) -> anyhow::Result<()> {
    // Lengths change from step to step, so that freed pieces never fit exactly.
    let params = |max_tokens| SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens };
    let request = |rollout: u64| SampleRequest {
        prompt_ids: (0..40 + (number * 7 % 50) as u32).map(|i| (i * i + 3 * (rollout / 4) as u32) % 60).collect(),
        params: params(8 + (number * 5 + rollout * 3) as usize % 25),
        rng_key: RngKey { step: number, rollout, ..RngKey::default() },
    };
    let requests: Vec<SampleRequest> = (0..12).map(request).collect();
    let completions = LocalSampler::with_ids(decoder, &[0], 60)?.sample(&requests)?;
    let sample = |(request, completion): (SampleRequest, memtrain::sampler::Completion)| TrainingSample {
        advantages: vec![completion.token_ids[0] as f32 / 30.0 - 1.0; completion.token_ids.len()],
        prompt_ids: request.prompt_ids,
        response_ids: completion.token_ids,
        sampler_log_probs: Some(completion.log_probs),
        old_log_probs: None,
        reference_log_probs: None,
    };
    let mut samples: Vec<TrainingSample> = requests.into_iter().zip(completions).map(sample).collect();
    let config = UpdateConfig::default();
    score_reference(optimizer.ranks(), reference, &mut samples, config.limits(1.0), &|| true)?;
    let plan = UpdatePlan { loss: &LossConfig::default(), config: &config, temperature: 1.0, learning_rate: 1e-4 };
    train_on(decoder, optimizer, gradients, samples, plan, &|| true)?;
    Ok(())
}

#[test]
fn two_hundred_steps_hold_no_more_than_forty() -> anyhow::Result<()> {
    let config = PolicyConfig { num_hidden_layers: 2, hidden_size: 32, intermediate_size: 64, ..preset::tiny(64) };
    let decoder = Decoder::init(config, 1, &Device::Cpu, DType::F32)?;
    let reference = decoder.frozen_copy()?;
    let mut optimizer = AdamW::new(decoder.parameters()?, AdamWConfig::default())?;
    let mut gradients = GradientBuffer::new(optimizer.parameters())?;
    let mut after_forty = 0;
    for number in 1..=200 {
        step(number, &decoder, &reference, &mut optimizer, &mut gradients)?;
        if number == 40 {
            after_forty = resident();
        }
    }
    // One gradient of the policy is 0.2 MB: kept at each step it would come to 32.
    let (mib, now) = (1 << 20, resident());
    assert!(now < after_forty + 8 * mib, "{} MiB after 40 steps, {} MiB after 200", after_forty / mib, now / mib);
    Ok(())
}
