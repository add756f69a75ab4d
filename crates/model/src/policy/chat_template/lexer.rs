//! Source text to tokens, with Jinja's rules for white space around tags (`trim_blocks` and `lstrip_blocks`, which
//! `transformers` sets).

use std::sync::Arc;

use super::limits::{Failure, Outcome, fail};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Text between tags.
    Text(Arc<str>),
    /// `{{`.
    PrintStart,
    /// `}}`.
    PrintEnd,
    /// `{%`.
    TagStart,
    /// `%}`.
    TagEnd,
    Name(Arc<str>),
    Str(Arc<str>),
    Int(i64),
    Float(f64),
    /// An operator or bracket.
    Sign(&'static str),
}

/// Longest first.
const SIGNS: [&str; 28] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",",
    ".", ":", "|", ";", "!", "&",
];

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: u32,
    tokens: Vec<(u32, Token)>,
}

/// The tokens of a template with their lines.
pub(super) fn tokens(source: &str) -> Result<Vec<(u32, Token)>, (u32, Failure)> {
    // One line break at the end of a template is not part of it.
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut lexer = Lexer { source, at: 0, line: 1, tokens: Vec::new() };
    match lexer.run() {
        Ok(()) => Ok(lexer.tokens),
        Err(failure) => Err((lexer.line, failure)),
    }
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn advance(&mut self, bytes: usize) {
        self.line += self.source[self.at..self.at + bytes].matches('\n').count() as u32;
        self.at += bytes;
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((self.line, token));
    }

    fn run(&mut self) -> Outcome<()> {
        // What the tag before asks to be removed of the text after it.
        let mut trim = Trim::Nothing;
        loop {
            let start = self.next_tag();
            let (text, after) = self.rest().split_at(start.unwrap_or(self.rest().len()));
            let trimmed = trim.apply(text);
            let starts_line = self.at == 0 || matches!(trim, Trim::LineBreak) && trimmed.len() < text.len();
            let text = trimmed;
            let is_tag = !after.starts_with("{{");
            let text = match after.as_bytes().get(2) {
                Some(b'-') => text.trim_end(),
                Some(b'+') => text,
                Some(_) if is_tag => without_indentation(text, starts_line),
                _ => text,
            };
            if !text.is_empty() {
                self.push(Token::Text(text.into()));
            }
            let Some(start) = start else { return Ok(()) };
            self.advance(start);
            trim = if self.rest().starts_with("{#") {
                self.comment()?
            } else if let Some(raw) = self.raw()? {
                raw
            } else {
                self.tag()?
            };
        }
    }

    fn next_tag(&self) -> Option<usize> {
        let rest = self.rest();
        rest.match_indices('{')
            .map(|(at, _)| at)
            .find(|&at| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')))
    }

    fn comment(&mut self) -> Outcome<Trim> {
        let Some(end) = self.rest()[2..].find("#}") else { return fail("a comment is not closed") };
        let trim = Trim::of(self.rest().as_bytes()[2..2 + end].last().copied(), true);
        self.advance(end + 4);
        Ok(trim)
    }

    /// A whole `{% raw %}…{% endraw %}`, if one begins here.
    fn raw(&mut self) -> Outcome<Option<Trim>> {
        let Some((opening, mark)) = tag_named(self.rest(), "raw") else { return Ok(None) };
        let body = &self.rest()[opening..];
        let mut ends = body.match_indices("{%");
        let end = ends.find_map(|(at, _)| tag_named(&body[at..], "endraw").map(|(len, mark)| (at, len, mark)));
        let Some((at, len, end_mark)) = end else { return fail("`raw` is not closed") };
        let text = Trim::of(mark, true).apply(&body[..at]);
        let text = if body[at..].starts_with("{%-") { text.trim_end() } else { text };
        if !text.is_empty() {
            self.push(Token::Text(text.into()));
        }
        self.advance(opening + at + len);
        Ok(Some(Trim::of(end_mark, true)))
    }

    /// The tokens of a tag up to its end.
    fn tag(&mut self) -> Outcome<Trim> {
        let is_print = self.rest().starts_with("{{");
        self.push(if is_print { Token::PrintStart } else { Token::TagStart });
        let skip = if matches!(self.rest().as_bytes().get(2), Some(b'-' | b'+')) { 3 } else { 2 };
        self.advance(skip);
        let end = if is_print { "}}" } else { "%}" };
        // Brackets of dictionaries that are open: `}}` may close two of them.
        let mut open = 0_usize;
        loop {
            let blank = self.rest().len() - self.rest().trim_start().len();
            self.advance(blank);
            let rest = self.rest();
            if open == 0 {
                let mark = rest.as_bytes().first().copied().filter(|byte| matches!(byte, b'-' | b'+'));
                let body = if mark.is_some() { &rest[1..] } else { rest };
                if body.starts_with(end) {
                    self.advance(rest.len() - body.len() + 2);
                    self.push(if is_print { Token::PrintEnd } else { Token::TagEnd });
                    return Ok(Trim::of(mark, !is_print));
                }
            }
            match rest.chars().next() {
                None => return fail("a tag is not closed"),
                Some('{') => open += 1,
                Some('}') => open = open.saturating_sub(1),
                _ => {}
            }
            self.token()?;
        }
    }

    fn token(&mut self) -> Outcome<()> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return fail("a tag is not closed") };
        if first == '\'' || first == '"' {
            return self.string(first);
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        if first.is_alphabetic() || first == '_' {
            let len = rest.find(|scalar: char| !(scalar.is_alphanumeric() || scalar == '_')).unwrap_or(rest.len());
            self.push(Token::Name(rest[..len].into()));
            self.advance(len);
            return Ok(());
        }
        let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) else {
            return fail(format!("unexpected character {first:?}"));
        };
        self.push(Token::Sign(sign));
        self.advance(sign.len());
        Ok(())
    }

    fn number(&mut self) -> Outcome<()> {
        let rest = self.rest().as_bytes();
        let digits =
            |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'_').count();
        let mut len = digits(0);
        let mut is_float = false;
        if rest.get(len) == Some(&b'.') && rest.get(len + 1).is_some_and(u8::is_ascii_digit) {
            len += 1 + digits(len + 1);
            is_float = true;
        }
        if matches!(rest.get(len), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(rest.get(len + 1), Some(b'+' | b'-')));
            let exponent = digits(len + 1 + sign);
            if exponent > 0 {
                len += 1 + sign + exponent;
                is_float = true;
            }
        }
        let text = self.rest()[..len].replace('_', "");
        let token = match is_float {
            true => text.parse().ok().map(Token::Float),
            false => text.parse().ok().map(Token::Int),
        };
        let Some(token) = token else {
            return fail(format!("`{}` is too large a number", &self.rest()[..len.min(40)]));
        };
        self.push(token);
        self.advance(len);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Outcome<()> {
        let mut text = String::new();
        let mut scalars = self.rest().char_indices().skip(1);
        let hexadecimal = |scalars: &mut dyn Iterator<Item = (usize, char)>, digits: usize| {
            let code: String = scalars.take(digits).map(|(_, scalar)| scalar).collect();
            u32::from_str_radix(&code, 16).ok().and_then(char::from_u32)
        };
        while let Some((at, scalar)) = scalars.next() {
            if scalar == quote {
                self.push(Token::Str(text.into()));
                self.advance(at + 1);
                return Ok(());
            }
            if scalar != '\\' {
                text.push(scalar);
                continue;
            }
            match scalars.next().map(|(_, scalar)| scalar) {
                None => break,
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('b') => text.push('\u{8}'),
                Some('f') => text.push('\u{c}'),
                Some('v') => text.push('\u{b}'),
                Some('0') => text.push('\0'),
                Some(kind @ ('x' | 'u' | 'U')) => {
                    let digits = match kind {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    match hexadecimal(&mut scalars, digits) {
                        Some(scalar) => text.push(scalar),
                        None => return fail(format!("`\\{kind}` in a text is not followed by a character's number")),
                    }
                }
                Some(other @ ('\\' | '\'' | '"')) => text.push(other),
                Some('\n') => {}
                Some(other) => text.extend(['\\', other]),
            }
        }
        fail("a text in quotes is not closed")
    }
}

/// The length of the tag `{% name %}` that `text` begins with, and the mark before its end.
fn tag_named(text: &str, name: &str) -> Option<(usize, Option<u8>)> {
    let inner = text.strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_start();
    let inner = inner.strip_prefix(name)?.trim_start();
    let mark = inner.as_bytes().first().copied().filter(|byte| matches!(byte, b'-' | b'+'));
    let inner = if mark.is_some() { &inner[1..] } else { inner };
    let rest = inner.strip_prefix("%}")?;
    Some((text.len() - rest.len(), mark))
}

/// What is removed of the text after a tag.
#[derive(Clone, Copy)]
enum Trim {
    Nothing,
    /// The end of the line that the tag ends.
    LineBreak,
    /// All white space.
    All,
}

impl Trim {
    /// `mark` stands before the end of the tag; `is_block` says that it is no printing tag.
    fn of(mark: Option<u8>, is_block: bool) -> Self {
        match mark {
            Some(b'-') => Self::All,
            Some(b'+') => Self::Nothing,
            _ if is_block => Self::LineBreak,
            _ => Self::Nothing,
        }
    }

    fn apply(self, text: &str) -> &str {
        match self {
            Self::Nothing => text,
            Self::LineBreak => text.strip_prefix('\n').or_else(|| text.strip_prefix("\r\n")).unwrap_or(text),
            Self::All => text.trim_start(),
        }
    }
}

/// A text that ends in the indentation of a tag, without it. `starts_line` says whether the text begins a line.
fn without_indentation(text: &str, starts_line: bool) -> &str {
    let short = text.trim_end_matches([' ', '\t']);
    let begins = if short.is_empty() { starts_line } else { short.ends_with('\n') };
    if begins { short } else { text }
}
