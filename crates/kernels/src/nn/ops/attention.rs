//! Causal attention with grouped queries over a packed batch with shared prefixes.
//!
//! `out_i = sum_j softmax_j(q_i . k_j / sqrt(D)) v_j`, where a token sees the rows of its segment's prefixes and the rows
//! of its own segment up to itself; query head `h` reads key/value head `h / (H / K)`. Source: Vaswani et al. 2017,
//! section 3.2.1; grouped queries: Ainslie et al. 2023, "GQA".
//!
//! Scores live in blocks of [`BLOCK`] query rows and are computed again in the backward, so nothing of size `T x T` is
//! kept. The unit of parallel work is a segment (forward) or a family (backward: a root and all that have it for a prefix) with one
//! key/value head; inside a unit everything is added in the order of the rows, so results do not depend on threads.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::blockwise::blockwise_attention;
use super::real::{Host, LANES, Real, dot, has_kernel, max, slice, sum, with_real};
use super::tile::{Strided, product};
use crate::nn::{Segment, prefixes};

const NAME: &str = "attention";

/// Query rows worked on together.
const BLOCK: usize = 32;

/// Attention of `q` `[N, H, D]` over `k`, `v` `[N, K, D]`: `[N, H, D]`.
///
/// # Errors
/// If shapes do not fit each other or the segments, or a segment's prefix is not an earlier one.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, segments: &[Segment]) -> Result<Tensor> {
    Sizes::new(q.shape(), k.shape())?;
    if k.shape() != v.shape() {
        candle_core::bail!("{NAME}: k {:?} and v {:?} differ", k.shape(), v.shape());
    }
    check_segments(segments, q.dim(0)?)?;
    #[cfg(feature = "cuda")]
    if crate::cuda::has_forest_attention(q) {
        return crate::cuda::forest_attention(&q.contiguous()?, &k.contiguous()?, &v.contiguous()?, segments);
    }
    if !has_kernel(q) {
        return blockwise_attention(q, k, v, segments);
    }
    let op = Attention { segments: segments.into() };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

/// The same, of candle's differentiable operations, with all `N x N` scores.
///
/// # Errors
/// If the shapes do not fit.
pub fn naive_attention(q: &Tensor, k: &Tensor, v: &Tensor, segments: &[Segment]) -> Result<Tensor> {
    let (n, heads, width) = q.dims3()?;
    let kv_heads = k.dim(1)?;
    let mut mask = vec![-1e9f32; n * n];
    for (number, segment) in segments.iter().enumerate() {
        for row in segment.rows.clone() {
            for prefix in prefixes(segments, number) {
                mask[row * n..][segments[prefix].rows.clone()].fill(0.0);
            }
            mask[row * n..][segment.rows.start..=row].fill(0.0);
        }
    }
    let mask = Tensor::from_vec(mask, (1, n, n), q.device())?.to_dtype(q.dtype())?;
    let spread = |x: &Tensor| {
        let x = x.transpose(0, 1)?.unsqueeze(1)?.broadcast_as((kv_heads, heads / kv_heads, n, width))?;
        x.reshape((heads, n, width))?.contiguous()
    };
    let scores =
        (q.transpose(0, 1)?.contiguous()?.matmul(&spread(k)?.transpose(1, 2)?.contiguous()?)? / (width as f64).sqrt())?;
    let scores = scores.broadcast_add(&mask)?;
    let exponents = scores.broadcast_sub(&scores.max_keepdim(2)?.detach())?.exp()?;
    let probabilities = exponents.broadcast_div(&exponents.sum_keepdim(2)?)?;
    probabilities.matmul(&spread(v)?)?.transpose(0, 1)?.contiguous()
}

/// Refuses segments that are not one after the other, or have a later one for a prefix.
pub(crate) fn check_segments(segments: &[Segment], rows: usize) -> Result<()> {
    let mut next = 0;
    for (number, segment) in segments.iter().enumerate() {
        let prefix_is_earlier = segment.prefix.is_none_or(|prefix| prefix < number);
        if segment.rows.start != next || segment.rows.end < next || !prefix_is_earlier {
            candle_core::bail!("{NAME}: segment {number} ({segment:?}) breaks the layout of the batch");
        }
        next = segment.rows.end;
    }
    if next != rows {
        candle_core::bail!("{NAME}: segments cover {next} rows of {rows}");
    }
    Ok(())
}

/// Sizes of an attention over `N` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// `N`.
    pub rows: usize,
    /// `H`.
    pub heads: usize,
    /// `K`, which divides `H`.
    pub kv_heads: usize,
    /// `D`.
    pub width: usize,
}

impl Sizes {
    /// Of queries `[N, H, D]` and keys `[N, K, D]`.
    pub(crate) fn new(q: &Shape, k: &Shape) -> Result<Self> {
        let ((rows, heads, width), (k_rows, kv_heads, k_width)) = (q.dims3()?, k.dims3()?);
        if rows != k_rows || width != k_width || width == 0 || kv_heads == 0 || heads % kv_heads != 0 {
            candle_core::bail!("{NAME}: q {q:?} does not fit k {k:?}");
        }
        Ok(Self { rows, heads, kv_heads, width })
    }

    /// Query heads that read one key/value head.
    pub(crate) fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    fn q_stride(self) -> usize {
        self.heads * self.width
    }

    fn scale<T: Real>(self) -> T {
        T::from_f64(1.0 / (self.width as f64).sqrt())
    }
}

struct Attention {
    segments: Arc<[Segment]>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_l: &Layout,
        k: &CpuStorage,
        k_l: &Layout,
        v: &CpuStorage,
        v_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let sizes = Sizes::new(q_l.shape(), k_l.shape())?;
        with_real!(q.dtype(), NAME, T => {
            let (q, k, v) = (slice(NAME, q, q_l)?, slice(NAME, k, k_l)?, slice(NAME, v, v_l)?);
            let out = Kernel::<T> { sizes, segments: &self.segments, q, k, v }.forward();
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(out), q_l.shape().clone()))
        })
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::new(q.shape(), k.shape())?;
        let grad = grad.contiguous()?;
        let (q_host, k_host, v_host) = (Host::new(q), Host::new(k), Host::new(v));
        let (out_host, grad_host) = (Host::new(out), Host::new(&grad));
        with_real!(q.dtype(), NAME, T => {
            let (q_data, k_data, v_data) = (q_host.slice(NAME)?, k_host.slice(NAME)?, v_host.slice(NAME)?);
            let kernel = Kernel::<T> { sizes, segments: &self.segments, q: q_data, k: k_data, v: v_data };
            let (q_grad, k_grad, v_grad) = kernel.backward(out_host.slice(NAME)?, grad_host.slice(NAME)?);
            Ok((
                Some(Tensor::from_vec(q_grad, q.shape(), q.device())?),
                Some(Tensor::from_vec(k_grad, k.shape(), k.device())?),
                Some(Tensor::from_vec(v_grad, v.shape(), v.device())?),
            ))
        })
    }
}

struct Kernel<'a, T> {
    sizes: Sizes,
    segments: &'a [Segment],
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
}

/// Keys and values that one segment sees, for one head: its prefixes' rows from the root on, then its own.
struct Seen<T> {
    /// `[T, D]`.
    k: Vec<T>,
    /// `[T, D]`.
    v: Vec<T>,
    /// `[D, stride]`.
    k_t: Vec<T>,
    /// `[D, stride]`.
    v_t: Vec<T>,
    /// Columns of the transposed copies: the number of keys rounded up to whole vectors, the rest zeros.
    stride: usize,
    num_prefix: usize,
}

/// Buffers of one task, kept from block to block.
struct Scratch<T> {
    probabilities: Vec<T>,
    slopes: Vec<T>,
    packed: Vec<[T; 4]>,
}

impl<T: Real> Scratch<T> {
    fn new() -> Self {
        Self { probabilities: Vec::new(), slopes: Vec::new(), packed: Vec::new() }
    }
}

/// Gradients of one family for one key/value head.
struct FamilyGradients<T> {
    /// For each segment of the family: `[rows, group, D]`.
    q: Vec<Vec<T>>,
    /// For each segment of the family: `[rows, D]`.
    k: Vec<Vec<T>>,
    /// As `k`.
    v: Vec<Vec<T>>,
}

impl<T: Real> Kernel<'_, T> {
    /// The prefixes of a segment from the root on.
    fn prefixes(&self, segment: usize) -> Vec<usize> {
        let mut prefixes: Vec<usize> = prefixes(self.segments, segment).collect();
        prefixes.reverse();
        prefixes
    }

    fn seen(&self, segment: usize, kv_head: usize, transpose_values: bool) -> Seen<T> {
        let Sizes { kv_heads, width, .. } = self.sizes;
        let prefixes = self.prefixes(segment);
        let num_prefix: usize = prefixes.iter().map(|&prefix| self.segments[prefix].rows.len()).sum();
        let seen = prefixes.iter().chain([&segment]);
        let rows = seen.flat_map(|&segment| self.segments[segment].rows.clone());
        let num_keys = num_prefix + self.segments[segment].rows.len();
        let stride = num_keys.next_multiple_of(LANES);
        let pack = |from: &[T], transpose: bool| {
            let mut plain = vec![T::zero(); num_keys * width];
            let mut transposed = if transpose { vec![T::zero(); width * stride] } else { Vec::new() };
            for (index, row) in rows.clone().enumerate() {
                let from = &from[(row * kv_heads + kv_head) * width..][..width];
                plain[index * width..][..width].copy_from_slice(from);
                if transpose {
                    from.iter().enumerate().for_each(|(column, &x)| transposed[column * stride + index] = x);
                }
            }
            (plain, transposed)
        };
        let ((k, k_t), (v, v_t)) = (pack(self.k, true), pack(self.v, transpose_values));
        Seen { k, v, k_t, v_t, stride, num_prefix }
    }

    /// Softmax of the scores of `rows` query rows of a head, from row `first` of the segment on, into
    /// `scratch.probabilities` with rows `seen.stride` apart; keys past a row's own are zeros. Returns how many
    /// columns, in whole vectors, were written.
    fn probabilities(
        &self,
        query: usize,
        first: usize,
        rows: usize,
        seen: &Seen<T>,
        scratch: &mut Scratch<T>,
    ) -> usize {
        let columns = (seen.num_prefix + first + rows).next_multiple_of(LANES);
        scratch.probabilities.resize(rows * seen.stride, T::zero());
        let q = Strided::rows(&self.q[query..], self.sizes.q_stride());
        let out = &mut scratch.probabilities;
        product(
            (rows, columns, self.sizes.width),
            q,
            &seen.k_t,
            seen.stride,
            out,
            seen.stride,
            false,
            &mut scratch.packed,
        );
        let scale = self.sizes.scale::<T>();
        for (row, scores) in out.chunks_exact_mut(seen.stride).enumerate() {
            let (scores, unseen) = scores[..columns].split_at_mut(seen.num_prefix + first + row + 1);
            let largest = max(scores) * scale;
            for score in scores.iter_mut() {
                *score = score.mul_add(scale, T::zero() - largest).exp();
            }
            let inverse = T::one() / sum(scores);
            scores.iter_mut().for_each(|score| *score *= inverse);
            unseen.fill(T::zero());
        }
        columns
    }

    fn forward(&self) -> Vec<T> {
        let Sizes { rows, heads, kv_heads, width } = self.sizes;
        let group_width = self.sizes.group() * width;
        let tasks: Vec<(usize, usize)> =
            (0..self.segments.len()).flat_map(|segment| (0..kv_heads).map(move |head| (segment, head))).collect();
        let pieces: Vec<Vec<T>> = tasks.par_iter().map(|&(segment, head)| self.forward_task(segment, head)).collect();
        let mut out = vec![T::zero(); rows * heads * width];
        for (&(segment, head), piece) in tasks.iter().zip(&pieces) {
            for (row, piece) in self.segments[segment].rows.clone().zip(piece.chunks_exact(group_width)) {
                out[(row * kv_heads + head) * group_width..][..group_width].copy_from_slice(piece);
            }
        }
        out
    }

    /// Output `[rows, group, D]` of a segment for the query heads of one key/value head.
    fn forward_task(&self, segment: usize, kv_head: usize) -> Vec<T> {
        let (width, group) = (self.sizes.width, self.sizes.group());
        let rows = self.segments[segment].rows.clone();
        let seen = self.seen(segment, kv_head, false);
        let mut scratch = Scratch::new();
        let mut out = vec![T::zero(); rows.len() * group * width];
        for first in (0..rows.len()).step_by(BLOCK) {
            let block = BLOCK.min(rows.len() - first);
            let num_keys = seen.num_prefix + first + block;
            for member in 0..group {
                let query = ((rows.start + first) * self.sizes.heads + kv_head * group + member) * width;
                self.probabilities(query, first, block, &seen, &mut scratch);
                let probabilities = Strided::rows(&scratch.probabilities, seen.stride);
                let out = &mut out[(first * group + member) * width..];
                product(
                    (block, width, num_keys),
                    probabilities,
                    &seen.v,
                    width,
                    out,
                    group * width,
                    false,
                    &mut scratch.packed,
                );
            }
        }
        out
    }

    fn backward(&self, out: &[T], grad: &[T]) -> (Vec<T>, Vec<T>, Vec<T>) {
        let Sizes { rows, heads, kv_heads, width } = self.sizes;
        let group_width = self.sizes.group() * width;
        let families = self.families();
        let tasks: Vec<(&Vec<usize>, usize)> =
            families.iter().flat_map(|family| (0..kv_heads).map(move |head| (family, head))).collect();
        let pieces: Vec<FamilyGradients<T>> =
            tasks.par_iter().map(|&(family, head)| self.backward_task(family, head, out, grad)).collect();
        let mut q_grad = vec![T::zero(); rows * heads * width];
        let (mut k_grad, mut v_grad) =
            (vec![T::zero(); rows * kv_heads * width], vec![T::zero(); rows * kv_heads * width]);
        for (&(family, head), piece) in tasks.iter().zip(&pieces) {
            for (number, &segment) in family.iter().enumerate() {
                for (index, row) in self.segments[segment].rows.clone().enumerate() {
                    let at = row * kv_heads + head;
                    q_grad[at * group_width..][..group_width]
                        .copy_from_slice(&piece.q[number][index * group_width..][..group_width]);
                    k_grad[at * width..][..width].copy_from_slice(&piece.k[number][index * width..][..width]);
                    v_grad[at * width..][..width].copy_from_slice(&piece.v[number][index * width..][..width]);
                }
            }
        }
        (q_grad, k_grad, v_grad)
    }

    /// Segments that share keys: a root, then all that have it for a prefix in their order.
    fn families(&self) -> Vec<Vec<usize>> {
        let mut families: Vec<Vec<usize>> = Vec::new();
        let mut family_of: Vec<usize> = Vec::with_capacity(self.segments.len());
        for (number, segment) in self.segments.iter().enumerate() {
            let family = segment.prefix.map_or(families.len(), |prefix| family_of[prefix]);
            family_of.push(family);
            match families.get_mut(family) {
                Some(members) => members.push(number),
                None => families.push(vec![number]),
            }
        }
        families
    }

    fn backward_task(&self, family: &[usize], kv_head: usize, out: &[T], grad: &[T]) -> FamilyGradients<T> {
        let (width, group) = (self.sizes.width, self.sizes.group());
        let zeros = |width: usize| -> Vec<Vec<T>> {
            family.iter().map(|&segment| vec![T::zero(); self.segments[segment].rows.len() * width]).collect()
        };
        let mut gradients = FamilyGradients { q: zeros(group * width), k: zeros(width), v: zeros(width) };
        let mut scratch = Scratch::new();
        for number in 0..family.len() {
            self.backward_segment(family, number, kv_head, (out, grad), &mut gradients, &mut scratch);
        }
        gradients
    }

    fn backward_segment(
        &self,
        family: &[usize],
        number: usize,
        kv_head: usize,
        (out, grad): (&[T], &[T]),
        gradients: &mut FamilyGradients<T>,
        scratch: &mut Scratch<T>,
    ) {
        let (width, group, q_stride) = (self.sizes.width, self.sizes.group(), self.sizes.q_stride());
        let rows = self.segments[family[number]].rows.clone();
        let seen = self.seen(family[number], kv_head, true);
        // Which columns belong to which segment of the family.
        let mut places: Vec<(usize, usize, usize)> = Vec::new();
        let mut start = 0;
        for prefix in self.prefixes(family[number]) {
            let len = self.segments[prefix].rows.len();
            // A prefix stands before what has it, so it is there.
            places.extend(family.binary_search(&prefix).map(|member| (member, start, len)));
            start += len;
        }
        for first in (0..rows.len()).step_by(BLOCK) {
            let block = BLOCK.min(rows.len() - first);
            let num_keys = seen.num_prefix + first + block;
            for member in 0..group {
                let query = ((rows.start + first) * self.sizes.heads + kv_head * group + member) * width;
                let columns = self.probabilities(query, first, block, &seen, scratch);
                let out_grad = Strided::rows(&grad[query..], q_stride);
                self.slopes(query, (block, columns), &seen, (out, grad), scratch);
                let Scratch { probabilities, slopes, packed } = &mut *scratch;
                let q_grad = &mut gradients.q[number][(first * group + member) * width..];
                let slope_rows = Strided::rows(slopes, seen.stride);
                product((block, width, num_keys), slope_rows, &seen.k, width, q_grad, group * width, true, packed);
                let own = (number, seen.num_prefix, num_keys - seen.num_prefix);
                for (target, start, keys) in places.iter().copied().chain([own]) {
                    let slopes = Strided::transposed(&slopes[start..], seen.stride);
                    let sizes = (keys, width, block);
                    product(sizes, slopes, &self.q[query..], q_stride, &mut gradients.k[target], width, true, packed);
                    let probabilities = Strided::transposed(&probabilities[start..], seen.stride);
                    product(
                        sizes,
                        probabilities,
                        out_grad.data,
                        q_stride,
                        &mut gradients.v[target],
                        width,
                        true,
                        packed,
                    );
                }
            }
        }
    }

    /// Gradient of the scores into `scratch.slopes`: `p (dp - sum(p dp)) / sqrt(D)` with `dp = dout v^T`; the sum equals
    /// `dout . out`.
    fn slopes(
        &self,
        query: usize,
        (rows, columns): (usize, usize),
        seen: &Seen<T>,
        (out, grad): (&[T], &[T]),
        scratch: &mut Scratch<T>,
    ) {
        let (width, q_stride) = (self.sizes.width, self.sizes.q_stride());
        scratch.slopes.resize(rows * seen.stride, T::zero());
        let out_grad = Strided::rows(&grad[query..], q_stride);
        let slopes = &mut scratch.slopes;
        product(
            (rows, columns, width),
            out_grad,
            &seen.v_t,
            seen.stride,
            slopes,
            seen.stride,
            false,
            &mut scratch.packed,
        );
        let scale = self.sizes.scale::<T>();
        for row in 0..rows {
            let at = query + row * q_stride;
            let mean = dot(&grad[at..][..width], &out[at..][..width]);
            let slopes = &mut slopes[row * seen.stride..][..columns];
            let probabilities = &scratch.probabilities[row * seen.stride..][..columns];
            for (slope, &probability) in slopes.iter_mut().zip(probabilities) {
                *slope = probability * (*slope - mean) * scale;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::nn::PackedBatch;
    use crate::nn::gradient_check::{assert_close, check_against_twin, check_gradients, wave};
    use candle_core::DType;

    /// Segments of these lengths and prefixes, and the tokens they have together.
    pub(crate) fn segments(lengths: &[(usize, Option<usize>)]) -> (Vec<Segment>, usize) {
        let mut batch = PackedBatch::default();
        for &(length, prefix) in lengths {
            batch.push(&vec![0; length], prefix);
        }
        (batch.segments.clone(), batch.num_tokens())
    }

    /// Queries, keys and values.
    pub(crate) fn inputs(n: usize, heads: usize, kv_heads: usize, width: usize, dtype: DType) -> Result<[Tensor; 3]> {
        Ok([
            wave(&[n, heads, width], dtype, 1.0)?,
            wave(&[n, kv_heads, width], dtype, 1.2)?,
            wave(&[n, kv_heads, width], dtype, 0.8)?,
        ])
    }

    #[test]
    fn gradients_are_those_of_finite_differences() -> Result<()> {
        let lengths =
            [(3, None), (2, Some(0)), (2, None), (1, Some(0)), (0, None), (2, Some(2)), (2, Some(1)), (1, Some(6))];
        let (segments, n) = segments(&lengths);
        let inputs = inputs(n, 4, 2, 4, DType::F64)?;
        check_gradients(|v| attention(&v[0], &v[1], &v[2], &segments), &inputs, 1e-7)
    }

    #[test]
    fn equals_the_twin_over_blocks_and_prefixes() -> Result<()> {
        // Two roots, one with children, and children of a child.
        let lengths = [
            (45, None),
            (40, Some(0)),
            (33, Some(0)),
            (7, None),
            (64, Some(0)),
            (1, None),
            (3, Some(3)),
            (35, Some(2)),
            (2, Some(7)),
            (9, Some(2)),
        ];
        let (segments, n) = segments(&lengths);
        for (heads, kv_heads, width) in [(4, 2, 32), (3, 3, 10), (6, 1, 20)] {
            for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 5e-5)] {
                let inputs = inputs(n, heads, kv_heads, width, dtype)?;
                check_against_twin(
                    |v| attention(&v[0], &v[1], &v[2], &segments),
                    |v| naive_attention(&v[0], &v[1], &v[2], &segments),
                    &inputs,
                    tolerance,
                )?;
            }
        }
        Ok(())
    }

    #[test]
    fn large_scores_do_not_overflow() -> Result<()> {
        let (segments, n) = segments(&[(20, None)]);
        let [q, k, v] = inputs(n, 2, 1, 8, DType::F32)?;
        let out = attention(&(q * 1e3)?, &(k * 1e3)?, &v, &segments)?;
        assert!(out.flatten_all()?.to_vec1::<f32>()?.iter().all(|x| x.is_finite() && x.abs() <= 0.81));
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() -> Result<()> {
        let (good, n) = segments(&[(3, None), (2, Some(0))]);
        let [q, k, v] = inputs(n, 4, 2, 4, DType::F32)?;
        assert!(attention(&q, &k, &v, &good).is_ok());
        assert!(attention(&q, &k, &v, &good[..1]).is_err());
        assert!(attention(&k, &q, &q, &good).is_err());
        let mut bad = good.clone();
        bad[0].prefix = Some(0);
        assert!(attention(&q, &k, &v, &bad).is_err());
        assert_close(&attention(&q, &k, &v, &good)?, &naive_attention(&q, &k, &v, &good)?, 1e-6)
    }
}
