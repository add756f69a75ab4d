//! Encoders exported as ONNX, by fastembed and the ONNX runtime.
//!
//! The runtime is a library that is found when it is needed: at `embed.runtime`, else where `ORT_DYLIB_PATH` says, else
//! where the system looks. The PyPI package `onnxruntime` carries it (`onnxruntime/capi/libonnxruntime.so.…`).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fastembed::{InitOptionsUserDefined, Pooling as Pooled, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel};
use memtrain_corpora::store;
use memtrain_encoder::{Pooling, tokenizer_file};
use memtrain_kernels::vector::normalise;
use serde_json::{Value, json};

use super::neural::prefixed;
use super::{Embedder, Role};
use crate::{EmbedConfig, IndexError};

/// Where exports put the model inside a directory; what is too large for the file lies beside it, with `_data` behind its
/// name.
const EXPORTS: [&str; 2] = ["model.onnx", "onnx/model.onnx"];
/// Longest text in tokens where neither the configuration nor the model sets a limit.
const MAX_TOKENS: usize = 512;
/// Longest text in tokens that a model may ask for.
const MOST_TOKENS: usize = 1 << 17;
/// Texts that go through the model at a time.
const BATCH: usize = 32;

/// An encoder as ONNX.
pub struct Onnx {
    /// fastembed wants it for itself; the runtime uses all cores by itself.
    embedding: Mutex<TextEmbedding>,
    dimensions: usize,
    model: PathBuf,
    query_prefix: String,
    passage_prefix: String,
}

fn failed(model: &Path) -> impl Fn(String) -> IndexError {
    move |detail| IndexError::Embedding { model: model.to_path_buf(), detail }
}

impl Onnx {
    /// Opens the configured model.
    ///
    /// # Errors
    /// [`IndexError::Embedding`] if the runtime is not to be found, or the directory is missing or holds no model that
    /// can be run.
    pub fn open(config: &EmbedConfig) -> Result<Self, IndexError> {
        load_runtime(&config.runtime).map_err(failed(&config.model))?;
        let mut embedder = Self {
            embedding: Mutex::new(open(config)?),
            dimensions: 0,
            model: config.model.clone(),
            query_prefix: config.query_prefix.clone(),
            passage_prefix: config.passage_prefix.clone(),
        };
        // The runtime does not say how long the vectors are.
        embedder.dimensions = embedder.embed(&["x"], Role::Passage)?.first().map_or(0, Vec::len);
        Ok(embedder)
    }
}

/// Loads the library of the runtime, once for the process: whoever asks for a session without one panics.
fn load_runtime(configured: &Path) -> Result<(), String> {
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let usual = || format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX).into();
    let configured = (!configured.as_os_str().is_empty()).then(|| configured.to_path_buf());
    let path = configured.or(named).unwrap_or_else(usual);
    // A path with folders is one from here, as everywhere; a bare name is left to the system.
    let path = if path.components().count() > 1 { std::path::absolute(&path).unwrap_or(path) } else { path };
    ort::init_from(&path).map(drop).map_err(|error| {
        format!(
            "the ONNX runtime cannot be loaded from `{}` ({error}); set `embed.runtime` or ORT_DYLIB_PATH to the path of \
             libonnxruntime.so, which the PyPI package `onnxruntime` carries in `onnxruntime/capi`",
            path.display()
        )
    })
}

fn open(config: &EmbedConfig) -> Result<TextEmbedding, IndexError> {
    let dir = &config.model;
    let fail = failed(dir);
    if !store::is_dir(dir) {
        return Err(fail("there is no such directory".to_owned()));
    }
    let found = EXPORTS.map(|name| dir.join(name)).into_iter().find(|path| store::exists(path));
    let export = found.ok_or_else(|| fail(format!("it has neither `{}` nor `{}`", EXPORTS[0], EXPORTS[1])))?;
    let pooled = match config.pooling {
        Pooling::Model => Pooling::of(dir),
        other => Ok(other),
    };
    let pooled = pooled.map_err(|source| IndexError::Encoder { model: dir.clone(), source: Box::new(source) })?;
    let pooled = match pooled {
        Pooling::Mean => Pooled::Mean,
        Pooling::Cls => Pooled::Cls,
        other => return Err(fail(format!("fastembed does not pool by {other:?}; `embed.backend = \"candle\"` does"))),
    };
    let (files, max_tokens) = tokenizer(dir, config.max_tokens)?;
    let weights = |path: &Path| store::read_at_most(path, store::MAX_WEIGHTS_BYTES);
    let mut model = UserDefinedEmbeddingModel::new(weights(&export)?, files).with_pooling(pooled);
    let mut rest = export.into_os_string();
    rest.push("_data");
    let rest = PathBuf::from(rest);
    if store::exists(&rest) {
        let name = rest.file_name().unwrap_or_default().to_string_lossy().into_owned();
        model = model.with_external_initializer(name, weights(&rest)?);
    }
    let options = InitOptionsUserDefined::new().with_max_length(max_tokens);
    TextEmbedding::try_new_from_user_defined(model, options).map_err(|error| fail(error.to_string()))
}

/// The files of the tokenizer, with what fastembed insists on where a directory does not say it, and the longest text in
/// tokens: the least of all limits that are set, as for the other back-end.
fn tokenizer(dir: &Path, configured: usize) -> Result<(TokenizerFiles, usize), IndexError> {
    let json = |name: &str| match dir.join(name) {
        path if store::exists(&path) => store::read_json::<Value>(&path).map_err(IndexError::from),
        _ => Ok(json!({})),
    };
    let (config, sentences) = (json("config.json")?, json("sentence_bert_config.json")?);
    let mut settings = json("tokenizer_config.json")?;
    let given = [&settings["model_max_length"], &sentences["max_seq_length"], &config["max_position_embeddings"]];
    let limits = given.into_iter().filter_map(|limit| Some(limit.as_f64()? as usize));
    let model = limits.min().unwrap_or(MAX_TOKENS);
    let max_tokens = if configured > 0 { configured.min(model) } else { model };
    // Texts are padded to the longest of a batch, and the longest has at most so many tokens.
    if max_tokens == 0 || max_tokens > MOST_TOKENS {
        return Err(failed(dir)(format!("texts of {max_tokens} tokens; between 1 and {MOST_TOKENS} expected")));
    }
    settings["model_max_length"] = json!(max_tokens);
    if settings["pad_token"].is_null() {
        settings["pad_token"] = json!("[PAD]");
    }
    let bytes = |value: &Value| value.to_string().into_bytes();
    let tokenizer_file = store::read(&dir.join("tokenizer.json"))?;
    tokenizer_file::open(&tokenizer_file).map_err(|error| failed(dir)(error.to_string()))?;
    let files = TokenizerFiles {
        tokenizer_file,
        config_file: bytes(&config),
        special_tokens_map_file: bytes(&json("special_tokens_map.json")?),
        tokenizer_config_file: bytes(&settings),
    };
    Ok((files, max_tokens))
}

impl Embedder for Onnx {
    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn embed(&self, texts: &[&str], role: Role) -> Result<Vec<Vec<f32>>, IndexError> {
        let prefix = match role {
            Role::Query => &self.query_prefix,
            Role::Passage => &self.passage_prefix,
        };
        // Sorted by length, little is padded.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&at| texts[at].len());
        let texts = prefixed(prefix, texts);
        let sorted: Vec<&str> = order.iter().map(|&at| texts[at].as_str()).collect();
        let mut embedding = self.embedding.lock().unwrap_or_else(PoisonError::into_inner);
        let found = embedding.embed(&sorted, Some(BATCH)).map_err(|error| failed(&self.model)(error.to_string()))?;
        let mut vectors = vec![Vec::new(); texts.len()];
        for (at, mut vector) in order.into_iter().zip(found) {
            normalise(&mut vector);
            vectors[at] = vector;
        }
        Ok(vectors)
    }
}
