//! Registry of encoder families: which one a `config.json` is of, and how it is read.
//!
//! A family is a file here and a line in [`FAMILIES`], or in `candle::FAMILIES` where candle-transformers computes it.

mod bert;
#[cfg(feature = "candle-transformers")]
mod candle;

use candle_core::Tensor;

use crate::config::{Fields, Spec};
use crate::error::Result;
use crate::packed::Packed;
use crate::pooling::Pooling;
use crate::weights::Weights;

/// Computed by this crate.
const FAMILIES: [&Family; 3] = [&bert::BERT, &bert::ROBERTA, &bert::DISTILBERT];

/// Names that a build with the feature `candle-transformers` reads as well.
#[cfg(not(feature = "candle-transformers"))]
const OTHERS: &str = "modernbert, deberta-v2, nomic_bert, qwen3 and Jina's bert with ALiBi";

/// The vocabulary that can stand for a `tokenizer.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    /// `vocab.txt`.
    WordPiece,
    /// `vocab.json` and `merges.txt`.
    BytePairs,
    /// None: there must be a `tokenizer.json`.
    #[cfg(feature = "candle-transformers")]
    None,
}

/// Hidden states of token ids.
pub(crate) trait Encoder: Send + Sync {
    /// Last hidden states of all tokens, \[N, D\]; a sequence has at least one token, and its states do not depend on the
    /// other sequences.
    fn forward(&self, packed: &Packed) -> candle_core::Result<Tensor>;

    /// Leaves out what is faster on the processor, to be compared with it; where there is nothing of the kind, nothing
    /// changes.
    #[cfg(test)]
    fn use_portable(&mut self) {}
}

/// Architectures that share a forward pass.
pub(crate) struct Family {
    /// Values of `model_type`.
    pub(crate) names: &'static [&'static str],
    /// Beginnings of the classes in `architectures`, for files without a `model_type`.
    pub(crate) classes: &'static [&'static str],
    /// Value of `position_embedding_type` that tells it from another family of the same name.
    pub(crate) positions: Option<&'static str>,
    /// A tensor that every model of the family has, whatever stands before its name.
    pub(crate) anchor: &'static str,
    pub(crate) vocabulary: Vocabulary,
    /// Pooling of a directory that says nothing of it.
    pub(crate) pooling: Pooling,
    /// Reads the configuration.
    pub(crate) read: fn(&Fields) -> Result<Configured>,
}

/// A layer between hidden states \[N, D\] and the scores of labels.
pub(crate) type Head = Box<dyn Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync>;

/// A configuration as it was read and checked: what all families have in common, and the rest.
pub(crate) type Configured = (Spec, Box<dyn Architecture>);

/// A configuration that the weights are read by.
pub(crate) trait Architecture {
    /// Takes the weights. Every shape is compared with the configuration before memory is asked for by it.
    fn load(&self, weights: &Weights<'_>) -> Result<Box<dyn Encoder>>;

    /// What a token classifier of this family has below its last layer; most have nothing.
    fn head(&self, _weights: &Weights<'_>) -> Result<Option<Head>> {
        Ok(None)
    }
}

impl Family {
    fn fits(&self, fields: &Fields) -> bool {
        let of_class = |class: &str| {
            let rest = self.classes.iter().filter_map(|prefix| class.strip_prefix(prefix));
            rest.into_iter().any(|rest| rest == "Model" || rest.starts_with("For"))
        };
        let fits = match (fields.text("model_type"), fields.class()) {
            (Some(name), _) => self.names.contains(&name),
            (None, Some(class)) => of_class(class),
            // Google's first files say neither.
            (None, None) => self.names.contains(&"bert") && fields.get("type_vocab_size").is_some(),
        };
        fits && self.positions.is_none_or(|kind| fields.text("position_embedding_type") == Some(kind))
    }

    /// The family of a configuration.
    ///
    /// # Errors
    /// If it is none of them; the error names all.
    pub(crate) fn of(fields: &Fields) -> Result<&'static Self> {
        #[cfg(feature = "candle-transformers")]
        let all = || candle::FAMILIES.into_iter().chain(FAMILIES);
        #[cfg(not(feature = "candle-transformers"))]
        let all = || FAMILIES.into_iter();
        all().find(|family| family.fits(fields)).ok_or_else(|| {
            let name = fields.text("model_type").or(fields.class()).unwrap_or("not named");
            let mut names: Vec<&str> = all().flat_map(|family| family.names).copied().collect();
            names.sort_unstable();
            names.dedup();
            #[cfg(feature = "candle-transformers")]
            let others = "";
            #[cfg(not(feature = "candle-transformers"))]
            let others = format!(" (a build with the feature `candle-transformers` reads {OTHERS}, too)");
            fields.unsupported(
                format!("architecture `{name}` is not among {}{others}", names.join(", ")),
                "choose a model of one of these families",
            )
        })
    }
}
