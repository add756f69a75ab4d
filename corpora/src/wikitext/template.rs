//! Templates: most are dropped, those whose words belong to the sentence are shown.

use std::ops::Range;

use super::clean::{Cleaner, Layout};
use super::html::raise;
use super::output::Break;
use super::template_names::{Shows, language_name, shows};
use super::tokens::Token;

/// An argument of a template: where its value lies, and its name if it has one.
struct Argument<'page> {
    name: Option<&'page str>,
    value: Range<usize>,
}

/// The longest template name that is looked up.
const MAX_NAME_BYTES: usize = 64;

impl<'page> Cleaner<'page> {
    /// Shows or drops `{{…}}`.
    pub(super) fn template(&mut self, token: Token) {
        let inner = token.inner();
        let Some((name, end)) = self.template_name(inner.clone()) else {
            self.out.dropped();
            return;
        };
        // `{{formatnum:1234}}` and its like are functions: what they are applied to stands after the colon.
        if let Some((function, _)) = name.split_once(':') {
            if matches!(function, "formatnum" | "lc" | "uc" | "lcfirst" | "ucfirst") {
                let colon = self.text[inner.start..end].find(':').map_or(end, |colon| inner.start + colon + 1);
                self.walk(colon..end, Layout::Inline);
            } else {
                self.out.dropped();
            }
            return;
        }
        match shows(&name) {
            Shows::Nothing => self.out.dropped(),
            Shows::Words(words) => self.out.push(words),
            what => {
                let arguments = self.arguments(end..inner.end);
                self.show(what, &name, &arguments);
            }
        }
    }

    /// The template's name, small and without its namespace, and where it ends.
    fn template_name(&self, inner: Range<usize>) -> Option<(String, usize)> {
        let bytes = &self.bytes[inner.clone()];
        let length = bytes.iter().take(MAX_NAME_BYTES + 16).position(|byte| matches!(byte, b'|' | b'{' | b'<' | b'['));
        let length = length.unwrap_or(bytes.len());
        // `{{#if:…}}` takes any length; no template that is shown has so long a name.
        let name = self.text.get(inner.start..inner.start + length)?.trim();
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        let mut name = name.to_lowercase();
        if name.contains('_') {
            name = name.replace('_', " ");
        }
        if let Some(rest) = name.strip_prefix("template:") {
            name = rest.trim_start().to_owned();
        }
        Some((name, inner.start + length))
    }

    /// The arguments of a template, from the first bar on.
    fn arguments(&self, range: Range<usize>) -> Vec<Argument<'page>> {
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
        match name.filter(|name| name.len() <= 32 && !name.contains(['<', '[', '/', '?', '&', '\n'])) {
            Some(name) => Argument { name: Some(name), value: equals.map_or(start, |equals| equals + 1)..end },
            None => Argument { name: None, value: start..end },
        }
    }

    /// The argument of a number, by its place among those without a name or by the number as its name.
    fn numbered(&self, arguments: &[Argument], number: u8) -> Option<Range<usize>> {
        let named = arguments.iter().find(|argument| argument.name.is_some_and(|name| name.parse() == Ok(number)));
        let placed =
            || arguments.iter().filter(|argument| argument.name.is_none()).nth(usize::from(number.checked_sub(1)?));
        named.or_else(placed).map(|argument| argument.value.clone())
    }

    /// The value of a named argument, trimmed.
    fn named(&self, arguments: &[Argument], names: &[&str]) -> Option<&'page str> {
        let argument = arguments.iter().find(|argument| argument.name.is_some_and(|name| names.contains(&name)))?;
        Some(self.text[argument.value.clone()].trim())
    }

    /// Arguments without a name that are not empty.
    fn placed(&self, arguments: &[Argument]) -> Vec<Range<usize>> {
        let filled =
            |argument: &&Argument| argument.name.is_none() && !self.text[argument.value.clone()].trim().is_empty();
        arguments.iter().filter(filled).map(|argument| argument.value.clone()).collect()
    }

    fn show(&mut self, what: Shows, name: &str, arguments: &[Argument]) {
        match what {
            Shows::Argument(number) => self.show_value(self.numbered(arguments, number)),
            Shows::Last => self.show_value(self.placed(arguments).pop()),
            Shows::Quotation(number) => {
                let named = |wanted: &[&str]| {
                    let found =
                        arguments.iter().find(|argument| argument.name.is_some_and(|name| wanted.contains(&name)));
                    found.map(|argument| argument.value.clone())
                };
                if let Some(range) = named(&["text", "quote"]).or_else(|| self.numbered(arguments, number)) {
                    self.out.ask(Break::Paragraph);
                    self.walk(range, Layout::Block);
                    self.in_list = false;
                    self.out.ask(Break::Paragraph);
                }
            }
            Shows::Before(words) => {
                if let Some(value) = self.numbered(arguments, 1) {
                    // `As of 2010` in a French sentence would be wrong; the year is not, nor is `c.`.
                    let english = words == "As of " || words == "born ";
                    self.out.push(if english && !self.context.english() { "" } else { words });
                    self.show_value(Some(value));
                } else if words == "c. " {
                    self.out.push(words);
                } else {
                    self.out.dropped();
                }
            }
            Shows::After(words) => {
                self.show_value(self.numbered(arguments, 1));
                self.out.push(words);
            }
            Shows::Joined(between) => self.show_joined(&self.placed(arguments), between),
            Shows::Language => self.show_language(name, arguments),
            Shows::Ship => {
                self.out.push(&name.to_uppercase());
                self.out.ask(Break::Space);
                self.show_value(self.numbered(arguments, 1));
            }
            Shows::Measure => self.show_measure(&self.placed(arguments)),
            Shows::Date => self.show_date(arguments),
            Shows::Fraction => self.show_fraction(&self.placed(arguments)),
            Shows::Value => {
                self.show_value(self.numbered(arguments, 1));
                if let Some(unit) = self.named(arguments, &["u", "ul", "up"]) {
                    self.out.push(" ");
                    self.out.push(&unit.replace(['\n', '[', ']', '{', '}'], ""));
                }
            }
            Shows::Nihongo => {
                let values = self.placed(arguments);
                self.show_value(values.first().cloned());
                if values.len() > 1 {
                    self.out.push(" (");
                    self.show_joined(&values[1..values.len().min(3)], ", ");
                    self.out.push(")");
                }
            }
            Shows::Raised | Shows::Exponent => {
                let value = self.numbered(arguments, 1).map_or("", |range| self.text[range].trim());
                match (raise(value), what) {
                    (Some(raised), Shows::Exponent) => self.out.push(&format!("×10{raised}")),
                    (Some(raised), _) => self.out.push(&raised),
                    (None, _) => self.show_value(self.numbered(arguments, 1)),
                }
            }
            Shows::Nothing | Shows::Words(_) => self.out.dropped(),
        }
    }

    /// Writes an argument without the space around it; an empty one counts as dropped.
    fn show_value(&mut self, range: Option<Range<usize>>) {
        let Some(range) = range.map(|range| self.trimmed(range)).filter(|range| !range.is_empty()) else {
            self.out.dropped();
            return;
        };
        self.walk(range, Layout::Inline);
    }

    fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let value = &self.text[range.clone()];
        let start = range.end - value.trim_start().len();
        start..(range.start + value.trim_end().len()).max(start)
    }

    fn show_joined(&mut self, values: &[Range<usize>], between: &str) {
        for (number, value) in values.iter().enumerate() {
            if number > 0 {
                self.out.push(between);
            }
            self.show_value(Some(value.clone()));
        }
    }

    fn show_language(&mut self, name: &str, arguments: &[Argument]) {
        let code = name.trim_start_matches("lang").trim_start_matches(['-', ' ']);
        let language = language_name(code.split('-').next().unwrap_or(code));
        if let Some(language) = language.filter(|_| self.context.english()) {
            self.out.push(language);
            self.out.push(": ");
        }
        self.show_value(self.numbered(arguments, 1));
    }

    /// `10|km` as `10 km`, `10|to|20|km|mi` as `10 to 20 km`, `5|ft|11|in` as `5 ft 11 in`.
    fn show_measure(&mut self, values: &[Range<usize>]) {
        let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit() || "+-−.".contains(first));
        let mut number = true;
        for (place, value) in values.iter().enumerate() {
            let text = self.text[value.clone()].trim();
            match (number, is_number(text) && text.bytes().any(|byte| byte.is_ascii_digit())) {
                (true, true) => {
                    self.out.push(if place > 0 { " " } else { "" });
                    self.show_value(Some(value.clone()));
                    number = false;
                }
                (false, false) => {
                    self.out.push(" ");
                    match text {
                        "-" | "–" | "to" | "and" | "or" | "by" | "x" | "×" | "and(-)" | "to(-)" | "+/-" | "±"
                        | "-to" | "to about" => {
                            self.out.push(range_word(text));
                            number = true;
                        }
                        "ft" | "lb" | "st" => {
                            self.out.push(text);
                            number =
                                values.get(place + 1).is_some_and(|next| is_number(self.text[next.clone()].trim()))
                                    && values.len() > place + 2;
                            if !number {
                                return;
                            }
                        }
                        unit => return self.out.push(&unit_words(unit)),
                    }
                }
                // What follows the unit is what to convert to, or how precisely.
                _ => return,
            }
        }
    }

    /// Day, month and year in the order of `{{start date|1984|7|21|df=y}}`.
    fn show_date(&mut self, arguments: &[Argument]) {
        let numbers: Vec<u32> = self
            .placed(arguments)
            .into_iter()
            .map_while(|range| self.text[range].trim().parse().ok())
            .take(3)
            .collect();
        let month = numbers.get(1).and_then(|&month| MONTHS.get((month as usize).checked_sub(1)?)).copied();
        let day_first = self.named(arguments, &["df"]).is_some_and(|value| matches!(value, "y" | "yes" | "1" | "Y"));
        let words = match (numbers.as_slice(), month) {
            ([year, _, day, ..], Some(month)) if day_first => format!("{day} {month} {year}"),
            ([year, _, day, ..], Some(month)) => format!("{month} {day}, {year}"),
            ([year, _], Some(month)) => format!("{month} {year}"),
            ([year, ..], _) => year.to_string(),
            _ => return self.show_value(self.numbered(arguments, 1)),
        };
        self.out.push(&words);
    }

    fn show_fraction(&mut self, values: &[Range<usize>]) {
        match values {
            [whole, over, under, ..] => {
                self.show_value(Some(whole.clone()));
                self.out.push(" ");
                self.show_joined(&[over.clone(), under.clone()], "⁄");
            }
            [over, under] => self.show_joined(&[over.clone(), under.clone()], "⁄"),
            [under] => {
                self.out.push("1⁄");
                self.show_value(Some(under.clone()));
            }
            [] => self.out.push("⁄"),
        }
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn range_word(word: &str) -> &str {
    match word {
        "-" => "– ",
        "x" | "by" => "by ",
        "+/-" | "±" => "± ",
        "–" => "– ",
        "×" => "× ",
        "and" | "and(-)" => "and ",
        "or" => "or ",
        _ => "to ",
    }
}

/// A unit's code as it is written out.
fn unit_words(code: &str) -> String {
    let spelled = match code {
        "C" => "°C",
        "F" => "°F",
        "K" => "K",
        "sqmi" => "sq mi",
        "sqkm" => "km²",
        "sqft" => "sq ft",
        "sqm" => "m²",
        "cuft" => "cu ft",
        "acre" => "acres",
        "ha" => "ha",
        "mi" => "mi",
        "nmi" => "nmi",
        "e6acre" => "million acres",
        "LT" => "long tons",
        "ST" => "short tons",
        "MT" => "tonnes",
        "usgal" => "US gal",
        "impgal" => "imp gal",
        "/sqmi" => "per square mile",
        "/km2" | "PD/km2" => "per square kilometre",
        other => {
            let mut words = other.replace(['\n', '[', ']', '{', '}'], "");
            if let Some(stem) = words.strip_suffix('2') {
                words = format!("{stem}²");
            } else if let Some(stem) = words.strip_suffix('3') {
                words = format!("{stem}³");
            }
            return words;
        }
    };
    spelled.to_owned()
}
