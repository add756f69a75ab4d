//! The norm of all gradients and their clipping on a card: launches of the kernels of `cuda/pointwise/gradients.cuh`.

use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::{DType, Result, Tensor};

use super::Argument::{Address, Count, Double};
use super::{Argument, Family, Grid, NOTHING, address, card, function, launch};

/// Elements of one thread block.
const CHUNK: usize = 16_384;

/// Pairs of a tensor's number and a chunk of it, for tensors of these many elements: a thread block takes one.
pub(super) fn chunks(counts: impl Iterator<Item = usize>) -> Vec<u32> {
    counts
        .enumerate()
        .flat_map(|(index, count)| (0..count.div_ceil(CHUNK)).flat_map(move |chunk| [index as u32, chunk as u32]))
        .collect()
}

/// The Euclidean norm of all gradients together, of squares in f64 that are added in a fixed order. If it is finite and above
/// `max_norm`, the gradients are scaled down to that, in place. It is read from the card once, 16 bytes.
///
/// Gradients are contiguous f32 tensors on one card.
///
/// # Errors
/// If one is not, or the card refuses.
pub fn clip_gradients(gradients: &[Tensor], max_norm: f64) -> Result<f64> {
    let Some(one) = gradients.iter().find(|gradient| gradient.elem_count() > 0) else { return Ok(0.0) };
    let device = card(one)?;
    let mut table: Vec<u64> = Vec::with_capacity(3 * gradients.len());
    for gradient in gradients {
        if gradient.dtype() != DType::F32 {
            candle_core::bail!("norm of gradients: f32 is expected, not {gradient:?}");
        }
        table.extend([address(gradient)?, NOTHING, gradient.elem_count() as u64]);
    }
    let chunks = chunks(gradients.iter().map(Tensor::elem_count));
    let blocks = chunks.len() / 2;
    let (table, chunks) = (device.clone_htod(&table)?, device.clone_htod(&chunks)?);
    // SAFETY: each is written by a kernel before anything reads it.
    let (parts, clip) = unsafe { (device.alloc::<f64>(blocks)?, device.alloc::<f64>(2)?) };
    let stream = device.cuda_stream();
    let (table, chunks) = (Address(table.device_ptr(&stream).0), Address(chunks.device_ptr(&stream).0));
    let of_parts = Address(parts.device_ptr(&stream).0);
    let run = |name: &str, grid: Grid, arguments: &[Argument]| {
        launch(device, &function(device, Family::Pointwise, name, grid.shared_bytes)?, grid, arguments)
    };
    run("gradient_squares", Grid { blocks, threads: 256, shared_bytes: 64 }, &[table, chunks, of_parts])?;
    let Ok(num_parts) = u32::try_from(blocks) else { candle_core::bail!("{blocks} chunks of gradients are too many") };
    let of_clip = Address(clip.device_ptr(&stream).0);
    let arguments = [of_parts, Count(num_parts), Double(max_norm), of_clip];
    run("gradient_clip", Grid { blocks: 1, threads: 1024, shared_bytes: 256 }, &arguments)?;
    run("scale_gradients", Grid { blocks, threads: 256, shared_bytes: 0 }, &[table, chunks, of_clip])?;
    // The kernel's structure begins with the norm.
    Ok(device.clone_dtoh(&clip)?[0])
}

/// These run on a card, or under the driver that executes.
#[cfg(test)]
mod tests {
    use candle_core::{D, Device};

    use super::*;
    use crate::nn::gradient_check::wave;

    #[test]
    fn the_norm_is_that_of_all_together_and_is_cut() -> Result<()> {
        let card = Device::new_cuda(0)?;
        // Less than a chunk, several of them, and one element.
        let host = [wave(&[7], DType::F32, 1.0)?, wave(&[130, 300], DType::F32, 2.0)?, wave(&[1], DType::F32, 0.3)?];
        let mut squares = 0.0;
        for gradient in &host {
            squares += gradient.to_dtype(DType::F64)?.sqr()?.flatten_all()?.sum(D::Minus1)?.to_scalar::<f64>()?;
        }
        let (expected, put) = (squares.sqrt(), |x: &Tensor| x.to_device(&card));
        let gradients = host.iter().map(put).collect::<Result<Vec<_>>>()?;
        for (max_norm, after) in [(f64::INFINITY, expected), (1.0, expected), (f64::INFINITY, 1.0)] {
            let norm = clip_gradients(&gradients, max_norm)?;
            assert!((norm - after).abs() < 1e-6 * after, "{norm} and {after}");
        }
        let broken = [put(&Tensor::new(&[f32::NAN, 1.0], &Device::Cpu)?)?];
        assert!(!clip_gradients(&broken, 1.0)?.is_finite());
        assert_eq!(broken[0].to_device(&Device::Cpu)?.to_vec1::<f32>()?[1], 1.0);
        Ok(())
    }
}
