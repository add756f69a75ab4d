//! Parser functions and variables: `{{#if: …}}`, `{{formatnum:…}}`, `{{PAGENAME}}`.

use std::ops::Range;

use super::clean::{Cleaner, Layout};
use super::{expression, time};

/// Variables that are the page's title, in languages whose wikis write them in their own words.
const PAGE_NAMES: &[&str] = &[
    "pagename",
    "fullpagename",
    "basepagename",
    "rootpagename",
    "articlepagename",
    "subjectpagename",
    "seitenname",
    "vollerseitenname",
    "nompage",
    "nombredepagina",
    "nombredepágina",
    "nomepagina",
    "nomedapagina",
    "nomedapágina",
    "названиестраницы",
    "страница",
    "назвасторінки",
    "nazwastrony",
    "název strany",
    "sayfaadi",
    "sayfaadı",
    "tên trang",
    "têntrang",
    "ページ名",
    "页名",
    "頁名",
    "문서이름",
    "اسم_الصفحة",
    "اسم الصفحة",
    "نام‌صفحه",
    "लेखनाव",
    "पृष्ठनाव",
    "पृष्ठ_नाम",
    "पृष्ठनाम",
];

/// Whether the variable of this name (in small letters) is the page's title.
pub(super) fn is_page_name(name: &str) -> bool {
    PAGE_NAMES.contains(&name)
}

impl Cleaner<'_> {
    /// Shows what the variable of this name (in small letters) holds; `false` if there is none of that name.
    pub(super) fn variable(&mut self, name: &str) -> bool {
        if is_page_name(name) {
            self.push_decoded(self.page_title);
            return true;
        }
        let shown = match name {
            "subpagename" => self.page_title.rsplit('/').next().unwrap_or_default(),
            // What depends on the day of reading, or is about the wiki and not the page.
            "currentyear" | "currentmonth" | "currentday" | "localyear" | "numberofarticles" | "namespace"
            | "sitename" => "",
            _ => return false,
        };
        if shown.is_empty() {
            self.out.dropped()
        } else {
            self.push_decoded(shown)
        }
        true
    }

    /// Shows what a function of this name (in small letters) gives; what follows its colon is in `range`. `false` if
    /// there is no such function: then it is a template whose name has a colon.
    pub(super) fn function(&mut self, name: &str, range: Range<usize>) -> bool {
        let parts = self.parts(range);
        let part = |number: usize| parts.get(number).cloned();
        match name {
            "#if" | "#wenn" | "#si" | "#если" | "#もし" => {
                let chosen = if self.plain_part(part(0)).is_empty() { part(2) } else { part(1) };
                self.show_part(chosen);
            }
            "#ifeq" => {
                let (left, right) = (self.plain_part(part(0)), self.plain_part(part(1)));
                self.show_part(if same(&left, &right) { part(2) } else { part(3) });
            }
            "#ifexpr" => {
                let value = expression::evaluate(&self.plain_part(part(0)));
                self.show_part(if value.is_some_and(|value| value != 0.0) { part(1) } else { part(2) });
            }
            // Nearly everything that is asked for exists, and nothing fails.
            "#ifexist" => self.show_part(part(1)),
            "#iferror" => self.show_part(part(2).or(part(0))),
            "#expr" => {
                let value = expression::evaluate(&self.plain_part(part(0)));
                match value.map(expression::written) {
                    Some(value) => self.out.push(&value),
                    None => self.out.dropped(),
                }
            }
            "#switch" => self.switch_function(&parts),
            "#tag" => {
                let tag = self.plain_part(part(0));
                let shown = matches!(tag.as_str(), "nowiki" | "pre" | "poem" | "span" | "div" | "blockquote" | "small");
                self.show_part(if shown { part(1) } else { None });
            }
            "#dateformat" | "#formatdate" => {
                let (date, form) = (self.plain_part(part(0)), self.plain_part(part(1)));
                self.push_plain(&self.formatted_date(&date, &form));
            }
            "#time" | "#timel" => {
                let (form, date) = (self.plain_part(part(0)), self.plain_part(part(1)));
                match time::formatted(&form, &date, self.context.facts()) {
                    Some(words) => self.push_plain(&words),
                    None => self.out.dropped(),
                }
            }
            "#titleparts" => self.show_part(part(0)),
            "formatnum" | "zahlenformat" => {
                let number = self.plain_part(part(0));
                let raw = self.plain_part(part(1)).eq_ignore_ascii_case("R");
                let shown = if raw { number.replace(',', "") } else { self.context.language().number(&number) };
                self.push_plain(&shown);
            }
            "lc" | "uc" | "lcfirst" | "ucfirst" | "padleft" | "padright" => {
                let text = self.plain_part(part(0));
                let (width, with) = (self.plain_part(part(1)), self.plain_part(part(2)));
                self.push_plain(&changed(name, &text, width.parse().unwrap_or(0), &with));
            }
            "plural" => {
                let one = self.plain_part(part(0)).trim() == "1";
                self.show_part(if one { part(1) } else { part(2).or(part(1)) });
            }
            "gender" | "grammar" => self.show_part(part(1)),
            _ if name.starts_with('#') => self.out.dropped(),
            "ns"
            | "nse"
            | "int"
            | "msg"
            | "msgnw"
            | "raw"
            | "urlencode"
            | "anchorencode"
            | "localurl"
            | "fullurl"
            | "canonicalurl"
            | "filepath"
            | "defaultsort"
            | "sortierung"
            | "displaytitle"
            | "defaultcategorysort"
            | "defaultsortkey"
            | "special"
            | "mediawiki"
            | "pagesincategory"
            | "numberingroup"
            | "filtervalue"
            | "" => {
                self.out.dropped();
            }
            _ => return false,
        }
        true
    }

    /// The parts between the bars of a function, the first one before any.
    fn parts(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let bar = self.next_bar(range.clone());
        let first = range.start..bar.unwrap_or(range.end);
        let mut parts = vec![first];
        let mut bar = bar;
        while let Some(at) = bar {
            bar = self.next_bar(at + 1..range.end);
            parts.push(at + 1..bar.unwrap_or(range.end));
            // No function has so many; the rest of a page is not to be collected.
            if parts.len() > 1000 {
                break;
            }
        }
        parts
    }

    /// The first bar of a stretch that is not inside anything.
    pub(super) fn next_bar(&self, range: Range<usize>) -> Option<usize> {
        let mut next = self.tokens.partition_point(|token| token.start() < range.start);
        let mut at = range.start;
        loop {
            let found = memchr::memchr(b'|', self.bytes.get(at..range.end)?).map(|found| at + found)?;
            match self.tokens.get(next).filter(|token| token.start() < found) {
                Some(token) => {
                    if token.start() >= at {
                        at = token.end();
                    }
                    next += 1;
                }
                None => return Some(found),
            }
        }
    }

    /// `{{#switch: value | a = x | b | c = y | z}}`: the first case that fits, or the default.
    fn switch_function(&mut self, parts: &[Range<usize>]) {
        let value = self.plain_part(parts.first().cloned());
        let mut default = None;
        let mut fell_through = false;
        for (number, part) in parts.iter().enumerate().skip(1) {
            let Some(equals) = self.equals(part.clone()) else {
                // What may be shown is not read before: nested, that would double with every level.
                if number + 1 == parts.len() {
                    default = Some(part.clone());
                } else {
                    fell_through |= same(&self.plain_part(Some(part.clone())), &value);
                }
                continue;
            };
            let case = self.plain_part(Some(part.start..equals));
            if fell_through || same(&case, &value) {
                return self.show_part(Some(equals + 1..part.end));
            }
            if case == "#default" {
                default = Some(equals + 1..part.end);
            }
        }
        self.show_part(default);
    }

    /// The first equals sign of a stretch that is not inside anything.
    fn equals(&self, range: Range<usize>) -> Option<usize> {
        let mut next = self.tokens.partition_point(|token| token.start() < range.start);
        let mut at = range.start;
        while at < range.end {
            if let Some(token) = self.tokens.get(next).filter(|token| token.start() <= at) {
                at = at.max(token.end());
                next += 1;
            } else if self.bytes[at] == b'=' {
                return Some(at);
            } else {
                at += 1;
            }
        }
        None
    }

    /// The words of a part, without markup.
    pub(super) fn plain_part(&mut self, part: Option<Range<usize>>) -> String {
        part.map(|part| self.plain(part)).unwrap_or_default()
    }

    fn show_part(&mut self, part: Option<Range<usize>>) {
        match part.map(|part| self.trimmed(part)).filter(|part| !part.is_empty()) {
            Some(part) if self.text[part.clone()].contains('\n') => self.walk(part, Layout::Block),
            Some(part) => self.walk(part, Layout::Inline),
            None => self.out.dropped(),
        }
    }

    /// Writes a text that is none of the page's; nothing counts as something left out.
    pub(super) fn push_plain(&mut self, text: &str) {
        if text.is_empty() { self.out.dropped() } else { self.push_decoded(text) }
    }
}

/// Whether two values are the same: as numbers if both are, else as text.
fn same(left: &str, right: &str) -> bool {
    match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => left == right,
        _ => left == right,
    }
}

/// A text in other letters, or filled up to a width.
fn changed(function: &str, text: &str, width: usize, with: &str) -> String {
    let mut letters = text.chars();
    let first = |change: fn(char) -> String, letters: &mut std::str::Chars| {
        let first = letters.next().map(change).unwrap_or_default();
        first + letters.as_str()
    };
    match function {
        "lc" => text.to_lowercase(),
        "uc" => text.to_uppercase(),
        "lcfirst" => first(|letter| letter.to_lowercase().collect(), &mut letters),
        "ucfirst" => first(|letter| letter.to_uppercase().collect(), &mut letters),
        _ => {
            let missing = width.min(500).saturating_sub(text.chars().count());
            let with = if with.is_empty() { "0" } else { with };
            let filling: String = with.chars().cycle().take(missing).collect();
            if function == "padleft" { filling + text } else { text.to_owned() + &filling }
        }
    }
}
