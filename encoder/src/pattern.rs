//! Regular expressions of tokenizers, looked at before they are used: an engine that backtracks takes time without end for
//! some of them, and memory for others.
//!
//! Patterns of published tokenizers repeat characters and classes, and groups of a fixed length. What makes a backtracking
//! engine explode is repetition inside repetition, choice inside repetition, and references to what was matched before.

/// Most repetitions that are counted out, nested ones multiplied.
const MOST_REPETITIONS: u64 = 1_000;
/// Most repetitions without an upper bound in one alternative of a pattern.
const MOST_UNBOUNDED: u32 = 6;
/// Deepest groups.
const MOST_NESTED: usize = 32;
/// Longest pattern in bytes; classes of characters are written out in some.
const MOST_BYTES: usize = 64 << 10;

/// What is known of a group, or of the pattern as a whole.
#[derive(Default)]
struct Group {
    /// It may match several lengths or in several ways.
    varies: bool,
    /// Repetitions without an upper bound in this alternative.
    unbounded: u32,
    /// The largest number of counted repetitions inside.
    repetitions: u64,
}

/// A quantifier.
struct Quantifier {
    least: u64,
    /// None for any number.
    most: Option<u64>,
    len: usize,
}

/// Checks a pattern in oniguruma's syntax; an error says what is wrong with it.
pub(crate) fn check(pattern: &str) -> Result<(), String> {
    if pattern.len() > MOST_BYTES {
        return Err(format!("is a pattern of {} bytes; at most {MOST_BYTES} expected", pattern.len()));
    }
    let bytes = pattern.as_bytes();
    let mut groups = vec![Group::default()];
    let mut at = 0;
    while at < bytes.len() {
        // An atom: a character, a class or a whole group, whose quantifier may follow.
        let mut atom = Group { repetitions: 1, ..Group::default() };
        let mut is_group = false;
        match bytes[at] {
            b'(' => {
                let options = pattern[at..].strip_prefix("(?").unwrap_or_default();
                let end = options.find(|scalar: char| !(scalar.is_ascii_alphabetic() || scalar == '-'));
                // In extended patterns what follows `#` is a comment, and would be read as a pattern here.
                if options.starts_with(['~', '(', '#']) || options[..end.unwrap_or(0)].contains('x') {
                    return Err("is a pattern with a condition, an absence or a comment".to_owned());
                }
                if groups.len() > MOST_NESTED {
                    return Err(format!("is a pattern with groups more than {MOST_NESTED} deep"));
                }
                groups.push(Group::default());
                // What follows the parenthesis says what kind of group it is, and is no quantifier.
                at += if bytes.get(at + 1) == Some(&b'?') { 2 } else { 1 };
                continue;
            }
            b')' => {
                let Some(inner) = groups.pop().filter(|_| !groups.is_empty()) else {
                    return Err("is a pattern with a bracket that closes none".to_owned());
                };
                atom = inner;
                is_group = true;
                at += 1;
            }
            b'|' => {
                if let Some(group) = groups.last_mut() {
                    group.varies = true;
                    group.unbounded = 0;
                }
                at += 1;
                continue;
            }
            b'\\' => {
                match bytes.get(at + 1) {
                    Some(b'1'..=b'9' | b'k' | b'g') => {
                        return Err("is a pattern that refers to its own groups".to_owned());
                    }
                    Some(_) => at += 1 + pattern[at + 1..].chars().next().map_or(1, char::len_utf8),
                    None => at += 1,
                }
                // `\p{…}` and `\x{…}` are one character each.
                if matches!(bytes.get(at - 1), Some(b'p' | b'P' | b'x' | b'o')) && bytes.get(at) == Some(&b'{') {
                    at += pattern[at..].find('}').map_or(1, |end| end + 1);
                }
            }
            b'[' => match class_end(bytes, at) {
                Some(end) => at = end,
                None => return Err("is a pattern with a class that is not closed".to_owned()),
            },
            _ => at += pattern[at..].chars().next().map_or(1, char::len_utf8),
        }
        let mut is_repeated = false;
        while let Some(found) = quantifier(&bytes[at..]) {
            at += found.len;
            let most = found.most.unwrap_or(1).max(found.least);
            let repeats = found.most.is_none_or(|most| most > 1);
            let varies = found.most != Some(found.least);
            if repeats && varies && (atom.varies || is_repeated) && (is_group || is_repeated) {
                return Err("is a pattern that repeats what repeats or chooses".to_owned());
            }
            atom.repetitions = atom.repetitions.max(1).saturating_mul(most.max(1));
            if atom.repetitions > MOST_REPETITIONS {
                return Err(format!("is a pattern with more than {MOST_REPETITIONS} counted repetitions"));
            }
            atom.unbounded += u32::from(found.most.is_none());
            atom.varies |= varies;
            is_repeated |= repeats && varies;
        }
        let Some(group) = groups.last_mut() else { break };
        group.varies |= atom.varies;
        group.repetitions = group.repetitions.max(atom.repetitions);
        group.unbounded += atom.unbounded;
        if group.unbounded > MOST_UNBOUNDED {
            return Err(format!("is a pattern with more than {MOST_UNBOUNDED} repetitions in a row"));
        }
    }
    if groups.len() > 1 { Err("is a pattern with a bracket that is not closed".to_owned()) } else { Ok(()) }
}

/// The place behind a class, which may hold classes.
fn class_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'[' => {
                depth += 1;
                at += usize::from(bytes.get(at + 1) == Some(&b'^'));
                // A bracket that comes first is a character.
                at += usize::from(bytes.get(at + 1) == Some(&b']'));
            }
            b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The quantifier that bytes begin with, without the mark that makes it lazy or possessive.
fn quantifier(bytes: &[u8]) -> Option<Quantifier> {
    let (least, most, len) = match bytes.first()? {
        b'*' => (0, None, 1),
        b'+' => (1, None, 1),
        b'?' => (0, Some(1), 1),
        b'{' => {
            let end = bytes.iter().position(|byte| *byte == b'}')?;
            let text = std::str::from_utf8(&bytes[1..end]).ok()?;
            let number = |text: &str| text.parse::<u64>().ok();
            let (least, most) = match text.split_once(',') {
                None => (number(text)?, Some(number(text)?)),
                Some(("", most)) => (0, Some(number(most)?)),
                Some((least, "")) => (number(least)?, None),
                Some((least, most)) => (number(least)?, Some(number(most)?)),
            };
            (least, most, end + 1)
        }
        _ => return None,
    };
    // `{n}+` repeats once more in this syntax; behind the others a mark changes the order of trying alone.
    let is_marked = bytes[0] != b'{' && matches!(bytes.get(len), Some(b'?' | b'+'));
    Some(Quantifier { least, most, len: len + usize::from(is_marked) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_published_tokenizers_pass() {
        for pattern in [
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"##,
            r" ?[^(\s|[.,!?…。，、।۔،])]+",
            r"\d{1,3}(?=(?:\d{3})*\b)|(?=(\d{3})+(?!\d))",
            r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}&&[^\p{Han}]]*",
            r"<\|startoftext\|>|<\|endoftext\|>|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
            r" {2,}|\s+|[0-9][0-9][0-9]|[]a]+|\x{2581}+|\p{L}++|(?>\s+)",
            "",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn what_explodes_is_refused() {
        for pattern in [
            r"(((a*)*)*)*b",
            r"(a|aa)+$",
            r"(a+)+b",
            r"(?:a?){50}b|(?:a?)*b",
            r"(?:a+){2,}",
            r"a{2}{3,}*",
            r"(a)\1",
            r"(?<x>a\g<x>?b)",
            r"(a{1000}){1000}",
            r"((a{100}){100}){100}",
            r"a{100000}",
            r"a*a*a*a*a*a*a*a*b",
            r"(?~a)",
            r"(?ix)a # [",
            r"[a",
            r"(((",
            r")",
            &("(".repeat(5_000) + &")".repeat(5_000)),
            &"a".repeat(1 << 20),
        ] {
            assert!(check(pattern).is_err(), "{pattern:.60}");
        }
    }
}
