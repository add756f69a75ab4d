//! Prompt templates: files with the fields `{problem}`, `{memory}` and `{section}`.
//!
//! Two sets are built in: `standard` for instruction-tuned models and `compact`, a few words, for tiny ones. Anything
//! else is a folder with the same four files, so that the papers' own prompts can be dropped in. A set is identified by
//! the hash of its files, which every run manifest records.

use std::path::Path;

use memtrain_corpora::store::{self, StoreError};

const STANDARD: [&str; 4] = [
    include_str!("../../configs/prompts/standard/problem.txt"),
    include_str!("../../configs/prompts/standard/memory.txt"),
    include_str!("../../configs/prompts/standard/answer.txt"),
    include_str!("../../configs/prompts/standard/recall.txt"),
];
const COMPACT: [&str; 4] = [
    include_str!("../../configs/prompts/compact/problem.txt"),
    include_str!("../../configs/prompts/compact/memory.txt"),
    include_str!("../../configs/prompts/compact/answer.txt"),
    include_str!("../../configs/prompts/compact/recall.txt"),
];
const FILES: [&str; 4] = ["problem.txt", "memory.txt", "answer.txt", "recall.txt"];

/// What the memory reads before the first chunk.
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
}

/// The four texts of a prompt set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptSet {
    /// The question of end-to-end reconstruction.
    pub problem: String,
    memory: String,
    answer: String,
    recall: String,
}

impl PromptSet {
    /// Loads a set: `standard`, `compact`, or a folder.
    ///
    /// ```
    /// use memtrain::agents::prompts::PromptSet;
    /// let prompts = PromptSet::load("compact").unwrap();
    /// let turn = prompts.memory_turn("empty", "A section with {memory} in it.");
    /// assert!(turn.contains("A section with {memory} in it."), "inserted text is never expanded again");
    /// ```
    ///
    /// # Errors
    /// If a file of the folder is missing, or a template lacks a field.
    pub fn load(set: &str) -> Result<Self, PromptError> {
        let texts = match set {
            "standard" => STANDARD.map(str::to_owned),
            "compact" => COMPACT.map(str::to_owned),
            folder => {
                let mut texts: [String; 4] = Default::default();
                for (text, file) in texts.iter_mut().zip(FILES) {
                    *text = store::read_to_string(&Path::new(folder).join(file))
                        .map_err(|source| PromptError::Unreadable { set: set.to_owned(), source })?;
                }
                texts
            }
        };
        let [problem, memory, answer, recall] = texts.map(|text| text.trim_end_matches('\n').to_owned());
        for (file, text, fields) in [
            (FILES[1], &memory, &["{problem}", "{memory}", "{section}"][..]),
            (FILES[2], &answer, &["{problem}", "{memory}"]),
            (FILES[3], &recall, &["{memory}", "{section}"]),
        ] {
            if let Some(field) = fields.iter().find(|field| !text.contains(**field)) {
                return Err(PromptError::MissingField { set: set.to_owned(), file, field });
            }
        }
        Ok(Self { problem, memory, answer, recall })
    }

    /// The same prompts for another question.
    #[must_use]
    pub fn about(&self, problem: &str) -> Self {
        Self { problem: problem.to_owned(), ..self.clone() }
    }

    /// The user's words of a memory turn.
    pub fn memory_turn(&self, memory: &str, section: &str) -> String {
        self.fill(&self.memory, memory, section)
    }

    /// The user's words of the answer turn.
    pub fn answer_turn(&self, memory: &str) -> String {
        self.fill(&self.answer, memory, "")
    }

    /// The user's words of an intermediate-recall question.
    pub fn recall_turn(&self, memory: &str, masked_section: &str) -> String {
        self.fill(&self.recall, memory, masked_section)
    }

    /// BLAKE3 hash of the four texts.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in [&self.problem, &self.memory, &self.answer, &self.recall] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    fn fill(&self, template: &str, memory: &str, section: &str) -> String {
        fill(template, &[("{problem}", &self.problem), ("{memory}", memory), ("{section}", section)])
    }
}

/// Replaces the fields in one pass over the template, so that braces in inserted text stay as they are.
pub(super) fn fill(template: &str, fields: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len() + fields.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = template;
    while let Some(brace) = rest.find('{') {
        filled.push_str(&rest[..brace]);
        rest = &rest[brace..];
        match fields.iter().find(|(field, _)| rest.starts_with(field)) {
            Some((field, value)) => {
                filled.push_str(value);
                rest = &rest[field.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_sets_load_and_differ() {
        let standard = PromptSet::load("standard").unwrap();
        let compact = PromptSet::load("compact").unwrap();
        assert_ne!(standard.hash(), compact.hash());
        assert!(standard.answer_turn("notes").contains("\\boxed{}"), "a lone brace pair is not a field");
        assert!(standard.recall_turn("notes", "the [TARGET] section").contains("the [TARGET] section"));
    }

    #[test]
    fn a_folder_without_the_fields_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().to_str().unwrap();
        assert!(matches!(PromptSet::load(set), Err(PromptError::Unreadable { .. })));
        for file in FILES {
            store::write_atomic(&folder.path().join(file), b"{problem} {memory}").unwrap();
        }
        let error = PromptSet::load(set).unwrap_err();
        assert!(matches!(error, PromptError::MissingField { file: "memory.txt", field: "{section}", .. }), "{error}");
    }
}
