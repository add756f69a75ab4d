//! Any text as Markdown: the page that comes out is sound, and always the same.

#![no_main]

mod page;

use libfuzzer_sys::fuzz_target;
use memtrain_corpora::extracted::{Markup, Text, clean};
use memtrain_corpora::wikitext::{CleanOptions, Keep, Math, WikiContext};

use page::check;

thread_local! {
    static CONTEXTS: [WikiContext; 2] = [
        WikiContext::default(),
        WikiContext::default().with_options(CleanOptions {
            tables: Keep::Keep,
            infoboxes: Keep::Keep,
            math: Math::Tex,
            pronunciations: Keep::Keep,
        }),
    ];
}

fuzz_target!(|bytes: &[u8]| {
    let text = Text {
        title: "Mira".to_owned(),
        url: "https://en.example.org/wiki/Mira".to_owned(),
        text: String::from_utf8_lossy(bytes).into_owned(),
        markup: Markup::Markdown,
        ..Text::default()
    };
    CONTEXTS.with(|contexts| {
        for context in contexts {
            let page = clean(&text, context);
            check(&page);
            assert_eq!(page, clean(&text, context));
        }
    });
});
