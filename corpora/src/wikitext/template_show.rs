//! Output of the templates that are shown.

use std::ops::Range;

use super::clean::{Cleaner, Layout};
use super::html::raise;
use super::measure::powers;
use super::numerals::in_words;
use super::output::Break;
use super::template::Argument;
use super::template_names::Shows;
use crate::Link;

impl Cleaner<'_> {
    pub(super) fn show(&mut self, what: Shows, name: &str, arguments: &[Argument]) {
        let first = self.numbered(arguments, 1);
        match what {
            Shows::Argument(number) => self.show_value(self.numbered(arguments, number)),
            Shows::Pattern(pattern) => self.show_pattern(pattern, arguments),
            Shows::Last => self.show_value(self.placed(arguments).pop()),
            Shows::Block(number) => self.show_block(self.numbered(arguments, number)),
            Shows::Quotation(number) => self.show_quotation(number, arguments),
            Shows::Circa(words) => {
                let values = self.placed(arguments);
                self.out.push(words);
                if values.is_empty() {
                    return;
                }
                self.show_joined(&values[..values.len().min(2)], if words == "c. " { " – c. " } else { "–" });
            }
            Shows::AsOf(words) => self.show_as_of(words, arguments),
            Shows::Joined(between) => self.show_joined(&self.placed(arguments), between),
            Shows::Items => self.show_items(arguments),
            Shows::Language => self.show_language(name, arguments),
            Shows::Native(number) => self.show_native(number, arguments),
            Shows::Ship(prefix) => self.show_ship(prefix, 1, arguments),
            Shows::ShipNamed => self.show_named_ship(arguments),
            Shows::ShipClass => self.show_ship_class(arguments),
            Shows::Measure => self.show_measure(name, arguments),
            Shows::Height => self.show_height(arguments),
            Shows::Unit => self.show_unit(arguments),
            Shows::Date => self.show_date(arguments),
            Shows::DayFirst => self.show_day_first(&self.placed(arguments)),
            Shows::Died => self.show_died(arguments),
            Shows::BothCalendars => self.show_both_calendars(arguments),
            Shows::Number => {
                let number = self.plain_part(first);
                let language = self.context.language();
                let plain = language.plain(&number.replace(' ', ""));
                self.push_plain(&if is_number(&plain) { language.number(&plain) } else { number });
            }
            Shows::Ordinal => {
                let number = self.plain_part(first);
                self.push_plain(&format!("{number}{}", ordinal_ending(&number)));
            }
            Shows::Roman => {
                let rest = name.trim_start_matches(['i', 'v', 'x', 'l', 'c', 'd', 'm']);
                let numeral = name[..name.len() - rest.len()].to_uppercase();
                self.out.push(&format!("{numeral}{}", rest.replace("j.-c.", "J.-C.")));
            }
            Shows::Century(words) => self.show_century(words, arguments),
            Shows::Fraction => self.show_fraction(&self.placed(arguments), "⁄"),
            Shows::Slashed => self.show_fraction(&self.placed(arguments), "/"),
            Shows::Percentage => self.show_percentage(arguments),
            Shows::Harvard(pattern) => self.show_harvard(pattern, arguments),
            Shows::HarvardNamed => self.show_named_harvard(arguments),
            Shows::Spelled => {
                let number = self.plain_part(first);
                let words = number.replace(',', "").parse().ok().and_then(in_words);
                self.push_plain(&words.unwrap_or(number));
            }
            Shows::Age => self.show_age(arguments),
            Shows::CodePoint => self.show_code_point(arguments),
            Shows::Value => self.show_number_with_unit(arguments),
            Shows::Reading => self.show_reading(&self.placed(arguments)),
            Shows::Nihongo => self.show_nihongo(&self.placed(arguments)),
            Shows::Chinese => self.show_chinese(name, arguments),
            Shows::Link(number, names) => self.show_link(number, names, arguments),
            Shows::Raised | Shows::Exponent => {
                let value = first.clone().map_or("", |range| self.text[range].trim());
                match (raise(value), what) {
                    (Some(raised), Shows::Exponent) if name == "10^" => self.out.push(&format!("10{raised}")),
                    (Some(raised), Shows::Exponent) => self.out.push(&format!("×10{raised}")),
                    (Some(raised), _) => self.out.push(&raised),
                    (None, _) => self.show_value(first),
                }
            }
            Shows::Sign => {
                let sign = match first.map_or("", |range| self.text[range].trim()) {
                    "sharp" | "#" => "♯",
                    "flat" | "b" => "♭",
                    "natural" | "n" => "♮",
                    _ => "",
                };
                self.push_plain(sign);
            }
            Shows::Bio => self.show_bio(arguments),
            Shows::Pronunciation => self.show_pronunciation(name, &self.placed(arguments)),
            Shows::Country(number) => self.show_country(number, false, arguments),
            Shows::Flag => self.show_country(1, true, arguments),
            Shows::FlagNamed
                if self.placed(arguments).iter().skip(1).any(|value| self.text[value.clone()].trim() == "nome") =>
            {
                self.show_country(1, false, arguments);
            }
            Shows::FlagNamed => self.out.dropped(),
            Shows::Nothing | Shows::Words(_) => self.out.dropped(),
        }
    }

    fn show_block(&mut self, range: Option<Range<usize>>) {
        let Some(range) = range.filter(|range| !self.text[range.clone()].trim().is_empty()) else {
            self.out.dropped();
            return;
        };
        self.out.ask(Break::Paragraph);
        self.walk(range, Layout::Block);
        self.in_list = false;
        self.out.ask(Break::Paragraph);
    }

    fn show_quotation(&mut self, number: u8, arguments: &[Argument]) {
        const NAMES: &[&str] = &[
            "text",
            "quote",
            "content",
            "Text",
            "texto",
            "texte",
            "testo",
            "treść",
            "nội dung",
            "текст",
            "citat",
            "цитата",
        ];
        let range = self.named_range(arguments, NAMES).or_else(|| self.numbered(arguments, number));
        self.show_block(range);
    }

    /// Items of a list, written as a list or as arguments.
    fn show_items(&mut self, arguments: &[Argument]) {
        let values = self.placed(arguments);
        let first = values.first().map_or("", |range| self.text[range.clone()].trim_start());
        if values.len() == 1 && first.starts_with(['*', '#', ':', ';']) {
            let range = self.trimmed(values[0].clone());
            self.walk(range, Layout::Block);
            self.in_list = false;
            return;
        }
        // Words are listed in a line, sentences line by line.
        let long = |range: &Range<usize>| range.len() > 100 || self.text[range.clone()].trim_end().ends_with('.');
        if !values.iter().any(long) {
            return self.show_joined(&values, ", ");
        }
        for value in values {
            self.out.ask(Break::Line);
            self.show_value(Some(value));
        }
        self.out.ask(Break::Line);
    }

    pub(super) fn show_joined(&mut self, values: &[Range<usize>], between: &str) {
        if values.is_empty() {
            self.out.dropped();
        }
        for (number, value) in values.iter().enumerate() {
            if number > 0 {
                self.out.push(between);
            }
            self.show_value(Some(value.clone()));
        }
    }

    fn show_language(&mut self, name: &str, arguments: &[Argument]) {
        // The code of the language is in the name of the template, or the first argument.
        let of_name = name.strip_prefix("lang-").or_else(|| name.strip_prefix("lang ")).filter(|code| *code != "x");
        let code = of_name.unwrap_or_else(|| {
            let first = self.numbered(arguments, 1);
            first.map_or("", |range| self.text[range].trim())
        });
        if !matches!(self.named(arguments, &["label"]), Some("none" | "no" | "off"))
            && let Some(label) = self.context.facts().label_of(code)
        {
            self.out.push(&label);
        }
        self.show_value(self.numbered(arguments, 1 + u8::from(of_name.is_none())));
    }

    /// `{{native name|de|Wien}}`: words, and what language they are of.
    fn show_native(&mut self, number: u8, arguments: &[Argument]) {
        let length = self.out.text.len();
        self.show_value(self.numbered(arguments, number));
        if matches!(self.named(arguments, &["paren"]), Some("no" | "off" | "omit")) || self.out.text.len() == length {
            return;
        }
        let code = self.plain_part(self.named_range(arguments, &["1"]));
        if let Some(language) = self.context.facts().language_name(&code) {
            self.out.push(&format!(" ({language})"));
        }
    }

    /// `{{siglo|V|a}}`: a century, before or after Christ.
    fn show_century(&mut self, words: &str, arguments: &[Argument]) {
        let century = self.plain_part(self.numbered(arguments, 1));
        let era = self.plain_part(self.numbered(arguments, 2));
        if century.is_empty() {
            return self.out.dropped();
        }
        let era = match era.as_str() {
            "a" | "A" | "ac" | "aC" => " a. C.",
            "d" | "D" | "dc" | "dC" => " d. C.",
            other if other.ends_with("C.") => &format!(" {other}"),
            _ => "",
        };
        self.push_plain(&format!("{words}{century}{era}"));
    }

    /// `{{percentage|1|4|1}}`: a part of a whole, with so many digits.
    fn show_percentage(&mut self, arguments: &[Argument]) {
        let language = self.context.language();
        let mut number = |place: u8| {
            let value = self.plain_part(self.numbered(arguments, place));
            language.plain(&value.replace(' ', "")).parse::<f64>().ok()
        };
        let (part, whole, digits) = (number(1), number(2), number(3).unwrap_or(0.0));
        match (part, whole) {
            (Some(part), Some(whole)) if whole != 0.0 => {
                let share = format!("{:.*}", digits.clamp(0.0, 9.0) as usize, part / whole * 100.0);
                self.push_plain(&format!("{}%", language.number(&share)));
            }
            (Some(part), None) => self.push_plain(&format!("{}%", language.number(&part.to_string()))),
            _ => self.out.dropped(),
        }
    }

    /// `{{unichar|2014|em dash}}`: a code point, its character and its name.
    fn show_code_point(&mut self, arguments: &[Argument]) {
        let code = self.plain_part(self.numbered(arguments, 1));
        let code = code.trim_start_matches("U+").to_uppercase();
        let name = self.plain_part(self.named_range(arguments, &["2", "name"])).to_uppercase();
        let character = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
        let character = character.map(String::from).unwrap_or_default();
        let words = format!("U+{code} {character} {name}");
        self.push_plain(words.trim_end());
    }

    /// Writes words that a template links to an article.
    pub(super) fn push_link(&mut self, shown: &str, target: &str) {
        let num_links = self.out.links.len();
        self.out.begin_anchor();
        self.push_decoded(shown);
        let target = self.title(target);
        if let Some(span) = self.out.end_anchor()
            && !target.is_empty()
            && self.out.links.len() == num_links
        {
            self.out.links.push(Link { span, target });
        }
    }

    /// `{{flagcountry|USA}}`, `{{flag|Norway}}`, `{{flag|UK|1606}}`.
    fn show_country(&mut self, number: u8, as_typed: bool, arguments: &[Argument]) {
        let typed = self.plain_part(self.numbered(arguments, number));
        let name = self.context.facts().country(&typed).map_or(typed.clone(), str::to_owned);
        let shown = self.plain_part(self.named_range(arguments, &["name"]));
        let shown = match shown.is_empty() {
            false => shown,
            true if as_typed && self.context.english() => typed,
            true => name.clone(),
        };
        if shown.is_empty() { self.out.dropped() } else { self.push_link(&shown, &name) }
    }

    /// `{{IPA|fr|paʁi}}`, `{{IPA-fr|paʁi}}`, `{{IPAc-en|ˈ|p|ær|ɪ|s}}`, `{{respell|PARR|iss}}`.
    fn show_pronunciation(&mut self, name: &str, values: &[Range<usize>]) {
        /// What stands before the sounds: where they are heard, and how they are introduced.
        const LABELS: &[&str] =
            &["lang", "pron", "also", "us", "uk", "ca", "au", "nz", "label", "local", "generally", "small"];
        let is_segmented = name.starts_with("ipac");
        let is_code = |part: &str| {
            let code = part.split('-').next().unwrap_or_default();
            matches!(code.len(), 2 | 3) && code.bytes().all(|byte| byte.is_ascii_lowercase())
        };
        let parts: Vec<String> = values.iter().map(|value| self.plain_part(Some(value.clone()))).collect();
        let shown = if name.contains("respell") {
            parts.join("-")
        } else if is_segmented {
            let sounds = parts.iter().filter(|part| !LABELS.contains(&part.to_lowercase().as_str()));
            sounds.map(String::as_str).collect()
        } else {
            // Before the sounds stands the code of the language, since there is one template for all.
            let sounds = if parts.len() > 1 && is_code(&parts[0]) { parts.get(1) } else { parts.first() };
            sounds.cloned().unwrap_or_default()
        };
        let is_enclosed = shown.starts_with(['/', '[', '⟨', '(']) || name.contains("respell");
        match (shown.is_empty(), is_enclosed) {
            (true, _) => self.out.dropped(),
            (_, true) => self.push_decoded(&shown),
            _ if name == "ipac-en" => self.push_decoded(&format!("/{shown}/")),
            _ => self.push_decoded(&format!("[{shown}]")),
        }
    }

    /// A link to an article that another wiki has.
    fn show_link(&mut self, number: u8, names: &str, arguments: &[Argument]) {
        let title = self.plain_part(self.numbered(arguments, number));
        let label = names.split('|').find_map(|name| self.named_range(arguments, &[name]));
        let label = if label.is_some() { self.plain_part(label) } else { title.clone() };
        if label.is_empty() { self.out.dropped() } else { self.push_link(&label, &title) }
    }

    fn show_fraction(&mut self, values: &[Range<usize>], bar: &str) {
        match values {
            [whole, over, under, ..] => {
                self.show_value(Some(whole.clone()));
                self.out.push(" ");
                self.show_joined(&[over.clone(), under.clone()], bar);
            }
            [over, under] => self.show_joined(&[over.clone(), under.clone()], bar),
            [under] => {
                self.out.push("1");
                self.out.push(bar);
                self.show_value(Some(under.clone()));
            }
            [] => self.out.push(bar),
        }
    }

    /// `{{val|1.23|0.05|e=3|u=kg}}`.
    fn show_number_with_unit(&mut self, arguments: &[Argument]) {
        let values = self.placed(arguments);
        let language = self.context.language();
        let written = |number: &str| {
            let plain = language.plain(&number.replace(' ', "").replace('−', "-"));
            if is_number(&plain) { language.number(&plain).replace('-', "−") } else { number.to_owned() }
        };
        let parts: Vec<String> = values.iter().take(3).map(|value| self.plain_part(Some(value.clone()))).collect();
        let before = self.plain_part(self.named_range(arguments, &["p"]));
        self.push_plain(&format!("{before}{}", parts.first().map(|number| written(number)).unwrap_or_default()));
        match parts.as_slice() {
            [_, word, to, ..] if matches!(word.as_str(), "-" | "–" | "to" | "x" | "×" | "by" | "and" | "or") => {
                let word = match word.as_str() {
                    "-" | "–" => "–".to_owned(),
                    "x" => " × ".to_owned(),
                    word => format!(" {word} "),
                };
                self.push_plain(&format!("{word}{}", written(to)));
            }
            [_, more, less] if less.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '−')) =>
            {
                let less = written(less.trim_start_matches(['-', '−']));
                self.push_plain(&format!(" (+{}, −{less})", written(more.trim_start_matches('+'))));
            }
            [_, more, ..] if more.starts_with(|first: char| first.is_ascii_digit()) => {
                self.push_plain(&format!("±{}", written(more)));
            }
            _ => {}
        }
        if let Some(raised) = self.named(arguments, &["e"]).and_then(raise) {
            self.out.push(&format!("×10{raised}"));
        }
        // What is no number among them is the unit.
        let of_name = self.plain_part(self.named_range(arguments, &["u", "ul", "end", "s"]));
        let placed = parts.iter().skip(1).find(|part| part.starts_with(char::is_alphabetic)).cloned();
        let unit = if of_name.is_empty() { placed.unwrap_or_default() } else { of_name };
        let per = self.plain_part(self.named_range(arguments, &["up", "upl"]));
        if !unit.is_empty() {
            let joins = unit.starts_with(['°', '%', '′', '″']) && !unit.starts_with("°C") && !unit.starts_with("°F");
            self.out.push(if joins { "" } else { " " });
            self.push_plain(&powers(&unit));
        }
        if !per.is_empty() {
            self.push_plain(&format!("/{}", powers(&per)));
        }
    }

    /// `{{unité|10|km|2}}`: a number, a unit, and its power; `{{unité|10|à=12|km}}`: a range.
    fn show_unit(&mut self, arguments: &[Argument]) {
        const RANGES: [&str; 6] = ["à", "et", "ou", "a", "y", "×"];
        let values = self.placed(arguments);
        let language = self.context.language();
        let written = |number: String| {
            let plain = language.plain(&number.replace(' ', ""));
            if is_number(&plain) { language.number(&plain) } else { number }
        };
        let number = self.plain_part(values.first().cloned());
        self.push_plain(&written(number));
        for word in RANGES {
            let other = self.plain_part(self.named_range(arguments, &[word]));
            if !other.is_empty() {
                self.push_plain(&format!(" {word} {}", written(other)));
            }
        }
        let mut values = values[1.min(values.len())..].iter().peekable();
        while let Some(unit) = values.next() {
            self.out.push(" ");
            self.show_value(Some(unit.clone()));
            let power = values.peek().and_then(|range| raise(self.text[(*range).clone()].trim()));
            if let Some(power) = power {
                self.out.push(&power);
                values.next();
            }
        }
    }

    fn show_nihongo(&mut self, values: &[Range<usize>]) {
        self.show_value(values.first().cloned());
        if values.len() > 1 {
            self.out.push(" (");
            self.show_joined(&values[1..values.len().min(3)], ", ");
            self.out.push(")");
        }
    }

    /// `{{zh|c=中国|p=Zhōngguó}}`: the writings, each with its name.
    fn show_chinese(&mut self, name: &str, arguments: &[Argument]) {
        const CHINESE: &[(&str, &str)] = &[
            ("c", "Chinese"),
            ("s", "simplified Chinese"),
            ("t", "traditional Chinese"),
            ("p", "pinyin"),
            ("w", "Wade–Giles"),
            ("j", "Jyutping"),
            ("y", "Cantonese Yale"),
            ("poj", "Pe̍h-ōe-jī"),
            ("l", "lit."),
        ];
        const KOREAN: &[(&str, &str)] =
            &[("hangul", "Korean"), ("hanja", "Hanja"), ("rr", "RR"), ("mr", "MR"), ("lit", "lit.")];
        let writings = if name.starts_with("korean") { KOREAN } else { CHINESE };
        let named: Vec<_> = writings
            .iter()
            .filter_map(|(key, label)| self.named_range(arguments, &[key]).map(|range| (*label, range)))
            .collect();
        if named.is_empty() {
            let last = self.placed(arguments).pop();
            return self.show_value(last);
        }
        for (number, (label, range)) in named.into_iter().enumerate() {
            self.out.push(if number > 0 { "; " } else { "" });
            if self.context.english() {
                self.out.push(label);
                self.out.push(if label == "lit." { " " } else { ": " });
            }
            self.show_value(Some(range));
        }
    }

    /// `-{zh-hans:简;zh-hant:繁}-`: one of the ways of writing; `-{words}-`: the words as they are.
    pub(super) fn variant(&mut self, inner: Range<usize>) {
        let mut content = inner.clone();
        if let Some(bar) = self.next_bar(inner.clone()) {
            let flags = self.text[inner.start..bar].trim();
            if flags.contains(['T', 'H', '-', 'N']) && flags.len() <= 3 {
                // A title, a rule for the rest of the page, a rule taken back, a name of a variant.
                self.out.dropped();
                return;
            }
            content = bar + 1..inner.end;
        }
        let chosen = self.chosen_variant(content.clone());
        self.walk(chosen.unwrap_or(content), Layout::Inline);
    }

    /// The variant that is shown, if there are any.
    fn chosen_variant(&self, content: Range<usize>) -> Option<Range<usize>> {
        const PREFERRED: &[&str] = &["zh", "zh-hans", "zh-cn", "sr-ec", "sr-cyrl", "kk-cyrl", "uz-latn"];
        let mut chosen: Option<(usize, Range<usize>)> = None;
        let mut start = content.start;
        for part in self.text[content].split(';').take(64) {
            let (from, to) = (start, start + part.len());
            start = to + 1;
            // `a=>zh-hans:b` is a rule of one direction.
            let code = part.split_once(':').map_or("", |(code, _)| code.rsplit("=>").next().unwrap_or(code).trim());
            let is_code = code.len() >= 2
                && code.len() <= 12
                && code.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
            if !is_code {
                continue;
            }
            let rank = PREFERRED.iter().position(|preferred| *preferred == code).unwrap_or(PREFERRED.len());
            let words = from + part.find(':').unwrap_or(0) + 1..to;
            if chosen.as_ref().is_none_or(|(best, _)| rank < *best) {
                chosen = Some((rank, words));
            }
        }
        chosen.map(|(_, words)| self.trimmed(words))
    }
}

/// Whether a text is a number in ASCII digits.
pub(super) fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok() && text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '.'))
}

fn ordinal_ending(number: &str) -> &'static str {
    let digits = number.trim_end();
    match (digits.ends_with("11") || digits.ends_with("12") || digits.ends_with("13"), digits.bytes().last()) {
        (false, Some(b'1')) => "st",
        (false, Some(b'2')) => "nd",
        (false, Some(b'3')) => "rd",
        (_, Some(b'0'..=b'9')) => "th",
        _ => "",
    }
}
