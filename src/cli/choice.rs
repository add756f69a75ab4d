//! Values of the libraries' own types on the command line, by the names that serde has for them.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

/// Takes these names, which are shown with their explanations in the help.
pub(super) fn choices<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    names: &[(&'static str, &'static str)],
) -> impl TypedValueParser<Value = T> + use<T> {
    let shown = names.iter().map(|&(name, help)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(shown).try_map(|typed| {
        let typed: StrDeserializer<'_, Error> = typed.as_str().into_deserializer();
        T::deserialize(typed)
    })
}

/// The name of a value.
pub(super) fn name_of(value: impl Serialize) -> String {
    let written = toml::Value::try_from(value).ok();
    written.and_then(|written| written.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::Cli;

    #[test]
    fn every_name_in_the_help_is_taken() {
        let stage = ["corpus", "plan", "c.toml"];
        for (command, option) in [
            (&["index", "eval", "x"][..], "mode"),
            (&["index", "eval", "x"], "embedder"),
            (&["entities", "tag"], "backend"),
            (&["wikitext"], "tables"),
            (&["wikitext"], "math"),
            (&["corpus", "inspect", "x"], "split"),
            (&["corpus", "inspect", "x"], "role"),
            (&stage, "stage"),
        ] {
            let mut described = Cli::command();
            for name in command.iter().take_while(|name| !["x", "1", "c.toml"].contains(name)) {
                described = described.find_subcommand(name).unwrap_or_else(|| panic!("no {name}")).clone();
            }
            let argument = described.get_arguments().find(|argument| argument.get_long() == Some(option)).unwrap();
            let names = argument.get_possible_values();
            assert!(names.len() > 1, "{command:?} {option}");
            for name in names {
                let typed = ["memtrain"].iter().chain(command).map(|part| (*part).to_owned());
                let typed = typed.chain([format!("--{option}"), name.get_name().to_owned()]);
                assert!(Cli::try_parse_from(typed).is_ok(), "{command:?} --{option} {}", name.get_name());
            }
        }
    }
}
