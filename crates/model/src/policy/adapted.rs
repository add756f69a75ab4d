//! A decoder with low-rank adapters: with fresh ones, without them, with them added into its matrices.

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::Rng;

use super::lora::{Adapter, Adapters, LoraConfig, Target};
use super::{Decoder, PolicyError};

impl Decoder {
    /// Whether any matrix carries an adapter.
    pub fn has_adapters(&self) -> bool {
        self.weights.layers.iter().any(|layer| !layer.adapters.is_empty())
    }

    /// The decoder with fresh adapters as its only variables; everything else is shared with it and frozen. `A` is uniform
    /// in `±1 / sqrt(in)` and `B` is zero, as in PEFT, so that nothing changes before the first step.
    ///
    /// # Errors
    /// If the rank is 0 or above the policy's width, beyond which the product of both has no higher rank; if nothing is targeted, or
    /// there are adapters already.
    pub fn with_lora(&self, config: &LoraConfig, seed: u64) -> std::result::Result<Self, PolicyError> {
        if config.rank == 0 || config.targets.is_empty() {
            let detail = "a rank of at least 1 and at least one target are needed".to_owned();
            return Err(PolicyError::Config { key: "policy.lora", detail });
        }
        let width = self.config.hidden_size;
        if config.rank > width {
            let detail = format!(
                "a rank of {} is above the width of the policy, {width}, and adds nothing to one of {width}",
                config.rank
            );
            return Err(PolicyError::Config { key: "policy.lora", detail });
        }
        if self.has_adapters() {
            let detail = "the policy has adapters already: merge them first".to_owned();
            return Err(PolicyError::Config { key: "policy.lora", detail });
        }
        let mut adapted = self.frozen()?;
        for (number, layer) in adapted.weights.layers.iter_mut().enumerate() {
            for &target in &config.targets {
                let (out, width) = layer.matrix(target).dims2()?;
                let name = format!("policy/lora/model.layers.{number}.{}", target.path());
                let a = Tensor::from_vec(uniform(&name, seed, config.rank, width), (config.rank, width), &Device::Cpu)?;
                let b = Tensor::zeros((out, config.rank), DType::F32, &Device::Cpu)?;
                let variable = |tensor: Tensor| -> Result<Tensor> {
                    Ok(Var::from_tensor(&tensor.to_device(self.device())?)?.into_inner())
                };
                let scale = config.alpha / config.rank as f64;
                layer.adapters.set(target, Adapter { a: variable(a)?, b: variable(b)?, scale });
            }
        }
        Ok(adapted)
    }

    /// The decoder without its adapters: what it was before them, sharing its storage, frozen.
    ///
    /// # Errors
    /// Never on the CPU.
    pub fn without_lora(&self) -> Result<Self> {
        let mut base = self.frozen()?;
        base.weights.layers.iter_mut().for_each(|layer| layer.adapters = Adapters::default());
        Ok(base)
    }

    /// The decoder with its adapters added into its matrices, in f32 and rounded once to the matrices' type; frozen.
    ///
    /// # Errors
    /// If the device refuses a tensor.
    pub fn merged_lora(&self) -> Result<Self> {
        self.merged_lora_as(self.dtype())
    }

    /// As [`Self::merged_lora`], with the matrices that had an adapter in another type: in [`Self::compute_dtype`] the
    /// sum loses nothing that the products of the adapters alone would keep.
    ///
    /// # Errors
    /// If the device refuses a tensor.
    pub fn merged_lora_as(&self, dtype: DType) -> Result<Self> {
        let mut merged = self.without_lora()?;
        for (layer, own) in merged.weights.layers.iter_mut().zip(&self.weights.layers) {
            for target in Target::ALL {
                if let Some(adapter) = own.adapters.get(target) {
                    *layer.matrix_mut(target) = adapter.added_to(own.matrix(target), dtype)?;
                }
            }
        }
        Ok(merged)
    }
}

/// `rank * width` draws, uniform in `±1 / sqrt(width)`.
fn uniform(name: &str, seed: u64, rank: usize, width: usize) -> Vec<f32> {
    let mut rng = memtrain_corpora::rng::keyed(name, seed, &[]);
    let bound = 1.0 / (width as f32).sqrt();
    (0..rank * width).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::preset;
    use memtrain_kernels::nn::gradient_check::{assert_close, max_difference};
    use memtrain_kernels::nn::{PackedBatch, tape};

    type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

    fn batch() -> PackedBatch {
        let mut batch = PackedBatch::default();
        let prompt = batch.push(&[1, 2, 3, 4], None);
        batch.push(&[5, 6], Some(prompt));
        batch.push(&[7, 8, 9], Some(prompt));
        batch
    }

    /// Adapters that do something.
    fn stirred(decoder: &Decoder) -> Result<()> {
        for (name, parameter) in decoder.parameters()? {
            let noise = memtrain_kernels::nn::gradient_check::wave(
                parameter.dims(),
                DType::F32,
                0.1 + 0.001 * name.len() as f64,
            )?;
            parameter.set(&(parameter.as_detached_tensor() + noise)?)?;
        }
        Ok(())
    }

    #[test]
    fn fresh_adapters_change_nothing_and_are_all_that_is_trained() -> Outcome {
        let base = Decoder::init(preset::tiny(40), 3, &Device::Cpu, DType::F32)?;
        let config = LoraConfig { rank: 4, ..LoraConfig::default() };
        let adapted = base.with_lora(&config, 1)?;
        let batch = batch();
        assert_eq!(max_difference(&adapted.hidden(&batch)?, &base.hidden(&batch)?)?, 0.0);
        let parameters = adapted.parameters()?;
        assert_eq!(parameters.len(), 2 * 7 * base.config.num_hidden_layers);
        assert!(parameters.iter().all(|(name, _)| name.contains(".lora_")));
        // The gradient of A is zero as long as B is; that of B is not.
        let gradients = tape::gradients(&adapted.hidden(&batch)?.sqr()?.sum_all()?, &parameters)?;
        for ((name, _), gradient) in parameters.iter().zip(&gradients) {
            let largest = max_difference(gradient, &gradient.zeros_like()?)?;
            assert_eq!(largest > 0.0, name.contains("lora_B"), "{name}: {largest}");
        }
        assert!(adapted.with_lora(&config, 1).is_err());
        assert!(base.with_lora(&LoraConfig { rank: 0, ..config.clone() }, 1).is_err());
        let width = base.config.hidden_size;
        let told = base.with_lora(&LoraConfig { rank: width + 1, ..config }, 1).map(drop).unwrap_err().to_string();
        assert!(told.contains(&format!("above the width of the policy, {width}")), "{told}");
        Ok(())
    }

    #[test]
    fn merged_weights_give_the_adapters_logits() -> Outcome {
        let base = Decoder::init(preset::tiny(40), 3, &Device::Cpu, DType::F32)?;
        let config = LoraConfig { rank: 3, alpha: 5.0, targets: vec![Target::Q, Target::V, Target::Down] };
        let adapted = base.with_lora(&config, 1)?;
        stirred(&adapted)?;
        let (batch, merged) = (batch(), adapted.merged_lora()?);
        assert!(!merged.has_adapters());
        let (hidden, base_hidden) = (adapted.hidden(&batch)?, base.hidden(&batch)?);
        assert!(max_difference(&hidden, &base_hidden)? > 1e-2);
        assert_close(&merged.logits(&merged.hidden(&batch)?)?, &adapted.logits(&hidden)?, 1e-5)?;
        assert_eq!(max_difference(&adapted.without_lora()?.hidden(&batch)?, &base_hidden)?, 0.0);
        Ok(())
    }

    #[test]
    fn a_trainable_copy_moves_its_adapters_alone() -> Outcome {
        let base = Decoder::init(preset::tiny(40), 3, &Device::Cpu, DType::F32)?;
        let adapted = base.with_lora(&LoraConfig { targets: vec![Target::K], ..LoraConfig::default() }, 1)?;
        let copy = adapted.trainable_copy()?;
        assert_eq!(copy.parameters()?.len(), 2 * base.config.num_hidden_layers);
        stirred(&copy)?;
        let batch = batch();
        assert_eq!(max_difference(&adapted.hidden(&batch)?, &base.hidden(&batch)?)?, 0.0);
        assert!(max_difference(&copy.hidden(&batch)?, &base.hidden(&batch)?)? > 0.0);
        Ok(())
    }
}
