//! Invented names: one pronounceable word for every ordinal of every kind, all different.
//!
//! A name is a stem of consonant-vowel syllables and an ending that belongs to one kind of entity. No ending is the
//! end of another, so the ending of a name is read off without doubt, and what stands before it is the stem: two
//! names are equal only when kind, ending and stem are. The order of the names is a permutation of all
//! (stem, ending) pairs of one length, so that neighbours do not look alike.

use rand::Rng;

use super::Kind;
use crate::rng::keyed;

const CONSONANTS: &[u8; 15] = b"bdfghklmnprstvz";
const VOWELS: &[u8; 5] = b"aeiou";
const NUM_SYLLABLES: u64 = (CONSONANTS.len() * VOWELS.len()) as u64;
const NUM_ENDINGS: u64 = 6;
/// Kinds that have names of their own: the nine of [`Kind`] and the by-names of people.
const NUM_NAMED: usize = Kind::ALL.len() + 1;

const ENDINGS: [[&str; NUM_ENDINGS as usize]; NUM_NAMED] = [
    ["mar", "sted", "wick", "ham", "dorf", "grad"],
    ["lorn", "nith", "wen", "dray", "ssel", "rune"],
    ["bran", "dric", "lind", "mund", "seth", "yra"],
    ["tex", "gard", "lux", "mex", "dane", "vane"],
    ["feld", "strom", "hurst", "moor", "rack", "gate"],
    ["wyn", "bond", "thor", "clave", "ring", "helm"],
    ["niad", "gram", "saga", "lyre", "myth", "mance"],
    ["horn", "peak", "tarn", "crag", "berg", "spur"],
    ["fest", "tide", "mass", "gala", "revel", "rite"],
    ["kin", "ley", "sey", "nik", "bet", "dot"],
];

/// A one-to-one map of ordinals to words for each kind.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// For each kind: the multiplier's place in (0, 1) and the offset's, scaled to the size of the table in use.
    keys: [(u64, u64); NUM_NAMED],
}

impl Names {
    /// The names of the world with this seed.
    pub(super) fn new(seed: u64) -> Self {
        let keys = std::array::from_fn(|kind| {
            let mut rng = keyed("world/names", seed, &[kind as u64]);
            (rng.random(), rng.random())
        });
        Self { keys }
    }

    /// The name of the `ordinal`-th entity of a kind.
    pub(super) fn name(&self, kind: Kind, ordinal: u64) -> String {
        self.word(kind as usize, ordinal)
    }

    /// The `ordinal`-th by-name of a person.
    pub(super) fn by_name(&self, ordinal: u64) -> String {
        self.word(NUM_NAMED - 1, ordinal)
    }

    fn word(&self, kind: usize, ordinal: u64) -> String {
        let (num_syllables, table, place) = table(ordinal);
        let shuffled = self.permute(kind, place, table);
        let mut stem = shuffled / NUM_ENDINGS;
        let mut word = String::with_capacity(2 * num_syllables + 5);
        for _ in 0..num_syllables {
            let syllable = (stem % NUM_SYLLABLES) as usize;
            stem /= NUM_SYLLABLES;
            word.push(char::from(CONSONANTS[syllable / VOWELS.len()]));
            word.push(char::from(VOWELS[syllable % VOWELS.len()]));
        }
        word[..1].make_ascii_uppercase();
        word.push_str(ENDINGS[kind][(shuffled % NUM_ENDINGS) as usize]);
        word
    }

    /// `place → (multiplier · place + offset) mod table`, a permutation since the multiplier is coprime to the table.
    fn permute(&self, kind: usize, place: u64, table: u64) -> u64 {
        let (multiplier, offset) = self.keys[kind];
        let mut multiplier = table / 4 + multiplier % (table / 2);
        while gcd(multiplier, table) != 1 {
            multiplier += 1;
        }
        let product = u128::from(multiplier) * u128::from(place) + u128::from(offset % table);
        (product % u128::from(table)) as u64
    }
}

/// The number of syllables of the stems, the number of names of that length, and the place among them.
fn table(ordinal: u64) -> (usize, u64, u64) {
    let mut place = ordinal;
    let mut num_syllables = 2;
    let mut size = NUM_SYLLABLES * NUM_SYLLABLES * NUM_ENDINGS;
    while place >= size {
        place -= size;
        num_syllables += 1;
        size = size.saturating_mul(NUM_SYLLABLES);
    }
    (num_syllables, size, place)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_ending_is_the_end_of_another() {
        let endings: Vec<&str> = ENDINGS.iter().flatten().copied().collect();
        for (i, a) in endings.iter().enumerate() {
            for (j, b) in endings.iter().enumerate() {
                assert!(i == j || !a.ends_with(b), "`{a}` ends with `{b}`");
            }
        }
    }

    #[test]
    fn names_are_unique_over_the_change_of_length() {
        let names = Names::new(7);
        let mut seen = HashSet::new();
        let first_table = NUM_SYLLABLES * NUM_SYLLABLES * NUM_ENDINGS;
        for kind in Kind::ALL {
            for ordinal in (0..3_000).chain(first_table - 1_000..first_table + 1_000) {
                let name = names.name(kind, ordinal);
                assert!(seen.insert(name.clone()), "`{name}` appears twice");
            }
        }
    }
}
