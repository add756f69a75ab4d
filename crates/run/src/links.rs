//! Links of a run and what may stand in their places: `checkpoints/latest`, `checkpoints/best`, `logs/latest.log`.
//!
//! Each leads to a name in its own folder, and nothing of a run depends on it. The folders and logs of a run are no links:
//! what a run goes back on and prunes is removed, and behind a link that may be another run's.

use std::path::Path;

use memtrain_corpora::store;

use super::checkpoint::{BEST, LATEST, step_name, step_of};
use super::layout::{CHECKPOINTS, FOLDERS, LATEST_LOG, LOGS, RECORDS, attempt_of};
use super::{Result, RunError};

/// Checks, before any work, that the folders and logs of a run are in the run's own folder.
///
/// # Errors
/// [`RunError::Elsewhere`] names the first one that is a link or a mount point.
pub(super) fn check_own(root: &Path) -> Result<()> {
    let root = store::resolve(root)?;
    for name in FOLDERS.into_iter().chain(RECORDS) {
        let path = root.join(name);
        let what = match (store::is_link(&path), store::is_mount_point(&path)) {
            (true, _) => "a link",
            (false, true) => "a mount point",
            (false, false) => continue,
        };
        return Err(RunError::Elsewhere { path, what });
    }
    Ok(())
}

/// Checks, before any work, that nothing else stands where a run's links belong.
///
/// # Errors
/// [`RunError::NotOurLink`] names the first that is something else, or leads elsewhere.
pub(super) fn check_links(root: &Path) -> Result<()> {
    for (folder, name) in [(CHECKPOINTS, LATEST), (CHECKPOINTS, BEST), (LOGS, LATEST_LOG)] {
        let is_ours = |target: &str| match folder {
            LOGS => attempt_of(target).is_some(),
            _ => step_of(target).is_some(),
        };
        let path = root.join(folder).join(name);
        match store::link_target(&path)? {
            Some(target) if !target.to_str().is_some_and(is_ours) => {
                return Err(RunError::NotOurLink { path, what: "is a link that leads elsewhere" });
            }
            None => refuse_other(&path)?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// Refuses what is there and no link.
fn refuse_other(path: &Path) -> Result<()> {
    let what = match (store::is_dir(path), store::exists(path)) {
        (true, _) => "is a folder where a link of the run's belongs",
        (false, true) => "is a file where a link of the run's belongs",
        (false, false) => return Ok(()),
    };
    Err(RunError::NotOurLink { path: path.to_path_buf(), what })
}

/// What is wrong with the links to checkpoints. `steps` have been listed before, so that a run that goes on meanwhile may
/// have come further; `best` is the step with the best evaluation.
///
/// # Errors
/// If a link cannot be read.
pub(super) fn damaged(root: &Path, steps: &[u64], best: Option<u64>) -> Result<Vec<RunError>> {
    let newest = steps.last().copied();
    let best = best.filter(|step| steps.contains(step));
    let mut damage = Vec::new();
    // Systems without symbolic links have none.
    for (name, wanted) in [(LATEST, newest), (BEST, best)].into_iter().filter(|_| cfg!(unix)) {
        let path = root.join(CHECKPOINTS).join(name);
        let Some(target) = store::link_target(&path)? else {
            damage.extend(match (refuse_other(&path), wanted) {
                (Err(error), _) => Some(error),
                (Ok(()), Some(_)) => Some(RunError::DamagedLink { path, detail: "it is missing".to_owned() }),
                (Ok(()), None) => None,
            });
            continue;
        };
        let led_to = target.to_str().and_then(step_of).filter(|_| store::is_dir(&path));
        let detail = match (led_to, wanted) {
            (None, _) => format!("it leads to `{}`, where no checkpoint of the run is", target.display()),
            (Some(step), _) if Some(step) > newest => continue,
            (Some(step), Some(wanted)) if step == wanted => continue,
            (Some(step), Some(wanted)) => {
                format!("it leads to `{}` and not to `{}`", step_name(step), step_name(wanted))
            }
            // The checkpoint with the best evaluation was removed by hand, or the evaluations were.
            (Some(_), None) => continue,
        };
        damage.push(RunError::DamagedLink { path, detail });
    }
    Ok(damage)
}
