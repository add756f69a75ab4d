//! The cached sampler against the decoder and against its recomputing twin.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use memtrain_kernels::nn::PackedBatch;
use memtrain_kernels::nn::gradient_check::wave;
use memtrain_model::policy::{Architecture, Decoder, LoraConfig, PolicyConfig, preset};
use memtrain_model::scoring::{PassLimits, PromptResponse, Sharing, score};

use super::*;

mod late;

const VOCAB: usize = 90;
const STOP: u32 = 7;

/// A decoder whose distributions are far from flat.
fn decoder(architecture: Architecture, dtype: DType) -> Result<Decoder> {
    let config = PolicyConfig { architecture, initializer_range: 0.12, ..preset::tiny(VOCAB) };
    Ok(Decoder::init(config, 5, &Device::Cpu, dtype)?)
}

fn sampler(decoder: &Decoder) -> Result<LocalSampler> {
    LocalSampler::with_ids(decoder, &[STOP], VOCAB - 10)
}

fn prompt(number: usize, len: usize) -> Vec<u32> {
    (0..len).map(|i| ((number * 31 + i * i * 7 + i) % VOCAB) as u32).collect()
}

const PARAMS: SamplingParams = SamplingParams { temperature: 0.9, top_p: 1.0, top_k: 0, max_tokens: 24 };

/// 40 requests over 14 prompts of 1 to 79 tokens, with several ways to sample.
fn requests() -> Vec<SampleRequest> {
    (0..40u64)
        .map(|number| SampleRequest {
            prompt_ids: prompt(number as usize % 14, 1 + number as usize % 14 * 6),
            params: SamplingParams {
                temperature: [0.9, 1.3, 0.0][number as usize % 3],
                top_p: if number % 5 == 0 { 0.8 } else { 1.0 },
                top_k: if number % 7 == 0 { 20 } else { 0 },
                max_tokens: 1 + (number as usize * 5) % 33,
            },
            rng_key: RngKey { seed: 1, document: number % 14, rollout: number / 14, ..Default::default() },
        })
        .collect()
}

/// The same tokens; log-probabilities up to rounding.
fn assert_close(left: &[Completion], right: &[Completion]) {
    assert_eq!(left.len(), right.len());
    for (number, (left, right)) in left.iter().zip(right).enumerate() {
        assert_eq!((&left.token_ids, left.finish), (&right.token_ids, right.finish), "request {number}");
        let far = left.log_probs.iter().zip(&right.log_probs).any(|(left, right)| (left - right).abs() > 1e-5);
        assert!(!far, "request {number}: {:?} and {:?}", left.log_probs, right.log_probs);
    }
}

#[test]
fn log_probs_are_the_teacher_forced_ones() -> Result<()> {
    for architecture in [Architecture::Qwen3, Architecture::Qwen2] {
        let decoder = decoder(architecture, DType::F32)?;
        let requests = requests();
        let completions = sampler(&decoder)?.sample(&requests)?;
        for (request, completion) in requests.iter().zip(&completions) {
            let mut batch = PackedBatch::default();
            let prompt = batch.push(&request.prompt_ids, None);
            let response = batch.push(&completion.token_ids, Some(prompt));
            let before = batch.row_before(response).expect("a prompt");
            let start = batch.segments[response].rows.start;
            let rows: Vec<u32> =
                (0..completion.token_ids.len()).map(|i| if i == 0 { before } else { start + i - 1 } as u32).collect();
            let temperature = if request.params.temperature > 0.0 { request.params.temperature } else { 1.0 };
            let scored = decoder.log_probs(&decoder.hidden(&batch)?, &rows, &completion.token_ids, temperature)?;
            let scored = scored.log_probs.to_vec1::<f32>()?;
            for (drawn, scored) in completion.log_probs.iter().zip(&scored) {
                assert!((drawn - scored).abs() < 1e-5, "{drawn} and {scored}");
            }
        }
    }
    Ok(())
}

#[test]
fn both_caches_draw_what_full_recomputation_draws() -> Result<()> {
    let requests = requests();
    for architecture in [Architecture::Qwen3, Architecture::Qwen2] {
        let decoder = decoder(architecture, DType::F32)?;
        let cached = sampler(&decoder)?.sample(&requests)?;
        assert_close(&cached, &sampler(&decoder)?.recomputing().sample(&requests)?);
        assert_close(&cached, &sampler(&decoder)?.with_tensor_cache().sample(&requests)?);
        let cut = sampler(&decoder)?.with_tensor_cache().with_prefill_tokens(13).with_cache_bytes(LITTLE_CACHE);
        assert_close(&cached, &{ cut }.sample(&requests)?);
        // In f64 there is no cached path; the samples are the same up to rounding of the logits.
        assert_close(&cached, &sampler(&decoder.to_dtype(DType::F64)?)?.sample(&requests)?);
    }
    Ok(())
}

/// Bytes of about 12 blocks of the tiny policy: four sequences at most.
const LITTLE_CACHE: usize = 12 * 32 * 2 * 4 * 4 * 2 * 32;

/// Plays requests through a stream, one conversation after the other submitting its next when its last has ended.
fn through_a_stream(
    sampler: &mut LocalSampler,
    requests: &[SampleRequest],
    order: &[usize],
    at_once: usize,
) -> Result<Vec<Completion>> {
    let mut left = order.iter();
    let mut completions: Vec<Option<Completion>> = vec![None; requests.len()];
    let mut stream = sampler.stream()?;
    for &ticket in left.by_ref().take(at_once) {
        stream.submit(ticket, requests[ticket].clone())?;
    }
    while let Some((ticket, completion)) = stream.next()? {
        assert!(completions[ticket].replace(completion).is_none(), "{ticket} came twice");
        if let Some(&next) = left.next() {
            stream.submit(next, requests[next].clone())?;
        }
    }
    Ok(completions.into_iter().map(|completion| completion.expect("every request is answered")).collect())
}

#[test]
fn results_are_the_same_to_the_bit_in_any_company() -> Result<()> {
    let requests = requests();
    let decoder = decoder(Architecture::Qwen3, DType::F32)?;
    let together = sampler(&decoder)?.sample(&requests)?;
    let alone: Result<Vec<_>> = requests
        .iter()
        .map(|request| Ok(sampler(&decoder)?.sample(std::slice::from_ref(request))?.remove(0)))
        .collect();
    assert!(together == alone?, "alone");
    for round in 0..12_usize {
        // Another order of arrival, number of running sequences, size of the cache and of the pieces prompts are read
        // in.
        let order: Vec<usize> =
            (0..requests.len()).map(|i| (i * [1, 3, 7, 9, 11, 13][round % 6] + round) % 40).collect();
        let config = SamplerConfig { max_sequences: 1 + round * 3, ..SamplerConfig::default() };
        let mut sampler = sampler(&decoder)?.with_config(&config).with_prefill_tokens([1, 5, 40, 2048][round % 4]);
        if round % 3 > 0 {
            sampler = sampler.with_cache_bytes(LITTLE_CACHE * (round % 3));
        }
        assert!(together == through_a_stream(&mut sampler, &requests, &order, 1 + round * 2)?, "round {round}");
    }
    Ok(())
}

#[test]
fn what_never_fits_is_refused_and_what_fits_barely_is_not() -> Result<()> {
    let decoder = decoder(Architecture::Qwen3, DType::F32)?;
    let request = |prompt_len: usize| SampleRequest {
        prompt_ids: prompt(1, prompt_len),
        params: SamplingParams { max_tokens: 1, ..PARAMS },
        rng_key: RngKey::default(),
    };
    let mut sampler = sampler(&decoder)?;
    let block = sampler.block_bytes();
    sampler = sampler.with_cache_bytes(3 * block + block / 2);
    let longest = sampler.sample(&[request(96)])?;
    assert_eq!(longest.len(), 1);
    let error = sampler.sample(&[request(20), request(97)]).expect_err("four blocks");
    assert!(error.to_string().starts_with("request 1: 98 tokens") && error.to_string().contains("sampler.cache_gib"));
    Ok(())
}

#[test]
fn a_long_response_keeps_nobody_waiting_and_nobody_starves() -> Result<()> {
    let decoder = decoder(Architecture::Qwen3, DType::F32)?;
    let mut sampler = LocalSampler::with_ids(&decoder, &[], VOCAB)?;
    let request = |max_tokens: usize| SampleRequest {
        prompt_ids: prompt(3, 40),
        params: SamplingParams { max_tokens, ..PARAMS },
        rng_key: RngKey::default(),
    };
    let mut stream = sampler.stream()?;
    stream.submit(0, request(60))?;
    // A stream of short ones: the long one ends in its time all the same, after about twelve of them.
    let mut short_ones = 0;
    stream.submit(1, request(5))?;
    while let Some((ticket, _)) = stream.next()? {
        if ticket == 0 {
            break;
        }
        short_ones += 1;
        stream.submit(1 + short_ones, request(5))?;
    }
    assert!((8..=12).contains(&short_ones), "{short_ones}");
    Ok(())
}

#[test]
fn responses_stop_and_masked_ids_are_never_drawn() -> Result<()> {
    let decoder = decoder(Architecture::Qwen3, DType::F32)?;
    let requests: Vec<_> = (0..200)
        .map(|document| SampleRequest {
            prompt_ids: prompt(1, 12),
            params: SamplingParams { temperature: 3.0, ..PARAMS },
            rng_key: RngKey { document, ..Default::default() },
        })
        .collect();
    let completions = sampler(&decoder)?.sample(&requests)?;
    let mut stopped = 0;
    for completion in &completions {
        let stop = completion.token_ids.iter().position(|&id| id == STOP);
        let expected = match completion.finish {
            FinishReason::Stop => Some(completion.token_ids.len() - 1),
            FinishReason::Length => None,
        };
        assert_eq!(stop, expected);
        assert_eq!(completion.log_probs.len(), completion.token_ids.len());
        assert!(completion.finish == FinishReason::Stop || completion.token_ids.len() == PARAMS.max_tokens);
        assert!(completion.token_ids.iter().all(|&id| (id as usize) < VOCAB - 10));
        stopped += usize::from(completion.finish == FinishReason::Stop);
    }
    assert!(0 < stopped && stopped < 200, "{stopped} of 200 stopped");
    Ok(())
}

#[test]
fn first_tokens_follow_the_softmax() -> Result<()> {
    let decoder = decoder(Architecture::Qwen3, DType::F32)?;
    let prompt_ids = prompt(2, 9);
    let num_draws = 8_000;
    let requests: Vec<_> = (0..num_draws)
        .map(|document| SampleRequest {
            prompt_ids: prompt_ids.clone(),
            params: SamplingParams { temperature: 2.0, max_tokens: 1, ..PARAMS },
            rng_key: RngKey { seed: 9, document, ..Default::default() },
        })
        .collect();
    let mut counts = [0u32; VOCAB];
    for completion in LocalSampler::with_ids(&decoder, &[], VOCAB)?.sample(&requests)? {
        counts[completion.token_ids[0] as usize] += 1;
    }
    let mut batch = PackedBatch::default();
    batch.push(&prompt_ids, None);
    let hidden = decoder.hidden(&batch)?.narrow(0, prompt_ids.len() - 1, 1)?;
    let logits = decoder.logits(&hidden)?.to_dtype(DType::F64)?.squeeze(0)?.to_vec1::<f64>()?;
    let total: f64 = logits.iter().map(|logit| (logit / 2.0).exp()).sum();
    let (mut statistic, mut degrees) = (0.0, -1.0);
    for (count, logit) in counts.iter().zip(&logits) {
        let expected = (logit / 2.0).exp() / total * num_draws as f64;
        if expected >= 5.0 {
            statistic += (f64::from(*count) - expected).powi(2) / expected;
            degrees += 1.0;
        }
    }
    assert!(degrees > 20.0, "the distribution is too sharp to test");
    // Four standard deviations of a chi-square variable.
    assert!(statistic < degrees + 4.0 * (2.0f64 * degrees).sqrt(), "{statistic} with {degrees} degrees of freedom");
    Ok(())
}

#[test]
fn updates_of_the_weights_are_seen() -> Result<()> {
    let decoder = decoder(Architecture::Qwen3, DType::F32)?;
    let mut sampler = sampler(&decoder)?;
    let request = SampleRequest { prompt_ids: prompt(3, 20), params: PARAMS, rng_key: RngKey::default() };
    let before = sampler.sample(std::slice::from_ref(&request))?;
    for (_, variable) in decoder.parameters()? {
        variable.set(&(variable.as_tensor().detach() * 0.5)?)?;
    }
    assert_ne!(sampler.sample(&[request])?, before);
    Ok(())
}

/// Adapters on every matrix that move a log-probability by tenths.
fn adapted(decoder: &Decoder) -> Result<Decoder> {
    let adapted = decoder.with_lora(&LoraConfig { rank: 4, alpha: 8.0, ..LoraConfig::default() }, 2)?;
    move_adapters(&adapted, 0.02)?;
    Ok(adapted)
}

fn move_adapters(decoder: &Decoder, by: f64) -> Result<()> {
    for (_, variable) in decoder.parameters()? {
        let wave = wave(variable.dims(), DType::F32, 0.7)?;
        variable.set(&(variable.as_detached_tensor() + (wave * by)?)?)?;
    }
    Ok(())
}

/// The largest difference between what was drawn and what the decoder says of it, in nats.
fn farthest(decoder: &Decoder, requests: &[SampleRequest], completions: &[Completion]) -> Result<f64> {
    let pairs: Vec<PromptResponse<'_>> = requests
        .iter()
        .zip(completions)
        .map(|(asked, drawn)| PromptResponse { prompt_ids: &asked.prompt_ids, response_ids: &drawn.token_ids })
        .collect();
    let limits = PassLimits {
        micro_batch_tokens: 4096,
        temperature: PARAMS.temperature,
        activation_checkpointing: false,
        sharing: Sharing::default(),
    };
    let scored = score(decoder, &pairs, limits)?;
    let own = completions.iter().flat_map(|drawn| &drawn.log_probs).map(|&drawn| f64::from(drawn));
    let scored = scored.iter().flatten().map(|token| token.log_prob);
    Ok(own.zip(scored).map(|(drawn, scored)| (drawn - scored).abs()).fold(0.0, f64::max))
}

#[test]
fn adapters_are_merged_for_drawing_and_stay_as_they_are() -> Result<()> {
    let requests: Vec<_> = (0..24)
        .map(|document| SampleRequest {
            prompt_ids: prompt(document as usize, 30),
            params: PARAMS,
            rng_key: RngKey { document, ..Default::default() },
        })
        .collect();
    for dtype in [DType::F32, DType::BF16] {
        let base = decoder(Architecture::Qwen3, dtype)?;
        let adapted = adapted(&base)?;
        let values = |decoder: &Decoder| -> Result<Vec<Vec<f32>>> {
            let named = decoder.weights.named_adapters().into_iter().chain(decoder.weights.named());
            let values = named.map(|(_, tensor)| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1());
            Ok(values.collect::<candle_core::Result<_>>()?)
        };
        let before = values(&adapted)?;
        let mut merging = sampler(&adapted)?;
        let drawn = merging.sample(&requests)?;
        assert_eq!(values(&adapted)?, before);
        // Products of their own say the same, weights of 16 bits included: the sum is not rounded to those.
        let (off, base_off) = (farthest(&adapted, &requests, &drawn)?, farthest(&base, &requests, &drawn)?);
        assert!(off < 2e-5 && base_off > 0.1, "{dtype:?}: {off:e}, and {base_off} without adapters");
        assert_close(&drawn, &sampler(&adapted)?.recomputing().sample(&requests)?);
        assert_close(&drawn, &sampler(&adapted)?.with_tensor_cache().sample(&requests)?);
        // The next stream draws with the adapters as they are then.
        move_adapters(&adapted, 0.02)?;
        let (stale, drawn) = (drawn, merging.sample(&requests)?);
        let (off, stale) = (farthest(&adapted, &requests, &drawn)?, farthest(&adapted, &requests, &stale)?);
        assert!(off < 2e-5 && stale > 0.01, "{dtype:?}: {off:e}, and {stale} of the stream before");
    }
    Ok(())
}

#[test]
fn bad_requests_are_refused() -> Result<()> {
    let decoder = decoder(Architecture::Qwen3, DType::F32)?;
    let positions = decoder.config.max_position_embeddings;
    let good = SampleRequest { prompt_ids: vec![1], params: PARAMS, rng_key: RngKey::default() };
    let params = |change: fn(&mut SamplingParams)| {
        let mut request = good.clone();
        change(&mut request.params);
        request
    };
    let cases = [
        (SampleRequest { prompt_ids: vec![], ..good.clone() }, "the prompt is empty"),
        (SampleRequest { prompt_ids: vec![1, 90], ..good.clone() }, "token id 90 is outside the vocabulary of 90"),
        (SampleRequest { prompt_ids: vec![1; positions], ..good.clone() }, "exceed the policy's 16384 positions"),
        (params(|params| params.temperature = f64::NAN), "temperature NaN"),
        (params(|params| params.top_p = 0.0), "top-p 0"),
        (params(|params| params.max_tokens = 0), "max tokens 0"),
    ];
    for (bad, expected) in cases {
        let error = sampler(&decoder)?.sample(&[good.clone(), bad]).expect_err(expected);
        assert!(error.to_string().starts_with("request 1: ") && error.to_string().contains(expected), "{error}");
    }
    let norm = &decoder.weights.norm;
    let broken = Decoder {
        weights: memtrain_model::policy::Weights {
            norm: Tensor::full(f32::NAN, norm.shape(), norm.device())?,
            ..decoder.weights.clone()
        },
        ..decoder.clone()
    };
    let error = sampler(&broken)?.sample(&[good]).expect_err("not finite");
    assert!(error.to_string().contains("are not finite"), "{error}");
    assert_eq!(sampler(&decoder)?.sample(&[])?, []);
    Ok(())
}
