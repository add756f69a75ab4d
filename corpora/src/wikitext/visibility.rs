//! Characters that show, and those that do not.

/// Whether a character shows.
pub(super) enum Visible {
    Yes,
    /// As a space, of whatever width.
    Space,
    No,
}

/// Spaces of all kinds are one space in clean text; marks of direction, soft hyphens and control characters are nothing. The
/// joiners stay: Persian and the scripts of India need them.
pub(super) fn visible(character: char) -> Visible {
    match character {
        '\t'
        | '\n'
        | '\r'
        | ' '
        | '\u{85}'
        | '\u{A0}'
        | '\u{2000}'..='\u{200A}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202F}'
        | '\u{205F}'
        | '\u{3000}' => Visible::Space,
        '\u{AD}'
        | '\u{200B}'
        | '\u{200E}'
        | '\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'
        | '\u{2066}'..='\u{2069}'
        | '\u{FEFF}' => Visible::No,
        _ if character.is_control() => Visible::No,
        _ => Visible::Yes,
    }
}
