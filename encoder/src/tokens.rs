//! Texts as token ids, with the place of each token in the text.

use std::ops::Range;
use std::path::{Path, PathBuf};

use memtrain_corpora::store;
use serde_json::{Map, Value, json};
use tokenizers::{ModelWrapper, Tokenizer};

use crate::error::{EncoderError, Result};
use crate::families::Vocabulary;
use crate::tokenizer_file::{guarded, open};

const FILE: &str = "tokenizer.json";
const SETTINGS: &str = "tokenizer_config.json";
const SENTENCE_SETTINGS: &str = "sentence_bert_config.json";

/// A text's tokens, special ones left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) ids: Vec<u32>,
    /// Bytes of the text that each token stands for.
    pub(crate) spans: Vec<Range<usize>>,
    /// The word each token belongs to, as the tokenizer cuts words.
    pub(crate) words: Vec<Option<u32>>,
}

impl Tokens {
    /// Whether the token of this number, not the first, stands for a part of a character of which the token before it
    /// stands for another: tokenizers of bytes cut characters, and marks belong to what they stand on.
    pub(crate) fn shares_character(&self, token: usize) -> bool {
        self.spans[token].start < self.spans[token - 1].end
    }
}

/// A directory's tokenizer, and what it puts around a text.
pub(crate) struct TextTokenizer {
    tokenizer: Tokenizer,
    directory: PathBuf,
    /// Whether its words hold either a word or a punctuation mark.
    whole_words: bool,
    before: Vec<u32>,
    after: Vec<u32>,
    /// Most tokens of a sequence by the tokenizer's own settings.
    pub(crate) max_tokens: Option<usize>,
}

impl TextTokenizer {
    pub(crate) fn open(directory: &Path, vocabulary: Vocabulary) -> Result<Self> {
        let settings = optional_json(&directory.join(SETTINGS))?;
        let tokenizer = read(directory, vocabulary, &settings)?;
        // What stands around any text stands around this one.
        let sample = guarded(|| tokenizer.encode("a", true));
        let sample = sample.map_err(|error| EncoderError::tokenizer(directory, error))?;
        let mask = sample.get_special_tokens_mask();
        let num_before = mask.iter().take_while(|&&special| special == 1).count();
        let num_after = mask[num_before..].iter().rev().take_while(|&&special| special == 1).count();
        let ids = sample.get_ids();
        let (before, after) = (ids[..num_before].to_vec(), ids[ids.len() - num_after..].to_vec());
        let limit = |settings: &Value, key: &str| settings.get(key).and_then(Value::as_u64).map(|limit| limit as usize);
        let sentence_settings = optional_json(&directory.join(SENTENCE_SETTINGS))?;
        let limits = [limit(&settings, "model_max_length"), limit(&sentence_settings, "max_seq_length")];
        let max_tokens = limits.into_iter().flatten().min();
        let whole_words = matches!(tokenizer.get_model(), ModelWrapper::WordPiece(_));
        Ok(Self { tokenizer, directory: directory.to_owned(), whole_words, before, after, max_tokens })
    }

    /// Special tokens of a sequence.
    pub(crate) fn num_special(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Special tokens before the text.
    pub(crate) fn num_before(&self) -> usize {
        self.before.len()
    }

    /// The ids with the special tokens around them.
    pub(crate) fn sequence<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        [&self.before[..], ids, &self.after[..]].into_iter().flatten().copied()
    }

    /// Whether the token of this number, not the first, begins a word. A WordPiece tokenizer says so; the words of others
    /// may hold the punctuation after them, so that these end where letters and digits end, too.
    pub(crate) fn begins_word(&self, text: &str, tokens: &Tokens, token: usize) -> bool {
        let (before, this) = (&tokens.spans[token - 1], &tokens.spans[token]);
        if tokens.words[token].is_none() || tokens.words[token] != tokens.words[token - 1] {
            return true;
        }
        // A token without anything visible belongs to what follows it.
        if self.whole_words || before.is_empty() {
            return false;
        }
        let part_of_word = |scalar: Option<char>| {
            scalar.is_some_and(|scalar| {
                scalar.is_alphanumeric() || unicode_normalization::char::is_combining_mark(scalar)
            })
        };
        !part_of_word(text[..this.start].chars().next_back()) || !part_of_word(text[this.start..].chars().next())
    }

    /// The ids of a text without special ones and without places, which is faster.
    pub(crate) fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = guarded(|| self.tokenizer.encode_fast(text, false));
        let encoding = encoding.map_err(|error| EncoderError::tokenizer(&self.directory, error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of a text. Spans begin and end at scalars, take in the combining marks that follow, and hold no
    /// white space at their ends; a token that stands for nothing visible has an empty span.
    pub(crate) fn tokens(&self, text: &str) -> Result<Tokens> {
        let encoding = guarded(|| self.tokenizer.encode(text, false));
        let encoding = encoding.map_err(|error| EncoderError::tokenizer(&self.directory, error))?;
        let spans = encoding.get_offsets().iter().map(|&(start, end)| whole(text, start..end));
        Ok(Tokens { ids: encoding.get_ids().to_vec(), spans: spans.collect(), words: encoding.get_word_ids().to_vec() })
    }
}

/// The span of whole scalars that a token's bytes touch. Tokenizers that remove accents leave the accent's own scalar
/// out, and tokenizers of bytes may end a token inside a scalar; both are set right here.
fn whole(text: &str, span: Range<usize>) -> Range<usize> {
    let mut start = text.floor_char_boundary(span.start);
    let mut end = text.ceil_char_boundary(span.end.max(span.start));
    let inside = &text[start..end];
    start += inside.len() - inside.trim_start().len();
    end = start + inside.trim().len();
    if start < end {
        let marks = text[end..].chars().take_while(|&scalar| unicode_normalization::char::is_combining_mark(scalar));
        end += marks.map(char::len_utf8).sum::<usize>();
    }
    start..end.max(start)
}

fn optional_json(path: &Path) -> Result<Value> {
    if store::exists(path) { Ok(store::read_json(path)?) } else { Ok(Value::Null) }
}

fn read(directory: &Path, vocabulary: Vocabulary, settings: &Value) -> Result<Tokenizer> {
    let path = directory.join(FILE);
    if store::exists(&path) {
        return open(&store::read(&path)?).map_err(|error| EncoderError::Malformed { path, detail: error.to_string() });
    }
    let built = match vocabulary {
        Vocabulary::WordPiece => word_piece(directory, settings)?,
        Vocabulary::BytePairs => byte_pairs(directory, settings)?,
        #[cfg(feature = "candle-transformers")]
        Vocabulary::None => None,
    };
    let Some((file, value)) = built else {
        return Err(EncoderError::lacks(
            directory,
            &format!("{FILE}, and no vocab.txt (BERT) or vocab.json with merges.txt (RoBERTa) either"),
            "`AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)` in Python writes tokenizer.json, also from a \
             sentencepiece model",
        ));
    };
    let malformed = |detail: String| EncoderError::Malformed { path: directory.join(file), detail };
    open(value.to_string().as_bytes()).map_err(|error| malformed(error.to_string()))
}

/// What a `tokenizer.json` would say for a BERT vocabulary; the file it is made from, and it.
fn word_piece(directory: &Path, settings: &Value) -> Result<Option<(&'static str, Value)>> {
    const VOCABULARY: &str = "vocab.txt";
    let path = directory.join(VOCABULARY);
    if !store::exists(&path) {
        return Ok(None);
    }
    let text = store::read_to_string(&path)?;
    let lines = text.lines().enumerate();
    let vocabulary: Map<String, Value> = lines.map(|(id, token)| (token.to_owned(), id.into())).collect();
    let flag = |key: &str, otherwise: bool| settings.get(key).and_then(Value::as_bool).unwrap_or(otherwise);
    let name = |key: &str, otherwise: &str| token_name(settings, key).unwrap_or_else(|| otherwise.to_owned());
    let (unknown, separator, class) =
        (name("unk_token", "[UNK]"), name("sep_token", "[SEP]"), name("cls_token", "[CLS]"));
    let special = [&unknown, &separator, &name("pad_token", "[PAD]"), &class, &name("mask_token", "[MASK]")];
    let id = |token: &str| special_id(&path, &vocabulary, token);
    Ok(Some((
        VOCABULARY,
        json!({
            "version": "1.0",
            "added_tokens": added_tokens(&vocabulary, &special.map(String::as_str), ""),
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": true,
                "handle_chinese_chars": flag("tokenize_chinese_chars", true),
                "strip_accents": settings.get("strip_accents").and_then(Value::as_bool),
                "lowercase": flag("do_lower_case", true),
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "BertProcessing",
                "sep": [separator, id(&separator)?],
                "cls": [class, id(&class)?],
            },
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {
                "type": "WordPiece",
                "unk_token": unknown,
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": vocabulary,
            },
        }),
    )))
}

/// What a `tokenizer.json` would say for a RoBERTa vocabulary; the file it is made from, and it.
fn byte_pairs(directory: &Path, settings: &Value) -> Result<Option<(&'static str, Value)>> {
    const VOCABULARY: &str = "vocab.json";
    let (path, merges) = (directory.join(VOCABULARY), directory.join("merges.txt"));
    if !store::exists(&path) || !store::exists(&merges) {
        return Ok(None);
    }
    let vocabulary: Map<String, Value> = store::read_json(&path)?;
    let merges = store::read_to_string(&merges)?;
    let merges: Vec<&str> = merges.lines().filter(|line| !line.starts_with("#version") && !line.is_empty()).collect();
    let name = |key: &str, otherwise: &str| token_name(settings, key).unwrap_or_else(|| otherwise.to_owned());
    let (separator, class, mask) = (name("sep_token", "</s>"), name("cls_token", "<s>"), name("mask_token", "<mask>"));
    let special = [&class, &name("pad_token", "<pad>"), &separator, &name("unk_token", "<unk>"), &mask];
    let id = |token: &str| special_id(&path, &vocabulary, token);
    let prefix_space = settings.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(false);
    let trim = settings.get("trim_offsets").and_then(Value::as_bool).unwrap_or(true);
    Ok(Some((
        VOCABULARY,
        json!({
            "version": "1.0",
            "added_tokens": added_tokens(&vocabulary, &special.map(String::as_str), &mask),
            "pre_tokenizer": {
                "type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": true, "use_regex": true,
            },
            "post_processor": {
                "type": "RobertaProcessing",
                "sep": [separator, id(&separator)?],
                "cls": [class, id(&class)?],
                "trim_offsets": trim,
                "add_prefix_space": prefix_space,
            },
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE",
                "continuing_subword_prefix": "",
                "end_of_word_suffix": "",
                "fuse_unk": false,
                "vocab": vocabulary,
                "merges": merges,
            },
        }),
    )))
}

/// A special token by its setting, which is its text or an object with its text.
fn token_name(settings: &Value, key: &str) -> Option<String> {
    let value = settings.get(key)?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

fn special_id(path: &Path, vocabulary: &Map<String, Value>, token: &str) -> Result<Value> {
    vocabulary.get(token).cloned().ok_or_else(|| EncoderError::Malformed {
        path: path.to_owned(),
        detail: format!("the special token `{token}` is not in the vocabulary"),
    })
}

/// Those special tokens that the vocabulary has; the one that takes in the space before it is named.
fn added_tokens(vocabulary: &Map<String, Value>, special: &[&str], takes_space: &str) -> Vec<Value> {
    let mut found: Vec<(&Value, &str)> =
        special.iter().filter_map(|&token| Some((vocabulary.get(token)?, token))).collect();
    found.sort_by_key(|(id, _)| id.as_u64());
    let entry = |(id, token): (&Value, &str)| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": token == takes_space, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    found.into_iter().map(entry).collect()
}
