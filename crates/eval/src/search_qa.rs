//! Questions that are searched for, one or several objectives at a time (MEM1, arXiv 2506.15841).
//!
//! An item is a task of one or more questions. Its answers are compared one by one with what is accepted, and the item's
//! scores are their means; too few or too many answers are wrong altogether, as in MEM1's evaluation.

use std::sync::Arc;

use memtrain_corpora::rng;
use memtrain_rl::agents::searcher::{SearchTask, SearchTrajectory, Searcher};
use memtrain_rl::rollout::RolloutEngine;
use memtrain_rl::rollout::retrieve::Retriever;
use memtrain_tasks::{ContextKind, Task};
use rand::Rng;
use serde::Serialize;

use super::metrics::{Metric, Scores, score_answer};
use super::record::{EvalTurn, ItemKey, ItemRecord};
use super::summary::Row;

/// The metrics that make sense of answers without a box.
pub const METRICS: [Metric; 4] = [Metric::Em, Metric::F1, Metric::SubEm, Metric::SubEmSymmetric];

/// The one method there is.
const METHOD: &str = "searcher";

/// The item of a task.
pub fn item(task: &Task) -> ItemKey {
    ItemKey { task: task.id.clone(), length: task.questions.len() as u32, question: 0, method: METHOD.to_owned() }
}

/// Joins tasks of one question each into tasks of `objectives` questions, in an order that is drawn by their ids. What is
/// left over at the end is the second value.
///
/// ```
/// # use memtrain_tasks::{ContextKind, Question, Task};
/// # let task = |id: &str| Task { id: id.into(), source: "s".into(),
/// #     questions: vec![Question { text: format!("{id}?"), answers: vec![id.into()] }], kind: ContextKind::None,
/// #     passages: vec![], gold: vec![], length: 0, extra: Default::default() };
/// let (joined, left) = memtrain_eval::search_qa::join(vec![task("a"), task("b"), task("c")], 2, 7);
/// assert_eq!((joined.len(), joined[0].questions.len(), left), (1, 2, 1));
/// ```
pub fn join(tasks: Vec<Task>, objectives: usize, seed: u64) -> (Vec<Task>, usize) {
    if objectives <= 1 {
        return (tasks, 0);
    }
    let rank = |task: &Task| -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&blake3::hash(task.id.as_bytes()).as_bytes()[..8]);
        rng::keyed("eval/search-qa/objectives", seed, &[u64::from_le_bytes(bytes)]).random()
    };
    let mut ranked: Vec<(u64, Task)> = tasks.into_iter().map(|task| (rank(&task), task)).collect();
    ranked.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.id.cmp(&right.id)));
    let groups = ranked.chunks_exact(objectives);
    let left = groups.remainder().len();
    let joined = groups.map(|group| {
        let tasks = || group.iter().map(|(_, task)| task);
        let mut sources: Vec<&str> = tasks().map(|task| task.source.as_str()).collect();
        sources.dedup();
        Task {
            id: tasks().map(|task| task.id.as_str()).collect::<Vec<_>>().join("+"),
            source: sources.join("+"),
            questions: tasks().flat_map(|task| task.questions.clone()).collect(),
            kind: ContextKind::None,
            passages: Vec::new(),
            gold: Vec::new(),
            length: 0,
            extra: Default::default(),
        }
    });
    (joined.collect(), left)
}

/// Searches for the answers of tasks; records and turns in the order of the tasks.
///
/// # Errors
/// If the sampler or the retriever fails, or somebody asks to stop: that is no fault of an answer, and the evaluation can go on later. A prompt that
/// does not fit is a failed item.
pub fn answer(
    searcher: &Searcher<'_>,
    engine: &mut RolloutEngine<'_>,
    retriever: &Arc<dyn Retriever>,
    tasks: &[Task],
) -> anyhow::Result<(Vec<ItemRecord>, Vec<EvalTurn>)> {
    let search_task = |task: &Task| SearchTask {
        number: item(task).number(),
        questions: task.questions.iter().map(|question| question.text.clone()).collect(),
    };
    let search_tasks: Vec<SearchTask> = tasks.iter().map(search_task).collect();
    let trajectories = searcher.search(engine, retriever, &search_tasks, 1)?.into_iter().flatten();
    let (mut records, mut turns) = (Vec::with_capacity(tasks.len()), Vec::new());
    for (task, trajectory) in tasks.iter().zip(trajectories) {
        let record = graded(task, &trajectory);
        for (number, turn) in trajectory.turns.iter().enumerate() {
            turns.push(EvalTurn::new(&record.key, number, turn, searcher.tokenizer.decode(&turn.prompt_ids)?));
        }
        records.push(record);
    }
    Ok((records, turns))
}

fn graded(task: &Task, trajectory: &SearchTrajectory) -> ItemRecord {
    let answers = trajectory.outcome.answers().unwrap_or_default();
    let scores = if answers.len() == task.questions.len() {
        let one = |(answer, question): (&String, &memtrain_tasks::Question)| score_answer(answer, &question.answers);
        Scores::mean(&answers.iter().zip(&task.questions).map(one).collect::<Vec<_>>())
    } else {
        Scores::default()
    };
    let accepted = task.questions.iter().map(|question| question.answers.clone()).collect();
    let mut record = ItemRecord {
        answer: answers.join("; "),
        failure: trajectory.outcome.failure.clone(),
        scores,
        ..ItemRecord::new(item(task), &task.source, accepted)
    };
    record.count(trajectory.turns.iter());
    record
}

/// The result: a row for each set and number of objectives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchQaReport {
    /// Items in all.
    pub items: usize,
    /// Those that broke off and count as wrong.
    pub failed: usize,
    /// Items that never answered.
    pub without_answer: usize,
    /// Mean number of objectives answered exactly: MEM1's reward.
    pub exact_objectives: f64,
    /// The rows.
    pub rows: Vec<Row>,
}

impl SearchQaReport {
    /// Counts records.
    pub fn of(records: &[ItemRecord]) -> Self {
        let exact: f64 = records.iter().map(|record| record.scores.em * f64::from(record.key.length)).sum();
        Self {
            items: records.len(),
            failed: records.iter().filter(|record| record.failure.is_some()).count(),
            without_answer: records.iter().filter(|record| record.answer.is_empty()).count(),
            exact_objectives: exact / records.len().max(1) as f64,
            rows: Row::all(records, &METRICS, |record| format!("{} x{}", record.source, record.key.length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtrain_rl::agents::searcher::{SearchOutcome, action};
    use memtrain_tasks::Question;

    fn task(questions: &[(&str, &[&str])]) -> Task {
        let question = |(text, answers): &(&str, &[&str])| Question {
            text: (*text).to_owned(),
            answers: answers.iter().map(|&answer| answer.to_owned()).collect(),
        };
        Task {
            id: "t".into(),
            source: "s".into(),
            questions: questions.iter().map(question).collect(),
            kind: ContextKind::None,
            passages: vec![],
            gold: vec![],
            length: 0,
            extra: Default::default(),
        }
    }

    fn said(response: &str) -> SearchTrajectory {
        let outcome = SearchOutcome { actions: vec![action(response).0], failure: None };
        SearchTrajectory { rollout: 0, turns: Vec::new(), outcome }
    }

    fn em(task: &Task, response: &str) -> f64 {
        graded(task, &said(response)).scores.em
    }

    #[test]
    fn objectives_are_compared_one_by_one() {
        let two = task(&[("a?", &["Lorn", "the river"]), ("b?", &["1901"])]);
        assert_eq!(em(&two, "<answer>River; 1901</answer>"), 1.0);
        assert_eq!(em(&two, "<answer>River; 1902</answer>"), 0.5);
        assert_eq!(em(&two, "<answer>1901; River</answer>"), 0.0);
        assert_eq!(em(&two, "<answer>River</answer>"), 0.0, "too few");
        assert_eq!(em(&two, "<answer>River; 1901; more</answer>"), 0.0, "too many");
        assert_eq!(em(&two, "<search>River; 1901</search>"), 0.0);
        let report = SearchQaReport::of(&[graded(&two, &said("<answer>lorn;1901</answer>"))]);
        assert_eq!((report.exact_objectives, report.rows[0].group.as_str()), (2.0, "s x2"));
    }
}
