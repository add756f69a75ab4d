//! Dates that templates and functions write.

use std::ops::Range;

use super::clean::Cleaner;
use super::language::Language;
use super::template::Argument;
use super::template_show::is_number;

/// A day, of which the year may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) year: String,
    pub(super) month: usize,
    pub(super) day: String,
}

impl Cleaner<'_> {
    /// `{{as of|2010|3|lc=y}}`.
    pub(super) fn show_as_of(&mut self, words: &str, arguments: &[Argument]) {
        if let Some(alternative) = self.named_range(arguments, &["alt"]) {
            return self.show_value(Some(alternative));
        }
        if let Some(words) = &self.context.facts().wiki.as_of {
            self.out.push(words);
        }
        if self.context.english() {
            let since = self.named(arguments, &["since"]).is_some();
            let words = if since { "Since " } else { words };
            let small = self.named(arguments, &["lc"]).is_some_and(|value| !value.is_empty());
            self.out.push(&if small { words.to_lowercase() } else { words.to_owned() });
        }
        // Of all templates this one has the day first where nothing else is asked for.
        let day_first = self.named(arguments, &["df", "mf"]).is_none_or(str::is_empty);
        let values = self.placed(arguments);
        match self.date_of(&values, arguments, day_first) {
            Some(words) => self.push_plain(&words),
            None => self.show_value(self.numbered(arguments, 1)),
        }
    }

    /// Day, month and year of `{{start date|1984|7|21|df=y}}` in the order of the language.
    pub(super) fn show_date(&mut self, arguments: &[Argument]) {
        let values = self.placed(arguments);
        if let Some(words) = self.date_of(&values, arguments, false) {
            return self.push_plain(&words);
        }
        // A date in one text: `{{date|1990-05-17|dmy}}`.
        let written = self.plain_part(self.numbered(arguments, 1));
        let form = self.plain_part(self.named_range(arguments, &["format", "2"])).to_ascii_lowercase();
        let is_known = matches!(form.as_str(), "dmy" | "mdy" | "ymd" | "iso");
        let is_iso = Day::of(&written, self.context.language()).is_some() && written.split('-').count() == 3;
        match (is_known, is_iso) {
            (true, _) => self.push_plain(&self.formatted_date(&written, &form)),
            (false, true) => {
                let parts: Vec<&str> = written.split('-').map(str::trim).collect();
                let language = self.context.language();
                self.push_plain(&language.date(parts[0], language.month(parts[1]), Some(parts[2]), false));
            }
            (false, false) => self.show_value(self.numbered(arguments, 1)),
        }
    }

    /// The date that a year, a month and a day in this order are, or a day, a month and a year; `None` if there is no year.
    /// `day_first`: in English, where the arguments ask for nothing else.
    fn date_of(&mut self, values: &[Range<usize>], arguments: &[Argument], day_first: bool) -> Option<String> {
        let mut numbers: Vec<&str> = values.iter().take(3).map(|range| self.text[range.clone()].trim()).collect();
        if let [day, _, year] = numbers[..]
            && day.len() <= 2
            && year.len() == 4
            && is_number(year)
        {
            numbers.reverse();
        }
        let year = numbers.first().filter(|year| is_number(year) && year.len() <= 4)?;
        let language = self.context.language();
        let month = numbers.get(1).and_then(|month| language.month(month));
        let day = numbers.get(2).copied().filter(|day| is_number(day) && day.len() <= 2 && month.is_some());
        let day_first = day_first
            || self.named(arguments, &["df"]).is_some_and(|value| matches!(value, "y" | "yes" | "1" | "Y"))
            || self.named(arguments, &["format"]).is_some_and(|form| form.eq_ignore_ascii_case("dmy"));
        Some(language.date(year, month, day, day_first))
    }

    /// `{{date|12|mars|1980}}`.
    pub(super) fn show_day_first(&mut self, values: &[Range<usize>]) {
        let parts: Vec<String> =
            values.iter().take(3).map(|range| self.text[range.clone()].trim().to_owned()).collect();
        let language = self.context.language();
        match parts.as_slice() {
            [day, month, year] if is_number(day) && is_number(year) => {
                let date = language.date(year, language.month(month), Some(day), true);
                // A month that is not known is written as it stands.
                let date = if language.month(month).is_some() { date } else { parts.join(" ") };
                self.push_plain(&date);
            }
            _ => self.show_joined(&values[..values.len().min(3)], " "),
        }
    }

    /// `{{death date and age|1990|3|2|1920|1|5}}`: the day, and in English the age.
    pub(super) fn show_died(&mut self, arguments: &[Argument]) {
        let values = self.placed(arguments);
        let Some(words) = self.date_of(&values, arguments, false) else {
            return self.show_value(self.numbered(arguments, 1));
        };
        self.push_plain(&words);
        let numbers: Vec<i32> = values.iter().map_while(|range| self.text[range.clone()].trim().parse().ok()).collect();
        if let [died, died_month, died_day, born, born_month, born_day] = numbers[..]
            && self.context.english()
        {
            let age = years_between((born, born_month, born_day), (died, died_month, died_day));
            self.out.push(&format!(" (aged {age})"));
        }
    }

    /// `{{age|1950|3|2|2000|1|1}}`; to today it depends on the day of reading, and nothing is shown.
    pub(super) fn show_age(&mut self, arguments: &[Argument]) {
        let values = self.placed(arguments);
        let numbers: Vec<i32> = values.iter().map_while(|range| self.text[range.clone()].trim().parse().ok()).collect();
        match numbers[..] {
            [year, month, day, later_year, later_month, later_day] => {
                self.push_plain(&years_between((year, month, day), (later_year, later_month, later_day)).to_string());
            }
            _ => self.out.dropped(),
        }
    }

    /// `{{OldStyleDate|13|4|1743|2|4}}` as the Russian wiki and its neighbours have it, `{{СС|13.04.1743}}`: the day in the Julian
    /// calendar, then in brackets in the Gregorian one.
    pub(super) fn show_both_calendars(&mut self, arguments: &[Argument]) {
        let values: Vec<String> =
            self.placed(arguments).into_iter().take(5).map(|value| self.plain_part(Some(value))).collect();
        let parts: Vec<&str> = match values.as_slice() {
            [date] => date.split('.').map(str::trim).collect(),
            [new, old] => new.split('.').chain(old.split('.')).map(str::trim).collect(),
            parts => parts.iter().map(String::as_str).collect(),
        };
        let language = self.context.language();
        let [day, month, year, old @ ..] = parts.as_slice() else {
            return self.push_plain(&values.join(" "));
        };
        let (Some(month), true) = (language.month(month), is_number(day) && is_number(year)) else {
            return self.push_plain(&values.join(" "));
        };
        let old = match old {
            [old_day, old_month, rest @ ..] => {
                let old_year = rest.first().filter(|year| is_number(year)).unwrap_or(year);
                language.month(old_month).map(|month| (old_year.to_string(), month, *old_day))
            }
            _ => None,
        };
        let old = old.map(|(year, month, day)| (year, month, day.to_owned()));
        let Some((old_year, old_month, old_day)) = old.or_else(|| julian(year, month, day)) else {
            return self.push_plain(&language.date(year, Some(month), Some(day), true));
        };
        let is_same_month = old_month == month && old_year == *year;
        let new = language.date(year, Some(month), Some(day), true);
        let shown = if is_same_month {
            // `2 (13) апреля 1743`
            let new_day = day.trim_start_matches('0');
            new.replacen(new_day, &format!("{} ({new_day})", old_day.trim_start_matches('0')), 1)
        } else {
            let old = language.date(&old_year, Some(old_month), Some(&old_day), true);
            let old = if old_year == *year { old.replace(year, "").trim_end().to_owned() } else { old };
            match new.strip_suffix(year).filter(|_| old_year == *year) {
                Some(new) => format!("{old} ({}) {year}", new.trim_end()),
                None => format!("{old} ({new})"),
            }
        };
        self.push_plain(&shown);
    }

    /// `{{#formatdate:1990-05-17|dmy}}`: a date in another form; one that is none as it stands.
    pub(super) fn formatted_date(&self, date: &str, form: &str) -> String {
        let language = self.context.language();
        let Some(day) = Day::of(date, language) else { return date.to_owned() };
        let name = language.month_name(day.month);
        let number = day.day.trim_start_matches('0');
        let has_year = !day.year.is_empty();
        let year = if has_year { format!(" {}", day.year) } else { String::new() };
        match form.to_ascii_lowercase().as_str() {
            "mdy" => format!("{name} {number}{}{year}", if has_year { "," } else { "" }),
            "ymd" if has_year => format!("{} {name} {number}", day.year),
            "ymd" => format!("{name} {number}"),
            "dmy" => format!("{number} {name}{year}"),
            "iso 8601" | "iso8601" | "iso" if has_year => format!("{}-{:02}-{:0>2}", day.year, day.month, number),
            _ => date.to_owned(),
        }
    }
}

impl Day {
    /// A date as people write it: `17 May 1990`, `May 17, 1990`, `1990 May 17`, `1990-05-17`, with a year or without.
    pub(super) fn of(date: &str, language: &Language) -> Option<Day> {
        let parts: Vec<&str> = date.split([' ', ',', '\u{A0}', '_']).filter(|part| !part.is_empty()).collect();
        let number = |text: &str, longest: usize| {
            let digits = text.trim_end_matches('.');
            (digits.len() <= longest && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| digits.to_owned())
        };
        let month = |text: &str| if number(text, 9).is_some() { None } else { language.month(text) };
        match parts.as_slice() {
            [iso] => {
                let mut parts = iso.split('-');
                let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
                let (year, day) = (number(year, 4)?, number(day, 2)?);
                let month = month.parse().ok().filter(|month| (1..=12).contains(month))?;
                (year.len() == 4 && parts.next().is_none()).then_some(Day { year, month, day })
            }
            [first, second, rest @ ..] if rest.len() <= 1 => {
                let year = |text: Option<&&str>| text.map_or(Some(String::new()), |text| number(text, 4));
                match (month(first), month(second)) {
                    (Some(month), _) => Some(Day { year: year(rest.first())?, month, day: number(second, 2)? }),
                    (None, Some(month)) => match (number(first, 2), rest.first()) {
                        (Some(day), rest) => Some(Day { year: year(rest)?, month, day }),
                        (None, Some(day)) => Some(Day { year: number(first, 4)?, month, day: number(day, 2)? }),
                        (None, None) => None,
                    },
                    (None, None) => None,
                }
            }
            _ => None,
        }
    }
}

/// Whole years from one day (year, month, day) to another.
fn years_between(from: (i32, i32, i32), to: (i32, i32, i32)) -> i32 {
    let is_before_birthday = (to.1, to.2) < (from.1, from.2);
    to.0.saturating_sub(from.0).saturating_sub(i32::from(is_before_birthday))
}

/// A day of the Gregorian calendar in the Julian: year, month and day.
fn julian(year: &str, month: usize, day: &str) -> Option<(String, usize, String)> {
    let (year, day): (i64, i64) = (year.parse().ok()?, day.parse().ok()?);
    if !(1582..=3000).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Days are counted from the first of March, so that the leap day is the last of a year.
    let shift = |year: i64, month: i64| if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (from_march, months) = shift(year, month as i64);
    let days =
        365 * from_march + from_march / 4 - from_march / 100 + from_march / 400 + (153 * months + 2) / 5 + day - 1;
    // The two calendars agree in the third century.
    let days = days + 2;
    let old_year = (4 * days + 3) / 1461;
    let of_year = days - 1461 * old_year / 4;
    let months = (5 * of_year + 2) / 153;
    let old_day = of_year - (153 * months + 2) / 5 + 1;
    let old_month = if months < 10 { months + 3 } else { months - 9 };
    let old_year = if old_month <= 2 { old_year + 1 } else { old_year };
    Some((old_year.to_string(), old_month as usize, old_day.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_old_calendar() {
        let old = |year: &str, month, day: &str| {
            let (year, month, day) = julian(year, month, day).unwrap();
            format!("{year}-{month}-{day}")
        };
        assert_eq!(old("1917", 11, "7"), "1917-10-25");
        assert_eq!(old("1799", 6, "6"), "1799-5-26");
        assert_eq!(old("1732", 2, "22"), "1732-2-11");
        assert_eq!(old("1800", 3, "12"), "1800-2-29");
        assert_eq!(old("1900", 3, "13"), "1900-2-29");
        assert_eq!(old("1900", 1, "10"), "1899-12-29");
        assert_eq!(old("1582", 10, "15"), "1582-10-5");
        assert_eq!(julian("999999999999999999", 1, "1"), None);
    }
}
