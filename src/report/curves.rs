//! The curves of runs, as data for the page's charts.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// Titles, and the metrics drawn under each.
const CHARTS: [(&str, &[(&str, &str)]); 14] = [
    ("Reward", &[("whole", "reward/mean"), ("end to end", "reward/end_to_end/mean"), ("recall", "reward/recall/mean")]),
    (
        "Held-out documents",
        &[("reward", "eval/reward/mean"), ("end to end", "eval/end_to_end/mean"), ("recall", "eval/recall/mean")],
    ),
    ("Groups without reward variance, share", &[("groups", "frac_reward_zero_std")]),
    ("Tokens of the last memory", &[("training", "rollout/memory_tokens"), ("held out", "eval/memory_tokens")]),
    (
        "Sentences of a memory, share",
        &[("not in the text", "rollout/memory_unsupported"), ("repeated", "rollout/memory_repeated")],
    ),
    (
        "Responses cut off by their limit, share",
        &[
            ("all", "completions/clipped_ratio"),
            ("memories", "completions/clipped_ratio/memory"),
            ("answers", "completions/clipped_ratio/answer"),
        ],
    ),
    ("Entropy, nats a token", &[("policy", "entropy")]),
    ("KL to the reference, nats a token", &[("policy", "kl")]),
    ("Loss", &[("loss", "train/loss")]),
    ("Gradient norm before clipping", &[("norm", "train/grad_norm")]),
    ("Tokens clipped by the loss, share", &[("low", "clip_ratio/low_mean"), ("high", "clip_ratio/high_mean")]),
    ("Learning rate", &[("rate", "train/learning_rate")]),
    ("Tokens a second", &[("step", "perf/tokens_per_s"), ("rollout", "perf/rollout_tokens_per_s")]),
    ("Seconds a step", &[("rollout", "time/rollout_s"), ("update", "time/update_s"), ("all", "time/step_s")]),
];
/// Points of a curve at most; of longer runs, means of neighbouring steps are drawn.
pub(super) const MOST_POINTS: u64 = 1_000;

/// The lines of a run, each with its step.
pub(super) type Lines = [(u64, Map<String, Value>)];

/// A chart of all runs that have its metrics.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Chart {
    title: &'static str,
    series: Vec<Series>,
    /// Steps, then the values of each series, `null` where a step has none: what uPlot takes.
    data: Vec<Vec<Option<f64>>>,
}

/// What a curve is of.
#[derive(Debug, PartialEq, Serialize)]
struct Series {
    label: String,
    /// Number of the run, which has a colour where there are several.
    run: usize,
    /// Number of the metric in its chart, which has a colour in a single run and a dash in several.
    part: usize,
}

/// The curves of some runs.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Curves {
    charts: Vec<Chart>,
    /// Number of runs.
    runs: usize,
    /// Neighbouring steps of which a point is the mean.
    pub(super) steps_a_point: u64,
}

impl Curves {
    /// The charts for which any run has values; `runs` are names and lines.
    pub(super) fn of(runs: &[(&str, &Lines)]) -> Self {
        let last = runs.iter().flat_map(|(_, lines)| lines.iter().map(|(step, _)| *step)).max().unwrap_or(0);
        let width = last.div_ceil(MOST_POINTS).max(1);
        let charts = CHARTS.iter().filter_map(|(title, metrics)| chart(title, metrics, runs, width)).collect();
        Self { charts, runs: runs.len(), steps_a_point: width }
    }

    /// As JSON in which nothing ends a `<script>`.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)?.replace('<', "\\u003c"))
    }
}

fn chart(title: &'static str, metrics: &[(&str, &str)], runs: &[(&str, &Lines)], width: u64) -> Option<Chart> {
    let mut series = Vec::new();
    // Of each bin of steps: its middle, and sum and count of each series.
    let mut bins: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for (run, (name, lines)) in runs.iter().enumerate() {
        for (part, (short, key)) in metrics.iter().enumerate() {
            let number = series.len();
            let mut is_there = false;
            for (step, line) in *lines {
                let Some(value) = line.get(*key).and_then(Value::as_f64) else { continue };
                let sums = bins.entry(step / width).or_default();
                sums.resize(sums.len().max(number + 1), (0.0, 0.0));
                sums[number] = (sums[number].0 + value, sums[number].1 + 1.0);
                is_there = true;
            }
            if is_there {
                let label = match runs.len() {
                    1 => (*short).to_owned(),
                    _ if metrics.len() == 1 => (*name).to_owned(),
                    _ => format!("{name}, {short}"),
                };
                series.push(Series { label, run, part });
            }
        }
    }
    if series.is_empty() {
        return None;
    }
    let middle = |bin: &u64| Some((bin * width + width / 2) as f64);
    let mean = |sums: &Vec<(f64, f64)>, number: usize| {
        sums.get(number).filter(|(_, count)| *count > 0.0).map(|(sum, count)| rounded(sum / count))
    };
    let mut data = vec![bins.keys().map(middle).collect::<Vec<_>>()];
    data.extend((0..series.len()).map(|number| bins.values().map(|sums| mean(sums, number)).collect()));
    Some(Chart { title, series, data })
}

/// Six digits are more than a chart shows.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// A number in three digits.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.1e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: u64, name: &str) -> Vec<(u64, Map<String, Value>)> {
        let line = |step: u64| {
            let value = if step == 3 { Value::Null } else { (step as f64 / 10.0).into() };
            (step, Map::from_iter([(name.to_owned(), value), ("kl".to_owned(), Value::Null)]))
        };
        (1..=count).map(line).collect()
    }

    #[test]
    fn curves_are_drawn_of_what_has_values() {
        let (one, other) = (lines(5, "reward/mean"), lines(4, "reward/recall/mean"));
        let curves = Curves::of(&[("a", &one[..]), ("b</script>", &other[..])]);
        let [chart] = &curves.charts[..] else { panic!("{curves:?}") };
        assert_eq!(chart.data[0], [1.0, 2.0, 4.0, 5.0].map(Some));
        assert_eq!(chart.data[1], [Some(0.1), Some(0.2), Some(0.4), Some(0.5)]);
        assert_eq!(chart.data[2], [Some(0.1), Some(0.2), Some(0.4), None]);
        assert_eq!(chart.series[1], Series { label: "b</script>, recall".into(), run: 1, part: 2 });
        let json = curves.json().expect("json");
        assert!(!json.contains('<') && json.contains("b\\u003c/script>"), "{json}");
    }

    #[test]
    fn long_runs_are_drawn_by_means() {
        let lines = lines(2_500, "reward/mean");
        let curves = Curves::of(&[("a", &lines[..])]);
        assert_eq!(curves.steps_a_point, 3);
        let data = &curves.charts[0].data;
        assert!(data[0].len() as u64 <= MOST_POINTS + 1, "{}", data[0].len());
        // Steps 1 and 2, then 4 and 5, since 3 has no value.
        assert_eq!((data[0][1], data[1][0], data[1][1]), (Some(4.0), Some(0.15), Some(0.45)));
    }
}
