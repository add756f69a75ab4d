//! A rollout of a step as lines of the log, so that one can see what the policy writes while it trains.

use memtrain_run::{RolloutKind, RolloutRow};

/// Characters of a text that are shown.
const SHOWN: usize = 400;

/// The rollout with the highest advantage: which it is, its last memory or what stands for it, and its answer. Nothing of a
/// step without rollouts.
pub(super) fn lines(step: u64, rows: &[RolloutRow]) -> Vec<String> {
    // Recall answers are no rollouts of their own; the first of equals is shown.
    let of_rollouts = rows.iter().filter(|row| row.kind != RolloutKind::Recall);
    let Some(best) = of_rollouts.reduce(|best, row| if row.advantage > best.advantage { row } else { best }) else {
        return Vec::new();
    };
    let own = || {
        let is_own = |row: &&RolloutRow| row.document_id == best.document_id && row.rollout == best.rollout;
        rows.iter().filter(is_own).filter(|row| row.kind != RolloutKind::Recall)
    };
    let Some(last) = own().next_back() else { return Vec::new() };
    let (document, rollout) = (&last.document_id, last.rollout);
    let mut lines = vec![format!(
        "sample of step {step}: {document}, rollout {rollout}, wanted {}, reward {:.3}, advantage {:+.3}",
        brief(&last.target),
        last.reward,
        last.advantage,
    )];
    let before = own().rfind(|row| !matches!(row.kind, RolloutKind::Answer));
    lines.extend(before.map(|row| format!("  {}: {}", name(row.kind), brief(&row.response))));
    if last.kind == RolloutKind::Answer {
        lines.push(format!("  answer: {}", brief(&last.response)));
    }
    lines
}

fn name(kind: RolloutKind) -> &'static str {
    match kind {
        RolloutKind::Read => "last memory",
        RolloutKind::Write => "last calls",
        RolloutKind::Search => "last turn",
        RolloutKind::Answer | RolloutKind::Recall => "answer",
    }
}

/// A text on one line, its end left out where it is long.
fn brief(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.is_empty() => "(nothing)".to_owned(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use memtrain_rollout_types::FinishReason;

    use super::*;

    fn row(rollout: u32, kind: RolloutKind, response: &str, advantage: f64) -> RolloutRow {
        RolloutRow {
            step: 3,
            document_id: "train-00000007".into(),
            rollout,
            turn: 0,
            kind,
            prompt: String::new(),
            response: response.into(),
            prompt_ids: Vec::new(),
            response_ids: Vec::new(),
            log_probs: Vec::new(),
            reward: 1.25,
            advantage,
            target: "Lorn".into(),
            finish: FinishReason::Stop,
            trained: true,
            reason: String::new(),
        }
    }

    #[test]
    fn the_best_rollout_is_shown_with_its_last_memory_and_its_answer() {
        use RolloutKind::{Answer, Read, Recall};
        let rows = [
            row(0, Read, "worse", -0.5),
            row(0, Answer, "worse", -0.5),
            row(1, Read, "first", 0.5),
            row(1, Read, "sold\nsalt", 0.5),
            row(1, Answer, "\\boxed{Lorn}", 0.5),
            row(1, Recall, "\\boxed{other}", 0.75),
        ];
        let expected = [
            "sample of step 3: train-00000007, rollout 1, wanted Lorn, reward 1.250, advantage +0.500",
            "  last memory: sold salt",
            "  answer: \\boxed{Lorn}",
        ];
        assert_eq!(lines(3, &rows), expected);
        assert!(lines(3, &rows[5..]).is_empty() && lines(3, &[]).is_empty());
        assert_eq!(brief(&"é".repeat(500)).chars().count(), SHOWN + 1);
    }
}
