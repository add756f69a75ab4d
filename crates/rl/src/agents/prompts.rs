//! Prompt templates: files with the fields `{problem}`, `{memory}` and `{section}`.
//!
//! Two sets are built in: `standard` for instruction-tuned models and `compact`, a few words, for tiny ones. Anything
//! else is a folder with the same files, so that the papers' own prompts can be dropped in; those of the other layout may be
//! missing, and so may `empty.txt`, what the memory reads before the first chunk. A set is identified by the hash of its
//! files, which every run manifest records.

use std::path::Path;

use memtrain_corpora::store::{self, StoreError};
use memtrain_model::policy::PromptText;
use serde::{Deserialize, Serialize};

/// The built-in sets: their texts in the order of [`FILES`].
const BUILT_IN: [(&str, [&str; 7]); 2] = [
    (
        "standard",
        [
            include_str!("../../../../configs/prompts/standard/problem.txt"),
            include_str!("../../../../configs/prompts/standard/answer.txt"),
            include_str!("../../../../configs/prompts/standard/memory.txt"),
            include_str!("../../../../configs/prompts/standard/recall.txt"),
            include_str!("../../../../configs/prompts/standard/memory.chunk-first.txt"),
            include_str!("../../../../configs/prompts/standard/recall.chunk-first.txt"),
            include_str!("../../../../configs/prompts/standard/empty.txt"),
        ],
    ),
    (
        "compact",
        [
            include_str!("../../../../configs/prompts/compact/problem.txt"),
            include_str!("../../../../configs/prompts/compact/answer.txt"),
            include_str!("../../../../configs/prompts/compact/memory.txt"),
            include_str!("../../../../configs/prompts/compact/recall.txt"),
            include_str!("../../../../configs/prompts/compact/memory.chunk-first.txt"),
            include_str!("../../../../configs/prompts/compact/recall.chunk-first.txt"),
            include_str!("../../../../configs/prompts/compact/empty.txt"),
        ],
    ),
];
/// A set's files. The memory and recall turns have one for each layout.
const FILES: [&str; 7] = [
    "problem.txt",
    "answer.txt",
    "memory.txt",
    "recall.txt",
    "memory.chunk-first.txt",
    "recall.chunk-first.txt",
    "empty.txt",
];

/// What stands first in a prompt that shows both a memory and a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptLayout {
    /// The memory, as in MemTrain §4.1 and MemAgent.
    #[default]
    MemoryFirst,
    /// The chunk: all readings of a document then have instructions and chunk in common, which are computed once, in
    /// drawing and in training.
    ChunkFirst,
}

impl PromptLayout {
    /// The files of a set that this layout needs: problem, memory, answer, recall.
    fn files(self) -> [&'static str; 4] {
        match self {
            Self::MemoryFirst => [FILES[0], FILES[2], FILES[1], FILES[3]],
            Self::ChunkFirst => [FILES[0], FILES[4], FILES[1], FILES[5]],
        }
    }
}

/// How the agent is spoken to: keys `[reader.prompt]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptConfig {
    /// What stands first.
    pub layout: PromptLayout,
}

/// What a memory without content reads where a prompt set says nothing else.
pub const EMPTY_MEMORY: &str = "empty";

/// Why a prompt set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A file of the set could not be read.
    #[error("the prompt set `{set}` cannot be read")]
    Unreadable {
        /// The set as it was named.
        set: String,
        /// What went wrong.
        source: StoreError,
    },
    /// A template lacks a field without which the method makes no sense.
    #[error("the template `{file}` of the prompt set `{set}` has no field `{field}`")]
    MissingField {
        /// The set as it was named.
        set: String,
        /// File of the set.
        file: &'static str,
        /// The field that is not there.
        field: &'static str,
    },
    /// A template of the chunk-first layout with the memory first: nothing would be shared.
    #[error(
        "the template `{file}` of the prompt set `{set}` shows the memory before the section: the layout `chunk-first` wants `{{section}}` first"
    )]
    MemoryComesFirst {
        /// The set as it was named.
        set: String,
        /// File of the set.
        file: &'static str,
    },
}

/// The texts of a prompt set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptSet {
    /// The question of end-to-end reconstruction.
    pub problem: String,
    /// What the memory reads before the first chunk.
    pub empty: String,
    memory: String,
    answer: String,
    recall: String,
}

impl PromptSet {
    /// Loads a set: `standard`, `compact`, or a folder.
    ///
    /// ```
    /// use memtrain_rl::agents::prompts::{PromptLayout, PromptSet};
    /// let prompts = PromptSet::load("compact", PromptLayout::MemoryFirst).unwrap();
    /// let turn = prompts.memory_turn("empty", "A section with {memory} in it.");
    /// assert!(turn.as_str().contains("A section with {memory} in it."), "inserted text is never expanded again");
    /// ```
    ///
    /// # Errors
    /// If a file of the folder is missing, or a template lacks a field.
    pub fn load(set: &str, layout: PromptLayout) -> Result<Self, PromptError> {
        let files = layout.files();
        let built_in = BUILT_IN.iter().find(|(name, _)| *name == set);
        let read = |file: &str| {
            let text = match built_in {
                Some((_, built_in)) => {
                    FILES.iter().zip(built_in).find(|(name, _)| **name == file).map_or("", |(_, text)| *text).to_owned()
                }
                None => store::read_to_string(&Path::new(set).join(file))
                    .map_err(|source| PromptError::Unreadable { set: set.to_owned(), source })?,
            };
            Ok::<_, PromptError>(text.trim_end_matches('\n').to_owned())
        };
        let [problem, memory, answer, recall] = [read(files[0])?, read(files[1])?, read(files[2])?, read(files[3])?];
        let says_empty = built_in.is_some() || store::exists(&Path::new(set).join(FILES[6]));
        let empty = if says_empty { read(FILES[6])? } else { EMPTY_MEMORY.to_owned() };
        for (file, text, fields) in [
            (files[1], &memory, &["{problem}", "{memory}", "{section}"][..]),
            (files[2], &answer, &["{problem}", "{memory}"]),
            (files[3], &recall, &["{memory}", "{section}"]),
        ] {
            if let Some(field) = fields.iter().find(|field| !text.contains(**field)) {
                return Err(PromptError::MissingField { set: set.to_owned(), file, field });
            }
            let wrong_order = fields.contains(&"{section}") && text.find("{memory}") < text.find("{section}");
            if layout == PromptLayout::ChunkFirst && wrong_order {
                return Err(PromptError::MemoryComesFirst { set: set.to_owned(), file });
            }
        }
        Ok(Self { problem, empty, memory, answer, recall })
    }

    /// The same prompts for another question.
    #[must_use]
    pub fn about(&self, problem: &str) -> Self {
        Self { problem: problem.to_owned(), ..self.clone() }
    }

    /// The user's words of a memory turn.
    pub fn memory_turn(&self, memory: &str, section: &str) -> PromptText {
        self.fill(&self.memory, memory, section)
    }

    /// The user's words of the answer turn.
    pub fn answer_turn(&self, memory: &str) -> PromptText {
        self.fill(&self.answer, memory, "")
    }

    /// The user's words of an intermediate-recall question.
    pub fn recall_turn(&self, memory: &str, masked_section: &str) -> PromptText {
        self.fill(&self.recall, memory, masked_section)
    }

    /// BLAKE3 hash of the four templates, and of the text of the empty memory where it is not the usual one: sets without one
    /// keep the hash that runs have recorded.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let empty = Some(&self.empty).filter(|empty| *empty != EMPTY_MEMORY);
        for text in [&self.problem, &self.memory, &self.answer, &self.recall].into_iter().chain(empty) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    fn fill(&self, template: &str, memory: &str, section: &str) -> PromptText {
        let values = [self.problem.as_str(), memory, section].map(PromptText::from);
        fill(template, &[("{problem}", &values[0]), ("{memory}", &values[1]), ("{section}", &values[2])])
    }
}

/// Replaces the fields in one pass over the template, so that braces in inserted text stay as they are. The template's words
/// are the program's own; an inserted text keeps whose it is.
pub(super) fn fill(template: &str, fields: &[(&str, &PromptText)]) -> PromptText {
    let mut filled = PromptText::default();
    let (mut rest, mut searched) = (template, 0);
    while let Some(brace) = rest[searched..].find('{').map(|at| at + searched) {
        match fields.iter().find(|(field, _)| rest[brace..].starts_with(field)) {
            Some((field, value)) => {
                filled.push(&PromptText::own(&rest[..brace]));
                filled.push(value);
                rest = &rest[brace + field.len()..];
                searched = 0;
            }
            None => searched = brace + 1,
        }
    }
    filled.push(&PromptText::own(rest));
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_sets_load_and_differ() {
        let standard = PromptSet::load("standard", PromptLayout::MemoryFirst).unwrap();
        let compact = PromptSet::load("compact", PromptLayout::MemoryFirst).unwrap();
        assert_ne!(standard.hash(), compact.hash());
        assert!(standard.answer_turn("notes").as_str().contains("\\boxed{}"), "a lone brace pair is not a field");
        assert!(standard.recall_turn("notes", "the [TARGET] section").as_str().contains("the [TARGET] section"));
    }

    #[test]
    fn a_folder_without_the_fields_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().to_str().unwrap();
        assert!(matches!(PromptSet::load(set, PromptLayout::MemoryFirst), Err(PromptError::Unreadable { .. })));
        for file in FILES {
            store::write_atomic(&folder.path().join(file), b"{problem} {memory}").unwrap();
        }
        let error = PromptSet::load(set, PromptLayout::MemoryFirst).unwrap_err();
        assert!(matches!(error, PromptError::MissingField { file: "memory.txt", field: "{section}", .. }), "{error}");
        store::write_atomic(&folder.path().join(FILES[4]), b"{problem} {memory} {section}").unwrap();
        let error = PromptSet::load(set, PromptLayout::ChunkFirst).unwrap_err();
        assert!(matches!(error, PromptError::MemoryComesFirst { file: "memory.chunk-first.txt", .. }), "{error}");
    }

    #[test]
    fn a_set_may_say_what_an_empty_memory_reads() {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().to_str().unwrap();
        let load = || PromptSet::load(set, PromptLayout::MemoryFirst).unwrap();
        for file in &FILES[..4] {
            store::write_atomic(&folder.path().join(file), b"{problem} {memory} {section}").unwrap();
        }
        let without = load();
        assert_eq!(without.empty, "empty");
        store::write_atomic(&folder.path().join("empty.txt"), b"empty\n").unwrap();
        assert_eq!(load().hash(), without.hash());
        store::write_atomic(&folder.path().join("empty.txt"), b"No notes so far.\n").unwrap();
        assert_eq!(load().empty, "No notes so far.");
        assert_ne!(load().hash(), without.hash());
    }

    #[test]
    fn readings_of_a_chunk_begin_alike_where_it_stands_first() {
        for set in ["standard", "compact"] {
            let load = |layout| PromptSet::load(set, layout).unwrap();
            let (memory_first, chunk_first) = (load(PromptLayout::MemoryFirst), load(PromptLayout::ChunkFirst));
            assert_ne!(memory_first.hash(), chunk_first.hash());
            let section = "A section of many words. ".repeat(40);
            let common = |prompts: &PromptSet| {
                let (one, other) = (prompts.memory_turn("one", &section), prompts.memory_turn("other", &section));
                one.as_str().bytes().zip(other.as_str().bytes()).take_while(|(left, right)| left == right).count()
            };
            assert!(common(&chunk_first) > section.len() && common(&memory_first) < 800, "{set}");
            let recall = chunk_first.recall_turn("what was kept", "near [TARGET]");
            let place = |words: &str| recall.as_str().find(words).expect("it is in the prompt");
            assert!(place("near [TARGET]") < place("what was kept"));
        }
    }
}
