//! Measures retrieval on question sets in HippoRAG's form, BM25, dense and fused side by side: what questions find, and
//! how often one gold passage of a question is found from another (*partner*), which is what documents are made by.
//!
//! `cargo bench -p memtrain-index --bench retrieval -- [SET …] [key=value …]` (`just bench retrieval`): sets default to HotpotQA and MuSiQue in `$MEMTRAIN_DATA/qa`; keys are
//! those of `[corpus.index]`. With `$MEMTRAIN_MINILM`, the directory that `scripts/minilm.py` makes, the neural
//! embeddings are measured too.

#[path = "../tests/questions/mod.rs"]
mod questions;

use std::path::PathBuf;
use std::time::Instant;

use memtrain_corpora::store;
use memtrain_index::{EmbedBackend, IndexConfig, Method};
use questions::Questions;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut sets: Vec<PathBuf> = Vec::new();
    let mut config = serde_json::to_value(IndexConfig::default())?;
    for argument in std::env::args().skip(1).filter(|argument| argument != "--bench") {
        match argument.split_once('=') {
            Some((key, value)) => {
                let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                let place = config.pointer_mut(&format!("/{}", key.replace('.', "/")));
                *place.ok_or_else(|| format!("there is no key `{key}`"))? = value;
            }
            None => sets.push(argument.into()),
        }
    }
    let config: IndexConfig = serde_json::from_value(config)?;
    if sets.is_empty() {
        let Some(folder) = questions::folder() else { return Ok(()) };
        sets = ["hotpotqa_train", "musique_train"].map(|set| folder.join(set)).to_vec();
    }
    let mut backends = vec![(config.embed.backend, config.embed.model.clone())];
    match std::env::var_os("MEMTRAIN_MINILM").map(PathBuf::from) {
        Some(model) if store::is_dir(&model) => backends.push((EmbedBackend::Candle, model)),
        _ => println!("no neural embeddings: MEMTRAIN_MINILM names no directory (`scripts/minilm.py` makes one)\n"),
    }
    for set in sets {
        if !store::exists(&PathBuf::from(format!("{}.json", set.display()))) {
            println!("skipped: no {}.json", set.display());
            continue;
        }
        measure(&set, &config, &backends)?;
    }
    Ok(())
}

fn measure(set: &std::path::Path, config: &IndexConfig, backends: &[(EmbedBackend, PathBuf)]) -> Result<(), Failure> {
    let questions = Questions::read(set)?;
    let name = set.file_name().unwrap_or_default().to_string_lossy();
    println!("{name}: {} questions, {} passages", questions.questions.len(), questions.passages.len());
    println!("                      nDCG@10   R@5  R@10  R@29 R@100  Full@10  MRR@10  partner@10  partner@29  seconds");
    for (number, (backend, model)) in backends.iter().enumerate() {
        for method in [Method::Lexical, Method::Dense, Method::Fused] {
            if number > 0 && method == Method::Lexical {
                continue;
            }
            let mut config = IndexConfig { method, ..config.clone() };
            config.embed.backend = *backend;
            config.embed.model.clone_from(model);
            let start = Instant::now();
            let (index, _dir) = questions.index(&config)?;
            let report = questions.report(&index)?;
            let recall = |k: usize| report.recall.iter().find(|at| at.k == k).map_or(f64::NAN, |at| at.value);
            let full = report.full.iter().find(|at| at.k == 10).map_or(f64::NAN, |at| at.value);
            let embedder = if method == Method::Lexical { String::new() } else { format!("{backend:?}") };
            println!(
                "  {:8} {:9}  {:7.3} {:5.3} {:5.3} {:5.3} {:5.3} {full:8.3} {:7.3} {:11.3} {:11.3} {:8.1}",
                format!("{method:?}").to_lowercase(),
                embedder.to_lowercase(),
                report.ndcg_at_10,
                recall(5),
                recall(10),
                recall(29),
                recall(100),
                report.mrr_at_10,
                questions.partner_recall(&index, 10)?,
                questions.partner_recall(&index, 29)?,
                start.elapsed().as_secs_f64(),
            );
        }
    }
    println!();
    Ok(())
}
