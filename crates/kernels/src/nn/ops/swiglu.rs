//! Gated activation: `y = silu(gate) * up`, with `silu(g) = g * sigmoid(g)`.
//!
//! Source: Shazeer 2020, "GLU Variants Improve Transformer", equation 6.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::host::{Host, fill_rows, has_kernel, rows_per_task, slice, with_real};
use crate::vector::{Real, sigmoid};

const NAME: &str = "swiglu";

struct SwiGlu;

/// `silu(gate) * up`, element by element, for two tensors of one shape.
///
/// # Errors
/// If the shapes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.shape() != up.shape() {
        candle_core::bail!("{NAME}: gate {:?} and up {:?} differ", gate.shape(), up.shape());
    }
    #[cfg(feature = "cuda")]
    if crate::cuda::has_swiglu(gate) {
        return crate::cuda::swiglu(&gate.contiguous()?, &up.contiguous()?);
    }
    if !has_kernel(gate) {
        return naive_swiglu(gate, up);
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu)
}

/// The same, of candle's differentiable operations.
///
/// # Errors
/// If the shapes differ.
pub fn naive_swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()?.mul(up)
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_l: &Layout,
        up: &CpuStorage,
        up_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        with_real!(gate.dtype(), NAME, T => {
            let out = forward::<T>(slice(NAME, gate, gate_l)?, slice(NAME, up, up_l)?);
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(out), gate_l.shape().clone()))
        })
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (gate_host, up_host, grad_host) = (Host::new(gate), Host::new(up), Host::new(&grad));
        with_real!(gate.dtype(), NAME, T => {
            let (gate_grad, up_grad) =
                backward::<T>(gate_host.slice(NAME)?, up_host.slice(NAME)?, grad_host.slice(NAME)?);
            Ok((
                Some(Tensor::from_vec(gate_grad, gate.shape(), gate.device())?),
                Some(Tensor::from_vec(up_grad, up.shape(), up.device())?),
            ))
        })
    }
}

fn forward<T: Real>(gate: &[T], up: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); gate.len()];
    fill_rows(&mut out, 1, |first, out| {
        for ((out, &gate), &up) in out.iter_mut().zip(&gate[first..]).zip(&up[first..]) {
            *out = gate * sigmoid(gate) * up;
        }
    });
    out
}

/// With `s = sigmoid(gate)`: `dgate = dy * up * s (1 + gate (1 - s))`, `dup = dy * gate * s`.
fn backward<T: Real>(gate: &[T], up: &[T], grad: &[T]) -> (Vec<T>, Vec<T>) {
    let mut gate_grad = vec![T::zero(); gate.len()];
    let mut up_grad = vec![T::zero(); gate.len()];
    let block = rows_per_task(1);
    let tasks = gate_grad.par_chunks_mut(block).zip(up_grad.par_chunks_mut(block)).enumerate();
    tasks.for_each(|(index, (gate_grad, up_grad))| {
        let start = index * block;
        let inputs = gate[start..].iter().zip(&up[start..]).zip(&grad[start..]);
        for ((gate_out, up_out), ((&gate, &up), &grad)) in gate_grad.iter_mut().zip(up_grad).zip(inputs) {
            let s = sigmoid(gate);
            *gate_out = grad * up * s * (T::one() + gate * (T::one() - s));
            *up_out = grad * gate * s;
        }
    });
    (gate_grad, up_grad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{check_against_twin, check_gradients, wave};
    use candle_core::DType;

    #[test]
    fn gradients_are_those_of_finite_differences_and_of_the_twin() -> Result<()> {
        let inputs = [wave(&[7, 11], DType::F64, 3.0)?, wave(&[7, 11], DType::F64, 2.0)?];
        check_gradients(|v| swiglu(&v[0], &v[1]), &inputs, 1e-7)?;
        check_against_twin(|v| swiglu(&v[0], &v[1]), |v| naive_swiglu(&v[0], &v[1]), &inputs, 1e-12)?;
        let inputs = [wave(&[300, 128], DType::F32, 3.0)?, wave(&[300, 128], DType::F32, 2.0)?];
        check_against_twin(|v| swiglu(&v[0], &v[1]), |v| naive_swiglu(&v[0], &v[1]), &inputs, 1e-5)
    }

    #[test]
    fn far_ends_are_finite() -> Result<()> {
        let gate = Tensor::new(&[-200f32, -90.0, 90.0, 200.0], &candle_core::Device::Cpu)?;
        let out = swiglu(&gate, &gate.ones_like()?)?.to_vec1::<f32>()?;
        assert_eq!(out, [0.0, 0.0, 90.0, 200.0]);
        Ok(())
    }
}
