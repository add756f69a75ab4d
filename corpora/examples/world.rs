//! Prints pages of a fictional encyclopedia and counts its words and names.
//!
//! `cargo run --release -p memtrain-corpora --example world -- [number of pages] [seed] [pages to print] [long]`

use std::collections::HashSet;

use memtrain_corpora::world::{World, WorldConfig, WorldError};

fn main() -> Result<(), WorldError> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize, default: u64| arguments.get(at).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (num_pages, seed, num_shown) = (number(1, 150), number(2, 1), number(3, 3));
    let config = match arguments.get(4) {
        Some(_) => WorldConfig::long_pages(seed, num_pages),
        None => WorldConfig { seed, num_pages, ..WorldConfig::default() },
    };
    let world = World::generate(config)?;
    let (mut names, mut words, mut bytes) = (HashSet::new(), HashSet::new(), 0);
    for page in world.pages().filter(|page| page.ns == 0 && page.redirect.is_none()) {
        if (names.len() as u64) < num_shown {
            println!("---- {}\n{}", page.title, page.text);
        }
        bytes += page.text.len();
        words.extend(page.text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned));
        names.insert(page.title);
    }
    let ordinary = words.iter().filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).count();
    println!("---- {} names, {ordinary} words in lower case (markup included), {bytes} bytes", names.len());
    Ok(())
}
