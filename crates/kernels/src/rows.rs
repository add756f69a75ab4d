//! Kernels over rows of f32, in place: softmax, layer norm, bias and activation, as the layers of encoders take them.
//!
//! candle's own CPU versions call the C library once an element; on MiniLM they took a third of the time.

use crate::vector::{self, sigmoid, sum, sum_of};

/// The error function to within 5e-7: z P(z²) / Q(z²) on |z| ≤ 3.92, beyond which it is ±1 in f32. The coefficients are
/// a least-squares fit, reweighted until the largest error (1.6e-8 before rounding) was even.
#[inline(always)]
fn erf(z: f32) -> f32 {
    let z = z.clamp(-3.92, 3.92);
    let t = z * z;
    let p = 2.034_745_6e-6;
    let p = p * t + 2.874_795_5e-4;
    let p = p * t + 3.868_309_5e-3;
    let p = p * t + 5.306_042_7e-2;
    let p = p * t + 1.927_635_6e-1;
    let p = p * t + std::f32::consts::FRAC_2_SQRT_PI;
    let q = 3.807_076e-5;
    let q = q * t + 1.188_112e-3;
    let q = q * t + 1.517_225_9e-2;
    let q = q * t + 1.150_844_2e-1;
    let q = q * t + 5.041_639e-1;
    let q = q * t + 1.0;
    z * p / q
}

/// x Φ(x), with the distribution function of the normal distribution.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// GELU by tanh: x σ(2u) with u = √(2/π) (x + 0.044715 x³).
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    let twice_u = TWICE_SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x);
    x * sigmoid(twice_u)
}

/// x σ(x).
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// The greater of x and 0.
#[inline(always)]
pub fn relu(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

/// Softmax of each row of `columns` numbers, in place.
pub fn softmax(rows: &mut [f32], columns: usize) {
    for row in rows.chunks_exact_mut(columns.max(1)) {
        vector::softmax(row, |score, largest| score - largest);
    }
}

/// `f(x + bias)`, in place.
pub fn bias_then(rows: &mut [f32], bias: &[f32], f: impl Fn(f32) -> f32) {
    for row in rows.chunks_exact_mut(bias.len().max(1)) {
        for (x, b) in row.iter_mut().zip(bias) {
            *x = f(*x + b);
        }
    }
}

/// Layer norm of each row, in place: zero mean and unit variance, then `scale` and `shift`.
pub fn layer_norm(rows: &mut [f32], scale: &[f32], shift: &[f32], eps: f32) {
    let columns = scale.len().max(1);
    let n = columns as f32;
    for row in rows.chunks_exact_mut(columns) {
        let mean = sum(row) / n;
        let variance = sum_of(row, |x| (x - mean) * (x - mean)) / n;
        let inverse = 1.0 / (variance + eps).sqrt();
        for ((x, scale), shift) in row.iter_mut().zip(scale).zip(shift) {
            *x = (*x - mean) * inverse * scale + shift;
        }
    }
}

/// `layer_norm(x + bias + residual)`, in place.
pub fn add_then_norm(rows: &mut [f32], residual: &[f32], bias: &[f32], scale: &[f32], shift: &[f32], eps: f32) {
    let columns = bias.len().max(1);
    for (row, residual) in rows.chunks_exact_mut(columns).zip(residual.chunks_exact(columns)) {
        for ((x, b), r) in row.iter_mut().zip(bias).zip(residual) {
            *x += b + r;
        }
        layer_norm(row, scale, shift, eps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf by its Taylor series in f64; beyond 4, where terms cancel, it is 1 to within 2e-8.
    fn erf_f64(z: f64) -> f64 {
        if z.abs() > 4.0 {
            return z.signum();
        }
        let (mut term, mut sum) = (z, z);
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn erf_is_that_of_f64() {
        for step in -4000..=4000 {
            let x = step as f32 / 1000.0;
            assert!((f64::from(erf(x)) - erf_f64(f64::from(x))).abs() < 5e-7, "erf {x}");
        }
        assert_eq!((erf(9.0), gelu(-30.0).abs() < 1e-5), (1.0, true));
    }

    #[test]
    fn activations_by_their_definitions() {
        for step in -800..=800 {
            let x = step as f32 / 100.0;
            let wide = f64::from(x);
            let tanh = (std::f64::consts::FRAC_2_PI.sqrt() * (wide + 0.044_715 * wide.powi(3))).tanh();
            assert!((f64::from(gelu(x)) - 0.5 * wide * (1.0 + erf_f64(wide / 2f64.sqrt()))).abs() < 2e-6, "{x}");
            assert!((f64::from(gelu_tanh(x)) - 0.5 * wide * (1.0 + tanh)).abs() < 2e-6, "{x}");
            assert!((f64::from(silu(x)) - wide / (1.0 + (-wide).exp())).abs() < 2e-6, "{x}");
        }
    }

    #[test]
    fn rows_of_any_length() {
        for columns in [1, 2, 15, 16, 17, 33, 100] {
            let original: Vec<f32> = (0..3 * columns).map(|i| ((i * 7919) % 23) as f32 / 5.0 - 2.0).collect();
            let mut rows = original.clone();
            softmax(&mut rows, columns);
            for (row, before) in rows.chunks(columns).zip(original.chunks(columns)) {
                let total: f64 = before.iter().map(|&x| f64::from(x).exp()).sum();
                for (&p, &x) in row.iter().zip(before) {
                    assert!((f64::from(p) - f64::from(x).exp() / total).abs() < 1e-6);
                }
            }
            let ones = vec![1.0; columns];
            let mut rows = original.clone();
            layer_norm(&mut rows, &ones, &ones, 1e-12);
            if columns > 2 {
                for row in rows.chunks(columns) {
                    let mean = row.iter().sum::<f32>() / columns as f32;
                    assert!((mean - 1.0).abs() < 1e-5, "{columns}: {mean}");
                }
            }
        }
    }
}
