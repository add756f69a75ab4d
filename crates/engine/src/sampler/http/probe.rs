//! Fixed prompts that server and trainer both score, and that the server continues at temperature 0, to know whether it
//! draws with the trainer's weights and nothing else.
//!
//! ```text
//! mean over the tokens of all probes of |log p_server − log p_trainer| ≤ sampler.http.max_mismatch
//! each token of a continuation: max log p_trainer − log p_trainer ≤ 5 sampler.http.max_mismatch
//! ```
//!
//! A server that says it has read new weights may go on with the old ones, and nothing that it samples looks wrong
//! then. Other arithmetic (bf16, other kernels) moves a log-probability by some hundredths; weights of another policy,
//! or of some steps ago, by more. Those of one step ago may differ by less; but then not a single log-probability has
//! moved. A penalty on tokens that are there already, or a bias, changes no log-probability of a prompt; but a continuation
//! at temperature 0, which tends to repeat itself, then takes other tokens than the likeliest. Where a server scores no prompts
//! nothing tells whether its weights or its way of drawing are others, and that is said and not refused.

use std::sync::Once;

use anyhow::{Context, Result};
use candle_core::DType;
use memtrain_kernels::nn::PackedBatch;
use memtrain_model::policy::{Decoder, Policy};

use super::{CompletionsEndpoint, HttpError, ServedWeights};
use crate::sampler::config::Dialect;
use crate::sampler::http::client::answer_bytes;
use crate::sampler::http::wire::{SglangAnswer, VllmAnswer};
use crate::sampler::{RngKey, SampleRequest, SamplingParams};

/// Things that a policy may know, and things that it cannot: names, numbers, another language.
const PROBES: [&str; 4] = [
    "The river rises in the hills and flows through the old town to the sea.",
    "She was born in 1874, the third of five children of a miller, and studied law in the capital.",
    "In 1931 the bridge carried 12,600 carts, 418 cars and a tram on line 7.",
    "Der Turm wurde nach dem Brand von neuem errichtet und dient heute als Museum.",
];

/// Most tokens of a probe.
const PROBE_TOKENS: usize = 48;

/// Tokens that a probe is continued by.
const DRAWN_TOKENS: usize = 32;

/// How far behind the likeliest token one of a continuation may be, in `max_mismatch`. Between two tokens that are nearly
/// alike rounding decides; that of a single token reaches several times the mean.
const BEHIND: f64 = 5.0;

/// A token of a sequence as the policy sees it.
struct OwnToken {
    log_prob: f64,
    /// Nats by which the likeliest token is above it.
    behind: f64,
}

/// What a server makes of a probe.
struct Probed {
    /// Log-probabilities of the prompt's tokens from the second on, where it gives them.
    prompt: Option<Vec<f64>>,
    drawn: Vec<u32>,
}

/// Checks that the server's log-probabilities are the policy's, that they have moved if the weights are others than `before`,
/// and that it takes the likeliest tokens at temperature 0. Gives the log-probabilities. A server that scores no prompts can be
/// checked in part or not at all, which is said once.
///
/// # Errors
/// If something differs by more than the configuration allows, the server does not answer, or the policy cannot be
/// evaluated.
pub(super) fn check(
    endpoint: &CompletionsEndpoint,
    policy: &Policy,
    before: Option<&ServedWeights>,
) -> Result<Vec<f64>> {
    let most = endpoint.client.config.max_mismatch;
    if most == 0.0 {
        return Ok(Vec::new());
    }
    let decoder = policy.decoder.frozen()?;
    let positions = decoder.config.max_position_embeddings;
    let (mut theirs, mut own, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for text in PROBES {
        let mut ids = policy.tokenizer.encode_text(text)?;
        ids.truncate(PROBE_TOKENS.min(positions / 2));
        if ids.len() < 2 {
            continue;
        }
        let max_tokens = DRAWN_TOKENS.min(positions - ids.len());
        let probed = endpoint
            .client
            .with_retries(|_| endpoint.probe(&ids, max_tokens))
            .context("the probe of its weights failed")?;
        let Some(Probed { prompt, drawn }) = probed else {
            say_unchecked(&endpoint.client.config.url);
            return Ok(Vec::new());
        };
        let scored = ids.len() - 1;
        ids.extend(drawn);
        let tokens = own_tokens(&decoder, &ids).context("the server's answer to a probe cannot be scored")?;
        behind.extend(tokens[scored..].iter().map(|token| token.behind));
        match prompt {
            None => say_unchecked(&endpoint.client.config.url),
            Some(prompt) => {
                theirs.extend(prompt);
                own.extend(tokens[..scored].iter().map(|token| token.log_prob));
            }
        }
    }
    judge(endpoint, &theirs, &own, &behind, before)?;
    Ok(theirs)
}

fn say_unchecked(url: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "`{url}` scores no prompts: whether it draws with the policy's weights shows in `mismatch_kl` alone"
        );
    });
}

fn judge(
    endpoint: &CompletionsEndpoint,
    theirs: &[f64],
    own: &[f64],
    behind: &[f64],
    before: Option<&ServedWeights>,
) -> Result<(), HttpError> {
    let most = endpoint.client.config.max_mismatch;
    let (url, tokens) = (endpoint.client.config.url.clone(), theirs.len());
    let pairs = || theirs.iter().copied().zip(own.iter().copied());
    let difference = |(theirs, own): (f64, f64)| (theirs - own).abs();
    let mean = pairs().map(difference).sum::<f64>() / tokens.max(1) as f64;
    let farthest = behind.iter().copied().fold(0.0, f64::max);
    tracing::debug!(
        "server and trainer: log-probabilities of {tokens} tokens differ by {mean:.2e}, what it takes at temperature 0 is \
         at most {farthest:.2e} behind the likeliest"
    );
    // Not above a bound that is no number either.
    let within = |value: f64, most: f64| value <= most;
    let served = endpoint.served.as_ref();
    let is_other = served.zip(before).is_some_and(|(served, before)| served.version != before.version);
    if is_other && tokens > 0 && before.is_some_and(|before| before.probed == theirs) {
        return Err(HttpError::Stale { url, tokens });
    }
    if !within(mean, most) {
        let worst = pairs().max_by(|a, b| difference(*a).total_cmp(&difference(*b))).unwrap_or_default();
        return Err(HttpError::Mismatch { url, tokens, mean, most, theirs: worst.0, own: worst.1 });
    }
    let most = BEHIND * most;
    if within(farthest, most) {
        return Ok(());
    }
    let wrong = behind.iter().filter(|&&behind| !within(behind, most)).count();
    let error = HttpError::NotGreedy { url, tokens: behind.len(), wrong, behind: farthest, most };
    if tokens > 0 {
        return Err(error);
    }
    tracing::warn!("{error}");
    Ok(())
}

/// The tokens of a sequence from the second on. Logits are in f32 whatever the type of the weights.
fn own_tokens(decoder: &Decoder, ids: &[u32]) -> Result<Vec<OwnToken>> {
    let mut batch = PackedBatch::default();
    batch.push(&ids[..ids.len() - 1], None);
    let hidden = decoder.hidden(&batch)?.to_dtype(DType::F32)?;
    let logits: Vec<Vec<f32>> = hidden.matmul(&decoder.head().to_dtype(DType::F32)?.t()?)?.to_vec2()?;
    let token = |(row, &id): (&Vec<f32>, &u32)| {
        let own =
            row.get(id as usize).with_context(|| format!("token id {id} has no row in the policy's embedding"))?;
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&logit| f64::from(logit - top).exp()).sum();
        let behind = f64::from(top - own);
        Ok(OwnToken { log_prob: -behind - sum.ln(), behind })
    };
    logits.iter().zip(&ids[1..]).map(token).collect()
}

impl CompletionsEndpoint {
    /// What the server makes of a prompt; `None` where it does not understand the question.
    fn probe(&self, prompt: &[u32], max_tokens: usize) -> Result<Option<Probed>, HttpError> {
        let params = SamplingParams { temperature: 0.0, top_p: 1.0, top_k: 0, max_tokens };
        let (path, mut question) =
            self.question(&SampleRequest { prompt_ids: prompt.to_vec(), params, rng_key: RngKey::default() });
        let is_vllm = self.client.config.dialect == Dialect::Vllm;
        let drawing = if is_vllm { &mut question } else { &mut question["sampling_params"] };
        drawing["stop_token_ids"] = serde_json::json!([]);
        drawing["ignore_eos"] = true.into();
        question[if is_vllm { "prompt_logprobs" } else { "logprob_start_len" }] = 0.into();
        let answer = match self.client.post(path, &question.to_string(), answer_bytes(0, prompt.len() + max_tokens)) {
            // What it says to a question that it does not understand.
            Err(HttpError::Status { status: 400 | 404 | 405 | 422 | 501, .. }) => return Ok(None),
            answer => answer?,
        };
        let probed = match is_vllm {
            true => answer.json().and_then(VllmAnswer::choice).and_then(|mut one| {
                let prompt = one.prompt_log_probs(prompt)?;
                Ok(Probed { prompt, drawn: one.drawn()?.0 })
            }),
            false => answer.json().and_then(|mut answer: SglangAnswer| {
                let prompt = answer.meta_info.prompt_log_probs(prompt)?;
                Ok(Probed { prompt, drawn: answer.meta_info.drawn()?.0 })
            }),
        };
        let checked = probed.and_then(|mut probed| {
            if probed.drawn.len() > max_tokens && probed.prompt.is_some() {
                return Err(format!("{} tokens where {max_tokens} were asked for", probed.drawn.len()));
            }
            probed.drawn.truncate(max_tokens);
            Ok(Some(probed))
        });
        checked.map_err(|detail| HttpError::Answer { url: self.client.url(path), detail })
    }
}
