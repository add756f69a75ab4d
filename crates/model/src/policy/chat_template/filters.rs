//! Filters, and the functions that every template may call.

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use super::date::Date;
use super::format::{JsonStyle, json, percent, printed};
use super::limits::{Failure, Meter, Outcome, WIDTH, fail};
use super::methods::{Given, capitalized, joined, replaced, split, stripped, title};
use super::operators::{arithmetic, attribute, equal, index, order, test};
use super::syntax::Operator;
use super::value::{Dict, Value};

/// Most numbers of a `range`.
const RANGE: u64 = 100_000;

/// `value | name(…)`.
pub(super) fn apply(name: &str, value: &Value, given: &Given, meter: &mut Meter) -> Outcome<Value> {
    match name {
        "default" | "d" => {
            let falsy = given.get(1, "boolean").is_some_and(Value::is_true);
            let replace = matches!(value, Value::Undefined) || falsy && !value.is_true();
            let otherwise = || given.get(0, "default_value").cloned().unwrap_or_else(|| Value::text(""));
            Ok(if replace { otherwise() } else { value.clone() })
        }
        "length" | "count" => Ok(Value::Int(value.len(meter)? as i64)),
        "tojson" => {
            let flag = |place, name| given.get(place, name).is_some_and(Value::is_true);
            let separators = match given.get(2, "separators") {
                None | Some(Value::None) => None,
                Some(Value::List(pair)) => match pair.items() {
                    [Value::Str(item), Value::Str(key)] => Some([&**item, &**key]),
                    _ => return fail("`separators` must be two texts"),
                },
                Some(other) => return fail(format!("`separators` must be two texts, got a {}", other.kind())),
            };
            let indent = match given.get(1, "indent") {
                Some(Value::Str(text)) => Some(text.to_string()),
                _ => match given.int(1, "indent")? {
                    Some(width) if width > WIDTH as i64 => {
                        return fail(format!("an indentation within 0 and {WIDTH} expected, got {width}"));
                    }
                    // As in Python, less than nothing is nothing.
                    width => width.map(|width| " ".repeat(width.max(0) as usize)),
                },
            };
            let ascii = flag(0, "ensure_ascii");
            let style = JsonStyle { ascii, indent: indent.as_deref(), separators, sorted: flag(3, "sort_keys") };
            Ok(Value::Str(json(value, style, meter)?.into()))
        }
        "safe" => Ok(value.clone()),
        "abs" | "int" | "float" | "round" => number(name, value, given),
        "trim" | "upper" | "lower" | "capitalize" | "title" | "replace" | "split" | "lines" | "indent" | "string"
        | "format" => text(name, value, given, meter),
        _ => sequence(name, value, given, meter),
    }
}

fn number(name: &str, value: &Value, given: &Given) -> Outcome<Value> {
    let otherwise = |usual: Value| Ok(given.get(0, "default").cloned().unwrap_or(usual));
    match name {
        "abs" => match value {
            Value::Float(number) => Ok(Value::Float(number.abs())),
            _ => match value.as_i64().and_then(i64::checked_abs) {
                Some(number) => Ok(Value::Int(number)),
                None => fail(format!("`abs` does not apply to a {}", value.kind())),
            },
        },
        "int" => match value {
            Value::Str(text) => {
                match text.trim().parse().ok().or_else(|| Some(text.trim().parse::<f64>().ok()? as i64)) {
                    Some(number) => Ok(Value::Int(number)),
                    None => otherwise(Value::Int(0)),
                }
            }
            _ => value.as_f64().map_or_else(
                || otherwise(Value::Int(0)),
                |number| Ok(Value::Int(value.as_i64().unwrap_or(number as i64))),
            ),
        },
        "float" => match value {
            Value::Str(text) => {
                text.trim().parse().map_or_else(|_| otherwise(Value::Float(0.0)), |n| Ok(Value::Float(n)))
            }
            _ => value.as_f64().map_or_else(|| otherwise(Value::Float(0.0)), |n| Ok(Value::Float(n))),
        },
        _ => {
            let Some(number) = value.as_f64() else {
                return fail(format!("`round` does not apply to a {}", value.kind()));
            };
            let scale = 10_f64.powi(given.int(0, "precision")?.unwrap_or(0).clamp(-300, 300) as i32);
            let scaled = number * scale;
            let whole = match given.text(1, "method")?.unwrap_or("common") {
                "ceil" => scaled.ceil(),
                "floor" => scaled.floor(),
                _ => scaled.round_ties_even(),
            };
            // A number that has no digits there is itself.
            Ok(Value::Float(if scaled.is_finite() { whole / scale } else { number }))
        }
    }
}

fn text(name: &str, value: &Value, given: &Given, meter: &mut Meter) -> Outcome<Value> {
    let own = printed(value, meter)?;
    meter.work(4 * own.len() as u64)?;
    let made = match name {
        "trim" => stripped(&own, given.text(0, "chars")?, true, true).to_owned(),
        "upper" => own.to_uppercase(),
        "lower" => own.to_lowercase(),
        "capitalize" => capitalized(&own),
        "title" => title(&own),
        "replace" => {
            let part = |place, name: &str| given.text(place, name).map(Option::unwrap_or_default);
            replaced(&own, part(0, "old")?, part(1, "new")?, given.int(2, "count")?, meter)?
        }
        "split" => return split(&own, given.text(0, "sep")?, given.int(1, "maxsplit")?, false, meter),
        "lines" => {
            let lines: Vec<Value> = own.lines().map(Value::text).collect();
            return Value::list(lines, meter);
        }
        "indent" => indented(&own, given, meter)?,
        "format" => percent(&own, &given.positional, meter)?,
        _ => own,
    };
    Ok(Value::Str(made.into()))
}

fn indented(own: &str, given: &Given, meter: &mut Meter) -> Outcome<String> {
    let by = match given.get(0, "width") {
        Some(Value::Str(text)) => text.to_string(),
        _ => match given.int(0, "width")?.unwrap_or(4) {
            width if (0..=WIDTH as i64).contains(&width) => " ".repeat(width as usize),
            width => return fail(format!("an indentation within 0 and {WIDTH} expected, got {width}")),
        },
    };
    let flag = |place, name: &str| given.get(place, name).is_some_and(Value::is_true);
    let (first, blank) = (flag(1, "first"), flag(2, "blank"));
    let mut whole = String::new();
    for (at, line) in own.split('\n').enumerate() {
        meter.bytes(by.len() + line.len())?;
        whole.push_str(if at > 0 { "\n" } else { "" });
        if (at > 0 || first) && (blank || !line.is_empty()) {
            whole.push_str(&by);
        }
        whole.push_str(line);
    }
    Ok(whole)
}

fn sequence(name: &str, value: &Value, given: &Given, meter: &mut Meter) -> Outcome<Value> {
    if name == "reverse"
        && let Value::Str(text) = value
    {
        meter.bytes(text.len())?;
        return Ok(Value::Str(text.chars().rev().collect::<String>().into()));
    }
    if name == "items" || name == "dictsort" {
        let Value::Map(map) = value else { return fail(format!("`{name}` does not apply to a {}", value.kind())) };
        let pairs = super::methods::call(value, "items", &Given::default(), meter)?.unwrap_or(Value::Undefined);
        let by = i64::from(given.text(1, "by")? == Some("value"));
        let reverse = given.get(2, "reverse").is_some_and(Value::is_true);
        let folded = !given.get(0, "case_sensitive").is_some_and(Value::is_true);
        let items = pairs.iterate(meter)?.items().to_vec();
        return match name {
            "items" => Ok(pairs),
            _ => {
                meter.values(map.items().len())?;
                Value::list(sorted(items, &[Value::Int(by)], reverse, folded, meter)?, meter)
            }
        };
    }
    let list = value.iterate(meter)?;
    let items = list.items();
    meter.values(items.len())?;
    let path = |name: &str, place| -> Outcome<Vec<Value>> { Ok(given.get(place, name).map(keys).unwrap_or_default()) };
    let found = match name {
        "first" => return Ok(items.first().cloned().unwrap_or(Value::Undefined)),
        "last" => return Ok(items.last().cloned().unwrap_or(Value::Undefined)),
        "list" => items.to_vec(),
        "reverse" => items.iter().rev().cloned().collect(),
        "join" => {
            let between = given.get(0, "d").map_or(Ok(String::new()), |between| printed(between, meter))?;
            return match path("attribute", 1)?.as_slice() {
                [] => joined(&Value::List(list), &between, meter),
                path => {
                    let items = items.iter().map(|item| at(item, path, meter)).collect::<Outcome<Vec<_>>>()?;
                    joined(&Value::list(items, meter)?, &between, meter)
                }
            };
        }
        "min" | "max" => {
            let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
            let mut best = Value::Undefined;
            for item in items {
                if matches!(best, Value::Undefined) || order(item, &best, meter)? == Some(wanted) {
                    best = item.clone();
                }
            }
            return Ok(best);
        }
        "sum" => {
            let path = path("attribute", 0)?;
            let mut sum = given.get(1, "start").cloned().unwrap_or(Value::Int(0));
            for item in items {
                sum = arithmetic(&sum, Operator::Add, &at(item, &path, meter)?, meter)?;
            }
            return Ok(sum);
        }
        "sort" => {
            let flag = |place, name: &str| given.get(place, name).is_some_and(Value::is_true);
            sorted(items.to_vec(), &path("attribute", 2)?, flag(0, "reverse"), !flag(1, "case_sensitive"), meter)?
        }
        "unique" => {
            let path = path("attribute", 1)?;
            let mut seen: Vec<Value> = Vec::new();
            let mut kept = Vec::new();
            for item in items {
                let key = folded(
                    at(item, &path, meter)?,
                    !given.get(0, "case_sensitive").is_some_and(Value::is_true),
                    meter,
                )?;
                let mut is_new = true;
                for other in &seen {
                    is_new &= !equal(other, &key, meter)?;
                }
                if is_new {
                    seen.push(key);
                    kept.push(item.clone());
                }
            }
            kept
        }
        "map" => {
            let attribute = given.named.iter().find(|(name, _)| &**name == "attribute").map(|(_, value)| keys(value));
            let otherwise = given.named.iter().find(|(name, _)| &**name == "default").map(|(_, value)| value);
            let rest = rest(given, 1);
            let one = |item: &Value| match (&attribute, given.positional.first()) {
                (Some(path), _) => match (at(item, path, meter)?, otherwise) {
                    (Value::Undefined, Some(otherwise)) => Ok(otherwise.clone()),
                    (found, _) => Ok(found),
                },
                (None, Some(Value::Str(filter))) => apply(filter, item, &rest, meter),
                _ => fail("`map` needs a filter or an attribute"),
            };
            items.iter().map(one).collect::<Outcome<_>>()?
        }
        "select" | "reject" | "selectattr" | "rejectattr" => {
            let by_attribute = name.ends_with("attr");
            let path = if by_attribute { path("attribute", 0)? } else { Vec::new() };
            let first = usize::from(by_attribute);
            let name_of_test = given.text(first, "test")?;
            let wanted = name.starts_with("select");
            let mut kept = Vec::new();
            for item in items {
                let tested = at(item, &path, meter)?;
                let is = match name_of_test {
                    Some(name) => test(name, &tested, given.positional.get(first + 1), meter)?,
                    None => tested.is_true(),
                };
                if is == wanted {
                    kept.push(item.clone());
                }
            }
            kept
        }
        "batch" | "slice" => {
            let count = given.int(0, "count")?.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
            let Some(count) = count else { return fail(format!("`{name}` needs a positive number")) };
            let filler = given.get(1, "fill_with");
            // Filled up, or with empty parts, the result is as large as the number asks.
            meter.values(count.saturating_add(items.len()))?;
            let mut parts: Vec<Vec<Value>> = match name {
                "batch" => items.chunks(count).map(<[Value]>::to_vec).collect(),
                _ => {
                    let (each, more) = (items.len() / count, items.len() % count);
                    let start = |part: usize| part * each + part.min(more);
                    (0..count).map(|part| items[start(part)..start(part + 1)].to_vec()).collect()
                }
            };
            let full = if name == "batch" { count } else { items.len().div_ceil(count) };
            for part in &mut parts {
                if let Some(filler) = filler {
                    part.resize(full.max(part.len()), filler.clone());
                }
            }
            let parts = parts.into_iter().map(|part| Value::list(part, meter)).collect::<Outcome<_>>()?;
            return Value::list(parts, meter);
        }
        "attr" => return attribute(value, given.text(0, "name")?.unwrap_or_default(), meter),
        other => return fail(format!("unknown filter `{other}`")),
    };
    Value::list(found, meter)
}

/// The arguments from a place on.
fn rest(given: &Given, from: usize) -> Given {
    Given { positional: given.positional.iter().skip(from).cloned().collect(), named: given.named.clone() }
}

/// The keys of a path such as `function.name`.
fn keys(path: &Value) -> Vec<Value> {
    match path {
        Value::Str(path) => {
            let key = |part: &str| part.parse().map_or_else(|_| Value::text(part), Value::Int);
            path.split('.').take(32).map(key).collect()
        }
        other => vec![other.clone()],
    }
}

fn at(value: &Value, path: &[Value], meter: &mut Meter) -> Outcome<Value> {
    let mut value = value.clone();
    for key in path {
        value = index(&value, key, meter)?;
    }
    Ok(value)
}

/// A text in small letters, if case does not matter.
fn folded(value: Value, fold: bool, meter: &mut Meter) -> Outcome<Value> {
    match value {
        Value::Str(text) if fold => {
            meter.work(4 * text.len() as u64)?;
            Ok(Value::Str(text.to_lowercase().into()))
        }
        other => Ok(other),
    }
}

/// Items in the order of a key, numbers or texts. Ranks are made before the sorting, so that it cannot fail.
fn sorted(items: Vec<Value>, path: &[Value], reverse: bool, fold: bool, meter: &mut Meter) -> Outcome<Vec<Value>> {
    let rounds = u64::from(items.len().max(1).ilog2()) + 1;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items {
        let key = folded(at(&item, path, meter)?, fold, meter)?;
        meter.work(rounds.saturating_mul(key.size()))?;
        keyed.push((key, item));
    }
    let is_number = |key: &Value| key.as_f64().is_some_and(|number| !number.is_nan());
    if !keyed.iter().all(|(key, _)| key.as_str().is_some()) && !keyed.iter().all(|(key, _)| is_number(key)) {
        return fail("only numbers, or only texts, can be sorted");
    }
    keyed.sort_by(|(left, _), (right, _)| {
        let texts = left.as_str().cmp(&right.as_str());
        let numbers = || left.as_f64().unwrap_or_default().total_cmp(&right.as_f64().unwrap_or_default());
        let found = texts.then_with(numbers);
        if reverse { found.reverse() } else { found }
    });
    Ok(keyed.into_iter().map(|(_, item)| item).collect())
}

/// Names of the functions.
pub(super) const FUNCTIONS: [&str; 5] = ["range", "namespace", "dict", "raise_exception", "strftime_now"];

/// Calls one of [`FUNCTIONS`].
pub(super) fn function(name: &str, given: &Given, today: Date, meter: &mut Meter) -> Outcome<Value> {
    match name {
        "strftime_now" => match given.text(0, "format")? {
            Some(format) => Ok(Value::Str(today.strftime(format, meter)?.into())),
            None => fail("`strftime_now` needs a format such as `%d %b %Y`"),
        },
        "range" => {
            let numbers = given.positional.iter().map(Value::as_i64).collect::<Option<Vec<_>>>();
            let (start, stop, step) = match numbers.as_deref() {
                Some(&[stop]) => (0, stop, 1),
                Some(&[start, stop]) => (start, stop, 1),
                Some(&[start, stop, step]) if step != 0 => (start, stop, step),
                _ => return fail("`range` needs one to three whole numbers, and a step other than 0"),
            };
            let span =
                if step > 0 { i128::from(stop) - i128::from(start) } else { i128::from(start) - i128::from(stop) };
            let step_size = i128::from(step).abs();
            let len = (span.max(0) + step_size - 1) / step_size;
            if len > i128::from(RANGE) {
                return Err(Failure::Limit { limit: "numbers of a `range`", most: RANGE });
            }
            meter.values(len as usize)?;
            let number = |at: i128| Value::Int((i128::from(start) + at * i128::from(step)) as i64);
            Value::list((0..len).map(number).collect(), meter)
        }
        "namespace" | "dict" => {
            let mut made = Dict::default();
            if let Some(Value::Map(map)) = given.positional.first() {
                for (key, value) in map.items() {
                    made.set(Arc::clone(key), value.clone(), meter)?;
                }
            }
            for (key, value) in &given.named {
                made.set(Arc::clone(key), value.clone(), meter)?;
            }
            let is_space = name == "namespace";
            Ok(if is_space { Value::Namespace(Rc::new(made.into())) } else { Value::Map(Rc::new(made)) })
        }
        _ => {
            let message = given.positional.first().map_or(Ok(String::new()), |message| printed(message, meter))?;
            fail(format!("the template refuses the conversation: {message}"))
        }
    }
}
