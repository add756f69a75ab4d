//! Text for a terminal, in which what would steer the terminal can be read.
//!
//! Text from elsewhere (a title, a template's complaint, the name of a file) can hold escape sequences and marks of direction:
//! they move the cursor, rename the window, or show a reader other words than are there.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character steers what shows it: the control characters of ASCII and Latin-1 besides line break and tab, the
/// separators of lines and paragraphs, and the marks that embed, override or isolate a direction.
pub fn steers(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\t')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with its steering characters written as JSON escapes them, `\u001b`; inside a JSON string they stay what they were.
///
/// ```
/// use memtrain_corpora::visible::visible;
/// assert_eq!(visible("\u{1b}[2J caf\u{e9}\t\u{202e}cba\n"), "\\u001b[2J caf\u{e9}\t\\u202ecba\n");
/// ```
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if steers(letter) {
            let _ = write!(shown, "\\u{:04x}", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}
