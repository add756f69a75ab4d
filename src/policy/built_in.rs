//! The policies that the program carries.

use std::path::Path;

use memtrain_corpora::store;

use super::tokenizer::object;
use super::{PolicyConfig, PolicyError};

/// Files of the warmed tiny policy; `docs/warm-up.md` has the commands that make them.
const TINY: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../../configs/policies/tiny/config.json")),
    ("generation_config.json", include_bytes!("../../configs/policies/tiny/generation_config.json")),
    ("model.safetensors", include_bytes!("../../configs/policies/tiny/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../configs/policies/tiny/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../configs/policies/tiny/tokenizer_config.json")),
];

/// The shape of the policy `name`.
///
/// # Errors
/// If no policy has the name.
pub fn config(name: &str) -> Result<PolicyConfig, PolicyError> {
    check(name)?;
    let bytes = TINY[0].1;
    PolicyConfig::from_json(object(bytes).map_err(|detail| PolicyError::Config { key: TINY[0].0, detail })?)
}

fn check(name: &str) -> Result<(), PolicyError> {
    if name == "tiny" {
        return Ok(());
    }
    let detail = format!("no built-in policy is called `{name}`; there is `built-in:tiny`");
    Err(PolicyError::Config { key: "policy.path", detail })
}

/// Writes the policy directory `name` to `folder`; files that are there with the right contents stay as they are.
///
/// # Errors
/// If no policy has the name, or a file cannot be written.
pub fn write(name: &str, folder: &Path) -> Result<(), PolicyError> {
    check(name)?;
    store::create_dir_all(folder)?;
    for (file, bytes) in TINY {
        let path = folder.join(file);
        if store::exists(&path) && store::hash_file(&path)? == store::hash_bytes(bytes) {
            continue;
        }
        store::write_atomic(&path, bytes)?;
    }
    Ok(())
}
