//! Kinds of things that articles are about, by simple signs: boxes of facts, the title, the categories and the first
//! sentence. Wrong now and then; a neural back-end does better, this one needs nothing.

mod boxes;

use std::collections::HashMap;
use std::sync::LazyLock;

use memtrain_corpora::languages::{self, Language};
use memtrain_corpora::{Article, EntityLabel};
use unicode_segmentation::UnicodeSegmentation;

use super::lexicon::{LEXICON, TYPE_LABELS, bit, flag};
use super::titles::without_qualifier;
use boxes::Kind;

/// What signs mean in a language other than English.
#[derive(Default)]
struct Signs {
    /// What stands between a thing and its kind in a first sentence.
    verbs: Vec<&'static str>,
    /// Words of categories that only persons have.
    births: Vec<&'static str>,
    nouns: HashMap<String, EntityLabel>,
    /// Words of its first sentences are found by their letters: they do not stand apart, or have endings.
    unspaced: bool,
    /// Letters of the longest noun.
    most_letters: usize,
}

static SIGNS: LazyLock<HashMap<&'static str, Signs>> = LazyLock::new(|| {
    let of = |language: &'static Language| {
        let mut signs = Signs { unspaced: language.entities.unspaced, ..Signs::default() };
        for (kind, words) in &language.entities.kinds {
            let words = words.iter().map(String::as_str);
            match (kind.as_str(), EntityLabel::from_name(kind)) {
                ("verb", _) => signs.verbs.extend(words),
                ("birth", _) => signs.births.extend(words),
                (_, Some(label)) => signs.nouns.extend(words.map(|word| (word.replace('_', " "), label))),
                _ => {}
            }
        }
        signs.most_letters = signs.nouns.keys().map(|noun| noun.chars().count()).max().unwrap_or_default();
        (language.code.as_str(), signs)
    };
    languages::having("kinds").map(of).collect()
});

/// Words of a first sentence that are looked at behind its verb.
const DEFINITION_WORDS: usize = 16;

/// The kind of thing an article of a wiki of some language is about; [`EntityLabel::Unknown`] where no sign is found.
pub(crate) fn infer(article: &Article, language: &str) -> EntityLabel {
    let signs = SIGNS.get(language);
    let is_person = match signs {
        Some(signs) => article.categories.iter().any(|category| is_of_persons(category, signs)),
        None => article.categories.iter().any(|category| is_of_persons_in_english(category)),
    };
    if is_person {
        return EntityLabel::Person;
    }
    if signs.is_none() && (article.title.starts_with("List of ") || article.title.starts_with("Lists of ")) {
        return EntityLabel::Unknown;
    }
    match boxes::kind(&article.infoboxes, language, signs) {
        Some(Kind::Of(label)) => return label,
        Some(Kind::Nothing) => return EntityLabel::Unknown,
        Some(Kind::Open) | None => {}
    }
    let found = match signs {
        Some(signs) => infer_by(signs, article),
        None => infer_english(article),
    };
    found.unwrap_or(EntityLabel::Unknown)
}

fn is_of_persons_in_english(category: &str) -> bool {
    category.ends_with(" births") || category.ends_with(" deaths") || category == "Living people"
}

fn is_of_persons(category: &str, signs: &Signs) -> bool {
    if signs.unspaced {
        // `1867年生`, `1867年出生`, `1867년 출생`; not `出生地`.
        return signs.births.iter().any(|sign| category.ends_with(sign));
    }
    signs.births.iter().any(|sign| category.split([' ', ':']).any(|word| word == *sign))
        && (category.chars().any(char::is_numeric) || category.split(' ').count() == 1)
}

fn infer_english(article: &Article) -> Option<EntityLabel> {
    from_qualifier(&article.title)
        .or_else(|| from_definition(&article.text))
        .or_else(|| from_categories(&article.categories))
        .or_else(|| from_form(&article.title))
}

/// `Ost (film)`, `Velm (given name)`.
fn from_qualifier(title: &str) -> Option<EntityLabel> {
    let bare = without_qualifier(title);
    let qualifier = title.get(bare.len()..)?.trim_matches([' ', '(', ')']);
    noun_label(qualifier.rsplit(' ').next()?)
}

/// The last noun of what the first sentence says a thing is: "a small river port city" is a city.
fn from_definition(text: &str) -> Option<EntityLabel> {
    let line = text.lines().next()?;
    let sentence = without_brackets(line.unicode_sentences().next()?);
    let tokens: Vec<&str> = sentence.split_word_bounds().filter(|token| !token.trim().is_empty()).collect();
    let verb = tokens.iter().position(|word| matches!(*word, "is" | "was" | "are" | "were"))?;
    let mut label = None;
    let mut behind = tokens[verb + 1..].iter().take(DEFINITION_WORDS).peekable();
    while let Some(word) = behind.next() {
        let lower = word.to_lowercase();
        // "one of the cities", "a type of ship": the kind stands behind "of".
        if matches!(
            lower.as_str(),
            "one" | "type" | "kind" | "form" | "member" | "group" | "series" | "name" | "part" | "genre"
        ) && behind.peek().is_some_and(|next| **next == "of")
        {
            behind.next();
            continue;
        }
        let ends = matches!(
            lower.as_str(),
            "," | "."
                | ";"
                | ":"
                | "of"
                | "in"
                | "on"
                | "that"
                | "which"
                | "who"
                | "whose"
                | "from"
                | "for"
                | "by"
                | "at"
                | "and"
                | "with"
                | "to"
                | "where"
                | "located"
                | "situated"
                | "founded"
                | "based"
                | "released"
                | "directed"
                | "written"
                | "known"
                | "published"
                | "played"
                | "used"
                | "between"
                | "near"
        );
        if ends {
            // Nothing known yet: "a Norwegian, later Danish politician".
            if label.is_some() {
                break;
            }
            continue;
        }
        label = noun_label(&lower).or(label);
    }
    label
}

/// "Rivers of Ostrava", "Towns in Velm", "Battles of the Long War": the noun before the preposition. The label that most
/// categories agree on.
fn from_categories(categories: &[String]) -> Option<EntityLabel> {
    let mut votes: Vec<(EntityLabel, u32)> = Vec::new();
    for category in categories {
        let prepositions = [" of ", " in ", " by ", " from ", " established", " for ", " on "];
        let head = prepositions.iter().filter_map(|word| category.find(word)).min().unwrap_or(category.len());
        let Some(label) =
            category[..head].unicode_words().next_back().and_then(|noun| noun_label(&noun.to_lowercase()))
        else {
            continue;
        };
        match votes.iter_mut().find(|(known, _)| *known == label) {
            Some((_, count)) => *count += 1,
            None => votes.push((label, 1)),
        }
    }
    let most = votes.iter().map(|(_, count)| *count).max()?;
    votes.into_iter().find(|(_, count)| *count == most).map(|(label, _)| label)
}

/// `Springfield, Ohio`; `Lake Velm`; `University of Ost`; `Ost River`; and what general knowledge has.
fn from_form(title: &str) -> Option<EntityLabel> {
    let bare = without_qualifier(title);
    let known = LEXICON.name(bare);
    if known.count_ones() == 1 {
        return EntityLabel::ALL.into_iter().find(|label| known == bit(*label));
    }
    if let Some((_, place)) = bare.split_once(", ")
        && LEXICON.name(place) & bit(EntityLabel::Gpe) != 0
    {
        return Some(EntityLabel::Gpe);
    }
    let words: Vec<&str> = bare.split(' ').collect();
    let (first, last) = (words.first()?.to_lowercase(), words.last()?.to_lowercase());
    if words.len() < 2 {
        return None;
    }
    if matches!(first.as_str(), "lake" | "mount" | "cape" | "gulf") {
        return Some(EntityLabel::Loc);
    }
    let head = if words.get(1) == Some(&"of") || words.get(1) == Some(&"for") { first } else { last };
    let heads = [
        (flag::ORG, EntityLabel::Org),
        (flag::GPE, EntityLabel::Gpe),
        (flag::LOC, EntityLabel::Loc),
        (flag::FAC, EntityLabel::Fac),
        (flag::EVENT, EntityLabel::Event),
        (flag::LAW, EntityLabel::Law),
        (flag::LANGUAGE, EntityLabel::Language),
    ];
    let flags = LEXICON.word(&head) & flag::HEADS;
    heads.into_iter().find(|(flag, _)| flags == *flag).map(|(_, label)| label)
}

/// By the signs of another language: the first noun behind the verb, a noun in the categories.
fn infer_by(signs: &Signs, article: &Article) -> Option<EntityLabel> {
    let bare = without_qualifier(&article.title);
    let qualifier = article.title.get(bare.len()..).unwrap_or_default().trim_matches([' ', '(', ')']).to_lowercase();
    let line = article.text.lines().next().unwrap_or_default();
    let sentence = without_brackets(line.unicode_sentences().next().unwrap_or_default()).to_lowercase();
    if signs.unspaced {
        let in_categories = || article.categories.iter().find_map(|category| last_noun(category, signs));
        let in_sentence = || last_noun(definition(&sentence, signs), signs);
        return last_noun(&qualifier, signs).or_else(in_sentence).or_else(in_categories);
    }
    let words: Vec<&str> =
        sentence.split_whitespace().map(|word| word.trim_matches([',', '.', ';', ':', '।'])).collect();
    let verb = words.iter().position(|word| signs.verbs.contains(word)).map_or(0, |verb| verb + 1);
    let in_sentence = first_noun(&words[verb..(verb + DEFINITION_WORDS).min(words.len())], signs);
    // Where the verb stands last, the noun stands before it.
    let anywhere = || first_noun(&words[..words.len().min(2 * DEFINITION_WORDS)], signs);
    let in_categories = || {
        article.categories.iter().find_map(|category| {
            let lower = category.to_lowercase();
            first_noun(&lower.split_whitespace().take(2).collect::<Vec<_>>(), signs)
        })
    };
    signs.nouns.get(qualifier.as_str()).copied().or(in_sentence).or_else(anywhere).or_else(in_categories)
}

/// What a first sentence says that a thing is: behind the verb `是` up to the next clause where it stands first, else all of it.
fn definition<'text>(sentence: &'text str, signs: &Signs) -> &'text str {
    let behind = signs.verbs.iter().filter_map(|verb| Some(sentence.find(verb)? + verb.len())).min();
    let rest = &sentence[behind.unwrap_or(0)..];
    let clause = rest.split(['，', ',', '。', '；']).find(|clause| last_noun(clause, signs).is_some());
    clause.unwrap_or(rest)
}

/// The known noun that ends last in a text, the longest of several.
fn last_noun(text: &str, signs: &Signs) -> Option<EntityLabel> {
    let ends = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let ends: Vec<usize> = std::iter::once(0).chain(ends).collect();
    (1..ends.len()).rev().find_map(|end| {
        let first = end.saturating_sub(signs.most_letters);
        let noun = |begin: usize| signs.nouns.get(&text[ends[begin]..ends[end]]).copied();
        // A single letter is part of too many names: it counts where the words end.
        let is_last = CLOSINGS.iter().any(|closing| text[ends[end]..].starts_with(closing)) || end + 1 == ends.len();
        (first..if is_last { end } else { end - 1 }).find_map(noun)
    })
}

/// What stands behind the last word of a definition.
const CLOSINGS: &[&str] = &["である", "だ", "の一つ", "。", "、", "，", ",", "；", ".", "이다", "이자"];

/// The first noun that is known, alone or with the one or two words behind it.
fn first_noun(words: &[&str], signs: &Signs) -> Option<EntityLabel> {
    (0..words.len()).find_map(|at| {
        (1..=3.min(words.len() - at)).rev().find_map(|length| {
            if length == 1 {
                signs.nouns.get(words[at]).copied()
            } else {
                signs.nouns.get(words[at..at + length].join(" ").as_str()).copied()
            }
        })
    })
}

/// A sentence without what stands in brackets: dates, pronunciations, names in other languages.
fn without_brackets(sentence: &str) -> String {
    let mut depth = 0u32;
    let mut kept = String::with_capacity(sentence.len());
    for c in sentence.chars() {
        match c {
            '(' | '（' => depth += 1,
            ')' | '）' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(c),
            _ => {}
        }
    }
    kept
}

fn noun_label(noun: &str) -> Option<EntityLabel> {
    let known = |noun: &str| {
        let flags = LEXICON.word(noun) & flag::TYPES;
        TYPE_LABELS.iter().find(|(flag, _)| flags & flag != 0).map(|(_, label)| *label)
    };
    let singular = || match noun.strip_suffix("ies") {
        Some(stem) => known(&format!("{stem}y")),
        None => noun.strip_suffix('s').and_then(known).or_else(|| noun.strip_suffix("es").and_then(known)),
    };
    known(noun).or_else(singular)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn article(title: &str, text: &str, categories: &[&str]) -> Article {
        Article {
            id: 1,
            url: String::new(),
            title: title.into(),
            text: text.into(),
            revision_id: 1,
            timestamp: String::new(),
            sections: Vec::new(),
            links: Vec::new(),
            categories: categories.iter().map(|&category| category.to_owned()).collect(),
            infoboxes: Vec::new(),
        }
    }

    fn kind(title: &str, text: &str, categories: &[&str]) -> EntityLabel {
        infer(&article(title, text, categories), "en")
    }

    #[test]
    fn kinds_where_words_do_not_stand_apart() {
        use EntityLabel::*;
        for (language, title, text, categories, expected) in [
            ("ja", "東京", "東京（とうきょう）は、日本の首都。人口は多い。", &[][..], Gpe),
            ("ja", "夏目漱石", "夏目漱石は、日本の小説家、評論家。", &["1867年生"][..], Person),
            ("ja", "羅生門", "羅生門は、1950年に公開された日本の映画である。", &[][..], WorkOfArt),
            ("ja", "上野駅", "上野駅は、東京都台東区上野にある駅である。", &[][..], Fac),
            ("ja", "トヨタ", "トヨタは、愛知県に本社を置く日本の自動車会社。", &[][..], Org),
            ("zh", "巴黎", "巴黎是法國的首都，也是最大的城市，設有大學。", &[][..], Gpe),
            ("zh", "魯迅", "魯迅，原名周樹人，中國作家。", &["1881年出生"][..], Person),
            ("zh", "長江", "長江是亞洲最長的河流。", &[][..], Loc),
            ("ko", "서울", "서울은 대한민국의 수도이자 최대 도시이다.", &[][..], Gpe),
            ("ko", "세종", "세종은 조선의 제4대 국왕이다.", &[][..], Person),
            ("uk", "Київ", "Київ — столиця України.", &[][..], Gpe),
            ("uk", "Дніпро", "Дніпро — річка в Східній Європі.", &[][..], Loc),
            ("cs", "Vltava", "Vltava je nejdelší řeka v Česku.", &[][..], Loc),
            ("ja", "水", "水は、化学式で表される。", &[][..], Unknown),
        ] {
            assert_eq!(infer(&article(title, text, categories), language), expected, "{title}");
        }
    }

    #[test]
    fn kinds_by_category() {
        assert_eq!(kind("T", "", &["1809 births"]), EntityLabel::Person);
        assert_eq!(kind("T", "", &["Rivers of Velm"]), EntityLabel::Loc);
        assert_eq!(kind("T", "", &["Cities in Alabama", "Railway stations in Velm", "Towns of Ost"]), EntityLabel::Gpe);
        assert_eq!(kind("T", "Nothing here to see.", &["Stubs"]), EntityLabel::Unknown);
    }

    #[test]
    fn kinds_by_first_sentence() {
        for (text, expected) in [
            ("Ost is a small market town on the river Ell.", EntityLabel::Gpe),
            ("Velm (born 1901 in a city) was a Norwegian river boat pilot and author.", EntityLabel::Person),
            ("The Battle of Ost was a battle.", EntityLabel::Event),
            ("Velm is one of the largest cities in Ost.", EntityLabel::Gpe),
            ("Ell is a river port city of Ost.", EntityLabel::Gpe),
            ("The Light is a 1984 science fiction film directed by Ana Lund.", EntityLabel::WorkOfArt),
            ("Lund Inc. is an American multinational technology company.", EntityLabel::Org),
            ("", EntityLabel::Unknown),
        ] {
            assert_eq!(kind("T", text, &[]), expected, "{text}");
        }
    }

    #[test]
    fn kinds_by_title() {
        for (title, expected) in [
            ("Ost (film)", EntityLabel::WorkOfArt),
            ("Velm (American band)", EntityLabel::Org),
            ("Velm, Ohio", EntityLabel::Gpe),
            ("Lake Velm", EntityLabel::Loc),
            ("University of Velm", EntityLabel::Org),
            ("Treaty of Velm", EntityLabel::Law),
            ("List of rivers of Velm", EntityLabel::Unknown),
            ("Velm", EntityLabel::Unknown),
        ] {
            assert_eq!(kind(title, "", &[]), expected, "{title}");
        }
    }

    #[test]
    fn kinds_in_other_languages() {
        for (language, text, expected) in [
            ("de", "Velm ist eine Stadt im Süden.", EntityLabel::Gpe),
            ("de", "Ana Lund (* 1901) war eine norwegische Schriftstellerin.", EntityLabel::Person),
            ("fr", "Le Velm est un fleuve de l'Ost.", EntityLabel::Loc),
            ("es", "Velm es un municipio de Ost.", EntityLabel::Gpe),
            ("ru", "Вельм — город в Осте.", EntityLabel::Gpe),
            ("bg", "Велм е река в Ост.", EntityLabel::Loc),
            ("vi", "Velm là một thành phố của Ost.", EntityLabel::Gpe),
            ("mr", "वेल्म हे एक शहर आहे.", EntityLabel::Gpe),
        ] {
            assert_eq!(infer(&article("T", text, &[]), language), expected, "{text}");
        }
        assert_eq!(infer(&article("T", "", &["Sinh năm 1901"]), "vi"), EntityLabel::Person);
        assert_eq!(infer(&article("T", "", &["Geboren 1901"]), "de"), EntityLabel::Person);
    }
}
