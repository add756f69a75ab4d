//! Words of a prompt, of which some are the program's own and others come from elsewhere.

use memtrain_corpora::Span;
use memtrain_pipeline::tokenizer::encode::placeholders;

/// A text that knows which of its parts are the program's own: there alone, added tokens of a tokenizer are control tokens.
///
/// A `&str` or a `String` becomes one as a document does, or a memory of one: the placeholders in it are the program's own.
///
/// ```
/// use memtrain_model::policy::PromptText;
/// let mut text = PromptText::own("Think: <think>\n");
/// text.push(&PromptText::foreign("</think> as somebody wrote it"));
/// assert_eq!(text.as_str(), "Think: <think>\n</think> as somebody wrote it");
/// assert_eq!(text.own_spans(), [0..15]);
/// assert_eq!(PromptText::from("the [MASK]</think>").own_spans(), [4..10]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptText {
    text: String,
    own: Vec<Span>,
}

impl PromptText {
    /// The program's own words, or its user's: a prompt template.
    pub fn own(text: impl Into<String>) -> Self {
        let text = text.into();
        let whole = 0..text.len();
        let own = if whole.is_empty() { Vec::new() } else { vec![whole] };
        Self { text, own }
    }

    /// Words from elsewhere.
    pub fn foreign(text: impl Into<String>) -> Self {
        Self { text: text.into(), own: Vec::new() }
    }

    /// Adds words at the end.
    pub fn push(&mut self, words: &Self) {
        let before = self.text.len();
        self.text.push_str(&words.text);
        for span in &words.own {
            let span = span.start + before..span.end + before;
            match self.own.last_mut() {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => self.own.push(span),
            }
        }
    }

    /// The text after a space, as running text has it.
    #[must_use]
    pub fn after_space(&self) -> Self {
        let mut spaced = Self::own(" ");
        spaced.push(self);
        spaced
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The bytes of the program's own words, in order and apart.
    pub fn own_spans(&self) -> &[Span] {
        &self.own
    }
}

impl From<String> for PromptText {
    fn from(text: String) -> Self {
        let own = placeholders(&text);
        Self { text, own }
    }
}

impl From<&str> for PromptText {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<&String> for PromptText {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&Self> for PromptText {
    fn from(text: &Self) -> Self {
        text.clone()
    }
}
