//! A sampler whose responses end in an order that a test chooses.

use std::sync::mpsc::Sender;
use std::task::Poll;
use std::time::Duration;

use memtrain::policy::PolicyTokenizer;
use memtrain::run::signal::StopRequest;
use memtrain::sampler::{Completion, FinishReason, RngKey, SampleRequest, SampleStream, Sampler};
use memtrain_corpora::rng;
use rand::Rng;

/// Which of the responses under way ends next.
#[derive(Clone, Debug)]
pub enum Order {
    First,
    Last,
    /// By chance, and now and then none at all.
    Drawn(u64),
    /// The first, but none of document 0's rollout 0 before so many responses of others have ended.
    SlowLast(usize),
    /// None; this is asked to stop amid the responses.
    Never(StopRequest),
}

/// A response as a function of the prompt and of what the sample is for.
pub type Says = fn(&str, &RngKey) -> String;

/// Ends responses in an order, and keeps what they were sampled for in that order.
pub struct Scripted<'a> {
    pub tokenizer: &'a PolicyTokenizer,
    pub says: Says,
    pub order: Order,
    pub ended: Vec<RngKey>,
    /// Told of each response that has ended.
    pub tell: Option<Sender<RngKey>>,
}

impl Scripted<'_> {
    pub fn new(tokenizer: &PolicyTokenizer, says: Says, order: Order) -> Scripted<'_> {
        Scripted { tokenizer, says, order, ended: Vec::new(), tell: None }
    }

    /// Documents and rollouts of the responses in the order in which they ended.
    pub fn rollouts(&self) -> Vec<(u64, u64)> {
        self.ended.iter().map(|key| (key.document, key.rollout)).collect()
    }
}

impl Sampler for Scripted<'_> {
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>> {
        memtrain::sampler::sample_batch(&mut *self.stream()?, requests)
    }

    fn stream(&mut self) -> anyhow::Result<Box<dyn SampleStream + '_>> {
        Ok(Box::new(ScriptedStream { script: self, under_way: Vec::new(), polls: 0 }))
    }
}

struct ScriptedStream<'s, 'a> {
    script: &'s mut Scripted<'a>,
    under_way: Vec<(usize, SampleRequest)>,
    polls: u64,
}

impl SampleStream for ScriptedStream<'_, '_> {
    fn submit(&mut self, ticket: usize, request: SampleRequest) -> anyhow::Result<()> {
        assert!(self.under_way.iter().all(|(under_way, _)| *under_way != ticket), "two requests of one conversation");
        self.under_way.push((ticket, request));
        Ok(())
    }

    fn poll(&mut self) -> anyhow::Result<Poll<Option<(usize, Completion)>>> {
        if self.under_way.is_empty() {
            return Ok(Poll::Ready(None));
        }
        self.polls += 1;
        let last = self.under_way.len() - 1;
        let place = match &self.script.order {
            Order::First => 0,
            Order::Last => last,
            Order::Drawn(seed) => match rng::keyed("test/order", *seed, &[self.polls]).random_range(0..=last + 1) {
                place if place > last => return Ok(Poll::Pending),
                place => place,
            },
            Order::SlowLast(others) => {
                let is_other = |key: &RngKey| (key.document, key.rollout) != (0, 0);
                let ended = self.script.ended.iter().filter(|key| is_other(key)).count();
                match self.under_way.iter().position(|(_, request)| is_other(&request.rng_key)) {
                    Some(place) => place,
                    None if ended == *others => 0,
                    // Others look for passages.
                    None => {
                        anyhow::ensure!(self.polls < 100_000, "{ended} of {others} others have ended, and no more do");
                        std::thread::sleep(Duration::from_millis(1));
                        return Ok(Poll::Pending);
                    }
                }
            }
            Order::Never(stop) => {
                if self.polls == 3 {
                    stop.request();
                }
                anyhow::ensure!(self.polls < 1_000, "nobody looks whether to stop");
                return Ok(Poll::Pending);
            }
        };
        let (ticket, request) = self.under_way.remove(place);
        let said = (self.script.says)(&self.script.tokenizer.decode(&request.prompt_ids)?, &request.rng_key);
        let token_ids = self.script.tokenizer.encode_text(format!(" {said}"))?;
        let log_probs = vec![-1.0; token_ids.len()];
        self.script.ended.push(request.rng_key);
        if let Some(tell) = &self.script.tell {
            let _ = tell.send(request.rng_key);
        }
        Ok(Poll::Ready(Some((ticket, Completion { token_ids, log_probs, finish: FinishReason::Stop }))))
    }
}
