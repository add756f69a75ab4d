//! The numbers the kernels work on, and the few loops they all share.
//!
//! Floating-point sums are written over explicit lanes: the compiler may not reorder a sum, so a plain loop would not
//! be vectorised. The order of additions depends on lengths alone, never on the number of threads.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, StorageRef, Tensor, WithDType};
use rayon::prelude::*;

/// Lanes of a vectorised loop: two AVX registers of `f32`.
pub(crate) const LANES: usize = 16;

/// Elements one task works on, chosen so that a task takes tens of microseconds. It also fixes how sums over rows are
/// cut, so it must not depend on the machine.
const TASK_ELEMENTS: usize = 16_384;

/// `f32` or `f64`.
pub trait Real: WithDType {
    /// e to the power of `self`, written without branches for `f32` so that loops over it are vectorised.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// `self * factor + addend`, rounded once.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
}

impl Real for f32 {
    /// Within 2 units in the last place of the true value; 0 below -87, infinite above 88.37, NaN stays NaN.
    #[inline(always)]
    fn exp(self) -> f32 {
        // x = n ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the
        // low bits, from where a shift moves it into the exponent.
        const ROUND: f32 = 12_582_912.0;
        let clamped = if self > 88.37 { 88.37 } else { self };
        let clamped = if clamped < -87.0 { -87.0 } else { clamped };
        let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
        let n = shifted - ROUND;
        // ln 2 in two parts, the first with enough trailing zeros for n * LN2_HIGH to be exact.
        let r = n.mul_add(-0.693_359_4, clamped);
        let r = n.mul_add(2.121_944_4e-4, r);
        // Taylor series to the seventh power: its remainder, r^8 / 8!, is below 6e-9.
        let p = r.mul_add(1.0 / 5040.0, 1.0 / 720.0);
        let p = r.mul_add(p, 1.0 / 120.0);
        let p = r.mul_add(p, 1.0 / 24.0);
        let p = r.mul_add(p, 1.0 / 6.0);
        let p = r.mul_add(p, 0.5);
        let p = r.mul_add(p, 1.0);
        let p = r.mul_add(p, 1.0);
        let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
        let scaled = if self > 88.37 { f32::INFINITY } else { scaled };
        if self < -87.0 { 0.0 } else { scaled }
    }

    #[inline(always)]
    fn ln(self) -> f32 {
        f32::ln(self)
    }

    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }

    #[inline(always)]
    fn mul_add(self, factor: f32, addend: f32) -> f32 {
        f32::mul_add(self, factor, addend)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn exp(self) -> f64 {
        f64::exp(self)
    }

    #[inline(always)]
    fn ln(self) -> f64 {
        f64::ln(self)
    }

    #[inline(always)]
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }

    #[inline(always)]
    fn mul_add(self, factor: f64, addend: f64) -> f64 {
        f64::mul_add(self, factor, addend)
    }
}

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

#[inline(always)]
fn lanes<T>(chunk: &[T]) -> &[T; LANES] {
    chunk.try_into().unwrap_or_else(|_| unreachable!("chunks_exact yields full chunks"))
}

#[inline(always)]
fn total<T: Real>(lanes: [T; LANES]) -> T {
    let mut sum = T::zero();
    for lane in lanes {
        sum += lane;
    }
    sum
}

/// Sum of products.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut acc = [T::zero(); LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let tail = tail.fold(T::zero(), |sum, (&a, &b)| a.mul_add(b, sum));
    for (a, b) in a_chunks.zip(b_chunks) {
        let (a, b) = (lanes(a), lanes(b));
        for lane in 0..LANES {
            acc[lane] = a[lane].mul_add(b[lane], acc[lane]);
        }
    }
    total(acc) + tail
}

/// Sum.
#[inline(always)]
pub fn sum<T: Real>(values: &[T]) -> T {
    let mut acc = [T::zero(); LANES];
    let chunks = values.chunks_exact(LANES);
    let tail = chunks.remainder().iter().fold(T::zero(), |sum, &value| sum + value);
    for chunk in chunks {
        let chunk = lanes(chunk);
        for lane in 0..LANES {
            acc[lane] += chunk[lane];
        }
    }
    total(acc) + tail
}

/// Largest value; the first one of an empty slice is taken to be minus infinity.
#[inline(always)]
pub fn max<T: Real>(values: &[T]) -> T {
    let least = T::from_f64(f64::NEG_INFINITY);
    let mut acc = [least; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail = chunks.remainder().iter().fold(least, |max, &value| if value > max { value } else { max });
    for chunk in chunks {
        let chunk = lanes(chunk);
        for lane in 0..LANES {
            acc[lane] = if chunk[lane] > acc[lane] { chunk[lane] } else { acc[lane] };
        }
    }
    acc.into_iter().fold(tail, |max, value| if value > max { value } else { max })
}

/// `out += a * x`.
#[inline(always)]
pub(crate) fn axpy<T: Real>(out: &mut [T], a: T, x: &[T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = a.mul_add(x, *out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulps_and_keeps_what_is_not_finite() {
        let mut worst = 0.0f64;
        let mut x = -86.9f32;
        while x < 88.3 {
            let (got, truth) = (f64::from(Real::exp(x)), f64::from(x).exp());
            worst = worst.max((got - truth).abs() / truth);
            x += 0.003_7;
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst}");
        assert_eq!(Real::exp(0f32), 1.0);
        assert_eq!(Real::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Real::exp(f32::INFINITY), f32::INFINITY);
        assert!(Real::exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_cover_tails() {
        for len in [0usize, 1, 15, 16, 17, 40] {
            let values: Vec<f64> = (0..len).map(|i| (i as f64 * 1.7).sin()).collect();
            let plain: f64 = values.iter().sum();
            assert!((sum(&values) - plain).abs() < 1e-12);
            let squares: f64 = values.iter().map(|v| v * v).sum();
            assert!((dot(&values, &values) - squares).abs() < 1e-12);
            let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(max(&values), largest);
        }
    }
}
