//! Errors in the text of a configuration, in plain words, with the place and the nearest known key.

use std::ops::Range;
use std::path::Path;

use memtrain_corpora::json;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::keys::KEYS;
use super::places::{is_option, look_at, place};
use super::renamed;
use crate::error::ConfigError;

/// Characters of a value that are quoted.
const QUOTED: usize = 40;

/// Reads a configuration. `path` is for messages; one that begins with `--` is an option whose text has no lines to name.
///
/// ```
/// use memtrain_session::config::messages::parse_config;
/// #[derive(Debug, serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     #[serde(rename = "steps")]
///     _steps: u32,
/// }
/// let error = parse_config::<Config>("train.toml".as_ref(), "stepz = 3").unwrap_err();
/// assert_eq!(error.message, "unknown key `stepz` at train.toml:1:1");
/// assert_eq!(error.hint.as_deref(), Some("did you mean `steps`?"));
/// ```
///
/// # Errors
/// What is wrong, with line and column, and the nearest known key for an unknown one.
pub fn parse_config<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| config_error(path, text, &error))
}

fn config_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map(|span| span.start);
    let place = place(path, text, start);
    let message = error.message();
    if let Some((key, known)) = unknown(message, "unknown field `") {
        let table = DeTable::parse(text).ok();
        let table = table.as_ref().map(|table| table.get_ref());
        let whole = table.zip(start).and_then(|(table, start)| key_named_at(table, start));
        let is_section =
            table.and_then(|table| table.get(key)).is_some_and(|value| matches!(value.get_ref(), DeValue::Table(_)));
        let hint = match whole.as_deref().and_then(|whole| whole.strip_suffix(key)) {
            Some("") if !is_section => of_a_section(key).unwrap_or_else(|| nearest_hint(key, &known)),
            _ => nearest_hint(key, &known),
        };
        let whole = whole.unwrap_or_else(|| key.to_owned());
        return ConfigError { message: format!("unknown key `{whole}` at {place}"), hint: Some(hint) };
    }
    // The text of an option is not what was typed.
    let line = start.filter(|_| !is_option(path)).and_then(|start| look_at(text, start));
    if let Some(wrong) = WrongType::of(message, text, error.span()) {
        let message = format!("`{}` is {} at {place}: it must be {}", wrong.key, wrong.value, wrong.expected);
        return ConfigError { message, hint: line };
    }
    if let Some((value, known)) = unknown(message, "unknown variant `") {
        let key = start.and_then(|start| key_at(DeTable::parse(text).ok()?.get_ref(), start));
        let key = key.map_or_else(String::new, |key| format!("`{key}` is "));
        return ConfigError {
            message: format!("{key}`{value}` at {place}, which is none of its values"),
            hint: Some(nearest_hint(value, &known)),
        };
    }
    let what = message.replace("missing field", "missing key").replace("duplicate field", "duplicate key");
    let what = what.trim_end().replace('\n', ": ");
    let hint = line.filter(|_| !what.starts_with("missing"));
    ConfigError { message: format!("{what} at {place}"), hint }
}

/// The key or value and the known ones out of serde's message on an unknown field or variant.
fn unknown<'m>(message: &'m str, beginning: &str) -> Option<(&'m str, Vec<&'m str>)> {
    let rest = message.strip_prefix(beginning)?;
    let (key, rest) = rest.split_once('`')?;
    // What stands between backticks in the list that follows.
    Some((key, rest.split('`').skip(1).step_by(2).collect()))
}

fn nearest_hint(key: &str, known: &[&str]) -> String {
    /// Jaro-Winkler similarity from which a known key is worth suggesting.
    const NEAR: f64 = 0.8;
    let known: Vec<&str> = known.iter().copied().filter(|name| !renamed::is_earlier_name(name)).collect();
    let near = known.iter().map(|&name| (strsim::jaro_winkler(key, name), name));
    match near.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((similarity, name)) if similarity >= NEAR => format!("did you mean `{name}`?"),
        Some(_) => {
            format!("known here: {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        }
        None => "no keys are known here".to_owned(),
    }
}

/// A value of the wrong type in a configuration.
struct WrongType {
    /// Its key with its sections.
    key: String,
    /// What was typed.
    value: String,
    /// What it must be.
    expected: &'static str,
}

impl WrongType {
    /// Out of serde's message on the value at `span` of `text`; nothing for other messages.
    fn of(message: &str, text: &str, span: Option<Range<usize>>) -> Option<Self> {
        let problem = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
        let expected = expected(problem.rsplit_once(", expected ")?.1.trim_end())?;
        let span = span?;
        let table = DeTable::parse(text).ok()?;
        let key = key_at(table.get_ref(), span.start)?;
        let typed = text.get(span)?;
        let mut value: String = typed.chars().take(QUOTED).collect();
        if value.len() < typed.len() {
            value.push('…');
        }
        // The head of a section stands for all of it.
        let value = if typed.starts_with('[') && problem.starts_with("map,") {
            "a section of keys".to_owned()
        } else {
            value.replace('\n', " ")
        };
        Some(Self { key, value, expected })
    }
}

/// What serde calls a type, as people call it.
fn expected(name: &str) -> Option<&'static str> {
    match name {
        name if name == "a map" || name.starts_with("struct ") => Some("a section of keys"),
        name => json::expected(name),
    }
}

/// A hint to the keys of sections that are called as a key without a section; nothing where there are none.
fn of_a_section(name: &str) -> Option<String> {
    let inside = KEYS.iter().filter(|key| key.name.rsplit_once('.').is_some_and(|(_, last)| last == name));
    let keys: Vec<String> = inside.map(|key| format!("`{}`", key.name)).collect();
    (!keys.is_empty()).then(|| format!("did you mean {}?", keys.join(" or ")))
}

/// The key, with its sections, whose name stands at a byte.
fn key_named_at(table: &DeTable<'_>, byte: usize) -> Option<String> {
    table.iter().find_map(|(name, value)| match value.get_ref() {
        _ if name.span().contains(&byte) => Some(name.get_ref().to_string()),
        DeValue::Table(inner) => key_named_at(inner, byte).map(|key| format!("{}.{key}", name.get_ref())),
        _ => None,
    })
}

/// The key whose value stands at a byte.
fn key_at(table: &DeTable<'_>, byte: usize) -> Option<String> {
    let inside = table.iter().find_map(|(name, value)| match value.get_ref() {
        DeValue::Table(inner) => key_at(inner, byte).map(|key| format!("{}.{key}", name.get_ref())),
        _ => value.span().contains(&byte).then(|| name.get_ref().to_string()),
    });
    inside.or_else(|| {
        let (name, _) = table.iter().find(|(_, value)| value.span().contains(&byte))?;
        Some(name.get_ref().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[expect(dead_code, reason = "only parsed")]
        train: Train,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Train {
        steps: u32,
        learning_rate: f64,
    }

    fn complaint(text: &str) -> (String, Option<String>) {
        let error = parse_config::<Config>(Path::new("a.toml"), text).expect_err("wrong");
        (error.message, error.hint)
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest() {
        let (message, hint) = complaint("[train]\nsteps = 1\n  learnin_rate = 0.1\n");
        assert_eq!(message, "unknown key `train.learnin_rate` at a.toml:3:3");
        assert_eq!(hint.as_deref(), Some("did you mean `learning_rate`?"));
        let (message, hint) = complaint("[model]\nx = 1\n");
        assert_eq!(message, "unknown key `model` at a.toml:1:2");
        assert_eq!(hint.as_deref(), Some("known here: `train`"));
        let error = parse_config::<Config>(Path::new("--set"), "[train]\nstep = 1").expect_err("wrong");
        assert_eq!(error.message, "unknown key `train.step` at --set");
        let (message, hint) = complaint("train = { steps = 1, model.x = 3 }");
        assert_eq!(message, "unknown key `train.model` at a.toml:1:22");
        assert_eq!(hint.as_deref(), Some("known here: `steps`, `learning_rate`"));
        // A key without its section.
        let (message, hint) = complaint("learning_rate = 0.1\n");
        assert_eq!(message, "unknown key `learning_rate` at a.toml:1:1");
        assert_eq!(hint.as_deref(), Some("did you mean `optimizer.learning_rate`?"));
    }

    #[test]
    fn wrong_types_missing_keys_and_syntax_have_a_place() {
        let (message, hint) = complaint("[train]\nsteps = \"ten\"\nlearning_rate = 1.0");
        assert_eq!(message, "`train.steps` is \"ten\" at a.toml:2:9: it must be a whole number, 0 or more");
        assert_eq!(hint.as_deref(), Some("look at `steps = \"ten\"`"));
        for (value, expected) in [
            ("1.5", "a whole number, 0 or more"),
            ("-1", "a whole number, 0 or more"),
            ("[1]", "a whole number, 0 or more"),
        ] {
            let (message, _) = complaint(&format!("train = {{ steps = {value}, learning_rate = 1.0 }}"));
            assert_eq!(message, format!("`train.steps` is {value} at a.toml:1:19: it must be {expected}"));
        }
        let (message, _) = complaint("[train]\nsteps = 1\nlearning_rate = \"fast\"");
        assert_eq!(message, "`train.learning_rate` is \"fast\" at a.toml:3:17: it must be a number");
        assert_eq!(complaint("train = 7").0, "`train` is 7 at a.toml:1:9: it must be a section of keys");
        let error = parse_config::<Config>(Path::new("--set"), "[train]\nsteps = true").expect_err("wrong");
        assert_eq!(error.message, "`train.steps` is true at --set: it must be a whole number, 0 or more");
        let (message, _) = complaint("[train]\nsteps = 3");
        assert_eq!(message, "missing key `learning_rate` at a.toml:1:1");
        let (message, _) = complaint("[train]\nsteps = = 3");
        assert!(message.ends_with("at a.toml:2:9"), "{message}");
    }
}
