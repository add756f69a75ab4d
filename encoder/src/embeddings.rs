//! One vector a text.

use std::path::Path;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::batches;
use crate::error::{EncoderError, Result};
use crate::model::Model;
use crate::options::Options;
use crate::packed::Packed;
use crate::pooling::Pooling;
use crate::tokens::TextTokenizer;

/// An encoder that turns texts into vectors.
///
/// ```no_run
/// use memtrain_encoder::{Embeddings, Options, Pooling};
/// let model = Embeddings::open("all-MiniLM-L6-v2".as_ref(), Pooling::Model, true, &Options::default())?;
/// let vectors = model.embed(&["The town lies on a river.", "A river runs through the town."])?;
/// assert_eq!(vectors[0].len(), model.dimensions());
/// # Ok::<(), memtrain_encoder::EncoderError>(())
/// ```
pub struct Embeddings {
    model: Model,
    tokenizer: TextTokenizer,
    pooling: Pooling,
    normalize: bool,
    /// Most tokens of a text, special ones left out.
    max_content: usize,
    options: Options,
}

impl Embeddings {
    /// Reads a Hugging Face or sentence-transformers directory. `normalize` scales vectors to length 1.
    pub fn open(directory: &Path, pooling: Pooling, normalize: bool, options: &Options) -> Result<Self> {
        let device = options.device.open()?;
        let (model, ()) = Model::open(directory, &device, |_, _, _| Ok(()))?;
        let tokenizer = TextTokenizer::open(directory, model.vocabulary)?;
        let pooling = match pooling {
            Pooling::Model => Pooling::stated(directory)?.unwrap_or(model.pooling),
            named => named,
        };
        let max_content = model.max_content(&tokenizer, options)?;
        Ok(Self { model, tokenizer, pooling, normalize, max_content, options: options.clone() })
    }

    /// Numbers of a vector.
    pub fn dimensions(&self) -> usize {
        self.model.spec.hidden_size
    }

    /// Most tokens of a text, special ones included; what is longer is cut at the end.
    pub fn max_tokens(&self) -> usize {
        self.max_content + self.tokenizer.num_special()
    }

    /// The vector of each text, in the order given.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let ids: Vec<Vec<u32>> = texts
            .par_iter()
            .map(|text| {
                let mut ids = self.tokenizer.ids(text)?;
                ids.truncate(self.max_content);
                Ok(ids)
            })
            .collect::<Result<_>>()?;
        let lengths: Vec<usize> = ids.iter().map(|ids| ids.len() + self.tokenizer.num_special()).collect();
        let batches = batches::by_length(&lengths, self.options.batch_tokens);
        let of_batch = |batch: &Vec<usize>| {
            let mut packed = Packed::default();
            for &text in batch {
                packed.push(self.tokenizer.sequence(&ids[text]));
            }
            self.vectors(&packed)
        };
        let found = self.model.each_batch(&batches, of_batch)?;
        let mut vectors = vec![Vec::new(); texts.len()];
        for (place, vector) in batches.into_iter().flatten().zip(found.into_iter().flatten()) {
            vectors[place] = vector;
        }
        Ok(vectors)
    }

    fn vectors(&self, packed: &Packed) -> Result<Vec<Vec<f32>>> {
        let hidden = self.model.hidden(packed)?;
        let pooled = self.pooled(&hidden, packed).map_err(EncoderError::tensor(&self.model.directory))?;
        Ok(pooled)
    }

    /// `hidden` is \[N, D\].
    fn pooled(&self, hidden: &Tensor, packed: &Packed) -> candle_core::Result<Vec<Vec<f32>>> {
        packed
            .rows()
            .map(|rows| {
                // No word of the text is known, and nothing stands around it.
                if rows.is_empty() {
                    return Ok(vec![0.0; self.dimensions()]);
                }
                let states = hidden.narrow(0, rows.start, rows.len())?;
                let pooled = match self.pooling {
                    Pooling::Mean | Pooling::Model => states.mean(0)?,
                    Pooling::Cls => states.get(0)?,
                    Pooling::LastToken => states.get(rows.len() - 1)?,
                    Pooling::Max => states.max(0)?,
                };
                let mut vector: Vec<f32> = pooled.to_vec1()?;
                if self.normalize {
                    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
                    vector.iter_mut().for_each(|x| *x /= norm);
                }
                Ok(vector)
            })
            .collect()
    }
}
