//! CUDA kernels of this crate: embedded fat binaries, loading, and launches.
//!
//! All work of a device runs on its one stream, so kernels see what was launched before them. The sources are in `cuda/`,
//! one folder a family of kernels; `build.rs` compiles them.
#![expect(unsafe_code, reason = "the compiler cannot check what a kernel reads and writes")]

mod adamw;
mod attention;
mod gradients;
mod host_copy;
mod log_prob;
mod paged;
mod pointwise;
mod product;
mod sampling;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, result, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage, DeviceId, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor};
use half::bf16;

pub use adamw::{AdamWStep, AdamWTensor, adamw, has_adamw};
pub use attention::{AttentionScratch, ForestAttention, ForestKernels};
pub use gradients::clip_gradients;
pub use log_prob::LogProbRows;
pub(crate) use log_prob::{has_log_prob, log_prob};
#[cfg(test)]
pub(crate) use paged::FilledEachTime;
pub use paged::{KvPool, PagedTables, TablesLayout, has_paged_attention};
pub use pointwise::{backward, fused};
pub(crate) use pointwise::{has_rms_norm, has_rope, has_swiglu, rms_norm, rope, rotary_tables, swiglu};
pub use product::{Output, linear, linear_input_gradient, linear_weight_gradient};
pub use sampling::{Draw, DrawnToken, TokenDraws, feed_tokens, has_token_draws};

/// A family of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Family {
    Attention,
    Paged,
    Pointwise,
    Sampling,
}

impl Family {
    fn fat_binary(self) -> &'static [u8] {
        match self {
            Self::Attention => include_bytes!(concat!(env!("OUT_DIR"), "/attention.fatbin")),
            Self::Paged => include_bytes!(concat!(env!("OUT_DIR"), "/paged.fatbin")),
            Self::Pointwise => include_bytes!(concat!(env!("OUT_DIR"), "/pointwise.fatbin")),
            Self::Sampling => include_bytes!(concat!(env!("OUT_DIR"), "/sampling.fatbin")),
        }
    }
}

type Loaded<K, V> = LazyLock<Mutex<HashMap<(DeviceId, K), V>>>;

static MODULES: Loaded<Family, Arc<CudaModule>> = LazyLock::new(Mutex::default);
static FUNCTIONS: Loaded<String, CudaFunction> = LazyLock::new(Mutex::default);

/// A kernel by its name, with leave to use this many bytes of dynamic shared memory.
fn function(device: &CudaDevice, family: Family, name: &str, shared_bytes: u32) -> Result<CudaFunction> {
    let mut functions = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(function) = functions.get(&(device.id(), name.to_owned())) {
        return Ok(function.clone());
    }
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    let module = match modules.get(&(device.id(), family)) {
        Some(module) => module.clone(),
        None => {
            let module =
                device.cuda_stream().context().load_module(Ptx::from_binary(family.fat_binary().to_vec())).w()?;
            modules.insert((device.id(), family), module.clone());
            module
        }
    };
    let function = module.load_function(name).w()?;
    // More than 48 KiB are given only to kernels that ask for them.
    let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    function.set_attribute(attribute, shared_bytes as i32).w()?;
    functions.insert((device.id(), name.to_owned()), function.clone());
    Ok(function)
}

/// Blocks, threads of a block, and bytes of shared memory.
#[derive(Clone, Copy, Debug)]
struct Grid {
    blocks: usize,
    threads: u32,
    shared_bytes: u32,
}

impl Grid {
    /// As the driver takes it; `None` if there is nothing to launch.
    fn config(self) -> Result<Option<LaunchConfig>> {
        let Ok(blocks) = u32::try_from(self.blocks) else { candle_core::bail!("{} blocks are too many", self.blocks) };
        let (grid_dim, block_dim, shared_mem_bytes) = ((blocks, 1, 1), (self.threads, 1, 1), self.shared_bytes);
        Ok((blocks > 0).then_some(LaunchConfig { grid_dim, block_dim, shared_mem_bytes }))
    }
}

/// Launches a kernel whose one argument is a structure, laid out as its twin in the kernel's source.
///
/// Sound as far as the addresses in it are of memory that lives until the stream has passed the launch. It does: what is
/// freed is freed in the order of the stream.
fn launch_with<A: DeviceRepr>(device: &CudaDevice, function: &CudaFunction, grid: Grid, arguments: &A) -> Result<()> {
    let Some(config) = grid.config()? else { return Ok(()) };
    let stream = device.cuda_stream();
    let mut builder = stream.launch_builder(function);
    builder.arg(arguments);
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// Launches a kernel with arguments in its order. Sound as [`launch_with`].
fn launch(device: &CudaDevice, function: &CudaFunction, grid: Grid, arguments: &[Argument]) -> Result<()> {
    let Some(config) = grid.config()? else { return Ok(()) };
    launch_config(device, function, config, arguments)
}

/// [`launch`] with a grid of more dimensions.
fn launch_config(
    device: &CudaDevice,
    function: &CudaFunction,
    config: LaunchConfig,
    arguments: &[Argument],
) -> Result<()> {
    let stream = device.cuda_stream();
    let mut builder = stream.launch_builder(function);
    for argument in arguments {
        match argument {
            Argument::Address(address) => builder.arg(address),
            Argument::Long(long) => builder.arg(long),
            Argument::Count(count) => builder.arg(count),
            Argument::Real(real) => builder.arg(real),
            Argument::Double(double) => builder.arg(double),
        };
    }
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// An argument of a kernel.
#[derive(Clone, Copy)]
enum Argument {
    Address(sys::CUdeviceptr),
    Long(u64),
    Count(u32),
    Real(f32),
    Double(f64),
}

/// The address that stands for no memory.
const NOTHING: sys::CUdeviceptr = 0;

/// Where the elements of contiguous memory begin.
fn storage_address(storage: &CudaStorage, layout: &Layout) -> Result<sys::CUdeviceptr> {
    if !layout.is_contiguous() {
        candle_core::bail!("a contiguous tensor is expected, not {layout:?}");
    }
    fn of<T: CudaDType + DeviceRepr>(storage: &CudaStorage, layout: &Layout) -> Result<sys::CUdeviceptr> {
        let slice = storage.as_cuda_slice::<T>()?.slice(layout.start_offset()..);
        // The guard orders streams; there is one.
        Ok(slice.device_ptr(&storage.device.cuda_stream()).0)
    }
    match storage.dtype() {
        DType::BF16 => of::<bf16>(storage, layout),
        DType::F32 => of::<f32>(storage, layout),
        DType::F64 => of::<f64>(storage, layout),
        DType::U32 => of::<u32>(storage, layout),
        other => candle_core::bail!("bf16, f32, f64 or u32 expected, got {other:?}"),
    }
}

/// Where the elements of a contiguous tensor begin on its card.
fn address(tensor: &Tensor) -> Result<sys::CUdeviceptr> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => storage_address(storage, layout),
        _ => candle_core::bail!("a tensor on a card is expected"),
    }
}

/// Room for `len` elements of which a kernel writes every one before anything reads it.
fn room(device: &CudaDevice, dtype: DType, len: usize) -> Result<CudaStorage> {
    // Of no bytes the driver makes nothing.
    let len = len.max(1);
    Ok(match dtype {
        DType::BF16 => CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<bf16>(len)? }, device.clone()),
        DType::F32 => CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<f32>(len)? }, device.clone()),
        DType::U32 => CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<u32>(len)? }, device.clone()),
        other => candle_core::bail!("bf16, f32 or u32 expected, got {other:?}"),
    })
}

/// What the forward on the CPU of an operation of these kernels says.
fn on_card_only(name: &str) -> Result<(CpuStorage, Shape)> {
    candle_core::bail!("{name}: a tensor on a card is expected")
}

/// Room for a tensor whose every element a kernel writes before anything reads it.
///
/// # Errors
/// If the type is none of bf16, f32 and u32, or the card has no room.
pub fn room_like(shape: impl Into<Shape>, dtype: DType, device: &CudaDevice) -> Result<Tensor> {
    let shape = shape.into();
    let storage = Storage::Cuda(room(device, dtype, shape.elem_count())?);
    Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
}

/// Writes numbers into the beginning of a contiguous tensor of u32 on a card: one copy.
///
/// # Errors
/// If the tensor is another, or the card refuses.
pub fn fill_words(to: &Tensor, words: &[u32]) -> Result<()> {
    if to.dtype() != DType::U32 || to.elem_count() < words.len() {
        candle_core::bail!("room for {} numbers is expected, not {to:?}", words.len());
    }
    let stream = card(to)?.cuda_stream();
    stream.context().bind_to_thread().w()?;
    // The numbers have been read when this returns: they are not in pinned memory.
    unsafe { result::memcpy_htod_async(address(to)?, words, stream.cu_stream()) }.w()
}

/// The card of a tensor.
fn card(tensor: &Tensor) -> Result<&CudaDevice> {
    match tensor.device() {
        Device::Cuda(device) => Ok(device),
        _ => candle_core::bail!("a tensor on a card is expected"),
    }
}
