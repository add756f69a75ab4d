//! Entities that need no dictionary of names: dates, times, numbers, ordinals, percentages, money, quantities.
//!
//! A grammar over tokens. The words it knows come from a table, a section a language; signs and digits mean the same in
//! all. Digits may be of any script.

mod locale;

use std::ops::Range;

use memtrain_corpora::{EntityLabel, Passage};

use super::names::Text;
use super::tokens::Kind;
use locale::word;
pub(crate) use locale::{Locale, language_of_address};

/// The language that passages look to be in, by the first of them.
pub(crate) fn language_of(passages: &[Passage]) -> &'static str {
    let sample: Vec<&str> = passages.iter().take(100).map(|passage| passage.text.as_str()).collect();
    locale::language_of_text(&sample.join("\n"))
}

/// What a rule has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Its tokens.
    pub(crate) tokens: Range<usize>,
    /// Its kind.
    pub(crate) label: EntityLabel,
}

/// All dates, numbers and amounts of a text, in order, without overlap.
pub(crate) fn find(text: &Text<'_>, locale: &Locale) -> Vec<Amount> {
    let grammar = Grammar::new(text, locale);
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.tokens.len() {
        match grammar.at(at) {
            Some((end, label)) if end > at => {
                found.push(Amount { tokens: at..end, label });
                at = end;
            }
            _ => at += 1,
        }
    }
    found
}

/// The kind of a surface that is a date, an amount or a number as a whole.
pub(crate) fn classify(surface: &str, locale: &Locale) -> Option<EntityLabel> {
    let text = Text::new(surface, locale);
    match find(&text, locale).as_slice() {
        [only] if only.tokens == (0..text.tokens.len()) => Some(only.label),
        _ => None,
    }
}

/// Where something ends, and its kind.
type Match = Option<(usize, EntityLabel)>;

struct Grammar<'a, 't> {
    text: &'a Text<'t>,
    locale: &'a Locale,
    /// What each token means.
    meanings: Vec<u32>,
}

impl<'a, 't> Grammar<'a, 't> {
    fn new(text: &'a Text<'t>, locale: &'a Locale) -> Self {
        let meaning = |at: usize| match text.tokens[at].kind {
            Kind::Word => locale.meaning(text.word(at)),
            _ => 0,
        };
        let meanings = (0..text.tokens.len()).map(meaning).collect();
        Self { text, locale, meanings }
    }

    fn is(&self, at: usize, meaning: u32) -> bool {
        self.meanings.get(at).is_some_and(|have| have & meaning != 0)
    }

    fn is_sign(&self, at: usize, signs: &str) -> bool {
        self.text.tokens.get(at).is_some_and(|token| token.kind == Kind::Sign) && signs.contains(self.text.word(at))
    }

    fn is_number(&self, at: usize) -> bool {
        self.text.tokens.get(at).is_some_and(|token| token.kind == Kind::Number)
    }

    fn is_glued(&self, at: usize) -> bool {
        self.text.tokens.get(at).is_some_and(|token| !token.spaced)
    }

    fn is_word(&self, at: usize, words: &[&str]) -> bool {
        self.text.tokens.get(at).is_some_and(|token| token.kind == Kind::Word) && words.contains(&self.text.word(at))
    }

    /// The value of a number without points and commas; `None` for others and beyond nine digits.
    fn integer(&self, at: usize) -> Option<u32> {
        if !self.is_number(at) {
            return None;
        }
        let mut value = 0u32;
        let digits = self.text.word(at);
        if digits.chars().count() > 9 {
            return None;
        }
        for digit in digits.chars() {
            value = value * 10 + digit_value(digit)?;
        }
        Some(value)
    }

    fn day(&self, at: usize) -> bool {
        self.integer(at).is_some_and(|day| (1..=31).contains(&day))
    }

    fn year(&self, at: usize) -> bool {
        self.integer(at).is_some_and(|year| (1000..=2100).contains(&year)) && self.text.word(at).chars().count() == 4
    }

    /// A year behind a date, where small ones are understood too.
    fn year_of_date(&self, at: usize) -> bool {
        let length = self.is_number(at).then(|| self.text.word(at).chars().count());
        self.integer(at).is_some() && matches!(length, Some(3 | 4))
    }

    fn at(&self, at: usize) -> Match {
        let token = &self.text.tokens[at];
        let is_word = token.kind == Kind::Word;
        let is_prefix = || self.is_glued(at + 1) && self.is_sign(at + 1, "$£€¥");
        if (is_word && self.meanings[at] == 0 && !self.is_roman(at) && !is_prefix()) || token.kind == Kind::Possessive {
            return None;
        }
        self.written_date(at)
            .or_else(|| self.date(at))
            .or_else(|| self.east_asian(at))
            .or_else(|| self.marked(at))
            .or_else(|| self.time(at))
            .or_else(|| self.money_by_sign(at))
            .or_else(|| self.century(at))
            .or_else(|| self.amount(at))
    }

    /// `2026-11-21`, `21.11.2026`, `21/11/2026`.
    fn written_date(&self, at: usize) -> Match {
        if !self.is_number(at) {
            return None;
        }
        let parts: Vec<&str> = self.text.word(at).split('.').collect();
        let value =
            |part: &str| part.chars().try_fold(0u32, |sum, digit| Some(sum.checked_mul(10)? + digit_value(digit)?));
        if let [day, month, year] = parts[..] {
            let fits = value(day).is_some_and(|d| (1..=31).contains(&d))
                && value(month).is_some_and(|m| (1..=12).contains(&m));
            return (fits && matches!(year.chars().count(), 2 | 4)).then_some((at + 1, EntityLabel::Date));
        }
        let sign = ["-", "/", "."].into_iter().find(|sign| self.is_sign(at + 1, sign) && self.is_sign(at + 3, sign))?;
        let glued = (at + 1..at + 5).all(|at| self.is_glued(at));
        let (first, second, third) = (self.integer(at)?, self.integer(at + 2)?, self.integer(at + 4)?);
        let is_iso = sign != "." && self.year(at) && (1..=12).contains(&second) && (1..=31).contains(&third);
        let is_day = (1..=31).contains(&first)
            && (1..=31).contains(&second)
            && first.min(second) <= 12
            && matches!(self.text.word(at + 4).len(), 2 | 4);
        (glued && (is_iso || is_day)).then_some((at + 5, EntityLabel::Date))
    }

    /// Dates with the name of a month, days of the week, seasons, relative days.
    fn date(&self, at: usize) -> Match {
        let date = |end: usize| Some((end, EntityLabel::Date));
        if self.is(at, word::WEEKDAY) && (self.text.tokens[at].shape.is_capital() || self.locale.small_months) {
            let next = if self.is_sign(at + 1, ",") { at + 2 } else { at + 1 };
            let end = if self.is_number(next) || self.is(next, word::MONTH) { self.month_date(next) } else { None };
            return date(end.unwrap_or(at + 1));
        }
        if let Some(end) = self.month_date(at) {
            return date(end);
        }
        if self.is(at, word::SEASON) {
            let next = if self.is(at + 1, word::OF) { at + 2 } else { at + 1 };
            return if self.year(next) { date(next + 1) } else { None };
        }
        if self.is(at, word::RELATIVE) {
            return date(at + 1);
        }
        if self.is(at, word::WHICH) && self.is(at + 1, word::DATE_UNIT | word::WEEKDAY | word::SEASON | word::MONTH) {
            return date(at + 2);
        }
        None
    }

    /// `3 May 1901`, `3rd of May, 1901`, `3–5 May`, `May 3, 1901`, `May 1901`, `May`; where it ends.
    fn month_date(&self, at: usize) -> Option<usize> {
        let mut month = at;
        let mut has_day = false;
        if self.day(at)
            || (self.is_number(at) && self.is_sign(at + 1, ".") && self.locale.day_has_point && self.day(at))
        {
            month = self.behind_day(at);
            if self.is_sign(month, "-–—") && self.day(month + 1) {
                month = self.behind_day(month + 1);
            }
            has_day = true;
            while self.is(month, word::OF) && month < at + 7 {
                month += 1;
            }
        }
        if !self.is_month(month, has_day) {
            return None;
        }
        let mut end = month + 1;
        if !has_day && self.day(end) && !self.is_sign(end + 1, ":%") {
            let behind = self.behind_day(end);
            has_day = true;
            end = behind;
            if self.is_sign(end, "-–—") && self.day(end + 1) && !self.is(end + 2, word::MONTH) {
                end = self.behind_day(end + 1);
            }
        }
        let mut next = end;
        while self.is_sign(next, ",") && next == end || self.is(next, word::OF) && next < end + 2 {
            next += 1;
        }
        let follows_month = next == end || has_day || self.is(end, word::OF);
        if (has_day && self.year_of_date(next) || follows_month && self.year(next)) && !self.is_decade(next) {
            end = next + 1;
            if self.is(end, word::YEAR) {
                end = self.behind_point(end + 1);
            }
            return Some(self.behind_era(end));
        }
        if self.is_sign(end, "-–—") && self.is(end + 1, word::MONTH) && self.is_month(end + 1, true) {
            return self.month_date(end + 1).or(Some(end));
        }
        let stands_alone = has_day || self.is_unmistakable_month(month);
        stands_alone.then_some(end)
    }

    /// Behind a day and what marks it as one: `3rd`, `3.`, `1er`.
    fn behind_day(&self, day: usize) -> usize {
        let next = day + 1;
        let marked = self.is_glued(next)
            && (self.is(next, word::SUFFIX)
                || (self.locale.day_has_point && self.is_sign(next, "."))
                || self.is_sign(next, "º°ª"));
        if marked { next + 1 } else { next }
    }

    /// Names of months begin with a capital where the language writes them so; `may` and `march` are other words.
    fn is_month(&self, at: usize, _has_day: bool) -> bool {
        self.is(at, word::MONTH) && (self.locale.small_months || self.text.tokens[at].shape.is_capital())
    }

    /// Months that are no other word, or stand where only a month can.
    fn is_unmistakable_month(&self, at: usize) -> bool {
        let name = self.text.word(at);
        if self.locale.small_months {
            return false;
        }
        let is_ambiguous = matches!(
            name,
            "May"
                | "March"
                | "Mai"
                | "Mars"
                | "Mar"
                | "Jan"
                | "Jun"
                | "Dec"
                | "Sep"
                | "Apr"
                | "April"
                | "June"
                | "August"
                | "Aug"
                | "Jul"
        );
        let before = at.checked_sub(1).map(|before| self.text.word(before));
        let is_placed = matches!(
            before,
            Some(
                "in" | "In"
                    | "of"
                    | "since"
                    | "Since"
                    | "until"
                    | "Until"
                    | "by"
                    | "By"
                    | "last"
                    | "next"
                    | "this"
                    | "early"
                    | "late"
                    | "mid"
                    | "im"
                    | "Im"
                    | "seit"
                    | "through"
                    | "during"
                    | "each"
                    | "every"
            )
        );
        name.len() > 3 && !is_ambiguous || is_placed
    }

    /// `1990s`, `1990er`, `1990-х`.
    fn is_decade(&self, at: usize) -> bool {
        let next = at + 1;
        self.is_glued(next)
            && (self.is(next, word::DECADE)
                || self.is_sign(next, "-") && self.is_word(next + 1, &["х", "er", "е", "та", "те"]))
    }

    /// Behind `BC`, `v. Chr.`, `av. J.-C.`, `до н. э.` …; `at` where there is none.
    fn behind_era(&self, at: usize) -> usize {
        const PHRASES: &[&[&str]] = &[
            &["v", "Chr"],
            &["n", "Chr"],
            &["v", "u", "Z"],
            &["av", "J.-C"],
            &["ap", "J.-C"],
            &["до", "н", "э"],
            &["н", "э"],
            &["до", "нашей", "эры"],
            &["a", "C"],
            &["d", "C"],
            &["до", "н", "е"],
            &["пр", "Хр"],
            &["пр", "н", "е"],
        ];
        if self.is(at, word::ERA) {
            return at + 1;
        }
        let behind = |phrase: &&[&str]| {
            phrase.iter().try_fold(at, |at, part| {
                let fits =
                    self.text.tokens.get(at)?.kind == Kind::Word && self.text.word(at).trim_end_matches('.') == *part;
                fits.then(|| self.behind_point(at + 1))
            })
        };
        PHRASES.iter().find_map(behind).unwrap_or(at)
    }

    /// Behind the full stop of an abbreviation.
    fn behind_point(&self, at: usize) -> usize {
        let is_short = at.checked_sub(1).is_some_and(|before| self.text.word(before).chars().count() <= 3);
        if is_short && self.is_sign(at, ".") && self.is_glued(at) { at + 1 } else { at }
    }

    /// `2020年5月3日`, `5月3日`, `20世紀`, `2020년 5월 3일`.
    fn east_asian(&self, at: usize) -> Match {
        if !self.is_number(at) {
            return None;
        }
        let mut end = at;
        for signs in [&["年", "년"][..], &["月", "월"], &["日", "일", "号", "號"]] {
            if self.is_number(end) && self.is_word(end + 1, signs) {
                end += 2;
            }
        }
        if end > at {
            return Some((end, EntityLabel::Date));
        }
        let century = self.is_word(at + 1, &["世"]) && self.is_word(at + 2, &["紀", "纪"]);
        if century {
            return Some((at + 3, EntityLabel::Date));
        }
        if self.is_word(at + 1, &["세기", "년대"]) {
            return Some((at + 2, EntityLabel::Date));
        }
        if self.is_word(at + 1, &["円", "元"]) || self.is_word(at + 1, &["원", "달러", "엔"]) {
            return Some((at + 2, EntityLabel::Money));
        }
        None
    }

    /// Dates whose parts are named by the word before: `ngày 3 tháng 5 năm 1901`, `năm 1901`, `عام 1901`.
    fn marked(&self, at: usize) -> Match {
        let mut end = at;
        for (marker, fits) in [
            (word::BEFORE_DAY, Self::day as fn(&Self, usize) -> bool),
            (word::BEFORE_MONTH, Self::day),
            (word::BEFORE_YEAR, Self::year_of_date),
        ] {
            let from = if end > at && self.is_sign(end, ",") { end + 1 } else { end };
            if self.is(from, marker) && fits(self, from + 1) {
                end = from + 2;
            }
        }
        if end == at && self.is(at, word::BEFORE_CENTURY) && (self.is_number(at + 1) || self.is_roman(at + 1)) {
            end = at + 2;
        }
        (end > at).then_some((end, EntityLabel::Date))
    }

    fn time(&self, at: usize) -> Match {
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

    /// `$3.5 million`, `US$ 5`, `€20`, `₹5 crore`.
    fn money_by_sign(&self, at: usize) -> Match {
        let country = self.text.tokens[at].kind == Kind::Word
            && matches!(self.text.word(at), "US" | "A" | "C" | "NZ" | "HK" | "R" | "U.S.")
            && self.is_glued(at + 1);
        let sign = if country { at + 1 } else { at };
        if self.is_sign(sign, "$£€¥₹₽₩₫₺₴₦฿₪¢") && self.is_number(sign + 1) {
            let end = self.behind_magnitude(self.behind_range(sign + 2));
            return Some((if self.is(end, word::CURRENCY) { end + 1 } else { end }, EntityLabel::Money));
        }
        None
    }

    /// `19th century`, `nineteenth century`, `19. Jahrhundert`, `XIXe siècle`, `siglo XIX`, `XIX век`.
    fn century(&self, at: usize) -> Match {
        let behind = |at: usize| Some((self.behind_era(at), EntityLabel::Date));
        if self.is(at, word::CENTURY)
            && (self.is_roman(at + 1)
                || (self.integer(at + 1).is_some_and(|n| n <= 21) && self.text.tokens[at + 1].spaced))
        {
            return behind(at + 2);
        }
        let next = if self.integer(at).is_some_and(|number| number <= 30) {
            self.behind_day(at)
        } else if self.is(at, word::ORDINAL) || self.is_roman(at) {
            at + 1
        } else {
            return None;
        };
        let next = if self.is_sign(next, "-–") { next + 1 } else { next };
        let next = if next > at + 1 || !self.is_roman(next) { next } else { next + 1 };
        self.is(next, word::CENTURY).then(|| behind(next + 1)).flatten()
    }

    /// A Roman numeral of two letters or more; with the ordinal ending of French glued on.
    fn is_roman(&self, at: usize) -> bool {
        let Some(token) = self.text.tokens.get(at).filter(|token| token.kind == Kind::Word && token.shape.is_capital())
        else {
            return false;
        };
        let word = self.text.text[token.start..token.end].trim_end_matches(['e', 'è', 'm', 'º', 'ᵉ']);
        !word.is_empty() && word.len() < 8 && word.bytes().all(|byte| b"IVXLCDM".contains(&byte))
    }

    /// Numbers, and what they count.
    fn amount(&self, at: usize) -> Match {
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
        if self.is_sign(end, "€$£¥₽₫₴zł") {
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

    /// `1914–1918`, `1914–18`.
    fn is_range_of_years(&self, at: usize, end: usize) -> bool {
        end == at + 3 && self.integer(at + 2).is_some_and(|_| matches!(self.text.word(at + 2).chars().count(), 2 | 4))
    }

    /// Digits, or number words: where they end.
    fn number(&self, at: usize) -> Option<usize> {
        if self.is_number(at) {
            return Some(at + 1);
        }
        let counts = word::NUMBER | word::MAGNITUDE | word::ONE;
        let is_one = self.is(at, word::ONE) && self.is(at + 1, word::MAGNITUDE);
        if !is_one && !self.is(at, word::NUMBER) {
            return None;
        }
        let mut end = at + 1;
        loop {
            let and = self.is_word(end, &["and", "und", "et", "y", "e"])
                && self.is(end - 1, word::MAGNITUDE)
                && self.is(end + 1, word::NUMBER);
            if self.is(end, counts) {
                end += 1;
            } else if and {
                end += 2;
            } else {
                return Some(end);
            }
        }
    }

    fn behind_magnitude(&self, at: usize) -> usize {
        let mut at = at;
        while self.is(at, word::MAGNITUDE) {
            at += 1;
        }
        at
    }

    /// Behind the second number of `10–20`.
    fn behind_range(&self, at: usize) -> usize {
        let is_range =
            self.is_sign(at, "-–—") && self.is_number(at + 1) && (self.is_glued(at) == self.is_glued(at + 1));
        let goes_on = self.is_sign(at + 2, "-–—:./") && self.is_glued(at + 2) && self.is_number(at + 3);
        if is_range && !goes_on { at + 2 } else { at }
    }
}

fn digit_value(digit: char) -> Option<u32> {
    digit.to_digit(10).or_else(|| {
        // Digits of other scripts stand in blocks of ten.
        const ZEROS: &[char] = &['०', '٠', '۰', '০', '੦', '૦', '୦', '௦', '౦', '೦', '൦', '๐', '０'];
        ZEROS.iter().map(|zero| u32::from(digit).wrapping_sub(u32::from(*zero))).find(|value| *value < 10)
    })
}

#[cfg(test)]
mod tests {
    use EntityLabel::*;
    use proptest::prelude::*;

    use super::*;

    fn found(language: &str, text: &str) -> Vec<(String, EntityLabel)> {
        let locale = Locale::of(language);
        let cut = Text::new(text, &locale);
        find(&cut, &locale)
            .into_iter()
            .map(|amount| (text[cut.span(&amount.tokens)].to_owned(), amount.label))
            .collect()
    }

    fn check(language: &str, cases: &[(&str, &[(&str, EntityLabel)])]) {
        for (text, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(words, label)| ((*words).to_owned(), *label)).collect();
            assert_eq!(found(language, text), expected, "{language}: {text}");
        }
    }

    #[test]
    fn english_dates() {
        check(
            "en",
            &[
                (
                    "On 12 March 1984 and March 13, 1985, in June 1986.",
                    &[("12 March 1984", Date), ("March 13, 1985", Date), ("June 1986", Date)],
                ),
                (
                    "the 3rd of May 1901, May 4th, 3–5 May 1902",
                    &[("3rd of May 1901", Date), ("May 4th", Date), ("3–5 May 1902", Date)],
                ),
                (
                    "2026-11-21 or 21/11/2026 or 21.11.2026",
                    &[("2026-11-21", Date), ("21/11/2026", Date), ("21.11.2026", Date)],
                ),
                ("in the 1990s, 1914–1918 and 1939-45", &[("1990s", Date), ("1914–1918", Date), ("1939-45", Date)]),
                (
                    "the 19th century, the nineteenth century, the 3rd century BC",
                    &[("19th century", Date), ("nineteenth century", Date), ("3rd century BC", Date)],
                ),
                (
                    "44 BC, AD 79, 476 AD, 300 BCE",
                    &[("44 BC", Date), ("AD 79", Date), ("476 AD", Date), ("300 BCE", Date)],
                ),
                ("summer of 1969 and winter 1944", &[("summer of 1969", Date), ("winter 1944", Date)]),
                ("He may march in May. On Monday, 5 June 2000", &[("May", Date), ("Monday, 5 June 2000", Date)]),
                (
                    "last year, yesterday, three years",
                    &[("last year", Date), ("yesterday", Date), ("three years", Date)],
                ),
                ("Sunday came", &[("Sunday", Date)]),
            ],
        );
    }

    #[test]
    fn english_amounts() {
        check(
            "en",
            &[
                (
                    "$3.5 million, US$5, €20, 10 dollars, £1–2 billion",
                    &[
                        ("$3.5 million", Money),
                        ("US$5", Money),
                        ("€20", Money),
                        ("10 dollars", Money),
                        ("£1–2 billion", Money),
                    ],
                ),
                (
                    "40%, 12.5 percent, five per cent, 10–20%",
                    &[("40%", Percent), ("12.5 percent", Percent), ("five per cent", Percent), ("10–20%", Percent)],
                ),
                (
                    "25 km, 5-foot, 3 square miles, 120 km², 90 km/h, 20 °C, 5 feet",
                    &[
                        ("25 km", Quantity),
                        ("5-foot", Quantity),
                        ("3 square miles", Quantity),
                        ("120 km²", Quantity),
                        ("90 km/h", Quantity),
                        ("20 °C", Quantity),
                        ("5 feet", Quantity),
                    ],
                ),
                ("at 10:30 a.m. or 5 pm, two hours", &[("10:30 a.m.", Time), ("5 pm", Time), ("two hours", Time)]),
                ("the first, 3rd and twenty-fifth", &[("first", Ordinal), ("3rd", Ordinal), ("twenty-fifth", Ordinal)]),
                (
                    "twenty-five, one hundred and five, 1,200 and two million",
                    &[
                        ("twenty-five", Cardinal),
                        ("one hundred and five", Cardinal),
                        ("1,200", Cardinal),
                        ("two million", Cardinal),
                    ],
                ),
                ("no one, F16, B2B and 5G", &[]),
            ],
        );
    }

    #[test]
    fn other_languages() {
        check(
            "de",
            &[(
                "am 3. Mai 1901 und im 19. Jahrhundert, 44 v. Chr., 3,5 Millionen Euro, 12 %",
                &[
                    ("3. Mai 1901", Date),
                    ("19. Jahrhundert", Date),
                    ("44 v. Chr.", Date),
                    ("3,5 Millionen Euro", Money),
                    ("12 %", Percent),
                ],
            )],
        );
        check(
            "fr",
            &[(
                "le 1er mai 1901, au XIXe siècle, 5 millions de dollars, 20 km",
                &[("1er mai 1901", Date), ("XIXe siècle", Date), ("5 millions de dollars", Money), ("20 km", Quantity)],
            )],
        );
        check(
            "es",
            &[(
                "el 3 de mayo de 1901, el siglo XIX, 20 por ciento",
                &[("3 de mayo de 1901", Date), ("siglo XIX", Date), ("20 por ciento", Percent)],
            )],
        );
        check("it", &[("il 3 maggio 1901, nel XIX secolo", &[("3 maggio 1901", Date), ("XIX secolo", Date)])]);
        check("pt", &[("em 3 de maio de 1901, século XIX", &[("3 de maio de 1901", Date), ("século XIX", Date)])]);
        check(
            "ru",
            &[(
                "3 мая 1901 года, в XIX веке, в 1990-х, 20 км",
                &[("3 мая 1901 года", Date), ("XIX веке", Date), ("1990-х", Date), ("20 км", Quantity)],
            )],
        );
        check("bg", &[("на 3 май 1901 г. и през XIX век", &[("3 май 1901 г.", Date), ("XIX век", Date)])]);
        check(
            "vi",
            &[(
                "ngày 3 tháng 5 năm 1901, tháng 5 năm 1901, năm 1901, thế kỷ 20",
                &[("ngày 3 tháng 5 năm 1901", Date), ("tháng 5 năm 1901", Date), ("năm 1901", Date), ("kỷ 20", Date)],
            )],
        );
        check(
            "mr",
            &[(
                "३ मे १९०१ रोजी, २५ किलोमीटर, १० टक्के",
                &[("३ मे १९०१ रोजी", Date), ("२५ किलोमीटर", Quantity), ("१० टक्के", Percent)],
            )],
        );
        check("ja", &[("1901年5月3日、20世紀、500円", &[("1901年5月3日", Date), ("20世紀", Date), ("500円", Money)])]);
        check("zh", &[("1901年5月3日", &[("1901年5月3日", Date)])]);
        check("ko", &[("1901년 5월 3일", &[("1901년 5월 3일", Date)])]);
        check("ar", &[("3 مايو 1901", &[("3 مايو 1901", Date)])]);
        check("hi", &[("३ मई १९०१", &[("३ मई १९०१", Date)])]);
        check("pl", &[("3 maja 1901 roku", &[("3 maja 1901 roku", Date)])]);
        check("nl", &[("3 mei 1901, 19e eeuw", &[("3 mei 1901", Date), ("19e eeuw", Date)])]);
    }

    #[test]
    fn whole_surfaces_are_classified() {
        let locale = Locale::of("en");
        assert_eq!(classify("1984", &locale), Some(Date));
        assert_eq!(classify("12 March", &locale), Some(Date));
        assert_eq!(classify("Apollo 11", &locale), None);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_overlaps(text in "([0-9]{1,4}|[.,:%$€/-]| |May|March|th|century|million|km|BC|XIX|年|的){0,30}") {
            let cut = Text::new(&text, &Locale::of("en"));
            for language in ["en", "de", "ja"] {
                let mut end = 0;
                for amount in find(&cut, &Locale::of(language)) {
                    prop_assert!(amount.tokens.start >= end && amount.tokens.end > amount.tokens.start);
                    prop_assert!(amount.tokens.end <= cut.tokens.len());
                    end = amount.tokens.end;
                }
            }
        }
    }
}
