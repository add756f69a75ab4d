//! Table `tasks`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use memtrain_corpora::store::columns::{Columns, list, list_of, numbers, required, string_items, strings, structs};
use memtrain_corpora::store::{Row, RowError};
use serde_json::Value;

use super::{ContextKind, ContextPassage, Question, Task, VERSION};

fn question_fields() -> Fields {
    Fields::from(vec![required("text", DataType::Utf8), required("answers", list_of(DataType::Utf8))])
}

fn passage_fields() -> Fields {
    Fields::from(vec![required("title", DataType::Utf8), required("text", DataType::Utf8)])
}

/// Rough size of a value in memory.
fn json_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(json_bytes).sum(),
            Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + json_bytes(value)).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

impl Row for Task {
    const TABLE: &'static str = "tasks";
    const VERSION: u32 = VERSION;
    const BLOCK_ROWS: usize = 4;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            required("id", DataType::Utf8),
            required("source", DataType::Utf8),
            required("questions", list_of(DataType::Struct(question_fields()))),
            required("kind", DataType::Utf8),
            required("passages", list_of(DataType::Struct(passage_fields()))),
            required("gold", list_of(DataType::UInt32)),
            required("length", DataType::UInt32),
            required("extra", DataType::Utf8),
        ]))
    }

    fn num_bytes(&self) -> usize {
        let answers = |question: &Question| question.answers.iter().map(String::len).sum::<usize>();
        let questions: usize = self.questions.iter().map(|question| question.text.len() + answers(question)).sum();
        let passages: usize = self.passages.iter().map(|passage| passage.title.len() + passage.text.len()).sum();
        let fields: usize = self.extra.iter().map(|(key, value)| key.len() + json_bytes(value)).sum();
        questions + passages + fields + self.id.len() + self.source.len() + 4 * self.gold.len() + 64
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        let questions = || rows.iter().flat_map(|task| &task.questions);
        let answers = strings(questions().flat_map(|question| &question.answers).map(String::as_str));
        let question_columns = vec![
            strings(questions().map(|question| question.text.as_str())),
            list(questions().map(|question| question.answers.len()), answers),
        ];
        let passages = || rows.iter().flat_map(|task| &task.passages);
        let passage_columns = vec![
            strings(passages().map(|passage| passage.title.as_str())),
            strings(passages().map(|passage| passage.text.as_str())),
        ];
        let gold = numbers::<UInt32Type>(rows.iter().flat_map(|task| task.gold.iter().copied()));
        let extra: Vec<String> =
            rows.iter().map(|task| serde_json::to_string(&task.extra).unwrap_or_else(|_| "{}".to_owned())).collect();
        let columns = vec![
            strings(rows.iter().map(|task| task.id.as_str())),
            strings(rows.iter().map(|task| task.source.as_str())),
            list(rows.iter().map(|task| task.questions.len()), structs(&question_fields(), question_columns)),
            strings(rows.iter().map(|task| task.kind.as_str())),
            list(rows.iter().map(|task| task.passages.len()), structs(&passage_fields(), passage_columns)),
            list(rows.iter().map(|task| task.gold.len()), gold),
            numbers::<UInt32Type>(rows.iter().map(|task| task.length)),
            strings(extra.iter().map(String::as_str)),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (id, source) = (columns.strings("id")?, columns.strings("source")?);
        let (kind, extra) = (columns.strings("kind")?, columns.strings("extra")?);
        let length = columns.numbers::<UInt32Type>("length")?;
        let (gold_ranges, gold) = columns.list_of_numbers::<UInt32Type>("gold")?;
        let (question_ranges, questions) = columns.list_of_structs("questions")?;
        let question_text = questions.strings("text")?;
        let (answer_ranges, answers) = questions.list_of_strings("answers")?;
        let (passage_ranges, passages) = columns.list_of_structs("passages")?;
        let (passage_title, passage_text) = (passages.strings("title")?, passages.strings("text")?);
        let question = |item: usize| Question {
            text: question_text.value(item).to_owned(),
            answers: string_items(answers, answer_ranges.of(item)),
        };
        let passage = |item: usize| ContextPassage {
            title: passage_title.value(item).to_owned(),
            text: passage_text.value(item).to_owned(),
        };
        let problem = |column: &'static str, row: usize, detail: String| RowError { column, row, detail };
        (0..batch.num_rows())
            .map(|row| {
                let name = kind.value(row);
                let kind = ContextKind::ALL.into_iter().find(|kind| kind.as_str() == name);
                Ok(Self {
                    id: id.value(row).to_owned(),
                    source: source.value(row).to_owned(),
                    questions: question_ranges.of(row).map(question).collect(),
                    kind: kind.ok_or_else(|| problem("kind", row, format!("unknown name `{name}`")))?,
                    passages: passage_ranges.of(row).map(passage).collect(),
                    gold: gold[gold_ranges.of(row)].to_vec(),
                    length: length[row],
                    extra: serde_json::from_str(extra.value(row))
                        .map_err(|error| problem("extra", row, error.to_string()))?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::store::{self, TableWriter};
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::{TaskError, TaskWriter, read};

    fn tasks() -> impl Strategy<Value = Vec<Task>> {
        let text = "[a-zé?{}\"\\\\\n ]{0,12}";
        let question = (text, prop::collection::vec(text, 1..4)).prop_map(|(text, answers)| Question {
            text: format!("q{text}"),
            answers: [answers, vec!["x".into()]].concat(),
        });
        let passage = (text, text).prop_map(|(title, text)| ContextPassage { title, text });
        let task = (prop::collection::vec(question, 1..4), prop::collection::vec(passage, 0..5), any::<u32>());
        prop::collection::vec(task, 0..9).prop_map(|rows| {
            rows.into_iter()
                .zip(0..)
                .map(|((questions, passages, length), row)| Task {
                    id: format!("id {row}"),
                    source: "set".into(),
                    questions,
                    kind: if passages.is_empty() { ContextKind::None } else { ContextKind::ALL[1 + row % 3] },
                    gold: (0..passages.len() as u32).step_by(2).collect(),
                    passages,
                    length,
                    extra: Map::from_iter([("tokens".to_owned(), json!([1, {"a": null}]))]),
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn tasks_come_back_from_both_forms(tasks in tasks()) {
            let folder = tempfile::tempdir().unwrap();
            for name in ["t.parquet", "t.jsonl"] {
                let path = folder.path().join(name);
                let mut writer = TaskWriter::create(&path).unwrap();
                for task in &tasks {
                    writer.push(task.clone()).unwrap();
                }
                prop_assert_eq!(writer.finish().unwrap(), tasks.len() as u64);
                let back: Vec<Task> = read(&path).unwrap().collect::<Result<_, _>>().unwrap();
                prop_assert_eq!(&back, &tasks);
            }
        }
    }

    #[test]
    fn what_is_no_task_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let good = r#"{"version":1,"id":"a","source":"s","questions":[{"text":"q","answers":["x"]}],"kind":"none"}"#;
        let cases = [
            (good.replace("\"version\":1", "\"version\":2"), "version 2"),
            (good.replace("\"version\":1,", ""), "no `version`"),
            (good.replace("[\"x\"]", "[\" \"]"), "no answer is accepted for `q`"),
            (good.replace("\"none\"", "\"text\""), "kind `text` with 0 passages"),
            (good.replace("\"kind\"", "\"knid\""), "knid"),
            ("{".to_owned(), "EOF"),
        ];
        for (line, complaint) in cases {
            store::write_atomic(&path, format!("{good}\n\n{line}\n")).unwrap();
            let error = read(&path).unwrap().find_map(Result::err).unwrap();
            assert!(matches!(error, TaskError::Line { line: 3, .. }), "{error}");
            assert!(error.to_string().contains(complaint), "{error}");
        }
        let path = folder.path().join("t.parquet");
        let redirect = memtrain_corpora::Redirect { id: 1, title: "a".into(), target: "b".into() };
        let mut writer = TableWriter::create(&path).unwrap();
        writer.push(redirect).unwrap();
        writer.finish().unwrap();
        let error = read(&path).err().unwrap();
        assert!(error.to_string().contains("table `redirects`"), "{error}");
    }
}
