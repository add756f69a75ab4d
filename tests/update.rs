//! The gradient of the GRPO loss through the whole policy.

use std::cell::Cell;

use candle_core::{DType, Device, Tensor};
use memtrain::grpo::TrainingSample;
use memtrain::grpo::loss::{LossAggregation, LossConfig};
use memtrain::grpo::trainer::{UpdateConfig, UpdatePlan, score_old, score_reference, train_on};
use memtrain::grpo::update::accumulate_loss;
use memtrain::optim::{AdamW, AdamWConfig, GradientBuffer, Ranks};
use memtrain::policy::{Decoder, preset};
use memtrain::scoring::Sharing;
use memtrain::scoring::{PassLimits, score};
use memtrain_corpora::{rng, store};
use rand::Rng;

const VOCABULARY: usize = 40;

fn decoder(dtype: DType) -> Decoder {
    let mut config = preset::tiny(VOCABULARY);
    config.hidden_size = 32;
    config.intermediate_size = 48;
    config.num_hidden_layers = 2;
    config.head_dim = 8;
    // Larger than in training, so that every parameter matters in a finite difference.
    config.initializer_range = 0.2;
    Decoder::init(config, 5, &Device::Cpu, dtype).unwrap().trainable_copy().unwrap()
}

/// Conversations in groups of equal prompts, two of which begin alike, off-policy enough that clipping and KL have something to do.
fn samples(decoder: &Decoder) -> Vec<TrainingSample> {
    let mut generator = rng::keyed("test/update", 1, &[]);
    let mut samples = Vec::new();
    for group in 0..3_u32 {
        let beginning = if group < 2 { 36 } else { 0 };
        let own = (0..4 + group).map(|_| generator.random_range(0..VOCABULARY as u32));
        let prompt_ids: Vec<u32> = (0..beginning).map(|i| i * i % VOCABULARY as u32).chain(own).collect();
        for member in 0..3_usize {
            let response_ids: Vec<u32> =
                (0..1 + 2 * member).map(|_| generator.random_range(0..VOCABULARY as u32)).collect();
            let advantage = [0.8_f32, -0.5, -0.3][member];
            samples.push(TrainingSample {
                advantages: vec![advantage; response_ids.len()],
                sampler_log_probs: None,
                old_log_probs: None,
                reference_log_probs: None,
                prompt_ids: prompt_ids.clone(),
                response_ids,
            });
        }
    }
    let pairs: Vec<_> = samples.iter().map(TrainingSample::pair).collect();
    let scored = score(decoder, &pairs, LIMITS).unwrap();
    for (sample, tokens) in samples.iter_mut().zip(scored) {
        let near = |spread: f64, generator: &mut rand_chacha::ChaCha8Rng| -> Vec<f32> {
            tokens.iter().map(|token| (token.log_prob + generator.random_range(-spread..spread)) as f32).collect()
        };
        sample.old_log_probs = Some(near(0.4, &mut generator));
        sample.reference_log_probs = Some(near(0.5, &mut generator));
    }
    samples
}

const LIMITS: PassLimits = PassLimits {
    micro_batch_tokens: 1_000,
    temperature: 1.0,
    activation_checkpointing: false,
    sharing: Sharing::Prefixes,
};

fn loss_config(aggregation: LossAggregation) -> LossConfig {
    LossConfig { kl_beta: 0.1, aggregation, ..LossConfig::default() }
}

fn gradients(
    decoder: &Decoder,
    samples: &[TrainingSample],
    loss: &LossConfig,
    limits: PassLimits,
) -> (f64, Vec<Tensor>) {
    let parameters = decoder.parameters().unwrap();
    let mut buffer = GradientBuffer::new(&parameters).unwrap();
    let statistics = accumulate_loss(decoder, &parameters, samples, loss, limits, &mut buffer, &|| true).unwrap();
    (statistics.loss, buffer.take().unwrap())
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    let decoder = decoder(DType::F64);
    let samples = samples(&decoder);
    for aggregation in [
        LossAggregation::SeqMeanTokenSum,
        LossAggregation::TokenMean,
        LossAggregation::SeqMeanTokenMean,
        LossAggregation::SeqMeanTokenSumNorm,
    ] {
        let loss = loss_config(aggregation);
        let (_, analytic) = gradients(&decoder, &samples, &loss, LIMITS);
        let mut generator = rng::keyed("test/slope", 1, &[]);
        for ((name, parameter), gradient) in decoder.parameters().unwrap().iter().zip(&analytic) {
            let values = flat(parameter.as_tensor());
            let at = generator.random_range(0..values.len());
            let moved = |by: f64| {
                let mut values = values.clone();
                values[at] += by;
                parameter.set(&Tensor::from_vec(values, parameter.shape(), &Device::Cpu).unwrap()).unwrap();
                gradients(&decoder, &samples, &loss, LIMITS).0
            };
            let step = 1e-6;
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            moved(0.0);
            let gradient = flat(gradient)[at];
            assert!(
                (slope - gradient).abs() < 1e-5 * (1.0 + slope.abs()),
                "{name}[{at}]: slope {slope}, gradient {gradient}"
            );
        }
    }
}

#[test]
fn any_split_into_micro_batches_gives_the_same_gradient() {
    let decoder = decoder(DType::F32);
    let samples = samples(&decoder);
    let loss = loss_config(LossAggregation::SeqMeanTokenSum);
    let (whole_loss, whole) = gradients(&decoder, &samples, &loss, LIMITS);
    let splits = [1, 9, 25, LIMITS.micro_batch_tokens].map(|tokens| [(tokens, false), (tokens, true)]);
    for (micro_batch_tokens, activation_checkpointing) in splits.into_iter().flatten() {
        let limits = PassLimits { micro_batch_tokens, activation_checkpointing, ..LIMITS };
        let (loss, parts) = gradients(&decoder, &samples, &loss, limits);
        assert!((loss - whole_loss).abs() < 1e-5);
        for (whole, part) in whole.iter().zip(&parts) {
            for (whole, part) in flat(whole).iter().zip(flat(part)) {
                assert!((whole - part).abs() < 1e-5 * (1.0 + whole.abs()), "{micro_batch_tokens}: {whole} and {part}");
            }
        }
    }
}

#[test]
fn what_is_computed_once_gives_the_same_losses_and_gradients() {
    let decoder = decoder(DType::F32);
    let samples = samples(&decoder);
    let pairs: Vec<_> = samples.iter().map(TrainingSample::pair).collect();
    let loss = loss_config(LossAggregation::SeqMeanTokenSum);
    let apart = PassLimits { sharing: Sharing::None, ..LIMITS };
    let truth = (score(&decoder, &pairs, apart).unwrap(), gradients(&decoder, &samples, &loss, apart));
    for sharing in [Sharing::Prompts, Sharing::Prefixes] {
        for micro_batch_tokens in [60, 1_000] {
            let limits = PassLimits { sharing, micro_batch_tokens, ..LIMITS };
            for (scored, truth) in
                score(&decoder, &pairs, limits).unwrap().iter().flatten().zip(truth.0.iter().flatten())
            {
                assert!((scored.log_prob - truth.log_prob).abs() < 1e-5, "{} and {}", scored.log_prob, truth.log_prob);
            }
            let (value, parts) = gradients(&decoder, &samples, &loss, limits);
            assert!((value - truth.1.0).abs() < 1e-5);
            for (whole, part) in truth.1.1.iter().zip(&parts) {
                for (whole, part) in flat(whole).iter().zip(flat(part)) {
                    assert!((whole - part).abs() < 1e-5 * (1.0 + whole.abs()), "{sharing:?}: {whole} and {part}");
                }
            }
        }
    }
}

#[test]
fn a_step_against_the_gradient_lowers_the_loss_and_on_policy_nothing_is_clipped() {
    let decoder = decoder(DType::F32);
    let mut samples = samples(&decoder);
    let pairs: Vec<_> = samples.iter().map(TrainingSample::pair).collect();
    let scored = score(&decoder, &pairs, LIMITS).unwrap();
    for (sample, tokens) in samples.iter_mut().zip(scored) {
        sample.sampler_log_probs = Some(tokens.iter().map(|token| token.log_prob as f32).collect());
        sample.old_log_probs = sample.sampler_log_probs.clone();
    }
    let loss = loss_config(LossAggregation::TokenMean);
    let parameters = decoder.parameters().unwrap();
    let mut buffer = GradientBuffer::new(&parameters).unwrap();
    let before = accumulate_loss(&decoder, &parameters, &samples, &loss, LIMITS, &mut buffer, &|| true).unwrap();
    assert_eq!((before.clip_low, before.clip_high, before.clip_dual), (0.0, 0.0, 0.0));
    assert!(before.mismatch_kl.abs() < 1e-9);
    for ((_, parameter), gradient) in parameters.iter().zip(buffer.take().unwrap()) {
        parameter.set(&(parameter.as_tensor() - (gradient * 0.01).unwrap()).unwrap()).unwrap();
    }
    let after = accumulate_loss(&decoder, &parameters, &samples, &loss, LIMITS, &mut buffer, &|| true).unwrap();
    assert!(after.loss < before.loss, "{} -> {}", before.loss, after.loss);
}

#[test]
fn scoring_can_be_given_up_before_each_micro_batch() {
    let decoder = decoder(DType::F32);
    let config = UpdateConfig { minibatches: 2, micro_batch_tokens: 48, ..UpdateConfig::default() };
    let (ranks, asked) = (Ranks::single(0), Cell::new(0));
    let score = |most: usize, old: bool| {
        asked.set(0);
        let goes_on = || {
            asked.set(asked.get() + 1);
            asked.get() <= most
        };
        let (mut samples, limits) = (samples(&decoder), config.limits(1.0));
        for sample in &mut samples {
            (sample.old_log_probs, sample.reference_log_probs) = (None, None);
        }
        let whole = match old {
            true => score_old(&ranks, &decoder, &mut samples, limits, &config, &goes_on).is_ok(),
            false => score_reference(&ranks, &decoder, &mut samples, limits, &goes_on).is_ok(),
        };
        let scored = |sample: &TrainingSample| {
            let log_probs = if old { &sample.old_log_probs } else { &sample.reference_log_probs };
            log_probs.is_some() == whole
        };
        assert!(samples.iter().all(scored), "all or nothing");
        whole
    };
    for old in [true, false] {
        let batches = (0..).find(|&most| score(most, old)).unwrap();
        assert!(batches > 1, "several micro-batches");
        assert_eq!(asked.get(), batches);
    }
}

#[test]
fn an_update_can_be_given_up_until_a_weight_moves_and_not_after() {
    let decoder = decoder(DType::F32);
    let samples = samples(&decoder);
    let loss = loss_config(LossAggregation::TokenMean);
    let config = UpdateConfig { minibatches: 2, micro_batch_tokens: 48, ..UpdateConfig::default() };
    let plan = UpdatePlan { loss: &loss, config: &config, temperature: 1.0, learning_rate: 1e-2 };
    let mut optimizer = AdamW::new(decoder.parameters().unwrap(), AdamWConfig::default()).unwrap();
    let mut buffer = GradientBuffer::new(optimizer.parameters()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bytes_of = |optimizer: &AdamW| {
        let path = folder.path().join("optimizer.safetensors");
        optimizer.save_state(&path).unwrap();
        store::read(&path).unwrap()
    };
    let before = bytes_of(&optimizer);
    let asked = Cell::new(0);
    let mut train = |most: usize| {
        asked.set(0);
        let goes_on = || {
            asked.set(asked.get() + 1);
            asked.get() <= most
        };
        let report = train_on(&decoder, &mut optimizer, &mut buffer, samples.clone(), plan, &goes_on);
        (report.is_ok(), bytes_of(&optimizer))
    };
    let first: Vec<usize> = (0..).take_while(|&most| train(most) == (false, before.clone())).collect();
    assert!(first.len() > 1, "several micro-batches before the first optimizer step: {first:?}");
    // The one that was asked for all of these was not asked again once weights had moved.
    let (done, after) = train(first.len());
    assert!(done && after != before);
    assert_eq!(asked.get(), first.len());
}
