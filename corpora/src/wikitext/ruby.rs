//! Readings beside words, as `<ruby>` sets them above: written in brackets behind the words.

use std::ops::Range;

use super::clean::Cleaner;

impl Cleaner<'_> {
    /// Writes the bracket before a reading, as the script of what stands before it has brackets.
    pub(super) fn begin_reading(&mut self) {
        self.end_reading();
        let (opening, closing) = match self.out.text.chars().next_back() {
            Some('\u{AC00}'..='\u{D7A3}') => ("(", ")"),
            Some(
                '\u{2E80}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}',
            ) => ("（", "）"),
            _ => (" (", ")"),
        };
        self.out.push(opening);
        self.reading = Some(closing);
    }

    /// Writes the bracket behind a reading; brackets without words go.
    pub(super) fn end_reading(&mut self) {
        if let Some(closing) = self.reading.take() {
            self.out.dropped();
            self.out.push(closing);
        }
    }

    /// Words and their reading, of `{{ruby|words|reading}}`.
    pub(super) fn show_reading(&mut self, values: &[Range<usize>]) {
        self.show_value(values.first().cloned());
        if let Some(reading) = values.get(1) {
            self.begin_reading();
            self.show_value(Some(reading.clone()));
            self.end_reading();
        }
    }
}
