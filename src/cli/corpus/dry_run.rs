//! Dry run of building a corpus, as `memtrain corpus build --dry-run` prints it. Nothing is read but names and sizes.

use std::path::Path;

use anyhow::Context;
use memtrain_corpora::store;

use super::super::models;
use super::super::print::print_line;
use super::super::time_plan::amount;
use crate::config::Config;

/// Bytes of a stored document a token, of the measurements in `docs/scale.md`: 13 MB for 128 documents of 32,000 tokens.
const BYTES_OF_A_TOKEN: f64 = 3.2;
/// Stages whose work grows with passages, by CPU-seconds and bytes a passage (`docs/scale.md`, the row of 202,457 passages).
const OF_PASSAGES: [(&str, f64, f64); 2] = [("entities", 131e-6, 320.0), ("index", 201e-6, 3_200.0)];

/// Prints the resolved configuration and what follows from it.
///
/// # Errors
/// If the configuration contradicts itself, a dump is not there, or a stage's folder cannot be read.
pub(super) fn print(config: &Config) -> anyhow::Result<()> {
    config.corpus.validate()?;
    print_line!("{}", toml::to_string(config).context("the configuration cannot be written")?)?;
    print_line!("# What follows from it")?;
    if config.world.is_some() {
        super::check_dump(config)?;
        print_line!("# dump                 written first: {} fictional articles", pages(config))?;
    }
    for dump in &config.corpus.ingest.dumps {
        print_line!("# reads                `{dump}`")?;
    }
    if config.world.is_none() {
        let files = memtrain_pipeline::dumps(&config.corpus)?;
        let bytes: u64 = files.iter().map(|file| store::len(file)).sum::<Result<u64, _>>()?;
        print_line!("# files                {}, {:.1} MiB as they are packed", files.len(), mib(bytes as f64))?;
    }
    let synthesize = &config.corpus.synthesize;
    let documents = synthesize.num_train.saturating_add(synthesize.num_heldout);
    let tokens = documents as f64 * synthesize.max_tokens as f64;
    let (count, scale) = amount(tokens);
    print_line!("# documents            {} training, {} held out", synthesize.num_train, synthesize.num_heldout)?;
    print_line!("# passages a document  {} + 1 + {}", synthesize.num_related, synthesize.num_random)?;
    print_line!("# tokens               at most {count} {scale}in all documents")?;
    print_line!("# disk for documents   about {:.0} MiB at most", mib(tokens * BYTES_OF_A_TOKEN))?;
    print_line!("# corpus               {}", config.run.corpus.display())?;
    print_line!()?;
    let corpus = models::local(config);
    let tokenizer = &corpus.tokenizer.source;
    if tokenizer != "train" && !store::exists(Path::new(tokenizer)) {
        print_line!("# How far each stage is cannot be told before the tokenizer `{tokenizer}` is here")?;
        return Ok(());
    }
    print_line!("# Stages: how far each is; what is done and fits the configuration is left alone")?;
    let stages = memtrain_pipeline::status(&corpus, &config.run.corpus)?;
    for stage in &stages {
        let shards = match stage.shards {
            0 => "not planned yet".to_owned(),
            shards => format!("{} of {shards} shards", stage.shards_done),
        };
        print_line!("# {:<20} {:<9}  {shards}", stage.stage.as_str(), stage.state)?;
    }
    let passages = stages.iter().find_map(|stage| stage.rows.get("passages").copied()).unwrap_or(0);
    if passages > 0 {
        print_line!()?;
        print_line!("# By {passages} passages; CPU-seconds of two cores of a server, docs/scale.md")?;
        for (stage, seconds, bytes) in OF_PASSAGES {
            let (seconds, bytes) = (seconds * passages as f64, mib(bytes * passages as f64));
            print_line!("# {stage:<20} {seconds:>9.1} CPU-seconds, {bytes:.0} MiB")?;
        }
    }
    Ok(())
}

fn pages(config: &Config) -> u64 {
    config.world.as_ref().map_or(0, |world| world.num_pages)
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
