//! Format of a language file: its keys, and the precedence of facts written by hand over published ones.

use std::collections::{BTreeMap, HashMap};

use memchr::memmem;
use serde::Deserialize;

use super::{Detect, Entities, Language, LanguageError, Wiki, Writing};

/// A file of `corpora/languages`, or its published part.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    /// Its name in English.
    name: String,
    /// The language whose facts hold where this one has none.
    pub(super) base: Option<String>,
    also: Vec<String>,
    wikipedia: bool,
    writing: WritingFile,
    wiki: WikiFile,
    namespaces: BTreeMap<String, Vec<String>>,
    detect: Option<Detect>,
    entities: EntitiesFile,
    words: BTreeMap<String, String>,
    kinds: BTreeMap<String, String>,
    boxes: BTreeMap<String, Vec<String>>,
    units: HashMap<String, Forms>,
    languages: HashMap<String, String>,
    territories: HashMap<String, String>,
    published: Option<Box<File>>,
}

/// What stands before the first table of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Head {
    pub(super) also: Vec<String>,
    pub(super) wikipedia: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WritingFile {
    decimal: Option<String>,
    group: Option<String>,
    lakh: Option<bool>,
    min_grouping: Option<u8>,
    zero: Option<String>,
    date: Option<String>,
    date_day_first: Option<String>,
    month_of_year: Option<String>,
    months: Option<Vec<String>>,
    months_alone: Option<Vec<String>>,
}

/// The table `[wiki]` of a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WikiFile {
    pub(super) redirect: Vec<String>,
    trail: Option<String>,
    pub(super) boilerplate: Vec<String>,
    pub(super) reading: Vec<String>,
    pub(super) local_names: Vec<String>,
    label: Option<String>,
    as_of: Option<String>,
    conversion: Option<String>,
    flags_by_name: bool,
    templates: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EntitiesFile {
    capital_months: bool,
    day_has_point: bool,
    unspaced: bool,
    capitals_prove_no_person: bool,
    inflected_names: bool,
    box_head_last: bool,
    determiners: String,
    locatives: String,
    small_words: String,
    abbreviations: String,
}

/// The forms of a unit: one, or those for one, few, many and a fraction.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Forms {
    One(String),
    Several(Vec<String>),
}

impl Forms {
    fn listed(self) -> Vec<String> {
        match self {
            Forms::One(form) => vec![form],
            Forms::Several(forms) => forms,
        }
    }
}

impl File {
    /// What a file says, its published facts below those written by hand.
    pub(super) fn read(code: &str, text: &str) -> Result<File, LanguageError> {
        let broken = |reason: String| LanguageError { code: code.to_owned(), reason };
        let mut file: File = toml::from_str(text).map_err(|error| broken(error.to_string()))?;
        match file.published.take() {
            Some(published) if published.published.is_some() => {
                Err(broken("`published` stands inside `published`".to_owned()))
            }
            Some(published) => Ok(File { name: published.name.clone(), ..file.over(*published) }),
            None => Ok(file),
        }
    }

    /// These facts, and those of another file where this one has none.
    pub(super) fn over(self, below: File) -> File {
        let (upper, lower) = (self.writing, below.writing);
        let writing = WritingFile {
            decimal: upper.decimal.or(lower.decimal),
            group: upper.group.or(lower.group),
            lakh: upper.lakh.or(lower.lakh),
            min_grouping: upper.min_grouping.or(lower.min_grouping),
            zero: upper.zero.or(lower.zero),
            month_of_year: upper.month_of_year.or(lower.month_of_year),
            date_day_first: upper.date_day_first.or(lower.date_day_first),
            date: upper.date.or(lower.date),
            months_alone: upper.months_alone.or(lower.months_alone),
            months: upper.months.or(lower.months),
        };
        let first = |upper: String, lower: String| if upper.is_empty() { lower } else { upper };
        let (upper, lower) = (self.wiki, below.wiki);
        let wiki = WikiFile {
            redirect: together(upper.redirect, lower.redirect),
            trail: upper.trail.or(lower.trail),
            boilerplate: together(upper.boilerplate, lower.boilerplate),
            reading: together(upper.reading, lower.reading),
            local_names: together(upper.local_names, lower.local_names),
            label: upper.label.or(lower.label),
            as_of: upper.as_of.or(lower.as_of),
            conversion: upper.conversion.or(lower.conversion),
            flags_by_name: upper.flags_by_name || lower.flags_by_name,
            templates: first(upper.templates, lower.templates),
        };
        let (upper, lower) = (self.entities, below.entities);
        let entities = EntitiesFile {
            capital_months: upper.capital_months || lower.capital_months,
            day_has_point: upper.day_has_point || lower.day_has_point,
            unspaced: upper.unspaced || lower.unspaced,
            capitals_prove_no_person: upper.capitals_prove_no_person || lower.capitals_prove_no_person,
            inflected_names: upper.inflected_names || lower.inflected_names,
            box_head_last: upper.box_head_last || lower.box_head_last,
            determiners: first(upper.determiners, lower.determiners),
            locatives: first(upper.locatives, lower.locatives),
            small_words: first(upper.small_words, lower.small_words),
            abbreviations: first(upper.abbreviations, lower.abbreviations),
        };
        let mut namespaces = self.namespaces;
        for (number, names) in below.namespaces {
            let own = namespaces.remove(&number).unwrap_or_default();
            namespaces.insert(number, together(own, names));
        }
        File {
            writing,
            wiki,
            namespaces,
            entities,
            // Words of amounts are written by hand for all kinds of them or for none.
            words: if self.words.is_empty() { below.words } else { self.words },
            kinds: if self.kinds.is_empty() { below.kinds } else { self.kinds },
            boxes: if self.boxes.is_empty() { below.boxes } else { self.boxes },
            units: below.units.into_iter().chain(self.units).collect(),
            languages: below.languages.into_iter().chain(self.languages).collect(),
            territories: below.territories.into_iter().chain(self.territories).collect(),
            name: self.name,
            // What tells a language tells none that stands on it.
            detect: self.detect,
            base: self.base,
            also: self.also,
            wikipedia: self.wikipedia,
            published: None,
        }
    }

    /// The language that these facts are of.
    ///
    /// # Errors
    /// A value that is none of its key's.
    pub(super) fn language(self, code: &str) -> Result<Language, LanguageError> {
        let broken = |reason: String| LanguageError { code: code.to_owned(), reason };
        let one = |key: &str, text: &str| match text.chars().collect::<Vec<_>>()[..] {
            [letter] => Ok(letter),
            _ => Err(broken(format!("`{key}` is one character, not `{text}`"))),
        };
        let writing = self.writing;
        let date = writing.date.unwrap_or_else(|| "{y}-{n}-{d}".to_owned());
        let months = twelve("months", writing.months.unwrap_or_default()).map_err(&broken)?;
        let writing = Writing {
            decimal: writing.decimal.map_or(Ok('.'), |text| one("decimal", &text))?,
            group: writing.group.unwrap_or_else(|| ",".to_owned()),
            lakh: writing.lakh.unwrap_or_default(),
            four_together: writing.min_grouping.is_some_and(|digits| digits > 1),
            zero: writing.zero.filter(|zero| !zero.is_empty()).map(|text| one("zero", &text)).transpose()?,
            date_day_first: writing.date_day_first.unwrap_or_else(|| date.clone()),
            date,
            month_of_year: writing.month_of_year.unwrap_or_else(|| "{y}-{n}".to_owned()),
            months_alone: twelve("months_alone", writing.months_alone.unwrap_or_default()).map_err(&broken)?,
            months,
        };
        let mut namespaces = Vec::new();
        for (number, names) in self.namespaces {
            let number =
                number.parse::<i32>().map_err(|_| broken(format!("`{number}` is no number of a namespace")))?;
            namespaces.push((number, names));
        }
        namespaces.sort();
        let apart = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lists =
            |table: BTreeMap<String, String>| table.into_iter().map(|(kind, list)| (kind, apart(&list))).collect();
        Ok(Language {
            code: code.to_owned(),
            name: self.name,
            also: self.also,
            wikipedia: self.wikipedia,
            writing,
            detect: self.detect,
            wiki: Wiki {
                redirect: self.wiki.redirect,
                trail: self.wiki.trail.map(|trail| ranges(&trail)),
                boilerplate: self.wiki.boilerplate,
                reading: self.wiki.reading,
                label: self.wiki.label,
                as_of: self.wiki.as_of,
                conversion: self.wiki.conversion,
                namespaces,
                flags_by_name: self.wiki.flags_by_name,
                templates: self.wiki.templates,
            },
            entities: Entities {
                capital_months: self.entities.capital_months,
                day_has_point: self.entities.day_has_point,
                unspaced: self.entities.unspaced,
                capitals_prove_no_person: self.entities.capitals_prove_no_person,
                inflected_names: self.entities.inflected_names,
                box_head_last: self.entities.box_head_last,
                determiners: apart(&self.entities.determiners),
                locatives: apart(&self.entities.locatives),
                small_words: apart(&self.entities.small_words),
                abbreviations: apart(&self.entities.abbreviations),
                words: lists(self.words),
                kinds: lists(self.kinds),
                boxes: self.boxes.into_iter().collect(),
            },
            units: self.units.into_iter().map(|(symbol, forms)| (symbol, forms.listed())).collect(),
            languages: self.languages,
            territories: self.territories,
        })
    }
}

/// Two lists in one, each entry once.
fn together(mut first: Vec<String>, second: Vec<String>) -> Vec<String> {
    for one in second {
        if !first.contains(&one) {
            first.push(one);
        }
    }
    first
}

fn twelve(key: &str, months: Vec<String>) -> Result<Vec<String>, String> {
    match months.len() {
        0 | 12 => Ok(months),
        count => Err(format!("`{key}` are twelve or none, not {count}")),
    }
}

/// Letters and ranges of letters: `a-zäöü`.
fn ranges(letters: &str) -> Vec<(char, char)> {
    let letters: Vec<char> = letters.chars().collect();
    let (mut ranges, mut at) = (Vec::new(), 0);
    while let Some(&first) = letters.get(at) {
        match letters.get(at + 1..at + 3) {
            Some(&['-', last]) => {
                ranges.push((first, last));
                at += 3;
            }
            _ => {
                ranges.push((first, first));
                at += 1;
            }
        }
    }
    ranges
}

/// The tables of a name in a file as the program carries it, the published one last. A table ends where a line begins with a
/// bracket and names another.
pub(super) fn tables<'text>(text: &'text str, name: &str) -> impl Iterator<Item = &'text str> {
    [format!("\n[{name}]\n"), format!("\n[published.{name}]\n")].into_iter().filter_map(move |heading| {
        let at = memmem::find(text.as_bytes(), heading.as_bytes())?;
        let begins = text.get(at + heading.len()..)?;
        let ends = if begins.starts_with('[') { 0 } else { begins.find("\n[").map_or(begins.len(), |at| at + 1) };
        begins.get(..ends)
    })
}

/// The entries of a table under some keys.
pub(super) fn entries(table: &str, keys: &[&str]) -> String {
    let (mut kept, mut keeps) = (String::new(), false);
    for line in table.lines() {
        // Other lines go on with an array.
        if !line.starts_with(['"', ']']) {
            keeps = line.split_once('=').is_some_and(|(key, _)| keys.contains(&key));
        }
        if keeps {
            kept.extend([line, "\n"]);
        }
    }
    kept
}

/// What stands before the first table of a file.
pub(super) fn head(text: &str) -> &str {
    if text.starts_with('[') { "" } else { text.split_once("\n[").map_or(text, |(head, _)| head) }
}
