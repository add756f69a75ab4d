//! Gradients out of candle's tape, without its traps.
//!
//! candle records operations inside tensors. Two things go wrong without an error: an operation without a backward cuts
//! the tape and the gradient vanishes; and the gradient of a variable may itself hold a tape, which keeps every
//! activation alive. [`assert_tracked`] and the functions here exclude both.

use candle_core::{Result, Tensor, Var};

/// Checks that a gradient can flow back from `tensor`.
///
/// # Errors
/// If `tensor` is cut off from every variable; `what` names it in the message.
pub fn assert_tracked(tensor: &Tensor, what: &str) -> Result<()> {
    if !tensor.track_op() {
        candle_core::bail!("{what} {:?} carries no tape: an operation before it has no backward", tensor.shape());
    }
    Ok(())
}

/// Gradients of a scalar `loss` for the named variables, in their order, detached.
///
/// ```
/// use candle_core::{Device, Var};
/// use memtrain_kernels::nn::tape;
/// let x = Var::new(&[2f32, 3.0], &Device::Cpu)?;
/// let gradients = tape::gradients(&x.sqr()?.sum_all()?, &[("x".to_owned(), x.clone())])?;
/// assert_eq!(gradients[0].to_vec1::<f32>()?, [4.0, 6.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// If a variable got no gradient: its name is in the message.
pub fn gradients(loss: &Tensor, parameters: &[(String, Var)]) -> Result<Vec<Tensor>> {
    assert_tracked(loss, "the loss")?;
    let mut store = loss.backward()?;
    let take = |(name, parameter): &(String, Var)| match store.remove(parameter) {
        Some(gradient) => Ok(gradient.detach()),
        None => candle_core::bail!("no gradient reached `{name}`: the tape is cut before it"),
    };
    parameters.iter().map(take).collect()
}

/// Vector-Jacobian product of a piece of the computation: gradients of `sum(output * cotangent)` for `inputs`, detached.
/// An input that `output` does not depend on gets zeros.
///
/// # Errors
/// If `output` is not tracked or the shapes differ.
pub fn vector_jacobian_product(output: &Tensor, cotangent: &Tensor, inputs: &[Var]) -> Result<Vec<Tensor>> {
    assert_tracked(output, "the output")?;
    let mut store = (output * cotangent.detach())?.sum_all()?.backward()?;
    inputs.iter().map(|input| store.remove(input).map_or_else(|| input.zeros_like(), |g| Ok(g.detach()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_cut_is_named() -> Result<()> {
        let (x, y) = (Var::new(&[1f32], &Device::Cpu)?, Var::new(&[1f32], &Device::Cpu)?);
        let parameters = [("x".to_owned(), x.clone()), ("y".to_owned(), y)];
        let error = gradients(&x.sqr()?.sum_all()?, &parameters).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("`y`"), "{error}");
        assert!(gradients(&x.detach().sum_all()?, &[]).is_err());
        Ok(())
    }

    #[test]
    fn what_is_taken_out_holds_no_tape() -> Result<()> {
        let x = Var::new(&[[1f32, 2.0]], &Device::Cpu)?;
        let w = Var::new(&[[1f32], [2.0]], &Device::Cpu)?;
        let parameters = [("x".to_owned(), x.clone()), ("w".to_owned(), w.clone())];
        assert!(gradients(&x.matmul(&w)?.sum_all()?, &parameters)?.iter().all(|g| !g.track_op()));
        let out = x.matmul(&w)?;
        let pulled = vector_jacobian_product(&out, &(out.ones_like()? * 3.0)?, &[x, w])?;
        assert_eq!(pulled[0].to_vec2::<f32>()?, [[3.0, 6.0]]);
        Ok(())
    }
}
