//! Padding of passes: so many rows that each is rounded alike in any pass.

use memtrain_model::policy::{Decoder, Target};

/// Rows from which on a product with any matrix of the decoder rounds each of them alike: the crate `gemm` has ways of its
/// own for a single row and for up to 16 x 16 outputs, and cuts sums over more than 512 inputs elsewhere for up to 64 x 64.
pub(super) fn rows_alike(decoder: &Decoder) -> usize {
    let config = &decoder.config;
    let adapters = decoder.weights.named_adapters().into_iter();
    let shapes = Target::ALL
        .into_iter()
        .map(|target| config.matrix_shape(target))
        .chain([(config.vocab_size, config.hidden_size)])
        .chain(adapters.filter_map(|(_, tensor)| tensor.dims2().ok()));
    let needed = |(outputs, inputs): (usize, usize)| match outputs {
        0..=64 if inputs > 512 => 65,
        _ => 16 * 16 / outputs.max(1) + 1,
    };
    shapes.map(needed).max().unwrap_or(1).max(2)
}

/// `rows` with its last element as often as it takes to be `least` long; nothing stays nothing.
pub(super) fn filled_up(mut rows: Vec<u32>, least: usize) -> Vec<u32> {
    if let Some(&last) = rows.last() {
        rows.resize(rows.len().max(least), last);
    }
    rows
}
