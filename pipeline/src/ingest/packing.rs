//! From the prose of an article to passages: whole paragraphs, else whole sentences, of one section.

mod sentences;
mod words;

use memtrain_corpora::wikitext::is_boilerplate_heading;
use memtrain_corpora::{Article, Link, Section, Span};
use unicode_segmentation::UnicodeSegmentation;

use crate::config::{IngestConfig, ShortPassages};

/// A passage before it has a number and an article around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Byte range in the article's text.
    pub(crate) span: Span,
    /// Words in it.
    pub(crate) num_words: u32,
    /// Index of its section.
    pub(crate) section: usize,
}

/// What became of an article's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packing {
    /// The passages in order.
    pub(crate) passages: Vec<Packed>,
    /// Passages below `min_words` that were dropped.
    pub(crate) short_dropped: u64,
    /// Passages below `min_words` that were kept.
    pub(crate) short_kept: u64,
    /// Sections that are not prose.
    pub(crate) sections_dropped: u64,
}

impl Packing {
    /// What is counted of an article.
    pub(crate) fn causes(&self) -> [(&'static str, u64); 4] {
        [
            ("short_passages_dropped", self.short_dropped),
            ("short_passages_kept", self.short_kept),
            ("sections_dropped", self.sections_dropped),
            ("articles_without_passages", u64::from(self.passages.is_empty())),
        ]
    }
}

/// A sentence, or a piece of one that is longer than a passage may be.
#[derive(Clone, Debug)]
struct Unit {
    span: Span,
    words: u32,
    /// Words from here to the end of the paragraph, this unit included.
    paragraph_words: u32,
}

/// Cuts an article into passages.
///
/// Units are packed greedily. A passage that has enough words ends before a paragraph that does not fit as a whole; one
/// that has not takes sentences of it. A rest that is too short is evened out with the passage before it where both can
/// be within bounds, else it is a short passage.
pub(crate) fn pack(article: &Article, config: &IngestConfig) -> Packing {
    let mut packing = Packing::default();
    let mut dropped_level = u8::MAX;
    for (index, section) in article.sections.iter().enumerate() {
        if section.level > dropped_level {
            packing.sections_dropped += 1;
            continue;
        }
        dropped_level = u8::MAX;
        if is_dropped(section, config) {
            dropped_level = section.level;
            packing.sections_dropped += 1;
            continue;
        }
        let units = units(&article.text, &section.span, config.max_words);
        for group in even_out(group(&units, config), &units, config) {
            let span = units[group.start].span.start..units[group.end - 1].span.end;
            let num_words = num_words(&units[group]);
            if num_words < config.min_words {
                match config.short_passages {
                    ShortPassages::Drop => {
                        packing.short_dropped += 1;
                        continue;
                    }
                    ShortPassages::Keep => packing.short_kept += 1,
                }
            }
            packing.passages.push(Packed { span, num_words, section: index });
        }
    }
    packing
}

/// The article's links that lie wholly inside a passage, relative to it.
pub(crate) fn links_inside(article: &Article, span: &Span) -> Vec<Link> {
    let first = article.links.partition_point(|link| link.span.start < span.start);
    article.links[first..]
        .iter()
        .take_while(|link| link.span.start < span.end)
        .filter(|link| link.span.end <= span.end)
        .map(|link| Link {
            span: link.span.start - span.start..link.span.end - span.start,
            target: link.target.clone(),
        })
        .collect()
}

fn is_dropped(section: &Section, config: &IngestConfig) -> bool {
    let title = section.title.trim().to_lowercase();
    let named = config.drop_sections.iter().any(|dropped| dropped.to_lowercase() == title);
    section.level > 1 && (named || is_boilerplate_heading(&title, section.level))
}

fn num_words(units: &[Unit]) -> u32 {
    units.iter().map(|unit| unit.words).sum()
}

/// Sentences of a section with their words, in order; pieces of a sentence where it exceeds `max_words`.
fn units(text: &str, section: &Span, max_words: u32) -> Vec<Unit> {
    let mut units = Vec::new();
    for paragraph in paragraphs(text, section) {
        let first = units.len();
        for sentence in sentences(text, &paragraph) {
            let words = words::count(&text[sentence.clone()]);
            if words > max_words {
                pieces(text, &sentence, max_words, &mut units);
            } else if words > 0 {
                units.push(Unit { span: sentence, words, paragraph_words: 0 });
            }
        }
        let mut rest = 0;
        for unit in units[first..].iter_mut().rev() {
            rest += unit.words;
            unit.paragraph_words = rest;
        }
    }
    units
}

/// Stretches between blank lines, without white space at their ends.
fn paragraphs(text: &str, section: &Span) -> Vec<Span> {
    let mut found = Vec::new();
    let mut start = section.start;
    let inside = &text[section.clone()];
    for end in inside.match_indices("\n\n").map(|(at, _)| section.start + at).chain([section.end]) {
        let span = trimmed(text, start..end.max(start));
        if !span.is_empty() {
            found.push(span);
        }
        start = end.saturating_add(2).min(section.end);
    }
    found
}

fn trimmed(text: &str, span: Span) -> Span {
    let inside = &text[span.clone()];
    let start = span.start + (inside.len() - inside.trim_start().len());
    start..start + inside.trim().len()
}

/// Sentences by Unicode segmentation; a bound behind an initial or a common abbreviation is not taken for one.
fn sentences(text: &str, paragraph: &Span) -> Vec<Span> {
    let mut found: Vec<Span> = Vec::new();
    let mut open: Option<usize> = None;
    let mut begin = paragraph.start;
    for end in sentences::ends(&text[paragraph.clone()]) {
        let end = paragraph.start + end;
        let sentence = &text[begin..end];
        let start = open.take().unwrap_or(begin);
        begin = end;
        if end < paragraph.end && ends_in_abbreviation(sentence) {
            open = Some(start);
            continue;
        }
        let span = trimmed(text, start..end);
        if !span.is_empty() {
            found.push(span);
        }
    }
    found
}

fn ends_in_abbreviation(sentence: &str) -> bool {
    let Some(sentence) = sentence.trim_end_matches(' ').strip_suffix('.') else { return false };
    let last = sentence.rsplit([' ', '(', '\u{a0}', '.']).next().unwrap_or_default();
    let is_initial = last.chars().count() == 1 && last.chars().all(char::is_uppercase);
    let known = [
        "Dr",
        "Mr",
        "Mrs",
        "Ms",
        "St",
        "No",
        "vs",
        "c",
        "ca",
        "Jr",
        "Sr",
        "Prof",
        "Gen",
        "Col",
        "Lt",
        "Capt",
        "Mt",
        "Rev",
        "Hon",
        "cf",
        "Fig",
        "Vol",
        "e.g",
        "i.e",
        "bzw",
        "Nr",
        "Bd",
        "Hrsg",
        "geb",
        "gest",
        "Mme",
        "av",
        "núm",
        "Sra",
        "art",
        "tzv",
        "např",
        "г",
        "гг",
        "вв",
        "им",
        "ул",
        "др",
        "см",
        "напр",
        "рр",
        "डॉ",
        "श्री",
        "प्रा",
        "सौ",
        "कु",
    ];
    is_initial || known.contains(&last)
}

/// Cuts a sentence that is too long at word bounds, into pieces of equal length as far as possible.
fn pieces(text: &str, sentence: &Span, max_words: u32, units: &mut Vec<Unit>) {
    let inside = &text[sentence.clone()];
    let starts: Vec<usize> = inside.unicode_word_indices().map(|(at, _)| sentence.start + at).collect();
    let first = units.len();
    let mut count = words::count(inside).div_ceil(max_words.max(1)) as usize;
    // Where words of several scripts are mixed, pieces of as many segments need not have as many words.
    while count <= starts.len() {
        units.truncate(first);
        let mut start = sentence.start;
        for piece in 1..=count {
            let end = starts.get(cut(text, &starts, piece, count)).copied().unwrap_or(sentence.end);
            let span = trimmed(text, start..end);
            units.push(Unit { words: words::count(&text[span.clone()]), span, paragraph_words: 0 });
            start = end;
        }
        if units[first..].iter().all(|unit| unit.words <= max_words) {
            return;
        }
        count += 1;
    }
}

/// The segment that a piece ends before: near its share of them, behind a space or a mark where there is one. Scripts
/// without spaces between words have them between clauses.
fn cut(text: &str, starts: &[usize], piece: usize, count: usize) -> usize {
    let share = starts.len() * piece / count;
    if piece == count {
        return starts.len();
    }
    let behind_letter = |at: &usize| text[..starts[*at]].chars().next_back().is_some_and(char::is_alphanumeric);
    let window = share.saturating_sub(starts.len() / count / 5)..=share;
    window.rev().find(|at| !behind_letter(at)).unwrap_or(share)
}

/// Greedy packing; ranges of units.
fn group(units: &[Unit], config: &IngestConfig) -> Vec<std::ops::Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut held) = (0, 0u32);
    for (index, unit) in units.iter().enumerate() {
        let begins_paragraph = index == 0 || units[index - 1].paragraph_words == units[index - 1].words;
        let next = if begins_paragraph && held >= config.min_words { unit.paragraph_words } else { unit.words };
        if index > start && held.saturating_add(next) > config.max_words {
            groups.push(start..index);
            (start, held) = (index, 0);
        }
        held += unit.words;
    }
    if start < units.len() {
        groups.push(start..units.len());
    }
    groups
}

/// Moves the bound before a group that is too short, or removes it, where that brings both sides within bounds.
fn even_out(
    mut groups: Vec<std::ops::Range<usize>>,
    units: &[Unit],
    config: &IngestConfig,
) -> Vec<std::ops::Range<usize>> {
    let bounds = config.min_words..=config.max_words;
    let mut index = 1;
    while index < groups.len() {
        let (before, short) = (groups[index - 1].clone(), groups[index].clone());
        if num_words(&units[short.clone()]) >= config.min_words && num_words(&units[before.clone()]) >= config.min_words
        {
            index += 1;
            continue;
        }
        let all = num_words(&units[before.start..short.end]);
        if all <= config.max_words {
            groups[index - 1] = before.start..short.end;
            groups.remove(index);
            continue;
        }
        let evenness = |bound: &usize| num_words(&units[before.start..*bound]).abs_diff(all.div_ceil(2));
        let split = (before.start + 1..short.end)
            .filter(|&bound| {
                let left = num_words(&units[before.start..bound]);
                bounds.contains(&left) && bounds.contains(&(all - left))
            })
            .min_by_key(evenness);
        if let Some(split) = split {
            groups[index - 1] = before.start..split;
            groups[index] = split..short.end;
        }
        index += 1;
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn article(sections: &[(&str, u8, &str)]) -> Article {
        let mut text = String::new();
        let mut spans = Vec::new();
        for (title, level, body) in sections {
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            let start = text.len();
            text.push_str(body);
            spans.push(Section { title: (*title).to_owned(), level: *level, span: start..text.len() });
        }
        Article {
            id: 1,
            url: String::new(),
            title: "T".into(),
            text,
            revision_id: 1,
            timestamp: String::new(),
            sections: spans,
            links: Vec::new(),
            categories: Vec::new(),
            infoboxes: Vec::new(),
        }
    }

    fn config(min_words: u32, max_words: u32) -> IngestConfig {
        IngestConfig { min_words, max_words, ..IngestConfig::default() }
    }

    #[test]
    fn paragraphs_stay_whole_where_they_can() {
        let article =
            article(&[("", 1, "One two three. Four five.\n\nSix seven eight nine. Ten.\n\nLast one here now.")]);
        let packing = pack(&article, &config(4, 9));
        let texts: Vec<_> = packing.passages.iter().map(|p| &article.text[p.span.clone()]).collect();
        assert_eq!(texts, ["One two three. Four five.", "Six seven eight nine. Ten.\n\nLast one here now."]);
        assert_eq!(packing, Packing { passages: packing.passages.clone(), ..Packing::default() });
    }

    #[test]
    fn boilerplate_sections_go_with_their_subsections() {
        let text = "A b c d.";
        let sections = [("", 1, text), ("References", 2, text), ("Books", 3, text), ("Life", 2, text)];
        let article = article(&sections);
        let packing = pack(&article, &config(1, 9));
        assert_eq!(packing.passages.iter().map(|p| p.section).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(packing.sections_dropped, 2);
    }

    #[test]
    fn short_rests_are_evened_out_dropped_or_kept() {
        let article = article(&[("", 1, "A b c. D e f. G h i. J k."), ("X", 2, "Too short.")]);
        let packing = pack(&article, &config(5, 9));
        assert_eq!(packing.passages.iter().map(|p| p.num_words).collect::<Vec<_>>(), [6, 5]);
        assert_eq!(packing.short_dropped, 1);
        let packing = pack(&article, &IngestConfig { short_passages: ShortPassages::Keep, ..config(5, 9) });
        assert_eq!((packing.passages.len(), packing.short_kept), (3, 1));
    }

    #[test]
    fn initials_do_not_end_sentences() {
        let text = "It was J. S. Bach who wrote to Dr. Smith. He came.";
        let found: Vec<_> = sentences(text, &(0..text.len())).into_iter().map(|s| &text[s]).collect();
        assert_eq!(found, ["It was J. S. Bach who wrote to Dr. Smith.", "He came."]);
    }

    #[test]
    fn words_of_scripts_without_spaces_are_counted_by_characters() {
        assert_eq!(words::count("One two, three's 3.5"), 4);
        assert_eq!(words::count("東京は日本の首都です。人口は多い。"), 5 + 3);
        assert_eq!(words::count("ภาษาไทยเป็นภาษา"), 4);
        assert_eq!(words::count("यह हिन्दी है। वह भी।"), 5);
        assert_eq!(words::count("Linuxは良い 3 times"), 1 + 2 + 2);
        assert_eq!(words::count("서울은 큰 도시"), 3);
        assert_eq!(words::count(""), 0);
    }

    #[test]
    fn sentences_end_with_the_marks_of_their_script() {
        let split = |text: &str| -> Vec<String> {
            sentences(text, &(0..text.len())).into_iter().map(|span| text[span].to_owned()).collect()
        };
        assert_eq!(split("東京は首都です。人口は多い！本当？"), ["東京は首都です。", "人口は多い！", "本当？"]);
        assert_eq!(split("यह पहला है। वह दूसरा है।"), ["यह पहला है।", "वह दूसरा है।"]);
        assert_eq!(split("هل هذا؟ نعم."), ["هل هذا؟", "نعم."]);
        assert_eq!(split("Он родился в 1900 г. в Москве. Умер."), ["Он родился в 1900 г. в Москве.", "Умер."]);
        assert_eq!(split("डॉ. आंबेडकर आले. ते गेले."), ["डॉ. आंबेडकर आले.", "ते गेले."]);
    }

    #[test]
    fn long_sentences_without_spaces_are_cut_within_bounds() {
        let text = format!("{} {}。", "漢字".repeat(300), "word ".repeat(150));
        let article = article(&[("", 1, &text)]);
        let packed = pack(&article, &config(20, 60)).passages;
        assert!(packed.iter().all(|passage| passage.num_words <= 60), "{packed:?}");
        assert!(packed.len() >= 8, "{}", packed.len());
        let thai = "ภาษาไทยเป็นภาษา ".repeat(40);
        let article = self::article(&[("", 1, thai.trim())]);
        let packed = pack(&article, &config(10, 40)).passages;
        assert!(
            packed
                .iter()
                .all(|passage| passage.num_words <= 40 && article.text[passage.span.clone()].ends_with("ภาษา"))
        );
    }

    #[test]
    fn links_move_with_their_passage() {
        let mut article = article(&[("", 1, "Aa bb cc.")]);
        article.links = vec![
            Link { span: 0..2, target: "A".into() },
            Link { span: 3..5, target: "B".into() },
            Link { span: 4..8, target: "C".into() },
        ];
        assert_eq!(links_inside(&article, &(3..6)), [Link { span: 0..2, target: "B".into() }]);
    }

    proptest! {
        #[test]
        fn passages_keep_to_bounds_and_sections(
            sections in proptest::collection::vec("([A-Z][a-z]{0,3}( [a-zé]{1,4}){0,14}[.!] ?(\n\n)?){0,9}", 1..4),
            min in 1u32..9, extra in 0u32..20, keep: bool,
        ) {
            let named: Vec<_> = sections.iter().map(|s| ("S", 2, s.as_str())).collect();
            let article = article(&named);
            let short_passages = if keep { ShortPassages::Keep } else { ShortPassages::Drop };
            let config = IngestConfig { short_passages, ..config(min, min + extra) };
            let packing = pack(&article, &config);
            let packed = &packing.passages;
            let mut end = 0;
            for passage in packed {
                prop_assert!(passage.span.start >= end && passage.span.end > passage.span.start);
                end = passage.span.end;
                let section = &article.sections[passage.section].span;
                prop_assert!(passage.span.start >= section.start && passage.span.end <= section.end);
                prop_assert_eq!(passage.num_words, words::count(&article.text[passage.span.clone()]));
                prop_assert!(passage.num_words <= config.max_words);
                prop_assert!(keep || passage.num_words >= min);
            }
            if keep {
                // Nothing is lost: all words are in some passage.
                let total: u32 = packed.iter().map(|p| p.num_words).sum();
                prop_assert_eq!(total, words::count(&article.text));
                prop_assert_eq!(packing.short_dropped, 0);
            }
        }
    }
}
