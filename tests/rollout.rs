//! One rollout engine for all agents, over a sampler whose responses end in an order that a test chooses: results do not
//! depend on it, nobody waits for the response of another, and a stop ends a rollout within a response.

mod scripted_stream;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use memtrain::agents::answer::Equality;
use memtrain::agents::bank::answerer::{AnswerRequest, Answerer};
use memtrain::agents::bank::writer::MemoryWriter;
use memtrain::agents::bank::{BankConfig, BankReading, Layout};
use memtrain::agents::full_context::{self, ContextPrompt, ContextQuestion};
use memtrain::agents::prompts::{PromptLayout, PromptSet};
use memtrain::agents::reader::{
    AnswerPrompt, Reader, ReaderConfig, ReadingTask, RecallPrompt, SamplingConfig, StepKey,
};
use memtrain::agents::searcher::{SearchTask, Searcher, SearcherConfig, SearcherPrompts};
use memtrain::eval::bank::{BankEval, BankReport};
use memtrain::eval::long_qa::{self, LongQa, LongQaReport, Method};
use memtrain::eval::memory_controls::{self, Contender};
use memtrain::eval::recall::{self, RecallOptions};
use memtrain::eval::record::{EvalTurn, ItemKey, ItemRecord, Record, RunNote};
use memtrain::eval::search_qa::{self, SearchQaReport};
use memtrain::eval::{bank, held_out, reconstruction};
use memtrain::objectives::ChunkedDocument;
use memtrain::objectives::finemem::FineMemConfig;
use memtrain::objectives::infomem::InfoMemConfig;
use memtrain::objectives::mem1::Mem1Config;
use memtrain::objectives::memagent::MemAgentConfig;
use memtrain::objectives::memalpha::MemAlphaConfig;
use memtrain::objectives::memtrain::MemTrainConfig;
use memtrain::objectives::{ChunkedTask, Item, Objective, RolloutContext, Scorer, Search};
use memtrain::policy::{PolicyTokenizer, PromptText, built_in};
use memtrain::rollout::RolloutEngine;
use memtrain::rollout::retrieve::{Found, RetrieveError, Retriever};
use memtrain::run::RunError;
use memtrain::run::signal::StopRequest;
use memtrain::sampler::RngKey;
use memtrain::scoring::PromptResponse;
use memtrain::tasks::{ContextKind, ContextPassage, Question, Task};
use memtrain_corpora::{Document, DocumentEntity, EntityLabel, Split, store};
use scripted_stream::{Order, Says, Scripted};
use serde_json::Map;

/// A reader's memories and answers: other ones in each rollout.
fn reads(prompt: &str, key: &RngKey) -> String {
    let right = (key.rollout + key.turn).is_multiple_of(2);
    format!("rollout {} after {} \\boxed{{{}}}", key.rollout, prompt.len(), if right { "velm" } else { "gogo" })
}

/// A writer's call, and the answers and verdicts of who is asked about it.
fn writes(list: &str, prompt: &str, key: &RngKey) -> String {
    if key.turn >= 1 << 33 {
        return format!("\\boxed{{{}}}", if prompt.len().is_multiple_of(2) { "yes" } else { "no" });
    }
    if key.turn >= 1 << 32 {
        return format!("\\boxed{{{}}}", if prompt.contains("rollout 1") { "velm" } else { "gogo" });
    }
    let content = format!("rollout {} has {}", key.rollout, key.turn);
    format!(r#"{{"name": "insert", "arguments": {{{list}"content": "{content}"}}}}"#)
}

/// The writer of a bank of one list.
fn writes_flat(prompt: &str, key: &RngKey) -> String {
    writes("", prompt, key)
}

/// The writer of a bank of sections.
fn writes_sections(prompt: &str, key: &RngKey) -> String {
    writes(r#""type": "semantic", "#, prompt, key)
}

/// A searcher's queries: it answers at its second or its third turn.
fn searches(prompt: &str, key: &RngKey) -> String {
    match key.turn {
        0 => format!("<search>rollout {} of {}</search>", key.rollout, key.document),
        1 if key.rollout == 1 => "no action".to_owned(),
        _ => format!("<answer>velm; {}</answer>", prompt.len()),
    }
}

/// Finds one passage for each query.
struct OnePassage;

impl Retriever for OnePassage {
    fn retrieve(&self, queries: &[&str], _k: usize) -> Result<Vec<Vec<Found>>, RetrieveError> {
        let found = |query: &&str| {
            vec![Found { id: "1".into(), title: String::new(), text: format!("about {query}"), score: 1.0 }]
        };
        Ok(queries.iter().map(found).collect())
    }
}

/// Finds something for queries of the first rollout only once it is told that all others have ended.
struct WaitsForOthers(Mutex<Receiver<RngKey>>, usize);

impl Retriever for WaitsForOthers {
    fn retrieve(&self, queries: &[&str], k: usize) -> Result<Vec<Vec<Found>>, RetrieveError> {
        if queries.iter().any(|query| query.starts_with("rollout 0 of 0")) {
            let ended = self.0.lock().unwrap();
            let mut of_others = 0;
            while of_others < self.1 {
                let key = ended.recv_timeout(Duration::from_secs(30)).map_err(|_| RetrieveError::Answer {
                    url: "here".into(),
                    detail: "the others wait for this search".into(),
                })?;
                of_others += usize::from((key.document, key.rollout) != (0, 0));
            }
        }
        OnePassage.retrieve(queries, k)
    }
}

struct ByLength;

impl Scorer for ByLength {
    fn log_probs(&self, pairs: &[PromptResponse<'_>]) -> anyhow::Result<Vec<Vec<f64>>> {
        let of = |pair: &PromptResponse<'_>| vec![pair.prompt_ids.len() as f64 / 100.0 - 5.0; pair.response_ids.len()];
        Ok(pairs.iter().map(of).collect())
    }
}

/// Everything that agents work with.
struct Setting {
    tokenizer: PolicyTokenizer,
    prompts: PromptSet,
    context_prompt: ContextPrompt,
    limits: ReaderConfig,
    sampling: SamplingConfig,
    bank: BankReading,
    searcher_prompts: SearcherPrompts,
    searcher: SearcherConfig,
    retriever: Arc<dyn Retriever>,
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        built_in::write("tiny", folder.path()).unwrap();
        let prompts = "compact".to_owned();
        let limits = ReaderConfig {
            prompts: prompts.clone(),
            memory_tokens: 300,
            answer_tokens: 80,
            context_tokens: 4_000,
            ..ReaderConfig::default()
        };
        let (max_turns, response_tokens, context_tokens) = (3, 60, 4_000);
        Self {
            tokenizer: PolicyTokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap(),
            prompts: PromptSet::load("compact", PromptLayout::MemoryFirst).unwrap(),
            context_prompt: ContextPrompt::load("compact").unwrap(),
            limits,
            sampling: SamplingConfig::default(),
            bank: BankReading::new(BankConfig { prompts, ..BankConfig::default() }).unwrap(),
            searcher_prompts: SearcherPrompts::load("standard").unwrap(),
            searcher: SearcherConfig { max_turns, response_tokens, context_tokens, ..SearcherConfig::default() },
            retriever: Arc::new(OnePassage),
        }
    }

    fn reader(&self) -> Reader<'_> {
        let step_key = StepKey { seed: 1, step: 1 };
        Reader {
            tokenizer: &self.tokenizer,
            prompts: &self.prompts,
            config: &self.limits,
            sampling: &self.sampling,
            step_key,
        }
    }

    fn searcher(&self) -> Searcher<'_> {
        Searcher {
            tokenizer: &self.tokenizer,
            prompts: &self.searcher_prompts,
            config: &self.searcher,
            sampling: &self.sampling,
            step_key: StepKey { seed: 1, step: 1 },
        }
    }

    /// The stage of an objective, for the time of `act`.
    fn on_stage<T>(
        &self,
        engine: RolloutEngine<'_>,
        frozen: &mut dyn Answerer,
        act: impl FnOnce(&mut RolloutContext<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        act(&mut RolloutContext {
            reader: self.reader(),
            bank: &self.bank,
            search: Some(Search {
                prompts: &self.searcher_prompts,
                config: &self.searcher,
                retriever: &self.retriever,
            }),
            engine,
            frozen: Some(frozen),
            scorer: &ByLength,
            frozen_scorer: None,
        })
    }

    fn scripted(&self, says: Says, order: &Order) -> Scripted<'_> {
        Scripted::new(&self.tokenizer, says, order.clone())
    }

    /// An engine whose responses never end, and what it is stopped by amid them.
    fn endless(&self) -> RolloutEngine<'_> {
        let stop = StopRequest::default();
        RolloutEngine::new(self.scripted(reads, &Order::Never(stop.clone()))).with_stop(&stop)
    }
}

fn chunks(number: u64) -> Vec<String> {
    (0..3).map(|chunk| format!("part {chunk} of {number}: Lorn is in velm.")).collect()
}

fn readings() -> Vec<ReadingTask> {
    (0..2).map(|document| ReadingTask { document, problem: None, chunks: chunks(document) }).collect()
}

fn search_tasks() -> Vec<SearchTask> {
    (0..2).map(|number| SearchTask { number, questions: vec!["where?".into(), "how long?".into()] }).collect()
}

fn tasks() -> Vec<Item> {
    let question = |text: &str, answer: &str| Question { text: text.to_owned(), answers: vec![answer.to_owned()] };
    let task = |number: u64| ChunkedTask {
        number,
        id: format!("t{number}"),
        source: "test".to_owned(),
        length: 0,
        questions: vec![question("where is Lorn", "velm"), question("how long", "400")],
        chunks: chunks(number),
    };
    (0..2).map(task).map(Item::Task).collect()
}

fn documents() -> Vec<ChunkedDocument> {
    let document = |number: u64| {
        let (first, second) = (format!("[MASK] sold salt to Velm {number}. "), "It rained on Gogo. ");
        let text = format!("{first}{second}[MASK] slept.");
        let entity = |surface: &str| {
            let start = text.find(surface).unwrap();
            let (span, surface) = (start..start + surface.len(), surface.to_owned());
            DocumentEntity { span, surface, label: EntityLabel::Unknown }
        };
        let chunks =
            vec![0..first.len(), first.len()..first.len() + second.len(), first.len() + second.len()..text.len()];
        let document = Document {
            id: format!("d{number}"),
            answer: "velm".to_owned(),
            aliases: Vec::new(),
            label: EntityLabel::Person,
            passages: Vec::new(),
            entities: vec![entity("Velm"), entity("Gogo")],
            num_masks: 2,
            num_tokens: 0,
            seed: 0,
            split: Split::Train,
            text: text.clone(),
        };
        ChunkedDocument { number, document, chunks }
    };
    (0..2).map(document).collect()
}

fn long_tasks() -> Vec<Task> {
    let passage = |number: u64| ContextPassage { title: String::new(), text: chunks(number).join(" ") };
    let task = |number: u64| Task {
        id: format!("t{number}"),
        source: "test".to_owned(),
        questions: vec![Question { text: "where is Lorn".to_owned(), answers: vec!["velm".to_owned()] }],
        kind: ContextKind::Passages,
        passages: vec![passage(number), passage(number + 1)],
        gold: Vec::new(),
        length: 2,
        extra: Map::new(),
    };
    (0..3).map(task).collect()
}

/// Every objective with what it plays.
fn objectives() -> Vec<(Box<dyn Objective>, Vec<Item>, Says)> {
    let documents = || documents().into_iter().map(Item::Document).collect::<Vec<_>>();
    vec![
        (Box::new(MemTrainConfig::default()), documents(), reads),
        (Box::new(MemAgentConfig::default()), tasks(), reads),
        (Box::new(InfoMemConfig::default()), documents(), reads),
        (Box::new(FineMemConfig::default()), tasks(), writes_flat),
        (Box::new(MemAlphaConfig::default()), documents(), writes_sections),
        (Box::new(Mem1Config::default()), tasks(), searches),
    ]
}

const ORDERS: [Order; 4] = [Order::First, Order::Last, Order::Drawn(1), Order::Drawn(2)];

#[test]
fn what_is_trained_on_does_not_depend_on_the_order_of_responses() {
    let setting = Setting::new();
    for (objective, items, says) in objectives() {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut orders = Vec::new();
        for order in &ORDERS {
            let (mut policy, mut answerer) = (setting.scripted(says, order), setting.scripted(says, order));
            let mut frozen = RolloutEngine::new(&mut answerer);
            let groups = setting
                .on_stage(RolloutEngine::new(&mut policy), &mut frozen, |context| {
                    objective.roll_out(context, &items, 3)
                })
                .unwrap();
            assert!(groups.iter().all(|group| !group.samples.is_empty()));
            *seen.entry(format!("{groups:?}")).or_default() += 1;
            orders.push(policy.ended);
        }
        assert_eq!(seen.len(), 1, "{:?}", objective.headlines());
        assert!(orders[1..].iter().all(|order| *order != orders[0]), "they ended in one order");
    }
}

/// What an evaluation writes down, by file.
fn recorded(
    keys: Vec<ItemKey>,
    answer: impl FnOnce() -> (Vec<ItemRecord>, Vec<EvalTurn>),
    report: impl FnOnce(&[ItemRecord]) -> serde_json::Value,
) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = &folder.path().join("out");
    let mut record = Record::open(path, &RunNote::new("test", Map::new()), keys, 8, false).unwrap();
    let (records, turns) = answer();
    assert!(!turns.is_empty() && records.iter().all(|record| record.failure.is_none()), "{records:?}");
    record.add(records, turns).unwrap();
    let report = report(record.done());
    record.finish(&report).unwrap();
    ["items.jsonl", "turns.parquet", "report.json"].map(|name| store::hash_file(&path.join(name)).unwrap()).to_vec()
}

#[test]
fn records_do_not_depend_on_the_order_of_responses() {
    let setting = Setting::new();
    let (long, items) = (long_tasks(), tasks());
    let methods = [Method::Reader, Method::FullContext];
    let keys: Vec<ItemKey> = long.iter().flat_map(|task| long_qa::items(task, &methods)).collect();
    let mut seen: [Vec<Vec<String>>; 3] = Default::default();
    for order in &ORDERS {
        seen[0].push(recorded(
            keys.clone(),
            || {
                let context_prompt = &setting.context_prompt;
                let benchmark = LongQa { reader: setting.reader(), context_prompt, full_context_tokens: 4_000 };
                let item = |(place, key)| long_qa::Item { key, task: &long[place / 2], method: methods[place % 2] };
                let members: Vec<long_qa::Item<'_>> = keys.iter().enumerate().map(item).collect();
                let mut engine = RolloutEngine::new(setting.scripted(reads, order));
                benchmark.answer(&mut engine, &members).unwrap()
            },
            |records| serde_json::to_value(LongQaReport::of(records)).unwrap(),
        ));
        seen[1].push(recorded(
            long.iter().map(search_qa::item).collect(),
            || {
                let mut engine = RolloutEngine::new(setting.scripted(searches, order));
                search_qa::answer(&setting.searcher(), &mut engine, &setting.retriever, &long).unwrap()
            },
            |records| serde_json::to_value(SearchQaReport::of(records)).unwrap(),
        ));
        seen[2].push(recorded(
            items.iter().map(bank::key).collect(),
            || {
                let (objective, reading) = (&FineMemConfig::default(), &setting.bank);
                let mut engine = RolloutEngine::new(setting.scripted(writes_flat, order));
                let mut frozen = RolloutEngine::new(setting.scripted(writes_flat, order));
                BankEval { reader: setting.reader(), reading, objective }
                    .answer(&mut engine, &mut frozen, &items)
                    .unwrap()
            },
            |records| serde_json::to_value(BankReport::of(records)).unwrap(),
        ));
    }
    for (name, seen) in ["long-qa", "search-qa", "bank"].iter().zip(seen) {
        assert!(seen.iter().all(|files| *files == seen[0]), "{name}: {seen:?}");
    }
}

/// Checks that the responses of the slow rollout (document 0, rollout 0) ended behind all others.
fn assert_nobody_waited(script: &Scripted<'_>, of_others: usize, of_slow: usize) {
    let ended = script.rollouts();
    assert_eq!(ended.len(), of_others + of_slow, "{ended:?}");
    assert!(ended[..of_others].iter().all(|rollout| *rollout != (0, 0)), "others waited: {ended:?}");
    assert!(ended[of_others..].iter().all(|rollout| *rollout == (0, 0)), "{ended:?}");
}

#[test]
fn a_long_response_delays_no_other_conversation() {
    let setting = Setting::new();
    let reader = setting.reader();

    let mut script = setting.scripted(reads, &Order::SlowLast(3 * 4));
    let read = reader.read(&mut RolloutEngine::new(&mut script), &readings(), 2).unwrap();
    assert_nobody_waited(&script, 3 * 4, 4);
    assert_eq!((read.len(), read[0].len(), read[0][0].turns.len()), (2, 2, 4));
    assert!(read.iter().flatten().zip([0, 1, 0, 1]).all(|(trajectory, rollout)| trajectory.rollout == rollout));

    let mut script = setting.scripted(writes_sections, &Order::SlowLast(3 * 3));
    let writer = MemoryWriter { reader: &reader, reading: &setting.bank, layout: Layout::Sections };
    let written = writer.write(&mut RolloutEngine::new(&mut script), &readings(), 2).unwrap();
    assert_nobody_waited(&script, 3 * 3, 3);
    let last = written[0][0].outcome.last().unwrap();
    assert_eq!(last.bank.to_string(), "semantic:\n[1] rollout 0 has 0\n[2] rollout 0 has 1\n[3] rollout 0 has 2");

    let mut script = setting.scripted(searches, &Order::SlowLast(3 + 2 + 3));
    let found = setting.searcher().search(&mut RolloutEngine::new(&mut script), &setting.retriever, &search_tasks(), 2);
    // Rollout 0 of a task takes two turns, rollout 1 three.
    assert_nobody_waited(&script, 3 + 2 + 3, 2);
    let found = found.unwrap();
    assert!(found.iter().flatten().all(|attempt| attempt.outcome.answers().is_some()));
    assert!(reader.tokenizer.decode(&found[0][0].turns[1].prompt_ids).unwrap().contains("about rollout 0 of 0"));

    let mut script = setting.scripted(reads, &Order::SlowLast(3));
    let question = |number: u64| ContextQuestion { number, problem: "who?".into(), context: chunks(number).join(" ") };
    let questions: Vec<ContextQuestion> = (0..4).map(question).collect();
    let mut engine = RolloutEngine::new(&mut script);
    let answers = full_context::answer(&reader, &setting.context_prompt, &mut engine, &questions, 4_000).unwrap();
    drop(engine);
    assert_nobody_waited(&script, 3, 1);
    assert_eq!(answers.len(), 4);
}

#[test]
fn a_long_search_delays_no_other_conversation() {
    let setting = Setting::new();
    let mut script = setting.scripted(searches, &Order::First);
    // Nobody else searches, so that none stands behind the long search.
    script.says = |prompt, key| match (key.rollout, key.turn) {
        (1, 0) => "no action".to_owned(),
        _ => searches(prompt, key),
    };
    let (tell, ended) = channel();
    script.tell = Some(tell);
    let retriever: Arc<dyn Retriever> = Arc::new(WaitsForOthers(Mutex::new(ended), 3));
    let task = &search_tasks()[..1];
    let found = setting.searcher().search(&mut RolloutEngine::new(&mut script), &retriever, task, 2).unwrap();
    assert_eq!(script.rollouts(), [(0, 0), (0, 1), (0, 1), (0, 1), (0, 0)]);
    assert!(found[0].iter().all(|attempt| attempt.outcome.answers().is_some()));
}

#[test]
fn a_stop_ends_every_rollout_and_every_evaluation_within_a_response() {
    let setting = Setting::new();
    let (reader, documents) = (setting.reader(), documents());
    let stopped = |name: &str, result: anyhow::Result<()>| match result {
        Ok(()) => panic!("{name} was not stopped"),
        Err(error) => assert!(RunError::is_stop(&error), "{name}: {error:#}"),
    };

    // Agents.
    let memory = || "a memory".to_owned();
    let asked = RecallPrompt { document: 0, rollout: 0, first_turn: 4, memory: memory(), masked_chunk: "x".into() };
    stopped("reading", reader.read(&mut setting.endless(), &readings(), 2).map(drop));
    stopped("recall", reader.recall(&mut setting.endless(), &[asked], 2).map(drop));
    let prompt = AnswerPrompt { document: 0, turn: 3, memory: memory() };
    stopped("answering", reader.answer(&mut setting.endless(), &[prompt]).map(drop));
    let writer = MemoryWriter { reader: &reader, reading: &setting.bank, layout: Layout::Flat };
    stopped("writing", writer.write(&mut setting.endless(), &readings(), 2).map(drop));
    let request = AnswerRequest { user: PromptText::foreign("where?"), key: (0, 0, 0) };
    stopped("an answerer", setting.endless().respond(&reader, &[request]).map(drop));

    // Training, and held-out items while it trains.
    for (objective, items, says) in objectives() {
        let name = objective.headlines()[0].0;
        let roll_out = |context: &mut RolloutContext<'_>| objective.roll_out(context, &items, 2).map(drop);
        stopped(name, setting.on_stage(setting.endless(), &mut setting.endless(), roll_out));
        let held_out = |context: &mut RolloutContext<'_>| held_out::evaluate(&*objective, context, &items, 1).map(drop);
        stopped(name, setting.on_stage(setting.endless(), &mut setting.endless(), held_out));
        if objective.agent().bank_layout().is_some() {
            let policy = RolloutEngine::new(setting.scripted(says, &Order::First));
            stopped("what a bank is asked", setting.on_stage(policy, &mut setting.endless(), roll_out));
        }
    }

    // Evaluations.
    let objective = MemTrainConfig::default();
    let evaluated = reconstruction::evaluate(&reader, &mut setting.endless(), &documents, &objective, 1, None);
    stopped("eval reconstruction", evaluated.map(drop));
    let options = RecallOptions { questions: 1, include_current: false };
    let evaluated = recall::evaluate(&reader, &mut setting.endless(), &documents, &objective, options, |_| (), None);
    stopped("eval recall", evaluated.map(drop));
    let questions = reconstruction::questions(&documents, &objective, 1, 1);
    let contender = || Contender { name: "p".to_owned(), reader: setting.reader(), engine: setting.endless() };
    let evaluated = memory_controls::evaluate(&mut [contender()], &documents, Equality::Strict, &questions);
    stopped("eval memory", evaluated.map(drop));
    let long = long_tasks();
    for method in [Method::Reader, Method::FullContext] {
        let benchmark =
            LongQa { reader: setting.reader(), context_prompt: &setting.context_prompt, full_context_tokens: 4_000 };
        let key = &long_qa::items(&long[0], &[method])[0];
        let item = long_qa::Item { key, task: &long[0], method };
        stopped("eval long-qa", benchmark.answer(&mut setting.endless(), &[item]).map(drop));
    }
    let evaluated = search_qa::answer(&setting.searcher(), &mut setting.endless(), &setting.retriever, &long);
    stopped("eval search-qa", evaluated.map(drop));
    let objective = &FineMemConfig::default();
    let bank_eval = BankEval { reader: setting.reader(), reading: &setting.bank, objective };
    let evaluated = bank_eval.answer(&mut setting.endless(), &mut setting.endless(), &tasks());
    stopped("eval bank", evaluated.map(drop));
    let mut writer = RolloutEngine::new(setting.scripted(writes_flat, &Order::First));
    stopped("eval bank's answers", bank_eval.answer(&mut writer, &mut setting.endless(), &tasks()).map(drop));
}

/// Never finds anything, and tells when it is asked.
struct Hangs(StopRequest, Mutex<Receiver<()>>);

impl Retriever for Hangs {
    fn retrieve(&self, queries: &[&str], _k: usize) -> Result<Vec<Vec<Found>>, RetrieveError> {
        self.0.request();
        let _ = self.1.lock().unwrap().recv();
        Ok(vec![Vec::new(); queries.len()])
    }
}

#[test]
fn a_stop_does_not_wait_for_a_search() {
    let setting = Setting::new();
    let (stop, (release, held)) = (StopRequest::default(), channel());
    let retriever: Arc<dyn Retriever> = Arc::new(Hangs(stop.clone(), Mutex::new(held)));
    let mut engine = RolloutEngine::new(setting.scripted(searches, &Order::First)).with_stop(&stop);
    let error = setting.searcher().search(&mut engine, &retriever, &search_tasks(), 1).unwrap_err();
    assert!(RunError::is_stop(&error), "{error:#}");
    drop(release);
}
