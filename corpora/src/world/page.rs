//! From facts to a page of wikitext.

use std::collections::HashSet;
use std::fmt::Write;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::Kind;
use super::phrases::{self as say, Relation, Topic};
use super::province::{Fact, Named, Province};
use super::{Length, WorldConfig};
use crate::rng::keyed;

/// Relations whose first form says what the entity of role 0 is.
const DEFINING: [&Relation; 9] = [
    &say::ON_RIVER,
    &say::BORN,
    &say::RISES,
    &say::SEATED,
    &say::FOUGHT,
    &say::GUILD_OF,
    &say::WROTE,
    &say::NEAR,
    &say::HELD,
];

/// Sentences of a paragraph, at most.
const PARAGRAPH: usize = 6;

/// Writes the wikitext of the page of an entity of the province.
pub(super) fn write(config: &WorldConfig, province: &Province, slot: usize) -> String {
    let subject = &province.entities[slot];
    let rng = keyed("world/page", config.seed, &[subject.page]);
    let linked = HashSet::from([subject.name.clone()]);
    let mut writer = Writer { rng, province, slot, linked, said: HashSet::new(), out: String::new() };
    writer.page(config);
    writer.out
}

struct Writer<'a> {
    rng: ChaCha8Rng,
    province: &'a Province,
    slot: usize,
    /// Titles that the page has linked already; like in Wikipedia a title is linked once.
    linked: HashSet<String>,
    /// Sentences of the page, so that none is said twice.
    said: HashSet<String>,
    out: String,
}

impl<'a> Writer<'a> {
    fn page(&mut self, config: &WorldConfig) {
        let province = self.province;
        let mut facts: Vec<&Fact> = province.facts_of[self.slot].iter().map(|&f| &province.facts[f]).collect();
        let definition = facts
            .iter()
            .position(|fact| DEFINING.contains(&fact.relation) && fact.entities[0] == self.slot)
            .map(|at| facts.remove(at));
        self.furniture_above(&facts);

        let lead_length = self.length(config.lead_sentences).saturating_sub(1);
        let sections: Vec<usize> =
            (0..self.length(config.sections)).map(|_| self.length(config.section_sentences)).collect();
        let num_lead = lead_length.min(facts.len());
        let mut rest = facts.split_off(num_lead);
        rest.truncate(sections.iter().sum());
        rest.sort_by_key(|fact| fact.relation.topic);

        let mut lead = vec![self.definition(definition)];
        lead.extend(self.sentences(&facts, true));
        self.paragraphs(&lead);
        self.sections(&rest, &sections);
        self.furniture_below(&rest);
    }

    fn length(&mut self, length: Length) -> usize {
        self.rng.random_range(length.min..=length.max) as usize
    }

    fn sections(&mut self, facts: &[&Fact], lengths: &[usize]) {
        let mut start = 0;
        let mut used = [0; 4];
        for (number, &length) in lengths.iter().enumerate() {
            let end = (start + length).min(facts.len());
            if start == end {
                break;
            }
            let topic: Topic = facts[start].relation.topic;
            let nth = &mut used[topic as usize];
            let heading = topic.headings()[*nth % topic.headings().len()];
            *nth += 1;
            let marks = if number > 0 && self.rng.random_ratio(1, 6) { "===" } else { "==" };
            let _ = write!(self.out, "\n{marks} {heading} {marks}\n");
            let sentences = self.sentences(&facts[start..end], false);
            self.paragraphs(&sentences);
            start = end;
        }
    }

    fn paragraphs(&mut self, sentences: &[String]) {
        let num_paragraphs = sentences.len().div_ceil(PARAGRAPH).max(1);
        let length = sentences.len().div_ceil(num_paragraphs).max(1);
        for (number, paragraph) in sentences.chunks(length).enumerate() {
            if number > 0 {
                self.out.push('\n');
            }
            self.out.push_str(&paragraph.join(" "));
            self.out.push('\n');
        }
    }

    fn definition(&mut self, fact: Option<&Fact>) -> String {
        let subject = &self.province.entities[self.slot];
        let mut bold = format!("'''{}'''", subject.name);
        if let (true, Some(alias)) = (subject.by_name, &subject.alias) {
            let _ = write!(bold, ", also called '''{alias}''',");
        }
        match fact {
            Some(fact) => self.fill(fact, fact.relation.forms[0].1, Some(&bold)),
            None => say::plain_definition(subject.kind).replace("{0}", &bold),
        }
    }

    /// States each fact once; facts that would repeat a sentence of the page are left out.
    fn sentences(&mut self, facts: &[&Fact], mut subject_known: bool) -> Vec<String> {
        let mut sentences = Vec::with_capacity(facts.len());
        for fact in facts {
            let role = fact.entities.iter().position(|&e| e == self.slot).unwrap_or_default();
            let own: Vec<_> = fact.relation.forms.iter().filter(|(lead, _)| *lead == role).collect();
            let (lead, form) = match own.choose(&mut self.rng) {
                Some(form) if !self.rng.random_ratio(1, 4) => **form,
                _ => fact.relation.forms[self.rng.random_range(0..fact.relation.forms.len())],
            };
            if !self.said.insert(self.plain(fact, form)) {
                continue;
            }
            let opens = lead == role && form.starts_with('{');
            let pronoun = (opens && subject_known && self.rng.random_ratio(1, 4)).then(|| self.pronoun());
            let sentence = match pronoun {
                Some(pronoun) => self.fill(fact, &form.replacen(&format!("{{{lead}}}"), pronoun, 1), None),
                None => self.fill(fact, form, None),
            };
            subject_known = lead == role;
            sentences.push(sentence);
        }
        sentences
    }

    fn pronoun(&self) -> &'static str {
        let subject = &self.province.entities[self.slot];
        match subject.kind {
            Kind::Person if subject.page.is_multiple_of(2) => "She",
            Kind::Person => "He",
            _ => "It",
        }
    }

    /// The sentence without markup.
    fn plain(&self, fact: &Fact, form: &str) -> String {
        let mut sentence = form.replace("{y}", &fact.year.to_string()).replace("{g}", fact.word);
        for (role, &entity) in fact.entities.iter().enumerate() {
            sentence = sentence.replace(&format!("{{{role}}}"), &self.province.entities[entity].name);
        }
        sentence
    }

    /// The sentence as wikitext; `subject` is what stands for the page's own entity, its name if `None`.
    fn fill(&mut self, fact: &Fact, form: &str, subject: Option<&str>) -> String {
        let mut sentence = String::with_capacity(2 * form.len());
        let mut rest = form;
        while let Some(open) = rest.find('{') {
            sentence.push_str(&rest[..open]);
            match rest.as_bytes()[open + 1] {
                b'y' => {
                    let _ = write!(sentence, "{}", fact.year);
                }
                b'g' => sentence.push_str(&self.word(fact.word)),
                digit => {
                    let entity = fact.entities[usize::from(digit - b'0')];
                    match subject {
                        Some(bold) if entity == self.slot => sentence.push_str(bold),
                        _ => sentence.push_str(&self.mention(entity)),
                    }
                }
            }
            rest = &rest[open + 3..];
        }
        sentence.push_str(rest);
        self.annotate(&mut sentence);
        sentence
    }

    /// An ordinary word, now and then the label of an external link.
    fn word(&mut self, word: &str) -> String {
        if self.rng.random_ratio(1, 12) {
            format!("[https://rolls.example.org/{word} {word}]")
        } else {
            word.to_owned()
        }
    }

    /// The name of an entity, as a link the first time: plain, through a redirect, to a section, with the end of the
    /// name as a link trail, or with the first letter in lower case.
    fn mention(&mut self, entity: usize) -> String {
        let entity = &self.province.entities[entity];
        let name = &entity.name;
        if !self.linked.insert(name.clone()) {
            return name.clone();
        }
        let link = match (self.rng.random_range(0..12), &entity.alias) {
            (0..4, Some(alias)) => format!("[[{alias}|{name}]]"),
            (4, _) => format!("[[{name}#History|{name}]]"),
            (5, _) => format!("[[{name}|{}]]{}", &name[..name.len() - 1], &name[name.len() - 1..]),
            (6, _) => format!("[[{}|{name}]]", name.to_lowercase()),
            (7, _) => format!("[[ {name} | {name}]]"),
            _ => format!("[[{name}]]"),
        };
        match entity.kind {
            Kind::Book => format!("''{link}''"),
            _ => link,
        }
    }

    /// Adds what a reader does not see as prose: references and comments.
    fn annotate(&mut self, sentence: &mut String) {
        let page = self.rng.random_range(1..90);
        match self.rng.random_range(0..24) {
            0 => {
                let _ = write!(sentence, "<ref>[https://rolls.example.org/{page} The old rolls], page {page}.</ref>");
            }
            1 => {
                let _ =
                    write!(sentence, "<ref name=\"rolls{page}\">{{{{Cite book |title=Old rolls |page={page}}}}}</ref>");
            }
            2 => {
                let _ = write!(sentence, "<ref name=rolls{page} group=\"n\" />");
            }
            3 => sentence.push_str("<!-- is this the right year? -->"),
            4 => sentence.push_str("{{Citation needed|date=May 2020}}"),
            _ => {}
        }
    }

    fn furniture_above(&mut self, facts: &[&Fact]) {
        let subject = &self.province.entities[self.slot];
        if self.rng.random_ratio(1, 10) {
            self.out.push_str("__NOTOC__\n");
        }
        if self.rng.random_ratio(1, 2) {
            let _ = writeln!(self.out, "{{{{Infobox {}", subject.kind.noun());
            let _ = writeln!(self.out, "| name = {}", subject.name);
            for fact in facts.iter().take(3) {
                if let Some(other) = self.other(fact) {
                    let _ =
                        writeln!(self.out, "| {} = [[{}]] ({{{{Year|{}}}}})", other.kind.noun(), other.name, fact.year);
                }
            }
            self.out.push_str("}}\n");
        }
        if subject.kind == Kind::River || self.rng.random_ratio(1, 12) {
            let name = &subject.name;
            let other = facts.iter().find_map(|fact| self.other(fact));
            let caption = other.map_or_else(String::new, |other| format!(" and [[{}]]", other.name));
            let _ = writeln!(self.out, "[[File:Map of the land.png|thumb|right|A map of {name}{caption}.]]");
        }
    }

    /// The first other entity of a fact.
    fn other(&self, fact: &Fact) -> Option<&'a Named> {
        let province = self.province;
        fact.entities.iter().find(|&&e| e != self.slot).map(|&e| &province.entities[e])
    }

    fn furniture_below(&mut self, facts: &[&Fact]) {
        let subject = &self.province.entities[self.slot];
        if self.rng.random_ratio(1, 5) && !facts.is_empty() {
            self.out.push_str("\n{| class=\"wikitable\" style=\"text-align: left\"\n|+ Years\n! Year !! Name\n");
            for fact in facts.iter().take(5) {
                if let Some(other) = self.other(fact) {
                    let _ = writeln!(self.out, "|-\n| {} || [[{}]]", fact.year, other.name);
                }
            }
            self.out.push_str("|}\n");
        }
        if self.rng.random_ratio(1, 3) {
            self.out.push_str("\n== References ==\n{{Reflist}}\n<references />\n");
        }
        let plural = subject.kind.plural();
        let _ = write!(self.out, "\n[[Category:{plural}]]");
        if self.rng.random_ratio(1, 3) {
            let _ = write!(self.out, "\n[[Category:Things of the land|{}]]", subject.name);
        }
    }
}
