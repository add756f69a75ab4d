//! Tables and folders that earlier versions wrote are still read.

use std::path::{Path, PathBuf};

use memtrain::eval::record::{EvalTurn, load};
use memtrain::tasks::{ContextKind, Task, read};
use memtrain_corpora::store;

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat").join(name)
}

#[test]
fn task_tables_of_version_1() {
    for name in ["tasks-v1.parquet", "tasks-v1.jsonl"] {
        let tasks: Vec<Task> = read(&kept(name)).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(tasks.len(), 2, "{name}");
        let task = &tasks[0];
        assert_eq!((task.id.as_str(), task.source.as_str(), task.kind), ("q1", "compat", ContextKind::Passages));
        assert_eq!(task.questions[0].text, "Where does the guild meet?");
        assert_eq!(task.questions[0].answers, ["Hall of Lorn"]);
        assert_eq!(task.passages[1].text, "The guild meets in the Hall of Lorn. Überall.");
        assert_eq!((task.gold.as_slice(), task.length), (&[1][..], 0));
        assert_eq!(task.extra["level"], "easy");
    }
}

#[test]
fn evaluations_of_format_1() {
    let folder = kept("evaluation-v1");
    let (note, items) = load(&folder).unwrap();
    assert_eq!((note.format, note.benchmark.as_str()), (1, "long-qa"));
    assert_eq!(note.settings["draw"]["temperature"], 0.7);
    assert_eq!(items.len(), 2);
    assert_eq!((items[0].key.task.as_str(), items[0].key.method.as_str(), items[0].turns), ("q1", "reader", 3));
    assert_eq!(items[0].accepted, [["Hall of Lorn"]]);
    let turns: Vec<EvalTurn> =
        store::read_table(&folder.join("turns.parquet")).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(turns.len(), 4);
    let kinds: Vec<&str> = turns.iter().map(|turn| turn.kind.as_str()).collect();
    assert_eq!(kinds, ["read", "read", "answer", "answer"]);
    assert!(turns[0].prompt.contains("Where does the guild meet?"));
    let tokens: u64 = turns[..3].iter().map(|turn| turn.prompt_ids.len() as u64).sum();
    assert_eq!(tokens, items[0].prompt_tokens);
}
