//! Products of a linear layer `y = x W^T` and of its gradients, into memory that is there: cuBLAS with sums in f32.
//!
//! Factors are bf16 or f32, both of one type; the output has their type or is f32, so that the gradient of a bf16 weight is added
//! up without rounding. A tensor of more than two dimensions is a matrix of as many rows as its first dimension has.

use std::ffi::c_void;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::{result, sys};
use candle_core::{DType, Result, Tensor};

use super::{address, card};

/// What becomes of what lies in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// It is replaced, whatever it is.
    Overwrite,
    /// It is added to.
    Add,
}

/// `out = scale x W^T` of `x` `[N, in]` and `weight` `[out, in]`: `[N, out]`.
///
/// # Errors
/// If shapes or types do not fit, or cuBLAS refuses.
pub fn linear(x: &Tensor, weight: &Tensor, out: &Tensor, scale: f32, output: Output) -> Result<()> {
    let ((rows, width), (outputs, weight_width)) = (matrix(x)?, matrix(weight)?);
    check("linear", weight_width == width && matrix(out)? == (rows, outputs), [x, weight, out])?;
    product([rows, outputs, width], (x, false), (weight, true), out, scale, output)
}

/// The gradient `[N, in]` of the input for that of the output `[N, out]`: `scale dY W`.
///
/// # Errors
/// As [`linear`].
pub fn linear_input_gradient(
    out_gradient: &Tensor,
    weight: &Tensor,
    x_gradient: &Tensor,
    scale: f32,
    output: Output,
) -> Result<()> {
    let ((rows, outputs), (weight_outputs, width)) = (matrix(out_gradient)?, matrix(weight)?);
    let fits = weight_outputs == outputs && matrix(x_gradient)? == (rows, width);
    check("gradient of an input", fits, [out_gradient, weight, x_gradient])?;
    product([rows, width, outputs], (out_gradient, false), (weight, false), x_gradient, scale, output)
}

/// The gradient `[out, in]` of the weight for that of the output `[N, out]` and the input `[N, in]`: `scale dY^T X`.
///
/// # Errors
/// As [`linear`].
pub fn linear_weight_gradient(
    out_gradient: &Tensor,
    x: &Tensor,
    weight_gradient: &Tensor,
    scale: f32,
    output: Output,
) -> Result<()> {
    let ((rows, outputs), (x_rows, width)) = (matrix(out_gradient)?, matrix(x)?);
    let fits = x_rows == rows && matrix(weight_gradient)? == (outputs, width);
    check("gradient of a weight", fits, [out_gradient, x, weight_gradient])?;
    product([outputs, width, rows], (out_gradient, true), (x, false), weight_gradient, scale, output)
}

/// Rows, and elements of a row.
fn matrix(tensor: &Tensor) -> Result<(usize, usize)> {
    let rows = tensor.dim(0)?;
    Ok((rows, tensor.elem_count() / rows.max(1)))
}

fn check(name: &str, fits: bool, [a, b, out]: [&Tensor; 3]) -> Result<()> {
    let types = a.dtype() == b.dtype() && (out.dtype() == a.dtype() || out.dtype() == DType::F32);
    if !fits || !types {
        candle_core::bail!("{name}: {a:?}, {b:?} and {out:?} do not fit");
    }
    Ok(())
}

/// `out [m, n] = scale a b`, each factor as it is or transposed. cuBLAS counts by columns, so it is asked for `b^T a^T`.
fn product(
    sizes: [usize; 3],
    (a, a_is_transposed): (&Tensor, bool),
    (b, b_is_transposed): (&Tensor, bool),
    out: &Tensor,
    scale: f32,
    output: Output,
) -> Result<()> {
    if sizes.contains(&0) {
        candle_core::bail!("a product of {sizes:?} is empty");
    }
    let size = |size: usize| i32::try_from(size).map_err(candle_core::Error::wrap);
    let [m, n, k] = [size(sizes[0])?, size(sizes[1])?, size(sizes[2])?];
    let stored = |tensor: &Tensor| match tensor.dtype() {
        DType::BF16 => Ok(sys::cudaDataType::CUDA_R_16BF),
        DType::F32 => Ok(sys::cudaDataType::CUDA_R_32F),
        other => candle_core::bail!("a product of bf16 or f32 is expected, not of {other:?}"),
    };
    let operation = |is_transposed: bool| match is_transposed {
        true => sys::cublasOperation_t::CUBLAS_OP_T,
        false => sys::cublasOperation_t::CUBLAS_OP_N,
    };
    let keep: f32 = match output {
        Output::Overwrite => 0.0,
        Output::Add => 1.0,
    };
    let device = card(out)?;
    let (blas, stream) = (device.cublas_handle(), device.cuda_stream());
    stream.context().bind_to_thread().w()?;
    let (a_address, b_address, out_address) = (address(a)?, address(b)?, address(out)?);
    // SAFETY: the addresses are of contiguous tensors whose sizes were compared with the product's, and they live until the
    // stream has passed it (`launch_with`); the scalars are read before the call returns.
    unsafe {
        result::gemm_ex(
            *blas.handle(),
            operation(b_is_transposed),
            operation(a_is_transposed),
            n,
            m,
            k,
            (&raw const scale).cast(),
            b_address as *const c_void,
            stored(b)?,
            if b_is_transposed { k } else { n },
            a_address as *const c_void,
            stored(a)?,
            if a_is_transposed { m } else { k },
            (&raw const keep).cast(),
            out_address as *mut c_void,
            stored(out)?,
            n,
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .w()
}

/// These run on a card, or under the driver that executes.
#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::nn::gradient_check::wave;

    /// All three against f64 of what the type holds, overwritten and added to, with sums in the type and in f32.
    #[test]
    fn products_equal_those_of_the_cpu() -> Result<()> {
        let card = Device::new_cuda(0)?;
        let (rows, width, outputs) = (9, 5, 7);
        for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, 1e-2)] {
            let held = |dims: &[usize], scale: f64| wave(dims, DType::F32, scale)?.to_dtype(dtype);
            let (x, w, dy) = (held(&[rows, width], 1.0)?, held(&[outputs, width], 2.0)?, held(&[rows, outputs], 0.7)?);
            let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64);
            let (wx, ww, wdy) = (wide(&x)?, wide(&w)?, wide(&dy)?);
            let put = |tensor: &Tensor| tensor.to_device(&card);
            let (x, w, dy) = (put(&x)?, put(&w)?, put(&dy)?);
            type Product = fn(&Tensor, &Tensor, &Tensor, f32, Output) -> Result<()>;
            let all: [(Product, &Tensor, &Tensor, Tensor); 3] = [
                (linear, &x, &w, wx.matmul(&ww.t()?)?),
                (linear_input_gradient, &dy, &w, wdy.matmul(&ww)?),
                (linear_weight_gradient, &dy, &x, wdy.t()?.matmul(&wx)?),
            ];
            for (product, a, b, truth) in all {
                for out_dtype in [dtype, DType::F32] {
                    let start = held(truth.dims(), 0.4)?.to_dtype(out_dtype)?;
                    for (output, expected) in
                        [(Output::Overwrite, (&truth * 0.5)?), (Output::Add, ((&truth * 0.5)? + wide(&start)?)?)]
                    {
                        let out = put(&start)?.copy()?;
                        product(a, b, &out, 0.5, output)?;
                        let off =
                            (wide(&out.to_device(&Device::Cpu)?)? - &expected)?.abs()?.max_all()?.to_scalar::<f64>()?;
                        let bound = if out_dtype == DType::F32 { 1e-5 } else { bound };
                        assert!(off < bound * expected.abs()?.max_all()?.to_scalar::<f64>()?, "{dtype:?}: {off}");
                    }
                }
            }
            assert!(linear(&x, &dy, &x, 1.0, Output::Add).is_err());
        }
        Ok(())
    }
}
