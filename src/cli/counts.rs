//! Counts and times of the command line: value parsers that refuse 0, of which nothing would come, and what no machine holds.

use std::error::Error;

type Wrong = Box<dyn Error + Send + Sync>;

/// Most of what is only counted: far below where products of counts would overflow.
const MOST: u64 = 1_000_000_000_000;
/// Most of what is held in memory, one by one.
const MOST_HELD: u64 = 10_000_000;
/// A day, in seconds: more is no bound.
const LONGEST_S: u64 = 86_400;

/// A count from 1.
pub(super) fn count<T: TryFrom<u64>>(text: &str) -> Result<T, Wrong> {
    up_to(MOST, text)
}

/// A count from 1 of things that are held in memory.
pub(super) fn held(text: &str) -> Result<usize, Wrong> {
    up_to(MOST_HELD, text)
}

/// Seconds from 1 to a day.
pub(super) fn seconds(text: &str) -> Result<u64, Wrong> {
    up_to(LONGEST_S, text)
}

/// A number above 0.
pub(super) fn positive(text: &str) -> Result<f64, Wrong> {
    match text.parse::<f64>()? {
        number if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("it must be above 0".into()),
    }
}

/// A share above 0 and up to 1.
pub(super) fn share(text: &str) -> Result<f64, Wrong> {
    match positive(text)? {
        share if share <= 1.0 => Ok(share),
        _ => Err("it must be at most 1: 0.4 for 40 %".into()),
    }
}

fn up_to<T: TryFrom<u64>>(most: u64, text: &str) -> Result<T, Wrong> {
    match text.parse::<u64>()? {
        0 => Err("it must be at least 1".into()),
        number if number > most => Err(format!("it must be at most {most}").into()),
        number => T::try_from(number).map_err(|_| "the number is too large".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use clap::{Arg, Command, CommandFactory};

    use super::*;
    use crate::cli::Cli;

    /// Whole numbers of which 0 is something to ask for: numbers that count from 0, seeds, and where the help says what 0 does.
    const MAY_BE_ZERO: &[&str] = &[
        "corpus inspect width",
        "corpus run-shard index",
        "eval compare seed",
        "eval long-qa seed",
        "eval memory skip",
        "eval search-qa seed",
        "index related passage_id",
        "policy generate seed",
        "policy generate top_k",
        "policy init seed",
        "quickstart seed",
        "read seed",
        "serve-index port",
        "tasks compose questions",
        "tasks compose seed",
        "tasks documents skip",
        "tasks ruler seed",
        "world seed",
    ];

    /// The whole numbers of a command and of those below it that may be 0.
    fn zeros(path: &str, command: &Command, found: &mut Vec<String>) {
        let types =
            [TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>(), TypeId::of::<usize>(), TypeId::of::<i64>()];
        for arg in command.get_arguments() {
            let parser = arg.get_value_parser();
            if types.iter().all(|known| parser.type_id() != *known) {
                continue;
            }
            let alone = Arg::new("number").value_parser(parser.clone());
            if Command::new("alone").arg(alone).try_get_matches_from(["alone", "0"]).is_ok() {
                found.push(format!("{path}{}", arg.get_id()));
            }
        }
        for below in command.get_subcommands() {
            zeros(&format!("{path}{} ", below.get_name()), below, found);
        }
    }

    #[test]
    fn every_number_of_the_command_line_is_at_least_1_or_listed() {
        let mut found = Vec::new();
        zeros("", &Cli::command(), &mut found);
        found.sort();
        assert_eq!(found, MAY_BE_ZERO);
    }

    #[test]
    fn nothing_and_too_much_are_refused_in_words() {
        let wrong = |refused: Result<usize, Wrong>| refused.expect_err("refused").to_string();
        assert_eq!(
            (count::<usize>("1").ok(), held("10000000").ok(), seconds("86400").ok()),
            (Some(1), Some(10_000_000), Some(86_400))
        );
        assert_eq!(wrong(count("0")), "it must be at least 1");
        assert_eq!(wrong(held("10000001")), "it must be at most 10000000");
        assert!(count::<u32>("5000000000").is_err() && seconds("18446744073709551615").is_err());
        for (refused, told) in [
            (positive("0"), "it must be above 0"),
            (positive("-1"), "it must be above 0"),
            (share("nan"), "it must be above 0"),
        ] {
            assert_eq!(refused.expect_err("refused").to_string(), told);
        }
        assert_eq!(share("40").expect_err("refused").to_string(), "it must be at most 1: 0.4 for 40 %");
        assert_eq!((positive("141").ok(), share("1").ok()), (Some(141.0), Some(1.0)));
        // What is no number is told by `failure::numbers`, which knows the standard library's error.
        let no_number = count::<usize>("-1").expect_err("negative");
        assert!(no_number.is::<std::num::ParseIntError>());
    }
}
