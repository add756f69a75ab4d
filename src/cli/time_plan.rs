//! Time and disk of a run, as dry runs print them: operations by a stated or measured speed, or what steps of the run have taken.

use candle_core::Device;
use memtrain_session::step_plan::Work;
use serde_json::Value;

use super::machine::MachineArgs;
use super::print::print_line;
use crate::config::Config;
use crate::device::{DeviceChoice, peak_flops_of_card};
use crate::plan::memory::gib;
use crate::plan::{MemoryPlan, Setting};
use crate::run::RunReader;
use crate::train::speed::measured_peak_flops;

/// Peak of an H100 or H200 in bf16 without sparsity, 10¹² operations a second (NVIDIA's data sheets): what is planned for where
/// the card is not here.
const CARD_TFLOPS: f64 = 989.0;
/// Share of a card's peak that training reaches where nothing is said. No card has been measured yet.
const CARD_SHARE: f64 = 0.4;
/// Share of one large matrix product's rate that a step reaches on the processor (`docs/memory.md` has the measurement).
const CPU_SHARE: f64 = 0.5;
/// Steps of a run that its speed is the mean of.
const RECENT_STEPS: usize = 20;

/// Operations a second of a device and the share of them that is reached.
struct Speed {
    tflops: f64,
    share: f64,
    source: String,
}

impl Speed {
    /// What was typed or configured, else what is known of the card or measured of the processor.
    fn of(config: &Config, machine: &MachineArgs) -> anyhow::Result<Self> {
        let is_cpu = config.policy.device == DeviceChoice::Cpu && machine.device_memory.is_none();
        let share = machine.mfu.unwrap_or(if is_cpu { CPU_SHARE } else { CARD_SHARE });
        let card = || Some(peak_flops_of_card(&config.policy.device.open().ok()?)? / 1e12);
        let (tflops, source) = match (machine.peak_tflops, config.train.peak_tflops) {
            (Some(typed), _) => (typed, "`--peak-tflops`".to_owned()),
            (None, configured) if configured > 0.0 => (configured, "`train.peak_tflops`".to_owned()),
            _ if is_cpu => (measured_peak_flops(&Device::Cpu)? / 1e12, "measured of this processor".to_owned()),
            _ => match card() {
                Some(known) => (known, "of the card that is here".to_owned()),
                None => (CARD_TFLOPS, "an H200's in bf16: `--peak-tflops` says another card's".to_owned()),
            },
        };
        Ok(Self { tflops, share, source })
    }

    /// The speed of so many devices, which the exchange between them only makes slower.
    fn together(self, ranks: usize) -> Self {
        let source = if ranks > 1 { format!("{} of {ranks} ranks", self.source) } else { self.source };
        Self { tflops: self.tflops * ranks as f64, source, ..self }
    }

    fn seconds(&self, operations: f64) -> f64 {
        crate::plan::ComputePlan::seconds(operations, self.share, self.tflops)
    }
}

/// Prints operations and time of a step, the time of all steps, and what checkpoints take on the disk.
///
/// # Errors
/// If the processor cannot be measured or nothing can be printed.
pub(super) fn print(config: &Config, work: &Work, setting: &Setting, machine: &MachineArgs) -> anyhow::Result<()> {
    let speed = Speed::of(config, machine)?.together(setting.ranks);
    let compute = work.compute(setting);
    let total = compute.total();
    let (unit, power) = if total < 1e14 { (1e9, 9) } else { (1e15, 15) };
    let (in_one, times) = if speed.seconds(total) < 600.0 { (1.0, "seconds") } else { (60.0, "minutes") };
    let (percent, tflops) = (100.0 * speed.share, three_digits(speed.tflops));
    print_line!()?;
    print_line!(
        "# Operations of a step, 10^{power}, and {times} at {percent:.0} % of {tflops} x 10^12 a second ({})",
        speed.source
    )?;
    for (name, operations) in compute.phases().into_iter().chain([("all", total)]) {
        let time = speed.seconds(operations) / in_one;
        print_line!("# {name:<24} {:>12.4} {time:>10.2}", operations / unit)?;
    }
    print_line!("# {:<24} {:>12}  in the update, equal prompts once", "tokens", compute.tokens)?;
    if work.samples {
        print_line!(
            "# (drawing reads all weights for each token: on a card it is bound by bandwidth and takes longer than its operations)"
        )?;
    }
    let measured = seconds_of_steps(config);
    let step = measured.unwrap_or_else(|| speed.seconds(total));
    let (time, unit) = duration(step * work.steps as f64);
    let name = format!("{} steps", work.steps);
    let basis = if measured.is_some() { "by the last steps of this run" } else { "by these operations" };
    print_line!("# {name:<24} {time:>12.2}  {unit} {basis}, without evaluations")?;
    print_disk(config, work, &MemoryPlan::new(&Setting { ranks: 1, ..setting.clone() }))
}

/// Mean seconds of the last steps of the run of this name, where there is one with steps.
fn seconds_of_steps(config: &Config) -> Option<f64> {
    let reader = RunReader::open(&config.run.runs.join(&config.run.name)).ok()?;
    let lines = reader.lines("timings.jsonl").ok()?;
    let seconds = lines.iter().rev().filter_map(|(_, line)| line.get("time/step_s").and_then(Value::as_f64));
    let seconds: Vec<f64> = seconds.take(RECENT_STEPS).collect();
    (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64)
}

fn print_disk(config: &Config, work: &Work, plan: &MemoryPlan) -> anyhow::Result<()> {
    let train = &config.train;
    let weights = match plan.bytes_of("adapters") {
        0 => plan.bytes_of("weights"),
        adapters => adapters,
    };
    let one = weights + plan.bytes_of("masters") + plan.bytes_of("moments");
    let kept = kept_checkpoints(work, train.checkpoint_every, train.keep_last as u64, train.keep_every);
    print_line!()?;
    print_line!("# Disk, GiB, without rollout tables")?;
    print_line!("# {:<24} {:>9}  weights and the optimizer's state", "a checkpoint", size(one))?;
    print_line!(
        "# {:<24} {:>9}  at most {kept} checkpoints, one of them being written",
        "all checkpoints",
        size(one.saturating_mul(kept))
    )?;
    Ok(())
}

/// Most checkpoints that lie on the disk at one time: the newest, those that stay for good, the best one, one being written.
fn kept_checkpoints(work: &Work, checkpoint_every: u64, keep_last: u64, keep_every: u64) -> u64 {
    let evaluated = work.steps.checked_div(work.evaluate_every).unwrap_or(0);
    let saved = (work.steps / checkpoint_every.max(1)).saturating_add(evaluated).saturating_add(1).min(work.steps);
    if keep_last == 0 {
        return saved.saturating_add(1);
    }
    let for_good = work.steps.checked_div(keep_every).unwrap_or(0);
    let best = u64::from(work.evaluate_every > 0);
    saved.min(keep_last.saturating_add(for_good).saturating_add(best)).saturating_add(1)
}

/// A count with three digits behind the point in millions, or as it is; second, what it is counted in.
pub(super) fn amount(count: f64) -> (String, &'static str) {
    if count >= 1e6 { (format!("{:.3}", count / 1e6), "million ") } else { (format!("{count:.0}"), "") }
}

/// Seconds in the unit that people use for so many.
fn duration(seconds: f64) -> (f64, &'static str) {
    match seconds {
        _ if seconds < 90.0 => (seconds, "seconds"),
        _ if seconds < 90.0 * 60.0 => (seconds / 60.0, "minutes"),
        _ if seconds < 48.0 * 3600.0 => (seconds / 3600.0, "hours"),
        _ => (seconds / 86_400.0, "days"),
    }
}

/// A number with at least three digits that count.
fn three_digits(number: f64) -> String {
    if number >= 100.0 { format!("{number:.0}") } else { format!("{number:.3}") }
}

/// GiB with as many digits as are needed to see small classes.
pub(super) fn size(bytes: u64) -> String {
    let gib = gib(bytes);
    if gib < 0.995 { format!("{gib:.4}") } else { format!("{gib:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(steps: u64, evaluate_every: u64) -> Work {
        Work { steps, evaluate_every, ..Work::of_training(&Config::default()) }
    }

    #[test]
    fn checkpoints_on_the_disk_are_those_that_retention_keeps() {
        // Of 300 steps every tenth: the newest two, 100, 200 and 300, and the one being written.
        assert_eq!(kept_checkpoints(&work(300, 0), 10, 2, 100), 2 + 3 + 1);
        assert_eq!(kept_checkpoints(&work(300, 50), 10, 2, 0), 2 + 1 + 1);
        assert_eq!(kept_checkpoints(&work(300, 0), 10, 0, 0), 31 + 1);
        assert_eq!(kept_checkpoints(&work(1, 1), 1, 5, 1), 1 + 1, "no more than there are steps");
        assert_eq!(kept_checkpoints(&work(1_000_000_000_000, 1), 0, u64::MAX, 1), 1_000_000_000_001);
    }

    #[test]
    fn numbers_are_told_in_units_that_show_them() {
        assert_eq!(amount(11_000.0), ("11000".to_owned(), ""));
        assert_eq!(amount(11_088_000.0), ("11.088".to_owned(), "million "));
        assert_eq!((duration(80.0), duration(7_200.0)), ((80.0, "seconds"), (2.0, "hours")));
        assert_eq!((duration(600.0), duration(864_000.0)), ((10.0, "minutes"), (10.0, "days")));
        assert_eq!((three_digits(0.1234), three_digits(989.0)), ("0.123".to_owned(), "989".to_owned()));
    }
}
