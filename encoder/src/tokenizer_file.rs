//! `tokenizer.json` of somebody else's making, opened and used so that nothing in it can end the program.
//!
//! The `tokenizers` crate takes the file at its word: sizes in it are allocated, normalizers may double a text as often as
//! they like, patterns may backtrack for ever, and some parts panic on what they did not expect. So the file is looked at
//! first ([`open`]), and every call into the crate is guarded ([`guarded`]): a panic becomes an error. What is refused is
//! far from anything that published tokenizers do.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use crate::caught::caught;
use crate::pattern;

/// How much longer replacements may make a text, all of them together.
const GROWTH: u64 = 16;
/// Most characters that are put before a text, and most special tokens around one.
const AFFIX: usize = 64;
/// Most parts of normalizers, pre-tokenizers, decoders and post-processors.
const PARTS: usize = 1_024;
/// Most characters of a word in WordPiece, whose time grows with the square of it.
const WORD: f64 = 256.0;
/// Longest replacement of a compiled character map in bytes; the longest of sentencepiece's own has 33.
const MAPPED: usize = 128;
/// Time that a few kilobytes may take.
const PROBE_TIME: Duration = Duration::from_secs(5);

/// What is wrong with a `tokenizer.json`, or went wrong inside the `tokenizers` crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// It is no tokenizer, or one that fails; the message is that of the `tokenizers` crate.
    #[error("{0}")]
    Failed(String),
    /// A part of it asks for what no tokenizer needs.
    #[error("tokenizer.json: `{part}` {problem}; take the tokenizer from another source")]
    Refused {
        /// The part, such as `normalizer.normalizers.1.pattern`.
        part: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The `tokenizers` crate panicked; the message is its own.
    #[error("tokenizer.json does not fit together: the `tokenizers` crate stopped with {0:?}")]
    Panicked(String),
    /// A short text takes too long.
    #[error(
        "tokenizer.json: a text of a few kilobytes takes more than {seconds} seconds; take the tokenizer from another source"
    )]
    TooSlow {
        /// How long it was waited for.
        seconds: u64,
    },
}

/// What of the file is looked at; vocabularies are not.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    max_input_chars_per_word: Value,
}

/// A tokenizer from the bytes of a `tokenizer.json`, without its truncation and padding: whoever needs them sets them.
///
/// # Errors
/// If the file is no tokenizer, asks for what no tokenizer needs, or fails on a short text.
pub fn open(bytes: &[u8]) -> Result<Tokenizer, TokenizerError> {
    let failed = |error: serde_json::Error| TokenizerError::Failed(error.to_string());
    let parts: Parts = serde_json::from_slice(bytes).map_err(failed)?;
    check(&parts)?;
    let mut tokenizer = guarded(|| Tokenizer::from_bytes(bytes))?;
    guarded(|| tokenizer.with_padding(None).with_truncation(None).map(drop))?;
    probe(tokenizer)
}

/// Calls into the `tokenizers` crate; a panic inside becomes an error and prints nothing.
///
/// # Errors
/// If the call fails or panics.
pub fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, TokenizerError> {
    match caught(call) {
        Ok(result) => result.map_err(|error| TokenizerError::Failed(error.to_string())),
        Err(message) => Err(TokenizerError::Panicked(message)),
    }
}

/// The tokenizer, after it has encoded and decoded short texts of several kinds without a panic, on a thread of its own that
/// is left behind if it does not end. A tokenizer may fail on characters that it does not know.
fn probe(tokenizer: Tokenizer) -> Result<Tokenizer, TokenizerError> {
    let words = "Ada's 12,345 cafés — naïve 東京 🙂\r\n\n\tx_y = f(a[0]);  end. ";
    let texts = ["a".repeat(2_000), " ".repeat(500), "ab1 ".repeat(400), "\n".repeat(300), words.repeat(12)];
    let (sender, receiver) = std::sync::mpsc::channel();
    let work = move || {
        let one = |text: &String| {
            let ids = guarded(|| tokenizer.encode_fast(text.as_str(), false))?.get_ids().to_vec();
            guarded(|| tokenizer.encode(text.as_str(), true))?;
            guarded(|| tokenizer.decode(&ids, false)).map(drop)
        };
        let panicked = texts.iter().map(one).find(|result| matches!(result, Err(TokenizerError::Panicked(_))));
        // Nobody listens any more if it took too long.
        let _ = sender.send(panicked.unwrap_or(Ok(())).map(|()| tokenizer));
    };
    let started = std::thread::Builder::new().name("tokenizer".to_owned()).spawn(work);
    started.map_err(|error| TokenizerError::Failed(error.to_string()))?;
    match receiver.recv_timeout(PROBE_TIME) {
        Ok(probed) => probed,
        Err(_) => Err(TokenizerError::TooSlow { seconds: PROBE_TIME.as_secs() }),
    }
}

fn check(parts: &Parts) -> Result<(), TokenizerError> {
    let mut checked = Checked::default();
    let (mut grown, mut decoded) = (1, 1);
    checked.walk("normalizer", &parts.normalizer, &mut grown)?;
    checked.walk("pre_tokenizer", &parts.pre_tokenizer, &mut grown)?;
    checked.walk("post_processor", &parts.post_processor, &mut 1)?;
    checked.walk("decoder", &parts.decoder, &mut decoded)?;
    let word = parts.model.as_ref().and_then(|model| model.max_input_chars_per_word.as_f64());
    if let Some(most) = word.filter(|most| *most > WORD) {
        return refuse("model.max_input_chars_per_word", format!("is {most}; at most {WORD} expected"));
    }
    Ok(())
}

fn refuse<T>(part: &str, problem: String) -> Result<T, TokenizerError> {
    Err(TokenizerError::Refused { part: part.to_owned(), problem })
}

/// Looks at every object by its keys, whatever it says its type is.
#[derive(Default)]
struct Checked {
    parts: usize,
}

impl Checked {
    /// `growth` is how much longer a text may have become before this part.
    fn walk(&mut self, place: &str, value: &Value, growth: &mut u64) -> Result<(), TokenizerError> {
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.walk(&format!("{place}.{at}"), item, growth)?;
                }
            }
            Value::Object(object) => {
                self.parts += 1;
                if self.parts > PARTS {
                    return refuse(place, format!("is one part too many; at most {PARTS} expected"));
                }
                check_object(place, object, growth)?;
                for (key, item) in object {
                    self.walk(&format!("{place}.{key}"), item, growth)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn check_object(place: &str, object: &Map<String, Value>, growth: &mut u64) -> Result<(), TokenizerError> {
    let at = |key: &str| format!("{place}.{key}");
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    if let Some(plain) = object.get("pattern") {
        let plain = plain.get("String").or(Some(plain)).and_then(Value::as_str);
        if plain == Some("") {
            return refuse(&at("pattern"), "is empty".to_owned());
        }
    }
    if let Some(regex) = text("Regex") {
        if regex.is_empty() {
            return refuse(&at("Regex"), "is empty".to_owned());
        }
        pattern::check(regex).map_err(|problem| TokenizerError::Refused { part: at("Regex"), problem })?;
    }
    let mut grow = |key: &str, factor: u64| {
        *growth = growth.saturating_mul(factor.max(1));
        match *growth <= GROWTH {
            true => Ok(()),
            false => refuse(&at(key), format!("makes a text, with the parts before it, {growth} times as long")),
        }
    };
    if object.contains_key("pattern")
        && let Some(content) = text("content")
    {
        grow("content", content.chars().count() as u64)?;
    }
    if text("type") == Some("ByteLevel") || object.contains_key("use_regex") {
        // Each byte becomes a character of one or two bytes.
        grow("type", 2)?;
    }
    if let Some(prepended) = text("prepend").filter(|text| text.chars().count() > AFFIX) {
        return refuse(&at("prepend"), format!("has {} bytes; at most {AFFIX} characters expected", prepended.len()));
    }
    if object.get("length").and_then(Value::as_u64) == Some(0) {
        return refuse(&at("length"), "is 0".to_owned());
    }
    for key in ["single", "pair"] {
        let pieces = object.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let texts = pieces.iter().filter(|piece| piece.get("Sequence").is_some()).count();
        if pieces.len() > AFFIX || texts > if key == "single" { 1 } else { 2 } {
            return refuse(&at(key), "puts too much around a text, or the text itself twice".to_owned());
        }
    }
    if object.get("ids").and_then(Value::as_array).is_some_and(|ids| ids.len() > AFFIX) {
        return refuse(&at("ids"), format!("are more than {AFFIX} tokens for one"));
    }
    if let Some(map) = object.get("precompiled_charsmap") {
        let map = map.as_str().map(decoded).unwrap_or_default();
        check_character_map(map.as_deref()).map_err(|problem| TokenizerError::Refused {
            part: at("precompiled_charsmap"),
            problem: problem.to_owned(),
        })?;
        grow("precompiled_charsmap", 2)?;
    }
    Ok(())
}

/// A compiled character map of sentencepiece: the length of a trie in bytes, the trie, and replacements that end in NUL.
fn check_character_map(bytes: Option<&[u8]>) -> Result<(), &'static str> {
    let bytes = bytes.ok_or("is no Base64")?;
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or("is too short to be a character map")?;
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || !length.is_multiple_of(4) || length > rest.len() {
        return Err("has a trie longer than itself, or of no whole number of entries");
    }
    let replacements = std::str::from_utf8(&rest[length..]).map_err(|_| "has replacements that are not UTF-8")?;
    match replacements.split('\0').any(|replacement| replacement.len() > MAPPED) {
        true => Err("replaces a character by a text far longer than one"),
        false => Ok(()),
    }
}

/// The bytes of standard Base64.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for four in text.chunks(4) {
        let mut number = 0_u32;
        for &byte in four {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            number = number << 6 | u32::from(six);
        }
        number <<= 6 * (4 - four.len());
        bytes.extend_from_slice(&number.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Bytes as characters, as byte-level BPE has them, changed.
    fn file(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let kept = (33..=126).chain(161..=172).chain(174..=255);
        let scalars = kept.chain(256..324).filter_map(char::from_u32);
        let vocabulary: Map<String, Value> =
            scalars.enumerate().map(|(id, scalar)| (scalar.to_string(), json!(id))).collect();
        let mut file = json!({
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        });
        change(&mut file);
        file.to_string().into_bytes()
    }

    fn replace(pattern: Value, content: &str) -> Value {
        json!({"type": "Replace", "pattern": pattern, "content": content})
    }

    #[test]
    fn parts_that_published_tokenizers_have_are_taken() {
        let sequence = |parts: Value| json!({"type": "Sequence", "normalizers": parts});
        for normalizer in [
            json!(null),
            json!({"type": "NFC"}),
            sequence(json!([{"type": "Prepend", "prepend": "▁"}, replace(json!({"String": " "}), "▁")])),
            sequence(
                json!([replace(json!({"String": "``"}), "\""), {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"},
                replace(json!({"Regex": " {2,}"}), " ")]),
            ),
        ] {
            let tokenizer = open(&file(|file| file["normalizer"] = normalizer.clone())).unwrap();
            let ids = guarded(|| tokenizer.encode_fast("a b", false)).unwrap().get_ids().len();
            assert!(ids >= 3, "{normalizer}: {ids}");
        }
        // Truncation and padding are somebody else's wish.
        let cut = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 100});
        let padded = json!({"strategy": {"Fixed": 1_000_000_000_000_u64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "x"});
        let tokenizer = open(&file(|file| {
            file["truncation"] = cut;
            file["padding"] = padded;
        }));
        assert_eq!(tokenizer.unwrap().encode_fast("abcdef", false).unwrap().get_ids().len(), 6);
    }

    #[test]
    fn what_no_tokenizer_needs_is_refused_by_its_place() {
        let doubling = json!({"type": "Sequence", "normalizers": vec![replace(json!({"Regex": "."}), "zz"); 30]});
        let levels = json!({"type": "Sequence", "pretokenizers": vec![json!({"type": "ByteLevel", "add_prefix_space": false,
            "trim_offsets": false, "use_regex": false}); 30]});
        let template = json!({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [], "special_tokens": {}});
        let nul_free = [&8_u32.to_le_bytes()[..], &[0; 8], &[b'y'; 4_000]].concat();
        let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        for (part, place, value) in [
            ("normalizer", "normalizer.pattern", replace(json!({"String": ""}), "x")),
            ("normalizer", "normalizer.content", replace(json!({"Regex": "."}), &"y".repeat(1 << 20))),
            ("normalizer", "normalizer.normalizers.4.content", doubling),
            ("normalizer", "normalizer.prepend", json!({"type": "Prepend", "prepend": "y".repeat(1 << 20)})),
            (
                "normalizer",
                "normalizer.precompiled_charsmap",
                json!({"type": "Precompiled", "precompiled_charsmap": ""}),
            ),
            (
                "normalizer",
                "normalizer.precompiled_charsmap",
                json!({"type": "Precompiled", "precompiled_charsmap": "/////wAAAAAAAAAA/////w=="}),
            ),
            (
                "normalizer",
                "normalizer.precompiled_charsmap",
                json!({"type": "Precompiled", "precompiled_charsmap": encoded(&nul_free)}),
            ),
            ("pre_tokenizer", "pre_tokenizer.pretokenizers.4.type", levels),
            ("pre_tokenizer", "pre_tokenizer.pattern.Regex", split("((a*)*)*b")),
            ("pre_tokenizer", "pre_tokenizer.length", json!({"type": "FixedLength", "length": 0})),
            ("decoder", "decoder.content", replace(json!({"String": "a"}), &"y".repeat(100))),
            ("post_processor", "post_processor.single", template.clone()),
            (
                "post_processor",
                "post_processor.processors.0.single",
                json!({"type": "Sequence", "processors": [template]}),
            ),
            (
                "model",
                "model.max_input_chars_per_word",
                json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 1_u64 << 60, "vocab": {"[UNK]": 0}}),
            ),
        ] {
            match open(&file(|file| file[part] = value)) {
                Err(TokenizerError::Refused { part, .. }) => assert_eq!(part, place),
                other => panic!("{place}: {:?}", other.map(drop)),
            }
        }
    }

    fn encoded(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let three = |chunk: &[u8]| {
            let number =
                chunk.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            let digit = |place: usize| ALPHABET[(number >> (18 - 6 * place)) as usize & 63] as char;
            (0..4).map(|place| if place <= chunk.len() { digit(place) } else { '=' }).collect::<String>()
        };
        bytes.chunks(3).map(three).collect()
    }

    #[test]
    fn base64_is_decoded() {
        for len in 0..40_u8 {
            let bytes: Vec<u8> = (0..len).map(|byte| byte.wrapping_mul(83) ^ 0xa5).collect();
            assert_eq!(decoded(&encoded(&bytes)), Some(bytes));
        }
        assert_eq!(decoded("a b"), None);
    }

    #[test]
    fn panics_become_errors() {
        let error = guarded(|| -> tokenizers::Result<()> { panic!("out of {}", "bounds") });
        assert_eq!(error, Err(TokenizerError::Panicked("out of bounds".to_owned())));
        // A trie that points outside of itself, and a pattern that matches nothing somewhere.
        let outside = [&8_u32.to_le_bytes()[..], &[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff], b"a\0"].concat();
        for normalizer in [
            json!({"type": "Precompiled", "precompiled_charsmap": encoded(&outside)}),
            replace(json!({"Regex": "a*"}), "aa"),
        ] {
            let opened = open(&file(|file| file["normalizer"] = normalizer.clone()));
            assert!(matches!(opened, Err(TokenizerError::Panicked(_))), "{normalizer}: {:?}", opened.map(drop));
        }
        assert!(matches!(open(b"{}"), Err(TokenizerError::Failed(_))));
        assert!(matches!(open(b"[1"), Err(TokenizerError::Failed(_))));
    }
}
