//! Bounds of a page: texts and readings beyond them are left out, and the page says so.

use super::annotated::{Part, html};

/// Bytes of one text that are shown.
const MOST_OF_A_TEXT: usize = 1 << 16;
/// Bytes of all readings of a page: browsers open such a page in about a second.
pub(super) const MOST_OF_A_PAGE: usize = 12 << 20;

/// A text as HTML with its parts, cut where it is very long.
pub(super) fn bounded(text: &str, parts: &[Part]) -> String {
    if text.len() <= MOST_OF_A_TEXT {
        return html(text, parts);
    }
    let end = text.floor_char_boundary(MOST_OF_A_TEXT);
    let within = |(range, class): &Part| (range.start.min(end)..range.end.min(end), *class);
    let parts: Vec<Part> = parts.iter().map(within).collect();
    let rest = text.len() - end;
    format!("{}<i>… and {rest} bytes more, which are left out here</i>", html(&text[..end], &parts))
}

#[cfg(test)]
mod tests {
    use super::super::annotated::Class;
    use super::*;

    #[test]
    fn very_long_texts_are_cut_between_characters() {
        let text = format!("x{}", "é".repeat(MOST_OF_A_TEXT));
        let cut = bounded(&text, &[(1..text.len(), Class::New)]);
        assert!(cut.starts_with("x<span class=\"new\">éé") && cut.ends_with("bytes more, which are left out here</i>"));
        assert!(cut.len() < MOST_OF_A_TEXT + 200);
        assert_eq!(bounded("<", &[]), "&lt;");
    }
}
