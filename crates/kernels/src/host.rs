//! Access to tensors in host memory, and how work over their rows is cut into tasks.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, StorageRef, Tensor};
use rayon::prelude::*;

use crate::vector::Real;

/// Elements one task works on, chosen so that a task takes tens of microseconds. It also fixes how sums over rows are
/// cut, so it must not depend on the machine.
const TASK_ELEMENTS: usize = 16_384;

/// Runs `$body` with `$T` as the type that holds `$dtype`, or returns an error that names the operation.
macro_rules! with_real {
    ($dtype:expr, $op:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("{}: f32 or f64 expected, got {other:?}", $op),
        }
    };
}
pub(crate) use with_real;

/// True if the own kernels run on this tensor; else the naive twin is used.
pub(crate) fn has_kernel(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// The elements of a contiguous CPU storage.
pub(crate) fn slice<'a, T: Real>(op: &'static str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&T::cpu_storage_as_slice(storage)?[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op }.bt()),
    }
}

/// Read access to a contiguous CPU tensor.
pub struct Host<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Host<'a> {
    /// Locks the tensor's storage for reading.
    pub fn new(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self { storage, layout }
    }

    /// The elements in order.
    ///
    /// # Errors
    /// If the tensor is not on the CPU, of another type, or not contiguous; `op` names the operation.
    pub fn slice<T: Real>(&self, op: &'static str) -> Result<&[T]> {
        slice(op, self.cpu(op)?, self.layout)
    }

    /// The storage.
    ///
    /// # Errors
    /// If the tensor is not on the CPU; `op` names the operation.
    pub fn cpu(&self, op: &'static str) -> Result<&CpuStorage> {
        match &*self.storage {
            Storage::Cpu(storage) => Ok(storage),
            _ => candle_core::bail!("{op}: a tensor on the CPU is expected"),
        }
    }
}

/// Rows of `width` elements that make up one task.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (TASK_ELEMENTS / width.max(1)).max(1)
}

/// Fills `out`, rows of `width` elements, calling `fill(first row, rows)` for blocks of rows in parallel.
pub(crate) fn fill_rows<T: Real>(out: &mut [T], width: usize, fill: impl Fn(usize, &mut [T]) + Sync) {
    let rows = rows_per_task(width);
    if width == 0 || out.len() <= rows * width {
        return fill(0, out);
    }
    out.par_chunks_mut(rows * width).enumerate().for_each(|(block, out)| fill(block * rows, out));
}
