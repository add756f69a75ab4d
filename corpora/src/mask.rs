//! Finding and replacing the occurrences of an entity: how `[MASK]` and `[TARGET]` come into a text.
//!
//! An **occurrence** of a surface is a stretch of text that
//!
//! * is canonically equivalent to it (both sides compared in NFC, so `é` in one code point matches `e` + U+0301), or
//!   equal after lower-casing too when [`Matching::case_sensitive`] is off;
//! * stands as whole words: neither of its ends lies inside a word. Scripts written without spaces (Han, Hiragana,
//!   Thai, Lao, Khmer, Burmese) have a boundary at every character;
//! * may carry a possessive: of `Velmora's` and `Velmora’s` the name is the occurrence, and the `'s` stays.
//!
//! Spans returned are byte ranges of the text as it was given, whatever its normal form.
//!
//! ```
//! use memtrain_corpora::mask::{Matching, occurrences, replace};
//! let text = "Velmora's river. North Velmoran towns; Velmora.";
//! let spans = occurrences(text, "Velmora", Matching::default());
//! let (masked, placeholders) = replace(text, &spans, "[MASK]");
//! assert_eq!(masked, "[MASK]'s river. North Velmoran towns; [MASK].");
//! assert_eq!(&masked[placeholders[1].clone()], "[MASK]");
//! ```

use std::borrow::Cow;

use unicode_normalization::char::{canonical_combining_class, is_combining_mark};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::Span;
use crate::document::{MASK, TARGET};

/// How a surface is compared with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matching {
    /// Whether `may` differs from `May`. On by default: the papers do not say, and names such as "Will" or "May" would
    /// otherwise blank common words.
    pub case_sensitive: bool,
}

impl Default for Matching {
    fn default() -> Self {
        Self { case_sensitive: true }
    }
}

/// All occurrences of `surface` in `text`, in order and without overlap. Time is linear in the text.
pub fn occurrences(text: &str, surface: &str, matching: Matching) -> Vec<Span> {
    Comparable::new(text, matching).occurrences(text, surface, matching)
}

/// All occurrences of any of `surfaces`, in order and without overlap: the earliest first, the longest where two begin
/// at the same place. The text is brought into its comparable form once.
pub fn occurrences_of_any<S: AsRef<str>>(text: &str, surfaces: &[S], matching: Matching) -> Vec<Span> {
    let comparable = Comparable::new(text, matching);
    let mut all: Vec<Span> =
        surfaces.iter().flat_map(|surface| comparable.occurrences(text, surface.as_ref(), matching)).collect();
    all.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
    let mut end = 0;
    all.retain(|span| {
        let free = span.start >= end;
        if free {
            end = span.end;
        }
        free
    });
    all
}

/// Replaces each of `spans` by `placeholder`; returns the new text and where the placeholders stand in it.
///
/// `spans` must be in order, without overlap and on character boundaries, as [`occurrences`] returns them; a span that
/// is not is left as it was. Use [`SpanMap`] with the same spans to carry other spans over.
pub fn replace(text: &str, spans: &[Span], placeholder: &str) -> (String, Vec<Span>) {
    let mut out = String::with_capacity(text.len() + spans.len() * placeholder.len());
    let mut placed = Vec::with_capacity(spans.len());
    let mut copied = 0;
    for span in spans {
        let (Some(before), Some(_)) = (text.get(copied..span.start), text.get(span.clone())) else {
            continue;
        };
        out.push_str(before);
        placed.push(out.len()..out.len() + placeholder.len());
        out.push_str(placeholder);
        copied = span.end;
    }
    out.push_str(&text[copied..]);
    (out, placed)
}

/// Carries spans of a text over to the text that [`replace`] made of it.
///
/// ```
/// use memtrain_corpora::mask::{SpanMap, replace};
/// let text = "Ana met Bo in Rome";
/// let (masked, _) = replace(text, &[8..10], "[MASK]");
/// let map = SpanMap::new(&[8..10], "[MASK]");
/// assert_eq!(&masked[map.carry(&(14..18)).unwrap()], "Rome");
/// assert_eq!(map.carry(&(4..10)), None); // overlaps what was replaced
/// assert_eq!(map.cover(&(0..10)), 0..14);
/// ```
#[derive(Clone, Debug)]
pub struct SpanMap {
    /// Replaced stretches of the old text, in order.
    replaced: Vec<Span>,
    placeholder_len: usize,
    /// Length of all replaced stretches before the i-th one, in the old text.
    removed_before: Vec<usize>,
}

impl SpanMap {
    /// The map that belongs to `replace(text, replaced, placeholder)`.
    pub fn new(replaced: &[Span], placeholder: &str) -> Self {
        let mut removed = 0;
        let removed_before = replaced
            .iter()
            .map(|span| {
                let before = removed;
                removed += span.len();
                before
            })
            .collect();
        Self { replaced: replaced.to_vec(), placeholder_len: placeholder.len(), removed_before }
    }

    /// Where `span` stands now; `None` when any of it was replaced.
    pub fn carry(&self, span: &Span) -> Option<Span> {
        let next = self.replaced.partition_point(|replaced| replaced.end <= span.start);
        if self.replaced.get(next).is_some_and(|replaced| replaced.start < span.end) {
            return None;
        }
        let start = self.shift(span.start, next);
        Some(start..start + span.len())
    }

    /// Where a stretch that may hold replaced spans stands now, for example a passage; an end that lay inside a
    /// replaced span moves out so that the whole placeholder is covered.
    pub fn cover(&self, span: &Span) -> Span {
        let first = self.replaced.partition_point(|replaced| replaced.end <= span.start);
        let start = match self.replaced.get(first) {
            Some(replaced) if replaced.start < span.start => self.shift(replaced.start, first),
            _ => self.shift(span.start, first),
        };
        let after = self.replaced.partition_point(|replaced| replaced.start < span.end);
        let end = match after.checked_sub(1).and_then(|last| self.replaced.get(last)) {
            Some(replaced) if replaced.end > span.end => self.shift(replaced.end, after),
            _ => self.shift(span.end, after),
        };
        start..end
    }

    /// New offset of an old one that has `before` replaced spans ahead of it.
    fn shift(&self, offset: usize, before: usize) -> usize {
        let removed = match before.checked_sub(1) {
            Some(last) => self.removed_before[last] + self.replaced[last].len(),
            None => 0,
        };
        offset - removed + before * self.placeholder_len
    }
}

/// Makes sure that no placeholder stands in source text: a literal `[MASK]` becomes `(MASK)`, `[TARGET]` becomes
/// `(TARGET)`. Lengths do not change, so spans stay right.
pub fn escape_placeholders(text: &str) -> Cow<'_, str> {
    if !text.contains(MASK) && !text.contains(TARGET) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(MASK, "(MASK)").replace(TARGET, "(TARGET)"))
}

/// Whether `surface` still stands in `text` as whole words in a looser sense than [`occurrences`] takes: after
/// compatibility normalisation (NFKC), in any case, with any white space or dash between its words. The leak check of
/// document synthesis.
///
/// ```
/// use memtrain_corpora::mask::leaks;
/// assert!(leaks("the port of NEW\nVELMORA", "New Velmora"));
/// assert!(!leaks("the New Velmorans", "New Velmora"));
/// ```
pub fn leaks(text: &str, surface: &str) -> bool {
    let surface = loosen(surface);
    let surface = surface.trim();
    !surface.is_empty() && !occurrences(&loosen(text), surface, Matching::default()).is_empty()
}

/// NFKC, lower case, each run of white space one space, every dash a hyphen-minus, soft hyphens and zero-width marks gone.
fn loosen(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.nfkc().flat_map(char::to_lowercase).nfc() {
        match c {
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{2060}' => {}
            '\u{2010}'..='\u{2015}' | '\u{2212}' => out.push('-'),
            c if c.is_whitespace() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether there is no word boundary between two neighbouring characters.
fn joins(left: char, right: char) -> bool {
    if is_combining_mark(right) {
        return true;
    }
    let left_is_word = (left.is_alphanumeric() || is_combining_mark(left)) && !is_unspaced(left);
    left_is_word && right.is_alphanumeric() && !is_unspaced(right)
}

/// Letters of scripts that put no spaces between words.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{309f}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Whether the stretch `start..end` of `text` begins and ends at word boundaries.
///
/// ```
/// use memtrain_corpora::mask::is_whole_word;
/// assert!(is_whole_word("a Rome-based firm", &(2..6)));
/// assert!(!is_whole_word("Romeo", &(0..4)));
/// ```
pub fn is_whole_word(text: &str, span: &Span) -> bool {
    let (Some(before), Some(inside), Some(after)) =
        (text.get(..span.start), text.get(span.clone()), text.get(span.end..))
    else {
        return false;
    };
    let (Some(first), Some(last)) = (inside.chars().next(), inside.chars().next_back()) else {
        return false;
    };
    !before.chars().next_back().is_some_and(|left| joins(left, first))
        && !after.chars().next().is_some_and(|right| joins(last, right))
}

/// A text in the form in which surfaces are compared, with the way back to the offsets of the text as given.
struct Comparable<'t> {
    text: Cow<'t, str>,
    /// Offsets that begin a character here and there: (in `text`, in the original), in order, the two ends included.
    /// `None`: the two texts have the same offsets.
    boundaries: Option<Vec<(usize, usize)>>,
}

impl<'t> Comparable<'t> {
    fn new(text: &'t str, matching: Matching) -> Self {
        if matching.case_sensitive && (text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes) {
            return Self { text: Cow::Borrowed(text), boundaries: None };
        }
        if text.is_ascii() {
            return Self { text: Cow::Owned(text.to_ascii_lowercase()), boundaries: None };
        }
        let mut out = String::with_capacity(text.len());
        let mut boundaries = Vec::new();
        let mut start = 0;
        let ends = text.char_indices().filter(|&(_, c)| begins_segment(c)).map(|(at, _)| at).filter(|&at| at > 0);
        for end in ends.chain(std::iter::once(text.len())) {
            boundaries.push((out.len(), start));
            if matching.case_sensitive {
                out.extend(text[start..end].nfc());
            } else {
                out.extend(text[start..end].nfc().flat_map(char::to_lowercase).nfc());
            }
            start = end;
        }
        boundaries.push((out.len(), text.len()));
        Self { text: Cow::Owned(out), boundaries: Some(boundaries) }
    }

    fn occurrences(&self, original: &str, surface: &str, matching: Matching) -> Vec<Span> {
        let surface = Comparable::new(surface, matching).text;
        let mut found = Vec::new();
        let Some(first) = surface.chars().next() else {
            return found;
        };
        let mut from = 0;
        while let Some(at) = self.text.get(from..).and_then(|rest| rest.find(&*surface)) {
            let start = from + at;
            let end = start + surface.len();
            let span = self.original(start).zip(self.original(end)).map(|(start, end)| start..end);
            match span.filter(|span| is_whole_word(original, span)) {
                Some(span) => {
                    found.push(span);
                    from = end;
                }
                None => from = start + first.len_utf8(),
            }
        }
        found
    }

    /// The original's offset of an offset that begins a character in both; `None` inside a composed character.
    fn original(&self, offset: usize) -> Option<usize> {
        let Some(boundaries) = &self.boundaries else {
            return Some(offset);
        };
        let at = boundaries.binary_search_by_key(&offset, |&(here, _)| here).ok()?;
        Some(boundaries[at].1)
    }
}

/// Whether normalisation can never join `c` with what stands before it.
fn begins_segment(c: char) -> bool {
    canonical_combining_class(c) == 0 && is_nfc_quick(std::iter::once(c)) != IsNormalized::Maybe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXACT: Matching = Matching { case_sensitive: true };
    const ANY_CASE: Matching = Matching { case_sensitive: false };

    fn words(text: &str, surface: &str, matching: Matching) -> Vec<String> {
        occurrences(text, surface, matching).into_iter().map(|span| text[span].to_owned()).collect()
    }

    #[test]
    fn whole_words_only() {
        assert_eq!(words("Oslo, Oslos, xOslo, (Oslo) Oslo-based Oslo's Oslo’s Oslo_2", "Oslo", EXACT).len(), 6);
        assert_eq!(words("OSLO oslo Oslo", "Oslo", EXACT), ["Oslo"]);
        assert_eq!(words("OSLO oslo Oslo", "Oslo", ANY_CASE), ["OSLO", "oslo", "Oslo"]);
        assert!(words("Oslo", "", EXACT).is_empty());
    }

    #[test]
    fn a_failed_match_does_not_hide_an_overlapping_one() {
        assert_eq!(occurrences("ba a a", "a a", EXACT), vec![3..6]);
    }

    #[test]
    fn decomposed_text_matches_composed_surface_and_keeps_its_offsets() {
        let text = "Cafe\u{301} Caf\u{e9} Cafe Cafe\u{301}\u{323}";
        assert_eq!(words(text, "Caf\u{e9}", EXACT), ["Cafe\u{301}", "Caf\u{e9}"]);
        assert_eq!(words(text, "Cafe\u{301}", EXACT), ["Cafe\u{301}", "Caf\u{e9}"]);
        assert_eq!(words(text, "Cafe", EXACT), ["Cafe"]);
        assert_eq!(words("\u{1112}\u{1161}\u{11ab} 한", "한", EXACT).len(), 2);
        assert_eq!(words("ÉTÉ E\u{301}te\u{301}", "été", ANY_CASE).len(), 2);
        assert_eq!(words("İstanbul", "istanbul", ANY_CASE).len(), 0);
    }

    #[test]
    fn scripts_without_spaces_have_boundaries_everywhere() {
        assert_eq!(words("我在北京住", "北京", EXACT), ["北京"]);
    }

    #[test]
    fn any_takes_the_longest_at_the_earliest_place() {
        let text = "New York City and York";
        let spans = occurrences_of_any(text, &["York", "New York", "York City"], EXACT);
        assert_eq!(spans, [0..8, 18..22]);
    }

    #[test]
    fn placeholders_in_source_text_are_escaped_in_place() {
        let text = "a [MASK] and [TARGET] [MASK";
        let escaped = escape_placeholders(text);
        assert_eq!(escaped, "a (MASK) and (TARGET) [MASK");
        assert_eq!(escaped.len(), text.len());
        assert!(matches!(escape_placeholders("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn leaks_are_found_in_other_dress() {
        assert!(leaks("in saint\u{2010}mary", "Saint-Mary"));
        assert!(leaks("Vel\u{ad}mora", "Velmora"));
        assert!(leaks("ﬁnland", "Finland"));
        assert!(!leaks("[MASK] stands", "Velmora"));
        assert!(!leaks("anything", "  "));
    }

    /// Quadratic and obvious: tries every pair of ends.
    fn naive(text: &str, surface: &str) -> Vec<Span> {
        let target: String = surface.nfc().collect();
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let mut found: Vec<Span> = Vec::new();
        for &start in &ends {
            if found.last().is_some_and(|span| span.end > start) {
                continue;
            }
            for &end in ends.iter().filter(|&&end| end > start) {
                if text[start..end].nfc().eq(target.chars()) && is_whole_word(text, &(start..end)) {
                    found.push(start..end);
                    break;
                }
            }
        }
        found
    }

    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![
                Just("a"),
                Just("b"),
                Just("ab"),
                Just("é"),
                Just("e\u{301}"),
                Just("\u{323}"),
                Just(" "),
                Just("'s"),
                Just("’s"),
                Just("-"),
                Just("北"),
                Just("가"),
                Just("\u{1100}\u{1161}"),
                Just("."),
                Just("7"),
                Just("ß"),
                Just("\u{958}"),
                Just("\u{212b}")
            ],
            0..24,
        )
        .prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn same_as_the_naive_twin(text in text(), surface in "[abé北가7]{1,2}( [abé])?") {
            prop_assert_eq!(occurrences(&text, &surface, EXACT), naive(&text, &surface));
        }

        #[test]
        fn comparable_form_is_nfc(text in text()) {
            let comparable = Comparable::new(&text, EXACT);
            prop_assert_eq!(comparable.text.to_string(), text.nfc().collect::<String>());
        }

        #[test]
        fn unmasking_gives_the_text_back(text in text(), surface in "[abé北가7]{1,2}") {
            let spans = occurrences(&text, &surface, EXACT);
            let (masked, placed) = replace(&text, &spans, MASK);
            let mut restored = String::new();
            let mut from = 0;
            for (old, new) in spans.iter().zip(&placed) {
                restored.push_str(&masked[from..new.start]);
                restored.push_str(&text[old.clone()]);
                from = new.end;
            }
            restored.push_str(&masked[from..]);
            prop_assert_eq!(restored, text);
        }

        #[test]
        fn nothing_is_left_after_replacing(text in text(), surface in "[abé北가7]{1,2}( [abé])?") {
            let (masked, _) = replace(&text, &occurrences(&text, &surface, EXACT), MASK);
            prop_assert!(occurrences(&masked, &surface, EXACT).is_empty(), "{}", masked);
        }

        #[test]
        fn carried_spans_hold_the_same_words(text in text(), surface in "[abé]{1,2}", from in 0usize..40, len in 0usize..9) {
            let spans = occurrences(&text, &surface, EXACT);
            let (masked, _) = replace(&text, &spans, MASK);
            let map = SpanMap::new(&spans, MASK);
            let span = from..from + len;
            if text.get(span.clone()).is_some() {
                let overlaps = spans.iter().any(|s| s.start < span.end && span.start < s.end);
                match map.carry(&span) {
                    Some(new) => {
                        prop_assert_eq!(&masked[new.clone()], &text[span.clone()]);
                        prop_assert!(!overlaps || span.is_empty());
                        if !overlaps { prop_assert_eq!(map.cover(&span), new); }
                    }
                    None => prop_assert!(overlaps),
                }
                let inner: Vec<Span> = spans.iter().filter(|s| s.start >= span.start && s.end <= span.end).cloned().collect();
                let cut = spans.iter().any(|s| (s.start < span.start && span.start < s.end) || (s.start < span.end && span.end < s.end));
                if !cut {
                    let shifted: Vec<Span> = inner.iter().map(|s| s.start - span.start..s.end - span.start).collect();
                    let (expected, _) = replace(&text[span.clone()], &shifted, MASK);
                    prop_assert_eq!(&masked[map.cover(&span)], &expected);
                }
            }
        }
    }
}
