//! Names by how they are written and what stands around them.
//!
//! A name is a run of capitalised words, with the small words that join them (`Bank of England`, `Ludwig van
//! Beethoven`). What it stands for is weighed: known names, the last word (`… University`, `… River`), the first
//! (`Ana …`), titles and callings before it, what it does behind it, a definition (`X is a river`). All occurrences of a
//! name in a text are weighed together, and a family name alone takes part in what is known of the full name. The
//! weights are chosen by hand: 10 is as good as certain, 5 decides where nothing speaks against it, 1 is a leaning.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use memtrain_corpora::EntityLabel;

use super::lexicon::{LEXICON, Labels, TYPE_LABELS, bit, flag};
use super::tokens::{Kind, Shape, Token, tokens};

/// A text cut into tokens, with what is known of each word.
pub(crate) struct Text<'t> {
    pub(crate) text: &'t str,
    pub(crate) tokens: Vec<Token>,
    /// Flags of [`flag`], a token each.
    pub(crate) flags: Vec<u64>,
    /// Tokens that belong to something else: no name holds them.
    pub(crate) taken: Vec<bool>,
}

impl<'t> Text<'t> {
    /// Cuts a text.
    pub(crate) fn new(text: &'t str) -> Self {
        let tokens = tokens(text);
        let mut lower = String::new();
        let mut flags_of = |token: &Token| {
            if token.kind != Kind::Word {
                return 0;
            }
            lower.clear();
            let word = &text[token.start..token.end];
            if word.is_ascii() {
                lower.push_str(word);
                lower.make_ascii_lowercase();
            } else {
                lower.extend(word.chars().flat_map(char::to_lowercase));
            }
            let flags = LEXICON.word(&lower);
            if flags == 0 && lower.ends_with('.') { LEXICON.word(lower.trim_end_matches('.')) } else { flags }
        };
        let flags = tokens.iter().map(&mut flags_of).collect();
        let taken = vec![false; tokens.len()];
        Self { text, tokens, flags, taken }
    }

    /// The words of a token.
    pub(crate) fn word(&self, at: usize) -> &'t str {
        let token = &self.tokens[at];
        &self.text[token.start..token.end]
    }

    /// The words of a run of tokens.
    pub(crate) fn words(&self, range: &Range<usize>) -> &'t str {
        match (self.tokens.get(range.start), range.end.checked_sub(1).and_then(|last| self.tokens.get(last))) {
            (Some(first), Some(last)) if first.start <= last.end => &self.text[first.start..last.end],
            _ => "",
        }
    }

    fn has(&self, at: usize, flags: u64) -> bool {
        self.flags.get(at).is_some_and(|have| have & flags != 0)
    }

    fn is_sign(&self, at: usize, signs: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Sign) && signs.contains(self.word(at))
    }

    fn lower_is(&self, at: usize, words: &[&str]) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Word)
            && words.iter().any(|word| word.eq_ignore_ascii_case(self.word(at)))
    }

    /// Whether the token is a word that begins as a name does, in its sentence.
    fn is_capital(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Word && token.shape.is_capital()) && !self.taken[at]
    }

    /// As [`Text::is_capital`], and of the same sentence as the token before.
    fn goes_on(&self, at: usize) -> bool {
        (self.is_capital(at) || self.tokens.get(at).is_some_and(|token| token.shape == Shape::Inner && !self.taken[at]))
            && !self.tokens[at].begins
    }

    fn starts(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.begins)
            || at.checked_sub(1).is_some_and(|quote| self.is_sign(quote, "\"“«„([:") && self.opens(quote))
    }

    /// Whether a sentence begins at the quotation mark or bracket.
    fn opens(&self, at: usize) -> bool {
        at == 0 || self.is_sign(at - 1, ".!?…") || self.text[self.tokens[at - 1].end..self.tokens[at].start].contains('\n')
    }
}

/// The labels that are weighed.
const LABELS: [EntityLabel; 11] = {
    use EntityLabel::*;
    [Person, Norp, Fac, Org, Gpe, Loc, Product, Event, WorkOfArt, Law, Language]
};

/// A weight for each of [`LABELS`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weights([i32; LABELS.len()]);

impl Weights {
    pub(crate) fn add(&mut self, label: EntityLabel, weight: i32) {
        if let Some(at) = LABELS.iter().position(|known| *known == label) {
            self.0[at] += weight;
        }
    }

    /// Adds to each label of a set.
    fn add_all(&mut self, labels: Labels, weight: i32) {
        for label in LABELS {
            if labels & bit(label) != 0 {
                self.add(label, weight);
            }
        }
    }

    fn add_types(&mut self, flags: u64, weight: i32) {
        for (flag, label) in TYPE_LABELS {
            if flags & flag != 0 {
                self.add(*label, weight);
            }
        }
    }

    fn join(&mut self, other: &Weights) {
        for (sum, weight) in self.0.iter_mut().zip(other.0) {
            *sum += weight;
        }
    }

    /// The label of the largest weight with it; the first of equal ones.
    pub(crate) fn best(&self) -> (EntityLabel, i32) {
        let mut best = (EntityLabel::Unknown, 0);
        for (label, weight) in LABELS.into_iter().zip(self.0) {
            if weight > best.1 {
                best = (label, weight);
            }
        }
        best
    }
}

/// A name that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its tokens.
    pub(crate) tokens: Range<usize>,
    /// What it stands for.
    pub(crate) label: EntityLabel,
}

/// A run that may be a name.
struct Candidate {
    passage: usize,
    tokens: Range<usize>,
    weights: Weights,
    /// Whether only the beginning of a sentence explains its capital.
    doubtful: bool,
}

/// The names of a text that comes in passages, a list each.
pub(crate) fn find(passages: &[Text<'_>]) -> Vec<Vec<Found>> {
    let mut candidates = Vec::new();
    for (number, passage) in passages.iter().enumerate() {
        Sentences { text: passage, passage: number }.candidates(&mut candidates);
    }
    let evidence = Evidence::new(passages, &candidates);
    let mut found = vec![Vec::new(); passages.len()];
    for candidate in &candidates {
        let text = &passages[candidate.passage];
        if let Some(label) = evidence.decide(text, candidate) {
            found[candidate.passage].push(Found { tokens: candidate.tokens.clone(), label });
        }
    }
    found
}

/// What a whole text says about its names.
struct Evidence<'t> {
    /// Words that stand in small letters somewhere.
    lower: HashSet<&'t str>,
    /// Names with the weights of all their occurrences, and whether one of them is beyond doubt.
    names: HashMap<&'t str, (Weights, bool)>,
    /// Words of the names of persons.
    persons: HashMap<&'t str, u32>,
    /// First letters of the names of several words → what these stand for.
    acronyms: HashMap<String, EntityLabel>,
}

impl<'t> Evidence<'t> {
    fn new(passages: &[Text<'t>], candidates: &[Candidate]) -> Self {
        let mut evidence =
            Self { lower: HashSet::new(), names: HashMap::new(), persons: HashMap::new(), acronyms: HashMap::new() };
        for text in passages {
            let words = text.tokens.iter().filter(|token| token.kind == Kind::Word && token.shape == Shape::Lower);
            evidence.lower.extend(words.map(|token| &text.text[token.start..token.end]));
        }
        for candidate in candidates {
            let name = passages[candidate.passage].words(&candidate.tokens);
            let (weights, certain) = evidence.names.entry(name).or_default();
            weights.join(&candidate.weights);
            *certain |= !candidate.doubtful;
        }
        for candidate in candidates.iter().filter(|candidate| candidate.tokens.len() > 1) {
            let text = &passages[candidate.passage];
            let (label, weight) = evidence.names[text.words(&candidate.tokens)].0.best();
            if label == EntityLabel::Person && weight >= 3 {
                for at in candidate.tokens.clone().filter(|at| text.is_capital(*at)) {
                    *evidence.persons.entry(text.word(at)).or_default() += 1;
                }
            } else if weight >= 3 {
                let first = |at: usize| text.word(at).chars().next().filter(|c| c.is_uppercase());
                let letters: String = candidate.tokens.clone().filter_map(first).collect();
                if letters.chars().count() > 1 {
                    evidence.acronyms.entry(letters).or_insert(label);
                }
            }
        }
        evidence
    }

    /// What a candidate stands for; `None` if it is no name.
    fn decide(&self, text: &Text<'_>, candidate: &Candidate) -> Option<EntityLabel> {
        let name = text.words(&candidate.tokens);
        let (sum, certain) = self.names.get(name)?;
        let mut weights = *sum;
        // What stands at this very place counts twice.
        weights.join(&candidate.weights);
        if candidate.tokens.len() == 1 {
            if self.persons.contains_key(name) {
                weights.add(EntityLabel::Person, 8);
            }
            if let Some(label) = self.acronyms.get(name) {
                weights.add(*label, 8);
            }
            if candidate.doubtful && !self.persons.contains_key(name) {
                let lower = name.to_lowercase();
                if self.lower.contains(lower.as_str()) || (!certain && weights.best().1 < 6) {
                    return None;
                }
            }
        }
        let (label, weight) = weights.best();
        Some(if weight < 1 { EntityLabel::Unknown } else { label })
    }
}

/// Finds the candidates of one passage.
struct Sentences<'a, 't> {
    text: &'a Text<'t>,
    passage: usize,
}

impl Sentences<'_, '_> {
    fn candidates(&self, candidates: &mut Vec<Candidate>) {
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
    fn at(&self, at: usize, sentence_end: usize, is_shouted: bool, candidates: &mut Vec<Candidate>) -> usize {
        let text = self.text;
        let known = self.known(at, sentence_end, is_shouted);
        if is_shouted || !text.is_capital(at) {
            if let Some((end, labels)) = known.filter(|(end, _)| is_shouted || *end > at + 1 || text.tokens[at].shape == Shape::Inner) {
                self.push(at..end, Some(labels), false, candidates);
                return end;
            }
            return self.inner(at, is_shouted, candidates);
        }
        let start_of_sentence = text.starts(at);
        if start_of_sentence && text.has(at, flag::FUNCTION) && known.is_none_or(|(end, _)| end == at + 1) {
            return at + 1;
        }
        let end = self.run_end(at, sentence_end);
        if let Some((known_end, labels)) = known {
            if known_end >= end {
                let doubtful = known_end == at + 1 && start_of_sentence && text.has(at, flag::COMMON | flag::FUNCTION);
                if !(doubtful && text.has(at, flag::FUNCTION)) {
                    self.push(at..known_end, Some(labels), doubtful, candidates);
                }
                return known_end;
            }
            if labels & bit(EntityLabel::Norp) != 0 && !self.has_head(known_end..end) {
                self.push(at..known_end, Some(labels), false, candidates);
                return known_end;
            }
        }
        self.run(at, end, candidates);
        end
    }

    /// A word like `iPhone` or `eBay`.
    fn inner(&self, at: usize, is_shouted: bool, candidates: &mut Vec<Candidate>) -> usize {
        let text = self.text;
        if !is_shouted && text.tokens[at].shape == Shape::Inner && !text.taken[at] && text.word(at).chars().all(char::is_alphanumeric) {
            self.push(at..at + 1, None, false, candidates);
        }
        at + 1
    }

    /// A run of capitalised words: titles and callings before it are no part of it.
    fn run(&self, mut at: usize, end: usize, candidates: &mut Vec<Candidate>) {
        let text = self.text;
        // "Former President Ana Lund": what begins the sentence or is a title goes.
        while at + 1 < end {
            let is_first = text.starts(at);
            let is_common = text.has(at, flag::FUNCTION | flag::COMMON | flag::ROLE | flag::TITLE)
                && !text.has(at, flag::GIVEN | flag::BEFORE_NAME | flag::OF_HEAD);
            let is_title = text.has(at, flag::TITLE) && text.is_capital(at + 1) && !self.has_head(at + 1..end)
                && !matches!(text.word(at), "St." | "St" | "Saint");
            let next_is_name = text.is_capital(at + 1) && !self.has_head(at + 1..end);
            if is_title || (is_first && is_common && next_is_name) || (is_first && text.has(at, flag::FUNCTION)) {
                at += 1;
                while at + 1 < end && !text.is_capital(at) {
                    at += 1;
                }
            } else {
                break;
            }
        }
        let range = at..end;
        if range.len() == 1 {
            let is_common = text.has(at, flag::FUNCTION | flag::COMMON | flag::TITLE | flag::ROLE) && text.tokens[at].shape != Shape::Upper;
            let shape = text.tokens[at].shape;
            if shape == Shape::Initial || (is_common && !self.is_name_anyway(at)) || (text.starts(at) && is_derived(text.word(at))) {
                return;
            }
            let doubtful = text.starts(at) && (shape == Shape::Title);
            self.push(range, None, doubtful, candidates);
            return;
        }
        let is_name = range.clone().any(|at| text.is_capital(at) && !text.has(at, flag::TITLE | flag::ROLE | flag::FUNCTION));
        if is_name {
            self.push(range, None, false, candidates);
        }
    }

    /// A common word that is a name at its place: behind a title, between quotation marks, doing what people do.
    fn is_name_anyway(&self, at: usize) -> bool {
        let text = self.text;
        let titled = at.checked_sub(1).is_some_and(|before| text.has(before, flag::TITLE) && text.is_capital(before));
        titled || (!text.starts(at) && text.has(at, flag::SURNAME | flag::GIVEN) )
    }

    fn has_head(&self, range: Range<usize>) -> bool {
        range.end > range.start && self.text.has(range.end - 1, flag::HEADS) && self.text.is_capital(range.end - 1)
    }

    /// The longest known name at a token: where it ends, and what it can stand for.
    fn known(&self, at: usize, sentence_end: usize, is_shouted: bool) -> Option<(usize, Labels)> {
        let text = self.text;
        if !text.has(at, flag::PHRASE) || text.taken[at] {
            return None;
        }
        let most = LEXICON.most_words.min(sentence_end - at);
        (1..=most).rev().find_map(|length| {
            let range = at..at + length;
            let name = text.words(&range);
            let labels = match LEXICON.name(name) {
                0 if text.tokens[at].shape == Shape::Upper && name.len() > 3 => LEXICON.name(&title_case(name)),
                labels => labels,
            };
            let is_shown = is_shouted || text.tokens[at].shape != Shape::Lower;
            (labels != 0 && is_shown && !text.taken[range.clone()].contains(&true)).then_some((range.end, labels))
        })
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
                let head = (at + 1..at + 3).find(|&at| text.goes_on(at) && text.has(at, flag::ORG | flag::FAC | flag::EVENT))?;
                (at + 1..head).all(|at| text.goes_on(at)).then_some(head + 1)
            }
            Kind::Number => {
                let is_short = word.len() <= 3 && word.bytes().all(|byte| byte.is_ascii_digit());
                let follows = text.has(at + 1, flag::TYPES) || text.is_sign(at + 1, "%°");
                let is_name = !text.has(at - 1, flag::FUNCTION) && !text.starts(at - 1) && !text.taken[at];
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
            "for" => if text.has(at - 1, flag::ORG | flag::OF_HEAD) { follows(at + 1) } else { None },
            "and" => {
                let is_list = (start..at).any(|at| text.lower_is(at, &["department", "ministry", "institute", "bureau", "office", "faculty", "school", "college", "agency"]))
                    && (start..at).any(|at| matches!(text.word(at), "of" | "for"));
                if is_list { follows(at + 1) } else { None }
            }
            "de" | "la" | "del" | "della" | "di" | "da" | "do" | "dos" | "das" | "du" | "des" | "von" | "van" | "der" | "den" | "ten" | "ter"
            | "zu" | "zur" | "al" | "el" | "bin" | "ibn" | "bint" | "ben" | "le" | "les" | "los" | "las" | "af" | "av" | "d'" | "d’" | "dell'"
            | "dello" | "degli" | "dei" | "y" | "et" | "sur" | "und" => {
                let mut next = at + 1;
                while next < at + 3 && text.lower_is(next, &["la", "le", "las", "los", "der", "den", "del", "the"]) && !text.goes_on(next) {
                    next += 1;
                }
                follows(next)
            }
            "the" if at - start == 1 && text.has(start, flag::GIVEN) => follows(at + 1),
            _ => None,
        }
    }

    fn push(&self, tokens: Range<usize>, known: Option<Labels>, doubtful: bool, candidates: &mut Vec<Candidate>) {
        let weights = self.weigh(&tokens, known);
        candidates.push(Candidate { passage: self.passage, tokens, weights, doubtful });
    }

    /// What speaks for each label at this place.
    fn weigh(&self, range: &Range<usize>, known: Option<Labels>) -> Weights {
        let mut weights = Weights::default();
        match known {
            Some(labels) => weights.add_all(labels, if labels.count_ones() == 1 { 12 } else { 9 }),
            None => self.weigh_words(range, &mut weights),
        }
        self.weigh_before(range, &mut weights);
        self.weigh_behind(range, &mut weights);
        weights
    }

    /// The name's own words.
    fn weigh_words(&self, range: &Range<usize>, weights: &mut Weights) {
        use EntityLabel::*;
        let text = self.text;
        let first = range.start;
        let of = range.clone().find(|&at| at > first && matches!(text.word(at), "of" | "for"));
        // The head stands last, or before "of".
        let head = of.unwrap_or(range.end) - 1;
        let head = if head > first && text.tokens[head].kind == Kind::Number { head - 1 } else { head };
        let is_single = range.len() == 1;
        if (!is_single || text.has(head, flag::COMMON)) && text.is_capital(head) {
            let flags = text.flags[head];
            let heads = [
                (flag::ORG, Org), (flag::GPE, Gpe), (flag::LOC, Loc), (flag::FAC, Fac), (flag::EVENT, Event), (flag::LAW, Law),
                (flag::WORK, WorkOfArt), (flag::PRODUCT, Product), (flag::LANGUAGE, Language),
            ];
            let weight = if is_single { 2 } else { 8 };
            let several = (flags & flag::HEADS).count_ones() as i32;
            for (flag, label) in heads {
                if flags & flag != 0 {
                    weights.add(label, weight - (several - 1).min(3));
                }
            }
        }
        let is_headed = text.has(head, flag::HEADS) && !is_single;
        if text.has(first, flag::GIVEN) && !is_headed {
            let common = text.has(first, flag::COMMON);
            weights.add(Person, if is_single { 4 } else { 7 } - if common { 3 } else { 0 });
        } else if text.has(first, flag::GIVEN_OR_WORD) && !is_headed {
            weights.add(Person, if is_single { 1 } else { 4 });
        }
        if text.has(range.end - 1, flag::SURNAME) && (!is_headed || text.has(first, flag::GIVEN)) {
            weights.add(Person, if is_single { 3 } else { 4 });
        }
        if text.has(first, flag::GIVEN) && is_headed && range.len() == 2 && text.has(range.end - 1, flag::SURNAME) {
            weights.add(Person, 4);
        }
        if !is_single && range.clone().any(|at| text.tokens[at].shape == Shape::Initial) && !is_headed {
            weights.add(Person, 5);
        }
        if range.clone().skip(1).any(|at| matches!(text.word(at), "Jr." | "Sr." | "Jr" | "Sr" | "III")) {
            weights.add(Person, 6);
        }
        if range.clone().any(|at| matches!(text.word(at), "von" | "van" | "bin" | "ibn" | "der" | "di")) && !is_headed {
            weights.add(Person, 4);
        }
        if range.clone().any(|at| text.word(at) == "&") {
            weights.add(Org, 5);
        }
        if !is_single && text.has(first, flag::BEFORE_NAME) && !is_headed {
            self.weigh_place(first, weights);
        }
        if !is_single && !is_headed {
            if text.tokens[range.end - 1].kind == Kind::Number {
                weights.add(Product, 4);
            } else if (2..=3).contains(&range.len()) && range.clone().all(|at| text.is_capital(at) && !text.has(at, flag::COMMON)) {
                weights.add(Person, 3);
            } else if range.clone().any(|at| text.has(at, flag::COMMON)) {
                weights.add(WorkOfArt, 1);
                weights.add(Org, 2);
            }
        }
        if is_single {
            self.weigh_single(first, weights);
        }
    }

    /// `Lake Erie`, `Mount Etna`, `Fort Worth`, `New Haven`.
    fn weigh_place(&self, first: usize, weights: &mut Weights) {
        use EntityLabel::*;
        match self.text.word(first).to_lowercase().trim_end_matches('.') {
            "lake" | "mount" | "mt" | "cape" | "gulf" | "river" | "isle" | "monte" => weights.add(Loc, 8),
            "fort" | "ft" | "camp" | "château" => weights.add(Fac, 5),
            "new" | "port" | "san" | "santa" | "são" | "nova" | "los" | "las" | "el" | "rio" | "villa" => weights.add(Gpe, 6),
            "st" | "saint" | "ste" | "sainte" => weights.add(Gpe, 2),
            _ => {
                weights.add(Gpe, 2);
                weights.add(Loc, 2);
            }
        }
    }

    /// A single word without anything known: by its letters.
    fn weigh_single(&self, at: usize, weights: &mut Weights) {
        use EntityLabel::*;
        let (text, word) = (self.text, self.text.word(at));
        if text.tokens[at].shape == Shape::Upper {
            weights.add(Org, 4);
            return;
        }
        if text.tokens[at].shape == Shape::Inner {
            weights.add(Product, 3);
            return;
        }
        const PLACES: &[&str] = &["land", "burg", "burgh", "ville", "stan", "shire", "grad", "stadt", "abad", "pur", "polis", "ia", "borough", "wick", "holm", "heim", "hausen", "ingen"];
        const PEOPLES: &[&str] = &["ian", "ians", "ese", "ish", "ism", "ist", "ists", "ites", "ite"];
        if word.len() > 5 && PEOPLES.iter().any(|ending| word.ends_with(ending)) {
            weights.add(Norp, 4);
        } else if word.len() > 5 && PLACES.iter().any(|ending| word.ends_with(ending)) {
            weights.add(Gpe, 2);
        }
        weights.add(Person, 1);
    }

    /// What stands before the name.
    fn weigh_before(&self, range: &Range<usize>, weights: &mut Weights) {
        use EntityLabel::*;
        let text = self.text;
        let Some(before) = range.start.checked_sub(1) else { return };
        if text.tokens[range.start].begins {
            return;
        }
        let is_upper = text.is_capital(before);
        if is_upper && text.has(before, flag::TITLE) {
            weights.add(Person, 8);
            return;
        }
        if !is_upper && text.has(before, flag::ROLE | flag::TITLE) && text.tokens[before].kind == Kind::Word {
            weights.add(Person, 5);
            return;
        }
        if !is_upper && text.has(before, flag::TYPES) {
            weights.add_types(text.flags[before], 5);
            return;
        }
        match text.word(before) {
            "in" | "In" => { weights.add(Gpe, 3); weights.add(Person, -2); weights.add(Event, 1) }
            "near" | "Near" | "to" | "from" | "From" | "through" | "across" | "outside" | "toward" | "towards" => { weights.add(Gpe, 2); weights.add(Loc, 1) }
            "at" | "At" => { weights.add(Org, 1); weights.add(Fac, 1); weights.add(Gpe, 1); weights.add(Person, -2) }
            "the" | "The" | "this" | "its" => { weights.add(Person, -5); weights.add(Gpe, -1); weights.add(Org, 2); weights.add(Loc, 1) }
            "a" | "A" | "an" | "An" => { weights.add(Person, -4); weights.add(Gpe, -3); weights.add(Norp, 1); weights.add(Product, 1) }
            "by" | "By" | "with" | "With" => weights.add(Person, 2),
            "between" | "and" => weights.add(Person, 1),
            "of" | "city" => {
                weights.add(Gpe, 1);
                if before > 0 && !text.is_capital(before - 1) {
                    weights.add_types(text.flags[before - 1] & (flag::TYPE_GPE | flag::TYPE_LOC | flag::TYPE_ORG | flag::TYPE_EVENT), 3);
                }
            }
            "\"" | "“" | "«" | "„" | "'" | "‘" | "``" => {
                if text.tokens.get(range.end).is_some_and(|token| !token.spaced || text.is_sign(range.end, "\"”»“'’")) && text.is_sign(range.end, "\"”»“'’,.") {
                    weights.add(WorkOfArt, 6);
                }
            }
            _ => {}
        }
    }

    /// What stands behind it.
    fn weigh_behind(&self, range: &Range<usize>, weights: &mut Weights) {
        use EntityLabel::*;
        let text = self.text;
        let next = range.end;
        if text.tokens.get(next).is_none_or(|token| token.begins) {
            return;
        }
        let is_lower = !text.is_capital(next);
        if is_lower && text.has(next, flag::VERB) {
            weights.add(Person, 2);
        }
        if text.lower_is(next, &["was", "is"]) && text.lower_is(next + 1, &["born", "married", "educated", "buried", "killed"]) {
            weights.add(Person, 6);
        }
        if is_lower && text.tokens[next].spaced {
            let types = text.flags[next] & flag::TYPES;
            if types & flag::TYPE_WORK != 0 { weights.add(WorkOfArt, 2) }
            if types & flag::TYPE_ORG != 0 { weights.add(Org, 2) }
            if text.lower_is(next, &["area", "region", "district", "province", "city", "border", "county", "valley", "state"]) { weights.add(Gpe, 2) }
            if text.lower_is(next, &["people", "culture", "language", "citizen", "citizens", "nationality", "descent", "origin", "immigrants", "army", "government"]) { weights.add(Norp, 2) }
        }
        if text.is_sign(next, ",") {
            if let Some((_, labels)) = self.known(next + 1, text.tokens.len(), false)
                && labels & bit(Gpe) != 0 && range.len() <= 3
            {
                weights.add(Gpe, 6);
            }
            weights.add(Person, 1);
        }
        // "X is a river", "X, a German physicist,": the first noun that says what a thing is.
        let definition = if text.lower_is(next, &["is", "was", "are", "were"]) || text.is_sign(next, ",(") { next + 1 } else { return };
        if !text.lower_is(definition, &["a", "an", "the", "one"]) {
            return;
        }
        for at in definition + 1..(definition + 9).min(text.tokens.len()) {
            if text.tokens[at].kind == Kind::Sign || text.tokens[at].begins || text.lower_is(at, &["of", "in", "who", "which", "that", "for", "by"]) {
                break;
            }
            if !text.is_capital(at) && text.has(at, flag::TYPES) && !text.has(at + 1, flag::TYPES) {
                weights.add_types(text.flags[at], 6);
                break;
            }
        }
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
    const ENDINGS: &[&str] = &["ly", "ing", "tion", "tions", "sion", "ness", "ment", "ments", "ous", "ful", "less", "able", "ible", "ized", "ised", "ers", "ors", "ities", "ists", "ed"];
    word.len() > 5 && ENDINGS.iter().any(|ending| word.ends_with(ending))
}
