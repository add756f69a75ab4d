//! Prompts of a bank's writer, and their limits.

use std::path::Path;

use memtrain_corpora::store;
use memtrain_engine::sampler::ChatConfig;
use memtrain_model::policy::PromptText;
use serde::{Deserialize, Serialize};

use super::Layout;
use crate::agents::prompts::{PromptError, fill};

const FILES: [&str; 5] = ["flat.txt", "sections.txt", "question.txt", "cloze.txt", "judge.txt"];
const STANDARD: [&str; 5] = [
    include_str!("../../../../../configs/prompts/bank/standard/flat.txt"),
    include_str!("../../../../../configs/prompts/bank/standard/sections.txt"),
    include_str!("../../../../../configs/prompts/bank/standard/question.txt"),
    include_str!("../../../../../configs/prompts/bank/standard/cloze.txt"),
    include_str!("../../../../../configs/prompts/bank/standard/judge.txt"),
];
const COMPACT: [&str; 5] = [
    include_str!("../../../../../configs/prompts/bank/compact/flat.txt"),
    include_str!("../../../../../configs/prompts/bank/compact/sections.txt"),
    include_str!("../../../../../configs/prompts/bank/compact/question.txt"),
    include_str!("../../../../../configs/prompts/bank/compact/cloze.txt"),
    include_str!("../../../../../configs/prompts/bank/compact/judge.txt"),
];

/// How items of a bank are found for a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retrieval {
    /// By BM25.
    #[default]
    Bm25,
    /// None is: what is always shown is all that is shown, Mem-α's core.
    None,
}

impl Retrieval {
    /// Left out of a run's configuration then, so that runs from before the key go on.
    fn is_bm25(&self) -> bool {
        *self == Self::Bm25
    }
}

/// How a bank is kept. Chunks, context and response limits are the reader's: `reader.memory_tokens` bounds the calls of
/// a turn, `reader.answer_tokens` an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BankConfig {
    /// Prompt set: `standard`, `compact` or a folder.
    pub prompts: String,
    /// Longest core in tokens. Mem-α: 512.
    pub core_tokens: usize,
    /// Newest items of each list that the writer is shown; fewer where the prompt would not fit.
    pub recent_items: usize,
    /// Items of each list that are retrieved for a question; 0 for what the layout's paper has: 2 of Fine-Mem's list, 20
    /// of each of Mem-α's.
    pub retrieved_items: usize,
    /// How they are found.
    #[serde(skip_serializing_if = "Retrieval::is_bm25")]
    pub retrieval: Retrieval,
    /// A server that answers and judges, instead of the frozen reference policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answerer: Option<ChatConfig>,
}

impl Default for BankConfig {
    fn default() -> Self {
        Self {
            prompts: "standard".to_owned(),
            core_tokens: 512,
            recent_items: 20,
            retrieved_items: 0,
            retrieval: Retrieval::Bm25,
            answerer: None,
        }
    }
}

impl BankConfig {
    /// Items of each list that are retrieved for a question.
    pub fn retrieved(&self, layout: Layout) -> usize {
        match (self.retrieved_items, layout) {
            _ if self.retrieval == Retrieval::None => 0,
            (0, Layout::Flat) => 2,
            (0, Layout::Sections) => 20,
            (items, _) => items,
        }
    }
}

/// The texts of a prompt set for banks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankPrompts {
    flat: String,
    sections: String,
    question: String,
    cloze: String,
    judge: String,
}

impl BankPrompts {
    /// Loads a set: `standard`, `compact`, or a folder with the same five files.
    ///
    /// # Errors
    /// If a file of the folder is missing, or a template lacks a field.
    pub fn load(set: &str) -> Result<Self, PromptError> {
        let texts = match set {
            "standard" => STANDARD.map(str::to_owned),
            "compact" => COMPACT.map(str::to_owned),
            folder => {
                let mut texts: [String; 5] = Default::default();
                for (text, file) in texts.iter_mut().zip(FILES) {
                    *text = store::read_to_string(&Path::new(folder).join(file))
                        .map_err(|source| PromptError::Unreadable { set: set.to_owned(), source })?;
                }
                texts
            }
        };
        let texts = texts.map(|text| text.trim_end_matches('\n').to_owned());
        let fields: [&[&str]; 5] = [
            &["{memory}", "{section}"],
            &["{memory}", "{section}"],
            &["{problem}", "{memory}"],
            &["{text}"],
            &["{section}", "{content}"],
        ];
        for ((text, fields), file) in texts.iter().zip(fields).zip(FILES) {
            if let Some(field) = fields.iter().find(|field| !text.contains(**field)) {
                return Err(PromptError::MissingField { set: set.to_owned(), file, field });
            }
        }
        let [flat, sections, question, cloze, judge] = texts;
        Ok(Self { flat, sections, question, cloze, judge })
    }

    /// The user's words of a turn that writes.
    pub fn writing_turn(&self, layout: Layout, memory: &str, section: &str) -> PromptText {
        let template = match layout {
            Layout::Flat => &self.flat,
            Layout::Sections => &self.sections,
        };
        fill(template, &[("{memory}", &memory.into()), ("{section}", &section.into())])
    }

    /// The user's words of a question about what is kept.
    pub fn question_turn(&self, problem: &str, memory: &str) -> PromptText {
        fill(&self.question, &[("{problem}", &problem.into()), ("{memory}", &memory.into())])
    }

    /// A question for the name that is hidden in a sentence.
    pub fn cloze(&self, text: &str) -> String {
        fill(&self.cloze, &[("{text}", &text.into())]).as_str().to_owned()
    }

    /// The user's words where an item is judged.
    pub fn judge_turn(&self, section: &str, content: &str) -> PromptText {
        fill(&self.judge, &[("{section}", &section.into()), ("{content}", &content.into())])
    }

    /// BLAKE3 hash of the texts.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in [&self.flat, &self.sections, &self.question, &self.cloze, &self.judge] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Limits and texts together.
#[derive(Clone, Debug, PartialEq)]
pub struct BankReading {
    /// Limits.
    pub config: BankConfig,
    /// Texts.
    pub prompts: BankPrompts,
}

impl BankReading {
    /// Loads the texts that the configuration names.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn new(config: BankConfig) -> Result<Self, PromptError> {
        let prompts = BankPrompts::load(&config.prompts)?;
        Ok(Self { config, prompts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retrieval_is_that_of_the_layout_a_number_or_none() {
        let config = |text: &str| toml::from_str::<BankConfig>(text).unwrap();
        let of = |text: &str| [Layout::Flat, Layout::Sections].map(|layout| config(text).retrieved(layout));
        assert_eq!((of(""), of("retrieved_items = 3")), ([2, 20], [3, 3]));
        assert_eq!(of("retrieved_items = 3\nretrieval = \"none\""), [0, 0]);
        // A run from before the key goes on.
        assert!(!toml::to_string(&BankConfig::default()).unwrap().contains("retrieval ="));
    }

    #[test]
    fn sets_load_and_a_folder_must_be_whole() {
        let (standard, compact) = (BankPrompts::load("standard").unwrap(), BankPrompts::load("compact").unwrap());
        assert_ne!(standard.hash(), compact.hash());
        let turn = standard.writing_turn(Layout::Flat, "{section}", "text");
        assert!(
            turn.as_str().contains(r#"{"id": 3}"#) && turn.as_str().contains("{section}"),
            "braces of the template and of what is inserted stay"
        );
        assert!(standard.judge_turn("s", "c").as_str().contains("\\boxed{yes}"));
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().to_str().unwrap();
        assert!(matches!(BankPrompts::load(set), Err(PromptError::Unreadable { .. })));
        for file in FILES {
            store::write_atomic(&folder.path().join(file), b"{memory} {section}").unwrap();
        }
        let error = BankPrompts::load(set).unwrap_err();
        assert!(matches!(error, PromptError::MissingField { file: "question.txt", field: "{problem}", .. }), "{error}");
    }
}
