//! Scalar products.

/// Rows that [`dots`] takes at a time.
pub(crate) const GROUP: usize = 8;
/// Sums that a product is made of: an AVX register.
const LANES: usize = 8;

/// The scalar product of two vectors of the same length.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a.remainder(), b.remainder());
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            lanes[lane] = a[lane].mul_add(b[lane], lanes[lane]);
        }
    }
    add_rest(&mut lanes, a_rest, b_rest);
    lanes.iter().sum()
}

fn add_rest(lanes: &mut [f32; LANES], a: &[f32], b: &[f32]) {
    for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
        *lane = a.mul_add(*b, *lane);
    }
}

/// The scalar products of a vector and [`GROUP`] rows that lie one after another: the very numbers that [`dot`] gives,
/// but several times as fast, because the sums do not wait for each other.
pub(crate) fn dots(a: &[f32], rows: &[f32]) -> [f32; GROUP] {
    let dimensions = a.len();
    let mut lanes = [[0.0_f32; LANES]; GROUP];
    let whole = dimensions / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        let a = &a[at..at + LANES];
        for (row, lanes) in lanes.iter_mut().enumerate() {
            let b = &rows[row * dimensions + at..][..LANES];
            for lane in 0..LANES {
                lanes[lane] = a[lane].mul_add(b[lane], lanes[lane]);
            }
        }
    }
    let mut products = [0.0; GROUP];
    for (row, (lanes, product)) in lanes.iter_mut().zip(&mut products).enumerate() {
        add_rest(lanes, &a[whole..], &rows[row * dimensions + whole..(row + 1) * dimensions]);
        *product = lanes.iter().sum();
    }
    products
}

/// Scales a vector to length 1; the zero vector stays.
pub(crate) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn eight_at_a_time_are_one_at_a_time(values in proptest::collection::vec(-1.0_f32..1.0, 9..500)) {
            let dimensions = values.len() / (GROUP + 1);
            let (a, rows) = values[..(GROUP + 1) * dimensions].split_at(dimensions);
            let each: Vec<f32> = rows.chunks_exact(dimensions).map(|row| dot(a, row)).collect();
            let together = dots(a, rows).to_vec();
            prop_assert_eq!(&together, &each);
            let exact: f64 = a.iter().zip(rows).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            prop_assert!((f64::from(each[0]) - exact).abs() < 1e-4);
        }
    }
}
