//! Vector kernels: exponentials, sums, maxima, products and softmax over slices.
//!
//! Floating-point sums are written over explicit lanes: the compiler may not reorder a sum, so a plain loop would not
//! be vectorised. The order of additions depends on lengths alone, never on the number of threads. What older runs and
//! indexes hold was computed in these orders, so a change of one changes bytes.

use candle_core::WithDType;

/// Lanes of a vectorised loop: two AVX registers of `f32`.
pub const LANES: usize = 16;

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

#[inline(always)]
fn lanes<T, const L: usize>(chunk: &[T]) -> &[T; L] {
    chunk.try_into().unwrap_or_else(|_| unreachable!("chunks_exact yields full chunks"))
}

#[inline(always)]
fn total<T: Real, const L: usize>(lanes: [T; L]) -> T {
    let mut sum = T::zero();
    for lane in lanes {
        sum += lane;
    }
    sum
}

/// Sum of products over [`LANES`] lanes.
#[inline(always)]
pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    dot_over::<T, LANES>(a, b)
}

/// Sum of products over `L` lanes.
#[inline(always)]
pub fn dot_over<T: Real, const L: usize>(a: &[T], b: &[T]) -> T {
    let mut acc = [T::zero(); L];
    let (a_chunks, b_chunks) = (a.chunks_exact(L), b.chunks_exact(L));
    let tail = tail_dot(a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        let (a, b) = (lanes::<T, L>(a), lanes::<T, L>(b));
        for lane in 0..L {
            acc[lane] = a[lane].mul_add(b[lane], acc[lane]);
        }
    }
    total(acc) + tail
}

#[inline(always)]
fn tail_dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::zero(), |sum, (&a, &b)| a.mul_add(b, sum))
}

/// The products of a vector with `ROWS` rows that lie one after another: the very numbers that [`dot_over`] gives, several
/// times as fast, because the sums do not wait for each other.
#[inline(always)]
pub fn dots<T: Real, const L: usize, const ROWS: usize>(a: &[T], rows: &[T]) -> [T; ROWS] {
    let width = a.len();
    let whole = width / L * L;
    let mut acc = [[T::zero(); L]; ROWS];
    for at in (0..whole).step_by(L) {
        let a = lanes::<T, L>(&a[at..at + L]);
        for (row, acc) in acc.iter_mut().enumerate() {
            let b = lanes::<T, L>(&rows[row * width + at..][..L]);
            for lane in 0..L {
                acc[lane] = a[lane].mul_add(b[lane], acc[lane]);
            }
        }
    }
    let mut products = [T::zero(); ROWS];
    for (row, (acc, product)) in acc.into_iter().zip(&mut products).enumerate() {
        *product = total(acc) + tail_dot(&a[whole..], &rows[row * width + whole..(row + 1) * width]);
    }
    products
}

/// Sum.
#[inline(always)]
pub fn sum<T: Real>(values: &[T]) -> T {
    sum_of(values, |value| value)
}

/// Sum of `f` of each value.
#[inline(always)]
pub fn sum_of<T: Real>(values: &[T], f: impl Fn(T) -> T) -> T {
    let mut acc = [T::zero(); LANES];
    let chunks = values.chunks_exact(LANES);
    let tail = chunks.remainder().iter().fold(T::zero(), |sum, &value| sum + f(value));
    for chunk in chunks {
        let chunk = lanes::<T, LANES>(chunk);
        for lane in 0..LANES {
            acc[lane] += f(chunk[lane]);
        }
    }
    total(acc) + tail
}

/// Sum of f32 in f64, over eight lanes.
#[inline]
pub fn wide_sum(values: &[f32]) -> f64 {
    let mut acc = [0f64; 8];
    let chunks = values.chunks_exact(8);
    let tail: f64 = chunks.remainder().iter().map(|&value| f64::from(value)).sum();
    for chunk in chunks {
        for (lane, &value) in acc.iter_mut().zip(chunk) {
            *lane += f64::from(value);
        }
    }
    acc.iter().sum::<f64>() + tail
}

/// Largest value; the first one of an empty slice is taken to be minus infinity.
#[inline(always)]
pub fn max<T: Real>(values: &[T]) -> T {
    let least = T::from_f64(f64::NEG_INFINITY);
    let mut acc = [least; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail = chunks.remainder().iter().fold(least, |max, &value| if value > max { value } else { max });
    for chunk in chunks {
        let chunk = lanes::<T, LANES>(chunk);
        for lane in 0..LANES {
            acc[lane] = if chunk[lane] > acc[lane] { chunk[lane] } else { acc[lane] };
        }
    }
    acc.into_iter().fold(tail, |max, value| if value > max { value } else { max })
}

/// `out += a * x`.
#[inline(always)]
pub fn axpy<T: Real>(out: &mut [T], a: T, x: &[T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = a.mul_add(x, *out);
    }
}

/// Turns scores into probabilities, in place. `exponent` is what a score and the largest of them become before the
/// exponential: their difference times a scale, rounded as the caller's stored results were.
#[inline(always)]
pub fn softmax<T: Real>(scores: &mut [T], exponent: impl Fn(T, T) -> T) {
    let largest = max(scores);
    for score in scores.iter_mut() {
        *score = exponent(*score, largest).exp();
    }
    let inverse = T::one() / sum(scores);
    scores.iter_mut().for_each(|score| *score *= inverse);
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (T::zero() - x).exp())
}

/// Scales a vector to length 1, summing squares from the first to the last; the zero vector stays.
pub fn normalise<T: Real>(vector: &mut [T]) {
    let length = vector.iter().fold(T::zero(), |sum, &value| sum + value * value).sqrt();
    if length > T::zero() {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn eight_rows_at_a_time_are_one_at_a_time(values in prop::collection::vec(-1.0_f32..1.0, 9..500)) {
            let width = values.len() / 9;
            let (a, rows) = values[..9 * width].split_at(width);
            let each: Vec<f32> = rows.chunks_exact(width).map(|row| dot_over::<f32, 8>(a, row)).collect();
            prop_assert_eq!(&dots::<f32, 8, 8>(a, rows).to_vec(), &each);
            let exact: f64 = a.iter().zip(rows).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            prop_assert!((f64::from(each[0]) - exact).abs() < 1e-4);
        }
    }

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
            let mut probabilities = values.clone();
            softmax(&mut probabilities, |score, largest| score - largest);
            let exponentials: f64 = values.iter().map(|value| value.exp()).sum();
            let expected = values.iter().map(|value| value.exp() / exponentials);
            assert!(probabilities.iter().zip(expected).all(|(p, expected)| (p - expected).abs() < 1e-12));
            let narrow: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            assert!((wide_sum(&narrow) - plain).abs() < 1e-5);
            let mut unit = values.clone();
            normalise(&mut unit);
            assert!(len == 0 || squares == 0.0 || (dot(&unit, &unit) - 1.0).abs() < 1e-12);
            let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(max(&values), largest);
        }
    }
}
