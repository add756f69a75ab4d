//! JSON as other programs write it.
//!
//! Python's `json` writes `NaN` and `Infinity`, which JSON does not have, and escapes for half a surrogate pair, which are no
//! character; numbers may be larger than any that a computer has. One such value in a field that nobody asks for must not cost the row.
//!
//! A value takes 32 bytes and more in memory, and two in a text. So no more than [`MAX_VALUES`] are kept of an object.

mod problem;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub use problem::{expected, problem};

/// Values in an object, those inside of others too.
pub const MAX_VALUES: usize = 1 << 20;

/// Parses one object. Numbers that are none become `null`, halves of surrogate pairs U+FFFD; a byte-order mark is passed over.
///
/// # Errors
/// What is wrong with it, and where; it holds more than [`MAX_VALUES`].
///
/// ```
/// use memtrain_corpora::json;
/// let row = json::object(r#"{"title": "Mira", "score": NaN, "note": "\ud83d"}"#).unwrap();
/// assert!(row["score"].is_null());
/// assert_eq!(row["note"], "\u{fffd}");
/// assert!(json::object("[1]").is_err());
/// ```
pub fn object(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    let text = text.trim_start_matches('\u{feff}');
    bounded_object(text).or_else(|error| match mended(text) {
        Cow::Owned(text) => bounded_object(&text),
        Cow::Borrowed(_) => Err(error),
    })
}

fn bounded_object(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    let (mut reader, left) = (serde_json::Deserializer::from_str(text), Cell::new(MAX_VALUES));
    let value = Bounded(&left).deserialize(&mut reader)?;
    reader.end()?;
    match value {
        Value::Object(object) => Ok(object),
        _ if left.get() == 0 => Err(serde_json::Error::custom(too_many())),
        _ => Err(serde_json::Error::custom("an object was expected")),
    }
}

/// The next entry of an array, or what is wrong with one of more than [`MAX_VALUES`], of which nothing is kept.
///
/// # Errors
/// If the text is no JSON.
pub fn next_entry<'text, A: SeqAccess<'text>>(entries: &mut A) -> Result<Option<Result<Value, String>>, A::Error> {
    let left = Cell::new(MAX_VALUES);
    let entry = entries.next_element_seed(Bounded(&left))?;
    Ok(entry.map(|entry| if left.get() == 0 { Err(too_many()) } else { Ok(entry) }))
}

fn too_many() -> String {
    format!("it holds more than {MAX_VALUES} values")
}

/// A value with fewer values inside it than are left; of another one all is read, nothing is kept, and nothing is left.
struct Bounded<'a>(&'a Cell<usize>);

impl Bounded<'_> {
    fn take<E>(self, value: Value) -> Result<Value, E> {
        self.0.set(self.0.get().saturating_sub(1));
        Ok(value)
    }
}

impl<'text> DeserializeSeed<'text> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'text>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'text> Visitor<'text> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value of JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        self.take(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        self.take(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        self.take(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        self.take(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        self.take(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        self.take(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        self.take(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'text>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while self.0.get() > 0 {
            match entries.next_element_seed(Bounded(self.0))? {
                Some(entry) => list.push(entry),
                None => return self.take(Value::Array(list)),
            }
        }
        drop(list);
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'text>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while self.0.get() > 0 {
            match fields.next_key::<String>()? {
                Some(key) => drop(object.insert(key, fields.next_value_seed(Bounded(self.0))?)),
                None => return self.take(Value::Object(object)),
            }
        }
        drop(object);
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }
}

/// A number as text; a whole one without `.0`, which tables put behind ids where some are missing.
///
/// ```
/// use memtrain_corpora::json::whole;
/// assert_eq!(whole(&serde_json::from_str("12.0").unwrap()), "12");
/// assert_eq!(whole(&serde_json::from_str("0.5").unwrap()), "0.5");
/// ```
pub fn whole(number: &Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// The text as JSON has it, of the same objects: see [`object`]. Borrowed where there is nothing to change.
pub fn mended(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut mended = String::new();
    let mut copied = 0;
    let mut at = 0;
    let mut replace = |range: std::ops::Range<usize>, by: &str| {
        mended.push_str(&text[copied..range.start]);
        mended.push_str(by);
        copied = range.end;
    };
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string(text, at + 1, &mut replace),
            b'-' | b'0'..=b'9' | b'N' | b'I' => {
                let length =
                    bytes[at..].iter().take_while(|&&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
                let end = at + length.count();
                let word = &text[at..end];
                // Rust also takes words for infinity; those of Python alone are known to be meant so.
                let too_large =
                    word.ends_with(|last: char| last.is_ascii_digit()) && word.parse().is_ok_and(f64::is_infinite);
                if too_large || matches!(word, "NaN" | "-NaN" | "Infinity" | "-Infinity") {
                    replace(at..end, "null");
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    mended.push_str(&text[copied..]);
    Cow::Owned(mended)
}

/// Passes over a string from behind its quotation mark, and gives the place behind its end.
fn string(text: &str, start: usize, replace: &mut impl FnMut(std::ops::Range<usize>, &str)) -> usize {
    let bytes = text.as_bytes();
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        match surrogate(bytes, at) {
            Some(0xD800..0xDC00) if matches!(surrogate(bytes, at + 6), Some(0xDC00..0xE000)) => at += 12,
            Some(_) => {
                replace(at..at + 6, "\\ufffd");
                at += 6;
            }
            None => at += 2,
        }
        at = at.min(bytes.len());
    }
    bytes.len()
}

/// The number of an escape `\uXXXX` that is half a surrogate pair.
fn surrogate(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xD800..0xE000).contains(&unit).then_some(unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_object_of_too_many_values_is_refused_wherever_they_are() {
        let numbers = |count: usize| vec!["0"; count].join(",");
        // The object, the list and the string count too.
        let row = |count: usize| format!(r#"{{"text": "a", "ids": [{}]}}"#, numbers(count));
        assert_eq!(object(&row(MAX_VALUES - 4)).unwrap()["ids"].as_array().unwrap().len(), MAX_VALUES - 4);
        for text in [
            row(MAX_VALUES + 1),
            format!(r#"{{"a": {{"b": [[{}]]}}, "c": NaN}}"#, numbers(MAX_VALUES + 1)),
            format!("{{{}}}", (0..=MAX_VALUES).map(|key| format!("\"{key}\":1")).collect::<Vec<_>>().join(",")),
        ] {
            assert!(object(&text).unwrap_err().to_string().contains("more than 1048576 values"));
        }
        assert!(object(&format!("{}]", row(3))).is_err(), "what follows the object");
    }

    proptest! {
        #[test]
        fn small_values_are_those_of_serde(text in r#"(\{"a": (1|-2|0\.5|true|null|"b\\n"|\[1,\[\]\]|\{"c":\{\}\})\}|[\{\}\[\],:"a1 ]{0,12})"#) {
            let twin: Result<Map<String, Value>, _> = serde_json::from_str(&text);
            prop_assert_eq!(bounded_object(&text).ok(), twin.ok());
        }
    }

    #[test]
    fn what_json_has_not_becomes_null_outside_of_strings_alone() {
        let text =
            r#"{"a": NaN, "b": [-Infinity, Infinity, 1e999, -1e999, 12], "c": "NaN \" Infinity 1e999", "N\\": 1}"#;
        let row = object(text).unwrap();
        assert_eq!(
            Value::Object(row),
            serde_json::json!({"a": null, "b": [null, null, null, null, 12], "c": "NaN \" Infinity 1e999", "N\\": 1})
        );
        for wrong in [r#"{"a": NaNa}"#, r#"{"a": nan}"#, r#"{"a": Inf"#, r#"{"a": -}"#, r#"{"a": ""#, r#"{"a": "\"#] {
            assert!(object(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn halves_of_surrogate_pairs_are_replaced_and_pairs_are_kept() {
        let row = object(r#"{"a": "\ud83d\ude00 \ud83d \ude00\ud83d \\ud83d", "\udfff": 1}"#).unwrap();
        assert_eq!(row["a"], "\u{1F600} \u{fffd} \u{fffd}\u{fffd} \\ud83d");
        assert_eq!(row["\u{fffd}"], 1);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map(".*", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_json_stays_as_it_is(value in json()) {
            let text = value.to_string();
            prop_assert!(matches!(mended(&text), Cow::Borrowed(_)), "{}", text);
        }

        #[test]
        fn no_text_is_too_odd(text in r#"[\{\}\[\]"\\uNaInfity0-9e+.: dD8c-]*"#) {
            let once = mended(&text).into_owned();
            prop_assert_eq!(mended(&once).into_owned(), once);
        }
    }
}
