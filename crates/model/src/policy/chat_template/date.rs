//! The day that a template is told, and how it writes it: `strftime_now(format)`.
//!
//! Templates of Llama 3.2 and others write today's date into the system prompt. With a clock, a run that is resumed would go
//! on with other prompts than it began with, and no two runs would see the same ones. So the day is a setting.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits::{Meter, Outcome, fail};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A day of the Gregorian calendar, written `2024-07-26`.
///
/// ```
/// use memtrain_model::policy::chat_template::Date;
/// let day: Date = "2024-07-26".to_owned().try_into()?;
/// assert_eq!(day, Date::default());
/// assert!(Date::try_from("2023-02-29".to_owned()).is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date {
    year: u32,
    /// From 1.
    month: u32,
    /// From 1.
    day: u32,
}

impl Default for Date {
    /// 26 July 2024: what the templates of Llama 3 write where there is no clock.
    fn default() -> Self {
        Self { year: 2024, month: 7, day: 26 }
    }
}

impl TryFrom<String> for Date {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("a day such as `2024-07-26` expected, got `{text}`");
        let part = |range: std::ops::Range<usize>| -> Option<u32> {
            text.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
        };
        if text.len() != 10 || [4, 7].iter().any(|&at| text.as_bytes()[at] != b'-') {
            return Err(wrong());
        }
        let (Some(year), Some(month), Some(day)) = (part(0..4), part(5..7), part(8..10)) else { return Err(wrong()) };
        let is_day = year > 0 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
        if is_day { Ok(Self { year, month, day }) } else { Err(wrong()) }
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Date {
    /// From 1.
    fn day_of_year(self) -> u32 {
        (1..self.month).map(|month| days_of(self.year, month)).sum::<u32>() + self.day
    }

    /// From 0, Sunday.
    fn weekday(self) -> usize {
        let before = self.year - 1;
        ((before + before / 4 - before / 100 + before / 400 + self.day_of_year()) % 7) as usize
    }

    /// Python's `strftime` of the day's first moment, in its usual locale. A `-` after the percent sign drops zeros in front.
    pub(super) fn strftime(self, format: &str, meter: &mut Meter) -> Outcome<String> {
        let mut text = String::new();
        let mut rest = format;
        while let Some((before, after)) = rest.split_once('%') {
            // No directive writes more.
            meter.bytes(before.len() + 32)?;
            text.push_str(before);
            let bare = after.strip_prefix('-');
            let mut letters = bare.unwrap_or(after).chars();
            let directive = letters.next();
            rest = letters.as_str();
            let written = self.directive(directive, meter)?;
            text.push_str(match bare {
                Some(_) if written.len() > 1 => match written.trim_start_matches(['0', ' ']) {
                    "" => "0",
                    number => number,
                },
                _ => &written,
            });
        }
        meter.bytes(rest.len())?;
        text.push_str(rest);
        Ok(text)
    }

    fn directive(self, directive: Option<char>, meter: &mut Meter) -> Outcome<String> {
        let Self { year, month, day } = self;
        let (month_name, weekday) = (MONTHS[month as usize - 1], self.weekday());
        let short = |name: &str| name[..3].to_owned();
        Ok(match directive {
            Some('Y') => format!("{year:04}"),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('e') => format!("{day:2}"),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => short(month_name),
            Some('A') => WEEKDAYS[weekday].to_owned(),
            Some('a') => short(WEEKDAYS[weekday]),
            Some('w') => weekday.to_string(),
            Some('u') => if weekday == 0 { 7 } else { weekday }.to_string(),
            Some('j') => format!("{:03}", self.day_of_year()),
            Some('H' | 'M' | 'S') => "00".to_owned(),
            Some('I') => "12".to_owned(),
            Some('p') => "AM".to_owned(),
            Some('f') => "000000".to_owned(),
            Some('z' | 'Z') => String::new(),
            Some('F') => self.to_string(),
            Some('T' | 'X') => "00:00:00".to_owned(),
            Some('R') => "00:00".to_owned(),
            Some('D' | 'x') => self.strftime("%m/%d/%y", meter)?,
            Some('c') => self.strftime("%a %b %e 00:00:00 %Y", meter)?,
            Some('%') => "%".to_owned(),
            Some(other) => return fail(format!("`strftime_now` does not know `%{other}`")),
            None => return fail("`strftime_now` was given a `%` with nothing after it"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_python_writes_them() {
        let write = |day: &str, format: &str| {
            let day = Date::try_from(day.to_owned()).unwrap_or_default();
            day.strftime(format, &mut Meter::for_input(0)).unwrap_or_else(|_| "refused".to_owned())
        };
        assert_eq!(write("2024-07-26", "%d %b %Y"), "26 Jul 2024");
        assert_eq!(
            write("2026-03-01", "%A, %B %-d, %Y; %j %y %m %e %a %u %w"),
            "Sunday, March 1, 2026; 060 26 03  1 Sun 7 0"
        );
        assert_eq!(write("2000-12-31", "%F %H:%M:%S %I%p %x %% %j"), "2000-12-31 00:00:00 12AM 12/31/00 % 366");
        assert_eq!(write("1900-03-01", "%c|%-m|%-H"), "Thu Mar  1 00:00:00 1900|3|0");
        assert_eq!((write("2024-01-01", "%Q"), write("2024-01-01", "x%")), ("refused".into(), "refused".into()));
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "2024",
            "2024-13-01",
            "2024-00-10",
            "2024-04-31",
            "2023-02-29",
            "26 Jul 2024",
            "2024-7-26x",
            "äää-ä-1",
            "+024-01-01",
        ] {
            assert!(Date::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert!(Date::try_from("2000-02-29".to_owned()).is_ok_and(|day| String::from(day) == "2000-02-29"));
    }
}
