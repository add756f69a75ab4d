//! `memtrain tasks documents`: documents of a corpus as a task table.

use std::path::PathBuf;

use clap::Args;
use memtrain_corpora::{Document, Split, store};
use serde_json::{Map, json};

use super::{make_parent, with_hint};
use crate::agents::prompts::{PromptLayout, PromptSet};
use crate::cli::choice::choices;
use crate::cli::counts::count;
use crate::cli::inspect::SPLITS;
use crate::cli::print::print_line;
use crate::cli::written::written_path;
use crate::tasks::{ContextKind, ContextPassage, Question, Task, TaskWriter, read};

/// Arguments of `memtrain tasks documents`.
#[derive(Debug, Args)]
pub struct DocumentsArgs {
    /// Folder of the corpus
    pub corpus: PathBuf,
    /// The table to write: Parquet, or JSON lines where the name ends in .jsonl
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: PathBuf,
    /// Which documents
    #[arg(long, default_value = "heldout", value_parser = choices::<Split>(&SPLITS))]
    pub split: Split,
    /// Documents to leave out first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: usize,
    /// At most N documents
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub limit: Option<usize>,
    /// What is asked [default: the problem of `--prompts`]
    #[arg(long, value_name = "TEXT")]
    pub question: Option<String>,
    /// Prompt set with the question: `standard`, `compact` or a folder
    #[arg(long, value_name = "SET", default_value = "standard")]
    pub prompts: String,
    /// Name of the set in the tasks
    #[arg(long, value_name = "NAME", default_value = "documents")]
    pub source: String,
}

/// Writes the table.
///
/// # Errors
/// If the corpus is not finished, or there are no such documents.
pub fn run(args: &DocumentsArgs) -> anyhow::Result<()> {
    store::refuse_overlap(&args.out, &args.corpus)?;
    store::check_file(&args.out, |path| read(path).is_ok_and(|mut tasks| matches!(tasks.next(), Some(Ok(_)))))?;
    let question = match &args.question {
        Some(question) => question.clone(),
        None => PromptSet::load(&args.prompts, PromptLayout::MemoryFirst)?.problem,
    };
    let documents = memtrain_pipeline::documents::documents(&args.corpus, args.split)?;
    make_parent(&args.out)?;
    let mut writer = with_hint(TaskWriter::create(&args.out))?;
    let mut any = false;
    for document in documents.skip(args.skip).take(args.limit.unwrap_or(usize::MAX)) {
        with_hint(writer.push(task(document?, &question, &args.source)))?;
        any = true;
    }
    anyhow::ensure!(any, "there are no such documents in `{}`", args.corpus.display());
    print_line!("{} tasks  {}", with_hint(writer.finish())?, args.out.display())?;
    Ok(())
}

/// A document as a question about its whole text.
fn task(document: Document, question: &str, source: &str) -> Task {
    let answers = std::iter::once(document.answer).chain(document.aliases).collect();
    Task {
        id: document.id,
        source: source.to_owned(),
        questions: vec![Question { text: question.to_owned(), answers }],
        kind: ContextKind::Text,
        length: document.passages.len() as u32,
        passages: vec![ContextPassage { title: String::new(), text: document.text }],
        gold: Vec::new(),
        extra: Map::from_iter([
            ("label".to_owned(), json!(document.label.as_str())),
            ("num_tokens".to_owned(), json!(document.num_tokens)),
        ]),
    }
}
