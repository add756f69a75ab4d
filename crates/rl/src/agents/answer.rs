//! Answer extraction and equality of answers.

use memtrain_model::policy::PromptText;
use serde::{Deserialize, Serialize};

use super::answer_text::plain;
use super::released_verifier;

/// When two answers are the same, and what of a response is its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Equality {
    /// The [plain text](plain) lower-cased, white space collapsed.
    #[default]
    Strict,
    /// SQuAD's: the [plain text](plain) lower-cased, punctuation and articles dropped, white space collapsed (arXiv 1606.05250, §5).
    Squad,
    /// MemTrain's and MemAgent's released verifier, step by step ([`released_verifier`]).
    Released,
}

impl Equality {
    /// The form in which answers are compared.
    ///
    /// ```
    /// use memtrain_rl::agents::answer::Equality;
    /// assert_eq!(Equality::Strict.normalise("  The  Lorn "), "the lorn");
    /// assert_eq!(Equality::Squad.normalise("The Lorn."), "lorn");
    /// ```
    pub fn normalise(self, answer: &str) -> String {
        let lower = || -> String { plain(answer).chars().flat_map(char::to_lowercase).collect() };
        match self {
            Self::Strict => lower().split_whitespace().collect::<Vec<_>>().join(" "),
            Self::Squad => {
                let bare: String = lower().chars().filter(|c| !c.is_ascii_punctuation()).collect();
                bare.split_whitespace()
                    .filter(|word| !matches!(*word, "a" | "an" | "the"))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            Self::Released => released_verifier::normalise(answer),
        }
    }

    /// The answer of a response: its last box, as this verifier looks for it.
    pub fn answer(self, response: &str) -> Option<&str> {
        match self {
            Self::Strict | Self::Squad => last_boxed(response),
            Self::Released => released_verifier::last_boxed(response),
        }
    }

    /// Whether `answer` equals `gold`. An answer that is empty once normalised is never right.
    pub fn holds(self, answer: &str, gold: &str) -> bool {
        let answer = self.normalise(answer);
        !answer.is_empty() && answer == self.normalise(gold)
    }
}

/// The contents of the last `\boxed{…}` whose braces match.
///
/// ```
/// use memtrain_rl::agents::answer::last_boxed;
/// assert_eq!(last_boxed(r"\boxed{a} or \boxed{f{x}y}."), Some("f{x}y"));
/// assert_eq!(last_boxed(r"\boxed{never closed"), None);
/// ```
pub fn last_boxed(response: &str) -> Option<&str> {
    const OPENING: &str = r"\boxed{";
    response.rmatch_indices(OPENING).find_map(|(at, _)| {
        let contents = &response[at + OPENING.len()..];
        let mut depth = 1_usize;
        for (offset, character) in contents.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(&contents[..offset]);
            }
        }
        None
    })
}

/// The answer a policy is taught to give for `entity`.
pub fn boxed(entity: &str) -> PromptText {
    let mut answer = PromptText::own("\\boxed{");
    answer.push(&PromptText::foreign(entity));
    answer.push(&PromptText::own("}"));
    answer
}

/// Whether the boxed answer of a response is `gold`.
pub fn is_right(response: &str, gold: &str, equality: Equality) -> bool {
    equality.answer(response).is_some_and(|answer| equality.holds(answer, gold))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unclosed_box_falls_back_to_the_last_closed_one() {
        assert_eq!(last_boxed(r"\boxed{one} then \boxed{two"), Some("one"));
        assert_eq!(last_boxed("no box"), None);
        assert_eq!(last_boxed(r"\boxed{}"), Some(""));
        assert!(!Equality::Strict.holds("", ""));
        assert!(!Equality::Squad.holds("the", "The"));
    }

    proptest! {
        #[test]
        fn what_is_boxed_is_found(entity in "[a-zA-Z0-9 é'.-]{1,20}", before in "[a-z{} ]{0,20}") {
            let response = format!("{before}{}", boxed(&entity).as_str());
            prop_assert_eq!(last_boxed(&response), Some(entity.as_str()));
        }
    }
}
