//! Function calls as a policy writes them, read strictly.
//!
//! Two forms: any number of `<tool_call>{…}</tool_call>` with anything around them (Qwen's), or nothing but one JSON object or one
//! JSON list of objects. Each object is `{"name": …, "arguments": {…}}` with exactly the arguments of its function. What
//! does not fit is a [`CallError`], an outcome like any other: it costs reward and never stops anything.

use memtrain_model::policy::PromptText;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Layout;

/// A part of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// The core of Mem-α's layout.
    Core,
    /// Its list of facts.
    Semantic,
    /// Its list of events.
    Episodic,
    /// The one list of Fine-Mem's layout.
    Items,
}

impl Section {
    /// The name in calls and prompts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Semantic => "semantic",
            Self::Episodic => "episodic",
            Self::Items => "items",
        }
    }
}

/// A call that fits its schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// Adds an item, or replaces the core.
    Insert {
        /// Where.
        section: Section,
        /// Its words.
        content: String,
    },
    /// Replaces the words of an item, or the core.
    Update {
        /// Where.
        section: Section,
        /// Which item; nothing for the core.
        id: Option<u64>,
        /// The new words.
        content: String,
    },
    /// Removes an item, or empties the core.
    Delete {
        /// Where.
        section: Section,
        /// Which item; nothing for the core.
        id: Option<u64>,
    },
    /// Changes nothing. Fine-Mem's layout alone.
    Skip,
}

impl Call {
    /// The name of its function.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Insert { .. } => "insert",
            Self::Update { .. } => "update",
            Self::Delete { .. } => "delete",
            Self::Skip => "skip",
        }
    }

    /// The words it writes.
    pub fn content(&self) -> Option<&str> {
        match self {
            Self::Insert { content, .. } | Self::Update { content, .. } => Some(content),
            Self::Delete { .. } | Self::Skip => None,
        }
    }

    /// As a policy writes it: a JSON object.
    ///
    /// ```
    /// use memtrain_rl::agents::bank::{call, Call, Layout, Section};
    /// let call = Call::Insert { section: Section::Semantic, content: "Lorn".into() };
    /// let json = call.to_json();
    /// assert_eq!(json, r#"{"name":"insert","arguments":{"type":"semantic","content":"Lorn"}}"#);
    /// assert_eq!(call::parse(&json, Layout::Sections), [Ok(call)]);
    /// ```
    pub fn to_json(&self) -> String {
        let mut arguments = Map::new();
        let (section, id) = match self {
            Self::Insert { section, .. } => (Some(*section), None),
            Self::Update { section, id, .. } | Self::Delete { section, id } => (Some(*section), *id),
            Self::Skip => (None, None),
        };
        if let Some(section) = section.filter(|section| *section != Section::Items) {
            arguments.insert("type".to_owned(), section.as_str().into());
        }
        if let Some(id) = id {
            arguments.insert("id".to_owned(), id.into());
        }
        if let Some(content) = self.content() {
            arguments.insert("content".to_owned(), content.into());
        }
        let name = Value::from(self.name());
        Value::Object(Map::from_iter([("name".to_owned(), name), ("arguments".to_owned(), arguments.into())]))
            .to_string()
    }

    /// As a policy writes it, with the words that it keeps marked as words from a document.
    pub fn to_words(&self) -> PromptText {
        let json = self.to_json();
        let quoted = self.content().map(|content| Value::from(content).to_string());
        // The content is the last argument: two braces follow.
        let ends = quoted.and_then(|quoted| Some((json.len() - 2).checked_sub(quoted.len())? + 1..json.len() - 3));
        match ends {
            Some(content) => {
                let mut words = PromptText::own(&json[..content.start]);
                words.push(&json[content.clone()].into());
                words.push(&PromptText::own(&json[content.end..]));
                words
            }
            None => PromptText::own(json),
        }
    }
}

/// Why something that looks like a call is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// `<tool_call>` without its end: mostly a response that was cut off.
    #[error("`<tool_call>` is never closed")]
    Unclosed,
    /// No JSON.
    #[error("no JSON: {0}")]
    Json(String),
    /// JSON that is no call.
    #[error("no call: {0}")]
    Shape(String),
    /// No such function.
    #[error("there is no function `{0}`")]
    Function(String),
    /// A function without one of its arguments, with another, or with one of a wrong type.
    #[error("`{function}`: {detail}")]
    Arguments {
        /// The function.
        function: &'static str,
        /// What is wrong.
        detail: String,
    },
}

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// All calls of a response in order; nothing where it holds none.
///
/// ```
/// use memtrain_rl::agents::bank::{Call, CallError, Layout, call};
/// let said = "I see.\n<tool_call>\n{\"name\": \"skip\", \"arguments\": {}}\n</tool_call>\n<tool_call>{\"name\": \"in";
/// assert_eq!(call::parse(said, Layout::Flat), [Ok(Call::Skip), Err(CallError::Unclosed)]);
/// assert!(call::parse("nothing to call", Layout::Flat).is_empty());
/// ```
pub fn parse(response: &str, layout: Layout) -> Vec<Result<Call, CallError>> {
    let text = response.trim();
    if text.contains(OPEN) {
        let blocks = text.split(OPEN).skip(1);
        return blocks
            .map(|block| match block.split_once(CLOSE) {
                Some((json, _)) => read(json).and_then(|value| call(&value, layout)),
                None => Err(CallError::Unclosed),
            })
            .collect();
    }
    if !text.starts_with(['[', '{']) {
        return Vec::new();
    }
    match read(text) {
        Ok(Value::Array(values)) => values.iter().map(|value| call(value, layout)).collect(),
        Ok(value) => vec![call(&value, layout)],
        Err(error) => vec![Err(error)],
    }
}

fn read(json: &str) -> Result<Value, CallError> {
    serde_json::from_str(json.trim()).map_err(|error| CallError::Json(error.to_string()))
}

fn call(value: &Value, layout: Layout) -> Result<Call, CallError> {
    let shape = |detail: &str| CallError::Shape(detail.to_owned());
    let object = value.as_object().ok_or_else(|| shape("it is not an object"))?;
    let name = object.get("name").and_then(Value::as_str).ok_or_else(|| shape("`name` is missing or no string"))?;
    let arguments = object
        .get("arguments")
        .and_then(Value::as_object)
        .ok_or_else(|| shape("`arguments` is missing or no object"))?;
    if let Some(key) = object.keys().find(|key| !matches!(key.as_str(), "name" | "arguments")) {
        return Err(CallError::Shape(format!("`{key}` is not known")));
    }
    let call = match (name, layout) {
        ("insert", _) => {
            let mut arguments = Arguments::new("insert", arguments);
            let section = arguments.section(layout)?;
            let content = arguments.content()?;
            arguments.end()?;
            Call::Insert { section, content }
        }
        ("update", _) => {
            let mut arguments = Arguments::new("update", arguments);
            let section = arguments.section(layout)?;
            let (id, content) = (arguments.id(section)?, arguments.content()?);
            arguments.end()?;
            Call::Update { section, id, content }
        }
        ("delete", _) => {
            let mut arguments = Arguments::new("delete", arguments);
            let section = arguments.section(layout)?;
            let id = arguments.id(section)?;
            arguments.end()?;
            Call::Delete { section, id }
        }
        ("skip", Layout::Flat) => {
            Arguments::new("skip", arguments).end()?;
            Call::Skip
        }
        _ => return Err(CallError::Function(name.to_owned())),
    };
    Ok(call)
}

/// The arguments of a call, taken one by one.
struct Arguments<'a> {
    function: &'static str,
    values: &'a Map<String, Value>,
    taken: usize,
}

impl<'a> Arguments<'a> {
    fn new(function: &'static str, values: &'a Map<String, Value>) -> Self {
        Self { function, values, taken: 0 }
    }

    fn wrong(&self, detail: String) -> CallError {
        CallError::Arguments { function: self.function, detail }
    }

    fn take<T>(&mut self, key: &str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T, CallError> {
        let value = self.values.get(key).ok_or_else(|| self.wrong(format!("`{key}` is missing")))?;
        self.taken += 1;
        read(value).ok_or_else(|| self.wrong(format!("`{key}` is not {expected}")))
    }

    fn section(&mut self, layout: Layout) -> Result<Section, CallError> {
        if layout == Layout::Flat {
            return Ok(Section::Items);
        }
        let parts = [Section::Core, Section::Semantic, Section::Episodic];
        self.take("type", "`core`, `semantic` or `episodic`", |value| {
            parts.into_iter().find(|part| value.as_str() == Some(part.as_str()))
        })
    }

    /// An item's number; a core has none, and none may be given.
    fn id(&mut self, section: Section) -> Result<Option<u64>, CallError> {
        if section == Section::Core {
            return Ok(None);
        }
        self.take("id", "the number of an item", Value::as_u64).map(Some)
    }

    fn content(&mut self) -> Result<String, CallError> {
        self.take("content", "a text", |value| value.as_str().map(str::to_owned))
    }

    /// Nothing else may be given.
    fn end(&self) -> Result<(), CallError> {
        if self.values.len() == self.taken {
            return Ok(());
        }
        let names: Vec<&str> = self.values.keys().map(String::as_str).collect();
        Err(self.wrong(format!("there are arguments that are not known among `{}`", names.join("`, `"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn errors(response: &str, layout: Layout) -> Vec<String> {
        parse(response, layout)
            .into_iter()
            .map(|call| call.map_or_else(|e| e.to_string(), |c| c.name().to_owned()))
            .collect()
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let flat = [
            (r#"{"name": "insert", "arguments": {"content": "x"}}"#, "insert"),
            (r#"[{"name": "delete", "arguments": {"id": 3}}]"#, "delete"),
            (r#"{"name": "insert", "arguments": {}}"#, "`insert`: `content` is missing"),
            (r#"{"name": "insert", "arguments": {"content": 7}}"#, "`insert`: `content` is not a text"),
            (r#"{"name": "delete", "arguments": {"id": "3"}}"#, "`delete`: `id` is not the number of an item"),
            (r#"{"name": "delete", "arguments": {"id": -3}}"#, "`delete`: `id` is not the number of an item"),
            (
                r#"{"name": "insert", "arguments": {"content": "x", "type": "core"}}"#,
                "`insert`: there are arguments that are not known among `content`, `type`",
            ),
            (r#"{"name": "forget", "arguments": {}}"#, "there is no function `forget`"),
            (r#"{"name": "skip"}"#, "no call: `arguments` is missing or no object"),
            (r#"{"name": "skip", "arguments": {}, "id": 1}"#, "no call: `id` is not known"),
            ("[7]", "no call: it is not an object"),
        ];
        for (response, expected) in flat {
            assert_eq!(errors(response, Layout::Flat), [expected], "{response}");
        }
        assert!(errors(r#"{"name": "skip", "arguments": {}} trailing"#, Layout::Flat)[0].starts_with("no JSON: "));
        assert!(errors(&"[".repeat(100_000), Layout::Flat)[0].starts_with("no JSON: "), "depth is bounded");
        let sections = [
            (r#"{"name": "update", "arguments": {"type": "core", "content": "x"}}"#, "update"),
            (r#"{"name": "insert", "arguments": {"content": "x"}}"#, "`insert`: `type` is missing"),
            (
                r#"{"name": "insert", "arguments": {"type": "items", "content": "x"}}"#,
                "`insert`: `type` is not `core`, `semantic` or `episodic`",
            ),
            (r#"{"name": "skip", "arguments": {}}"#, "there is no function `skip`"),
        ];
        for (response, expected) in sections {
            assert_eq!(errors(response, Layout::Sections), [expected], "{response}");
        }
    }

    proptest! {
        #[test]
        fn calls_come_back_in_both_forms(contents in prop::collection::vec("[a-z\"\\\\{}<>é\n]{1,12}", 0..5), sections in any::<bool>()) {
            let (layout, section) = if sections { (Layout::Sections, Section::Episodic) } else { (Layout::Flat, Section::Items) };
            let mut calls: Vec<Call> = contents.into_iter().map(|content| Call::Insert { section, content }).collect();
            calls.push(Call::Update { section, id: Some(4), content: "x".into() });
            calls.push(Call::Delete { section, id: Some(4) });
            let json: Vec<String> = calls.iter().map(Call::to_json).collect();
            let expected: Vec<Result<Call, CallError>> = calls.into_iter().map(Ok).collect();
            prop_assert_eq!(parse(&format!("[{}]", json.join(", ")), layout), &expected[..]);
            let tagged: String = json.iter().map(|call| format!("{OPEN}\n{call}\n{CLOSE}\n")).collect();
            prop_assert_eq!(parse(&tagged, layout), &expected[..]);
        }

        #[test]
        fn nothing_stops_the_parser(text in "(<tool_call>|</tool_call>|\\{|\\}|\\[|\\]|\"name\":|\"insert\"|,|é|1e999){0,12}") {
            for layout in [Layout::Flat, Layout::Sections] {
                parse(&text, layout);
            }
        }
    }
}
