//! Paged KV cache in plain memory, and paged attention over it on the CPU.
//!
//! Plain vectors, not tensors: a cache that grows by one token must not be copied or wrapped at each step.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::{BLOCK_TOKENS, BlockId, Heads, KvCache, SequenceRows};
use crate::host::Host;
use crate::tile::{Strided, product};
use crate::vector::softmax;

const NAME: &str = "paged attention";

/// Query rows that a task works on: enough that a block of keys is used more than once, few enough that their scores over
/// thousands of keys stay in the cache.
const ROWS: usize = 16;

/// Paged KV cache: keys and values in blocks of [`BLOCK_TOKENS`] positions.
///
/// A block holds, layer by layer, keys `[K, D, BLOCK_TOKENS]`, position by position inside a head's row so that scores are
/// vectorised over positions, and values `[K, BLOCK_TOKENS, D]`.
#[derive(Debug)]
pub struct CpuKvCache {
    heads: Heads,
    num_layers: usize,
    /// By number; a block that was never written has no memory.
    blocks: Vec<Vec<f32>>,
}

impl CpuKvCache {
    /// An empty cache of so many layers.
    pub fn new(heads: Heads, num_layers: usize) -> Self {
        Self { heads, num_layers, blocks: Vec::new() }
    }

    /// Elements of the keys of one head of a block, or of its values.
    fn tile(&self) -> usize {
        BLOCK_TOKENS * self.heads.width
    }

    fn keys(&self, layer: usize, block: BlockId, head: usize) -> &[f32] {
        let tile = self.tile();
        &self.blocks[block as usize][(2 * layer * self.heads.key_value + head) * tile..][..tile]
    }

    fn values(&self, layer: usize, block: BlockId, head: usize) -> &[f32] {
        let tile = self.tile();
        &self.blocks[block as usize][((2 * layer + 1) * self.heads.key_value + head) * tile..][..tile]
    }

    /// Keeps one token's keys and values, `[K, D]` each.
    fn put(&mut self, layer: usize, block: BlockId, column: usize, keys: &[f32], values: &[f32]) {
        let (Heads { key_value, width, .. }, tile) = (self.heads, self.tile());
        let elements = 2 * self.num_layers * key_value * tile;
        if self.blocks.len() <= block as usize {
            self.blocks.resize_with(block as usize + 1, Vec::new);
        }
        let data = &mut self.blocks[block as usize];
        data.resize(elements, 0.0);
        let layer = &mut data[2 * layer * key_value * tile..][..2 * key_value * tile];
        let (of_keys, of_values) = layer.split_at_mut(key_value * tile);
        for (tile, key) in of_keys.chunks_exact_mut(tile).zip(keys.chunks_exact(width)) {
            for (out, &key) in tile[column..].iter_mut().step_by(BLOCK_TOKENS).zip(key) {
                *out = key;
            }
        }
        for (tile, value) in of_values.chunks_exact_mut(tile).zip(values.chunks_exact(width)) {
            tile[column * width..][..width].copy_from_slice(value);
        }
    }

    /// Attention of the rows of a task `[rows, H, D]`, the first at `position`, into `out` of the same shape.
    fn attend_rows(&self, layer: usize, task: &Task<'_>, queries: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let Heads { query, key_value, width } = self.heads;
        let (shared, rows) = (self.heads.group(), task.rows);
        let num_keys = task.position + rows;
        let num_blocks = num_keys.div_ceil(BLOCK_TOKENS);
        let stride = num_blocks * BLOCK_TOKENS;
        let Scratch { gathered, scores, partial, packed } = scratch;
        for head in 0..key_value {
            gathered.clear();
            for row in queries.chunks_exact(query * width) {
                gathered.extend_from_slice(&row[head * shared * width..][..shared * width]);
            }
            scores.clear();
            scores.resize(rows * shared * stride, 0.0);
            for (number, &block) in task.blocks[..num_blocks].iter().enumerate() {
                let sizes = (rows * shared, BLOCK_TOKENS, width);
                let (queries, keys) = (Strided::rows(gathered, width), self.keys(layer, block, head));
                let out = &mut scores[number * BLOCK_TOKENS..];
                product(sizes, queries, keys, BLOCK_TOKENS, out, stride, false, packed);
            }
            let scale = 1.0 / (width as f32).sqrt();
            for (number, scores) in scores.chunks_exact_mut(stride).enumerate() {
                masked_softmax(scores, task.position + number / shared + 1, scale);
            }
            partial.clear();
            partial.resize(rows * shared * width, 0.0);
            for (number, &block) in task.blocks[..num_blocks].iter().enumerate() {
                let tokens = BLOCK_TOKENS.min(num_keys - number * BLOCK_TOKENS);
                let weights = Strided::rows(&scores[number * BLOCK_TOKENS..], stride);
                let values = self.values(layer, block, head);
                product((rows * shared, width, tokens), weights, values, width, partial, width, true, packed);
            }
            for (row, partial) in out.chunks_exact_mut(query * width).zip(partial.chunks_exact(shared * width)) {
                row[head * shared * width..][..shared * width].copy_from_slice(partial);
            }
        }
    }
}

/// Neighbouring query rows of one sequence.
struct Task<'a> {
    rows: usize,
    position: usize,
    blocks: &'a [BlockId],
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    gathered: Vec<f32>,
    scores: Vec<f32>,
    partial: Vec<f32>,
    packed: Vec<[f32; 4]>,
}

/// Softmax over the first `seen` scores of a row, times `scale`; masked positions get weight 0.
///
/// Sums run over whole blocks from position 0 on, so that they do not depend on how a sequence was cut into passes.
fn masked_softmax(scores: &mut [f32], seen: usize, scale: f32) {
    let (scores, beyond) = scores.split_at_mut(seen.next_multiple_of(BLOCK_TOKENS));
    beyond.fill(0.0);
    scores[seen..].fill(f32::NEG_INFINITY);
    softmax(scores, |score, highest| (score - highest) * scale);
}

impl KvCache for CpuKvCache {
    fn store(&mut self, layer: usize, k: &Tensor, v: &Tensor, sequences: &[SequenceRows<'_>]) -> Result<()> {
        let (keys, values, row) = (Host::new(k), Host::new(v), self.heads.row());
        let rows = keys.slice::<f32>(NAME)?.chunks_exact(row).zip(values.slice::<f32>(NAME)?.chunks_exact(row));
        for ((block, offset), (key, value)) in sequences.iter().flat_map(SequenceRows::places).zip(rows) {
            self.put(layer, block, offset, key, value);
        }
        Ok(())
    }

    fn attend(&mut self, layer: usize, q: &Tensor, sequences: &[SequenceRows<'_>]) -> Result<Tensor> {
        let (num_rows, heads, width) = q.dims3()?;
        let row = heads * width;
        let host = Host::new(q);
        let all: &[f32] = host.slice(NAME)?;
        let mut out = vec![0.0; num_rows * row];
        let mut tasks = Vec::new();
        let (mut rest, mut next, mut keys) = (&mut out[..], 0, 0);
        for SequenceRows { rows, position, blocks } in sequences {
            for first in rows.clone().step_by(ROWS) {
                let count = ROWS.min(rows.end - first);
                let (_, from_here) = std::mem::take(&mut rest).split_at_mut((first - next) * row);
                let (own, later) = from_here.split_at_mut(count * row);
                (rest, next) = (later, first + count);
                let position = position + first - rows.start;
                keys += position * count;
                tasks.push((Task { rows: count, position, blocks }, &all[first * row..][..count * row], own));
            }
        }
        // A task shorter than some microseconds costs more to hand out than to run.
        let average = (keys / tasks.len().max(1)).max(1) * row;
        let tasks_together = (32_768 / average).max(1);
        let this = &*self;
        tasks.into_par_iter().with_min_len(tasks_together).for_each_init(
            Scratch::default,
            |scratch, (task, queries, out)| {
                this.attend_rows(layer, &task, queries, out, scratch);
            },
        );
        Tensor::from_vec(out, (num_rows, heads, width), &Device::Cpu)
    }

    fn copy(&mut self, from: BlockId, to: BlockId) -> Result<()> {
        let copied = self.blocks.get(from as usize).cloned().unwrap_or_default();
        if self.blocks.len() <= to as usize {
            self.blocks.resize_with(to as usize + 1, Vec::new);
        }
        self.blocks[to as usize] = copied;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(len: usize, phase: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 0.71 + phase).sin()).collect()
    }

    /// A cache with the tokens of one sequence in it, its blocks numbered from the last to the first.
    fn filled(heads: Heads, keys: &[f32], values: &[f32]) -> Result<(CpuKvCache, Vec<BlockId>)> {
        let tokens = keys.len() / heads.row();
        let blocks: Vec<BlockId> = (0..tokens.div_ceil(BLOCK_TOKENS) as u32).rev().collect();
        let mut cache = CpuKvCache::new(heads, 2);
        let shape = (tokens, heads.key_value, heads.width);
        let tensor = |data: &[f32]| Tensor::from_vec(data.to_vec(), shape, &Device::Cpu);
        let sequence = SequenceRows { rows: 0..tokens, position: 0, blocks: &blocks };
        cache.store(1, &tensor(keys)?, &tensor(values)?, &[sequence])?;
        Ok((cache, blocks))
    }

    #[test]
    fn the_bits_do_not_depend_on_how_rows_are_cut() -> Result<()> {
        for heads in [Heads { query: 4, key_value: 2, width: 16 }, Heads { query: 3, key_value: 3, width: 10 }] {
            for tokens in [1, 15, 32, 33, 70] {
                let row = heads.row();
                let (keys, values) = (wave(tokens * row, 0.1), wave(tokens * row, 0.6));
                let queries = wave(tokens * heads.query * heads.width, 0.3);
                let (mut cache, blocks) = filled(heads, &keys, &values)?;
                let q = Tensor::from_vec(queries.clone(), (tokens, heads.query, heads.width), &Device::Cpu)?;
                let whole = cache.attend(1, &q, &[SequenceRows { rows: 0..tokens, position: 0, blocks: &blocks }])?;
                let whole = whole.flatten_all()?.to_vec1::<f32>()?;
                for cut in [1, 7, 20] {
                    let pieces: Vec<_> = (0..tokens)
                        .step_by(cut)
                        .map(|first| SequenceRows {
                            rows: first..tokens.min(first + cut),
                            position: first,
                            blocks: &blocks,
                        })
                        .collect();
                    assert_eq!(cache.attend(1, &q, &pieces)?.flatten_all()?.to_vec1::<f32>()?, whole, "cut {cut}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn far_scores_do_not_overflow() -> Result<()> {
        let heads = Heads { query: 1, key_value: 1, width: 16 };
        let keys = [[1e4; 16], [-1e4; 16]].concat();
        let values = [[2.0; 16], [7.0; 16]].concat();
        let (mut cache, blocks) = filled(heads, &keys, &values)?;
        let q = Tensor::full(1e4_f32, (1, 1, 16), &Device::Cpu)?;
        let out = cache.attend(1, &q, &[SequenceRows { rows: 0..1, position: 1, blocks: &blocks }])?;
        assert_eq!(out.flatten_all()?.to_vec1::<f32>()?, [2.0; 16]);
        Ok(())
    }
}
