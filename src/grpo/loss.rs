//! The clipped objective: its value and its gradient, one response token at a time.
//!
//! With `r = exp(log π − log π_old)` and advantage `A` (MemTrain Eq. 4, PPO's clip, DAPO's two sides):
//!
//! ```text
//! loss = −min(r·A, clip(r, 1−ε_low, 1+ε_high)·A) + β·k3        for A < 0 at most −c·A in its first part (dual clip)
//! k3   = eˣ − x − 1,  x = log π_ref − log π
//! ```
//!
//! The loss of a token depends on the policy through one number, `log π`, so its gradient is written out here instead of
//! being taped: the trainer hands `∂loss/∂log π` to the backward pass of the policy.

use serde::{Deserialize, Serialize};

/// How token losses are averaged over an optimizer step. `C` conversations, `T` response tokens in all, `T_c` in one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossAggregation {
    /// `1/C · Σ_c Σ_t`: MemTrain Eq. 4.
    #[default]
    SequenceSum,
    /// `1/T · Σ_c Σ_t`: DAPO, MemAgent.
    TokenMean,
    /// `1/C · Σ_c 1/T_c Σ_t`: GRPO.
    SequenceMean,
}

impl LossAggregation {
    /// Weight of each token of a conversation of `response_tokens`. The totals are those of the whole optimizer step, so
    /// any split into micro-batches gives the same gradient.
    pub fn token_weight(self, response_tokens: usize, total_conversations: usize, total_tokens: usize) -> f64 {
        match self {
            Self::SequenceSum => 1.0 / total_conversations as f64,
            Self::TokenMean => 1.0 / total_tokens as f64,
            Self::SequenceMean => 1.0 / (total_conversations * response_tokens) as f64,
        }
    }
}

/// Constants of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// ε_low: the ratio is clipped from below at 1 − ε_low. The paper is silent; PPO's 0.2.
    pub clip_low: f64,
    /// ε_high: clipped from above at 1 + ε_high. The paper is silent; PPO's 0.2 (DAPO takes 0.28).
    pub clip_high: f64,
    /// c of the dual clip (arXiv 1912.09729); verl's 3.0.
    pub dual_clip: f64,
    /// β of the KL penalty; MemTrain §4.1: 1e-3. At 0 no reference is loaded.
    pub kl_beta: f64,
    /// How token losses are averaged.
    pub aggregation: LossAggregation,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self { clip_low: 0.2, clip_high: 0.2, dual_clip: 3.0, kl_beta: 1e-3, aggregation: LossAggregation::SequenceSum }
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
    /// ∂loss/∂log π.
    pub gradient: f64,
    /// k3 against the reference, 0 without one.
    pub kl: f64,
    /// The ratio fell below 1 − ε_low with A < 0: no gradient.
    pub clipped_low: bool,
    /// The ratio rose above 1 + ε_high with A > 0: no gradient.
    pub clipped_high: bool,
    /// The dual clip held a large ratio with A < 0: no gradient.
    pub clipped_dual: bool,
}

impl LossConfig {
    /// Loss of a token with log-probability `log_prob`, drawn at `old_log_prob`.
    ///
    /// ```
    /// use memtrain::grpo::loss::LossConfig;
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
        let mut token = self.policy_part(log_prob - old_log_prob, advantage);
        if let Some(reference) = reference_log_prob {
            let difference = (reference - log_prob).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND);
            let kl = difference.exp() - difference - 1.0;
            token.kl = kl.min(KL_BOUND);
            token.loss += self.kl_beta * token.kl;
            if kl < KL_BOUND && difference.abs() < LOG_RATIO_BOUND {
                token.gradient += self.kl_beta * (1.0 - difference.exp());
            }
        }
        token
    }

    fn policy_part(&self, log_ratio: f64, advantage: f64) -> TokenLoss {
        let bounded = log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND);
        let ratio = bounded.exp();
        let mut token = TokenLoss { loss: -ratio * advantage, ..TokenLoss::default() };
        if bounded == log_ratio {
            token.gradient = -ratio * advantage;
        }
        if advantage > 0.0 && ratio > 1.0 + self.clip_high {
            token = TokenLoss { loss: -(1.0 + self.clip_high) * advantage, clipped_high: true, ..TokenLoss::default() };
        } else if advantage < 0.0 && ratio < 1.0 - self.clip_low {
            token = TokenLoss { loss: -(1.0 - self.clip_low) * advantage, clipped_low: true, ..TokenLoss::default() };
        } else if advantage < 0.0 && ratio > self.dual_clip {
            token = TokenLoss { loss: -self.dual_clip * advantage, clipped_dual: true, ..TokenLoss::default() };
        }
        token
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
        policy + config.kl_beta * (x.exp() - x - 1.0).clamp(-10.0, 10.0)
    }

    proptest! {
        #[test]
        fn equals_the_formula_and_its_finite_difference(
            log_prob in -5.0_f64..0.0, old in -5.0_f64..0.0, reference in -5.0_f64..0.0, advantage in -2.0_f64..2.0
        ) {
            let config = LossConfig { kl_beta: 0.1, clip_high: 0.28, ..LossConfig::default() };
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
        // Two conversations of 1 and 3 tokens, every token loss 1.
        let total =
            |aggregation: LossAggregation| aggregation.token_weight(1, 2, 4) + 3.0 * aggregation.token_weight(3, 2, 4);
        assert_eq!(total(LossAggregation::SequenceSum), 2.0);
        assert_eq!(total(LossAggregation::TokenMean), 1.0);
        assert!((total(LossAggregation::SequenceMean) - 1.0).abs() < 1e-12);
    }
}
