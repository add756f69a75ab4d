//! Paged KV cache of tensors on any device, and attention over it by candle's operations.
//!
//! A layer's keys and values are two pools `[slots, K D]`, slot `block * BLOCK_TOKENS + offset`. With `B` sequences and `T`
//! positions, responses under way are gathered into one padded batch, prompts are read one after the other, as many rows at a
//! time as scores may take memory.

use candle_core::{DType, Device, Result, Tensor};

use super::{BLOCK_TOKENS, BlockId, Heads, KvCache, SequenceRows};
use crate::attention::blockwise::tensor_softmax;

/// Positions that are gathered together: 128 MiB of keys in bf16 at 1,024 elements a position.
const GATHERED_POSITIONS: usize = 65_536;

/// Scores that exist at a time: 512 MiB in f32.
const SCORES: usize = 1 << 27;

/// Blocks that a pool begins with.
const FIRST_BLOCKS: usize = 64;

/// What a score of a position that is not seen becomes.
const UNSEEN: f32 = -1e30;

/// Paged KV cache: pools of keys and values.
#[derive(Debug)]
pub struct TensorKvCache {
    heads: Heads,
    device: Device,
    dtype: DType,
    /// Most blocks there can be.
    capacity: usize,
    /// Keys and values, a layer each.
    pools: Vec<[Tensor; 2]>,
}

impl TensorKvCache {
    /// An empty cache of at most `capacity` blocks.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn new(heads: Heads, num_layers: usize, capacity: usize, device: &Device, dtype: DType) -> Result<Self> {
        let mut cache = Self { heads, device: device.clone(), dtype, capacity, pools: Vec::new() };
        let first = FIRST_BLOCKS.min(capacity.max(1));
        cache.pools = (0..num_layers).map(|_| Ok([cache.zeros(first)?, cache.zeros(first)?])).collect::<Result<_>>()?;
        Ok(cache)
    }

    fn zeros(&self, blocks: usize) -> Result<Tensor> {
        Tensor::zeros((blocks * BLOCK_TOKENS, self.heads.row()), self.dtype, &self.device)
    }

    /// Makes the pools of a layer large enough for a block.
    fn make_room(&mut self, layer: usize, block: BlockId) -> Result<()> {
        let there = self.pools[layer][0].dim(0)? / BLOCK_TOKENS;
        let needed = block as usize + 1;
        if needed <= there {
            return Ok(());
        }
        let more = self.zeros(needed.max(2 * there).min(self.capacity.max(needed)) - there)?;
        for pool in &mut self.pools[layer] {
            *pool = Tensor::cat(&[&*pool, &more], 0)?;
        }
        Ok(())
    }

    /// Keys and values at `slots`, `[B, T, K, D]` each.
    fn gather(&self, layer: usize, slots: Vec<u32>, sequences: usize) -> Result<[Tensor; 2]> {
        let positions = slots.len() / sequences;
        let slots = Tensor::from_vec(slots, sequences * positions, &self.device)?;
        let shape = (sequences, positions, self.heads.key_value, self.heads.width);
        let [keys, values] = &self.pools[layer];
        Ok([keys.index_select(&slots, 0)?.reshape(shape)?, values.index_select(&slots, 0)?.reshape(shape)?])
    }

    /// Attention of `q` `[B, K, rows, D]` over `[B, T, K, D]`; `mask` broadcasts to the scores `[B, K, rows, T]`.
    fn attention(&self, q: &Tensor, [keys, values]: &[Tensor; 2], mask: &Tensor) -> Result<Tensor> {
        let keys = keys.permute((0, 2, 3, 1))?.contiguous()?;
        let scores = q.contiguous()?.matmul(&keys)?.to_dtype(DType::F32)?;
        let scores = (scores / (self.heads.width as f64).sqrt())?.broadcast_add(mask)?;
        let weights = tensor_softmax(&scores)?.to_dtype(self.dtype)?;
        weights.matmul(&values.transpose(1, 2)?.contiguous()?)
    }

    /// Newest tokens of several sequences: `[B, H, D]` in the order of `queries`.
    fn attend_newest(&self, layer: usize, q: &Tensor, queries: &[&SequenceRows<'_>]) -> Result<Tensor> {
        let Heads { query, key_value, width } = self.heads;
        let (sequences, shared) = (queries.len(), self.heads.group());
        let rows: Vec<u32> = queries.iter().map(|query| query.rows.start as u32).collect();
        let rows = Tensor::from_vec(rows, sequences, &self.device)?;
        let q = q.index_select(&rows, 0)?.reshape((sequences, key_value, shared, width))?;
        let longest = queries.iter().map(|query| query.position + 1).max().unwrap_or(1);
        let slots = queries.iter().flat_map(|query| slots(query.blocks, query.position + 1, longest)).collect();
        let unseen = |query: &&SequenceRows<'_>| {
            let seen = query.position + 1;
            (0..longest).map(move |position| if position < seen { 0.0 } else { UNSEEN })
        };
        let mask: Vec<f32> = queries.iter().flat_map(unseen).collect();
        let mask = Tensor::from_vec(mask, (sequences, 1, 1, longest), &self.device)?;
        let out = self.attention(&q, &self.gather(layer, slots, sequences)?, &mask)?;
        out.reshape((sequences, query, width))
    }

    /// Rows of one prompt: `[rows, H, D]`.
    fn attend_prompt(&self, layer: usize, q: &Tensor, rows: &SequenceRows<'_>) -> Result<Tensor> {
        let Heads { query, key_value, width } = self.heads;
        let shared = self.heads.group();
        let end = rows.position + rows.rows.len();
        let gathered = self.gather(layer, slots(rows.blocks, end, end).collect(), 1)?;
        let together = (SCORES / (query * end)).max(1);
        let mut pieces = Vec::new();
        for first in rows.rows.clone().step_by(together) {
            let count = together.min(rows.rows.end - first);
            let q = q.narrow(0, first, count)?.reshape((count, key_value, shared, width))?;
            // `[1, K, rows g, D]`, the rows of a head one after the other.
            let q = q.permute((1, 0, 2, 3))?.contiguous()?.reshape((1, key_value, count * shared, width))?;
            let position = rows.position + first - rows.rows.start;
            let mask = (position..position + count).flat_map(|own| {
                let seen = (0..end).map(move |key| if key <= own { 0.0 } else { UNSEEN });
                std::iter::repeat_n(seen, shared).flatten()
            });
            let mask = Tensor::from_vec(mask.collect::<Vec<f32>>(), (1, 1, count * shared, end), &self.device)?;
            let out = self.attention(&q, &gathered, &mask)?.reshape((key_value, count, shared, width))?;
            pieces.push(out.permute((1, 0, 2, 3))?.contiguous()?.reshape((count, query, width))?);
        }
        Tensor::cat(&pieces, 0)
    }
}

/// Slots of the first `seen` positions, filled up to `length` with the first.
fn slots(blocks: &[BlockId], seen: usize, length: usize) -> impl Iterator<Item = u32> {
    let slot =
        |position: usize| blocks[position / BLOCK_TOKENS] * BLOCK_TOKENS as u32 + (position % BLOCK_TOKENS) as u32;
    (0..length).map(move |position| slot(if position < seen { position } else { 0 }))
}

impl KvCache for TensorKvCache {
    fn store(&mut self, layer: usize, k: &Tensor, v: &Tensor, sequences: &[SequenceRows<'_>]) -> Result<()> {
        for &block in sequences.iter().flat_map(SequenceRows::table) {
            self.make_room(layer, block)?;
        }
        let places = sequences.iter().flat_map(SequenceRows::places);
        let slots: Vec<u32> = places.map(|(block, offset)| block * BLOCK_TOKENS as u32 + offset as u32).collect();
        let (rows, row) = (slots.len(), self.heads.row());
        let slots = Tensor::from_vec(slots, (rows, 1), &self.device)?.broadcast_as((rows, row))?.contiguous()?;
        for (pool, new) in self.pools[layer].iter().zip([k, v]) {
            let new = new.narrow(0, 0, rows)?.reshape((rows, row))?.to_dtype(self.dtype)?.contiguous()?;
            pool.scatter_set(&slots, &new, 0)?;
        }
        Ok(())
    }

    fn attend(&mut self, layer: usize, q: &Tensor, queries: &[SequenceRows<'_>]) -> Result<Tensor> {
        let (num_rows, heads, width) = q.dims3()?;
        let (mut pieces, mut order) = (Vec::new(), Vec::new());
        let (mut newest, prompts): (Vec<&SequenceRows<'_>>, Vec<_>) =
            queries.iter().partition(|query| query.rows.len() == 1);
        // Sequences of like lengths together, so that little of a batch is padding.
        newest.sort_by_key(|query| query.position);
        let mut rest = &newest[..];
        while let Some(shortest) = rest.first() {
            let fits = |count: &usize| *count * (rest[count - 1].position + 1) <= GATHERED_POSITIONS;
            let alike = |count: &usize| rest[count - 1].position <= 2 * shortest.position + BLOCK_TOKENS;
            let count = (1..=rest.len()).take_while(|count| fits(count) && alike(count)).last().unwrap_or(1);
            pieces.push(self.attend_newest(layer, q, &rest[..count])?);
            order.extend(rest[..count].iter().map(|query| query.rows.start));
            rest = &rest[count..];
        }
        for rows in prompts {
            pieces.push(self.attend_prompt(layer, q, rows)?);
            order.extend(rows.rows.clone());
        }
        let missing = num_rows - order.len();
        if missing > 0 {
            pieces.push(Tensor::zeros((missing, heads, width), q.dtype(), &self.device)?);
            order.extend((0..num_rows).filter(|row| !queries.iter().any(|query| query.rows.contains(row))));
        }
        let mut places = vec![0_u32; num_rows];
        order.iter().enumerate().for_each(|(place, &row)| places[row] = place as u32);
        let places = Tensor::from_vec(places, num_rows, &self.device)?;
        Tensor::cat(&pieces, 0)?.to_dtype(q.dtype())?.index_select(&places, 0)
    }

    fn copy(&mut self, from: BlockId, to: BlockId) -> Result<()> {
        for layer in 0..self.pools.len() {
            self.make_room(layer, from.max(to))?;
            for pool in &self.pools[layer] {
                let block = pool.narrow(0, from as usize * BLOCK_TOKENS, BLOCK_TOKENS)?.copy()?;
                pool.slice_set(&block, 0, to as usize * BLOCK_TOKENS)?;
            }
        }
        Ok(())
    }
}
