//! Reading of `[objective]`: the key `kind` may stand anywhere in it. A key of another objective is refused, and errors point at
//! the key that they are about.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use super::ObjectiveConfig;
use super::registry::{Registration, registered};

impl<'de> Deserialize<'de> for ObjectiveConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Section(registered()))
    }
}

/// Reads the section. `kind` may stand anywhere in it, so each value is checked by the objectives that have its key, and
/// handed to the chosen one at the end.
struct Section(Vec<Registration>);

impl<'de> Visitor<'de> for Section {
    type Value = ObjectiveConfig;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut section: A) -> Result<ObjectiveConfig, A::Error> {
        let known = self.0;
        let mut chosen = known[0];
        let mut constants = Table::new();
        while let Some(key) = section.next_key_seed(KeyOf(&known))? {
            if key == "kind" {
                chosen = section.next_value_seed(KindOf(&known))?;
            } else {
                let value = section.next_value_seed(ValueOf { key: &key, known: &known })?;
                constants.insert(key, value);
            }
        }
        if let Some(key) = constants.keys().find(|key| !chosen.has(key)) {
            let kind = chosen.kind;
            let problem = format!("`{key}` is no key of `kind = \"{kind}\"`: it belongs to another objective");
            return Err(A::Error::custom(problem));
        }
        chosen.read(constants).map_err(A::Error::custom)
    }
}

/// A key that `kind` is or that some objective has.
struct KeyOf<'k>(&'k [Registration]);

impl<'de> DeserializeSeed<'de> for KeyOf<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let key = String::deserialize(deserializer)?;
        if key == "kind" || self.0.iter().any(|registration| registration.has(&key)) {
            return Ok(key);
        }
        let mut keys = vec!["kind"];
        for field in self.0.iter().flat_map(Registration::fields) {
            if !keys.contains(field) {
                keys.push(field);
            }
        }
        Err(D::Error::custom(format!("unknown field `{key}`, expected {}", one_of(&keys))))
    }
}

/// A registered objective.
struct KindOf<'k>(&'k [Registration]);

impl<'de> DeserializeSeed<'de> for KindOf<'_> {
    type Value = Registration;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Registration, D::Error> {
        let kind = String::deserialize(deserializer)?;
        let found = self.0.iter().find(|registration| registration.kind == kind);
        found.copied().ok_or_else(|| {
            let kinds: Vec<&str> = self.0.iter().map(|registration| registration.kind).collect();
            D::Error::custom(format!("unknown variant `{kind}`, expected {}", one_of(&kinds)))
        })
    }
}

/// A value that one of the objectives with this key takes.
struct ValueOf<'k> {
    key: &'k str,
    known: &'k [Registration],
}

impl<'de> DeserializeSeed<'de> for ValueOf<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let mut refused = None;
        for registration in self.known.iter().filter(|registration| registration.has(self.key)) {
            match registration.takes(self.key, &value) {
                Ok(()) => return Ok(value),
                Err(problem) => _ = refused.get_or_insert(problem),
            }
        }
        Err(D::Error::custom(refused.unwrap_or_default()))
    }
}

/// A list as serde writes it.
fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        [one, other] => format!("{one} or {other}"),
        all => format!("one of {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_from_what_is_written_and_keeps_its_own_keys() {
        for kind in ["memtrain", "memagent", "infomem", "finemem", "memalpha", "mem1"] {
            let config: ObjectiveConfig = toml::from_str(&format!("kind = \"{kind}\"\ngroup_size = 3")).unwrap();
            let written = toml::to_string(&config).unwrap();
            assert!(written.contains(kind) && written.contains("group_size = 3"), "{written}");
            assert_eq!(toml::from_str::<ObjectiveConfig>(&written).unwrap(), config);
            assert_eq!(written.contains("recall_weight"), kind == "memtrain");
            assert_eq!(config.objective().group_size(), 3);
        }
        assert!(toml::from_str::<ObjectiveConfig>("kind = \"other\"").is_err());
        assert!(toml::from_str::<ObjectiveConfig>("group_sizes = 3").is_err());
        assert_eq!(toml::from_str::<ObjectiveConfig>("").unwrap(), ObjectiveConfig::default());
    }

    #[test]
    fn constants_are_written_in_the_order_of_their_declaration_and_new_ones_only_where_they_differ() {
        let written = toml::to_string(&toml::from_str::<ObjectiveConfig>("kind = \"mem1\"").unwrap()).unwrap();
        let expected = "kind = \"mem1\"\ngroup_size = 8\nobjectives = 2\nequality = \"squad\"\nreward_scale = \"none\"\n\
                        filter_groups = true\n";
        assert_eq!(written, expected);
        let exact = toml::from_str::<ObjectiveConfig>("kind = \"mem1\"\nanswer_count = \"exact\"").unwrap();
        assert!(toml::to_string(&exact).unwrap().contains("objectives = 2\nanswer_count = \"exact\"\n"));
    }

    #[test]
    fn an_error_stands_at_its_key_wherever_the_kind_stands() {
        let told = |text: &str| {
            let error = toml::from_str::<ObjectiveConfig>(text).unwrap_err();
            (error.message().to_owned(), error.span().map(|span| text[span].to_owned()))
        };
        let (message, place) = told("kind = \"mem1\"\nobjectives = \"x\"");
        assert_eq!(message, "invalid type: string \"x\", expected usize");
        assert_eq!(place.as_deref(), Some("\"x\""));
        let (message, place) = told("group_sizes = 3");
        assert!(message.starts_with("unknown field `group_sizes`, expected one of `kind`, `variant`"), "{message}");
        assert_eq!(place.as_deref(), Some("group_sizes"));
        let (message, place) = told("kind = \"memtrian\"");
        assert!(message.starts_with("unknown variant `memtrian`, expected one of `memtrain`, `memagent`"), "{message}");
        assert_eq!(place.as_deref(), Some("\"memtrian\""));
        let (message, _) = told("recall_draw = \"released\"\nrecall_includes_current = true");
        assert!(message.starts_with("`recall_includes_current` belongs to"), "{message}");
    }
}
