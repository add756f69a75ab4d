//! Tile products: small matrix products on slices, for blocks that fit the cache.

use crate::vector::{LANES, Real};

/// Rows of `A` that are packed side by side.
pub const ROWS: usize = 4;

/// A matrix as a slice with a stride from row to row and from column to column.
#[derive(Clone, Copy)]
pub struct Strided<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// Elements from a row to the next.
    pub row_stride: usize,
    /// Elements from a column to the next.
    pub column_stride: usize,
}

impl<'a, T> Strided<'a, T> {
    /// A matrix whose rows lie `row_stride` elements apart.
    pub fn rows(data: &'a [T], row_stride: usize) -> Self {
        Self { data, row_stride, column_stride: 1 }
    }

    /// The transpose of a matrix whose rows lie `row_stride` elements apart.
    pub fn transposed(data: &'a [T], row_stride: usize) -> Self {
        Self { data, row_stride: 1, column_stride: row_stride }
    }
}

/// `C[m, n] (+)= A[m, k] B[k, n]`, with `b` and `c` row after row (`b_stride`, `c_stride` elements apart).
///
/// `packed` is scratch. `accumulate` adds to `c` instead of overwriting it.
#[expect(clippy::too_many_arguments, reason = "a matrix product has three sizes and three matrices")]
#[inline]
pub fn product<T: Real>(
    (m, n, k): (usize, usize, usize),
    a: Strided<'_, T>,
    b: &[T],
    b_stride: usize,
    c: &mut [T],
    c_stride: usize,
    accumulate: bool,
    packed: &mut Vec<[T; ROWS]>,
) {
    for first_row in (0..m).step_by(ROWS) {
        let rows = ROWS.min(m - first_row);
        pack(a, first_row, rows, k, packed);
        for first_column in (0..n).step_by(LANES) {
            let columns = LANES.min(n - first_column);
            let acc = if columns == LANES {
                micro(packed, &b[first_column.min(b.len())..], b_stride)
            } else {
                micro_tail(packed, &b[first_column.min(b.len())..], b_stride, columns)
            };
            for (row, acc) in acc.iter().enumerate().take(rows) {
                let start = (first_row + row) * c_stride + first_column;
                let out = &mut c[start..start + columns];
                if accumulate {
                    out.iter_mut().zip(acc).for_each(|(out, &acc)| *out += acc);
                } else {
                    out.copy_from_slice(&acc[..columns]);
                }
            }
        }
    }
}

/// Brings [`ROWS`] rows of `a` side by side, column after column; rows past the end are zeros.
fn pack<T: Real>(a: Strided<'_, T>, first_row: usize, rows: usize, k: usize, packed: &mut Vec<[T; ROWS]>) {
    packed.clear();
    if k == 0 {
        return;
    }
    let data = &a.data[first_row * a.row_stride..];
    if rows == ROWS && a.column_stride == 1 {
        let row = |row: usize| data[row * a.row_stride..][..k].iter();
        let rows = row(0).zip(row(1)).zip(row(2)).zip(row(3));
        packed.extend(rows.map(|(((&a, &b), &c), &d)| [a, b, c, d]));
    } else if rows == ROWS && a.row_stride == 1 {
        let columns = data.chunks(a.column_stride).take(k);
        packed.extend(columns.filter_map(|column| column.first_chunk::<ROWS>().copied()));
    } else {
        packed.extend((0..k).map(|column| {
            let at =
                |row: usize| if row < rows { data[row * a.row_stride + column * a.column_stride] } else { T::zero() };
            [at(0), at(1), at(2), at(3)]
        }));
    }
}

#[inline(always)]
fn micro<T: Real>(a: &[[T; ROWS]], b: &[T], b_stride: usize) -> [[T; LANES]; ROWS] {
    let mut acc = [[T::zero(); LANES]; ROWS];
    for (a, b) in a.iter().zip(b.chunks(b_stride)) {
        let Some(b) = b.first_chunk::<LANES>() else { break };
        for row in 0..ROWS {
            for lane in 0..LANES {
                acc[row][lane] = a[row].mul_add(b[lane], acc[row][lane]);
            }
        }
    }
    acc
}

#[cold]
fn micro_tail<T: Real>(a: &[[T; ROWS]], b: &[T], b_stride: usize, columns: usize) -> [[T; LANES]; ROWS] {
    let mut acc = [[T::zero(); LANES]; ROWS];
    for (a, b) in a.iter().zip(b.chunks(b_stride)) {
        for row in 0..ROWS {
            for (acc, &b) in acc[row][..columns].iter_mut().zip(b) {
                *acc = a[row].mul_add(b, *acc);
            }
        }
    }
    acc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_triple_loop() {
        for (m, n, k) in [(1, 1, 1), (4, 16, 8), (5, 17, 3), (7, 40, 33), (3, 8, 0)] {
            let a: Vec<f64> = (0..m * k).map(|i| (i as f64).sin()).collect();
            let b: Vec<f64> = (0..k * n).map(|i| (i as f64 * 0.7).cos()).collect();
            let a_t: Vec<f64> = (0..m * k).map(|i| a[(i % m.max(1)) * k + i / m]).collect();
            let mut naive = vec![1.0; m * n];
            for i in 0..m {
                for j in 0..n {
                    naive[i * n + j] += (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f64>();
                }
            }
            for a in [Strided::rows(&a, k), Strided::transposed(&a_t, m)] {
                let mut c = vec![1.0; m * n];
                product((m, n, k), a, &b, n, &mut c, n, true, &mut Vec::new());
                assert!(c.iter().zip(&naive).all(|(c, naive)| (c - naive).abs() < 1e-12), "{m} {n} {k}");
                product((m, n, k), a, &b, n, &mut c, n, false, &mut Vec::new());
                assert!(c.iter().zip(&naive).all(|(c, naive)| (c + 1.0 - naive).abs() < 1e-12), "{m} {n} {k}");
            }
        }
    }
}
