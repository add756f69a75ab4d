//! Attention on the CPU, forward and backward.
//!
//! Scores live in blocks of `BLOCK` query rows and are computed again in the backward, so nothing of size `T x T` is
//! kept. The unit of parallel work is a segment (forward) or a family (backward: a root and all that have it for a prefix) with one
//! key/value head; inside a unit everything is added in the order of the rows, so results do not depend on threads.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{Attention, Mask, Sizes};
use crate::host::{Host, has_kernel, slice, with_real};
use crate::nn::Segment;
use crate::tile::{Strided, product};
use crate::vector::{LANES, Real, dot, softmax};

const NAME: &str = "packed attention";

/// Query rows worked on together.
const BLOCK: usize = 32;

/// The kernel of the CPU, in f32 and f64.
#[derive(Clone, Copy, Debug)]
pub struct Packed;

impl Attention for Packed {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, q: &Tensor, _: usize, _: super::Layout<'_>) -> bool {
        has_kernel(q)
    }

    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, layout: super::Layout<'_>) -> Result<Tensor> {
        q.contiguous()?.apply_op3(
            &k.contiguous()?,
            &v.contiguous()?,
            Taped { segments: layout.segments.into(), mask: layout.mask },
        )
    }
}

/// The attention as an operation of candle's tape.
struct Taped {
    segments: Arc<[Segment]>,
    mask: Mask,
}

impl Taped {
    fn layout(&self) -> super::Layout<'_> {
        super::Layout { segments: &self.segments, mask: self.mask }
    }
}

impl CustomOp3 for Taped {
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
            let out = Kernel::<T> { sizes, layout: self.layout(), q, k, v }.forward();
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
            let kernel = Kernel::<T> { sizes, layout: self.layout(), q: q_data, k: k_data, v: v_data };
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
    layout: super::Layout<'a>,
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
    fn q_stride(&self) -> usize {
        self.sizes.heads * self.sizes.width
    }

    fn scale(&self) -> T {
        T::from_f64(1.0 / (self.sizes.width as f64).sqrt())
    }

    fn rows(&self, segment: usize) -> Range<usize> {
        self.layout.segments[segment].rows.clone()
    }

    fn seen(&self, segment: usize, kv_head: usize, transpose_values: bool) -> Seen<T> {
        let Sizes { kv_heads, width, .. } = self.sizes;
        let prefixes = self.layout.prefixes(segment);
        let num_prefix: usize = prefixes.iter().map(|&prefix| self.rows(prefix).len()).sum();
        let seen = prefixes.iter().chain([&segment]);
        let rows = seen.flat_map(|&segment| self.rows(segment));
        let num_keys = num_prefix + self.rows(segment).len();
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

    /// Softmax of the scores of `rows` query rows of a head, from row `first` of the segment on, over the first `num_keys` keys
    /// into `scratch.probabilities` with rows `seen.stride` apart; keys that a row does not see are zeros. Returns how many
    /// columns, in whole vectors, were written.
    fn probabilities(
        &self,
        query: usize,
        (first, rows, num_keys): (usize, usize, usize),
        seen: &Seen<T>,
        scratch: &mut Scratch<T>,
    ) -> usize {
        let columns = num_keys.next_multiple_of(LANES);
        scratch.probabilities.resize(rows * seen.stride, T::zero());
        let q = Strided::rows(&self.q[query..], self.q_stride());
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
        let scale = self.scale();
        for (row, scores) in out.chunks_exact_mut(seen.stride).enumerate() {
            let num_seen = match self.layout.mask {
                Mask::Causal => seen.num_prefix + first + row + 1,
                Mask::Bidirectional => num_keys,
            };
            let (scores, unseen) = scores[..columns].split_at_mut(num_seen);
            softmax(scores, |score, largest| score.mul_add(scale, T::zero() - largest * scale));
            unseen.fill(T::zero());
        }
        columns
    }

    fn forward(&self) -> Vec<T> {
        let Sizes { rows, heads, kv_heads, width } = self.sizes;
        let group_width = self.sizes.group() * width;
        let tasks: Vec<(usize, usize)> = (0..self.layout.segments.len())
            .flat_map(|segment| (0..kv_heads).map(move |head| (segment, head)))
            .collect();
        let pieces: Vec<Vec<T>> = tasks.par_iter().map(|&(segment, head)| self.forward_task(segment, head)).collect();
        let mut out = vec![T::zero(); rows * heads * width];
        for (&(segment, head), piece) in tasks.iter().zip(&pieces) {
            for (row, piece) in self.rows(segment).zip(piece.chunks_exact(group_width)) {
                out[(row * kv_heads + head) * group_width..][..group_width].copy_from_slice(piece);
            }
        }
        out
    }

    /// Output `[rows, group, D]` of a segment for the query heads of one key/value head.
    fn forward_task(&self, segment: usize, kv_head: usize) -> Vec<T> {
        let (width, group) = (self.sizes.width, self.sizes.group());
        let rows = self.rows(segment);
        let seen = self.seen(segment, kv_head, false);
        let mut scratch = Scratch::new();
        let mut out = vec![T::zero(); rows.len() * group * width];
        for first in (0..rows.len()).step_by(BLOCK) {
            let block = BLOCK.min(rows.len() - first);
            let num_keys = seen.num_prefix + self.layout.own_keys(segment, first, block);
            for member in 0..group {
                let query = ((rows.start + first) * self.sizes.heads + kv_head * group + member) * width;
                self.probabilities(query, (first, block, num_keys), &seen, &mut scratch);
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
                for (index, row) in self.rows(segment).enumerate() {
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
        let mut family_of: Vec<usize> = Vec::with_capacity(self.layout.segments.len());
        for (number, segment) in self.layout.segments.iter().enumerate() {
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
            family.iter().map(|&segment| vec![T::zero(); self.rows(segment).len() * width]).collect()
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
        let (width, group, q_stride) = (self.sizes.width, self.sizes.group(), self.q_stride());
        let rows = self.rows(family[number]);
        let seen = self.seen(family[number], kv_head, true);
        // Which columns belong to which segment of the family.
        let mut places: Vec<(usize, usize, usize)> = Vec::new();
        let mut start = 0;
        for prefix in self.layout.prefixes(family[number]) {
            let len = self.rows(prefix).len();
            // A prefix stands before what has it, so it is there.
            places.extend(family.binary_search(&prefix).map(|member| (member, start, len)));
            start += len;
        }
        for first in (0..rows.len()).step_by(BLOCK) {
            let block = BLOCK.min(rows.len() - first);
            let num_keys = seen.num_prefix + self.layout.own_keys(family[number], first, block);
            for member in 0..group {
                let query = ((rows.start + first) * self.sizes.heads + kv_head * group + member) * width;
                let columns = self.probabilities(query, (first, block, num_keys), &seen, scratch);
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
        let (width, q_stride) = (self.sizes.width, self.q_stride());
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
        let scale = self.scale();
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
