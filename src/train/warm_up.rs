//! A warm-up step: draw examples, make them likely.

use super::{StepContext, StepOutcome, Training};
use crate::grpo::packing::PromptResponse;
use crate::grpo::trainer::UpdateConfig;
use crate::grpo::update::{accumulate, apply};
use crate::warm_up::step::{Example, Material, WarmUpConfig, draw_examples};

/// Warms a policy up.
pub struct WarmUpTraining<'a> {
    /// What examples are made from.
    pub material: Material<'a>,
    /// The mixture.
    pub config: &'a WarmUpConfig,
    /// How a batch is cut up, and the bound of the gradient's norm.
    pub update: &'a UpdateConfig,
    /// Seed of the run.
    pub seed: u64,
}

impl Training for WarmUpTraining<'_> {
    fn step(&mut self, context: StepContext<'_>) -> anyhow::Result<StepOutcome> {
        let examples = draw_examples(context.step, self.seed, &self.material, self.config)?;
        let pairs: Vec<_> = examples.iter().map(Example::pair).collect();
        let limits = self.update.limits(1.0);
        let mut loss = 0.0;
        accumulate(context.decoder, context.optimizer.parameters(), &pairs, limits, context.gradients, |scored| {
            let weight = examples[scored.conversation].weights[scored.token];
            loss -= weight * scored.log_prob;
            -weight
        })?;
        let gradient_norm =
            apply(context.optimizer, context.gradients, self.update.max_gradient_norm, context.learning_rate)?;
        let metrics = vec![
            ("train/loss".into(), loss),
            ("train/grad_norm".into(), gradient_norm),
            ("train/learning_rate".into(), context.learning_rate),
        ];
        Ok(StepOutcome { metrics, ..StepOutcome::default() })
    }

    fn cursor(&self) -> u64 {
        0
    }

    fn set_cursor(&mut self, _cursor: u64) {}

    fn headlines(&self) -> &'static [(&'static str, &'static str)] {
        &[("loss", "train/loss")]
    }
}

impl Example {
    fn pair(&self) -> PromptResponse<'_> {
        PromptResponse { prompt_ids: &self.prompt_ids, response_ids: &self.response_ids }
    }
}
