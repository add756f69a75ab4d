use std::sync::Mutex;

use memtrain_engine::sampler::{Completion, FinishReason, SampleRequest, Sampler};
use memtrain_model::policy::PolicyTokenizer;

use super::*;
use crate::rollout::retrieve::RetrieveError;

/// Says what it is told to, in turn, and keeps the prompts.
struct Script<'a> {
    tokenizer: &'a PolicyTokenizer,
    lines: Vec<&'static str>,
    prompts: Vec<String>,
}

impl Sampler for Script<'_> {
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>> {
        let mut completions = Vec::new();
        for request in requests {
            self.prompts.push(self.tokenizer.decode(&request.prompt_ids)?);
            let mut token_ids = self.tokenizer.encode(self.lines.remove(0))?;
            token_ids.push(self.tokenizer.eos_token_ids()[0]);
            let log_probs = vec![-0.5; token_ids.len()];
            completions.push(Completion { token_ids, log_probs, finish: FinishReason::Stop });
        }
        Ok(completions)
    }
}

#[derive(Default)]
struct Shelf(Arc<Mutex<Vec<String>>>);

impl Retriever for Shelf {
    fn retrieve(&self, queries: &[&str], k: usize) -> Result<Vec<Vec<Found>>, RetrieveError> {
        self.0.lock().unwrap().extend(queries.iter().map(|&query| query.to_owned()));
        let found = |query: &&str| {
            let one = |rank: usize| Found {
                id: rank.to_string(),
                title: format!("About {query}"),
                text: format!("words {rank}"),
                score: 0.0,
            };
            if *query == "nothing" { Vec::new() } else { (0..k).map(one).collect() }
        };
        Ok(queries.iter().map(found).collect())
    }
}

fn play(
    config: &SearcherConfig,
    questions: &[&[&str]],
    lines: &[&'static str],
) -> (Vec<SearchTrajectory>, Vec<String>, Vec<String>) {
    let (tokenizer, prompts) = (PolicyTokenizer::of_bytes().unwrap(), SearcherPrompts::load("standard").unwrap());
    let searcher = Searcher {
        tokenizer: &tokenizer,
        prompts: &prompts,
        config,
        sampling: &SamplingConfig::GREEDY,
        step_key: StepKey { seed: 0, step: 0 },
    };
    let task = |(questions, number): (&&[&str], u64)| SearchTask {
        number,
        questions: questions.iter().map(|&question| question.to_owned()).collect(),
    };
    let tasks: Vec<SearchTask> = questions.iter().zip(0..).map(task).collect();
    let mut script = Script { tokenizer: &tokenizer, lines: lines.to_vec(), prompts: Vec::new() };
    let asked = Arc::default();
    let shelf: Arc<dyn Retriever> = Arc::new(Shelf(Arc::clone(&asked)));
    let groups = searcher.search(&mut RolloutEngine::new(&mut script), &shelf, &tasks, 1).unwrap();
    assert!(script.lines.is_empty(), "every line was said");
    let queries = asked.lock().unwrap().clone();
    (groups.concat(), script.prompts, queries)
}

fn config(max_turns: usize) -> SearcherConfig {
    SearcherConfig { max_turns, topk: 2, ..SearcherConfig::default() }
}

#[test]
fn only_the_last_turn_and_its_results_stay() {
    let lines = [
        "<think>first thoughts</think><search>lorn</search> chatter",
        "<think>second thoughts</think>\n<search>velmora</search>",
        "<think>done</think><answer>a river; Velmora</answer>",
    ];
    let (trajectories, prompts, queries) = play(&config(6), &[&["What is Lorn?", "Where?"]], &lines);
    assert_eq!(queries, ["lorn", "velmora"]);
    let trajectory = &trajectories[0];
    assert_eq!(trajectory.outcome.answers().unwrap(), ["a river", "Velmora"]);
    assert_eq!(trajectory.turns.len(), 3);
    assert!(prompts.iter().all(|prompt| prompt.contains("Questions: What is Lorn?; Where?")));
    assert!(!prompts[0].contains("<information>"));
    assert!(prompts[1].contains("first thoughts</think><search>lorn</search>\n<information>\nPassage 1 (About lorn): words 0\nPassage 2 (About lorn): words 1\n</information>\nTurns left: 5."));
    assert!(!prompts[1].contains("chatter"), "what follows the action is dropped");
    assert!(prompts[2].contains("second thoughts") && prompts[2].contains("Turns left: 4."));
    assert!(!prompts[2].contains("first thoughts") && !prompts[2].contains("About lorn"), "forgotten");
    // The ids are what was said, chatter and all.
    let tokenizer = PolicyTokenizer::of_bytes().unwrap();
    for (turn, line) in trajectory.turns.iter().zip(lines) {
        assert_eq!(tokenizer.decode_response(&turn.completion.token_ids).unwrap(), line);
        assert_eq!(turn.completion.log_probs.len(), turn.completion.token_ids.len());
    }
    let kinds: Vec<RolloutKind> = trajectory.turns.iter().map(|turn| turn.kind).collect();
    assert_eq!(kinds, [RolloutKind::Search, RolloutKind::Search, RolloutKind::Answer]);
}

#[test]
fn attempts_end_when_they_are_done() {
    let lines = ["<search>one</search>", "<answer>b</answer>", "no action at all", "<search>nothing</search>"];
    let (trajectories, prompts, queries) = play(&config(3), &[&["a?"], &["b?"]], &lines);
    assert_eq!(queries, ["one"], "nobody searches at the last turn");
    assert_eq!(trajectories[1].outcome.answers().unwrap(), ["b"]);
    assert_eq!(trajectories[0].outcome.answers(), None);
    assert_eq!(
        trajectories[0].outcome.actions,
        [Action::Search("one".into()), Action::None, Action::Search("nothing".into())]
    );
    assert_eq!(prompts.len(), 4);
    assert!(
        prompts[3].contains("neither a query")
            && prompts[3].contains("Turns left: 1.")
            && prompts[3].contains("last turn: no further")
    );
    assert!(!prompts[2].contains("last turn: no further"));
}

#[test]
fn results_are_cut_and_what_does_not_fit_ends_alone() {
    let short = SearcherConfig { result_tokens: 20, ..config(3) };
    let (_, prompts, _) = play(&short, &[&["a?"]], &["<search>x</search>", "<answer>b</answer>"]);
    assert!(prompts[1].contains("<information>\nPassage 1 (About x):\n</information>"), "20 bytes: {}", prompts[1]);
    let long = "why? ".repeat(2000);
    let (trajectories, prompts, _) = play(&config(3), &[&[&long], &["b?"]], &["<answer>b</answer>"]);
    assert_eq!(prompts.len(), 1);
    assert!(trajectories[0].outcome.failure.as_ref().unwrap().starts_with("turn 1: a prompt of "));
    assert_eq!(trajectories[1].outcome.answers().unwrap(), ["b"]);
    let (_, prompts, _) = play(&config(2), &[&["a?"]], &["<search>nothing</search>", "<answer></answer>"]);
    assert!(prompts[1].contains("Nothing was found."));
}

#[test]
fn the_first_action_after_the_thoughts_counts() {
    assert_eq!(
        action("<think><search>no</search></think><search>yes</search><answer>late</answer>").0,
        Action::Search("yes".into())
    );
    assert_eq!(action("<answer>now</answer><search>late</search>").0, Action::Answer(vec!["now".into()]));
    assert_eq!(action("<search> </search>").0, Action::None);
    assert_eq!(
        action("<search> </search><answer>x;;y</answer>").0,
        Action::Answer(vec!["x".into(), String::new(), "y".into()])
    );
    assert_eq!(action("<answer>never closed").0, Action::None);
    assert_eq!(action("é").1, "é".len());
}

#[test]
fn a_set_without_its_fields_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().to_str().unwrap();
    assert!(matches!(SearcherPrompts::load(set), Err(PromptError::Unreadable { .. })));
    for file in FILES {
        store::write_atomic(&folder.path().join(file), b"{problem} {last_turn} {results}").unwrap();
    }
    let error = SearcherPrompts::load(set).unwrap_err();
    assert!(matches!(error, PromptError::MissingField { file: "results.txt", field: "{turns_left}", .. }), "{error}");
}
