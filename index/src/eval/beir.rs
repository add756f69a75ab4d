//! Question sets in BEIR's form: `corpus.jsonl`, `queries.jsonl` and judgements.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, StoreError};
use memtrain_corpora::{Passage, json, unpack};
use serde::Deserialize;
use serde_json::Value;

/// A question set: passages, questions, and which passages answer which question.
#[derive(Clone, Debug)]
pub struct Beir {
    /// The passages, numbered in the order of the file; the number stands for the id, and every passage is an article
    /// of its own.
    pub passages: Vec<Passage>,
    /// The id of each passage.
    pub doc_ids: Vec<String>,
    /// Id and text of each question.
    pub queries: Vec<(String, String)>,
    /// Question → passage → grade.
    pub qrels: HashMap<String, HashMap<String, i64>>,
    /// Judgements of passages that the corpus lacks.
    pub qrels_without_passage: usize,
    /// Judgements of questions that the set lacks.
    pub qrels_without_query: usize,
}

/// A question set that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BeirError {
    /// A file could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the set is missing.
    #[error("`{}` is no question set: it has no {what}", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The files of which one is needed.
        what: String,
    },
    /// A line is not what it should be.
    #[error("{}:{line}: {detail}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
}

/// A line of `corpus.jsonl` or `queries.jsonl`.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "_id")]
    id: Value,
    #[serde(default)]
    title: Option<String>,
    text: String,
}

impl Beir {
    /// Reads a folder: `corpus.jsonl` with `_id`, `title` (may be missing) and `text`; `queries.jsonl` with `_id` and
    /// `text`; judgements from `qrels`, by default `qrels.tsv` or `qrels/test.tsv`. These are lines of question id,
    /// passage id and grade, separated by tabs, with or without a header; TREC's four columns are understood too. Each file may be
    /// packed, and its name then end in `.gz`, `.zst`, `.bz2` or `.xz`.
    ///
    /// # Errors
    /// A missing file, or the first line that is malformed or repeats an id.
    pub fn read(folder: &Path, qrels: Option<&Path>) -> Result<Self, BeirError> {
        let file = |name: &str| {
            let packed = ["", ".gz", ".zst", ".bz2", ".xz"].map(|ending| folder.join(format!("{name}{ending}")));
            let missing =
                || BeirError::Missing { folder: folder.to_path_buf(), what: format!("`{name}`, packed or not") };
            packed.into_iter().find(|path| store::exists(path)).ok_or_else(missing)
        };
        let (corpus, asked) = (file("corpus.jsonl")?, file("queries.jsonl")?);
        let judged = match qrels {
            Some(path) => path.to_path_buf(),
            None => file("qrels.tsv").or_else(|_| file("qrels/test.tsv")).map_err(|_| BeirError::Missing {
                folder: folder.to_path_buf(),
                what: "`qrels.tsv` and no `qrels/test.tsv`, packed or not".to_owned(),
            })?,
        };
        let (mut passages, mut doc_ids) = (Vec::new(), Vec::new());
        entries(&corpus, |id, title, text| {
            passages.push(passage(passages.len() as u64, title, text));
            doc_ids.push(id);
        })?;
        let mut queries = Vec::new();
        entries(&asked, |id, _, text| queries.push((id, text)))?;
        let mut set = Self {
            passages,
            doc_ids,
            queries,
            qrels: HashMap::new(),
            qrels_without_passage: 0,
            qrels_without_query: 0,
        };
        set.read_qrels(&judged)?;
        Ok(set)
    }

    /// What in the grades may not be meant as it is taken: a grade is a gain, higher is better, and below 0 is 0.
    ///
    /// Grades below 0 are counted. Of several grades without a 0 the best may be 1, as in Cranfield's judgements (1 is a
    /// complete answer, 4 of least interest); the numbers alone do not tell.
    pub fn doubtful_grades(&self) -> Vec<String> {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        self.qrels.values().flat_map(HashMap::values).for_each(|grade| *counts.entry(*grade).or_default() += 1);
        let mut doubts = Vec::new();
        let negative: usize = counts.range(..0).map(|(_, count)| count).sum();
        if negative > 0 {
            doubts.push(format!("{negative} judgements have a grade below 0 and count as not relevant"));
        }
        let positive: Vec<(i64, usize)> = counts.range(1..).map(|(grade, count)| (*grade, *count)).collect();
        if let ([(low, of_low), .., (high, of_high)], false) = (positive.as_slice(), counts.contains_key(&0)) {
            doubts.push(format!(
                "grades are gains: {high} ({of_high} judgements) is taken for the best and {low} ({of_low}) for the least. If \
                 {low} is the best, as in Cranfield, turn the grades round first: nDCG is wrong as it stands"
            ));
        }
        doubts
    }

    fn read_qrels(&mut self, path: &Path) -> Result<(), BeirError> {
        let known: std::collections::HashSet<&str> = self.doc_ids.iter().map(String::as_str).collect();
        let asked: std::collections::HashSet<&str> = self.queries.iter().map(|(id, _)| id.as_str()).collect();
        let (mut without_passage, mut without_query) = (0, 0);
        let mut qrels: HashMap<String, HashMap<String, i64>> = HashMap::new();
        let mut first = true;
        lines(path, |line, text| {
            let columns: Vec<&str> = if text.contains('\t') {
                text.split('\t').map(str::trim).collect()
            } else {
                text.split_whitespace().collect()
            };
            let (query, doc, grade) = match columns.as_slice() {
                [query, doc, grade] | [query, _, doc, grade] => (*query, *doc, *grade),
                other => {
                    return Err(format!(
                        "expected question id, passage id and grade, separated by tabs; found {} columns",
                        other.len()
                    ));
                }
            };
            let header = std::mem::replace(&mut first, false) && line == 1;
            let grade = match grade.parse::<f64>() {
                Ok(grade) if grade.fract() == 0.0 && grade.abs() < 1e9 => grade as i64,
                Err(_) if header => return Ok(()),
                _ => return Err(format!("the grade `{grade}` is no whole number")),
            };
            without_passage += usize::from(!known.contains(doc));
            without_query += usize::from(!asked.contains(query));
            let grades = qrels.entry(query.to_owned()).or_default();
            match grades.insert(doc.to_owned(), grade) {
                Some(other) if other != grade => {
                    Err(format!("passage `{doc}` has grade {grade} for question `{query}` and had {other} before"))
                }
                _ => Ok(()),
            }
        })?;
        self.qrels = qrels;
        (self.qrels_without_passage, self.qrels_without_query) = (without_passage, without_query);
        Ok(())
    }
}

/// The lines of a file that are not blank, with their numbers from 1.
fn lines(path: &Path, mut each: impl FnMut(usize, &str) -> Result<(), String>) -> Result<(), BeirError> {
    for (text, line) in store::lines(unpack::open(path)?).zip(1..) {
        let at = |detail: String| BeirError::Line { path: path.to_path_buf(), line, detail };
        let text = text.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => at(error.to_string()),
            _ => StoreError::io("read", path, error).into(),
        })?;
        if !text.trim().is_empty() {
            each(line, &text).map_err(at)?;
        }
    }
    Ok(())
}

fn entries(path: &Path, mut each: impl FnMut(String, String, String)) -> Result<(), BeirError> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    lines(path, |line, text| {
        let entry = json::object(text).and_then(|object| serde_json::from_value(object.into()));
        let entry: Entry = entry.map_err(|error| {
            format!("expected a JSON object with `_id` and `text`: {}", error.to_string().replace(" at line 1", ""))
        })?;
        let id = match entry.id {
            Value::String(id) => id,
            Value::Number(id) => json::whole(&id),
            other => return Err(format!("`_id` is {other}, expected a string")),
        };
        if let Some(before) = seen.insert(id.clone(), line) {
            return Err(format!("`_id` {id:?} stands in line {before} already"));
        }
        each(id, entry.title.unwrap_or_default(), entry.text);
        Ok(())
    })
}

fn passage(id: u64, title: String, text: String) -> Passage {
    let span = 0..text.len();
    let num_words = u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX);
    let (url, section, links) = (String::new(), String::new(), Vec::new());
    Passage { id, article_id: id, url, title, section, text, span, num_words, char_start: 0, revision_id: 0, links }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_that_may_be_meant_otherwise_are_said() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        store::write_atomic(&folder.path().join("corpus.jsonl"), "{\"_id\": \"a\", \"text\": \"The Lorn floods.\"}\n")?;
        store::write_atomic(
            &folder.path().join("queries.jsonl"),
            "{\"_id\": \"q\", \"text\": \"Which river floods?\"}\n",
        )?;
        let doubts = |grades: &[i64]| -> Result<String, Box<dyn std::error::Error>> {
            let lines: Vec<String> =
                grades.iter().enumerate().map(|(at, grade)| format!("q\td{at}\t{grade}\n")).collect();
            store::write_atomic(&folder.path().join("qrels.tsv"), lines.concat())?;
            Ok(Beir::read(folder.path(), None)?.doubtful_grades().join("; "))
        };
        for fine in [&[1, 1][..], &[0, 1, 2], &[0, 0, 1], &[2]] {
            assert_eq!(doubts(fine)?, "", "{fine:?}");
        }
        let inverted = doubts(&[1, 2, 4, 4])?;
        assert!(inverted.contains("4 (2 judgements)") && inverted.contains("1 (1)"), "{inverted}");
        let negative = doubts(&[-1, -1, 0, 1, 2])?;
        assert!(negative.starts_with("2 judgements have a grade below 0") && !negative.contains(';'), "{negative}");
        let both = doubts(&[-1, 1, 2])?;
        assert!(both.contains("below 0") && both.contains("Cranfield"), "{both}");
        Ok(())
    }
}
