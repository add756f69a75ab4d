//! Systems played from a script: what is said is known, so every number can be worked out by hand.

use std::collections::VecDeque;
use std::sync::Arc;

use memtrain::agents::bank::{Bank, BankConfig, BankReading, Layout};
use memtrain::agents::prompts::{PromptLayout, PromptSet};
use memtrain::agents::reader::{Reader, ReaderConfig, SamplingConfig, StepKey};
use memtrain::agents::searcher::{SearcherConfig, SearcherPrompts};
use memtrain::objectives::finemem::FineMemConfig;
use memtrain::objectives::infomem::InfoMemConfig;
use memtrain::objectives::mem1::Mem1Config;
use memtrain::objectives::memagent::MemAgentConfig;
use memtrain::objectives::memalpha::{Grouping, Judge, MemAlphaConfig};
use memtrain::objectives::{ChunkedTask, Item, Objective, RolloutContext, RolloutGroup, Scorer, Search};
use memtrain::policy::{PolicyTokenizer, built_in};
use memtrain::rollout::RolloutEngine;
use memtrain::rollout::retrieve::{Found, RetrieveError, Retriever};
use memtrain::sampler::{Completion, FinishReason, SampleRequest, Sampler};
use memtrain::scoring::PromptResponse;
use memtrain::tasks::Question;
use memtrain_corpora::store;

/// Answers each request by what stands first in its list of (part of the prompt, response); a response is used once.
struct Script<'a> {
    tokenizer: &'a PolicyTokenizer,
    lines: VecDeque<(&'static str, String)>,
    /// Said where no line fits.
    otherwise: &'static str,
    prompts: Vec<String>,
}

impl<'a> Script<'a> {
    fn new(tokenizer: &'a PolicyTokenizer, lines: &[(&'static str, &str)], otherwise: &'static str) -> Self {
        let lines = lines.iter().map(|(part, said)| (*part, (*said).to_owned())).collect();
        Self { tokenizer, lines, otherwise, prompts: Vec::new() }
    }
}

impl Sampler for Script<'_> {
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>> {
        let mut completions = Vec::new();
        for request in requests {
            let prompt = self.tokenizer.decode(&request.prompt_ids)?;
            let place = self.lines.iter().position(|(part, _)| prompt.contains(part));
            let said =
                place.and_then(|place| self.lines.remove(place)).map_or(self.otherwise.to_owned(), |line| line.1);
            self.prompts.push(prompt);
            let token_ids = self.tokenizer.encode_text(format!(" {said}"))?;
            let log_probs = vec![-1.0; token_ids.len()];
            completions.push(Completion { token_ids, log_probs, finish: FinishReason::Stop });
        }
        Ok(completions)
    }
}

/// Log-probabilities that grow with the length of the prompt: a longer memory makes the answer likelier.
struct ByLength;

impl Scorer for ByLength {
    fn log_probs(&self, pairs: &[PromptResponse<'_>]) -> anyhow::Result<Vec<Vec<f64>>> {
        let of = |pair: &PromptResponse<'_>| vec![pair.prompt_ids.len() as f64 / 100.0 - 5.0; pair.response_ids.len()];
        Ok(pairs.iter().map(of).collect())
    }
}

fn tokenizer() -> PolicyTokenizer {
    let folder = tempfile::tempdir().unwrap();
    built_in::write("tiny", folder.path()).unwrap();
    PolicyTokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap()
}

/// Two chunks and two questions; the tokenizer of the tiny policy has a token a letter for most words.
fn item() -> Item {
    let question = |text: &str, answer: &str| Question { text: text.to_owned(), answers: vec![answer.to_owned()] };
    Item::Task(ChunkedTask {
        number: 0,
        id: "t".to_owned(),
        source: "test".to_owned(),
        length: 0,
        questions: vec![question("where is lorn", "velm"), question("who rules ebi", "gogo")],
        chunks: vec!["one: lorn is in velm.".to_owned(), "two: gogo rules ebi.".to_owned()],
    })
}

fn play(
    objective: &dyn Objective,
    policy: &[(&'static str, &str)],
    frozen: (&[(&'static str, &str)], &'static str),
    group_size: usize,
) -> (RolloutGroup, Vec<String>) {
    let tokenizer = tokenizer();
    let limits = ReaderConfig {
        prompts: "compact".to_owned(),
        chunk_tokens: 200,
        memory_tokens: 300,
        answer_tokens: 40,
        context_tokens: 2_000,
        ..ReaderConfig::default()
    };
    let prompts = PromptSet::load("compact", PromptLayout::MemoryFirst).unwrap();
    let reading = BankReading::new(BankConfig { prompts: "compact".to_owned(), ..BankConfig::default() }).unwrap();
    let sampling = SamplingConfig::default();
    let (searcher_prompts, searcher_config) = searcher();
    let mut sampler = Script::new(&tokenizer, policy, "nothing");
    let mut answerer = Script::new(&tokenizer, frozen.0, frozen.1);
    let mut asked = RolloutEngine::new(&mut answerer);
    let retriever: Arc<dyn Retriever> = Arc::new(OnePassage);
    let mut context = RolloutContext {
        reader: Reader {
            tokenizer: &tokenizer,
            prompts: &prompts,
            config: &limits,
            sampling: &sampling,
            step_key: StepKey { seed: 1, step: 1 },
        },
        bank: &reading,
        search: Some(Search { prompts: &searcher_prompts, config: &searcher_config, retriever: &retriever }),
        engine: RolloutEngine::new(&mut sampler),
        frozen: Some(&mut asked),
        scorer: &ByLength,
        frozen_scorer: None,
    };
    let rollout_group = objective.roll_out(&mut context, &[item()], group_size).unwrap().remove(0);
    drop(context);
    drop(asked);
    (rollout_group, answerer.prompts)
}

/// Finds the same for every query.
struct OnePassage;

impl Retriever for OnePassage {
    fn retrieve(&self, queries: &[&str], _k: usize) -> Result<Vec<Vec<Found>>, RetrieveError> {
        let found = |query: &&str| {
            vec![Found { id: "1".into(), title: String::new(), text: format!("about {query}"), score: 1.0 }]
        };
        Ok(queries.iter().map(found).collect())
    }
}

/// Short texts, and three turns.
fn searcher() -> (SearcherPrompts, SearcherConfig) {
    let folder = tempfile::tempdir().unwrap();
    let texts = [
        ("turn.txt", "Q: {problem}\n{last_turn}\nA:"),
        ("results.txt", "\nFound: {results} ({turns_left} left)"),
        ("last.txt", "answer now"),
        ("invalid.txt", "neither"),
    ];
    for (file, text) in texts {
        store::write_atomic(&folder.path().join(file), text).unwrap();
    }
    let prompts = SearcherPrompts::load(folder.path().to_str().unwrap()).unwrap();
    let (max_turns, response_tokens, context_tokens) = (3, 60, 2_000);
    (prompts, SearcherConfig { max_turns, response_tokens, context_tokens, ..SearcherConfig::default() })
}

fn parts(rollout_group: &RolloutGroup, place: usize) -> Vec<(&'static str, f64)> {
    rollout_group.samples[place].reason.parts.clone()
}

fn assert_near(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-9, "{got} is not {expected}");
}

#[test]
fn finemem_by_hand() {
    let config = FineMemConfig { chunk_questions: 0, ..FineMemConfig::default() };
    // The first rollout keeps both facts, the second keeps the first and calls something that is no function.
    let insert = |content: &str| format!(r#"{{"name": "insert", "arguments": {{"content": "{content}"}}}}"#);
    let (lorn, ebi) = (insert("lorn is in velm"), insert("gogo rules ebi"));
    let wrong = format!(r#"[{lorn}, {{"name": "forget", "arguments": {{}}}}]"#);
    let (tagged, skip) = (format!("<tool_call>{ebi}</tool_call>"), r#"{"name": "skip", "arguments": {}}"#);
    let policy = [("one: ", lorn.as_str()), ("one: ", wrong.as_str()), ("two: ", tagged.as_str()), ("two: ", skip)];
    // Whoever is shown the fact answers right.
    let answers = [
        ("lorn is in velm", r"\boxed{velm}"),
        ("gogo rules ebi", r"\boxed{gogo}"),
        ("lorn is in velm", r"\boxed{Velm}"),
    ];
    let (rollout_group, asked) = play(&config, &policy, (&answers, "I do not know"), 2);
    assert_eq!(asked.len(), 4, "two global questions of two rollouts");
    assert_eq!(rollout_group.samples.len(), 4);
    assert_eq!(rollout_group.counts("step").groups, 2);
    // First rollout: r_global = 1; each question finds one item, of steps 1 and 2: evidence ½·1/2 + ½·½ = ½ each.
    // Second: r_global = ½, evidence of step 1: ½·½/2 + ½·½ = 3/8, of step 2: 1/8.
    let evidence: Vec<f64> = (0..4).map(|place| parts(&rollout_group, place)[1].1).collect();
    for (got, expected) in evidence.iter().zip([0.5, 0.5, 0.375, 0.125]) {
        assert_near(*got, expected);
    }
    let format: Vec<f64> = (0..4).map(|place| parts(&rollout_group, place)[2].1).collect();
    assert_eq!(format, [1.0, 1.0, 0.5, 1.0]);
    assert_eq!(rollout_group.samples[2].reason.notes, ["there is no function `forget`"]);
    assert!(
        rollout_group.samples[1].reason.notes.iter().all(|note| note.starts_with("right: ")),
        "{:?}",
        rollout_group.samples[1].reason
    );
    let advantage = |place: usize| rollout_group.samples[place].advantage;
    assert_near(advantage(0) + advantage(2), 0.0);
    assert_near(advantage(1) + advantage(3), 0.0);
    assert!(advantage(0) > 0.0 && advantage(1) > 0.0);
    assert!(rollout_group.training_samples().all(|sample| !sample.response_ids.is_empty()));
}

#[test]
fn memalpha_by_hand() {
    let insert =
        |content: &str| format!(r#"{{"name": "insert", "arguments": {{"type": "semantic", "content": "{content}"}}}}"#);
    let (lorn, ebi, invented) = (insert("lorn is in velm"), insert("gogo rules ebi"), insert("zaza zuzu zozo"));
    let twice = format!("[{lorn}, {lorn}, {invented}]");
    let policy =
        [("one: ", twice.as_str()), ("one: ", "nothing to call"), ("two: ", ebi.as_str()), ("two: ", ebi.as_str())];
    let answers = [
        ("lorn is in velm", r"\boxed{velm}"),
        ("gogo rules ebi", r"\boxed{gogo}"),
        ("gogo rules ebi", r"\boxed{gogo}"),
    ];
    let config = MemAlphaConfig { judge: Judge::Words, ..MemAlphaConfig::default() };
    let (rollout_group, _) = play(&config, &policy, (&answers, "no"), 2);
    let names: Vec<&str> = parts(&rollout_group, 0).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["accuracy", "calls", "compression", "content"]);
    // One of three calls is a duplicate, one invented: 2/3 done, 1/3 judged to be from the chunk.
    let first = parts(&rollout_group, 0);
    assert_near(first[1].1, 2.0 / 3.0);
    assert_near(first[3].1, 1.0 / 3.0);
    assert_eq!(rollout_group.samples[0].reason.notes, ["insert: the same words are there already"]);
    assert_eq!((parts(&rollout_group, 2)[1].1, parts(&rollout_group, 3)[1].1), (0.0, 1.0));
    assert_eq!(rollout_group.samples[2].reason.notes, ["nothing was called"]);
    // The second rollout knows of ebi alone.
    assert_eq!((parts(&rollout_group, 0)[0].1, parts(&rollout_group, 2)[0].1), (1.0, 0.5));
    for sample in &rollout_group.samples {
        let part = |place: usize| sample.reason.parts[place].1;
        assert_near(sample.reward, part(0) + part(1) + 0.05 * part(2) + 0.1 * part(3));
    }
    assert_near(rollout_group.samples.iter().map(|sample| sample.advantage).sum(), 0.0);
    let config = MemAlphaConfig { grouping: Grouping::Trajectory, judge: Judge::Reference, ..config };
    let yes = [("Item: lorn is in velm", r"\boxed{yes}"), ("lorn is in velm", r"\boxed{velm}")];
    let (rollout_group, asked) = play(&config, &policy, (&yes, "no"), 2);
    assert_eq!(rollout_group.samples[0].advantage, rollout_group.samples[1].advantage);
    assert_near(parts(&rollout_group, 0)[3].1, 1.0 / 3.0);
    assert_eq!(
        asked.iter().filter(|prompt| prompt.contains("Item: ")).count(),
        4,
        "what was done is judged, what failed is not"
    );
}

#[test]
fn readers_by_hand() {
    let policy = [
        ("Text: one", "lorn velm"),
        ("Text: one", "lorn velm and much more"),
        ("Text: one", "x"),
        ("Text: one", "x"),
        ("Text: two", "a"),
        ("Text: two", "a longer memory than that"),
        ("Text: two", "c"),
        ("Text: two", "d"),
        ("Answer:", r"\boxed{velm}"),
        ("Answer:", r"\boxed{Velm}"),
        ("Answer:", r"\boxed{gogo}"),
        ("Answer:", "velm"),
    ];
    let (rollout_group, _) = play(&MemAgentConfig::default(), &policy, (&[], ""), 4);
    let answers: Vec<(f64, f64)> = rollout_group
        .samples
        .iter()
        .filter(|sample| sample.number == 2)
        .map(|sample| (sample.reward, sample.advantage))
        .collect();
    assert_eq!(answers, [(1.0, 0.5), (1.0, 0.5), (0.0, -0.5), (0.0, -0.5)]);
    assert!(rollout_group.samples.iter().all(|sample| sample.advantage == if sample.rollout < 2 { 0.5 } else { -0.5 }));
    assert!(!rollout_group.samples[11].readable && rollout_group.samples[8].readable);
    let (rollout_group, _) = play(&InfoMemConfig::default(), &policy, (&[], ""), 4);
    let rewards: Vec<f64> =
        rollout_group.samples.iter().filter(|sample| sample.number == 2).map(|sample| sample.reward).collect();
    // Of two successes the one whose memory says more is worth more.
    for (reward, expected) in rewards.iter().zip([0.8, 1.2, 0.0, 0.0]) {
        assert_near(*reward, expected);
    }
    let gains: Vec<f64> = (0..2).map(|rollout| parts(&rollout_group, 3 * rollout)[1].1).collect();
    assert!(gains[0] < gains[1], "{gains:?}");
}

#[test]
fn mem1_by_hand() {
    // The first attempt searches and answers both, the second answers one of two at once, the third never answers.
    let policy = [
        ("Q: ", "<search>lorn</search>"),
        ("Q: ", "<answer>velm; zaza</answer>"),
        ("about lorn (2 left)", "<answer>Velm; the gogo</answer>"),
    ];
    let (rollout_group, _) = play(&Mem1Config::default(), &policy, (&[], ""), 3);
    let rewards: Vec<(usize, usize, f64)> =
        rollout_group.samples.iter().map(|sample| (sample.rollout, sample.number, sample.reward)).collect();
    assert_eq!(rewards, [(0, 0, 2.0), (0, 1, 2.0), (1, 0, 1.0), (2, 0, 0.0), (2, 1, 0.0), (2, 2, 0.0)]);
    assert!(
        rollout_group.samples.iter().all(|sample| sample.advantage == 1.0 - sample.rollout as f64),
        "copied to all turns"
    );
    assert!(rollout_group.samples.iter().all(|sample| sample.target == "velm; gogo"));
    assert_eq!(parts(&rollout_group, 0), [("right", 2.0), ("questions", 2.0), ("searches", 1.0)]);
    let readable: Vec<bool> = rollout_group.samples.iter().map(|sample| sample.readable).collect();
    assert_eq!(readable, [true, true, true, false, false, false]);
}

#[test]
fn a_bank_is_saved_as_it_is() {
    let mut bank = Bank::new(Layout::Flat);
    let call =
        memtrain::agents::bank::call::parse(r#"{"name": "insert", "arguments": {"content": "é"}}"#, Layout::Flat)
            .remove(0)
            .unwrap();
    bank.apply(&call, 3).unwrap();
    let saved =
        r#"{"layout":"flat","core":"","entries":[{"id":1,"section":"items","content":"é","step":3}],"next_id":2}"#;
    assert_eq!(serde_json::to_string(&bank).unwrap(), saved);
    assert_eq!(serde_json::from_str::<Bank>(saved).unwrap(), bank);
}
