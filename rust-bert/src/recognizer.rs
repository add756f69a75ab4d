//! The pipeline, its files, and what can go wrong with it.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rust_bert::RustBertError;
use rust_bert::pipelines::common::{ModelResource, ModelType};
use rust_bert::pipelines::token_classification::{
    LabelAggregationOption, Token, TokenClassificationConfig, TokenClassificationModel,
};
use rust_bert::resources::{LocalResource, RemoteResource, ResourceProvider};

/// Result of this crate.
pub type Result<T, E = RecognizerError> = std::result::Result<T, E>;

/// rust-bert could not load a model, or failed with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecognizerError {
    /// It said so.
    #[error("rust-bert could not {action}: {source}")]
    Failed {
        /// What it was asked to do.
        action: &'static str,
        /// Its own words.
        source: RustBertError,
    },
    /// It panicked, which is how it tells of files that it cannot parse.
    #[error("rust-bert could not {action}: {detail}")]
    Panicked {
        /// What it was asked to do.
        action: &'static str,
        /// The message of the panic.
        detail: String,
    },
}

/// Architectures of token classifiers, by the tokenizer they come with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `vocab.txt`.
    Bert,
    /// `vocab.txt`.
    DistilBert,
    /// `vocab.txt`.
    Electra,
    /// `vocab.json` and `merges.txt`.
    Roberta,
    /// `sentencepiece.bpe.model`.
    XlmRoberta,
}

impl Architecture {
    /// By `model_type` of `config.json`.
    pub fn from_model_type(name: &str) -> Option<Self> {
        match name {
            "bert" => Some(Self::Bert),
            "distilbert" => Some(Self::DistilBert),
            "electra" => Some(Self::Electra),
            "roberta" => Some(Self::Roberta),
            "xlm-roberta" => Some(Self::XlmRoberta),
            _ => None,
        }
    }

    /// Names of the files of its tokenizer: the vocabulary, and the merges if there are any.
    pub fn tokenizer_files(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Bert | Self::DistilBert | Self::Electra => ("vocab.txt", None),
            Self::Roberta => ("vocab.json", Some("merges.txt")),
            Self::XlmRoberta => ("sentencepiece.bpe.model", None),
        }
    }

    fn model_type(self) -> ModelType {
        match self {
            Self::Bert => ModelType::Bert,
            Self::DistilBert => ModelType::DistilBert,
            Self::Electra => ModelType::Electra,
            Self::Roberta => ModelType::Roberta,
            Self::XlmRoberta => ModelType::XLMRoberta,
        }
    }
}

/// Where libtorch computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
}

/// What a model consists of.
#[derive(Clone, Debug)]
pub struct Files {
    /// Architecture of the model.
    pub architecture: Architecture,
    /// `model.safetensors` with the names of transformers, or libtorch's own `rust_model.ot`.
    pub weights: PathBuf,
    /// `config.json`.
    pub config: PathBuf,
    /// See [`Architecture::tokenizer_files`].
    pub vocabulary: PathBuf,
    /// See [`Architecture::tokenizer_files`].
    pub merges: Option<PathBuf>,
    /// Whether the tokenizer lower-cases.
    pub lower_case: bool,
}

/// A word with the label of its first token.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledWord {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// The label as `id2label` has it.
    pub label: String,
    /// rust-bert's score: the product, over the word's tokens, of the probability of the label where a token has it, and of
    /// what is left of 1 where it has another.
    pub score: f32,
}

/// Fetches a file of a model of the Hugging Face hub into rust-bert's cache, once; its path there.
///
/// # Errors
/// If it is neither in the cache nor to be had, for example without a network.
pub fn download(model: &str, file: &str) -> Result<PathBuf> {
    let url = format!("https://huggingface.co/{model}/resolve/main/{file}");
    let resource = RemoteResource::new(&url, &format!("{}/{file}", model.replace('/', "--")));
    guarded("download the model", || resource.get_local_path())
}

/// rust-bert's `TokenClassificationModel`, on which its pipeline for named entities stands.
pub struct Recognizer {
    /// libtorch's tensors may not be shared by threads.
    model: Mutex<TokenClassificationModel>,
}

impl Recognizer {
    /// Loads a model.
    ///
    /// # Errors
    /// If a file is missing or is not what rust-bert expects.
    pub fn open(files: Files, device: Device) -> Result<Self> {
        let vocabulary = LocalResource::from(files.vocabulary);
        let merges = files.merges.map(LocalResource::from);
        let mut config = TokenClassificationConfig::new(
            files.architecture.model_type(),
            ModelResource::Torch(Box::new(LocalResource::from(files.weights))),
            LocalResource::from(files.config),
            vocabulary,
            merges,
            files.lower_case,
            None,
            None,
            LabelAggregationOption::First,
        );
        config.device = match device {
            Device::Cpu => tch::Device::Cpu,
            Device::Cuda(number) => tch::Device::Cuda(number),
        };
        // Of a second batch it reads the places from the first (0.23.0, `TokenClassificationModel::predict`).
        config.batch_size = usize::MAX;
        let model = guarded("load the model", || TokenClassificationModel::new(config))?;
        Ok(Self { model: Mutex::new(model) })
    }

    /// The words of each text with their labels, those outside of entities too. All texts are one batch.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn words(&self, texts: &[&str]) -> Result<Vec<Vec<LabelledWord>>> {
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = guarded("read a text", || Ok(model.predict(texts, true, false)))?.into_iter();
        Ok(texts.iter().map(|text| words(text, found.next().unwrap_or_default())).collect())
    }
}

/// The tokens of a text as words; those without a place are left out.
fn words(text: &str, tokens: Vec<Token>) -> Vec<LabelledWord> {
    let starts: Vec<usize> = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
    let byte = |character: u32| starts.get(character as usize).copied().unwrap_or(text.len());
    let word = |token: Token| {
        let offset = token.offset?;
        let span = byte(offset.begin)..byte(offset.end).max(byte(offset.begin));
        let words = &text[span.clone()];
        let start = span.start + words.len() - words.trim_start().len();
        let span = start..start + words.trim().len();
        Some(LabelledWord { span, label: token.label, score: token.score as f32 })
    };
    tokens.into_iter().filter_map(word).collect()
}

/// Turns failures and panics of rust-bert into errors.
fn guarded<T>(action: &'static str, work: impl FnOnce() -> std::result::Result<T, RustBertError>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|source| RecognizerError::Failed { action, source }),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let detail = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(RecognizerError::Panicked { action, detail })
        }
    }
}
