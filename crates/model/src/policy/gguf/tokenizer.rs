//! The tokenizer of a GGUF file as the files of a Hugging Face directory.
//!
//! A GGUF has tokens, their kinds and merges of a byte-level BPE, and a name for how text is split before. What the name
//! stands for is written out here for the families that the decoder knows; a name that is not known is refused, since a wrong
//! split gives other tokens without a word.

use serde_json::{Map, Value, json};

use super::super::PolicyError;
use super::file::Gguf;

/// Kinds of tokens.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// How text is split into words before merges are looked for.
struct Split {
    normalizer: Value,
    pre_tokenizer: Value,
    /// Words that are tokens are taken whole.
    ignore_merges: bool,
    /// Whether a text begins with the `bos` token where the file does not say.
    adds_bos: bool,
}

fn byte_level(trim_offsets: bool, use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": trim_offsets, "use_regex": use_regex})
}

/// Contractions, words with what stands before them, numbers of so many digits, signs, line breaks, white space.
fn by_words(digits: &str, trim_offsets: bool) -> Value {
    let regex = format!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    json!({"type": "Sequence", "pretokenizers": [split, byte_level(trim_offsets, false)]})
}

fn split(name: &str) -> Option<Split> {
    let plain =
        Split { normalizer: Value::Null, pre_tokenizer: byte_level(true, true), ignore_merges: false, adds_bos: false };
    Some(match name {
        "gpt-2" | "gpt2" => plain,
        "smollm" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            let pre_tokenizer = json!({"type": "Sequence", "pretokenizers": [digits, byte_level(true, true)]});
            Split { pre_tokenizer, ..plain }
        }
        "qwen2" | "deepseek-r1-qwen" => {
            Split { normalizer: json!({"type": "NFC"}), pre_tokenizer: by_words("", false), ..plain }
        }
        "llama-bpe" | "llama3" | "llama-v3" => {
            Split { pre_tokenizer: by_words("{1,3}", true), ignore_merges: true, adds_bos: true, ..plain }
        }
        _ => return None,
    })
}

fn added(content: &str, special: bool) -> Map<String, Value> {
    let token = [("content", json!(content)), ("single_word", json!(false)), ("lstrip", json!(false))];
    let token = token.into_iter().chain([("rstrip", json!(false)), ("normalized", json!(false))]);
    token.chain([("special", json!(special))]).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Ids of a kind of special token, and what it reads.
fn special<'f>(file: &'f Gguf, tokens: &'f [String], name: &str) -> Result<Option<(usize, &'f str)>, PolicyError> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    let Some(id) = file.size(&key)? else { return Ok(None) };
    let token = tokens.get(id).ok_or_else(|| file.wrong(format!("its key `{key}` is {id}: there is no such token")))?;
    Ok(Some((id, token)))
}

/// `tokenizer.json`, `tokenizer_config.json` and `generation_config.json`, and the ids that end a response.
pub(super) struct TokenizerFiles {
    pub(super) tokenizer: Value,
    pub(super) config: Value,
    pub(super) generation: Value,
    pub(super) eos: Value,
}

/// The files of the tokenizer.
///
/// # Errors
/// If the tokenizer is none that can be written, or its lists do not belong together.
pub(super) fn files(file: &Gguf) -> Result<TokenizerFiles, PolicyError> {
    let text = |key: &str| file.needed(key, file.text(key));
    let model = text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(
            file.wrong(format!("its tokenizer is of the kind `{model}`: byte-level BPE (`gpt2`) alone is read"))
        );
    }
    let name = text("tokenizer.ggml.pre")?;
    let split = split(name).ok_or_else(|| {
        file.wrong(format!("its tokenizer splits text as `{name}`: gpt-2, smollm, qwen2 and llama-bpe are known"))
    })?;
    let tokens = file.needed("tokenizer.ggml.tokens", file.texts("tokenizer.ggml.tokens"))?;
    let kinds = file.needed("tokenizer.ggml.token_type", file.integers("tokenizer.ggml.token_type"))?;
    let merges = file.needed("tokenizer.ggml.merges", file.texts("tokenizer.ggml.merges"))?;
    if tokens.len() != kinds.len() {
        return Err(file.wrong(format!("it has {} tokens, and kinds of {}", tokens.len(), kinds.len())));
    }
    let of_kind = |wanted: &'static [i64]| {
        let all = tokens.iter().zip(kinds).enumerate();
        all.filter(move |(_, (_, kind))| wanted.contains(kind)).map(|(id, (token, kind))| (id, token, *kind == CONTROL))
    };
    let mut vocabulary = Map::new();
    for (id, (token, kind)) in tokens.iter().zip(kinds).enumerate() {
        if *kind != UNUSED && vocabulary.insert(token.clone(), json!(id)).is_some() {
            return Err(file.wrong(format!("its token `{token}` is there twice")));
        }
    }
    let [bos, eos, eot, padding, unknown] =
        ["bos", "eos", "eot", "padding", "unknown"].map(|name| special(file, tokens, name));
    let (bos, eos, eot, padding, unknown) = (bos?, eos?, eot?, padding?, unknown?);
    let adds_bos = file.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(split.adds_bos) && bos.is_some();
    let post_processor = match bos.filter(|_| adds_bos) {
        Some((id, token)) => begins_with(id, token),
        None if split.normalizer.is_null() => Value::Null,
        None => byte_level(false, false),
    };
    let added_tokens: Vec<Value> = of_kind(&[CONTROL, USER_DEFINED])
        .map(|(id, token, special)| {
            let mut entry = Map::from_iter([("id".to_owned(), json!(id))]);
            entry.extend(added(token, special));
            Value::Object(entry)
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added_tokens,
        "normalizer": split.normalizer,
        "pre_tokenizer": split.pre_tokenizer,
        "post_processor": post_processor,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": split.ignore_merges,
            "vocab": vocabulary, "merges": merges,
        },
    });
    let decoder: Map<String, Value> = of_kind(&[CONTROL, USER_DEFINED])
        .map(|(id, token, special)| (id.to_string(), Value::Object(added(token, special))))
        .collect();
    let mut config = json!({
        "add_bos_token": adds_bos,
        "add_prefix_space": false,
        "added_tokens_decoder": decoder,
        "clean_up_tokenization_spaces": false,
        // The classes of single models set up their own splitting in place of that of `tokenizer.json`.
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    let mut generation = json!({"_from_model_config": true});
    for (name, token) in [("bos", bos), ("eos", eos), ("pad", padding), ("unk", unknown)] {
        let Some((id, token)) = token else { continue };
        config[format!("{name}_token")] = json!(token);
        if name == "bos" || name == "pad" {
            generation[format!("{name}_token_id")] = json!(id);
        }
    }
    if let Some(template) = file.text("tokenizer.chat_template")? {
        config["chat_template"] = json!(template);
    }
    let mut ends: Vec<usize> = [eos, eot].into_iter().flatten().map(|(id, _)| id).collect();
    ends.dedup();
    let eos = match ends.as_slice() {
        [one] => json!(one),
        several => json!(several),
    };
    generation["eos_token_id"] = eos.clone();
    Ok(TokenizerFiles { tokenizer, config, generation, eos })
}

/// Puts a token before each text.
fn begins_with(id: usize, token: &str) -> Value {
    let special = |kind: u32| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let sequence = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [special(0), sequence("A", 0)],
        "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
    });
    json!({"type": "Sequence", "processors": [byte_level(true, true), template]})
}
