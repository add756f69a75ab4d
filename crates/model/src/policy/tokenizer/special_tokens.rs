//! Special tokens that files beside `tokenizer.json` speak of: tokens that it lacks, and what a raw prompt begins with.

use memtrain_encoder::tokenizer_file::guarded;
use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer};

use super::super::PolicyError;
use super::{failed, token_text};

/// Gives a tokenizer the tokens of `added_tokens_decoder` in `tokenizer_config.json` that it lacks.
///
/// # Errors
/// If a token would not get the id that the file gives it: its text would become the row of another token.
pub(super) fn complete(tokenizer: &mut Tokenizer, config: &Map<String, Value>) -> Result<(), PolicyError> {
    let Some(decoder) = config.get("added_tokens_decoder").and_then(Value::as_object) else { return Ok(()) };
    let known: Vec<String> = tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    let mut missing: Vec<(u32, AddedToken)> = Vec::new();
    for (id, token) in decoder {
        let (Ok(id), Some(content)) = (id.parse(), token_text(token)) else { continue };
        let flag = |key: &str| token.get(key).and_then(Value::as_bool);
        let special = flag("special").unwrap_or(false);
        if !content.is_empty() && !known.contains(&content) {
            let added = AddedToken::from(content, special)
                .single_word(flag("single_word").unwrap_or(false))
                .lstrip(flag("lstrip").unwrap_or(false))
                .rstrip(flag("rstrip").unwrap_or(false))
                .normalized(flag("normalized").unwrap_or(!special));
            missing.push((id, added));
        }
    }
    missing.sort_by_key(|(id, _)| *id);
    for (id, token) in missing {
        let content = token.content.clone();
        let add = |tokenizer: &mut Tokenizer| match token.special {
            true => tokenizer.add_special_tokens([token]),
            false => tokenizer.add_tokens([token]),
        };
        guarded(|| add(tokenizer)).map_err(failed)?;
        match tokenizer.token_to_id(&content) {
            Some(own) if own == id => {}
            own => {
                let own = own.map_or_else(|| "none".to_owned(), |own| own.to_string());
                return Err(PolicyError::Tokenizer(format!(
                    "`added_tokens_decoder` of tokenizer_config.json gives `{content}` the id {id}, but beside \
                     tokenizer.json its id is {own}: take both files from the same model"
                )));
            }
        }
    }
    Ok(())
}

/// What a raw prompt begins with: `bos_token` where `add_bos_token` is true, nothing where it is false, and what the
/// tokenizer's post-processor puts first where neither is said.
///
/// # Errors
/// If the tokenizer fails.
pub(super) fn prompt_prefix(tokenizer: &Tokenizer, config: &Map<String, Value>) -> Result<Vec<u32>, PolicyError> {
    match config.get("add_bos_token").and_then(Value::as_bool) {
        Some(true) => {
            let bos = config.get("bos_token").and_then(token_text);
            Ok(bos.and_then(|bos| tokenizer.token_to_id(&bos)).into_iter().collect())
        }
        Some(false) => Ok(Vec::new()),
        None => {
            let encoding = guarded(|| tokenizer.encode("a", true)).map_err(failed)?;
            let added = encoding.get_special_tokens_mask().iter().take_while(|special| **special == 1).count();
            Ok(encoding.get_ids()[..added].to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyTokenizer;
    use memtrain_corpora::store;
    use serde_json::json;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// The byte tokenizer in a folder, with another configuration and post-processor.
    fn tokenizer(config: &Value, post_processor: &Value) -> Result<PolicyTokenizer, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("tokenizer.json");
        for (name, bytes) in PolicyTokenizer::of_bytes()?.files() {
            store::write_atomic(&folder.path().join(name), bytes)?;
        }
        let mut file: Value = store::read_json(&path)?;
        file["post_processor"] = post_processor.clone();
        store::write_json(&path, &file)?;
        store::write_json(&folder.path().join("tokenizer_config.json"), config)?;
        Ok(PolicyTokenizer::from_file(&path)?)
    }

    #[test]
    fn tokens_of_the_configuration_are_tokens() -> Outcome {
        let token = |content: &str, special: bool| json!({"content": content, "lstrip": false, "special": special});
        let config = json!({"added_tokens_decoder": {
            "260": token("<tool>", false), "259": token("<|eot|>", true), "256": token("<|endoftext|>", true),
        }});
        let own = tokenizer(&config, &Value::Null)?;
        assert_eq!((own.token_id("<|eot|>"), own.token_id("<tool>"), own.vocab_size()), (Some(259), Some(260), 261));
        assert_eq!(own.encode("<|eot|><tool>")?, [259, 260]);
        assert_eq!(own.decode_response(&[259, 260])?, "<tool>");
        let wrong = tokenizer(&json!({"added_tokens_decoder": {"300": token("<|eot|>", true)}}), &Value::Null);
        let message = wrong.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("<|eot|>") && message.contains("300") && message.contains("259"), "{message}");
        Ok(())
    }

    #[test]
    fn a_raw_prompt_begins_as_the_tokenizer_begins_it_and_once() -> Outcome {
        let post_processor = json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {
                "<|endoftext|>": {"id": "<|endoftext|>", "ids": [256], "tokens": ["<|endoftext|>"]},
                "<|im_end|>": {"id": "<|im_end|>", "ids": [258], "tokens": ["<|im_end|>"]},
            },
        });
        let bos = json!({"add_bos_token": true, "bos_token": "<|im_start|>"});
        for (config, post_processor, first) in [
            (json!({}), &post_processor, Some(256)),
            (json!({"add_bos_token": false}), &post_processor, None),
            (bos.clone(), &post_processor, Some(257)),
            (bos, &Value::Null, Some(257)),
            (json!({"bos_token": "<|im_start|>"}), &Value::Null, None),
        ] {
            let own = tokenizer(&config, post_processor)?;
            let expected = [first.into_iter().collect(), own.encode("x")?].concat();
            assert_eq!(own.raw_prompt_ids("x")?, expected, "{config}");
            // Written out it is not added again; without a template a conversation is raw text.
            assert_eq!(own.raw_prompt_ids(&own.decode(&expected)?)?, expected, "{config}");
            assert_eq!(own.chat_prompt_ids("x")?, [expected, own.encode("\n")?].concat(), "{config}");
            // A template writes its own.
            let chat = own.with_chat_template("{{ messages[0].content }}", "<|im_end|>")?;
            assert_eq!(chat.chat_prompt_ids("x")?, own.encode("x")?, "{config}");
        }
        Ok(())
    }
}
