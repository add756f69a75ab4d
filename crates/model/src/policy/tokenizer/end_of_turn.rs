//! Tokens that end a response: all that the files of a directory name.
//!
//! ```text
//! generation_config.json  eos_token_id   an id or a list
//! config.json             eos_token_id   an id or a list
//! tokenizer_config.json   eos_token      a token
//! special_tokens_map.json eos_token      a token
//! the chat template       the special token that it closes an assistant's turn with
//! ```
//!
//! Directories disagree: base models end a text at `<|endoftext|>` and a fine-tuned one its turns at `<|im_end|>`, said in
//! one file and not in another. A policy that says any of them means it, so that each ends a response.

use serde_json::{Map, Value};

use super::{Message, PolicyTokenizer, token_text};

/// A letter that no template writes, to find again what an assistant has said.
const SAID: &str = "\u{f8ff}";

/// What `eos_token_id` of a file says, in its order.
pub(in crate::policy) fn of_config(config: &Map<String, Value>) -> Vec<u32> {
    let Some(value) = config.get("eos_token_id") else { return Vec::new() };
    let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

/// Ids of the tokenizer's files and its template, each once.
pub(super) fn of_tokenizer(tokenizer: &PolicyTokenizer, files: &[&Map<String, Value>]) -> Vec<u32> {
    let named = files.iter().filter_map(|file| tokenizer.token_id(&token_text(file.get("eos_token")?)?));
    each_once(named.chain(closing_token(tokenizer)))
}

/// The special token that the template writes after what an assistant has said. White space may stand between.
fn closing_token(tokenizer: &PolicyTokenizer) -> Option<u32> {
    let turn = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
    // A template that refuses so plain a conversation closes nothing that is known.
    let rendered = tokenizer.rendered(&[turn("user", "?"), turn("assistant", SAID)]).ok()??;
    let (_, after) = rendered.rsplit_once(SAID)?;
    tokenizer.special_token_at_start(after.trim_start())
}

/// Ids in the order of their appearance.
pub(in crate::policy) fn each_once(ids: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut kept = Vec::new();
    for id in ids {
        if !kept.contains(&id) {
            kept.push(id);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PolicyError, tokenizer::END_OF_TURN};
    use serde_json::json;

    #[test]
    fn one_id_or_a_list_is_read() {
        let of = |value: Value| of_config(&Map::from_iter([("eos_token_id".to_owned(), value)]));
        assert_eq!(of(json!(7)), [7]);
        assert_eq!(of(json!([7, 9, "x", -1])), [7, 9]);
        assert!(of(Value::Null).is_empty() && of_config(&Map::new()).is_empty());
        assert_eq!(each_once([3, 5, 3]), [3, 5]);
    }

    #[test]
    fn the_template_s_closing_token_ends_a_response() -> Result<(), PolicyError> {
        let base = PolicyTokenizer::of_bytes()?;
        let id = |token: &str| base.token_id(token);
        let (text, start, turn) = (id("<|endoftext|>"), id("<|im_start|>"), id(END_OF_TURN));
        let ends = |template: &str, eos: &str| -> Result<Vec<Option<u32>>, PolicyError> {
            let tokenizer = base.with_chat_template(template, eos)?;
            Ok(tokenizer.eos_token_ids().iter().map(|id| Some(*id)).collect())
        };
        let turns = |close: &str| {
            format!("{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}{close}{{% endfor %}}")
        };
        assert_eq!(ends(&turns(" <|im_end|>\n"), "<|endoftext|>")?, [text, turn]);
        assert_eq!(ends(&turns("<|im_end|>"), END_OF_TURN)?, [turn]);
        // What opens a turn, or is no token at all, ends nothing.
        assert_eq!(ends(&turns("</turn>\n"), "<|endoftext|>")?, [text]);
        assert_eq!(ends("{{ raise_exception('no') }}", "<|endoftext|>")?, [text]);
        assert_eq!(ends("{{ messages[0].content }}", "<|im_start|>")?, [start]);
        Ok(())
    }
}
