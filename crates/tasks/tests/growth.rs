//! Question sets that are small and would take long, or come to much.

use std::time::Instant;

use memtrain_corpora::store;
use memtrain_tasks::compose::{ComposeConfig, Pool, compose};
use memtrain_tasks::import::{ImportConfig, ImportReport, import};
use memtrain_tasks::{Task, TaskError};
use serde_json::{Value, json};

fn imported(set: &Value, sink: impl FnMut(Task) -> Result<(), TaskError>) -> Result<ImportReport, TaskError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.json");
    store::write_atomic(&path, set.to_string()).unwrap();
    import(&path, &ImportConfig::default(), sink)
}

#[test]
fn many_answers_are_told_apart_in_little_time() {
    let answers: Vec<String> = (0..200_000).map(|number| format!("name {}", number % 150_000)).collect();
    let outputs: Vec<Value> = answers.iter().map(|answer| json!({"answer": answer})).collect();
    let started = Instant::now();
    for row in [json!({"question": "Who?", "answers": answers}), json!({"input": "Who?", "output": outputs})] {
        let mut found = Vec::new();
        let keep = |task| {
            found.push(task);
            Ok(())
        };
        imported(&json!([row]), keep).unwrap();
        let answers = &found[0].questions[0].answers;
        assert_eq!((answers.len(), answers[149_999].as_str()), (150_000, "name 149999"));
    }
    // Each held against each other takes minutes.
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

#[test]
fn long_lists_are_gone_through_once() {
    let started = Instant::now();
    // Each session held against each that answers.
    let sessions = 80_000;
    let ids: Vec<String> = (0..sessions).map(|number| format!("s{number:07}")).collect();
    let turn = json!([{"role": "user", "content": "x"}]);
    let row = json!({"question_id": "q", "question_type": "t", "question": "Who?", "answer": "Mira",
        "haystack_sessions": vec![turn; sessions], "haystack_dates": ids, "haystack_session_ids": ids,
        "answer_session_ids": ids.iter().rev().collect::<Vec<_>>()});
    let mut found = Vec::new();
    let report = imported(&json!([row]), |task| {
        found.push(task);
        Ok(())
    });
    let report = report.unwrap();
    assert_eq!((report.tasks, found.len()), (1, 1), "{report:?}");
    assert_eq!(found[0].gold.len(), sessions);
    // Each passage looked for among all places.
    let pool = Pool::default();
    let config = ComposeConfig { lengths: vec![sessions as u32], questions: None, ..ComposeConfig::default() };
    let long = compose(&found[0], &pool, &config).unwrap();
    assert_eq!(long[0].gold.len(), sessions);
    // Each answer looked for in a long paragraph.
    let answers: Vec<Value> = (0..100_000).map(|number| json!({"text": format!("{number}")})).collect();
    let text: String = (0..100_000).map(|number| format!("{number} ")).chain(["x".repeat(8 << 20)]).collect();
    let paragraph = json!({"context": text, "qas": [{"id": 1, "question": "Who?", "answers": answers}]});
    let set = json!({"data": [{"title": "Mira", "paragraphs": [paragraph]}]});
    assert_eq!(imported(&set, |_| Ok(())).unwrap().tasks, 1);
    assert!(started.elapsed().as_secs() < 40, "{:?}", started.elapsed());
}

#[test]
fn a_paragraph_that_is_repeated_without_measure_is_refused() {
    let set = |questions: usize| {
        let qa = |number: usize| json!({"id": number, "question": "Who?", "answers": [{"text": "Mira"}]});
        let qas: Vec<Value> = (0..questions).map(qa).collect();
        let paragraph = json!({"context": format!("Mira {}", "x".repeat(400_000)), "qas": qas});
        imported(&json!({"data": [{"title": "Mira", "paragraphs": [paragraph]}]}), |_| Ok(()))
    };
    assert_eq!(set(100).unwrap().tasks, 100);
    let error = set(1500).unwrap_err();
    assert!(error.to_string().contains("repeats its contexts too often"), "{error}");
}
