//! The corpus of a configuration: built, and compared with what the configuration says.

use std::path::{Path, PathBuf};

use memtrain_corpora::world::WorldConfig;
use memtrain_corpora::{store, world};
use memtrain_pipeline::staleness::{self, Difference};
use memtrain_pipeline::{CorpusSummary, Progress};

use crate::config::Config;
pub use crate::error::{CorpusError, other_configuration};
use crate::error::{Error, Usage, WithHint};
use crate::models;

/// Checks that the corpus has documents, and those of this configuration, before anything is fetched or loaded.
///
/// # Errors
/// [`CorpusError`] if they are not there, or were made with other keys; a plan of the corpus that is damaged.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let corpus = &config.run.corpus;
    if !store::exists(&corpus.join("synthesize").join("manifest.json")) {
        return Err(CorpusError::NotBuilt { corpus: corpus.clone() }.into());
    }
    let differences = differences(config)?;
    match differences.is_empty() {
        true => Ok(()),
        false => Err(CorpusError::OtherConfiguration { corpus: corpus.clone(), differences }.into()),
    }
}

/// The keys in which the corpus differs from the configuration. Says so if it was built from other dumps, which may have been named
/// on the command line.
///
/// # Errors
/// If a plan of the corpus is damaged, or a file cannot be read.
pub fn differences(config: &Config) -> anyhow::Result<Vec<Difference>> {
    let (mut of_corpus, out) = (config.corpus.clone(), &config.run.corpus);
    // Only what is here is compared: nothing is asked of the hub.
    let _built_in = models::place_locally(&mut of_corpus)?;
    let mut differences = staleness::differences(&of_corpus, out)?;
    for difference in &mut differences {
        // As it was typed, not where it lies.
        let typed = match &*difference.key {
            "corpus.tokenizer.source" => &config.corpus.tokenizer.source,
            "corpus.index.embed.model" => &config.corpus.index.embed.model.display().to_string(),
            _ => continue,
        };
        difference.configured = format!("{typed:?}");
    }
    if differences.is_empty() && staleness::has_other_dumps(&of_corpus, out)? {
        tracing::warn!(
            "the corpus `{}` was built from other dumps than `corpus.ingest.dumps` names, and is read as it is: `memtrain corpus build` makes it anew of these",
            out.display()
        );
    }
    Ok(differences)
}

/// Brings every stage up to date, the dump of a configured world first. Models are where the configuration names them
/// ([`models::place`]).
///
/// # Errors
/// If a stage fails or `progress` asks to stop.
pub fn build(config: &Config, progress: &dyn Progress) -> anyhow::Result<CorpusSummary> {
    write_world(config)?;
    Ok(memtrain_pipeline::build(&config.corpus, &config.run.corpus, progress)?)
}

/// Builds the corpus of a configuration: writes the dump of its `[world]`, puts its models in place, and brings every stage up
/// to date. What is there and whole is left alone.
///
/// # Errors
/// If the configuration or a dump is wrong, a model is not to be had, a stage fails, or `progress` asks to stop.
pub fn build_corpus(config: &Config, progress: &dyn Progress) -> Result<CorpusSummary, Error> {
    let mut config = config.clone();
    memtrain_pipeline::check_out(&config.run.corpus).map_err(anyhow::Error::from)?;
    models::place(&mut config)?;
    Ok(build(&config, progress)?)
}

/// Checks that the dump of a configured world is there or can be written. Nothing is written.
///
/// # Errors
/// What is in the way.
pub fn check_dump(config: &Config) -> anyhow::Result<()> {
    match (&config.world, config.corpus.ingest.dumps.as_slice()) {
        (Some(world_config), [dump]) => is_world_there(dump.as_ref(), world_config).map(drop),
        _ => Ok(()),
    }
}

/// The note beside a dump that says which world it holds.
fn note_of(dump: &Path) -> PathBuf {
    let mut note = dump.as_os_str().to_owned();
    note.push(".world.json");
    note.into()
}

/// Whether the dump of a configured world is there. A dump without a note is somebody's own and an error, as is anything
/// else that would have to be written over.
fn is_world_there(dump: &Path, config: &WorldConfig) -> anyhow::Result<bool> {
    if dump.to_string_lossy().contains(['*', '?', '[']) {
        let message = format!("`corpus.ingest.dumps` names `{}`, and [world] writes one file", dump.display());
        return Err(Usage(message)).hint(|| "name a file without `*`, `?` and `[`, or leave [world] out".to_owned());
    }
    let note = note_of(dump);
    if store::exists(dump) {
        if !store::exists(&note) {
            return Err(anyhow::anyhow!("`{}` is there, and is not a dump that a [world] has written", dump.display()))
                .hint(|| "take [world] out of the configuration, or name another file for it".to_owned());
        }
        if store::read_json::<WorldConfig>(&note)? == *config {
            return Ok(true);
        }
    }
    store::check_file(dump, world::is_dump)?;
    store::check_file(&note, |path| store::read_json::<WorldConfig>(path).is_ok())?;
    Ok(false)
}

/// Writes the dump of a configured world, unless there is no world or the dump is there. The note is written first, so that a
/// kill leaves no dump without.
///
/// # Errors
/// What is in the way, or why it cannot be written.
pub fn write_world(config: &Config) -> anyhow::Result<()> {
    let (Some(config), [dump]) = (&config.world, config.corpus.ingest.dumps.as_slice()) else { return Ok(()) };
    let dump = Path::new(dump);
    let note = note_of(dump);
    store::sweep_temporaries_of(dump)?;
    store::sweep_temporaries_of(&note)?;
    if is_world_there(dump, config)? {
        return Ok(());
    }
    store::remove_file(dump)?;
    if let Some(folder) = dump.parent() {
        store::create_dir_all(folder)?;
    }
    store::write_json(&note, config)?;
    let summary = world::write_dump(dump, config)?;
    tracing::info!("the fictional encyclopedia: {summary}");
    Ok(())
}
