//! Any text as wikitext: the page that comes out is sound, and always the same.

#![no_main]

mod page;

use libfuzzer_sys::fuzz_target;
use memtrain_corpora::wikitext::{CleanOptions, Keep, Math, WikiContext, clean, clean_titled, redirect_target};

use page::check;

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
