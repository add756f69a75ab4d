//! Changes of a run's configuration between two starts: which keys may change, and what was changed after which step.
//!
//! `config.toml` stays as the run began. The manifest lists what was changed since, each change with the step after which it
//! holds, so that what earlier steps were recorded with is known too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checkpoint::Schedule;

/// What another value of a key does to a run that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyClass {
    /// Nothing: the run stays what it would have been, on the CPU to the bit.
    Neutral,
    /// Sums are formed in another order: the run stays what it would have been up to rounding.
    Rounding,
    /// Where inputs are found: nothing as long as the inputs of these names have the hashes that are on record.
    Place(&'static [&'static str]),
    /// The mathematics of steps to come: refused, and possible in a branch.
    Mathematics,
    /// What the weights are and where they came from: refused, in a branch too.
    Origin,
}

/// Classes by key; one stands for all keys below it, and a key that has none is of [`KeyClass::Mathematics`].
pub type KeyClasses = BTreeMap<String, KeyClass>;

/// The class of a key: its own, or that of the nearest section above it.
///
/// ```
/// use memtrain_run::change::{KeyClass, KeyClasses, class_of};
/// let classes = KeyClasses::from([("sampler.http".to_owned(), KeyClass::Neutral)]);
/// assert_eq!(class_of(&classes, "sampler.http.url"), KeyClass::Neutral);
/// assert_eq!(class_of(&classes, "sampler.httpd"), KeyClass::Mathematics);
/// ```
pub fn class_of(classes: &KeyClasses, key: &str) -> KeyClass {
    let mut name = key;
    loop {
        if let Some(class) = classes.get(name) {
            return *class;
        }
        match name.rsplit_once('.') {
            Some((section, _)) => name = section,
            None => return KeyClass::Mathematics,
        }
    }
}

/// A key's value before and after a change, as TOML; nothing where it had or has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangedKey {
    /// Value until the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Value from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Keys that were changed at one start of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Number of the start, as in `logs/attempt_N.log`.
    pub attempt: u32,
    /// Version of the program that took it.
    pub version: String,
    /// Steps that had been taken: it holds for those after.
    pub step: u64,
    /// The keys, as `section.key`.
    pub keys: BTreeMap<String, ChangedKey>,
}

/// A configuration as `section.key` and value, both as TOML. Text that is none has no keys.
pub(super) fn flat(text: &str) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        flatten(&toml::Value::Table(table), "", &mut keys);
    }
    keys
}

fn flatten(value: &toml::Value, name: &str, keys: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(value, &name, keys);
            }
        }
        value => {
            keys.insert(name.to_owned(), value.to_string());
        }
    }
}

/// The keys whose values differ, with both values.
pub(super) fn differences(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> BTreeMap<String, ChangedKey> {
    let names = before.keys().chain(after.keys()).filter(|&name| before.get(name) != after.get(name));
    let changed = |name: &String| ChangedKey { from: before.get(name).cloned(), to: after.get(name).cloned() };
    names.map(|name| (name.clone(), changed(name))).collect()
}

/// The configuration of a run over its steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    began: BTreeMap<String, String>,
    changes: Vec<Change>,
}

impl Settings {
    /// Of the configuration that a run began with, and what was changed since.
    pub(super) fn new(config: &str, changes: &[Change]) -> Self {
        Self { began: flat(config), changes: changes.to_vec() }
    }

    /// All keys as they are now.
    pub(super) fn now(&self) -> BTreeMap<String, String> {
        let mut keys = self.began.clone();
        for (name, key) in self.changes.iter().flat_map(|change| &change.keys) {
            match &key.to {
                Some(value) => keys.insert(name.clone(), value.clone()),
                None => keys.remove(name),
            };
        }
        keys
    }

    /// The configuration now, as TOML.
    pub(super) fn text(&self) -> String {
        let mut table = toml::Table::new();
        for (name, value) in self.now() {
            let value =
                format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut parsed| parsed.remove("value"));
            let mut section = &mut table;
            let mut parts = name.split('.').peekable();
            while let (Some(part), Some(value)) = (parts.next(), &value) {
                if parts.peek().is_none() {
                    section.insert(part.to_owned(), value.clone());
                    break;
                }
                let next = section.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                let Some(next) = next.as_table_mut() else { break };
                section = next;
            }
        }
        toml::to_string(&table).unwrap_or_default()
    }

    /// A whole number of a key as it holds for a step; 0 where there is none.
    pub(super) fn number_at(&self, key: &str, step: u64) -> u64 {
        self.number(key, |change| change.step < step)
    }

    /// All values that a key had while a step was the last one taken: a change is made after a step, and what follows a step,
    /// such as its evaluation, may come before it or after.
    pub(super) fn numbers_after(&self, key: &str, step: u64) -> Vec<u64> {
        let at_step = self.changes.iter().enumerate().filter(|(_, change)| change.step == step);
        let mut values = vec![self.number_at(key, step)];
        values.extend(at_step.map(|(last, _)| {
            let until = self.changes.iter().take(last + 1);
            number(until.rev().find_map(|change| change.keys.get(key)?.to.as_ref()).or(self.began.get(key)))
        }));
        values
    }

    /// When the run saved, by each configuration that it has had. `steps` names the key of its steps.
    pub(super) fn schedules(&self, steps: &str) -> Vec<Schedule> {
        let of = |taken: usize, key: &str| {
            let changes = self.changes.iter().take(taken).rev();
            number(changes.filter_map(|change| change.keys.get(key)?.to.as_ref()).next().or(self.began.get(key)))
        };
        let schedule = |taken: usize| Schedule {
            steps: of(taken, steps),
            checkpoint_every: of(taken, "train.checkpoint_every"),
            evaluate_every: of(taken, "train.evaluate_every"),
        };
        (0..=self.changes.len()).map(schedule).filter(|schedule| schedule.checkpoint_every > 0).collect()
    }

    fn number(&self, key: &str, holds: impl Fn(&Change) -> bool) -> u64 {
        let changes = self.changes.iter().rev().filter(|change| holds(change));
        number(changes.filter_map(|change| change.keys.get(key)?.to.as_ref()).next().or(self.began.get(key)))
    }
}

fn number(value: Option<&String>) -> u64 {
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(step: u64, key: &str, from: &str, to: &str) -> Change {
        let changed = ChangedKey { from: Some(from.to_owned()), to: Some(to.to_owned()) };
        Change { attempt: 2, version: "0.1.0".to_owned(), step, keys: [(key.to_owned(), changed)].into() }
    }

    #[test]
    fn a_change_holds_for_the_steps_after_it() {
        let text = "[train]\nevery = 2\n[loss]\ndual_clip = inf\n[a.\"b\"]\nwords = [\"x\", \"y = 1\"]\n";
        let changes = [
            change(4, "train.every", "2", "5"),
            change(4, "train.every", "5", "0"),
            change(9, "train.every", "0", "3"),
        ];
        let settings = Settings::new(text, &changes);
        let values: Vec<u64> = [1, 4, 5, 9, 10].map(|step| settings.number_at("train.every", step)).into();
        assert_eq!(values, [2, 2, 0, 0, 3]);
        assert_eq!(settings.numbers_after("train.every", 4), [2, 5, 0]);
        assert_eq!(settings.numbers_after("train.every", 5), [0]);
        let now = settings.text();
        assert_eq!(flat(&now), flat(&text.replace("every = 2", "every = 3")), "{now}");
    }

    #[test]
    fn differences_name_both_values_and_what_is_missing() {
        let (before, after) = (flat("[a]\nx = 1\ny = \"t\"\n"), flat("[a]\nx = 2\nz = [1]\n"));
        let found = differences(&before, &after);
        let shown: Vec<_> =
            found.iter().map(|(name, key)| (name.as_str(), key.from.as_deref(), key.to.as_deref())).collect();
        assert_eq!(shown, [("a.x", Some("1"), Some("2")), ("a.y", Some("\"t\""), None), ("a.z", None, Some("[1]"))]);
    }
}
