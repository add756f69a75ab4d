//! How a language writes dates and numbers, where a template or function writes them.

/// How a language writes what templates compose.
#[derive(Debug)]
pub(super) struct Language {
    /// Code of the wiki's language.
    code: &'static str,
    /// Months as they stand in a date; empty where a date has none but numbers.
    months: &'static str,
    /// A date: `{d}`, `{m}` the month's name, `{n}` its number, `{y}`.
    date: &'static str,
    /// A month of a year.
    month: &'static str,
    /// Between the whole and its parts.
    decimal: char,
    /// Between thousands.
    group: &'static str,
    /// Whether groups of two digits stand before the last three.
    lakh: bool,
    /// Its own digit zero, if numbers are written with its own digits.
    zero: Option<char>,
}

const fn language(
    code: &'static str,
    months: &'static str,
    date: &'static str,
    month: &'static str,
    decimal: char,
    group: &'static str,
) -> Language {
    Language { code, months, date, month, decimal, group, lakh: false, zero: None }
}

/// The digit zero of scripts with digits of their own: Arabic, Persian, Devanagari, Bengali.
const ZEROS: [u32; 4] = [0x660, 0x6F0, 0x966, 0x9E6];

const NBSP: &str = "\u{A0}";
const DMY: &str = "{d} {m} {y}";
const MY: &str = "{m} {y}";
const CJK: &str = "{y}年{n}月{d}日";

/// The languages known here, English first; for all others dates are written as numbers.
const LANGUAGES: &[Language] = &[
    language(
        "en",
        "January February March April May June July August September October November December",
        "{m} {d}, {y}",
        MY,
        '.',
        ",",
    ),
    language(
        "de",
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "{d}. {m} {y}",
        MY,
        ',',
        ".",
    ),
    language(
        "fr",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        DMY,
        MY,
        ',',
        NBSP,
    ),
    language(
        "es",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "{d} de {m} de {y}",
        "{m} de {y}",
        ',',
        NBSP,
    ),
    language(
        "it",
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
        DMY,
        MY,
        ',',
        ".",
    ),
    language(
        "pt",
        "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
        "{d} de {m} de {y}",
        "{m} de {y}",
        ',',
        NBSP,
    ),
    language(
        "ca",
        "gener febrer març abril maig juny juliol agost setembre octubre novembre desembre",
        "{d} de {m} de {y}",
        "{m} de {y}",
        ',',
        ".",
    ),
    language(
        "ro",
        "ianuarie februarie martie aprilie mai iunie iulie august septembrie octombrie noiembrie decembrie",
        DMY,
        MY,
        ',',
        ".",
    ),
    language(
        "nl",
        "januari februari maart april mei juni juli augustus september oktober november december",
        DMY,
        MY,
        ',',
        ".",
    ),
    language(
        "sv",
        "januari februari mars april maj juni juli augusti september oktober november december",
        DMY,
        MY,
        ',',
        NBSP,
    ),
    language(
        "da",
        "januar februar marts april maj juni juli august september oktober november december",
        "{d}. {m} {y}",
        MY,
        ',',
        ".",
    ),
    language(
        "no",
        "januar februar mars april mai juni juli august september oktober november desember",
        "{d}. {m} {y}",
        MY,
        ',',
        NBSP,
    ),
    language(
        "fi",
        "tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesäkuuta heinäkuuta elokuuta syyskuuta lokakuuta marraskuuta joulukuuta",
        "{d}. {m} {y}",
        MY,
        ',',
        NBSP,
    ),
    language(
        "ru",
        "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
        DMY,
        MY,
        ',',
        NBSP,
    ),
    language(
        "uk",
        "січня лютого березня квітня травня червня липня серпня вересня жовтня листопада грудня",
        DMY,
        MY,
        ',',
        NBSP,
    ),
    language(
        "bg",
        "януари февруари март април май юни юли август септември октомври ноември декември",
        DMY,
        MY,
        ',',
        NBSP,
    ),
    language(
        "sr",
        "januar februar mart april maj jun jul avgust septembar oktobar novembar decembar",
        "{d}. {n}. {y}.",
        "{n}. {y}.",
        ',',
        ".",
    ),
    language(
        "pl",
        "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
        DMY,
        MY,
        ',',
        NBSP,
    ),
    language(
        "cs",
        "ledna února března dubna května června července srpna září října listopadu prosince",
        "{d}. {m} {y}",
        MY,
        ',',
        NBSP,
    ),
    language(
        "hu",
        "január február március április május június július augusztus szeptember október november december",
        "{y}. {m} {d}.",
        "{y}. {m}",
        ',',
        NBSP,
    ),
    language("tr", "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık", DMY, MY, ',', "."),
    language(
        "id",
        "Januari Februari Maret April Mei Juni Juli Agustus September Oktober November Desember",
        DMY,
        MY,
        ',',
        ".",
    ),
    language(
        "el",
        "Ιανουαρίου Φεβρουαρίου Μαρτίου Απριλίου Μαΐου Ιουνίου Ιουλίου Αυγούστου Σεπτεμβρίου Οκτωβρίου Νοεμβρίου Δεκεμβρίου",
        DMY,
        MY,
        ',',
        ".",
    ),
    language("ar", "يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر", DMY, MY, '.', ","),
    language(
        "he",
        "בינואר בפברואר במרץ באפריל במאי ביוני ביולי באוגוסט בספטמבר באוקטובר בנובמבר בדצמבר",
        DMY,
        MY,
        '.',
        ",",
    ),
    language("vi", "", "{d} tháng {n} năm {y}", "tháng {n} năm {y}", ',', "."),
    language("ja", "", CJK, "{y}年{n}月", '.', ","),
    language("zh", "", CJK, "{y}年{n}月", '.', ","),
    language("ko", "", "{y}년 {n}월 {d}일", "{y}년 {n}월", '.', ","),
    Language {
        lakh: true,
        ..language("hi", "जनवरी फ़रवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर अक्टूबर नवंबर दिसंबर", DMY, MY, '.', ",")
    },
    Language {
        lakh: true,
        zero: Some('०'),
        ..language("mr", "जानेवारी फेब्रुवारी मार्च एप्रिल मे जून जुलै ऑगस्ट सप्टेंबर ऑक्टोबर नोव्हेंबर डिसेंबर", DMY, MY, '.', ",")
    },
    Language {
        lakh: true,
        zero: Some('০'),
        ..language("bn", "জানুয়ারি ফেব্রুয়ারি মার্চ এপ্রিল মে জুন জুলাই আগস্ট সেপ্টেম্বর অক্টোবর নভেম্বর ডিসেম্বর", DMY, MY, '.', ",")
    },
    Language {
        zero: Some('۰'),
        ..language("fa", "ژانویهٔ فوریهٔ مارس آوریل مهٔ ژوئن ژوئیهٔ اوت سپتامبر اکتبر نوامبر دسامبر", DMY, MY, '٫', "٬")
    },
];

/// What is known of a wiki's language.
pub(super) fn of(code: &str) -> &'static Language {
    let code = match code {
        "nb" | "nn" => "no",
        "yue" | "wuu" | "gan" => "zh",
        code => code,
    };
    static UNKNOWN: Language = language("", "", "{y}-{n}-{d}", "{y}-{n}", '.', ",");
    LANGUAGES.iter().find(|language| language.code == code).unwrap_or(&UNKNOWN)
}

impl Language {
    /// A year, a month of it, or a day, as prose has it. `day_first` is for English, which has it both ways.
    pub(super) fn date(&self, year: &str, month: Option<usize>, day: Option<&str>, day_first: bool) -> String {
        let Some(month) = month.filter(|month| (1..=12).contains(month)) else { return year.to_owned() };
        let pattern = match day {
            None => self.month,
            Some(_) if self.code == "en" && day_first => DMY,
            Some(_) => self.date,
        };
        pattern
            .replace("{d}", day.unwrap_or_default().trim_start_matches('0'))
            .replace("{m}", self.months.split(' ').nth(month - 1).unwrap_or_default())
            .replace("{n}", &month.to_string())
            .replace("{y}", year)
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
        let place = |months: &str| months.split(' ').position(|month| !month.is_empty() && named(month));
        // Bots and translators write the months in English everywhere.
        Some(place(self.months).or_else(|| place(of("en").months))? + 1)
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
        for (place, digit) in digits.char_indices() {
            let left = digits.len() - place;
            let begins = if self.lakh { left == 3 || left > 3 && left % 2 == 1 } else { left % 3 == 0 };
            if place > 0 && begins {
                written.push_str(self.group);
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

    #[test]
    fn dates_and_numbers_are_written_as_the_language_has_them() {
        assert_eq!(of("en").date("1984", Some(7), Some("21"), false), "July 21, 1984");
        assert_eq!(of("en").date("1984", Some(7), Some("21"), true), "21 July 1984");
        assert_eq!(of("de").date("1984", Some(7), Some("02"), false), "2. Juli 1984");
        assert_eq!(of("vi").date("1984", Some(7), None, false), "tháng 7 năm 1984");
        assert_eq!(of("ja").date("1984", Some(7), Some("1"), false), "1984年7月1日");
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
        for language in LANGUAGES {
            let months = language.months.split(' ').count();
            assert!(months == 12 || language.months.is_empty(), "{}: {months} months", language.code);
        }
    }
}
