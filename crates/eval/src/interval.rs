//! Means with 95 % intervals.

use serde::{Deserialize, Serialize};

/// 97.5 % quantile of the standard normal distribution.
const Z_95: f64 = 1.959_964;

/// A mean over independent units (documents) and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean.
    pub mean: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Units averaged.
    pub count: usize,
}

impl Estimate {
    /// Mean of one value a unit, with the normal interval of the mean. Values of one unit (several questions about one
    /// document) are averaged by the caller, so that the interval does not pretend that they are independent.
    ///
    /// ```
    /// let estimate = memtrain_eval::interval::Estimate::of_means(&[0.0, 1.0, 1.0, 0.0]);
    /// assert_eq!(estimate.mean, 0.5);
    /// assert!(estimate.low < 0.0 && estimate.high > 1.0);
    /// ```
    pub fn of_means(values: &[f64]) -> Self {
        let count = values.len();
        if count == 0 {
            return Self { mean: f64::NAN, low: f64::NAN, high: f64::NAN, count };
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let sum_of_squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (sum_of_squares / (count as f64 - 1.0).max(1.0)).sqrt();
        let half = Z_95 * deviation / (count as f64).sqrt();
        Self { mean, low: mean - half, high: mean + half, count }
    }

    /// Share of successes with Wilson's interval, which stays inside 0 … 1 and is right near its ends.
    pub fn of_share(successes: usize, count: usize) -> Self {
        if count == 0 {
            return Self { mean: f64::NAN, low: f64::NAN, high: f64::NAN, count };
        }
        let n = count as f64;
        let share = successes as f64 / n;
        let square = Z_95 * Z_95;
        let centre = (share + square / (2.0 * n)) / (1.0 + square / n);
        let half = Z_95 / (1.0 + square / n) * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
        Self { mean: share, low: (centre - half).max(0.0), high: (centre + half).min(1.0), count }
    }

    /// Whether this interval lies wholly above the other.
    pub fn is_above(&self, other: &Self) -> bool {
        self.low > other.high
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.3} [{:.3}, {:.3}]", self.mean, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_intervals() {
        // Wilson, 8 of 10 at 95 %: 0.4902 … 0.9433 (Brown, Cai, DasGupta 2001, Table 1's form).
        let share = Estimate::of_share(8, 10);
        assert!((share.low - 0.4902).abs() < 1e-3 && (share.high - 0.9433).abs() < 1e-3, "{share}");
        assert_eq!(Estimate::of_share(0, 20).low, 0.0);
        // 0, 1, 2, 3: mean 1.5, deviation 1.29099, half width 1.96 · 0.645497.
        let mean = Estimate::of_means(&[0.0, 1.0, 2.0, 3.0]);
        assert!((mean.high - (1.5 + 1.959_964 * 0.645_497)).abs() < 1e-5);
        assert!(!mean.is_above(&mean));
    }
}
