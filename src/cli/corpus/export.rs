//! `memtrain corpus export`: documents as rows that another trainer reads.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use memtrain_corpora::store::{self, AtomicFile, Row, TableReader, TableWriter};
use memtrain_corpora::{Document, Split};

use super::super::choice::choices;
use super::super::inspect::SPLITS;
use crate::agents::answer::boxed;
use crate::agents::full_context::ContextPrompt;
use crate::agents::prompts::{PromptLayout, PromptSet};
use crate::cli::counts::count;
use crate::cli::failure::{Usage, WithHint};
use crate::cli::print::print_line;
use crate::cli::tasks::make_parent;
use crate::cli::written::written_path;
use crate::tasks::documents::{ChatRow, DocumentRow, RELEASED_SOURCE, check};

/// Forms of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Parquet as MemTrain's released trainer, MemAgent's recipe and verl read it: question, masked text, hidden entity
    Verl,
    /// Parquet with `messages`: the whole document and the question, and the boxed answer
    HfChat,
    /// The rows of `verl` as JSON lines
    Jsonl,
}

/// Arguments of `memtrain corpus export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of the corpus
    pub corpus: PathBuf,
    /// The form
    #[arg(long, value_enum, default_value = "verl")]
    pub format: ExportFormat,
    /// Which documents
    #[arg(long, default_value = "train", value_parser = choices::<Split>(&SPLITS))]
    pub split: Split,
    /// File to write
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: PathBuf,
    /// Only the first N documents
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub limit: Option<usize>,
    /// `data_source` of the rows, by which a trainer chooses the reward; MemTrain's knows this name alone
    #[arg(long, value_name = "NAME", default_value = RELEASED_SOURCE)]
    pub data_source: String,
    /// Prompt set with the question, and for `hf-chat` with the words around it: `standard`, `compact` or a folder
    #[arg(long, value_name = "SET", default_value = "standard")]
    pub prompts: String,
}

/// Writes the documents, all of them or no file.
///
/// # Errors
/// If the corpus is not finished, a document is not as its record says, or something else is in the way.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    check_ending(args)?;
    let question = PromptSet::load(&args.prompts, PromptLayout::MemoryFirst)?.problem;
    let row =
        |(index, document): (usize, &Document)| DocumentRow::of(document, index as u64, &question, &args.data_source);
    let rows = match args.format {
        ExportFormat::Verl => write_table(args, |at| Ok(row(at)?))?,
        ExportFormat::HfChat => {
            let prompt = ContextPrompt::load(&args.prompts)?;
            write_table(args, |(_, document)| {
                check(document)?;
                let user = prompt.turn(&question, &document.text).as_str().to_owned();
                Ok(ChatRow { id: document.id.clone(), user, assistant: boxed(&document.answer).as_str().to_owned() })
            })?
        }
        ExportFormat::Jsonl => write_lines(args, |at| Ok(serde_json::to_string(&row(at)?)?))?,
    };
    print_line!("{rows} rows  {}", args.out.display())?;
    Ok(())
}

/// Refuses a name that promises another form than the one that is written: whoever opens the file goes by its name.
fn check_ending(args: &ExportArgs) -> anyhow::Result<()> {
    let ending = args.out.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let (written, promised) = match args.format {
        ExportFormat::Jsonl => ("JSON lines", &["parquet"][..]),
        ExportFormat::Verl | ExportFormat::HfChat => ("Parquet", &["jsonl", "json", "csv", "tsv", "txt"][..]),
    };
    if !promised.contains(&&*ending) {
        return Ok(());
    }
    Err(Usage(format!("`--format` writes {written}, and the name `{}` says something else", args.out.display())))
        .hint(|| "`--format verl` and `hf-chat` write Parquet, `--format jsonl` JSON lines".to_owned())
}

/// The documents that were asked for, with their numbers.
fn documents(args: &ExportArgs) -> anyhow::Result<impl Iterator<Item = anyhow::Result<(usize, Document)>>> {
    store::refuse_overlap(&args.out, &args.corpus)?;
    let split = args.split;
    let documents = memtrain_pipeline::documents::documents(&args.corpus, split)?;
    let numbered = documents.take(args.limit.unwrap_or(usize::MAX)).enumerate();
    Ok(numbered.map(|(index, document)| Ok((index, document?))))
}

fn write_table<R: Row + Clone>(
    args: &ExportArgs,
    row: impl Fn((usize, &Document)) -> anyhow::Result<R>,
) -> anyhow::Result<u64> {
    store::check_file(&args.out, |path| TableReader::<R>::open(path).is_ok())?;
    let documents = documents(args)?;
    make_parent(&args.out)?;
    let mut writer = TableWriter::create(&args.out)?;
    for document in documents {
        let (index, document) = document?;
        writer.push(told(row((index, &document)))?)?;
    }
    some(args, writer.rows())?;
    Ok(writer.finish()?.rows)
}

fn write_lines(args: &ExportArgs, line: impl Fn((usize, &Document)) -> anyhow::Result<String>) -> anyhow::Result<u64> {
    store::check_file(&args.out, is_lines)?;
    let documents = documents(args)?;
    make_parent(&args.out)?;
    let mut file = AtomicFile::create(&args.out)?;
    let mut rows = 0;
    for document in documents {
        let (index, document) = document?;
        let line = told(line((index, &document)))?;
        writeln!(file, "{line}").with_context(|| format!("`{}` cannot be written", args.out.display()))?;
        rows += 1;
    }
    some(args, rows)?;
    file.commit_new()?;
    Ok(rows)
}

/// Whether a file holds JSON lines, which may be these from an earlier call: what came of this one says it.
fn is_lines(path: &Path) -> bool {
    store::head(path, 1).is_ok_and(|head| head == b"{")
}

fn told<T>(row: anyhow::Result<T>) -> anyhow::Result<T> {
    row.hint(|| "`memtrain corpus verify` says whether the corpus is damaged".to_owned())
}

fn some(args: &ExportArgs, rows: u64) -> anyhow::Result<()> {
    anyhow::ensure!(rows > 0, "there are no such documents in `{}`", args.corpus.display());
    Ok(())
}
