//! Token ids of text that is partly somebody else's: an added token counts only where the text is the program's own.
//!
//! An added token (`<|im_end|>`, `</think>`, `<tool_response>`; `special` or not) that stands in a document, a memory or a
//! question is text, and is encoded by the model's vocabulary. The steps are those of the `tokenizers` crate, and so are the
//! ids of a text in which none stands there. Where one does, only the added tokens to keep are split off; the rest is
//! normalised, cut and encoded as by a tokenizer that has no others.
//!
//! Added tokens of white space alone (runs of spaces in GPT-NeoX and Phi, of line breaks in Gemma) steer nothing and count
//! everywhere.

use memtrain_corpora::Span;
use memtrain_corpora::document::{MASK, TARGET};
use tokenizers::{
    Encoding, Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Result, Token, Tokenizer, tokenizer::normalizer::Range,
};

/// An added token that stands in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its bytes in the text, with the white space that it takes in.
    pub span: Span,
    /// Its id.
    pub id: u32,
}

impl Found {
    /// Its bytes in the text without the white space around it.
    pub fn surface(&self, text: &str) -> Span {
        let whole = &text[self.span.clone()];
        let start = self.span.start + whole.len() - whole.trim_start().len();
        start..start + whole.trim().len()
    }
}

/// The added tokens of a text, as the tokenizer finds them: from left to right, the longest first.
pub fn added_tokens(tokenizer: &Tokenizer, text: &str) -> Vec<Found> {
    found_in(&extract(tokenizer, text))
}

fn extract(tokenizer: &Tokenizer, text: &str) -> PreTokenizedString {
    tokenizer.get_added_vocabulary().extract_and_normalize(tokenizer.get_normalizer(), text)
}

fn found_in(parts: &PreTokenizedString) -> Vec<Found> {
    let found = |(_, (start, end), tokens): (&str, (usize, usize), &Option<Vec<Token>>)| {
        tokens.as_ref()?.first().map(|token| Found { span: start..end, id: token.id })
    };
    parts.get_splits(OffsetReferential::Original, OffsetType::Byte).into_iter().filter_map(found).collect()
}

/// The added tokens of a text that reach outside the spans `own`, which are in order and apart.
pub fn foreign_tokens(tokenizer: &Tokenizer, text: &str, own: &[Span]) -> Vec<Found> {
    let mut found = added_tokens(tokenizer, text);
    found.retain(|token| !counts(text, token, own));
    found
}

/// Whether an added token is one: it stands in the program's own words, or is white space.
fn counts(text: &str, found: &Found, own: &[Span]) -> bool {
    let surface = found.surface(text);
    let before = own.partition_point(|own| own.end < surface.end);
    own.get(before).is_some_and(|own| own.start <= surface.start) || is_blank(&text[surface])
}

/// Whether a token is white space alone.
pub fn is_blank(text: &str) -> bool {
    // SentencePiece writes a space as `▁`.
    text.chars().all(|letter| letter.is_whitespace() || letter == '▁')
}

/// Places of the placeholders `[MASK]` and `[TARGET]`. Source text holds none since ingest: they are the program's own.
pub fn placeholders(text: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = [MASK, TARGET]
        .into_iter()
        .flat_map(|word| text.match_indices(word).map(|(start, word)| start..start + word.len()))
        .collect();
    spans.sort_unstable_by_key(|span| span.start);
    spans
}

/// Encodes a text in which added tokens count inside the spans `own` alone, which are in order and apart. Offsets are in
/// bytes, or none.
///
/// # Errors
/// If the tokenizer fails.
pub fn encode(tokenizer: &Tokenizer, text: &str, own: &[Span], offsets: OffsetType) -> Result<Encoding> {
    let mut parts = extract(tokenizer, text);
    let mut found = found_in(&parts);
    let all = found.len();
    found.retain(|token| counts(text, token, own));
    if found.len() < all {
        return encode_keeping(tokenizer, text, &found, offsets);
    }
    pre_tokenize(tokenizer, &mut parts)?;
    tokenizer.get_model().tokenize_in_pretokenized(&mut parts, None)?;
    tokenizer.post_process(parts.into_encoding(None, 0, offsets)?, None, false)
}

/// Encodes a text in which the given added tokens are the only ones; they are in order and apart.
///
/// # Errors
/// If the tokenizer fails.
pub fn encode_keeping(tokenizer: &Tokenizer, text: &str, kept: &[Found], offsets: OffsetType) -> Result<Encoding> {
    let tokens = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    let is_normalized = |found: &&Found| tokens.get(&found.id).is_some_and(|token| token.normalized);
    let (late, early): (Vec<&Found>, Vec<&Found>) = kept.iter().partition(is_normalized);
    let mut parts = PreTokenizedString::from(text);
    parts.split(|_, whole| split_off(&whole, &early))?;
    // Some tokens are looked for in the normalised text: what is around them is normalised together.
    parts.split(|_, mut part| {
        if let Some(normalizer) = tokenizer.get_normalizer() {
            normalizer.normalize(&mut part)?;
        }
        split_off(&part, &late)
    })?;
    pre_tokenize(tokenizer, &mut parts)?;
    parts.tokenize(|part| tokens_of_text(tokenizer, part.get()))?;
    tokenizer.post_process(parts.into_encoding(None, 0, offsets)?, None, false)
}

fn pre_tokenize(tokenizer: &Tokenizer, parts: &mut PreTokenizedString) -> Result<()> {
    tokenizer.get_pre_tokenizer().map_or(Ok(()), |pre_tokenizer| pre_tokenizer.pre_tokenize(parts))
}

type Part = (NormalizedString, Option<Vec<Token>>);

/// The added tokens in a part of the text, and the text between them.
fn split_off(part: &NormalizedString, kept: &[&Found]) -> Result<Vec<Part>> {
    let (first, last) = part.offsets_original();
    let slice = |span: Span| {
        let slice = part.slice(Range::Original(span.start - first..span.end - first));
        slice.ok_or_else(|| tokenizers::Error::from("an added token cuts a character in two"))
    };
    let mut parts = Vec::with_capacity(2 * kept.len() + 1);
    let mut start = first;
    for Found { span, id } in kept.iter().filter(|found| first <= found.span.start && found.span.end <= last) {
        if start < span.start {
            parts.push((slice(start..span.start)?, None));
        }
        let token = slice(span.clone())?;
        let value = token.get().to_owned();
        let length = value.len();
        parts.push((token, Some(vec![Token::new(*id, value, (0, length))])));
        start = span.end;
    }
    if start == first {
        return Ok(vec![(part.clone(), None)]);
    }
    if start < last {
        parts.push((slice(start..last)?, None));
    }
    Ok(parts)
}

/// The tokens of a piece of text. Where the model's own vocabulary has the words of an added token, as that of a word-level
/// model does, the piece is cut after its first letter, until none of its tokens is an added one.
fn tokens_of_text(tokenizer: &Tokenizer, piece: &str) -> Result<Vec<Token>> {
    let added = tokenizer.get_added_vocabulary().get_vocab();
    let mut tokens = Vec::new();
    let mut start = 0;
    let mut end = piece.len();
    while start < piece.len() {
        let part = &piece[start..end];
        let mut of_part = tokenizer.get_model().tokenize(part)?;
        let is_added = |token: &Token| {
            let (from, to) = token.offsets;
            added.get(&token.value) == Some(&token.id)
                && part.get(from..to) == Some(token.value.as_str())
                && !is_blank(&token.value)
        };
        if let Some(token) = of_part.iter().find(|token| is_added(token)) {
            let first = token.offsets.0 + token.value.chars().next().map_or(0, char::len_utf8);
            if first < part.len() {
                end = start + first;
                continue;
            }
        }
        for token in &mut of_part {
            token.offsets = (token.offsets.0 + start, token.offsets.1 + start);
        }
        tokens.append(&mut of_part);
        (start, end) = (end, piece.len());
    }
    Ok(tokens)
}
