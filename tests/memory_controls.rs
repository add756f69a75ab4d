//! Memories held against each other, with policies that are known: one keeps what the text says, one invents.

use memtrain::agents::answer::Equality;
use memtrain::agents::prompts::{PromptLayout, PromptSet};
use memtrain::agents::reader::{Reader, ReaderConfig, SamplingConfig, StepKey};
use memtrain::eval::memory_controls::{Contender, MemoryReport, MemorySource, evaluate};
use memtrain::eval::reconstruction::questions;
use memtrain::objectives::ChunkedDocument;
use memtrain::objectives::memtrain::MemTrainConfig;
use memtrain::policy::{PolicyTokenizer, built_in};
use memtrain::rollout::RolloutEngine;
use memtrain::sampler::{Completion, FinishReason, SampleRequest, Sampler};
use memtrain_corpora::{Document, DocumentEntity, EntityLabel, Split};

/// Keeps the first sentence of the first chunk for good, or always the same invention, and answers with the last word of
/// its memory, without the full stop.
struct Keeps<'a> {
    tokenizer: &'a PolicyTokenizer,
    invention: Option<&'static str>,
}

impl Sampler for Keeps<'_> {
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>> {
        let part = |prompt: &str, field: &str| {
            let line = prompt.lines().find_map(|line| line.trim().strip_prefix(field).map(str::to_owned));
            line.unwrap_or_default().trim().to_owned()
        };
        let mut completions = Vec::new();
        for request in requests {
            let prompt = self.tokenizer.decode(&request.prompt_ids)?;
            let memory = part(&prompt, "Memory:");
            let said = match (prompt.contains("New memory:"), self.invention) {
                (true, Some(invention)) => invention.to_owned(),
                (true, None) if memory == "empty" => {
                    part(&prompt, "Text:").split_inclusive('.').next().unwrap_or_default().to_owned()
                }
                (true, None) => memory,
                (false, _) => {
                    format!(r"\boxed{{{}}}", memory.rsplit(' ').next().unwrap_or_default().trim_end_matches('.'))
                }
            };
            let token_ids = self.tokenizer.encode_text(format!(" {said}"))?;
            let log_probs = vec![-1.0; token_ids.len()];
            completions.push(Completion { token_ids, log_probs, finish: FinishReason::Stop });
        }
        Ok(completions)
    }
}

/// Two chunks; the hidden entity is nowhere, the first chunk names `buyer`.
fn document(number: u64, buyer: &str) -> ChunkedDocument {
    let first = format!("[MASK] sold salt to {buyer}. ");
    let text = format!("{first}[MASK] slept. It rained.");
    let start = first.find(buyer).unwrap();
    let span = start..start + buyer.len();
    let document = Document {
        id: format!("heldout-{number:08}"),
        answer: "Lorn".to_owned(),
        aliases: Vec::new(),
        label: EntityLabel::Person,
        passages: Vec::new(),
        entities: vec![DocumentEntity { span, surface: buyer.to_owned(), label: EntityLabel::Unknown }],
        num_masks: 2,
        num_tokens: 0,
        seed: 0,
        split: Split::Heldout,
        text,
    };
    let chunks = vec![0..first.len(), first.len()..document.text.len()];
    ChunkedDocument { number, document, chunks }
}

fn report() -> MemoryReport {
    let folder = tempfile::tempdir().unwrap();
    built_in::write("tiny", folder.path()).unwrap();
    let tokenizer = PolicyTokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap();
    let prompts = PromptSet::load("compact", PromptLayout::MemoryFirst).unwrap();
    let config = ReaderConfig { memory_tokens: 200, context_tokens: 2_000, ..ReaderConfig::default() };
    let sampling = SamplingConfig::default();
    let step_key = StepKey { seed: 1, step: 1 };
    let reader = || Reader { tokenizer: &tokenizer, prompts: &prompts, config: &config, sampling: &sampling, step_key };
    let contender = |name: &str, invention| Contender {
        name: name.to_owned(),
        reader: reader(),
        engine: RolloutEngine::new(Keeps { tokenizer: &tokenizer, invention }),
    };
    let documents = [document(0, "Velm"), document(1, "Gogo"), document(2, "Ebi")];
    let asked = questions(&documents, &MemTrainConfig::default(), 2, 1);
    let mut contenders = [contender("copies", None), contender("invents", Some("It was Lorn. It was Lorn."))];
    evaluate(&mut contenders, &documents, Equality::Strict, &asked).unwrap()
}

#[test]
fn answers_are_as_good_as_the_memory_they_come_from() {
    let report = report();
    assert_eq!((report.documents, report.recall_questions, report.policies.len()), (3, 6, 2));
    for policy in &report.policies {
        let means = |source: &MemorySource| {
            let found = policy.answers.iter().find(|answers| answers.source == *source).unwrap();
            (found.end_to_end.map(|estimate| estimate.mean), found.recall.mean)
        };
        let kept = |name: &str| means(&MemorySource::Policy(name.to_owned()));
        assert_eq!(kept("copies"), (Some(0.0), 1.0), "the buyer stands in it, the hidden entity does not");
        assert_eq!(kept("invents"), (Some(1.0), 0.0), "and here it is the other way round");
        assert_eq!(means(&MemorySource::Empty), (Some(0.0), 0.0));
        assert_eq!(means(&MemorySource::Oracle).0, None);
        // The last sentence with a placeholder is not the one that names the buyer, and comes last in the memory.
        assert_eq!(means(&MemorySource::LastPlaceholders), (Some(0.0), 0.0));
        let another = if policy.name == "copies" { (Some(0.0), 0.0) } else { (Some(1.0), 0.0) };
        assert_eq!(means(&MemorySource::Another), another, "what another document says helps only who invents");
    }
}

#[test]
fn inventions_and_repetitions_are_seen() {
    let report = report();
    let [copies, invents] = [0, 1].map(|place| report.policies[place].quality.clone());
    assert_eq!((copies.verbatim.mean, copies.repeated.mean, copies.truncated.mean), (1.0, 0.0, 0.0));
    assert_eq!((invents.verbatim.mean, invents.repeated.mean, invents.truncated.mean), (0.0, 1.0, 0.0));
    assert_eq!((copies.sentences.mean, invents.sentences.mean), (1.0, 2.0));
    let example = report.policies[0].example.clone().unwrap();
    assert_eq!(example.memory, "[MASK] sold salt to Velm.");
    assert_eq!((example.hidden.as_str(), example.answer.as_deref()), ("Lorn", Some("Velm")));
}
