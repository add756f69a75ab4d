//! What a wiki calls its namespaces.

use std::collections::HashMap;

use crate::dump::SiteInfo;

/// Namespace of pages about files.
const FILE: i32 = 6;
/// Namespace of categories.
const CATEGORY: i32 = 14;
/// Namespace of the files themselves.
const MEDIA: i32 = -2;

/// The names by which a wiki tells links to files, categories and other namespaces from links to articles.
#[derive(Clone, Debug)]
pub struct WikiContext {
    /// Lower-case name of a namespace, underscores as spaces, to its number.
    namespaces: HashMap<String, i32>,
    /// Whether titles begin with a capital whatever the link says (not so in Wiktionary).
    first_letter: bool,
    /// Whether words that templates add are right in English.
    english: bool,
}

/// What the part of a link before the colon says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    /// A picture or another file, or the page about it.
    File,
    /// A category.
    Category,
    /// Another namespace than that of the articles.
    Other,
    /// The same page in another language.
    Language,
    /// Another wiki.
    Project,
}

/// Names every MediaWiki understands, whatever its language.
const CANONICAL: &[(i32, &str)] = &[
    (MEDIA, "media"),
    (-1, "special"),
    (1, "talk"),
    (2, "user"),
    (3, "user talk"),
    (4, "project"),
    (4, "wikipedia"),
    (4, "wp"),
    (5, "project talk"),
    (5, "wikipedia talk"),
    (FILE, "file"),
    (FILE, "image"),
    (7, "file talk"),
    (7, "image talk"),
    (8, "mediawiki"),
    (9, "mediawiki talk"),
    (10, "template"),
    (11, "template talk"),
    (12, "help"),
    (13, "help talk"),
    (CATEGORY, "category"),
    (15, "category talk"),
    (100, "portal"),
    (101, "portal talk"),
    (118, "draft"),
    (828, "module"),
    (829, "module talk"),
];

/// Older names of namespaces that links still use and that a dump's header does not list. They are recognised in every
/// wiki: none of them begins the title of an article elsewhere.
const ALIASES: &[(i32, &str)] = &[
    (FILE, "hình"),
    (FILE, "hình ảnh"),
    (FILE, "tập tin"),
    (FILE, "bild"),
    (FILE, "datei"),
    (FILE, "fichier"),
    (FILE, "archivo"),
    (FILE, "imagen"),
    (FILE, "immagine"),
    (FILE, "ficheiro"),
    (FILE, "imagem"),
    (FILE, "arquivo"),
    (FILE, "afbeelding"),
    (FILE, "bestand"),
    (FILE, "plik"),
    (FILE, "grafika"),
    (FILE, "fil"),
    (FILE, "tiedosto"),
    (FILE, "kuva"),
    (FILE, "soubor"),
    (FILE, "kép"),
    (FILE, "fájl"),
    (FILE, "dosya"),
    (FILE, "resim"),
    (FILE, "файл"),
    (FILE, "изображение"),
    (FILE, "картинка"),
    (FILE, "зображення"),
    (FILE, "चित्र"),
    (FILE, "ファイル"),
    (FILE, "画像"),
    (FILE, "文件"),
    (FILE, "图像"),
    (FILE, "圖像"),
    (FILE, "파일"),
    (FILE, "그림"),
    (FILE, "ملف"),
    (FILE, "صورة"),
    (FILE, "קובץ"),
    (FILE, "תמונה"),
    (FILE, "پرونده"),
    (FILE, "tệp"),
    (CATEGORY, "thể loại"),
    (CATEGORY, "kategorie"),
    (CATEGORY, "catégorie"),
    (CATEGORY, "categoría"),
    (CATEGORY, "categoria"),
    (CATEGORY, "categorie"),
    (CATEGORY, "kategoria"),
    (CATEGORY, "kategori"),
    (CATEGORY, "категория"),
    (CATEGORY, "категорія"),
    (CATEGORY, "वर्ग"),
    (CATEGORY, "श्रेणी"),
    (CATEGORY, "カテゴリ"),
    (CATEGORY, "分类"),
    (CATEGORY, "分類"),
    (CATEGORY, "분류"),
    (CATEGORY, "تصنيف"),
    (CATEGORY, "קטגוריה"),
];

impl Default for WikiContext {
    /// An English Wikipedia.
    fn default() -> Self {
        WikiContext::new(&[], true)
    }
}

impl WikiContext {
    /// A wiki of the given namespaces (number, name), besides those every wiki knows. `first_letter`: titles begin with a
    /// capital letter whatever the link says.
    pub fn new(namespaces: &[(i32, String)], first_letter: bool) -> WikiContext {
        let known = ALIASES.iter().chain(CANONICAL).map(|&(number, name)| (name.to_owned(), number));
        let own = namespaces.iter().filter(|(number, name)| *number != 0 && !name.is_empty());
        let own = own.map(|(number, name)| (name.to_lowercase().replace('_', " "), *number));
        WikiContext { namespaces: known.chain(own).collect(), first_letter, english: true }
    }

    /// The wiki a dump comes from.
    pub fn from_site(site: &SiteInfo) -> WikiContext {
        let context = WikiContext::new(&site.namespaces, site.case != "case-sensitive");
        // Dumps from before 0.4 do not tell the language; most of those that are still around are English.
        let language = site.language.split('-').next().unwrap_or_default();
        WikiContext { english: matches!(language, "" | "en" | "simple"), ..context }
    }

    /// Whether titles begin with a capital letter whatever the link says.
    pub(super) fn first_letter(&self) -> bool {
        self.first_letter
    }

    /// Whether words that templates add, such as the name of a language, are right in English.
    pub(super) fn english(&self) -> bool {
        self.english
    }

    /// What the words before a link's colon are; `None` if they are just the beginning of a title.
    pub(super) fn prefix(&self, name: &str) -> Option<Prefix> {
        let lower = name.trim().to_lowercase();
        let number = if lower.contains('_') {
            self.namespaces.get(lower.replace('_', " ").trim())
        } else {
            self.namespaces.get(lower.as_str())
        };
        match number {
            Some(&(FILE | MEDIA)) => Some(Prefix::File),
            Some(&CATEGORY) => Some(Prefix::Category),
            Some(_) => Some(Prefix::Other),
            None => None,
        }
    }
}
