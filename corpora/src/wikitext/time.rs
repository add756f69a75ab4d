//! `#time`: a day in a form of letters, as PHP's `date` takes it (<https://www.mediawiki.org/wiki/Help:Extension:ParserFunctions#.23time>).

use super::dates::Day;
use super::language::Language as Writing;
use crate::languages::Language;

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A date in a form; `None` where no day is given, which means that of reading, or where the form asks for more than a day says.
pub(super) fn formatted(form: &str, date: &str, facts: &Language) -> Option<String> {
    let (language, in_english) = (&facts.writing, facts.code == "en");
    let (day, has_day) = match Day::of(date, language) {
        Some(day) => (day, true),
        None => (month_of(date, language)?, false),
    };
    let (year, number): (i64, i64) = (day.year.parse().ok()?, day.day.parse().ok()?);
    let month = day.month as i64;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let weekday = || WEEKDAYS[weekday(year, month, number)];
    let mut written = String::new();
    let mut letters = form.chars();
    while let Some(letter) = letters.next() {
        if matches!(letter, 'd' | 'j' | 'D' | 'l' | 'N' | 'w') && !has_day {
            return None;
        }
        match letter {
            'd' => written.push_str(&format!("{number:02}")),
            'j' => written.push_str(&number.to_string()),
            'm' => written.push_str(&format!("{month:02}")),
            'n' => written.push_str(&month.to_string()),
            'F' => written.push_str(&language.month_name(day.month)),
            'M' if in_english => written.extend(language.month_name(day.month).chars().take(3)),
            'M' => written.push_str(&language.month_name(day.month)),
            'Y' | 'o' => written.push_str(&day.year),
            'y' => written.push_str(&format!("{:02}", year % 100)),
            'L' => written.push(if is_leap { '1' } else { '0' }),
            'l' if in_english => written.push_str(weekday()),
            'D' if in_english => written.push_str(&weekday()[..3]),
            'N' | 'w' => {
                let place = WEEKDAYS.iter().position(|name| *name == weekday())?;
                written.push_str(&(if letter == 'N' && place == 0 { 7 } else { place }).to_string());
            }
            // Hours, numbers in other scripts, other calendars: none of them is known of a day.
            letter if letter.is_ascii_alphabetic() => return None,
            '\\' => written.extend(letters.next()),
            '"' => written.extend(letters.by_ref().take_while(|letter| *letter != '"')),
            letter => written.push(letter),
        }
    }
    Some(written)
}

/// The first of a month that is written without a day: `1990-05`, `May 1990`.
fn month_of(date: &str, language: &Writing) -> Option<Day> {
    let (first, second) = date.trim().split_once(['-', ' '])?;
    let year = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (year, month) = if year(first) { (first, second) } else { year(second).then_some((second, first))? };
    Some(Day { year: year.to_owned(), month: language.month(month)?, day: "1".to_owned() })
}

/// Days since Sunday of a day of the Gregorian calendar.
fn weekday(year: i64, month: i64, day: i64) -> usize {
    // A year begins in March, so that the leap day is its last.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    (days + 2).rem_euclid(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::languages;

    #[test]
    fn days_are_written_in_the_form_asked_for() {
        let written = |form: &str, date: &str| formatted(form, date, languages::of("en"));
        for (form, date, words) in [
            ("j F Y", "1871-03-09", "9 March 1871"),
            ("F j, Y", "9 March 1871", "March 9, 1871"),
            ("Y-m-d", "March 9, 1871", "1871-03-09"),
            ("l, D N w", "2026-11-30", "Monday, Mon 1 1"),
            ("D N w", "2000-01-02", "Sun 7 0"),
            ("F Y", "1871-03", "March 1871"),
            ("M y", "March 1871", "Mar 71"),
            ("\"the\" jS", "1871-03-09", ""),
            ("\"day\" j \\o\\f F", "1871-03-09", "day 9 of March"),
        ] {
            assert_eq!(written(form, date).unwrap_or_default(), words, "{form} of {date}");
        }
        for (form, date) in [("Y", ""), ("H:i", "1871-03-09"), ("j F", "1871-03"), ("Y", "soon")] {
            assert_eq!(written(form, date), None, "{form} of {date}");
        }
        assert_eq!(formatted("j. F Y", "1871-03-09", languages::of("de")).as_deref(), Some("9. März 1871"));
    }
}
