//! Provinces: the blocks of 25 entities whose facts are drawn together.
//!
//! A province is a pure function of the seed, its number and its size, so the facts of any page are computed from the
//! number of the page without holding any other page.

use std::ops::RangeInclusive;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Kind::{self, Battle, Book, Company, Festival, Guild, Mountain, Person, River, Town};
use super::WorldConfig;
use super::names::Names;
use super::phrases::{self as say, EVENTS, Relation};
use crate::rng::keyed;

/// The kinds of the entities of a province in the order of their pages; the last province goes round again.
pub(super) const ROSTER: [Kind; 25] = [
    Town, Person, River, Company, Person, Town, Guild, Battle, Person, Book, Town, Mountain, Person, Company, Festival,
    Town, River, Person, Battle, Guild, Person, Book, Company, Town, Person,
];
pub(super) const PROVINCE_SIZE: u64 = ROSTER.len() as u64;

/// Years in which things happen, and in which people are born.
const YEARS: RangeInclusive<u16> = 1201..=1240;
const BIRTH_YEARS: RangeInclusive<u16> = 1171..=1190;

/// One thing that is true in the world.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    pub(super) relation: &'static Relation,
    /// Entities by role, as indices into [`Province::entities`].
    pub(super) entities: Vec<usize>,
    pub(super) year: u16,
    pub(super) word: &'static str,
}

impl PartialEq for Relation {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// An entity with a page of its own.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Another title of the page, where there is a redirect.
    pub(super) alias: Option<String>,
    /// The alias is a by-name that stands in the first sentence of the page.
    pub(super) by_name: bool,
    /// Number of the page in the world.
    pub(super) page: u64,
}

/// A block of entities and what is true of them.
#[derive(Clone, Debug)]
pub(super) struct Province {
    /// The entities of the province, then guests from its neighbours.
    pub(super) entities: Vec<Named>,
    /// How many of the entities are the province's own.
    pub(super) size: usize,
    /// Core facts first, then events.
    pub(super) facts: Vec<Fact>,
    /// For each own entity the facts it takes part in, in order.
    pub(super) facts_of: Vec<Vec<usize>>,
}

/// Where a province lies and how large it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) num_pages: u64,
}

impl Layout {
    pub(super) fn num_provinces(self) -> u64 {
        (self.num_pages / PROVINCE_SIZE).max(1)
    }

    /// The last province takes what is left over, so that no province is too small to have all kinds.
    pub(super) fn size(self, province: u64) -> usize {
        let size = if province + 1 == self.num_provinces() {
            self.num_pages - province * PROVINCE_SIZE
        } else {
            PROVINCE_SIZE
        };
        size as usize
    }
}

/// Number of entities of a kind among the first `slots` places of the roster, taken round and round.
pub(super) fn count(kind: Kind, slots: u64) -> u64 {
    let in_part = |len: u64| ROSTER[..len as usize].iter().filter(|&&k| k == kind).count() as u64;
    slots / PROVINCE_SIZE * in_part(PROVINCE_SIZE) + in_part(slots % PROVINCE_SIZE)
}

/// The entity at a slot of a province.
pub(super) fn entity(names: &Names, seed: u64, province: u64, slot: u64) -> Named {
    let kind = ROSTER[(slot % PROVINCE_SIZE) as usize];
    let page = province * PROVINCE_SIZE + slot;
    let name = names.name(kind, count(kind, page));
    let mut rng = keyed("world/alias", seed, &[page]);
    let by_name = kind == Person && rng.random_ratio(1, 7);
    let alias = match kind {
        Person if by_name => Some(names.by_name(count(Person, page))),
        Town if rng.random_ratio(1, 3) => Some(format!("Town of {name}")),
        River if rng.random_ratio(1, 2) => Some(format!("River {name}")),
        Company if rng.random_ratio(1, 3) => Some(format!("{name} Company")),
        Battle if rng.random_ratio(1, 2) => Some(format!("Battle of {name}")),
        Guild if rng.random_ratio(1, 3) => Some(format!("Guild of {name}")),
        Book if rng.random_ratio(1, 3) => Some(format!("{name} (book)")),
        Mountain if rng.random_ratio(1, 2) => Some(format!("Mount {name}")),
        _ => None,
    };
    Named { kind, name, alias, by_name, page }
}

/// Draws facts for one province.
struct Drawing<'a> {
    rng: ChaCha8Rng,
    entities: Vec<Named>,
    facts: Vec<Fact>,
    config: &'a WorldConfig,
}

impl Province {
    /// Draws the province with this number.
    pub(super) fn draw(config: &WorldConfig, names: &Names, number: u64) -> Self {
        let layout = Layout { num_pages: config.num_pages };
        let size = layout.size(number);
        let entities = (0..size as u64).map(|slot| entity(names, config.seed, number, slot)).collect();
        let rng = keyed("world/province", config.seed, &[number]);
        let mut drawing = Drawing { rng, entities, facts: Vec::new(), config };
        drawing.core_facts();
        let num_provinces = layout.num_provinces();
        if num_provinces > 1 {
            drawing.border_facts(names, number, number);
            drawing.border_facts(names, (number + num_provinces - 1) % num_provinces, number);
        }
        let facts_of = drawing.events(size);
        Self { entities: drawing.entities, size, facts: drawing.facts, facts_of }
    }
}

impl Drawing<'_> {
    /// The province's entities of a kind, in an order of their own for each call.
    fn shuffled(&mut self, kind: Kind) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.entities.len()).filter(|&e| self.entities[e].kind == kind).collect();
        all.shuffle(&mut self.rng);
        all
    }

    fn add(&mut self, relation: &'static Relation, entities: Vec<usize>) {
        let years = if *relation == say::BORN { BIRTH_YEARS } else { YEARS };
        let year = self.rng.random_range(years);
        let word = relation.words[self.rng.random_range(0..relation.words.len())];
        self.facts.push(Fact { relation, entities, year, word });
    }

    /// Pairs every entity of the relation's first kind with one of its second kind, each of which is used once
    /// before any is used again: as one-to-one as the numbers allow.
    fn pair(&mut self, relation: &'static Relation) {
        let firsts = self.shuffled(relation.roles[0]);
        let seconds = self.shuffled(relation.roles[1]);
        if seconds.is_empty() {
            return;
        }
        for (i, &first) in firsts.iter().enumerate() {
            self.add(relation, vec![first, seconds[i % seconds.len()]]);
        }
    }

    fn core_facts(&mut self) {
        for relation in [
            &say::ON_RIVER,
            &say::BORN,
            &say::SEATED,
            &say::FOUGHT,
            &say::GUILD_OF,
            &say::WROTE,
            &say::RISES,
            &say::NEAR,
            &say::HELD,
            &say::FOUNDED,
            &say::LEADS,
            &say::MASTER,
            &say::TELLS,
            &say::CLIMBED,
            &say::HONOURS,
            &say::PRAISES,
            &say::PAYS,
        ] {
            self.pair(relation);
        }
        let people = self.shuffled(Person);
        let battles = self.shuffled(Battle);
        for (&battle, sides) in battles.iter().zip(people.chunks_exact(2)) {
            self.add(&say::WON, vec![battle, sides[0], sides[1]]);
        }
        for (relation, pairs) in [(&say::TAUGHT, 2), (&say::MARRIED, 1)] {
            let people = self.shuffled(Person);
            for pair in people.chunks_exact(2).take(pairs) {
                self.add(relation, pair.to_vec());
            }
        }
        for town in self.shuffled(Town) {
            self.add(&say::HOUSES, vec![town]);
        }
    }

    /// Adds the facts that join the province `from` and the next one, of which `number` is one: both draw the same.
    fn border_facts(&mut self, names: &Names, from: u64, number: u64) {
        let layout = Layout { num_pages: self.config.num_pages };
        let to = (from + 1) % layout.num_provinces();
        let mut rng = keyed("world/border", self.config.seed, &[from]);
        for (relation, times) in [(&say::ROAD, 2), (&say::TRADES, 1)] {
            for _ in 0..times {
                let year = rng.random_range(YEARS);
                let mut ends = Vec::with_capacity(2);
                for (province, kind) in [(from, relation.roles[0]), (to, relation.roles[1])] {
                    let slots: Vec<usize> = (0..ROSTER.len()).filter(|&s| ROSTER[s] == kind).collect();
                    let slot = slots[rng.random_range(0..slots.len())];
                    ends.push(if province == number {
                        slot
                    } else {
                        let guest = entity(names, self.config.seed, province, slot as u64);
                        self.entities.push(guest);
                        self.entities.len() - 1
                    });
                }
                self.facts.push(Fact { relation, entities: ends, year, word: "" });
            }
        }
    }

    /// Draws events until every entity has enough to say, and returns the facts of each entity.
    fn events(&mut self, size: usize) -> Vec<Vec<usize>> {
        let mut facts_of: Vec<Vec<usize>> = vec![Vec::new(); size];
        let enroll = |facts_of: &mut Vec<Vec<usize>>, fact: &Fact, number: usize| {
            for &entity in fact.entities.iter().filter(|&&e| e < size) {
                facts_of[entity].push(number);
            }
        };
        for (number, fact) in self.facts.iter().enumerate() {
            enroll(&mut facts_of, fact, number);
        }
        let of_kind: [Vec<usize>; 9] =
            Kind::ALL.map(|kind| (0..size).filter(|&e| self.entities[e].kind == kind).collect());
        let wanted = self.config.max_sentences();
        for entity in 0..size {
            // Small worlds may lack a kind, or have too few entities for new events: a bounded number of tries.
            for _ in 0..4 * wanted {
                if facts_of[entity].len() >= wanted {
                    break;
                }
                let Some(fact) = self.event(entity, &of_kind) else {
                    continue;
                };
                let said = |&other: &usize| {
                    let other = &self.facts[other];
                    other.relation == fact.relation && other.entities == fact.entities && other.year == fact.year
                };
                if facts_of[entity].iter().any(said) {
                    continue;
                }
                enroll(&mut facts_of, &fact, self.facts.len());
                self.facts.push(fact);
            }
        }
        facts_of
    }

    /// An event with this entity and others of the province.
    fn event(&mut self, entity: usize, of_kind: &[Vec<usize>; 9]) -> Option<Fact> {
        let kind = self.entities[entity].kind;
        let relation = EVENTS[self.rng.random_range(0..EVENTS.len())];
        let role = relation.roles.iter().position(|&k| k == kind)?;
        let mut entities = Vec::with_capacity(relation.roles.len());
        for (i, &kind) in relation.roles.iter().enumerate() {
            let candidates = &of_kind[kind as usize];
            entities.push(match candidates.len() {
                _ if i == role => entity,
                0 => return None,
                len => candidates[self.rng.random_range(0..len)],
            });
        }
        let same = entities.len() > 1 && (1..entities.len()).any(|i| entities[..i].contains(&entities[i]));
        let year = self.rng.random_range(YEARS);
        let word = relation.words[self.rng.random_range(0..relation.words.len())];
        (!same).then_some(Fact { relation, entities, year, word })
    }
}
