//! Classification of a name by its words and by the words around it.

use std::ops::Range;

use memtrain_corpora::EntityLabel;

use super::super::gazetteer::TargetId;
use super::super::lexicon::{Labels, flag};
use super::super::tokens::{Kind, Shape};
use super::Weights;
use super::candidates::Sentences;

impl Sentences<'_, '_, '_> {
    /// What speaks for each label: the name itself, and what stands around it here.
    pub(super) fn weigh(
        &self,
        range: &Range<usize>,
        known: Option<Labels>,
        pages: &[(TargetId, u8)],
    ) -> (Weights, Weights) {
        let mut weights = Weights::default();
        match known {
            Some(labels) => weights.add_all(labels, if labels.count_ones() == 1 { 12 } else { 9 }),
            None => self.weigh_words(range, &mut weights),
        }
        for (id, share) in pages {
            weights.add(self.gazetteer.label_of(*id), i32::from(*share) * 12 / 255);
        }
        let mut around = Weights::default();
        self.weigh_before(range, &mut around);
        self.weigh_behind(range, &mut around);
        (weights, around)
    }

    /// The name's own words.
    fn weigh_words(&self, range: &Range<usize>, weights: &mut Weights) {
        use EntityLabel::*;
        let text = self.text;
        let range = &(range.clone().find(|&at| text.is_capital(at)).unwrap_or(range.start)..range.end);
        let first = range.start;
        let of = range.clone().find(|&at| at > first && matches!(text.word(at), "of" | "for"));
        // The head stands last, or before "of".
        let head = of.unwrap_or(range.end) - 1;
        let head = if head > first && text.tokens[head].kind == Kind::Number { head - 1 } else { head };
        let is_single = range.len() == 1;
        if (!is_single || text.has(head, flag::COMMON)) && text.is_capital(head) {
            let flags = text.flags[head];
            let heads = [
                (flag::ORG, Org),
                (flag::GPE, Gpe),
                (flag::LOC, Loc),
                (flag::FAC, Fac),
                (flag::EVENT, Event),
                (flag::LAW, Law),
                (flag::WORK, WorkOfArt),
                (flag::PRODUCT, Product),
                (flag::LANGUAGE, Language),
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
        if !is_single && text.tokens[first].shape == Shape::Upper && text.has(first, flag::ORG) {
            weights.add(Org, 8);
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
            } else if (2..=3).contains(&range.len())
                && self.locale.several_capitals_are_persons
                && range.clone().all(|at| text.is_capital(at) && !text.has(at, flag::COMMON))
            {
                weights.add(Person, 3);
            } else if range.clone().any(|at| text.has(at, flag::COMMON)) {
                weights.add(WorkOfArt, 1);
                weights.add(Org, 2);
            }
        }
        if !text.starts(first) && !is_headed {
            match text.word(first) {
                "A" | "An" | "My" | "I" | "You" | "Your" | "It" | "Is" | "Are" | "Do" | "Don't" | "I'm" | "In"
                | "On" | "How" | "What" | "When" | "Why" | "Who" => {
                    weights.add(WorkOfArt, 6);
                    weights.add(Person, -4);
                }
                "The" => {
                    weights.add(WorkOfArt, 2);
                    weights.add(Org, 3);
                    weights.add(Person, -5);
                }
                _ => {}
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
            "north" | "south" | "east" | "west" | "northern" | "southern" | "eastern" | "western" | "upper"
            | "lower" | "greater" => {
                weights.add(Gpe, 5);
            }
            "new" | "port" | "san" | "santa" | "são" | "nova" | "los" | "las" | "el" | "rio" | "villa" => {
                weights.add(Gpe, 6)
            }
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
        if text.tokens[at].shape == Shape::Upper || word.bytes().any(|byte| byte.is_ascii_digit()) {
            weights.add(Org, 4);
            return;
        }
        if text.tokens[at].shape == Shape::Inner {
            weights.add(Product, 3);
            return;
        }
        const PLACES: &[&str] = &[
            "land", "burg", "burgh", "ville", "stan", "shire", "grad", "stadt", "abad", "pur", "polis", "ia",
            "borough", "wick", "holm", "heim", "hausen", "ingen",
        ];
        const PEOPLES: &[&str] = &["ian", "ians", "ese", "ish", "ism", "ist", "ists", "ites", "ite"];
        if word.len() > 5 && PEOPLES.iter().any(|ending| word.ends_with(ending)) {
            weights.add(Norp, 4);
        } else if word.len() > 5 && PLACES.iter().any(|ending| word.ends_with(ending)) {
            weights.add(Gpe, 2);
        }
        // In other languages the words that make this likely are not known: it stays open.
        if self.locale.language == "en" {
            weights.add(Person, 1);
        }
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
        if self.locale.locatives.contains(&text.word(before)) {
            weights.add(Gpe, 3);
            weights.add(Person, -2);
            return;
        }
        match text.word(before) {
            "in" | "In" => {
                weights.add(Gpe, 3);
                weights.add(Person, -2);
                weights.add(Event, 1)
            }
            "near" | "Near" | "to" | "from" | "From" | "through" | "across" | "outside" | "toward" | "towards" => {
                weights.add(Gpe, 2);
                weights.add(Loc, 1)
            }
            "at" | "At" => {
                weights.add(Org, 1);
                weights.add(Fac, 1);
                weights.add(Gpe, 1);
                weights.add(Person, -2)
            }
            "the" | "The" | "this" | "its" => {
                weights.add(Person, -5);
                weights.add(Gpe, -1);
                weights.add(Org, 2);
                weights.add(Loc, 1)
            }
            "a" | "A" | "an" | "An" => {
                weights.add(Person, -4);
                weights.add(Gpe, -3);
                weights.add(Norp, 1);
                weights.add(Product, 1)
            }
            "by" | "By" | "with" | "With" => weights.add(Person, 2),
            "between" | "and" => weights.add(Person, 1),
            "of" | "city" => {
                weights.add(Gpe, 1);
                if before > 0 && !text.is_capital(before - 1) {
                    weights.add_types(
                        text.flags[before - 1] & (flag::TYPE_GPE | flag::TYPE_LOC | flag::TYPE_ORG | flag::TYPE_EVENT),
                        3,
                    );
                }
            }
            "\"" | "“" | "«" | "„" | "'" | "‘" | "``" if self.is_quote_closed(range.end) => {
                weights.add(WorkOfArt, 6)
            }
            _ => {}
        }
    }

    /// Whether a quotation ends with the token before.
    fn is_quote_closed(&self, next: usize) -> bool {
        let text = self.text;
        let is_glued = text.tokens.get(next).is_some_and(|token| !token.spaced);
        text.is_sign(next, "\"”»“'’") || is_glued && text.is_sign(next, ",.")
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
        if text.lower_is(next, &["was", "is"])
            && text.lower_is(next + 1, &["born", "married", "educated", "buried", "killed"])
        {
            weights.add(Person, 6);
        }
        if is_lower && text.tokens[next].spaced {
            let types = text.flags[next] & flag::TYPES;
            if types & flag::TYPE_WORK != 0 {
                weights.add(WorkOfArt, 2)
            }
            if types & flag::TYPE_ORG != 0 {
                weights.add(Org, 2)
            }
            if text.lower_is(
                next,
                &["area", "region", "district", "province", "city", "border", "county", "valley", "state"],
            ) {
                weights.add(Gpe, 2)
            }
            if text.lower_is(
                next,
                &[
                    "people",
                    "culture",
                    "language",
                    "citizen",
                    "citizens",
                    "nationality",
                    "descent",
                    "origin",
                    "immigrants",
                    "army",
                    "government",
                ],
            ) {
                weights.add(Norp, 2)
            }
        }
        if text.is_sign(next, ",") {
            if range.len() <= 3 && next + 1 < text.tokens.len() && self.is_place(next + 1) {
                weights.add(Gpe, 6);
            }
            weights.add(Person, i32::from(self.locale.language == "en"));
        }
        // "X is a river", "X, a German physicist,": the first noun that says what a thing is.
        let definition = if text.lower_is(next, &["is", "was", "are", "were"]) || text.is_sign(next, ",(") {
            next + 1
        } else {
            return;
        };
        if !text.lower_is(definition, &["a", "an", "the", "one"]) {
            return;
        }
        for at in definition + 1..(definition + 9).min(text.tokens.len()) {
            if text.tokens[at].kind == Kind::Sign
                || text.tokens[at].begins
                || text.lower_is(at, &["of", "in", "who", "which", "that", "for", "by"])
            {
                break;
            }
            if !text.is_capital(at) && text.has(at, flag::TYPES) && !text.has(at + 1, flag::TYPES) {
                weights.add_types(text.flags[at], 6);
                break;
            }
        }
    }
}
