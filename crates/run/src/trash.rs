//! Beginning a run anew: what is there is moved to a folder beside it, never removed.
//!
//! Only what a run writes is moved, by its names. What else is in the folder stays where it is.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use memtrain_corpora::store::{self, Occupant, StoreError};

use super::Result;
use super::checkpoint::{CHECKPOINT_LINKS, step_of};
use super::layout::{
    CHECKPOINTS, CONFIG, FOLDERS, LATEST_LOG, LOCK, LOGS, MANIFEST, RECORDS, TENSORBOARD, attempt_of, rollout_tables,
};
use super::tensorboard::EventFile;

/// What commands put into a run's folder beside what the run records: a page, the quickstart's results, and the weights
/// that a server draws with.
const COMPANIONS: [&str; 4] = ["report.html", "comparison.html", "quickstart.json", SAMPLER_WEIGHTS];
pub(super) const SAMPLER_WEIGHTS: &str = "sampler-weights";
/// Entries that are listed one by one.
const LISTED: usize = 24;

/// Moves the run in a folder to a new folder beside it, and says so. Its manifest goes last: killed amid this, the folder
/// still is that of a run, and can be begun anew again. Rollouts and logs go before the checkpoints: a start without `--clean`
/// that finds checkpoints alone refuses, and one that finds neither has nothing to remove.
pub(super) fn discard(root: &Path) -> Result<()> {
    // One that cannot be read, since it is damaged or of another version, is moved like any other.
    if !store::exists(&root.join(MANIFEST)) {
        return Ok(());
    }
    move_aside(root, &entries(root)?)?;
    let kept = foreign_entries(root)?;
    if !kept.is_empty() {
        tracing::info!("these files in `{}` are not the run's and stay: {}", root.display(), listed(&kept));
    }
    Ok(())
}

/// Moves what has a name of a run's in a folder without a run, but for the configuration that is about to be written. A start
/// that was killed has left no more than that: the mark was copied there, and the files are somebody's.
pub(super) fn put_aside(root: &Path, config: &str) -> Result<()> {
    let is_there = |entry: &PathBuf| store::exists(&root.join(entry)) || store::is_link(&root.join(entry));
    let mut found: Vec<PathBuf> = entries(root)?.into_iter().filter(is_there).collect();
    if found == [PathBuf::from(CONFIG)] && store::read(&root.join(CONFIG))? == config.as_bytes() {
        found.clear();
    }
    if !found.is_empty() {
        move_aside(root, &found)?;
    }
    Ok(())
}

/// Moves entries of a folder, in their order, to a new folder beside it, and says so. Those that are not there are passed
/// over.
///
/// # Errors
/// If the system refuses; what has been moved until then stays in the new folder.
pub fn move_aside(root: &Path, entries: &[PathBuf]) -> store::Result<()> {
    let root = &store::resolve(root)?;
    check_movable(root, entries)?;
    let trash = free_place(root, SystemTime::now());
    let mut moved = Vec::new();
    for entry in entries {
        let (from, to) = (root.join(entry), trash.join(entry));
        if store::exists(&from) || store::is_link(&from) {
            // What is moved stays ours: `run verify` and the next `--clean` know the folder as they knew the other one.
            if moved.is_empty()
                && let Ok(Occupant::Ours(marker)) = store::occupant(root)
            {
                store::claim(&trash, &marker.kind)?;
            }
            store::create_dir_all(to.parent().unwrap_or(&trash))?;
            store::rename_durably(&from, &to)?;
            moved.push(entry.clone());
        }
    }
    tracing::info!(
        "`{root}` begins anew; what was there is now in `{trash}`: {moved}. To remove it for good: rm -r '{trash}'",
        root = root.display(),
        trash = trash.display(),
        moved = listed(&moved),
    );
    Ok(())
}

/// Refuses, before anything is moved, what no rename brings to a folder beside the root.
fn check_movable(root: &Path, entries: &[PathBuf]) -> store::Result<()> {
    let within = entries.iter().flat_map(|entry| entry.ancestors()).map(|entry| root.join(entry));
    for path in std::iter::once(root.to_path_buf()).chain(within) {
        // What a link leads to is not moved with it.
        if store::is_mount_point(&path) && !store::is_link(&path) {
            let what = "is a mount point: it cannot be moved to a folder beside the run, nor what is in it";
            return Err(StoreError::ForeignFile { path, what });
        }
    }
    Ok(())
}

/// A name beside the folder that nothing has: `NAME.trash-20260131T235959Z`.
fn free_place(root: &Path, now: SystemTime) -> PathBuf {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let stamp = stamp(now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    let place = |number: u32| match number {
        0 => root.with_file_name(format!("{name}.trash-{stamp}")),
        number => root.with_file_name(format!("{name}.trash-{stamp}-{number}")),
    };
    (0..).map(place).find(|place| !store::exists(place) && !store::is_link(place)).unwrap_or_else(|| place(u32::MAX))
}

/// Seconds since 1970 as `20260131T235959Z`, in UTC.
fn stamp(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Years are counted from March, so that the leap day is the last of its year; 719,468 days lie between 1 March of the
    // year 0 and 1970. An era is the 400 years after which the calendar repeats, of 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = 400 * era + year + carry;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// What in the folder is the run's, relative to it, the manifest last. A folder of the run that somebody has replaced by a link
/// is moved as a link: what it leads to may be another run's.
fn entries(root: &Path) -> Result<Vec<PathBuf>> {
    let found = rollout_tables(root)?.into_iter().map(|(_, path)| path).chain(EventFile::all(&root.join(TENSORBOARD))?);
    let within = |path: PathBuf| path.strip_prefix(root).map(Path::to_path_buf).ok();
    let mut entries: Vec<PathBuf> = found.filter_map(within).collect();
    entries.extend(RECORDS.iter().chain(&COMPANIONS).map(PathBuf::from));
    entries.extend(names_in(root, LOGS, |name| attempt_of(name).is_some() || name == LATEST_LOG)?);
    entries.extend(names_in(root, CHECKPOINTS, |name| step_of(name).is_some() || CHECKPOINT_LINKS.contains(&name))?);
    let links: Vec<PathBuf> =
        FOLDERS.map(PathBuf::from).into_iter().filter(|name| store::is_link(&root.join(name))).collect();
    entries.retain(|entry| !links.iter().any(|link| entry.starts_with(link)));
    entries.extend(links);
    entries.extend([CONFIG, MANIFEST].map(PathBuf::from));
    Ok(entries)
}

fn names_in(root: &Path, folder: &str, is_ours: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let path = root.join(folder);
    let mut names = Vec::new();
    for entry in if store::is_dir(&path) { store::list(&path)? } else { Vec::new() } {
        let name = entry.file_name().and_then(|name| name.to_str());
        names.extend(name.filter(|name| is_ours(name)).map(|name| Path::new(folder).join(name)));
    }
    Ok(names)
}

/// What is left in the folder and is not there for the run that begins.
fn foreign_entries(root: &Path) -> Result<Vec<PathBuf>> {
    let mut foreign = Vec::new();
    for path in store::list(root)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if FOLDERS.contains(&name) {
            foreign.extend(names_in(root, name, |_| true)?);
        } else if ![LOCK, store::MARKER].contains(&name) {
            foreign.push(PathBuf::from(path.file_name().unwrap_or_default()));
        }
    }
    Ok(foreign)
}

fn listed(paths: &[PathBuf]) -> String {
    let mut text = paths.iter().take(LISTED).map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    if paths.len() > LISTED {
        text.push_str(&format!(" and {} more", paths.len() - LISTED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{RunDirectory, RunSetup};
    use super::*;
    use std::time::Duration;

    #[test]
    fn stamps_are_dates() {
        for (unix_s, expected) in [
            (0, "19700101T000000Z"),
            (951_827_696, "20000229T123456Z"),
            (951_868_800, "20000301T000000Z"),
            (1_767_225_599, "20251231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(stamp(unix_s), expected);
        }
    }

    #[test]
    fn a_run_begun_anew_loses_nothing() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("runs/a");
        let setup = |clean| RunSetup { config: "a = 1".into(), clean, ..RunSetup::default() };
        let run = RunDirectory::open(&root, &setup(false))?;
        run.log_file()?;
        let mut records = run.rewind(0, true)?;
        records.step(1, &[("train/loss", 0.5)], &[])?;
        records.rollouts(1, &run.write_rollouts(1, [])?)?;
        drop((run, records));
        store::create_dir_all(&root.join("checkpoints/step_000001"))?;
        store::link_durably(Path::new("step_000001"), &root.join("checkpoints/latest"))?;
        let mine = [
            "notes.txt",
            "logs/mine.txt",
            "checkpoints/model.pt",
            "tb/mine",
            "rollouts/a.parquet",
            "manifest.json.bak",
        ];
        for name in mine {
            store::write_atomic(&root.join(name), name)?;
        }
        let ours = [
            "manifest.json",
            "config.toml",
            "metrics.jsonl",
            "timings.jsonl",
            "evaluations.jsonl",
            "rollouts.jsonl",
            "rollouts/step_000001.parquet",
            "logs/attempt_1.log",
            "checkpoints/step_000001",
        ];
        assert!(ours.iter().all(|name| store::exists(&root.join(name))));
        let metrics = store::read(&root.join("metrics.jsonl"))?;
        let run = RunDirectory::open(&root, &setup(true))?;
        assert!(run.is_new() && run.attempt() == 1);
        let trash = store::list(&folder.path().join("runs"))?.pop().expect("the trash");
        assert_ne!(trash, root);
        assert!(ours.iter().all(|name| store::exists(&trash.join(name))), "{:?}", store::list(&trash)?);
        assert_eq!(store::read(&trash.join("metrics.jsonl"))?, metrics);
        assert_eq!(store::link_target(&trash.join("checkpoints/latest"))?.as_deref(), Some(Path::new("step_000001")));
        for name in mine {
            assert_eq!(store::read_to_string(&root.join(name))?, name);
        }
        assert!(!store::exists(&root.join("metrics.jsonl")));
        Ok(())
    }

    /// A run of two steps that has saved the second; gives the contents of its files, sorted.
    fn begun(root: &Path) -> Result<Vec<Vec<u8>>> {
        let setup = RunSetup { config: "a = 1".into(), ..RunSetup::default() };
        let run = RunDirectory::open(root, &setup)?;
        run.log_file()?;
        let mut records = run.rewind(0, true)?;
        for step in 1..=2 {
            records.step(step, &[("train/loss", 0.5)], &[])?;
            records.rollouts(step, &run.write_rollouts(step, [])?)?;
        }
        store::create_dir_all(&root.join("checkpoints/step_000002"))?;
        store::write_atomic(&root.join("checkpoints/step_000002/model.safetensors"), "weights")?;
        contents(root)
    }

    /// Contents of all files of a run's that no other start makes anew.
    fn contents(folder: &Path) -> Result<Vec<Vec<u8>>> {
        let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
        while let Some(folder) = folders.pop() {
            for path in store::list(&folder)? {
                match store::is_dir(&path) {
                    _ if store::is_link(&path) => {}
                    true => folders.push(path),
                    false if path.ends_with(store::MARKER) || path.to_string_lossy().contains("/tb/") => {}
                    false => found.push(store::read(&path)?),
                }
            }
        }
        found.sort();
        Ok(found)
    }

    #[test]
    fn killed_amid_the_moving_nothing_is_lost_whatever_is_done_next() -> Result<()> {
        for clean in [true, false] {
            for killed_after in 0.. {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let root = folder.path().join("runs/a");
                let before = begun(&root)?;
                let all = entries(&root)?;
                if killed_after > all.len() {
                    break;
                }
                move_aside(&root, &all[..killed_after])?;
                let setup = RunSetup { config: "a = 1".into(), clean, ..RunSetup::default() };
                let opened = RunDirectory::open(&root, &setup);
                let saved = if store::exists(&root.join("checkpoints/step_000002")) { 2 } else { 0 };
                // What cannot be gone on with is refused.
                let _ = opened.and_then(|run| run.rewind(saved, true));
                let after = contents(&folder.path().join("runs"))?;
                let lost: Vec<_> = before
                    .iter()
                    .filter(|text| !after.contains(text))
                    .map(|text| String::from_utf8_lossy(text))
                    .collect();
                assert!(lost.is_empty(), "killed after {killed_after}, clean: {clean}: {lost:?}");
            }
        }
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn what_a_link_leads_to_stays_where_it_is() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (root, other) = (folder.path().join("runs/a"), folder.path().join("runs/b"));
        begun(&root)?;
        begun(&other)?;
        store::rename_durably(&root.join("checkpoints"), &root.join("own"))?;
        store::link_durably(Path::new("../b/checkpoints"), &root.join("checkpoints"))?;
        let setup = RunSetup { config: "a = 2".into(), clean: true, ..RunSetup::default() };
        assert!(RunDirectory::open(&root, &setup)?.is_new());
        assert!(store::exists(&other.join("checkpoints/step_000002/model.safetensors")));
        assert!(store::exists(&root.join("own/step_000002")) && !store::exists(&root.join("checkpoints")));
        let trash = store::list(&folder.path().join("runs"))?.pop().expect("the trash");
        assert!(store::exists(&trash.join("checkpoints/step_000002")), "the link still leads there");
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_mount_point_is_refused_before_anything_is_moved() {
        let error = move_aside(Path::new("/proc"), &["nothing".into()]).expect_err("refused");
        assert!(error.to_string().starts_with("`/proc` is a mount point"), "{error}");
        // One that is itself to be moved, or holds what is; the first entry is not moved either.
        for entry in ["proc", "proc/self/maps"] {
            let error = check_movable(Path::new("/"), &["nothing".into(), entry.into()]).expect_err("refused");
            assert!(error.to_string().starts_with("`/proc` is a mount point"), "{error}");
        }
    }

    #[test]
    fn two_within_a_second_have_places_of_their_own() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (root, now) = (folder.path().join("a"), UNIX_EPOCH + Duration::from_secs(951_827_696));
        let first = free_place(&root, now);
        assert_eq!(first, folder.path().join("a.trash-20000229T123456Z"));
        store::create_dir_all(&first)?;
        assert_eq!(free_place(&root, now), folder.path().join("a.trash-20000229T123456Z-1"));
        Ok(())
    }
}
