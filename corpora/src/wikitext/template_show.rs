//! What the templates that are shown show.

use std::ops::Range;

use super::clean::{Cleaner, Layout};
use super::countries::country;
use super::html::raise;
use super::language_names::{label_of, language_name};
use super::output::Break;
use super::template::Argument;
use super::template_names::Shows;
use crate::Link;

impl Cleaner<'_> {
    pub(super) fn show(&mut self, what: Shows, name: &str, arguments: &[Argument]) {
        let first = self.numbered(arguments, 1);
        match what {
            Shows::Argument(number) => self.show_value(self.numbered(arguments, number)),
            Shows::Label(number, names) => {
                let label = self.named_range(arguments, names);
                self.show_value(label.or_else(|| self.numbered(arguments, number)).or(first));
            }
            Shows::Last => self.show_value(self.placed(arguments).pop()),
            Shows::Block(number) => self.show_block(self.numbered(arguments, number)),
            Shows::Quotation(number) => self.show_quotation(number, arguments),
            Shows::Between(before, after) => {
                let mark = self.out.mark();
                self.out.push(before);
                let length = self.out.text.len();
                self.show_value(first);
                if self.out.text.len() > length {
                    self.out.push(after);
                } else {
                    self.out.take_back(&mark);
                }
            }
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
            Shows::Ship => self.show_ship(name, arguments),
            Shows::ShipClass => {
                let values = self.placed(arguments);
                self.show_value(values.first().cloned());
                self.out.push("-class ");
                self.show_value(values.get(1).cloned());
            }
            Shows::Measure => self.show_measure(name, arguments),
            Shows::Height => self.show_height(arguments),
            Shows::Unit => self.show_unit(&self.placed(arguments)),
            Shows::Date => self.show_date(arguments),
            Shows::DayFirst => self.show_day_first(&self.placed(arguments)),
            Shows::Died => self.show_died(arguments),
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
            Shows::Century(before, after) => {
                let values = self.placed(arguments);
                self.out.push(before);
                self.show_value(values.first().cloned());
                self.out.push(after);
            }
            Shows::Fraction => self.show_fraction(&self.placed(arguments), "⁄"),
            Shows::Slashed => self.show_fraction(&self.placed(arguments), "/"),
            Shows::Value => self.show_number_with_unit(arguments),
            Shows::Nihongo => self.show_nihongo(&self.placed(arguments)),
            Shows::Chinese => self.show_chinese(name, arguments),
            Shows::Link(number, names) => self.show_link(number, names, arguments),
            Shows::Raised | Shows::Exponent => {
                let value = first.clone().map_or("", |range| self.text[range].trim());
                match (raise(value), what) {
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
            Shows::Country | Shows::Flag => self.show_country(what == Shows::Flag, arguments),
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
        let with_code = matches!(name, "langx" | "lang-x");
        let placed = self.placed(arguments);
        let code = if with_code {
            placed.first().map_or("", |range| self.text[range.clone()].trim())
        } else {
            name.trim_start_matches("lang").trim_start_matches(['-', ' '])
        };
        let language = language_name(code.split('-').next().unwrap_or(code));
        let labelled = !matches!(self.named(arguments, &["label"]), Some("none" | "no" | "off"));
        if let Some(language) = language.filter(|_| self.context.english() && labelled) {
            self.out.push(language);
            self.out.push(": ");
        } else if labelled {
            self.out.push(label_of(self.context.language_code(), code));
        }
        self.show_value(self.numbered(arguments, 1 + u8::from(with_code)));
    }

    /// `{{HMS|Victory|1765}}`: a ship, and a link to it.
    fn show_ship(&mut self, name: &str, arguments: &[Argument]) {
        let values = self.placed(arguments);
        let (prefix, values) = match name {
            "ship" | "mvs" => (self.plain_part(values.first().cloned()), values.get(1..).unwrap_or_default()),
            _ => (name.to_uppercase(), values.as_slice()),
        };
        let ship = self.plain_part(values.first().cloned());
        let number = self.plain_part(values.get(1).cloned());
        let mode = self.plain_part(values.get(2).cloned());
        if ship.is_empty() {
            self.push_plain(&prefix);
            return;
        }
        let full = format!("{prefix} {ship}");
        let target = if number.is_empty() { full.clone() } else { format!("{full} ({number})") };
        let shown = match mode.as_str() {
            "1" => number,
            "2" => ship,
            "3" => format!("{ship} ({number})"),
            "6" => full,
            _ => target.clone(),
        };
        self.push_link(shown.trim(), target.trim());
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
    fn show_country(&mut self, as_typed: bool, arguments: &[Argument]) {
        let typed = self.plain_part(self.numbered(arguments, 1));
        let name = country(&typed, self.context.language_code()).map_or(typed.clone(), str::to_owned);
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
    fn show_link(&mut self, number: u8, names: &[&str], arguments: &[Argument]) {
        let title = self.plain_part(self.numbered(arguments, number));
        let label = self.named_range(arguments, names);
        let label = if label.is_some() { self.plain_part(label) } else { title.clone() };
        if label.is_empty() { self.out.dropped() } else { self.push_link(&label, &title) }
    }

    /// `{{as of|2010|3|lc=y}}`.
    fn show_as_of(&mut self, words: &str, arguments: &[Argument]) {
        if let Some(alternative) = self.named_range(arguments, &["alt"]) {
            return self.show_value(Some(alternative));
        }
        if self.context.language_code() == "vi" {
            self.out.push("Tính đến ");
        }
        if self.context.english() {
            let since = self.named(arguments, &["since"]).is_some();
            let words = if since { "Since " } else { words };
            let small = self.named(arguments, &["lc"]).is_some_and(|value| !value.is_empty());
            self.out.push(&if small { words.to_lowercase() } else { words.to_owned() });
        }
        self.show_date(arguments);
    }

    /// Day, month and year of `{{start date|1984|7|21|df=y}}` in the order of the language.
    fn show_date(&mut self, arguments: &[Argument]) {
        let values = self.placed(arguments);
        let words = self.date_of(&values, arguments);
        match words {
            Some(words) => self.push_plain(&words),
            None => self.show_value(self.numbered(arguments, 1)),
        }
    }

    /// The date that a year, a month and a day in this order are; `None` if the first is no year.
    fn date_of(&mut self, values: &[Range<usize>], arguments: &[Argument]) -> Option<String> {
        let numbers: Vec<&str> = values.iter().take(3).map(|range| self.text[range.clone()].trim()).collect();
        let year = numbers.first().filter(|year| is_number(year) && year.len() <= 4)?;
        let language = self.context.language();
        let month = numbers.get(1).and_then(|month| language.month(month));
        let day = numbers.get(2).copied().filter(|day| is_number(day) && day.len() <= 2 && month.is_some());
        let day_first = self.named(arguments, &["df"]).is_some_and(|value| matches!(value, "y" | "yes" | "1" | "Y"));
        Some(language.date(year, month, day, day_first))
    }

    /// `{{date|12|mars|1980}}`.
    fn show_day_first(&mut self, values: &[Range<usize>]) {
        let parts: Vec<String> =
            values.iter().take(3).map(|range| self.text[range.clone()].trim().to_owned()).collect();
        let language = self.context.language();
        match parts.as_slice() {
            [day, month, year] if is_number(day) && is_number(year) => {
                let date = language.date(year, language.month(month), Some(day), true);
                // A month that is not known is written as it stands.
                let date = if language.month(month).is_some() { date } else { parts.join(" ") };
                self.push_plain(&date);
            }
            _ => self.show_joined(&values[..values.len().min(3)], " "),
        }
    }

    /// `{{death date and age|1990|3|2|1920|1|5}}`: the day, and in English the age.
    fn show_died(&mut self, arguments: &[Argument]) {
        let values = self.placed(arguments);
        let Some(words) = self.date_of(&values, arguments) else {
            return self.show_value(self.numbered(arguments, 1));
        };
        self.push_plain(&words);
        let numbers: Vec<i32> = values.iter().map_while(|range| self.text[range.clone()].trim().parse().ok()).collect();
        if let [died, died_month, died_day, born, born_month, born_day] = numbers[..]
            && self.context.english()
        {
            let before_birthday = (died_month, died_day) < (born_month, born_day);
            let age = died.saturating_sub(born).saturating_sub(i32::from(before_birthday));
            self.out.push(&format!(" (aged {age})"));
        }
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
        let number = self.plain_part(values.first().cloned());
        self.push_plain(&self.context.language().number(&number.replace(',', "")));
        match values.len() {
            0 | 1 => {}
            2 => {
                self.out.push("±");
                self.show_value(values.get(1).cloned());
            }
            _ => {
                let (more, less) = (self.plain_part(values.get(1).cloned()), self.plain_part(values.get(2).cloned()));
                self.push_plain(&format!(" (+{more}, −{})", less.trim_start_matches(['-', '−'])));
            }
        }
        if let Some(raised) = self.named(arguments, &["e"]).and_then(raise) {
            self.out.push(&format!("×10{raised}"));
        }
        let unit = self.plain_part(self.named_range(arguments, &["u", "ul", "up", "upl"]));
        if !unit.is_empty() {
            self.out.push(" ");
            self.push_plain(&unit);
        }
    }

    /// `{{unité|10|km|2}}`: a number, a unit, and its power.
    fn show_unit(&mut self, values: &[Range<usize>]) {
        let number = self.plain_part(values.first().cloned());
        let plain = number.replace([' ', '\u{A0}'], "").replace(',', ".");
        self.push_plain(&if is_number(&plain) { self.context.language().number(&plain) } else { number });
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
fn is_number(text: &str) -> bool {
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
