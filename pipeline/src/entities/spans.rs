//! Mentions that another recognizer has found, from a file of JSON lines.
//!
//! A line is a passage: `{"passage_id": 7, "entities": [{"start": 0, "end": 9, "label": "PERSON"}]}`. Ids are those of the table of
//! passages and rise from line to line; a passage without a line has no mentions. `start` and `end` are Unicode scalars of the
//! passage's text, so that `text[start:end]` is the mention in Python. Labels are OntoNotes' ([`EntityLabel`]) or those that other
//! sets have for the same kinds (`PER`, `LOC` …); any other counts as `UNK`. Further keys are ignored.
//!
//! Spans that are empty or outside of the text are left out, as are those that overlap a longer one; both are counted. A line that
//! is something else, ids that do not rise and passages that the corpus does not have end the stage: the file is another corpus's.
//! Memory does not grow with the file: the plan says where the lines of each shard begin.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use memtrain_corpora::json::problem;
use memtrain_corpora::store::{self, MAX_LINE_BYTES, ScalarIndex};
use memtrain_corpora::{Entity, EntityLabel, EntitySource, Passage, Span};
use serde::{Deserialize, Serialize};

use super::backend::{Backend, ModelSource};
use super::evaluation::label_of;
use crate::error::{PipelineError, Result};
use crate::stage::{Input, ShardOutput};

/// A file of what another recognizer has found.
pub(super) const BACKEND: Backend = Backend {
    about: None,
    model: ModelSource::None,
    check: |config| match config.spans.is_empty() {
        true => Err(PipelineError::Config {
            key: "corpus.entities.spans",
            problem: "is empty: the back-end `spans` needs a file of spans".into(),
        }),
        false => Ok(()),
    },
    inputs: |config| Ok(vec![Input::of(Path::new(&config.spans), "spans".to_owned())?]),
    open: |_, _| {
        Err(PipelineError::Config {
            key: "entities.backend",
            problem: "is `spans`: the file has the mentions of the corpus's passages, and of no other text".into(),
        })
    },
};

/// Where a line begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// Bytes before it.
    byte: u64,
    /// Lines before it.
    line: u64,
}

#[derive(Deserialize)]
struct FoundSpan {
    start: u32,
    end: u32,
    label: String,
}

#[derive(Deserialize)]
struct PassageSpans {
    passage_id: u64,
    entities: Vec<FoundSpan>,
}

/// What of a line the plan needs: the rest is skipped.
#[derive(Deserialize)]
struct PassageId {
    passage_id: u64,
}

/// The lines of a file from a place on.
struct Lines {
    path: PathBuf,
    reader: BufReader<std::fs::File>,
    /// Where the next line begins.
    place: Place,
    bytes: Vec<u8>,
}

impl Lines {
    fn open(path: &Path, place: Place) -> Result<Self> {
        let mut file = store::open(path)?;
        let seek = file.seek(SeekFrom::Start(place.byte));
        let lines = Self { path: path.to_path_buf(), reader: BufReader::new(file), place, bytes: Vec::new() };
        seek.map_err(|error| lines.refuse(error.to_string()))?;
        Ok(lines)
    }

    /// Reads a line; false at the end.
    fn advance(&mut self) -> Result<bool> {
        self.bytes.clear();
        let read = self.reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.bytes);
        let read = read.map_err(|error| self.refuse(error.to_string()))? as u64;
        if read == MAX_LINE_BYTES && self.bytes.last() != Some(&b'\n') {
            return Err(self.refuse(format!("longer than {} MiB", MAX_LINE_BYTES >> 20)));
        }
        self.place = Place { byte: self.place.byte + read, line: self.place.line + u64::from(read > 0) };
        Ok(read > 0)
    }

    /// The line that was read last; nothing of a blank one.
    fn parse<'l, T: Deserialize<'l>>(&'l self) -> Result<Option<T>> {
        if self.bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        let told = |error| self.refuse(problem(&error, &String::from_utf8_lossy(&self.bytes)));
        serde_json::from_slice(&self.bytes).map(Some).map_err(told)
    }

    fn refuse(&self, detail: String) -> PipelineError {
        PipelineError::Spans { path: self.path.clone(), line: self.place.line.max(1), detail }
    }
}

/// Where the lines of each shard begin, by the shards' first passages, which rise. Reads the whole file, of each line only whose it is.
pub(super) fn places(path: &Path, first_passages: &[u64], num_passages: u64) -> Result<Vec<Place>> {
    let mut lines = Lines::open(path, Place::default())?;
    let mut places = Vec::with_capacity(first_passages.len());
    let mut last = None;
    loop {
        let before = lines.place;
        if !lines.advance()? {
            places.resize(first_passages.len(), before);
            return Ok(places);
        }
        let Some(PassageId { passage_id }) = lines.parse()? else { continue };
        if last.is_some_and(|last| passage_id <= last) {
            return Err(lines.refuse(format!("passage {passage_id} comes after passage {}", last.unwrap_or_default())));
        }
        if passage_id >= num_passages {
            return Err(lines.refuse(format!("passage {passage_id}, and the corpus has {num_passages} passages")));
        }
        last = Some(passage_id);
        while first_passages.get(places.len()).is_some_and(|first| *first <= passage_id) {
            places.push(before);
        }
    }
}

/// Mentions of passages that are asked for in order.
pub(super) struct SpanReader {
    lines: Lines,
    /// A line that is further on.
    ahead: Option<PassageSpans>,
}

impl SpanReader {
    pub(super) fn open(path: &Path, place: Place) -> Result<Self> {
        Ok(Self { lines: Lines::open(path, place)?, ahead: None })
    }

    /// The mentions of a passage; counts what is left out.
    pub(super) fn of(&mut self, passage: &Passage, output: &mut ShardOutput) -> Result<Vec<Entity>> {
        while self.ahead.as_ref().is_none_or(|ahead| ahead.passage_id < passage.id) {
            if !self.lines.advance()? {
                return Ok(Vec::new());
            }
            self.ahead = self.lines.parse()?.or(self.ahead.take());
        }
        let Some(found) = self.ahead.take_if(|ahead| ahead.passage_id == passage.id) else { return Ok(Vec::new()) };
        let index = ScalarIndex::new(&passage.text);
        let within = |span: &FoundSpan| index.to_bytes(span.start, span.end).filter(|bytes| !bytes.is_empty());
        let mut spans: Vec<(Span, &str)> =
            found.entities.iter().filter_map(|span| Some((within(span)?, span.label.as_str()))).collect();
        output.count("spans_empty_or_outside", (found.entities.len() - spans.len()) as u64);
        let all = spans.len();
        // Mentions have copies of their text, which all together are no longer than the passage once none is in another.
        keep_longest(&mut spans);
        output.count("spans_overlapping", (all - spans.len()) as u64);
        let entity = |(bytes, label): (Span, &str)| {
            let link = passage.links.iter().find(|link| link.span == bytes).map(|link| link.target.clone());
            let label = label_of(label).unwrap_or(EntityLabel::Unknown);
            Entity::new(&index, bytes, label, EntitySource::Model, link)
        };
        let kept = spans.into_iter().filter_map(entity).collect();
        Ok(kept)
    }
}

/// Leaves out spans that overlap a longer one, or one of the same length before it; what is left is in order.
fn keep_longest(spans: &mut Vec<(Span, &str)>) {
    spans.sort_by_key(|(span, _)| (Reverse(span.len()), span.start));
    let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
    spans.retain(|(span, _)| {
        let is_free = ends.range(..span.end).next_back().is_none_or(|(_, end)| *end <= span.start);
        is_free && ends.insert(span.start, span.end).is_none()
    });
    spans.sort_by_key(|(span, _)| span.start);
}
