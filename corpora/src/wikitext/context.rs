//! Namespaces of a wiki and their names.

use std::collections::HashMap;

use super::language::Language as Writing;
use super::options::CleanOptions;
use crate::dump::SiteInfo;
use crate::languages::{self, Language};

/// Namespace of pages about files.
const FILE: i32 = 6;
/// Namespace of categories.
const CATEGORY: i32 = 14;
/// Namespace of templates.
const TEMPLATE: i32 = 10;
/// Namespace of the files themselves.
const MEDIA: i32 = -2;

/// The names by which a wiki tells links to files, categories and other namespaces from links to articles.
#[derive(Clone, Debug)]
pub struct WikiContext {
    /// Lower-case name of a namespace, underscores as spaces, to its number.
    namespaces: HashMap<String, i32>,
    /// Whether titles begin with a capital whatever the link says (not so in Wiktionary).
    first_letter: bool,
    /// Code of the wiki's language, without its variant.
    code: String,
    language: &'static Language,
    options: CleanOptions,
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
    (TEMPLATE, "template"),
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
        // None of these begins the title of an article elsewhere.
        let listed = languages::names_of_files_and_categories().iter();
        let listed = listed.flat_map(|(number, names)| names.iter().map(move |name| (*number, name.as_str())));
        let known = listed.chain(CANONICAL.iter().copied()).map(|(number, name)| (name.to_owned(), number));
        let own = namespaces.iter().filter(|(number, name)| *number != 0 && !name.is_empty());
        let own = own.map(|(number, name)| (name.to_lowercase().replace('_', " "), *number));
        WikiContext {
            namespaces: known.chain(own).collect(),
            first_letter,
            code: "en".to_owned(),
            language: languages::of("en"),
            options: CleanOptions::default(),
        }
    }

    /// The wiki a dump comes from.
    pub fn from_site(site: &SiteInfo) -> WikiContext {
        let context = WikiContext::new(&site.namespaces, site.case != "case-sensitive");
        // Dumps from before 0.4 do not tell the language; most of those that are still around are English.
        context.with_language(if site.language.is_empty() { "en" } else { &site.language })
    }

    /// The same wiki in a language, by its code (`de`, `zh-hans`): templates have the names and compose the words that
    /// they do there.
    #[must_use]
    pub fn with_language(self, code: &str) -> WikiContext {
        self.with_facts(code, languages::of(code))
    }

    /// The same wiki in a language of which everything is told.
    ///
    /// ```
    /// use memtrain_corpora::languages::Language;
    /// use memtrain_corpora::wikitext::{WikiContext, clean};
    ///
    /// let own = Box::leak(Box::new(Language::parse("xx", "[wiki]\ntrail = \"a-zé\"\n")?));
    /// let context = WikiContext::default().with_facts("xx", own);
    /// assert_eq!(clean("[[Cit]]é", &context).links[0].span, 0..5);
    /// # Ok::<(), memtrain_corpora::languages::LanguageError>(())
    /// ```
    #[must_use]
    pub fn with_facts(self, code: &str, language: &'static Language) -> WikiContext {
        let code = code.split(['-', '_']).next().unwrap_or_default().to_lowercase();
        let code = if code == "simple" { "en".to_owned() } else { code };
        let mut namespaces = self.namespaces;
        for (number, names) in &language.wiki.namespaces {
            for name in names {
                namespaces.entry(name.clone()).or_insert(*number);
            }
        }
        WikiContext { language, code, namespaces, ..self }
    }

    /// The same wiki, with more or less kept besides the prose.
    #[must_use]
    pub fn with_options(self, options: CleanOptions) -> WikiContext {
        WikiContext { options, ..self }
    }

    pub(super) fn options(&self) -> CleanOptions {
        self.options
    }

    /// How numbers and dates are written.
    pub(super) fn language(&self) -> &'static Writing {
        &self.language.writing
    }

    /// What is known of the wiki's language.
    pub(super) fn facts(&self) -> &'static Language {
        self.language
    }

    pub(super) fn language_code(&self) -> &str {
        &self.code
    }

    /// Whether this is the name of the namespace of templates.
    pub(super) fn is_template(&self, name: &str) -> bool {
        self.namespaces.get(name.trim()) == Some(&TEMPLATE)
    }

    /// Whether titles begin with a capital letter whatever the link says.
    pub(super) fn first_letter(&self) -> bool {
        self.first_letter
    }

    /// Whether words that templates add, such as the name of a language, are right in English.
    pub(super) fn english(&self) -> bool {
        self.code == "en"
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
            Some(&FILE) => Some(Prefix::File),
            Some(&CATEGORY) => Some(Prefix::Category),
            Some(_) => Some(Prefix::Other),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_categories_are_known_in_every_wiki() {
        let context = WikiContext::default();
        for name in ["File", "Datei", "Fichier", "Tập_tin", "Файл", "画像", "चित्र", "ملف", "파일", "Bestand", "Plik"]
        {
            assert_eq!(context.prefix(name), Some(Prefix::File), "{name}");
        }
        for name in ["Category", "Kategorie", "Thể loại", "वर्ग", "Категория", "分類", "تصنيف", "Catégorie"]
        {
            assert_eq!(context.prefix(name), Some(Prefix::Category), "{name}");
        }
        assert_eq!(context.prefix("Benutzer"), None);
        assert_eq!(WikiContext::default().with_language("de").prefix("Benutzerin"), Some(Prefix::Other));
    }
}
