//! Measures retrieval on a question set in HippoRAG's form: nDCG@10 of questions, and how often one gold passage
//! of a question is found from the other.
//!
//! `cargo run --release -p memtrain-index --example retrieval -- ../shared/data/qa/hotpotqa_train [key=value …]`
//! where the keys are those of the index's configuration, below `embed` with a dot.

#[path = "../tests/questions/mod.rs"]
mod questions;

use std::path::Path;

use memtrain_index::{IndexConfig, Method};
use questions::Questions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let set = arguments.next().ok_or("which question set?")?;
    let mut config = serde_json::to_value(IndexConfig::default())?;
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or("key=value is wanted")?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        config.pointer_mut(&format!("/{}", key.replace('.', "/"))).map(|place| *place = value).ok_or("unknown key")?;
    }
    let config: IndexConfig = serde_json::from_value(config)?;
    let questions = Questions::read(Path::new(&set))?;
    println!("{} questions, {} passages", questions.questions.len(), questions.passages.len());
    println!("method   nDCG@10  partner in 10  partner in 29");
    for method in [Method::Lexical, Method::Dense, Method::Fused] {
        let index = questions.index(&IndexConfig { method, ..config.clone() })?;
        let [ten, twenty_nine] = [10, 29].map(|k| questions.partner_recall(&index, k));
        let ndcg = questions.ndcg(&index);
        println!("{:8} {:7.3} {:14.3} {:14.3}", format!("{method:?}").to_lowercase(), ndcg?, ten?, twenty_nine?);
    }
    Ok(())
}
