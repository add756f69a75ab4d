//! Weights that are no longer those of a language model.

use candle_core::{D, DType, Result, Tensor, Var};
use memtrain_engine::sampler::SampleError;

/// The largest weight that a policy may have: the largest finite number of 16-bit floating point, in which servers compute.
/// Weights of published policies stay below a thousand, and a step moves none by more than some learning rates.
const LARGEST_WEIGHT: f64 = 65_504.0;

/// What is wrong with weights that have diverged; `None` if all are finite and none is too large.
///
/// They are read once, as for a single token of a rollout: after each step, so that nothing is drawn, recorded or saved with
/// weights that have diverged. A card is asked for two numbers a parameter, all at once.
pub(super) fn of(parameters: &[(String, Var)]) -> Result<Option<String>> {
    let filled: Vec<_> = parameters.iter().filter(|(_, parameter)| parameter.elem_count() > 0).collect();
    if filled.is_empty() {
        return Ok(None);
    }
    let sizes = filled.iter().map(|(_, parameter)| sum_and_largest(parameter)).collect::<Result<Vec<_>>>()?;
    for ((name, _), sizes) in filled.iter().zip(Tensor::stack(&sizes, 0)?.to_vec2::<f32>()?) {
        // A maximum passes over NaN, a sum does not.
        if !sizes[0].is_finite() {
            return Ok(Some(format!("`{name}` has weights that are not finite")));
        }
        let largest = f64::from(sizes[1]);
        if largest > LARGEST_WEIGHT {
            return Ok(Some(format!("`{name}` has a weight of {largest:.3e}, more than {LARGEST_WEIGHT}")));
        }
    }
    Ok(None)
}

/// Sum and largest of the absolute weights, `[2]` in f32 on their device: of the rows first, each the work of a block of
/// threads, where one sum over everything would be the work of a single block.
fn sum_and_largest(parameter: &Var) -> Result<Tensor> {
    let width = parameter.dims().last().copied().unwrap_or(1);
    let sizes = parameter.as_detached_tensor().to_dtype(DType::F32)?.abs()?;
    let sizes = sizes.reshape((parameter.elem_count() / width, width))?;
    Tensor::stack(&[sizes.sum(D::Minus1)?.sum_all()?, sizes.max(D::Minus1)?.max_all()?], 0)
}

/// Whether an error says that the policy's probabilities are not finite.
pub(super) fn is_of(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(SampleError::NotFinite { .. })))
}

#[cfg(test)]
mod tests {
    use super::super::{Loop, OptimizerConfig, StepContext, StepOutcome, TrainConfig, Training};
    use super::*;
    use candle_core::Device;
    use memtrain_corpora::store;
    use memtrain_model::policy::PolicyTokenizer;
    use memtrain_model::policy::{Decoder, Policy, PolicyConfig, Precision, preset};
    use memtrain_run::signal::StopRequest;
    use memtrain_run::{RunDirectory, RunError, RunSetup};

    /// Training that sets all weights of a parameter: to a half, and in one step to something else.
    struct Spoiler {
        step: u64,
        weight: f32,
    }

    impl Training for Spoiler {
        fn step(&mut self, context: StepContext<'_>) -> anyhow::Result<StepOutcome> {
            let weight = if context.step == self.step { self.weight } else { 0.5 };
            let (_, parameter) = &context.optimizer.parameters()[0];
            parameter.set(&Tensor::full(weight, parameter.shape(), parameter.device())?)?;
            Ok(StepOutcome::default())
        }

        fn cursor(&self) -> u64 {
            0
        }

        fn set_cursor(&mut self, _cursor: u64) {}

        fn headlines(&self) -> &'static [(&'static str, &'static str)] {
            &[]
        }
    }

    #[test]
    fn diverged_weights_are_never_saved_and_a_sound_checkpoint_is_named() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let config = PolicyConfig { hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1, ..preset::tiny(260) };
        let start = Policy::new(Decoder::init(config, 5, &Device::Cpu, DType::F32)?, PolicyTokenizer::of_bytes()?)?;
        let train = |step: u64, weight: f32| -> anyhow::Result<()> {
            let run = RunDirectory::open(&folder.path().join("run"), &RunSetup::default())?;
            let config = TrainConfig { steps: 5, checkpoint_every: 2, ..TrainConfig::default() };
            let (optimizer, stop) = (OptimizerConfig::default(), StopRequest::default());
            let the_loop = Loop {
                collective: std::sync::Arc::new(memtrain_collective::Single),
                run: Some(&run),
                config: &config,
                optimizer: &optimizer,
                precision: Precision::default(),
                observer: &(),
                stop: &stop,
            };
            the_loop.run(&mut start.clone(), &mut Spoiler { step, weight })?;
            Ok(())
        };
        let names = || -> anyhow::Result<Vec<String>> {
            let names = store::list(&folder.path().join("run/checkpoints"))?;
            Ok(names.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned()).collect())
        };
        for (step, sound) in [(1, None), (3, Some("step_000002")), (4, Some("step_000002"))] {
            for weight in [f32::NAN, f32::INFINITY, 1e9] {
                let error = train(step, weight).expect_err("diverged");
                let Some(RunError::Diverged { step: found, sound: named, .. }) = error.downcast_ref() else {
                    panic!("{error:#}");
                };
                let named = named.as_ref().and_then(|path| path.file_name()?.to_str());
                assert_eq!((*found, named), (step, sound));
                let expected: &[&str] = if step == 1 { &[] } else { &["latest", "step_000002"] };
                assert_eq!(names()?, expected, "only what is sound is saved");
            }
        }
        // Started again without what made it diverge, it goes on.
        train(0, 0.0)?;
        assert_eq!(names()?, ["latest", "step_000004", "step_000005"]);
        Ok(())
    }

    #[test]
    fn one_weight_is_enough() -> Result<()> {
        for dtype in [DType::F32, DType::BF16, DType::F64] {
            let diverged = |weight: f64| -> Result<bool> {
                let weights = Tensor::new(&[0.5, weight, -0.5], &Device::Cpu)?.to_dtype(dtype)?;
                let sound = Var::zeros((2, 3), dtype, &Device::Cpu)?;
                Ok(of(&[("a".to_owned(), sound), ("b".to_owned(), Var::from_tensor(&weights)?)])?.is_some())
            };
            for weight in [0.0, -1000.0, 60_000.0] {
                assert!(!diverged(weight)?, "{weight}");
            }
            for weight in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e6, -1e20, f64::MAX] {
                assert!(diverged(weight)?, "{weight}");
            }
        }
        Ok(())
    }
}
