//! Invariants of every cleaned page.

use memtrain_corpora::wikitext::{CleanPage, is_boilerplate_section};

pub fn check(page: &CleanPage) {
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
