//! Rows of a table by number: the token embedding, and the choice of the rows that are scored.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use crate::host::{Host, fill_rows, has_kernel, slice, with_real};
use crate::vector::{Real, axpy};

const NAME: &str = "gather-rows";

struct GatherRows {
    rows: Arc<[u32]>,
}

/// Rows `[R, d]` of `table` `[V, d]`. The backward adds gradients of repeated rows in their order.
///
/// # Errors
/// If a row is outside the table.
pub fn gather_rows(table: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let (len, _) = table.dims2()?;
    if let Some(&row) = rows.iter().find(|&&row| row as usize >= len) {
        candle_core::bail!("{NAME}: row {row} of a table of {len} rows");
    }
    if !has_kernel(table) {
        return naive_gather_rows(table, rows);
    }
    table.contiguous()?.apply_op1(GatherRows { rows: rows.into() })
}

/// The same, of candle's differentiable operations.
///
/// # Errors
/// If a row is outside the table.
pub fn naive_gather_rows(table: &Tensor, rows: &[u32]) -> Result<Tensor> {
    table.index_select(&Tensor::new(rows, table.device())?, 0)
}

impl CustomOp1 for GatherRows {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, table: &CpuStorage, table_l: &Layout) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (_, width) = table_l.shape().dims2()?;
        with_real!(table.dtype(), NAME, T => {
            let out = gather::<T>(slice(NAME, table, table_l)?, width, &self.rows);
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(out), (self.rows.len(), width).into()))
        })
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (len, width) = table.dims2()?;
        let grad = grad.contiguous()?;
        let grad_host = Host::new(&grad);
        with_real!(table.dtype(), NAME, T => {
            let out = scatter::<T>(grad_host.slice(NAME)?, len, width, &self.rows);
            Ok(Some(Tensor::from_vec(out, table.shape(), table.device())?))
        })
    }
}

fn gather<T: Real>(table: &[T], width: usize, rows: &[u32]) -> Vec<T> {
    let mut out = vec![T::zero(); rows.len() * width];
    fill_rows(&mut out, width, |first, out| {
        for (out, &row) in out.chunks_exact_mut(width.max(1)).zip(&rows[first..]) {
            out.copy_from_slice(&table[row as usize * width..][..width]);
        }
    });
    out
}

fn scatter<T: Real>(grad: &[T], len: usize, width: usize, rows: &[u32]) -> Vec<T> {
    let mut out = vec![T::zero(); len * width];
    for (&row, grad) in rows.iter().zip(grad.chunks_exact(width.max(1))) {
        axpy(&mut out[row as usize * width..][..width], T::one(), grad);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{check_against_twin, check_gradients, wave};
    use candle_core::DType;

    #[test]
    fn gradients_are_those_of_finite_differences_and_of_the_twin() -> Result<()> {
        let rows = [3, 0, 3, 3, 1];
        let inputs = [wave(&[4, 6], DType::F64, 1.0)?];
        check_gradients(|v| gather_rows(&v[0], &rows), &inputs, 1e-7)?;
        check_against_twin(|v| gather_rows(&v[0], &rows), |v| naive_gather_rows(&v[0], &rows), &inputs, 1e-12)
    }

    #[test]
    fn a_row_outside_is_an_error() -> Result<()> {
        assert!(gather_rows(&wave(&[4, 6], DType::F32, 1.0)?, &[4]).is_err());
        Ok(())
    }
}
