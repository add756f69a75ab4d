//! Times, sums of money, and numbers with what they count.

use memtrain_corpora::EntityLabel;

use super::super::locale::word;
use super::{Grammar, Match};
use crate::entities::tokens::Kind;

/// Signs of currencies that stand behind a number.
const CURRENCY_SIGNS: &str = "€$£¥₽₫₴zł";

impl Grammar<'_, '_> {
    pub(super) fn time(&self, at: usize) -> Match {
        let clock = |at: usize, most: u32| self.integer(at).is_some_and(|value| value < most);
        if clock(at, 25)
            && self.is_sign(at + 1, ":")
            && clock(at + 2, 60)
            && self.is_glued(at + 1)
            && self.is_glued(at + 2)
        {
            let is_long = self.text.word(at + 2).chars().count() == 2;
            let mut end = at + 3;
            if self.is_sign(end, ":") && clock(end + 1, 60) && self.is_glued(end + 1) {
                end += 2;
            }
            if self.is(end, word::MERIDIEM) {
                end += 1;
            }
            return is_long.then_some((end, EntityLabel::Time));
        }
        (clock(at, 13) && self.is(at + 1, word::MERIDIEM)).then_some((at + 2, EntityLabel::Time))
    }

    /// `$3.5 million`, `US$ 5`, `€20`, `₹5 crore`, `£20k`, `$1.5mn–2mn`, `CHF 5m`.
    pub(super) fn money_by_sign(&self, at: usize) -> Match {
        let country = self.text.tokens[at].kind == Kind::Word
            && matches!(self.text.word(at), "US" | "A" | "C" | "NZ" | "HK" | "R" | "U.S.")
            && self.is_glued(at + 1);
        let sign = if country { at + 1 } else { at };
        let code = self.text.word(at);
        let is_code =
            self.is(at, word::CURRENCY) && code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        if (is_code || self.is_sign(sign, "$£€¥₹₽₩₫₺₴₦฿₪¢")) && self.is_number(sign + 1) {
            let mut end = self.behind_short_magnitude(sign + 2);
            let range = self.behind_range(end);
            if range > end {
                end = self.behind_short_magnitude(range);
            }
            let end = self.behind_magnitude(end);
            return Some((if self.is(end, word::CURRENCY) { end + 1 } else { end }, EntityLabel::Money));
        }
        None
    }

    /// Numbers, and what they count.
    pub(super) fn amount(&self, at: usize) -> Match {
        use EntityLabel::*;
        let token = &self.text.tokens[at];
        if self.is(at, word::ORDINAL) {
            return Some((at + 1, Ordinal));
        }
        if self.is(at, word::ERA) && self.is_number(at + 1) && matches!(self.text.word(at), "AD" | "A.D.") {
            return Some((at + 2, Date));
        }
        let end = self.number(at)?;
        let is_digits = token.kind == Kind::Number;
        if is_digits
            && self.is_glued(at)
            && at.checked_sub(1).is_some_and(|before| self.text.tokens[before].kind == Kind::Word)
        {
            return None;
        }
        if is_digits && end == at + 1 {
            if self.is_decade(at) {
                let end = if self.is_sign(at + 1, "-") { at + 3 } else { at + 2 };
                return Some((end, Date));
            }
            if self.is(end, word::SUFFIX) && self.is_glued(end)
                || (self.is_sign(end, "-") && self.is(end + 1, word::SUFFIX) && self.is_glued(end + 1))
            {
                return Some((if self.is_sign(end, "-") { end + 2 } else { end + 1 }, Ordinal));
            }
            if self.is_sign(end, "ºª") && self.is_glued(end) {
                return Some((end + 1, Ordinal));
            }
        }
        let short = self.behind_short_magnitude(end);
        if short > end && (self.is_sign(short, CURRENCY_SIGNS) || self.is(short, word::CURRENCY)) {
            return Some((short + 1, Money));
        }
        let end = self.behind_magnitude(self.behind_range(end));
        self.counted(end).or_else(|| self.bare(at, end))
    }

    /// What stands behind a number that ends at `end`.
    fn counted(&self, end: usize) -> Match {
        use EntityLabel::*;
        if self.is_sign(end, "%‰％") {
            return Some((end + 1, Percent));
        }
        if self.is(end, word::PERCENT) {
            return Some((end + 1, Percent));
        }
        if self.is_word(end, &["per", "por", "pour"]) && self.is_word(end + 1, &["cent", "cento", "ciento"]) {
            return Some((end + 2, Percent));
        }
        if self.is_word(end, &["pour"]) && self.is_word(end + 1, &["mille"]) {
            return Some((end + 2, Percent));
        }
        if self.is_sign(end, CURRENCY_SIGNS) {
            return Some((end + 1, Money));
        }
        let of = if self.is_word(end, &["de", "di"]) { end + 1 } else { end };
        if self.is(of, word::CURRENCY) && !(self.is(of, word::UNIT) && self.is_word(of, &["pound", "pounds"])) {
            let sterling = self.is_word(of + 1, &["sterling"]);
            return Some((of + 1 + usize::from(sterling), Money));
        }
        if self.is_word(end, &["US", "Canadian", "Australian", "American"]) && self.is(end + 1, word::CURRENCY) {
            return Some((end + 2, Money));
        }
        if self.is_sign(end, "°º") {
            let letter = self.is_word(end + 1, &["C", "F", "N", "S", "E", "W"]) && self.is_glued(end + 1);
            return Some((end + 1 + usize::from(letter), Quantity));
        }
        if self.is(end, word::YEAR) && !self.is(end, word::DATE_UNIT) {
            return None;
        }
        let unit = if self.is_sign(end, "-") && self.is_glued(end) { end + 1 } else { end };
        let is_letter = self.text.tokens.get(unit).is_some_and(|token| token.end - token.start == 1);
        if self.is(unit, word::TIME_UNIT) {
            return Some((unit + 1, Time));
        }
        if self.is(unit, word::DATE_UNIT) {
            return Some((unit + 1, Date));
        }
        let is_other_word = is_letter && self.text.tokens[unit].shape.is_capital() || self.is_word(unit, &["in", "t"]);
        if self.is(unit, word::UNIT) && (self.is_glued(unit) || !is_other_word) {
            let mut last = unit;
            while self.is(last + 1, word::UNIT) && self.is_word(last, &["square", "cubic", "nautical", "चौरस", "वर्ग"])
            {
                last += 1;
            }
            let raised = self.is_sign(last + 1, "²³")
                || (self.is_number(last + 1)
                    && self.is_glued(last + 1)
                    && matches!(self.text.word(last + 1), "²" | "³" | "2" | "3"));
            last += usize::from(raised);
            if self.is_sign(last + 1, "/") && self.is_glued(last + 1) && self.is(last + 2, word::UNIT | word::TIME_UNIT)
            {
                last += 2;
            }
            return Some((last + 1, Quantity));
        }
        None
    }

    /// A number that counts nothing named: a year, or a cardinal.
    fn bare(&self, at: usize, end: usize) -> Match {
        let behind = self.behind_era(end);
        if behind > end && self.text.tokens[at].kind == Kind::Number && !self.text.word(at).contains(['.', ',']) {
            return Some((behind, EntityLabel::Date));
        }
        if self.is(end, word::YEAR) && self.integer(at).is_some() {
            let is_year = self.year(at) || self.text.word(at).chars().count() >= 3;
            return is_year.then_some((self.behind_point(end + 1), EntityLabel::Date));
        }
        if self.year(at) && (end == at + 1 || self.is_range_of_years(at, end)) {
            let is_measured =
                self.is_glued(end) && self.text.tokens.get(end).is_some_and(|token| token.kind == Kind::Word);
            return (!is_measured).then_some((end, EntityLabel::Date));
        }
        // A letter glued on: a code and no number.
        let is_code = self.is_glued(end)
            && self.text.tokens.get(end).is_some_and(|token| token.kind == Kind::Word)
            && self.locale.spaced;
        (!is_code).then_some((end, EntityLabel::Cardinal))
    }
}
