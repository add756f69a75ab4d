//! Chunks, recall questions and credit on documents of the fictional kind.

use memtrain::agents::chunks::{CutAt, split};
use memtrain::objectives::memtrain::{
    END_TO_END, MemTrainConfig, MemoryForm, RECALL, RecallDraw, RecallQuestion, ScoredRecall, ScoredTrajectory,
    Variant, assign_credit, draw_recall, trajectory_reward,
};
use memtrain::objectives::{ChunkedDocument, GroupCounts};
use memtrain::policy::{PolicyTokenizer, built_in};
use memtrain::rollout::{Trajectory, Turn};
use memtrain::run::RolloutKind;
use memtrain::sampler::{Completion, FinishReason};
use memtrain_corpora::{Document, DocumentEntity, DocumentPassage, EntityLabel, PassageRole, Split, rng};
use proptest::prelude::*;

fn tokenizer() -> PolicyTokenizer {
    let folder = tempfile::tempdir().unwrap();
    built_in::write("tiny", folder.path()).unwrap();
    PolicyTokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn chunks_cover_the_text_once_and_cut_no_placeholder(
        words in prop::collection::vec(prop_oneof!["[a-zé漢🜁]{1,9}", Just("[MASK]".to_owned()), Just("[MASK][TARGET].".to_owned()), Just("\n".to_owned())], 0..60),
        max_tokens in 1_usize..40,
        sentences in any::<bool>(),
    ) {
        let tokenizer = tokenizer();
        let text = words.join(" ");
        let cut_at = if sentences { CutAt::Sentence } else { CutAt::Token };
        let chunks = split(&text, &tokenizer, max_tokens, cut_at).unwrap();
        let glued: String = chunks.iter().map(|chunk| &text[chunk.clone()]).collect();
        prop_assert_eq!(&glued, &text);
        for chunk in &chunks {
            prop_assert!(!chunk.is_empty());
            let piece = &text[chunk.clone()];
            let indivisible = piece.chars().count() == 1 || piece == "[MASK]" || piece == "[TARGET]";
            prop_assert!(tokenizer.encode_text(piece).unwrap().len() <= max_tokens || indivisible, "{piece:?}");
            let whole = |placeholder: &str| text.match_indices(placeholder).all(|(at, found)| {
                let inside = |byte: usize| at < byte && byte < at + found.len();
                !inside(chunk.start) && !inside(chunk.end)
            });
            prop_assert!(whole("[MASK]") && whole("[TARGET]"), "{piece:?}");
        }
    }
}

/// Four chunks of one sentence each; every sentence names two entities.
fn document() -> ChunkedDocument {
    let sentences = ["Aba met Bebo. ", "Coda met [MASK]. Coda left. ", "Dodo met Ebi. ", "Fafa met Gogo."];
    let text = sentences.concat();
    let mut chunks = Vec::new();
    let mut start = 0;
    for sentence in sentences {
        chunks.push(start..start + sentence.len());
        start += sentence.len();
    }
    let entities = ["Aba", "Bebo", "Coda", "Dodo", "Ebi", "Fafa", "Gogo"]
        .into_iter()
        .map(|surface| {
            let at = text.find(surface).unwrap();
            DocumentEntity { span: at..at + surface.len(), surface: surface.to_owned(), label: EntityLabel::Person }
        })
        .collect();
    let document = Document {
        id: "train-00000000".to_owned(),
        text,
        answer: "Hidi".to_owned(),
        aliases: Vec::new(),
        label: EntityLabel::Person,
        passages: Vec::new(),
        entities,
        num_masks: 1,
        num_tokens: 0,
        seed: 0,
        split: Split::Train,
    };
    ChunkedDocument { number: 0, document, chunks }
}

#[test]
fn recall_questions_are_uniform_over_k_and_then_l_and_hide_every_occurrence() {
    let (document, config) = (document(), MemTrainConfig::default());
    let draws = 6_000;
    let mut counts = std::collections::BTreeMap::new();
    for number in 0..draws {
        let mut generator = rng::keyed("test", 3, &[number]);
        let question = draw_recall(&document, &config, &mut generator).unwrap();
        assert!(question.chunk_step < question.memory_step && question.memory_step <= 4);
        assert!(!question.masked_chunk.contains(&question.target));
        assert!(question.masked_chunk.contains("[TARGET]"));
        assert_eq!(question.chunk_step == 2, question.masked_chunk.contains("[MASK]"), "masks stay");
        if question.target == "Coda" {
            assert_eq!(question.masked_chunk.matches("[TARGET]").count(), 2);
        }
        *counts.entry((question.memory_step, question.chunk_step)).or_insert(0_u32) += 1;
    }
    // P(k, l) = 1/3 · 1/(k − 1): six cells, chi-square with 5 degrees of freedom stays below 20.5 with probability 0.999.
    let chi_square: f64 = [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3)]
        .into_iter()
        .map(|(k, l)| {
            let expected = draws as f64 / 3.0 / (k - 1) as f64;
            (f64::from(counts[&(k, l)]) - expected).powi(2) / expected
        })
        .sum();
    assert!(chi_square < 20.5, "{chi_square}: {counts:?}");
}

#[test]
fn a_single_chunk_is_asked_about_itself_and_no_entity_means_no_question() {
    let mut document = document();
    document.chunks = std::iter::once(0..document.document.text.len()).collect();
    let mut generator = rng::keyed("test", 4, &[]);
    let question = draw_recall(&document, &MemTrainConfig::default(), &mut generator).unwrap();
    assert_eq!((question.memory_step, question.chunk_step), (1, 1));
    document.document.entities.clear();
    assert!(draw_recall(&document, &MemTrainConfig::default(), &mut generator).is_none());
}

/// Chunks of these texts, in which the entities are named wherever they stand.
fn chunked(chunks: &[&str], entities: &[&str]) -> ChunkedDocument {
    let mut found = document();
    found.chunks.clear();
    found.document.text = String::new();
    for chunk in chunks {
        let start = found.document.text.len();
        found.document.text.push_str(chunk);
        found.chunks.push(start..found.document.text.len());
    }
    let text = &found.document.text;
    let all = entities.iter().flat_map(|surface| text.match_indices(surface));
    let entity = |(at, surface): (usize, &str)| DocumentEntity {
        span: at..at + surface.len(),
        surface: surface.to_owned(),
        label: EntityLabel::Cardinal,
    };
    let mut all: Vec<DocumentEntity> = all.map(entity).collect();
    all.sort_by_key(|entity| entity.span.start);
    found.document.entities = all;
    found
}

fn released() -> MemTrainConfig {
    MemTrainConfig { recall_draw: RecallDraw::Released, ..MemTrainConfig::default() }
}

#[test]
fn both_draws_have_the_shares_that_their_formulas_give() {
    let draws = 100_000_u64;
    // What was published of the released draw: the share of questions about a chunk that the memory has not read.
    for (num_chunks, published) in [(4, 0.611), (8, 0.370), (16, 0.221)] {
        let chunks: Vec<String> = (0..num_chunks).map(|chunk| format!("It is E{chunk:02} here. ")).collect();
        let names: Vec<String> = (0..num_chunks).map(|chunk| format!("E{chunk:02}")).collect();
        let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let document = chunked(&chunks, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let simulate = |config: &MemTrainConfig| {
            // Unread, just read, older; about the first chunk, of the last memory.
            let mut counts = [0_u64; 5];
            for number in 0..draws {
                let question = draw_recall(&document, config, &mut rng::keyed("test", 7, &[number])).unwrap();
                let (k, l) = (question.memory_step, question.chunk_step);
                assert!((1..=num_chunks).contains(&k) && (1..=num_chunks).contains(&l));
                assert_eq!(question.target, format!("E{:02}", l - 1));
                let all = [l > k, l == k, l < k, l == 1, k == num_chunks];
                counts.iter_mut().zip(all).for_each(|(count, is)| *count += u64::from(is));
            }
            counts.map(|count| count as f64 / draws as f64)
        };
        let close = |share: f64, expected: f64| (share - expected).abs() < 0.006;
        let n = num_chunks as f64;
        // Released: k uniform over 1 … n−1, l over 2 … k+1, so that P(l > k) = E 1/k, P(l = k) = E 1/k for k ≥ 2.
        let harmonic: f64 = (1..num_chunks).map(|k| 1.0 / k as f64).sum();
        let [unread, just_read, older, first, last] = simulate(&released());
        assert!(close(unread, harmonic / (n - 1.0)) && close(unread, published), "{num_chunks}: {unread}");
        assert!(close(just_read, (harmonic - 1.0) / (n - 1.0)), "{num_chunks}: {just_read}");
        assert!(close(older, 1.0 - (2.0 * harmonic - 1.0) / (n - 1.0)), "{num_chunks}: {older}");
        assert_eq!((first, last), (0.0, 0.0));
        // The paper: k over 2 … n, l over 1 … k−1.
        let [unread, just_read, older, first, last] = simulate(&MemTrainConfig::default());
        assert_eq!((unread, just_read, older), (0.0, 0.0, 1.0));
        assert!(close(first, harmonic / (n - 1.0)) && close(last, 1.0 / (n - 1.0)), "{num_chunks}: {first}, {last}");
    }
}

#[test]
fn the_released_draw_takes_surfaces_within_its_bounds_and_nothing_twice() {
    // `Aba` stands five times, one name has eight words, `two` and `Two` are one, and of the rest each is equally likely.
    let long = "A B C D E F G H";
    let last = format!("Aba Aba Aba Aba Aba; {long}; two, Two; Ebi Ebi Ebi Ebi; Fafa.");
    let document = chunked(&["Nothing. ", &last], &["Aba", long, "two", "Two", "Ebi", "Fafa"]);
    let mut counts = std::collections::BTreeMap::new();
    for number in 0..3_000 {
        let question = draw_recall(&document, &released(), &mut rng::keyed("test", 8, &[number])).unwrap();
        assert_eq!((question.memory_step, question.chunk_step), (1, 2));
        *counts.entry(question.target).or_insert(0_u32) += 1;
    }
    assert_eq!(counts.keys().map(String::as_str).collect::<Vec<_>>(), ["Ebi", "Fafa", "two"]);
    assert!(counts.values().all(|count| (880..1_120).contains(count)), "{counts:?}");
    // By mentions, as the paper's draw here, `Ebi` and `Aba` are likelier.
    let by_mention = |number| {
        let config = MemTrainConfig { recall_includes_current: true, ..MemTrainConfig::default() };
        draw_recall(&document, &config, &mut rng::keyed("test", 8, &[number])).unwrap().target
    };
    let aba = (0..3_000).filter(|&number| by_mention(number) == "Aba").count();
    assert!((1_000..1_300).contains(&aba), "5 of 13 mentions: {aba}");
    // No second draw, and no question about a single chunk.
    let document = chunked(&["Ebi. ", "Nothing."], &["Ebi"]);
    assert!(draw_recall(&document, &released(), &mut rng::keyed("test", 8, &[0])).is_none());
    let document = chunked(&["Ebi."], &["Ebi"]);
    assert!(draw_recall(&document, &released(), &mut rng::keyed("test", 8, &[0])).is_none());
}

#[test]
fn the_number_of_a_heading_is_not_asked_for() {
    let text = ["Nothing. ", "Document 7:\nOf 7 or 9 men."];
    let mut document = chunked(&text, &["7", "9"]);
    let passage = |span| DocumentPassage { passage_id: 1, role: PassageRole::Random, span };
    document.document.passages = vec![passage(0..8), passage(21..document.document.text.len())];
    for number in 0..50 {
        let question = draw_recall(&document, &released(), &mut rng::keyed("test", 9, &[number])).unwrap();
        assert_eq!(question.masked_chunk, "Document 7:\nOf 7 or [TARGET] men.");
    }
}

#[test]
fn recall_is_told_apart_by_what_the_memory_has_read() {
    let config = released();
    let mut unread = scored(0, 4, true, &[1.0, 0.0], &config);
    unread.recalls[0].question.chunk_step = 3;
    let group = vec![unread, scored(1, 4, false, &[1.0, 1.0], &config)];
    let of = |config: &MemTrainConfig, name: &str| -> Vec<f64> {
        let rollout_group = assign_credit(group.clone(), "Hidi", config);
        let all = rollout_group.scores.iter().chain(&rollout_group.gauges);
        all.filter(|(known, _)| *known == name).map(|(_, value)| *value).collect()
    };
    assert_eq!(of(&config, "recall_unread"), [1.0, 0.0]);
    assert_eq!(of(&config, "recall_older"), [1.0, 1.0]);
    assert_eq!(of(&config, "rollout/recall_unread"), [1.0, 0.0]);
    assert!(of(&MemTrainConfig::default(), "recall_older").is_empty());
}

fn turn(kind: RolloutKind, tokens: usize) -> Turn {
    let completion =
        Completion { token_ids: vec![1; tokens], log_probs: vec![-1.0; tokens], finish: FinishReason::Stop };
    Turn { kind, prompt_ids: vec![2, 3], completion, text: String::new() }
}

fn scored(
    rollout: usize,
    num_turns: usize,
    correct: bool,
    recall: &[f64],
    config: &MemTrainConfig,
) -> ScoredTrajectory {
    let mut turns: Vec<Turn> = (1..num_turns).map(|_| turn(RolloutKind::Read, 3)).collect();
    turns.push(turn(RolloutKind::Answer, 2));
    let question =
        RecallQuestion { memory_step: 2, chunk_step: 1, target: "Aba".to_owned(), masked_chunk: String::new() };
    ScoredTrajectory {
        trajectory: Trajectory { rollout, turns, outcome: () },
        correct,
        recalls: vec![ScoredRecall {
            question,
            turns: recall.iter().map(|_| turn(RolloutKind::Recall, 4)).collect(),
            rewards: recall.to_vec(),
        }],
        form: MemoryForm::default(),
        reward: trajectory_reward(correct, recall, config),
    }
}

#[test]
fn credit_by_hand() {
    // Two trajectories of 5 turns: R^E = 1 + ½·½ and 0 + ½·1, mean 0.875, advantages ±0.375. The first recall group has
    // rewards 1, 0 and advantages ±½; the second, 1 and 1, gives no gradient and is dropped.
    let config = MemTrainConfig { group_size: 2, recall_samples: 2, ..MemTrainConfig::default() };
    let group = vec![scored(0, 5, true, &[1.0, 0.0], &config), scored(1, 5, false, &[1.0, 1.0], &config)];
    let rollout_group = assign_credit(group, "Hidi", &config);
    let samples: Vec<_> = rollout_group.training_samples().collect();
    assert_eq!(samples.len(), 5 + 2 + 5);
    assert_eq!(rollout_group.samples.len(), 5 + 2 + 5 + 2, "what is not trained on is kept in the records");
    assert_eq!(rollout_group.counts(END_TO_END), GroupCounts { groups: 1, all_zero: 0, all_equal: 0 });
    assert_eq!(rollout_group.counts(RECALL), GroupCounts { groups: 2, all_zero: 0, all_equal: 1 });
    assert_eq!(rollout_group.samples[0].reason.to_json(), r#"{"end_to_end":1.0,"recall":0.5}"#);
    assert_eq!(rollout_group.samples[5].reason.to_json(), r#"{"recall":1.0,"notes":["memory 2, chunk 1"]}"#);
    assert_eq!((rollout_group.samples[0].target.as_str(), rollout_group.samples[5].target.as_str()), ("Hidi", "Aba"));
    let advantages: Vec<f32> = samples.iter().map(|sample| sample.advantages[0]).collect();
    assert_eq!(advantages, [0.375, 0.375, 0.375, 0.375, 0.375, 0.5, -0.5, -0.375, -0.375, -0.375, -0.375, -0.375]);
    assert!(samples.iter().all(|c| c.advantages.len() == c.response_ids.len()));
}

#[test]
fn ablations() {
    let full = MemTrainConfig::default();
    assert_eq!(trajectory_reward(false, &[1.0, 1.0], &full), 0.5);
    for variant in [Variant::Decoupled, Variant::EndToEnd] {
        let config = MemTrainConfig { variant, ..MemTrainConfig::default() };
        assert_eq!(trajectory_reward(false, &[1.0, 1.0], &config), 0.0);
        assert_eq!(trajectory_reward(true, &[], &config), 1.0);
    }
    // Decoupled: equal final answers drop the trajectories, but recall is trained all the same.
    let config = MemTrainConfig { variant: Variant::Decoupled, ..MemTrainConfig::default() };
    let group = vec![scored(0, 3, false, &[1.0, 0.0], &config), scored(1, 3, false, &[0.0, 0.0], &config)];
    let rollout_group = assign_credit(group.clone(), "Hidi", &config);
    assert_eq!(rollout_group.training_samples().count(), 2);
    assert_eq!((rollout_group.counts(END_TO_END).all_zero, rollout_group.counts(RECALL).all_zero), (1, 1));
    assert!(!rollout_group.has_reward_variance(), "recall alone does not count as a document that teaches");
    // Without the filter they stay, with advantages of zero.
    let config = MemTrainConfig { filter_groups: false, ..config };
    let rollout_group = assign_credit(group, "Hidi", &config);
    assert_eq!(rollout_group.training_samples().count(), 2 * 3 + 2 * 2);
    assert_eq!(rollout_group.training_samples().filter(|sample| sample.advantages[0] != 0.0).count(), 2);
}

#[test]
fn penalties_are_means_over_memory_turns() {
    let config = MemTrainConfig { overlong_penalty: 0.5, repetition_penalty: 1.0, ..MemTrainConfig::default() };
    let document = document();
    let mut reading = scored(0, 3, true, &[], &config).trajectory;
    assert_eq!(MemoryForm::of(&reading, &document).penalty(&config), 0.0);
    reading.turns[0].text = "Aba sold salt. Aba sold salt. Aba sold salt. It rained.".to_owned();
    reading.turns[1].completion.finish = FinishReason::Length;
    // Half of the first memory's sentences are there already, the second was cut off.
    assert_eq!(MemoryForm::of(&reading, &document).penalty(&config), (0.5 + 0.5) / 2.0);
    // An answer is no memory.
    reading.turns[2].completion.finish = FinishReason::Length;
    reading.turns[2].text = "Aba. Aba.".to_owned();
    assert_eq!(MemoryForm::of(&reading, &document).penalty(&config), 0.5);
    assert_eq!(MemoryForm::of(&reading, &document).penalty(&MemTrainConfig::default()), 0.0);
}

#[test]
fn a_sentence_is_supported_once_its_chunk_was_read() {
    let config = MemTrainConfig { unsupported_penalty: 1.0, ..MemTrainConfig::default() };
    let mut reading = scored(0, 3, true, &[], &config).trajectory;
    // Of the first chunk; of the second, which is read later; changed; cut off.
    reading.turns[0].text = "Aba met Bebo. Coda left. Aba met Coda. Aba met".to_owned();
    reading.turns[1].text = "Aba met Bebo. Coda left.".to_owned();
    assert_eq!(MemoryForm::of(&reading, &document()).penalty(&config), 0.75 / 2.0);
}

#[test]
fn each_recall_question_has_a_group_of_its_own_and_the_reading_gets_their_mean() {
    let config = MemTrainConfig { recall_weight: 1.0, ..MemTrainConfig::default() };
    let mut asked_twice = scored(0, 3, false, &[1.0, 0.0], &config);
    asked_twice.recalls.extend(scored(0, 3, false, &[1.0, 1.0, 1.0, 0.0], &config).recalls);
    asked_twice.reward = trajectory_reward(false, &[1.0, 0.0, 1.0, 1.0, 1.0, 0.0], &config);
    let group = vec![asked_twice, scored(1, 3, false, &[0.0, 0.0], &config)];
    let rollout_group = assign_credit(group, "Hidi", &config);
    let of = |kind| {
        let scored = rollout_group.samples.iter().filter(move |scored| scored.rollout == 0 && scored.turn.kind == kind);
        scored.map(|scored| (scored.number, scored.advantage)).collect::<Vec<_>>()
    };
    let third = 2.0 / 3.0 / 2.0;
    assert_eq!(of(RolloutKind::Read), [(0, third), (1, third)]);
    let expected = [(3, 0.5), (4, -0.5), (5, 0.25), (6, 0.25), (7, 0.25), (8, -0.75)];
    assert_eq!(of(RolloutKind::Recall), expected);
    assert_eq!(rollout_group.counts(RECALL), GroupCounts { groups: 3, all_zero: 1, all_equal: 0 });
}

#[test]
fn a_group_is_formed_of_trajectories_not_of_turns() {
    // One reading of 9 turns and one of 2: were the mean taken over turns, the advantages would not be opposite.
    let config = MemTrainConfig { variant: Variant::EndToEnd, ..MemTrainConfig::default() };
    let group = vec![scored(0, 9, true, &[], &config), scored(1, 2, false, &[], &config)];
    let rollout_group = assign_credit(group, "Hidi", &config);
    assert!(
        rollout_group.samples.iter().all(|scored| scored.advantage == if scored.rollout == 0 { 0.5 } else { -0.5 })
    );
}
