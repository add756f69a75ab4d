//! Errors in a text of JSON, in the words of those who write it by hand: the parser speaks of its own types.

use serde_json::error::Category;

/// Characters of a value that are quoted.
const QUOTED: usize = 40;

/// What is wrong, with the key or the place; `text` is what was read.
///
/// ```
/// use memtrain_corpora::json::problem;
/// #[derive(Debug, serde::Deserialize)]
/// struct Row {
///     #[serde(rename = "ids")]
///     _ids: Vec<u32>,
/// }
/// let told = |text: &str| problem(&serde_json::from_str::<Row>(text).unwrap_err(), text);
/// assert_eq!(told(r#"{"ids": [3, "x"]}"#), "`ids` has \"x\", where a whole number, 0 or more, is expected");
/// assert_eq!(told(r#"{"id": [3]}"#), "the key `ids` is missing");
/// assert_eq!(told(r#"{"ids": [3"#), "it is no JSON: it ends too early");
/// ```
pub fn problem(error: &serde_json::Error, text: &str) -> String {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let message = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
    let place = match text.trim_end().contains('\n') {
        true => format!("line {line}, character {column}"),
        false => format!("character {column}"),
    };
    match error.classify() {
        Category::Eof => "it is no JSON: it ends too early".to_owned(),
        Category::Syntax => format!("it is no JSON: {message}, at {place}"),
        Category::Io => message.to_owned(),
        Category::Data => {
            let before = text.lines().nth(line.saturating_sub(1)).map_or(0, |last| {
                let start = last.as_ptr() as usize - text.as_ptr() as usize;
                start + column.min(last.len())
            });
            wrong_value(message, text.as_bytes().get(..before).unwrap_or_default())
        }
    }
}

/// What a message on well-formed JSON means; `before` ends where it arose.
fn wrong_value(message: &str, before: &[u8]) -> String {
    let named = |prefix: &str| message.strip_prefix(prefix)?.split('`').next();
    if let Some(key) = named("missing field `") {
        return format!("the key `{key}` is missing");
    }
    if let Some(key) = named("duplicate field `") {
        return format!("the key `{key}` stands twice");
    }
    if let Some(key) = named("unknown field `") {
        let known: Vec<String> = message.split('`').skip(3).step_by(2).map(|name| format!("`{name}`")).collect();
        return match known.is_empty() {
            true => format!("unknown key `{key}`"),
            false => format!("unknown key `{key}`; known are {}", known.join(", ")),
        };
    }
    let problem = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, wanted)) = problem.and_then(|problem| problem.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let wanted = expected(wanted).unwrap_or(wanted);
    let comma = if wanted.contains(',') { "," } else { "" };
    match last_key(before) {
        Some(key) => format!("`{key}` has {}, where {wanted}{comma} is expected", value(found)),
        None => format!("it has {}, where {wanted}{comma} is expected", value(found)),
    }
}

/// What the parser calls a type, as people call it.
pub fn expected(name: &str) -> Option<&'static str> {
    Some(match name {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a string" => "a text in quotation marks",
        "a sequence" => "a list in `[` and `]`",
        name if name == "a map" || name.starts_with("struct ") => "an object in `{` and `}`",
        _ => return None,
    })
}

/// A value as it was typed, by the parser's description: `string "x"`, ``integer `5` ``.
fn value(found: &str) -> String {
    let typed = match found {
        "map" => "an object",
        "sequence" => "a list",
        other => ["string ", "integer ", "floating point ", "boolean "]
            .into_iter()
            .find_map(|kind| other.strip_prefix(kind))
            .unwrap_or(other)
            .trim_matches('`'),
    };
    let mut shown: String = typed.chars().take(QUOTED).collect();
    if shown.len() < typed.len() {
        shown.push('…');
    }
    shown
}

/// The key that was read last in a text that ends within a value.
fn last_key(text: &[u8]) -> Option<String> {
    let (mut last, mut at) = (None, 0);
    while at < text.len() {
        if text[at] != b'"' {
            at += 1;
            continue;
        }
        let start = at + 1;
        at = start;
        while at < text.len() && text[at] != b'"' {
            at += if text[at] == b'\\' { 2 } else { 1 };
        }
        let word = text.get(start..at)?;
        at += 1;
        let after = text.get(at..).unwrap_or_default().trim_ascii_start();
        if after.first() == Some(&b':') {
            last = Some(String::from_utf8_lossy(word).into_owned());
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Row {
        ids: Vec<u32>,
        name: Option<String>,
        place: Option<Place>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Place {
        x: f64,
    }

    #[test]
    fn nothing_is_told_in_words_of_the_parser() {
        for (text, expected) in [
            (r#"{"ids": [1, -4]}"#, "`ids` has -4, where a whole number, 0 or more, is expected"),
            (r#"{"ids": [1.5]}"#, "`ids` has 1.5, where a whole number, 0 or more, is expected"),
            (r#"{"ids": 4}"#, "`ids` has 4, where a list in `[` and `]` is expected"),
            (r#"{"name": "a\"b", "ids": {}}"#, "`ids` has an object, where a list in `[` and `]` is expected"),
            (r#"{"ids": [], "name": [1]}"#, "`name` has a list, where a text in quotation marks is expected"),
            (r#"{"ids": [], "place": {"x": "1"}}"#, "`x` has \"1\", where a number is expected"),
            (r#"{"ids": [], "place": {"y": 1}}"#, "the key `x` is missing"),
            (r#"{"ids": [], "ids": []}"#, "the key `ids` stands twice"),
            (r#"{"idz": []}"#, "unknown key `idz`; known are `ids`, `name`, `place`"),
            ("[1]", "it has 1, where a list in `[` and `]` is expected"),
            ("7", "it has 7, where an object in `{` and `}` is expected"),
            (r#"{"ids": [1,]}"#, "it is no JSON: trailing comma, at character 12"),
            ("{\"ids\":\n [1,]}", "it is no JSON: trailing comma, at line 2, character 5"),
            ("ids", "it is no JSON: expected value, at character 1"),
            ("", "it is no JSON: it ends too early"),
        ] {
            let Err(error) = serde_json::from_str::<Row>(text) else { panic!("{text} is fine") };
            let told = problem(&error, text);
            assert_eq!(told, expected, "{text}");
            assert!(
                !["invalid type", "u32", "struct", "sequence", "EOF", " field"].iter().any(|word| told.contains(word)),
                "{told}"
            );
        }
        let long = format!(r#"{{"ids": ["{}"]}}"#, "ä".repeat(99));
        let told = problem(&serde_json::from_str::<Row>(&long).unwrap_err(), &long);
        assert!(told.len() < 200 && told.contains('…'), "{told}");
    }
}
