//! Forest attention on a card: launches of the kernels of `cuda/attention`, forward and backward.
//!
//! The function is [`crate::attention::attention()`] in bf16 with f32 sums, for heads of width 64, 96 and 128. The forward
//! keeps the log-sum-exp of each row, so the backward computes the weights of a tile again and nothing of size `N x N`
//! exists (Dao et al. 2022, "FlashAttention"). Which tiles meet is planned on the host once a batch ([`BlockMask`]), copied
//! to the card and used in all layers. No sum depends on the order of thread blocks, so equal inputs give equal bits.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, sys};
use candle_core::cuda_backend::{CudaDevice, CudaStorage, DeviceId, WrapErr};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor};
use sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as MULTIPROCESSORS;

use super::{
    Family, Grid, NOTHING, address, card, function, launch_with, on_card_only, room, room_like, storage_address,
};
use crate::attention::block_mask::{BlockMask, TileShape, row_intervals};
use crate::attention::{Attention, Mask, Sizes, check_segments};
use crate::nn::Segment;

const NAME: &str = "forest attention";

/// Widths of a head that the kernels are compiled for.
const WIDTHS: [usize; 3] = [64, 96, 128];

/// Which of the two sets of tiles: `large` reads shared memory less often, which is the limit on an H100.
const TILES: &str = "large";

/// Threads of the kernels that go through all elements once.
const STREAMING_THREADS: u32 = 256;

/// Heads and rows that one block of `forest_preprocess_D` takes.
const PREPROCESSED: usize = 8;

/// Plans of the last batches, the newest first: a step goes back and forth between few.
const KEPT_PLANS: usize = 4;

/// Whether the kernels take these queries.
fn has_forest_attention(q: &Tensor) -> bool {
    q.device().is_cuda() && q.dims3().is_ok_and(|(.., width)| ForestAttention::takes(q.dtype(), width))
}

/// The kernels as an implementation of attention, on the tape.
#[derive(Clone, Copy, Debug)]
pub struct ForestKernels;

impl Attention for ForestKernels {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, q: &Tensor, _: usize, layout: crate::attention::Layout<'_>) -> bool {
        layout.mask == Mask::Causal && has_forest_attention(q)
    }

    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, layout: crate::attention::Layout<'_>) -> Result<Tensor> {
        let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
        let forest = ForestAttention::new(&q, &k, layout.segments)?;
        q.apply_op3(&k, &v, Taped { forest, log_sum_exp: OnceLock::new() })
    }
}

/// `forest::Shape`.
#[repr(C)]
#[derive(Clone, Copy)]
struct KernelShape {
    rows: i32,
    heads: i32,
    kv_heads: i32,
    scale: f32,
}

impl From<Sizes> for KernelShape {
    fn from(sizes: Sizes) -> Self {
        let [rows, heads, kv_heads] = [sizes.rows, sizes.heads, sizes.kv_heads].map(|size| size as i32);
        Self { rows, heads, kv_heads, scale: (1.0 / (sizes.width as f64).sqrt()) as f32 }
    }
}

/// `forest::ForwardArguments`.
#[repr(C)]
struct ForwardArguments {
    shape: KernelShape,
    q: sys::CUdeviceptr,
    k: sys::CUdeviceptr,
    v: sys::CUdeviceptr,
    table: sys::CUdeviceptr,
    items: sys::CUdeviceptr,
    list: sys::CUdeviceptr,
    out: sys::CUdeviceptr,
    log_sum_exp: sys::CUdeviceptr,
}

/// `forest::PreprocessArguments`.
#[repr(C)]
struct PreprocessArguments {
    shape: KernelShape,
    padded: i32,
    out: sys::CUdeviceptr,
    out_gradient: sys::CUdeviceptr,
    log_sum_exp: sys::CUdeviceptr,
    statistics: sys::CUdeviceptr,
}

/// `forest::BackwardArguments`.
#[repr(C)]
#[derive(Clone, Copy)]
struct BackwardArguments {
    shape: KernelShape,
    padded: i32,
    q: sys::CUdeviceptr,
    k: sys::CUdeviceptr,
    v: sys::CUdeviceptr,
    out_gradient: sys::CUdeviceptr,
    table: sys::CUdeviceptr,
    statistics: sys::CUdeviceptr,
    items: sys::CUdeviceptr,
    list: sys::CUdeviceptr,
    q_gradient: sys::CUdeviceptr,
    k_gradient: sys::CUdeviceptr,
    v_gradient: sys::CUdeviceptr,
    partial: sys::CUdeviceptr,
}

/// `forest::ReduceArguments`.
#[repr(C)]
struct ReduceArguments {
    shape: KernelShape,
    items: sys::CUdeviceptr,
    partial: sys::CUdeviceptr,
    k_gradient: sys::CUdeviceptr,
    v_gradient: sys::CUdeviceptr,
}

// Plain numbers in C's layout, as `cuda/attention/arguments.h` declares them.
unsafe impl DeviceRepr for ForwardArguments {}
unsafe impl DeviceRepr for PreprocessArguments {}
unsafe impl DeviceRepr for BackwardArguments {}
unsafe impl DeviceRepr for ReduceArguments {}

const _: () = {
    assert!(size_of::<ForwardArguments>() == 80 && size_of::<PreprocessArguments>() == 56);
    assert!(size_of::<BackwardArguments>() == 120 && size_of::<ReduceArguments>() == 48);
    assert!(std::mem::offset_of!(BackwardArguments, items) == 72 && std::mem::offset_of!(BackwardArguments, q) == 24);
    assert!(std::mem::offset_of!(PreprocessArguments, out) == 24);
};

/// A kernel's launch and tiles, from `cuda/attention/kernels.tsv`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KernelTiles {
    name: String,
    threads: u32,
    shared_bytes: u32,
    shape: TileShape,
}

impl KernelTiles {
    fn find(name: String) -> Result<Self> {
        let lines = include_str!("../../cuda/attention/kernels.tsv").lines();
        let mut rows = lines.map(|line| line.split('\t').collect::<Vec<_>>());
        let numbers = rows.find(|row| row[0] == name).map(|row| row[1..].iter().map(|field| field.parse()).collect());
        let Some(Ok::<Vec<usize>, _>(numbers)) = numbers else { candle_core::bail!("{NAME}: no tiles for {name}") };
        let [threads, shared_bytes, own, other, warp_rows] = numbers[..] else {
            candle_core::bail!("{NAME}: {} numbers for {name}, five are expected", numbers.len());
        };
        let shape = TileShape { own, other, warp_rows };
        Ok(Self { name, threads: threads as u32, shared_bytes: shared_bytes as u32, shape })
    }

    fn launch<A: DeviceRepr>(&self, device: &CudaDevice, num_blocks: usize, arguments: &A) -> Result<()> {
        let function = function(device, Family::Attention, &self.name, self.shared_bytes)?;
        let grid = Grid { blocks: num_blocks, threads: self.threads, shared_bytes: self.shared_bytes };
        launch_with(device, &function, grid, arguments)
    }
}

/// Lists of one kernel on the card.
struct DeviceLists {
    tiles: KernelTiles,
    list: CudaSlice<u32>,
    items: CudaSlice<i32>,
    num_items: usize,
}

impl DeviceLists {
    fn new(device: &CudaDevice, tiles: KernelTiles, mask: &BlockMask) -> Result<Self> {
        let Some(list) = mask.pairs.iter().map(|pair| pair.encoded()).collect::<Option<Vec<u32>>>() else {
            candle_core::bail!("{NAME}: {} tiles are too many", mask.items.len());
        };
        let items = mask.items.iter().flat_map(|item| {
            let slot = item.slot.map_or(-1, |slot| slot as i32);
            [item.tile as i32, item.begin as i32, item.end as i32, slot]
        });
        Ok(Self {
            tiles,
            list: device.clone_htod(&list)?,
            items: device.clone_htod(&items.collect::<Vec<i32>>())?,
            num_items: mask.items.len(),
        })
    }
}

/// What the kernels need to know of a batch, on the card.
struct DevicePlan {
    /// Position and reach of each row, padded to whole tiles.
    table: CudaSlice<i32>,
    padded: usize,
    forward: DeviceLists,
    query_gradient: DeviceLists,
    key_gradients: DeviceLists,
    /// Tiles of keys that were cut: tile, first slot, number of slots, 0.
    reductions: CudaSlice<i32>,
    num_reductions: usize,
    num_slots: usize,
}

type PlanKey = (DeviceId, Sizes, Vec<Segment>);
/// The newest plans, the last one first.
type Plans = VecDeque<(PlanKey, Arc<DevicePlan>)>;
static PLANS: LazyLock<Mutex<Plans>> = LazyLock::new(Mutex::default);

impl DevicePlan {
    fn cached(device: &CudaDevice, segments: &[Segment], sizes: Sizes) -> Result<Arc<Self>> {
        let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |((id, of, rows), _): &(PlanKey, _)| *id == device.id() && *of == sizes && rows == segments;
        if let Some((_, plan)) = plans.iter().find(|plan| known(plan)) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(Self::new(device, segments, sizes)?);
        plans.push_front(((device.id(), sizes, segments.to_vec()), plan.clone()));
        plans.truncate(KEPT_PLANS);
        Ok(plan)
    }

    fn new(device: &CudaDevice, segments: &[Segment], sizes: Sizes) -> Result<Self> {
        let tiles = |kernel: &str| KernelTiles::find(format!("forest_{kernel}_{TILES}_{}", sizes.width));
        let (forward, query_gradient, key_gradients) = (tiles("forward")?, tiles("dq")?, tiles("dkv")?);
        let of_queries = |tiles: KernelTiles| {
            let mask = BlockMask::of_queries(segments, tiles.shape);
            DeviceLists::new(device, tiles, &mask)
        };
        // Two blocks of `dkv` fit on a multiprocessor at most.
        let num_blocks = 2 * device.cuda_stream().context().attribute(MULTIPROCESSORS).w()? as usize;
        let keys = BlockMask::of_keys(segments, key_gradients.shape, sizes.group(), sizes.kv_heads, num_blocks);
        let reductions = keys.reductions.iter();
        let reductions = reductions.flat_map(|cut| [cut.tile as i32, cut.first_slot as i32, cut.num_slots as i32, 0]);
        let table = row_intervals(segments);
        Ok(Self {
            padded: table.len(),
            table: copied(device, table.iter().flat_map(|row| [row.position, row.reach]))?,
            forward: of_queries(forward)?,
            query_gradient: of_queries(query_gradient)?,
            reductions: copied(device, reductions)?,
            num_reductions: keys.reductions.len(),
            num_slots: keys.num_slots,
            key_gradients: DeviceLists::new(device, key_gradients, &keys)?,
        })
    }
}

/// Numbers on the card; where there are none, room for one, as nothing is allocated for nothing.
fn copied(device: &CudaDevice, numbers: impl Iterator<Item = i32>) -> Result<CudaSlice<i32>> {
    let mut numbers: Vec<i32> = numbers.collect();
    numbers.resize(numbers.len().max(1), 0);
    device.clone_htod(&numbers)
}

/// Attention over the forest of one batch: its plan, and launches into memory that is there. Nothing goes on a tape.
#[derive(Clone)]
pub struct ForestAttention {
    sizes: Sizes,
    plan: Arc<DevicePlan>,
}

impl std::fmt::Debug for ForestAttention {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ForestAttention").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

/// What a backward of [`ForestAttention`] works in; the same for all layers of a batch.
#[derive(Clone, Debug)]
pub struct AttentionScratch {
    /// Log-sum-exp and `sum(out * out_gradient)` of each row, heads first, padded to whole tiles.
    statistics: Tensor,
    /// Parts of the gradients of keys and values whose tiles were cut.
    partial: Tensor,
}

impl ForestAttention {
    /// Attention of queries of the shape of `q` `[N, H, D]` over keys of the shape of `k` `[N, K, D]`. The plan of a batch is made
    /// once, and copied to the card once.
    ///
    /// # Errors
    /// If the kernels do not take such queries ([`Self::takes`]), `q`, `k` and the segments do not fit, or the card refuses the plan.
    pub fn new(q: &Tensor, k: &Tensor, segments: &[Segment]) -> Result<Self> {
        if !has_forest_attention(q) {
            candle_core::bail!("{NAME}: {:?} of {:?} is no query of these kernels", q.shape(), q.dtype());
        }
        let sizes = Sizes::new(q.shape(), k.shape())?;
        check_segments(segments, sizes.rows)?;
        Ok(Self { sizes, plan: DevicePlan::cached(card(q)?, segments, sizes)? })
    }

    /// Whether there are kernels for heads of this type and width.
    pub fn takes(dtype: DType, head_width: usize) -> bool {
        dtype == DType::BF16 && WIDTHS.contains(&head_width)
    }

    /// Writes the output `[N, H, D]`, and the logarithm of the sum of exponentials of each row, `[H, N]` in f32.
    ///
    /// # Errors
    /// If a tensor has another shape or type, or the card refuses.
    pub fn forward(&self, inputs: [&Tensor; 3], out: &Tensor, log_sum_exp: &Tensor) -> Result<()> {
        self.check_inputs(inputs, out, log_sum_exp)?;
        let [q, k, v] = inputs;
        self.launch_forward(card(q)?, [address(q)?, address(k)?, address(v)?], address(out)?, address(log_sum_exp)?)
    }

    /// Memory for [`Self::backward`].
    ///
    /// # Errors
    /// If the card refuses it.
    pub fn scratch(&self, device: &CudaDevice) -> Result<AttentionScratch> {
        let (plan, Sizes { heads, kv_heads, width, .. }) = (&self.plan, self.sizes);
        let own = plan.key_gradients.tiles.shape.own;
        Ok(AttentionScratch {
            statistics: room_like((heads, plan.padded, 2), DType::F32, device)?,
            partial: room_like((plan.num_slots, kv_heads, 2, own, width), DType::F32, device)?,
        })
    }

    /// Writes the gradients of queries, keys and values, for what the forward read and wrote and the gradient of its output.
    ///
    /// # Errors
    /// If a tensor has another shape or type, or the card refuses.
    pub fn backward(
        &self,
        inputs: [&Tensor; 3],
        (out, log_sum_exp): (&Tensor, &Tensor),
        out_gradient: &Tensor,
        gradients: [&Tensor; 3],
        scratch: &AttentionScratch,
    ) -> Result<()> {
        self.check_inputs(inputs, out, log_sum_exp)?;
        self.check_inputs(gradients, out_gradient, log_sum_exp)?;
        let device = card(out)?;
        let (plan, Sizes { heads, kv_heads, width, .. }) = (&self.plan, self.sizes);
        let stream = device.cuda_stream();
        let (shape, padded) = (KernelShape::from(self.sizes), plan.padded as i32);
        let preprocess = PreprocessArguments {
            shape,
            padded,
            out: address(out)?,
            out_gradient: address(out_gradient)?,
            log_sum_exp: address(log_sum_exp)?,
            statistics: address(&scratch.statistics)?,
        };
        let streaming = |blocks: usize| Grid { blocks, threads: STREAMING_THREADS, shared_bytes: 0 };
        let kernel = function(device, Family::Attention, &format!("forest_preprocess_{width}"), 0)?;
        launch_with(device, &kernel, streaming(plan.padded * heads / PREPROCESSED), &preprocess)?;
        let arguments = BackwardArguments {
            shape,
            padded,
            q: address(inputs[0])?,
            k: address(inputs[1])?,
            v: address(inputs[2])?,
            out_gradient: preprocess.out_gradient,
            table: plan.table.device_ptr(&stream).0,
            statistics: preprocess.statistics,
            items: NOTHING,
            list: NOTHING,
            q_gradient: address(gradients[0])?,
            k_gradient: address(gradients[1])?,
            v_gradient: address(gradients[2])?,
            partial: address(&scratch.partial)?,
        };
        for (lists, of_item) in [(&plan.query_gradient, heads), (&plan.key_gradients, kv_heads)] {
            let (items, list) = (lists.items.device_ptr(&stream).0, lists.list.device_ptr(&stream).0);
            let arguments = BackwardArguments { items, list, ..arguments };
            lists.tiles.launch(device, lists.num_items * of_item, &arguments)?;
        }
        let reduce = ReduceArguments {
            shape,
            items: plan.reductions.device_ptr(&stream).0,
            partial: arguments.partial,
            k_gradient: arguments.k_gradient,
            v_gradient: arguments.v_gradient,
        };
        let kernel = function(device, Family::Attention, &format!("forest_reduce_{TILES}_{width}"), 0)?;
        launch_with(device, &kernel, streaming(plan.num_reductions * kv_heads), &reduce)
    }

    /// Refuses what the kernels would read or write beyond its end.
    fn check_inputs(&self, [q, k, v]: [&Tensor; 3], out: &Tensor, log_sum_exp: &Tensor) -> Result<()> {
        let Sizes { rows, heads, kv_heads, width } = self.sizes;
        let of = |heads: usize| (DType::BF16, rows * heads * width);
        for (tensor, (dtype, count)) in [
            (q, of(heads)),
            (k, of(kv_heads)),
            (v, of(kv_heads)),
            (out, of(heads)),
            (log_sum_exp, (DType::F32, rows * heads)),
        ] {
            if tensor.dtype() != dtype || tensor.elem_count() != count {
                candle_core::bail!("{NAME}: {count} elements of {dtype:?} are expected, not {tensor:?}");
            }
        }
        Ok(())
    }

    fn launch_forward(
        &self,
        device: &CudaDevice,
        [q, k, v]: [sys::CUdeviceptr; 3],
        out: sys::CUdeviceptr,
        log_sum_exp: sys::CUdeviceptr,
    ) -> Result<()> {
        let (lists, stream) = (&self.plan.forward, device.cuda_stream());
        let arguments = ForwardArguments {
            shape: self.sizes.into(),
            q,
            k,
            v,
            table: self.plan.table.device_ptr(&stream).0,
            items: lists.items.device_ptr(&stream).0,
            list: lists.list.device_ptr(&stream).0,
            out,
            log_sum_exp,
        };
        lists.tiles.launch(device, lists.num_items * self.sizes.heads, &arguments)
    }
}

/// The attention as an operation of candle's tape.
struct Taped {
    forest: ForestAttention,
    /// `[H, N]`, natural logarithm; set by the forward.
    log_sum_exp: OnceLock<Tensor>,
}

impl Taped {
    /// Gradients of queries, keys and values.
    fn backward(&self, inputs: [&Tensor; 3], out: &Tensor, out_gradient: &Tensor) -> Result<[Tensor; 3]> {
        let Some(log_sum_exp) = self.log_sum_exp.get() else { candle_core::bail!("{NAME}: backward before forward") };
        let device = card(out)?;
        let room = |x: &Tensor| room_like(x.shape(), DType::BF16, device);
        let gradients = [room(inputs[0])?, room(inputs[1])?, room(inputs[2])?];
        let scratch = self.forest.scratch(device)?;
        self.forest.backward(inputs, (out, log_sum_exp), out_gradient, gradients.each_ref(), &scratch)?;
        Ok(gradients)
    }
}

impl CustomOp3 for Taped {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        on_card_only(NAME)
    }

    fn cuda_fwd(
        &self,
        q: &CudaStorage,
        q_l: &Layout,
        k: &CudaStorage,
        k_l: &Layout,
        v: &CudaStorage,
        v_l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let inputs = [storage_address(q, q_l)?, storage_address(k, k_l)?, storage_address(v, v_l)?];
        let Sizes { rows, heads, .. } = self.forest.sizes;
        let out = room(&q.device, DType::BF16, q_l.shape().elem_count())?;
        let log_sum_exp = room_like((heads, rows), DType::F32, &q.device)?;
        let to = storage_address(&out, &Layout::contiguous(q_l.shape()))?;
        self.forest.launch_forward(&q.device, inputs, to, address(&log_sum_exp)?)?;
        // An operation is applied once, so nothing was there.
        let _ = self.log_sum_exp.set(log_sum_exp);
        Ok((out, q_l.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [q_gradient, k_gradient, v_gradient] = self.backward([q, k, v], out, &grad.contiguous()?)?;
        Ok((Some(q_gradient), Some(k_gradient), Some(v_gradient)))
    }
}

/// These run on a card, or under the driver that executes (`scripts/cuda-record.sh execute`).
#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::attention::parity::{definition, difference, inputs, segments};

    /// Output, and gradients for a slope of it. Without a tape: its backward begins with candle's kernels.
    fn found(inputs: [&Tensor; 3], slope: &Tensor, segments: &[Segment]) -> Result<[Tensor; 4]> {
        let [q, k, v] = inputs;
        let (forest, device) = (ForestAttention::new(q, k, segments)?, card(q)?);
        let room = |x: &Tensor| room_like(x.shape(), DType::BF16, device);
        let (out, log_sum_exp) = (room(q)?, room_like((q.dim(1)?, q.dim(0)?), DType::F32, device)?);
        forest.forward(inputs, &out, &log_sum_exp)?;
        let [dq, dk, dv] = [room(q)?, room(k)?, room(v)?];
        forest.backward(inputs, (&out, &log_sum_exp), slope, [&dq, &dk, &dv], &forest.scratch(device)?)?;
        Ok([out, dq, dk, dv])
    }

    #[test]
    fn equals_the_kernel_of_the_cpu() -> Result<()> {
        let card = Device::new_cuda(0)?;
        let forests: [&[(usize, Option<usize>)]; 4] = [
            &[(1, None)],
            &[(150, None), (40, Some(0)), (70, Some(0)), (7, None), (0, None), (3, Some(3)), (35, Some(2))],
            &[(300, None)],
            &[(260, None), (9, Some(0)), (9, Some(0)), (9, Some(0)), (9, Some(0)), (9, Some(0)), (130, Some(0))],
        ];
        for (forest, width, heads, kv_heads) in [
            (forests[0], 64, 2, 1),
            (forests[1], 64, 4, 2),
            (forests[2], 96, 2, 2),
            (forests[1], 128, 7, 1),
            (forests[3], 128, 8, 2),
        ] {
            let (segments, rows) = segments(forest);
            let rounded = |x: &Tensor| x.to_dtype(DType::BF16)?.to_dtype(DType::F64);
            let host =
                inputs(rows, heads, kv_heads, width, DType::F32)?.iter().map(rounded).collect::<Result<Vec<_>>>()?;
            let slope = rounded(&inputs(rows, heads, kv_heads, width, DType::F32)?[0].affine(-0.7, 0.1)?)?;
            let layout = crate::attention::Layout::causal(&segments);
            let expected = definition([&host[0], &host[1], &host[2]], &slope, layout)?;

            let put = |x: &Tensor| x.to_dtype(DType::BF16)?.to_device(&card);
            let device_inputs = host.iter().map(put).collect::<Result<Vec<_>>>()?;
            let [q, k, v] = &device_inputs[..] else { unreachable!("three inputs") };
            let found = found([q, k, v], &put(&slope)?, &segments)?;
            for (name, (found, expected)) in ["out", "dq", "dk", "dv"].into_iter().zip(found.iter().zip(&expected)) {
                let error = difference(found, expected)?;
                // bf16 has 8 bits; the weights and slopes are rounded to it for the second products.
                assert!(error < 0.01, "{name} of {forest:?}, width {width}: {error}");
            }
            // The same bits every time.
            let again = ForestKernels.attend(q, k, v, layout)?;
            assert_eq!(difference(&again, &found[0].to_device(&Device::Cpu)?)?, 0.0);
        }
        Ok(())
    }
}
