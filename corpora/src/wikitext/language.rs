//! Date and number formats of a language, where a template or function writes them.

use crate::languages;
pub(super) use crate::languages::Writing as Language;

/// The digit zero of scripts with digits of their own: Arabic, Persian, those of India, Thai, Lao, Tibetan, Burmese, Khmer, wide ones.
const ZEROS: [u32; 17] = [
    0x660, 0x6F0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0xED0, 0xF20, 0x1040, 0x17E0,
    0xFF10,
];

impl Language {
    /// A year, a month of it, or a day, as prose has it. `day_first` is for English, which has it both ways.
    pub(super) fn date(&self, year: &str, month: Option<usize>, day: Option<&str>, day_first: bool) -> String {
        let Some(month) = month.filter(|month| (1..=12).contains(month)) else { return year.to_owned() };
        let pattern = match day {
            None => &self.month_of_year,
            Some(_) if day_first => &self.date_day_first,
            Some(_) => &self.date,
        };
        let own = |number: &str| self.own_digits(number.to_owned());
        pattern
            .replace("{d}", &own(day.unwrap_or_default().trim_start_matches('0')))
            .replace("{m}", self.months.get(month - 1).map_or("", String::as_str))
            .replace("{n}", &own(&month.to_string()))
            .replace("{y}", &own(year))
    }

    /// The name of a month as it stands in a date, or its number where a date has none.
    pub(super) fn month_name(&self, month: usize) -> String {
        self.months.get(month.saturating_sub(1)).map_or_else(|| month.to_string(), String::clone)
    }

    /// The number of a month by its name or by its number.
    pub(super) fn month(&self, name: &str) -> Option<usize> {
        let name = name.trim();
        if let Ok(number) = name.parse::<usize>() {
            return (1..=12).contains(&number).then_some(number);
        }
        let name = name.to_lowercase();
        let named = |month: &str| {
            let month = month.to_lowercase();
            month == name || name.chars().count() >= 3 && month.starts_with(&name)
        };
        let place = |months: &[String]| months.iter().position(|month| named(month));
        // Bots and translators write the months in English everywhere.
        let in_english = || place(&languages::of("en").writing.months);
        Some(place(&self.months).or_else(|| place(&self.months_alone)).or_else(in_english)? + 1)
    }

    /// A number written in ASCII with its thousands apart, as this language has it.
    pub(super) fn number(&self, number: &str) -> String {
        let (whole, parts) = number.split_once('.').map_or((number, None), |(whole, parts)| (whole, Some(parts)));
        let first = whole.find(|letter: char| letter.is_ascii_digit()).unwrap_or(0);
        let (sign, digits) = whole.split_at(first);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return number.to_owned();
        }
        let mut written = String::from(sign);
        let apart = !(self.four_together && digits.len() == 4);
        for (place, digit) in digits.char_indices() {
            let left = digits.len() - place;
            let begins = if self.lakh { left == 3 || left > 3 && left % 2 == 1 } else { left % 3 == 0 };
            if place > 0 && begins && apart {
                written.push_str(&self.group);
            }
            written.push(digit);
        }
        if let Some(parts) = parts {
            written.push(self.decimal);
            written.push_str(parts);
        }
        self.own_digits(written)
    }

    /// A number as this language or English writes it, in ASCII, without what stands between thousands. In a language with a
    /// decimal comma a single mark before three digits is taken as its own.
    pub(super) fn plain(&self, text: &str) -> String {
        let digit = |letter: char| {
            let zero = ZEROS.iter().find(|&&zero| (zero..=zero + 9).contains(&(letter as u32)))?;
            char::from_digit(letter as u32 - zero, 10)
        };
        let ascii = |letter| match letter {
            '٫' => '.',
            '٬' => ',',
            _ => digit(letter).unwrap_or(letter),
        };
        let text: String = text.trim().chars().filter(|letter| *letter != '\u{A0}').map(ascii).collect();
        if self.decimal != ',' {
            return text.replace(',', "");
        }
        let number = text.split(['+', '/', '⁄']).next().unwrap_or_default();
        match self.decimal_in(number) {
            '.' => text.replace(',', ""),
            _ => text.replace('.', "").replace(',', "."),
        }
    }

    /// Which mark stands before the parts of a number, in a language that has the comma there.
    fn decimal_in(&self, number: &str) -> char {
        let marks = |mark: char| number.matches(mark).count();
        let Some(last) = number.rfind(['.', ',']) else { return ',' };
        let (mark, behind) = (if number[last..].starts_with('.') { '.' } else { ',' }, number.len() - last - 1);
        match (mark, marks('.'), marks(',')) {
            // Several of one kind stand between thousands, and of two kinds the last is before the parts.
            ('.', 2.., 0) => ',',
            (',', 0, 2..) => '.',
            ('.', 1, 0) if behind == 3 && self.group == "." => ',',
            (mark, ..) => mark,
        }
    }

    /// The digits of a text as this language writes them.
    fn own_digits(&self, text: String) -> String {
        let Some(zero) = self.zero else { return text };
        let own = |digit: char| digit.to_digit(10).and_then(|digit| char::from_u32(zero as u32 + digit));
        text.chars()
            .map(|letter| if letter.is_ascii_digit() { own(letter).unwrap_or(letter) } else { letter })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str) -> &'static Language {
        &languages::of(code).writing
    }

    #[test]
    fn dates_and_numbers_are_written_as_the_language_has_them() {
        assert_eq!(of("en").date("1984", Some(7), Some("21"), false), "July 21, 1984");
        assert_eq!(of("en").date("1984", Some(7), Some("21"), true), "21 July 1984");
        assert_eq!(of("de").date("1984", Some(7), Some("02"), false), "2. Juli 1984");
        assert_eq!(of("vi").date("1984", Some(7), None, false), "tháng 7 năm 1984");
        assert_eq!(of("ja").date("1984", Some(7), Some("1"), false), "1984年7月1日");
        assert_eq!(of("bn").date("1984", Some(7), Some("1"), false), "১ জুলাই ১৯৮৪");
        assert_eq!(of("en").number("-1234567.5"), "-1,234,567.5");
        assert_eq!(of("de").number("1234.5"), "1.234,5");
        assert_eq!(of("mr").number("1234567"), "१२,३४,५६७");
        assert_eq!(of("en").number("abc"), "abc");
        for (language, written, plain) in [
            ("en", "1,234.5", "1234.5"),
            ("vi", "1.234,5", "1234.5"),
            ("vi", "89,6", "89.6"),
            ("vi", "1.234", "1234"),
            ("vi", "37.5", "37.5"),
            ("vi", "1,234.5", "1234.5"),
            ("de", "1,234,567", "1234567"),
            ("fr", "1.234", "1.234"),
            ("ru", "2,5+1/2", "2.5+1/2"),
            ("mr", "१२,३४,५६७", "1234567"),
            ("fa", "۱٬۲۳۴٫۵", "1234.5"),
        ] {
            assert_eq!(of(language).plain(written), plain, "{written} in {language}");
        }
        assert_eq!(of("ru").month("Мая"), Some(5));
        assert_eq!(of("en").month("Sept"), Some(9));
    }
}
