//! JSON schema and reference page of the configuration: the table of keys ([`super::keys`]) together with what the types say of
//! each key, its type, default, choices and bounds.

use std::fmt::Write;

use serde_json::{Map, json};
use toml::{Table, Value};

use super::keys::{InRun, KEYS, Key, SECTIONS};
use super::ranges::{self, Allowed};
use crate::config::Config;
use crate::objectives::ObjectiveConfig;

/// The kinds of objectives, the default first.
pub fn kinds() -> Vec<String> {
    choices("memtrain", "objective.kind", "\"?\"")
}

/// The reference page around the tables of keys.
const PAGE: &str = include_str!("reference.md");
/// Where the tables of keys go.
const TABLES: &str = "{{keys}}\n";

/// Defaults of keys of words, numbers and truth values that are left out of what is written at them.
const UNWRITTEN: &str = r#"
    [corpus.ingest]
    passage_share = 1.0
    [corpus.entities]
    spans = ""
    [corpus.synthesize]
    entities = "all"
    passages = "all"
    [corpus.synthesize.eligible]
    max_words = 0
    max_in_passage = 0
    small_letters = false
    [reader]
    truncation = "none"
    [bank]
    retrieval = "bm25"
    [searcher]
    prompt_tokens = 0
    [sampler.http]
    lora = "adapter"
    [train]
    overlap = "none"
    gradient_sums = "micro-batches"
    log_samples = 0
    [sft.oracle]
    old_first = false
"#;

/// Adds the keys that a table lacks, section by section.
fn add(table: &mut Table, others: Table) {
    for (name, value) in others {
        match (table.get_mut(&name), value) {
            (Some(Value::Table(section)), Value::Table(others)) => add(section, others),
            (Some(_), _) => {}
            (None, value) => drop(table.insert(name, value)),
        }
    }
}

/// What the types say of a key.
struct Described {
    key: &'static Key,
    /// As JSON schema and TOML call it.
    kind: &'static str,
    /// The default of each kind of objective that has the key.
    defaults: Vec<(String, Value)>,
    /// The words that it may be, where they are a list.
    choices: Vec<String>,
}

/// The configuration of a kind of objective with all defaults, those of optional sections too.
pub fn defaults(kind: &str) -> Table {
    let objective = toml::from_str::<ObjectiveConfig>(&format!("kind = \"{kind}\"")).unwrap_or_default();
    let mut config = Config { objective, world: Some(Default::default()), ..Config::default() };
    config.policy.lora = Some(Default::default());
    config.bank.answerer = Some(Default::default());
    let mut table = Table::try_from(&config).unwrap_or_default();
    let unwritten: Table = toml::from_str(UNWRITTEN).unwrap_or_default();
    add(&mut table, unwritten);
    table.extend(Value::try_from(&config.reward).ok().map(|reward| ("reward".to_owned(), reward)));
    let date = Value::try_from(config.policy.template_date).ok();
    let policy = table.get_mut("policy").and_then(Value::as_table_mut);
    policy.zip(date).map(|(policy, date)| policy.insert("template_date".to_owned(), date));
    table
}

/// Why a configuration with this value of a key, as TOML, is refused; nothing where it is taken.
fn refusal(kind: &str, key: &str, value: &str) -> Option<String> {
    let kind = if key == "objective.kind" { String::new() } else { format!("objective.kind = \"{kind}\"\n") };
    toml::from_str::<Config>(&format!("{kind}{key} = {value}")).err().map(|error| error.message().to_owned())
}

/// The words that a key may be, as serde lists them of a value that is none; nothing for a key that takes any.
fn choices(kind: &str, key: &str, nonsense: &str) -> Vec<String> {
    let refused = refusal(kind, key, nonsense).unwrap_or_default();
    let listed = refused.split_once("unknown variant `?`, expected ").map_or("", |(_, listed)| listed);
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn value_of<'table>(table: &'table Table, key: &str) -> Option<&'table Value> {
    let mut parts = key.split('.');
    let mut value = table.get(parts.next()?)?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value)
}

impl Described {
    fn of(key: &'static Key, tables: &[(String, Table)]) -> Self {
        let of_kind = |(kind, table): &(String, Table)| Some((kind.clone(), value_of(table, key.name)?.clone()));
        let defaults: Vec<_> = tables.iter().filter_map(of_kind).collect();
        let owner = defaults.first().map_or("memtrain", |(kind, _)| kind);
        let is_taken = |value: &str| refusal(owner, key.name, value).is_none();
        let kind = match defaults.first() {
            Some((_, Value::Integer(_))) => "integer",
            Some((_, Value::Float(_))) => "number",
            Some((_, Value::Boolean(_))) => "boolean",
            Some((_, Value::Array(_))) => "array",
            Some((_, Value::Table(_))) => "object",
            Some((_, Value::String(_) | Value::Datetime(_))) => "string",
            // Left out where it has its default: a table or a list of words takes an empty one.
            None if is_taken("{}") => "object",
            None if is_taken("[]") => "array",
            None => "string",
        };
        let choices = choices(owner, key.name, if kind == "array" { "[\"?\"]" } else { "\"?\"" });
        Self { key, kind, defaults, choices }
    }

    fn default(&self) -> Option<&Value> {
        self.defaults.first().map(|(_, value)| value)
    }

    fn schema(&self) -> serde_json::Value {
        let unit = if self.key.unit.is_empty() { String::new() } else { format!(" Unit: {}.", self.key.unit) };
        let mut schema = Map::from_iter([
            ("type".to_owned(), json!(self.kind)),
            ("description".to_owned(), json!(format!("{}{unit}", self.key.meaning))),
        ]);
        let mut of_value = Map::new();
        if !self.choices.is_empty() {
            of_value.insert("enum".to_owned(), json!(self.choices));
        }
        if let Some(allowed) = ranges::allowed(self.key.name) {
            of_value.extend(bounds(allowed));
        }
        match self.kind {
            "array" => {
                let first = self.default().and_then(|list| list.get(0));
                let of_words = || refusal("memtrain", self.key.name, "[\"x\"]").is_none();
                let item = match first {
                    Some(Value::Integer(_)) => "integer",
                    Some(Value::String(_)) => "string",
                    _ if of_words() => "string",
                    _ => "object",
                };
                of_value.insert("type".to_owned(), json!(item));
                schema.insert("items".to_owned(), of_value.into());
            }
            _ => schema.extend(of_value),
        }
        // JSON has no infinite numbers.
        let default = self.default().and_then(|value| serde_json::to_value(value).ok());
        schema.extend(default.filter(|value| !value.is_null()).map(|value| ("default".to_owned(), value)));
        schema.into()
    }

    /// A row of the page: key, type, unit, default, bounds, effect, meaning.
    fn row(&self) -> String {
        let shown = |value: &Value| format!("`{}`", written(value).replace('\n', "\\n").replace('|', "\\|"));
        let usual = self.default().map_or_else(String::new, shown);
        let others = self.defaults.iter().skip(1).filter(|(_, value)| Some(value) != self.default());
        let others: String = others.fold(String::new(), |mut told, (kind, value)| {
            let _ = write!(told, "; {} for `{kind}`", shown(value));
            told
        });
        let choices = self.choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
        let allowed = match ranges::allowed(self.key.name) {
            Some(allowed) if allowed.low().0 < -1e18 => "any".to_owned(),
            Some(allowed) => allowed.to_string(),
            None => choices,
        };
        let Key { name, unit, in_run, meaning } = self.key;
        format!("| `{name}` | {} | {unit} | {usual}{others} | {allowed} | {} | {meaning} |", self.kind, effect(*in_run))
    }
}

/// A value as it is typed: a number of 32 bits has more digits in 64 than anybody has typed.
fn written(value: &Value) -> String {
    match value {
        Value::Float(number) if f64::from(*number as f32) == *number => format!("{:?}", *number as f32),
        value => value.to_string(),
    }
}

/// What the page calls an effect in a run.
fn effect(in_run: InRun) -> &'static str {
    match in_run {
        InRun::Free => "free",
        InRun::Rounding => "rounding",
        InRun::Place(_) => "place",
        InRun::Length => "free (constant rate)",
        InRun::SftLength => "free (constant rate)",
        InRun::Checkpoints => "free (no overlap)",
        InRun::Maths => "branch",
        InRun::SftMaths => "branch (`sft`)",
        InRun::Origin => "fixed",
    }
}

/// Bounds as JSON schema has them. A key that may be 0 below its lower end is bounded by 0: the check itself is finer.
fn bounds(allowed: Allowed) -> Vec<(String, serde_json::Value)> {
    let (low, is_low_in) = allowed.low();
    let (high, is_high_in) = allowed.high();
    let mut bounds = vec![(if is_low_in { "minimum" } else { "exclusiveMinimum" }.to_owned(), json!(low))];
    if high.is_finite() {
        bounds.push((if is_high_in { "maximum" } else { "exclusiveMaximum" }.to_owned(), json!(high)));
    }
    bounds
}

fn described() -> Vec<Described> {
    let tables: Vec<_> = kinds().into_iter().map(|kind| (kind.clone(), defaults(&kind))).collect();
    KEYS.iter().map(|key| Described::of(key, &tables)).collect()
}

/// A JSON schema (draft 2020-12) of a configuration file, by which editors complete and check it.
///
/// ```
/// let schema = memtrain_session::config::reference::schema();
/// let steps = &schema["properties"]["train"]["properties"]["steps"];
/// assert_eq!((steps["type"].as_str(), steps["default"].as_i64()), (Some("integer"), Some(300)));
/// ```
pub fn schema() -> serde_json::Value {
    let mut root = section("A configuration of memtrain.");
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("memtrain");
    for described in described() {
        let mut place = &mut root;
        let (sections, last) = described.key.name.rsplit_once('.').unwrap_or(("", described.key.name));
        for part in sections.split('.').filter(|part| !part.is_empty()) {
            let title = SECTIONS.iter().find(|(name, _)| *name == part).map_or("", |(_, title)| title);
            let inner = &mut place["properties"][part];
            if inner.is_null() {
                *inner = section(title);
            }
            place = inner;
        }
        place["properties"][last] = described.schema();
    }
    root
}

fn section(description: &str) -> serde_json::Value {
    json!({"type": "object", "description": description, "additionalProperties": false, "properties": {}})
}

/// The reference page, `docs/configuration.md`.
pub fn page() -> String {
    let described = described();
    let mut tables = String::new();
    let rows = |tables: &mut String, holds: &dyn Fn(&str) -> bool| {
        tables.push_str(
            "| key | type | unit | default | allowed | in a run | meaning |\n|---|---|---|---|---|---|---|\n",
        );
        for row in described.iter().filter(|described| holds(described.key.name)).map(Described::row) {
            tables.push_str(&row);
            tables.push('\n');
        }
    };
    rows(&mut tables, &|name| !name.contains('.'));
    for (name, title) in SECTIONS {
        let _ = write!(tables, "\n### `[{name}]`: {title}\n\n");
        rows(&mut tables, &|key| key.split_once('.').is_some_and(|(section, _)| section == *name));
    }
    PAGE.replace(TABLES, &tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What serde expects in a section; nothing where it is none, or takes any key.
    fn fields(kind: &str, section: &str) -> Vec<String> {
        let place = if section.is_empty() { "\"?\"".to_owned() } else { format!("{section}.\"?\"") };
        let refused = refusal(kind, &place, "1").unwrap_or_default();
        let fields = refused.split_once("unknown field `?`, expected ").map_or("", |(_, fields)| fields);
        let fields = fields.split('`').skip(1).step_by(2).filter(|part| !crate::config::renamed::is_earlier_name(part));
        fields.map(str::to_owned).collect()
    }

    /// The names of all keys, as the types say them themselves.
    fn names_of_types() -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for kind in kinds() {
            let mut sections = vec![String::new()];
            while let Some(section) = sections.pop() {
                for part in fields(&kind, &section) {
                    let name = if section.is_empty() { part } else { format!("{section}.{part}") };
                    match fields(&kind, &name).is_empty() {
                        false => sections.push(name),
                        true if !names.contains(&name) => names.push(name),
                        true => {}
                    }
                }
            }
        }
        names
    }

    #[test]
    fn every_key_of_the_types_is_in_the_table_and_no_other() {
        let names = names_of_types();
        assert!(names.len() > 150, "{names:?}");
        for name in &names {
            let found = KEYS.iter().find(|key| key.name == name);
            let Some(key) = found else {
                panic!(
                    "`{name}` has no line in `KEYS` (crates/session/src/config/keys.rs): say its unit, what another value does to a run that \
                     has begun, and what it means; then `memtrain config reference > docs/configuration.md`"
                );
            };
            assert!(key.meaning.ends_with('.') && key.meaning.len() > 10, "`{name}` has no meaning");
        }
        for (number, key) in KEYS.iter().enumerate() {
            assert!(names.iter().any(|name| name == key.name), "`{}` is no key", key.name);
            assert!(KEYS[..number].iter().all(|other| other.name != key.name), "`{}` stands there twice", key.name);
            let section = key.name.split('.').next().unwrap_or_default();
            assert!(!key.name.contains('.') || SECTIONS.iter().any(|(name, _)| *name == section), "{}", key.name);
        }
    }

    #[test]
    fn the_reference_page_is_the_one_that_the_table_makes() {
        let written = include_str!("../../../../docs/configuration.md");
        let page = page();
        let differs = written.lines().zip(page.lines()).find(|(written, made)| written != made);
        assert!(
            written == page,
            "docs/configuration.md is stale: `memtrain config reference > docs/configuration.md`; {differs:?}"
        );
    }

    #[test]
    fn the_schema_takes_the_defaults_of_every_kind_and_knows_choices_and_bounds() {
        let schema = schema();
        let at = |key: &str| {
            let path: String = key.split('.').map(|part| format!("/properties/{part}")).collect();
            schema.pointer(&path).cloned().unwrap_or_else(|| panic!("`{key}` is not in the schema"))
        };
        for kind in kinds() {
            for (key, value) in ranges::numbers(&defaults(&kind)) {
                let of_key = at(&key);
                let of_key = if of_key["type"] == "array" { of_key["items"].clone() } else { of_key };
                let number = value.as_float().or(value.as_integer().map(|whole| whole as f64)).unwrap();
                let bound = |name: &str| of_key.get(name).and_then(serde_json::Value::as_f64);
                assert!(bound("minimum").is_none_or(|least| number >= least), "{key} = {number}: {of_key}");
                assert!(bound("exclusiveMinimum").is_none_or(|least| number > least), "{key} = {number}: {of_key}");
                assert!(bound("maximum").is_none_or(|most| number <= most), "{key} = {number}: {of_key}");
                assert!(bound("exclusiveMaximum").is_none_or(|most| number < most), "{key} = {number}: {of_key}");
                assert!(bound("minimum").or(bound("exclusiveMinimum")).is_some(), "{key} has no bounds: {of_key}");
            }
        }
        assert_eq!(at("objective.kind")["enum"][0], "memtrain");
        assert_eq!(at("objective.kind")["enum"], json!(kinds()));
        assert_eq!(at("optimizer.decay")["enum"], json!(["constant", "linear", "cosine"]));
        assert_eq!(at("policy.lora.targets")["items"]["type"], "string");
        assert_eq!((&at("policy.path")["type"], &at("tasks.train")["type"]), (&json!("string"), &json!("string")));
        assert_eq!(at("policy.chat_template_kwargs")["type"], "object");
        assert_eq!(at("include")["items"]["type"], "string");
    }
}
