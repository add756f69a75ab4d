//! Values as text: printed as Python does, and as JSON as `json.dumps(…, ensure_ascii=False)` does.

use std::fmt::Write;

use super::limits::{Meter, Outcome, WIDTH, fail};
use super::value::Value;

/// What `{{ value }}` prints.
pub(super) fn printed(value: &Value, meter: &mut Meter) -> Outcome<String> {
    meter.work(value.size())?;
    let mut text = String::new();
    match value {
        Value::Undefined => {}
        Value::Str(own) => text.push_str(own),
        other => represent(other, &mut text),
    }
    Ok(text)
}

/// Appends what Python's `repr` says.
fn represent(value: &Value, text: &mut String) {
    match value {
        Value::Undefined => text.push_str("Undefined"),
        Value::None => text.push_str("None"),
        Value::Bool(flag) => text.push_str(if *flag { "True" } else { "False" }),
        Value::Int(number) => text.push_str(&number.to_string()),
        Value::Float(number) => text.push_str(&float(*number)),
        Value::Str(own) => quoted(own, text),
        Value::List(list) => {
            text.push('[');
            for (at, item) in list.items().iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                represent(item, text);
            }
            text.push(']');
        }
        Value::Map(map) => {
            text.push('{');
            for (at, (key, item)) in map.items().iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                quoted(key, text);
                text.push_str(": ");
                represent(item, text);
            }
            text.push('}');
        }
        other => text.extend(["<", other.kind(), ">"]),
    }
}

fn quoted(own: &str, text: &mut String) {
    let quote = if own.contains('\'') && !own.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for scalar in own.chars() {
        match scalar {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            scalar if scalar == quote => text.extend(['\\', quote]),
            scalar if scalar.is_control() => text.push_str(&format!("\\x{:02x}", scalar as u32)),
            scalar => text.push(scalar),
        }
    }
    text.push(quote);
}

/// A float as Python writes it: `1.0`, `1e+16`, `inf`.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = number.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

/// How `json.dumps` is asked to write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JsonStyle<'a> {
    /// Escapes what is no ASCII.
    pub(super) ascii: bool,
    /// Each item on a line of its own, after so often this text.
    pub(super) indent: Option<&'a str>,
    /// Between items, and between key and value; `, ` and `: ` unless given, `,` at the end of a line.
    pub(super) separators: Option<[&'a str; 2]>,
    /// Keys in alphabetical order.
    pub(super) sorted: bool,
}

/// JSON as `json.dumps` writes it.
pub(super) fn json(value: &Value, style: JsonStyle<'_>, meter: &mut Meter) -> Outcome<String> {
    meter.work(value.size())?;
    let mut json = Json { text: String::new(), style, meter };
    json.write(value, 0)?;
    Ok(json.text)
}

struct Json<'m> {
    text: String,
    style: JsonStyle<'m>,
    meter: &'m mut Meter,
}

impl Json<'_> {
    fn write(&mut self, value: &Value, depth: usize) -> Outcome<()> {
        match value {
            Value::None => self.text.push_str("null"),
            Value::Bool(flag) => self.text.push_str(if *flag { "true" } else { "false" }),
            Value::Int(number) => self.text.push_str(&number.to_string()),
            Value::Float(number) if number.is_nan() => self.text.push_str("NaN"),
            Value::Float(number) if number.is_infinite() => {
                self.text.push_str(if *number > 0.0 { "Infinity" } else { "-Infinity" });
            }
            Value::Float(number) => self.text.push_str(&float(*number)),
            Value::Str(own) => self.quoted(own)?,
            Value::List(list) => {
                let items: Vec<(Option<&str>, &Value)> = list.items().iter().map(|item| (None, item)).collect();
                self.several(['[', ']'], &items, depth)?;
            }
            Value::Map(map) => {
                let mut items: Vec<(Option<&str>, &Value)> =
                    map.items().iter().map(|(key, item)| (Some(&**key), item)).collect();
                if self.style.sorted {
                    items.sort_by_key(|(key, _)| *key);
                }
                self.several(['{', '}'], &items, depth)?;
            }
            other => return fail(format!("a {} cannot be written as JSON", other.kind())),
        }
        Ok(())
    }

    fn several(&mut self, brackets: [char; 2], items: &[(Option<&str>, &Value)], depth: usize) -> Outcome<()> {
        let JsonStyle { indent, separators, .. } = self.style;
        let [between, after_key] = separators.unwrap_or([if indent.is_some() { "," } else { ", " }, ": "]);
        self.text.push(brackets[0]);
        for (at, (key, item)) in items.iter().enumerate() {
            self.meter.bytes(between.len() + after_key.len())?;
            self.text.push_str(if at > 0 { between } else { "" });
            self.line(depth + 1)?;
            if let Some(key) = key {
                self.quoted(key)?;
                self.text.push_str(after_key);
            }
            self.write(item, depth + 1)?;
        }
        if !items.is_empty() {
            self.line(depth)?;
        }
        self.text.push(brackets[1]);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Outcome<()> {
        let Some(indent) = self.style.indent else { return Ok(()) };
        self.meter.bytes(indent.len().saturating_mul(depth))?;
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(indent, depth));
        Ok(())
    }

    fn quoted(&mut self, own: &str) -> Outcome<()> {
        if self.style.ascii {
            self.meter.bytes(6 * own.len())?;
        }
        let text = &mut self.text;
        text.push('"');
        for scalar in own.chars() {
            match scalar {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                scalar if (scalar as u32) < 0x20 || self.style.ascii && !scalar.is_ascii() => {
                    let units = &mut [0; 2];
                    for unit in scalar.encode_utf16(units) {
                        text.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                scalar => text.push(scalar),
            }
        }
        text.push('"');
        Ok(())
    }
}

/// The `%` formatting of Python: `%s`, `%r`, `%d`, `%i`, `%f`, `%x`, `%%`, with a width and a precision.
pub(super) fn percent(pattern: &str, arguments: &[Value], meter: &mut Meter) -> Outcome<String> {
    meter.bytes(pattern.len())?;
    let (mut text, mut arguments) = (String::new(), arguments.iter());
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let flags = after.len() - after.trim_start_matches(['-', '0', '+', ' ']).len();
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let width_len = digits(&after[flags..]);
        let mut at = flags + width_len;
        let width = number(&after[flags..at], 0)?;
        let mut precision = None;
        if after[at..].starts_with('.') {
            let len = digits(&after[at + 1..]);
            precision = Some(number(&after[at + 1..at + 1 + len], 0)?);
            at += 1 + len;
        }
        let Some(kind) = after[at..].chars().next() else { return fail("a format ends in `%`") };
        rest = &after[at + kind.len_utf8()..];
        if kind == '%' {
            text.push('%');
            continue;
        }
        let Some(value) = arguments.next() else { return fail("a format has fewer values than places") };
        let needed = || format!("`%{kind}` needs a number, got a {}", value.kind());
        let one = match kind {
            's' => printed(value, meter)?,
            'r' => {
                meter.work(value.size())?;
                let mut text = String::new();
                represent(value, &mut text);
                text
            }
            'd' | 'i' => (value.as_f64().ok_or_else(needed)? as i64).to_string(),
            'x' => format!("{:x}", value.as_i64().ok_or_else(needed)?),
            'f' => format!("{:.*}", precision.unwrap_or(6), value.as_f64().ok_or_else(needed)?),
            other => return fail(format!("`%{other}` is not supported in a format")),
        };
        let one = match (kind, precision) {
            ('s' | 'r', Some(most)) => one.chars().take(most).collect(),
            _ => one,
        };
        meter.bytes(width + one.len())?;
        let flags = &after[..flags];
        let padded = match (flags.contains('-'), flags.contains('0') && kind != 's') {
            (true, _) => write!(text, "{one:<width$}"),
            (false, true) => write!(text, "{one:0>width$}"),
            (false, false) => write!(text, "{one:>width$}"),
        };
        padded.map_err(|error| error.to_string())?;
    }
    text.push_str(rest);
    Ok(text)
}

/// A width or precision in digits.
fn number(digits: &str, otherwise: usize) -> Outcome<usize> {
    if digits.is_empty() {
        return Ok(otherwise);
    }
    let number = digits.parse::<u64>().ok().filter(|number| *number <= WIDTH);
    number.map_or_else(
        || fail(format!("a width of at most {WIDTH} expected in a format, got {digits}")),
        |n| Ok(n as usize),
    )
}

/// `str.format` of Python with `{}`, `{0}` and `{name}`.
pub(super) fn braces(
    pattern: &str,
    positional: &[Value],
    named: &[(std::sync::Arc<str>, Value)],
    meter: &mut Meter,
) -> Outcome<String> {
    meter.bytes(pattern.len())?;
    let (mut text, mut rest, mut next) = (String::new(), pattern, 0);
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let bracket = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(bracket) {
            text.push_str(bracket);
            rest = after;
            continue;
        }
        let Some((field, after)) = rest.split_once('}').filter(|_| bracket == "{") else {
            return fail("a single bracket in a format");
        };
        rest = after;
        let value = if field.is_empty() {
            next += 1;
            positional.get(next - 1)
        } else if let Ok(number) = field.parse::<usize>() {
            positional.get(number)
        } else {
            named.iter().find(|(name, _)| **name == *field).map(|(_, value)| value)
        };
        let Some(value) = value else { return fail(format!("a format has no value for `{{{field}}}`")) };
        text.push_str(&printed(value, meter)?);
    }
    text.push_str(rest);
    Ok(text)
}
