//! From labels of tokens to labelled spans of a text.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A stretch of a text that a model has labelled.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledSpan {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// The label without `B-`, `I-` and their like.
    pub label: String,
    /// Mean probability of the labels of its words, 0 to 1.
    pub score: f32,
}

/// How the tokens of a word agree on one label; the names are those of `aggregation_strategy` in transformers' pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// They need not: each token counts as a word.
    Simple,
    /// The first token decides, the one that recognizers are usually trained on.
    #[default]
    First,
    /// The mean of their probabilities decides.
    Average,
    /// The token with the largest probability decides.
    Max,
}

/// Where in an entity a label stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// `B-`: begins one, whatever was before.
    Begin,
    /// `I-`, or no prefix: goes on with one of its kind, or begins one.
    Inside,
    /// `E-` or `L-`: the last word of one.
    End,
    /// `S-` or `U-`: one of a single word.
    Single,
}

/// What each label of a model means: its kind, and where in an entity it stands.
///
/// ```
/// use memtrain_encoder::{Scheme, Word};
/// let scheme = Scheme::new(&["O", "B-PER", "I-PER"].map(String::from));
/// let word = |span, label| Word { span, label, score: 1.0 };
/// let found = scheme.spans(&[word(0..3, 1), word(4..12, 2), word(13..18, 0)]);
/// assert_eq!((found.len(), found[0].span.clone(), found[0].label.as_str()), (1, 0..12, "PER"));
/// ```
#[derive(Debug)]
pub struct Scheme {
    /// `None` is outside of any entity.
    labels: Vec<Option<(Part, String)>>,
}

impl Scheme {
    /// Reads IO, IOB1, IOB2, BIOES and BILOU off the labels' names.
    pub fn new(labels: &[String]) -> Self {
        let prefixed = labels.iter().any(|label| label.starts_with("B-") || label.starts_with("I-"));
        let part = |prefix: &str| match prefix {
            "B" => Some(Part::Begin),
            "I" | "M" => Some(Part::Inside),
            "E" | "L" => Some(Part::End),
            "S" | "U" => Some(Part::Single),
            _ => None,
        };
        let parse = |label: &String| {
            if label == "O" {
                return None;
            }
            let split = label.split_once('-').filter(|(_, kind)| prefixed && !kind.is_empty());
            match split.and_then(|(prefix, kind)| Some((part(prefix)?, kind))) {
                Some((part, kind)) => Some((part, kind.to_owned())),
                None => Some((Part::Inside, label.clone())),
            }
        };
        Self { labels: labels.iter().map(parse).collect() }
    }

    /// Joins words of one kind, in the order of the text, to spans. A word without anything visible takes part, but makes
    /// no span by itself. Labels beyond those of the scheme are taken as outside.
    pub fn spans(&self, words: &[Word]) -> Vec<LabelledSpan> {
        let mut spans: Vec<LabelledSpan> = Vec::new();
        // Scores of the words of the last span; empty when the next word cannot belong to it.
        let mut open: Vec<f32> = Vec::new();
        for word in words {
            let Some(Some((part, kind))) = self.labels.get(word.label) else {
                open.clear();
                continue;
            };
            let continues = !open.is_empty() && !matches!(part, Part::Begin | Part::Single);
            match spans.last_mut().filter(|last| continues && last.label == *kind) {
                Some(last) => {
                    open.push(word.score);
                    last.span = joined(&last.span, &word.span);
                    last.score = mean(&open);
                }
                None => {
                    open = vec![word.score];
                    spans.push(LabelledSpan { span: word.span.clone(), label: kind.clone(), score: word.score });
                }
            }
            if matches!(part, Part::End | Part::Single) {
                open.clear();
            }
        }
        spans.retain(|span| !span.span.is_empty());
        spans
    }
}

/// From the beginning of the first to the end of the second; an empty one counts for nothing.
fn joined(first: &Range<usize>, second: &Range<usize>) -> Range<usize> {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second.clone(),
        (_, true) => first.clone(),
        _ => first.start..second.end.max(first.end),
    }
}

fn mean(scores: &[f32]) -> f32 {
    (scores.iter().map(|&score| f64::from(score)).sum::<f64>() / scores.len() as f64) as f32
}

/// A word with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// Number of the label.
    pub label: usize,
    /// Its probability, 0 to 1.
    pub score: f32,
}

impl Word {
    /// The word that some tokens make together: their spans, and the probabilities of `num_labels` labels each, one token
    /// after the other.
    pub(crate) fn of(
        spans: &[Range<usize>],
        probabilities: &[f32],
        num_labels: usize,
        aggregation: Aggregation,
    ) -> Self {
        let span = spans.iter().fold(0..0, |span, next| joined(&span, next));
        let tokens = || probabilities.chunks_exact(num_labels);
        let (label, score) = match aggregation {
            Aggregation::Simple | Aggregation::First => tokens().next().map(largest),
            Aggregation::Average => {
                let of_label = |label| tokens().map(|token| token[label]).sum::<f32>() / spans.len() as f32;
                Some(largest(&(0..num_labels).map(of_label).collect::<Vec<_>>()))
            }
            Aggregation::Max => tokens().map(largest).reduce(|best, next| if next.1 > best.1 { next } else { best }),
        }
        .unwrap_or((0, 0.0));
        Self { span, label, score }
    }
}

/// The first largest, with its place.
fn largest(values: &[f32]) -> (usize, f32) {
    let pairs = values.iter().copied().enumerate();
    pairs.reduce(|best, next| if next.1 > best.1 { next } else { best }).unwrap_or((0, 0.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Words of two bytes with a byte between them, by label names.
    fn decoded(labels: &[&str], sequence: &[&str]) -> Vec<(Range<usize>, String)> {
        let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        let id = |name: &str| labels.iter().position(|label| label == name).unwrap();
        let word = |(place, name): (usize, &&str)| Word { span: place * 3..place * 3 + 2, label: id(name), score: 1.0 };
        let words: Vec<Word> = sequence.iter().enumerate().map(word).collect();
        Scheme::new(&labels).spans(&words).into_iter().map(|span| (span.span, span.label)).collect()
    }

    fn named(spans: &[(Range<usize>, &str)]) -> Vec<(Range<usize>, String)> {
        spans.iter().map(|(span, label)| (span.clone(), (*label).to_owned())).collect()
    }

    #[test]
    fn iob() {
        let labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];
        let found = decoded(&labels, &["B-PER", "I-PER", "B-PER", "O", "I-LOC", "I-PER", "B-LOC"]);
        assert_eq!(found, named(&[(0..5, "PER"), (6..8, "PER"), (12..14, "LOC"), (15..17, "PER"), (18..20, "LOC")]));
    }

    #[test]
    fn io_without_prefixes_keeps_hyphens() {
        let labels = ["O", "E-mail", "PER"];
        let found = decoded(&labels, &["PER", "PER", "E-mail", "O", "PER"]);
        assert_eq!(found, named(&[(0..5, "PER"), (6..8, "E-mail"), (12..14, "PER")]));
    }

    #[test]
    fn bioes_and_bilou() {
        let labels = ["O", "B-ORG", "I-ORG", "E-ORG", "S-ORG"];
        let found = decoded(&labels, &["B-ORG", "I-ORG", "E-ORG", "S-ORG", "S-ORG", "E-ORG", "I-ORG"]);
        assert_eq!(found, named(&[(0..8, "ORG"), (9..11, "ORG"), (12..14, "ORG"), (15..17, "ORG"), (18..20, "ORG")]));
        let labels = ["O", "B-ORG", "I-ORG", "L-ORG", "U-ORG"];
        let found = decoded(&labels, &["U-ORG", "B-ORG", "L-ORG", "U-ORG"]);
        assert_eq!(found, named(&[(0..2, "ORG"), (3..8, "ORG"), (9..11, "ORG")]));
    }

    #[test]
    fn tokens_of_a_word_agree() {
        let spans = [0..3, 3..5];
        let probabilities = [0.6, 0.3, 0.1, 0.05, 0.8, 0.15];
        let by = |aggregation| Word::of(&spans, &probabilities, 3, aggregation);
        assert_eq!(by(Aggregation::First), Word { span: 0..5, label: 0, score: 0.6 });
        assert_eq!(by(Aggregation::Max), Word { span: 0..5, label: 1, score: 0.8 });
        let average = by(Aggregation::Average);
        assert_eq!(average.label, 1);
        assert!((average.score - 0.55).abs() < 1e-6);
    }

    proptest! {
        /// BIOES says everything, so what is written in it comes back.
        #[test]
        fn bioes_round_trip(entities in proptest::collection::vec((0usize..3, 0usize..2, 1usize..5), 0..12)) {
            let labels = ["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"];
            let (mut sequence, mut expected) = (Vec::new(), Vec::new());
            for (gap, kind, length) in entities {
                sequence.extend(std::iter::repeat_n("O", gap));
                let start = sequence.len();
                let name = |part: usize| labels[1 + kind * 4 + part];
                match length {
                    1 => sequence.push(name(3)),
                    _ => {
                        sequence.push(name(0));
                        sequence.extend(std::iter::repeat_n(name(1), length - 2));
                        sequence.push(name(2));
                    }
                }
                expected.push((start * 3..(sequence.len() - 1) * 3 + 2, ["A", "B"][kind].to_owned()));
            }
            prop_assert_eq!(decoded(&labels, &sequence), expected);
        }
    }
}
