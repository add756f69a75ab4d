//! The plain text of an answer: what is left when signs that look alike, or only set type, are taken for the same.
//!
//! | written | taken for |
//! |---|---|
//! | `\text{Lorn}`, `\textbf{Lorn}`, `\mathrm{Lorn}` and their kin, also in one another | `Lorn` |
//! | `$Lorn$`, `$$Lorn$$`, `\(Lorn\)`, `\[Lorn\]` around all of it | `Lorn` |
//! | `{Lorn}`, `1{,}000`: braces that group | `Lorn`, `1,000` |
//! | `\%`, `\$`, `\&`, `\#`, `\_`, `\{`, `\}` | the sign itself |
//! | `\ `, `\,`, `\:`, `\;`, `\\`, `\quad`, and `~` where there is a command | a space |
//! | `\left(`, `\displaystyle`, `\large` and their kin; `\color{red}` with its argument | nothing |
//! | `\"u`, `\'{e}`, `\c{c}`, `\ss`: accents and letters of TeX | `ü`, `é`, `ç`, `ß` |
//! | `u` and U+0308 (letters taken apart, NFD) | `ü` (NFC) |
//! | hyphens and dashes `‐ ‑ ‒ – — ― − ﹣` | `-` |
//! | `‘ ’ ‚ ‛ ′`, `“ ” „ ‟ ″ « » ‹ › 「 」 『 』` | `'`, `"` |
//! | `。 、 …` | `.`, `,`, `...` |
//! | letters, digits and signs of full width, `Ａ１：`; of half width, `ｶﾞ`; ligatures, `ﬁ` | `A1:`, `ガ`, `fi` |
//! | no-break, thin and other spaces | a space |
//! | soft hyphens, zero-width spaces and joins, byte-order marks | nothing |
//!
//! A command that is not in the table stays as it is written: `\frac{1}{2}` is not `12`.

use unicode_normalization::UnicodeNormalization;

/// Commands whose argument is what they show.
const WRAPPERS: [&str; 36] = [
    "bf",
    "bm",
    "boldsymbol",
    "boxed",
    "ce",
    "emph",
    "ensuremath",
    "fbox",
    "hbox",
    "it",
    "mathbb",
    "mathbf",
    "mathbfit",
    "mathcal",
    "mathfrak",
    "mathit",
    "mathnormal",
    "mathrm",
    "mathscr",
    "mathsf",
    "mathtt",
    "mbox",
    "operatorname",
    "rm",
    "text",
    "textbf",
    "textit",
    "textmd",
    "textnormal",
    "textrm",
    "textsc",
    "textsf",
    "textsl",
    "texttt",
    "textup",
    "underline",
];

/// Commands that show nothing, and those that do so with their argument.
const UNSEEN: [&str; 17] = [
    "Huge",
    "LARGE",
    "Large",
    "big",
    "bigl",
    "bigr",
    "displaystyle",
    "footnotesize",
    "huge",
    "large",
    "left",
    "normalsize",
    "right",
    "scriptstyle",
    "small",
    "textstyle",
    "tiny",
];
const WITH_ARGUMENT: [&str; 3] = ["color", "hspace", "textcolor"];

/// Commands that are a letter, or a space.
const LETTERS: [(&str, &str); 15] = [
    ("AA", "Å"),
    ("AE", "Æ"),
    ("L", "Ł"),
    ("O", "Ø"),
    ("OE", "Œ"),
    ("aa", "å"),
    ("ae", "æ"),
    ("i", "ı"),
    ("l", "ł"),
    ("o", "ø"),
    ("oe", "œ"),
    ("qquad", " "),
    ("quad", " "),
    ("ss", "ß"),
    ("textendash", "-"),
];

/// Accents of TeX with the marks of Unicode that follow a letter.
const ACCENTS: [(&str, char); 13] = [
    ("\"", '\u{308}'),
    ("'", '\u{301}'),
    (".", '\u{307}'),
    ("=", '\u{304}'),
    ("H", '\u{30b}'),
    ("^", '\u{302}'),
    ("`", '\u{300}'),
    ("c", '\u{327}'),
    ("k", '\u{328}'),
    ("r", '\u{30a}'),
    ("u", '\u{306}'),
    ("v", '\u{30c}'),
    ("~", '\u{303}'),
];

/// Pairs of signs that turn mathematics on and off.
const MATHEMATICS: [[&str; 2]; 4] = [["$$", "$$"], ["$", "$"], [r"\(", r"\)"], [r"\[", r"\]"]];

/// The plain text of an answer, in the table above. White space is neither collapsed nor are letters lower-cased.
///
/// ```
/// use memtrain_rl::agents::answer_text::plain;
/// assert_eq!(plain(r"$\textbf{River \text{Lorn}}$"), "River Lorn");
/// assert_eq!(plain("1914–1918\u{a0}Zu\u{308}rich"), "1914-1918 Zürich");
/// ```
pub fn plain(answer: &str) -> String {
    let untyped = if answer.contains(['\\', '{', '$']) { without_tex(answer) } else { answer.to_owned() };
    let mut plain = String::with_capacity(untyped.len());
    for sign in untyped.chars() {
        match sign {
            '…' => plain.push_str("..."),
            // Ligatures, and signs of half width: letters in another form.
            '\u{fb00}'..='\u{fb06}' | '\u{ff61}'..='\u{ffdc}' => {
                plain.extend([sign].into_iter().nfkc().filter_map(plain_sign))
            }
            sign => plain.extend(plain_sign(sign)),
        }
    }
    plain.nfc().collect()
}

/// One sign as others that look like it are taken.
fn plain_sign(sign: char) -> Option<char> {
    Some(match sign {
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => return None,
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => '-',
        '\u{2018}'..='\u{201b}' | '\u{2032}' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '«' | '»' | '‹' | '›' | '「' | '」' | '『' | '』' => '"',
        '。' => '.',
        '、' => ',',
        // The ASCII signs from `!` to `~`, in the same order; a hyphen of full width is one of them.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(sign as u32 - 0xfee0).unwrap_or(sign),
        sign if sign.is_whitespace() => ' ',
        sign => sign,
    })
}

fn without_tex(answer: &str) -> String {
    let mut inner = answer.trim();
    while let Some(next) = MATHEMATICS.iter().find_map(|[open, close]| inner.strip_prefix(open)?.strip_suffix(close)) {
        inner = next.trim();
    }
    let mut text = String::with_capacity(inner.len());
    // Of each open brace whether it is shown: those of commands that stay are.
    let mut shown: Vec<bool> = Vec::new();
    // Whether the argument of a command that stays may begin here.
    let mut after_command = false;
    let has_commands = inner.contains('\\');
    let mut rest = inner;
    while let Some(sign) = rest.chars().next() {
        let next = &rest[sign.len_utf8()..];
        match sign {
            '\\' => {
                let letters = next.len() - next.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()).len();
                let (command, after) = next.split_at(letters);
                if WRAPPERS.contains(&command) {
                    // A switch such as `{\bf Lorn}` ends at the space behind it.
                    rest = after.trim_start();
                    after_command = false;
                    continue;
                }
                if let Some((accented, after)) = accented(next) {
                    text.extend(accented);
                    rest = after;
                    after_command = false;
                    continue;
                }
                if UNSEEN.contains(&command) {
                    rest = after;
                    after_command = false;
                    continue;
                }
                if let Some(after) = WITH_ARGUMENT.contains(&command).then(|| argument(after)).flatten() {
                    rest = after;
                    after_command = false;
                    continue;
                }
                if let Some((_, letter)) = LETTERS.iter().find(|(name, _)| *name == command) {
                    text.push_str(letter);
                    // A command ends at the space behind it.
                    rest = after.strip_prefix(' ').unwrap_or(after);
                    after_command = false;
                    continue;
                }
                if letters > 0 {
                    text.push('\\');
                    text.push_str(command);
                    rest = after;
                    after_command = true;
                    continue;
                }
                let escaped = next.chars().next();
                match escaped {
                    Some('%' | '$' | '&' | '#' | '_' | '{' | '}') => text.extend(escaped),
                    Some(' ' | ',' | ':' | ';' | '\\') => text.push(' '),
                    Some('!') => {}
                    other => text.extend(['\\'].into_iter().chain(other)),
                }
                rest = &next[escaped.map_or(0, char::len_utf8)..];
                after_command = false;
                continue;
            }
            '~' if has_commands => {
                text.push(' ');
                after_command = false;
            }
            '{' => {
                shown.push(after_command);
                text.push_str(if after_command { "{" } else { "" });
                after_command = false;
            }
            '}' => {
                // After an argument another may stand: `\frac{1}{2}`.
                after_command = shown.pop().unwrap_or(false);
                text.push_str(if after_command { "}" } else { "" });
            }
            _ => {
                text.push(sign);
                after_command = false;
            }
        }
        rest = next;
    }
    text
}

/// The accented letter that follows a backslash, `"u` or `c{c}`, with what stands behind it.
fn accented(text: &str) -> Option<([char; 2], &str)> {
    let (name, mark) = ACCENTS.iter().find(|(name, _)| text.starts_with(name))?;
    let behind = &text[name.len()..];
    let is_word = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let (letter, rest) = match behind.strip_prefix('{') {
        Some(inner) => inner.split_once('}')?,
        // The accents that are letters need braces: `\cc` is another command.
        None if is_word => return None,
        None => behind.split_at(behind.chars().next()?.len_utf8()),
    };
    let mut letters = letter.trim_start_matches('\\').chars();
    match (letters.next()?, letters.next()) {
        (letter, None) if letter.is_alphabetic() => Some(([letter, *mark], rest)),
        _ => None,
    }
}

/// What stands behind the argument in braces that a text begins with.
fn argument(text: &str) -> Option<&str> {
    Some(text.trim_start().strip_prefix('{')?.split_once('}')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plain_text_stays_plain(text in "(\\\\text|\\\\frac|\\\\|\\{|\\}|\\$|a|é|–| |%){0,12}") {
            let once = plain(&text);
            if !once.contains(['\\', '{', '}', '$']) {
                prop_assert_eq!(plain(&once), once);
            }
        }
    }
}
