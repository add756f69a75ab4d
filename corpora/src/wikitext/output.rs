//! The clean text as it grows: spacing, paragraphs, sections, and the spans of links.

use crate::{Link, Section, Span};

/// What stands between what has been written and what comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Break {
    #[default]
    None,
    Space,
    Line,
    Paragraph,
}

/// Clean text under construction. It never ends in white space: that is kept as a [`Break`] until something follows.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) text: String,
    pub(super) links: Vec<Link>,
    pending: Break,
    /// Text before this place is inside a link or before it and may not be taken back.
    floor: usize,
    /// Something was dropped where the text ends: separators around the hole are to be mended.
    gap: bool,
    /// Where the text of the anchor being written begins, once it does.
    anchor: Option<Option<usize>>,
    /// Whether anything was written since the flag was last cleared.
    pub(super) wrote: bool,
    sections: Vec<Section>,
    /// Heading and level of the section being written, and where its text begins, once it does.
    section: (String, u8, Option<usize>),
}

/// A place in the text to which it can return as long as no link or section has ended since.
pub(super) struct Mark {
    pub(super) length: usize,
    pending: Break,
    floor: usize,
    anchor: Option<Option<usize>>,
    wrote: bool,
    section: Option<usize>,
}

impl Output {
    pub(super) fn new() -> Output {
        Output { section: (String::new(), 1, None), ..Output::default() }
    }

    /// Asks for at least this much distance before what comes next.
    pub(super) fn ask(&mut self, distance: Break) {
        self.pending = self.pending.max(distance);
    }

    /// Notes that something was left out here.
    pub(super) fn dropped(&mut self) {
        self.gap = true;
    }

    /// Writes a run without newlines or doubled spaces; a space at its ends becomes a [`Break`].
    pub(super) fn push(&mut self, run: &str) {
        let mut run = run;
        if self.gap {
            run = self.mend(run);
        }
        if let Some(rest) = run.strip_prefix(' ') {
            self.ask(Break::Space);
            run = rest;
        }
        let (run, trailing) = match run.strip_suffix(' ') {
            Some(rest) => (rest, true),
            None => (run, false),
        };
        if !run.is_empty() {
            self.flush();
            self.text.push_str(run);
            self.wrote = true;
        }
        if trailing {
            self.ask(Break::Space);
        }
    }

    /// Writes the pending distance and notes where section and anchor begin.
    fn flush(&mut self) {
        let distance = std::mem::take(&mut self.pending);
        match (self.section.2, distance) {
            (None, _) => {
                if !self.text.is_empty() {
                    self.text.push_str("\n\n");
                }
                self.section.2 = Some(self.text.len());
            }
            // All of the section so far may have been taken back.
            (Some(start), _) if start == self.text.len() => {}
            (_, Break::None) => {}
            (_, Break::Space) => self.text.push(' '),
            (_, Break::Line) => self.text.push('\n'),
            (_, Break::Paragraph) => self.text.push_str("\n\n"),
        }
        if let Some(start @ None) = &mut self.anchor {
            *start = Some(self.text.len());
            self.floor = self.text.len();
        }
    }

    /// Mends the text around something that was dropped: takes the separators out of `(; x)`, empty brackets away, and the
    /// space from before a comma. Gives what is left of the run.
    fn mend<'run>(&mut self, run: &'run str) -> &'run str {
        let mut run = run;
        while let Some(&byte) = run.as_bytes().first() {
            let last = self.last();
            if byte >= 0x80 {
                match self.mend_wide(run) {
                    Some(rest) => run = rest,
                    None => {
                        if matches!(last, Some(b'(' | b'[')) {
                            self.unask_space();
                        }
                        break;
                    }
                }
                continue;
            }
            match byte {
                b' ' => self.ask(Break::Space),
                b',' | b';' | b':' if self.at_start() || matches!(last, Some(b'(' | b'[' | b',' | b';')) => {
                    if matches!(last, Some(b'(' | b'[')) {
                        self.unask_space();
                    }
                }
                b',' | b';' | b':' => {
                    self.unask_space();
                    self.flush();
                    self.text.push(char::from(byte));
                    self.wrote = true;
                }
                b')' | b']' => {
                    if !self.close_bracket(byte) {
                        self.gap = false;
                        return run;
                    }
                }
                // The full stop of a sentence that was all template; three are an ellipsis.
                b'.' if self.at_start() && run.as_bytes().get(1) != Some(&b'.') => {}
                b'.' | b'!' | b'?' => {
                    self.unask_space();
                    break;
                }
                _ => {
                    if matches!(last, Some(b'(' | b'[')) {
                        self.unask_space();
                    }
                    break;
                }
            }
            run = &run[1..];
        }
        self.gap = run.is_empty();
        run
    }

    /// The same for the separators and brackets of Chinese and Japanese, which have no spaces around them. Gives what is left
    /// of the run if its first character is not to be written.
    fn mend_wide<'run>(&mut self, run: &'run str) -> Option<&'run str> {
        const SEPARATORS: &[char] = &['、', '，', '；', '：'];
        let first = run.chars().next()?;
        let floor = self.floor.max(self.section.2?);
        let before = |text: &str| text.get(floor..).and_then(|text| text.chars().next_back());
        let last = before(&self.text)?;
        let rest = &run[first.len_utf8()..];
        if SEPARATORS.contains(&first) {
            return (SEPARATORS.contains(&last) || last == '（').then_some(rest);
        }
        if first != '）' {
            return None;
        }
        let mut length = self.text.len();
        while let Some(separator) = before(&self.text[..length]).filter(|last| SEPARATORS.contains(last)) {
            length -= separator.len_utf8();
        }
        self.text.truncate(length);
        if before(&self.text) != Some('（') {
            return None;
        }
        self.text.truncate(length - '（'.len_utf8());
        Some(rest)
    }

    /// Takes back what stands before a closing bracket if only separators do, and the opening bracket with them. `false` if
    /// there are words in the brackets: then the closing one is to be written.
    fn close_bracket(&mut self, closing: u8) -> bool {
        if self.at_start() {
            return false;
        }
        let opening = if closing == b')' { b'(' } else { b'[' };
        while matches!(self.last(), Some(b',' | b';' | b':' | b' ')) {
            self.text.pop();
        }
        self.unask_space();
        if self.last() != Some(opening) {
            return false;
        }
        self.text.pop();
        while self.last() == Some(b' ') {
            self.text.pop();
            self.pending = Break::Space;
        }
        if self.last() == Some(b'\n') {
            self.text.truncate(self.text.trim_end().len().max(self.floor).max(self.section.2.unwrap_or(0)));
            self.pending = Break::Paragraph;
        }
        true
    }

    /// The last byte that may be taken back.
    fn last(&self) -> Option<u8> {
        let floor = self.floor.max(self.section.2.unwrap_or(usize::MAX));
        if self.text.len() > floor { self.text.as_bytes().last().copied() } else { None }
    }

    /// Whether what comes next begins a paragraph or line.
    fn at_start(&self) -> bool {
        self.pending >= Break::Line || self.section.2.is_none_or(|start| start == self.text.len())
    }

    fn unask_space(&mut self) {
        if self.pending == Break::Space {
            self.pending = Break::None;
        }
    }

    /// Begins the anchor of a link; what is written until [`Output::end_anchor`] is its text.
    pub(super) fn begin_anchor(&mut self) {
        self.anchor = Some(None);
    }

    /// Ends the anchor and gives its span; `None` if nothing was written.
    pub(super) fn end_anchor(&mut self) -> Option<Span> {
        let start = self.anchor.take()??;
        if start >= self.text.len() {
            return None;
        }
        self.floor = self.text.len();
        Some(start..self.text.len())
    }

    /// The state to which [`Output::take_back`] returns.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            length: self.text.len(),
            pending: self.pending,
            floor: self.floor,
            anchor: self.anchor,
            wrote: self.wrote,
            section: self.section.2,
        }
    }

    /// Takes back what was written since a mark: words around something that then showed nothing.
    pub(super) fn take_back(&mut self, mark: &Mark) {
        self.text.truncate(mark.length);
        (self.pending, self.floor, self.anchor, self.wrote) = (mark.pending, mark.floor, mark.anchor, mark.wrote);
        self.section.2 = mark.section;
        self.gap = true;
    }

    /// Ends the section and begins another.
    pub(super) fn begin_section(&mut self, title: String, level: u8) {
        let (title, level, start) = std::mem::replace(&mut self.section, (title, level, None));
        let end = self.text.len();
        self.sections.push(Section { title, level, span: start.unwrap_or(end)..end });
        self.pending = Break::None;
        self.gap = false;
    }

    /// The text with its sections and links.
    pub(super) fn finish(mut self) -> (String, Vec<Section>, Vec<Link>) {
        self.begin_section(String::new(), 1);
        (self.text, self.sections, self.links)
    }
}
