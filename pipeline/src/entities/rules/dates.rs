//! Dates: in digits, with the names of months, days and seasons, in words before or behind their parts, and centuries.

use memtrain_corpora::EntityLabel;

use super::super::locale::word;
use super::{Grammar, Match, digit_value};
use crate::entities::tokens::Kind;

impl Grammar<'_, '_> {
    /// `2026-11-21`, `21.11.2026`, `21/11/2026`.
    pub(super) fn written_date(&self, at: usize) -> Match {
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
    pub(super) fn date(&self, at: usize) -> Match {
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
        if !self.is_month(month) {
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
        if self.is_sign(end, "-–—") && self.is_month(end + 1) {
            return self.month_date(end + 1).or(Some(end));
        }
        let stands_alone = has_day || self.is_unmistakable_month(month);
        stands_alone.then_some(end)
    }

    /// Behind a day and what marks it as one: `3rd`, `3.`, `1er`.
    pub(super) fn behind_day(&self, day: usize) -> usize {
        let next = day + 1;
        let marked = self.is_glued(next)
            && (self.is(next, word::SUFFIX)
                || (self.locale.day_has_point && self.is_sign(next, "."))
                || self.is_sign(next, "º°ª"));
        if marked { next + 1 } else { next }
    }

    /// Names of months begin with a capital where the language writes them so; `may` and `march` are other words.
    fn is_month(&self, at: usize) -> bool {
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
    pub(super) fn is_decade(&self, at: usize) -> bool {
        let next = at + 1;
        self.is_glued(next)
            && (self.is(next, word::DECADE)
                || self.is_sign(next, "-") && self.is_word(next + 1, &["х", "er", "е", "та", "те"]))
    }

    /// Behind `BC`, `v. Chr.`, `av. J.-C.`, `до н. э.` …; `at` where there is none.
    pub(super) fn behind_era(&self, at: usize) -> usize {
        if self.is(at, word::ERA) {
            return at + 1;
        }
        let behind = |phrase: &Vec<&str>| {
            phrase.iter().try_fold(at, |at, part| {
                let fits =
                    self.text.tokens.get(at)?.kind == Kind::Word && self.text.word(at).trim_end_matches('.') == *part;
                fits.then(|| self.behind_point(at + 1))
            })
        };
        self.locale.eras.iter().find_map(behind).unwrap_or(at)
    }

    /// Behind the full stop of an abbreviation.
    pub(super) fn behind_point(&self, at: usize) -> usize {
        let is_short = at.checked_sub(1).is_some_and(|before| self.text.word(before).chars().count() <= 3);
        if is_short && self.is_sign(at, ".") && self.is_glued(at) { at + 1 } else { at }
    }

    /// `2020年5月3日`, `5月3日`, `20世紀`, `2020년 5월 3일`.
    pub(super) fn east_asian(&self, at: usize) -> Match {
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
    pub(super) fn marked(&self, at: usize) -> Match {
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
        if end == at && self.is(at, word::BEFORE_CENTURY) {
            // The word for a century may have two syllables: `thế kỷ 20`.
            let number = if self.is_word(at + 1, &["kỷ", "kỉ"]) { at + 2 } else { at + 1 };
            if self.is_number(number) || self.is_roman(number) {
                end = number + 1;
            }
        }
        (end > at).then_some((end, EntityLabel::Date))
    }

    /// `19th century`, `nineteenth century`, `19. Jahrhundert`, `XIXe siècle`, `siglo XIX`, `XIX век`.
    pub(super) fn century(&self, at: usize) -> Match {
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

    /// `1914–1918`, `1914–18`.
    pub(super) fn is_range_of_years(&self, at: usize, end: usize) -> bool {
        end == at + 3 && self.integer(at + 2).is_some_and(|_| matches!(self.text.word(at + 2).chars().count(), 2 | 4))
    }
}
