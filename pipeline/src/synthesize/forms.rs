//! Other forms of a hidden entity in a text: what its words look like elsewhere.
//!
//! A reader who sees "Croatian" need not remember anything to restore a hidden "Croatia", nor one who sees "Turing" to
//! restore "Alan Turing". The rules know letters, and of a language whether its names have endings of cases; scripts
//! without capitals have no forms by them.
//!
//! * **Derived forms** of a name of one word that is no person's: words with a capital that share at least four letters
//!   from the start, lack at most one of the name's, of longer stems two, and have at most five of their own: Croat,
//!   Croats and Croatian of Croatia, Italian of Italy.
//! * **Family names**: the last word of a person's name where it stands alone, not beside another word with a capital
//!   ("Sara Turing" is somebody else).
//! * **Inflected forms**, in languages whose names have endings of cases: as many words as the name has, or a family
//!   name that stands alone, each of which is the name's or shares three letters at least with it, lacks at most two
//!   of it and has at most four of its own: Дмитра Менделєєва and Менделєєвим of Дмитро Менделєєв. Vowels that change
//!   within a stem (Київ, Києва) are not followed.

use memtrain_corpora::mask::{Matching, occurrences};
use memtrain_corpora::{EntityLabel, Span};

/// Fewest letters that a derived form shares with the name.
const MIN_SHARED: usize = 4;
/// Most letters of the name that a derived form lacks; one fewer where it shares no more than [`MIN_SHARED`].
const MAX_DROPPED: usize = 2;
/// Most letters that a derived form has of its own.
const MAX_ADDED: usize = 5;
/// Fewest letters that an inflected word shares with the name's.
const MIN_STEM: usize = 3;
/// Most letters that an inflected word has of its own.
const MAX_ENDING: usize = 4;
/// Fewest letters of a family name.
const MIN_FAMILY_NAME: usize = 3;
/// What follows a family name and is none.
const GENERATIONS: [&str; 6] = ["Jr", "Jr.", "Sr", "Sr.", "II", "III"];

/// Where other forms of `answer` stand in `text`, in order and without overlap; the answer itself is not among them.
/// `inflected`: names have endings of cases in the language of the text.
pub(crate) fn other_forms(text: &str, answer: &str, label: EntityLabel, inflected: bool) -> Vec<Span> {
    let mut forms = by_letters(text, answer, label);
    if inflected {
        forms.extend(inflected_forms(text, answer, label));
        // Of two that overlap the one that begins first stays, and of those the longer one.
        forms.sort_unstable_by_key(|span| (span.start, usize::MAX - span.end));
        let mut end = 0;
        forms.retain(|span| {
            span.start >= end && {
                end = span.end;
                true
            }
        });
    }
    forms
}

/// Forms with endings of cases.
fn inflected_forms(text: &str, answer: &str, label: EntityLabel) -> Vec<Span> {
    let names: Vec<&str> = words(answer).map(|span| &answer[span]).collect();
    if !is_capitalised(answer) || names.is_empty() {
        return Vec::new();
    }
    let family_name = family_name(answer).filter(|_| label == EntityLabel::Person);
    let all: Vec<Span> = words(text).collect();
    let word = |span: &Span| &text[span.clone()];
    // The words of the name follow one another as in the name itself: by one space, hyphen or other sign.
    let is_whole = |found: &[Span]| {
        found.iter().zip(&names).all(|(span, name)| is_inflected(word(span), name))
            && found.windows(2).all(|pair| text[pair[0].end..pair[1].start].chars().count() == 1)
    };
    let (mut forms, mut next) = (Vec::new(), 0);
    for (at, span) in all.iter().enumerate() {
        if at < next {
            continue;
        }
        let whole = all.get(at..at + names.len()).filter(|found| is_whole(found));
        let form = match (whole, family_name) {
            (Some(found), _) => {
                next = at + names.len();
                span.start..found[names.len() - 1].end
            }
            (None, Some(name)) if is_inflected(word(span), name) && !is_beside_capital(text, span) => span.clone(),
            _ => continue,
        };
        if text[form.clone()] != *answer {
            forms.push(form);
        }
    }
    forms
}

/// Whether a word is one of a name in some case; the same word is.
fn is_inflected(word: &str, name: &str) -> bool {
    if word == name {
        return true;
    }
    let Letters { shared, dropped, added } = Letters::of(word, name);
    shared >= MIN_STEM && dropped <= MAX_DROPPED && added <= MAX_ENDING
}

/// Numbers of letters by which a word is compared with a name.
struct Letters {
    /// From the start, of both.
    shared: usize,
    /// Of the name alone.
    dropped: usize,
    /// Of the word alone.
    added: usize,
}

impl Letters {
    fn of(word: &str, name: &str) -> Self {
        let shared = word.chars().zip(name.chars()).take_while(|(a, b)| a == b).count();
        Self { shared, dropped: name.chars().count() - shared, added: word.chars().count() - shared }
    }
}

/// Forms in any language.
fn by_letters(text: &str, answer: &str, label: EntityLabel) -> Vec<Span> {
    if label == EntityLabel::Person {
        let family_name = family_name(answer);
        return family_name.map_or_else(Vec::new, |name| {
            let stands_alone = |span: &Span| !is_beside_capital(text, span);
            occurrences(text, name, Matching::default()).into_iter().filter(stands_alone).collect()
        });
    }
    if !answer.chars().all(char::is_alphabetic) || !is_capitalised(answer) {
        return Vec::new();
    }
    words(text).filter(|span| is_derived(&text[span.clone()], answer)).collect()
}

/// The last word of a name of several, generations aside.
fn family_name(name: &str) -> Option<&str> {
    let words: Vec<&str> = name.split_whitespace().filter(|word| !GENERATIONS.contains(word)).collect();
    let last = words.last().filter(|_| words.len() > 1)?;
    let is_name = is_capitalised(last) && last.chars().filter(|c| c.is_alphabetic()).count() >= MIN_FAMILY_NAME;
    is_name.then_some(last)
}

fn is_derived(word: &str, name: &str) -> bool {
    if word == name || !is_capitalised(word) {
        return false;
    }
    let Letters { shared, dropped, added } = Letters::of(word, name);
    let most_dropped = if shared > MIN_SHARED { MAX_DROPPED } else { MAX_DROPPED - 1 };
    shared >= MIN_SHARED && dropped <= most_dropped && added <= MAX_ADDED
}

/// Whether a word with a capital stands before or behind a span, with one space between. The first word of a sentence
/// says nothing.
pub(crate) fn is_beside_capital(text: &str, span: &Span) -> bool {
    let behind = text.get(span.end..).and_then(|rest| rest.strip_prefix(' '));
    if behind.is_some_and(is_capitalised) {
        return true;
    }
    let Some(before) = text.get(..span.start).and_then(|before| before.strip_suffix(' ')) else { return false };
    let start = before
        .rfind(|c: char| !c.is_alphanumeric() && c != '-' && c != '\'')
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let (rest, word) = before.split_at(start);
    let begins_sentence =
        rest.trim_end_matches(' ').chars().next_back().is_none_or(|c| matches!(c, '.' | '!' | '?' | '\n'));
    is_capitalised(word) && !begins_sentence
}

fn is_capitalised(word: &str) -> bool {
    word.chars().next().is_some_and(char::is_uppercase)
}

/// The runs of letters of a text.
fn words(text: &str) -> impl Iterator<Item = Span> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text[from..].find(char::is_alphabetic)?;
        let end = text[start..].find(|c: char| !c.is_alphabetic()).map_or(text.len(), |length| start + length);
        from = end;
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'t>(text: &'t str, answer: &str, label: EntityLabel) -> Vec<&'t str> {
        forms(text, answer, label, false)
    }

    fn forms<'t>(text: &'t str, answer: &str, label: EntityLabel, inflected: bool) -> Vec<&'t str> {
        other_forms(text, answer, label, inflected).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn derived_forms_share_a_stem_and_a_capital() {
        let text = "Croats, Croatian, Croatia and Croatians; a croat in Crouch End.";
        assert_eq!(found(text, "Croatia", EntityLabel::Gpe), ["Croats", "Croatian", "Croatians"]);
        assert_eq!(found("Italian Italianate Italia Ital", "Italy", EntityLabel::Gpe), ["Italian", "Italia", "Ital"]);
        assert!(found("Norwich", "Norway", EntityLabel::Gpe).is_empty(), "two of six letters are too many");
        assert!(found("Romans of Rome", "Rome", EntityLabel::Gpe).is_empty(), "three letters are too few");
        assert!(found("Marylanders", "Mary", EntityLabel::Person).is_empty(), "persons have no derived forms");
        assert!(found("New Yorker", "New York", EntityLabel::Gpe).is_empty());
        assert!(found("北京人", "北京市", EntityLabel::Gpe).is_empty());
    }

    #[test]
    fn a_family_name_is_one_where_it_stands_alone() {
        let text =
            "Turing was born in London. In 1926 Turing's mother, Sara Turing, and Turing Jr. met. Turing Machines.";
        let spans = other_forms(text, "Alan Turing", EntityLabel::Person, false);
        let starts: Vec<usize> = spans.iter().map(|span| span.start).collect();
        assert_eq!(starts, [0, text.find("Turing's").unwrap()]);
        assert!(found("Cher sang.", "Cher", EntityLabel::Person).is_empty());
        assert_eq!(found("It was King.", "Martin Luther King Jr.", EntityLabel::Person), ["King"]);
    }

    #[test]
    fn names_have_endings_where_the_language_inflects_them() {
        let text = "Дмитра Менделєєва обрали. З Менделєєвим працювали; Менделєєв писав. Тоді Дмитро Менделєєв помер, і з ним Анна Менделєєва.";
        let name = "Дмитро Менделєєв";
        assert_eq!(forms(text, name, EntityLabel::Person, true), ["Дмитра Менделєєва", "Менделєєвим", "Менделєєв"]);
        assert_eq!(forms(text, name, EntityLabel::Person, false), ["Менделєєв"]);
        assert_eq!(forms("Менделєєв і Менделєєвим", "Менделєєвим", EntityLabel::Person, true), ["Менделєєв"]);
        let region = "Київська область";
        assert_eq!(forms("У Київській області.", region, EntityLabel::Gpe, true), ["Київській області"]);
        assert_eq!(forms("W Gdańsku i Gdańska", "Gdańsk", EntityLabel::Gpe, true), ["Gdańsku", "Gdańska"]);
        assert!(forms("Іво і Іванко", "Іван", EntityLabel::Gpe, true).ends_with(&["Іванко"]));
        assert!(forms("Київ. Область", region, EntityLabel::Gpe, true).is_empty(), "two signs between the words");
        assert!(forms("річка річки", "річка", EntityLabel::Misc, true).is_empty(), "no name");
    }

    #[test]
    fn capitals_beside_a_name_belong_to_a_longer_one() {
        let beside = |text: &str, name: &str| {
            let start = text.find(name).unwrap();
            is_beside_capital(text, &(start..start + name.len()))
        };
        assert!(beside("the Atari Games", "Atari"));
        assert!(beside("he met Amitabh Bachchan", "Bachchan"));
        assert!(!beside("In Paris he", "Paris"));
        assert!(!beside("died. In Paris he", "Paris"));
        assert!(!beside("lived in Oslo, Norway", "Oslo"));
        assert!(!beside("Oslo", "Oslo"));
        assert!(beside("über Świętokrzyskie Voivodeship", "Voivodeship"));
    }
}
