//! JSON lines in: from a file or stdin, each with its number for messages.

use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use memtrain_corpora::json::problem;
use memtrain_corpora::store;
use serde::de::DeserializeOwned;

use crate::cli::failure::WithHint;

/// A value with the number of its line, from 1.
pub struct Line<T> {
    pub number: u64,
    pub value: T,
}

/// The lines of a file, or of stdin without one. Blank lines are passed over. `example` is shown when a line is wrong.
pub fn read<T: DeserializeOwned>(
    path: Option<&Path>,
    example: &'static str,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Line<T>>> + use<T>> {
    let name = path.map_or_else(|| "stdin".to_owned(), |path| path.display().to_string());
    let input: Box<dyn BufRead> = match path {
        Some(path) => Box::new(BufReader::new(store::open_stream(path)?)),
        None => Box::new(std::io::stdin().lock()),
    };
    let numbered = store::lines(input).zip(1u64..);
    let filled = numbered.filter(|(line, _)| line.as_ref().map_or(true, |line| !line.trim().is_empty()));
    Ok(filled.map(move |(line, number)| {
        let line = line.with_context(|| format!("line {number} of {name} cannot be read"))?;
        let value = serde_json::from_str(&line)
            .map_err(|error| anyhow::anyhow!("line {number} of {name}: {}", problem(&error, &line)))
            .hint(|| format!("a line looks like `{example}`"))?;
        Ok(Line { number, value })
    }))
}

/// Checks the ids of a line against the rows of the embedding.
pub fn check_ids(number: u64, what: &str, ids: &[u32], vocab_size: usize) -> anyhow::Result<()> {
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        None => Ok(()),
        Some(id) => {
            Err(anyhow::anyhow!("line {number}: `{what}` holds id {id}, but the vocabulary has {vocab_size} ids"))
                .hint(|| "encode the text with the tokenizer of this policy directory".into())
        }
    }
}

/// Checks that a line's tokens fit the policy.
pub fn check_length(number: u64, tokens: usize, limit: usize) -> anyhow::Result<()> {
    if tokens > limit {
        anyhow::bail!("line {number}: {tokens} tokens exceed the policy's {limit} positions");
    }
    Ok(())
}
