//! Needles in a haystack: sentences that give a key a value, hidden in other text. The values of some keys are asked for.
//!
//! The haystack is a passage said again and again, running text, or needles of other keys. In running text needles stand
//! between sentences, at different ones of 40 equally spaced depths; elsewhere between any two units.

use std::collections::HashSet;

use rand::Rng;
use rand::seq::{SliceRandom, index};

use super::words::{NOISE, adjective_noun, number, uuid};
use super::{Built, Draw, Family};

/// What needles are hidden in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Haystack {
    /// [`NOISE`]; a unit is one repetition.
    Noise,
    /// Running text; a unit is a word.
    Essay,
    /// Needles of other keys; a unit is one of them.
    Needles,
}

/// What keys and values are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Words,
    Numbers,
    Uuids,
}

impl Kind {
    fn draw(self, generator: &mut impl Rng) -> String {
        match self {
            Self::Words => adjective_noun(generator),
            Self::Numbers => number(generator, 7),
            Self::Uuids => uuid(generator),
        }
    }
}

/// A task of this family.
pub(super) struct Needles {
    haystack: Haystack,
    keys: Kind,
    values: Kind,
    /// Keys with needles that are not of the haystack.
    num_keys: usize,
    /// Values of each of them.
    num_values: usize,
    /// Keys that are asked for.
    num_queries: usize,
}

const BASE: Needles = Needles {
    haystack: Haystack::Essay,
    keys: Kind::Words,
    values: Kind::Numbers,
    num_keys: 1,
    num_values: 1,
    num_queries: 1,
};
pub(super) const SINGLE_1: Needles = Needles { haystack: Haystack::Noise, ..BASE };
pub(super) const SINGLE_2: Needles = BASE;
pub(super) const SINGLE_3: Needles = Needles { values: Kind::Uuids, ..BASE };
pub(super) const MULTIKEY_1: Needles = Needles { num_keys: 4, ..BASE };
pub(super) const MULTIKEY_2: Needles = Needles { haystack: Haystack::Needles, ..BASE };
pub(super) const MULTIKEY_3: Needles =
    Needles { haystack: Haystack::Needles, keys: Kind::Uuids, values: Kind::Uuids, ..BASE };
pub(super) const MULTIVALUE: Needles = Needles { num_values: 4, ..BASE };
pub(super) const MULTIQUERY: Needles = Needles { num_keys: 4, num_queries: 4, ..BASE };

/// Depths in running text at which a needle may stand, the first at its beginning and the last at its end.
const DEPTHS: usize = 40;

impl Needles {
    /// What a value is called.
    fn noun(&self) -> &'static str {
        if self.values == Kind::Numbers { "access number" } else { "access code" }
    }

    fn needle(&self, key: &str, value: &str) -> String {
        format!("Please note that an {} of {key} is {value}.", self.noun())
    }

    /// Different ones, none of them taken before.
    fn draw_new(kind: Kind, count: usize, taken: &mut HashSet<String>, generator: &mut impl Rng) -> Vec<String> {
        let mut drawn = Vec::with_capacity(count);
        while drawn.len() < count {
            let one = kind.draw(generator);
            if taken.insert(one.clone()) {
                drawn.push(one);
            }
        }
        drawn
    }

    fn question(&self, keys: &[&str]) -> String {
        let noun = self.noun();
        match keys {
            [key] if self.num_values == 1 => format!("Which {noun} of {key} does the text note?"),
            [key] => format!("Which {noun}s of {key} does the text note? Name all of them."),
            [keys @ .., last] => {
                format!("Which {noun}s does the text note of {}, and {last}? Name all of them.", keys.join(", "))
            }
            [] => String::new(),
        }
    }

    fn in_essay(draw: &Draw<'_>, units: usize, needles: &[String]) -> String {
        let essay = draw.essay;
        // Each item begins elsewhere, with a sentence.
        let drawn = draw.of_item("essay").random_range(0..essay.num_words());
        let sentence = (0..essay.num_words()).map(|step| drawn + step).find(|&place| essay.ends_sentence(place));
        let first = sentence.map_or(drawn, |end| end + 1);
        let mut breaks = vec![first];
        breaks.extend((first..first + units).filter(|&place| essay.ends_sentence(place)).map(|place| place + 1));
        let mut depths = index::sample(&mut draw.of_length("depths"), DEPTHS, needles.len()).into_vec();
        depths.sort_unstable();
        let (mut context, mut written) = (String::new(), first);
        for (depth, needle) in depths.iter().zip(needles) {
            let place = breaks[(breaks.len() - 1) * depth / (DEPTHS - 1)];
            essay.write(written..place, &mut context);
            written = place;
            if !context.is_empty() {
                context.push(' ');
            }
            context.push_str(needle);
        }
        essay.write(written..first + units, &mut context);
        context
    }
}

/// Units with others between them, one a line, at places drawn uniformly and in their order.
pub(super) fn among<'u>(
    units: impl ExactSizeIterator<Item = &'u str>,
    hidden: &'u [String],
    generator: &mut impl Rng,
) -> String {
    let mut depths: Vec<f64> = hidden.iter().map(|_| generator.random()).collect();
    depths.sort_by(f64::total_cmp);
    let slots = (units.len() + 1) as f64;
    let mut hidden = depths.into_iter().map(|depth| (depth * slots) as usize).zip(hidden).peekable();
    let mut lines = Vec::with_capacity(units.len() + hidden.len());
    for (place, unit) in units.enumerate() {
        while let Some((_, needle)) = hidden.next_if(|(slot, _)| *slot == place) {
            lines.push(needle.as_str());
        }
        lines.push(unit);
    }
    lines.extend(hidden.map(|(_, needle)| needle.as_str()));
    lines.join("\n")
}

impl Family for Needles {
    fn answer_tokens(&self) -> usize {
        128
    }

    fn needs_essay(&self) -> bool {
        self.haystack == Haystack::Essay
    }

    fn fewest_units(&self) -> usize {
        if self.haystack == Haystack::Essay { 64 } else { 1 }
    }

    fn build(&self, draw: &Draw<'_>, units: usize) -> Built {
        let mut generator = draw.of_item("needles");
        let (mut keys_taken, mut values_taken) = (HashSet::new(), HashSet::new());
        let keys = Self::draw_new(self.keys, self.num_keys, &mut keys_taken, &mut generator);
        let values: Vec<Vec<String>> = keys
            .iter()
            .map(|_| Self::draw_new(self.values, self.num_values, &mut values_taken, &mut generator))
            .collect();
        let needle = |(key, values): (&String, &Vec<String>)| -> Vec<String> {
            values.iter().map(|value| self.needle(key, value)).collect()
        };
        let mut needles: Vec<String> = keys.iter().zip(&values).flat_map(needle).collect();
        needles.shuffle(&mut generator);
        let queries = index::sample(&mut generator, keys.len(), self.num_queries).into_vec();
        let asked: Vec<&str> = queries.iter().map(|&query| keys[query].as_str()).collect();
        let context = match self.haystack {
            Haystack::Essay => Self::in_essay(draw, units, &needles),
            Haystack::Noise => among(std::iter::repeat_n(NOISE, units), &needles, &mut draw.of_length("places")),
            Haystack::Needles => {
                let mut generator = draw.of_length("haystack");
                let mut other = |kind: Kind, taken: &HashSet<String>| loop {
                    let one = kind.draw(&mut generator);
                    if !taken.contains(&one) {
                        break one;
                    }
                };
                let haystack: Vec<String> = (0..units)
                    .map(|_| self.needle(&other(self.keys, &keys_taken), &other(self.values, &values_taken)))
                    .collect();
                among(haystack.iter().map(String::as_str), &needles, &mut draw.of_length("places"))
            }
        };
        let answers: Vec<String> = queries.iter().flat_map(|&query| values[query].clone()).collect();
        let once = answers.iter().map(|answer| (answer.clone(), 1));
        let named = asked.iter().map(|&key| (format!(" {key} "), self.num_values));
        let occurrences = once.chain(named).collect();
        Built { question: self.question(&asked), context, answers, occurrences }
    }
}
