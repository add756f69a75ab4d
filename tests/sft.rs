//! SFT: demonstrations and texts that a policy imitates before it is rewarded.

use memtrain::agents::prompts::{PromptLayout, PromptSet};
use memtrain::agents::sentences::sentences;
use memtrain::objectives::ChunkedDocument;
use memtrain::policy::{PolicyTokenizer, built_in};
use memtrain::sft::oracle::{Demonstration, OracleConfig, demonstrate};
use memtrain::sft::step::{Material, SftConfig, draw_examples};
use memtrain_corpora::{Document, DocumentEntity, EntityLabel, Split, rng};

const BUYERS: [&str; 6] = ["Aba", "Bebo", "Coda", "Dodo", "Ebi", "Fafa"];

/// A chunk for each buyer, who is named in one of its two sentences.
fn document() -> ChunkedDocument {
    let (mut text, mut chunks, mut entities) = (String::new(), Vec::new(), Vec::new());
    for buyer in BUYERS {
        let start = text.len();
        text.push_str(&format!("[MASK] sold salt to {buyer}. It rained on {buyer} too. "));
        let at = start + text[start..].find(buyer).unwrap();
        let span = at..at + buyer.len();
        entities.push(DocumentEntity { span, surface: buyer.to_owned(), label: EntityLabel::Unknown });
        chunks.push(start..text.len());
    }
    let document = Document {
        id: "train-00000000".to_owned(),
        answer: "Hidi".to_owned(),
        aliases: Vec::new(),
        label: EntityLabel::Person,
        passages: Vec::new(),
        entities,
        num_masks: 6,
        num_tokens: 0,
        seed: 0,
        split: Split::Train,
        text,
    };
    ChunkedDocument { number: 0, document, chunks }
}

fn tokenizer() -> PolicyTokenizer {
    let folder = tempfile::tempdir().unwrap();
    built_in::write("tiny", folder.path()).unwrap();
    PolicyTokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap()
}

fn prompts() -> PromptSet {
    PromptSet::load("compact", PromptLayout::MemoryFirst).unwrap()
}

const SENTENCES: OracleConfig = OracleConfig {
    names_share: 0.0,
    placeholder_first: 0.0,
    forget: 0.0,
    old_first: false,
    answers: 1,
    recall_questions: 3,
    least_fill: 1.0,
    informed: 0.0,
};

fn demonstrations(config: &OracleConfig, memory_tokens: usize, seed: u64) -> Vec<Demonstration> {
    let mut generator = rng::keyed("test", seed, &[]);
    demonstrate(&document(), &prompts(), &tokenizer(), memory_tokens, config, &mut generator).unwrap()
}

#[test]
fn memories_are_whole_sentences_of_the_text_that_fill_a_share_of_the_limit() {
    let tokenizer = tokenizer();
    let length = |text: &str| tokenizer.encode_text(format!(" {text}")).unwrap().len();
    let text = document().document.text;
    let limit = 60;
    let mut fullest: Vec<usize> = Vec::new();
    for seed in 0..30 {
        let config = OracleConfig { least_fill: 0.4, ..SENTENCES };
        let turns = demonstrations(&config, limit, seed);
        let memories: Vec<&str> =
            turns.iter().filter(|turn| !turn.is_answer).map(|turn| turn.response.as_str()).collect();
        assert_eq!(memories.len(), BUYERS.len());
        for memory in &memories {
            assert!(sentences(memory).all(|sentence| text.contains(sentence)), "{memory}");
            assert!(length(memory) < limit, "a token stays free for the end: {memory}");
        }
        fullest.push(memories.iter().map(|memory| length(memory)).max().unwrap());
    }
    let (least, most) = (fullest.iter().min().unwrap(), fullest.iter().max().unwrap());
    assert!(least * 3 < most * 2, "oracles fill different shares: {fullest:?}");
}

#[test]
fn what_the_old_memory_holds_comes_first_where_that_is_asked_for() {
    // Memory turns after which a sentence of the memory before is gone.
    let dropping = |config: &OracleConfig| -> usize {
        let turns = (0..20).flat_map(|seed| {
            let turns = demonstrations(config, 60, seed);
            let memories = turns.into_iter().filter(|turn| !turn.is_answer);
            memories
                .map(|turn| turn.response.as_str().to_owned())
                .collect::<Vec<_>>()
                .windows(2)
                .map(<[_]>::to_vec)
                .collect::<Vec<_>>()
        });
        turns.filter(|pair| sentences(&pair[0]).any(|sentence| !pair[1].contains(sentence))).count()
    };
    assert_eq!(dropping(&OracleConfig { old_first: true, ..SENTENCES }), 0, "a full memory stays as it is");
    assert!(dropping(&OracleConfig { old_first: true, forget: 0.2, ..SENTENCES }) > 20);
    assert!(dropping(&SENTENCES) > 40);
}

#[test]
fn an_informed_memory_has_what_is_asked_for() {
    let config = OracleConfig { informed: 1.0, ..SENTENCES };
    let mut asked = 0;
    for seed in 0..20 {
        for turn in demonstrations(&config, 60, seed).iter().filter(|turn| turn.user.as_str().contains("[TARGET]?")) {
            let target = turn.response.as_str().trim_start_matches(r"\boxed{").trim_end_matches('}').trim();
            let memory = turn.user.as_str().lines().find(|line| line.starts_with("Memory:")).unwrap();
            assert!(memory.contains(&format!("[MASK] sold salt to {target}.")), "{target}: {memory}");
            asked += 1;
        }
    }
    assert!(asked >= 50, "{asked} questions");
}

#[test]
fn weights_sum_to_what_the_configuration_says() {
    let (tokenizer, prompts) = (tokenizer(), prompts());
    let material = Material {
        texts: vec![" It rained.".to_owned(), " Aba slept.".to_owned()],
        documents: vec![document()],
        prompts: &prompts,
        tokenizer: &tokenizer,
        memory_tokens: 60,
        bank: None,
    };
    let config = SftConfig { texts: 6, trajectories: 2, text_weight: 0.25, ..SftConfig::default() };
    let total = |config: &SftConfig| -> f64 {
        let examples = draw_examples(1, 7, &material, config).unwrap();
        assert!(examples.iter().all(|example| example.weights.len() == example.response_ids.len()));
        examples.iter().flat_map(|example| example.weights.clone()).sum()
    };
    assert!((total(&config) - 1.25).abs() < 1e-9);
    let with_prompts = SftConfig { prompt_weight: 0.5, ..config.clone() };
    assert!((total(&with_prompts) - 1.75).abs() < 1e-9);
    let tokens = |config: &SftConfig| -> Vec<Vec<u32>> {
        let examples = draw_examples(1, 7, &material, config).unwrap();
        examples.into_iter().map(|example| [example.prompt_ids, example.response_ids].concat()).collect()
    };
    assert_eq!(tokens(&config), tokens(&with_prompts), "the same conversations, with more of them predicted");
    let twice = SftConfig { repeat: 1.0, ..config };
    for example in &draw_examples(1, 7, &material, &twice).unwrap()[..6] {
        let text = tokenizer.decode(&example.response_ids).unwrap();
        assert_eq!(text.matches('.').count(), 3, "three passages: {text}");
    }
}
