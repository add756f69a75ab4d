//! The clipped objective: its value and its gradient, one response token at a time.
//!
//! With `r = exp(log π − log π_old)` and advantage `A` (MemTrain Eq. 4, PPO's clip, DAPO's two sides):
//!
//! ```text
//! loss = −min(r·A, clip(r, 1−ε_low, 1+ε_high)·A) + β·KL        for A < 0 at most −c·A in its first part (dual clip)
//! KL   = k1 = −x,   k2 = x²/2,   k3 = eˣ − x − 1,               x = log π_ref − log π; times r with the bias correction
//! ```
//!
//! The loss of a token depends on the policy through one number, `log π`, so its gradient is written out here instead of
//! being taped: the trainer hands `∂loss/∂log π` to the backward pass of the policy.

use serde::{Deserialize, Serialize};

/// How token losses are averaged over an optimizer step. `C` samples, `T` response tokens in all, `T_c` in one.
///
/// Names are verl's `loss_agg_mode`; TRL's `loss_type` is understood too where it means the same.
///
/// ```
/// use memtrain_rl::grpo::loss::{LossAggregation, LossConfig};
/// let config: LossConfig = toml::from_str("aggregation = \"dapo\"").unwrap();
/// assert_eq!(config.aggregation, LossAggregation::TokenMean);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LossAggregation {
    /// `1/C · Σ_c Σ_t`: MemTrain Eq. 4.
    #[default]
    #[serde(rename = "seq-mean-token-sum", alias = "sequence-sum")]
    SeqMeanTokenSum,
    /// `1/T · Σ_c Σ_t`: DAPO, MemAgent.
    #[serde(rename = "token-mean", alias = "dapo")]
    TokenMean,
    /// `1/C · Σ_c 1/T_c Σ_t`: GRPO.
    #[serde(rename = "seq-mean-token-mean", alias = "sequence-mean", alias = "grpo")]
    SeqMeanTokenMean,
    /// `1/(C·L) · Σ_c Σ_t` with a constant `L`: Dr. GRPO.
    #[serde(rename = "seq-mean-token-sum-norm", alias = "dr_grpo", alias = "dr-grpo")]
    SeqMeanTokenSumNorm,
}

/// What the tokens of a step are divided by. The totals are those of the whole optimizer step, so any split into
/// micro-batches gives the same gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// `C`.
    pub samples: usize,
    /// `T`.
    pub tokens: usize,
}

/// The estimator of the KL divergence to the reference (J. Schulman, "Approximating KL divergence", 2020), with verl's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KlEstimator {
    /// `log π − log π_ref`. Its gradient as a loss pushes every sampled token down alike.
    #[serde(alias = "kl")]
    K1,
    /// `½ (log π − log π_ref)²`.
    #[serde(alias = "mse")]
    K2,
    /// `eˣ − x − 1`, `x = log π_ref − log π`: never negative, low variance. GRPO, TRL.
    #[default]
    #[serde(alias = "low_var_kl")]
    K3,
}

/// Constants of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// ε_low: the ratio is clipped from below at 1 − ε_low. The paper is silent; PPO's 0.2.
    pub clip_low: f64,
    /// ε_high: clipped from above at 1 + ε_high. The paper is silent; PPO's 0.2 (DAPO takes 0.28).
    pub clip_high: f64,
    /// c of the dual clip (arXiv 1912.09729); verl's 3.0. `inf` switches it off.
    pub dual_clip: f64,
    /// β of the KL penalty; MemTrain §4.1: 1e-3. At 0 no reference is loaded.
    pub kl_beta: f64,
    /// How the KL divergence is estimated. The paper is silent; GRPO's k3.
    pub kl_estimator: KlEstimator,
    /// Multiply the KL estimate by the ratio to the old policy, so that its gradient is that of the KL divergence itself
    /// (DeepSeek-V3.2, arXiv 2512.02556; TRL's `use_bias_correction_kl`, on there). MemTrain Eq. 4 has no such factor.
    pub kl_bias_correction: bool,
    /// Bound C of the importance weight `min(exp(log π_old − log π_sampler), C)` that the policy part of a token's loss
    /// is multiplied by, where the sampler said how probable it held the token: what was sampled by a sampler that
    /// rounds otherwise than the trainer is weighed as if the trainer had sampled it (truncated importance sampling;
    /// verl's `rollout_is_threshold`, 2.0; TRL's `vllm_importance_sampling_clip_max`, 3.0). 0 switches it off. Where
    /// both are this program in f32 the weights are 1 up to rounding. MemTrain is silent.
    pub importance_cap: f64,
    /// How token losses are averaged.
    pub aggregation: LossAggregation,
    /// L of `seq-mean-token-sum-norm`, in tokens; the paper's response limit.
    pub normalizer_tokens: usize,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            clip_low: 0.2,
            clip_high: 0.2,
            dual_clip: 3.0,
            kl_beta: 1e-3,
            kl_estimator: KlEstimator::K3,
            kl_bias_correction: false,
            importance_cap: 2.0,
            aggregation: LossAggregation::SeqMeanTokenSum,
            normalizer_tokens: 1_024,
        }
    }
}

/// Bound of log ratios before they are exponentiated, and of k3 after; verl's values.
const LOG_RATIO_BOUND: f64 = 20.0;
const KL_BOUND: f64 = 10.0;

/// Loss of one token and what happened to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenLoss {
    /// Policy part plus β·KL.
    pub loss: f64,
    /// The policy part.
    pub policy_loss: f64,
    /// `r`, the ratio to the old policy.
    pub ratio: f64,
    /// ∂loss/∂log π.
    pub gradient: f64,
    /// The estimate of the KL divergence to the reference, 0 without one.
    pub kl: f64,
    /// The ratio fell below 1 − ε_low with A < 0: no gradient.
    pub clipped_low: bool,
    /// The ratio rose above 1 + ε_high with A > 0: no gradient.
    pub clipped_high: bool,
    /// The dual clip held a large ratio with A < 0: no gradient.
    pub clipped_dual: bool,
}

impl LossConfig {
    /// Checks what a type cannot.
    ///
    /// # Errors
    /// The key, its value and what it must be.
    pub fn validate(&self) -> Result<(), String> {
        let clips = [("loss.clip_low", self.clip_low), ("loss.clip_high", self.clip_high)];
        if let Some((key, value)) = clips.into_iter().find(|(_, value)| value.is_nan() || *value < 0.0) {
            return Err(format!("`{key}` is {value}: it must not be negative"));
        }
        if self.dual_clip.is_nan() || self.dual_clip <= 1.0 {
            return Err(format!(
                "`loss.dual_clip` is {}: it must be greater than 1, or `inf` for none",
                self.dual_clip
            ));
        }
        if !(self.kl_beta >= 0.0 && self.kl_beta.is_finite()) {
            return Err(format!("`loss.kl_beta` is {}: it must be 0 or a positive number", self.kl_beta));
        }
        if self.importance_cap.is_nan() || self.importance_cap < 0.0 {
            return Err(format!(
                "`loss.importance_cap` is {}: it must be 0 for none, or the largest weight",
                self.importance_cap
            ));
        }
        if self.normalizer_tokens == 0 {
            return Err("`loss.normalizer_tokens` is 0: it must be at least 1".to_owned());
        }
        Ok(())
    }

    /// Weight of each token of a sample of `response_tokens`, in a step of `totals`.
    pub fn token_weight(&self, response_tokens: usize, totals: Totals) -> f64 {
        let Totals { samples, tokens } = totals;
        1.0 / match self.aggregation {
            LossAggregation::SeqMeanTokenSum => samples as f64,
            LossAggregation::TokenMean => tokens as f64,
            LossAggregation::SeqMeanTokenMean => (samples * response_tokens) as f64,
            LossAggregation::SeqMeanTokenSumNorm => (samples * self.normalizer_tokens) as f64,
        }
    }

    /// Weight of a token that the trainer held for `old_log_prob` probable and the sampler for `sampler_log_prob`.
    ///
    /// ```
    /// use memtrain_rl::grpo::loss::LossConfig;
    /// let loss = LossConfig { importance_cap: 2.0, ..LossConfig::default() };
    /// assert_eq!(loss.importance(-1.0, Some(-1.0)), 1.0);
    /// assert_eq!(loss.importance(-1.0, Some(-3.0)), 2.0);
    /// assert_eq!(loss.importance(-1.0, None), 1.0);
    /// ```
    pub fn importance(&self, old_log_prob: f64, sampler_log_prob: Option<f64>) -> f64 {
        match sampler_log_prob {
            Some(sampler) if self.importance_cap > 0.0 => {
                (old_log_prob - sampler).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp().min(self.importance_cap)
            }
            _ => 1.0,
        }
    }

    /// Loss of a token with log-probability `log_prob`, sampled at `old_log_prob`.
    ///
    /// ```
    /// use memtrain_rl::grpo::loss::LossConfig;
    /// // On-policy the ratio is 1: the loss is −A and its gradient −A.
    /// let token = LossConfig::default().token(-1.0, -1.0, None, 0.5);
    /// assert_eq!((token.loss, token.gradient), (-0.5, -0.5));
    /// ```
    pub fn token(
        &self,
        log_prob: f64,
        old_log_prob: f64,
        reference_log_prob: Option<f64>,
        advantage: f64,
    ) -> TokenLoss {
        self.weighted_token(log_prob, old_log_prob, reference_log_prob, advantage, 1.0)
    }

    /// The same with the policy part multiplied by an importance weight, which is a constant to the gradient.
    pub fn weighted_token(
        &self,
        log_prob: f64,
        old_log_prob: f64,
        reference_log_prob: Option<f64>,
        advantage: f64,
        importance: f64,
    ) -> TokenLoss {
        let log_ratio = log_prob - old_log_prob;
        let mut token = self.policy_part(log_ratio, advantage);
        token.policy_loss *= importance;
        token.gradient *= importance;
        token.loss = token.policy_loss;
        if let Some(reference) = reference_log_prob {
            let (mut kl, mut slope) = self.kl_estimator.estimate(log_prob, reference);
            if self.kl_bias_correction {
                // The ratio moves with the policy too, unless it is at its bound.
                let ratio_slope = if log_ratio.abs() < LOG_RATIO_BOUND { token.ratio } else { 0.0 };
                (kl, slope) = (token.ratio * kl, token.ratio * slope + ratio_slope * kl);
            }
            token.kl = kl;
            token.loss += self.kl_beta * kl;
            token.gradient += self.kl_beta * slope;
        }
        token
    }

    fn policy_part(&self, log_ratio: f64, advantage: f64) -> TokenLoss {
        let bounded = log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND);
        let ratio = bounded.exp();
        let mut token = TokenLoss { policy_loss: -ratio * advantage, ratio, ..TokenLoss::default() };
        if advantage > 0.0 && ratio > 1.0 + self.clip_high {
            token.policy_loss = -(1.0 + self.clip_high) * advantage;
            token.clipped_high = true;
        } else if advantage < 0.0 && ratio < 1.0 - self.clip_low {
            token.policy_loss = -(1.0 - self.clip_low) * advantage;
            token.clipped_low = true;
        } else if advantage < 0.0 && ratio > self.dual_clip {
            token.policy_loss = -self.dual_clip * advantage;
            token.clipped_dual = true;
        } else if bounded == log_ratio {
            token.gradient = -ratio * advantage;
        }
        token
    }
}

impl KlEstimator {
    /// The estimate for one token and its derivative with respect to `log_prob`.
    fn estimate(self, log_prob: f64, reference: f64) -> (f64, f64) {
        let difference = log_prob - reference;
        match self {
            Self::K1 => (difference, 1.0),
            Self::K2 => (0.5 * difference * difference, difference),
            Self::K3 => {
                let x = (-difference).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND);
                let k3 = x.exp() - x - 1.0;
                let bounded = k3 >= KL_BOUND || x.abs() >= LOG_RATIO_BOUND;
                (k3.min(KL_BOUND), if bounded { 0.0 } else { 1.0 - x.exp() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The formula as the papers write it, term by term, as a twin of the branches above.
    fn naive(config: &LossConfig, log_prob: f64, old: f64, reference: f64, advantage: f64) -> f64 {
        let ratio = (log_prob - old).clamp(-20.0, 20.0).exp();
        let clipped = ratio.clamp(1.0 - config.clip_low, 1.0 + config.clip_high);
        let mut policy = (-ratio * advantage).max(-clipped * advantage);
        if advantage < 0.0 {
            policy = policy.min(-config.dual_clip * advantage);
        }
        let x = (reference - log_prob).clamp(-20.0, 20.0);
        let kl = match config.kl_estimator {
            KlEstimator::K1 => log_prob - reference,
            KlEstimator::K2 => (log_prob - reference).powi(2) / 2.0,
            KlEstimator::K3 => (x.exp() - x - 1.0).clamp(-10.0, 10.0),
        };
        policy + config.kl_beta * kl * if config.kl_bias_correction { ratio } else { 1.0 }
    }

    proptest! {
        #[test]
        fn equals_the_formula_and_its_finite_difference(
            log_prob in -5.0_f64..0.0, old in -5.0_f64..0.0, reference in -5.0_f64..0.0, advantage in -2.0_f64..2.0
        ) {
            for kl_estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
                for (dual_clip, kl_bias_correction) in [(3.0, false), (f64::INFINITY, false), (3.0, true)] {
                    let config = LossConfig {
                        kl_beta: 0.1,
                        clip_high: 0.28,
                        dual_clip,
                        kl_estimator,
                        kl_bias_correction,
                        ..LossConfig::default()
                    };
                    let token = config.token(log_prob, old, Some(reference), advantage);
                    prop_assert!((token.loss - naive(&config, log_prob, old, reference, advantage)).abs() < 1e-12);
                    let step = 1e-6;
                    let above = naive(&config, log_prob + step, old, reference, advantage);
                    let below = naive(&config, log_prob - step, old, reference, advantage);
                    let slopes = [(above - token.loss) / step, (token.loss - below) / step];
                    // At a kink the two one-sided slopes differ and the gradient is one of them.
                    let matches = slopes.iter().any(|slope| (slope - token.gradient).abs() < 1e-3 * (1.0 + slope.abs()));
                    prop_assert!(matches, "gradient {} against slopes {slopes:?}", token.gradient);
                }
            }
        }
    }

    #[test]
    fn importance_scales_the_policy_part_alone_and_is_cut_off() {
        let config = LossConfig { kl_beta: 0.1, importance_cap: 1.5, ..LossConfig::default() };
        let plain = config.token(-1.0, -1.1, Some(-1.3), 0.7);
        let weighted = config.weighted_token(-1.0, -1.1, Some(-1.3), 0.7, 1.5);
        assert!((weighted.policy_loss - 1.5 * plain.policy_loss).abs() < 1e-12 && weighted.kl == plain.kl);
        let slope = plain.gradient - config.token(-1.0, -1.1, Some(-1.3), 0.0).gradient;
        assert!((weighted.gradient - plain.gradient - 0.5 * slope).abs() < 1e-12);
        assert!((config.importance(-1.0, Some(-1.2)) - 0.2_f64.exp()).abs() < 1e-12);
        assert_eq!(config.importance(-1.0, Some(-9.0)), 1.5);
        assert!(config.importance(-9.0, Some(-1.0)) < 1e-3);
        assert_eq!(LossConfig { importance_cap: 0.0, ..config }.importance(-1.0, Some(-9.0)), 1.0);
    }

    #[test]
    fn by_hand() {
        // ratio 1.5, A = 2: clipped at 1.2 -> −2.4, no gradient. ratio 0.5, A = −1: clipped at 0.8 -> 0.8.
        let config = LossConfig { kl_beta: 0.0, ..LossConfig::default() };
        let high = config.token(1.5_f64.ln() - 1.0, -1.0, None, 2.0);
        assert!((high.loss + 2.4).abs() < 1e-12 && high.gradient == 0.0 && high.clipped_high);
        let low = config.token(0.5_f64.ln() - 1.0, -1.0, None, -1.0);
        assert!((low.loss - 0.8).abs() < 1e-12 && low.gradient == 0.0 && low.clipped_low);
        // ratio 4, A = −1: the dual clip holds it at 3.
        let dual = config.token(4_f64.ln() - 2.0, -2.0, None, -1.0);
        assert!((dual.loss - 3.0).abs() < 1e-12 && dual.clipped_dual);
        // log π = −1, log π_ref = −1 + ln 2: k3 = 2 − ln 2 − 1.
        let kl = LossConfig { kl_beta: 0.5, ..config }.token(-1.0, -1.0, Some(2_f64.ln() - 1.0), 0.0);
        assert!((kl.kl - (1.0 - 2_f64.ln())).abs() < 1e-12 && (kl.gradient + 0.5).abs() < 1e-12);
    }

    #[test]
    fn aggregations_by_hand() {
        // Two samples of 1 and 3 tokens, every token loss 1.
        let totals = Totals { samples: 2, tokens: 4 };
        let total = |aggregation: &str| {
            let text = format!("aggregation = \"{aggregation}\"\nnormalizer_tokens = 8");
            let config: LossConfig = toml::from_str(&text).expect("a known name");
            config.token_weight(1, totals) + 3.0 * config.token_weight(3, totals)
        };
        for (names, expected) in [
            (&["seq-mean-token-sum", "sequence-sum"][..], 2.0),
            (&["token-mean", "dapo"], 1.0),
            (&["seq-mean-token-mean", "sequence-mean", "grpo"], 1.0),
            (&["seq-mean-token-sum-norm", "dr_grpo"], 0.25),
        ] {
            names.iter().for_each(|name| assert!((total(name) - expected).abs() < 1e-12, "{name}"));
        }
    }

    #[test]
    fn constants_that_make_no_sense_are_named() {
        let wrong = |text: &str| toml::from_str::<LossConfig>(text).expect("TOML").validate().expect_err(text);
        for key in [
            "clip_low = -0.1",
            "clip_high = nan",
            "dual_clip = 1.0",
            "kl_beta = inf",
            "importance_cap = -1",
            "normalizer_tokens = 0",
        ] {
            let name = key.split(' ').next().unwrap_or_default();
            assert!(wrong(key).contains(name), "{}", wrong(key));
        }
        assert_eq!(toml::from_str::<LossConfig>("dual_clip = inf").expect("TOML").validate(), Ok(()));
    }
}
