//! Rewards of a group to advantages.

use serde::{Deserialize, Serialize};

/// What rewards are divided by after the group's mean is taken off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RewardScale {
    /// Nothing (Dr. GRPO, arXiv 2503.20783; MemTrain §3.3).
    #[default]
    None,
    /// The group's standard deviation plus 1e-4 (GRPO, arXiv 2402.03300; TRL's `scale_rewards="group"`).
    Group,
}

/// Advantage of each member of a group: its reward minus the group's mean, scaled.
///
/// The group is a set of trajectories (or of samples of one question). Turns are expanded afterwards by copying, so that
/// a long document does not weigh more in the mean than a short one.
///
/// ```
/// use memtrain_rl::grpo::advantage::{RewardScale, advantages};
/// assert_eq!(advantages(&[1.0, 0.0, 0.0, 1.0], RewardScale::None), [0.5, -0.5, -0.5, 0.5]);
/// ```
pub fn advantages(rewards: &[f64], scale: RewardScale) -> Vec<f64> {
    if rewards.is_empty() {
        return Vec::new();
    }
    let count = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / count;
    let divisor = match scale {
        RewardScale::None => 1.0,
        RewardScale::Group => {
            let sum_of_squares: f64 = rewards.iter().map(|reward| (reward - mean).powi(2)).sum();
            (sum_of_squares / (count - 1.0).max(1.0)).sqrt() + 1e-4
        }
    };
    rewards.iter().map(|reward| (reward - mean) / divisor).collect()
}

/// Whether all rewards of a group are equal, so that the group gives no gradient (DAPO's filter, arXiv 2503.14476 §3.2).
pub fn has_zero_variance(rewards: &[f64]) -> bool {
    rewards.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn advantages_of_a_group_sum_to_zero(rewards in prop::collection::vec(0.0_f64..2.0, 1..20)) {
            for scale in [RewardScale::None, RewardScale::Group] {
                let sum: f64 = advantages(&rewards, scale).iter().sum();
                prop_assert!(sum.abs() < 1e-6, "{scale:?}: {sum}");
            }
        }

        #[test]
        fn a_constant_added_to_all_rewards_changes_nothing(rewards in prop::collection::vec(0.0_f64..2.0, 1..20), shift in -3.0_f64..3.0) {
            let shifted: Vec<f64> = rewards.iter().map(|reward| reward + shift).collect();
            for (a, b) in advantages(&rewards, RewardScale::None).iter().zip(advantages(&shifted, RewardScale::None)) {
                prop_assert!((a - b).abs() < 1e-9);
            }
            prop_assert_eq!(has_zero_variance(&rewards), has_zero_variance(&shifted));
        }
    }

    #[test]
    fn a_scaled_group_has_unit_deviation() {
        // Rewards 0 and 1: the sample deviation is 1/√2, so each advantage is ±½·√2.
        let scaled = advantages(&[0.0, 1.0], RewardScale::Group);
        assert!((scaled[1] - 0.5_f64.sqrt()).abs() < 1e-3, "{scaled:?}");
        assert!(has_zero_variance(&[0.5, 0.5]) && !has_zero_variance(&[0.5, 0.5, 0.0]));
    }
}
