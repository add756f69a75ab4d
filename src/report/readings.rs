//! The rollouts of a document: which are shown, and how their rewards come about.

use minijinja::Value;
use serde::Serialize;

use super::annotated::{self, Part};
use super::bounded::bounded;
use super::prompts::MemoryTurn;
use crate::agents::answer::{Equality, last_boxed};
use crate::agents::sentences::{ReadSentences, sentences};
use crate::objectives::memtrain::FORM;
use crate::run::{RolloutKind, RolloutRow};

/// What of the configuration decides about rewards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rule {
    equality: Equality,
    recall_weight: f64,
}

impl Rule {
    /// The rule of a run's configuration; MemTrain's where it says nothing.
    pub(super) fn of(config: &toml::Table) -> Self {
        let value = |key: &str| config.get("objective").and_then(|objective| objective.get(key));
        let equality = value("equality").cloned().and_then(|value| value.try_into().ok()).unwrap_or_default();
        let recall_weight = value("recall_weight").and_then(toml::Value::as_float).unwrap_or(0.5);
        Self { equality, recall_weight }
    }
}

/// A rollout in the table of its document.
#[derive(Debug, Serialize)]
pub(super) struct RolloutSummary {
    rollout: u32,
    /// The boxed answer, or what was said without a box.
    answer: String,
    is_boxed: bool,
    reward: f64,
    advantage: f64,
    /// Rewards of the recall samples.
    recalled: Vec<f64>,
    /// The same as `3 of 4`.
    recall: String,
    /// What the form of its memories takes from the reward, at most 0.
    form: f64,
    memory_words: usize,
}

/// A document of the step.
#[derive(Debug, Serialize)]
pub(super) struct DocumentSummary {
    pub(super) id: String,
    target: String,
    rollouts: Vec<RolloutSummary>,
}

impl DocumentSummary {
    /// How far the rollouts' advantages lie apart.
    pub(super) fn spread(&self) -> f64 {
        let advantages = || self.rollouts.iter().map(|rollout| rollout.advantage);
        advantages().fold(f64::NEG_INFINITY, f64::max) - advantages().fold(f64::INFINITY, f64::min)
    }

    /// Numbers of the `count` rollouts with the highest and the lowest advantages, from high to low.
    pub(super) fn extremes(&self, count: usize) -> Vec<u32> {
        let mut order: Vec<&RolloutSummary> = self.rollouts.iter().collect();
        order.sort_by(|a, b| b.advantage.total_cmp(&a.advantage));
        let low = count.min(order.len()) / 2;
        let high = count.min(order.len()) - low;
        let shown = order[..high].iter().chain(&order[order.len() - low..]);
        shown.map(|rollout| rollout.rollout).collect()
    }
}

/// Takes a row into the summaries; the rows of a rollout stand together and in order.
pub(super) fn summarise(documents: &mut Vec<DocumentSummary>, row: &RolloutRow) {
    if documents.last().is_none_or(|document| document.id != row.document_id) {
        documents.push(DocumentSummary { id: row.document_id.clone(), target: String::new(), rollouts: Vec::new() });
    }
    let Some(document) = documents.last_mut() else { return };
    if document.rollouts.last().is_none_or(|rollout| rollout.rollout != row.rollout) {
        document.rollouts.push(RolloutSummary {
            rollout: row.rollout,
            answer: String::new(),
            is_boxed: false,
            reward: row.reward,
            advantage: row.advantage,
            recalled: Vec::new(),
            recall: String::new(),
            form: 0.0,
            memory_words: 0,
        });
    }
    let Some(rollout) = document.rollouts.last_mut() else { return };
    match row.kind {
        RolloutKind::Read => rollout.memory_words = row.response.split_whitespace().count(),
        RolloutKind::Answer => {
            document.target.clone_from(&row.target);
            let boxed = last_boxed(&row.response);
            rollout.is_boxed = boxed.is_some();
            rollout.answer = boxed.unwrap_or(&row.response).to_owned();
            (rollout.reward, rollout.advantage) = (row.reward, row.advantage);
            let reason: Option<serde_json::Value> = serde_json::from_str(&row.reason).ok();
            rollout.form = reason.and_then(|reason| reason.get(FORM)?.as_f64()).unwrap_or(0.0);
        }
        // Without a memory of words or an answer of its own: what counts is said turn by turn.
        RolloutKind::Search | RolloutKind::Write => {
            rollout.is_boxed = true;
            (rollout.reward, rollout.advantage) = (row.reward, row.advantage);
        }
        RolloutKind::Recall => {
            rollout.recalled.push(row.reward);
            rollout.recall = format!("{} of {}", number(rollout.recalled.iter().sum()), rollout.recalled.len());
        }
    }
}

/// A document as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    summary: DocumentSummary,
    /// Mean reward of the group.
    mean: f64,
    readings: Vec<Reading>,
}

/// A rollout turn by turn.
#[derive(Debug, Serialize)]
struct Reading {
    rollout: u32,
    reward: String,
    advantage: String,
    /// The arithmetic of the reward, if the parts are known.
    parts: Option<String>,
    /// What the advantage does.
    effect: &'static str,
    turns: Vec<Turn>,
    answer: Option<Turn>,
    recall: Option<Recall>,
}

/// A prompt and its response, as HTML.
#[derive(Debug, Serialize)]
struct Turn {
    /// What the response is.
    what: String,
    /// Why it was rewarded, where that is said for each turn.
    reasons: Vec<String>,
    /// Chunk that was read, and the memory before it; there where the prompt could be taken apart.
    read: Option<Read>,
    /// The whole prompt, where it is not taken apart, and of the first turn, which shows the instructions.
    prompt: Option<Value>,
    response: Value,
    tokens: usize,
    was_cut: bool,
    /// `4 sentences, 1 not in the text`, of memories.
    support: Option<String>,
}

/// What was shown in a memory turn.
#[derive(Debug, Serialize)]
struct Read {
    chunk: Value,
    before: Value,
}

/// A recall question and its answers.
#[derive(Debug, Serialize)]
struct Recall {
    target: String,
    prompt: Value,
    /// Response, reward and advantage of each sample.
    samples: Vec<(String, f64, String)>,
}

/// What of a run decides how its readings are shown.
pub(super) struct Shown {
    /// What decides about rewards.
    pub(super) rule: Rule,
    /// How prompts are taken apart; why they are not.
    pub(super) memory_turn: Result<MemoryTurn, String>,
}

/// The document with the rollouts of `order`, whose rows are `rows`. Each reading takes its bytes from `room`; those for which
/// there is none are left out, and counted.
pub(super) fn document(
    summary: DocumentSummary,
    order: &[u32],
    rows: &[RolloutRow],
    how: &Shown,
    room: &mut usize,
) -> (Document, usize) {
    let rewards = summary.rollouts.iter().map(|rollout| rollout.reward);
    let mean = rewards.sum::<f64>() / summary.rollouts.len().max(1) as f64;
    let (mut readings, mut left_out) = (Vec::new(), 0);
    for number in order {
        let Some(rollout) = summary.rollouts.iter().find(|rollout| rollout.rollout == *number) else { continue };
        let own: Vec<&RolloutRow> = rows.iter().filter(|row| row.rollout == *number).collect();
        let bytes = own.iter().map(|row| row.prompt.len() + 2 * row.response.len()).sum::<usize>();
        if bytes > *room {
            left_out += 1;
            continue;
        }
        *room -= bytes;
        readings.push(reading(rollout, &summary.target, &own, how));
    }
    (Document { summary, mean, readings }, left_out)
}

fn reading(rollout: &RolloutSummary, target: &str, rows: &[&RolloutRow], how: &Shown) -> Reading {
    let of = |kind: RolloutKind| rows.iter().copied().filter(move |row| row.kind == kind);
    let mut memories = Memories::new(how.memory_turn.as_ref().ok(), target);
    let of_turn = |row: &&&RolloutRow| !matches!(row.kind, RolloutKind::Answer | RolloutKind::Recall);
    let turns = rows.iter().filter(of_turn).map(|row| match row.kind {
        RolloutKind::Read => memories.turn(row),
        _ => Turn { reasons: reasons(row), ..turn(row, target) },
    });
    let turns = turns.collect();
    let recall = of(RolloutKind::Recall).next().map(|first| Recall {
        target: first.target.clone(),
        prompt: named(&first.prompt, &first.target),
        samples: of(RolloutKind::Recall).map(|row| (row.response.clone(), row.reward, signed(row.advantage))).collect(),
    });
    Reading {
        rollout: rollout.rollout,
        reward: number(rollout.reward),
        advantage: signed(rollout.advantage),
        parts: parts(rollout, target, &how.rule).or_else(|| {
            of(RolloutKind::Answer).next().map(|row| reasons(row).join("; ")).filter(|said| !said.is_empty())
        }),
        effect: match rollout.advantage {
            advantage if advantage > 0.0 => "better than its group: what it wrote becomes more probable",
            advantage if advantage < 0.0 => "worse than its group: what it wrote becomes less probable",
            _ => "like its group: nothing of it is learned",
        },
        turns,
        answer: of(RolloutKind::Answer).next().map(|row| turn(row, target)),
        recall,
    }
}

/// The memories of a reading, one after the other.
struct Memories<'a> {
    memory_turn: Option<&'a MemoryTurn>,
    target: &'a str,
    /// The memory before.
    before: &'a str,
    /// What was read so far; nothing once a chunk is not known.
    read: Option<ReadSentences<'a>>,
    is_first: bool,
}

impl<'a> Memories<'a> {
    fn new(memory_turn: Option<&'a MemoryTurn>, target: &'a str) -> Self {
        let before = memory_turn.map_or("", |turn| turn.empty.as_str());
        Self { memory_turn, target, before, read: Some(ReadSentences::default()), is_first: true }
    }

    fn turn(&mut self, row: &'a RolloutRow) -> Turn {
        let (target, memory) = (self.target, row.response.as_str());
        let chunk = self.memory_turn.and_then(|turn| turn.chunk(&row.prompt, self.before));
        let is_first = std::mem::take(&mut self.is_first);
        // What stands for an empty memory is neither lost nor kept.
        let before = if is_first { "" } else { self.before };
        let (lost, new) = annotated::changes(before, memory);
        let mut of_memory = [annotated::names(memory, target), if is_first { Vec::new() } else { new }].concat();
        self.read = self.read.take().zip(chunk).map(|(mut read, chunk)| {
            read.extend(chunk);
            read
        });
        let support = self.read.as_ref().map(|read| {
            let foreign = annotated::unsupported(memory, read);
            let told = match (sentences(memory).count(), foreign.len()) {
                (1, 0) => "1 sentence, in the text".to_owned(),
                (all, 0) => format!("{all} sentences, all in the text"),
                (all, foreign) => {
                    format!("{all} {}, {foreign} not in the text", if all == 1 { "sentence" } else { "sentences" })
                }
            };
            of_memory.extend(foreign);
            told
        });
        let read = chunk.map(|chunk| Read {
            chunk: shown(
                chunk,
                &[annotated::names(chunk, target), annotated::evidence(chunk, target), annotated::kept(chunk, memory)]
                    .concat(),
            ),
            before: shown(self.before, &[annotated::names(before, target), lost].concat()),
        });
        self.before = memory;
        let is_told_apart = read.is_some();
        let whole = turn(row, target);
        Turn {
            support,
            read,
            response: shown(memory, &of_memory),
            prompt: whole.prompt.filter(|_| is_first || !is_told_apart),
            ..whole
        }
    }
}

fn turn(row: &RolloutRow, target: &str) -> Turn {
    let number = row.turn + 1;
    let what = match row.kind {
        RolloutKind::Read => format!("Chunk {number}"),
        RolloutKind::Write => format!("Calls on chunk {number}"),
        RolloutKind::Search => format!("Turn {number}"),
        RolloutKind::Answer | RolloutKind::Recall => "Answer".to_owned(),
    };
    Turn {
        what,
        reasons: Vec::new(),
        read: None,
        prompt: Some(named(&row.prompt, target)),
        response: named(&row.response, target),
        tokens: row.response_ids.len(),
        was_cut: row.finish == crate::sampler::FinishReason::Length,
        support: None,
    }
}

/// A text with its placeholders and the target.
fn named(text: &str, target: &str) -> Value {
    shown(text, &annotated::names(text, target))
}

fn shown(text: &str, parts: &[Part]) -> Value {
    Value::from_safe_string(bounded(text, parts))
}

/// Why a response was rewarded, line by line: the parts of its reward, then the notes.
fn reasons(row: &RolloutRow) -> Vec<String> {
    let Ok(serde_json::Value::Object(reason)) = serde_json::from_str(&row.reason) else { return Vec::new() };
    let part = |(name, value): (&String, &serde_json::Value)| Some(format!("{name} {}", number(value.as_f64()?)));
    let parts: Vec<String> = reason.iter().filter_map(part).collect();
    let notes = reason.get("notes").and_then(serde_json::Value::as_array);
    let notes = notes.into_iter().flatten().filter_map(|note| note.as_str().map(str::to_owned));
    std::iter::once(parts.join(", ")).filter(|parts| !parts.is_empty()).chain(notes).collect()
}

/// `1 for the right answer + 0.5 × 3 of 4 recalled − 0.25 for the form of its memories = 1.125`, if that is the reward.
fn parts(rollout: &RolloutSummary, target: &str, rule: &Rule) -> Option<String> {
    let is_right = rollout.is_boxed && rule.equality.holds(&rollout.answer, target);
    let right = if is_right { 1.0 } else { 0.0 };
    let count = rollout.recalled.len();
    let share = rollout.recalled.iter().sum::<f64>() / count.max(1) as f64;
    let answer = if is_right { "1 for the right answer" } else { "0 for the answer" };
    let form = match rollout.form {
        0.0 => String::new(),
        form => format!(" − {} for the form of its memories", number(-form)),
    };
    let is = |value: f64| (value + rollout.form - rollout.reward).abs() < 1e-9;
    if count > 0 && is(right + rule.recall_weight * share) {
        let (weight, total) = (number(rule.recall_weight), number(rollout.reward));
        return Some(format!("{answer} + {weight} × {} recalled{form} = {total}", rollout.recall));
    }
    is(right).then(|| {
        if form.is_empty() { answer.to_owned() } else { format!("{answer}{form} = {}", number(rollout.reward)) }
    })
}

/// A number without digits that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", number(value)) } else { number(value).replace('-', "−") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(advantages: &[f64]) -> DocumentSummary {
        let rollout = |(number, &advantage): (usize, &f64)| RolloutSummary {
            rollout: number as u32,
            answer: "Lorn".into(),
            is_boxed: true,
            reward: 1.375,
            advantage,
            recalled: vec![1.0, 1.0, 1.0, 0.0],
            recall: "3 of 4".into(),
            form: 0.0,
            memory_words: 5,
        };
        let rollouts = advantages.iter().enumerate().map(rollout).collect();
        DocumentSummary { id: "x".into(), target: "lorn".into(), rollouts }
    }

    #[test]
    fn the_best_and_the_worst_are_shown() {
        let document = summary(&[0.1, -0.5, 0.4, 0.0]);
        assert_eq!(document.spread(), 0.9);
        assert_eq!(document.extremes(1), [2]);
        assert_eq!(document.extremes(2), [2, 1]);
        assert_eq!(document.extremes(3), [2, 0, 1]);
        assert_eq!(document.extremes(9), [2, 0, 3, 1]);
    }

    #[test]
    fn parts_are_told_only_where_they_add_up() {
        let rule = Rule { equality: Equality::Strict, recall_weight: 0.5 };
        let document = summary(&[0.0]);
        let told = parts(&document.rollouts[0], "lorn", &rule);
        assert_eq!(told.as_deref(), Some("1 for the right answer + 0.5 × 3 of 4 recalled = 1.375"));
        assert_eq!(parts(&document.rollouts[0], "lorn", &Rule { recall_weight: 0.7, ..rule }), None);
        assert_eq!(parts(&document.rollouts[0], "other", &rule), None);
        let formed = RolloutSummary { form: -0.25, reward: 1.125, ..summary(&[0.0]).rollouts.remove(0) };
        let told = parts(&formed, "lorn", &rule);
        let expected = "1 for the right answer + 0.5 × 3 of 4 recalled − 0.25 for the form of its memories = 1.125";
        assert_eq!(told.as_deref(), Some(expected));
        assert_eq!((signed(0.25), signed(-1.0), signed(0.0)), ("+0.25".into(), "−1".into(), "0".into()));
    }
}
