//! Speed and memory of a step: tokens a second, floating-point operations, peak memory.

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use memtrain_corpora::store;
use memtrain_model::policy::PolicyConfig;
use memtrain_model::scoring::{PromptResponse, Sharing, pack};

/// Work of one forward pass over samples, shared prompts counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassWork {
    /// Tokens that go through the layers.
    pub tokens: u64,
    /// Floating-point operations of the matrix products; a multiplication and an addition are two.
    pub flops: u64,
}

impl PassWork {
    /// The work of scoring `pairs` in micro-batches of `micro_batch_tokens`, with `sharing` computed once.
    ///
    /// Layers: two operations a weight and token; attention: `4·H·D` a layer, query and key; head: `2·d·V` a response token.
    pub fn of(
        config: &PolicyConfig,
        pairs: &[PromptResponse<'_>],
        micro_batch_tokens: usize,
        sharing: Sharing,
    ) -> Self {
        let layer_weights: usize = config
            .tensor_shapes()
            .iter()
            .filter(|(name, shape)| name.starts_with("model.layers.") && shape.len() == 2)
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        let heads = config.num_hidden_layers * config.num_attention_heads * config.head_dim;
        let mut work = Self::default();
        for micro in pack(pairs, micro_batch_tokens, sharing) {
            let tokens = micro.batch.num_tokens() as u64;
            let attended: u64 = micro.batch.position_ids.iter().map(|&position| u64::from(position) + 1).sum();
            work.tokens += tokens;
            work.flops += 2 * layer_weights as u64 * tokens
                + 4 * heads as u64 * attended
                + 2 * (config.hidden_size * config.vocab_size * micro.rows.len()) as u64;
        }
        work
    }

    /// Operations of forward and backward: the backward pass takes twice the forward's.
    pub fn training_flops(self) -> f64 {
        3.0 * self.flops as f64
    }
}

/// Edge of the matrices whose product measures what a machine can do.
const PROBE: usize = 768;

/// Floating-point operations a second of one matrix product in f32: what MFU is measured against on a processor, where the
/// configuration names no peak. The fastest of a few, since other work on the machine only ever slows.
///
/// # Errors
/// If the device refuses.
pub fn measured_peak_flops(device: &Device) -> candle_core::Result<f64> {
    let matrix = Tensor::ones((PROBE, PROBE), DType::F32, device)?;
    let mut best = 0.0_f64;
    for _ in 0..4 {
        let started = Instant::now();
        let product = matrix.matmul(&matrix)?;
        device.synchronize()?;
        drop(product);
        best = best.max(2.0 * (PROBE as f64).powi(3) / started.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Most memory the process has held so far, in GiB; nothing where the system does not say.
pub fn peak_memory_gib() -> Option<f64> {
    let status = store::read_to_string(Path::new("/proc/self/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = kib.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtrain_model::policy::preset;

    #[test]
    fn shared_prompts_are_counted_once_and_the_count_is_that_of_the_shapes() {
        let config = preset::tiny(100);
        let prompt = [1, 2, 3, 4];
        let responses = [[5, 6, 7], [8, 9, 10]];
        let pairs: Vec<_> =
            responses.iter().map(|response| PromptResponse { prompt_ids: &prompt, response_ids: response }).collect();
        let work = PassWork::of(&config, &pairs, 1_000, Sharing::Prompts);
        // The prompt once, and of each response all but its last token.
        assert_eq!(work.tokens, 4 + 2 * 2);
        let apart = PassWork::of(&config, &pairs[..1], 1_000, Sharing::Prompts);
        assert_eq!(apart.tokens, 6);
        let layers = 2 * (config.num_parameters() - config.vocab_size * config.hidden_size) as u64;
        // Norms are not matrix products: a little less than all parameters.
        let products = apart.flops - 2 * (config.hidden_size * config.vocab_size * 3) as u64;
        assert!(products > layers * 6 * 95 / 100 && products < layers * 6 * 105 / 100, "{products} of {}", layers * 6);
    }

    #[test]
    fn the_machine_can_be_measured() {
        assert!(measured_peak_flops(&Device::Cpu).expect("measured") > 1e8);
        if cfg!(target_os = "linux") {
            assert!(peak_memory_gib().is_some_and(|gib| gib > 0.001));
        }
    }
}
