//! A document cut into chunks of at most so many tokens.
//!
//! The chunks cover the text once and in order: concatenated they are the document. A cut never falls inside a
//! character or inside a placeholder.

use memtrain_corpora::Span;
use memtrain_corpora::document::{MASK, TARGET};
use memtrain_model::policy::{PolicyError, PolicyTokenizer};
use serde::{Deserialize, Serialize};

/// Where a chunk may end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CutAt {
    /// After any token, as MemTrain §4.1 and MemAgent do.
    #[default]
    Token,
    /// After the last sentence that fits, where one fits: kinder to policies that copy whole sentences.
    Sentence,
}

/// Cuts `text` into chunks of at most `max_tokens` tokens each, counted on the chunk's own text.
///
/// # Errors
/// If the tokenizer fails.
pub fn split(
    text: &str,
    tokenizer: &PolicyTokenizer,
    max_tokens: usize,
    cut_at: CutAt,
) -> Result<Vec<Span>, PolicyError> {
    let (_, offsets) = tokenizer.encode_with_offsets(text)?;
    let mut chunks = Vec::new();
    let (mut start, mut first_token) = (0, 0);
    while start < text.len() {
        let mut limit = max_tokens.max(1);
        // A chunk read on its own can split its first or last word into other tokens than the document does; the bound
        // holds for what the policy is shown, so the window shrinks by the excess until it fits.
        let end = loop {
            let end = window_end(text, &offsets, first_token, start, limit, cut_at);
            let excess = tokenizer.encode_text(&text[start..end])?.len().saturating_sub(max_tokens);
            if excess == 0 || limit == 1 {
                break end;
            }
            limit = limit.saturating_sub(excess).max(1);
        };
        chunks.push(start..end);
        start = end;
        while first_token < offsets.len() && offsets[first_token].end <= start {
            first_token += 1;
        }
    }
    Ok(chunks)
}

/// Bytes of a long text that are encoded together: ids, offsets and words of so much take some tens of megabytes.
const WINDOW_BYTES: usize = 1 << 20;

/// Cuts a text of any length as [`split`] does, in memory that does not grow with it: the chunks come window by window.
///
/// A text of at most one window (1 MiB) is cut exactly as by [`split`]. In a longer one every window begins where the last
/// whole chunk of the one before ends, so a cut may lie some tokens from where [`split`] would have it.
///
/// # Errors
/// If the tokenizer fails; the iterator ends then.
pub fn split_long<'t>(
    text: &'t str,
    tokenizer: &'t PolicyTokenizer,
    max_tokens: usize,
    cut_at: CutAt,
) -> impl Iterator<Item = Result<Vec<Span>, PolicyError>> + 't {
    split_windows(text, WINDOW_BYTES, move |window| split(window, tokenizer, max_tokens, cut_at))
}

fn split_windows<'t>(
    text: &'t str,
    mut window_bytes: usize,
    split: impl Fn(&'t str) -> Result<Vec<Span>, PolicyError> + 't,
) -> impl Iterator<Item = Result<Vec<Span>, PolicyError>> + 't {
    let mut start = 0;
    std::iter::from_fn(move || {
        while start < text.len() {
            let end = text.floor_char_boundary(text.len().min(start.saturating_add(window_bytes)));
            // A placeholder whose end is not seen would be cut in two.
            let end = outside_placeholder(text, start, end);
            let mut chunks = match split(&text[start..end]) {
                Ok(chunks) => chunks,
                Err(error) => {
                    start = text.len();
                    return Some(Err(error));
                }
            };
            if end < text.len() {
                // The window ends the last chunk, not the text.
                chunks.pop();
            }
            let Some(last) = chunks.last() else {
                window_bytes = window_bytes.saturating_mul(2);
                continue;
            };
            let (offset, read) = (start, last.end);
            start += read;
            return Some(Ok(chunks.into_iter().map(|chunk| chunk.start + offset..chunk.end + offset).collect()));
        }
        None
    })
}

/// Head and tail of a text of more than `keep_tokens` tokens, half of the tokens each and the odd one in the tail, as verl
/// truncates in the centre: the byte after the head and that where the tail begins. Nothing of a text that is short enough.
///
/// # Errors
/// If the tokenizer fails.
pub fn centre(text: &str, tokenizer: &PolicyTokenizer, keep_tokens: usize) -> Result<Option<Span>, PolicyError> {
    let (_, offsets) = tokenizer.encode_with_offsets(text)?;
    if offsets.len() <= keep_tokens {
        return Ok(None);
    }
    let head = keep_tokens / 2;
    // A cut never falls inside a character or a placeholder, which then belongs to the tail.
    let cut = |token: usize| offsets.get(token).map_or(text.len(), |token| text.floor_char_boundary(token.start));
    let left_out = outside_placeholder(text, 0, cut(head));
    let tail = outside_placeholder(text, left_out, cut(offsets.len() - (keep_tokens - head)));
    Ok(Some(left_out..tail))
}

/// End of the chunk that begins at byte `start` and holds at most `limit` of the document's tokens.
fn window_end(text: &str, offsets: &[Span], first_token: usize, start: usize, limit: usize, cut_at: CutAt) -> usize {
    let Some(next) = offsets.get(first_token + limit) else { return text.len() };
    let mut end = outside_placeholder(text, start, text.floor_char_boundary(next.start.max(start)));
    if cut_at == CutAt::Sentence
        && let Some(sentence_end) = last_sentence_end(&text[start..end])
    {
        end = start + sentence_end;
    }
    if end > start {
        return end;
    }
    // Not even one character or placeholder fits: take it whole, so that reading always moves on.
    let rest = &text[start..];
    [MASK, TARGET]
        .into_iter()
        .find(|placeholder| rest.starts_with(placeholder))
        .map(str::len)
        .or_else(|| rest.chars().next().map(char::len_utf8))
        .map_or(text.len(), |length| start + length)
}

/// `at`, or the start of the placeholder that `at` would cut in two.
fn outside_placeholder(text: &str, start: usize, at: usize) -> usize {
    for placeholder in [MASK, TARGET] {
        let from = text.floor_char_boundary(at.saturating_sub(placeholder.len() - 1).max(start));
        let to = (from + 2 * placeholder.len()).min(text.len());
        let to = text.floor_char_boundary(to);
        if let Some(found) = text[from..to].find(placeholder) {
            let found = from + found;
            if found < at && at < found + placeholder.len() {
                return found;
            }
        }
    }
    at
}

/// Byte after the white space that follows the last sentence end of `text`, if there is one.
fn last_sentence_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut end = bytes.len();
    while end > 1 {
        if matches!(bytes[end - 1], b' ' | b'\n') && matches!(bytes[end - 2], b'.' | b'!' | b'?' | b'\n') {
            return Some(end);
        }
        end -= 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_centre_is_left_out_by_tokens() {
        let tokenizer = PolicyTokenizer::of_bytes().unwrap();
        let kept = |text: &str, tokens: usize| {
            let span = centre(text, &tokenizer, tokens).unwrap();
            span.map(|span| (text[..span.start].to_owned(), text[span.end..].to_owned()))
        };
        let two = |head: &str, tail: &str| Some((head.to_owned(), tail.to_owned()));
        assert_eq!(kept("abcdefgh", 8), None);
        assert_eq!(kept("abcdefgh", 4), two("ab", "gh"));
        assert_eq!(kept("abcdefgh", 5), two("ab", "fgh"));
        assert_eq!(kept("abé[MASK]xyzuvwé", 6), two("ab", "wé"), "no character is cut");
        assert_eq!(kept("ab[MASK]xyzuvw", 8), two("ab", "zuvw"), "nor a placeholder");
        assert_eq!(kept("xyzuvwab[MASK]c", 6), two("xyz", "[MASK]c"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn windows_cover_the_text_once_with_chunks_that_fit(
            text in "([a-zé.]{1,9}[ \n]|\\[MASK\\]){0,120}", window in 1_usize..200, max_tokens in 1_usize..60, sentences: bool,
        ) {
            let tokenizer = PolicyTokenizer::of_bytes().unwrap();
            let cut_at = if sentences { CutAt::Sentence } else { CutAt::Token };
            let cut = |text: &str| split(text, &tokenizer, max_tokens, cut_at);
            let in_windows: Vec<Span> =
                split_windows(&text, window, cut).collect::<Result<Vec<_>, _>>().unwrap().concat();
            let read: String = in_windows.iter().map(|chunk| &text[chunk.clone()]).collect();
            prop_assert_eq!(&read, &text);
            // Only what cannot be cut, a character or a placeholder, may be longer.
            for chunk in &in_windows {
                let chunk = &text[chunk.clone()];
                prop_assert!(chunk.len() <= max_tokens || chunk == MASK || chunk.chars().count() == 1, "{chunk:?}");
            }
            // Bytes are the same tokens wherever they stand, so that a window moves no cut.
            prop_assert_eq!(&in_windows, &cut(&text).unwrap());
            let whole = split_long(&text, &tokenizer, max_tokens, cut_at).collect::<Result<Vec<_>, _>>().unwrap();
            prop_assert_eq!(whole.concat(), in_windows);
        }
    }
}
