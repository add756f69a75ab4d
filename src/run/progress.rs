//! How far things are: bars on a terminal, plain lines elsewhere, on stderr.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A plain line is printed at most so often for one piece of work.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Where progress is shown. Clones show in the same place.
#[derive(Clone, Debug)]
pub struct Display {
    bars: Option<MultiProgress>,
    coloured: bool,
}

impl Display {
    /// Bars if stderr is a terminal that can move its cursor, lines otherwise. `NO_COLOR` takes the colours away.
    pub fn detect() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let coloured = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let bars = (std::io::stderr().is_terminal() && !dumb).then(MultiProgress::new);
        Self { bars, coloured }
    }

    /// Lines, wherever stderr goes.
    pub fn lines() -> Self {
        Self { bars: None, coloured: false }
    }

    /// Shows nothing.
    pub fn hidden() -> Self {
        Self { bars: Some(MultiProgress::with_draw_target(ProgressDrawTarget::hidden())), coloured: false }
    }

    /// Prints a line on stderr, above the bars.
    pub fn line(&self, text: &str) {
        // Nobody can be told that stderr is closed.
        match &self.bars {
            Some(bars) => bars.suspend(|| drop(writeln!(std::io::stderr(), "{text}"))),
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    /// Begins a piece of work of `total` units (0 if nobody knows), for example `("train", 300, "steps")`.
    pub fn task(&self, name: &str, total: u64, unit: &'static str) -> Task {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(if total > 0 { ProgressBar::new(total) } else { ProgressBar::no_length() });
            bar.set_style(style(total > 0, self.coloured));
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let started = Instant::now();
        let last_line = Mutex::new(started);
        Task {
            display: self.clone(),
            bar,
            name: name.to_owned(),
            total,
            unit,
            done: AtomicU64::new(0),
            started,
            last_line,
        }
    }
}

fn style(has_total: bool, coloured: bool) -> ProgressStyle {
    let bar = if coloured { "{bar:30.cyan/blue}" } else { "{bar:30}" };
    let template = if has_total {
        format!("{{prefix:12}} {bar} {{pos}}/{{len}}  {{elapsed}} (left {{eta}})  {{msg}}")
    } else {
        "{prefix:12} {spinner} {pos}  {elapsed}  {msg}".to_owned()
    };
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// A piece of work whose progress is shown. It may be advanced from many threads.
#[derive(Debug)]
pub struct Task {
    display: Display,
    bar: Option<ProgressBar>,
    name: String,
    total: u64,
    unit: &'static str,
    done: AtomicU64,
    started: Instant,
    last_line: Mutex<Instant>,
}

impl Task {
    /// `units` more are done.
    pub fn advance(&self, units: u64) {
        self.advance_with(units, String::new);
    }

    /// `units` more are done; `note` is shown beside.
    pub fn advance_with(&self, units: u64, note: impl FnOnce() -> String) {
        let done = self.done.fetch_add(units, Ordering::Relaxed) + units;
        if let Some(bar) = &self.bar {
            bar.inc(units);
            let note = note();
            if !note.is_empty() {
                bar.set_message(note);
            }
            return;
        }
        if self.line_is_due() {
            self.display.line(&self.describe(done, &note()));
        }
    }

    /// Sets how many units are done, for work that goes on where it was left.
    pub fn start_at(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    /// The work is done; one line stays.
    pub fn finish(&self, note: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.display.line(&self.describe(self.done.load(Ordering::Relaxed), note));
    }

    fn line_is_due(&self) -> bool {
        let mut last = self.last_line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = last.elapsed() >= LINE_INTERVAL;
        if due {
            *last = Instant::now();
        }
        due
    }

    fn describe(&self, done: u64, note: &str) -> String {
        let of = if self.total > 0 { format!("/{}", self.total) } else { String::new() };
        let seconds = self.started.elapsed().as_secs_f64();
        let gap = if note.is_empty() { "" } else { "  " };
        format!("{}: {done}{of} {} in {seconds:.1} s{gap}{note}", self.name, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_how_much_and_how_long() {
        let task = Display::lines().task("train", 300, "steps");
        task.start_at(2);
        task.advance(3);
        let line = task.describe(task.done.load(Ordering::Relaxed), "reward 0.25");
        assert!(line.starts_with("train: 5/300 steps in ") && line.ends_with(" s  reward 0.25"), "{line}");
        let line = Display::lines().task("pages", 0, "pages").describe(7, "");
        assert!(line.starts_with("pages: 7 pages in ") && line.ends_with(" s"), "{line}");
    }

    #[test]
    fn lines_are_rare() {
        let task = Display::hidden().task("train", 3, "steps");
        assert!(!task.line_is_due());
        *task.last_line.lock().expect("not poisoned") -= LINE_INTERVAL;
        assert!(task.line_is_due() && !task.line_is_due());
    }

    #[test]
    fn the_templates_are_valid() {
        for has_total in [true, false] {
            for coloured in [true, false] {
                let bar = if coloured { "{bar:30.cyan/blue}" } else { "{bar:30}" };
                assert!(ProgressStyle::with_template(bar).is_ok());
                style(has_total, coloured);
            }
        }
    }
}
