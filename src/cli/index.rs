//! `memtrain index`: look into an index, ask it, measure it.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::{Args, Subcommand};
use memtrain_corpora::store::{self, OwnedFile};
use memtrain_index::eval::{Beir, Report, evaluate};
use memtrain_index::{Builder, EmbedBackend, Hit, Index, IndexConfig, IndexError, IndexFile, Method, Watch};
use memtrain_session::index::open;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::choice::{choices, name_of};
use super::counts::held;
use super::failure::{Usage, WithHint};
use super::models;
use super::print::output;
use super::written::written_path;
use crate::config::changes::{change, insert};
use crate::config::messages::parse_config;
use crate::run::progress::Bar;
use crate::run::signal::StopRequest;

/// Arguments of `memtrain index`.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Find passages of a corpus by words
    Search(SearchArgs),
    /// Find the passages that are related to a passage
    Related(RelatedArgs),
    /// Index a question set in BEIR's form and measure nDCG@10, Recall@k, Full@k and MRR@10
    Eval(EvalArgs),
}

/// Where the index is, and how much is shown.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Folder of the corpus (or of an index alone)
    #[arg(long, value_name = "DIR")]
    pub corpus: PathBuf,
    /// How many passages
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = held)]
    pub k: usize,
    /// Print one JSON object a line, with the whole text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `memtrain index search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// What to look for
    pub query: String,
    /// Which index
    #[command(flatten)]
    pub show: ShowArgs,
}

/// Arguments of `memtrain index related`.
#[derive(Debug, Args)]
pub struct RelatedArgs {
    /// Number of the passage
    pub passage_id: u64,
    /// Which index
    #[command(flatten)]
    pub show: ShowArgs,
}

/// The rankings that can be typed.
const METHODS: [(&str, &str); 3] =
    [("lexical", "BM25"), ("dense", "Embeddings"), ("fused", "Both, by reciprocal ranks")];

/// The back-ends of embeddings that can be typed.
const EMBEDDERS: [(&str, &str); 3] = [
    ("builtin", "Learned from the passages themselves"),
    ("candle", "A Hugging Face directory: BERT, RoBERTa, ModernBERT, Qwen3-Embedding …"),
    ("fastembed", "A model exported as ONNX (needs a build with `--features fastembed`, and the ONNX runtime)"),
];

/// Arguments of `memtrain index eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Folder with corpus.jsonl, queries.jsonl, and qrels.tsv or qrels/test.tsv
    pub folder: PathBuf,
    /// Which ranking
    #[arg(long, default_value = "fused", value_parser = choices::<Method>(&METHODS))]
    pub mode: Method,
    /// Which embeddings
    #[arg(long, default_value = "builtin", value_parser = choices::<EmbedBackend>(&EMBEDDERS))]
    pub embedder: EmbedBackend,
    /// Model of `candle` or `fastembed`: a directory, or a name of the Hugging Face hub
    #[arg(long, value_name = "DIR")]
    pub model: Option<String>,
    /// Library of the ONNX runtime, for `fastembed` (default: ORT_DYLIB_PATH, else the system's)
    #[arg(long, value_name = "FILE")]
    pub runtime: Option<String>,
    /// How tokens become one vector: model, mean, cls, last-token or max
    #[arg(long, value_name = "NAME")]
    pub pooling: Option<String>,
    /// What stands before a query (E5: "query: ")
    #[arg(long, value_name = "TEXT")]
    pub query_prefix: Option<String>,
    /// What stands before a passage (E5: "passage: ")
    #[arg(long, value_name = "TEXT")]
    pub passage_prefix: Option<String>,
    /// Language of stemming and stop words (`english`, `de` …, `none`)
    #[arg(long, value_name = "NAME")]
    pub language: Option<String>,
    /// Change a key of `[corpus.index]`, for example `--set fusion_k=60` or `--set embed.dimensions=1024`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Judgements to use instead of qrels.tsv or qrels/test.tsv
    #[arg(long, value_name = "FILE")]
    pub qrels: Option<PathBuf>,
    /// Leave out passages that have the id of the question, as BEIR does for ArguAna and Quora
    #[arg(long)]
    pub ignore_identical_ids: bool,
    /// Keep the index in this folder and use it again for the same set and settings
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub keep: Option<PathBuf>,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs an index command.
///
/// # Errors
/// If there is no index, or the question set is not what it should be.
pub fn run(args: &IndexArgs) -> anyhow::Result<()> {
    match &args.action {
        Action::Search(args) => search(args),
        Action::Related(args) => {
            let index = open(&args.show.corpus)?;
            let related = index.related(args.passage_id, args.show.k)?;
            if related.near_duplicates > 0 {
                tracing::info!("{} near copies left out", related.near_duplicates);
            }
            show(&index, &related.hits, &args.show, "")
        }
        Action::Eval(args) => eval(args),
    }
}

fn search(args: &SearchArgs) -> anyhow::Result<()> {
    if args.query.trim().is_empty() {
        return Err(Usage("the query is empty".to_owned())).hint(|| "name words that passages may hold".to_owned());
    }
    let index = open(&args.show.corpus)?;
    let has_word = index.has_word_of(&args.query)?;
    let is_neural = index.config().method != Method::Lexical && index.config().embed.backend != EmbedBackend::Builtin;
    let hits = if has_word || is_neural { index.search(&args.query, args.show.k)? } else { Vec::new() };
    if !has_word {
        let found = if is_neural { "what follows is found by the model alone" } else { "nothing is found" };
        tracing::warn!("no passage holds a word of the query, stop words aside: {found}");
    }
    show(&index, &hits, &args.show, &args.query)
}

/// A passage as it is printed.
#[derive(Serialize)]
struct Line<'a> {
    rank: usize,
    score: f32,
    passage_id: u64,
    title: &'a str,
    text: &'a str,
}

fn show(index: &Index, hits: &[Hit], args: &ShowArgs, query: &str) -> anyhow::Result<()> {
    let mut out = BufWriter::new(output());
    for (place, hit) in hits.iter().enumerate() {
        let (title, text) = index.text(hit.passage_id)?;
        let (rank, score, passage_id) = (place + 1, hit.score, hit.passage_id);
        if args.json {
            serde_json::to_writer(&mut out, &Line { rank, score, passage_id, title: &title, text: &text })?;
            writeln!(out)?;
        } else {
            writeln!(out, "{rank:>3}  {score:>8.4}  {passage_id:>9}  {title}")?;
            writeln!(out, "     {}", snippet(&text, query))?;
        }
    }
    out.flush()?;
    Ok(())
}

/// A line of a text, from shortly before the first word that the query has too.
fn snippet(text: &str, query: &str) -> String {
    const CHARS: usize = 160;
    const BEFORE: usize = 5;
    let lower = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let asked: Vec<String> = query.split_whitespace().map(lower).filter(|word| word.chars().count() > 3).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    let first = words.iter().position(|word| asked.contains(&lower(word))).unwrap_or(0).saturating_sub(BEFORE);
    let mut line = if first > 0 { "… ".to_owned() } else { String::new() };
    let mut used = 0;
    for word in &words[first..] {
        used += word.chars().count() + 1;
        if used > CHARS {
            line.push('…');
            break;
        }
        line.push_str(word);
        line.push(' ');
    }
    line.trim_end().to_owned()
}

impl EvalArgs {
    fn config(&self) -> anyhow::Result<IndexConfig> {
        let mut table = toml::Table::new();
        let mut put = |key: &str, value: &str| {
            // The keys are these below: none goes through a value.
            let _ = insert(&mut table, key, toml::Value::String(value.to_owned()));
        };
        put("method", name_of(self.mode).as_str());
        put("embed.backend", name_of(self.embedder).as_str());
        let given = [
            ("embed.model", &self.model),
            ("embed.runtime", &self.runtime),
            ("embed.pooling", &self.pooling),
            ("embed.query_prefix", &self.query_prefix),
            ("embed.passage_prefix", &self.passage_prefix),
            ("language", &self.language),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                put(key, value);
            }
        }
        if self.mode != Method::Lexical && self.embedder != EmbedBackend::Builtin && self.model.is_none() {
            let missing = Usage(format!("`--embedder {}` needs `--model`", name_of(self.embedder)));
            return Err(missing).hint(|| "name the directory of a model, for example of all-MiniLM-L6-v2".to_owned());
        }
        for key_value in &self.set {
            change(&mut table, key_value)?;
        }
        let text = toml::to_string(&table).context("the configuration cannot be written")?;
        let mut config: IndexConfig = parse_config(Path::new("--set"), &text)?;
        config.check().map_err(|error| Usage(error.to_string()))?;
        models::place_encoder(&mut config)?;
        Ok(config)
    }
}

/// What an index that is kept was made of.
#[derive(PartialEq, Serialize, Deserialize)]
struct Note {
    corpus: String,
    config: IndexConfig,
}

const NOTE: &str = "set.json";
/// What the marker of such a folder says that it is.
const KIND: &str = "index of a question set";

fn eval(args: &EvalArgs) -> anyhow::Result<()> {
    let config = args.config()?;
    let set = Beir::read(&args.folder, args.qrels.as_deref())?;
    let temporary;
    let folder = match &args.keep {
        Some(folder) => {
            let corpus = store::hash_file(&args.folder.join("corpus.jsonl"))?;
            make_room(folder, &Note { corpus, config: config.clone() })?;
            folder.as_path()
        }
        None => {
            temporary = tempfile::tempdir().context("there is no room for the index")?;
            temporary.path()
        }
    };
    let start = Instant::now();
    let index = match Index::open(folder) {
        Ok(index) => index,
        Err(_) => {
            let files = build(&set, folder, &config)?;
            if args.keep.is_some() {
                list_files(folder, files)?;
            }
            Index::open(folder)?
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    for doubt in set.doubtful_grades() {
        tracing::warn!("the judgements in `{}`: {doubt}", args.folder.display());
    }
    let report = evaluate(&index, &set, args.ignore_identical_ids)?;
    let mut out = BufWriter::new(output());
    if args.json {
        serde_json::to_writer(&mut out, &json_report(&report, args, seconds))?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(&report, args, seconds))?;
    }
    out.flush()?;
    Ok(())
}

/// Makes a folder ready to keep an index of this note: a finished one of another set or other settings is removed, anything
/// else is left alone and refused.
fn make_room(folder: &Path, note: &Note) -> anyhow::Result<()> {
    let path = folder.join(NOTE);
    if store::exists(&path) && store::read_json::<Note>(&path).is_ok_and(|stored| stored == *note) {
        return Ok(());
    }
    store::remove_owned(folder, KIND)?;
    store::claim(folder, KIND)?;
    Ok(store::write_json(&path, note)?)
}

/// Lists the files of a finished index in the marker of its folder, so that it can be removed for another one.
fn list_files(folder: &Path, files: Vec<IndexFile>) -> anyhow::Result<()> {
    let listed = |file: IndexFile| (file.path, OwnedFile { bytes: file.bytes, blake3: file.hash });
    let mut files: BTreeMap<String, OwnedFile> = files.into_iter().map(listed).collect();
    for name in [NOTE, "index.json"] {
        files.insert(name.to_owned(), OwnedFile::of(&folder.join(name))?);
    }
    Ok(store::mark(folder, KIND, files)?)
}

/// Shows how far the index is, and passes a request to stop on.
struct Shown {
    bar: Bar,
    stop: StopRequest,
}

impl Watch for Shown {
    fn advanced(&self, passages: u64) {
        self.bar.advance(passages);
    }

    fn stopping(&self) -> bool {
        self.stop.requested()
    }
}

/// Builds the index and gives its files, without `index.json`.
fn build(set: &Beir, folder: &Path, config: &IndexConfig) -> anyhow::Result<Vec<IndexFile>> {
    let watch = Shown { bar: Bar::new("index", 0, set.passages.len() as u64), stop: StopRequest::on_signals()? };
    let mut builder = Builder::new(set.passages.as_slice(), folder, config)?;
    builder.learn()?;
    let shards = (0..builder.num_shards()).into_par_iter().map(|shard| builder.write_shard(shard, &watch));
    let files: Vec<Vec<IndexFile>> = shards.collect::<Result<_, IndexError>>()?;
    let files: Vec<IndexFile> = files.into_iter().flatten().chain(builder.learned()?).collect();
    builder.commit(files.clone())?;
    watch.bar.finish();
    Ok(files)
}

fn json_report(report: &Report, args: &EvalArgs, seconds: f64) -> Value {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    put("mode", name_of(args.mode).into());
    if args.mode != Method::Lexical {
        put("embedder", name_of(args.embedder).into());
    }
    put("passages", report.passages.into());
    put("queries", report.queries.into());
    for (key, count) in left_out(report) {
        put(key, count.into());
    }
    put("ndcg@10", json!(report.ndcg_at_10));
    put("mrr@10", json!(report.mrr_at_10));
    for (name, values) in [("recall", &report.recall), ("full", &report.full)] {
        for at in values {
            put(&format!("{name}@{}", at.k), json!(at.value));
        }
    }
    put("queries_per_second", json!(report.queries_per_second));
    put("index_seconds", json!(seconds));
    Value::Object(all)
}

fn left_out(report: &Report) -> [(&'static str, usize); 4] {
    [
        ("queries_without_qrels", report.queries_without_qrels),
        ("queries_without_relevant", report.queries_without_relevant),
        ("qrels_without_passage", report.qrels_without_passage),
        ("qrels_without_query", report.qrels_without_query),
    ]
}

/// The report for people.
fn table(report: &Report, args: &EvalArgs, seconds: f64) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let embedder = if args.mode == Method::Lexical { String::new() } else { format!(", {}", name_of(args.embedder)) };
    let _ = writeln!(
        text,
        "{} passages, {} questions; {}{embedder}; index ready in {seconds:.1} s, {:.0} questions a second\n",
        report.passages,
        report.queries,
        name_of(args.mode),
        report.queries_per_second
    );
    let _ = writeln!(text, "nDCG@10     {:.4}", report.ndcg_at_10);
    let _ = writeln!(text, "MRR@10      {:.4}", report.mrr_at_10);
    for (name, values) in [("Recall", &report.recall), ("Full", &report.full)] {
        for at in values {
            let _ = writeln!(text, "{:<10}  {:.4}", format!("{name}@{}", at.k), at.value);
        }
    }
    let skipped: Vec<String> = left_out(report)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(cause, count)| format!("{count} {}", cause.replace('_', " ")))
        .collect();
    if !skipped.is_empty() {
        let _ = writeln!(text, "\nleft out: {}", skipped.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_begins_near_the_first_word_asked_for() {
        let text = "One two three four five six seven eight Tower nine.";
        assert_eq!(snippet(text, "the tower?"), "… four five six seven eight Tower nine.");
        assert_eq!(snippet(text, ""), text);
        assert!(snippet(&"word ".repeat(100), "").chars().count() < 170);
    }
}
