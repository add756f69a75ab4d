//! `memtrain corpus inspect`: a document on the terminal.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use memtrain_corpora::{PassageRole, Split};
use memtrain_pipeline::documents;
use memtrain_pipeline::inspect::{Extent, Look, heads, render, to_json};

use super::choice::choices;
use super::counts::count;
use super::failure::{Usage, WithHint};
use super::print::{output, raw_output};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder of the corpus
    pub corpus: PathBuf,
    /// The document: a name such as `heldout-00000007`, or a number in `--split`
    #[arg(long, value_name = "NAME|NUMBER", default_value = "0")]
    pub document: String,
    /// Split of a document given by number
    #[arg(long, default_value = "train", value_parser = choices::<Split>(&SPLITS))]
    pub split: Split,
    /// Show every passage whole, not only those in which something is hidden
    #[arg(long)]
    pub full: bool,
    /// Show one passage only, counted from 1, whole
    #[arg(long, value_name = "N", conflicts_with_all = ["full", "role"], value_parser = count::<usize>)]
    pub passage: Option<usize>,
    /// Show passages of this role only; can be given several times
    #[arg(long, value_parser = choices::<PassageRole>(&ROLES))]
    pub role: Vec<PassageRole>,
    /// Characters a line; 0 leaves lines as they are [default: the terminal's width, at most 100]
    #[arg(long)]
    pub width: Option<usize>,
    /// Whether to colour; `auto` does on a terminal unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t = ColorArgument::Auto)]
    pub color: ColorArgument,
    /// Print the document as one JSON object
    #[arg(long, conflicts_with_all = ["full", "passage", "role", "width", "color"])]
    pub json: bool,
}

/// The splits that can be typed.
pub(super) const SPLITS: [(&str, &str); 2] = [("train", "Training documents"), ("heldout", "Held-out documents")];

/// The roles that can be typed.
const ROLES: [(&str, &str); 3] = [
    ("pivot", "The passage whose entity is hidden"),
    ("related", "Retrieved for the pivot"),
    ("random", "Drawn at random"),
];

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorArgument {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always, for `less -R`
    Always,
    /// Never
    Never,
}

impl InspectArgs {
    fn name(&self) -> String {
        let number = self.document.parse();
        number.map_or_else(|_| self.document.clone(), |number| documents::name(self.split, number))
    }

    fn look(&self) -> Look {
        let is_terminal = std::io::stdout().is_terminal();
        let colour = match self.color {
            ColorArgument::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            ColorArgument::Always => true,
            ColorArgument::Never => false,
        };
        let columns = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100);
        let extent = match self.passage {
            Some(passage) => Extent::Passage(passage),
            None if self.full => Extent::Full,
            None => Extent::Short,
        };
        let width = self.width.unwrap_or_else(|| if is_terminal { columns().min(100) } else { 0 });
        Look { colour, width, extent, roles: self.role.clone() }
    }
}

/// Shows a document.
///
/// # Errors
/// If the corpus is not built, or has no such document or passage.
pub fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let (corpus, name) = (&args.corpus, args.name());
    let document = memtrain_pipeline::document(corpus, &name)?
        .with_context(|| format!("the corpus `{}` has no document `{name}`", corpus.display()))
        .hint(|| format!("`memtrain corpus stats {}` tells how many documents each split has", corpus.display()))?;
    if let Some(number) = args.passage.filter(|number| !(1..=document.passages.len()).contains(number)) {
        let message = format!("`--passage {number}`: document `{name}` has passages 1 to {}", document.passages.len());
        return Err(Usage(message).into());
    }
    // Documents may have been copied away from their corpus: then titles are missing, no more.
    let heads = heads(corpus, &document).unwrap_or_else(|error| {
        tracing::warn!("titles and addresses are left out: {error}");
        HashMap::new()
    });
    if args.json {
        return Ok(writeln!(output(), "{:#}", to_json(&document, &heads))?);
    }
    let look = args.look();
    let shown = render(&document, &heads, &look);
    let mut out = if look.colour { raw_output() } else { output() };
    Ok(out.write_all(shown.as_bytes())?)
}
