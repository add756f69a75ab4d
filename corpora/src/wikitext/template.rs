//! Templates: most are dropped, those whose words belong to the sentence are shown.

use std::ops::Range;

use super::clean::{Cleaner, Layout};
use super::options::Keep;
use super::output::Break;
use super::template_names::{Shows, shows};
use super::tokens::Token;

/// An argument of a template: where its value lies, and its name if it has one.
pub(super) struct Argument<'page> {
    pub(super) name: Option<&'page str>,
    pub(super) value: Range<usize>,
}

/// The longest template name that is looked up.
const MAX_NAME_BYTES: usize = 96;

/// What may stand before a template's name.
const PREFIXES: &[&str] = &["subst:", "safesubst:", "template:", "msg:"];

impl<'page> Cleaner<'page> {
    /// Shows or drops `{{…}}`.
    pub(super) fn template(&mut self, token: Token) {
        let inner = token.inner();
        let Some((name, end)) = self.template_name(inner.clone()) else {
            self.out.dropped();
            return;
        };
        // `{{formatnum:1234}}` and its like are functions: what they are applied to stands after the colon.
        if let Some((function, _)) = name.split_once([':', '：']) {
            let colon = self.text[inner.start..end].find([':', '：']).map_or(end, |colon| inner.start + colon);
            let after = colon + self.text[colon..].chars().next().map_or(0, char::len_utf8);
            let function = function.trim_end().replace('＃', "#");
            if self.function(&function, after.min(inner.end)..inner.end) {
                return;
            }
        } else if self.variable(&name) {
            return;
        }
        // `{{USA}}`: the country's flag and its name, with or without the year of the flag.
        let country = self.country_of(inner.start..end);
        if end >= inner.end
            && let Some(country) = country
        {
            return self.push_link(country, country);
        }
        match self.shows(&name, inner.start..end) {
            Shows::Nothing if country.is_some() && !self.is_icon(end..inner.end) => {
                let country = country.unwrap_or_default();
                self.push_link(country, country);
            }
            Shows::Nothing if self.is_box(&name, end..inner.end) => {
                self.note_box(inner.start..end);
                if self.context.options().infoboxes == Keep::Keep {
                    let arguments = self.arguments(end..inner.end);
                    self.infobox(&arguments);
                } else {
                    self.out.dropped();
                }
            }
            Shows::Nothing => self.out.dropped(),
            Shows::Words(words) => self.out.push(words),
            what => {
                if what == Shows::Bio {
                    self.note_box(inner.start..end);
                }
                let arguments = self.arguments(end..inner.end);
                self.show(what, &name, &arguments);
            }
        }
    }

    /// Whether a template shows nothing, whatever its arguments are.
    pub(super) fn shows_nothing(&self, token: Token) -> bool {
        match self.template_name(token.inner()) {
            Some((name, end)) => {
                let is_country = || self.country_of(token.inner().start..end).is_some();
                !name.contains(':') && self.shows(&name, token.inner().start..end) == Shows::Nothing && !is_country()
            }
            None => true,
        }
    }

    /// What the template of a name shows in this wiki, as it is configured; `typed` is where the name stands.
    pub(super) fn shows(&self, name: &str, typed: Range<usize>) -> Shows {
        // Ships have prefixes in capitals; in small letters two of them may name any other template: `{{hs}}`, `{{ts}}`.
        let is_small = name.len() == 2 && self.text[typed].trim_end().ends_with(|last: char| last.is_lowercase());
        match shows(name, self.context.language_code()) {
            Shows::Ship(_) if is_small => shows(name, ""),
            Shows::Pronunciation if self.context.options().pronunciations == Keep::Drop => Shows::Nothing,
            shows => shows,
        }
    }

    /// The country whose code is the name of a template.
    fn country_of(&self, name: Range<usize>) -> Option<&'static str> {
        let code = self.text[name].trim();
        let facts = self.context.facts();
        if facts.wiki.flags_by_name
            && let Some(country) = facts.country_of_name(code)
        {
            return Some(country);
        }
        // A glance spares nearly all templates the table.
        if code.len() > 4 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        facts.country(code)
    }

    /// Whether the arguments ask for the flag without the name, as in the German wiki.
    fn is_icon(&self, arguments: Range<usize>) -> bool {
        self.text[arguments].trim_start_matches('|').trim_start().starts_with('#')
    }

    /// The template's name, small and without its namespace, and where it ends.
    pub(super) fn template_name(&self, inner: Range<usize>) -> Option<(String, usize)> {
        let bytes = &self.bytes[inner.clone()];
        let length = bytes.iter().take(MAX_NAME_BYTES + 16).position(|byte| matches!(byte, b'|' | b'{' | b'<' | b'['));
        let mut length = length.unwrap_or(bytes.len());
        // Of a function only the name is short.
        if length > MAX_NAME_BYTES {
            let window = &bytes[..bytes.len().min(MAX_NAME_BYTES)];
            length = window.iter().position(|&byte| byte == b':')? + 1;
        }
        let name = self.text.get(inner.start..inner.start + length)?.trim();
        let mut name = name.to_lowercase();
        if name.contains('_') {
            name = name.replace('_', " ");
        }
        while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
            name = rest.trim_start().to_owned();
        }
        if let Some((prefix, rest)) = name.split_once(':')
            && self.context.is_template(prefix)
        {
            name = rest.trim_start().to_owned();
        }
        Some((name, inner.start + length))
    }

    /// `{{{1|words}}}`: what stands for an argument that is not given, as on every page that is no template.
    pub(super) fn parameter(&mut self, token: Token) {
        let inner = token.inner();
        let Some(bar) = self.next_bar(inner.clone()) else {
            self.out.dropped();
            return;
        };
        let end = self.next_bar(bar + 1..inner.end).unwrap_or(inner.end);
        self.show_value(Some(bar + 1..end));
    }

    /// The facts of an infobox, a line each.
    fn infobox(&mut self, arguments: &[Argument]) {
        let in_list = std::mem::replace(&mut self.in_list, false);
        self.out.ask(Break::Paragraph);
        for argument in arguments {
            let Some(name) = argument.name.filter(|name| is_fact(name)) else { continue };
            // The value is read by itself first: a fact without words has no line.
            let value = self.plain(self.trimmed(argument.value.clone()));
            if value.is_empty() || is_file(&value) {
                continue;
            }
            self.out.ask(Break::Line);
            self.push_decoded(&name.replace(['_', '-'], " "));
            self.out.push(": ");
            self.push_decoded(&value);
        }
        self.in_list = in_list;
        self.out.ask(Break::Paragraph);
    }

    /// The arguments of a template, from the first bar on.
    pub(super) fn arguments(&self, range: Range<usize>) -> Vec<Argument<'page>> {
        let mut arguments = Vec::new();
        let mut next = self.tokens.partition_point(|token| token.start() < range.start);
        let mut start = None;
        let mut equals = None;
        let mut at = range.start;
        loop {
            let token = self.tokens.get(next).filter(|token| token.start() == at && at < range.end);
            if let Some(token) = token {
                at = token.end().min(range.end);
                next += 1;
                while self.tokens.get(next).is_some_and(|token| token.start() < at) {
                    next += 1;
                }
                continue;
            }
            if at >= range.end || self.bytes[at] == b'|' {
                if let Some(start) = start {
                    arguments.push(self.argument(start, equals, at));
                }
                if at >= range.end {
                    return arguments;
                }
                start = Some(at + 1);
                equals = None;
            } else if self.bytes[at] == b'=' && equals.is_none() {
                equals = Some(at);
            }
            at += 1;
        }
    }

    fn argument(&self, start: usize, equals: Option<usize>, end: usize) -> Argument<'page> {
        let name = equals.map(|equals| self.text[start..equals].trim());
        // An address or a tag's attribute has an equals sign too, but no name before it.
        match name.filter(|name| name.len() <= 96 && !name.contains(['<', '[', '/', '?', '&', '\n'])) {
            Some(name) => Argument { name: Some(name), value: equals.map_or(start, |equals| equals + 1)..end },
            None => Argument { name: None, value: start..end },
        }
    }

    /// The argument of a number, by its place among those without a name or by the number as its name.
    pub(super) fn numbered(&self, arguments: &[Argument], number: u8) -> Option<Range<usize>> {
        let named = arguments.iter().find(|argument| argument.name.is_some_and(|name| name.parse() == Ok(number)));
        let placed =
            || arguments.iter().filter(|argument| argument.name.is_none()).nth(usize::from(number.checked_sub(1)?));
        named.or_else(placed).map(|argument| argument.value.clone())
    }

    /// The value of a named argument, trimmed.
    pub(super) fn named(&self, arguments: &[Argument], names: &[&str]) -> Option<&'page str> {
        let argument = arguments.iter().find(|argument| argument.name.is_some_and(|name| names.contains(&name)))?;
        Some(self.text[argument.value.clone()].trim())
    }

    /// Arguments without a name, or with their number as the name, that are not empty.
    pub(super) fn placed(&self, arguments: &[Argument]) -> Vec<Range<usize>> {
        let filled = |argument: &&Argument| {
            argument.name.is_none_or(is_place) && !self.text[argument.value.clone()].trim().is_empty()
        };
        arguments.iter().filter(filled).map(|argument| argument.value.clone()).collect()
    }

    /// The value of a named argument as a stretch of the page: of the first of these names, or numbers, that has one.
    pub(super) fn named_range(&self, arguments: &[Argument], names: &[&str]) -> Option<Range<usize>> {
        names.iter().find_map(|wanted| {
            let value = match wanted.parse() {
                Ok(number) => self.numbered(arguments, number)?,
                Err(_) => arguments.iter().find(|argument| argument.name == Some(wanted))?.value.clone(),
            };
            let value = self.trimmed(value);
            (!value.is_empty()).then_some(value)
        })
    }

    /// Writes an argument without the space around it; an empty one counts as dropped.
    pub(super) fn show_value(&mut self, range: Option<Range<usize>>) {
        let Some(range) = range.map(|range| self.trimmed(range)).filter(|range| !range.is_empty()) else {
            self.out.dropped();
            return;
        };
        self.walk(range, Layout::Inline);
    }

    pub(super) fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let value = &self.text[range.clone()];
        let start = range.end - value.trim_start().len();
        start..(range.start + value.trim_end().len()).max(start)
    }
}

/// Whether the name of an argument is its place: `{{lang|1=fr|2=pont}}`.
fn is_place(name: &str) -> bool {
    name.parse().is_ok_and(|place: u8| (1..=30).contains(&place))
}

/// Whether an argument of an infobox of this name is a fact and not how something looks.
fn is_fact(name: &str) -> bool {
    const LOOKS: &[&str] = &[
        "image",
        "photo",
        "logo",
        "map",
        "caption",
        "alt",
        "width",
        "size",
        "color",
        "colour",
        "style",
        "class",
        "coord",
        "latd",
        "longd",
        "upright",
        "footnotes",
        "embed",
        "module",
        "bild",
        "karte",
        "imagen",
        "imagem",
        "immagine",
        "изображение",
        "ширина",
        "карта",
        "hình",
        "चित्र",
        "画像",
    ];
    let lower = name.to_lowercase();
    !lower.is_empty()
        && !lower.bytes().all(|byte| byte.is_ascii_digit())
        && !LOOKS.iter().any(|look| lower.contains(look))
}

/// Whether a value is the name of a picture.
fn is_file(value: &str) -> bool {
    let extension = value.rsplit_once('.').map_or("", |(_, extension)| extension);
    let known = ["jpg", "jpeg", "png", "svg", "gif", "tif", "tiff", "ogg", "webm", "webp", "pdf"];
    known.iter().any(|other| extension.eq_ignore_ascii_case(other))
}
