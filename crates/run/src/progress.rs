//! Progress: bars on a terminal, lines elsewhere and in the log of a run, on stderr.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::log;
pub use super::terminal::{Stderr, be_quiet, for_people, suspended};
use super::terminal::{bars, coloured};

/// A line is printed at most so often for one piece of work.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// A piece of work whose progress is shown. It may be advanced from several threads.
#[derive(Debug)]
pub struct Bar {
    bar: Option<ProgressBar>,
    name: String,
    total: u64,
    /// Whether lines are printed where no bar is drawn.
    has_lines: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    done: u64,
    first: u64,
    started: Instant,
    last_line: Instant,
}

impl Bar {
    /// Begins a piece of work of `total` units (0 if nobody knows how many), of which `done` were done before.
    pub fn new(name: &str, total: u64, done: u64) -> Self {
        let bar = bars().map(|bars| {
            let bar = bars.add(if total > 0 { ProgressBar::new(total) } else { ProgressBar::no_length() });
            bar.set_style(style(total > 0, coloured()));
            bar.set_prefix(name.to_owned());
            bar.set_position(done);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let started = Instant::now();
        let state = Mutex::new(State { done, first: done, started, last_line: started });
        Self { bar, name: name.to_owned(), total, has_lines: true, state }
    }

    /// Prints no lines where no bar is drawn: the caller does.
    #[must_use]
    pub fn without_lines(mut self) -> Self {
        self.has_lines = false;
        self
    }

    /// `units` more are done.
    pub fn advance(&self, units: u64) {
        self.update(|done| done + units, "");
    }

    /// `done` units are done in all; `note` is shown beside.
    pub fn advance_to(&self, done: u64, note: &str) {
        self.update(|_| done, note);
    }

    /// No more is done, and `note` is shown beside.
    pub fn note(&self, note: &str) {
        self.update(|done| done, note);
    }

    fn update(&self, change: impl FnOnce(u64) -> u64, note: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done = change(state.done);
        if let Some(bar) = &self.bar {
            bar.set_position(state.done);
            if !note.is_empty() {
                bar.set_message(note.to_owned());
            }
        }
        if self.has_lines && state.last_line.elapsed() >= LINE_INTERVAL {
            state.last_line = Instant::now();
            log::line(&self.describe(&state, note), false);
        }
    }

    /// The work is done; a line about it stays.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.done > state.first {
            log::line(&self.describe(&state, ""), true);
        }
    }

    /// Time that the rest takes at the pace so far; nothing where that is not known, or nothing is left.
    pub fn left(&self) -> Option<Duration> {
        self.left_of(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn left_of(&self, state: &State) -> Option<Duration> {
        let (done, rest) = (state.done.checked_sub(state.first)?, self.total.checked_sub(state.done)?);
        let seconds = state.started.elapsed().as_secs_f64() * rest as f64 / done as f64;
        // Without a bound on totals it may be more seconds than a time holds.
        if done > 0 && rest > 0 { Duration::try_from_secs_f64(seconds).ok() } else { None }
    }

    fn describe(&self, state: &State, note: &str) -> String {
        let of = if self.total > 0 { format!("/{}", self.total) } else { String::new() };
        let left = self.left_of(state).map_or_else(String::new, |left| format!(", {} left", brief(left)));
        let gap = if note.is_empty() { "" } else { "  " };
        format!("{}: {}{of} in {}{left}{gap}{note}", self.name, state.done, brief(state.started.elapsed()))
    }
}

/// A time in two units at most.
///
/// ```
/// use std::time::Duration;
/// use memtrain_run::progress::brief;
/// let told = [0.25, 9.5, 42.0, 192.0, 7_500.0, 273_600.0].map(|seconds| brief(Duration::from_secs_f64(seconds)));
/// assert_eq!(told, ["0.2s", "9.5s", "42s", "3m12s", "2h05m", "3d04h"]);
/// ```
pub fn brief(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_how_much_and_how_long() {
        let line = |bar: &Bar, note| bar.describe(&bar.state.lock().expect("not poisoned"), note);
        let bar = Bar::new("train", 300, 2);
        bar.advance(3);
        let text = line(&bar, "reward 0.25");
        let left = text.strip_prefix("train: 5/300 in ").and_then(|text| text.strip_suffix(" left  reward 0.25"));
        assert!(left.is_some_and(|times| times.contains("s, ")), "{text}");
        let bar = Bar::new("pages", 0, 0);
        bar.advance_to(7, "");
        let text = line(&bar, "");
        assert!(text.starts_with("pages: 7 in ") && text.ends_with("s"), "{text}");
        assert_eq!(bar.left(), None, "nobody knows how many there are");
    }

    #[test]
    fn the_templates_are_valid() {
        for coloured in [true, false] {
            let bar = if coloured { "{bar:30.cyan/blue}" } else { "{bar:30}" };
            assert!(ProgressStyle::with_template(bar).is_ok());
            style(true, coloured);
            style(false, coloured);
        }
    }
}
