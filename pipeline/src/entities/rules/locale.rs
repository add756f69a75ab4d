//! The words of numbers and dates of a language, and which language a text is in.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// What a word can mean in numbers and dates. One bit each.
pub(crate) mod word {
    macro_rules! bits {
        ($($name:ident = $bit:literal;)*) => { $(pub(crate) const $name: u32 = 1 << $bit;)* };
    }
    bits! {
        MONTH = 0; WEEKDAY = 1; NUMBER = 2; ONE = 3; MAGNITUDE = 4; ORDINAL = 5; SUFFIX = 6; PERCENT = 7; CURRENCY = 8; UNIT = 9;
        DATE_UNIT = 10; TIME_UNIT = 11; SEASON = 12; ERA = 13; CENTURY = 14; DECADE = 15; MERIDIEM = 16; RELATIVE = 17; WHICH = 18;
        OF = 19; YEAR = 20; BEFORE_DAY = 21; BEFORE_MONTH = 22; BEFORE_YEAR = 23; BEFORE_CENTURY = 24;
        SHORT_MAGNITUDE = 25;
    }
}

const KINDS: &[(&str, u32)] = &[
    ("month", word::MONTH),
    ("weekday", word::WEEKDAY),
    ("number", word::NUMBER),
    ("one", word::ONE),
    ("magnitude", word::MAGNITUDE),
    ("short-magnitude", word::SHORT_MAGNITUDE),
    ("ordinal", word::ORDINAL),
    ("suffix", word::SUFFIX),
    ("percent", word::PERCENT),
    ("currency", word::CURRENCY),
    ("unit", word::UNIT),
    ("date-unit", word::DATE_UNIT),
    ("time-unit", word::TIME_UNIT),
    ("season", word::SEASON),
    ("era", word::ERA),
    ("century", word::CENTURY),
    ("decade", word::DECADE),
    ("meridiem", word::MERIDIEM),
    ("relative", word::RELATIVE),
    ("which", word::WHICH),
    ("part", 0),
    ("of", word::OF),
    ("year", word::YEAR),
    ("before-day", word::BEFORE_DAY),
    ("before-month", word::BEFORE_MONTH),
    ("before-year", word::BEFORE_YEAR),
    ("before-century", word::BEFORE_CENTURY),
];

const TABLE: &str = include_str!("../lexicon/numbers.txt");

/// How a language writes numbers and dates.
pub(crate) struct Locale {
    /// Its code, as Wikipedia's addresses have it.
    pub(crate) language: &'static str,
    words: HashMap<&'static str, u32>,
    /// Names of months begin with a small letter.
    pub(crate) small_months: bool,
    /// A day of the month is followed by a full stop.
    pub(crate) day_has_point: bool,
    /// Words stand apart by spaces.
    pub(crate) spaced: bool,
    /// Words before nouns, in a language where all nouns begin with a capital, so that capitals do not tell names.
    pub(crate) determiners: &'static [&'static str],
    /// Two or three words with capitals are rather a person than a place or a body: not where all words of any name, or all nouns,
    /// have capitals.
    pub(crate) several_capitals_are_persons: bool,
    /// Words before the name of a place, in or at which something is.
    pub(crate) locatives: &'static [&'static str],
    /// Frequent small words.
    pub(crate) small_words: &'static [&'static str],
}

impl Locale {
    /// The locale of a language code; English for one that is not in the table, as `simple`.
    pub(crate) fn of(language: &str) -> Arc<Locale> {
        static READ: LazyLock<Mutex<HashMap<&'static str, Arc<Locale>>>> = LazyLock::new(Mutex::default);
        let code = language.split(['-', '_']).next().unwrap_or_default().to_lowercase();
        let code = LANGUAGES.iter().copied().find(|known| *known == code).unwrap_or("en");
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(read.entry(code).or_insert_with(|| Arc::new(Locale::read(code))))
    }

    fn read(language: &'static str) -> Locale {
        let mut words: HashMap<&'static str, u32> = HashMap::new();
        let mut section = "";
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
                section = name;
            } else if let Some((kind, list)) = line.split_once(": ")
                && (section == language || section == "all")
            {
                let meaning = KINDS.iter().find(|(name, _)| *name == kind).map_or(0, |(_, meaning)| *meaning);
                for word in list.split_whitespace() {
                    *words.entry(word).or_default() |= meaning;
                }
            }
        }
        Locale {
            language,
            words,
            small_months: !matches!(language, "en" | "de"),
            day_has_point: matches!(language, "de" | "cs" | "sv"),
            spaced: !matches!(language, "ja" | "zh" | "ko"),
            determiners: if language == "de" { GERMAN_DETERMINERS } else { &[] },
            several_capitals_are_persons: !matches!(language, "de" | "vi" | "id"),
            locatives: LOCATIVES.iter().find(|(code, _)| *code == language).map_or(&[], |(_, words)| words),
            small_words: SIGNS.iter().find(|(code, _)| *code == language).map_or(&[], |(_, words)| words),
        }
    }

    /// What a word can mean.
    pub(crate) fn meaning(&self, text: &str) -> u32 {
        if let Some(meaning) = self.words.get(text) {
            return *meaning;
        }
        if text.is_ascii() && text.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return 0;
        }
        if text.is_ascii() && text.len() <= 24 {
            let mut lower = [0u8; 24];
            let lower = &mut lower[..text.len()];
            lower.copy_from_slice(text.as_bytes());
            lower.make_ascii_lowercase();
            let meaning = std::str::from_utf8(lower).ok().and_then(|lower| self.words.get(lower)).copied().unwrap_or(0);
            return if meaning == 0 && text.contains('-') { self.compound(text) } else { meaning & !word::UNIT };
        }
        self.words.get(text.to_lowercase().as_str()).copied().unwrap_or(0)
    }

    /// `Twenty-five` and `twenty-fifth`.
    fn compound(&self, text: &str) -> u32 {
        let lower = text.to_lowercase();
        let parts: Vec<u32> = lower.split('-').map(|part| self.words.get(part).copied().unwrap_or(0)).collect();
        let Some((last, rest)) = parts.split_last() else { return 0 };
        if rest.iter().any(|part| part & (word::NUMBER | word::MAGNITUDE) == 0) {
            return 0;
        }
        if last & (word::NUMBER | word::ONE | word::MAGNITUDE) != 0 { word::NUMBER } else { last & word::ORDINAL }
    }
}

/// The languages of the table.
const LANGUAGES: &[&str] = &[
    "en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "uk", "bg", "cs", "sv", "tr", "id", "vi", "mr", "hi", "ar",
    "fa", "ja", "zh", "ko",
];

const GERMAN_DETERMINERS: &[&str] = &[
    "der", "die", "das", "den", "dem", "des", "ein", "eine", "einen", "einem", "einer", "eines", "kein", "keine", "im",
    "am", "zum", "zur", "vom", "beim", "ins", "ans", "diese", "dieser", "dieses", "diesem", "diesen", "seine",
    "seiner", "seinem", "seinen", "ihre", "ihrer", "ihrem", "ihren", "alle", "viele", "mehrere",
];

/// Words that stand before places more than before anything else. Those of English are weighed one by one.
const LOCATIVES: &[(&str, &[&str])] = &[
    ("de", &["in", "In", "nach", "Nach", "aus", "Aus", "bei", "Bei", "Stadt", "Gemeinde"]),
    ("fr", &["à", "À", "en", "En"]),
    ("es", &["en", "En", "desde", "hacia"]),
    ("pt", &["em", "Em"]),
    ("it", &["in", "In"]),
    ("nl", &["in", "In", "te", "uit"]),
    ("pl", &["w", "W", "we", "We"]),
    ("cs", &["v", "V", "ve", "Ve"]),
    ("sv", &["i", "I", "från", "Från"]),
    ("ru", &["в", "В", "во", "Во", "из", "Из"]),
    ("uk", &["в", "В", "у", "У", "із", "з"]),
    ("bg", &["в", "В", "във", "Във"]),
    ("id", &["di", "Di", "ke", "Ke"]),
    ("vi", &["tại", "Tại", "ở", "Ở", "tỉnh", "huyện", "quận", "xã", "phường"]),
];

/// The language of a wiki by the address of one of its pages: `https://vi.wikipedia.org/wiki/…` is `vi`.
pub(crate) fn language_of_address(url: &str) -> Option<&str> {
    let host = url.split("//").nth(1)?.split('/').next()?;
    let (first, rest) = host.split_once('.')?;
    let is_code =
        (2..=12).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let is_wiki = ["wikipedia.", "wiktionary.", "wikinews.", "wikivoyage.", "wikibooks.", "wikisource.", "wikiquote."];
    (is_code && first != "www" && is_wiki.iter().any(|wiki| rest.contains(wiki))).then_some(first)
}

/// Frequent small words of the languages that share a script.
const SIGNS: &[(&str, &[&str])] = &[
    (
        "en",
        &[
            "the", "of", "and", "to", "in", "is", "was", "for", "that", "with", "as", "by", "on", "it", "from", "you",
            "this",
        ],
    ),
    (
        "de",
        &[
            "der", "die", "und", "das", "den", "von", "ist", "des", "mit", "dem", "wurde", "ein", "eine", "auf", "für",
            "nicht",
        ],
    ),
    (
        "fr",
        &["le", "la", "les", "et", "des", "est", "en", "du", "une", "dans", "par", "pour", "qui", "sur", "au", "il"],
    ),
    ("es", &["el", "la", "los", "y", "en", "del", "las", "una", "por", "con", "para", "fue", "que", "es", "se", "su"]),
    (
        "it",
        &["il", "di", "e", "della", "che", "per", "del", "una", "nel", "con", "è", "dei", "gli", "alla", "si", "sono"],
    ),
    ("pt", &["o", "os", "do", "da", "em", "um", "uma", "no", "na", "dos", "com", "não", "foi", "que", "para", "ao"]),
    (
        "nl",
        &[
            "de", "het", "een", "van", "en", "zijn", "werd", "met", "voor", "op", "te", "door", "aan", "niet", "ook",
            "bij",
        ],
    ),
    (
        "pl",
        &["w", "i", "z", "na", "się", "do", "jest", "roku", "przez", "od", "był", "oraz", "nie", "że", "jego", "jako"],
    ),
    (
        "cs",
        &["v", "a", "na", "se", "je", "byl", "do", "ve", "které", "jako", "že", "ze", "také", "roku", "pro", "byla"],
    ),
    (
        "sv",
        &["och", "i", "att", "en", "som", "är", "av", "den", "för", "med", "på", "till", "det", "var", "ett", "från"],
    ),
    (
        "tr",
        &[
            "ve",
            "bir",
            "bu",
            "ile",
            "için",
            "olarak",
            "da",
            "de",
            "olan",
            "daha",
            "çok",
            "en",
            "sonra",
            "gibi",
            "kadar",
            "yılında",
        ],
    ),
    (
        "id",
        &[
            "yang", "dan", "di", "dari", "pada", "dengan", "untuk", "ini", "dalam", "adalah", "oleh", "sebagai", "ke",
            "itu", "tahun", "tidak",
        ],
    ),
    (
        "vi",
        &[
            "là", "của", "và", "có", "được", "trong", "một", "các", "cho", "người", "với", "những", "không", "này",
            "đã", "để",
        ],
    ),
];

/// The language a text looks to be in: by its script and its small words; English where nothing speaks.
pub(crate) fn language_of_text(text: &str) -> &'static str {
    let (mut counts, mut letters) = ([0u32; 8], 0u32);
    for c in text.chars().filter(|c| c.is_alphabetic()).take(4000) {
        letters += 1;
        let script = match u32::from(c) {
            0x0400..=0x052F => 1,
            0x0600..=0x06FF => 2,
            0x0900..=0x097F => 3,
            0x3040..=0x30FF => 4,
            0x4E00..=0x9FFF => 5,
            0xAC00..=0xD7AF => 6,
            _ => 0,
        };
        counts[script] += 1;
    }
    let has = |script: usize, share: u32| counts[script] * share > letters;
    let contains = |letters: &[char]| text.contains(letters);
    match () {
        () if has(1, 2) && contains(&['ї', 'є', 'ґ']) => "uk",
        () if has(1, 2) && !contains(&['ы', 'э', 'ё']) && text.contains(" на ") && contains(&['ъ']) => "bg",
        () if has(1, 2) => "ru",
        () if has(2, 2) && contains(&['پ', 'چ', 'گ', 'ک']) => "fa",
        () if has(2, 2) => "ar",
        () if has(3, 2) && (text.contains('ळ') || text.contains("आहे")) => "mr",
        () if has(3, 2) => "hi",
        () if has(4, 10) => "ja",
        () if has(6, 4) => "ko",
        () if has(5, 3) => "zh",
        () => by_small_words(text),
    }
}

fn by_small_words(text: &str) -> &'static str {
    let mut scores = [0u32; SIGNS.len()];
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).take(1500) {
        let lower = word.to_lowercase();
        for (score, (_, words)) in scores.iter_mut().zip(SIGNS) {
            *score += u32::from(words.contains(&lower.as_str()));
        }
    }
    let mut best = (0, "en");
    for (score, (language, _)) in scores.into_iter().zip(SIGNS) {
        if score > best.0 {
            best = (score, language);
        }
    }
    // Few small words prove little, and some belong to several languages.
    if best.0 < 2 || best.0 < 2 * scores[0] { "en" } else { best.1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_and_kind_of_the_table_is_known() {
        for line in TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            if let Some(name) = line.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
                assert!(name == "all" || LANGUAGES.contains(&name), "{name}");
            } else {
                let kind = line.split_once(": ").unwrap_or_else(|| panic!("{line}")).0;
                assert!(KINDS.iter().any(|(name, _)| *name == kind), "{kind}");
            }
        }
    }

    #[test]
    fn languages_by_address_and_text() {
        assert_eq!(language_of_address("https://vi.wikipedia.org/wiki/H%C3%A0_N%E1%BB%99i"), Some("vi"));
        assert_eq!(language_of_address("https://www.wikipedia.org/wiki/X"), None);
        assert_eq!(language_of_address("https://memtrain.example/wiki/X"), None);
        for (text, language) in [
            ("The cat is on the roof of the house.", "en"),
            ("Die Katze ist auf dem Dach und schläft.", "de"),
            ("Le chat est sur le toit et dort dans la maison.", "fr"),
            ("Con mèo là một con vật của người.", "vi"),
            ("Кошка была в доме, это хорошо, ты знаешь.", "ru"),
            ("मांजर घरात आहे.", "mr"),
            ("猫は家にいる。", "ja"),
            ("猫在房子里。", "zh"),
            ("42", "en"),
            ("President Lund met Mr. Tolm.", "en"),
        ] {
            assert_eq!(language_of_text(text), language, "{text}");
        }
    }

    #[test]
    fn a_code_with_a_region_is_understood() {
        assert_eq!(Locale::of("pt-BR").language, "pt");
        assert_eq!(Locale::of("simple").language, "en");
    }
}
