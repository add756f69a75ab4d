//! A configuration with changes of single keys, as `--set` makes them.

use std::path::{Component, Path};

use anyhow::Context;
use memtrain_corpora::visible::steers;

use super::messages::parse_config;
use super::origin::check_numbers;
use super::sources::Sources;
use super::{Config, renamed};
use crate::error::Usage;

/// The configuration of files, changed by `set`.
///
/// # Errors
/// If a key is unknown, or a value is not what its key may have.
pub fn resolve(sources: &Sources, set: &[String]) -> anyhow::Result<Config> {
    let mut config: Config = sources.parse()?;
    let (mut table, mut old_names) = sources.merged()?;
    if !set.is_empty() {
        for key_value in set {
            change(&mut table, &under_present_name(key_value, &mut old_names))?;
        }
        old_names.extend(renamed::rename(&mut table));
        let changed = toml::to_string(&table).context("the changed configuration cannot be written")?;
        config = parse_config(Path::new("--set"), &changed)?;
    }
    renamed::notice(&old_names);
    let resolved = toml::Table::try_from(&config).context("the configuration cannot be written")?;
    check_numbers(sources, set, &resolved)?;
    check_name(&config.run.name)?;
    Ok(config)
}

/// A change with its key under the present name.
fn under_present_name(key_value: &str, old_names: &mut Vec<(&'static str, &'static str)>) -> String {
    let Some((key, value)) = key_value.split_once('=') else { return key_value.to_owned() };
    let present = renamed::present_name(key);
    if present != key {
        old_names.extend(renamed::RENAMED.iter().filter(|(old, _)| key.starts_with(old)));
    }
    format!("{present}={value}")
}

/// Applies `key=value` as `--set` takes it.
pub fn change(table: &mut toml::Table, key_value: &str) -> Result<(), Usage> {
    let (key, value) = key_value
        .split_once('=')
        .ok_or_else(|| Usage(format!("`--set {key_value}` has no `=`: write `--set section.key=value`")))?;
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
    // A line break ends a value, and what follows would be lost without a word.
    if parsed.as_ref().is_some_and(|parsed| parsed.len() > 1) {
        return Err(Usage(format!("`--set {key}=…` has another key behind it: each has a `--set` of its own")));
    }
    let value =
        parsed.and_then(|mut parsed| parsed.remove("value")).unwrap_or_else(|| toml::Value::String(value.to_owned()));
    if key == "include" {
        return Err(Usage("`include` stands in a configuration file, not in `--set`".to_owned()));
    }
    insert(table, key, value)
        .ok_or_else(|| Usage(format!("`--set {key_value}`: a part of `{key}` is a value, not a section")))
}

/// Puts a value under a key with dots; `None` where a part of the key is a value already.
pub fn insert(table: &mut toml::Table, key: &str, value: toml::Value) -> Option<()> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            Some(())
        }
        Some((section, rest)) => {
            let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            insert(section.as_table_mut()?, rest, value)
        }
    }
}

/// Checks that the name of a run is a name: what leads out of `run.runs`, or down into another run, would mix runs up.
///
/// # Errors
/// If it is none.
pub fn check_name(name: &str) -> Result<(), Usage> {
    let mut components = Path::new(name).components();
    let first = components.next();
    // Blanks of a path, such as the `/.` of `a/.`, are no component.
    let is_plain = !name.contains(|letter: char| matches!(letter, '/' | '\\') || letter.is_control() || steers(letter));
    match matches!(first, Some(Component::Normal(only)) if only == name) && is_plain {
        true => Ok(()),
        false => Err(Usage(format!(
            "`run.name` is `{}`, and must be the name of one folder, without control characters: `run.runs` says where that lies",
            name.escape_debug()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(path: &Path, text: &str, set: &[String]) -> anyhow::Result<Config> {
        super::resolve(&Sources::of_text(path, text)?, set)
    }

    #[test]
    fn changes_reach_their_keys() {
        let text = "[run]\nname = \"a\"\n[train]\nsteps = 5\n";
        let set =
            ["train.steps=7".to_owned(), "run.name=other".to_owned(), "corpus.ingest.dumps=[\"x.xml\"]".to_owned()];
        let config = resolve(Path::new("c.toml"), text, &set).unwrap();
        assert_eq!((config.train.steps, config.run.name.as_str()), (7, "other"));
        assert_eq!(config.corpus.ingest.dumps, ["x.xml"]);
        assert!(resolve(Path::new("c.toml"), text, &["train.stepz=7".to_owned()]).is_err());
        assert!(resolve(Path::new("c.toml"), text, &["train.steps.more=7".to_owned()]).is_err());
    }

    #[test]
    fn a_change_is_of_one_key() {
        for set in ["train.steps=7\nrun.name=\"other\"", "train.steps=7\n[run]"] {
            let error = resolve(Path::new("c.toml"), "", &[set.to_owned()]).expect_err(set).to_string();
            assert!(error.contains("each has a `--set` of its own"), "{error}");
        }
        let several = "corpus.ingest.dumps=[\"a\",\n\"b\"]\n".to_owned();
        assert_eq!(resolve(Path::new("c.toml"), "", &[several]).unwrap().corpus.ingest.dumps, ["a", "b"]);
    }

    #[test]
    fn old_names_of_keys_work_in_the_file_and_in_changes() {
        let text = "[draw]\ntop_p = 0.5\ntop_k = 3\n[corpus.ingest]\nleftovers = \"keep\"\n";
        for set in ["sampling.top_k=7", "draw.top_k=7", "draw={top_p=0.5, top_k=7}"] {
            let config = resolve(Path::new("c.toml"), text, &[set.to_owned()]).unwrap();
            assert_eq!((config.sampling.top_p, config.sampling.top_k), (0.5, 7), "{set}");
            assert_eq!(config.corpus.ingest.short_passages, memtrain_pipeline::config::ShortPassages::Keep);
        }
        let told =
            |text: &str, set: &[String]| resolve(Path::new("c.toml"), text, set).map(drop).unwrap_err().to_string();
        let expected = "it must be above 0 and at most 1";
        assert_eq!(told("[draw]\ntop_p = 2.0", &[]), format!("`sampling.top_p` is 2.0 at c.toml:2:9: {expected}"));
        let set = ["draw.top_p=3.0".to_owned()];
        assert_eq!(told(text, &set), format!("`sampling.top_p` is 3.0 at --set: {expected}"));
        assert!(told("[draw]\n[sampling]", &[]).contains("duplicate key `sampling`"));
    }

    #[test]
    fn a_number_out_of_range_is_refused_with_its_place() {
        let told = |text: &str, set: &[&str]| {
            let set: Vec<String> = set.iter().map(|&change| change.to_owned()).collect();
            resolve(Path::new("c.toml"), text, &set).map(drop).unwrap_err().to_string()
        };
        let text = "[optimizer]\nlearning_rate = 1e-5\n  beta1 = 1.5 # near 1\n[bank]\nanswerer = { retries = 1001 }\n";
        let expected = "`optimizer.beta1` is 1.5 at c.toml:3:11: it must be at least 0 and below 1";
        assert_eq!(told(text, &["bank.answerer.retries=1"]), expected);
        let expected = "`bank.answerer.retries` is 1001 at c.toml:5:24: it must be from 0 to 1000";
        assert_eq!(told(text, &["optimizer.beta1=0.5"]), expected);
        let set = ["optimizer.beta1=nan", "bank.answerer.retries=1"];
        assert_eq!(told(text, &set), "`optimizer.beta1` is nan at --set: it must be at least 0 and below 1");
        assert!(resolve(Path::new("c.toml"), "[loss]\ndual_clip = inf", &[]).is_ok());
    }

    #[test]
    fn every_number_is_checked_before_anything_is_done() {
        let sections = "world = {}\npolicy.lora = {}\nbank.answerer = {}\nreward.weight = 2.0\n";
        for kind in ["memtrain", "memagent", "infomem", "finemem", "memalpha", "mem1"] {
            let text = format!("{sections}objective.kind = \"{kind}\"\n");
            let config = resolve(Path::new("c.toml"), &text, &[]).unwrap();
            let config = toml::Table::try_from(&config).unwrap();
            for (key, default) in crate::config::ranges::numbers(&config) {
                for value in ["nan", "inf", "-inf", "-1", "1e300", "9223372036854775807", "-9223372036854775808"] {
                    let in_list =
                        matches!(&*key, "world.lead_sentences" | "world.sections" | "world.section_sentences");
                    let set = if in_list { format!("{key}=[{value}, {value}]") } else { format!("{key}={value}") };
                    let fine = match (value, &*key) {
                        ("9223372036854775807", key) if key.ends_with("seed") => true,
                        (
                            "inf" | "1e300" | "9223372036854775807",
                            "loss.clip_low"
                            | "loss.clip_high"
                            | "loss.dual_clip"
                            | "loss.importance_cap"
                            | "update.max_gradient_norm",
                        ) => true,
                        _ => false,
                    };
                    let told = resolve(Path::new("c.toml"), &text, &[set]).map(drop).map_err(|error| error.to_string());
                    match told {
                        Ok(()) => assert!(fine, "{key}={value} is taken; by default it is {default}"),
                        Err(told) => assert!(!fine && told.contains("--set"), "{key}={value}: {told}"),
                    }
                }
            }
        }
    }
}
