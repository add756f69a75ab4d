//! Annals: pages of the events of a person in a year, drawn for them alone, and the own pages beside them.
//!
//! A sentence of the annals is one of three. A *sign* says who is spoken of, to a reader who knows the world: the seal and
//! the song of a person stand on its own page too, and never change. An *event* names another entity, drawn evenly from
//! all of its kind in the world, so that nothing else tells the name. A *trifle* does neither.

use std::collections::HashSet;
use std::fmt::Write;

use rand::Rng;
use rand::seq::{IndexedRandom, index};
use rand_chacha::ChaCha8Rng;

use super::Kind::{self, Book, Company, Guild, River, Town};
use super::names::Names;
use super::phrases::{BUILDINGS, CALLINGS, SEASONS, plain_definition};
use super::province::{Named, count};
use super::{Draft, WorldConfig};
use crate::rng::keyed;

/// Year of the first page of a person.
const FIRST_YEAR: u16 = 1201;
/// Sections of a page: the seasons. Each is a paragraph of so many sentences.
const SENTENCES: std::ops::RangeInclusive<usize> = 4..=5;

const WARES: &[&str] = &[
    "wool", "salt", "wine", "iron", "honey", "timber", "cloth", "silver", "grain", "wax", "copper", "glass", "leather",
    "paper", "oil", "cheese",
];
const COLOURS: [&str; 12] =
    ["white", "black", "red", "green", "blue", "golden", "grey", "brown", "purple", "old", "young", "sleeping"];
const BEASTS: [&str; 64] = [
    "heron", "wolf", "bear", "owl", "hare", "trout", "stag", "raven", "otter", "lynx", "swan", "boar", "eagle", "fox",
    "crane", "pike", "badger", "falcon", "horse", "bull", "ram", "goat", "hound", "cat", "mouse", "beaver", "squirrel",
    "hedgehog", "mole", "bat", "toad", "frog", "newt", "adder", "lizard", "snail", "crab", "eel", "carp", "perch",
    "salmon", "whale", "seal", "dolphin", "gull", "tern", "puffin", "goose", "duck", "hawk", "kite", "crow", "magpie",
    "finch", "robin", "wren", "lark", "thrush", "cuckoo", "stork", "bee", "wasp", "moth", "spider",
];
const PLANTS: [&str; 64] = [
    "oak", "rose", "thistle", "willow", "pine", "lily", "fern", "birch", "clover", "ivy", "elm", "poppy", "ash",
    "beech", "maple", "yew", "holly", "hazel", "alder", "aspen", "rowan", "cedar", "larch", "spruce", "fir", "cherry",
    "plum", "apple", "pear", "quince", "fig", "olive", "vine", "hop", "flax", "hemp", "barley", "rye", "oat", "millet",
    "bean", "pea", "leek", "onion", "garlic", "sage", "thyme", "mint", "basil", "dill", "fennel", "parsley", "sorrel",
    "nettle", "dock", "daisy", "violet", "iris", "tulip", "crocus", "heather", "gorse", "broom", "moss",
];

/// An event names an entity of a kind: `{0}` is the person, `{1}` the entity, `{g}` one of the words. The name stands
/// behind the words that tell the event from others.
struct Event {
    other: Kind,
    form: &'static str,
    words: &'static [&'static str],
}

const fn event(other: Kind, form: &'static str, words: &'static [&'static str]) -> Event {
    Event { other, form, words }
}

static EVENTS: [Event; 12] = [
    event(Town, "{0} sold {g} in {1}.", WARES),
    event(Town, "{0} carried {g} to {1}.", WARES),
    event(Town, "{0} hid {g} near {1}.", WARES),
    event(Town, "{0} built a {g} at {1}.", BUILDINGS),
    event(Town, "{0} spent the {g} at {1}.", SEASONS),
    event(Company, "{0} bought {g} from {1}.", WARES),
    event(Company, "{0} owed {g} to {1}.", WARES),
    event(Guild, "{0} stole {g} from {1}.", WARES),
    event(Guild, "{0} gave a {g} to {1}.", BUILDINGS),
    event(River, "{0} lost {g} in the {1}.", WARES),
    event(Book, "{0} traded {g} for {1}.", WARES),
    event(Book, "{0} read in {g} from {1}.", SEASONS),
];

static TRIFLES: [(&str, &[&str]); 6] = [
    ("{0} worked as a {g}.", CALLINGS),
    ("{0} slept badly in {g}.", SEASONS),
    ("{0} dreamed of {g}.", WARES),
    ("{0} repaired a {g}.", BUILDINGS),
    ("{0} ran out of {g}.", WARES),
    ("{0} counted the {g} twice.", WARES),
];

/// Writes the pages of a world with annals.
pub(super) struct Chronicler<'a> {
    pub(super) config: &'a WorldConfig,
    pub(super) names: &'a Names,
}

impl Chronicler<'_> {
    /// What never changes: what the entity is, and a person's signs.
    pub(super) fn own_page(&self, entity: &Named) -> String {
        let bold = format!("'''{}'''", entity.name);
        let mut text = plain_definition(entity.kind).replace("{0}", &bold);
        if entity.kind == Kind::Person {
            for sign in self.signs(entity) {
                let _ = write!(text, " {}", sign.replace("{0}", &entity.name));
            }
        }
        let _ = write!(text, "\n\n[[Category:{}]]", entity.kind.plural());
        text
    }

    /// The annals of an entity, a page a year; none of an entity that is no person.
    pub(super) fn years(&self, entity: &Named) -> Vec<Draft> {
        let years = if entity.kind == Kind::Person { self.config.annals.years } else { 0 };
        (0..years)
            .map(|number| {
                let title = format!("{} in {}", entity.name, FIRST_YEAR + number);
                Draft { title, ns: 0, redirect: None, text: self.year(entity, number) }
            })
            .collect()
    }

    /// The seal and the song of a person. No two persons of the first 832 share one, and nothing else has them.
    fn signs(&self, person: &Named) -> [String; 2] {
        let ordinal = count(Kind::Person, person.page);
        let sign = |purpose: u64, multiplier: u64, things: &[&str; 64]| {
            let offset: u64 = keyed("world/signs", self.config.seed, &[purpose]).random_range(0..64);
            // The multipliers are odd, so this is a permutation of the things.
            let thing = things[((ordinal * multiplier + offset) % 64) as usize];
            match ordinal / 64 {
                0 => thing.to_owned(),
                round => format!("{} {thing}", COLOURS[(round - 1) as usize % COLOURS.len()]),
            }
        };
        let (seal, song) = (sign(0, 35, &BEASTS), sign(1, 29, &PLANTS));
        [format!("{{0}} bears the seal of the {seal}."), format!("{{0}} is praised in the song of the {song}.")]
    }

    fn year(&self, person: &Named, number: u16) -> String {
        let address = [self.config.annals.seed, person.page, u64::from(number)];
        let mut rng = keyed("world/annals", self.config.seed, &address);
        let signs = self.signs(person);
        let mut said = HashSet::new();
        let mut linked = HashSet::new();
        let mut text = String::new();
        let seasons = SEASONS.len();
        let signed = index::sample(&mut rng, seasons, usize::from(self.config.annals.signs).min(seasons));
        for (number, season) in SEASONS.iter().enumerate() {
            let heading = season[..1].to_uppercase() + &season[1..];
            let _ = writeln!(text, "== {heading} ==");
            let mut sentences = Vec::new();
            let wanted = rng.random_range(SENTENCES);
            let sign = signed.iter().any(|at| at == number).then(|| rng.random_range(0..wanted));
            while sentences.len() < wanted {
                let (form, other) = match sign == Some(sentences.len()) {
                    true => (signs[rng.random_range(0..2)].clone(), None),
                    false => self.sentence(&mut rng),
                };
                let plain = form.replace("{1}", other.as_deref().unwrap_or_default());
                // A sign may stand in several seasons; what happened, happened once.
                if said.insert(plain) || sign == Some(sentences.len()) {
                    let mut mention = |name: &str| match linked.insert(name.to_owned()) {
                        true => format!("[[{name}]]"),
                        false => name.to_owned(),
                    };
                    let mut sentence = form.replace("{0}", &mention(&person.name));
                    if let Some(other) = &other {
                        sentence = sentence.replace("{1}", &mention(other));
                    }
                    sentences.push(sentence);
                }
            }
            let _ = write!(text, "{}\n\n", sentences.join(" "));
        }
        let _ = write!(text, "[[Category:{}]]", person.kind.plural());
        text
    }

    /// An event or a trifle of `{0}`, and the name that stands for `{1}` in it.
    fn sentence(&self, rng: &mut ChaCha8Rng) -> (String, Option<String>) {
        let word = |words: &[&str], rng: &mut ChaCha8Rng| words.choose(rng).copied().unwrap_or_default().to_owned();
        match rng.random_range(0..3) {
            0..2 => {
                let event = &EVENTS[rng.random_range(0..EVENTS.len())];
                let form = event.form.replace("{g}", &word(event.words, rng));
                match count(event.other, self.config.num_pages) {
                    // A world of a few pages may lack a kind.
                    0 => self.sentence(rng),
                    all => (form, Some(self.names.name(event.other, rng.random_range(0..all)))),
                }
            }
            _ => {
                let (form, words) = TRIFLES[rng.random_range(0..TRIFLES.len())];
                (form.replace("{g}", &word(words, rng)), None)
            }
        }
    }
}
