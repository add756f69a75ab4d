//! The entity stage with a token-classification model: the tiny random ones of `encoder/tests/parity`.

use std::path::{Path, PathBuf};

use memtrain_corpora::world::{WorldConfig, write_dump};
use memtrain_corpora::{EntityLabel, EntitySource, Link, store};
use memtrain_pipeline::config::EntitiesConfig;
use memtrain_pipeline::entities::BackendName;
use memtrain_pipeline::entities::{open_backend, plain_passage, tag_text};
use memtrain_pipeline::{
    CorpusConfig, PipelineError, StageName, StageState, finish, mentions, passages, plan, run_shard, status,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/parity").join(name)
}

fn config(model: &Path) -> EntitiesConfig {
    let model = model.to_string_lossy().into_owned();
    EntitiesConfig { backend: BackendName::Bert, model, ..EntitiesConfig::default() }
}

/// Does a stage shard by shard.
fn run(config: &CorpusConfig, out: &Path, stage: StageName) -> Result<(), PipelineError> {
    for index in 0..plan(config, out, stage)?.shards.len() {
        run_shard(config, out, stage, index, &())?;
    }
    finish(config, out, stage).map(drop)
}

#[test]
fn mentions_are_the_models_and_targets_the_links() -> Outcome {
    const TEXT: &str = "Émile Zola wrote 'J’accuse…!' for L’Aurore (Paris).";
    let backend = open_backend(&config(&fixture("bert")), None)?;
    let found = backend.mentions(&[plain_passage(TEXT)])?.remove(0);
    assert!(found.len() > 2, "{found:?}");
    for entity in &found {
        assert_eq!(TEXT[entity.span.clone()], entity.surface);
        assert_eq!(TEXT[..entity.span.start].chars().count(), entity.char_start as usize);
        assert_eq!((entity.source, &entity.target), (EntitySource::Model, &None));
        assert!([EntityLabel::Person, EntityLabel::Org, EntityLabel::Loc].contains(&entity.label));
    }
    let mut linked = plain_passage(TEXT);
    let (exact, other) = (found[0].span.clone(), found[1].span.start..found[1].span.end + 1);
    linked.links =
        vec![Link { span: exact, target: "Somebody".into() }, Link { span: other, target: "Somewhere".into() }];
    let with_links = backend.mentions(&[linked])?.remove(0);
    let targets: Vec<_> = with_links.iter().take(2).map(|entity| entity.target.as_deref()).collect();
    assert_eq!(targets, [Some("Somebody"), None]);
    let of_text = tag_text(&*backend, &format!("{TEXT}\n\n{TEXT}"))?;
    assert_eq!(of_text.len(), 2 * found.len());
    Ok(())
}

#[test]
fn labels_mean_what_the_configuration_says() -> Outcome {
    const TEXT: &str = "Łódź 🙂 and São Paulo are 10,000 km apart — or so.";
    let mut config = config(&fixture("bert"));
    let all = open_backend(&config, None)?.mentions(&[plain_passage(TEXT)])?.remove(0);
    config.bert.labels = [("PER", "EVENT"), ("LOC", "")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    let some = open_backend(&config, None)?.mentions(&[plain_passage(TEXT)])?.remove(0);
    let expected: Vec<_> = all
        .iter()
        .filter(|entity| entity.label != EntityLabel::Loc)
        .map(|entity| {
            let person = entity.label == EntityLabel::Person;
            (entity.span.clone(), if person { EntityLabel::Event } else { entity.label })
        })
        .collect();
    assert!(!expected.is_empty() && expected.len() < all.len());
    assert_eq!(some.iter().map(|entity| (entity.span.clone(), entity.label)).collect::<Vec<_>>(), expected);
    config.bert.min_score = 1.0;
    assert!(open_backend(&config, None)?.mentions(&[plain_passage(TEXT)])?[0].is_empty());
    Ok(())
}

#[test]
fn a_model_that_cannot_be_used_is_refused_with_what_to_do() -> Outcome {
    let complaint =
        |config: &EntitiesConfig| open_backend(config, None).err().map(|error| (error.to_string(), error.hint()));
    let (error, _) = complaint(&config(Path::new(""))).ok_or("opened")?;
    assert!(error.contains("`corpus.entities.model` is empty"), "{error}");
    let (error, hint) = complaint(&config(Path::new("dslim/bert-base-NER"))).ok_or("opened")?;
    assert!(
        error.contains("`dslim/bert-base-NER`") && hint.is_some_and(|hint| hint.contains("hf download")),
        "{error}"
    );
    let (copy, path) = copy_of("bert")?;
    let mut settings: serde_json::Value = store::read_json(&path.join("config.json"))?;
    settings["id2label"]["0"] = "LABEL_0".into();
    store::write_json(&path.join("config.json"), &settings)?;
    let mut config = config(&path);
    let (error, _) = complaint(&config).ok_or("opened")?;
    assert!(error.contains("entities.bert.labels") && error.contains("LABEL_0"), "{error}");
    config.bert.labels.insert("LABEL_0".into(), String::new());
    assert!(complaint(&config).is_none());
    drop(copy);
    Ok(())
}

fn copy_of(model: &str) -> Result<(tempfile::TempDir, PathBuf), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    for path in store::list(&fixture(model))? {
        store::write_atomic(&folder.path().join(path.file_name().unwrap_or_default()), store::read(&path)?)?;
    }
    let path = folder.path().to_owned();
    Ok((folder, path))
}

#[test]
fn the_stage_depends_on_the_model_and_not_on_where_it_lies() -> Outcome {
    let folder = tempfile::tempdir()?;
    let dump = folder.path().join("world.xml.bz2");
    write_dump(&dump, &WorldConfig { num_pages: 40, ..WorldConfig::default() })?;
    let out = folder.path().join("corpus");
    let mut config = CorpusConfig { workers: 2, ..CorpusConfig::default() };
    config.ingest.dumps = vec![dump.to_string_lossy().into_owned()];
    (config.ingest.min_words, config.ingest.max_words) = (8, 25);
    let (_one, here) = copy_of("bert")?;
    let (_two, there) = copy_of("bert")?;
    config.entities = EntitiesConfig { passages_per_shard: 50, ..self::config(&here) };
    run(&config, &out, StageName::Ingest)?;
    run(&config, &out, StageName::Entities)?;
    let state = |config: &CorpusConfig| -> Result<StageState, PipelineError> { Ok(status(config, &out)?[1].state) };
    assert_eq!(state(&config)?, StageState::Done);
    let (all, found) = (passages(&out)?, mentions(&out)?);
    let backend = open_backend(&config.entities, None)?;
    for number in (0..all.len()).step_by(7) {
        let passage = all.get(number)?;
        assert_eq!(found.get(number)?.entities, backend.mentions(&[passage])?.remove(0));
    }
    config.entities.model = there.to_string_lossy().into_owned();
    assert_eq!(state(&config)?, StageState::Done);
    let mut weights = store::read(&there.join("model.safetensors"))?;
    *weights.last_mut().ok_or("empty")? ^= 1;
    store::write_atomic(&there.join("model.safetensors"), weights)?;
    assert_eq!(state(&config)?, StageState::Stale);
    Ok(())
}
