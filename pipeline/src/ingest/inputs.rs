//! Input files of ingest and the pieces that they are read in.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use memtrain_corpora::dump::{self, DumpError, Part};
use memtrain_corpora::extracted::{self, Form, recognise};
use memtrain_corpora::store::{self, StoreError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::config::IngestConfig;
use crate::error::{PipelineError, Result};

/// Where `bytes_per_shard` is left to the program: a corpus has about so many shards …
const SHARDS: u64 = 64;
/// … each of this many bytes of its inputs at least …
const LEAST_BYTES: u64 = 8 << 20;
/// … and of this many at most.
const MOST_BYTES: u64 = 128 << 20;

/// A stretch of an input: what a shard reads is a list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Piece {
    /// Which of the plan's inputs.
    pub(super) input: usize,
    /// What kind of file it is.
    pub(super) form: Form,
    /// Which part of it.
    pub(super) part: Part,
}

/// Lines of the log on files that are left out; the others are counted.
const TOLD: usize = 20;

/// The files that `corpus.ingest.dumps` names, in its order; those of a pattern or a folder in the order of their names, each once.
pub(super) fn find(config: &IngestConfig) -> Result<Vec<PathBuf>> {
    Ok(look(config)?.0)
}

/// As [`find`]; the log tells what was left out.
pub(super) fn find_and_tell(config: &IngestConfig) -> Result<Vec<PathBuf>> {
    let (files, left_out) = look(config)?;
    for problem in left_out.iter().take(TOLD) {
        tracing::warn!("left out: {problem}");
    }
    if left_out.len() > TOLD {
        tracing::warn!("left out: {} files in all, of which {TOLD} are named here", left_out.len());
    }
    Ok(files)
}

/// The files, and why others that were come upon are none of them.
fn look(config: &IngestConfig) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    for pattern in &config.dumps {
        let mut others = Vec::new();
        let found = expand(pattern, &mut others)?;
        if found.is_empty() {
            return Err(PipelineError::NoDump { pattern: pattern.clone(), left_out: others });
        }
        files.extend(found);
        left_out.append(&mut others);
    }
    let mut known = HashSet::new();
    files.retain(|file| known.insert(file.clone()));
    Ok((files, left_out))
}

/// The files of a path, a folder, or a pattern with `*`, `?`, `[…]` and `**`. A path that is there is taken as it is.
fn expand(pattern: &str, left_out: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    if store::is_dir(path) {
        return inputs_below(path, left_out);
    }
    if store::try_exists(path)? {
        return Ok(vec![path.to_path_buf()]);
    }
    let Some(meta) = pattern.find(['*', '?', '[']) else { return Ok(Vec::new()) };
    let fault = |problem: String| PipelineError::Config { key: "corpus.ingest.dumps", problem };
    let unknown =
        |error: glob::PatternError| fault(format!("has the pattern `{pattern}`, which cannot be understood: {error}"));
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::default() };
    let mut found = Vec::new();
    if pattern.contains("**") {
        // Of links that lead in a circle the library takes every way, which are without number.
        let (folder, inner) = pattern.split_at(pattern[..meta].rfind('/').map_or(0, |slash| slash + 1));
        let options = glob::MatchOptions { require_literal_separator: true, ..options };
        let inner = glob::Pattern::new(inner).map_err(unknown)?;
        let from = Path::new(if folder.is_empty() { "." } else { folder });
        for path in if store::is_dir(from) { below(from, left_out)? } else { Vec::new() } {
            let inside = path.strip_prefix(from).unwrap_or(&path);
            // The file, else the outermost folder around it.
            let matching = |inside: &&Path| inner.matches_path_with(inside, options);
            let last = if matching(&inside) { Some(inside) } else { inside.ancestors().filter(matching).last() };
            found.extend(last.map(|inside| Path::new(folder).join(inside)));
        }
    } else {
        for path in glob::glob_with(pattern, options).map_err(unknown)? {
            found.push(path.map_err(|error| fault(format!("has the pattern `{pattern}`: {error}")))?);
        }
    }
    found.sort();
    found.dedup();
    let (mut files, mut known) = (Vec::new(), HashSet::new());
    for path in found {
        if store::is_dir(&path) {
            // Several folders may be links to one.
            for file in inputs_below(&path, left_out)? {
                if known.insert(store::resolve(&file)?) {
                    files.push(file);
                }
            }
        } else if !is_index(&path) && may_be_read(&path, left_out) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The inputs of a folder and of those below it.
fn inputs_below(folder: &Path, left_out: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let mut files = below(folder, left_out)?;
    files.retain(|path| is_input(path, left_out));
    Ok(files)
}

/// The index that lies beside a multistream dump matches the dump's patterns. It is not needed.
fn is_index(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.contains("-index") && name.contains(".txt")
}

/// Whether it is a file, or cannot be told for want of rights and the like, which is an error later. Pipes, sockets and devices that a
/// pattern or a folder came upon are left out.
fn may_be_read(path: &Path, left_out: &mut Vec<String>) -> bool {
    match store::open(path) {
        Err(error @ StoreError::NotAFile { .. }) => {
            left_out.push(error.to_string());
            false
        }
        _ => true,
    }
}

/// Whether a file of a folder is an input.
fn is_input(path: &Path, left_out: &mut Vec<String>) -> bool {
    if !may_be_read(path, left_out) {
        return false;
    }
    let of_articles = recognise(path).and_then(|form| extracted::check(path, form));
    match of_articles {
        Ok(()) | Err(DumpError::Truncated { .. } | DumpError::Damaged { .. } | DumpError::Store(_)) => true,
        Err(_) if is_index(path) => false,
        Err(error) => {
            left_out.push(error.to_string());
            false
        }
    }
}

/// All that is in a folder and below it and is no folder itself, by name, without hidden names. A folder that links lead to again is read
/// once.
fn below(folder: &Path, left_out: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let (mut known, mut files) = (HashSet::new(), Vec::new());
    // Each with the path without links that it leads to. Those that were listed last come first, so that the order is that of a walk by
    // recursion, of any depth.
    let mut open = vec![(folder.to_path_buf(), store::resolve(folder)?)];
    while let Some((path, real)) = open.pop() {
        if !store::is_dir(&path) {
            files.push(path);
        } else if known.insert(real.clone()) {
            for path in store::list(&path)?.into_iter().rev() {
                let name = path.file_name().unwrap_or_default();
                if !name.to_string_lossy().starts_with('.') {
                    let link = store::is_link(&path) && store::is_dir(&path);
                    let real = if link { store::resolve(&path)? } else { real.join(name) };
                    open.push((path, real));
                }
            }
        } else {
            left_out.push(format!("`{}` leads to a folder that was read already", path.display()));
        }
    }
    Ok(files)
}

/// Cuts the inputs into shards: a function of the files and of `bytes_per_shard` alone. Large files are cut, small ones are put
/// together, in order.
pub(super) fn shards(files: &[PathBuf], config: &IngestConfig) -> Result<Vec<Vec<Piece>>> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| PipelineError::Dump { path, source }
    };
    let lengths = files.iter().map(|path| store::len(path)).collect::<Result<Vec<u64>, _>>()?;
    let target = match config.bytes_per_shard {
        0 => (lengths.iter().sum::<u64>() / SHARDS).clamp(LEAST_BYTES, MOST_BYTES),
        bytes => bytes,
    };
    let forms = files.par_iter().map(|path| recognise(path).map_err(failed(path))).collect::<Result<Vec<_>>>()?;
    let parts = files.par_iter().zip(&forms).map(|(path, form)| match form {
        Form::MediaWiki => dump::parts(path, target).map_err(failed(path)),
        _ => Ok(vec![Part::WHOLE]),
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let mut shards: Vec<Vec<Piece>> = Vec::new();
    let mut held = u64::MAX;
    for (input, parts) in parts.into_iter().enumerate() {
        let bytes = lengths[input] / parts.len() as u64;
        for part in parts {
            let piece = Piece { input, form: forms[input], part };
            match shards.last_mut() {
                Some(shard) if held.saturating_add(bytes) <= target => shard.push(piece),
                _ => {
                    shards.push(vec![piece]);
                    held = 0;
                }
            }
            held += bytes;
        }
    }
    Ok(shards)
}
