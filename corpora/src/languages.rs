//! Language data: number and date formats, names of namespaces, words of redirects, dates and amounts; one file a language
//! in `corpora/languages` (`docs/languages.md`).
//!
//! A file is parsed when its language is first asked for. Facts of all languages together, such as the words of redirects,
//! are read once, from the tables that have them alone.

mod file;

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;

use file::{File, Head, WikiFile, entries, head, tables};

include!(concat!(env!("OUT_DIR"), "/languages.rs"));

/// Keys of territories and the codes that their flags are named by, a territory a line.
const TERRITORIES: &str = include_str!("../languages/territories.txt");

/// The code of the file of what holds in every language (ISO 639-2: multiple languages).
const EVERYWHERE: &str = "mul";

/// Languages may stand on one another so many deep.
const DEEPEST: usize = 4;

/// A language's file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the file of the language `{code}`: {reason}")]
pub struct LanguageError {
    code: String,
    reason: String,
}

/// The facts of a language.
#[derive(Clone, Debug, Default)]
pub struct Language {
    /// Its code, as Wikipedia's addresses have it where there is one.
    pub code: String,
    /// Its name in English; empty where CLDR has none.
    pub name: String,
    /// Further codes of it.
    pub also: Vec<String>,
    /// Whether there is a Wikipedia in it, so that its code is a prefix of links.
    pub wikipedia: bool,
    /// Numbers and dates.
    pub writing: Writing,
    /// What tells that a text is written in it; `None` where its script does not.
    pub detect: Option<Detect>,
    /// Its wikis.
    pub wiki: Wiki,
    /// What tells entities in its texts.
    pub entities: Entities,
    /// What it writes for the symbol of a unit: a form, or those for one, few, many and a fraction.
    pub units: HashMap<String, Vec<String>>,
    /// Names of languages by their codes.
    pub languages: HashMap<String, String>,
    /// Names of countries and parts of them by the keys of `territories.txt`.
    pub territories: HashMap<String, String>,
}

/// How numbers and dates are written.
#[derive(Clone, Debug)]
pub struct Writing {
    /// Between the whole and its parts.
    pub decimal: char,
    /// Between thousands.
    pub group: String,
    /// Whether groups of two digits stand before the last three.
    pub lakh: bool,
    /// Whether a number of four digits has no groups.
    pub four_together: bool,
    /// Its own digit zero, if numbers are written with its own digits.
    pub zero: Option<char>,
    /// A date: `{d}`, `{m}` the month's name, `{n}` its number, `{y}`.
    pub date: String,
    /// A date with its day first, in a language that has it both ways.
    pub date_day_first: String,
    /// A month of a year.
    pub month_of_year: String,
    /// Months as they stand in a date; empty where a date has none but numbers.
    pub months: Vec<String>,
    /// Months as they stand alone; empty where they are the same.
    pub months_alone: Vec<String>,
}

impl Default for Writing {
    fn default() -> Self {
        Writing {
            decimal: '.',
            group: ",".to_owned(),
            lakh: false,
            four_together: false,
            zero: None,
            date: "{y}-{n}-{d}".to_owned(),
            date_day_first: "{y}-{n}-{d}".to_owned(),
            month_of_year: "{y}-{n}".to_owned(),
            months: Vec::new(),
            months_alone: Vec::new(),
        }
    }
}

/// What the wikis of a language call things.
#[derive(Clone, Debug, Default)]
pub struct Wiki {
    /// Words of redirects, small, without `#`.
    pub redirect: Vec<String>,
    /// Letters, as ranges, that continue the words of a link; `None`: the small ones of ASCII, empty: none.
    pub trail: Option<Vec<(char, char)>>,
    /// Headings, small, of sections without prose.
    pub boilerplate: Vec<String>,
    /// The same, but of main sections alone: elsewhere prose stands below them.
    pub reading: Vec<String>,
    /// What stands before words of another language, `{}` its name.
    pub label: Option<String>,
    /// Words before the date of `{{as of}}`.
    pub as_of: Option<String>,
    /// A measure and, for `{}` twice, the same in another unit.
    pub conversion: Option<String>,
    /// Templates of flags are called as the countries are: `{{Norvège}}`.
    pub flags_by_name: bool,
    /// Numbers of namespaces and their names, small, with spaces.
    pub namespaces: Vec<(i32, Vec<String>)>,
    /// What templates show, in the lines of `wikitext/templates.txt`.
    pub templates: String,
}

/// Signs in a text of a language that its script tells.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detect {
    /// Its script.
    pub script: String,
    /// More than one letter in so many is of the script.
    #[serde(default = "half")]
    pub share: u32,
    /// Strings of which one stands in the text, if there are any.
    #[serde(default)]
    pub any_of: Vec<String>,
    /// Strings that all stand in the text.
    #[serde(default)]
    pub all_of: Vec<String>,
    /// Strings of which none stands in the text.
    #[serde(default)]
    pub none_of: Vec<String>,
}

fn half() -> u32 {
    2
}

/// What tells entities, numbers and dates in texts of a language.
#[derive(Clone, Debug, Default)]
pub struct Entities {
    /// Names of months begin with a capital letter.
    pub capital_months: bool,
    /// A day of the month is followed by a full stop.
    pub day_has_point: bool,
    /// Words do not stand apart by spaces, or have endings that hide where a name ends.
    pub unspaced: bool,
    /// Two or three words with capitals are no sign of a person.
    pub capitals_prove_no_person: bool,
    /// Names have endings of cases: Менделєєв, Менделєєвим.
    pub inflected_names: bool,
    /// The name of a box of facts ends with what it is about.
    pub box_head_last: bool,
    /// Words before nouns, in a language in which all nouns have capitals.
    pub determiners: Vec<String>,
    /// Words before the name of a place.
    pub locatives: Vec<String>,
    /// Frequent small words.
    pub small_words: Vec<String>,
    /// Abbreviations, without their full stop, that end no sentence.
    pub abbreviations: Vec<String>,
    /// Kinds of words of numbers, dates and amounts, with the words.
    pub words: Vec<(String, Vec<String>)>,
    /// Kinds of entities (and `verb`, `birth`), with the nouns that tell them.
    pub kinds: Vec<(String, Vec<String>)>,
    /// Kinds of entities (and `none`, `open`), with the phrases in names of boxes that tell them.
    pub boxes: Vec<(String, Vec<String>)>,
}

impl Language {
    /// A language of the text of its file, which may stand on a language of the program's own.
    ///
    /// ```
    /// let text = "base = \"de\"\n[writing]\nmonths = []\ndecimal = \"·\"\n";
    /// let language = memtrain_corpora::languages::Language::parse("xx", text)?;
    /// assert_eq!((language.writing.decimal, language.writing.group.as_str()), ('·', "."));
    /// # Ok::<(), memtrain_corpora::languages::LanguageError>(())
    /// ```
    ///
    /// # Errors
    /// Text that is no TOML, a key that does not exist, a value that is none of its key's, a base without a file.
    pub fn parse(code: &str, text: &str) -> Result<Language, LanguageError> {
        BUILT_IN.parse(code, text)
    }

    /// Whether a letter behind a link belongs to the link's last word: `[[town]]s`.
    pub fn continues(&self, letter: char) -> bool {
        match &self.wiki.trail {
            None => letter.is_ascii_lowercase(),
            Some(ranges) if letter.is_ascii() => !ranges.is_empty() && letter.is_ascii_lowercase(),
            Some(ranges) => ranges.iter().any(|&(first, last)| (first..=last).contains(&letter)),
        }
    }

    /// What the language calls the language of a code, which may have a variant behind it.
    pub fn language_name(&self, code: &str) -> Option<&str> {
        let code = code.split(['-', '_']).next().filter(|code| !code.is_empty())?;
        self.languages.get(code).map(String::as_str)
    }

    /// What stands before words of another language in its wiki; `None` where it has no custom of its own.
    pub fn label_of(&self, code: &str) -> Option<String> {
        Some(self.wiki.label.as_ref()?.replace("{}", self.language_name(code)?))
    }

    /// What the language calls the country of a code in capitals: of ISO 3166, the Olympic committee or FIFA.
    pub fn country(&self, code: &str) -> Option<&str> {
        static KEYS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
            let lines = TERRITORIES.lines().filter(|line| !line.starts_with('#'));
            let rows = lines.filter_map(|line| line.split_once(' '));
            rows.flat_map(|(key, codes)| codes.split(' ').map(move |code| (code, key))).collect()
        });
        self.territories.get(*KEYS.get(code)?).map(String::as_str)
    }

    /// A country by what the language calls it, as it is written there.
    pub fn country_of_name(&self, name: &str) -> Option<&str> {
        if !name.starts_with(char::is_uppercase) {
            return None;
        }
        self.territories.values().map(String::as_str).find(|country| *country == name)
    }
}

/// Files of languages, read as they are asked for.
struct Languages {
    files: &'static [(&'static str, &'static str)],
    read: Vec<OnceLock<Language>>,
    /// Code, and further codes, to the place of the file.
    places: HashMap<String, usize>,
    wikipedias: HashSet<String>,
    names: OnceLock<Vec<(i32, Vec<String>)>>,
    wiki: OnceLock<WikiFile>,
}

static BUILT_IN: LazyLock<Languages> = LazyLock::new(|| Languages::new(FILES));

impl Languages {
    fn new(files: &'static [(&'static str, &'static str)]) -> Languages {
        let (mut places, mut wikipedias) = (HashMap::new(), HashSet::new());
        for (place, (code, text)) in files.iter().enumerate() {
            places.insert((*code).to_owned(), place);
            let head: Head = toml::from_str(head(text)).unwrap_or_default();
            if head.wikipedia {
                wikipedias.extend(head.also.iter().cloned().chain([(*code).to_owned()]));
            }
            for code in head.also {
                places.entry(code).or_insert(place);
            }
        }
        let read = files.iter().map(|_| OnceLock::new()).collect();
        Languages { files, read, places, wikipedias, names: OnceLock::new(), wiki: OnceLock::new() }
    }

    /// A language by its code, by another code of it, or by what stands before the variant in it.
    fn find(&self, code: &str) -> Option<&Language> {
        let code = code.to_lowercase().replace('_', "-");
        let place = self.places.get(&code).or_else(|| self.places.get(code.split('-').next()?))?;
        let (code, text) = self.files[*place];
        Some(self.read[*place].get_or_init(|| self.parse(code, text).unwrap_or_default()))
    }

    fn parse(&self, code: &str, text: &str) -> Result<Language, LanguageError> {
        let mut file = File::read(code, text)?;
        let mut base = file.base.clone();
        for _ in 0..DEEPEST {
            let Some(next) = base.take() else { break };
            let Some(&place) = self.places.get(&next) else {
                return Err(LanguageError { code: code.to_owned(), reason: format!("`base` has no file: `{next}`") });
            };
            let (next, text) = self.files[place];
            let below = File::read(next, text)?;
            base.clone_from(&below.base);
            file = file.over(below);
        }
        file.language(code)
    }

    /// The tables of a name of all files.
    fn tables<'name>(&self, name: &'name str) -> impl Iterator<Item = &'static str> + use<'name> {
        let files = self.files;
        files.iter().flat_map(move |(_, text)| tables(text, name))
    }

    /// Words of the wikis of all languages together.
    fn wiki(&self) -> &WikiFile {
        self.wiki.get_or_init(|| {
            let mut all = WikiFile::default();
            for table in self.tables("wiki") {
                let wiki: WikiFile = toml::from_str(table).unwrap_or_default();
                all.redirect.extend(wiki.redirect);
                all.boilerplate.extend(wiki.boilerplate);
                all.reading.extend(wiki.reading);
                all.local_names.extend(wiki.local_names);
            }
            all
        })
    }

    /// Names of files and categories in all languages together.
    fn names(&self) -> &[(i32, Vec<String>)] {
        self.names.get_or_init(|| {
            let local: HashSet<&str> = self.wiki().local_names.iter().map(String::as_str).collect();
            let mut names = [(6, Vec::new()), (14, Vec::new())];
            for table in self.tables("namespaces") {
                let table = entries(table, &["6", "14"]);
                let mut table: HashMap<String, Vec<String>> = toml::from_str(&table).unwrap_or_default();
                for (number, names) in &mut names {
                    let listed = table.remove(&number.to_string()).unwrap_or_default();
                    names.extend(listed.into_iter().filter(|name| !local.contains(name.as_str())));
                }
            }
            names.into()
        })
    }
}

/// A language by its code (`de`, `zh-hans`), whatever its case; `None` where it has no file.
pub fn find(code: &str) -> Option<&'static Language> {
    BUILT_IN.find(code).filter(|language| language.code != EVERYWHERE)
}

/// The same; of a language without a file nothing is known but what holds in every one.
pub fn of(code: &str) -> &'static Language {
    static UNKNOWN: LazyLock<Language> = LazyLock::new(Language::default);
    find(code).unwrap_or(&UNKNOWN)
}

/// What holds in every language, and what nobody has sorted by language.
pub fn everywhere() -> &'static Language {
    static NOTHING: LazyLock<Language> = LazyLock::new(Language::default);
    BUILT_IN.find(EVERYWHERE).unwrap_or(&NOTHING)
}

/// The codes of all files of languages, sorted.
pub fn codes() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(code, _)| *code).filter(|code| *code != EVERYWHERE)
}

/// The languages whose files have a table of this name of their own (`kinds`, `published.words`).
pub fn having(table: &str) -> impl Iterator<Item = &'static Language> + use<> {
    let heading = format!("\n[{table}]\n");
    let having = FILES.iter().filter(move |(code, text)| *code != EVERYWHERE && text.contains(&heading));
    having.map(|(code, _)| of(code))
}

/// Whether a prefix of a link, in small letters, names the Wikipedia of a language.
pub fn is_wikipedia(prefix: &str) -> bool {
    BUILT_IN.wikipedias.contains(prefix)
}

/// Words of redirects in all languages, small, without `#`.
pub fn redirect_words() -> &'static [String] {
    &BUILT_IN.wiki().redirect
}

/// Headings of sections without prose in all languages: those known at any level, and those of main sections alone.
pub fn boilerplate_headings() -> (&'static [String], &'static [String]) {
    (&BUILT_IN.wiki().boilerplate, &BUILT_IN.wiki().reading)
}

/// Names of the namespaces of files (6) and categories (14) in all languages, but for those that begin titles elsewhere.
pub fn names_of_files_and_categories() -> &'static [(i32, Vec<String>)] {
    BUILT_IN.names()
}

/// The lines of all languages that say what templates show, with the code of each.
pub fn templates() -> impl Iterator<Item = (&'static str, &'static str)> {
    // Few files have any: the others are not read.
    let with_templates = FILES.iter().filter(|(_, text)| text.contains("\ntemplates="));
    with_templates.map(|(code, _)| (*code, of(code).wiki.templates.as_str()))
}

/// A table of all languages by its name (`boxes`), as it is written.
pub fn boxes() -> Vec<(String, Vec<String>)> {
    let tables = BUILT_IN.tables("boxes");
    tables.flat_map(|table| toml::from_str::<HashMap<String, Vec<String>>>(table).unwrap_or_default()).collect()
}
