//! Observers of a training, and what they are told of a step.

use std::time::Duration;

use memtrain_rl::objectives::Metric;
use memtrain_run::progress::brief;

/// Told what happens in a training; by default it listens to nothing.
pub trait Observer {
    /// Steps are about to be taken, after `done` of them.
    fn begins(&self, _done: u64, _steps: u64) {}

    /// A step was taken and recorded.
    fn stepped(&self, _event: &StepEvent<'_>) {}

    /// The policy after a step was evaluated on held-out documents.
    fn evaluated(&self, _step: u64, _metrics: &[Metric]) {}

    /// All steps are taken.
    fn ends(&self) {}
}

/// Listens to nothing.
impl Observer for () {}

/// A step that was taken.
#[derive(Clone, Copy, Debug)]
pub struct StepEvent<'a> {
    /// Its number, from 1.
    pub step: u64,
    /// Steps of the run.
    pub steps: u64,
    /// Functions of configuration and inputs alone, as `metrics.jsonl` has them.
    pub metrics: &'a [Metric],
    /// What the clock said, in seconds, as `timings.jsonl` has it.
    pub timings: &'a [(&'static str, f64)],
    /// The metrics worth a glance, with short names.
    pub headlines: &'static [(&'static str, &'static str)],
}

impl StepEvent<'_> {
    /// The metrics worth a glance, the share of groups that teach, and the tokens a second, where a step has them.
    pub fn headline(&self) -> String {
        let number = |key: &str| {
            let metric = self.metrics.iter().find(|(name, _)| name == key).map(|(_, value)| *value);
            metric.or_else(|| self.timings.iter().find(|(name, _)| *name == key).map(|(_, value)| *value))
        };
        let digits = |value: f64| if value.is_finite() { format!("{value:.3}") } else { "–".to_owned() };
        let worth = self.headlines.iter();
        let mut parts: Vec<String> =
            worth.filter_map(|(short, key)| Some(format!("{short} {}", digits(number(key)?)))).collect();
        parts.extend(number("frac_reward_zero_std").map(|equal| format!("var {:.0}%", 100.0 * (1.0 - equal))));
        parts.extend(number("perf/tokens_per_s").map(|rate| match rate {
            rate if rate < 1e3 => format!("{rate:.0} tok/s"),
            rate => format!("{:.1}k tok/s", rate / 1e3),
        }));
        parts.join(" ")
    }

    /// What is said of the step: 80 columns with its time, where there are two parts of a reward. `left` is how long the rest
    /// takes.
    pub fn line(&self, left: Option<Duration>) -> String {
        let left = left.map_or_else(String::new, |left| format!(" eta {}", brief(left)));
        format!("step {}/{} {}{left}", self.step, self.steps, self.headline())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_in_a_line_of_a_terminal() {
        let metrics: [Metric; 3] = [
            ("reward/end_to_end/mean".into(), 0.4125),
            ("reward/recall/mean".into(), f64::NAN),
            ("frac_reward_zero_std".into(), 0.25),
        ];
        let headlines = &[("E2E", "reward/end_to_end/mean"), ("IMR", "reward/recall/mean"), ("kl", "kl")];
        let event =
            StepEvent { step: 12, steps: 50, metrics: &metrics, timings: &[("perf/tokens_per_s", 5_120.0)], headlines };
        let line = event.line(Some(Duration::from_secs(192))).replace('–', "0.250");
        assert_eq!(event.headline(), "E2E 0.412 IMR – var 75% 5.1k tok/s");
        assert_eq!(line, "step 12/50 E2E 0.412 IMR 0.250 var 75% 5.1k tok/s eta 3m12s");
        assert!("2026-11-30T09:48:43Z ".len() + line.len() <= 80);
    }
}
