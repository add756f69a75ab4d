//! The agent that plays an objective's items, and what follows from it for the questions of tasks, the form of responses and the work of a step.

use crate::agents::bank::Layout;

/// Who plays an objective's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// Reads chunk by chunk with a text memory, and answers from it.
    Reader,
    /// Writes a bank of items chunk by chunk, which a frozen policy or a server is questioned from.
    MemoryWriter(Layout),
    /// Searches, and answers.
    Searcher,
}

impl Agent {
    /// The layout of the bank that it writes.
    pub const fn bank_layout(self) -> Option<Layout> {
        match self {
            Self::MemoryWriter(layout) => Some(layout),
            Self::Reader | Self::Searcher => None,
        }
    }

    /// What its responses are expected to hold.
    pub const fn answer_form(self) -> AnswerForm {
        match self {
            Self::Reader => AnswerForm::Boxed,
            Self::MemoryWriter(_) => AnswerForm::Call,
            Self::Searcher => AnswerForm::Tags,
        }
    }

    /// How the questions of tasks become items, unless the objective says otherwise: a bank is written once for all questions.
    pub const fn question_mode(self) -> QuestionMode {
        match self {
            Self::MemoryWriter(_) => QuestionMode::All,
            Self::Reader | Self::Searcher => QuestionMode::One,
        }
    }

    /// Turns of a trajectory at most, without answers to further questions.
    pub const fn most_turns(self, limits: TurnLimits) -> usize {
        match self {
            Self::Reader => limits.chunks + 1,
            Self::MemoryWriter(_) => limits.chunks,
            Self::Searcher => limits.search_turns,
        }
    }
}

/// How the questions of tasks become items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionMode {
    /// Each question is an item of its own.
    One,
    /// All questions about a context are asked of one trajectory.
    All,
    /// Questions of so many tasks are joined, where tasks have one each; their contexts are dropped.
    Joined(usize),
}

/// What responses are expected to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerForm {
    /// `\boxed{…}`.
    #[default]
    Boxed,
    /// A function call.
    Call,
    /// A query or an answer in tags.
    Tags,
}

impl AnswerForm {
    /// What a sentence calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boxed => "\\boxed{}",
            Self::Call => "function call",
            Self::Tags => "query or answer",
        }
    }
}

/// Limits of a trajectory by the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    /// Chunks of an item.
    pub chunks: usize,
    /// Turns of a searcher.
    pub search_turns: usize,
}

/// Responses of a trajectory at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleCounts {
    /// Turns of its agent.
    pub turns: usize,
    /// Answers of the trained policy to recall questions.
    pub recall_answers: usize,
}
