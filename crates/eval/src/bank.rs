//! Question answering over a bank: a policy writes it, a frozen answerer reads it.
//!
//! An item is a task or a document with all its questions. Each answer is scored by itself, the item's scores are their means.
//! What the record says besides is in its details: the objective's own measurements, every question with its answer, why each
//! turn was rewarded, and the bank.

use anyhow::Context;
use memtrain_model::scoring::PromptResponse;
use memtrain_rl::agents::bank::BankReading;
use memtrain_rl::agents::bank::answerer::{AnswerRequest, Answerer};
use memtrain_rl::agents::reader::{Reader, TooLong};
use memtrain_rl::objectives::{AnsweredBank, Item, Objective, RolloutContext, RolloutGroup, Scorer, means};
use memtrain_rl::rollout::{RolloutEngine, Turn};
use memtrain_tasks::Question;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::interval::Estimate;
use super::metrics::{Metric, Scores, prediction, score};
use super::record::{EvalTurn, ItemKey, ItemRecord};
use super::summary::Row;

/// The one method there is.
const METHOD: &str = "bank";

/// Names of the details.
const ACCURACY: &str = "accuracy";
const MEASURED: &str = "measured";
const ASKED: &str = "asked";

/// The key of an item.
pub fn key(item: &Item) -> ItemKey {
    let length = match item {
        Item::Document(_) => 0,
        Item::Task(task) => task.length,
    };
    ItemKey { task: item.id().to_owned(), length, question: 0, method: METHOD.to_owned() }
}

/// Who writes banks and who is asked about them.
pub struct BankEval<'a> {
    /// Tokenizer, limits, and how the writer's calls are drawn.
    pub reader: Reader<'a>,
    /// Limits and texts of banks.
    pub reading: &'a BankReading,
    /// Which bank, and what is measured of it.
    pub objective: &'a dyn Objective,
}

/// Nothing of a bank is scored by likelihood.
struct NoScorer;

impl Scorer for NoScorer {
    fn log_probs(&self, _pairs: &[PromptResponse<'_>]) -> anyhow::Result<Vec<Vec<f64>>> {
        anyhow::bail!("an evaluation of a bank scores nothing by likelihood")
    }
}

/// Records everything that another answerer answers.
struct RecordingAnswerer<'a> {
    answerer: &'a mut dyn Answerer,
    recorded: Vec<(AnswerRequest, Turn)>,
}

impl Answerer for RecordingAnswerer<'_> {
    fn respond(&mut self, reader: &Reader<'_>, asked: &[AnswerRequest]) -> anyhow::Result<Vec<Turn>> {
        let turns = self.answerer.respond(reader, asked)?;
        self.recorded.extend(asked.iter().cloned().zip(turns.iter().cloned()));
        Ok(turns)
    }
}

/// An item that was rolled out, and what was answered about it.
type Answered = (RolloutGroup, Vec<(AnswerRequest, Turn)>);

impl BankEval<'_> {
    /// Writes a bank over each item and asks it; records and turns in the order of the items.
    ///
    /// # Errors
    /// If the writer or the answerer fails, or somebody asks to stop: that is no fault of a bank, and the evaluation can go on later. An item whose
    /// prompts do not fit is a failed item.
    pub fn answer(
        &self,
        engine: &mut RolloutEngine<'_>,
        answerer: &mut dyn Answerer,
        items: &[Item],
    ) -> anyhow::Result<(Vec<ItemRecord>, Vec<EvalTurn>)> {
        let groups: Vec<anyhow::Result<Answered>> = match self.play(engine, answerer, items) {
            Err(error) if is_too_long(&error) => {
                let alone = |item: &Item| {
                    self.play(engine, answerer, std::slice::from_ref(item))?.pop().context("nothing was played")
                };
                items.iter().map(alone).collect()
            }
            together => together?.into_iter().map(Ok).collect(),
        };
        let (mut records, mut turns) = (Vec::with_capacity(items.len()), Vec::new());
        for (item, group) in items.iter().zip(groups) {
            match group {
                Err(error) if is_too_long(&error) => {
                    records.push(ItemRecord { failure: Some(format!("{error:#}")), ..self.unanswered(item) });
                }
                group => {
                    let (rollout_group, recorded) = group?;
                    turns.extend(self.turns(&key(item), &rollout_group, &recorded)?);
                    records.push(self.record(item, rollout_group));
                }
            }
        }
        Ok((records, turns))
    }

    fn play(
        &self,
        engine: &mut RolloutEngine<'_>,
        answerer: &mut dyn Answerer,
        items: &[Item],
    ) -> anyhow::Result<Vec<Answered>> {
        let mut recording = RecordingAnswerer { answerer, recorded: Vec::new() };
        let mut context = RolloutContext {
            reader: Reader { ..self.reader },
            bank: self.reading,
            search: None,
            engine: engine.reborrow(),
            frozen: Some(&mut recording),
            scorer: &NoScorer,
            frozen_scorer: None,
        };
        let groups = self.objective.roll_out(&mut context, items, 1)?;
        drop(context);
        let recorded_of = |item: &Item| {
            let of_item = |(request, _): &&(AnswerRequest, Turn)| request.key.0 == item.number();
            recording.recorded.iter().filter(of_item).cloned().collect()
        };
        Ok(groups.into_iter().zip(items.iter().map(recorded_of)).collect())
    }

    /// The writer's turns, then the answers in the order in which they were asked for.
    fn turns(
        &self,
        key: &ItemKey,
        rollout_group: &RolloutGroup,
        recorded: &[(AnswerRequest, Turn)],
    ) -> anyhow::Result<Vec<EvalTurn>> {
        let written = rollout_group.samples.iter().map(|sample| (None, &sample.turn));
        let answered = recorded.iter().map(|(request, turn)| (Some(request), turn));
        let turn = |(number, (request, turn)): (usize, (Option<&AnswerRequest>, &Turn))| {
            // What a server has made of the words, it alone knows.
            let prompt = match request.filter(|_| turn.prompt_ids.is_empty()) {
                Some(request) => request.user.as_str().to_owned(),
                None => self.reader.tokenizer.decode(&turn.prompt_ids)?,
            };
            Ok(EvalTurn::new(key, number, turn, prompt))
        };
        written.chain(answered).enumerate().map(turn).collect()
    }

    fn unanswered(&self, item: &Item) -> ItemRecord {
        let (source, questions): (&str, &[Question]) = match item {
            Item::Document(_) => ("documents", &[]),
            Item::Task(task) => (&task.source, &task.questions),
        };
        ItemRecord::new(key(item), source, questions.iter().map(|question| question.answers.clone()).collect())
    }

    fn record(&self, item: &Item, rollout_group: RolloutGroup) -> ItemRecord {
        let mut record = self.unanswered(item);
        record.count(rollout_group.samples.iter().map(|sample| &sample.turn));
        let mut measured = means(rollout_group.scores.iter().chain(&rollout_group.gauges));
        let main = measured.iter().position(|(name, _)| *name == self.objective.held_out_score());
        let accuracy = main.map_or(0.0, |place| measured.remove(place).1);
        let measured: Map<String, Value> =
            measured.into_iter().map(|(name, mean)| (name.to_owned(), json!(mean))).collect();
        let reasons: Vec<Value> = rollout_group
            .samples
            .iter()
            .filter_map(|sample| serde_json::from_str(&sample.reason.to_json()).ok())
            .collect();
        // One rollout has one bank.
        let (bank, asked) =
            rollout_group.banks.into_iter().next().map(|AnsweredBank { bank, asked }| (bank, asked)).unzip();
        let asked = asked.unwrap_or_default();
        let scores: Vec<Scores> = asked.iter().map(|one| score(&one.response, &one.question.answers)).collect();
        record.scores = Scores::mean(&scores);
        record.accepted = asked.iter().map(|one| one.question.answers.clone()).collect();
        record.answer = asked.iter().map(|one| prediction(&one.response)).collect::<Vec<_>>().join("; ");
        let asked = asked.iter().zip(scores).map(|(one, scores)| {
            json!({ "question": one.question.text, "response": one.response, "right": one.score > 0.0, "scores": scores })
        });
        record.details = Map::from_iter([
            (ACCURACY.to_owned(), json!(accuracy)),
            (MEASURED.to_owned(), Value::Object(measured)),
            (ASKED.to_owned(), asked.collect()),
            ("reasons".to_owned(), Value::Array(reasons)),
            ("bank".to_owned(), json!(bank)),
        ]);
        record
    }
}

fn is_too_long(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<TooLong>())
}

/// The result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BankReport {
    /// Items in all.
    pub items: usize,
    /// Those whose prompts did not fit; they count as wrong.
    pub failed: usize,
    /// Questions that were asked of the last banks.
    pub questions: usize,
    /// Share of right answers as the objective counts them, over items.
    pub accuracy: Estimate,
    /// Means over the items of what else the objective measures.
    pub measured: Map<String, Value>,
    /// The metrics of all evaluations, a row for each set and length.
    pub rows: Vec<Row>,
}

impl BankReport {
    /// Counts records.
    pub fn of(records: &[ItemRecord]) -> Self {
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        let accuracy = |record: &ItemRecord| record.details.get(ACCURACY).map_or(0.0, number);
        let asked = |record: &ItemRecord| record.details.get(ASKED).and_then(Value::as_array).map_or(0, Vec::len);
        let mut sums: Map<String, Value> = Map::new();
        let measured: Vec<&Map<String, Value>> =
            records.iter().filter_map(|record| record.details.get(MEASURED)?.as_object()).collect();
        for (name, value) in measured.iter().copied().flatten() {
            let sum = sums.get(name).map_or(0.0, number) + number(value) / measured.len() as f64;
            sums.insert(name.clone(), json!(sum));
        }
        let group = |record: &ItemRecord| match record.key.length {
            0 => record.source.clone(),
            length => format!("{} {length}", record.source),
        };
        Self {
            items: records.len(),
            failed: records.iter().filter(|record| record.failure.is_some()).count(),
            questions: records.iter().map(asked).sum(),
            accuracy: Estimate::of_means(&records.iter().map(accuracy).collect::<Vec<_>>()),
            measured: sums,
            rows: Row::all(records, &Metric::ALL, group),
        }
    }
}
