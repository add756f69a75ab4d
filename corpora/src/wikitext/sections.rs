//! Sections without prose of their own: references, links, reading lists.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::languages;

/// The titles, small, that are known at any level, and those of reading lists. A title is known in the wikis of all languages. The
/// second ones head a reading list where they stand at the end of an article, and prose where they are part of another section: of a
/// country's culture, say.
static KNOWN: LazyLock<(HashSet<&str>, HashSet<&str>)> = LazyLock::new(|| {
    let (boilerplate, reading) = languages::boilerplate_headings();
    let set = |titles: &'static [String]| titles.iter().map(String::as_str).collect();
    (set(boilerplate), set(reading))
});

/// Whether a section of this title holds no prose of its own: references, links, reading lists. The title may be of any of
/// the larger Wikipedias.
pub fn is_boilerplate_section(title: &str) -> bool {
    is_boilerplate_heading(title, 2)
}

/// The same for a heading of a level: what a main section `Literatur` lists, a part of a section `Kultur` tells.
pub fn is_boilerplate_heading(title: &str, level: u8) -> bool {
    let title = title.trim().trim_end_matches([':', '：']).to_lowercase();
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    KNOWN.0.contains(title.as_str()) || level <= 2 && KNOWN.1.contains(title.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_known_in_many_languages() {
        let titles = [
            "References",
            " See  Also ",
            "Weblinks",
            "Einzelnachweise",
            "Notes et références",
            "Véase también",
            "Note",
            "Referências",
            "Примечания",
            "Див. також",
            "Външни препратки",
            "Tham khảo",
            "Liên kết ngoài",
            "संदर्भ",
            "बाह्य दुवे",
            "सन्दर्भ",
            "脚注",
            "参考文献",
            "각주",
            "مراجع",
            "منابع",
            "Przypisy",
            "Zie ook",
            "Källor",
            "Externí odkazy",
            "Kaynakça:",
        ];
        for title in titles {
            assert!(is_boilerplate_section(title), "{title}");
        }
        for title in ["History", "Geschichte", "История", "इतिहास", "歴史", "Lịch sử", "", "Note on names", "|"]
        {
            assert!(!is_boilerplate_section(title), "{title}");
        }
    }

    #[test]
    fn literature_is_a_list_or_a_subject() {
        assert!(is_boilerplate_heading("Literatur", 2));
        assert!(!is_boilerplate_heading("Литература", 3));
        assert!(is_boilerplate_heading("Einzelnachweise", 3));
    }

    #[test]
    fn titles_of_small_wikis_are_known() {
        for title in [
            "Other websites",
            "Related pages",
            "Gweler hefyd",
            "Cyfeiriadau",
            "Ikus, gainera",
            "Kanpo estekak",
            "Notae",
            "Nexus externi",
            "Rifirimenti",
            "Nòtas",
            "Verwysings",
            "Naisc sheachtracha",
            "Liammoù diavaez",
            "Tilvísanir",
            "Lidhje të jashtme",
            "Marejeo",
            "Sanggunian",
            "ಬಾಹ್ಯ ಕೊಂಡಿಗಳು",
            "അവലംബം",
            "Искәрмәләр",
            "Çavkanî",
            "שפּראַך",
        ] {
            assert_eq!(is_boilerplate_section(title), title != "שפּראַך", "{title}");
        }
    }

    #[test]
    fn every_title_is_written_small() {
        for title in KNOWN.0.iter().chain(&KNOWN.1) {
            assert_eq!(*title, title.to_lowercase());
            assert_eq!(*title, title.split_whitespace().collect::<Vec<_>>().join(" "));
            assert!(!title.is_empty());
        }
        assert_eq!(KNOWN.0.intersection(&KNOWN.1).next(), None, "a title is of one of the two kinds");
    }
}
