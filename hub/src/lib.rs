//! Models of the Hugging Face hub by name: cache lookup and download.
//!
//! A model is named by a folder, or as on the Hugging Face hub: `Qwen/Qwen3-4B-Instruct-2507`, with `@revision` if it is not
//! to be the newest. Names are looked up in the cache that `huggingface_hub`, `transformers` and others share; what is
//! missing is downloaded into it:
//!
//! ```text
//! <cache>/models--Qwen--Qwen3-4B-Instruct-2507/refs/main                the commit
//!                                              snapshots/<commit>/…     the files: links into blobs/
//! ```
//!
//! Environment, as those libraries read it: `HF_HUB_CACHE`, else `HF_HOME` with `/hub`, else `~/.cache/huggingface/hub`;
//! `HF_HUB_OFFLINE`; `HF_ENDPOINT`; `HF_TOKEN`, else the file `HF_HOME/token`.

mod api;
mod cache;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use memtrain_corpora::store;
use serde_json::Value;

use crate::api::Api;
use crate::cache::Repository;

/// Why there is no folder for a name. [`HubError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Neither a folder nor a name as the hub has them.
    #[error("`{name}` is no directory, and no name of the form `organisation/model`")]
    NoName {
        /// What was given.
        name: String,
    },
    /// Not in the cache, and nothing may be downloaded.
    #[error("`{name}` is no directory and not in the cache `{}`, and `HF_HUB_OFFLINE` is set", cache.display())]
    Offline {
        /// What was given.
        name: String,
        /// Folder of the cache.
        cache: PathBuf,
    },
    /// The hub could not be reached or refused.
    #[error("`{name}` is no directory and not in the cache `{}`, and could not be downloaded from {endpoint}: {detail}", cache.display())]
    Download {
        /// What was given.
        name: String,
        /// Folder of the cache.
        cache: PathBuf,
        /// Where it was asked for.
        endpoint: String,
        /// What went wrong.
        detail: String,
    },
    /// The hub has a model of this name, but not as files that are read here.
    #[error("the model `{name}` of the hub has no `{file}`")]
    Unusable {
        /// What was given.
        name: String,
        /// What is missing.
        file: &'static str,
    },
}

impl HubError {
    /// What the user can do, without a full stop at the end.
    pub fn hint(&self) -> String {
        match self {
            Self::NoName { .. } => {
                "check the path, or name a model of the hub, for example `Qwen/Qwen3-0.6B`".to_owned()
            }
            Self::Offline { name, .. } | Self::Download { name, .. } => format!(
                "where there is a network, `hf download {name} --local-dir DIR` fetches it; give DIR instead of the name"
            ),
            Self::Unusable { .. } => "weights are read from safetensors, or from ONNX by the backend `fastembed`, tokenizers from `tokenizer.json`".to_owned(),
        }
    }
}

/// Which files of a model are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Configuration, tokenizer and weights.
    Model,
    /// Configuration, tokenizer and an export as ONNX: `model.onnx`, else `onnx/model.onnx`.
    Onnx,
    /// Configuration and tokenizer.
    Tokenizer,
}

/// The hub and its cache.
///
/// ```
/// use memtrain_hub::{Hub, Needed};
/// let cache = tempfile::tempdir().unwrap();
/// let hub = Hub { offline: true, ..Hub::at(cache.path()) };
/// // A folder is itself.
/// assert_eq!(hub.resolve(cache.path().to_str().unwrap(), Needed::Model).unwrap(), cache.path());
/// let error = hub.resolve("Qwen/Qwen3-0.6B", Needed::Model).unwrap_err();
/// assert!(error.to_string().contains("HF_HUB_OFFLINE"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Download nothing.
    pub offline: bool,
    /// Address of the hub.
    pub endpoint: String,
    /// Proof of access to models that ask for it.
    pub token: Option<String>,
    /// Show bars on stderr.
    pub progress: bool,
}

impl Hub {
    /// The hub at its usual address with a cache of its own.
    pub fn at(cache: &Path) -> Self {
        Self {
            cache: cache.to_path_buf(),
            offline: false,
            endpoint: "https://huggingface.co".to_owned(),
            token: None,
            progress: false,
        }
    }

    /// The hub as the environment says.
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
            let user = variable("XDG_CACHE_HOME").map(PathBuf::from);
            let user = user.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
            user.map(|cache| cache.join("huggingface"))
        });
        let cache = variable("HF_HUB_CACHE").map(PathBuf::from).or_else(|| home.map(|home| home.join("hub")));
        let cache = cache.unwrap_or_else(|| PathBuf::from(".cache/huggingface/hub"));
        let token = variable("HF_TOKEN").or_else(|| token_beside(&cache));
        let is_set = |value: String| matches!(value.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true");
        let usual = Self::at(&cache);
        Self {
            offline: variable("HF_HUB_OFFLINE").is_some_and(is_set),
            endpoint: variable("HF_ENDPOINT")
                .map_or(usual.endpoint, |address| address.trim_end_matches('/').to_owned()),
            token,
            progress: std::io::IsTerminal::is_terminal(&std::io::stderr()),
            cache,
        }
    }

    /// Whether the hub answers within seconds; nobody is told who asks.
    ///
    /// # Errors
    /// Why it does not.
    pub fn reach(&self) -> Result<(), String> {
        Api::new(&self.endpoint, None, false).reach()
    }

    /// Whether `source` is named as on the hub, `organisation/model` or `organisation/model@revision`, and is no folder.
    pub fn is_name(source: &str) -> bool {
        !store::is_dir(Path::new(source)) && Repository::parse(source).is_some()
    }

    /// The folder of a model: `source` itself if it is a folder, else from the cache, else downloaded.
    ///
    /// # Errors
    /// If `source` is neither a folder nor a name, or is not in the cache and cannot be downloaded.
    pub fn resolve(&self, source: &str, needed: Needed) -> Result<PathBuf, HubError> {
        if store::is_dir(Path::new(source)) {
            return Ok(PathBuf::from(source));
        }
        let repository = Repository::parse(source).ok_or_else(|| HubError::NoName { name: source.to_owned() })?;
        if let Some(folder) = self.cached(&repository, needed) {
            return Ok(folder);
        }
        if self.offline {
            return Err(HubError::Offline { name: source.to_owned(), cache: self.cache.clone() });
        }
        self.download(source, &repository, needed)?;
        self.cached(&repository, needed).ok_or_else(|| HubError::Unusable {
            name: source.to_owned(),
            file: match needed {
                Needed::Model => "model.safetensors",
                Needed::Onnx => "model.onnx",
                Needed::Tokenizer => "tokenizer.json",
            },
        })
    }

    /// The snapshot in the cache, if it has every file that is needed.
    fn cached(&self, repository: &Repository, needed: Needed) -> Option<PathBuf> {
        let folder = repository.snapshot(&self.cache)?;
        let has = |name: &str| store::exists(&folder.join(name));
        let weights =
            || has("model.safetensors") || shards(&folder).is_some_and(|shards| shards.iter().all(|name| has(name)));
        let all_of_it = match needed {
            Needed::Model => weights(),
            Needed::Onnx => ONNX.into_iter().any(has),
            Needed::Tokenizer => true,
        };
        let complete = has("config.json") && has("tokenizer.json") && all_of_it;
        complete.then_some(folder)
    }

    fn download(&self, name: &str, repository: &Repository, needed: Needed) -> Result<(), HubError> {
        let failed = |detail: String| HubError::Download {
            name: name.to_owned(),
            cache: self.cache.clone(),
            endpoint: self.endpoint.clone(),
            detail,
        };
        let api = Api::new(&self.endpoint, self.token.clone(), self.progress);
        let listing = api.listing(repository).map_err(failed)?;
        let files = wanted(&listing.files, needed);
        tracing::info!("downloading `{name}`: {} files into `{}`", files.len(), self.cache.display());
        let folder = repository.folder(&self.cache);
        for file in files {
            api.download(repository, &folder, &listing.commit, &file).map_err(failed)?;
        }
        repository.point(&self.cache, &listing.commit).map_err(|error| failed(error.to_string()))
    }
}

/// The token that `hf auth login` has left beside a cache.
fn token_beside(cache: &Path) -> Option<String> {
    let token = store::read_to_string(&cache.parent()?.join("token")).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Where exports as ONNX lie, the first that is there counts; `_data` behind the name is the rest of a large one.
const ONNX: [&str; 2] = ["model.onnx", "onnx/model.onnx"];

/// The files of a repository that a model is made of: those at its top in the formats that are read, and what
/// sentence-transformers says about pooling.
fn wanted(listed: &[String], needed: Needed) -> BTreeSet<String> {
    let export = ONNX.into_iter().find(|&name| needed == Needed::Onnx && listed.iter().any(|file| file == name));
    let is_wanted = |name: &str| {
        if name == "1_Pooling/config.json" || export.is_some_and(|export| name.trim_end_matches("_data") == export) {
            return true;
        }
        if name.contains('/') || name.starts_with('.') {
            return false;
        }
        let text = [".json", ".txt", ".jinja", ".model"].iter().any(|ending| name.ends_with(ending));
        let weights = name.ends_with(".safetensors") && !name.starts_with("consolidated");
        text || (weights && needed == Needed::Model)
    };
    listed.iter().filter(|name| is_wanted(name)).cloned().collect()
}

/// The files that the index of sharded weights lists.
fn shards(folder: &Path) -> Option<BTreeSet<String>> {
    let index: Value = store::read_json(&folder.join("model.safetensors.index.json")).ok()?;
    index.get("weight_map")?.as_object()?.values().map(|file| file.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_read_is_downloaded() {
        let listed = [
            ".gitattributes",
            "README.md",
            "config.json",
            "tokenizer.json",
            "merges.txt",
            "chat_template.jinja",
            "model.safetensors",
            "consolidated.safetensors",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "1_Pooling/config.json",
            "original/params.json",
        ]
        .map(str::to_owned);
        let names = |needed| wanted(&listed, needed).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(
            names(Needed::Model),
            "1_Pooling/config.json chat_template.jinja config.json merges.txt model.safetensors tokenizer.json"
        );
        assert!(!names(Needed::Tokenizer).contains("safetensors"));
        let onnx = names(Needed::Onnx);
        assert!(onnx.contains("onnx/model.onnx") && !onnx.contains("safetensors"), "{onnx}");
    }
}
