//! Origins of the values of a configuration: a file, the command line, or the default.

use super::places::{look_at, place, position};
use super::sources::Sources;
use super::{ranges, renamed};
use crate::error::ConfigError;

/// Refuses a configuration with a number that its key may not have. `set` are the changes of the command line, which `config`
/// holds and the files do not.
///
/// # Errors
/// The key, its value, its place, and what it may be.
pub fn check_numbers(sources: &Sources, set: &[String], config: &toml::Table) -> Result<(), ConfigError> {
    let Some(wrong) = ranges::check(config) else { return Ok(()) };
    let typed = if is_changed(set, &wrong.key) { None } else { sources.value_place(&wrong.key) };
    let (place, hint) = match typed {
        Some((file, start)) => (place(&file.path, &file.text, Some(start)), look_at(&file.text, start)),
        None => ("--set".to_owned(), None),
    };
    Err(ConfigError { message: format!("`{}` is {} at {place}: {wrong}", wrong.key, wrong.value), hint })
}

/// Whether a key is among the changes of the command line.
fn is_changed(set: &[String], key: &str) -> bool {
    set.iter().any(|change| {
        let changed = renamed::present_name(change.split('=').next().unwrap_or_default());
        key.strip_prefix(&changed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Where the value of a key comes from: file and line, the command line, or the default.
pub fn origin(sources: &Sources, set: &[String], key: &str) -> String {
    match sources.value_place(key) {
        _ if is_changed(set, key) => "--set".to_owned(),
        Some((file, start)) => format!("{}:{}", file.path.display(), position(&file.text, start).0),
        None => "default".to_owned(),
    }
}
