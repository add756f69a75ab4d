//! Boxes of facts: which templates are some, and what kind they say the page's thing is of.

use std::ops::Range;

use super::clean::Cleaner;

/// More boxes than these say nothing more of a page.
const MAX_BOXES: usize = 8;
/// A template of an unknown name is a box of facts with at least so many named arguments, each in lines of their own.
const MIN_FACTS: usize = 4;

impl Cleaner<'_> {
    /// Whether a template that shows nothing is a box of facts: by its name, or because it stands before the prose and lists
    /// facts line by line. `rest` is what stands behind its name.
    pub(super) fn is_box(&self, name: &str, rest: Range<usize>) -> bool {
        is_infobox(name) || self.at_top() && !is_note(name) && self.lists_facts(rest)
    }

    /// Notes the box of facts whose name is written in a stretch of the page; boxes inside others are not the page's.
    pub(super) fn note_box(&mut self, written: Range<usize>) {
        if self.infoboxes.len() >= MAX_BOXES || !self.on_page() {
            return;
        }
        let written = self.text[written].trim();
        let title = self.title(written.rsplit(':').next().unwrap_or(written));
        if !title.is_empty() && !self.infoboxes.contains(&title) {
            self.infoboxes.push(title);
        }
    }

    fn lists_facts(&self, rest: Range<usize>) -> bool {
        let lines = memchr::memchr_iter(b'\n', &self.bytes[rest.clone()]).take(MIN_FACTS).count();
        if lines < MIN_FACTS {
            return false;
        }
        let arguments = self.arguments(rest);
        let is_named = |name: &&str| !name.is_empty() && name.parse::<u32>().is_err();
        arguments.iter().filter_map(|argument| argument.name).filter(is_named).take(MIN_FACTS).count() == MIN_FACTS
    }
}

/// Whether a template is about the page or its sources and not about its thing, however many arguments it has.
fn is_note(name: &str) -> bool {
    const PARTS: &[&str] =
        &["cite", "citation", "chú thích", "image", "quote", "navbox", "sidebar", "issues", "redirect"];
    PARTS.iter().any(|part| name.contains(part))
}

/// Whether a template of this name (in lower case) is a box of facts.
pub(super) fn is_infobox(name: &str) -> bool {
    const BEGINNINGS: &[&str] = &[
        "infobox",
        "taxobox",
        "automatic taxobox",
        "virusbox",
        "speciesbox",
        "subspeciesbox",
        "hybridbox",
        "chembox",
        "drugbox",
        "geobox",
        "starbox",
        "planetbox",
        "elementbox",
        "ficha de",
        "info/",
        "infocaja",
        "infotaula",
        "infocaseta",
        "infokutija",
        "infopolje",
        "infoboks",
        "infoboxen",
        "infokast",
        "faktamall",
        "faktaruta",
        "personendaten",
        "taksobox",
        "tassobox",
        "kotak info",
        "карточка",
        "инфокутия",
        "инфокутија",
        "инфобокс",
        "картка",
        "таксобокс",
        "thông tin",
        "bảng phân loại",
        "hộp thông tin",
        "माहितीचौकट",
        "ज्ञानसन्दूक",
        "ज्ञानसंदूक",
        "तथ्यछक",
        "তথ্যছক",
        "தகவற்சட்டம்",
        "సమాచారపెట్టె",
        "基礎情報",
        "生物分類表",
        "صندوق معلومات",
        "معلومات",
        "جعبه",
        "خانہ معلومات",
        "กล่องข้อมูล",
        "ตารางจำแนกพันธุ์",
        "κουτί πληροφοριών",
        "πληροφορίες",
        "տեղեկաքարտ",
        "ინფოდაფა",
    ];
    const ENDINGS: &[&str] = &[
        "infobox",
        "bilgi kutusu",
        "infookvir",
        " 정보",
        "инфо",
        "infodoboz",
        "infokast",
        "infokaste",
        "infolentelė",
        "taxobox",
        "taksobox",
    ];
    const NAMES: &[&str] = &["bio", "생물 분류", "정보상자"];
    BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
        || NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::super::{WikiContext, clean};

    fn boxes(wikitext: &str) -> Vec<String> {
        clean(wikitext, &WikiContext::default()).infoboxes
    }

    #[test]
    fn boxes_are_told_by_their_names_in_many_wikis() {
        for name in [
            "Infobox settlement",
            "Infobox Biographie2",
            "Taxobox",
            "Ficha de persona",
            "Info/Biografia",
            "Карточка футболиста",
            "Thông tin đơn vị hành chính Việt Nam",
            "माहितीचौकट अभिनेता",
            "Město infobox",
            "Film bilgi kutusu",
            "인물 정보",
            "基礎情報 会社",
            "صندوق معلومات شخص",
            "กล่องข้อมูล บุคคล",
        ] {
            assert_eq!(boxes(&format!("{{{{{name}\n| a = b\n}}}}\n'''Velm''' is.")), [name], "{name}");
        }
        assert!(boxes("{{Use dmy dates}}{{Short description|A box}}'''Velm''' is.").is_empty());
    }

    #[test]
    fn names_are_written_as_titles() {
        assert_eq!(boxes("{{template:infobox_river <!-- here --> | a = b}}"), ["Infobox river"]);
        assert_eq!(boxes("{{Infobox a}}{{Infobox b}}{{infobox a}}"), ["Infobox a", "Infobox b"]);
    }

    #[test]
    fn a_list_of_facts_before_the_prose_is_a_box() {
        let facts = "{{Фильм\n| РусНаз = Ост\n| Жанр = драма\n| Режиссёр = [[Ана]]\n| Год = 1984\n}}\n";
        assert_eq!(boxes(&format!("{facts}'''Ост''' — фильм.")), ["Фильм"]);
        assert!(boxes(&format!("'''Ост''' — фильм.\n{facts}")).is_empty(), "behind the prose it is anything");
        assert!(boxes("{{About|a|b|c\n|d\n|e\n|f\n}}").is_empty());
        assert!(boxes("{{multiple image\n|a=1\n|b=2\n|c=3\n|d=4\n}}").is_empty());
    }

    #[test]
    fn boxes_in_boxes_are_not_the_pages() {
        assert_eq!(boxes("{{Infobox person\n| module = {{Infobox officeholder | a = b}}\n}}"), ["Infobox person"]);
    }
}
