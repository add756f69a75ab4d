//! Names of templates that show words of the prose, by language. All others are dropped.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::languages;

/// What a template shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Nothing that is prose.
    Nothing,
    /// The argument of this number, counted from 1.
    Argument(u8),
    /// Words with arguments among them: [`super::template_pattern`].
    Pattern(&'static str),
    /// The argument of this number, or another under one of these names (apart by `|`), as a link to the article of that title.
    Link(u8, &'static str),
    /// The last argument without a name.
    Last,
    /// The argument of this number as paragraphs or lists of their own.
    Block(u8),
    /// The same, or the argument `text`.
    Quotation(u8),
    /// Always these words.
    Words(&'static str),
    /// These words, then one or two arguments.
    Circa(&'static str),
    /// These words, then a date.
    AsOf(&'static str),
    /// All arguments without a name, with this between them.
    Joined(&'static str),
    /// The arguments, or the list that is the first.
    Items,
    /// `{{lang-fr|…}}`, `{{langx|fr|…}}`: the name of the language, then the words.
    Language,
    /// `{{native name|fr|…}}`: the words that are the argument of this number, then the name of the language.
    Native(u8),
    /// `{{HMS|Victory}}`: this prefix, then the first argument, as a link.
    Ship(&'static str),
    /// `{{ship|HMS|Victory}}`: the prefix is the first argument.
    ShipNamed,
    /// `{{sclass|Iowa|battleship}}`.
    ShipClass,
    /// A number with its unit, or several, and the same in another unit.
    Measure,
    /// `{{height|m=1.80}}`.
    Height,
    /// A number, a unit, its power, another unit.
    Unit,
    /// Year, month and day, however many are given.
    Date,
    /// Day, month and year.
    DayFirst,
    /// The day of a death, the day of the birth, and the age.
    Died,
    /// A day of the Gregorian calendar, after the same one in the Julian.
    BothCalendars,
    /// A number with its thousands apart.
    Number,
    /// `1st`.
    Ordinal,
    /// The template's name, its Roman number in capitals.
    Roman,
    /// These words, a century, and its era.
    Century(&'static str),
    /// `{{frac|1|2}}`.
    Fraction,
    /// `{{sfrac|1|2}}`.
    Slashed,
    /// `{{percentage|1|4}}`.
    Percentage,
    /// A number with its unit in `u=`.
    Value,
    /// Authors, year and page of a citation, in the form of this pattern.
    Harvard(&'static str),
    /// The same with all parts named.
    HarvardNamed,
    /// A number in words.
    Spelled,
    /// The years between two days.
    Age,
    /// `{{unichar|2014|em dash}}`.
    CodePoint,
    /// `{{nihongo|English|Japanese|Romanized}}`.
    Nihongo,
    /// The ways to write a Chinese or Korean name.
    Chinese,
    /// Words and, in brackets, how they are read.
    Reading,
    /// The first argument as a superscript.
    Raised,
    /// Ten to this power.
    Exponent,
    /// A musical sign.
    Sign,
    /// How a word is pronounced, if that is kept.
    Pronunciation,
    /// The country whose code is the argument of this number, as the wiki calls it, and a link to it.
    Country(u8),
    /// The country whose code is the first argument, in English as it is typed.
    Flag,
    /// The same where its name is asked for, else nothing.
    FlagNamed,
    /// The first sentence on a person, out of its parts.
    Bio,
}

/// Names of templates: below a line of languages in brackets (`*`: all) a line says what is shown and, behind ` : `, the names of
/// the templates that show it, in small letters and with `|` between them. What is shown is a pattern in quotation marks or one of
/// the words of [`parsed`] with what it takes. Of ships the names are the prefixes, a different one behind `=`. A name in a
/// language counts before one in all languages, and the last of several sections. The file of a language may have
/// lines of its own (`wiki.templates`), which count most.
const TEMPLATES: &str = include_str!("templates.txt");

/// By language and name.
static KNOWN: LazyLock<HashMap<&'static str, HashMap<String, Shows>>> = LazyLock::new(|| {
    let mut known: HashMap<&str, HashMap<String, Shows>> = HashMap::new();
    let mut languages = "";
    let of_files = languages::templates().map(|(code, lines)| (Some(code), lines));
    for (code, line) in [(None, TEMPLATES)]
        .into_iter()
        .chain(of_files)
        .flat_map(|(code, lines)| lines.lines().filter(|line| !line.is_empty()).map(move |line| (code, line)))
    {
        languages = code.unwrap_or(languages);
        if let Some(heading) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            languages = heading;
        } else if let Some((words, names)) = parts(line) {
            for (name, shows) in names.split('|').filter_map(|name| named(&words, name)) {
                for language in languages.split(' ') {
                    known.entry(language).or_default().insert(name.clone(), shows);
                }
            }
        }
    }
    known
});

/// The words before ` : ` of a line, those in quotation marks whole and with their marks, and what stands behind.
fn parts(line: &'static str) -> Option<(Vec<&'static str>, &'static str)> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let is_quoted = matches!(first, '"' | '\'' | '`');
        let end = if is_quoted { rest[1..].find(first)? + 2 } else { rest.find(' ')? };
        let (word, behind) = (&rest[..end], rest[end..].strip_prefix(' ')?);
        if word == ":" {
            return Some((words, behind));
        }
        words.push(word);
        rest = behind;
    }
    None
}

/// A name of a line that begins with these words, as it is looked up, and what its template shows.
fn named(words: &[&'static str], name: &'static str) -> Option<(String, Shows)> {
    if words != ["ship"] {
        return Some((name.to_owned(), parsed(words)?));
    }
    let (name, prefix) = name.split_once('=').unwrap_or((name, name));
    Some((name.to_lowercase(), Shows::Ship(prefix)))
}

/// What the words of a line say that a template shows.
fn parsed(words: &[&'static str]) -> Option<Shows> {
    let (&first, rest) = words.split_first()?;
    let text = rest.first().map_or("", |word| unquoted(word));
    let number = || rest.first().and_then(|word| word.parse().ok());
    Some(match first {
        _ if first.starts_with(['"', '\'', '`']) => {
            let pattern = unquoted(first);
            let argument = pattern.strip_prefix('{').and_then(|pattern| pattern.strip_suffix('}'));
            argument.and_then(|number| number.parse().ok()).map_or(Shows::Pattern(pattern), Shows::Argument)
        }
        "nothing" => Shows::Nothing,
        "link" => Shows::Link(number()?, rest.get(1)?),
        "last" => Shows::Last,
        "block" => Shows::Block(number()?),
        "quotation" => Shows::Quotation(number()?),
        "words" => Shows::Words(text),
        "circa" => Shows::Circa(text),
        "as-of" => Shows::AsOf(text),
        "joined" => Shows::Joined(text),
        "items" => Shows::Items,
        "language" => Shows::Language,
        "native" => Shows::Native(number()?),
        "ship-named" => Shows::ShipNamed,
        "ship-class" => Shows::ShipClass,
        "measure" => Shows::Measure,
        "height" => Shows::Height,
        "unit" => Shows::Unit,
        "date" => Shows::Date,
        "day-first" => Shows::DayFirst,
        "died" => Shows::Died,
        "both-calendars" => Shows::BothCalendars,
        "number" => Shows::Number,
        "ordinal" => Shows::Ordinal,
        "century" => Shows::Century(text),
        "fraction" => Shows::Fraction,
        "slashed" => Shows::Slashed,
        "percentage" => Shows::Percentage,
        "value" => Shows::Value,
        "harvard" => Shows::Harvard(text),
        "harvard-named" => Shows::HarvardNamed,
        "spelled" => Shows::Spelled,
        "age" => Shows::Age,
        "code-point" => Shows::CodePoint,
        "nihongo" => Shows::Nihongo,
        "chinese" => Shows::Chinese,
        "reading" => Shows::Reading,
        "raised" => Shows::Raised,
        "exponent" => Shows::Exponent,
        "sign" => Shows::Sign,
        "country" => Shows::Country(number()?),
        "flag" => Shows::Flag,
        "flag-named" => Shows::FlagNamed,
        "bio" => Shows::Bio,
        _ => return None,
    })
}

fn unquoted(word: &'static str) -> &'static str {
    word.get(1..word.len().saturating_sub(1)).unwrap_or_default()
}

/// What the template of this name shows in a wiki of this language; `name` in lower case, with spaces for underscores.
pub(super) fn shows(name: &str, language: &str) -> Shows {
    let own = KNOWN.get(language).and_then(|names| names.get(name));
    let known = own.or_else(|| KNOWN.get("*").and_then(|names| names.get(name)));
    known.copied().or_else(|| by_beginning(name, language)).unwrap_or(Shows::Nothing)
}

/// What the many templates show whose names begin in the same way.
fn by_beginning(name: &str, language: &str) -> Option<Shows> {
    match language {
        "fr" => return roman_ordinal(name).or_else(|| in_any_language(name)),
        "ja" | "zh" | "ko" if name.starts_with("link-") || name.starts_with("internal link helper/") => {
            return Some(Shows::Link(1, "3"));
        }
        _ => {}
    }
    in_any_language(name)
}

fn in_any_language(name: &str) -> Option<Shows> {
    let code = name.strip_prefix("lang-").or_else(|| name.strip_prefix("lang "));
    match code {
        // The words without the name of the language.
        Some(code) if code.ends_with('2') => Some(Shows::Argument(1)),
        Some(_) => Some(Shows::Language),
        None => is_pronunciation(name).then_some(Shows::Pronunciation),
    }
}

/// Templates that say how a word is pronounced, in many wikis.
fn is_pronunciation(name: &str) -> bool {
    let beginnings = ["ipa-", "ipac-", "ipa "];
    let names =
        ["ipa", "ipa2", "ipa3", "ipaalink", "api", "afi", "lautschrift", "мфа", "respell", "pronunciation respelling"];
    names.contains(&name) || beginnings.iter().any(|beginning| name.starts_with(beginning))
}

/// `{{XVe}}`, `{{XVe siècle}}`: an ordinal that is its own template.
fn roman_ordinal(name: &str) -> Option<Shows> {
    let rest = name.trim_start_matches(['i', 'v', 'x', 'l', 'c', 'd', 'm']);
    let is_ordinal = matches!(rest, "e" | "er" | "e siècle" | "er siècle" | "e siècle av. j.-c.");
    (is_ordinal && rest.len() < name.len()).then_some(Shows::Roman)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_what_templates_show() {
        let mut seen = std::collections::HashSet::new();
        let mut languages = "";
        for line in TEMPLATES.lines().filter(|line| !line.is_empty()) {
            if line.starts_with('[') && line.ends_with(']') {
                languages = line;
                continue;
            }
            let (words, names) = parts(line).unwrap_or_else(|| panic!("no ` : `: {line}"));
            for name in names.split('|') {
                let (name, shows) = named(&words, name).unwrap_or_else(|| panic!("unknown words: {line}"));
                assert!(!name.is_empty() && name == name.to_lowercase() && name == name.trim(), "{name} in {line}");
                assert!(!name.contains(['_', '{', '}', '[', ']']), "{name} in {line}");
                assert!(seen.insert((languages, name.clone())), "{name} stands twice in {languages}");
                if let Shows::Pattern(pattern) | Shows::Harvard(pattern) = shows {
                    assert!(super::super::template_pattern::is_sound(pattern), "{pattern}");
                }
            }
        }
    }

    #[test]
    fn a_name_means_what_it_means_in_its_language() {
        assert_eq!(shows("nowrap", "xx"), Shows::Argument(1));
        assert_eq!(shows("hnoms", "en"), Shows::Ship("HNoMS"));
        assert_eq!(shows("gs", "en"), Shows::Ship("German submarine"));
        assert_eq!(shows("css", "de"), Shows::Pattern("tschechisch {1}"));
        assert_eq!(shows("css", "en"), Shows::Ship("CSS"));
        assert_eq!(shows("!", "en"), Shows::Words("|"));
        assert_eq!(shows(":", "en"), Shows::Words(":"));
        assert_eq!(shows("lang-xyz2", "en"), Shows::Argument(1));
        assert_eq!(shows("xve", "fr"), Shows::Roman);
        assert_eq!(shows("xve", "en"), Shows::Nothing);
    }
}
