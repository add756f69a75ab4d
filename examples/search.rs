//! Passages of a corpus for a query, by words and embeddings, and the passages related to the best one.
//!
//!     cargo run --release --example search -- data/example "a king and his army"

use std::path::PathBuf;

use memtrain::index::Hit;
use memtrain::pipeline;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let corpus = PathBuf::from(arguments.next().unwrap_or_else(|| "data/example".to_owned()));
    let query = arguments.next().unwrap_or_else(|| "a king and his army".to_owned());

    let passages = pipeline::passages(&corpus)?;
    let index = pipeline::index::open(&corpus)?;
    let print = |hits: &[Hit]| -> anyhow::Result<()> {
        for hit in hits {
            let passage = passages.get(hit.passage_id)?;
            println!("{:6.3}  {:>6}  {}: {}", hit.score, hit.passage_id, passage.title, passage.text);
        }
        Ok(())
    };

    println!("`{query}` among {} passages", passages.len());
    let hits = index.search(&query, 3)?;
    print(&hits)?;
    if let Some(best) = hits.first() {
        // The passage itself and its near duplicates are left out.
        println!("\nrelated to passage {}", best.passage_id);
        print(&index.related(best.passage_id, 3)?.hits)?;
    }
    Ok(())
}
