//! SFT step: sample examples, minimise their weighted negative log-likelihood.

use memtrain_model::scoring::{ScoredToken, accumulate};
use memtrain_rl::grpo::trainer::UpdateConfig;
use memtrain_rl::grpo::update::apply;
use memtrain_rl::sft::step::{Example, Material, SftConfig, draw_examples};

use super::{StepContext, StepOutcome, Training};

/// Supervised fine-tuning of a policy.
pub struct SftTraining<'a> {
    /// What examples are made from.
    pub material: Material<'a>,
    /// The mixture.
    pub config: &'a SftConfig,
    /// How a batch is cut up, and the bound of the gradient's norm.
    pub update: &'a UpdateConfig,
    /// Seed of the run.
    pub seed: u64,
}

impl Training for SftTraining<'_> {
    fn step(&mut self, context: StepContext<'_>) -> anyhow::Result<StepOutcome> {
        let examples = draw_examples(context.step, self.seed, &self.material, self.config)?;
        let pairs: Vec<_> = examples.iter().map(Example::pair).collect();
        let limits = self.update.limits(1.0);
        let weight = |scored: &ScoredToken| examples[scored.sample].weights[scored.token];
        let (parameters, goes_on) = (context.optimizer.parameters(), || !context.stop.requested());
        let scored = accumulate(context.decoder, parameters, &pairs, limits, context.gradients, &goes_on, |scored| {
            -weight(&scored)
        });
        // No weight has moved.
        context.stop.check()?;
        let scored = scored?;
        let loss = scored.iter().fold(0.0, |loss, scored| loss - weight(scored) * scored.log_prob);
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
