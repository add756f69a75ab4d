//! Jobs that the stages of a corpus still need, and the jobs they wait for.

use std::collections::BTreeSet;
use std::fmt::Write;

use memtrain_pipeline::{StageName, StageState, StageStatus};

/// The stages whose output a stage reads.
fn inputs(stage: StageName) -> &'static [StageName] {
    match stage {
        StageName::Ingest => &[],
        StageName::Entities | StageName::Tokenizer | StageName::Index => &[StageName::Ingest],
        StageName::Synthesize => &[StageName::Ingest, StageName::Entities, StageName::Tokenizer, StageName::Index],
    }
}

/// Whether the shards of a stage are worth several jobs: the tokenizer has one, those of the index share what they learn.
fn is_array(stage: StageName) -> bool {
    !matches!(stage, StageName::Tokenizer | StageName::Index)
}

/// Lines of shell that send the jobs; all of them wait for the jobs in `first`. `None` where every stage is done.
pub(super) fn jobs(stages: &[StageStatus], tasks: usize) -> Option<String> {
    let left: Vec<&StageStatus> = stages.iter().filter(|stage| stage.state != StageState::Done).collect();
    let mut lines = String::new();
    for status in &left {
        let name = status.stage;
        let waits: Vec<String> = inputs(name)
            .iter()
            .filter(|input| left.iter().any(|stage| stage.stage == **input))
            .map(|input| format!("\"${input}\""))
            .collect();
        let waits = if waits.is_empty() { "$first".to_owned() } else { waits.join(" ") };
        // Only of a stage that is planned for its present inputs is it known what is missing.
        let is_planned = status.state == StageState::Planned;
        let told = match is_planned {
            true => format!("{} of {} shards are missing", status.missing.len(), status.shards),
            false => "it is to be planned".to_owned(),
        };
        let steps = if is_array(name) {
            let tasks_left: BTreeSet<usize> = match is_planned {
                true => status.missing.iter().map(|shard| shard % tasks).collect(),
                false => (0..tasks).collect(),
            };
            let plan = format!("submit --job-name=memtrain-{name}-plan corpus-step.sbatch {name} plan");
            let list = array(&tasks_left);
            let shards =
                format!("submit --job-name=memtrain-{name} --array={list} corpus-shards.sbatch {name} {tasks}");
            let finish = format!("submit --job-name=memtrain-{name}-finish corpus-step.sbatch {name} finish");
            let plan = (!is_planned).then_some(plan);
            let shards = (!tasks_left.is_empty()).then_some(shards);
            plan.into_iter().chain(shards).chain([finish]).collect::<Vec<_>>().join("\nafter \"$job\"\n")
        } else {
            format!("submit --job-name=memtrain-{name} corpus-step.sbatch {name} plan shards finish")
        };
        let _ = writeln!(lines, "\n# {name}: {told}\nafter {waits}\n{steps}\n{name}=\"$job\"");
    }
    (!lines.is_empty()).then_some(lines)
}

/// Numbers of tasks as `--array` takes them.
fn array(tasks: &BTreeSet<usize>) -> String {
    match (tasks.first(), tasks.last()) {
        (Some(first), Some(last)) if last - first + 1 == tasks.len() && first < last => format!("{first}-{last}"),
        _ => tasks.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn status(stage: StageName, state: StageState, shards: usize, missing: &[usize]) -> StageStatus {
        let (shards_done, missing) = (shards - missing.len(), missing.to_vec());
        StageStatus { stage, state, shards, shards_done, missing, rows: BTreeMap::new() }
    }

    #[test]
    fn only_what_is_missing_is_sent() {
        let mut stages: Vec<StageStatus> =
            StageName::ALL.into_iter().map(|stage| status(stage, StageState::Done, 1, &[])).collect();
        assert_eq!(jobs(&stages, 4), None);
        stages[4] = status(StageName::Synthesize, StageState::Planned, 10, &[2, 5, 6]);
        let sent = jobs(&stages, 4).unwrap();
        assert!(sent.starts_with("\n# synthesize: 3 of 10 shards are missing\nafter $first\n"), "{sent}");
        assert!(sent.contains(" --array=1-2 corpus-shards.sbatch synthesize 4\n"), "{sent}");
        assert!(!sent.contains("plan") && !sent.contains("ingest"), "{sent}");
        stages[4] = status(StageName::Synthesize, StageState::Planned, 10, &[]);
        let sent = jobs(&stages, 4).unwrap();
        assert!(sent.contains("synthesize finish\n") && !sent.contains("--array"), "{sent}");
    }

    #[test]
    fn arrays_are_named_as_sbatch_takes_them() {
        let told = |tasks: &[usize]| array(&tasks.iter().copied().collect());
        assert_eq!(told(&[0, 1, 2, 3]), "0-3");
        assert_eq!(told(&[7]), "7");
        assert_eq!(told(&[0, 3, 4]), "0,3,4");
    }
}
