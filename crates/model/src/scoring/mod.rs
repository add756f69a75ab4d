//! Teacher-forced passes over prompts with given responses: log-probabilities of the response tokens, and gradients of
//! losses that depend on nothing else.
//!
//! [`packing`] lays pairs out in micro-batches; [`score`] reads log-probabilities off a forward pass, [`accumulate`]
//! sends `∂loss/∂log π` a token backward. Gradient accumulation is in f32, and any split into micro-batches gives the
//! same sum up to rounding.

pub mod packing;

use candle_core::{Tensor, Var};

pub use packing::{MicroBatch, PromptResponse, Sharing, pack};

use crate::optim::{GradientBuffer, Ranks, f64s};
use crate::policy::decoder::{Decoder, ScoredTokens};
use crate::policy::{Checkpointing, ScoredRows};

/// What is known of one response token after the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct ScoredToken {
    /// Index of its sample.
    pub sample: usize,
    /// Index in the response.
    pub token: usize,
    /// Log-probability under the policy.
    pub log_prob: f64,
    /// Entropy of the distribution it was scored in, in nats.
    pub entropy: f64,
}

/// Limits of a forward or backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassLimits {
    /// Most tokens of a micro-batch.
    pub micro_batch_tokens: usize,
    /// Temperature the responses were sampled at (1 for greedy samples).
    pub temperature: f64,
    /// Activations are computed again in the backward, layer by layer, instead of kept.
    pub activation_checkpointing: bool,
    /// What samples have in common and is computed once.
    pub sharing: Sharing,
}

/// Scores every response token, forward only.
///
/// # Errors
/// If the forward pass fails.
pub fn score(
    decoder: &Decoder,
    pairs: &[PromptResponse<'_>],
    limits: PassLimits,
) -> candle_core::Result<Vec<Vec<ScoredToken>>> {
    score_across(&Ranks::single(0), decoder, pairs, limits, &|| true)
}

/// As [`score`] by several ranks that are given the same `pairs`: each computes its share of the micro-batches, and all have the
/// result, which is that of one process. `goes_on` is asked before each micro-batch; several ranks do not ask it, since what one of
/// them left out, the others would wait for.
///
/// # Errors
/// If the forward pass fails, a rank is gone, or `goes_on` says no.
pub fn score_across(
    ranks: &Ranks,
    decoder: &Decoder,
    pairs: &[PromptResponse<'_>],
    limits: PassLimits,
    goes_on: &dyn Fn() -> bool,
) -> candle_core::Result<Vec<Vec<ScoredToken>>> {
    let frozen = decoder.frozen()?;
    let micro_batches = pack(pairs, limits.micro_batch_tokens, limits.sharing);
    let mut own = Vec::new();
    for (_, micro) in micro_batches.iter().enumerate().filter(|(number, _)| ranks.is_own(*number)) {
        if ranks.world_size() == 1 && !goes_on() {
            candle_core::bail!("the scoring was given up");
        }
        let hidden = frozen.hidden_at(&micro.batch, &micro.rows)?;
        let tokens = frozen.log_probs_of(&hidden, &micro.targets, limits.temperature)?;
        own.extend(to_f64(&tokens.log_probs)?);
        own.extend(to_f64(&tokens.entropy)?);
    }
    let mut scored: Vec<Vec<ScoredToken>> = pairs.iter().map(|_| Vec::new()).collect();
    for token in gathered(ranks, &micro_batches, pairs, own)? {
        scored[token.sample].push(token);
    }
    Ok(scored)
}

/// Adds the gradients of `Σ_t loss_t` to `gradients`, where `token_gradient` gives `∂loss_t/∂log π_t` of each response
/// token. Gives all tokens as they were scored, in the order of micro-batches. `goes_on` is asked before each micro-batch: once it
/// says no, what was added stays, and no more is.
///
/// Several ranks (those of `gradients`) are given the same `pairs`; micro-batch `n` is the work of rank `n mod world size`. They
/// do not ask `goes_on`: what one of them left out, the others would wait for.
///
/// # Errors
/// If the forward or backward pass fails, a rank is gone, or `goes_on` says no.
pub fn accumulate(
    decoder: &Decoder,
    parameters: &[(String, Var)],
    pairs: &[PromptResponse<'_>],
    limits: PassLimits,
    gradients: &mut GradientBuffer,
    goes_on: &dyn Fn() -> bool,
    mut token_gradient: impl FnMut(ScoredToken) -> f64,
) -> candle_core::Result<Vec<ScoredToken>> {
    let ranks = gradients.ranks().clone();
    let micro_batches = pack(pairs, limits.micro_batch_tokens, limits.sharing);
    let mut own = Vec::new();
    for (number, micro) in micro_batches.iter().enumerate() {
        if ranks.world_size() == 1 && !goes_on() {
            candle_core::bail!("the update was given up");
        }
        if ranks.is_own(number) {
            let MicroBatch { batch, rows, targets, .. } = micro;
            let scored = ScoredRows { batch, rows, targets, temperature: limits.temperature };
            let mut cotangent = |scores: &ScoredTokens| {
                let (log_probs, entropy) = (to_f64(&scores.log_probs)?, to_f64(&scores.entropy)?);
                let slopes: Vec<f64> =
                    scored_tokens(micro, pairs, &log_probs, &entropy).map(&mut token_gradient).collect();
                own.extend(log_probs);
                own.extend(entropy);
                Tensor::new(slopes, scores.log_probs.device())
            };
            let checkpointing =
                if limits.activation_checkpointing { Checkpointing::Selective } else { Checkpointing::Off };
            decoder.backward(&scored, parameters, checkpointing, &mut cotangent, gradients)?;
            gradients.finish_micro_batch();
        }
        if (number + 1) % ranks.world_size() == 0 || number + 1 == micro_batches.len() {
            gradients.finish_round()?;
        }
    }
    gathered(&ranks, &micro_batches, pairs, own)
}

/// The tokens of all micro-batches in order, of which this rank has computed `own`: log-probabilities and then entropies of one
/// micro-batch after the other.
fn gathered(
    ranks: &Ranks,
    micro_batches: &[MicroBatch],
    pairs: &[PromptResponse<'_>],
    own: Vec<f64>,
) -> candle_core::Result<Vec<ScoredToken>> {
    let mut by_rank = vec![own.into_iter()];
    if ranks.world_size() > 1 {
        let own: Vec<u8> = by_rank.remove(0).flat_map(f64::to_le_bytes).collect();
        let all = ranks.collective().all_gather(&own).map_err(candle_core::Error::wrap)?;
        by_rank.extend(all.iter().map(|bytes| f64s(bytes).collect::<Vec<_>>().into_iter()));
    }
    let mut tokens = Vec::new();
    for (number, micro) in micro_batches.iter().enumerate() {
        let computed = &mut by_rank[number % ranks.world_size()];
        let log_probs: Vec<f64> = computed.by_ref().take(micro.rows.len()).collect();
        let entropy: Vec<f64> = computed.by_ref().take(micro.rows.len()).collect();
        tokens.extend(scored_tokens(micro, pairs, &log_probs, &entropy));
    }
    Ok(tokens)
}

/// The response tokens of a micro-batch in the order of its rows.
fn scored_tokens<'a>(
    micro: &'a MicroBatch,
    pairs: &'a [PromptResponse<'_>],
    log_probs: &'a [f64],
    entropy: &'a [f64],
) -> impl Iterator<Item = ScoredToken> + 'a {
    let tokens = micro
        .samples
        .iter()
        .flat_map(|&sample| (0..pairs[sample].response_ids.len()).map(move |token| (sample, token)));
    tokens.zip(log_probs.iter().zip(entropy)).map(|((sample, token), (&log_prob, &entropy))| ScoredToken {
        sample,
        token,
        log_prob,
        entropy,
    })
}

fn to_f64(values: &Tensor) -> candle_core::Result<Vec<f64>> {
    values.detach().to_dtype(candle_core::DType::F64)?.to_vec1()
}
