//! Learning rate over the steps of a run.

/// What happens after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// The rate stays.
    #[default]
    Constant,
    /// It falls in a straight line to the last factor.
    Linear,
    /// It falls along half a cosine to the last factor.
    Cosine,
}

/// Linear warm-up, then constant, linear or cosine.
///
/// ```
/// use memtrain_model::optim::{Decay, Schedule};
/// let schedule = Schedule { warmup_steps: 10, total_steps: 110, decay: Decay::Linear, last_factor: 0.1 };
/// assert_eq!(schedule.factor(0), 0.1);
/// assert_eq!(schedule.factor(9), 1.0);
/// assert!((schedule.factor(60) - 0.55).abs() < 1e-12);
/// assert!((schedule.factor(500) - 0.1).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Steps over which the factor rises from `1 / warmup_steps` to 1; 0 for none.
    pub warmup_steps: u64,
    /// Steps of the run, warm-up included.
    pub total_steps: u64,
    /// What follows.
    pub decay: Decay,
    /// Factor at the end of the decay.
    pub last_factor: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { warmup_steps: 0, total_steps: 0, decay: Decay::Constant, last_factor: 0.0 }
    }
}

impl Schedule {
    /// What the learning rate is multiplied by at `step`, counted from 0.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = ((step - self.warmup_steps) as f64 / span).min(1.0);
        let height = match self.decay {
            Decay::Constant => return 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.last_factor + (1.0 - self.last_factor) * height
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_rise_then_never_rise_again() {
        for decay in [Decay::Constant, Decay::Linear, Decay::Cosine] {
            let schedule = Schedule { warmup_steps: 7, total_steps: 50, decay, last_factor: 0.2 };
            let factors: Vec<f64> = (0..80).map(|step| schedule.factor(step)).collect();
            assert!(factors[..7].windows(2).all(|pair| pair[0] < pair[1]));
            assert!(factors[7..].windows(2).all(|pair| pair[0] >= pair[1]));
            assert!(factors.iter().all(|factor| (0.0..=1.0).contains(factor)));
        }
        assert_eq!(Schedule::default().factor(3), 1.0);
    }
}
