//! Values of the wrong type in plain words: what was typed where, and what is expected there.

use std::error::Error;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
use std::ops::Range;

use clap::error::{ContextKind, ContextValue};
use toml::de::{DeTable, DeValue};

/// Characters of a value that are quoted.
const QUOTED: usize = 40;

/// The text of an error of the command line, with words of its own for a number that is none.
pub(super) fn rendered(error: &clap::Error) -> Option<String> {
    let source = error.source()?;
    let expected = match source.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::PosOverflow) => "the number is too large",
        Some(IntErrorKind::InvalidDigit) if is_negative(error) => "the number must not be negative",
        Some(_) => "a whole number is expected, in digits alone",
        None => source.downcast_ref::<ParseFloatError>().map(|_| "a number is expected, such as 0.5")?,
    };
    Some(error.render().to_string().replace(&source.to_string(), expected))
}

/// Whether what was typed is a whole number below 0.
fn is_negative(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.parse::<i128>().is_ok_and(|number| number < 0),
        _ => false,
    }
}

/// A value of the wrong type in a configuration.
pub(super) struct WrongType {
    /// Its key with its sections.
    pub(super) key: String,
    /// What was typed.
    pub(super) value: String,
    /// What it must be.
    pub(super) expected: &'static str,
}

impl WrongType {
    /// Out of serde's message on the value at `span` of `text`; nothing for other messages.
    pub(super) fn of(message: &str, text: &str, span: Option<Range<usize>>) -> Option<Self> {
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
        Some(Self { key, value: value.replace('\n', " "), expected })
    }
}

/// What serde calls a type, as people call it.
fn expected(name: &str) -> Option<&'static str> {
    Some(match name {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a string" => "a text in quotation marks",
        "a sequence" => "a list in `[` and `]`",
        name if name == "a map" || name.starts_with("struct ") => "a section of keys",
        _ => return None,
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
