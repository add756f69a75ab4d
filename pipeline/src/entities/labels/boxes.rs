//! Kinds of things by the names of an article's boxes of facts.

use std::collections::HashMap;
use std::sync::LazyLock;

use memtrain_corpora::{EntityLabel, languages};

use super::{Signs, noun_label};

/// What a box is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Things of one kind.
    Of(EntityLabel),
    /// Things without a name of a kind, such as species and diseases.
    Nothing,
    /// Things of several kinds, such as singers and bands: other signs decide.
    Open,
}

struct Boxes {
    kinds: HashMap<String, Kind>,
    most_words: usize,
}

static BOXES: LazyLock<Boxes> = LazyLock::new(|| {
    let mut boxes = Boxes { kinds: HashMap::new(), most_words: 1 };
    for (kind, phrase) in entries() {
        let Some(kind) = kind else { continue };
        boxes.most_words = boxes.most_words.max(phrase.split(' ').count());
        boxes.kinds.insert(phrase, kind);
    }
    boxes
});

/// The phrases of all languages together with their kinds; `None` for a kind that is none.
fn entries() -> impl Iterator<Item = (Option<Kind>, String)> {
    languages::boxes().into_iter().flat_map(|(kind, phrases)| {
        let kind = match kind.as_str() {
            "none" => Some(Kind::Nothing),
            "open" => Some(Kind::Open),
            label => EntityLabel::from_name(label).map(Kind::Of),
        };
        phrases.into_iter().map(move |phrase| (kind, phrase))
    })
}

/// What the boxes of a page of a wiki of some language say it is about: the first that names a kind, else whether one says that
/// it has none. `signs` are those of the language.
pub(super) fn kind(names: &[String], language: &str, signs: Option<&Signs>) -> Option<Kind> {
    let kinds = names.iter().filter_map(|name| kind_of(name, language, signs));
    kinds.reduce(|first, next| match (first, next) {
        (Kind::Of(_), _) => first,
        (_, Kind::Of(_)) | (Kind::Open, _) => next,
        _ => first,
    })
}

/// What one box says: the longest phrase of its name that is known, the nearest to its head among equals.
fn kind_of(name: &str, language: &str, signs: Option<&Signs>) -> Option<Kind> {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower
        .split(|letter: char| letter.is_whitespace() || matches!(letter, '/' | '(' | ')' | ',' | '_' | ':'))
        .filter(|word| !word.is_empty())
        .collect();
    // `football club`; in other languages the head stands first: `club de football`.
    let head_last = languages::of(language).entities.box_head_last;
    let near_head = |length: usize| {
        let places = words.len().saturating_sub(length) + 1;
        (0..places).map(move |place| if head_last { places - 1 - place } else { place })
    };
    let longest = (2..=BOXES.most_words.min(words.len())).rev();
    let phrase = longest
        .flat_map(|length| near_head(length).map(move |place| (place, length)))
        .find_map(|(place, length)| BOXES.kinds.get(words[place..place + length].join(" ").as_str()).copied());
    phrase.or_else(|| {
        near_head(1).filter_map(|place| words.get(place)).find_map(|word| {
            // `Biographie2` is another way to show a `Biographie`.
            let bare = word.trim_end_matches(|digit: char| digit.is_ascii_digit());
            let known = BOXES.kinds.get(*word).or_else(|| BOXES.kinds.get(bare)).copied();
            let noun = || signs.and_then(|signs| signs.nouns.get(*word).copied()).or_else(|| noun_label(word));
            known.or_else(|| noun().map(Kind::Of))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phrase_stands_for_one_kind() {
        let mut seen: HashMap<String, Kind> = HashMap::new();
        for (kind, phrase) in entries() {
            let kind = kind.unwrap_or_else(|| panic!("`{phrase}` stands behind a label that does not exist"));
            assert_eq!(phrase, phrase.trim().to_lowercase(), "phrases are compared in lower case");
            assert_eq!(*seen.entry(phrase.clone()).or_insert(kind), kind, "{phrase}");
        }
    }

    #[test]
    fn boxes_of_many_wikis_tell_kinds() {
        use EntityLabel::*;
        for (language, name, expected) in [
            ("en", "Infobox settlement", Gpe),
            ("en", "Infobox football club", Org),
            ("en", "Infobox military conflict", Event),
            ("en", "Infobox UK railway station", Fac),
            ("en", "Infobox Olympic event", Event),
            ("en", "Infobox television", WorkOfArt),
            ("en", "Infobox programming language", Product),
            ("en", "Infobox language", Language),
            ("de", "Infobox Unternehmen", Org),
            ("de", "Personendaten", Person),
            ("de", "Infobox Gemeinde in Deutschland", Gpe),
            ("fr", "Infobox Biographie2", Person),
            ("fr", "Infobox Commune de France", Gpe),
            ("fr", "Infobox Club de football", Org),
            ("fr", "Infobox Cours d'eau", Loc),
            ("es", "Ficha de entidad de población", Gpe),
            ("es", "Ficha de equipo de fútbol", Org),
            ("pt", "Info/Município do Brasil", Gpe),
            ("pt", "Info/Filme", WorkOfArt),
            ("it", "Bio", Person),
            ("it", "Divisione amministrativa", Gpe),
            ("pl", "Stacja kolejowa infobox", Fac),
            ("cs", "Infobox - vodní tok", Loc),
            ("ru", "НП-Россия", Gpe),
            ("ru", "Музыкальный коллектив", Org),
            ("uk", "Населений пункт", Gpe),
            ("bg", "Град в България", Gpe),
            ("vi", "Thông tin đơn vị hành chính Việt Nam", Gpe),
            ("vi", "Thông tin nhân vật hoàng gia", Person),
            ("vi", "Infobox former country", Gpe),
            ("mr", "माहितीचौकट भारतीय राजकीय पक्ष", Org),
            ("mr", "माहितीचौकट अभिनेता", Person),
            ("hi", "ज्ञानसन्दूक नदी", Loc),
            ("ja", "基礎情報 会社", Org),
            ("ko", "축구 선수 정보", Person),
            ("zh", "Infobox Film", WorkOfArt),
            ("ar", "صندوق معلومات شخص", Person),
            ("fa", "جعبه اطلاعات شهر ایران", Gpe),
            ("he", "אישיות", Person),
            ("th", "กล่องข้อมูล แม่น้ำ", Loc),
            ("tr", "Futbol kulübü bilgi kutusu", Org),
            ("el", "Κουτί πληροφοριών πόλη", Gpe),
        ] {
            let found = match kind_of(name, language, super::super::SIGNS.get(language)) {
                Some(Kind::Of(label)) => label,
                _ => Unknown,
            };
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_box_that_names_a_kind_comes_before_one_that_has_none() {
        let of = |names: &[&str]| kind(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), "en", None);
        assert_eq!(of(&["Taxobox"]), Some(Kind::Nothing));
        assert_eq!(of(&["Infobox musical artist"]), Some(Kind::Open));
        assert_eq!(of(&["Infobox Chinese", "Taxobox"]), Some(Kind::Nothing));
        assert_eq!(of(&["Infobox flag", "Infobox country", "Infobox person"]), Some(Kind::Of(EntityLabel::Gpe)));
        assert_eq!(of(&["Infobox", "Infobox ffff"]), None);
        assert_eq!(of(&[]), None);
    }
}
