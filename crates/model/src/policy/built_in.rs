//! The policies that the program carries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, Occupant, OwnedFile};

use super::tokenizer::object;
use super::{PolicyConfig, PolicyError};

/// A file of a policy directory: its name and what is in it.
type File = (&'static str, &'static [u8]);

/// The files of a folder of `configs/policies`.
macro_rules! files {
    ($folder:literal) => {
        files!($folder: "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    };
    ($folder:literal: $($file:literal),*) => {
        [$(($file, include_bytes!(concat!("../../../../configs/policies/", $folder, "/", $file)))),*]
    };
}

/// The policies by name; `docs/warm-up.md` has the commands that make them.
const POLICIES: [(&str, [File; 5]); 2] = [("mini", files!("mini")), ("tiny", files!("tiny"))];

/// What the marker of its folder says that it is.
const KIND: &str = "built-in policy";

/// The shape of the policy `name`.
///
/// # Errors
/// If no policy has the name.
pub fn config(name: &str) -> Result<PolicyConfig, PolicyError> {
    let (key, bytes) = files(name)?[0];
    PolicyConfig::from_json(object(bytes).map_err(|detail| PolicyError::Config { key, detail })?)
}

fn files(name: &str) -> Result<&'static [File], PolicyError> {
    POLICIES.iter().find(|(of, _)| *of == name).map(|(_, files)| files.as_slice()).ok_or_else(|| {
        let known = POLICIES.map(|(name, _)| format!("`built-in:{name}`")).join(" and ");
        PolicyError::NoBuiltIn { name: name.to_owned(), known }
    })
}

/// Writes the policy directory `name` to `folder`. One that is whole stays as it is, whoever has written it; one of ours is
/// brought up to date, anything else is left alone. Several processes may do this at once.
///
/// # Errors
/// If no policy has the name, something else is in the folder, or a file cannot be written.
pub fn write(name: &str, folder: &Path) -> Result<(), PolicyError> {
    let files = files(name)?;
    sweep(folder, files)?;
    let is_there = |file: &str, bytes: &[u8]| -> Result<bool, PolicyError> {
        let path = folder.join(file);
        Ok(store::exists(&path) && store::hash_file(&path)? == store::hash_bytes(bytes))
    };
    let mut is_whole = true;
    for (file, bytes) in files {
        is_whole &= is_there(file, bytes)?;
    }
    if is_whole {
        return Ok(());
    }
    let listed: BTreeMap<String, OwnedFile> =
        files.iter().map(|(file, bytes)| ((*file).to_owned(), owned(bytes))).collect();
    match store::occupant(folder)? {
        Occupant::Ours(marker) if marker.kind == KIND && marker.files != listed => store::remove_owned(folder, KIND)?,
        _ => store::check_replaceable(folder, KIND)?,
    }
    store::create_dir_all(folder)?;
    // The list comes first: what a killed process leaves is on it.
    store::mark(folder, KIND, listed)?;
    for (file, bytes) in files {
        if !is_there(file, bytes)? {
            store::write_atomic(&folder.join(file), bytes)?;
        }
    }
    Ok(())
}

/// Removes what killed processes have left: temporary files, and the folder that former versions wrote a policy into before it
/// got its name, unless something else is in it.
fn sweep(folder: &Path, files: &[File]) -> Result<(), PolicyError> {
    if store::is_dir(folder) {
        store::sweep_temporaries(folder)?;
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let fresh = folder.with_file_name(format!(".{name}.new"));
    if store::is_dir(&fresh) && !store::is_link(&fresh) {
        store::sweep_temporaries(&fresh)?;
        let is_ours = |path: &PathBuf| !store::is_dir(path) && files.iter().any(|(file, _)| path.ends_with(file));
        if store::list(&fresh)?.iter().all(is_ours) {
            store::remove_dir_all(&fresh)?;
        }
    }
    Ok(())
}

fn owned(bytes: &[u8]) -> OwnedFile {
    OwnedFile { bytes: bytes.len() as u64, blake3: store::hash_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtrain_corpora::store::StoreError;

    #[test]
    fn it_is_written_once_mended_and_never_over_what_others_have_put_there() -> Result<(), Box<dyn std::error::Error>> {
        let files = files("tiny")?;
        let parent = tempfile::tempdir()?;
        let folder = parent.path().join("policy-tiny");
        write("tiny", &folder)?;
        store::remove_file(&folder.join("config.json"))?;
        write("tiny", &folder)?;
        assert!(config("tiny").is_ok() && store::exists(&folder.join("config.json")));
        // A changed file is somebody's, with the marker and without.
        store::write_atomic(&folder.join("config.json"), "{}")?;
        let refused =
            |folder: &Path| matches!(write("tiny", folder), Err(PolicyError::Store(StoreError::Foreign { .. })));
        assert!(refused(&folder));
        store::remove_file(&folder.join(store::MARKER))?;
        assert!(refused(&folder));
        assert_eq!(store::read(&folder.join("config.json"))?, b"{}");
        // That of a version without markers is used as it is.
        store::write_atomic(&folder.join("config.json"), files[0].1)?;
        write("tiny", &folder)?;
        assert!(!store::exists(&folder.join(store::MARKER)));
        // That of a version with other weights gives way.
        store::write_atomic(&folder.join("model.safetensors"), "older weights")?;
        store::mark(
            &folder,
            KIND,
            BTreeMap::from_iter(files.iter().map(|(file, bytes)| {
                let bytes: &[u8] = if *file == "model.safetensors" { b"older weights" } else { bytes };
                ((*file).to_owned(), owned(bytes))
            })),
        )?;
        write("tiny", &folder)?;
        assert_eq!(store::read(&folder.join("model.safetensors"))?, files[2].1);
        Ok(())
    }
}
