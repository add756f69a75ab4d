//! The fields of a row, under the names that people give them.

use std::borrow::Cow;
use std::collections::HashSet;

use memtrain_corpora::json;
use serde_json::{Map, Value};

use super::Refused;
use crate::{ContextPassage, Question};

/// The first of `names` that is there and not null.
pub(crate) fn first<'row>(row: &'row Map<String, Value>, names: &[&str]) -> Option<&'row Value> {
    names.iter().find_map(|name| row.get(*name).filter(|value| !value.is_null()))
}

/// A string, or a number or truth value as it is written.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        _ => None,
    }
}

/// The text under the first of `names` that is there.
pub(crate) fn text(row: &Map<String, Value>, names: &[&str]) -> Option<String> {
    first(row, names).and_then(text_of)
}

/// The id of a row, or `fallback`.
pub(crate) fn id(row: &Map<String, Value>, fallback: &str) -> String {
    let id = name(row, &["_id", "id", "qid", "question_id", "QuestionId", "instance_id"]);
    id.filter(|id| !id.trim().is_empty()).unwrap_or_else(|| fallback.to_owned())
}

/// The name under the first of `names` that is there: a text, or a number as [`json::whole`] writes it.
pub(crate) fn name(row: &Map<String, Value>, names: &[&str]) -> Option<String> {
    match first(row, names)? {
        Value::Number(number) => Some(json::whole(number)),
        other => text_of(other),
    }
}

/// A list as it is, or out of the text that a table keeps it in: as JSON or as Python prints it.
pub(crate) fn list(value: &Value) -> Option<Cow<'_, [Value]>> {
    match value {
        Value::Array(items) => Some(Cow::Borrowed(items)),
        Value::String(text) if text.trim_start().starts_with('[') => {
            let items = serde_json::from_str(text).ok().or_else(|| serde_json::from_str(&python_to_json(text)?).ok());
            items.map(Cow::Owned)
        }
        _ => None,
    }
}

/// Python's way of writing lists, dictionaries and strings as JSON; `None` where a string never ends.
fn python_to_json(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut characters = text.chars().peekable();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        out.push_str(match word.as_str() {
            "None" => "null",
            "True" => "true",
            "False" => "false",
            other => other,
        });
        word.clear();
    };
    while let Some(character) = characters.next() {
        if character.is_alphanumeric() || matches!(character, '_' | '.' | '-' | '+') {
            word.push(character);
            continue;
        }
        flush(&mut word, &mut out);
        if !matches!(character, '\'' | '"') {
            out.push(character);
            continue;
        }
        let mut content = String::new();
        loop {
            match characters.next()? {
                end if end == character => break,
                '\\' => match characters.next()? {
                    'n' => content.push('\n'),
                    't' => content.push('\t'),
                    'r' => content.push('\r'),
                    'x' => content.push(scalar(&mut characters, 2)?),
                    'u' => content.push(scalar(&mut characters, 4)?),
                    'U' => content.push(scalar(&mut characters, 8)?),
                    other => content.push(other),
                },
                other => content.push(other),
            }
        }
        out.push_str(&Value::String(content).to_string());
    }
    flush(&mut word, &mut out);
    Some(out)
}

fn scalar(characters: &mut impl Iterator<Item = char>, digits: usize) -> Option<char> {
    let digits: String = characters.take(digits).collect();
    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
}

/// A list of answers as it is, or out of the text that a table keeps it in. A text that reads like a list of anything else than texts is
/// an answer: an interval, the number of a note.
pub(crate) fn answers(value: &Value) -> Option<Cow<'_, [Value]>> {
    fn is_text(value: &Value) -> bool {
        match value {
            Value::Array(items) => items.iter().all(is_text),
            value => value.is_string(),
        }
    }
    list(value).filter(|items| value.is_array() || items.iter().all(is_text))
}

/// All texts of a value: itself, or those of its list, in whatever depth; blank ones and repetitions are dropped.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    texts_of([value])
}

/// All texts of some values, as [`texts`], one value after the other.
pub(crate) fn texts_of<'row>(values: impl IntoIterator<Item = &'row Value>) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        if let Some(items) = answers(value) {
            items.iter().for_each(|item| collect(item, found));
        } else if let Some(text) = text_of(value)
            && !text.trim().is_empty()
        {
            found.push(text);
        }
    }
    let mut found = Vec::new();
    values.into_iter().for_each(|value| collect(value, &mut found));
    let mut seen = HashSet::new();
    let is_new: Vec<bool> = found.iter().map(|text| seen.insert(text.as_str())).collect();
    found.into_iter().zip(is_new).filter_map(|(text, is_new)| is_new.then_some(text)).collect()
}

/// The question and its accepted answers.
pub(crate) fn question(text: Option<String>, answers: Vec<String>) -> Result<Question, Refused> {
    let text = text.filter(|text| !text.trim().is_empty()).ok_or_else(|| Refused::new("no question", ""))?;
    if answers.is_empty() {
        return Err(Refused::new("no accepted answer", format!("to `{text}`")));
    }
    Ok(Question { text, answers })
}

/// Sentences as one text. Some sets keep the space between two in one of them, others nowhere.
pub(crate) fn joined(sentences: &[String]) -> String {
    let mut text = String::new();
    for sentence in sentences {
        let apart = text.ends_with(char::is_whitespace) || sentence.starts_with(char::is_whitespace);
        if !text.is_empty() && !apart && !sentence.is_empty() {
            text.push(' ');
        }
        text.push_str(sentence);
    }
    text.trim().to_owned()
}

/// A passage; `None` where it has no text.
pub(crate) fn passage(title: Option<String>, text: String) -> Option<ContextPassage> {
    let title = title.unwrap_or_default().trim().to_owned();
    (!text.trim().is_empty()).then_some(ContextPassage { title, text })
}

/// The fields of a row that no task has a place for.
pub(crate) fn others(row: &Map<String, Value>, taken: &[&str]) -> Map<String, Value> {
    row.iter()
        .filter(|(key, value)| !taken.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_found_in_text_of_both_languages() {
        let python =
            json!("['it\\'s', \"a \\\"b\\\"\", 'Zürich', {'question': 'True?', 'n': [1, None, True, -2.5e3]}]");
        let expected = json!(["it's", "a \"b\"", "Zürich", {"question": "True?", "n": [1, null, true, -2500.0]}]);
        assert_eq!(Value::Array(list(&python).unwrap().into_owned()), expected);
        assert_eq!(list(&json!("[\"a\"]")).unwrap().as_ref(), [json!("a")]);
        assert_eq!(list(&json!("['never ends]")), None);
        assert_eq!(list(&json!("no list")), None);
        assert_eq!(texts(&json!([["a", "b"], "a", 3, " ", "['c']"])), ["a", "b", "3", "c"]);
    }

    #[test]
    fn sentences_keep_one_space_between_them() {
        let sentences = |parts: &[&str]| joined(&parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(sentences(&["A.", " B.", "C. ", "D."]), "A. B. C. D.");
        assert_eq!(sentences(&[]), "");
    }
}
