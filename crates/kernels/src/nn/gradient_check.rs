//! Proof of a backward: finite differences in f64, and equality with a naive twin.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::tape::{assert_tracked, vector_jacobian_product};

/// A smooth tensor without symmetries, the same on every machine: values of `scale * sin` at irregular points.
///
/// # Errors
/// If the shape is refused.
pub fn wave(dims: &[usize], dtype: DType, scale: f64) -> Result<Tensor> {
    let len: usize = dims.iter().product();
    let value = |i: usize| scale * ((i * i % 1013) as f64 * 0.37 + i as f64 * 0.11 + scale).sin();
    Tensor::from_vec((0..len).map(value).collect::<Vec<_>>(), dims, &Device::Cpu)?.to_dtype(dtype)
}

/// Largest absolute difference of two tensors of one shape, in f64. NaN if there is any.
///
/// # Errors
/// If the shapes differ.
pub fn max_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    if a.shape() != b.shape() {
        candle_core::bail!("shapes differ: {:?} and {:?}", a.shape(), b.shape());
    }
    let difference = (a.detach().to_dtype(DType::F64)? - b.detach().to_dtype(DType::F64)?)?;
    let worse = |worst: f64, d: f64| if d.is_nan() || worst.is_nan() { f64::NAN } else { worst.max(d.abs()) };
    Ok(difference.flatten_all()?.to_vec1::<f64>()?.into_iter().fold(0.0, worse))
}

/// Largest absolute value, at least 1: what a tolerance is relative to.
fn magnitude(tensor: &Tensor) -> Result<f64> {
    Ok(max_difference(tensor, &tensor.zeros_like()?)?.max(1.0))
}

/// Checks that two tensors agree to `tolerance`, relative to the largest value if that is above 1.
///
/// # Errors
/// If they do not.
pub fn assert_close(got: &Tensor, expected: &Tensor, tolerance: f64) -> Result<()> {
    let (difference, scale) = (max_difference(got, expected)?, magnitude(expected)?);
    // Written so that NaN fails.
    if difference <= tolerance * scale {
        return Ok(());
    }
    candle_core::bail!("tensors {:?} differ by {difference:e} at magnitude {scale:e}", got.shape())
}

fn variables(inputs: &[Tensor]) -> Result<(Vec<Var>, Vec<Tensor>)> {
    let variables = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    Ok((variables, tensors))
}

/// Compares the gradients of `function` at `inputs` (f64) with central differences, in every element of every input,
/// for one fixed cotangent. `tolerance` is relative to the largest gradient if that is above 1.
///
/// # Errors
/// If a gradient differs or the result carries no tape.
pub fn check_gradients(
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    tolerance: f64,
) -> Result<()> {
    const STEP: f64 = 1e-5;
    let (variables, tensors) = variables(inputs)?;
    let output = function(&tensors)?;
    assert_tracked(&output, "the result")?;
    let cotangent = wave(output.dims(), DType::F64, 1.3)?;
    let gradients = vector_jacobian_product(&output, &cotangent, &variables)?;
    let value = |inputs: &[Tensor]| -> Result<f64> { (function(inputs)? * &cotangent)?.sum_all()?.to_scalar::<f64>() };
    for (number, (input, gradient)) in inputs.iter().zip(&gradients).enumerate() {
        let flat = input.flatten_all()?.to_vec1::<f64>()?;
        let moved = |index: usize, step: f64| -> Result<f64> {
            let mut flat = flat.clone();
            flat[index] += step;
            let mut inputs = inputs.to_vec();
            inputs[number] = Tensor::from_vec(flat, input.shape(), input.device())?;
            value(&inputs)
        };
        let differences = (0..flat.len()).map(|index| Ok((moved(index, STEP)? - moved(index, -STEP)?) / (2.0 * STEP)));
        let expected = Tensor::from_vec(differences.collect::<Result<Vec<f64>>>()?, input.shape(), input.device())?;
        assert_close(gradient, &expected, tolerance)
            .map_err(|error| candle_core::Error::Msg(format!("gradient of input {number}: {error}")))?;
    }
    Ok(())
}

/// Compares value and gradients of `function` with those of `twin` at `inputs`.
///
/// # Errors
/// If they differ by more than `tolerance`, relative to the largest value if that is above 1.
pub fn check_against_twin(
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
    twin: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    tolerance: f64,
) -> Result<()> {
    let (variables, tensors) = variables(inputs)?;
    let (output, expected) = (function(&tensors)?, twin(&tensors)?);
    assert_tracked(&output, "the result")?;
    assert_close(&output, &expected, tolerance)?;
    let cotangent = wave(output.dims(), output.dtype(), 1.3)?;
    let gradients = vector_jacobian_product(&output, &cotangent, &variables)?;
    let expected = vector_jacobian_product(&expected, &cotangent, &variables)?;
    for (number, (gradient, expected)) in gradients.iter().zip(&expected).enumerate() {
        assert_close(gradient, expected, tolerance)
            .map_err(|error| candle_core::Error::Msg(format!("gradient of input {number}: {error}")))?;
    }
    Ok(())
}
