//! Lines of text folded at a terminal's 80 columns: between words, and never between backticks, so that what is quoted can be
//! typed as it stands.

/// Columns of a line.
pub const COLUMNS: usize = 80;
/// What a line begins with that goes on with the one before.
const INDENT: &str = "    ";

/// The text with lines of more than [`COLUMNS`] columns folded. Colours take none; a word that is longer stays whole.
///
/// ```
/// use memtrain_run::fold::folded;
/// let text = format!("hint: {} `memtrain corpus build run.toml`\n", "word ".repeat(12));
/// let lines: Vec<String> = folded(&text).lines().map(str::to_owned).collect();
/// assert_eq!(lines[1], "    `memtrain corpus build run.toml`");
/// ```
pub fn folded(text: &str) -> String {
    folded_below(text, INDENT)
}

/// The same, with `indent` before what goes on with a line.
pub fn folded_below(text: &str, indent: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        match columns(line) > COLUMNS {
            true => fold(line, indent, &mut out),
            false => out.push_str(line),
        }
    }
    out
}

fn fold(line: &str, indent: &str, out: &mut String) {
    let start = line.len() - line.trim_start_matches(' ').len();
    out.push_str(&line[..start]);
    let (mut at, mut is_first) = (start, true);
    for word in words(&line[start..]) {
        let spaces = word.len() - word.trim_start_matches(' ').len();
        let width = columns(word);
        if !is_first && at + width > COLUMNS {
            out.push('\n');
            out.push_str(indent);
            out.push_str(&word[spaces..]);
            at = indent.len() + width - spaces;
        } else {
            out.push_str(word);
            at += width;
        }
        is_first = false;
    }
}

/// Words with the spaces before them; what stands between backticks is one with what touches it.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let (mut is_quoted, mut began) = (false, false);
        let end = rest.char_indices().find(|&(at, letter)| {
            if letter == '`' {
                // A backtick without a second one quotes nothing.
                is_quoted = !is_quoted && rest[at + 1..].contains('`');
            }
            let ends = letter == ' ' && began && !is_quoted;
            began |= letter != ' ';
            ends
        });
        let (word, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// Columns of a text: characters but for the sequences that set colours and the end of the line.
fn columns(text: &str) -> usize {
    let (mut columns, mut is_colour) = (0, false);
    for letter in text.chars() {
        match letter {
            '\u{1b}' => is_colour = true,
            'm' if is_colour => is_colour = false,
            '\n' => {}
            _ => columns += usize::from(!is_colour),
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_take_no_columns_and_quoted_words_stay_together() {
        let plain = "x".repeat(70);
        let coloured = format!("\u{1b}[32mINFO\u{1b}[0m {plain} end\n");
        assert_eq!(folded(&coloured), coloured);
        let quoted = format!("INFO {plain} `a b c`, then");
        assert_eq!(folded(&quoted), format!("INFO {plain}\n    `a b c`, then"));
        let open = format!("INFO {plain} `a b c, then");
        assert_eq!(folded(&open), format!("INFO {plain} `a b\n    c, then"));
        let long = format!("{}\n", "y".repeat(200));
        assert_eq!(folded(&long), long);
    }

    proptest! {
        #[test]
        fn only_spaces_become_line_breaks_and_lines_are_no_longer_than_a_word(text in "[a-z` \u{e9}]{0,400}") {
            let out = folded(&text);
            let bare = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&out), bare(&text));
            for line in out.lines() {
                prop_assert!(columns(line) <= COLUMNS || words(line.trim_start()).count() <= 1, "{}", line);
            }
        }
    }
}
