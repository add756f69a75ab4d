//! Kinds of real articles by their boxes of facts, beside the other signs.

#[path = "../../tests/real_data/mod.rs"]
mod real_data;

use memtrain_corpora::wikitext::{WikiContext, clean_titled};
use memtrain_corpora::{Article, EntityLabel, dump};
use memtrain_pipeline::config::EntitiesConfig;
use memtrain_pipeline::entities::GazetteerBuilder;

/// The articles of a dump, as far as it goes.
fn articles(path: &std::path::Path) -> (Vec<Article>, String) {
    let reader = dump::open(path).unwrap();
    let site = reader.site_info().clone();
    let context = WikiContext::from_site(&site);
    let pages = reader.map_while(Result::ok).filter(|page| page.ns == 0 && page.redirect.is_none());
    let of_page = |page: dump::Page| {
        let clean = clean_titled(&page.text, &page.title, &context);
        Article {
            id: page.id,
            url: site.page_url(&page.title),
            title: page.title,
            text: clean.text,
            revision_id: page.revision_id,
            timestamp: page.timestamp,
            sections: clean.sections,
            links: Vec::new(),
            categories: clean.categories,
            infoboxes: clean.infoboxes,
        }
    };
    (pages.map(of_page).collect(), site.language)
}

fn kinds(articles: &[Article], language: &str) -> Vec<EntityLabel> {
    let config = EntitiesConfig { language: language.to_owned(), ..EntitiesConfig::default() };
    let mut builder = GazetteerBuilder::new(&config);
    articles.iter().for_each(|article| builder.article(article));
    let gazetteer = builder.build();
    articles.iter().map(|article| gazetteer.label(&article.title)).collect()
}

#[test]
fn boxes_tell_kinds_that_other_signs_do_not_and_rarely_contradict_them() {
    let Some(data) = real_data::real_data("dumps") else { return };
    for (file, at_least) in [
        ("enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2", 0),
        ("viwiki-truncated-100k.xml.xz", 5),
        ("mrwiki-truncated-100k.xml.xz", 20),
    ] {
        let (with, language) = articles(&data.join(file));
        let without: Vec<Article> =
            with.iter().map(|article| Article { infoboxes: Vec::new(), ..article.clone() }).collect();
        let boxes = with.iter().filter(|article| !article.infoboxes.is_empty()).count();
        let (mut new, mut agree, mut differ, mut dropped) = (0, 0, 0, 0);
        for ((article, with), without) in with.iter().zip(kinds(&with, &language)).zip(kinds(&without, &language)) {
            match (with, without) {
                _ if article.infoboxes.is_empty() => assert_eq!(with, without, "{}", article.title),
                (EntityLabel::Unknown, EntityLabel::Unknown) => {}
                (_, EntityLabel::Unknown) => new += 1,
                (EntityLabel::Unknown, _) => dropped += 1,
                (with, without) if with == without => agree += 1,
                _ => differ += 1,
            }
            if with != without || with == EntityLabel::Unknown && !article.infoboxes.is_empty() {
                println!("{}: {without:?} -> {with:?} by {:?}", article.title, article.infoboxes);
            }
        }
        println!(
            "{language}: {} articles, {boxes} with boxes: {new} got a kind, {agree} kept theirs, {differ} have another, \
             {dropped} have none any more",
            with.len()
        );
        assert!(new >= at_least, "{language}: {new}");
        assert!(agree >= 4 * differ, "{language}: {agree} agree, {differ} differ");
    }
}
