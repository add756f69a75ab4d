//! The curves of a run, as SVG.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value};

/// Titles and the metrics drawn under them.
const CHARTS: [(&str, &[(&str, &str)]); 9] = [
    ("Reward", &[("end to end", "reward/end_to_end/mean"), ("recall", "reward/recall/mean"), ("all", "reward/mean")]),
    ("Held-out documents", &[("end to end", "eval/end_to_end/mean"), ("recall", "eval/recall/mean")]),
    ("Groups without a gradient", &[("share", "frac_reward_zero_std")]),
    ("Tokens of a memory", &[("mean", "rollout/memory_tokens")]),
    ("Responses cut off", &[("memories", "completions/clipped_ratio/memory"), ("all", "completions/clipped_ratio")]),
    ("Entropy, nats", &[("mean", "entropy")]),
    ("KL to the start, nats", &[("mean", "kl")]),
    ("Gradient norm", &[("before clipping", "train/grad_norm")]),
    ("Seconds a step", &[("rollout", "time/rollout_s"), ("update", "time/update_s")]),
];
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 120.0;
/// Points of a curve; of more, means of neighbours are drawn.
const MOST_POINTS: usize = 160;

/// A chart.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Chart {
    title: &'static str,
    /// Name and newest value of each curve, in the order of their colours.
    legend: Vec<(&'static str, String)>,
    /// The drawing.
    svg: String,
}

/// The charts for which the run has values.
pub(super) fn charts(lines: &[(u64, Map<String, Value>)]) -> Vec<Chart> {
    let chart = |&(title, metrics): &(&'static str, &[(&'static str, &str)])| {
        let curves: Vec<(&'static str, Vec<(f64, f64)>)> = metrics
            .iter()
            .map(|&(name, key)| (name, points(lines, key)))
            .filter(|(_, points)| !points.is_empty())
            .collect();
        let legend = curves.iter().map(|(name, points)| (*name, short(points[points.len() - 1].1))).collect();
        (!curves.is_empty()).then(|| Chart { title, legend, svg: svg(&curves) })
    };
    CHARTS.iter().filter_map(chart).collect()
}

/// Steps and values of a metric.
fn points(lines: &[(u64, Map<String, Value>)], key: &str) -> Vec<(f64, f64)> {
    let values = lines.iter().filter_map(|(step, line)| Some((*step as f64, line.get(key)?.as_f64()?)));
    let all: Vec<(f64, f64)> = values.collect();
    let together = all.len().div_ceil(MOST_POINTS).max(1);
    let mean = |points: &[(f64, f64)]| {
        let sum = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        (sum.0 / points.len() as f64, sum.1 / points.len() as f64)
    };
    all.chunks(together).map(mean).collect()
}

fn svg(curves: &[(&str, Vec<(f64, f64)>)]) -> String {
    let all = || curves.iter().flat_map(|(_, points)| points);
    let range = |value: fn(&(f64, f64)) -> f64| {
        let (low, high) =
            all().map(value).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if high > low { (low, high) } else { (low - 0.5, high + 0.5) }
    };
    let ((left, right), (bottom, top)) = (range(|point| point.0), range(|point| point.1));
    let mut svg = format!("<svg viewBox=\"-4 -6 {} {}\" role=\"img\">", WIDTH + 8.0, HEIGHT + 12.0);
    for (number, (_, points)) in curves.iter().enumerate() {
        let mut path = String::new();
        for &(x, y) in points {
            let (x, y) = ((x - left) / (right - left) * WIDTH, (top - y) / (top - bottom) * HEIGHT);
            // Writing to a string cannot fail.
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        // A single value is a dot.
        if let [_] = points[..] {
            let (x, y) = path.trim().split_once(',').unwrap_or_default();
            let _ = write!(svg, "<circle class=\"dot{number}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>");
        }
        let _ = write!(svg, "<polyline class=\"curve{number}\" points=\"{}\"/>", path.trim_end());
    }
    let label = |x: f64, y: f64, anchor: &str, text: String| {
        format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>")
    };
    svg += &label(0.0, 8.0, "start", short(top));
    svg += &label(0.0, HEIGHT, "start", short(bottom));
    svg += &label(WIDTH, HEIGHT, "end", format!("step {right:.0}"));
    svg + "</svg>"
}

/// A number in three digits.
fn short(value: f64) -> String {
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

    fn lines(count: u64) -> Vec<(u64, Map<String, Value>)> {
        let line = |step: u64| {
            let value = if step == 3 { Value::Null } else { (step as f64 / 10.0).into() };
            (step, Map::from_iter([("reward/mean".to_owned(), value), ("kl".to_owned(), Value::Null)]))
        };
        (1..=count).map(line).collect()
    }

    #[test]
    fn curves_are_drawn_of_what_has_values() {
        let charts = charts(&lines(5));
        assert_eq!(charts.len(), 1);
        assert_eq!((charts[0].title, &charts[0].legend[..]), ("Reward", &[("all", "0.500".to_owned())][..]));
        // Steps 1, 2, 4 and 5, the value of 3 is missing; the highest is at the top.
        let expected = "points=\"0.0,120.0 80.0,90.0 240.0,30.0 320.0,0.0\"";
        assert!(charts[0].svg.contains(expected), "{}", charts[0].svg);
    }

    #[test]
    fn long_runs_are_drawn_by_means_and_one_step_is_a_dot() {
        assert_eq!(points(&lines(1_000), "reward/mean").len(), 143);
        assert!(charts(&lines(1))[0].svg.contains("<circle"));
    }
}
