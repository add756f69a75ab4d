//! The parity matrix: every implementation of attention against its definition in f64, output and gradients.
//!
//! A row of the matrix is a forest of segments with head counts, a width and a mask; a column an implementation
//! ([`IMPLEMENTATIONS`], [`CACHES`]), a type and a device. Caches are filled segment by segment through block tables that share
//! full blocks of prefixes and copy the last one, as the sampler does.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;

use super::paged::{BLOCK_TOKENS, BlockId, CpuKvCache, Heads, KvCache, SequenceRows, TensorKvCache};
use super::{Attention, IMPLEMENTATIONS, Layout, Mask, attention};
use crate::nn::gradient_check::{check_gradients, wave};
use crate::nn::tape::vector_jacobian_product;
use crate::nn::{PackedBatch, Segment};

/// Opens a cache of so many layers and blocks, for queries like these.
type Open = fn(Heads, usize, usize, &Tensor) -> Result<Box<dyn KvCache>>;

/// A KV cache as an implementation of attention over packed rows.
struct Cache {
    name: &'static str,
    /// Whether it keeps keys and values of the queries' type on their device.
    takes: fn(&Tensor, Heads) -> bool,
    open: Open,
}

/// All KV caches.
const CACHES: &[Cache] = &[
    Cache {
        name: "CPU cache",
        takes: |q, _| q.device().is_cpu() && q.dtype() == DType::F32,
        open: |heads, layers, _, _| Ok(Box::new(CpuKvCache::new(heads, layers))),
    },
    Cache {
        name: "cache of tensors",
        takes: |q, _| q.dtype() != DType::F64,
        open: |heads, layers, blocks, q| {
            Ok(Box::new(TensorKvCache::new(heads, layers, blocks, q.device(), q.dtype())?))
        },
    },
    #[cfg(feature = "cuda")]
    Cache {
        name: "CUDA cache",
        takes: |q, heads| q.dtype() == DType::BF16 && crate::cuda::has_paged_attention(q.device(), heads),
        open: |heads, layers, blocks, q| {
            Ok(Box::new(crate::cuda::FilledEachTime::new(heads, layers, blocks, q.device())?))
        },
    },
];

impl Attention for Cache {
    fn name(&self) -> &'static str {
        self.name
    }

    fn takes(&self, q: &Tensor, kv_heads: usize, layout: Layout<'_>) -> bool {
        let fits = |(_, query, width)| (self.takes)(q, Heads { query, key_value: kv_heads, width });
        layout.mask == Mask::Causal && !q.track_op() && q.dims3().is_ok_and(fits)
    }

    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, layout: Layout<'_>) -> Result<Tensor> {
        let heads = Heads { query: q.dim(1)?, key_value: k.dim(1)?, width: q.dim(2)? };
        let start = |segment| layout.prefixes(segment).iter().map(|&prefix| layout.segments[prefix].rows.len()).sum();
        let needed = |segment| {
            let (start, rows): (usize, _) = (start(segment), layout.segments[segment].rows.len());
            (start + rows).div_ceil(BLOCK_TOKENS) - start / BLOCK_TOKENS
        };
        let mut capacity = (0..layout.segments.len()).map(needed).sum::<usize>() + 1;
        capacity += usize::from(capacity.is_multiple_of(7));
        // All numbers below the capacity, in another order.
        let mut free = (0..capacity).map(|number| ((7 * number + 3) % capacity) as BlockId);
        let mut take = || free.next().expect("blocks are counted");
        let mut cache = (self.open)(heads, 2, capacity, q)?;
        let mut tables: Vec<Vec<BlockId>> = Vec::new();
        for (number, segment) in layout.segments.iter().enumerate() {
            let start: usize = start(number);
            let mut blocks = segment.prefix.map_or(Vec::new(), |prefix| tables[prefix].clone());
            if !start.is_multiple_of(BLOCK_TOKENS) {
                let (from, to) = (blocks[start / BLOCK_TOKENS], take());
                cache.copy(from, to)?;
                blocks[start / BLOCK_TOKENS] = to;
            }
            while blocks.len() < (start + segment.rows.len()).div_ceil(BLOCK_TOKENS) {
                blocks.push(take());
            }
            if !segment.rows.is_empty() {
                let rows = 0..segment.rows.len();
                let own = |x: &Tensor| x.narrow(0, segment.rows.start, segment.rows.len())?.contiguous();
                cache.store(1, &own(k)?, &own(v)?, &[SequenceRows { rows, position: start, blocks: &blocks }])?;
            }
            tables.push(blocks);
        }
        // The last row of each segment by itself, as a response's newest token.
        let sequences = layout.segments.iter().enumerate().flat_map(|(number, segment)| {
            let last = segment.rows.end.saturating_sub(1).max(segment.rows.start);
            let (first, blocks, start) = (segment.rows.start, &tables[number], start(number));
            let of = move |rows: std::ops::Range<usize>| {
                let position: usize = start;
                SequenceRows { position: position + rows.start - first, rows, blocks }
            };
            [of(first..last), of(last..segment.rows.end)]
        });
        let sequences: Vec<_> = sequences.filter(|sequence| !sequence.rows.is_empty()).collect();
        cache.attend(1, q, &sequences)
    }
}

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

/// The root of the sum of squares, in f64.
fn norm(x: &Tensor) -> Result<f64> {
    let wide = x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    Ok(wide.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
}

/// `|a - b|` over all elements, in f64.
fn distance(found: &Tensor, expected: &Tensor) -> Result<f64> {
    let wide = |x: &Tensor| x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64);
    norm(&(wide(found)? - wide(expected)?)?)
}

/// `|a - b| / |b|` over all elements, `|a - b|` where `b` is less than one: gradients of a single row are zeros.
#[cfg(feature = "cuda")]
pub(crate) fn difference(found: &Tensor, expected: &Tensor) -> Result<f64> {
    Ok(distance(found, expected)? / norm(expected)?.max(1.0))
}

/// Rows that a row sees, by the definition.
fn seen(layout: Layout<'_>, row: usize) -> Vec<usize> {
    let own = layout.segments.iter().position(|segment| segment.rows.contains(&row)).expect("segments cover the rows");
    let mut rows: Vec<usize> = match layout.mask {
        Mask::Causal => (layout.segments[own].rows.start..=row).collect(),
        Mask::Bidirectional => layout.segments[own].rows.clone().collect(),
    };
    let mut prefix = layout.segments[own].prefix;
    while let Some(number) = prefix {
        rows.extend(layout.segments[number].rows.clone());
        prefix = layout.segments[number].prefix;
    }
    rows
}

/// Output, and gradients of queries, keys and values for a slope of the output, by the definition in f64 on the CPU.
pub(crate) fn definition(inputs: [&Tensor; 3], slope: &Tensor, layout: Layout<'_>) -> Result<[Tensor; 4]> {
    let ((n, heads, width), kv_heads) = (inputs[0].dims3()?, inputs[1].dim(1)?);
    let numbers = |x: &Tensor| x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let ([q, k, v], slope) = ([numbers(inputs[0])?, numbers(inputs[1])?, numbers(inputs[2])?], numbers(slope)?);
    let [mut out, mut dq] = [vec![0.0; q.len()], vec![0.0; q.len()]];
    let [mut dk, mut dv] = [vec![0.0; k.len()], vec![0.0; k.len()]];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let add = |to: &mut [f64], factor: f64, x: &[f64]| to.iter_mut().zip(x).for_each(|(to, x)| *to += factor * x);
    for row in 0..n {
        let seen = seen(layout, row);
        for head in 0..heads {
            let own = (row * heads + head) * width..(row * heads + head + 1) * width;
            let key = |row: usize| {
                let first = (row * kv_heads + head / (heads / kv_heads)) * width;
                first..first + width
            };
            let scale = 1.0 / (width as f64).sqrt();
            let scores: Vec<f64> = seen.iter().map(|&row| dot(&q[own.clone()], &k[key(row)]) * scale).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let exponentials: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = exponentials.iter().sum();
            for (&row, exponential) in seen.iter().zip(&exponentials) {
                add(&mut out[own.clone()], exponential / total, &v[key(row)]);
            }
            let mean = dot(&slope[own.clone()], &out[own.clone()]);
            for (&row, exponential) in seen.iter().zip(&exponentials) {
                let weight = exponential / total;
                let score_slope = weight * (dot(&slope[own.clone()], &v[key(row)]) - mean) * scale;
                add(&mut dq[own.clone()], score_slope, &k[key(row)]);
                add(&mut dk[key(row)], score_slope, &q[own.clone()]);
                add(&mut dv[key(row)], weight, &slope[own.clone()]);
            }
        }
    }
    let tensor = |numbers: Vec<f64>, like: &Tensor| Tensor::from_vec(numbers, like.shape(), &Device::Cpu);
    Ok([tensor(out, inputs[0])?, tensor(dq, inputs[0])?, tensor(dk, inputs[1])?, tensor(dv, inputs[2])?])
}

/// A row of the matrix.
#[derive(Clone, Debug)]
struct Case {
    lengths: Vec<(usize, Option<usize>)>,
    heads: usize,
    kv_heads: usize,
    width: usize,
    mask: Mask,
}

fn devices() -> Result<Vec<Device>> {
    #[cfg(feature = "cuda")]
    return Ok(vec![Device::Cpu, Device::new_cuda(0)?]);
    #[cfg(not(feature = "cuda"))]
    Ok(vec![Device::Cpu])
}

/// Holds all implementations that take a case against the definition; returns the names of those that did.
fn check(case: &Case) -> Result<BTreeSet<&'static str>> {
    let (segments, n) = segments(&case.lengths);
    let layout = Layout { segments: &segments, mask: case.mask };
    let mut checked = BTreeSet::new();
    // bf16 has 8 bits; weights and slopes are rounded to it before the second products.
    for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5), (DType::BF16, 2e-2)] {
        let [q, k, v] = inputs(n, case.heads, case.kv_heads, case.width, dtype)?;
        let slope = wave(q.dims(), dtype, 1.3)?;
        let expected = definition([&q, &k, &v], &slope, layout)?;
        // Errors of gradients are told by all of them: where a row sees itself alone, two of them are zeros.
        let norms: Vec<f64> = expected.iter().map(norm).collect::<Result<_>>()?;
        let of_gradients = norms[1].hypot(norms[2]).hypot(norms[3]);
        for device in devices()? {
            let on = |x: &Tensor| x.to_device(&device);
            let [q, k, v, slope] = [on(&q)?, on(&k)?, on(&v)?, on(&slope)?];
            for one in IMPLEMENTATIONS.iter().copied().chain(CACHES.iter().map(|cache| cache as &dyn Attention)) {
                let same = |found: &Tensor, number: usize| -> Result<()> {
                    let scale: f64 = if number == 0 { norms[0] } else { of_gradients };
                    let error = distance(found, &expected[number])? / scale.max(1.0);
                    let what = ["output", "gradient of q", "gradient of k", "gradient of v"][number];
                    assert!(error <= tolerance, "{}, {dtype:?}, {case:?}: {what} is off by {error:e}", one.name());
                    Ok(())
                };
                if one.takes(&q, case.kv_heads, layout) {
                    same(&one.attend(&q, &k, &v, layout)?, 0)?;
                    checked.insert(one.name());
                }
                let variables = [Var::from_tensor(&q)?, Var::from_tensor(&k)?, Var::from_tensor(&v)?];
                let [q, k, v] = variables.each_ref().map(|variable| variable.as_tensor());
                if one.takes(q, case.kv_heads, layout) {
                    let out = one.attend(q, k, v, layout)?;
                    same(&out, 0)?;
                    for (number, gradient) in vector_jacobian_product(&out, &slope, &variables)?.iter().enumerate() {
                        same(gradient, number + 1)?;
                    }
                }
            }
        }
    }
    Ok(checked)
}

fn case() -> impl Strategy<Value = Case> {
    let segment = (0_usize..45, any::<Option<prop::sample::Index>>());
    let widths = prop::sample::select(vec![1_usize, 8, 10, 16, 33, 64, 96, 128]);
    let masks = prop::sample::select(vec![Mask::Causal, Mask::Bidirectional]);
    (prop::collection::vec(segment, 1..8), 1_usize..4, 1_usize..5, widths, masks, any::<bool>()).prop_map(
        |(drawn, kv_heads, group, width, mask, is_flat)| {
            let lengths = drawn.into_iter().enumerate().map(|(number, (length, prefix))| {
                let prefix = prefix.filter(|_| number > 0 && !is_flat).map(|prefix| prefix.index(number));
                // One row at least, in the first segment.
                (length.max(usize::from(number == 0)), prefix)
            });
            // An encoder's heads are not grouped and its sequences share nothing.
            let group = if is_flat && mask == Mask::Bidirectional { 1 } else { group };
            Case { lengths: lengths.collect(), heads: kv_heads * group, kv_heads, width, mask }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_implementation_is_the_definition_on_random_forests(case in case()) {
        check(&case).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

#[test]
fn every_implementation_is_the_definition_on_chosen_forests() -> Result<()> {
    let forests: [&[(usize, Option<usize>)]; 6] = [
        &[(1, None)],
        &[(0, None), (3, None), (0, Some(1)), (2, Some(2)), (0, None)],
        // Longer than any block, tile or plan; its last rows see more than two thousand others.
        &[(2100, None), (1, Some(0)), (3, Some(0))],
        // Two roots, one with children, and children of a child.
        &[
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
        ],
        // Full blocks of a cache, of the blockwise kernel and of tiles.
        &[(256, None), (32, Some(0)), (64, None), (33, Some(2))],
        &[(5, None), (31, None), (128, None), (17, None)],
    ];
    let mut checked = BTreeSet::new();
    for (forest, heads, kv_heads, width) in [
        (forests[0], 4, 2, 32),
        (forests[1], 3, 3, 10),
        (forests[2], 2, 1, 8),
        (forests[3], 6, 1, 20),
        (forests[3], 7, 1, 64),
        (forests[4], 4, 2, 128),
        (forests[5], 3, 3, 32),
    ] {
        for mask in [Mask::Causal, Mask::Bidirectional] {
            checked.extend(check(&Case { lengths: forest.to_vec(), heads, kv_heads, width, mask })?);
        }
    }
    let all = IMPLEMENTATIONS.iter().map(|one| one.name()).chain(CACHES.iter().map(|cache| cache.name));
    assert_eq!(checked, all.collect(), "an implementation took none of the cases");
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let lengths =
        [(3, None), (2, Some(0)), (2, None), (1, Some(0)), (0, None), (2, Some(2)), (2, Some(1)), (1, Some(6))];
    let (segments, n) = segments(&lengths);
    let inputs = inputs(n, 4, 2, 4, DType::F64)?;
    for layout in [Layout::causal(&segments), Layout::bidirectional(&segments)] {
        check_gradients(|v| attention(&v[0], &v[1], &v[2], layout), &inputs, 1e-7)?;
    }
    Ok(())
}

#[test]
fn large_scores_do_not_overflow() -> Result<()> {
    let (segments, n) = segments(&[(40, None)]);
    let layout = Layout::causal(&segments);
    for dtype in [DType::F32, DType::BF16] {
        let [q, k, v] = inputs(n, 2, 1, 64, dtype)?;
        let (q, k) = ((q * 1e3)?, (k * 1e3)?);
        for one in IMPLEMENTATIONS.iter().copied().chain(CACHES.iter().map(|cache| cache as &dyn Attention)) {
            if one.takes(&q, 1, layout) {
                let out = one.attend(&q, &k, &v, layout)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                assert!(out.iter().all(|x| x.is_finite() && x.abs() <= 0.81), "{}, {dtype:?}", one.name());
            }
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() -> Result<()> {
    let (good, n) = segments(&[(3, None), (2, Some(0))]);
    let [q, k, v] = inputs(n, 4, 2, 4, DType::F32)?;
    assert!(attention(&q, &k, &v, Layout::causal(&good)).is_ok());
    assert!(attention(&q, &k, &v, Layout::causal(&good[..1])).is_err());
    assert!(attention(&k, &q, &q, Layout::causal(&good)).is_err());
    let mut bad = good.clone();
    bad[0].prefix = Some(0);
    assert!(attention(&q, &k, &v, Layout::causal(&bad)).is_err());
    let whole = Tensor::zeros(q.shape(), DType::U32, q.device())?;
    let error = attention(&whole, &k, &v, Layout::causal(&good)).expect_err("whole numbers");
    assert!(error.to_string().contains("nothing computes"), "{error}");
    Ok(())
}
