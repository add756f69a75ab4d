//! Token sampler: one token from one row of logits by temperature, top-k, top-p and inverse-CDF sampling.
//!
//! The cumulative distribution is inverted in f64 at one uniform number, so that each token has exactly its
//! probability up to the rounding of f32 weights. The distribution is cut in this order: temperature, then the `top_k`
//! most probable, then the nucleus of `top_p` among what `top_k` left (the order of Hugging Face transformers).
//! Among equal logits the lower id comes first.

use memtrain_corpora::rng;
use memtrain_kernels::vector::{Real, max, wide_sum};
use rand::Rng;

use super::{RngKey, SamplingParams};

/// Tokens whose weights are summed together, so that the search goes over blocks first.
const BLOCK: usize = 64;

/// Candidates sorted at a time in the search for the nucleus.
const FIRST_CANDIDATES: usize = 32;

/// A sampled token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SampledToken {
    /// Its id.
    pub id: u32,
    /// Its log-probability at the temperature (at 1 when greedy), over the whole vocabulary and before any cut.
    pub log_prob: f32,
}

/// Buffers kept from row to row.
#[derive(Default)]
pub(super) struct Scratch {
    weights: Vec<f32>,
    blocks: Vec<f64>,
    order: Vec<u32>,
}

/// The uniform number in `[0, 1)` for the token at a position of a response.
pub(super) fn uniform(key: &RngKey, position: usize) -> f64 {
    let RngKey { seed, step, document, rollout, turn } = *key;
    rng::keyed("sample", seed, &[step, document, rollout, turn, position as u64]).random()
}

/// Samples from a row of logits `[V]`, of which only the first `allowed` ids may be sampled.
///
/// `None` if a logit is NaN, or none is finite.
pub(super) fn sample_token(
    logits: &[f32],
    params: &SamplingParams,
    allowed: usize,
    uniform: impl FnOnce() -> f64,
    scratch: &mut Scratch,
) -> Option<SampledToken> {
    let scale = if params.temperature > 0.0 { (1.0 / params.temperature) as f32 } else { 1.0 };
    let highest = max(logits);
    let total = softmax_weights(logits, highest, scale, scratch);
    if !total.is_finite() || total <= 0.0 {
        return None;
    }
    let id = if params.temperature > 0.0 {
        let cut_to = if params.top_k == 0 { allowed } else { params.top_k.min(allowed) };
        if cut_to < allowed || params.top_p < 1.0 {
            top_k_top_p(logits, params.top_p, cut_to, allowed, scratch);
            inverse_cdf_of_kept(uniform(), scratch)
        } else {
            inverse_cdf(uniform(), allowed, scratch)
        }
    } else {
        argmax(&logits[..allowed])
    }?;
    let log_prob = f64::from((logits[id as usize] - highest) * scale) - total.ln();
    Some(SampledToken { id, log_prob: log_prob as f32 })
}

/// Fills the weights `exp((logit - highest) * scale)` and their sums by block; returns the sum of all.
fn softmax_weights(logits: &[f32], highest: f32, scale: f32, scratch: &mut Scratch) -> f64 {
    scratch.weights.clear();
    scratch.weights.extend(logits.iter().map(|&logit| Real::exp((logit - highest) * scale)));
    scratch.blocks.clear();
    scratch.blocks.extend(scratch.weights.chunks(BLOCK).map(wide_sum));
    scratch.blocks.iter().sum()
}

fn argmax(logits: &[f32]) -> Option<u32> {
    let highest = max(logits);
    logits.iter().position(|&logit| logit == highest).map(|id| id as u32)
}

/// The first id among the allowed ones at which the cumulative weight passes `uniform` of the whole.
fn inverse_cdf(uniform: f64, allowed: usize, scratch: &mut Scratch) -> Option<u32> {
    let weights = &scratch.weights[..allowed];
    scratch.blocks.truncate(allowed.div_ceil(BLOCK));
    if !allowed.is_multiple_of(BLOCK)
        && let Some(last) = scratch.blocks.last_mut()
    {
        *last = wide_sum(&weights[allowed / BLOCK * BLOCK..]);
    }
    let target = uniform * scratch.blocks.iter().sum::<f64>();
    let mut passed = 0.0;
    let mut chosen = None;
    for (block, &weight) in scratch.blocks.iter().enumerate() {
        if passed + weight <= target || weight <= 0.0 {
            passed += weight;
            continue;
        }
        let first = block * BLOCK;
        chosen = cdf_search(weights[first..].iter().take(BLOCK).copied(), target - passed).map(|id| id + first);
        break;
    }
    // The sums of blocks round differently from a walk over single weights: a uniform next to 1 may fall off the end.
    chosen.or_else(|| weights.iter().rposition(|&weight| weight > 0.0)).map(|id| id as u32)
}

/// The place at which the cumulative weight passes the target, or the last place of positive weight.
fn cdf_search(weights: impl Iterator<Item = f32>, target: f64) -> Option<usize> {
    let mut passed = 0.0;
    let mut last = None;
    for (place, weight) in weights.enumerate() {
        passed += f64::from(weight);
        if weight > 0.0 {
            last = Some(place);
        }
        if passed > target {
            break;
        }
    }
    last
}

/// Leaves in `order` the ids that `top_k` and `top_p` keep, most probable first. At least one stays.
fn top_k_top_p(logits: &[f32], top_p: f64, top_k: usize, allowed: usize, scratch: &mut Scratch) {
    let Scratch { weights, order, .. } = scratch;
    let more_probable = |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b));
    order.clear();
    order.extend(0..allowed as u32);
    if top_k < order.len() {
        order.select_nth_unstable_by(top_k - 1, more_probable);
        order.truncate(top_k);
    }
    if top_p >= 1.0 {
        order.sort_unstable_by(more_probable);
        return;
    }
    let wanted = top_p * order.iter().map(|&id| f64::from(weights[id as usize])).sum::<f64>();
    let (mut reached, mut sorted, mut candidates) = (0.0, 0, FIRST_CANDIDATES);
    while sorted < order.len() {
        let rest = &mut order[sorted..];
        let next = candidates.min(rest.len());
        if next < rest.len() {
            rest.select_nth_unstable_by(next - 1, more_probable);
        }
        rest[..next].sort_unstable_by(more_probable);
        for place in sorted..sorted + next {
            reached += f64::from(weights[order[place] as usize]);
            if reached >= wanted {
                order.truncate(place + 1);
                return;
            }
        }
        sorted += next;
        candidates *= 4;
    }
}

fn inverse_cdf_of_kept(uniform: f64, scratch: &Scratch) -> Option<u32> {
    let kept = scratch.order.iter().map(|&id| scratch.weights[id as usize]);
    let total: f64 = kept.clone().map(f64::from).sum();
    cdf_search(kept, uniform * total).map(|place| scratch.order[place])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: SamplingParams = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 1 };

    fn wavy(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * i) as f32 * 0.37).sin() * 3.0).collect()
    }

    /// The kept distribution, worked out the plain way: sort everything, cut, renormalise.
    fn naive_distribution(logits: &[f32], params: &SamplingParams, allowed: usize) -> Vec<f64> {
        let mut ids: Vec<usize> = (0..allowed).collect();
        ids.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        if params.top_k > 0 {
            ids.truncate(params.top_k);
        }
        let weight = |id: usize| (f64::from(logits[id]) / params.temperature).exp();
        let total: f64 = ids.iter().map(|&id| weight(id)).sum();
        let mut reached = 0.0;
        let mut probabilities = vec![0.0; logits.len()];
        for id in ids {
            probabilities[id] = weight(id) / total;
            reached += weight(id) / total;
            if reached >= params.top_p {
                break;
            }
        }
        let kept: f64 = probabilities.iter().sum();
        probabilities.iter().map(|p| p / kept).collect()
    }

    /// Pearson's statistic over the cells that expect at least five samples, and its degrees of freedom.
    fn chi_square(counts: &[u32], probabilities: &[f64], num_draws: u32) -> (f64, f64) {
        let cells = counts.iter().zip(probabilities).map(|(&count, &p)| (f64::from(count), p * f64::from(num_draws)));
        let (mut statistic, mut degrees, mut rare) = (0.0, -1.0, (0.0, 0.0));
        for (count, expected) in cells {
            if expected < 5.0 {
                rare = (rare.0 + count, rare.1 + expected);
            } else {
                statistic += (count - expected).powi(2) / expected;
                degrees += 1.0;
            }
        }
        if rare.1 >= 5.0 {
            statistic += (rare.0 - rare.1).powi(2) / rare.1;
            degrees += 1.0;
        }
        (statistic, degrees)
    }

    #[test]
    fn draws_follow_the_distribution() {
        const NUM_DRAWS: u32 = 40_000;
        let logits = wavy(150);
        let cases = [
            (PLAIN, 150),
            (PLAIN, 131),
            (SamplingParams { temperature: 0.6, ..PLAIN }, 150),
            (SamplingParams { temperature: 1.7, top_k: 20, ..PLAIN }, 150),
            (SamplingParams { top_p: 0.7, ..PLAIN }, 150),
            (SamplingParams { temperature: 0.8, top_k: 40, top_p: 0.9, ..PLAIN }, 140),
        ];
        for (case, (params, allowed)) in cases.into_iter().enumerate() {
            let probabilities = naive_distribution(&logits, &params, allowed);
            let mut counts = vec![0u32; logits.len()];
            let mut scratch = Scratch::default();
            for document in 0..u64::from(NUM_DRAWS) {
                let key = RngKey { seed: 3, document, ..Default::default() };
                let sampled =
                    sample_token(&logits, &params, allowed, || uniform(&key, case), &mut scratch).expect("finite");
                counts[sampled.id as usize] += 1;
            }
            let forbidden = counts.iter().zip(&probabilities).any(|(&count, &p)| p == 0.0 && count > 0);
            assert!(!forbidden, "case {case}: a token outside the cut was drawn");
            let (statistic, degrees) = chi_square(&counts, &probabilities, NUM_DRAWS);
            // Wilson and Hilferty: the cube root is nearly normal; 3.7 deviations are passed once in 10,000 samples of
            // a seed.
            let spread = 2.0 / (9.0 * degrees);
            let deviations = ((statistic / degrees).cbrt() - (1.0 - spread)) / spread.sqrt();
            assert!(deviations < 3.7, "case {case}: chi-square {statistic} with {degrees} degrees of freedom");
        }
    }

    #[test]
    fn a_wrong_distribution_is_noticed() {
        let logits = wavy(150);
        let wrong = naive_distribution(&logits, &SamplingParams { temperature: 1.1, ..PLAIN }, 150);
        let mut counts = vec![0u32; 150];
        for document in 0..40_000 {
            let key = RngKey { document, ..Default::default() };
            let sampled =
                sample_token(&logits, &PLAIN, 150, || uniform(&key, 0), &mut Scratch::default()).expect("finite");
            counts[sampled.id as usize] += 1;
        }
        let (statistic, degrees) = chi_square(&counts, &wrong, 40_000);
        assert!(statistic > 2.0 * degrees, "{statistic} with {degrees} degrees of freedom");
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest_allowed() {
        let params = SamplingParams { temperature: 0.0, top_k: 1, top_p: 0.1, max_tokens: 1 };
        let logits = [0.0, 2.0, 2.0, 5.0];
        let sampled = sample_token(&logits, &params, 3, || 0.99, &mut Scratch::default()).expect("finite");
        assert_eq!(sampled.id, 1);
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        assert!((f64::from(sampled.log_prob) - (2.0 - total.ln())).abs() < 1e-6);
    }

    /// Lines of `draws.tsv`, which the kernel for cards is held against as well: shape of the logits, parameters, uniform
    /// number, and what is drawn.
    #[test]
    fn draws_are_those_that_the_kernel_for_cards_is_tested_with() {
        let table = include_str!("../../../kernels/cuda/sampling/draws.tsv");
        let mut lines = 0;
        for line in table.lines().skip(1) {
            let field: Vec<f64> = line.split('\t').map(|field| field.parse().expect("a number")).collect();
            let [vocabulary, allowed, kind, exponent, seed, temperature, top_k, top_p, u, id, log_prob] = field[..]
            else {
                panic!("{line}")
            };
            let mut state = seed as u32;
            let logit = |place: usize| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                match kind as u32 {
                    1 => ((state >> 28) as f32 - 8.0) * 0.5,
                    2 if place % 7 == 3 => f32::NEG_INFINITY,
                    _ => ((state >> 8) as f32 - 8_388_608.0) * 2f32.powi(-(exponent as i32)),
                }
            };
            let logits: Vec<f32> = (0..vocabulary as usize).map(logit).collect();
            let params = SamplingParams { temperature, top_p, top_k: top_k as usize, max_tokens: 1 };
            let drawn =
                sample_token(&logits, &params, allowed as usize, || u, &mut Scratch::default()).expect("finite");
            assert_eq!(drawn.id, id as u32, "{line}");
            assert!((f64::from(drawn.log_prob) - log_prob).abs() <= 1.2e-7 * (1.0 + log_prob.abs()), "{line}");
            lines += 1;
        }
        assert_eq!(lines, 240);
    }

    #[test]
    fn logits_that_are_not_finite_are_refused_or_never_drawn() {
        let scratch = &mut Scratch::default();
        assert_eq!(sample_token(&[0.0, f32::NAN, 1.0], &PLAIN, 3, || 0.5, scratch), None);
        assert_eq!(sample_token(&[f32::NEG_INFINITY; 3], &PLAIN, 3, || 0.5, scratch), None);
        let one = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        for uniform in [0.0, 0.3, 1.0 - f64::EPSILON] {
            let sampled = sample_token(&one, &PLAIN, 3, || uniform, scratch).expect("one is finite");
            assert_eq!((sampled.id, sampled.log_prob), (1, 0.0));
        }
    }

    proptest! {
        #[test]
        fn inverse_cdf_equals_the_naive_search(
            logits in prop::collection::vec(-8f32..8.0, 1..300),
            temperature in 0.2f64..3.0, top_p in 0.05f64..1.0, top_k in 0usize..80, u in 0f64..1.0, plain: bool,
        ) {
            let top_p = if plain { 1.0 } else { top_p };
            let top_k = if plain { 0 } else { top_k };
            let params = SamplingParams { temperature, top_p, top_k, max_tokens: 1 };
            let allowed = logits.len();
            let probabilities = naive_distribution(&logits, &params, allowed);
            let sampled = sample_token(&logits, &params, allowed, || u, &mut Scratch::default()).expect("finite");
            let sampled = sampled.id as usize;
            // Cumulative probability before and after the sampled id, in the order of the search.
            let comes_before = |id: usize| match plain {
                true => id < sampled,
                false => logits[id] > logits[sampled] || (logits[id] == logits[sampled] && id < sampled),
            };
            let before: f64 = (0..allowed).filter(|&id| comes_before(id)).map(|id| probabilities[id]).sum();
            prop_assert!(before - 1e-5 <= u && u <= before + probabilities[sampled] + 1e-5);
        }
    }
}
