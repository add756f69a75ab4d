//! Variable tracking: a value is given to a variable, which is given to another, and so on. All variables that have the
//! value at the end are asked for. The assignments stand in their order among noise.

use std::collections::HashSet;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::needles::among;
use super::words::{NOISE, letters, number};
use super::{Built, Draw, Family};

/// A task of this family.
pub(super) struct Variables {
    chains: usize,
    /// Assignments of a chain after the first.
    hops: usize,
}

pub(super) const VT: Variables = Variables { chains: 1, hops: 4 };

/// Letters of a name.
const NAME_LETTERS: usize = 5;

impl Family for Variables {
    fn answer_tokens(&self) -> usize {
        30
    }

    fn fewest_units(&self) -> usize {
        1
    }

    fn build(&self, draw: &Draw<'_>, units: usize) -> Built {
        let mut generator = draw.of_item("chains");
        let mut taken = HashSet::new();
        let mut new = |generator: &mut ChaCha8Rng, draw: fn(&mut ChaCha8Rng) -> String| loop {
            let one = draw(generator);
            if taken.insert(one.clone()) {
                break one;
            }
        };
        let (mut names, mut values, mut assignments) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.chains {
            let value = new(&mut generator, |generator| number(generator, 5));
            let chain: Vec<String> = (0..=self.hops)
                .map(|_| new(&mut generator, |generator| letters(generator, 'A', NAME_LETTERS)))
                .collect();
            let mut of_chain = vec![format!("SET {} TO {value}", chain[0])];
            of_chain.extend(chain.windows(2).map(|pair| format!("SET {} TO {}", pair[1], pair[0])));
            names.push(chain);
            values.push(value);
            assignments.push(of_chain);
        }
        // Chains run beside each other: whose assignment comes next is drawn.
        let mut places: Vec<usize> =
            assignments.iter().enumerate().flat_map(|(chain, of_chain)| vec![chain; of_chain.len()]).collect();
        places.shuffle(&mut generator);
        let mut next: Vec<_> = assignments.into_iter().map(Vec::into_iter).collect();
        let hidden: Vec<String> = places.into_iter().filter_map(|chain| next[chain].next()).collect();
        let context = among(std::iter::repeat_n(NOISE, units), &hidden, &mut draw.of_length("places"));
        let (asked, count) = (&values[0], self.hops + 1);
        let question = format!(
            "The text sets variables, to a number or to what another variable is. {count} of them are {asked} in the end. \
             Which? Name all of them."
        );
        let answers = names.swap_remove(0);
        let last = answers.len() - 1;
        let named = answers.iter().enumerate().map(|(place, name)| (name.clone(), if place == last { 1 } else { 2 }));
        let occurrences = named.chain([(asked.clone(), 1)]).collect();
        Built { context, question, answers, occurrences }
    }
}

/// One chain of `hops`, for tests.
#[cfg(test)]
pub(super) fn of(chains: usize, hops: usize) -> Variables {
    Variables { chains, hops }
}

#[cfg(test)]
impl Variables {
    /// The value of each variable at the end of a text.
    pub(super) fn run(context: &str) -> std::collections::HashMap<&str, &str> {
        let mut values = std::collections::HashMap::new();
        for line in context.lines().filter_map(|line| line.strip_prefix("SET ")) {
            let (name, from) = line.split_once(" TO ").unwrap();
            let value = values.get(from).copied().unwrap_or(from);
            values.insert(name, value);
        }
        values
    }
}
