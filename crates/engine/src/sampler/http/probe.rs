//! Fixed prompts that server and trainer both score, to know whether the server has the trainer's weights.
//!
//! ```text
//! mean over the tokens of all probes of |log p_server − log p_trainer| ≤ sampler.http.max_mismatch
//! ```
//!
//! A server that says it has read new weights may go on with the old ones, and nothing that it samples looks wrong
//! then. Other arithmetic (bf16, other kernels) moves a log-probability by some hundredths; weights of another policy,
//! or of some steps ago, by more.

use std::sync::Once;

use anyhow::{Context, Result};
use memtrain_model::policy::Policy;
use memtrain_model::scoring::{PassLimits, PromptResponse, Sharing, score};

use super::{CompletionsEndpoint, HttpError};
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

/// Tokens of a probe.
const PROBE_TOKENS: usize = 48;

/// Checks that the server's log-probabilities are the policy's. A server that scores no prompts cannot be checked; that is
/// said once.
///
/// # Errors
/// If they differ by more than the configuration allows, the server does not answer, or the policy cannot be evaluated.
pub(super) fn check(endpoint: &CompletionsEndpoint, policy: &Policy) -> Result<()> {
    let most = endpoint.client.config.max_mismatch;
    if most == 0.0 {
        return Ok(());
    }
    let mut prompts = Vec::new();
    for text in PROBES {
        let mut ids = policy.tokenizer.encode_text(text)?;
        ids.truncate(PROBE_TOKENS.min(policy.decoder.config.max_position_embeddings.saturating_sub(1)));
        prompts.extend(Some(ids).filter(|ids| ids.len() > 1));
    }
    let mut theirs = Vec::new();
    for prompt in &prompts {
        let scored =
            endpoint.client.with_retries(|_| endpoint.scored(prompt)).context("the probe of its weights failed")?;
        let Some(scored) = scored else {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                tracing::warn!(
                    "`{}` scores no prompts: whether it draws with the policy's weights shows in `mismatch_kl` alone",
                    endpoint.client.config.url
                );
            });
            return Ok(());
        };
        theirs.push(scored);
    }
    let pairs: Vec<PromptResponse<'_>> =
        prompts.iter().map(|ids| PromptResponse { prompt_ids: &ids[..1], response_ids: &ids[1..] }).collect();
    let limits = PassLimits {
        micro_batch_tokens: PROBES.len() * PROBE_TOKENS,
        temperature: 1.0,
        activation_checkpointing: false,
        sharing: Sharing::default(),
    };
    let own = score(&policy.decoder, &pairs, limits)?;
    let own = own.iter().flatten().map(|token| token.log_prob);
    let tokens: Vec<(f64, f64)> = theirs.into_iter().flatten().zip(own).collect();
    let difference = |&(theirs, own): &(f64, f64)| (theirs - own).abs();
    let mean = tokens.iter().map(difference).sum::<f64>() / tokens.len().max(1) as f64;
    tracing::debug!("log-probabilities of {} tokens differ by {mean:.2e} between server and trainer", tokens.len());
    if mean <= most {
        return Ok(());
    }
    let worst = tokens.iter().copied().max_by(|a, b| difference(a).total_cmp(&difference(b))).unwrap_or_default();
    let url = endpoint.client.config.url.clone();
    Err(HttpError::Mismatch { url, tokens: tokens.len(), mean, most, theirs: worst.0, own: worst.1 }.into())
}

impl CompletionsEndpoint {
    /// The server's log-probabilities of a prompt's tokens from the second on; `None` where it does not give them.
    fn scored(&self, prompt: &[u32]) -> Result<Option<Vec<f64>>, HttpError> {
        let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 1 };
        let (path, mut question) =
            self.question(&SampleRequest { prompt_ids: prompt.to_vec(), params, rng_key: RngKey::default() });
        match self.client.config.dialect {
            Dialect::Vllm => question["prompt_logprobs"] = 0.into(),
            Dialect::Sglang => question["logprob_start_len"] = 0.into(),
        }
        let answer = match self.client.post(path, &question.to_string(), answer_bytes(0, prompt.len() + 1)) {
            // What it says to a question that it does not understand.
            Err(HttpError::Status { status: 400 | 404 | 405 | 422 | 501, .. }) => return Ok(None),
            answer => answer?,
        };
        let scored = match self.client.config.dialect {
            Dialect::Vllm => answer.json().and_then(VllmAnswer::choice).and_then(|one| one.prompt_log_probs(prompt)),
            Dialect::Sglang => answer.json().and_then(|answer: SglangAnswer| answer.meta_info.prompt_log_probs(prompt)),
        };
        scored.map_err(|detail| HttpError::Answer { url: self.client.url(path), detail })
    }
}
