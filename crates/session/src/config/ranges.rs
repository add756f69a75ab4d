//! Ranges of the numbers of a configuration.
//!
//! Every numeric key has a line here; a key without one is refused by a test. Bounds from above are far beyond what is used:
//! they keep sums and products of counts inside 64 bits, and what is allocated by a count within reason. What several keys say
//! together is checked by the sections themselves and by [`crate::check`].

use std::fmt;

use toml::{Table, Value};

/// The numbers that a key may have. NaN is none of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowed {
    low: f64,
    high: f64,
    /// Whether the lower end is allowed, and the upper.
    ends: (bool, bool),
    /// Whether 0 is allowed too, though it is below the lower end.
    or_zero: bool,
}

/// From one number to another, both allowed.
const fn within(low: f64, high: f64) -> Allowed {
    Allowed { low, high, ends: (true, true), or_zero: false }
}

impl Allowed {
    /// All but the lower end.
    const fn above_low(self) -> Self {
        Self { ends: (false, self.ends.1), ..self }
    }

    /// All but the upper end.
    const fn below_high(self) -> Self {
        Self { ends: (self.ends.0, false), ..self }
    }

    /// 0 besides.
    const fn or_zero(self) -> Self {
        Self { or_zero: true, ..self }
    }

    /// The least number, and whether it is allowed itself.
    pub fn low(self) -> (f64, bool) {
        if self.or_zero { (0.0, true) } else { (self.low, self.ends.0) }
    }

    /// The largest number, and whether it is allowed itself.
    pub fn high(self) -> (f64, bool) {
        (self.high, self.ends.1)
    }

    /// Whether a number is allowed.
    pub fn holds(self, value: f64) -> bool {
        let above = if self.ends.0 { value >= self.low } else { value > self.low };
        let below = if self.ends.1 { value <= self.high } else { value < self.high };
        above && below || self.or_zero && value == 0.0
    }
}

impl fmt::Display for Allowed {
    /// As in `it must be above 0 and at most 1`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.or_zero {
            formatter.write_str("0, or ")?;
        }
        match self.ends {
            (true, true) if self.high.is_finite() => return write!(formatter, "from {} to {}", self.low, self.high),
            (true, _) => write!(formatter, "at least {}", self.low)?,
            (false, _) => write!(formatter, "above {}", self.low)?,
        }
        match self.ends.1 {
            true if self.high.is_infinite() => formatter.write_str(", `inf` for no bound"),
            true => write!(formatter, " and at most {}", self.high),
            false => write!(formatter, " and below {}", self.high),
        }
    }
}

/// Any number that the key's type holds.
const ANY: Allowed = within(-9.3e18, 9.3e18);
const SHARE: Allowed = within(0.0, 1.0);
/// A factor of a reward or of a loss.
const WEIGHT: Allowed = within(0.0, 1e6);
/// Steps, and things on the disk.
const COUNT: Allowed = within(0.0, 1e12);
const POSITIVE_COUNT: Allowed = within(1.0, 1e12);
/// What is held in memory, one by one.
const FEW: Allowed = within(0.0, 1e6);
const POSITIVE_FEW: Allowed = within(1.0, 1e6);
/// What each document of a step has, or each member of a group.
const GROUP: Allowed = within(0.0, 65_536.0);
const POSITIVE_GROUP: Allowed = within(1.0, 65_536.0);
const TOKENS: Allowed = within(0.0, 1e9);
const POSITIVE_TOKENS: Allowed = within(1.0, 1e9);
const SECONDS: Allowed = within(0.0, 1e6).above_low();
/// 0 is greedy; below a thousandth the logits would overflow.
const TEMPERATURE: Allowed = within(1e-3, 1e6).or_zero();

/// Keys and what they may be.
const RANGES: &[(&str, Allowed)] = &[
    ("bank.answerer.backoff_s", SECONDS),
    ("bank.answerer.concurrency", within(1.0, 4_096.0)),
    ("bank.answerer.retries", within(0.0, 1_000.0)),
    ("bank.answerer.timeout_s", SECONDS),
    ("bank.core_tokens", TOKENS),
    ("bank.recent_items", FEW),
    ("bank.retrieved_items", FEW),
    ("corpus.entities.bert.batch_tokens", POSITIVE_TOKENS),
    ("corpus.entities.bert.max_tokens", TOKENS),
    ("corpus.entities.bert.min_score", SHARE),
    ("corpus.entities.max_words", POSITIVE_FEW),
    ("corpus.entities.min_anchor_count", COUNT),
    ("corpus.entities.min_chars", FEW),
    ("corpus.entities.passages_per_shard", POSITIVE_COUNT),
    ("corpus.index.ann.candidates", within(1.0, 1e9)),
    ("corpus.index.ann.min_passages", COUNT),
    ("corpus.index.embed.batch_tokens", TOKENS),
    ("corpus.index.embed.context", SHARE),
    ("corpus.index.embed.dimensions", within(0.0, 16_384.0)),
    ("corpus.index.embed.fit_passages", COUNT),
    ("corpus.index.embed.max_terms", within(0.0, 1e8)),
    ("corpus.index.embed.max_tokens", TOKENS),
    ("corpus.index.embed.seed", ANY),
    ("corpus.index.fusion_depth", POSITIVE_FEW),
    ("corpus.index.fusion_k", WEIGHT),
    ("corpus.index.max_query_terms", POSITIVE_FEW),
    ("corpus.index.near_copy_similarity", SHARE),
    ("corpus.index.passages_per_shard", within(1.0, (1_u64 << 30) as f64)),
    ("corpus.index.writer_memory_mib", within(16.0, 4_096.0)),
    ("corpus.ingest.bytes_per_shard", within(0.0, 1e15)),
    ("corpus.ingest.max_words", POSITIVE_FEW),
    ("corpus.ingest.min_words", POSITIVE_FEW),
    ("corpus.ingest.passage_share", SHARE.above_low()),
    ("corpus.seed", ANY),
    ("corpus.synthesize.documents_per_shard", POSITIVE_COUNT),
    ("corpus.synthesize.eligible.max_chars", POSITIVE_FEW),
    ("corpus.synthesize.eligible.max_in_passage", FEW),
    ("corpus.synthesize.eligible.max_passages", COUNT),
    ("corpus.synthesize.eligible.max_words", FEW),
    ("corpus.synthesize.eligible.min_chars", FEW),
    ("corpus.synthesize.eligible.min_passages", COUNT),
    ("corpus.synthesize.evidence.max_passages", FEW),
    ("corpus.synthesize.evidence.max_same_article", SHARE),
    ("corpus.synthesize.evidence.min_passages", FEW),
    ("corpus.synthesize.heldout_fraction", SHARE.below_high()),
    ("corpus.synthesize.max_attempts", POSITIVE_FEW),
    ("corpus.synthesize.max_tokens", POSITIVE_TOKENS),
    ("corpus.synthesize.min_tokens", TOKENS),
    ("corpus.synthesize.num_heldout", COUNT),
    ("corpus.synthesize.num_random", FEW),
    ("corpus.synthesize.num_related", FEW),
    ("corpus.synthesize.num_train", COUNT),
    ("corpus.tokenizer.max_passages", POSITIVE_COUNT),
    ("corpus.tokenizer.min_frequency", COUNT),
    ("corpus.tokenizer.vocab_size", within(1.0, (1_u64 << 24) as f64)),
    ("corpus.workers", within(0.0, 4_096.0)),
    ("sampling.temperature", TEMPERATURE),
    ("sampling.top_k", within(0.0, 1e9)),
    ("sampling.top_p", SHARE.above_low()),
    ("eval.documents", COUNT),
    ("eval.recall_questions", GROUP),
    ("eval.temperature", TEMPERATURE),
    ("loss.clip_high", within(0.0, f64::INFINITY)),
    ("loss.clip_low", within(0.0, f64::INFINITY)),
    ("loss.dual_clip", within(1.0, f64::INFINITY).above_low()),
    ("loss.importance_cap", within(0.0, f64::INFINITY)),
    ("loss.kl_beta", WEIGHT),
    ("loss.normalizer_tokens", POSITIVE_TOKENS),
    ("objective.chunk_questions", GROUP),
    ("objective.chunk_weight", WEIGHT),
    ("objective.compression_weight", WEIGHT),
    ("objective.content_weight", WEIGHT),
    ("objective.evidence_weight", SHARE),
    // From 1 on a success could be worth less than a failure.
    ("objective.gain_weight", SHARE.below_high()),
    ("objective.group_size", POSITIVE_GROUP),
    ("objective.objectives", POSITIVE_GROUP),
    ("objective.overlong_penalty", WEIGHT),
    ("objective.questions", GROUP),
    ("objective.recall_questions", GROUP),
    ("objective.recall_samples", GROUP),
    ("objective.recall_weight", WEIGHT),
    ("objective.repetition_penalty", WEIGHT),
    ("objective.unsupported_penalty", WEIGHT),
    ("optimizer.beta1", SHARE.below_high()),
    ("optimizer.beta2", SHARE.below_high()),
    ("optimizer.eps", SHARE.above_low()),
    ("optimizer.last_factor", SHARE),
    // AdamW moves each weight by about the rate: beyond 1 a policy is gone after a step.
    ("optimizer.learning_rate", SHARE),
    ("optimizer.warmup_steps", COUNT),
    // Beyond 1 a rate of 1 would turn the sign of each weight.
    ("optimizer.weight_decay", SHARE),
    ("policy.lora.alpha", WEIGHT.above_low()),
    ("policy.lora.rank", POSITIVE_GROUP),
    ("reader.answer_tokens", POSITIVE_TOKENS),
    ("reader.chunk_tokens", POSITIVE_TOKENS),
    ("reader.context_tokens", POSITIVE_TOKENS),
    ("reader.max_chunks", POSITIVE_FEW),
    ("reader.memory_tokens", POSITIVE_TOKENS),
    ("reward.backoff_s", SECONDS),
    ("reward.batch", POSITIVE_GROUP),
    ("reward.built_in_weight", WEIGHT),
    ("reward.retries", within(0.0, 1_000.0)),
    ("reward.timeout_s", SECONDS),
    ("reward.weight", WEIGHT),
    ("run.seed", ANY),
    ("sampler.cache_gib", WEIGHT),
    ("sampler.http.backoff_s", SECONDS),
    ("sampler.http.concurrency", within(1.0, 4_096.0)),
    ("sampler.http.max_mismatch", WEIGHT),
    ("sampler.http.retries", within(0.0, 1_000.0)),
    ("sampler.http.timeout_s", SECONDS),
    ("sampler.max_sequences", POSITIVE_GROUP),
    ("search.timeout_s", within(0.0, 1e6)),
    ("searcher.context_tokens", POSITIVE_TOKENS),
    ("searcher.max_turns", POSITIVE_GROUP),
    ("searcher.prompt_tokens", TOKENS),
    ("searcher.response_tokens", POSITIVE_TOKENS),
    ("searcher.result_tokens", TOKENS),
    ("searcher.topk", GROUP),
    ("train.checkpoint_every", COUNT),
    ("train.documents_per_step", POSITIVE_GROUP),
    ("train.evaluate_every", COUNT),
    ("train.keep_every", COUNT),
    ("train.keep_last", COUNT),
    ("train.log_samples", COUNT),
    ("train.max_refills", FEW),
    ("train.peak_tflops", within(0.0, 1e9)),
    ("train.rollouts_every", COUNT),
    ("train.steps", COUNT),
    ("train.watch_after_s", within(0.0, 1e9)),
    ("update.epochs", POSITIVE_GROUP),
    // 0 would be taken for `off` by whoever knows other trainers, and would train nothing.
    ("update.max_gradient_norm", within(0.0, f64::INFINITY).above_low()),
    ("update.micro_batch_tokens", POSITIVE_TOKENS),
    ("update.minibatches", POSITIVE_GROUP),
    ("sft.answer_weight", WEIGHT),
    ("sft.oracle.answers", GROUP),
    ("sft.oracle.forget", SHARE),
    ("sft.oracle.informed", SHARE),
    ("sft.oracle.least_fill", SHARE),
    ("sft.oracle.names_share", SHARE),
    ("sft.oracle.placeholder_first", SHARE),
    ("sft.oracle.recall_questions", GROUP),
    ("sft.prompt_weight", WEIGHT),
    ("sft.repeat", SHARE),
    ("sft.steps", COUNT),
    ("sft.text_weight", WEIGHT),
    ("sft.texts", GROUP),
    ("sft.trajectories", GROUP),
    ("world.annals.seed", ANY),
    ("world.annals.signs", within(0.0, 4.0)),
    ("world.annals.years", within(0.0, 1_000.0)),
    ("world.lead_sentences", within(1.0, 100.0)),
    ("world.num_pages", POSITIVE_COUNT),
    ("world.section_sentences", within(1.0, 100.0)),
    ("world.sections", within(0.0, 100.0)),
    ("world.seed", ANY),
];

/// What a server is sent as it is, whatever it makes of it.
const FREE: &str = "bank.answerer.parameters";

/// What a key may be; nothing for a key that is no number.
pub fn allowed(key: &str) -> Option<Allowed> {
    RANGES.iter().find(|(known, _)| *known == key).map(|(_, allowed)| *allowed)
}

/// A number that a key may not have.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfRange {
    /// The key with its sections.
    pub key: String,
    /// The number as it is written.
    pub value: String,
    /// What it may be.
    pub allowed: Allowed,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "it must be {}", self.allowed)
    }
}

/// The first number of a configuration, written as TOML, that its key may not have.
pub fn check(config: &Table) -> Option<OutOfRange> {
    numbers(config).into_iter().find_map(|(key, value)| {
        let (allowed, number) = (allowed(&key)?, value.as_float().or(value.as_integer().map(|whole| whole as f64))?);
        (!allowed.holds(number)).then(|| OutOfRange { key, value: written(&value), allowed })
    })
}

/// A number as it is typed, with an exponent where it would be a row of zeros.
fn written(value: &Value) -> String {
    match value {
        Value::Float(number) if *number != 0.0 && number.is_finite() && !(1e-6..1e15).contains(&number.abs()) => {
            format!("{number:e}")
        }
        _ => value.to_string(),
    }
}

/// All numbers of a configuration with their keys; those of a list have the list's.
pub fn numbers(config: &Table) -> Vec<(String, Value)> {
    fn collect(key: String, value: &Value, found: &mut Vec<(String, Value)>) {
        match value {
            _ if key == FREE => {}
            Value::Integer(_) | Value::Float(_) => found.push((key, value.clone())),
            Value::Array(list) => list.iter().for_each(|one| collect(key.clone(), one, found)),
            Value::Table(section) => {
                section.iter().for_each(|(name, value)| collect(format!("{key}.{name}"), value, found));
            }
            Value::String(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }
    let mut found = Vec::new();
    config.iter().for_each(|(name, value)| collect(name.clone(), value, &mut found));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference;

    /// Configurations that have every section between them, an objective of its own kind each.
    fn whole() -> Vec<Table> {
        reference::kinds().iter().map(|kind| reference::defaults(kind)).collect()
    }

    #[test]
    fn every_number_has_a_range_that_holds_its_default_and_no_range_is_left_over() {
        let mut known: Vec<String> = Vec::new();
        for config in whole() {
            assert_eq!(check(&config), None);
            for (key, _) in numbers(&config) {
                assert!(allowed(&key).is_some(), "`{key}` has no range: add it to RANGES");
                known.push(key);
            }
        }
        for (key, _) in RANGES {
            assert!(known.iter().any(|known| known == key), "`{key}` is no key");
        }
    }

    #[test]
    fn what_is_no_number_is_refused_everywhere_and_others_by_their_ranges() {
        for (key, allowed) in RANGES {
            assert!(!allowed.holds(f64::NAN) && !allowed.holds(f64::NEG_INFINITY), "{key}");
            let is_bounded = *allowed != ANY && allowed.high.is_finite();
            assert!(*allowed == ANY || !allowed.holds(-1.0), "{key}");
            assert!(!is_bounded || !allowed.holds(1e300) && !allowed.holds(i64::MAX as f64), "{key}");
        }
        assert!(SECONDS.holds(0.5) && !SECONDS.holds(0.0));
        assert!(TEMPERATURE.holds(0.0) && !TEMPERATURE.holds(1e-320) && TEMPERATURE.holds(1.0));
        assert!(SHARE.below_high().holds(0.0) && !SHARE.below_high().holds(1.0));
    }

    #[test]
    fn ranges_are_said_in_words() {
        let said = |allowed: Allowed| allowed.to_string();
        assert_eq!(said(SHARE), "from 0 to 1");
        assert_eq!(said(SHARE.below_high()), "at least 0 and below 1");
        assert_eq!(said(SHARE.above_low()), "above 0 and at most 1");
        assert_eq!(said(within(0.0, f64::INFINITY).above_low()), "above 0, `inf` for no bound");
        assert_eq!(said(TEMPERATURE), "0, or from 0.001 to 1000000");
    }
}
