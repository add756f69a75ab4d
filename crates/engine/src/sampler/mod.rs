//! Inference engine: continuous batching over a paged KV cache with prefix caching. Token ids in, token ids and
//! log-probabilities out.
//!
//! [`LocalSampler`] samples with the decoder in this process. Responses are sampled through a [`SampleStream`]:
//! requests go in while others are running, and each response comes out when it has ended, so that responses of
//! different lengths do not wait for each other (continuous batching).
//!
//! * [`local`]: the sampler in this process, and the memory of its KV cache
//! * [`http`]: a server that samples (vLLM, SGLang), and one with OpenAI's chat completions ([`http::chat`])
//! * `scheduler`: continuous batching: waiting and running sequences, and the tokens scheduled for a forward pass
//! * `block_pool`: block tables, reference counts, prefix caching and LRU eviction of the paged KV cache
//! * `cached`, `recomputed`: hidden states of new tokens, with a KV cache ([`paged`](memtrain_kernels::attention::paged))
//!   and without
//! * `token_sampler`: temperature, top-k, top-p, and one token by inverse-CDF sampling

mod block_pool;
mod cached;
#[cfg(feature = "cuda")]
mod card;
pub mod config;
mod draws;
pub mod http;
pub mod local;
mod recomputed;
mod row_padding;
mod scheduler;
mod token_sampler;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::Path;
use std::task::Poll;

use anyhow::Context;
use memtrain_model::policy::Policy;

use crate::outbound::while_wanted;

pub use config::{ChatConfig, SamplerConfig, SamplerKind};
pub use http::HttpSampler;
pub use http::chat::ChatServer;
pub use local::LocalSampler;
pub use memtrain_rollout_types::{Completion, FinishReason, RngKey, SampleRequest, SamplingParams};
pub use scheduler::Counts;

/// Why nothing can be sampled. Requests are counted from 0.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A prompt without tokens.
    #[error("request {request}: the prompt is empty, there is nothing to go on from")]
    EmptyPrompt {
        /// Number of the request.
        request: usize,
    },
    /// A prompt with an id that the policy has no embedding for.
    #[error("request {request}: token id {id} is outside the vocabulary of {vocab_size} ids")]
    OutsideVocabulary {
        /// Number of the request.
        request: usize,
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// Prompt and response would be longer than what the policy is made for.
    #[error(
        "request {request}: {prompt} prompt tokens and up to {response} new ones exceed the policy's {limit} positions"
    )]
    TooLong {
        /// Number of the request.
        request: usize,
        /// Tokens of the prompt.
        prompt: usize,
        /// Most tokens of the response.
        response: usize,
        /// The policy's `max_position_embeddings`.
        limit: usize,
    },
    /// Parameters that make no sense.
    #[error("request {request}: {detail}")]
    Params {
        /// Number of the request.
        request: usize,
        /// What is wrong.
        detail: String,
    },
    /// A sequence that would not fit even if it had the whole cache for itself.
    #[error(
        "request {request}: {tokens} tokens of keys and values take {needed_gib:.3} GiB, but the cache has {limit_gib:.3}: raise `sampler.cache_gib`, or make prompt or response shorter"
    )]
    CacheTooSmall {
        /// Number of the request.
        request: usize,
        /// Tokens of prompt and response.
        tokens: usize,
        /// What they take.
        needed_gib: f64,
        /// What there is.
        limit_gib: f64,
    },
    /// A sampler that may sample nothing.
    #[error("the tokenizer has no tokens: nothing can be drawn")]
    NothingAllowed,
    /// The policy gave logits that are no distribution.
    #[error(
        "request {request}: the logits at position {position} of the response are not finite; the weights have diverged"
    )]
    NotFinite {
        /// Number of the request.
        request: usize,
        /// Position in the response.
        position: usize,
    },
}

/// Samples responses from a policy.
pub trait Sampler {
    /// Samples one response a request, in the order of the requests.
    ///
    /// # Errors
    /// If the policy cannot be evaluated, or a prompt is empty or holds an id outside the vocabulary.
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>>;

    /// Begins to sample: requests may be added while others are under way. What is sampled does not depend on when.
    ///
    /// A sampler that has nothing better waits with what was submitted until a response is asked for, and samples all
    /// of it together.
    ///
    /// # Errors
    /// If the policy cannot be evaluated.
    fn stream(&mut self) -> anyhow::Result<Box<dyn SampleStream + '_>> {
        Ok(Box::new(BatchedStream { sampler: self, submitted: Vec::new(), ended: VecDeque::new() }))
    }
}

/// Responses being sampled: requests go in at any time, responses come out as they end.
///
/// ```
/// use candle_core::{DType, Device};
/// use memtrain_model::policy::{Decoder, preset};
/// use memtrain_engine::sampler::{RngKey, LocalSampler, SampleRequest, Sampler, SamplingParams};
/// let decoder = Decoder::init(preset::tiny(64), 0, &Device::Cpu, DType::F32)?;
/// let mut sampler = LocalSampler::with_ids(&decoder, &[], 64)?;
/// let request = |max_tokens| SampleRequest {
///     prompt_ids: vec![3, 4],
///     params: SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens },
///     rng_key: RngKey::default(),
/// };
/// let mut stream = sampler.stream()?;
/// stream.submit(0, request(9))?;
/// stream.submit(1, request(2))?;
/// let (first, _) = stream.next()?.expect("two are under way");
/// assert_eq!(first, 1, "the shorter one has ended");
/// stream.submit(2, request(3))?;
/// assert_eq!(stream.next()?.map(|(ticket, _)| ticket), Some(2));
/// assert_eq!(stream.next()?.map(|(ticket, _)| ticket), Some(0));
/// assert!(stream.next()?.is_none());
/// # Ok::<(), anyhow::Error>(())
/// ```
pub trait SampleStream {
    /// Adds a request. The ticket comes back with its response, and names the request in errors.
    ///
    /// # Errors
    /// If the request can never be answered.
    fn submit(&mut self, ticket: usize, request: SampleRequest) -> anyhow::Result<()>;

    /// Samples for a moment: one forward pass, or a tenth of a second of waiting for a server. Gives the next response
    /// that has ended with its ticket, `Pending` while all go on, and `Ready(None)` if nothing is under way. Whoever
    /// polls can do something else between two passes: look whether to stop, submit further requests.
    ///
    /// # Errors
    /// If the policy cannot be evaluated.
    fn poll(&mut self) -> anyhow::Result<Poll<Option<(usize, Completion)>>>;

    /// The next response that has ended, with its ticket; `None` if nothing is under way.
    ///
    /// # Errors
    /// As [`Self::poll`].
    fn next(&mut self) -> anyhow::Result<Option<(usize, Completion)>> {
        loop {
            if let Poll::Ready(next) = self.poll()? {
                return Ok(next);
            }
        }
    }
}

impl<S: Sampler + ?Sized> Sampler for Box<S> {
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>> {
        (**self).sample(requests)
    }

    fn stream(&mut self) -> anyhow::Result<Box<dyn SampleStream + '_>> {
        (**self).stream()
    }
}

impl<S: Sampler + ?Sized> Sampler for &mut S {
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>> {
        (**self).sample(requests)
    }

    fn stream(&mut self) -> anyhow::Result<Box<dyn SampleStream + '_>> {
        (**self).stream()
    }
}

/// The configured sampler for a policy. A server gets the policy's weights first, by the folder `weights`; `None` where it has
/// them as whole matrices. While the server is waited for, `goes_on` is asked ten times a second; its error ends it.
///
/// # Errors
/// If the device refuses, or the server, or as `goes_on` says.
pub fn of_policy(
    config: &SamplerConfig,
    policy: &Policy,
    weights: Option<&Path>,
    goes_on: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Box<dyn Sampler>> {
    let (stop_ids, allowed) = (&policy.generation.eos_token_ids, policy.tokenizer.vocab_size());
    match config.kind {
        SamplerKind::Local => {
            Ok(Box::new(LocalSampler::with_ids(&policy.decoder, stop_ids, allowed)?.with_config(config)))
        }
        SamplerKind::Http => {
            let (config, policy) = (config.http.clone(), policy.clone());
            let (stop_ids, weights) = (stop_ids.clone(), weights.map(Path::to_path_buf));
            let connect = move || {
                let mut sampler = HttpSampler::connect(&config, &stop_ids, allowed)?;
                weights.map_or(Ok(()), |weights| sampler.refresh(&policy, &weights))?;
                anyhow::Ok(sampler)
            };
            Ok(Box::new(while_wanted(goes_on, connect)??))
        }
    }
}

/// Samples all `requests` through a stream; responses in the order of the requests.
///
/// # Errors
/// As [`SampleStream::submit`] and [`SampleStream::next`].
pub fn sample_batch(stream: &mut dyn SampleStream, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>> {
    for (ticket, request) in requests.iter().enumerate() {
        stream.submit(ticket, request.clone())?;
    }
    let mut ended: Vec<Option<Completion>> = vec![None; requests.len()];
    while let Some((ticket, completion)) = stream.next()? {
        ended[ticket] = Some(completion);
    }
    ended.into_iter().map(|completion| completion.context("a request was not answered")).collect()
}

/// A stream over a sampler that samples batches alone.
struct BatchedStream<'a, S: ?Sized> {
    sampler: &'a mut S,
    submitted: Vec<(usize, SampleRequest)>,
    ended: VecDeque<(usize, Completion)>,
}

impl<S: Sampler + ?Sized> SampleStream for BatchedStream<'_, S> {
    fn submit(&mut self, ticket: usize, request: SampleRequest) -> anyhow::Result<()> {
        self.submitted.push((ticket, request));
        Ok(())
    }

    fn poll(&mut self) -> anyhow::Result<Poll<Option<(usize, Completion)>>> {
        if self.ended.is_empty() && !self.submitted.is_empty() {
            let (tickets, requests): (Vec<_>, Vec<_>) = std::mem::take(&mut self.submitted).into_iter().unzip();
            self.ended.extend(tickets.into_iter().zip(self.sampler.sample(&requests)?));
        }
        Ok(Poll::Ready(self.ended.pop_front()))
    }
}
