//! Marks in what a template is rendered around, by which its own control tokens are told from words that look like some.
//!
//! A template may trim, cut and repeat what a message says, so the bytes of a message cannot be followed through it. Two
//! characters of the private use areas, which no message holds, can: one before each added token that is only text, and one
//! after an end that might be continued to an added token. Both are taken out again before the text is encoded.

use std::collections::HashSet;

use memtrain_pipeline::tokenizer::encode::{Found, added_tokens, foreign_tokens};
use tokenizers::Tokenizer;

use super::{PolicyError, PromptText};

/// Two characters that stand in no message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    /// Stands before an added token that is text.
    foreign: char,
    /// Stands where two texts must not grow together to an added token.
    seam: char,
}

impl Marks {
    /// The first two characters for private use that none of the texts holds.
    pub(super) fn absent_from<'t>(texts: impl Iterator<Item = &'t str>) -> Result<Self, PolicyError> {
        let private = || ('\u{f000}'..='\u{f8ff}').chain('\u{f0000}'..='\u{ffffd}');
        let is_private = |letter: &char| matches!(*letter, '\u{f000}'..='\u{f8ff}' | '\u{f0000}'..='\u{ffffd}');
        let held: HashSet<char> = texts.flat_map(str::chars).filter(is_private).collect();
        let mut free = private().filter(|letter| !held.contains(letter));
        match (free.next(), free.next()) {
            (Some(foreign), Some(seam)) => Ok(Self { foreign, seam }),
            _ => Err(PolicyError::Template("the messages hold all characters for private use".to_owned())),
        }
    }

    /// A text with its marks. `added` are the texts of the tokenizer's added tokens.
    pub(super) fn put(self, text: &PromptText, tokenizer: &Tokenizer, added: &[String]) -> String {
        let words = text.as_str();
        let found = foreign_tokens(tokenizer, words, text.own_spans());
        let mut places: Vec<(usize, char)> =
            found.iter().map(|found| (found.surface(words).start, self.foreign)).collect();
        let end = words.trim_end();
        let begins_at_end = |token: &String| token.char_indices().skip(1).any(|(at, _)| end.ends_with(&token[..at]));
        if added.iter().any(begins_at_end) {
            places.push((end.len(), self.seam));
        }
        let mut marked = String::with_capacity(words.len() + 4 * places.len());
        let mut start = 0;
        for (place, mark) in places {
            marked.push_str(&words[start..place]);
            marked.push(mark);
            start = place;
        }
        marked.push_str(&words[start..]);
        marked
    }

    /// A role with its marks. Templates write roles between signs of their own (`<|` + role + `|>`), which may make an added
    /// token: that is meant of roles that templates know, and of no others.
    pub(super) fn put_in_role(self, role: &str, tokenizer: &Tokenizer, added: &[String]) -> String {
        const KNOWN: [&str; 8] =
            ["system", "user", "assistant", "tool", "developer", "function", "observation", "ipython"];
        if KNOWN.contains(&role) {
            return role.to_owned();
        }
        let marked = self.put(&PromptText::foreign(role), tokenizer, added);
        let goes_on = |token: &String| {
            token.contains(role) || token.char_indices().skip(1).any(|(at, _)| role.starts_with(&token[at..]))
        };
        if added.iter().any(goes_on) { format!("{}{marked}", self.seam) } else { marked }
    }

    /// A rendered text without its marks, and the added tokens that had none; nothing where there are no marks.
    pub(super) fn take(self, rendered: &str, tokenizer: &Tokenizer) -> Option<(String, Vec<Found>)> {
        let marks = [self.foreign, self.seam];
        // Bytes of each mark's end in the marked text, and in the text without marks.
        let mut ends: Vec<(usize, usize)> = Vec::new();
        let mut text = String::with_capacity(rendered.len());
        let mut start = 0;
        for (at, mark) in rendered.match_indices(marks) {
            text.push_str(&rendered[start..at]);
            start = at + mark.len();
            ends.push((start, text.len()));
        }
        if ends.is_empty() {
            return None;
        }
        text.push_str(&rendered[start..]);
        let unmarked = |at: usize| {
            let before = ends.partition_point(|(end, _)| *end <= at);
            before.checked_sub(1).map_or(at, |last| ends[last].1 + at - ends[last].0)
        };
        let mut own = added_tokens(tokenizer, rendered);
        own.retain(|found| {
            let is_marked = rendered[..found.surface(rendered).start].ends_with(self.foreign);
            !is_marked && !rendered[found.span.clone()].contains(marks)
        });
        for found in &mut own {
            found.span = unmarked(found.span.start)..unmarked(found.span.end);
        }
        Some((text, own))
    }
}
