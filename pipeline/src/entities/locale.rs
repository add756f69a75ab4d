//! The words of numbers and dates of a language, and which language a text is in.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use memtrain_corpora::languages::{self, Detect, Language};

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

/// The kind of eras of several words, `_` for a space and without full stops; they are not looked up word by word.
const ERA_PHRASE: &str = "era-phrase";

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
    pub(crate) determiners: Vec<&'static str>,
    /// Two or three words with capitals are rather a person than a place or a body: not where all words of any name, or all nouns,
    /// have capitals.
    pub(crate) several_capitals_are_persons: bool,
    /// Names have endings of cases.
    pub(crate) inflected_names: bool,
    /// Words before the name of a place, in or at which something is.
    pub(crate) locatives: Vec<&'static str>,
    /// Frequent small words.
    pub(crate) small_words: Vec<&'static str>,
    /// Eras of several words, behind a year: `v. Chr.`
    pub(crate) eras: Vec<Vec<&'static str>>,
}

impl Locale {
    /// The locale of a language code; English for a language of whose words nothing is known.
    pub(crate) fn of(language: &str) -> Arc<Locale> {
        static READ: LazyLock<Mutex<HashMap<&'static str, Arc<Locale>>>> = LazyLock::new(Mutex::default);
        let own = languages::find(language).unwrap_or_else(|| languages::of("en"));
        let facts = if own.entities.words.is_empty() { languages::of("en") } else { own };
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        let locale = || Locale { inflected_names: own.entities.inflected_names, ..Locale::read(facts) };
        Arc::clone(read.entry(own.code.as_str()).or_insert_with(|| Arc::new(locale())))
    }

    fn read(language: &'static Language) -> Locale {
        let facts = &language.entities;
        let mut words: HashMap<&'static str, u32> = HashMap::new();
        let mut eras = Vec::new();
        for (kind, list) in languages::everywhere().entities.words.iter().chain(&facts.words) {
            if kind == ERA_PHRASE {
                eras.extend(list.iter().map(|phrase| phrase.split('_').collect()));
                continue;
            }
            let meaning = KINDS.iter().find(|(name, _)| name == kind).map_or(0, |(_, meaning)| *meaning);
            for word in list {
                *words.entry(word).or_default() |= meaning;
            }
        }
        let listed = |words: &'static [String]| words.iter().map(String::as_str).collect();
        Locale {
            language: &language.code,
            words,
            small_months: !facts.capital_months,
            day_has_point: facts.day_has_point,
            spaced: !facts.unspaced,
            determiners: listed(&facts.determiners),
            several_capitals_are_persons: !facts.capitals_prove_no_person,
            inflected_names: facts.inflected_names,
            locatives: listed(&facts.locatives),
            small_words: listed(&facts.small_words),
            eras,
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

/// The language of a wiki by the address of one of its pages: `https://vi.wikipedia.org/wiki/…` is `vi`.
pub(crate) fn language_of_address(url: &str) -> Option<&str> {
    let host = url.split("//").nth(1)?.split('/').next()?;
    let (first, rest) = host.split_once('.')?;
    let is_code =
        (2..=12).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let is_wiki = ["wikipedia.", "wiktionary.", "wikinews.", "wikivoyage.", "wikibooks.", "wikisource.", "wikiquote."];
    (is_code && first != "www" && is_wiki.iter().any(|wiki| rest.contains(wiki))).then_some(first)
}

/// Letters of scripts, by name.
const SCRIPTS: &[(&str, u32, u32)] = &[
    ("Greek", 0x0370, 0x03FF),
    ("Cyrillic", 0x0400, 0x052F),
    ("Armenian", 0x0530, 0x058F),
    ("Hebrew", 0x0590, 0x05FF),
    ("Arabic", 0x0600, 0x06FF),
    ("Devanagari", 0x0900, 0x097F),
    ("Bengali", 0x0980, 0x09FF),
    ("Gurmukhi", 0x0A00, 0x0A7F),
    ("Gujarati", 0x0A80, 0x0AFF),
    ("Tamil", 0x0B80, 0x0BFF),
    ("Telugu", 0x0C00, 0x0C7F),
    ("Kannada", 0x0C80, 0x0CFF),
    ("Malayalam", 0x0D00, 0x0D7F),
    ("Sinhala", 0x0D80, 0x0DFF),
    ("Thai", 0x0E00, 0x0E7F),
    ("Lao", 0x0E80, 0x0EFF),
    ("Myanmar", 0x1000, 0x109F),
    ("Georgian", 0x10A0, 0x10FF),
    ("Ethiopic", 0x1200, 0x139F),
    ("Khmer", 0x1780, 0x17FF),
    ("Kana", 0x3040, 0x30FF),
    ("Han", 0x4E00, 0x9FFF),
    ("Hangul", 0xAC00, 0xD7AF),
];

/// Languages that their script tells, those first that need more signs.
static BY_SCRIPT: LazyLock<Vec<(&'static str, &'static Detect)>> = LazyLock::new(|| {
    let told =
        languages::having("detect").filter_map(|language| Some((language.code.as_str(), language.detect.as_ref()?)));
    let mut told: Vec<_> = told.collect();
    told.sort_by_key(|(code, detect)| {
        (detect.any_of.is_empty() && detect.all_of.is_empty() && detect.none_of.is_empty(), *code != "uk", *code)
    });
    told
});

/// Languages that share a script, with their frequent small words; English first.
static BY_SMALL_WORDS: LazyLock<Vec<(&'static str, &'static [String])>> = LazyLock::new(|| {
    let told = languages::having("entities").filter(|language| !language.entities.small_words.is_empty());
    let mut told: Vec<_> =
        told.map(|language| (language.code.as_str(), language.entities.small_words.as_slice())).collect();
    told.sort_by_key(|(code, _)| (*code != "en", *code));
    told
});

/// The language a text looks to be in: by its script and its small words; English where nothing speaks.
pub(crate) fn language_of_text(text: &str) -> &'static str {
    let (mut counts, mut letters) = ([0u32; SCRIPTS.len()], 0u32);
    for c in text.chars().filter(|c| c.is_alphabetic()).take(4000) {
        letters += 1;
        let code = u32::from(c);
        if let Some(script) = SCRIPTS.iter().position(|(_, first, last)| (*first..=*last).contains(&code)) {
            counts[script] += 1;
        }
    }
    let fits = |detect: &Detect| {
        let count =
            SCRIPTS.iter().zip(counts).find(|((name, ..), _)| *name == detect.script).map_or(0, |(_, count)| count);
        count.saturating_mul(detect.share) > letters
            && (detect.any_of.is_empty() || detect.any_of.iter().any(|sign| text.contains(sign.as_str())))
            && detect.all_of.iter().all(|sign| text.contains(sign.as_str()))
            && !detect.none_of.iter().any(|sign| text.contains(sign.as_str()))
    };
    let told = BY_SCRIPT.iter().find(|(_, detect)| fits(detect)).map(|(code, _)| *code);
    told.unwrap_or_else(|| by_small_words(text))
}

fn by_small_words(text: &str) -> &'static str {
    let mut scores = vec![0u32; BY_SMALL_WORDS.len()];
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).take(1500) {
        let lower = word.to_lowercase();
        for (score, (_, words)) in scores.iter_mut().zip(BY_SMALL_WORDS.iter()) {
            *score += u32::from(words.contains(&lower));
        }
    }
    let english = scores.first().copied().unwrap_or_default();
    let mut best = (0, "en");
    for (score, (language, _)) in scores.into_iter().zip(BY_SMALL_WORDS.iter()) {
        if score > best.0 {
            best = (score, language);
        }
    }
    // Few small words prove little, and some belong to several languages.
    if best.0 < 2 || best.0 < 2 * english { "en" } else { best.1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_script_of_a_file_is_known() {
        for language in languages::having("words").chain(languages::having("published.words")) {
            for (kind, words) in &language.entities.words {
                let is_known = kind == ERA_PHRASE || KINDS.iter().any(|(name, _)| name == kind);
                assert!(is_known && !words.is_empty(), "{}: {kind}", language.code);
            }
        }
        for (code, detect) in BY_SCRIPT.iter() {
            assert!(SCRIPTS.iter().any(|(name, ..)| *name == detect.script), "{code}: {}", detect.script);
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
            ("Η γάτα είναι στο σπίτι.", "el"),
            ("החתול נמצא בבית.", "he"),
            ("แมวอยู่ในบ้าน", "th"),
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
        assert_eq!(Locale::of("aa").language, "en");
    }
}
