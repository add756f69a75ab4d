//! Labelled spans of a text.

use std::ops::Range;
use std::path::Path;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::batches;
use crate::error::{EncoderError, Result};
use crate::families::Head;
use crate::model::Model;
use crate::options::Options;
use crate::packed::Packed;
use crate::spans::{Aggregation, LabelledSpan, Scheme, Word};
use crate::tokens::{TextTokenizer, Tokens};

/// A quarter of a window is read again by the next one, so that no token is judged with less than an eighth of a window
/// on the side of a cut.
const OVERLAP: usize = 4;

/// An encoder with a head that labels tokens, such as `BertForTokenClassification`.
///
/// ```no_run
/// use memtrain_encoder::{Options, TokenClassifier};
/// let model = TokenClassifier::open("bert-base-NER".as_ref(), &Options::default())?;
/// let text = "Ada Lovelace lived in London.";
/// for found in &model.classify(&[text])?[0] {
///     println!("{} {} {:.2}", &text[found.span.clone()], found.label, found.score);
/// }
/// # Ok::<(), memtrain_encoder::EncoderError>(())
/// ```
pub struct TokenClassifier {
    pub(crate) model: Model,
    pub(crate) tokenizer: TextTokenizer,
    head: Option<Head>,
    /// \[labels, D\] and \[labels\].
    weight: Tensor,
    bias: Tensor,
    scheme: Scheme,
    /// Most tokens of a window, special ones left out.
    max_content: usize,
    options: Options,
}

impl TokenClassifier {
    /// Reads a Hugging Face directory of a `…ForTokenClassification`.
    pub fn open(directory: &Path, options: &Options) -> Result<Self> {
        let device = options.device.open()?;
        let (model, (head, weight, bias)) = Model::open(directory, &device, |weights, architecture, spec| {
            if !weights.contains("classifier.weight") {
                return Err(EncoderError::Unsupported {
                    path: directory.to_owned(),
                    what: "its weights have no `classifier.weight`, so it labels nothing".into(),
                    hint: "choose a model for token classification (named entity recognition)",
                });
            }
            let head = architecture.head(weights)?;
            let num_labels = spec.labels.len();
            let weight = weights.get_full("classifier.weight", &[num_labels, spec.hidden_size])?;
            Ok((head, weight, weights.get_full("classifier.bias", &[num_labels])?))
        })?;
        let tokenizer = TextTokenizer::open(directory, model.vocabulary)?;
        let scheme = Scheme::new(&model.spec.labels);
        let max_content = model.max_content(&tokenizer, options)?;
        Ok(Self { model, tokenizer, head, weight, bias, scheme, max_content, options: options.clone() })
    }

    /// The labels of a token by number, prefixes included (`id2label`).
    pub fn labels(&self) -> &[String] {
        &self.model.spec.labels
    }

    /// The labelled spans of each text, in order and disjoint. A text that is longer than the model can read is read in
    /// overlapping windows; of two windows, the one in which a token stands further from the cut labels it.
    pub fn classify(&self, texts: &[&str]) -> Result<Vec<Vec<LabelledSpan>>> {
        let tokens: Vec<Tokens> = texts.par_iter().map(|text| self.tokenizer.tokens(text)).collect::<Result<_>>()?;
        let probabilities = self.probabilities(&tokens)?;
        let spans =
            |((text, tokens), probabilities): ((&&str, &Tokens), &Vec<f32>)| self.spans(text, tokens, probabilities);
        Ok(texts.par_iter().zip(&tokens).zip(&probabilities).map(spans).collect())
    }

    /// Probabilities of all labels of all tokens, text by text.
    pub(crate) fn probabilities(&self, tokens: &[Tokens]) -> Result<Vec<Vec<f32>>> {
        let num_labels = self.labels().len();
        let windows: Vec<(usize, Window)> = tokens
            .iter()
            .enumerate()
            .flat_map(|(text, tokens)| windows(tokens.ids.len(), self.max_content).map(move |window| (text, window)))
            .collect();
        let lengths: Vec<usize> =
            windows.iter().map(|(_, window)| window.read.len() + self.tokenizer.num_special()).collect();
        let batches = batches::by_length(&lengths, self.options.batch_tokens);
        let found = self.model.each_batch(&batches, |batch| {
            let mut packed = Packed::default();
            for (text, window) in batch.iter().map(|&number| &windows[number]) {
                packed.push(self.tokenizer.sequence(&tokens[*text].ids[window.read.clone()]));
            }
            self.of_tokens(&packed).map(|values| (values, packed))
        })?;
        let mut probabilities: Vec<Vec<f32>> =
            tokens.iter().map(|tokens| vec![0.0; tokens.ids.len() * num_labels]).collect();
        for (batch, (values, packed)) in batches.iter().zip(&found) {
            for (&number, rows) in batch.iter().zip(packed.rows()) {
                let (text, window) = &windows[number];
                let first = rows.start + self.tokenizer.num_before() + window.keep.start - window.read.start;
                let kept = first * num_labels..(first + window.keep.len()) * num_labels;
                let place = window.keep.start * num_labels..window.keep.end * num_labels;
                probabilities[*text][place].copy_from_slice(&values[kept]);
            }
        }
        Ok(probabilities)
    }

    /// Probabilities of the labels of all tokens of a batch.
    pub(crate) fn of_tokens(&self, packed: &Packed) -> Result<Vec<f32>> {
        let mut values = self.logits(packed)?;
        memtrain_kernels::rows::softmax(&mut values, self.labels().len());
        Ok(values)
    }

    /// Scores of the labels of all tokens of a batch, token by token.
    pub(crate) fn logits(&self, packed: &Packed) -> Result<Vec<f32>> {
        let hidden = self.model.hidden(packed)?;
        let logits = || {
            let hidden = self.head.as_ref().map_or(Ok(hidden.clone()), |head| head(&hidden))?;
            hidden.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?.flatten_all()?.to_vec1()
        };
        logits().map_err(EncoderError::tensor(&self.model.directory))
    }

    fn spans(&self, text: &str, tokens: &Tokens, probabilities: &[f32]) -> Vec<LabelledSpan> {
        let num_labels = self.labels().len();
        let mut words = Vec::new();
        let mut start = 0;
        for end in 1..=tokens.ids.len() {
            let each = self.options.aggregation == Aggregation::Simple;
            let begins = |token: usize| {
                !tokens.shares_character(token) && (each || self.tokenizer.begins_word(text, tokens, token))
            };
            if end == tokens.ids.len() || begins(end) {
                let probabilities = &probabilities[start * num_labels..end * num_labels];
                words.push(Word::of(&tokens.spans[start..end], probabilities, num_labels, self.options.aggregation));
                start = end;
            }
        }
        self.scheme.spans(&words)
    }
}

/// A stretch of a text's tokens that is read at once, and the part of it whose labels are kept.
#[derive(Clone, Debug, PartialEq)]
struct Window {
    read: Range<usize>,
    keep: Range<usize>,
}

/// Windows of at most `size` tokens over `n`; the last one reaches back as far as it can. What is kept covers each token
/// once: two windows share their overlap by halves.
fn windows(n: usize, size: usize) -> impl Iterator<Item = Window> {
    let step = (size - size / OVERLAP).max(1);
    let count = if n <= size { usize::from(n > 0) } else { 1 + (n - size).div_ceil(step) };
    let read = move |number: usize| {
        let start = (number * step).min(n.saturating_sub(size));
        start..(start + size).min(n)
    };
    (0..count).map(move |number| {
        let this = read(number);
        let start = if number == 0 { 0 } else { (this.start + read(number - 1).end).div_ceil(2) };
        let end = if number + 1 == count { n } else { (read(number + 1).start + this.end).div_ceil(2) };
        Window { read: this, keep: start..end }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_token_is_kept_once_with_the_most_context(n in 0usize..900, size in 1usize..120) {
            let windows: Vec<Window> = windows(n, size).collect();
            let mut next = 0;
            for window in &windows {
                prop_assert_eq!(window.keep.start, next);
                prop_assert!(window.read.len() <= size && window.read.len() == size.min(n));
                prop_assert!(window.read.start <= window.keep.start && window.keep.end <= window.read.end);
                next = window.keep.end;
            }
            prop_assert_eq!(next, n);
            let context = |window: &Window, token: usize| {
                let before = if window.read.start == 0 { usize::MAX } else { token - window.read.start };
                let after = if window.read.end == n { usize::MAX } else { window.read.end - 1 - token };
                before.min(after)
            };
            for token in 0..n {
                let kept = windows.iter().find(|window| window.keep.contains(&token)).unwrap();
                let most = windows.iter().filter(|window| window.read.contains(&token)).map(|window| context(window, token)).max();
                prop_assert_eq!(Some(context(kept, token)), most);
                if size >= 16 && n > size {
                    prop_assert!(context(kept, token) + 1 >= size / 8);
                }
            }
        }
    }
}
