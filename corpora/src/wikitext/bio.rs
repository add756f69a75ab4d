//! `{{Bio}}` of the Italian wiki, which writes the first sentence of nearly all its articles on persons.

use std::ops::Range;

use super::clean::{Cleaner, Layout};
use super::output::Break;
use super::template::Argument;

impl Cleaner<'_> {
    /// `Ada Bo (Como, 3 maggio 1901 – Roma, 1980) è stata una pittrice e scrittrice italiana, nota per …`.
    pub(super) fn show_bio(&mut self, arguments: &[Argument]) {
        let value = |cleaner: &mut Self, name: &str| {
            let range = cleaner.named_range(arguments, &[name]);
            cleaner.plain_part(range)
        };
        let mut join = |names: &[&str], between: &str| {
            let values = names.iter().map(|name| value(self, name)).filter(|value| !value.is_empty());
            values.collect::<Vec<_>>().join(between)
        };
        let name = join(&["Titolo", "Nome", "Cognome", "PostCognome"], " ").replace(" ,", ",");
        let born = [join(&["LuogoNascita"], ""), join(&["GiornoMeseNascita", "AnnoNascita"], " ")];
        let died = [join(&["LuogoMorte"], ""), join(&["GiornoMeseMorte", "AnnoMorte"], " ")];
        let before = join(&["PreData"], "");
        let is_dead = !died[1].is_empty();
        let is_female = join(&["Sesso"], "").eq_ignore_ascii_case("f");
        let others = join(&["AttivitàAltre"], "").trim_start_matches([',', ' ']).to_owned();
        let mut callings = vec![join(&["Attività"], ""), join(&["Attività2"], ""), join(&["Attività3"], ""), others];
        callings.retain(|calling| !calling.is_empty());
        let nation = join(&["Nazionalità"], "");
        let naturalized = join(&["NazionalitàNaturalizzato"], "");
        if name.is_empty() {
            self.out.dropped();
            return;
        }
        self.out.ask(Break::Paragraph);
        self.push_decoded(&name);
        let life = life(&before, &born, &died);
        if !life.is_empty() {
            self.push_decoded(&format!(" ({life})"));
        }
        if let Some(rest) = self.named_range(arguments, &["FineIncipit"]) {
            self.push_tail(rest);
        } else if !callings.is_empty() {
            let verb = match (is_dead, is_female) {
                (true, true) => "è stata",
                (true, false) => "è stato",
                _ => "è",
            };
            let mut sentence = format!(" {verb} {}{}", article(&callings[0], is_female), listed(&callings));
            if !nation.is_empty() {
                sentence.push_str(&format!(" {}", gendered(&nation, is_female)));
            }
            if !naturalized.is_empty() {
                let word = if is_female { "naturalizzata" } else { "naturalizzato" };
                sentence.push_str(&format!(" {word} {}", gendered(&naturalized, is_female)));
            }
            self.push_decoded(&sentence);
            if let Some(rest) = self.named_range(arguments, &["PostNazionalità"]) {
                self.push_tail(rest);
            }
        }
        if !self.out.text.ends_with(['.', '!', '?']) {
            self.out.push(".");
        }
        self.out.ask(Break::Paragraph);
    }

    /// Words that go on with the sentence: punctuation stands at once, a word behind a space.
    fn push_tail(&mut self, range: Range<usize>) {
        if !self.text[range.clone()].starts_with([',', ';', '.', ':']) {
            self.out.ask(Break::Space);
        }
        self.walk(range, Layout::Inline);
    }
}

/// `Como, 3 maggio 1901 – Roma, 1980`.
fn life(before: &str, born: &[String; 2], died: &[String; 2]) -> String {
    let joined = |parts: &[String; 2]| {
        let parts = parts.iter().map(String::as_str).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(", ")
    };
    let (born, died) = (joined(born), joined(died));
    let mut life = match (born.is_empty(), died.is_empty()) {
        (_, true) => born,
        (true, false) => format!("... – {died}"),
        (false, false) => format!("{born} – {died}"),
    };
    if !before.is_empty() {
        life = if life.is_empty() { before.to_owned() } else { format!("{before}; {life}") };
    }
    life
}

/// The indefinite article with the space behind it.
fn article(noun: &str, is_female: bool) -> &'static str {
    let lower = noun.to_lowercase();
    let begins_with_vowel = lower.starts_with(['a', 'e', 'i', 'o', 'u', 'è', 'é']);
    if is_female {
        return if begins_with_vowel { "un'" } else { "una " };
    }
    let mut letters = lower.chars();
    let (first, second) = (letters.next(), letters.next());
    let is_hard = matches!(first, Some('z' | 'x' | 'y'))
        || first == Some('s') && second.is_some_and(|second| !"aeiou".contains(second))
        || lower.starts_with("gn")
        || lower.starts_with("ps")
        || lower.starts_with("pn");
    if is_hard { "uno " } else { "un " }
}

/// `a, b e c`.
fn listed(words: &[String]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => {
            // A list that goes on by itself brings its own word.
            let and = if last.starts_with("e ") || last.starts_with("ed ") { " " } else { " e " };
            format!("{}{and}{last}", first.join(", "))
        }
        words => words.concat(),
    }
}

/// An adjective that is given in its masculine form.
fn gendered(adjective: &str, is_female: bool) -> String {
    match adjective.strip_suffix('o') {
        Some(stem) if is_female => format!("{stem}a"),
        _ => adjective.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{WikiContext, clean};

    #[test]
    fn persons_have_a_first_sentence() {
        let context = WikiContext::default().with_language("it");
        let page = clean(
            "{{Bio\n|Nome = Ada\n|Cognome = Bo\n|Sesso = F\n|LuogoNascita = Como\n|GiornoMeseNascita = 3 maggio\n|AnnoNascita = 1901\n\
             |LuogoMorte = Roma\n|AnnoMorte = 1980\n|Attività = pittrice\n|Attività2 = scrittrice\n|Nazionalità = italiano\n\
             |PostNazionalità = , nota per la [[pila]]\n|Immagine = x.jpg\n}}\n== Vita ==\nNacque a Como.",
            &context,
        );
        assert_eq!(
            page.text,
            "Ada Bo (Como, 3 maggio 1901 – Roma, 1980) è stata una pittrice e scrittrice italiana, nota per la pila.\n\nNacque a Como."
        );
        assert_eq!(page.infoboxes, ["Bio"]);
        assert_eq!(page.links[0].target, "Pila");
        for (arguments, expected) in [
            (
                "Nome=Ugo|Cognome=Po|Sesso=M|AnnoNascita=1970|Attività=scienziato|Nazionalità=francese",
                "Ugo Po (1970) è uno scienziato francese.",
            ),
            (
                "Nome=Eva|Sesso=F|Attività=attrice|Attività2=cantante|Attività3=modella|Nazionalità=svedese|NazionalitàNaturalizzato=italiano",
                "Eva è un'attrice, cantante e modella svedese naturalizzata italiana.",
            ),
            ("Nome=Leo|Sesso=M|FineIncipit=fu papa dal 440 alla morte", "Leo fu papa dal 440 alla morte."),
            ("Sesso=M", ""),
        ] {
            assert_eq!(clean(&format!("{{{{Bio|{arguments}}}}}"), &context).text, expected);
        }
        assert_eq!(
            clean("{{Bio|Nome=Ugo|Attività=x}}Ugo is.", &WikiContext::default()).text,
            "Ugo is.",
            "in other wikis it is a box"
        );
    }
}
