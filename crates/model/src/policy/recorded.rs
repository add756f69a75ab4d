//! Files of a policy directory compared with what is on record of them.
//!
//! A directory that this program has written lists its files in its mark ([`store::MARKER`]), a checkpoint in
//! `checkpoint.json`. Each reader asks for the files that it is about to read. That costs one more pass over them at the
//! speed of BLAKE3, some gigabytes a second, and leaves them in the system's cache for the reader. Directories of others
//! have neither list and are read as they are.

use std::collections::BTreeMap;
use std::path::Path;

use memtrain_corpora::store::{self, OwnedFile, StoreError};
use serde::Deserialize;

/// The list of a checkpoint's files.
const CHECKPOINT: &str = "checkpoint.json";
/// Far more than the list of a checkpoint needs.
const MAX_LIST_BYTES: u64 = 16 << 20;
/// What makes a `checkpoint.json` ours, whatever is in it.
const TRAINING_STATE: &str = "training_state/state.json";

/// What of the list is needed here.
#[derive(Deserialize)]
struct Checkpoint {
    files: BTreeMap<String, OwnedFile>,
}

/// Checks that a file of a policy directory is the one that was written, where that is on record. The file may be absent; one
/// that is listed may not.
///
/// # Errors
/// [`StoreError::NotAsWritten`] if it is missing or another one, or the list is damaged.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    store::check_as_written(path)?;
    let Some((folder, name)) = path.parent().zip(path.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let list = folder.join(CHECKPOINT);
    if !store::exists(&list) {
        return Ok(());
    }
    let parse = |bytes: Vec<u8>| {
        let damaged =
            |error: serde_json::Error| StoreError::NotAsWritten { path: list.clone(), detail: error.to_string() };
        serde_json::from_slice::<Checkpoint>(&bytes).map_err(damaged)
    };
    match store::read_at_most(&list, MAX_LIST_BYTES).and_then(parse) {
        Ok(checkpoint) => checkpoint.files.get(name).map_or(Ok(()), |file| file.check(path)),
        Err(error) if store::exists(&folder.join(TRAINING_STATE)) => Err(error),
        // Other programs have files of this name, too.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use candle_core::{DType, Device};

    use super::super::convert::{Conversion, convert, merge_lora};
    use super::super::directory::load_decoder;
    use super::super::directory::{load, load_as_stored, load_config, save, write};
    use super::super::stored::{StoredWeights, WEIGHTS};
    use super::super::{Decoder, LoraConfig, Policy, PolicyConfig, PolicyError, PolicyTokenizer, preset};
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn policy() -> Result<Policy, PolicyError> {
        let config = PolicyConfig { hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1, ..preset::tiny(260) };
        Policy::new(Decoder::init(config, 5, &Device::Cpu, DType::F32)?, PolicyTokenizer::of_bytes()?)
    }

    /// The file that a reader complains of, if it does.
    fn named<T>(result: Result<T, PolicyError>) -> Option<PathBuf> {
        match result.err()? {
            PolicyError::Store(StoreError::NotAsWritten { path, .. }) => Some(path),
            error => panic!("{error}"),
        }
    }

    /// Changes the lowest bit of the last number, or of a blank: nothing that would be noticed otherwise.
    fn flip(path: &Path) -> Outcome {
        let mut bytes = store::read(path)?;
        if path.extension().is_some_and(|extension| extension == "json") {
            bytes.push(b' ');
        } else {
            let last = bytes.len() - 4;
            bytes[last] ^= 1;
        }
        Ok(store::write_atomic(path, bytes)?)
    }

    #[test]
    fn every_reader_of_a_directory_of_ours_names_the_file_that_changed() -> Outcome {
        let folder = tempfile::tempdir()?;
        let (own, adapter, out) = (folder.path().join("own"), folder.path().join("adapter"), folder.path().join("out"));
        save(&policy()?, &own)?;
        let mut adapted = load(&own, &Device::Cpu, DType::F32)?;
        adapted.decoder = adapted.decoder.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, 1)?;
        save(&adapted, &adapter)?;
        let readers: [(&str, &dyn Fn() -> Option<PathBuf>); 6] = [
            ("load", &|| named(load(&own, &Device::Cpu, DType::F32))),
            ("load as stored", &|| named(load_as_stored(&own, &Device::Cpu))),
            ("load with adapter", &|| named(load(&adapter, &Device::Cpu, DType::F32))),
            ("load the decoder", &|| named(load_decoder(&own, &Device::Cpu, DType::F32))),
            ("convert", &|| named(convert(&own, &out, Conversion::default()))),
            ("merge", &|| named(merge_lora(&own, &adapter, &out))),
        ];
        let damages: [&dyn Fn(&Path) -> Outcome; 2] = [&flip, &|path| Ok(store::remove_file(path)?)];
        for file in store::list(&own)?.into_iter().filter(|path| !path.ends_with(store::MARKER)) {
            let whole = store::read(&file)?;
            for damage in damages {
                damage(&file)?;
                for (reader, read) in readers {
                    // A decoder alone has no tokenizer and no end of a response.
                    let reads =
                        reader != "load the decoder" || file.ends_with("config.json") || file.ends_with(WEIGHTS);
                    if reads {
                        assert_eq!(read().as_ref(), Some(&file), "{reader}, {}", file.display());
                    }
                }
                store::write_atomic(&file, &whole)?;
            }
        }
        for file in store::list(&adapter)?.into_iter().filter(|path| !path.ends_with(store::MARKER)) {
            let whole = store::read(&file)?;
            flip(&file)?;
            if file.to_string_lossy().contains("adapter_") {
                assert_eq!(named(load(&adapter, &Device::Cpu, DType::F32)).as_ref(), Some(&file));
                assert_eq!(named(merge_lora(&own, &adapter, &out)).as_ref(), Some(&file));
            }
            store::write_atomic(&file, whole)?;
        }
        assert!(readers.iter().all(|(_, read)| read().is_none()));
        // Without the list it is read as a directory of others.
        flip(&own.join(WEIGHTS))?;
        store::remove_file(&own.join(store::MARKER))?;
        load(&own, &Device::Cpu, DType::F32)?;
        Ok(())
    }

    #[test]
    fn a_checkpoint_is_compared_with_its_list() -> Outcome {
        let folder = tempfile::tempdir()?;
        let checkpoint = folder.path();
        write(&policy()?, checkpoint)?;
        let list = checkpoint.join(CHECKPOINT);
        // A file of this name that others have written says nothing.
        store::write_atomic(&list, r#"{"files": ["model.safetensors"]}"#)?;
        load(checkpoint, &Device::Cpu, DType::F32)?;
        let weights = checkpoint.join(WEIGHTS);
        let files = BTreeMap::from([(WEIGHTS, OwnedFile::of(&weights)?)]);
        store::write_json(&list, &serde_json::json!({"format": 1, "step": 2, "files": files}))?;
        store::create_dir_all(&checkpoint.join("training_state"))?;
        store::write_atomic(&checkpoint.join(TRAINING_STATE), "{}")?;
        load(checkpoint, &Device::Cpu, DType::F32)?;
        flip(&weights)?;
        assert_eq!(named(load(checkpoint, &Device::Cpu, DType::F32)), Some(weights.clone()));
        assert_eq!(named(StoredWeights::open(checkpoint)), Some(weights));
        store::write_atomic(&list, "{\"files\": 7")?;
        assert_eq!(named(load_config(checkpoint)), Some(list));
        Ok(())
    }
}
