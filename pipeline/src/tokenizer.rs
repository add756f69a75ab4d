//! Stage 3, `tokenizer`: the policy's tokenizer, trained on the passages or brought along.
//!
//! A trained one is byte-level BPE without a normaliser (any text is given back exactly). A word with the space before
//! it is a unit, digits are single, so that a name of a tiny world can become one token. Writes `tokenizer.json` and
//! `tokenizer_config.json` (with a ChatML template) straight into the stage's folder, which is then usable as the
//! tokenizer part of a Hugging Face directory.

pub mod encode;

use std::path::{Path, PathBuf};

use memtrain_corpora::store;
use memtrain_encoder::tokenizer_file::{self, guarded};
use serde_json::json;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, OffsetType, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer, TokenizerImpl};

pub use crate::config::SPECIAL_TOKENS;
use crate::config::{CorpusConfig, TokenizerConfig};
use crate::error::{PipelineError, Result};
use crate::names::{TOKENIZER, TOKENIZER_FILES};
use crate::stage::{
    Input, Plan, PlannedShard, Progress, ShardOutput, ShardRunner, Stage, StageFolder, StageName, to_value,
};
use crate::tables::Passages;

/// Version of what this stage computes.
const VERSION: u32 = 1;

/// Where a text is cut before merging: letters with the space before them; one digit; other signs with the space before
/// them; line breaks; other white space.
const PIECES: &str = r" ?\p{L}[\p{L}\p{M}]*| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A ChatML conversation, as the Qwen models take it.
const CHAT_TEMPLATE: &str = "{%- for message in messages -%}\n{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n{{ '<|im_start|>assistant\\n' }}\n{%- endif -%}\n";

/// Trains a tokenizer on texts; same texts, same tokenizer.
pub fn train(texts: impl Iterator<Item = String> + Send, config: &TokenizerConfig) -> Result<Tokenizer> {
    let failed = |action: &'static str| {
        move |error: tokenizers::Error| PipelineError::Tokenizer { action, detail: error.to_string() }
    };
    let special = SPECIAL_TOKENS.map(|token| AddedToken::from(token, true)).to_vec();
    let mut trainer = BpeTrainer::builder()
        .vocab_size(config.vocab_size - config.added_words.len())
        .min_frequency(config.min_frequency)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let split = Split::new(SplitPattern::Regex(PIECES.to_owned()), SplitDelimiterBehavior::Isolated, false)
        .map_err(failed("set up"))?;
    let bytes = ByteLevel::new(false, false, false);
    let pieces: Vec<PreTokenizerWrapper> = vec![split.into(), bytes.into()];
    let mut tokenizer = TokenizerImpl::<
        BPE,
        tokenizers::NormalizerWrapper,
        PreTokenizerWrapper,
        tokenizers::PostProcessorWrapper,
        tokenizers::DecoderWrapper,
    >::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(Sequence::new(pieces)));
    tokenizer.with_decoder(Some(bytes));
    tokenizer.train(&mut trainer, texts).map_err(failed("train"))?;
    let words = config.added_words.iter().map(|word| AddedToken::from(word.as_str(), false).normalized(false));
    tokenizer.add_tokens(words).map_err(failed("add words"))?;
    let text = tokenizer.to_string(false).map_err(failed("write"))?;
    Tokenizer::from_bytes(text).map_err(failed("read back"))
}

/// The tokenizer of a corpus.
///
/// # Errors
/// As [`file()`], and if the file cannot be understood.
pub fn load(out_dir: &Path) -> Result<Tokenizer> {
    load_file(&file(out_dir)?)
}

/// The `tokenizer.json` of a corpus.
///
/// # Errors
/// [`PipelineError::NotReady`] if the stage is not finished, [`PipelineError::Damaged`] if one of its files is not what
/// was written.
pub fn file(out_dir: &Path) -> Result<PathBuf> {
    let manifest = StageFolder::committed(out_dir, StageName::Tokenizer, StageName::Tokenizer)?;
    let folder = StageFolder::new(out_dir, StageName::Tokenizer);
    folder.verify(manifest.shards.iter().flat_map(|shard| &shard.files))?;
    Ok(folder.join(TOKENIZER))
}

pub(crate) fn load_file(path: &Path) -> Result<Tokenizer> {
    tokenizer_file::open(&store::read(path)?)
        .map_err(|error| PipelineError::Tokenizer { action: "read", detail: format!("`{}`: {error}", path.display()) })
}

/// Number of tokens of a document, as a policy reads it: without tokens that a template would add, and of the added tokens
/// the placeholders alone.
pub(crate) fn count(tokenizer: &Tokenizer, text: &str) -> Result<usize> {
    let own = encode::placeholders(text);
    let encoding = guarded(|| encode::encode(tokenizer, text, &own, OffsetType::None));
    let encoding = encoding.map_err(|error| PipelineError::Tokenizer {
        action: "count the tokens of a document",
        detail: error.to_string(),
    })?;
    Ok(encoding.get_ids().len())
}

pub(crate) struct TokenizerStage<'a> {
    pub(crate) config: &'a CorpusConfig,
    pub(crate) out: &'a Path,
}

impl TokenizerStage<'_> {
    fn is_trained(&self) -> bool {
        self.config.tokenizer.source == "train"
    }

    /// The files that are copied.
    fn source_files(&self) -> Result<Vec<PathBuf>> {
        let source = PathBuf::from(&self.config.tokenizer.source);
        if !store::is_dir(&source) {
            return Ok(vec![source]);
        }
        let mut files = Vec::with_capacity(TOKENIZER_FILES.len());
        for path in TOKENIZER_FILES.map(|name| source.join(name)) {
            if store::try_exists(&path)? {
                files.push(path);
            }
        }
        if files.first().is_none_or(|first| !first.ends_with(TOKENIZER)) {
            return Err(PipelineError::Config {
                key: "corpus.tokenizer.source",
                problem: format!("names `{}`, where there is no `tokenizer.json`", source.display()),
            });
        }
        Ok(files)
    }

    fn inputs(&self) -> Result<Vec<Input>> {
        if self.is_trained() {
            return Ok(vec![StageFolder::manifest_input(self.out, StageName::Ingest, StageName::Tokenizer)?]);
        }
        self.source_files()?.iter().map(|path| Input::of(path, target_name(path))).collect()
    }
}

/// A single file is the `tokenizer.json`, whatever it is called.
fn target_name(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(TOKENIZER);
    if TOKENIZER_FILES.contains(&name) { name.to_owned() } else { TOKENIZER.to_owned() }
}

impl Stage for TokenizerStage<'_> {
    fn name(&self) -> StageName {
        StageName::Tokenizer
    }

    fn configuration(&self) -> serde_json::Value {
        if self.is_trained() { to_value(&self.config.tokenizer) } else { json!({ "source": "files" }) }
    }

    fn plan(&self) -> Result<Plan> {
        if !self.is_trained() {
            for path in self.source_files()?.iter().filter(|path| target_name(path) == TOKENIZER) {
                load_file(path)?;
            }
        }
        Ok(Plan::new(self.name(), VERSION, self.configuration(), self.inputs()?, vec![json!({})]))
    }

    fn fits(&self, stored: &Plan) -> Result<bool> {
        let same = stored.version == VERSION && stored.configuration == self.configuration();
        Ok(same && stored.inputs == self.inputs()?)
    }

    fn open(&self, folder: &StageFolder) -> Result<Box<dyn ShardRunner + '_>> {
        Ok(Box::new(Runner { stage: self, folder: folder.clone() }))
    }
}

struct Runner<'a> {
    stage: &'a TokenizerStage<'a>,
    folder: StageFolder,
}

impl Runner<'_> {
    fn train(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let config = &self.stage.config.tokenizer;
        let passages = Passages::open(self.stage.out, StageName::Tokenizer)?;
        let step = passages.len().div_ceil(config.max_passages).max(1);
        let mut failure = None;
        let (sender, receiver) = std::sync::mpsc::sync_channel::<String>(1024);
        let trained = std::thread::scope(|scope| {
            let training = scope.spawn(move || train(receiver.into_iter(), config));
            for (number, passage) in (0u64..).zip(passages.iter()) {
                match passage {
                    Ok(_) if number % step != 0 => {}
                    Ok(passage) => {
                        if sender.send(passage.text).is_err() {
                            break;
                        }
                    }
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            drop(sender);
            training.join()
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let stopped = |_| PipelineError::Tokenizer { action: "train", detail: "the training thread stopped".into() };
        let tokenizer = trained.map_err(stopped)??;
        let text = tokenizer
            .to_string(true)
            .map_err(|error| PipelineError::Tokenizer { action: "write", detail: error.to_string() })?;
        let settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": SPECIAL_TOKENS[2],
            "pad_token": SPECIAL_TOKENS[0],
            "clean_up_tokenization_spaces": false,
            "chat_template": CHAT_TEMPLATE,
        });
        let settings = format!("{settings:#}\n");
        Ok(vec![(TOKENIZER.into(), text.into_bytes()), ("tokenizer_config.json".into(), settings.into_bytes())])
    }
}

impl ShardRunner for Runner<'_> {
    fn run(&self, shard: &PlannedShard, _: usize, progress: &dyn Progress) -> Result<ShardOutput> {
        let files = if self.stage.is_trained() {
            self.train()?
        } else {
            let copy = |path: &PathBuf| Ok((target_name(path), store::read(path)?));
            self.stage.source_files()?.iter().map(copy).collect::<Result<Vec<_>>>()?
        };
        let mut output = ShardOutput::default();
        for (name, bytes) in files {
            store::write_atomic(&self.folder.join(&name), bytes)?;
            output.files.push(self.folder.record_of(name)?);
        }
        let size = load_file(&self.folder.join(TOKENIZER))?.get_vocab_size(true);
        output.rows.insert("tokens".into(), size as u64);
        progress.advanced(StageName::Tokenizer, shard.index, 1);
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> impl Iterator<Item = String> + Send {
        (0..400).map(|n| format!("The town of Velmora{} lies on the river Ost.\n\nIts mayor's house is {n}.", n % 7))
    }

    fn config() -> TokenizerConfig {
        let added_words = ["[MASK]", "[TARGET]", "\\boxed{"].map(str::to_owned).to_vec();
        TokenizerConfig { vocab_size: 340, added_words, ..TokenizerConfig::default() }
    }

    #[test]
    fn training_twice_gives_the_same_bytes() {
        let one = train(texts(), &config()).unwrap().to_string(true).unwrap();
        let two = train(texts(), &config()).unwrap().to_string(true).unwrap();
        assert_eq!(one, two);
    }

    #[test]
    fn any_text_comes_back_and_added_words_are_one_token() {
        let tokenizer = train(texts(), &config()).unwrap();
        for text in ["The [MASK] of Velmora3", "  a\n\n\tb \r\n c ", "Cafe\u{301} 北京 🙂 \\boxed{x}", "don't 1984"]
        {
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(tokenizer.decode(ids.get_ids(), false).unwrap(), text);
        }
        assert_eq!(tokenizer.encode("[MASK]", false).unwrap().len(), 1);
        assert_eq!(tokenizer.encode(" river", false).unwrap().len(), 1);
        assert_eq!(tokenizer.token_to_id("<|endoftext|>"), Some(0));
        assert!(tokenizer.get_vocab_size(true) <= 340);
    }
}
