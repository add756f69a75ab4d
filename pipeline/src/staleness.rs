//! Staleness of a corpus: the configuration that it was built with, compared with another one.
//!
//! The plan of each stage keeps the part of the configuration that concerns it. A corpus whose plans say otherwise is stale:
//! `corpus build` would make other documents. Keys that only one of the two has are passed over, so that a corpus of an earlier
//! version of the program stays good.

use std::collections::BTreeSet;
use std::path::Path;

use memtrain_corpora::{Split, store};
use serde_json::{Map, Value};

use crate::config::CorpusConfig;
use crate::error::{PipelineError, Result};
use crate::stage::{Input, Plan, Stage, StageFolder, StageName, Stored};
use crate::tokenizer::TokenizerStage;

/// The one section whose keys are the user's own.
const OWN_KEYS: &str = "corpus.entities.bert.labels";
const TOKENIZER_SOURCE: &str = "corpus.tokenizer.source";

/// A key in which a corpus and a configuration differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key with all its sections, such as `corpus.synthesize.num_train`.
    pub key: String,
    /// Its value when the corpus was built, as it is typed; nothing where only the contents of files are known.
    pub built: Option<String>,
    /// Its value in the configuration.
    pub configured: String,
}

/// The keys in which the finished or planned stages of a corpus differ from a configuration. Models and tokenizers that it names
/// by a path are compared by their files, where these are there. Dumps are not looked at: see [`has_other_dumps`].
///
/// # Errors
/// [`PipelineError::Damaged`] for a plan that cannot be understood; a file that cannot be read.
pub fn differences(config: &CorpusConfig, out_dir: &Path) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    for name in StageName::ALL {
        let Some(plan) = plan(out_dir, name)? else { continue };
        let configured = crate::stage_of(name, config, out_dir).configuration();
        match name {
            StageName::Tokenizer => tokenizer(&plan, &configured, config, out_dir, &mut found)?,
            StageName::Synthesize => compare("corpus", &plan.configuration, &configured, &mut found),
            stage => compare(&format!("corpus.{stage}"), &plan.configuration, &configured, &mut found),
        }
    }
    Ok(found)
}

/// Whether a corpus was built from dumps of other sizes than the files that a configuration names. Where one is not there, or a folder
/// or a pattern, which may take long to list, it is not told.
///
/// # Errors
/// As [`differences`].
pub fn has_other_dumps(config: &CorpusConfig, out_dir: &Path) -> Result<bool> {
    let Some(plan) = plan(out_dir, StageName::Ingest)? else { return Ok(false) };
    let mut sizes = Vec::with_capacity(config.ingest.dumps.len());
    for dump in config.ingest.dumps.iter().map(Path::new) {
        match store::len(dump) {
            Ok(bytes) if !store::is_dir(dump) => sizes.push(bytes),
            _ => return Ok(false),
        }
    }
    Ok(!plan.inputs.iter().map(|input| input.bytes).eq(sizes))
}

/// Training and held-out documents of a corpus; nothing where it has no finished ones.
///
/// # Errors
/// [`PipelineError::Damaged`] for a manifest that cannot be understood; a file that cannot be read.
pub fn num_documents(out_dir: &Path) -> Result<Option<[u64; 2]>> {
    let stage = StageName::Synthesize;
    match StageFolder::new(out_dir, stage).manifest()? {
        Stored::Absent => Ok(None),
        Stored::Damaged(source) => Err(PipelineError::Damaged { stage, source }),
        Stored::Whole(manifest) => {
            let rows = |split: Split| manifest.rows.get(split.as_str()).copied().unwrap_or(0);
            Ok(Some([rows(Split::Train), rows(Split::Heldout)]))
        }
    }
}

fn plan(out_dir: &Path, stage: StageName) -> Result<Option<Plan>> {
    match StageFolder::new(out_dir, stage).stored_plan()? {
        Stored::Absent => Ok(None),
        Stored::Whole(plan) => Ok(Some(plan)),
        Stored::Damaged(source) => Err(PipelineError::Damaged { stage, source }),
    }
}

/// A tokenizer is trained by its keys, or is files, of which the plan knows the contents.
fn tokenizer(
    plan: &Plan,
    configured: &Value,
    config: &CorpusConfig,
    out_dir: &Path,
    found: &mut Vec<Difference>,
) -> Result<()> {
    let is_trained = |configuration: &Value| configuration.get("source").is_some_and(|source| source == "train");
    let source = &config.tokenizer.source;
    let differs = match (is_trained(&plan.configuration), is_trained(configured)) {
        (true, true) => {
            compare("corpus.tokenizer", &plan.configuration, configured, found);
            false
        }
        (false, false) if !store::exists(Path::new(source)) => false,
        (false, false) => {
            let known =
                |inputs: &[Input]| inputs.iter().map(|input| (input.bytes, input.hash.clone())).collect::<Vec<_>>();
            known(&TokenizerStage { config, out: out_dir }.plan()?.inputs) != known(&plan.inputs)
        }
        _ => true,
    };
    if differs {
        let built = is_trained(&plan.configuration).then(|| typed(&"train".into()));
        found.push(Difference { key: TOKENIZER_SOURCE.to_owned(), built, configured: typed(&source.as_str().into()) });
    }
    Ok(())
}

fn compare(key: &str, built: &Value, configured: &Value, found: &mut Vec<Difference>) {
    match (built, configured) {
        (Value::Object(built), Value::Object(configured)) if key != OWN_KEYS => {
            let names: BTreeSet<&String> = built.keys().chain(configured.keys()).collect();
            for name in names {
                let of = |values: &Map<String, Value>| values.get(name).cloned().or_else(|| left_out(key, name));
                if let (Some(built), Some(configured)) = (of(built), of(configured)) {
                    // Plans keep the first name of this key.
                    let name = if name == "leftovers" { "short_passages" } else { name };
                    compare(&format!("{key}.{name}"), &built, &configured, found);
                }
            }
        }
        // Fractions are of 32 bits; their digits in a plan may be read as a neighbour's.
        (Value::Number(built), Value::Number(configured))
            if built.as_f64().map(|built| built as f32) == configured.as_f64().map(|configured| configured as f32) => {}
        _ if built != configured => {
            let (built, configured) = (Some(typed(built)), typed(configured));
            found.push(Difference { key: key.to_owned(), built, configured });
        }
        _ => {}
    }
}

/// The default of a key that plans leave out at it.
fn left_out(section: &str, name: &str) -> Option<Value> {
    match (section, name) {
        ("corpus.ingest", "passage_share") => Some(1.0.into()),
        ("corpus.synthesize", "entities" | "passages") => Some("all".into()),
        ("corpus.synthesize.eligible", "max_words" | "max_in_passage") => Some(0.into()),
        ("corpus.synthesize.eligible", "small_letters") => Some(false.into()),
        _ => None,
    }
}

/// A value as it is typed in TOML. Fractions of 32 bits get the digits that they were typed with.
fn typed(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(number) if f64::from(number as f32) == number => format!("{:?}", number as f32),
            _ => number.to_string(),
        },
        Value::Array(list) => format!("[{}]", list.iter().map(typed).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, value)| format!("{} = {}", Value::from(name.as_str()), typed(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
    }
}
