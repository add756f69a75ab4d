//! Citations by author and year that are part of a sentence.

use super::clean::Cleaner;
use super::template::Argument;
use super::template_pattern::filled;

/// A citation: who wrote, when, and where in it something stands.
struct Citation {
    authors: Vec<String>,
    years: Vec<String>,
    /// A page, or several; empty where there is none.
    page: String,
    /// The same as it is shown: `p. 5`.
    place: String,
}

impl Cleaner<'_> {
    /// `{{harvtxt|Smith|Jones|1999|p=5}}`, in the form of a pattern.
    pub(super) fn show_harvard(&mut self, pattern: &'static str, arguments: &[Argument]) {
        let mut authors: Vec<String> =
            self.placed(arguments).into_iter().take(6).map(|value| self.plain_part(Some(value))).collect();
        let mut years = vec![self.plain_part(self.named_range(arguments, &["year", "date"]))];
        years.retain(|year| !year.is_empty());
        if years.is_empty() && authors.len() > 1 {
            years.extend(authors.pop());
        }
        self.show_citation(pattern, authors, years, arguments);
    }

    /// `{{harvs|txt|last=Smith|first=Ann|year=1999}}`: the parts are named, and so is the form.
    pub(super) fn show_named_harvard(&mut self, arguments: &[Argument]) {
        let placed: Vec<&str> =
            self.placed(arguments).into_iter().map(|value| self.text[self.trimmed(value)].trim()).collect();
        let asks = |form: &str| placed.contains(&form) || self.named(arguments, &[form]).is_some_and(|v| !v.is_empty());
        let pattern = match (asks("txt"), asks("nb")) {
            (true, _) => "{authors} ({year}‹, {place}›)",
            (_, true) => "{authors} {year}‹, {place}›",
            _ => "({authors} {year}‹, {place}›)",
        };
        const NUMBERS: [&str; 4] = ["", "2", "3", "4"];
        let mut authors = Vec::new();
        let mut years = Vec::new();
        for number in NUMBERS {
            let mut part = |name: &str| {
                let first = format!("{name}1");
                let name = format!("{name}{number}");
                let names = if number.is_empty() { vec![name.as_str(), first.as_str()] } else { vec![name.as_str()] };
                self.plain_part(self.named_range(arguments, &names))
            };
            let (first, last, year) = (part("first"), part("last"), part("year"));
            let author = format!("{first} {last}").trim().to_owned();
            authors.extend(Some(author).filter(|author| !author.is_empty()));
            years.extend(Some(year).filter(|year| !year.is_empty()));
        }
        self.show_citation(pattern, authors, years, arguments);
    }

    fn show_citation(
        &mut self,
        pattern: &'static str,
        authors: Vec<String>,
        years: Vec<String>,
        arguments: &[Argument],
    ) {
        let page = self.plain_part(self.named_range(arguments, &["p", "page"]));
        let pages = self.plain_part(self.named_range(arguments, &["pp", "pages"]));
        let place = match (page.is_empty(), pages.is_empty()) {
            (false, _) => format!("p. {page}"),
            (_, false) => format!("pp. {pages}"),
            _ => self.plain_part(self.named_range(arguments, &["loc", "at"])),
        };
        let page = if page.is_empty() { pages } else { page };
        match (Citation { authors, years, page, place }).written(pattern) {
            Some(shown) => self.push_plain(&shown),
            None => self.out.dropped(),
        }
    }
}

impl Citation {
    /// `None` without an author.
    fn written(&self, pattern: &str) -> Option<String> {
        let authors = match self.authors.as_slice() {
            [] => return None,
            [one] => one.clone(),
            [one, two] => format!("{one} & {two}"),
            [one, two, three] => format!("{one}, {two} & {three}"),
            [one, ..] => format!("{one} et al."),
        };
        if self.years.is_empty() {
            return Some(authors);
        }
        let year = self.years.join(", ");
        Some(filled(pattern, |name| match name {
            "authors" => authors.clone(),
            "year" => year.clone(),
            "place" => self.place.clone(),
            _ => self.page.clone(),
        }))
    }
}
