//! A part of the shards of a stage, as workers share them out.

use std::str::FromStr;

/// The shards whose number is `number` modulo `of`: parts are about equally large, and fixed before anybody knows how many shards
/// there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of the part, from 0.
    number: usize,
    /// How many parts there are.
    of: usize,
}

impl Part {
    /// Whether a shard is in it.
    pub fn holds(self, shard: usize) -> bool {
        shard % self.of == self.number
    }
}

impl FromStr for Part {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((number, of)) if number < of => Ok(Self { number, of }),
            _ => Err("a part is K/N, K from 0 to N - 1, for example 3/16"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_each_shard_once() {
        for of in 1..6 {
            let parts: Vec<Part> = (0..of).map(|number| format!("{number}/{of}").parse().unwrap()).collect();
            for shard in 0..20 {
                assert_eq!(parts.iter().filter(|part| part.holds(shard)).count(), 1, "{shard} of {of}");
            }
        }
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "3", "/", "1/", "/2", "2/2", "0/0", "-1/2", "1/2/3", "1 /2", "99999999999999999999999/2"] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }
}
