//! The encoder: embeddings and post-norm transformer layers, on packed rows.
//!
//! The three families differ in names and positions only, so there is one forward pass. The tokens of all sequences of
//! a batch stand one after the other (no padding), and attention alone looks at where a sequence begins and ends.
//! candle-transformers has a file a family; they compute on padded batches, take RoBERTa's positions or DistilBERT's mask
//! each in their own way, and were slower (figures in this crate's README).

use std::path::{Path, PathBuf};

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use crate::config::{Config, Family};
use crate::error::{self, EncoderError};
use crate::ops::{self, Norm, Vector};
use crate::options::Options;
use crate::tokens::TextTokenizer;
use crate::weights::Weights;

/// A linear layer whose bias is added by the operation that comes next.
struct Linear {
    /// \[out, in\], as stored.
    weight: Tensor,
    bias: Vector,
}

impl Linear {
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight.t()?)
    }
}

struct Layer {
    /// Queries, keys and values in one: \[3 D, D\].
    qkv: Linear,
    output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

/// Names of a layer's parts.
struct LayerNames {
    layer: &'static str,
    qkv: [&'static str; 3],
    output: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    output_norm: &'static str,
}

const BERT: LayerNames = LayerNames {
    layer: "encoder.layer",
    qkv: ["attention.self.query", "attention.self.key", "attention.self.value"],
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT: LayerNames = LayerNames {
    layer: "transformer.layer",
    qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// Sequences of token ids, one after the other.
#[derive(Default)]
pub(crate) struct Packed {
    ids: Vec<u32>,
    lengths: Vec<usize>,
}

impl Packed {
    pub(crate) fn push(&mut self, ids: impl IntoIterator<Item = u32>) {
        let before = self.ids.len();
        self.ids.extend(ids);
        self.lengths.push(self.ids.len() - before);
    }

    /// The rows of each sequence.
    pub(crate) fn rows(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.lengths.iter().scan(0, |start, &length| {
            *start += length;
            Some(*start - length..*start)
        })
    }
}

/// An encoder with its weights.
pub(crate) struct Model {
    pub(crate) config: Config,
    pub(crate) directory: PathBuf,
    device: Device,
    /// \[V, D\]; the embedding of token type 0 is in each row of `positions`, as one text is all of type 0.
    words: Tensor,
    /// \[positions, D\], beginning with that of the first token.
    positions: Tensor,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    /// Computes with candle's operations alone, to be compared with.
    pub(crate) portable: bool,
}

impl Model {
    /// Reads configuration and weights; `head` takes further tensors before missing ones are complained about.
    pub(crate) fn open<T>(
        directory: &Path,
        device: &Device,
        head: impl FnOnce(&Weights, &Config) -> error::Result<T>,
    ) -> error::Result<(Self, T)> {
        let config = Config::read(directory)?;
        let weights = Weights::open(directory, device)?;
        let loader = Loader { weights: &weights, config: &config, failed: &EncoderError::tensor(directory) };
        let words = weights.get("embeddings.word_embeddings.weight", &[config.vocab_size, config.hidden_size])?;
        let positions = loader.positions()?;
        let embedding_norm = loader.norm("embeddings.LayerNorm")?;
        let mut layers = Vec::new();
        for number in 0..config.num_layers {
            layers.push(loader.layer(number)?);
        }
        let head = head(&weights, &config)?;
        weights.finish()?;
        let (directory, device) = (directory.to_owned(), device.clone());
        Ok((Self { config, directory, device, words, positions, embedding_norm, layers, portable: false }, head))
    }

    /// Last hidden states of all tokens, \[N, D\].
    pub(crate) fn hidden(&self, packed: &Packed) -> error::Result<Tensor> {
        if let Some(id) = packed.ids.iter().find(|&&id| id as usize >= self.config.vocab_size) {
            let detail = format!("token {id} is beyond the model's {} embeddings", self.config.vocab_size);
            return Err(EncoderError::tokenizer(&self.directory, detail));
        }
        self.forward(packed).map_err(EncoderError::tensor(&self.directory))
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
        let limits = [Some(self.config.max_tokens()), tokenizer.max_tokens, options.max_tokens];
        let limit = limits.into_iter().flatten().min().unwrap_or_default();
        limit.checked_sub(tokenizer.num_special()).filter(|&rest| rest > 0).ok_or_else(|| EncoderError::Unsupported {
            path: self.directory.clone(),
            what: format!("sequences of {limit} tokens leave no room beside {} special ones", tokenizer.num_special()),
            hint: "allow more tokens",
        })
    }

    fn forward(&self, packed: &Packed) -> Result<Tensor> {
        let n = packed.ids.len();
        let (heads, d) = (self.config.num_heads, self.config.hidden_size);
        let positions: Vec<u32> = packed.lengths.iter().flat_map(|&length| 0..length as u32).collect();
        let ids = Tensor::from_slice(&packed.ids, n, &self.device)?;
        let positions = Tensor::from_vec(positions, n, &self.device)?;
        let embedded = (self.words.index_select(&ids, 0)? + self.positions.index_select(&positions, 0)?)?;
        let mut hidden = ops::layer_norm(embedded, &self.embedding_norm, self.portable)?;
        for layer in &self.layers {
            let qkv = ops::bias_then(layer.qkv.product(&hidden)?, &layer.qkv.bias, None, self.portable)?;
            let qkv = qkv.reshape((n, 3, heads, d / heads))?;
            let context = layer.output.product(&ops::attention(&qkv, &packed.lengths, self.portable)?)?;
            hidden = ops::add_then_norm(context, &layer.output.bias, &hidden, &layer.attention_norm, self.portable)?;
            let activation = Some(self.config.activation);
            let wide = ops::bias_then(layer.up.product(&hidden)?, &layer.up.bias, activation, self.portable)?;
            let narrow = layer.down.product(&wide)?;
            hidden = ops::add_then_norm(narrow, &layer.down.bias, &hidden, &layer.output_norm, self.portable)?;
        }
        Ok(hidden)
    }
}

/// Takes tensors by the names of the family.
struct Loader<'a, F> {
    weights: &'a Weights<'a>,
    config: &'a Config,
    failed: &'a F,
}

impl<F: Fn(candle_core::Error) -> EncoderError> Loader<'_, F> {
    fn vector(&self, name: &str, length: usize) -> error::Result<Vector> {
        let tensor = self.weights.get(name, &[length])?;
        Vector::new(tensor).map_err(self.failed)
    }

    fn norm(&self, name: &str) -> error::Result<Norm> {
        let d = self.config.hidden_size;
        Ok(Norm {
            scale: self.vector(&format!("{name}.weight"), d)?,
            shift: self.vector(&format!("{name}.bias"), d)?,
            eps: self.config.layer_norm_eps,
        })
    }

    fn linear(&self, name: &str, from: usize, to: usize) -> error::Result<Linear> {
        let weight = self.weights.get(&format!("{name}.weight"), &[to, from])?;
        Ok(Linear { weight, bias: self.vector(&format!("{name}.bias"), to)? })
    }

    /// Positions from the first one on, with token type 0 added.
    fn positions(&self) -> error::Result<Tensor> {
        let Config { num_positions, first_position, hidden_size: d, num_token_types, .. } = *self.config;
        let table = self.weights.get("embeddings.position_embeddings.weight", &[num_positions, d])?;
        let types = match num_token_types {
            0 => None,
            _ => Some(self.weights.get("embeddings.token_type_embeddings.weight", &[num_token_types, d])?),
        };
        // A wrong size is told before memory is asked for by it.
        self.weights.finish()?;
        let first = first_position.min(num_positions);
        let positions = table.narrow(0, first, num_positions - first).map_err(self.failed)?;
        let Some(types) = types else { return Ok(positions) };
        types.get(0).and_then(|first| positions.broadcast_add(&first)).map_err(self.failed)
    }

    fn layer(&self, number: usize) -> error::Result<Layer> {
        let names = if self.config.family == Family::DistilBert { &DISTILBERT } else { &BERT };
        let Config { hidden_size: d, intermediate_size, .. } = *self.config;
        let name = |part: &str| format!("{}.{number}.{part}", names.layer);
        let parts = names.qkv.map(|part| self.linear(&name(part), d, d));
        let [query, key, value] = parts;
        let (query, key, value) = (query?, key?, value?);
        let qkv = || -> Result<Linear> {
            let weight = Tensor::cat(&[&query.weight, &key.weight, &value.weight], 0)?;
            let bias = Tensor::cat(&[&query.bias.tensor, &key.bias.tensor, &value.bias.tensor], 0)?;
            Ok(Linear { weight, bias: Vector::new(bias)? })
        };
        let output = self.linear(&name(names.output), d, d)?;
        let attention_norm = self.norm(&name(names.attention_norm))?;
        let up = self.linear(&name(names.up), d, intermediate_size)?;
        let down = self.linear(&name(names.down), intermediate_size, d)?;
        let output_norm = self.norm(&name(names.output_norm))?;
        // What stands in for a missing tensor must not be multiplied out; and one layer is enough to tell what is wrong.
        self.weights.finish()?;
        Ok(Layer { qkv: qkv().map_err(self.failed)?, output, attention_norm, up, down, output_norm })
    }
}
