//! Families that candle-transformers computes: the registry of them, their tensors by name, and padded batches.
//!
//! A family names its tensors with the shapes that its configuration asks for ([`Tensors`]), so that they are compared
//! before candle-transformers allocates by them, and turns ids and mask into hidden states. What it must not be asked for,
//! because it would compute something else than the model's authors or stop, is refused while the configuration is read;
//! `encoder/README.md` lists it.

mod deberta_v2;
mod jina_bert;
mod modern_bert;
mod nomic_bert;
mod qwen3;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;

use super::Family;
use crate::error;
use crate::packed::Packed;
use crate::weights::Weights;

/// Each has a file of its own. One that shares its name with another family comes before it.
pub(super) const FAMILIES: [&Family; 5] =
    [&deberta_v2::FAMILY, &jina_bert::FAMILY, &modern_bert::FAMILY, &nomic_bert::FAMILY, &qwen3::FAMILY];

/// Most tokens of a sequence. The scores of all heads of a layer are held at once, several times: 12 heads take 200 MB
/// each time at this length.
const MAX_TOKENS: usize = 2_048;

/// Tensors by the names that candle-transformers has for them.
struct Tensors<'w> {
    weights: &'w Weights<'w>,
    /// Before all names in candle-transformers.
    prefix: &'static str,
    named: HashMap<String, Tensor>,
}

impl<'w> Tensors<'w> {
    fn new(weights: &'w Weights<'w>, prefix: &'static str) -> Self {
        Self { weights, prefix, named: HashMap::new() }
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> error::Result<()> {
        let tensor = self.weights.get(name, shape)?;
        self.named.insert(format!("{}{name}", self.prefix), tensor);
        Ok(())
    }

    fn linear(&mut self, name: &str, from: usize, to: usize, bias: bool) -> error::Result<()> {
        self.take(&format!("{name}.weight"), &[to, from])?;
        if bias { self.take(&format!("{name}.bias"), &[to]) } else { Ok(()) }
    }

    /// Scale, and shift where there is one.
    fn norm(&mut self, name: &str, size: usize, bias: bool) -> error::Result<()> {
        self.take(&format!("{name}.weight"), &[size])?;
        if bias { self.take(&format!("{name}.bias"), &[size]) } else { Ok(()) }
    }

    /// Takes the tensors of each layer; those of the first one that do not fit are told, and no further one is asked for.
    fn layers(
        &mut self,
        count: usize,
        mut layer: impl FnMut(&mut Self, usize) -> error::Result<()>,
    ) -> error::Result<()> {
        self.weights.finish()?;
        for number in 0..count {
            layer(self, number)?;
            self.weights.finish()?;
        }
        Ok(())
    }

    fn builder(self) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.named, DType::F32, self.weights.device())
    }
}

/// Hidden states of all tokens, \[N, D\], from `states` of ids and mask \[B, P\] (1 for a token, 0 for what fills a shorter
/// sequence up at its end), which gives \[B, P, D\].
fn padded(packed: &Packed, device: &Device, states: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let lengths = packed.lengths();
    let (count, longest) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
    let mut ids = vec![0_u32; count * longest];
    let mut mask = vec![0_u32; count * longest];
    let mut places = Vec::with_capacity(packed.ids().len());
    for (sequence, rows) in packed.rows().enumerate() {
        let start = sequence * longest;
        mask[start..start + rows.len()].fill(1);
        places.extend((start..start + rows.len()).map(|place| place as u32));
        ids[start..start + rows.len()].copy_from_slice(&packed.ids()[rows]);
    }
    let shaped = |values| Tensor::from_vec(values, (count, longest), device);
    let hidden = states(&shaped(ids)?, &shaped(mask)?)?.flatten(0, 1)?;
    if places.len() == count * longest {
        return Ok(hidden);
    }
    let number = places.len();
    hidden.contiguous()?.index_select(&Tensor::from_vec(places, number, device)?, 0)
}

/// Hidden states of all tokens, \[N, D\], without a mask: sequences of one length at a time, at most `most` of them, from
/// `states` of ids \[B, L\], which gives \[B, L, D\].
fn by_length(
    packed: &Packed,
    device: &Device,
    most: usize,
    states: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for rows in packed.rows() {
        groups.entry(rows.len()).or_default().push(rows.start);
    }
    let mut found = Vec::with_capacity(groups.len());
    // Row of the result → row among those found.
    let mut places = vec![0_u32; packed.ids().len()];
    let mut next = 0;
    for (length, starts) in
        groups.iter().flat_map(|(&length, starts)| starts.chunks(most).map(move |part| (length, part)))
    {
        let ids: Vec<u32> = starts.iter().flat_map(|&start| &packed.ids()[start..start + length]).copied().collect();
        for row in starts.iter().flat_map(|&start| start..start + length) {
            places[row] = next;
            next += 1;
        }
        found.push(states(&Tensor::from_vec(ids, (starts.len(), length), device)?)?.flatten(0, 1)?);
    }
    let number = places.len();
    Tensor::cat(&found, 0)?.index_select(&Tensor::from_vec(places, number, device)?, 0)
}
