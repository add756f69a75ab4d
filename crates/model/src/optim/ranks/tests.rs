//! Steps of several ranks against those of one process, bit for bit.

use candle_core::DType;
use memtrain_collective::in_process;
use memtrain_corpora::store;
use memtrain_kernels::nn::gradient_check::wave;

use super::*;
use crate::optim::{AdamW, AdamWConfig, GradientBuffer, MomentType};

/// Larger than a piece, so that it goes in several; vectors; a parameter that never has a gradient; one without elements.
const SHAPES: [&[usize]; 6] = [&[30, 40], &[PIECE / 1000 + 1, 1000], &[7], &[3, 1], &[5, 5], &[0, 4]];
/// The one without a gradient.
const WITHOUT: usize = 4;
const STEPS: u64 = 2;
/// No multiple of any number of ranks but 1.
const MICRO_BATCHES: usize = 7;

fn parameters(dtype: DType) -> Vec<(String, Var)> {
    let parameter = |(number, dims): (usize, &&[usize])| {
        let start = wave(dims, DType::F32, number as f64 + 1.0).unwrap();
        (format!("w{number}"), Var::from_tensor(&start.to_dtype(dtype).unwrap()).unwrap())
    };
    SHAPES.iter().enumerate().map(parameter).collect()
}

/// The gradient that a micro-batch gives to a parameter; zeros of both signs are among them.
fn gradient(step: u64, micro_batch: usize, number: usize) -> Tensor {
    let dims = SHAPES[number];
    if micro_batch == 2 && number == 2 {
        return (Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap() * -1.0).unwrap();
    }
    wave(dims, DType::F32, 0.3 + step as f64 + 0.17 * micro_batch as f64 + number as f64).unwrap()
}

/// What is left after some steps: weights, the file of the state, norms.
#[derive(Debug, PartialEq)]
struct Left {
    weights: Vec<Vec<u8>>,
    state: Option<Vec<u8>>,
    norms: Vec<f64>,
}

/// Trains on one of `ranks` from the state of `before` on, which another number of ranks may have left.
fn train(ranks: &Ranks, dtype: DType, config: AdamWConfig, before: Option<&Left>) -> Left {
    let parameters = parameters(dtype);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut optimizer = AdamW::across(parameters.clone(), config, ranks.clone()).unwrap();
    let mut buffer = GradientBuffer::across(&parameters, ranks.clone()).unwrap();
    if let Some(before) = before {
        for ((_, parameter), bytes) in parameters.iter().zip(&before.weights) {
            let weights = Tensor::from_raw_buffer(bytes, dtype, parameter.dims(), &Device::Cpu).unwrap();
            parameter.set(&weights).unwrap();
        }
        store::write_atomic(&path, before.state.as_ref().unwrap()).unwrap();
        optimizer.restore_state(&path).unwrap();
    }
    let mut norms = Vec::new();
    for step in optimizer.num_steps() + 1..=optimizer.num_steps() + STEPS {
        for micro_batch in 0..MICRO_BATCHES {
            if ranks.is_own(micro_batch) {
                for number in (0..SHAPES.len()).rev().filter(|&number| number != WITHOUT) {
                    buffer.add_one(number, &gradient(step, micro_batch, number)).unwrap();
                }
                buffer.finish_micro_batch();
            }
            if (micro_batch + 1) % ranks.world_size() == 0 || micro_batch + 1 == MICRO_BATCHES {
                buffer.finish_round().unwrap();
            }
        }
        let mut sums = buffer.take().unwrap();
        norms.push(ranks.clip_global_norm(&mut sums, 1.5).unwrap());
        optimizer.step(&sums, 1e-2).unwrap();
    }
    let state = (ranks.rank() == 0).then(|| {
        optimizer.save_state(&path).unwrap();
        store::read(&path).unwrap()
    });
    if state.is_none() {
        optimizer.send_state().unwrap();
    }
    let whole = |tensor: &Tensor| Piece { parameter: 0, start: 0, len: tensor.elem_count() };
    let weights = parameters.iter().map(|(_, parameter)| bytes_of(parameter, whole(parameter)).unwrap()).collect();
    Left { weights, state, norms }
}

/// As [`train`] on so many ranks; what rank 0 has. The others have the same weights and norms.
fn train_on(world_size: usize, sums: GradientSums, dtype: DType, config: AdamWConfig, before: Option<&Left>) -> Left {
    let left: Vec<Left> = std::thread::scope(|scope| {
        let start = |rank| {
            let ranks = Ranks::new(Arc::new(rank), &parameters(dtype), sums);
            scope.spawn(move || train(&ranks, dtype, config, before))
        };
        let running: Vec<_> = in_process(world_size).into_iter().map(start).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    for other in &left[1..] {
        assert!(other.weights == left[0].weights && other.norms == left[0].norms && other.state.is_none());
    }
    left.into_iter().next().unwrap()
}

#[test]
fn any_number_of_ranks_leaves_what_one_process_leaves() {
    let offload_moments = false;
    for (dtype, moments) in [(DType::F32, MomentType::F32), (DType::BF16, MomentType::Bf16)] {
        let config = AdamWConfig { moments, offload_moments, ..AdamWConfig::default() };
        let alone = train(&Ranks::single(SHAPES.len()), dtype, config, None);
        assert!(alone.norms.iter().all(|&norm| norm > 1.5), "they are clipped: {:?}", alone.norms);
        let further = train(&Ranks::single(SHAPES.len()), dtype, config, Some(&alone));
        for world_size in [1, 2, 3] {
            let together = train_on(world_size, GradientSums::MicroBatches, dtype, config, None);
            assert!(together == alone, "{world_size} ranks, {dtype:?}");
            // What so many ranks have left, another number goes on from.
            let next = train_on(4 - world_size, GradientSums::MicroBatches, dtype, config, Some(&together));
            assert!(next == further, "{world_size} ranks and then {}, {dtype:?}", 4 - world_size);
        }
    }
}

#[test]
fn sums_by_rank_are_the_same_but_for_rounding() {
    let config = AdamWConfig::default();
    let alone = train(&Ranks::single(SHAPES.len()), DType::F32, config, None);
    assert!(train_on(1, GradientSums::Ranks, DType::F32, config, None) == alone);
    let together = train_on(2, GradientSums::Ranks, DType::F32, config, None);
    assert_ne!(together.norms, alone.norms, "the order of sums differs");
    for (one, other) in together.norms.iter().zip(&alone.norms) {
        assert!((one / other - 1.0).abs() < 1e-6, "{one} {other}");
    }
}

#[test]
fn parameters_are_dealt_evenly_and_each_has_an_owner() {
    let collective = in_process(3).swap_remove(1);
    let parameters = parameters(DType::F32);
    let ranks = Ranks::new(Arc::new(collective), &parameters, GradientSums::default());
    // The largest alone, the second beside nothing else, the others where there is least.
    assert_eq!(*ranks.owners, [1, 0, 2, 2, 2, 2]);
    assert_eq!(ranks.owned(), [0]);
    let pieces = ranks.pieces(|number| parameters[number].1.elem_count());
    let of_large: usize = pieces[0].iter().map(|piece| piece.len).sum();
    assert!(pieces[0].len() == 2 && of_large == parameters[1].1.elem_count());
}
