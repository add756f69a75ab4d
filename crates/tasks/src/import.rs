//! Question sets of others, turned into tasks.
//!
//! A set is one file: a JSON array, one JSON object, JSON lines, or a Parquet table with the same fields. [`Format`] says
//! which layouts are known; [`import`] finds out by itself which one a file has. A row that cannot be used is left out,
//! counted by cause, and named; nothing is left out without a word.

mod conversations;
pub(super) mod fields;
mod open;
mod paragraphs;
mod rows;
mod squad;
mod streams;

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::io::Read;
use std::path::Path;

use memtrain_corpora::store::{self, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::rows::{Place, Rows};
use super::{METRIC, Task, TaskError, lines};

/// The layouts that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// HotpotQA (arXiv 1809.09600): `context` of titles and sentences, `supporting_facts`.
    Hotpotqa,
    /// 2WikiMultihopQA (arXiv 2011.01060): HotpotQA's layout with `evidences`.
    #[serde(rename = "2wiki")]
    TwoWiki,
    /// MuSiQue (arXiv 2108.00573): `paragraphs` with `is_supporting`.
    Musique,
    /// SQuAD 1 and 2 (arXiv 1606.05250, 1806.03822): articles, paragraphs, `qas`; or one question a row.
    Squad,
    /// Questions without context: NQ-open, TriviaQA, PopQA, Bamboogle …: `question` with `answer` or `golden_answers`.
    Open,
    /// KILT (arXiv 2009.02252): `input`, and `output` with answers and where they stand in Wikipedia.
    Kilt,
    /// Long contexts: RULER (arXiv 2404.06654) with `input` and `outputs`, MemAgent's `context`, `input`, `answers`.
    Ruler,
    /// Mem-α (arXiv 2509.25911): `chunks` and `questions_and_answers`.
    Memalpha,
    /// LoCoMo (arXiv 2402.17753): a `conversation` of sessions and `qa`.
    Locomo,
    /// LongMemEval (arXiv 2410.10813): `haystack_sessions` and a question.
    Longmemeval,
    /// verl's rows, as MemAgent is trained on: `prompt`, `context`, `reward_model`.
    Verl,
    /// A task table.
    Memtrain,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Hotpotqa,
        Self::TwoWiki,
        Self::Musique,
        Self::Squad,
        Self::Open,
        Self::Kilt,
        Self::Ruler,
        Self::Memalpha,
        Self::Locomo,
        Self::Longmemeval,
        Self::Verl,
        Self::Memtrain,
    ];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hotpotqa => "hotpotqa",
            Self::TwoWiki => "2wiki",
            Self::Musique => "musique",
            Self::Squad => "squad",
            Self::Open => "open",
            Self::Kilt => "kilt",
            Self::Ruler => "ruler",
            Self::Memalpha => "memalpha",
            Self::Locomo => "locomo",
            Self::Longmemeval => "longmemeval",
            Self::Verl => "verl",
            Self::Memtrain => "memtrain",
        }
    }

    /// The names of all.
    pub fn names() -> [&'static str; 12] {
        Self::ALL.map(Self::as_str)
    }

    /// The format of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// The format that a row has by its keys.
    fn of(row: &Map<String, Value>) -> Option<Self> {
        let has = |key: &str| row.get(key).is_some_and(|value| !value.is_null());
        let any = |keys: &[&str]| keys.iter().any(|key| has(key));
        if has("version") && has("questions") && has("kind") {
            Some(Self::Memtrain)
        } else if conversations::is_locomo(row) {
            Some(Self::Locomo)
        } else if has("haystack_sessions") {
            Some(Self::Longmemeval)
        } else if has("chunks") {
            Some(Self::Memalpha)
        } else if has("reward_model") && has("prompt") {
            Some(Self::Verl)
        } else if has("supporting_facts") && has("context") {
            Some(if any(&["evidences", "evidences_id", "entity_ids", "answer_id"]) {
                Self::TwoWiki
            } else {
                Self::Hotpotqa
            })
        } else if has("paragraphs") && !has("data") && any(&["question", "answer"]) {
            Some(Self::Musique)
        } else if row.get("data").is_some_and(Value::is_array)
            || has("context") && row.get("answers").is_some_and(Value::is_object)
        {
            Some(Self::Squad)
        } else if open::is_kilt(row) {
            Some(Self::Kilt)
        } else if row.get("context").is_some_and(|context| context.is_array() || context.is_object()) && has("question")
        {
            Some(Self::Hotpotqa)
        } else if has("outputs") || has("context") && any(&["question", "input", "query"]) {
            Some(Self::Ruler)
        } else if any(&open::QUESTIONS) && (any(&open::ANSWERS) || has("QuestionId")) {
            Some(Self::Open)
        } else {
            None
        }
    }
}

/// Why a row is left out.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its kind, under which it is counted.
    pub(crate) cause: &'static str,
    /// The row's own story; empty where the cause says it all.
    pub(crate) detail: String,
}

impl Refused {
    pub(crate) fn new(cause: &'static str, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

/// Takes what became of a row, one by one: tasks, or reasons why not.
type Sink<'a> = dyn FnMut(Result<Task, Refused>) -> Result<(), TaskError> + 'a;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The layout.
    pub format: String,
    /// Rows of the file (of SQuAD: articles).
    pub rows: u64,
    /// Tasks that came of them.
    pub tasks: u64,
    /// Their questions.
    pub questions: u64,
    /// What was left out, by cause.
    pub left_out: BTreeMap<String, u64>,
    /// The first of what was left out, with their places.
    pub examples: Vec<String>,
}

/// Examples of what was left out that are kept.
const EXAMPLES: usize = 10;

impl ImportReport {
    fn leave_out(&mut self, place: &Place, refused: &Refused) {
        *self.left_out.entry(refused.cause.to_owned()).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            // What is wrong with a row may quote it.
            let detail: String = refused.detail.chars().take(200).collect();
            let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
            self.examples.push(format!("{place}: {}{detail}", refused.cause));
        }
    }
}

/// What the contexts of all tasks may come to, beside what the file has, …
const FREE_BYTES: u64 = 256 << 20;
/// … as a multiple of it. A paragraph of SQuAD goes with each of its questions, some five.
const MAX_RATE: u64 = 200;

fn too_much(path: &Path) -> TaskError {
    let detail = format!(
        "it repeats its contexts too often: those of its questions come to more than {MAX_RATE} times the file"
    );
    StoreError::Unreadable { path: path.to_path_buf(), detail }.into()
}

/// What an import needs to know.
#[derive(Clone, Debug, Default)]
pub struct ImportConfig {
    /// The layout; found out where it is not given.
    pub format: Option<Format>,
    /// Name of the set in the tasks; the layout's where it is not given.
    pub source: Option<String>,
    /// [`METRIC`] of all tasks, where the set does not say one.
    pub metric: Option<String>,
}

/// Reads a set and hands over its tasks in order.
///
/// # Errors
/// If the file cannot be read or nobody knows what it is, and what `sink` fails with.
pub fn import(
    path: &Path,
    config: &ImportConfig,
    mut sink: impl FnMut(Task) -> Result<(), TaskError>,
) -> Result<ImportReport, TaskError> {
    let mut report = ImportReport::default();
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut format = config.format;
    let rows = Rows::open(path)?;
    let mut left = FREE_BYTES.saturating_add(rows.bytes(path)?.saturating_mul(MAX_RATE));
    rows.each(path, |place, row| {
        report.rows += 1;
        let row = match row {
            Ok(row) => row,
            Err(detail) => {
                report.leave_out(&place, &Refused::new("no JSON object", detail));
                return Ok(());
            }
        };
        let known = match format.or_else(|| Format::of(&row)) {
            Some(known) => *format.insert(known),
            None => return Err(unknown(path, &row)),
        };
        let source = config.source.as_deref().unwrap_or(known.as_str());
        convert(known, row, source, &place, &mut |task| match task.and_then(|task| checked(task, &place, &mut seen)) {
            Ok(mut task) => {
                if let Some(metric) = &config.metric {
                    task.extra.entry(METRIC).or_insert_with(|| metric.as_str().into());
                }
                let context = task.passages.iter().map(|passage| passage.text.len() as u64).sum();
                left = left.checked_sub(context).ok_or_else(|| too_much(path))?;
                report.tasks += 1;
                report.questions += task.questions.len() as u64;
                sink(task)
            }
            Err(refused) => {
                report.leave_out(&place, &refused);
                Ok(())
            }
        })
    })?;
    report.format = format.map_or_else(String::new, |format| format.as_str().to_owned());
    Ok(report)
}

/// Sees to it that the task is one, and that no other has its id. Ids may begin anew within a file, which is put together of several:
/// another question gets one of its row's place.
fn checked(mut task: Task, place: &Place, seen: &mut HashMap<String, String>) -> Result<Task, Refused> {
    task.check().map_err(|detail| Refused::new("no task", detail))?;
    let contents = store::hash_bytes(format!("{:?}{:?}", task.questions, task.passages).as_bytes());
    if seen.get(&task.id).is_some_and(|other| *other != contents) {
        task.id = place.id(&task.id);
    }
    match seen.entry(task.id.clone()) {
        Entry::Occupied(_) => Err(Refused::new("an id that stood before", task.id)),
        Entry::Vacant(free) => {
            free.insert(contents);
            Ok(task)
        }
    }
}

fn unknown(path: &Path, row: &Map<String, Value>) -> TaskError {
    let keys: Vec<String> = row.keys().take(12).map(|key| format!("`{key}`")).collect();
    let detail = format!("its first row has the keys {}", keys.join(", "));
    TaskError::Unknown { path: path.to_path_buf(), detail }
}

fn convert(
    format: Format,
    row: Map<String, Value>,
    source: &str,
    place: &Place,
    task: &mut Sink<'_>,
) -> Result<(), TaskError> {
    let fallback = place.id(source);
    task(match format {
        Format::Hotpotqa | Format::TwoWiki => paragraphs::hotpotqa(&row, source, &fallback),
        Format::Musique => paragraphs::musique(&row, source, &fallback),
        Format::Squad => return squad::article_or_row(&row, source, &fallback, task),
        Format::Open => open::question_row(&row, source, &fallback),
        Format::Kilt => open::kilt(&row, source, &fallback),
        Format::Ruler => streams::ruler(&row, source, &fallback),
        Format::Memalpha => streams::memalpha(&row, source, &fallback),
        Format::Locomo => return conversations::locomo(&row, source, &fallback, task),
        Format::Longmemeval => conversations::longmemeval(&row, source, &fallback),
        Format::Verl => streams::verl(&row, source, &fallback),
        Format::Memtrain => lines::parse(row).map_err(|detail| Refused::new("no task", detail)),
    })
}

/// Whether a file begins as Parquet does.
pub(super) fn is_parquet(path: &Path) -> Result<bool, StoreError> {
    let mut first = Vec::with_capacity(4);
    let read = store::open(path)?.take(4).read_to_end(&mut first);
    read.map_err(|source| StoreError::Io { action: "read", path: path.to_path_buf(), source })?;
    Ok(first == b"PAR1")
}

#[cfg(test)]
mod tests;
