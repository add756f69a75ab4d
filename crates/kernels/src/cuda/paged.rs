//! Paged KV cache on a card: attention that reads blocks where they lie, writes of new tokens, copies of blocks. Launches
//! of the kernels of `cuda/paged`.
//!
//! Letters: `L` layers, `N` rows of a pass (tokens), `H` query heads, `K` key/value heads, `D` head width (64, 96, 128).
//!
//! The pool is one bf16 tensor `[L, 2, blocks, K, 32, D]` (keys, then values of a layer), so the keys of a block and head
//! are one run of `32 D` elements, and a position is slot `block * 32 + offset`. Its size is fixed when it is made.
//!
//! Once a pass the host says which rows belong to which sequence ([`PagedTables::fill`], one copy to the card: block tables,
//! positions and slots of rows, plan of the attention). Each layer then is [`KvPool::write`] and [`KvPool::attend`]: one
//! launch to write, one to attend, one to merge parts by log-sum-exp if anything was split. Nothing is allocated or copied
//! in these, and what they launch depends on [`PagedTables::layout`] alone, so that they can be captured in a CUDA graph and
//! replayed after another `fill` of the same layout. No sum depends on the order of thread blocks, so equal passes give
//! equal bits; where a row's keys are cut depends on what else is in the pass, and with it the last bits of its output.

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, sys};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{DType, Device, Result, Tensor};
use sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as MULTIPROCESSORS;

use super::{Family, Grid, address, card, function, launch_with};
use crate::attention::paged::plan::PagedPlan;
use crate::attention::paged::{BLOCK_TOKENS, Heads, SequenceRows};

/// Widths of a head that the kernels are compiled for.
const WIDTHS: [usize; 3] = [64, 96, 128];

/// Query heads to a key/value head, at most: the rows of the largest tile.
const LARGEST_GROUP: usize = 64;

const ATTENTION_THREADS: u32 = 128;
const STREAMING_THREADS: u32 = 256;

/// Rows and heads that one block of `paged_merge_D` takes.
const MERGED: usize = 8;

/// Elements that a thread of `paged_write` and `paged_copy` takes at a time: 16 bytes.
const CHUNK: usize = 8;

/// Numbers of an item, a merge and an entry.
const ITEM: usize = 8;
const MERGE: usize = 4;
const ENTRY: usize = 2;

/// Elements of a block's keys in a layer, or of its values.
fn block_elements(heads: Heads) -> usize {
    heads.row() * BLOCK_TOKENS
}

/// Whether the kernels take these heads: a width of 64, 96 or 128, at most 64 query heads to a key/value head.
pub fn has_paged_attention(device: &Device, heads: Heads) -> bool {
    let Heads { query, key_value, width } = heads;
    let is_grouped =
        key_value > 0 && query.is_multiple_of(key_value) && (1..=LARGEST_GROUP).contains(&(query / key_value));
    device.is_cuda() && WIDTHS.contains(&width) && is_grouped
}

/// `paged::AttentionArguments`.
#[repr(C)]
struct AttentionArguments {
    heads: i32,
    kv_heads: i32,
    max_blocks: i32,
    scale: f32,
    q: sys::CUdeviceptr,
    keys: sys::CUdeviceptr,
    values: sys::CUdeviceptr,
    block_tables: sys::CUdeviceptr,
    positions: sys::CUdeviceptr,
    items: sys::CUdeviceptr,
    entries: sys::CUdeviceptr,
    out: sys::CUdeviceptr,
    partial: sys::CUdeviceptr,
    log_sum_exp: sys::CUdeviceptr,
}

/// `paged::MergeArguments`.
#[repr(C)]
struct MergeArguments {
    heads: i32,
    count: i32,
    merges: sys::CUdeviceptr,
    partial: sys::CUdeviceptr,
    log_sum_exp: sys::CUdeviceptr,
    out: sys::CUdeviceptr,
}

/// `paged::WriteArguments`.
#[repr(C)]
struct WriteArguments {
    rows: i32,
    kv_heads: i32,
    width: i32,
    unused: i32,
    k: sys::CUdeviceptr,
    v: sys::CUdeviceptr,
    slots: sys::CUdeviceptr,
    keys: sys::CUdeviceptr,
    values: sys::CUdeviceptr,
}

/// `paged::CopyArguments`.
#[repr(C)]
struct CopyArguments {
    panels: i32,
    blocks: i32,
    chunks: i32,
    unused: i32,
    pairs: sys::CUdeviceptr,
    pool: sys::CUdeviceptr,
}

// Plain numbers in C's layout, as `cuda/paged/arguments.h` declares them.
unsafe impl DeviceRepr for AttentionArguments {}
unsafe impl DeviceRepr for MergeArguments {}
unsafe impl DeviceRepr for WriteArguments {}
unsafe impl DeviceRepr for CopyArguments {}

const _: () = {
    assert!(size_of::<AttentionArguments>() == 96 && size_of::<MergeArguments>() == 40);
    assert!(size_of::<WriteArguments>() == 56 && size_of::<CopyArguments>() == 32);
    assert!(std::mem::offset_of!(AttentionArguments, items) == 56 && std::mem::offset_of!(WriteArguments, k) == 16);
};

/// Dynamic shared memory of `paged_attention_D`: queries, and two stages of keys and values, of 64 rows each.
fn shared_bytes(width: usize) -> u32 {
    (5 * 64 * width * DType::BF16.size_in_bytes()) as u32
}

/// Launches a kernel that goes through its elements once.
fn stream<A: DeviceRepr>(device: &CudaDevice, name: &str, num_blocks: usize, arguments: &A) -> Result<()> {
    let grid = Grid { blocks: num_blocks, threads: STREAMING_THREADS, shared_bytes: 0 };
    launch_with(device, &function(device, Family::Paged, name, 0)?, grid, arguments)
}

/// `number` or a little more, of three significant bits: what depends on it changes seldom.
fn rounded(number: usize) -> usize {
    number.next_multiple_of((number.next_power_of_two() / 8).max(4))
}

/// Tables of one pass on the card. Rows that are in no sequence (padding of a bucket) are written to no slot and get an
/// output of zeros.
pub struct PagedTables {
    device: CudaDevice,
    heads: Heads,
    /// Thread blocks of the attention that run at a time.
    num_blocks: usize,
    layout: TablesLayout,
    /// The greatest number of a block in the tables.
    most_block: usize,
    /// Items, merges, entries, positions, slots and block tables, one after the other.
    numbers: CudaSlice<i32>,
    /// What was copied there last.
    host: Vec<i32>,
    /// `[parts, H, D]` and `[parts, H]`: outputs of the parts, and their log-sum-exp.
    partial: CudaSlice<f32>,
    log_sum_exp: CudaSlice<f32>,
}

/// What launches depend on: addresses and numbers of thread blocks. A graph may be replayed exactly while this equals what
/// it was when it was captured. Numbers are rounded up to three significant bits, so that it changes seldom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TablesLayout {
    rows: usize,
    items: usize,
    merges: usize,
    entries: usize,
    /// Of a row of the block tables.
    max_blocks: usize,
    numbers: sys::CUdeviceptr,
    partial: sys::CUdeviceptr,
    log_sum_exp: sys::CUdeviceptr,
}

impl TablesLayout {
    /// Where the tables after the items begin, in numbers: merges, entries, positions, slots, block tables.
    fn offsets(&self) -> [usize; 5] {
        let merges = self.items * ITEM;
        let entries = merges + self.merges * MERGE;
        let positions = entries + self.entries * ENTRY;
        [merges, entries, positions, positions + self.rows, positions + 2 * self.rows]
    }

    /// Addresses of the same.
    fn addresses(&self) -> [sys::CUdeviceptr; 5] {
        self.offsets().map(|offset| self.numbers + (offset * size_of::<i32>()) as sys::CUdeviceptr)
    }
}

impl PagedTables {
    /// Empty tables for passes of these heads.
    ///
    /// # Errors
    /// If the kernels do not take these heads ([`has_paged_attention`]), or there is no memory.
    pub fn new(device: &Device, heads: Heads) -> Result<Self> {
        let Device::Cuda(card) = device else { candle_core::bail!("paged attention: a card is expected") };
        if !has_paged_attention(device, heads) {
            candle_core::bail!("paged attention: no kernel for {heads:?}");
        }
        // Two blocks fit on a multiprocessor where the heads are widest.
        let num_blocks = 2 * card.cuda_stream().context().attribute(MULTIPROCESSORS).w()? as usize;
        Ok(Self {
            device: card.clone(),
            heads,
            num_blocks,
            layout: TablesLayout::default(),
            most_block: 0,
            numbers: card.alloc_zeros(1)?,
            host: Vec::new(),
            partial: card.alloc_zeros(1)?,
            log_sum_exp: card.alloc_zeros(1)?,
        })
    }

    /// Plans a pass of `num_rows` rows and copies its tables to the card, in one copy. The buffers grow where they must, to
    /// powers of two.
    ///
    /// # Errors
    /// If a sequence has no rows, rows that are not of the pass or of another sequence, or too few blocks.
    pub fn fill(&mut self, sequences: &[SequenceRows<'_>], num_rows: usize) -> Result<()> {
        let Heads { query, key_value, width } = self.heads;
        let plan = PagedPlan::new(sequences, num_rows, self.heads.group(), key_value, self.num_blocks)?;
        let max_blocks = rounded(sequences.iter().map(|sequence| sequence.table().len()).max().unwrap_or(1));
        let blocks = sequences.iter().flat_map(SequenceRows::table);
        self.most_block = blocks.max().map_or(0, |&block| block as usize);
        let mut layout = TablesLayout {
            rows: num_rows,
            items: rounded(plan.items.len()),
            merges: if plan.merges.is_empty() { 0 } else { rounded(plan.merges.len()) },
            entries: rounded(plan.entries.len()),
            max_blocks,
            ..TablesLayout::default()
        };
        let [merges, entries, positions, slots, tables] = layout.offsets();
        let host = &mut self.host;
        host.clear();
        host.resize(tables + sequences.len() * max_blocks, 0);
        for (to, item) in host[..merges].chunks_exact_mut(ITEM).zip(&plan.items) {
            let [first, count] = [item.entries.start, item.entries.len()];
            let numbers = [first, count, item.sequence, usize::from(item.is_wide)];
            let keys = [item.keys.start, item.keys.end, item.unmasked, 0];
            for (to, number) in to.iter_mut().zip(numbers.into_iter().chain(keys)) {
                *to = number as i32;
            }
        }
        // Merges without work are of row -1.
        host[merges..entries].chunks_exact_mut(MERGE).for_each(|to| to[0] = -1);
        for (to, merge) in host[merges..entries].chunks_exact_mut(MERGE).zip(&plan.merges) {
            to.copy_from_slice(&[merge.row as i32, merge.parts.start as i32, merge.parts.len() as i32, 0]);
        }
        for (to, entry) in host[entries..positions].chunks_exact_mut(ENTRY).zip(&plan.entries) {
            to.copy_from_slice(&[entry.row as i32, entry.part.map_or(-1, |part| part as i32)]);
        }
        for (to, &position) in host[positions..slots].iter_mut().zip(&plan.positions) {
            *to = position as i32;
        }
        for (to, slot) in host[slots..tables].iter_mut().zip(&plan.slots) {
            *to = slot.map_or(-1, |slot| slot as i32);
        }
        for (to, sequence) in host[tables..].chunks_exact_mut(max_blocks).zip(sequences) {
            for (to, &block) in to.iter_mut().zip(sequence.table()) {
                *to = block as i32;
            }
        }
        let device = &self.device;
        if self.numbers.len() < host.len() {
            self.numbers = device.alloc_zeros(host.len().next_power_of_two())?;
        }
        if self.log_sum_exp.len() < plan.num_parts * query {
            let parts = plan.num_parts.next_power_of_two();
            self.partial = device.alloc_zeros(parts * query * width)?;
            self.log_sum_exp = device.alloc_zeros(parts * query)?;
        }
        if !host.is_empty() {
            device.memcpy_htod(&host[..], &mut self.numbers.slice_mut(..host.len()))?;
        }
        let stream = device.cuda_stream();
        layout.numbers = self.numbers.device_ptr(&stream).0;
        layout.partial = self.partial.device_ptr(&stream).0;
        layout.log_sum_exp = self.log_sum_exp.device_ptr(&stream).0;
        self.layout = layout;
        Ok(())
    }

    /// What the launches of [`KvPool::write`] and [`KvPool::attend`] depend on.
    pub fn layout(&self) -> TablesLayout {
        self.layout
    }
}

/// Keys and values of all layers.
pub struct KvPool {
    heads: Heads,
    num_layers: usize,
    num_blocks: usize,
    /// `[L, 2, blocks, K, 32, D]`.
    pool: Tensor,
}

impl KvPool {
    /// A pool of zeros.
    ///
    /// # Errors
    /// If there is no memory for it, or slots have numbers beyond 31 bits.
    pub fn new(device: &Device, num_layers: usize, num_blocks: usize, heads: Heads) -> Result<Self> {
        if num_blocks > i32::MAX as usize / BLOCK_TOKENS {
            candle_core::bail!("paged attention: {num_blocks} blocks are more than slots can number");
        }
        let Heads { key_value, width, .. } = heads;
        let shape = vec![num_layers, 2, num_blocks, key_value, BLOCK_TOKENS, width];
        Ok(Self { heads, num_layers, num_blocks, pool: Tensor::zeros(shape, DType::BF16, device)? })
    }

    /// Where the keys and the values of a layer begin.
    fn layer(&self, layer: usize) -> Result<[sys::CUdeviceptr; 2]> {
        if layer >= self.num_layers {
            candle_core::bail!("paged attention: layer {layer} of {}", self.num_layers);
        }
        let pool = address(&self.pool)?;
        let panel = self.num_blocks * block_elements(self.heads) * DType::BF16.size_in_bytes();
        Ok([2 * layer, 2 * layer + 1].map(|number| pool + (number * panel) as sys::CUdeviceptr))
    }

    /// Writes `k` (after rotation) and `v`, contiguous bf16 `[N, K, D]`, of a layer into the slots of their rows; 1 launch.
    ///
    /// # Errors
    /// If the tensors are not what is expected, or a slot is not of the pool.
    pub fn write(&self, layer: usize, k: &Tensor, v: &Tensor, tables: &PagedTables) -> Result<()> {
        let Heads { key_value, width, .. } = self.heads;
        let layout = tables.layout;
        self.check_tables(tables)?;
        for tensor in [k, v] {
            check(tensor, [layout.rows, key_value, width])?;
        }
        let [keys, values] = self.layer(layer)?;
        let [.., slots, _] = layout.addresses();
        let arguments = WriteArguments {
            rows: layout.rows as i32,
            kv_heads: key_value as i32,
            width: width as i32,
            unused: 0,
            k: address(k)?,
            v: address(v)?,
            slots,
            keys,
            values,
        };
        let chunks = layout.rows * key_value * width / CHUNK;
        stream(card(k)?, "paged_write", chunks.div_ceil(STREAMING_THREADS as usize), &arguments)
    }

    /// Causal attention of `q`, contiguous bf16 `[N, H, D]`, over the blocks of each row's sequence up to its own position,
    /// with a scale of `1 / sqrt(D)`, into `out` of the same shape and type, of which every element is written; 2 launches
    /// at most.
    ///
    /// # Errors
    /// If the tensors are not what is expected, or a block is not of the pool.
    pub fn attend(&self, layer: usize, q: &Tensor, tables: &PagedTables, out: &Tensor) -> Result<()> {
        let Heads { query, key_value, width } = self.heads;
        let layout = tables.layout;
        self.check_tables(tables)?;
        for tensor in [q, out] {
            check(tensor, [layout.rows, query, width])?;
        }
        let (device, [keys, values]) = (card(q)?, self.layer(layer)?);
        let [merges, entries, positions, _, block_tables] = layout.addresses();
        let out = address(out)?;
        let arguments = AttentionArguments {
            heads: query as i32,
            kv_heads: key_value as i32,
            max_blocks: layout.max_blocks as i32,
            scale: (1.0 / (width as f64).sqrt()) as f32,
            q: address(q)?,
            keys,
            values,
            block_tables,
            positions,
            items: layout.numbers,
            entries,
            out,
            partial: layout.partial,
            log_sum_exp: layout.log_sum_exp,
        };
        let shared_bytes = shared_bytes(width);
        let kernel = function(device, Family::Paged, &format!("paged_attention_{width}"), shared_bytes)?;
        let grid = Grid { blocks: layout.items * key_value, threads: ATTENTION_THREADS, shared_bytes };
        launch_with(device, &kernel, grid, &arguments)?;
        let arguments = MergeArguments {
            heads: query as i32,
            count: layout.merges as i32,
            merges,
            partial: layout.partial,
            log_sum_exp: layout.log_sum_exp,
            out,
        };
        stream(device, &format!("paged_merge_{width}"), (layout.merges * query).div_ceil(MERGED), &arguments)
    }

    /// Copies whole blocks `(from, to)` in all layers; 1 launch and 1 copy to the card.
    ///
    /// # Errors
    /// If a block is not of the pool, or one that is written is also read or written by another pair.
    pub fn copy_blocks(&self, pairs: &[(u32, u32)]) -> Result<()> {
        let mut written: Vec<u32> = pairs.iter().map(|&(_, to)| to).collect();
        written.sort_unstable();
        let is_twice = written.windows(2).any(|two| two[0] == two[1]);
        let is_read = pairs.iter().any(|(from, _)| written.binary_search(from).is_ok());
        let is_outside = pairs.iter().any(|&(from, to)| from.max(to) as usize >= self.num_blocks);
        if is_twice || is_read || is_outside {
            candle_core::bail!("paged attention: blocks {pairs:?} cannot be copied in a pool of {}", self.num_blocks);
        }
        let device = card(&self.pool)?;
        let numbers: Vec<i32> = pairs.iter().flat_map(|&(from, to)| [from as i32, to as i32]).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let numbers = device.clone_htod(&numbers)?;
        let panels = 2 * self.num_layers;
        let arguments = CopyArguments {
            panels: panels as i32,
            blocks: self.num_blocks as i32,
            chunks: (block_elements(self.heads) / CHUNK) as i32,
            unused: 0,
            pairs: numbers.device_ptr(&device.cuda_stream()).0,
            pool: address(&self.pool)?,
        };
        stream(device, "paged_copy", pairs.len() * panels, &arguments)
    }

    fn check_tables(&self, tables: &PagedTables) -> Result<()> {
        if tables.heads != self.heads {
            candle_core::bail!("paged attention: tables for {:?}, a pool of {:?}", tables.heads, self.heads);
        }
        if tables.most_block >= self.num_blocks {
            candle_core::bail!("paged attention: block {} of {}", tables.most_block, self.num_blocks);
        }
        Ok(())
    }
}

/// Whether a tensor is bf16 of a shape; its kernel's address says whether it is contiguous and on a card.
fn check(tensor: &Tensor, shape: [usize; 3]) -> Result<()> {
    if tensor.dtype() != DType::BF16 || tensor.dims() != shape {
        candle_core::bail!("paged attention: bf16 {shape:?} expected, got {:?} {:?}", tensor.dtype(), tensor.dims());
    }
    Ok(())
}

/// A pool with tables that are filled for each call, as the parity matrix takes a cache. The sampler fills them once a pass.
#[cfg(test)]
pub(crate) struct FilledEachTime {
    pool: KvPool,
    tables: PagedTables,
}

#[cfg(test)]
impl FilledEachTime {
    pub(crate) fn new(heads: Heads, num_layers: usize, num_blocks: usize, device: &Device) -> Result<Self> {
        let pool = KvPool::new(device, num_layers, num_blocks, heads)?;
        Ok(Self { pool, tables: PagedTables::new(device, heads)? })
    }
}

#[cfg(test)]
impl crate::attention::paged::KvCache for FilledEachTime {
    fn store(&mut self, layer: usize, k: &Tensor, v: &Tensor, sequences: &[SequenceRows<'_>]) -> Result<()> {
        self.tables.fill(sequences, k.dim(0)?)?;
        self.pool.write(layer, k, v, &self.tables)
    }

    fn attend(&mut self, layer: usize, q: &Tensor, sequences: &[SequenceRows<'_>]) -> Result<Tensor> {
        self.tables.fill(sequences, q.dim(0)?)?;
        let out = super::room_like(q.shape(), DType::BF16, card(q)?)?;
        self.pool.attend(layer, q, &self.tables, &out)?;
        Ok(out)
    }

    fn copy(&mut self, from: u32, to: u32) -> Result<()> {
        self.pool.copy_blocks(&[(from, to)])
    }
}

/// These run on a card, or under the driver that executes (`scripts/cuda-record.sh execute`).
#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::parity::{difference, inputs, segments};
    use crate::attention::{Layout, attention};

    #[test]
    fn equals_attention_of_the_cpu() -> Result<()> {
        let card = Device::new_cuda(0)?;
        for (width, query, key_value) in [(64, 4, 2), (96, 2, 2), (128, 7, 1)] {
            // A prompt of two blocks, three responses to it, and a sequence that has nothing to do with them.
            let (segments, num_rows) = segments(&[(64, None), (30, Some(0)), (41, Some(0)), (100, None), (1, Some(0))]);
            let blocks: [&[u32]; 5] = [&[5, 2], &[5, 2, 9], &[5, 2, 0, 7], &[3, 8, 1, 10], &[5, 2, 11]];
            let start = |segment: usize| segments[segment].prefix.map_or(0, |prefix| segments[prefix].rows.len());
            let rounded = |x: &Tensor| x.to_dtype(DType::BF16)?.to_dtype(DType::F64);
            let host = inputs(num_rows, query, key_value, width, DType::F32)?;
            let host = host.iter().map(rounded).collect::<Result<Vec<_>>>()?;
            let expected = attention(&host[0], &host[1], &host[2], Layout::causal(&segments))?;
            let put = |x: &Tensor| x.to_dtype(DType::BF16)?.to_device(&card);
            let heads = Heads { query, key_value, width };
            assert!(has_paged_attention(&card, heads));
            let pool = KvPool::new(&card, 2, 13, heads)?;
            let mut tables = PagedTables::new(&card, heads)?;
            let attend = |tables: &PagedTables, inputs: &[Tensor]| {
                pool.write(1, &put(&inputs[1])?, &put(&inputs[2])?, tables)?;
                let out = Tensor::zeros(inputs[0].shape(), DType::BF16, &card)?;
                pool.attend(1, &put(&inputs[0])?, tables, &out)?;
                Ok::<_, candle_core::Error>(out)
            };

            // All of them are read in one pass.
            let sequence = |segment: usize| {
                let (rows, position) = (segments[segment].rows.clone(), start(segment));
                SequenceRows { rows, position, blocks: blocks[segment] }
            };
            tables.fill(&(0..5).map(sequence).collect::<Vec<_>>(), num_rows)?;
            let error = difference(&attend(&tables, &host)?, &expected)?;
            assert!(error < 0.01, "prefill, width {width}: {error}");

            // The last token of each once more, and a row of padding.
            let last: Vec<u32> = segments.iter().map(|segment| segment.rows.end as u32 - 1).collect();
            let rows = Tensor::new([&last[..], &[0]].concat(), &Device::Cpu)?;
            let newest = host.iter().map(|x| x.index_select(&rows, 0)).collect::<Result<Vec<_>>>()?;
            let decode = |blocks: [&'static [u32]; 5]| {
                let position = |segment: usize| start(segment) + segments[segment].rows.len() - 1;
                let of = |number: usize| SequenceRows {
                    rows: number..number + 1,
                    position: position(number),
                    blocks: blocks[number],
                };
                (0..5).map(of).collect::<Vec<_>>()
            };
            tables.fill(&decode(blocks), 6)?;
            let (layout, out) = (tables.layout(), attend(&tables, &newest)?);
            let error = difference(&out.narrow(0, 0, 5)?, &expected.index_select(&rows.narrow(0, 0, 5)?, 0)?)?;
            assert!(error < 0.01, "decode, width {width}: {error}");
            let padding = out.narrow(0, 5, 1)?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
            assert_eq!(padding.abs()?.sum_all()?.to_scalar::<f64>()?, 0.0);

            // A copy of a block reads like the block, and the pass has the same layout.
            pool.copy_blocks(&[(11, 12), (7, 6)])?;
            tables.fill(&decode([blocks[0], blocks[1], &[5, 2, 0, 6], blocks[3], &[5, 2, 12]]), 6)?;
            assert_eq!(tables.layout(), layout);
            let again = attend(&tables, &newest)?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
            assert_eq!(difference(&out, &again)?, 0.0);

            assert!(pool.copy_blocks(&[(1, 1)]).is_err() && pool.copy_blocks(&[(0, 13)]).is_err());
            tables.fill(&[SequenceRows { rows: 0..1, position: 0, blocks: &[13] }], 6)?;
            assert!(attend(&tables, &newest).is_err(), "a block that is not of the pool");
        }
        Ok(())
    }

    #[test]
    fn launches_are_those_of_kernels_tsv() {
        let mut expected = String::from("kernel\tthreads\tshared_bytes\n");
        for width in WIDTHS {
            let bytes = shared_bytes(width);
            expected += &format!("paged_attention_{width}\t{ATTENTION_THREADS}\t{bytes}\n");
            expected += &format!("paged_merge_{width}\t{STREAMING_THREADS}\t0\n");
        }
        expected += &format!("paged_write\t{STREAMING_THREADS}\t0\npaged_copy\t{STREAMING_THREADS}\t0\n");
        assert_eq!(include_str!("../../cuda/paged/kernels.tsv"), expected);
    }

    #[test]
    fn numbers_are_rounded_to_three_bits() {
        for number in 0..5000_usize {
            let up = rounded(number);
            assert!(up >= number && (up - number) * 4 <= number.max(12));
            assert_eq!(rounded(up), up);
        }
    }
}
