//! Candidate names: runs of words that may be names.

use std::collections::HashSet;
use std::ops::Range;

use memtrain_corpora::EntityLabel;

use super::super::gazetteer::{Gazetteer, TargetId};
use super::super::lexicon::{LEXICON, Labels, bit, flag};
use super::super::locale::Locale;
use super::super::text::Text;
use super::super::tokens::{Kind, Shape};
use super::Candidate;

/// The longest known name at a place.
#[derive(Clone, Copy)]
struct Known<'g> {
    /// Behind its last token.
    end: usize,
    /// What general knowledge says it can stand for.
    labels: Labels,
    /// Pages of the corpus it can mean.
    pages: &'g [(TargetId, u8)],
    /// Whether it is of one kind of people or belief.
    is_people: bool,
}

/// Finds the candidates of one passage.
pub(super) struct Sentences<'a, 't, 'g> {
    pub(super) text: &'a Text<'t>,
    pub(super) passage: usize,
    pub(super) locale: &'a Locale,
    /// Words that stand in small letters somewhere in the whole text.
    pub(super) lower: &'a HashSet<&'t str>,
    pub(super) gazetteer: &'g Gazetteer,
}

impl<'g> Sentences<'_, '_, 'g> {
    /// Whether a capitalised word at the head of a sentence is no name but a small word.
    fn is_small(&self, at: usize) -> bool {
        let text = self.text;
        if text.has(at, flag::FUNCTION) {
            return true;
        }
        let is_foreign = self.locale.language != "en" && text.tokens[at].shape != Shape::Upper;
        is_foreign && !text.has(at, flag::GIVEN) && self.lower.contains(text.word(at).to_lowercase().as_str())
    }

    pub(super) fn candidates(&self, candidates: &mut Vec<Candidate<'g>>) {
        let text = self.text;
        let mut at = 0;
        while at < text.tokens.len() {
            let end = (at + 1..text.tokens.len()).find(|&next| text.tokens[next].begins).unwrap_or(text.tokens.len());
            let is_shouted = self.is_shouted(at..end);
            let mut place = at;
            while place < end {
                place = self.at(place, end, is_shouted, candidates).max(place + 1);
            }
            at = end;
        }
    }

    /// Whether capitals tell nothing: a heading in capitals.
    fn is_shouted(&self, sentence: Range<usize>) -> bool {
        let words = sentence.filter(|&at| self.text.tokens[at].kind == Kind::Word && self.text.word(at).len() > 1);
        let (mut upper, mut all) = (0, 0);
        for at in words {
            all += 1;
            upper += usize::from(self.text.tokens[at].shape == Shape::Upper);
        }
        all >= 3 && upper * 10 >= all * 7
    }

    /// Looks for a name at a token; returns where to go on.
    fn at(&self, at: usize, sentence_end: usize, is_shouted: bool, candidates: &mut Vec<Candidate<'g>>) -> usize {
        let text = self.text;
        let known = self.known(at, sentence_end, is_shouted);
        if is_shouted || !text.is_capital(at) {
            let is_shown =
                |known: &Known<'_>| is_shouted || known.end > at + 1 || text.tokens[at].shape == Shape::Inner;
            if let Some(known) = known.filter(|known| is_shown(known) || text.is_caseless(at)) {
                self.push(at..known.end, Some(known), false, candidates);
                return known.end;
            }
            return self.inner(at, is_shouted, candidates);
        }
        let start_of_sentence = text.starts(at);
        if start_of_sentence && self.is_small(at) && known.is_none_or(|known| known.end == at + 1) {
            return at + 1;
        }
        let end = self.run_end(at, sentence_end);
        if let Some(known) = known {
            if known.end >= end {
                let doubtful = known.end == at + 1 && start_of_sentence && text.has(at, flag::COMMON | flag::FUNCTION);
                if !(doubtful && text.has(at, flag::FUNCTION)) {
                    self.push(self.with_edition(at..known.end), Some(known), doubtful, candidates);
                }
                return known.end;
            }
            if known.is_people && !self.has_head(known.end..end) {
                self.push(at..known.end, Some(known), false, candidates);
                return known.end;
            }
        }
        if self.is_nouns(at..end) {
            // A name may stand behind them: "die Stadt Velm".
            return at + 1;
        }
        self.run(at, end, candidates);
        end
    }

    /// Where nouns have capitals: whether several of them in a row are no name, because an article stands before them, and no word of
    /// them is known as a person's.
    fn is_nouns(&self, range: Range<usize>) -> bool {
        let (text, determiners) = (self.text, &self.locale.determiners);
        if determiners.is_empty() || range.len() == 1 || text.tokens[range.start].begins {
            return false;
        }
        let is_determined = |before| determiners.contains(&text.word(before).to_lowercase().as_str());
        range.start.checked_sub(1).is_some_and(is_determined)
            && !range.into_iter().any(|at| text.has(at, flag::GIVEN | flag::SURNAME))
    }

    /// A word like `iPhone` or `eBay`.
    fn inner(&self, at: usize, is_shouted: bool, candidates: &mut Vec<Candidate<'g>>) -> usize {
        let text = self.text;
        if !is_shouted
            && text.tokens[at].shape == Shape::Inner
            && !text.taken[at]
            && text.word(at).chars().all(char::is_alphanumeric)
        {
            self.push(at..at + 1, None, false, candidates);
        }
        at + 1
    }

    /// A run of capitalised words: titles and callings before it are no part of it.
    fn run(&self, mut at: usize, end: usize, candidates: &mut Vec<Candidate<'g>>) {
        let text = self.text;
        // "Former President Ana Lund": what begins the sentence or is a title goes.
        while at + 1 < end {
            let is_first = text.starts(at);
            let is_common = text.has(at, flag::FUNCTION | flag::COMMON | flag::ROLE | flag::TITLE)
                && !text.has(at, flag::GIVEN | flag::BEFORE_NAME | flag::OF_HEAD);
            let is_title = text.has(at, flag::TITLE)
                && text.is_capital(at + 1)
                && !self.has_head(at + 1..end)
                && !matches!(text.word(at), "St." | "St" | "Saint");
            let next_is_name = text.is_capital(at + 1) && !self.has_head(at + 1..end);
            if is_title || (is_first && is_common && next_is_name) || (is_first && self.is_small(at)) {
                at += 1;
                while at + 1 < end && !text.is_capital(at) {
                    at += 1;
                }
            } else {
                break;
            }
        }
        at = self.behind_calling(at, end);
        let range = at..end;
        if range.len() == 1 {
            let shape = text.tokens[at].shape;
            let is_noun = !self.locale.determiners.is_empty()
                && shape == Shape::Title
                && !text.has(at, flag::GIVEN | flag::SURNAME);
            if is_noun
                || shape == Shape::Initial
                || (self.is_common(at) && !self.is_name_anyway(at) && text.starts(at))
                || (text.starts(at) && is_derived(text.word(at)))
            {
                return;
            }
            let doubtful = text.starts(at) && (shape == Shape::Title);
            self.push(range, None, doubtful, candidates);
            return;
        }
        let is_name =
            range.clone().any(|at| text.is_capital(at) && !text.has(at, flag::TITLE | flag::ROLE | flag::FUNCTION));
        let is_common = range.clone().all(|at| text.has(at, flag::COMMON | flag::FUNCTION | flag::ROLE | flag::TYPES));
        let is_quoted = range.start > 0 && text.is_sign(range.start - 1, "\"“«„‘");
        let range = self.with_edition(range);
        if is_name
            && (!is_common
                || self.has_head(range.clone())
                || is_quoted
                || !text.has(range.start, flag::COMMON | flag::TYPES))
        {
            self.push(range, None, false, candidates);
        }
    }

    /// `2004 Summer Olympics`, `2nd Battle of Ost`: the number belongs to the event.
    fn with_edition(&self, range: Range<usize>) -> Range<usize> {
        let text = self.text;
        let is_event = range.clone().any(|at| {
            text.has(at, flag::EVENT) && text.is_capital(at) && (at + 1 == range.end || text.word(at + 1) == "of")
        });
        let before = |back: usize| range.start.checked_sub(back).filter(|&at| text.tokens[at].kind == Kind::Number);
        let is_suffix = |at: usize| matches!(text.word(at), "st" | "nd" | "rd" | "th");
        match (before(1), before(2)) {
            (Some(year), _) if is_event && text.word(year).len() == 4 => year..range.end,
            (_, Some(number)) if is_event && is_suffix(range.start - 1) => number..range.end,
            _ => range,
        }
    }

    fn is_common(&self, at: usize) -> bool {
        let text = self.text;
        text.has(at, flag::FUNCTION | flag::COMMON | flag::TITLE | flag::ROLE) && text.tokens[at].shape != Shape::Upper
    }

    /// `County Coroner Ana Lund`: where the person's name begins.
    fn behind_calling(&self, at: usize, end: usize) -> usize {
        let text = self.text;
        let explains = flag::COMMON | flag::ROLE | flag::TITLE | flag::TYPES;
        let given = (at + 1..end.saturating_sub(1)).find(|&name| {
            text.has(name, flag::GIVEN)
                && !text.has(name, flag::COMMON)
                && text.is_capital(name + 1)
                && !self.has_head(name..end)
        });
        match given {
            Some(given) if (at..given).all(|before| text.has(before, explains) && !text.has(before, flag::GIVEN)) => {
                given
            }
            _ => {
                let rest = at + 1..end;
                let is_person = rest.len() >= 2 && { rest }
                    .all(|at| text.is_capital(at) && text.flags[at] & (explains | flag::HEADS) == 0);
                let calls = text.has(at, flag::ROLE | flag::COMMON)
                    && !text.has(at, flag::GIVEN | flag::BEFORE_NAME | flag::SURNAME | flag::HEADS);
                if is_person && calls { at + 1 } else { at }
            }
        }
    }

    /// A common word that is a name at its place: behind a title, between quotation marks, doing what people do.
    fn is_name_anyway(&self, at: usize) -> bool {
        let text = self.text;
        let titled = at.checked_sub(1).is_some_and(|before| text.has(before, flag::TITLE) && text.is_capital(before));
        let is_place = !text.starts(at)
            && at
                .checked_sub(1)
                .is_some_and(|before| matches!(text.word(before), "in" | "at" | "from" | "near" | "to"))
            && !text.has(at + 1, flag::TYPES | flag::HEADS)
            && !text.has(at, flag::FUNCTION);
        titled || is_place || (!text.starts(at) && text.has(at, flag::SURNAME | flag::GIVEN))
    }

    pub(super) fn has_head(&self, range: Range<usize>) -> bool {
        range.end > range.start && self.text.has(range.end - 1, flag::HEADS) && self.text.is_capital(range.end - 1)
    }

    /// The longest known name at a token.
    fn known(&self, at: usize, sentence_end: usize, is_shouted: bool) -> Option<Known<'g>> {
        let text = self.text;
        let built_in = if text.has(at, flag::PHRASE) { LEXICON.most_words } else { 0 };
        let is_shown = text.is_capital(at)
            || text.is_caseless(at)
            || text.tokens[at].shape == Shape::Inner
            || text.tokens[at].kind == Kind::Number;
        let of_corpus = if is_shown { self.gazetteer.most_words(text.word(at)) } else { 0 };
        if text.taken[at] || built_in.max(of_corpus) == 0 || !(is_shown || is_shouted) {
            return None;
        }
        let most = built_in.max(of_corpus).min(sentence_end - at);
        (1..=most).rev().find_map(|length| {
            let range = at..at + length;
            if text.taken[range.clone()].contains(&true) {
                return None;
            }
            let name = text.words(&range);
            let labels = match if length <= built_in { LEXICON.name(name) } else { 0 } {
                0 if text.tokens[at].shape == Shape::Upper && name.len() > 3 => LEXICON.name(&title_case(name)),
                labels => labels,
            };
            let pages = if length <= of_corpus { self.pages(&range, name) } else { &[] };
            let is_people = labels & bit(EntityLabel::Norp) != 0
                || pages.first().is_some_and(|(id, _)| self.gazetteer.label_of(*id) == EntityLabel::Norp);
            (labels != 0 || !pages.is_empty()).then_some(Known { end: range.end, labels, pages, is_people })
        })
    }

    /// The pages of the corpus that a name can mean; none where the words are rather no name.
    fn pages(&self, range: &Range<usize>, name: &str) -> &'g [(TargetId, u8)] {
        /// A word that is a link less often than this, in 255ths, is a common word that some page happens to be named
        /// after.
        const RARELY: u8 = 5;
        let text = self.text;
        let Some(meanings) = self.gazetteer.find(name).filter(|_| !name.contains(", ")) else { return &[] };
        let is_common =
            text.has(range.start, flag::COMMON | flag::FUNCTION | flag::TITLE) || text.is_caseless(range.start);
        let is_rare = match meanings.linked {
            Some(linked) => linked < if is_common { 3 * RARELY } else { RARELY },
            None => is_common,
        };
        let is_weak = range.len() == 1 && (is_common || text.starts(range.start));
        let is_cut = text.tokens.get(range.end).is_some_and(|token| !token.spaced && token.kind == Kind::Word)
            && self.locale.spaced;
        if (is_weak && is_rare) || is_cut { &[] } else { meanings.pages }
    }

    /// Where the run of capitalised words that begins at a token ends.
    fn run_end(&self, at: usize, sentence_end: usize) -> usize {
        let text = self.text;
        let mut end = at + 1;
        while end < sentence_end {
            let next = if text.goes_on(end) {
                self.word_end(at, end)
            } else {
                self.joined(at, end).filter(|next| *next <= sentence_end)
            };
            match next {
                Some(next) => end = next,
                None => break,
            }
        }
        end
    }

    /// A capitalised word behind a name: small words in capitals only go on when a name goes on behind them.
    fn word_end(&self, start: usize, at: usize) -> Option<usize> {
        let text = self.text;
        if text.word(at) == "I" {
            let numbered = text.has(at - 1, flag::GIVEN | flag::EVENT | flag::GIVEN_OR_WORD);
            return (numbered && !text.has(at + 1, flag::VERB)).then_some(at + 1);
        }
        if text.has(at, flag::FUNCTION) && text.tokens[at].shape == Shape::Title {
            return (text.goes_on(at + 1) && at > start).then_some(at + 2);
        }
        Some(at + 1)
    }

    /// What joins the words of a name: `of`, `&`, particles, a possessive before a head, a number.
    fn joined(&self, start: usize, at: usize) -> Option<usize> {
        let text = self.text;
        let token = text.tokens.get(at)?;
        let word = text.word(at);
        match token.kind {
            Kind::Possessive => {
                let in_phrase = (start..at).any(|at| text.word(at) == "of");
                let heads = if in_phrase { flag::HEADS } else { flag::ORG | flag::FAC | flag::EVENT };
                let head = (at + 1..at + 3).find(|&at| text.goes_on(at) && text.has(at, heads))?;
                (at + 1..head).all(|at| text.goes_on(at)).then_some(head + 1)
            }
            Kind::Number => {
                let is_short = word.len() <= 3 && word.bytes().all(|byte| byte.is_ascii_digit());
                let follows = text.has(at + 1, flag::TYPES) || text.is_sign(at + 1, "%°,-–:/") || text.goes_on(at + 1);
                let person = flag::GIVEN | flag::SURNAME | flag::FUNCTION | flag::COMMON;
                let is_place =
                    LEXICON.name(text.words(&(start..at))) & (bit(EntityLabel::Gpe) | bit(EntityLabel::Norp)) != 0;
                let is_name = !text.has(at - 1, person) && !is_place && !text.starts(at - 1) && !text.taken[at];
                (is_short && is_name && !follows && token.spaced).then_some(at + 1)
            }
            Kind::Sign if word == "&" => text.goes_on(at + 1).then_some(at + 2),
            Kind::Sign if word == "," => {
                let is_suffix = text.lower_is(at + 1, &["inc", "inc.", "ltd", "ltd.", "llc", "jr", "jr.", "sr", "sr."]);
                (is_suffix && text.is_capital(at + 1)).then_some(at + 2)
            }
            Kind::Word => self.joined_by_word(start, at, word),
            Kind::Sign => None,
        }
    }

    fn joined_by_word(&self, start: usize, at: usize, word: &str) -> Option<usize> {
        let text = self.text;
        let follows = |at: usize| text.goes_on(at).then_some(at + 1);
        match word {
            "of" => {
                let next = if text.lower_is(at + 1, &["the"]) { at + 2 } else { at + 1 };
                let head = text.has(at - 1, flag::OF_HEAD) || (at - start == 1 && text.has(start, flag::GIVEN));
                let is_known = text.has(at - 1, flag::TITLE | flag::ROLE) && !text.has(at - 1, flag::OF_HEAD);
                if head && !is_known { follows(next) } else { None }
            }
            "for" => {
                if text.has(at - 1, flag::ORG | flag::OF_HEAD) {
                    follows(at + 1)
                } else {
                    None
                }
            }
            "and" => {
                let is_list = (start..at).any(|at| {
                    text.lower_is(
                        at,
                        &[
                            "department",
                            "ministry",
                            "institute",
                            "bureau",
                            "office",
                            "faculty",
                            "school",
                            "college",
                            "agency",
                        ],
                    )
                }) && (start..at).any(|at| matches!(text.word(at), "of" | "for"));
                if is_list { follows(at + 1) } else { None }
            }
            "de" | "la" | "del" | "della" | "di" | "da" | "do" | "dos" | "das" | "du" | "des" | "von" | "van"
            | "der" | "den" | "ten" | "ter" | "zu" | "zur" | "al" | "el" | "bin" | "ibn" | "bint" | "ben" | "le"
            | "les" | "los" | "las" | "af" | "av" | "d'" | "d’" | "dell'" | "dello" | "degli" | "dei" | "y" | "et"
            | "sur" | "und" => {
                let mut next = at + 1;
                while next < at + 3
                    && text.lower_is(next, &["la", "le", "las", "los", "der", "den", "del", "the"])
                    && !text.goes_on(next)
                {
                    next += 1;
                }
                follows(next)
            }
            "the" if at - start == 1 && text.has(start, flag::GIVEN) => follows(at + 1),
            _ => None,
        }
    }

    fn push(
        &self,
        tokens: Range<usize>,
        known: Option<Known<'g>>,
        doubtful: bool,
        candidates: &mut Vec<Candidate<'g>>,
    ) {
        let pages = match known {
            Some(known) => known.pages,
            None => self.pages(&tokens, self.text.words(&tokens)),
        };
        let (own, around) = self.weigh(&tokens, known.map(|known| known.labels).filter(|labels| *labels != 0), pages);
        let is_known = known.is_some() || !pages.is_empty();
        let common =
            !is_known && tokens.len() == 1 && self.is_common(tokens.start) && !self.is_name_anyway(tokens.start);
        candidates.push(Candidate { passage: self.passage, tokens, own, around, doubtful, common, pages });
    }

    /// Whether a place with a government begins at a token.
    pub(super) fn is_place(&self, at: usize) -> bool {
        self.known(at, self.text.tokens.len().min(at + 8), false).is_some_and(|known| {
            known.labels & bit(EntityLabel::Gpe) != 0
                || known.pages.first().is_some_and(|(id, _)| self.gazetteer.label_of(*id) == EntityLabel::Gpe)
        })
    }
}

/// `LONDON BRIDGE` → `London Bridge`.
fn title_case(name: &str) -> String {
    let mut begins = true;
    let mut case = |c: char| {
        let cased: String = if begins { c.to_uppercase().collect() } else { c.to_lowercase().collect() };
        begins = !c.is_alphanumeric();
        cased
    };
    name.chars().map(&mut case).collect()
}

/// English endings of words that are no names.
fn is_derived(word: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "ly", "ing", "tion", "tions", "sion", "ness", "ment", "ments", "ous", "ful", "less", "able", "ible", "ized",
        "ised", "ers", "ors", "ities", "ists", "ed",
    ];
    word.len() > 5 && ENDINGS.iter().any(|ending| word.ends_with(ending))
}
