//! A corpus from a dump: all stages by the library, then the first held-out document.
//!
//!     cargo run --release --example corpus -- corpora/data/enwiki-sample.xml.bz2 data/example
//!
//! Started again it does what is missing, which is nothing.

use std::path::PathBuf;

use memtrain::corpora::Split;
use memtrain::pipeline::{self, CorpusConfig, Progress, StageSummary};

/// Prints a line for each stage that is committed.
struct Lines;

impl Progress for Lines {
    fn stage_finished(&self, summary: &StageSummary) {
        println!(
            "{}: {} of {} shards written, rows {:?}",
            summary.stage, summary.written, summary.shards, summary.rows
        );
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dump = arguments.next().unwrap_or_else(|| "corpora/data/enwiki-sample.xml.bz2".to_owned());
    let out = PathBuf::from(arguments.next().unwrap_or_else(|| "data/example".to_owned()));

    // Passages of 14 to 48 words, and documents of some hundred tokens, counted by a tokenizer that is trained on them.
    let mut config = CorpusConfig::default();
    config.ingest.dumps = vec![dump];
    (config.ingest.min_words, config.ingest.max_words) = (14, 48);
    (config.tokenizer.source, config.tokenizer.vocab_size) = ("train".to_owned(), 4096);
    let documents = &mut config.synthesize;
    (documents.num_train, documents.num_heldout, documents.heldout_fraction) = (40, 10, 0.2);
    (documents.num_related, documents.num_random) = (2, 1);
    (documents.min_tokens, documents.max_tokens) = (100, 800);
    pipeline::build(&config, &out, &Lines)?;

    let document = pipeline::documents(&out, Split::Heldout)?.next().expect("ten documents were asked for")?;
    println!("\n{}: {} passages, {} tokens", document.id, document.passages.len(), document.num_tokens);
    println!("{}\n\nhidden: {}", document.text, document.answer);
    Ok(())
}
