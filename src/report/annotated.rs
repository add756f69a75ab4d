//! Texts as HTML: escaped, with what is said of their parts as classes.
//!
//! What is said of a text may overlap: a new word in an unsupported sentence that names the target. So a text is cut
//! wherever something begins or ends, and each piece is a `<span>` with all that holds for it. Texts come from corpora and
//! models: all of them are escaped, and nothing of them is ever markup.

use std::fmt::Write;
use std::ops::Range;

use memtrain_corpora::document::{MASK, TARGET};
use minijinja::HtmlEscape;
use similar::{ChangeTag, TextDiff};

use crate::agents::sentences::{ReadSentences, sentences};

/// What is said of a part of a text: the class of its span, which the stylesheet and the legend know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// What is hidden, or asked for.
    Target,
    /// A placeholder.
    Hidden,
    /// A sentence of a chunk that tells about what is hidden.
    Evidence,
    /// A sentence of a chunk that stands in the memory written after it.
    Kept,
    /// A sentence of a memory that does not stand in what was read.
    Unsupported,
    /// Words of a memory that the one before did not have.
    New,
    /// Words of a memory that the one after does not have.
    Lost,
}

impl Class {
    const ALL: [Self; 7] =
        [Self::Target, Self::Hidden, Self::Evidence, Self::Kept, Self::Unsupported, Self::New, Self::Lost];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Hidden => "hidden-entity",
            Self::Evidence => "evidence",
            Self::Kept => "kept",
            Self::Unsupported => "unsupported",
            Self::New => "new",
            Self::Lost => "lost",
        }
    }
}

/// A part of a text, in bytes, and what is said of it.
pub(super) type Part = (Range<usize>, Class);

/// The text escaped, cut at the ends of its parts.
pub(super) fn html(text: &str, parts: &[Part]) -> String {
    let said = parts.iter().filter(|(range, _)| !range.is_empty());
    let mut cuts: Vec<(usize, bool, Class)> =
        said.flat_map(|(range, class)| [(range.start, true, *class), (range.end, false, *class)]).collect();
    cuts.sort_by_key(|&(at, begins, _)| (at, begins));
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let (mut from, mut open) = (0, [0_usize; Class::ALL.len()]);
    for (at, begins, class) in cuts.into_iter().chain([(text.len(), false, Class::Lost)]) {
        piece(&mut out, &text[from..at], &open);
        from = at;
        let depth = &mut open[class as usize];
        *depth = if begins { *depth + 1 } else { depth.saturating_sub(1) };
    }
    out
}

fn piece(out: &mut String, text: &str, open: &[usize]) {
    if text.is_empty() {
        return;
    }
    let classes: Vec<&str> =
        Class::ALL.iter().filter(|class| open[**class as usize] > 0).map(|class| class.as_str()).collect();
    // Writing to a string cannot fail.
    let _ = match classes.is_empty() {
        true => write!(out, "{}", HtmlEscape(text)),
        false => write!(out, "<span class=\"{}\">{}</span>", classes.join(" "), HtmlEscape(text)),
    };
}

/// Placeholders and occurrences of the target.
pub(super) fn names(text: &str, target: &str) -> Vec<Part> {
    let placeholders = [MASK, TARGET].into_iter().flat_map(|word| occurrences(text, word, Class::Hidden));
    placeholders.chain(occurrences(text, target, Class::Target)).collect()
}

fn occurrences(text: &str, word: &str, class: Class) -> Vec<Part> {
    if word.trim().is_empty() {
        return Vec::new();
    }
    text.match_indices(word).map(|(at, found)| (at..at + found.len(), class)).collect()
}

/// The sentences of a chunk that tell about the hidden entity: those with a placeholder, else those that name the target.
pub(super) fn evidence(chunk: &str, target: &str) -> Vec<Part> {
    let tells = |sentence: &str| match target.trim().is_empty() {
        true => sentence.contains(MASK),
        false => sentence.contains(MASK) || sentence.contains(target),
    };
    sentences(chunk)
        .filter(|sentence| tells(sentence))
        .map(|sentence| (place(chunk, sentence), Class::Evidence))
        .collect()
}

/// The sentences of a chunk that a memory holds word for word.
pub(super) fn kept(chunk: &str, memory: &str) -> Vec<Part> {
    let mut held = ReadSentences::default();
    held.extend(memory);
    sentences(chunk)
        .filter(|sentence| held.supports(sentence))
        .map(|sentence| (place(chunk, sentence), Class::Kept))
        .collect()
}

/// The sentences of a memory that do not stand in what was read.
pub(super) fn unsupported(memory: &str, read: &ReadSentences<'_>) -> Vec<Part> {
    let foreign = sentences(memory).filter(|sentence| !read.supports(sentence));
    foreign.map(|sentence| (place(memory, sentence), Class::Unsupported)).collect()
}

/// Where a slice of a text stands in it.
fn place(text: &str, slice: &str) -> Range<usize> {
    let start = slice.as_ptr().addr() - text.as_ptr().addr();
    start..start + slice.len()
}

/// What of `before` is lost in `after`, and what of `after` is new, by words.
pub(super) fn changes(before: &str, after: &str) -> (Vec<Part>, Vec<Part>) {
    let diff = TextDiff::from_words(before, after);
    let (mut lost, mut new) = (Vec::new(), Vec::new());
    let (mut in_before, mut in_after) = (0, 0);
    for change in diff.iter_all_changes() {
        let length = change.value().len();
        match change.tag() {
            ChangeTag::Delete => join(before, &mut lost, in_before..in_before + length, Class::Lost),
            ChangeTag::Insert => join(after, &mut new, in_after..in_after + length, Class::New),
            ChangeTag::Equal => {}
        }
        in_before += if change.tag() == ChangeTag::Insert { 0 } else { length };
        in_after += if change.tag() == ChangeTag::Delete { 0 } else { length };
    }
    (lost, new)
}

/// Adds a part, joined to the one before it where nothing but space lies between them.
fn join(text: &str, parts: &mut Vec<Part>, range: Range<usize>, class: Class) {
    match parts.last_mut() {
        Some((last, _)) if text[last.end..range.start].trim().is_empty() => last.end = range.end,
        _ => parts.push((range, class)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_and_placeholders_are_marked_in_any_order() {
        let text = "Lorn & [MASK] in Lorn";
        let expected = "<span class=\"target\">Lorn</span> &amp; <span class=\"hidden-entity\">[MASK]</span> in \
                        <span class=\"target\">Lorn</span>";
        assert_eq!(html(text, &names(text, "Lorn")), expected);
        assert_eq!(html("a < b", &names("a < b", "")), "a &lt; b");
    }

    #[test]
    fn parts_may_overlap() {
        let expected =
            "<span class=\"evidence\">a</span><span class=\"evidence new\">b</span><span class=\"new\">c</span>";
        assert_eq!(html("abc", &[(0..2, Class::Evidence), (1..3, Class::New)]), expected);
    }

    #[test]
    fn sentences_are_held_against_what_was_read() {
        let chunk = "It rained. [MASK] sold <salt>.";
        assert_eq!(evidence(chunk, "Lorn"), [(11..30, Class::Evidence)]);
        assert_eq!(kept(chunk, "It rained."), [(0..10, Class::Kept)]);
        let mut read = ReadSentences::default();
        read.extend(chunk);
        let memory = "[MASK] sold <salt>. [MASK] sold wine.";
        assert_eq!(unsupported(memory, &read), [(20..37, Class::Unsupported)]);
    }

    #[test]
    fn neighbouring_changes_are_one() {
        let (lost, new) = changes("a b c d", "a x y d");
        assert_eq!((lost, new), (vec![(2..5, Class::Lost)], vec![(2..5, Class::New)]));
    }

    proptest! {
        /// Without its tags the HTML is the escaped text, whatever parts it has.
        #[test]
        fn nothing_of_a_text_is_lost_or_becomes_markup(
            text in "[a-c <&\"'>é]{0,40}", cuts in prop::collection::vec((0_usize..41, 0_usize..41, 0_usize..7), 0..6),
        ) {
            let near = |at: usize| text.floor_char_boundary(at);
            let part = |(a, b, class): (usize, usize, usize)| (near(a.min(b))..near(a.max(b)), Class::ALL[class]);
            let parts: Vec<Part> = cuts.into_iter().map(part).collect();
            let mut bare = html(&text, &parts);
            while let Some(at) = bare.find('<') {
                let end = bare[at..].find('>').expect("a tag ends") + at + 1;
                bare.replace_range(at..end, "");
            }
            prop_assert_eq!(bare, HtmlEscape(&text).to_string());
        }

        /// What is the same of two texts is what is left without their changes.
        #[test]
        fn texts_without_their_changes_are_the_same(before in "[ab ]{0,24}", after in "[ab ]{0,24}") {
            let without = |text: &str, parts: &[Part]| {
                let mut rest = text.to_owned();
                parts.iter().rev().for_each(|(range, _)| rest.replace_range(range.clone(), " "));
                rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            let (lost, new) = changes(&before, &after);
            prop_assert_eq!(without(&before, &lost), without(&after, &new));
        }
    }
}
