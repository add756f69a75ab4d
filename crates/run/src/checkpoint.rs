//! Checkpoints: a policy directory with the training state in it, whole or absent.
//!
//! A checkpoint is written into a hidden folder beside its place and renamed into it as the last act, so that a folder
//! called `step_…` is always whole. `checkpoint.json` in it lists every file with its size and hash; reading verifies them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, StoreError};
use serde::{Deserialize, Serialize};

use super::{Result, RunError};

/// Version of the layout of a checkpoint folder.
const FORMAT: u32 = 1;
const CONTENTS: &str = "checkpoint.json";
const TRAINING_STATE: &str = "training_state";
const STATE: &str = "training_state/state.json";
pub(super) const LATEST: &str = "latest";
pub(super) const BEST: &str = "best";
/// Links among the checkpoints.
pub(super) const CHECKPOINT_LINKS: [&str; 2] = [LATEST, BEST];
const PARTIAL_SUFFIX: &str = ".partial";
const REMOVED_SUFFIX: &str = ".removed";
/// Ends of the hidden names under which checkpoints come and go.
const HIDDEN_SUFFIXES: [&str; 6] = [PARTIAL_SUFFIX, REMOVED_SUFFIX, ".memtrain-new", ".memtrain-old", ".new", ".old"];

/// Where training stands, beside weights and optimizer. Random generators are keyed and need no state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingState {
    /// Optimizer steps done.
    pub step: u64,
    /// Documents consumed so far, those of earlier epochs counted on.
    pub next_document: u64,
}

/// After which steps a run saves and evaluates. A run that is stopped saves after other steps, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Steps of the run; the last one is saved and evaluated.
    pub steps: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between evaluations, which come with a checkpoint each; 0 for none.
    pub evaluate_every: u64,
}

impl Schedule {
    /// Whether the policy is saved after `step`.
    pub fn saves_after(&self, step: u64) -> bool {
        step == self.steps || step.is_multiple_of(self.checkpoint_every.max(1)) || self.evaluates_after(step)
    }

    /// Whether the policy is evaluated after `step`.
    pub fn evaluates_after(&self, step: u64) -> bool {
        let every = self.evaluate_every;
        every > 0 && step > 0 && (step.is_multiple_of(every) || step == self.steps)
    }
}

/// Which checkpoints stay. One off the schedule, which a stop has left, stays as long as it is the newest: in the end there
/// are the same as without the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// When the run saves.
    pub schedule: Schedule,
    /// The newest so many; 0 keeps all.
    pub last: usize,
    /// And those whose step is a multiple of this; 0 for none.
    pub every: u64,
}

/// What `checkpoint.json` says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format: u32,
    step: u64,
    /// By path inside the folder.
    files: BTreeMap<String, FileContents>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileContents {
    bytes: u64,
    blake3: String,
}

/// A whole checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The folder, which is a policy directory.
    pub path: PathBuf,
    /// Where training stood.
    pub state: TrainingState,
}

impl Checkpoint {
    /// Folder of the optimizer's state.
    pub fn training_state(&self) -> PathBuf {
        self.path.join(TRAINING_STATE)
    }

    /// Reads a checkpoint folder and verifies every file in it.
    ///
    /// # Errors
    /// [`RunError::DamagedCheckpoint`] names the first file that is missing or different.
    pub fn open(path: &Path) -> Result<Self> {
        let damaged = |detail: String| RunError::DamagedCheckpoint { path: path.to_path_buf(), detail };
        if !store::exists(&path.join(CONTENTS)) {
            return Err(damaged(format!("`{CONTENTS}` is missing")));
        }
        let contents = match store::read_json::<Contents>(&path.join(CONTENTS)) {
            Err(StoreError::Json { source, .. }) => return Err(damaged(format!("`{CONTENTS}`: {source}"))),
            contents => contents?,
        };
        if contents.format != FORMAT {
            return Err(RunError::Format { path: path.join(CONTENTS), got: contents.format, expected: FORMAT });
        }
        for (name, expected) in &contents.files {
            let file = path.join(name);
            if !store::exists(&file) {
                return Err(damaged(format!("`{name}` is missing")));
            }
            let bytes = store::len(&file)?;
            if bytes != expected.bytes {
                return Err(damaged(format!("`{name}` has {bytes} bytes instead of {}", expected.bytes)));
            }
            if store::hash_file(&file)? != expected.blake3 {
                return Err(damaged(format!("`{name}` has other contents than were written")));
            }
        }
        if !contents.files.contains_key(STATE) {
            return Err(damaged(format!("`{CONTENTS}` does not list `{STATE}`")));
        }
        let state: TrainingState = store::read_json(&path.join(STATE))?;
        if state.step != contents.step {
            return Err(damaged(format!(
                "`{STATE}` is of step {}, `{CONTENTS}` of step {}",
                state.step, contents.step
            )));
        }
        Ok(Self { path: path.to_path_buf(), state })
    }
}

/// Files of fewer bytes are read before they are removed: those that somebody may have edited.
const READ_BYTES: u64 = 1 << 20;

/// What in a checkpoint's folder is not the checkpoint's: files that are not on its list or have another size; with `by_contents`
/// also those with other contents. Large ones, weights, are read where they were changed after the list was written. A folder
/// whose list cannot be read is foreign as a whole.
fn foreign_files(path: &Path, by_contents: bool) -> Result<Vec<String>> {
    let contents = match store::read_json::<Contents>(&path.join(CONTENTS)) {
        Ok(contents) => contents,
        Err(StoreError::Json { .. }) => return Ok(vec![CONTENTS.to_owned()]),
        Err(_) if !store::exists(&path.join(CONTENTS)) => return Ok(vec![file_name(path).to_owned()]),
        Err(error) => return Err(error.into()),
    };
    let list = path.join(CONTENTS);
    let is_listed = |(name, path): &(String, PathBuf)| -> Result<bool> {
        let Some(file) = contents.files.get(name) else { return Ok(name == CONTENTS) };
        if store::len(path)? != file.bytes {
            return Ok(false);
        }
        let is_known = !by_contents || file.bytes >= READ_BYTES && store::is_older(path, &list)?;
        Ok(is_known || store::hash_file(path)? == file.blake3)
    };
    let mut foreign = Vec::new();
    for file in files_in(path)? {
        if !is_listed(&file)? {
            foreign.push(file.0);
        }
    }
    Ok(foreign)
}

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    root: PathBuf,
    retention: Retention,
    /// Schedules that the run has had before.
    earlier: Vec<Schedule>,
    best: Option<u64>,
}

impl Checkpoints {
    /// Opens the folder, creating it, and removes what killed processes have left half-written.
    /// [`Self::update_links_and_prune`] does the rest once the best checkpoint is known.
    ///
    /// # Errors
    /// If the folder cannot be created, listed or cleaned.
    pub fn open(root: &Path, retention: Retention) -> Result<Self> {
        store::create_dir_all(root)?;
        for path in store::list(root)? {
            if is_leftover(file_name(&path)) && store::is_dir(&path) {
                remove_leftover(&path)?;
            }
        }
        store::sweep_temporaries(root)?;
        store::sweep_links(root)?;
        Ok(Self { root: root.to_path_buf(), retention, earlier: Vec::new(), best: None })
    }

    /// With the schedules that the run has had before: what it saved by them stays as what it saves by the present one.
    pub fn with_earlier(self, earlier: Vec<Schedule>) -> Self {
        Self { earlier, ..self }
    }

    /// The folder of a step's checkpoint.
    pub fn path(&self, step: u64) -> PathBuf {
        self.root.join(step_name(step))
    }

    /// Steps that have a checkpoint, ascending.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let names = store::list(&self.root)?;
        let mut steps: Vec<u64> = names.iter().filter_map(|path| step_of(file_name(path))).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The newest checkpoint, verified; `None` if there is none.
    ///
    /// # Errors
    /// If it is damaged: going on from an older one is for the user to decide.
    pub fn newest(&self) -> Result<Option<Checkpoint>> {
        let newest = self.steps()?.last().copied();
        newest.map(|step| Checkpoint::open(&self.path(step))).transpose()
    }

    /// Writes a checkpoint, points `latest` to it, and removes those that need not stay.
    ///
    /// `write_policy` gets the new folder, `write_optimizer` a folder inside it. A checkpoint of the same step is
    /// left as it is: the same step of the same run is the same state.
    ///
    /// # Errors
    /// If something cannot be written; then nothing stands under the checkpoint's name.
    pub fn save(
        &mut self,
        state: &TrainingState,
        write_policy: impl FnOnce(&Path) -> anyhow::Result<()>,
        write_optimizer: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> Result<Checkpoint> {
        let name = step_name(state.step);
        let path = self.root.join(&name);
        if !store::exists(&path) {
            let partial = self.root.join(format!(".{name}{PARTIAL_SUFFIX}"));
            let written = write_parts(&partial, state, write_policy, write_optimizer);
            if let Err(source) = written.and_then(|()| Ok(store::rename_durably(&partial, &path)?)) {
                // The first failure is the one to report; opening the folder again cleans up.
                let _ = remove_leftover(&partial);
                return Err(RunError::Save { step: state.step, source });
            }
        }
        self.update_links_and_prune(None)?;
        Ok(Checkpoint { path, state: *state })
    }

    /// Brings links and folders to where an undisturbed run has them: `latest` points to the newest checkpoint, `best` to
    /// that of `best`, which stays from now on until another is better, and those that need not stay are removed. A step
    /// without a checkpoint, removed by hand say, is passed over.
    ///
    /// # Errors
    /// If a link cannot be made or an old checkpoint not be removed.
    pub fn update_links_and_prune(&mut self, best: Option<u64>) -> Result<()> {
        let steps = self.steps()?;
        self.best = best.filter(|step| steps.contains(step)).or(self.best);
        self.point(LATEST, steps.last().copied())?;
        self.point(BEST, self.best)?;
        self.prune(&steps)
    }

    /// Points a link to the checkpoint of a step; without one there is no link.
    fn point(&self, link: &str, step: Option<u64>) -> Result<()> {
        let (link, wanted) = (self.root.join(link), step.map(step_name));
        let target = store::link_target(&link)?;
        match wanted {
            Some(name) if target.as_deref() != Some(Path::new(&name)) => store::link_durably(Path::new(&name), &link)?,
            None if target.is_some() => store::remove_file(&link)?,
            _ => {}
        }
        Ok(())
    }

    fn prune(&self, steps: &[u64]) -> Result<()> {
        let Retention { schedule, last, every } = self.retention;
        let saves =
            |step: u64| schedule.saves_after(step) || self.earlier.iter().any(|earlier| earlier.saves_after(step));
        let scheduled: Vec<u64> = steps.iter().copied().filter(|&step| saves(step)).collect();
        let first_of_last = if last == 0 { 0 } else { scheduled.len().saturating_sub(last) };
        let stays = |step: u64| {
            let is_kept = every > 0 && step.is_multiple_of(every);
            // The best one may be of a schedule that was changed since.
            steps.last() == Some(&step)
                || self.best == Some(step)
                || scheduled.binary_search(&step).is_ok_and(|place| place >= first_of_last || is_kept)
        };
        for &step in steps.iter().filter(|&&step| !stays(step)) {
            let name = step_name(step);
            let path = self.root.join(&name);
            if let [first, ..] = &foreign_files(&path, true)?[..] {
                tracing::warn!(
                    "the old checkpoint `{}` stays: `{first}` in it is not as it was written",
                    path.display()
                );
                continue;
            }
            // Renamed first: a kill amid the removal must not leave half a checkpoint under a whole one's name.
            let removed = self.root.join(format!(".{name}{REMOVED_SUFFIX}"));
            store::rename_durably(&path, &removed)?;
            remove_leftover(&removed)?;
        }
        Ok(())
    }
}

/// Whether a name is one of those under which checkpoints come and go.
fn is_leftover(name: &str) -> bool {
    let Some(mut name) = name.strip_prefix('.') else { return false };
    while let Some(rest) = HIDDEN_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)) {
        name = rest.trim_start_matches('.');
        if step_of(name).is_some() {
            return true;
        }
    }
    false
}

fn write_parts(
    folder: &Path,
    state: &TrainingState,
    write_policy: impl FnOnce(&Path) -> anyhow::Result<()>,
    write_optimizer: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if store::exists(folder) {
        remove_leftover(folder)?;
    }
    store::create_dir_all(folder)?;
    store::mark(folder, store::UNFINISHED, BTreeMap::new())?;
    write_policy(folder)?;
    let training_state = folder.join(TRAINING_STATE);
    store::create_dir_all(&training_state)?;
    write_optimizer(&training_state)?;
    store::write_json(&folder.join(STATE), state)?;
    let mut files = BTreeMap::new();
    for (name, path) in files_in(folder)?.into_iter().filter(|(name, _)| name != store::MARKER) {
        files.insert(name, FileContents { bytes: store::len(&path)?, blake3: store::hash_file(&path)? });
    }
    store::write_json(&folder.join(CONTENTS), &Contents { format: FORMAT, step: state.step, files })?;
    // From here on the list tells what is the checkpoint's.
    Ok(store::remove_file(&folder.join(store::MARKER))?)
}

/// Removes the folder of a checkpoint that was being written or removed: what is on its list, the list last, so that the folder
/// of a removal that was cut off is still known. Before there is a list, a mark tells whose the folder is.
///
/// # Errors
/// [`StoreError::Foreign`] if it holds anything else; then nothing is removed.
fn remove_leftover(path: &Path) -> Result<()> {
    if store::is_link(path) {
        return Err(StoreError::ForeignFile { path: path.to_path_buf(), what: "is a link" }.into());
    }
    let files = files_in(path)?;
    if files.iter().all(|(_, file)| store::is_temporary(file)) {
        return Ok(store::remove_dir_all(path)?);
    }
    if !store::exists(&path.join(CONTENTS)) {
        // Before there were marks, a kill left files under names of a checkpoint's alone.
        let names = names_beside(path)?;
        let is_known = |(name, file): &(String, PathBuf)| names.contains(name) || store::is_temporary(file);
        if !store::exists(&path.join(store::MARKER)) && files.iter().all(is_known) {
            return Ok(store::remove_dir_all(path)?);
        }
        return Ok(store::clear_unfinished(path, "checkpoint")?);
    }
    let mut names = foreign_files(path, false)?;
    names.retain(|name| name != store::MARKER && !store::is_temporary(&path.join(name)));
    if !names.is_empty() {
        return Err(StoreError::Foreign { path: path.to_path_buf(), kind: "checkpoint".to_owned(), names }.into());
    }
    files.iter().filter(|(name, _)| name != CONTENTS).try_for_each(|(_, file)| store::remove_file(file))?;
    store::remove_file(&path.join(CONTENTS))?;
    Ok(store::remove_dir_all(path)?)
}

/// Names of the files that the whole checkpoints beside a folder have.
fn names_beside(path: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for sibling in path.parent().map(store::list).transpose()?.unwrap_or_default() {
        let contents = step_of(file_name(&sibling)).map(|_| store::read_json::<Contents>(&sibling.join(CONTENTS)));
        names.extend(
            contents.and_then(std::result::Result::ok).into_iter().flat_map(|contents| contents.files.into_keys()),
        );
    }
    Ok(names)
}

/// All files in a folder and those below it, by their path inside it.
fn files_in(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let (mut files, mut folders) = (Vec::new(), vec![(String::new(), folder.to_path_buf())]);
    while let Some((prefix, folder)) = folders.pop() {
        for path in store::list(&folder)? {
            let name = format!("{prefix}{}", file_name(&path));
            if store::is_dir(&path) && !store::is_link(&path) {
                folders.push((format!("{name}/"), path));
            } else {
                files.push((name, path));
            }
        }
    }
    Ok(files)
}

/// The name of a step's files and folders: `step_000100`.
pub(super) fn step_name(step: u64) -> String {
    format!("step_{step:06}")
}

/// The step of a name made by [`step_name`].
pub(super) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step_")?.parse().ok()?;
    (step_name(step) == name).then_some(step)
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
