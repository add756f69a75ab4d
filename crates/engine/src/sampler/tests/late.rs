//! The host one pass behind: a scheduler whose tokens come late, as on a card, draws what the ordinary one draws.

use std::cell::RefCell;
use std::rc::Rc;

use memtrain_kernels::attention::paged::{BlockId, CpuKvCache, Heads};

use super::super::cached::Cached;
use super::super::draws::{Draws, DueToken, HostDraws};
use super::super::scheduler::Counts;
use super::super::scheduler::{Forward, ScheduledTokens, Scheduler, SchedulerConfig};
use super::super::token_sampler::SampledToken;
use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Pass,
    Asked,
    Taken,
}

type Events = Rc<RefCell<Vec<Event>>>;

/// Reads pending tokens from what was drawn, and nowhere else.
struct LateForward<'a> {
    inner: Cached<'a, CpuKvCache>,
    events: Events,
}

impl Forward for LateForward<'_> {
    fn pass(&mut self, scheduled: &[ScheduledTokens<'_>], drawn: Option<&Tensor>) -> Result<Tensor> {
        self.events.borrow_mut().push(Event::Pass);
        let drawn = drawn.map_or(Ok(Vec::new()), Tensor::to_vec2::<u32>)?;
        let tokens = scheduled.iter().map(|sequence| {
            let mut tokens = sequence.tokens.to_vec();
            if let Some((place, last)) = sequence.pending.zip(tokens.last_mut()) {
                *last = drawn[place as usize][0];
            }
            tokens
        });
        let tokens: Vec<Vec<u32>> = tokens.collect();
        let known = scheduled.iter().zip(&tokens).map(|(sequence, tokens)| ScheduledTokens {
            tokens,
            start: sequence.start,
            blocks: sequence.blocks,
            needs_logits: sequence.needs_logits,
            pending: None,
        });
        self.inner.pass(&known.collect::<Vec<_>>(), None)
    }

    fn reads_drawn(&self) -> bool {
        true
    }

    fn copy(&mut self, pairs: &[(BlockId, BlockId)]) -> Result<()> {
        self.inner.copy(pairs)
    }
}

struct LateDraws {
    inner: HostDraws,
    under_way: VecDeque<Vec<Option<SampledToken>>>,
    events: Events,
}

impl Draws for LateDraws {
    fn begin(&mut self, hidden: &Tensor, due: &[DueToken<'_>]) -> Result<Option<Tensor>> {
        self.events.borrow_mut().push(Event::Asked);
        self.inner.begin(hidden, due)?;
        let drawn = self.inner.end()?;
        let numbers: Vec<u32> =
            drawn.iter().flat_map(|token| [token.as_ref().map_or(1, |token| token.id), 0]).collect();
        self.under_way.push_back(drawn);
        Ok(Some(Tensor::from_vec(numbers, (due.len(), 2), hidden.device())?))
    }

    fn end(&mut self) -> Result<Vec<Option<SampledToken>>> {
        self.events.borrow_mut().push(Event::Taken);
        Ok(self.under_way.pop_front().expect("tokens that were asked for"))
    }
}

fn late<'a>(
    decoder: &'a Decoder,
    config: SchedulerConfig,
    num_blocks: usize,
    events: &Events,
) -> Result<Scheduler<'a>> {
    let policy = &decoder.config;
    let (query, key_value) = (policy.num_attention_heads, policy.num_key_value_heads);
    let cache = CpuKvCache::new(Heads { query, key_value, width: policy.head_dim }, policy.num_hidden_layers);
    let forward = LateForward { inner: Cached::new(decoder, cache), events: Rc::clone(events) };
    let inner = HostDraws::new(decoder, VOCAB - 10)?;
    let draws = LateDraws { inner, under_way: VecDeque::new(), events: Rc::clone(events) };
    Ok(Scheduler::new(decoder, config, Box::new(forward), Box::new(draws), num_blocks))
}

fn config(max_sequences: usize, prefill_tokens: usize) -> SchedulerConfig {
    let counts = std::sync::Arc::<Counts>::default();
    SchedulerConfig { stop_ids: vec![STOP], max_sequences, prefill_tokens, block_bytes: 1, counts }
}

#[test]
fn late_tokens_are_those_of_the_ordinary_scheduler() -> Result<()> {
    let (requests, decoder) = (requests(), decoder(Architecture::Qwen3, DType::F32)?);
    let expected = sampler(&decoder)?.sample(&requests)?;
    for finish in [FinishReason::Stop, FinishReason::Length] {
        assert!(expected.iter().any(|completion| completion.finish == finish), "none with {finish:?}");
    }
    for (max_sequences, prefill_tokens, num_blocks) in [(64, 2048, 500), (64, 7, 500), (3, 40, 12), (1, 2048, 4)] {
        let events = Events::default();
        let mut stream = late(&decoder, config(max_sequences, prefill_tokens), num_blocks, &events)?;
        assert!(expected == sample_batch(&mut stream, &requests)?, "{max_sequences} sequences at a time");
        // The same stream, with what it has left over, once more and one after the other.
        for (request, expected) in requests.iter().zip(&expected) {
            assert!(*expected == sample_batch(&mut stream, std::slice::from_ref(request))?.remove(0));
        }
    }
    Ok(())
}

#[test]
fn the_next_pass_begins_before_tokens_are_taken() -> Result<()> {
    let (requests, decoder) = (requests(), decoder(Architecture::Qwen3, DType::F32)?);
    let events = Events::default();
    // A last token that stops would leave one asked for that nobody takes.
    let config = SchedulerConfig { stop_ids: Vec::new(), ..config(64, 2048) };
    sample_batch(&mut late(&decoder, config, 500, &events)?, &requests)?;
    let events = events.borrow();
    let count = |event: Event| events.iter().filter(|&&other| other == event).count();
    assert_eq!((count(Event::Asked), count(Event::Taken)), (count(Event::Pass), count(Event::Pass)));
    // Only after the last pass there is nothing to do but to wait.
    let waits = events.windows(2).filter(|pair| **pair == [Event::Taken, Event::Taken]).count();
    assert_eq!((waits, events.first_chunk()), (1, Some(&[Event::Pass, Event::Asked, Event::Pass, Event::Asked])));
    Ok(())
}

#[test]
fn logits_that_are_not_finite_are_an_error_one_pass_later() -> Result<()> {
    let decoder = decoder(Architecture::Qwen3, DType::F32)?;
    let mut broken = decoder.clone();
    broken.weights.norm = Tensor::full(f32::NAN, decoder.weights.norm.shape(), &Device::Cpu)?;
    let mut stream = late(&broken, config(4, 2048), 20, &Events::default())?;
    let error = sample_batch(&mut stream, &requests()[..2]).expect_err("not finite");
    assert!(error.to_string().contains("are not finite"), "{error}");
    Ok(())
}
