//! Phrases of the world: the kinds of facts and the sentences that state them.
//!
//! In a sentence `{0}`, `{1}`, `{2}` are the entities of the fact in the order of its roles, `{y}` is its year and
//! `{g}` its word (a good, a craft, a season …). A form that opens with an entity can open with a pronoun instead.

use super::Kind::{self, Battle, Book, Company, Festival, Guild, Mountain, Person, River, Town};

/// Under which heading a fact belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Past,
    People,
    Work,
    Land,
}

impl Topic {
    /// Headings of the first, second … section with this topic.
    pub(super) const fn headings(self) -> [&'static str; 3] {
        match self {
            Self::Past => ["History", "Later years", "Old days"],
            Self::People => ["People", "Friends", "Guests"],
            Self::Work => ["Trade", "Work", "Markets"],
            Self::Land => ["Land", "Roads", "Water"],
        }
    }
}

/// Words that fill `{g}`.
pub(super) const GOODS: &[&str] = &["wool", "salt", "wine", "iron", "honey", "timber"];
pub(super) const CRAFTS: &[&str] = &["weavers", "masons", "smiths", "bakers", "potters", "sailors"];
pub(super) const CALLINGS: &[&str] = &["trader", "soldier", "writer", "builder", "teacher", "farmer"];
pub(super) const SEASONS: &[&str] = &["spring", "summer", "autumn", "winter"];
pub(super) const BUILDINGS: &[&str] = &["bridge", "mill", "hall", "tower", "well", "market"];
pub(super) const COUNTS: &[&str] = &["twenty", "thirty", "forty", "fifty", "sixty", "ninety"];
pub(super) const NONE: &[&str] = &[""];

/// One kind of fact: who takes part and the sentences that state it.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) roles: &'static [Kind],
    pub(super) topic: Topic,
    pub(super) words: &'static [&'static str],
    /// Each with the role that opens it.
    pub(super) forms: &'static [(usize, &'static str)],
}

macro_rules! relations {
    ($($name:ident: [$($role:ident),*], $topic:ident, $words:ident, [$(($lead:literal, $form:literal)),* $(,)?];)*) => {
        $(pub(super) static $name: Relation = Relation {
            roles: &[$($role),*],
            topic: Topic::$topic,
            words: $words,
            forms: &[$(($lead, $form)),*],
        };)*
        /// All relations, for the census of words.
        #[cfg(test)]
        pub(super) static ALL: &[&Relation] = &[$(&$name),*];
    };
}

relations! {
    // Facts that every province has: specific, so that one side is found from the other.
    ON_RIVER: [Town, River], Land, NONE, [
        (0, "{0} is a town on the river {1}."),
        (0, "{0} stands on the banks of the {1}."),
        (1, "{1} flows past the town of {0}."),
        (1, "{1} turns the mills of {0}."),
    ];
    FOUNDED: [Town, Person], Past, NONE, [
        (0, "{0} was founded by {1} in {y}."),
        (1, "{1} founded the town of {0} in {y}."),
        (1, "{1} built the first house of {0}."),
    ];
    BORN: [Person, Town], People, CALLINGS, [
        (0, "{0} was a {g} from {1}."),
        (0, "{0} was born in {1} in {y}."),
        (1, "{1} is the home of the {g} {0}."),
    ];
    SEATED: [Company, Town], Work, GOODS, [
        (0, "{0} is a company in {1} that sells {g}."),
        (0, "{0} sells {g} from {1}."),
        (1, "{1} is known for the {g} of {0}."),
    ];
    LEADS: [Company, Person], People, NONE, [
        (0, "{0} has been led by {1} since {y}."),
        (1, "{1} became the head of {0} in {y}."),
        (1, "{1} leads the company {0}."),
    ];
    FOUGHT: [Battle, Town], Past, NONE, [
        (0, "{0} was a battle near {1} in {y}."),
        (0, "{0} was fought before the walls of {1}."),
        (1, "{1} saw the battle of {0} in {y}."),
    ];
    WON: [Battle, Person, Person], Past, NONE, [
        (0, "{0} was won by {1} against {2}."),
        (1, "{1} won the battle of {0} against {2}."),
        (2, "{2} lost the battle of {0} to {1}."),
    ];
    GUILD_OF: [Guild, Town], Work, CRAFTS, [
        (0, "{0} is a guild of {g} in {1}."),
        (1, "{1} is the seat of the guild {0}."),
        (1, "{1} has many {g} who belong to {0}."),
    ];
    MASTER: [Guild, Person], People, NONE, [
        (0, "{0} chose {1} as its master in {y}."),
        (1, "{1} was the first master of {0}."),
        (1, "{1} wrote down the rules of {0}."),
    ];
    WROTE: [Book, Person], People, NONE, [
        (0, "{0} is a book by {1} from {y}."),
        (0, "{0} was written by {1}."),
        (1, "{1} wrote {0} in {y}."),
    ];
    TELLS: [Book, Battle], Past, NONE, [
        (0, "{0} tells the story of the battle of {1}."),
        (1, "{1} is described in the book {0}."),
    ];
    PRAISES: [Book, Festival], People, NONE, [
        (0, "{0} has a song about {1}."),
        (1, "{1} opens with a song from {0}."),
    ];
    RISES: [River, Mountain], Land, NONE, [
        (0, "{0} is a river that rises on {1}."),
        (0, "{0} begins below the snow of {1}."),
        (1, "{1} is the source of the river {0}."),
    ];
    NEAR: [Mountain, Town], Land, NONE, [
        (0, "{0} is a mountain near {1}."),
        (0, "{0} can be seen from {1}."),
        (1, "{1} lies at the foot of {0}."),
    ];
    CLIMBED: [Mountain, Person], Past, NONE, [
        (0, "{0} was first climbed by {1} in {y}."),
        (1, "{1} was the first to climb {0}."),
    ];
    HELD: [Festival, Town], People, SEASONS, [
        (0, "{0} is a festival held in {1} each {g}."),
        (1, "{1} holds the festival of {0} each {g}."),
    ];
    HONOURS: [Festival, Person], Past, NONE, [
        (0, "{0} is held in memory of {1}."),
        (1, "{1} is remembered at {0} to this day."),
    ];
    PAYS: [Guild, Festival], Work, NONE, [
        (0, "{0} pays for the music at {1}."),
        (1, "{1} is paid for by {0}."),
    ];
    TAUGHT: [Person, Person], People, NONE, [
        (0, "{0} was the teacher of {1}."),
        (1, "{1} learned to read from {0}."),
    ];
    MARRIED: [Person, Person], People, NONE, [
        (0, "{0} and {1} married in {y}."),
        (1, "{1} and {0} had two children."),
    ];
    ROAD: [Town, Town], Land, NONE, [
        (0, "{0} has an old road to {1}."),
        (1, "{1} has an old road to {0}."),
    ];
    TRADES: [Company, Town], Work, NONE, [
        (0, "{0} has a second house in {1}."),
        (1, "{1} buys its bread and cloth from {0}."),
    ];
    HOUSES: [Town], Land, COUNTS, [
        (0, "{0} has about {g} houses and one school."),
        (0, "{0} grew to {g} houses after {y}."),
    ];
    // Events: as many as the pages need.
    VISITED: [Person, Town], Past, NONE, [
        (0, "{0} came to {1} in {y}."),
        (0, "In {y} {0} stayed in {1} for a month."),
        (1, "{1} gave {0} a horse in {y}."),
    ];
    FLOODED: [River, Town], Past, NONE, [
        (0, "{0} flooded {1} in {y}."),
        (1, "{1} lost its harvest to the {0} in {y}."),
        (1, "In {y} the water of the {0} rose in {1}."),
    ];
    BUILT: [Guild, Town], Work, BUILDINGS, [
        (0, "{0} built a new {g} in {1} in {y}."),
        (1, "{1} got a {g} from {0} in {y}."),
        (1, "In {y} a {g} of {1} was repaired by {0}."),
    ];
    SOLD: [Company, Person], Work, GOODS, [
        (0, "{0} sold {g} to {1} in {y}."),
        (1, "{1} bought {g} from {0} in {y}."),
        (1, "In {y} {1} carried {g} for {0}."),
    ];
    READ: [Person, Book], People, NONE, [
        (0, "{0} read {1} as a child."),
        (0, "{0} copied {1} by hand in {y}."),
        (1, "{1} was given to {0} in {y}."),
    ];
    MET: [Person, Person, Town], People, NONE, [
        (0, "{0} met {1} in {2} in {y}."),
        (0, "In {y} {0} wrote a letter to {1} from {2}."),
        (1, "{1} met {0} at the market of {2}."),
        (2, "{2} is where {0} and {1} met in {y}."),
    ];
    SANG: [Person, Festival], People, NONE, [
        (0, "{0} sang at {1} in {y}."),
        (1, "{1} was opened by {0} in {y}."),
    ];
    SERVED: [Person, Battle], Past, NONE, [
        (0, "{0} fought at {1} as a young soldier."),
        (0, "{0} never spoke about {1}."),
        (1, "{1} cost {0} a hand and a brother."),
    ];
    JOINED: [Person, Guild], Work, NONE, [
        (0, "{0} joined {1} in {y}."),
        (1, "{1} took in {0} in {y}."),
    ];
    KEPT: [Book, Town], Work, NONE, [
        (0, "{0} is kept in a small library in {1}."),
        (1, "{1} keeps an old copy of {0}."),
    ];
    QUARRY: [Company, Mountain], Work, NONE, [
        (0, "{0} cuts stone on {1} since {y}."),
        (1, "{1} gives white stone to {0}."),
    ];
    BOATS: [Company, River], Work, GOODS, [
        (0, "{0} sends {g} down the {1} on boats."),
        (1, "{1} carries the boats of {0} in summer."),
    ];
    BROUGHT: [Guild, Festival], Work, BUILDINGS, [
        (0, "{0} danced at {1} in {y}."),
        (1, "{1} was held in the hall of {0} in {y}."),
    ];
    CROSSED: [Battle, River], Land, NONE, [
        (0, "{0} began when an army crossed the {1}."),
        (1, "{1} was red for a day after {0}."),
    ];
    SEEN: [Battle, Mountain], Land, NONE, [
        (0, "{0} could be heard as far as {1}."),
        (1, "{1} hid the army on the night of {0}."),
    ];
    SUNG: [Book, Mountain], Land, NONE, [
        (0, "{0} names {1} on its last page."),
        (1, "{1} is drawn on the cover of {0}."),
    ];
    WALKED: [Festival, Mountain], Land, SEASONS, [
        (0, "{0} ends with a walk up {1}."),
        (1, "{1} is lit by fires on the night of {0}."),
    ];
    BATHED: [Festival, River], Land, NONE, [
        (0, "{0} begins with boats on the {1}."),
        (1, "{1} is full of lights during {0}."),
    ];
    FISHED: [Person, River], Land, NONE, [
        (0, "{0} kept a boat on the {1} in {y}."),
        (1, "{1} took the boat of {0} in {y}."),
    ];
    HUNTED: [Person, Mountain], Land, SEASONS, [
        (0, "{0} spent the {g} of {y} on {1}."),
        (1, "{1} gave shelter to {0} in {y}."),
    ];
}

/// Relations that events are drawn from.
pub(super) static EVENTS: &[&Relation] = &[
    &VISITED, &FLOODED, &BUILT, &SOLD, &READ, &MET, &SANG, &SERVED, &JOINED, &KEPT, &QUARRY, &BOATS, &BROUGHT,
    &CROSSED, &SEEN, &SUNG, &WALKED, &BATHED, &FISHED, &HUNTED,
];

/// The first sentence of a page whose entity has no relation that defines it (worlds of a few pages).
pub(super) const fn plain_definition(kind: Kind) -> &'static str {
    match kind {
        Town => "{0} is a town in the land of the old songs.",
        Person => "{0} was a farmer who lived in a small house.",
        River => "{0} is a river with cold and clear water.",
        Company => "{0} is a company that sells many things.",
        Battle => "{0} was a battle that lasted for two days.",
        Guild => "{0} is a guild with many rules.",
        Book => "{0} is a book that nobody has read to the end.",
        Mountain => "{0} is a mountain with snow in summer.",
        Festival => "{0} is a festival with much music.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_vocabulary_is_small_and_every_sentence_short() {
        let mut words = HashSet::new();
        for relation in ALL {
            for (lead, form) in relation.forms {
                assert!(*lead < relation.roles.len(), "`{form}` opens with a role that is not there");
                assert!((4..=14).contains(&form.split(' ').count()), "`{form}` is too short or too long");
                for role in 0..relation.roles.len() {
                    let place = format!("{{{role}}}");
                    assert_eq!(form.matches(&place).count(), 1, "`{form}` does not name role {role} once");
                }
                words.extend(form.split(|c: char| !c.is_alphabetic()).map(str::to_lowercase));
            }
            words.extend(relation.words.iter().map(|&word| word.to_owned()));
        }
        assert!((150..=280).contains(&words.len()), "{} distinct words", words.len());
    }
}
