//! Bars and braces that the page has from templates: `{{!}}`, `{{(!}}`, `{{!-}}`. MediaWiki puts them in before it reads links
//! and tables, so that `[[a{{!}}b]]` is a link with a label and `{{{!}}` begins a table.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

use super::tokens::{Kind, Token, scan};

/// What is put in for the template of a name.
fn written(name: &str) -> Option<&'static str> {
    Some(match name.trim() {
        "!" | "pipe" => "|",
        "!!" => "||",
        "!-" => "|-",
        "!+" => "|+",
        "(!" => "{|",
        "!)" => "|}",
        _ => return None,
    })
}

/// A link, template or parameter around the place that is looked at.
struct Around {
    token: Token,
    /// The table, by its number, that was begun in it by such templates and is not ended.
    table: Option<usize>,
}

/// The text with these templates written out where what they stand for is markup: on the page itself, in links, and in the
/// tables that they make inside other templates. Elsewhere among the arguments of a template they keep the bar from being one
/// between arguments.
pub(super) fn written_out(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let begins = |name: &[u8]| [b"!".as_slice(), b"(!", b"pipe"].iter().any(|known| name.starts_with(known));
    if !memmem::find_iter(bytes, b"{{").any(|at| begins(bytes[at + 2..].trim_ascii_start())) {
        return Cow::Borrowed(text);
    }
    let mut around: Vec<Around> = Vec::new();
    // What is to be written for what, and the table it belongs to if it is right in that alone.
    let mut changes: Vec<(Range<usize>, &'static str, Option<usize>)> = Vec::new();
    let mut is_ended: Vec<bool> = Vec::new();
    for token in scan(text) {
        while around.last().is_some_and(|outer| outer.token.end() <= token.start()) {
            around.pop();
        }
        let replacement = if token.kind == Kind::Template { written(&text[token.inner()]) } else { None };
        let Some(replacement) = replacement else {
            if matches!(token.kind, Kind::Link | Kind::Template | Kind::Parameter) {
                around.push(Around { token, table: None });
            }
            continue;
        };
        let range = token.start()..token.end();
        let Some(outer) = around.last_mut().filter(|outer| outer.token.kind != Kind::Link) else {
            changes.push((range, replacement, None));
            continue;
        };
        let begins = replacement == "{|" || replacement == "|" && bytes[..range.start].ends_with(b"{");
        let ends = replacement == "|}"
            || replacement == "|" && range.end < outer.token.inner().end && bytes[range.end] == b'}';
        if begins && outer.table.is_none() {
            outer.table = Some(is_ended.len());
            is_ended.push(false);
        }
        if let Some(table) = outer.table {
            changes.push((range, replacement, Some(table)));
            if ends {
                is_ended[table] = true;
                outer.table = None;
            }
        }
    }
    let mut changed = String::with_capacity(text.len());
    let mut kept = 0;
    for (range, replacement, table) in changes {
        if table.is_none_or(|table| is_ended[table]) {
            changed.push_str(&text[kept..range.start]);
            changed.push_str(replacement);
            kept = range.end;
        }
    }
    changed.push_str(&text[kept..]);
    Cow::Owned(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_written_where_they_are_markup() {
        for (text, expected) in [
            ("[[a{{!}}b]] c{{!}}d", "[[a|b]] c|d"),
            ("{{x|a{{!}}b}}", "{{x|a{{!}}b}}"),
            ("{{x|[[a{{!}}b]]}}", "{{x|[[a|b]]}}"),
            ("{{{!}} a\n{{!}}-\n{{!}} b {{!!}} c\n{{!}}}", "{| a\n|-\n| b || c\n|}"),
            ("{{x|\n{{{!}}\n{{!}} b\n{{!}}}\n}}", "{{x|\n{|\n| b\n|}\n}}"),
            ("{{x|\n{{(!}}\n{{!}} b {{y|{{!}}}}\n{{!)}} {{!}}}}", "{{x|\n{|\n| b {{y|{{!}}}}\n|} {{!}}}}"),
            ("{{x|\n{{{!}}\n{{!}} b\n}}", "{{x|\n{{{!}}\n{{!}} b\n}}"),
            ("[[a{{ ! }}b]] [[c{{pipe}}d]]", "[[a|b]] [[c|d]]"),
            ("<nowiki>{{!}}</nowiki>", "<nowiki>{{!}}</nowiki>"),
        ] {
            assert_eq!(written_out(text), expected, "{text}");
        }
    }
}
