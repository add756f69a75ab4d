//! Any text as wikitext: the page that comes out is sound, and always the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memtrain_corpora::wikitext::{
    CleanOptions, CleanPage, Keep, Math, WikiContext, clean, clean_titled, is_boilerplate_section, redirect_target,
};

const LANGUAGES: &[&str] = &["en", "de", "fr", "ru", "zh", "mr", "ja", "ar"];

thread_local! {
    static PLAIN: WikiContext = WikiContext::default();
    static KEEPING: Vec<WikiContext> = LANGUAGES
        .iter()
        .map(|language| {
            let options = CleanOptions { tables: Keep::Keep, infoboxes: Keep::Keep, math: Math::Tex, pronunciations: Keep::Keep };
            WikiContext::default().with_language(language).with_options(options)
        })
        .collect();
}

fn check(page: &CleanPage) {
    let text = &page.text;
    assert_eq!(text.trim(), text);
    for wrong in ["\n\n\n", "  ", " \n", "\n ", "\r", "\t", "\u{A0}"] {
        assert!(!text.contains(wrong), "{wrong:?} in {text:?}");
    }
    assert_eq!((page.sections[0].title.as_str(), page.sections[0].level), ("", 1));
    let mut end = 0;
    for section in &page.sections {
        assert!(section.span.start >= end && section.span.end >= section.span.start);
        assert!(text[end..section.span.start].trim().is_empty(), "text outside of all sections");
        assert!((1..=6).contains(&section.level));
        let _ = is_boilerplate_section(&section.title);
        end = section.span.end;
    }
    assert_eq!(end, text.len());
    let mut end = 0;
    for link in &page.links {
        assert!(link.span.start >= end && link.span.end > link.span.start);
        let anchor = &text[link.span.clone()];
        assert_eq!(anchor.trim(), anchor);
        assert!(!link.target.is_empty());
        end = link.span.end;
    }
}

fuzz_target!(|bytes: &[u8]| {
    let wikitext = String::from_utf8_lossy(bytes);
    let _ = redirect_target(&wikitext);
    PLAIN.with(|context| {
        let page = clean(&wikitext, context);
        check(&page);
        assert_eq!(page, clean(&wikitext, context));
    });
    KEEPING.with(|contexts| check(&clean_titled(&wikitext, "A page", &contexts[bytes.len() % contexts.len()])));
});
