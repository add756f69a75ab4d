//! Language files: every file is sound, each table is used, and a language is added by one file.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

use memtrain_corpora::languages::{self, Language};
use memtrain_corpora::store;
use memtrain_corpora::wikitext::{WikiContext, clean};

#[test]
fn every_file_is_registered_and_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("languages");
    let files = store::list(&folder).unwrap();
    let files: HashSet<String> = files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    let mut codes: HashMap<String, String> = HashMap::new();
    for code in &files {
        let text = store::read_to_string(&folder.join(format!("{code}.toml"))).unwrap();
        let language = Language::parse(code, &text).unwrap_or_else(|error| panic!("{error}"));
        for name in language.also.iter().chain([code]) {
            let other = codes.insert(name.clone(), code.clone());
            assert_eq!(other, None, "the code {name} is of two files");
        }
        let writing = &language.writing;
        assert_ne!(writing.decimal.to_string(), writing.group, "{code}");
        for pattern in [&writing.date, &writing.date_day_first] {
            assert!(pattern.contains("{d}") && pattern.contains("{y}"), "{code}: {pattern}");
        }
        assert!(writing.month_of_year.contains("{y}"), "{code}: {}", writing.month_of_year);
        assert!(!writing.date.contains("{m}") || writing.months.len() == 12, "{code}: no months");
        for name in language.wiki.namespaces.iter().flat_map(|(_, names)| names).chain(&language.wiki.redirect) {
            assert!(!name.is_empty() && *name == name.to_lowercase() && name.trim() == name, "{code}: {name}");
        }
        assert!(language.wiki.label.as_ref().is_none_or(|label| label.contains("{}")), "{code}");
        assert_eq!(languages::find(code).is_some(), code != "mul", "{code} is not in the program");
    }
    let known: HashSet<String> = languages::codes().map(str::to_owned).chain(["mul".to_owned()]).collect();
    assert_eq!(files, known);
}

/// Languages may share a heading, but a heading of one language must not turn another's reading lists into sections that are dropped
/// anywhere.
#[test]
fn no_heading_is_of_reading_lists_and_of_other_sections() {
    let (boilerplate, reading) = languages::boilerplate_headings();
    let boilerplate: HashSet<&String> = boilerplate.iter().collect();
    for heading in reading {
        assert!(!boilerplate.contains(heading), "`{heading}` stands under `boilerplate` and under `reading`");
    }
}

#[test]
fn languages_are_found_by_any_code() {
    let code = |code: &str| languages::find(code).map(|language| language.code.as_str());
    assert_eq!(code("de"), Some("de"));
    assert_eq!(code("DE_at"), Some("de"));
    assert_eq!(code("nb"), Some("no"));
    assert_eq!(code("simple"), Some("en"));
    assert_eq!(code("be-x-old"), Some("be-tarask"));
    assert_eq!(code("zh-Hant-TW"), Some("zh"));
    assert_eq!(code("yue"), Some("zh-yue"));
    assert_eq!(code("xx"), None);
    assert_eq!(code("mul"), None);
    assert_eq!(code(""), None);
    assert!(languages::is_wikipedia("als") && languages::is_wikipedia("simple") && !languages::is_wikipedia("xx"));
}

#[test]
fn letters_of_the_language_continue_a_link() {
    let anchor = |text: &str, language: &str| {
        let page = clean(text, &WikiContext::default().with_language(language));
        page.text[page.links[0].span.clone()].to_owned()
    };
    for (language, text, expected) in [
        ("en", "[[town]]s of", "towns"),
        ("en", "[[caf]]é", "caf"),
        ("en", "[[town]]S", "town"),
        ("de", "[[Stadt|Städte]]n, [[Rat]]häuser", "Städten"),
        ("de", "[[Rat]]häuser", "Rathäuser"),
        ("fr", "[[École]]éà", "Écoleéà"),
        ("ru", "[[город]]ами»", "городами"),
        ("uk", "[[місто]]їґ", "містоїґ"),
        ("bg", "[[град]]ът", "градът"),
        ("pl", "[[Łódź]]żółć", "Łódźżółć"),
        ("tr", "[[Ankara]]'dan", "Ankara"),
        ("el", "[[πόλη]]ς", "πόλης"),
        ("ar", "[[مدينة]]هم", "مدينةهم"),
        ("he", "[[עיר]]ים", "עירים"),
        ("mr", "[[शहर]]ात", "शहरात"),
        ("mr", "[[शहर]]।", "शहर"),
        ("zh", "[[城市]]abc", "城市"),
        ("zh", "[[城市]]的", "城市"),
        ("ja", "[[都市]]の", "都市"),
        ("th", "[[เมือง]]ใหญ่", "เมือง"),
        ("xx", "[[a]]bé", "Ab"),
    ] {
        assert_eq!(anchor(text, language).to_lowercase(), expected.to_lowercase(), "{language}: {text}");
    }
}

#[test]
fn countries_and_languages_are_called_as_the_wiki_calls_them() {
    for (language, code, name) in [
        ("en", "USA", Some("United States")),
        ("de", "DEU", Some("Deutschland")),
        ("fr", "GER", Some("Allemagne")),
        ("bg", "RUS", Some("Русия")),
        ("vi", "VIE", Some("Việt Nam")),
        ("nn", "NOR", Some("Noreg")),
        ("ca", "ESP", Some("Espanya")),
        ("en", "XYZ", None),
        ("en", "usa", None),
        ("xx", "USA", None),
    ] {
        assert_eq!(languages::of(language).country(code), name, "{code} in {language}");
    }
    for (language, code, label) in [
        ("en", "grc", Some("Ancient Greek: ")),
        ("en", "zh-hans", Some("Chinese: ")),
        ("de", "es", Some("spanisch ")),
        ("ru", "en", Some("англ. ")),
        ("el", "en", Some("Αγγλικά: ")),
        ("ko", "en", Some("영어: ")),
        ("vi", "de", Some("tiếng Đức: ")),
        ("ar", "fr", Some("بالفرنسية: ")),
        ("en", "xx", None),
        ("xx", "en", None),
        ("en", "", None),
    ] {
        assert_eq!(languages::of(language).label_of(code).as_deref(), label, "{code} in {language}");
    }
}

/// The example of `docs/languages.md`.
#[test]
fn one_more_language_is_one_file() {
    let guide = store::read_to_string(&guide()).unwrap();
    let file = guide.split("```ini\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let language: &'static Language = Box::leak(Box::new(Language::parse("xx", file).unwrap()));
    let context = WikiContext::default().with_facts("xx", language);
    let shows = |markup: &str| clean(markup, &context).text;
    assert_eq!(shows("{{start date|1984|7|21}}"), "21 yul 1984");
    assert_eq!(shows("{{formatnum:1234567.5}}"), "1'234'567,5");
    assert_eq!(shows("Ost.[[Fayla:a.png|thumb|words]] [[Sted]]ët"), "Ost. Stedët");
    assert_eq!(shows("{{flagcountry|DEU}} ({{lang-de|Haus}})"), "Doyçland (doyç: Haus)");
    assert_eq!(shows("{{convert|5|km|mi}}"), "5 klm [3,1 mi]");
    let entities = &language.entities;
    assert!(entities.words.iter().any(|(kind, words)| kind == "month" && words[6] == "yul"));
    assert!(entities.kinds.iter().any(|(kind, words)| kind == "GPE" && words.contains(&"sted".to_owned())));
}

#[test]
fn a_file_may_say_what_templates_show() {
    let page = clean("{{iw|Сүз}}", &WikiContext::default().with_language("tt"));
    assert_eq!(page.text, "Сүз");
    assert_eq!(clean("{{iw|Сүз}}", &WikiContext::default().with_language("xx")).text, "");
}

#[test]
fn what_is_wrong_with_a_file_is_told() {
    for (text, told) in [
        ("[writing]\ndecimal = \"..\"", "`decimal` is one character, not `..`"),
        ("[writing]\nmonths = [\"a\"]", "`months` are twelve or none, not 1"),
        ("[namespaces]\nfile = [\"a\"]", "`file` is no number of a namespace"),
        ("[wiki]\nboilerplates = []", "unknown field `boilerplates`"),
        ("base = \"nowhere\"", "`base` has no file: `nowhere`"),
        ("[published.published]", "`published` stands inside `published`"),
        ("[", "TOML parse error"),
    ] {
        let error = Language::parse("xx", text).unwrap_err().to_string();
        assert!(error.starts_with("the file of the language `xx`: ") && error.contains(told), "{text}: {error}");
    }
}

fn guide() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/languages.md")
}

/// `MEMTRAIN_WRITE_SHOWN=1 cargo test -p memtrain-corpora --test languages` writes the table anew.
#[test]
fn the_guide_says_what_is_known() {
    let old = store::read_to_string(&guide()).unwrap();
    let heading = "## Coverage\n";
    let by_hand = old.split(heading).next().unwrap();
    let new = format!("{by_hand}{heading}\n{}", table());
    if std::env::var_os("MEMTRAIN_WRITE_SHOWN").is_some() {
        store::write_atomic(&guide(), new.as_bytes()).unwrap();
    } else {
        assert!(new == old, "docs/languages.md is stale; MEMTRAIN_WRITE_SHOWN=1 writes it");
    }
}

fn table() -> String {
    let all: Vec<&Language> = languages::codes().map(languages::of).collect();
    let with = |has: &dyn Fn(&Language) -> bool| all.iter().filter(|language| has(language)).count();
    let mut table = format!(
        "{} languages, {} with a Wikipedia; months of {}, redirect words of {}, namespaces of {}, words of amounts and dates of {}, nouns \
         that tell kinds of {}.\n\n",
        all.len(),
        with(&|language| language.wikipedia),
        with(&|language| !language.writing.months.is_empty()),
        with(&|language| !language.wiki.redirect.is_empty()),
        with(&|language| !language.wiki.namespaces.is_empty()),
        with(&|language| !language.entities.words.is_empty()),
        with(&|language| !language.entities.kinds.is_empty()),
    );
    table.push_str(
        "| code | language | number | date | redirects | namespaces | trail | headings | languages | countries | units | words | kinds | \
         script |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for language in all {
        let count = |count: usize| if count == 0 { String::new() } else { count.to_string() };
        let lists = |lists: &[(String, Vec<String>)]| count(lists.iter().map(|(_, words)| words.len()).sum());
        let writing = &language.writing;
        let wiki = &language.wiki;
        let group = writing.group.replace('\u{a0}', " ");
        let number = format!("1{group}234{group}567{}8", writing.decimal);
        let month = writing.months.first().map_or("1", String::as_str);
        let date = writing.date.replace("{d}", "2").replace("{m}", month).replace("{n}", "1").replace("{y}", "1984");
        let trail = wiki.trail.as_ref().map_or("a–z", |ranges| if ranges.is_empty() { "none" } else { "own" });
        let _ = writeln!(
            table,
            "| {} | {} | {number} | {date} | {} | {} | {trail} | {} | {} | {} | {} | {} | {} | {} |",
            language.code,
            language.name,
            count(wiki.redirect.len()),
            count(wiki.namespaces.len()),
            count(wiki.boilerplate.len()),
            count(language.languages.len()),
            count(language.territories.len()),
            count(language.units.len()),
            lists(&language.entities.words),
            lists(&language.entities.kinds),
            language.detect.as_ref().map_or("", |detect| detect.script.as_str()),
        );
    }
    table
}
