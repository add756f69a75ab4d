//! JSON as other programs write it.
//!
//! Python's `json` writes `NaN` and `Infinity`, which JSON does not have, and escapes for half a surrogate pair, which are no
//! character; numbers may be larger than any that a computer has. One such value in a field that nobody asks for must not cost the row.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// Parses one object. Numbers that are none become `null`, halves of surrogate pairs U+FFFD; a byte-order mark is passed over.
///
/// # Errors
/// What is wrong with it, and where.
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
    serde_json::from_str(text).or_else(|error| match mended(text) {
        Cow::Owned(text) => serde_json::from_str(&text),
        Cow::Borrowed(_) => Err(error),
    })
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
