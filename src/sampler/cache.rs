//! Keys and values of what a sequence has read, and attention of new tokens over them.
//!
//! Letters: `H` query heads, `K` key/value heads, `g = H / K` query heads that share one, `D` head width.
//! Plain vectors, not tensors: a cache that grows by one token must not be copied or wrapped at each step.

use rayon::prelude::*;

use crate::nn::ops::real::{Real, max, sum};
use crate::nn::ops::tile::{Strided, product};

/// Tokens of a tile of keys. Inside a tile the keys lie column by column, so that scores are vectorised over tokens;
/// tiles keep what is read together close together.
const KEY_TILE: usize = 32;

/// Rows of columns that the matrix product works on at once; scores are computed for whole ones.
const LANES: usize = 16;

/// Sizes of the attention of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    /// Query heads `H`.
    pub query: usize,
    /// Key/value heads `K`.
    pub key_value: usize,
    /// Width `D` of a head.
    pub width: usize,
}

impl Heads {
    fn shared(&self) -> usize {
        self.query / self.key_value
    }

    /// Elements of a token's keys, or of its values.
    pub(super) fn row(&self) -> usize {
        self.key_value * self.width
    }

    /// Bytes that `tokens` tokens take in one layer.
    pub(super) fn bytes(&self, tokens: usize) -> usize {
        self.row() * (tokens.next_multiple_of(KEY_TILE) + tokens) * size_of::<f32>()
    }
}

/// Keys and values of a stretch of tokens in one layer.
#[derive(Debug)]
pub(super) struct Block {
    heads: Heads,
    len: usize,
    capacity: usize,
    /// `[K, tiles, D, KEY_TILE]`, zero beyond `len`.
    keys: Vec<f32>,
    /// `[K, capacity, D]`.
    values: Vec<f32>,
}

impl Block {
    /// A block with room for `capacity` tokens.
    pub(super) fn new(heads: Heads, capacity: usize) -> Self {
        let keys = vec![0.0; heads.row() * capacity.next_multiple_of(KEY_TILE)];
        let values = vec![0.0; heads.row() * capacity];
        Self { heads, len: 0, capacity, keys, values }
    }

    /// Appends tokens: `keys` and `values` are `[tokens, K, D]`.
    pub(super) fn append(&mut self, keys: &[f32], values: &[f32]) {
        let Heads { width, .. } = self.heads;
        let (key_head, value_head) = (self.capacity.next_multiple_of(KEY_TILE) * width, self.capacity * width);
        let rows = keys.chunks_exact(self.heads.row()).zip(values.chunks_exact(self.heads.row()));
        for (keys, values) in rows {
            let (tile, column) = (self.len / KEY_TILE * KEY_TILE * width, self.len % KEY_TILE);
            for (head, (key, value)) in keys.chunks_exact(width).zip(values.chunks_exact(width)).enumerate() {
                let tile = &mut self.keys[head * key_head + tile..][..KEY_TILE * width];
                for (out, &key) in tile[column..].iter_mut().step_by(KEY_TILE).zip(key) {
                    *out = key;
                }
                self.values[head * value_head + self.len * width..][..width].copy_from_slice(value);
            }
            self.len += 1;
        }
    }

    fn keys(&self, head: usize) -> &[f32] {
        let size = self.capacity.next_multiple_of(KEY_TILE) * self.heads.width;
        &self.keys[head * size..][..size]
    }

    fn values(&self, head: usize) -> &[f32] {
        &self.values[head * self.capacity * self.heads.width..][..self.len * self.heads.width]
    }

    fn columns(&self) -> usize {
        self.len.next_multiple_of(LANES)
    }
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    packed: Vec<[f32; 4]>,
}

/// What one sequence attends to in one layer: its prompt's block, shared, and its own.
pub(super) type Context<'a> = [&'a Block; 2];

/// Attention of one new token a sequence: `queries` `[B, H, D]` over each sequence's context, to `[B, H, D]`.
pub(super) fn attend(heads: Heads, queries: &[f32], contexts: &[Context<'_>]) -> Vec<f32> {
    let size = heads.shared() * heads.width;
    let mut out = vec![0.0; queries.len()];
    // A task shorter than some microseconds costs more to hand out than to run.
    let tokens: usize = contexts.iter().flatten().map(|block| block.len).sum();
    let average = (tokens / contexts.len().max(1)).max(1) * size;
    let tasks_together = (32_768 / average).max(1);
    out.par_chunks_mut(size).zip(queries.par_chunks(size)).enumerate().with_min_len(tasks_together).for_each_init(
        Scratch::default,
        |scratch, (task, (out, queries))| {
            let (sequence, head) = (task / heads.key_value, task % heads.key_value);
            attend_head(heads, head, queries, contexts[sequence], out, scratch);
        },
    );
    out
}

/// The `g` query heads `[g, D]` of one token that share a key/value head.
fn attend_head(
    heads: Heads,
    head: usize,
    queries: &[f32],
    context: Context<'_>,
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let width = heads.width;
    let shared = heads.shared();
    let stride: usize = context.iter().map(|block| block.columns()).sum();
    let Scratch { scores, packed } = scratch;
    scores.clear();
    scores.resize(shared * stride, 0.0);

    let mut first = 0;
    for block in context {
        let tiles = block.keys(head).chunks_exact(KEY_TILE * width);
        for (tile, keys) in tiles.enumerate().take(block.len.div_ceil(KEY_TILE)) {
            let column = tile * KEY_TILE;
            let columns = KEY_TILE.min(block.columns() - column);
            let sizes = (shared, columns, width);
            product(
                sizes,
                Strided::rows(queries, width),
                keys,
                KEY_TILE,
                &mut scores[first + column..],
                stride,
                false,
                packed,
            );
        }
        first += block.columns();
    }

    let scale = 1.0 / (width as f32).sqrt();
    for scores in scores.chunks_exact_mut(stride) {
        soften(scores, context, scale);
    }

    let mut first = 0;
    for (index, block) in context.iter().enumerate() {
        let weights = Strided::rows(&scores[first..], stride);
        product((shared, width, block.len), weights, block.values(head), width, out, width, index > 0, packed);
        first += block.columns();
    }
}

/// Turns scores into weights that sum to one; the columns that only fill up a block are left out and become 0.
fn soften(scores: &mut [f32], context: Context<'_>, scale: f32) {
    let mut first = 0;
    for block in context {
        scores[first + block.len..first + block.columns()].fill(f32::NEG_INFINITY);
        first += block.columns();
    }
    let highest = max(scores);
    scores.iter_mut().for_each(|score| *score = Real::exp((*score - highest) * scale));
    let inverse = 1.0 / sum(scores);
    scores.iter_mut().for_each(|score| *score *= inverse);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(len: usize, phase: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 0.71 + phase).sin()).collect()
    }

    /// `[B, H, D]` by the definition, in f64.
    fn naive(heads: Heads, queries: &[f32], rows: &[(Vec<f32>, Vec<f32>)]) -> Vec<f64> {
        let mut out = Vec::new();
        for (query, (keys, values)) in queries.chunks(heads.query * heads.width).zip(rows) {
            for (head, query) in query.chunks(heads.width).enumerate() {
                let at = |data: &[f32], token: usize, i: usize| {
                    f64::from(data[token * heads.row() + head / heads.shared() * heads.width + i])
                };
                let tokens = keys.len() / heads.row();
                let score = |token: usize| -> f64 {
                    let dot: f64 = (0..heads.width).map(|i| f64::from(query[i]) * at(keys, token, i)).sum();
                    (dot / (heads.width as f64).sqrt()).exp()
                };
                let total: f64 = (0..tokens).map(score).sum();
                let output = |i| (0..tokens).map(|token| score(token) / total * at(values, token, i)).sum::<f64>();
                out.extend((0..heads.width).map(output));
            }
        }
        out
    }

    #[test]
    fn equals_the_definition_for_any_split_between_prompt_and_own_block() {
        for heads in [Heads { query: 4, key_value: 2, width: 16 }, Heads { query: 3, key_value: 3, width: 10 }] {
            for (prompt_len, own_len) in [(1, 1), (15, 2), (32, 31), (33, 32), (70, 5)] {
                let (tokens, row) = (prompt_len + own_len, heads.row());
                let (keys, values) = (wave(tokens * row, 0.1), wave(tokens * row, 0.6));
                let queries = wave(2 * heads.query * heads.width, 0.3);
                let mut prompt = Block::new(heads, prompt_len);
                prompt.append(&keys[..prompt_len * row], &values[..prompt_len * row]);
                let mut own = Block::new(heads, own_len + 3);
                for token in prompt_len..tokens {
                    own.append(&keys[token * row..][..row], &values[token * row..][..row]);
                }
                let out = attend(heads, &queries, &[[&prompt, &own]; 2]);
                let truth = naive(heads, &queries, &[(keys.clone(), values.clone()), (keys, values)]);
                let worst =
                    out.iter().zip(&truth).map(|(&out, truth)| (f64::from(out) - truth).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-6, "{heads:?} {prompt_len} + {own_len}: {worst}");
            }
        }
    }

    #[test]
    fn far_scores_do_not_overflow() {
        let heads = Heads { query: 1, key_value: 1, width: 16 };
        let mut prompt = Block::new(heads, 1);
        prompt.append(&[1e4; 16], &[2.0; 16]);
        let mut own = Block::new(heads, 1);
        own.append(&[-1e4; 16], &[7.0; 16]);
        assert_eq!(attend(heads, &[1e4; 16], &[[&prompt, &own]]), [2.0; 16]);
    }
}
