//! Runs of apostrophes: italics and bold, and the apostrophes among them that are meant.

use memchr::memchr;

/// The line that was last looked at, and the run in it that is an apostrophe before italics.
#[derive(Debug, Default)]
pub(super) struct QuoteLine {
    end: usize,
    apostrophe: Option<usize>,
}

impl QuoteLine {
    /// How many apostrophes of the run of `length` (two or more) at `at` are shown.
    ///
    /// `''` is italics, `'''` bold, `'''''` both; what goes beyond is shown. Where a line has an odd number of both, one bold
    /// must be an apostrophe and italics, as in `l'''Odissea''`: the one after a single letter, else after a word, else
    /// after a space.
    pub(super) fn shown(&mut self, bytes: &[u8], at: usize, length: usize) -> usize {
        if at >= self.end {
            self.end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |found| at + found);
            self.apostrophe = odd_bold(&bytes[..self.end], at);
        }
        match length {
            3 | 4 if self.apostrophe == Some(at) => length - 2,
            2 | 3 | 5 => 0,
            4 => 1,
            _ => length.saturating_sub(5),
        }
    }
}

/// The run of three or four, from `from` to the end of the line, that ends in italics instead of bold; `None` if bold and italics are
/// both balanced, or either is.
fn odd_bold(line: &[u8], from: usize) -> Option<usize> {
    let (mut num_bold, mut num_italic) = (0, 0);
    let (mut letter, mut word, mut space) = (None, None, None);
    let mut at = from;
    while let Some(found) = memchr(b'\'', &line[at..]) {
        at += found;
        let length = line[at..].iter().take_while(|&&byte| byte == b'\'').count();
        num_bold += usize::from(length >= 3);
        num_italic += usize::from(length == 2 || length >= 5);
        if matches!(length, 3 | 4) {
            // The first of four is an apostrophe, and then the letter before bold.
            let bold = at + length - 3;
            let before = |back: usize| bold.checked_sub(back).map(|place| line[place]);
            let candidate = match (before(1), before(2)) {
                (Some(b' '), _) => &mut space,
                (_, Some(b' ')) => &mut letter,
                _ => &mut word,
            };
            candidate.get_or_insert(at);
        }
        at += length;
    }
    if num_bold % 2 == 1 && num_italic % 2 == 1 { letter.or(word).or(space) } else { None }
}
