//! `memtrain corpus export`: documents leave as rows for other trainers and come back.

mod small_world;

use std::path::Path;
use std::process::{Command, Output};

use memtrain::tasks::documents::{ChatRow, DocumentRow};
use memtrain::train::documents::DocumentSet;
use memtrain_corpora::store::{self, json_rows, read_table};
use memtrain_corpora::{Document, PassageRole, Split};
use serde_json::Value;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap()
}

#[track_caller]
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = memtrain(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn documents_leave_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    let not_there = memtrain(path, &["corpus", "export", "corpus", "--out", "none.parquet"]);
    assert_eq!(not_there.status.code(), Some(1));
    assert!(!store::exists(&path.join("none.parquet")));
    done(path, &["corpus", "build", "small.toml"]);
    let documents = |split| memtrain_pipeline::documents::documents(&path.join("corpus"), split).unwrap();
    let documents = |split| documents(split).collect::<Result<Vec<_>, _>>().unwrap();
    let (train, heldout) = (documents(Split::Train), documents(Split::Heldout));
    assert_eq!(
        done(path, &["corpus", "export", "corpus", "--out", "out/train.parquet"]),
        "6 rows  out/train.parquet\n"
    );
    let rows: Vec<DocumentRow> =
        read_table(&path.join("out/train.parquet")).unwrap().collect::<Result<_, _>>().unwrap();
    for (index, (row, document)) in rows.iter().zip(&train).enumerate() {
        assert_eq!((&row.context, &row.reward_model.ground_truth), (&document.text, &vec![document.answer.clone()]));
        assert_eq!((row.extra_info.index, row.data_source.as_str()), (index as i64, "hotpotqa"));
        let pivot = document.passages.iter().find(|passage| passage.role == PassageRole::Pivot).unwrap();
        assert_eq!(row.extra_info.anchor_idx, pivot.passage_id as i64);
        let ids: Vec<i64> = document.passages.iter().map(|passage| passage.passage_id as i64).collect();
        assert_eq!((row.extra_info.num_docs as usize, &row.extra_info.retrieved_indices), (ids.len(), &ids));
        assert!(row.prompt[0].content.contains("[MASK]"));
    }
    // The same as lines, which come out the same again.
    let lines = ["corpus", "export", "corpus", "--format", "jsonl", "--split", "heldout", "--out", "heldout.jsonl"];
    done(path, &lines);
    done(path, &lines);
    let text = store::read_to_string(&path.join("heldout.jsonl")).unwrap();
    assert_eq!(text.lines().count(), heldout.len());
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["context"], heldout[0].text);
    let misnamed = memtrain(path, &["corpus", "export", "corpus", "--format", "hf-chat", "--out", "chat.jsonl"]);
    let told = String::from_utf8_lossy(&misnamed.stderr);
    assert!(misnamed.status.code() == Some(2) && told.contains("writes Parquet, and the name `chat.jsonl`"), "{told}");
    // Rows of the same form may be those of the released set.
    let released = text.replace("\"index\":0", "\"index\":7");
    assert_ne!(released, text);
    store::write_atomic(&path.join("heldout.jsonl"), &released).unwrap();
    assert_eq!(memtrain(path, &lines).status.code(), Some(1));
    assert_eq!(store::read_to_string(&path.join("heldout.jsonl")).unwrap(), released);
    store::write_atomic(&path.join("heldout.jsonl"), &text).unwrap();
    let over = memtrain(path, &["corpus", "export", "corpus", "--out", "small.toml"]);
    assert_eq!(over.status.code(), Some(1), "a file of somebody else stays");
    // Conversations.
    done(path, &["corpus", "export", "corpus", "--format", "hf-chat", "--out", "chat.parquet", "--limit", "2"]);
    let chat: Vec<ChatRow> = read_table(&path.join("chat.parquet")).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(chat.len(), 2);
    assert!(chat[0].user.contains(&train[0].text));
    assert_eq!(chat[0].assistant, format!("\\boxed{{{}}}", train[0].answer));
    assert_eq!(json_rows(&path.join("chat.parquet")).unwrap().count(), 2);
    // Here they are tasks with one question each: the context, what is asked, and the accepted answer.
    for (file, count) in [("out/train.parquet", train.len()), ("heldout.jsonl", heldout.len())] {
        let told = done(path, &["tasks", "import", file, "--out", "tasks.parquet", "--json"]);
        let report: Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&report["format"], &report["tasks"]), (&Value::from("verl"), &Value::from(count)), "{told}");
        let task = memtrain::tasks::read(&path.join("tasks.parquet")).unwrap().next().unwrap().unwrap();
        let document = if file.ends_with("jsonl") { &heldout[0] } else { &train[0] };
        assert_eq!(
            (task.context(), &task.questions[0].answers),
            (document.text.clone(), &vec![document.answer.clone()])
        );
    }
}

#[test]
fn memtrain_trains_on_rows_of_another_trainer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, RUN);
    done(path, &["corpus", "build", "small.toml"]);
    done(path, &["corpus", "export", "corpus", "--out", "train.parquet"]);
    let heldout = ["corpus", "export", "corpus", "--format", "jsonl", "--split", "heldout", "--out", "heldout.jsonl"];
    done(path, &heldout);
    let own = memtrain_pipeline::documents::documents(&path.join("corpus"), Split::Train).unwrap();
    let own: Vec<Document> = own.collect::<Result<_, _>>().unwrap();
    let set = DocumentSet::of_tasks(&path.join("train.parquet"), Split::Train).unwrap();
    assert_eq!(set.len(), own.len());
    for (number, own) in own.iter().enumerate() {
        let document = set.get(number).unwrap();
        assert_eq!((&document.text, &document.answer, document.num_masks), (&own.text, &own.answer, own.num_masks));
        assert!(!document.entities.is_empty(), "there is something to ask for");
        assert!(document.entities.iter().all(|entity| document.text[entity.span.clone()] == entity.surface));
    }
    assert!(set.get(own.len()).is_err());
    // A row in which nothing is hidden, as some of the released data are, is left out.
    let mut lines = store::read_to_string(&path.join("heldout.jsonl")).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let mut bare = first;
    bare["context"] = Value::from("Nothing is hidden.");
    let count = lines.lines().count();
    lines.push_str(&format!("{bare}\n"));
    store::write_atomic(&path.join("more.jsonl"), lines).unwrap();
    assert_eq!(DocumentSet::of_tasks(&path.join("more.jsonl"), Split::Heldout).unwrap().len(), count);
    store::write_atomic(&path.join("bare.jsonl"), format!("{bare}\n")).unwrap();
    assert!(DocumentSet::of_tasks(&path.join("bare.jsonl"), Split::Heldout).is_err());
    // From the rows alone, without the corpus.
    store::remove_dir_all(&path.join("corpus/synthesize")).unwrap();
    let tasks =
        ["--set", "run.name=rows", "--set", "tasks.train=train.parquet", "--set", "tasks.heldout=heldout.jsonl"];
    done(path, &[&["train", "--config", "small.toml"][..], &tasks].concat());
    let metrics = store::read_to_string(&path.join("runs/rows/metrics.jsonl")).unwrap();
    let metrics: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    assert_eq!(
        (metrics["rollout/documents"].as_f64(), metrics["rollout/trajectories"].as_f64()),
        (Some(2.0), Some(4.0))
    );
    assert!(metrics["reward/recall/mean"].is_number(), "recall was asked: {metrics}");
    let evaluated = store::read_to_string(&path.join("runs/rows/evaluations.jsonl")).unwrap();
    assert!(evaluated.lines().count() > 0);
}

const RUN: &str = r#"
    [reader]
    prompts = "compact"
    chunk_tokens = 48
    memory_tokens = 16
    answer_tokens = 8
    context_tokens = 256
    [objective]
    group_size = 2
    recall_samples = 2
    [train]
    steps = 1
    documents_per_step = 2
    evaluate_every = 1
    [eval]
    documents = 1
    recall_questions = 1
"#;
