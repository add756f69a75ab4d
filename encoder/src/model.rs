//! An encoder of any family with its limits, and the batches it reads.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::config::{Fields, Spec};
use crate::error::{self, EncoderError};
use crate::families::{Architecture, Encoder, Family, Vocabulary};
use crate::options::Options;
use crate::packed::Packed;
use crate::pooling::Pooling;
use crate::tokens::TextTokenizer;
use crate::weights::Weights;

/// An encoder with its weights.
pub(crate) struct Model {
    pub(crate) spec: Spec,
    pub(crate) directory: PathBuf,
    pub(crate) vocabulary: Vocabulary,
    /// Pooling of a directory that says nothing of it.
    pub(crate) pooling: Pooling,
    device: Device,
    pub(crate) encoder: Box<dyn Encoder>,
}

impl Model {
    /// Reads configuration and weights; `head` takes further tensors before missing ones are complained about.
    pub(crate) fn open<T>(
        directory: &Path,
        device: &Device,
        head: impl FnOnce(&Weights<'_>, &dyn Architecture, &Spec) -> error::Result<T>,
    ) -> error::Result<(Self, T)> {
        let fields = Fields::read(directory)?;
        let family = Family::of(&fields)?;
        let (spec, architecture) = (family.read)(&fields)?;
        let weights = Weights::open(directory, device, family.anchor)?;
        let encoder = architecture.load(&weights)?;
        let head = head(&weights, architecture.as_ref(), &spec)?;
        weights.finish()?;
        let model = Self {
            spec,
            directory: directory.to_owned(),
            vocabulary: family.vocabulary,
            pooling: family.pooling,
            device: device.clone(),
            encoder,
        };
        Ok((model, head))
    }

    /// Last hidden states of all tokens, \[N, D\].
    pub(crate) fn hidden(&self, packed: &Packed) -> error::Result<Tensor> {
        let Spec { vocab_size, hidden_size, .. } = self.spec;
        if let Some(id) = packed.ids.iter().find(|&&id| id as usize >= vocab_size) {
            let detail = format!("token {id} is beyond the model's {vocab_size} embeddings");
            return Err(EncoderError::tokenizer(&self.directory, detail));
        }
        // A text without a token has no rows, and families disagree about it.
        let lengths: Vec<usize> = packed.lengths.iter().copied().filter(|&length| length > 0).collect();
        let states = match lengths.len() {
            0 => Tensor::zeros((0, hidden_size), DType::F32, &self.device),
            count if count == packed.lengths.len() => self.encoder.forward(packed),
            _ => self.encoder.forward(&Packed { ids: packed.ids.clone(), lengths }),
        };
        states.map_err(EncoderError::tensor(&self.directory))
    }

    /// Does all batches: on the processor as many at a time as the rayon pool has threads, on a device one after the other.
    pub(crate) fn each_batch<T: Send>(
        &self,
        batches: &[Vec<usize>],
        work: impl Fn(&Vec<usize>) -> error::Result<T> + Send + Sync,
    ) -> error::Result<Vec<T>> {
        if self.device.is_cpu() { batches.par_iter().map(work).collect() } else { batches.iter().map(work).collect() }
    }

    /// Most tokens of a text beside the special ones.
    pub(crate) fn max_content(&self, tokenizer: &TextTokenizer, options: &Options) -> error::Result<usize> {
        let limits = [Some(self.spec.max_tokens), tokenizer.max_tokens, options.max_tokens];
        let limit = limits.into_iter().flatten().min().unwrap_or_default();
        limit.checked_sub(tokenizer.num_special()).filter(|&rest| rest > 0).ok_or_else(|| EncoderError::Unsupported {
            path: self.directory.clone(),
            what: format!("sequences of {limit} tokens leave no room beside {} special ones", tokenizer.num_special()),
            hint: "allow more tokens",
        })
    }
}
