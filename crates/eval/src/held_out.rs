//! Held-out items while a run trains: what its checkpoints are compared by.

use std::sync::Arc;

use memtrain_rl::objectives::memtrain::{self, MemTrainConfig, Variant};
use memtrain_rl::objectives::rollout_group::TOTAL;
use memtrain_rl::objectives::{Item, Metric, Objective, RolloutContext, means};
use memtrain_run::progress::Bar;

use crate::reconstruction;

/// How held-out items were answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeldOut {
    /// By which checkpoints are compared.
    pub reward: f64,
    /// Everything else.
    pub metrics: Vec<Metric>,
}

/// How the policy does on held-out items. Documents of MemTrain are read once and asked `recall_questions` questions
/// each (`memtrain eval reconstruction`); items of any other objective are rolled out once, and the means of all scores
/// are told.
///
/// # Errors
/// If a sampler, a scorer or the tokenizer fails, or an item is not of the kind that the objective can roll out.
pub fn evaluate(
    objective: &dyn Objective,
    context: &mut RolloutContext<'_>,
    items: &[Item],
    recall_questions: usize,
) -> anyhow::Result<HeldOut> {
    if let Some(config) = objective.reconstruction() {
        return reconstructed(config, context, items, recall_questions);
    }
    // Nobody knows how many responses a rollout takes.
    context.engine.count_on(&Arc::new(Bar::new("evaluation", 0, 0)));
    let groups = objective.roll_out(context, items, 1)?;
    let scores = means(groups.iter().flat_map(|group| &group.scores));
    let reward = scores.iter().find(|(name, _)| *name == objective.held_out_score()).map_or(0.0, |(_, mean)| *mean);
    let of_score = scores.iter().filter(|(name, _)| *name != TOTAL);
    let mut metrics: Vec<Metric> = of_score.map(|(name, mean)| (format!("eval/{name}/mean").into(), *mean)).collect();
    let gauges = means(groups.iter().flat_map(|group| &group.gauges));
    metrics.extend(gauges.into_iter().map(|(name, mean)| (format!("eval/{name}").into(), mean)));
    metrics.push(("eval/documents".into(), items.len() as f64));
    Ok(HeldOut { reward, metrics })
}

/// Greedy or sampled reconstruction with several recall questions a document.
fn reconstructed(
    config: &MemTrainConfig,
    context: &mut RolloutContext<'_>,
    items: &[Item],
    recall_questions: usize,
) -> anyhow::Result<HeldOut> {
    let documents = memtrain::documents(items)?;
    let (reader, engine) = (&context.reader, &mut context.engine);
    let report = reconstruction::evaluate(reader, engine, &documents, config, recall_questions, None)?;
    let weight = if config.variant == Variant::EndToEnd { 0.0 } else { config.recall_weight };
    let recall = if report.recall.count == 0 { 0.0 } else { report.recall.mean };
    Ok(HeldOut {
        reward: report.end_to_end.mean + weight * recall,
        metrics: vec![
            ("eval/end_to_end/mean".into(), report.end_to_end.mean),
            ("eval/recall/mean".into(), report.recall.mean),
            ("eval/memory_tokens".into(), report.memory_tokens),
            ("eval/clipped_ratio/memory".into(), report.truncated_memories),
            ("eval/documents".into(), report.documents as f64),
        ],
    })
}
