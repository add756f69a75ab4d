//! `memtrain entities`: who and what is mentioned in a text, and how well that is found.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use memtrain_corpora::{Entity, EntityLabel, store, unpack};
use memtrain_pipeline::config::EntitiesConfig;
use memtrain_pipeline::entities::conll::Conll;
use memtrain_pipeline::entities::evaluation::{Mapping, Report, Score, evaluate};
use memtrain_pipeline::entities::{BackendName, EntityBackend, open_backend, tag_text};
use memtrain_pipeline::{PipelineError, StageName};
use memtrain_session::models;
use serde::Serialize;

use super::choice::choices;
use super::configuration::ConfigArgs;
use super::failure::{FolderKind, Usage, WithHint};
use super::print::{output, print_line};
use super::progress::CorpusProgress;
use crate::run::signal::StopRequest;

/// Arguments of `memtrain entities`.
#[derive(Debug, Args)]
pub struct EntitiesArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Find the entities of a text on standard input: one JSON object a line, or a table
    Tag(TagArgs),
    /// Compare a back-end with gold tags: precision, recall and F1 of exact spans
    Eval(EvalArgs),
    /// Make the entities table of a corpus from what another recognizer has found in its passages (JSON lines of spans)
    Import(ImportArgs),
}

/// The back-ends that can be typed.
fn backends() -> Vec<(&'static str, &'static str)> {
    BackendName::ALL.into_iter().filter_map(|backend| Some((backend.as_str(), backend.about()?))).collect()
}

/// What finds the entities.
#[derive(Debug, Args)]
pub struct BackendArgs {
    /// The back-end
    #[arg(long, default_value = "links", value_parser = choices::<BackendName>(&backends()))]
    pub backend: BackendName,
    /// Corpus whose titles, redirects and anchors are known to `links`
    #[arg(long, value_name = "DIR")]
    pub corpus: Option<PathBuf>,
    /// Model of `bert` and `rust-bert`: a directory, or a name of the Hugging Face hub
    #[arg(long, value_name = "DIR")]
    pub model: Option<String>,
    /// Language of the text (`en`, `vi` …); without it, that of the corpus, else as the text looks
    #[arg(long, value_name = "CODE")]
    pub language: Option<String>,
}

/// Arguments of `memtrain entities tag`.
#[derive(Debug, Args)]
pub struct TagArgs {
    /// The back-end
    #[command(flatten)]
    pub backend: BackendArgs,
    /// How entities are printed
    #[arg(long, value_enum, default_value = "json")]
    pub format: Format,
}

/// How entities are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Json,
    /// char_start, char_end, label, source, text, target apart by tabs, with a header
    Tsv,
}

/// Arguments of `memtrain entities eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// File of tagged tokens (CoNLL columns: token first, tag last), packed or not, or `-` for standard input
    pub file: PathBuf,
    /// The back-end
    #[command(flatten)]
    pub backend: BackendArgs,
    /// Count a label of the back-end as one of the gold, for example `NORP=MISC`; `NORP=` leaves it out; repeatable
    #[arg(long, value_name = "LABEL=GOLD")]
    pub map: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Also list every mention that is wrong or missing
    #[arg(long)]
    pub mistakes: bool,
}

/// Arguments of `memtrain entities import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Configuration of the corpus, whose passages must be there
    #[command(flatten)]
    pub config: ConfigArgs,
    /// File of spans: `{"passage_id": 7, "entities": [{"start": 0, "end": 9, "label": "PERSON"}]}` a line
    #[arg(long, value_name = "FILE")]
    pub spans: PathBuf,
}

impl BackendArgs {
    fn open(&self) -> anyhow::Result<Box<dyn EntityBackend>> {
        let mut config = EntitiesConfig {
            backend: self.backend,
            model: self.model.clone().unwrap_or_default(),
            language: self.language.clone().unwrap_or_default(),
            ..EntitiesConfig::default()
        };
        if let Some(code) = &self.language {
            super::wikitext::warn_of_unknown_language(code);
        }
        if let Some(corpus) = self.corpus.as_deref().filter(|corpus| FolderKind::of(corpus) != Some(FolderKind::Corpus))
        {
            return Err(PipelineError::NoCorpus { path: corpus.to_path_buf() }.into());
        }
        models::place_recognizer(&mut config)?;
        Ok(open_backend(&config, self.corpus.as_deref())?)
    }
}

/// Runs an entity command.
///
/// # Errors
/// If the back-end cannot be opened or fails, or the input is not what it should be.
pub fn run(args: &EntitiesArgs) -> anyhow::Result<()> {
    match &args.action {
        Action::Tag(args) => tag(args),
        Action::Eval(args) => eval(args),
        Action::Import(args) => import(args),
    }
}

fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let mut config = args.config.load()?;
    let entities = &mut config.corpus.entities;
    entities.backend = BackendName::Spans;
    entities.spans = args.spans.to_str().context("the path of the file is not UTF-8")?.to_owned();
    let progress = CorpusProgress::new(StopRequest::on_signals()?);
    let stage = memtrain_pipeline::build_one(&config.corpus, &config.run.corpus, StageName::Entities, &progress)?;
    print_line!("{}", super::progress::stage_line(&stage))?;
    tracing::info!(
        "`corpus build` keeps this table with `[corpus.entities] backend = \"spans\", spans = {:?}` in the configuration",
        config.corpus.entities.spans
    );
    Ok(())
}

/// An entity as it is printed.
#[derive(Serialize)]
struct Line<'e> {
    char_start: u32,
    char_end: u32,
    text: &'e str,
    label: &'static str,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'e str>,
}

impl<'e> Line<'e> {
    fn new(entity: &'e Entity) -> Self {
        let length = entity.surface.chars().count();
        Self {
            char_start: entity.char_start,
            char_end: entity.char_start.saturating_add(u32::try_from(length).unwrap_or(u32::MAX)),
            text: &entity.surface,
            label: entity.label.as_str(),
            source: entity.source.as_str(),
            target: entity.target.as_deref(),
        }
    }
}

fn tag(args: &TagArgs) -> anyhow::Result<()> {
    let backend = args.backend.open()?;
    let text = read_stdin()?;
    let entities = tag_text(&*backend, &text)?;
    let mut out = BufWriter::new(output());
    if args.format == Format::Tsv {
        writeln!(out, "char_start\tchar_end\tlabel\tsource\ttext\ttarget")?;
    }
    for entity in &entities {
        let line = Line::new(entity);
        match args.format {
            Format::Json => {
                serde_json::to_writer(&mut out, &line)?;
                writeln!(out)?;
            }
            Format::Tsv => {
                let flat = line.text.replace(['\t', '\n', '\r'], " ");
                let target = line.target.unwrap_or_default();
                let (start, end) = (line.char_start, line.char_end);
                writeln!(out, "{start}\t{end}\t{}\t{}\t{flat}\t{target}", line.label, line.source)?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn read_stdin() -> anyhow::Result<String> {
    let bytes = store::read_stream(Path::new("stdin"), io::stdin().lock(), store::MAX_READ_BYTES)?;
    let utf8 = |bytes| String::from_utf8(bytes).context("standard input is not UTF-8");
    utf8(bytes).hint(|| "convert it first, for example with `iconv -f LATIN1 -t UTF-8`".to_owned())
}

fn eval(args: &EvalArgs) -> anyhow::Result<()> {
    let text = match args.file.as_path() {
        stdin if stdin == Path::new("-") => read_stdin()?,
        file => unpack::read_to_string(file, store::MAX_READ_BYTES)?,
    };
    let name = args.file.display();
    let gold = Conll::parse(&text).with_context(|| format!("`{name}` is no file of tagged tokens")).hint(|| {
        "expected CoNLL columns: the token first, or behind its number; its tag last; sentences apart by blank lines"
            .to_owned()
    })?;
    let mut mapping = Mapping::for_labels(gold.labels().into_keys());
    for pair in &args.map {
        let (label, target) = pair
            .split_once('=')
            .ok_or_else(|| Usage(format!("`--map {pair}` has no `=`")))
            .hint(|| "write `--map NORP=MISC`, or `--map NORP=` to leave it out".to_owned())?;
        let known = EntityLabel::from_name(label)
            .ok_or_else(|| Usage(format!("`--map {pair}`: no back-end has a label `{label}`")))
            .hint(|| format!("labels are {}", EntityLabel::ALL.map(EntityLabel::as_str).join(", ")))?;
        mapping.set(known, Some(target).filter(|target| !target.is_empty()))?;
    }
    let backend = args.backend.open()?;
    let mut report = evaluate(&gold, &*backend, &mapping)?;
    let is_counted = report.mapping.iter().any(|(_, row)| row.is_some());
    if !is_counted && !report.unmapped.is_empty() {
        let labels: Vec<&str> = report.unmapped.iter().map(String::as_str).take(8).collect();
        return Err(anyhow::anyhow!(
            "no label of the back-end counts as one of `{name}`, which has {}",
            labels.join(", ")
        ))
        .hint(|| {
            "the tag is the last column of each line; `--map PERSON=PER` counts a label as one of the file".to_owned()
        });
    }
    if !args.mistakes {
        report.mistakes.clear();
    }
    let mut out = BufWriter::new(output());
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(&report, &name.to_string()))?;
    }
    out.flush()?;
    Ok(())
}

/// The report for people.
fn table(report: &Report, file: &str) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{file}: {} documents, {} sentences, {} tokens, {} tags; back-end {}",
        report.documents,
        report.sentences,
        report.tokens,
        report.scheme.as_str(),
        report.backend
    );
    let mut by_row: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut left_out = Vec::new();
    for (label, row) in &report.mapping {
        match row {
            None => left_out.push(*label),
            Some(row) => match by_row.iter_mut().find(|(known, _)| known == row) {
                Some((_, labels)) => labels.push(label),
                None => by_row.push((row, vec![label])),
            },
        }
    }
    by_row.sort_unstable();
    let counted: Vec<String> = by_row.iter().map(|(row, labels)| format!("{row} = {}", labels.join(", "))).collect();
    let _ = writeln!(text, "counted as: {}", counted.join("; "));
    let _ = writeln!(text, "left out:   {}", left_out.join(", "));
    if !report.unmapped.is_empty() {
        let _ = writeln!(text, "no label of the back-end counts as: {}", report.unmapped.join(", "));
    }
    let rows = report.labels.iter().map(|row| (row.label.as_str(), &row.score));
    let sums = [("micro average", &report.micro), ("macro average", &report.macro_average)];
    let all: Vec<(&str, &Score)> = rows.chain(sums).chain([("boundaries alone", &report.boundaries)]).collect();
    let width = all.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let _ = writeln!(text, "\n{:width$}  precision  recall      F1  support  found  correct", "");
    for (name, score) in all {
        let _ = writeln!(
            text,
            "{name:width$}     {:.4}  {:.4}  {:.4}  {:>7}  {:>5}  {:>7}",
            score.precision, score.recall, score.f1, score.support, score.predicted, score.correct
        );
    }
    if !report.mistakes.is_empty() {
        let _ = writeln!(text, "\nsentence\tgold\tfound\ttext");
    }
    for mistake in &report.mistakes {
        let (gold, found) = (mistake.gold.as_deref().unwrap_or("-"), mistake.found.unwrap_or("-"));
        let _ = writeln!(text, "{}\t{gold}\t{found}\t{}", mistake.sentence, mistake.text);
    }
    text
}
