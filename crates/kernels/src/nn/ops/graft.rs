//! Outputs that are computed outside the tape and put into it: what the forward of such an operation returns.
//!
//! An operation of candle's operations that has a backward of its own computes its output first, without a tape, and then
//! applies a custom operation to its inputs whose forward is this output.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, DType, Result, Shape, Storage, Tensor};

/// The output as the forward on the CPU gives it; `op` names the operation.
pub(crate) fn on_cpu(op: &'static str, out: &Tensor) -> Result<(CpuStorage, Shape)> {
    let (storage, layout) = out.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
        _ => candle_core::bail!("{op}: a tensor on the CPU is expected"),
    }
}

/// The output as the forward on a card gives it; `op` names the operation.
pub(crate) fn on_cuda(op: &'static str, out: &Tensor) -> Result<(CudaStorage, Shape)> {
    let (storage, layout) = out.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
        _ => candle_core::bail!("{op}: a tensor on a CUDA device is expected"),
    }
}

/// The type in which scores and sums are kept.
pub(crate) fn accumulated(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}
