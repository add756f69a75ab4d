//! Matrix product with a weight stored `[out, in]`, as checkpoints keep it: `y = x W^T`.
//!
//! candle's own backward of a product also computes the gradient of a frozen weight and keeps it; this one does not.
//! The product itself is the backend's, so there is no twin.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Tensor};

const NAME: &str = "linear";

struct Linear {
    out_shape: Shape,
}

/// `x` `[N, ..]`, its other dimensions flattened to `in`, times `weight` `[out, in]`: `[N, out]`.
///
/// # Errors
/// If the widths differ.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    apply(x, weight, (x.dim(0)?, weight.dim(0)?).into())
}

/// The same, with the outputs cut into heads: `[N, heads, out / heads]`. A reshape afterwards would cost the tape a copy.
///
/// # Errors
/// If the widths differ or the outputs do not divide into heads.
pub fn linear_heads(x: &Tensor, weight: &Tensor, heads: usize) -> Result<Tensor> {
    let out = weight.dim(0)?;
    if heads == 0 || out % heads != 0 {
        candle_core::bail!("{NAME}: {out} outputs do not divide into {heads} heads");
    }
    apply(x, weight, (x.dim(0)?, heads, out / heads).into())
}

fn apply(x: &Tensor, weight: &Tensor, out_shape: Shape) -> Result<Tensor> {
    let (rows, width) = (x.dim(0)?, weight.dims2()?.1);
    if x.elem_count() != rows * width {
        candle_core::bail!("{NAME}: x {:?} does not fit weight {:?}", x.shape(), weight.shape());
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, Linear { out_shape })
}

/// `x W^T` on any backend, `x` taken as `[rows, in]`.
fn product<S: BackendStorage>(x: &S, x_l: &Layout, weight: &S, weight_l: &Layout) -> Result<S> {
    let (out, width) = weight_l.shape().dims2()?;
    let rows = x_l.shape().elem_count() / width.max(1);
    let x_l = Layout::contiguous_with_offset((rows, width), x_l.start_offset());
    x.matmul(weight, (1, rows, out, width), &x_l, &weight_l.transpose(0, 1)?)
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        weight: &CpuStorage,
        weight_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((product(x, x_l, weight, weight_l)?, self.out_shape.clone()))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_l: &Layout,
        weight: &CudaStorage,
        weight_l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((product(x, x_l, weight, weight_l)?, self.out_shape.clone()))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (out, width) = weight.dims2()?;
        let rows = x.dim(0)?;
        let grad = grad.contiguous()?.reshape((rows, out))?;
        // `track_op` tells a weight that is trained from one that is frozen: the arguments still carry their tape here.
        let x_grad = match x.track_op() {
            true => Some(grad.matmul(&weight.detach())?.reshape(x.shape())?),
            false => None,
        };
        let weight_grad = match weight.track_op() {
            true => Some(grad.t()?.matmul(&x.detach().reshape((rows, width))?)?),
            false => None,
        };
        Ok((x_grad, weight_grad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{check_against_twin, check_gradients, wave};
    use candle_core::{DType, Var};

    #[test]
    fn gradients_are_those_of_finite_differences_and_of_candle() -> Result<()> {
        let inputs = [wave(&[5, 3], DType::F64, 1.0)?, wave(&[4, 3], DType::F64, 2.0)?];
        check_gradients(|v| linear(&v[0], &v[1]), &inputs, 1e-7)?;
        check_against_twin(|v| linear(&v[0], &v[1]), |v| v[0].matmul(&v[1].t()?), &inputs, 1e-12)?;
        let inputs = [wave(&[5, 2, 3], DType::F64, 1.0)?, wave(&[4, 6], DType::F64, 2.0)?];
        check_gradients(|v| linear_heads(&v[0], &v[1], 2), &inputs, 1e-7)
    }

    #[test]
    fn a_frozen_weight_gets_no_gradient() -> Result<()> {
        let x = Var::from_tensor(&wave(&[5, 3], DType::F32, 1.0)?)?;
        let weight = wave(&[4, 3], DType::F32, 2.0)?;
        let gradients = linear(&x, &weight)?.sum_all()?.backward()?;
        assert!(gradients.get(&x).is_some());
        assert!(gradients.get(&weight).is_none());
        Ok(())
    }
}
