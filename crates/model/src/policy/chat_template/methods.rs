//! Methods of Python's texts, dictionaries and lists that templates call.

use std::sync::Arc;

use super::format::{braces, printed};
use super::limits::{Meter, Outcome, WIDTH, fail};
use super::operators::equal;
use super::value::Value;

/// Arguments of a call, evaluated.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(Arc<str>, Value)>,
}

impl Given {
    /// An argument by its place or its name.
    pub(super) fn get(&self, place: usize, name: &str) -> Option<&Value> {
        let named = || self.named.iter().find(|(own, _)| **own == *name).map(|(_, value)| value);
        self.positional.get(place).or_else(named)
    }

    pub(super) fn text(&self, place: usize, name: &str) -> Outcome<Option<&str>> {
        match self.get(place, name) {
            None | Some(Value::None) => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text)),
            Some(other) => fail(format!("the argument `{name}` must be a text, got a {}", other.kind())),
        }
    }

    pub(super) fn int(&self, place: usize, name: &str) -> Outcome<Option<i64>> {
        match self.get(place, name) {
            None | Some(Value::None) => Ok(None),
            Some(other) => match other.as_i64() {
                Some(number) => Ok(Some(number)),
                None => fail(format!("the argument `{name}` must be a whole number, got a {}", other.kind())),
            },
        }
    }
}

/// `value.name(…)`; nothing if there is no such method.
pub(super) fn call(value: &Value, name: &str, given: &Given, meter: &mut Meter) -> Outcome<Option<Value>> {
    match value {
        Value::Str(text) => of_text(text, name, given, meter),
        Value::Map(map) => Ok(Some(match name {
            "items" | "keys" | "values" => {
                meter.values(3 * map.items().len())?;
                let mut found = Vec::new();
                for (key, item) in map.items() {
                    found.push(match name {
                        "items" => Value::list(vec![Value::Str(Arc::clone(key)), item.clone()], meter)?,
                        "keys" => Value::Str(Arc::clone(key)),
                        _ => item.clone(),
                    });
                }
                Value::list(found, meter)?
            }
            "get" => {
                let key = given.text(0, "key")?.unwrap_or_default();
                let otherwise = || given.get(1, "default").cloned().unwrap_or(Value::None);
                map.get(key, meter)?.cloned().unwrap_or_else(otherwise)
            }
            _ => return Ok(None),
        })),
        Value::List(list) => Ok(Some(match name {
            "count" => {
                let mut count = 0;
                for item in list.items() {
                    count += i64::from(equal(item, given.get(0, "value").unwrap_or(&Value::Undefined), meter)?);
                }
                Value::Int(count)
            }
            "index" => {
                for (at, item) in list.items().iter().enumerate() {
                    if equal(item, given.get(0, "value").unwrap_or(&Value::Undefined), meter)? {
                        return Ok(Some(Value::Int(at as i64)));
                    }
                }
                return fail("a list does not have the item that is asked for");
            }
            "copy" => value.clone(),
            _ => return Ok(None),
        })),
        Value::Loop(state) => Ok(Some(match name {
            "cycle" => {
                let len = given.positional.len();
                if len == 0 { Value::Undefined } else { given.positional[state.index % len].clone() }
            }
            "changed" => {
                let now = Value::list(given.positional.clone(), meter)?;
                let before = state.last.borrow_mut().replace(now.clone());
                Value::Bool(match before {
                    Some(before) => !equal(&before, &now, meter)?,
                    None => true,
                })
            }
            _ => return Ok(None),
        })),
        _ => Ok(None),
    }
}

fn of_text(text: &str, name: &str, given: &Given, meter: &mut Meter) -> Outcome<Option<Value>> {
    // Most read the text, and write it at most three times as long: so much some letters grow in the other case.
    meter.work(4 * text.len() as u64 + 16)?;
    let all = |is: fn(char) -> bool| Value::Bool(!text.is_empty() && text.chars().all(is));
    let needed = |place, name: &str| match given.text(place, name)? {
        Some(text) => Ok(text),
        None => fail(format!("the argument `{name}` is missing")),
    };
    let place = |found: Option<usize>| Value::Int(found.map_or(-1, |at| text[..at].chars().count() as i64));
    Ok(Some(match name {
        "lower" => Value::Str(text.to_lowercase().into()),
        "upper" => Value::Str(text.to_uppercase().into()),
        "capitalize" => Value::Str(capitalized(text).into()),
        "title" => Value::Str(title(text).into()),
        "strip" => Value::text(stripped(text, given.text(0, "chars")?, true, true)),
        "lstrip" => Value::text(stripped(text, given.text(0, "chars")?, true, false)),
        "rstrip" => Value::text(stripped(text, given.text(0, "chars")?, false, true)),
        "startswith" | "endswith" => {
            let is = |affix: &str| if name == "startswith" { text.starts_with(affix) } else { text.ends_with(affix) };
            Value::Bool(match given.get(0, "affix") {
                Some(Value::List(several)) => {
                    meter.values(several.items().len())?;
                    several.items().iter().filter_map(Value::as_str).any(is)
                }
                _ => is(needed(0, "affix")?),
            })
        }
        "removeprefix" => Value::text(text.strip_prefix(needed(0, "prefix")?).unwrap_or(text)),
        "removesuffix" => Value::text(text.strip_suffix(needed(0, "suffix")?).unwrap_or(text)),
        "replace" => {
            let most = given.int(2, "count")?;
            Value::Str(replaced(text, needed(0, "old")?, needed(1, "new")?, most, meter)?.into())
        }
        "split" | "rsplit" => split(text, given.text(0, "sep")?, given.int(1, "maxsplit")?, name == "rsplit", meter)?,
        "splitlines" => several(text.lines().collect(), meter)?,
        "join" => {
            let items = given.get(0, "iterable").unwrap_or(&Value::Undefined);
            joined(items, text, meter)?
        }
        "find" => place(text.find(needed(0, "sub")?)),
        "rfind" => place(text.rfind(needed(0, "sub")?)),
        "count" => Value::Int(match needed(0, "sub")? {
            "" => text.chars().count() as i64 + 1,
            part => text.matches(part).count() as i64,
        }),
        "format" => Value::Str(braces(text, &given.positional, &given.named, meter)?.into()),
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isdigit" | "isdecimal" | "isnumeric" => all(char::is_numeric),
        "isspace" => all(char::is_whitespace),
        "isascii" => Value::Bool(text.is_ascii()),
        "islower" => Value::Bool(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)),
        "isupper" => Value::Bool(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)),
        "zfill" | "ljust" | "rjust" | "center" => {
            let Some(width) = given.int(0, "width")?.filter(|width| *width <= WIDTH as i64) else {
                return fail(format!("a width of at most {WIDTH} characters expected"));
            };
            let missing = (width.max(0) as usize).saturating_sub(text.chars().count());
            let fill = if name == "zfill" { "0" } else { given.text(1, "fillchar")?.unwrap_or(" ") };
            if fill.chars().count() != 1 {
                return fail("one character to fill with expected");
            }
            let before = match name {
                "ljust" => 0,
                "center" => missing / 2,
                _ => missing,
            };
            Value::Str([&fill.repeat(before), text, &fill.repeat(missing - before)].concat().into())
        }
        _ => return Ok(None),
    }))
}

/// The first letter large, all others small.
pub(super) fn capitalized(text: &str) -> String {
    let mut scalars = text.chars();
    let first = scalars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(scalars.as_str().to_lowercase().chars()).collect()
}

/// The first letter of each word large, all others small.
pub(super) fn title(text: &str) -> String {
    let mut inside = false;
    let mut whole = String::new();
    for scalar in text.chars() {
        if inside {
            whole.extend(scalar.to_lowercase());
        } else {
            whole.extend(scalar.to_uppercase());
        }
        inside = scalar.is_alphabetic();
    }
    whole
}

/// The text without these characters, or without white space, at its ends.
pub(super) fn stripped<'t>(text: &'t str, characters: Option<&str>, start: bool, end: bool) -> &'t str {
    // Many characters are looked up once a character of the text; templates have a few.
    let is =
        |scalar: char| characters.map_or(scalar.is_whitespace(), |set| set.chars().take(64).any(|own| own == scalar));
    let text = if start { text.trim_start_matches(is) } else { text };
    if end { text.trim_end_matches(is) } else { text }
}

/// The text with all, or the first so many, occurrences of `old` replaced.
pub(super) fn replaced(text: &str, old: &str, new: &str, most: Option<i64>, meter: &mut Meter) -> Outcome<String> {
    let most = usize::try_from(most.unwrap_or(-1)).unwrap_or(usize::MAX);
    let count = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    meter.bytes(count.min(most).saturating_mul(new.len()).saturating_add(text.len()))?;
    Ok(text.replacen(old, new, most))
}

/// What the items print, with a text between them.
pub(super) fn joined(items: &Value, between: &str, meter: &mut Meter) -> Outcome<Value> {
    let items = items.iterate(meter)?;
    let mut whole = String::new();
    for (at, item) in items.items().iter().enumerate() {
        let item = printed(item, meter)?;
        let between = if at > 0 { between } else { "" };
        meter.bytes(between.len() + item.len())?;
        whole.push_str(between);
        whole.push_str(&item);
    }
    Ok(Value::Str(whole.into()))
}

/// Parts of a text as Python cuts them, between separators or runs of white space.
pub(super) fn split(
    text: &str,
    separator: Option<&str>,
    most: Option<i64>,
    from_end: bool,
    meter: &mut Meter,
) -> Outcome<Value> {
    let most = usize::try_from(most.unwrap_or(-1)).map_or(usize::MAX, |most| most.saturating_add(1));
    meter.work(24 * text.len() as u64)?;
    let parts = match (separator, from_end) {
        (Some(""), _) => return fail("an empty separator"),
        (Some(separator), false) => text.splitn(most, separator).collect(),
        (Some(separator), true) => {
            let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
            parts.reverse();
            parts
        }
        (None, _) if most == usize::MAX => text.split_whitespace().collect(),
        (None, false) => {
            let (mut parts, mut rest) = (Vec::new(), text.trim());
            while !rest.is_empty() {
                let end = if parts.len() + 1 < most { rest.find(char::is_whitespace) } else { None };
                let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
                parts.push(part);
                rest = after.trim_start();
            }
            parts
        }
        (None, true) => return fail("`rsplit` needs a separator"),
    };
    several(parts, meter)
}

fn several(parts: Vec<&str>, meter: &mut Meter) -> Outcome<Value> {
    meter.values(parts.len())?;
    Value::list(parts.into_iter().map(Value::text).collect(), meter)
}
