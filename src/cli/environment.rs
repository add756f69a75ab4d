//! Re-exec with environment variables that are read once at start.
//!
//! candle's own thread pool spins while it waits, and glibc gives large freed blocks back to the system only to ask for
//! them again. Both are set in the environment, which glibc and candle read once. `.cargo/config.toml` sets them for what
//! cargo starts; an installed binary starts itself once more with them: the process keeps its number, its files and its
//! arguments, so that signals, pipes and batch systems see one process. The figures stand in `.cargo/config.toml`.

use std::ffi::OsString;

use super::failure::{Usage, WithHint};

/// Set in the process that was started again; set by the user to anything, nothing is changed.
pub(super) const MARK: &str = "MEMTRAIN_ENVIRONMENT";
const CANDLE_THREADS: (&str, &str) = ("CANDLE_NUM_THREADS", "1");
/// Variables that hold a number of threads: the libraries pass over what is none, and take any that is one.
const THREADS: [&str; 2] = ["RAYON_NUM_THREADS", CANDLE_THREADS.0];
/// Most threads: beyond, starting them takes minutes.
const MAX_THREADS: usize = 4096;
const GLIBC: &str = "GLIBC_TUNABLES";
/// As in `.cargo/config.toml`, where the figures stand.
const MALLOC: &str =
    "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=4294967296:glibc.malloc.top_pad=67108864";

/// Starts the program once more if a setting is missing. Where that is not possible it goes on without: only slower.
pub fn reexec() {
    let missing = missing(|name| std::env::var_os(name));
    if !missing.is_empty() {
        start_again(&missing);
    }
}

/// Refuses numbers of threads that are none, or more than any machine has use for. Empty, a variable counts as not set.
///
/// # Errors
/// If there is one.
pub fn check() -> anyhow::Result<()> {
    check_threads(|name| std::env::var_os(name))
}

fn check_threads(variable: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<()> {
    for name in THREADS {
        let Some(value) = variable(name).filter(|value| !value.is_empty()) else { continue };
        let value = value.to_string_lossy();
        if !value.parse().is_ok_and(|threads: usize| threads <= MAX_THREADS) {
            let problem = format!("`{name}` is `{value}`: it must be a whole number from 0 to {MAX_THREADS}");
            return Err(Usage(problem)).hint(|| format!("`unset {name}` leaves the number to the program"));
        }
    }
    Ok(())
}

/// Variables to set, given those that are.
pub(super) fn missing(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, OsString)> {
    let mut missing = Vec::new();
    if variable(MARK).is_some() {
        return missing;
    }
    if variable(CANDLE_THREADS.0).is_none() {
        missing.push((CANDLE_THREADS.0, CANDLE_THREADS.1.into()));
    }
    if cfg!(all(target_os = "linux", target_env = "gnu")) {
        let set = variable(GLIBC).unwrap_or_default();
        // Whoever tunes the allocator knows better.
        if !set.to_string_lossy().contains("glibc.malloc") {
            let mut value = set;
            if !value.is_empty() {
                value.push(":");
            }
            value.push(MALLOC);
            missing.push((GLIBC, value));
        }
    }
    missing
}

#[cfg(unix)]
fn start_again(missing: &[(&'static str, OsString)]) {
    use std::os::unix::process::CommandExt;
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut command = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Comes back only if it fails.
    let _ = command.args(arguments).envs(missing.iter().cloned()).env(MARK, "settled").exec();
}

#[cfg(not(unix))]
fn start_again(_missing: &[(&'static str, OsString)]) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(set: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        missing(variable).into_iter().map(|(name, value)| (name, value.to_string_lossy().into_owned())).collect()
    }

    #[test]
    fn what_is_set_stays_and_the_rest_is_added() {
        assert!(names(&[(MARK, "settled")]).is_empty());
        assert!(names(&[("CANDLE_NUM_THREADS", "4"), (GLIBC, "glibc.malloc.arena_max=1")]).is_empty());
        assert_eq!(names(&[])[0], ("CANDLE_NUM_THREADS", "1".to_owned()));
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            assert_eq!(names(&[])[1], (GLIBC, MALLOC.to_owned()));
            let other = names(&[("CANDLE_NUM_THREADS", "1"), (GLIBC, "glibc.cpu.x=1")]);
            assert_eq!(other, [(GLIBC, format!("glibc.cpu.x=1:{MALLOC}"))]);
        }
    }

    #[test]
    fn threads_are_a_number() {
        let check = |name: &str, value: &str| {
            check_threads(|asked| (asked == name).then(|| OsString::from(value))).map_err(|error| error.to_string())
        };
        for name in THREADS {
            for fine in ["", "0", "1", "4096"] {
                assert!(check(name, fine).is_ok(), "{fine}");
            }
            for wrong in ["x", "-1", "1e3", " 2", "4097", "99999999999999999999"] {
                assert!(check(name, wrong).is_err_and(|told| told.contains(name) && told.contains(wrong)), "{wrong}");
            }
        }
    }

    #[test]
    fn cargo_sets_the_same() {
        let cargo = include_str!("../../.cargo/config.toml");
        assert!(cargo.contains(MALLOC) && cargo.contains("CANDLE_NUM_THREADS = \"1\""));
    }
}
