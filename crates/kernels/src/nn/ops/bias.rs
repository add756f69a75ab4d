//! A bias added to each row: `y = x + b`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::host::{Host, fill_rows, has_kernel, rows_per_task, slice, with_real};
use crate::vector::{Real, axpy};

const NAME: &str = "add-bias";

struct AddBias;

/// `x` `[N, ..]`, its other dimensions as many elements as `bias` `[n]` has, plus `bias`. A frozen bias gets no gradient.
///
/// # Errors
/// If the widths differ.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if x.elem_count() != x.dim(0)? * bias.dims1()? {
        candle_core::bail!("{NAME}: bias {:?} does not fit x {:?}", bias.shape(), x.shape());
    }
    if !has_kernel(x) {
        return naive_add_bias(x, bias);
    }
    x.contiguous()?.apply_op2(&bias.contiguous()?, AddBias)
}

/// The same, of candle's differentiable operations.
///
/// # Errors
/// If the shapes do not fit.
pub fn naive_add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.reshape((x.dim(0)?, bias.dim(0)?))?.broadcast_add(bias)?.reshape(x.shape())
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_l: &Layout, bias: &CpuStorage, bias_l: &Layout) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        with_real!(x.dtype(), NAME, T => {
            let out = forward::<T>(slice(NAME, x, x_l)?, slice(NAME, bias, bias_l)?);
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(out), x_l.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, bias: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let x_grad = x.track_op().then(|| grad.clone());
        if !bias.track_op() {
            return Ok((x_grad, None));
        }
        let grad = grad.contiguous()?;
        let grad_host = Host::new(&grad);
        with_real!(x.dtype(), NAME, T => {
            let sums = column_sums::<T>(grad_host.slice(NAME)?, bias.dim(0)?);
            Ok((x_grad, Some(Tensor::from_vec(sums, bias.shape(), bias.device())?)))
        })
    }
}

fn forward<T: Real>(x: &[T], bias: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    fill_rows(&mut out, bias.len(), |first, out| {
        let rows = x[first * bias.len()..].chunks_exact(bias.len().max(1));
        for (out, x) in out.chunks_exact_mut(bias.len().max(1)).zip(rows) {
            for ((out, &x), &bias) in out.iter_mut().zip(x).zip(bias) {
                *out = x + bias;
            }
        }
    });
    out
}

/// Sums over rows of `width`, in blocks whose bounds depend on the width alone.
fn column_sums<T: Real>(rows: &[T], width: usize) -> Vec<T> {
    let of_block = |block: &[T]| {
        let mut sums = vec![T::zero(); width];
        block.chunks_exact(width.max(1)).for_each(|row| axpy(&mut sums, T::one(), row));
        sums
    };
    let block = (rows_per_task(width) * width).max(1);
    let partial: Vec<Vec<T>> = rows.par_chunks(block).map(of_block).collect();
    let mut sums = vec![T::zero(); width];
    partial.iter().for_each(|partial| axpy(&mut sums, T::one(), partial));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{check_against_twin, check_gradients, wave};
    use candle_core::{DType, Var};

    #[test]
    fn gradients_are_those_of_finite_differences_and_of_the_twin() -> Result<()> {
        let inputs = [wave(&[5, 3, 4], DType::F64, 1.0)?, wave(&[12], DType::F64, 2.0)?];
        check_gradients(|v| add_bias(&v[0], &v[1]), &inputs, 1e-7)?;
        check_against_twin(|v| add_bias(&v[0], &v[1]), |v| naive_add_bias(&v[0], &v[1]), &inputs, 1e-12)?;
        let inputs = [wave(&[900, 40], DType::F32, 1.0)?, wave(&[40], DType::F32, 2.0)?];
        check_against_twin(|v| add_bias(&v[0], &v[1]), |v| naive_add_bias(&v[0], &v[1]), &inputs, 1e-5)?;
        assert!(add_bias(&inputs[0], &wave(&[41], DType::F32, 1.0)?).is_err());
        Ok(())
    }

    #[test]
    fn a_frozen_bias_gets_no_gradient() -> Result<()> {
        let x = Var::from_tensor(&wave(&[5, 3], DType::F32, 1.0)?)?;
        let bias = wave(&[3], DType::F32, 2.0)?;
        let gradients = add_bias(&x, &bias)?.sum_all()?.backward()?;
        assert!(gradients.get(&x).is_some() && gradients.get(&bias).is_none());
        Ok(())
    }
}
