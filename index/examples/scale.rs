//! Builds and asks an index of a fictional encyclopedia with long pages, and prints what it takes.
//!
//! `cargo run --release -p memtrain-index --example scale -- [number of pages] [folder]`

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Instant;

use memtrain_corpora::Passage;
use memtrain_corpora::world::{World, WorldConfig};
use memtrain_index::{Index, IndexConfig, build};

/// About as many words as a passage has.
const LINES: usize = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let num_pages = arguments.next().map_or(Ok(2_000), |number| number.parse())?;
    let temporary = tempfile::tempdir()?;
    let dir = arguments.next().map_or_else(|| temporary.path().join("index"), PathBuf::from);
    let world = World::generate(WorldConfig::long_pages(1, num_pages))?;
    let articles = world.pages().filter(|page| page.ns == 0 && page.redirect.is_none());
    let texts = articles.flat_map(|page| {
        let lines: Vec<&str> = page.text.lines().filter(|line| line.ends_with('.')).collect();
        let texts: Vec<String> = lines.chunks(LINES).map(|lines| lines.join("\n")).collect();
        texts.into_iter().map(move |text| (page.id, page.title.clone(), text))
    });
    let passages = (0..).zip(texts).map(|(id, (article_id, title, text))| Passage {
        id,
        article_id,
        url: String::new(),
        title,
        section: String::new(),
        span: 0..text.len(),
        char_start: 0,
        num_words: text.split_whitespace().count() as u32,
        revision_id: 0,
        links: Vec::new(),
        text,
    });
    let start = Instant::now();
    let summary = build(passages.map(Ok::<_, Infallible>), &dir, &IndexConfig::default())?;
    let built = start.elapsed().as_secs_f64();
    let num_passages = summary.num_passages;
    println!("{num_passages} passages indexed in {built:.1} s, {:.0} a second", num_passages as f64 / built);
    let start = Instant::now();
    let index = Index::open(&dir)?;
    println!("opened in {:.2} s", start.elapsed().as_secs_f64());
    let pivots: Vec<u64> = (0..num_passages).step_by((num_passages as usize / 512).max(1)).collect();
    let start = Instant::now();
    index.related_many(&pivots, 29)?;
    let asked = start.elapsed().as_secs_f64();
    println!("{} pivots answered in {asked:.2} s, {:.2} ms each", pivots.len(), asked * 1e3 / pivots.len() as f64);
    Ok(())
}
