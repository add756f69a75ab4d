//! Keys of the configuration that were renamed: the old names still work, with one notice a run.
//!
//! What a run was started with is known by the hash of its `config.toml`. So that a run that began under the old names goes
//! on, [`earlier_spelling`] writes a configuration as it was written then, byte for byte.

use std::sync::Once;

use toml::{Table, Value};

/// Old names and new ones, with their sections. A name stands for all keys below it.
pub const RENAMED: &[(&str, &str)] =
    &[("draw", "sampling"), ("warm_up", "sft"), ("corpus.ingest.leftovers", "corpus.ingest.short_passages")];

/// A key under its present name.
///
/// ```
/// use memtrain_session::config::renamed::present_name;
/// assert_eq!(present_name("draw.top_p"), "sampling.top_p");
/// assert_eq!(present_name("drawer"), "drawer");
/// ```
pub fn present_name(key: &str) -> String {
    replaced(key, RENAMED.iter().map(|&(old, new)| (old, new)))
}

/// A key under the name that it had first.
pub fn earlier_name(key: &str) -> String {
    replaced(key, RENAMED.iter().map(|&(old, new)| (new, old)))
}

/// Whether it is the last part of an old name: no hint should suggest it.
pub fn is_earlier_name(part: &str) -> bool {
    RENAMED.iter().any(|(old, _)| old.rsplit('.').next() == Some(part))
}

fn replaced(key: &str, mut pairs: impl Iterator<Item = (&'static str, &'static str)>) -> String {
    let found = pairs.find_map(|(from, to)| {
        let rest = key.strip_prefix(from)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| format!("{to}{rest}"))
    });
    found.unwrap_or_else(|| key.to_owned())
}

/// Puts values that stand under old names under the new ones. Where both are there nothing is changed: serde refuses a key
/// that is given twice. Gives the pairs of names that were changed.
pub fn rename(table: &mut Table) -> Vec<(&'static str, &'static str)> {
    let mut changed = Vec::new();
    for &(old, new) in RENAMED {
        let (sections, old_name) = old.rsplit_once('.').unwrap_or(("", old));
        let new_name = new.rsplit('.').next().unwrap_or(new);
        let mut section = Some(&mut *table);
        for part in sections.split('.').filter(|part| !part.is_empty()) {
            section = section.and_then(|section| section.get_mut(part)).and_then(Value::as_table_mut);
        }
        let Some(section) = section.filter(|section| !section.contains_key(new_name)) else { continue };
        if let Some(value) = section.remove(old_name) {
            section.insert(new_name.to_owned(), value);
            changed.push((old, new));
        }
    }
    changed
}

/// Says once a process which keys have new names.
pub fn notice(changed: &[(&str, &str)]) {
    static SAID: Once = Once::new();
    let names = RENAMED.iter().filter(|pair| changed.contains(pair));
    let names: Vec<String> = names.map(|(old, new)| format!("`{old}` is now `{new}`")).collect();
    if !names.is_empty() {
        SAID.call_once(|| tracing::warn!("old names of keys still work, but {}", names.join(", ")));
    }
}

/// A configuration as `toml::to_string` writes it, with each key under the name that it had first. Values do not move: it is
/// the text that versions with the old names have written.
///
/// ```
/// use memtrain_session::config::renamed::earlier_spelling;
/// assert_eq!(earlier_spelling("[sampling]\ntop_k = 0\n"), "[draw]\ntop_k = 0\n");
/// ```
pub fn earlier_spelling(text: &str) -> String {
    let mut section = String::new();
    let lines = text.split_inclusive('\n').map(|line| {
        if let Some((name, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            name.clone_into(&mut section);
            return format!("[{}]{rest}", earlier_name(name));
        }
        let Some((key, value)) = line.split_once(" = ") else { return line.to_owned() };
        let whole = format!("{section}.{key}");
        let earlier = earlier_name(&whole);
        // A key whose section alone was renamed keeps its name.
        let name = earlier.rsplit('.').next().filter(|_| !key.contains('.') && earlier != whole).unwrap_or(key);
        format!("{name} = {value}")
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_default_configuration_is_spelled_as_runs_of_the_first_version_have_it() {
        let text = toml::to_string(&Config::default()).unwrap();
        // The bound is narrower since; runs may change it.
        let earlier = include_str!("../../../../tests/compat/config-v1.toml");
        let earlier = earlier.replace("max_mismatch = 0.1\n", "max_mismatch = 0.06\n");
        // Documents are drawn otherwise since; runs compare them by their hash.
        let parsed = |text: &str| {
            let mut table: Table = text.parse().unwrap();
            let documents = table["corpus"].as_table_mut().and_then(|corpus| corpus.remove("synthesize"));
            (table, documents.and_then(|documents| documents.as_table().cloned()).unwrap())
        };
        let ((own, documents), (theirs, before)) = (parsed(&earlier_spelling(&text)), parsed(&earlier));
        assert_eq!(own, theirs);
        assert!(before.keys().all(|key| documents.contains_key(key)), "{documents:?}");
        assert!(text.contains("[sampling]\n") && text.contains("\nshort_passages = \"drop\"\n"), "{text}");
    }

    #[test]
    fn old_names_are_read_and_both_names_at_once_are_refused() {
        let mut table: Table = toml::from_str(
            "draw = { top_k = 5 }\n[corpus.ingest]\nleftovers = \"keep\"\n[warm_up.oracle]\nforget = 0.5\n",
        )
        .unwrap();
        let changed = rename(&mut table);
        assert_eq!(changed, RENAMED);
        let config: Config = table.try_into().unwrap();
        assert_eq!((config.sampling.top_k, config.sft.oracle.forget), (5, 0.5));
        assert!(rename(&mut Table::try_from(&config).unwrap()).is_empty());
        let both = toml::from_str::<Config>("[draw]\ntop_k = 5\n[sampling]\ntop_k = 6\n").unwrap_err();
        assert!(both.message().contains("duplicate field `sampling`"), "{both}");
    }

    #[test]
    fn keys_of_sections_that_were_renamed_follow_them() {
        for key in ["draw.temperature", "warm_up.oracle.forget", "corpus.ingest.leftovers"] {
            assert_ne!(present_name(key), key);
            assert_eq!(earlier_name(&present_name(key)), key);
        }
        assert_eq!(present_name("corpus.ingest.leftovers_of"), "corpus.ingest.leftovers_of");
        assert!(is_earlier_name("leftovers") && !is_earlier_name("ingest"));
    }
}
