use serde_json::json;

use super::fields::texts as texts_of;
use super::*;
use crate::{ContextKind, Question};

/// Imports a text; its tasks and the report.
fn imported(text: &str) -> (Vec<Task>, ImportReport) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.json");
    store::write_atomic(&path, text).unwrap();
    let mut tasks = Vec::new();
    let report = import(&path, &ImportConfig::default(), |task| {
        tasks.push(task);
        Ok(())
    });
    (tasks, report.unwrap())
}

fn only(value: Value) -> (Task, String) {
    let (mut tasks, report) = imported(&json!([value]).to_string());
    assert!(report.left_out.is_empty(), "{report:?}");
    assert_eq!(tasks.len(), 1);
    (tasks.swap_remove(0), report.format)
}

fn question(text: &str, answers: &[&str]) -> Question {
    Question { text: text.into(), answers: answers.iter().map(|&answer| answer.to_owned()).collect() }
}

fn texts(task: &Task) -> Vec<(&str, &str)> {
    task.passages.iter().map(|passage| (passage.title.as_str(), passage.text.as_str())).collect()
}

#[test]
fn hotpotqa_in_both_layouts_and_2wiki() {
    let original = json!({
        "_id": "5a", "question": "Who?", "answer": "yes", "type": "bridge", "level": "hard",
        "supporting_facts": [["B", 0], ["B", 1]],
        "context": [["A", ["One.", " Two."]], ["B", ["Three."]], ["empty", []]],
    });
    let (task, format) = only(original);
    assert_eq!(format, "hotpotqa");
    assert_eq!((task.id.as_str(), task.source.as_str(), task.kind), ("5a", "hotpotqa", ContextKind::Passages));
    assert_eq!(task.questions, [question("Who?", &["yes"])]);
    assert_eq!(texts(&task), [("A", "One. Two."), ("B", "Three.")]);
    assert_eq!(task.gold, [1]);
    assert_eq!(task.extra["level"], "hard");
    let columns = json!({
        "id": "5a", "question": "Who?", "answer": "yes",
        "supporting_facts": {"title": ["B"], "sent_id": [0]},
        "context": {"title": ["A", "B"], "sentences": [["One.", " Two."], ["Three."]]},
    });
    let (same, _) = only(columns);
    assert_eq!((same.passages, same.gold), (task.passages, task.gold));
    // Questions of one's own: nobody says which paragraphs answer.
    let own = json!({"id": "q1", "question": "Who?", "answers": ["yes"], "context": [["A", ["One."]], ["B", "Two."]]});
    let (task, format) = only(own);
    assert_eq!((format.as_str(), task.questions, task.gold.len()), ("hotpotqa", vec![question("Who?", &["yes"])], 0));
    assert_eq!(task.passages.len(), 2);
    let wiki = json!({
        "_id": "w", "question": "Who?", "answer": "Ann", "evidences": [["a", "b", "c"]], "answer_aliases": ["Anne", "Ann"],
        "supporting_facts": [["A", 0]], "context": [["A", ["One.", "Two."]]],
    });
    let (task, format) = only(wiki);
    assert_eq!((format.as_str(), task.passages[0].text.as_str()), ("2wiki", "One. Two."));
    assert_eq!(task.questions[0].answers, ["Ann", "Anne"]);
}

#[test]
fn musique_keeps_aliases_and_leaves_out_what_cannot_be_answered() {
    let row = |id: &str, answerable: bool| {
        json!({
            "id": id, "question": "Who?", "answer": "Hall", "answer_aliases": ["G. Hall", "Hall"], "answerable": answerable,
            "paragraphs": [
                {"idx": 0, "title": "A", "paragraph_text": "One.", "is_supporting": false},
                {"idx": 1, "title": "B", "paragraph_text": "Two.", "is_supporting": true},
            ],
            "question_decomposition": [{"id": 1}],
        })
    };
    let lines = format!("{}\n\n{}\n{}\n[1]\n{{\"broken\n", row("a", true), row("b", false), row("a", true));
    let (tasks, report) = imported(&lines);
    assert_eq!(report.format, "musique");
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].questions, [question("Who?", &["Hall", "G. Hall"])]);
    assert_eq!((tasks[0].gold.as_slice(), texts(&tasks[0])[1]), (&[1][..], ("B", "Two.")));
    assert_eq!((report.rows, report.tasks), (5, 1));
    let causes: Vec<(&str, u64)> = report.left_out.iter().map(|(cause, &count)| (cause.as_str(), count)).collect();
    assert_eq!(causes, [("an id that stood before", 1), ("no JSON object", 2), ("not answerable", 1)]);
    assert_eq!(report.examples[0], "line 3: not answerable: b");
    assert!(report.examples[2].starts_with("line 5: no JSON object: "), "{:?}", report.examples);
}

#[test]
fn squad_of_both_versions_and_as_a_table() {
    let articles = json!({"version": "v2.0", "data": [{"title": "Super_Bowl", "paragraphs": [{
        "context": "The Panthers won 308 times.",
        "qas": [
            {"id": "q1", "question": "How often?", "answers": [{"text": "308", "answer_start": 17}, {"text": "308 times", "answer_start": 17}, {"text": "308", "answer_start": 17}]},
            {"id": "q2", "question": "When?", "is_impossible": true, "answers": [], "plausible_answers": [{"text": "x"}]},
            {"id": "q3", "question": "Where?", "answers": [{"text": "Rome", "answer_start": 3}]},
        ],
    }]}]});
    let (tasks, report) = imported(&articles.to_string());
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].questions, [question("How often?", &["308", "308 times"])]);
    assert_eq!(
        (texts(&tasks[0])[0], tasks[0].gold.as_slice()),
        (("Super Bowl", "The Panthers won 308 times."), &[0][..])
    );
    assert_eq!(report.left_out["not answerable"], 1);
    assert_eq!(report.left_out["an answer that is not in the paragraph"], 1);
    let row = json!({"id": "q", "title": "T", "context": "In 1901.", "question": "When?", "answers": {"text": ["1901"], "answer_start": [3]}});
    let (task, format) = only(row);
    assert_eq!((format.as_str(), task.id.as_str(), task.passages[0].title.as_str()), ("squad", "q", "T"));
}

#[test]
fn open_questions_under_every_name_and_with_several_objectives() {
    let forms = [
        json!({"question": "who?", "answer": ["Ann", "Anne"]}),
        json!({"id": "x", "question": "who?", "golden_answers": ["Ann", "Anne"]}),
        json!({"question": "who?", "possible_answers": "[\"Ann\", \"Anne\"]"}),
        json!({"Question": "who?", "Answer": {"Value": "Ann", "Aliases": ["Anne", "Ann"]}}),
        json!({"question": "who?", "golden_answers": [["Ann", "Anne"]]}),
        json!({"question": "who?", "target": "['Ann', 'Anne']"}),
    ];
    for form in forms {
        let (task, format) = only(form.clone());
        assert_eq!(format, "open", "{form}");
        assert_eq!(task.questions, [question("who?", &["Ann", "Anne"])], "{form}");
        assert_eq!(task.kind, ContextKind::None);
    }
    let two = [question("who?", &["Ann", "Anne"]), question("when?", &["1901"])];
    let (task, _) = only(json!({"question": "who?; when?", "golden_answers": [["Ann", "Anne"], ["1901"]]}));
    assert_eq!(task.questions, two);
    let (task, _) = only(json!({"question": "who?; when?", "golden_answers": ["Ann; 1901", "Anne; 1901"]}));
    assert_eq!(task.questions, two);
    let (task, _) = only(json!({"question": "who wrote a; b?", "golden_answers": ["Ann"]}));
    assert_eq!(task.questions, [question("who wrote a; b?", &["Ann"])]);
    let (tasks, report) = imported(
        r#"[{"question": "who?; when?", "golden_answers": [["a"], ["b"], ["c"]]}, {"question": "?", "answer": []}]"#,
    );
    assert!(tasks.is_empty());
    assert_eq!(report.left_out.values().sum::<u64>(), 2, "{report:?}");
}

#[test]
fn long_contexts_of_ruler_memagent_and_verl() {
    let ruler = json!({"index": 4, "input": "Some documents.\n\nDocument 1:\nAnn lives.\n\nAnswer the question.\n\nQuestion: Who lives? Answer:", "outputs": ["Ann"], "length": 99});
    let (task, format) = only(ruler);
    assert_eq!((format.as_str(), task.id.as_str(), task.kind), ("ruler", "ruler-4", ContextKind::Text));
    assert_eq!(task.questions, [question("Who lives?", &["Ann"])]);
    assert!(task.context().ends_with("Answer the question.") && task.context().starts_with("Some documents."));
    let memagent =
        json!({"index": 0, "input": "Who?", "context": "Document 1:\nAnn.", "answers": ["Ann"], "num_docs": 50});
    let (task, format) = only(memagent);
    assert_eq!((format.as_str(), task.length, task.context().as_str()), ("ruler", 50, "Document 1:\nAnn."));
    let verl = json!({
        "data_source": "hotpotqa", "prompt": [{"role": "user", "content": "Who?"}], "context": "Ann.", "ability": "memory",
        "reward_model": {"style": "rule", "ground_truth": ["Ann"]}, "extra_info": {"index": 7, "num_docs": 200},
    });
    let (task, format) = only(verl);
    assert_eq!((format.as_str(), task.source.as_str(), task.length), ("verl", "hotpotqa", 200));
    assert_eq!(task.questions, [question("Who?", &["Ann"])]);
    let searching = json!({
        "data_source": "nq", "prompt": "[{'role': 'user', 'content': 'Who?'}]",
        "reward_model": {"style": "rule", "ground_truth": {"target": ["Ann"]}},
    });
    assert_eq!(only(searching).0.kind, ContextKind::None);
}

#[test]
fn an_index_that_begins_anew_gives_other_ids() {
    let row = |source: Option<&str>, split: Option<&str>, index: u64, asked: &str| {
        json!({
            "data_source": source, "prompt": [{"role": "user", "content": asked}],
            "reward_model": {"style": "rule", "ground_truth": ["Ann"]}, "extra_info": {"index": index, "split": split},
        })
    };
    let rows = [
        row(Some("hotpot"), Some("train"), 0, "Who?"),
        row(Some("musique"), Some("train"), 0, "When?"),
        row(Some("musique"), Some("test"), 0, "Where?"),
        row(None, None, 0, "Why?"),
        row(None, None, 0, "How?"),
        row(None, None, 0, "How?"),
        row(None, None, 0, "Why?"),
    ];
    let (tasks, report) = imported(&json!(rows).to_string());
    let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(
        ids,
        ["hotpot-train-0", "musique-train-0", "musique-test-0", "verl-0", "verl-0-000004", "verl-0-000005"]
    );
    assert_eq!(report.left_out["an id that stood before"], 1, "the same question, and its answer, once more");
    let rows =
        ["Who?", "When?"].map(|asked| json!({"index": 0, "context": "Ann.", "input": asked, "answers": ["Ann"]}));
    let (tasks, _) = imported(&json!(rows).to_string());
    assert_eq!(tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["ruler-0", "ruler-0-000001"]);
}

#[test]
fn triviaqa_as_it_was_published_and_as_tables_have_it() {
    let answer = json!({
        "Aliases": ["Velmora", "The Valley", "[Valley]"], "MatchedWikiEntityName": "", "NormalizedAliases": ["velmora"],
        "NormalizedValue": "velmora", "Type": "WikipediaEntity", "Value": "Velmora",
    });
    let entry = |id: &str, answer: Option<&Value>| {
        let pages = json!([{"DocSource": "TagMe", "Filename": "Velmora.txt", "Title": "Velmora"}]);
        let mut entry =
            json!({"Question": "Where is Lorn?", "QuestionId": id, "EntityPages": pages, "QuestionSource": "x"});
        if let Some(answer) = answer {
            entry["Answer"] = answer.clone();
        }
        entry
    };
    let set = json!({
        "Data": [entry("tc_1", Some(&answer)), entry("tc_2", None), 7], "Domain": "Wikipedia", "Split": "dev",
        "VerifiedEval": false, "Version": 1.0,
    });
    let (tasks, report) = imported(&serde_json::to_string_pretty(&set).unwrap());
    assert_eq!((report.format.as_str(), report.rows, tasks.len()), ("open", 3, 1));
    assert_eq!((report.left_out["no accepted answer"], report.left_out["no JSON object"]), (1, 1));
    assert_eq!(tasks[0].id, "tc_1");
    assert_eq!(tasks[0].questions, [question("Where is Lorn?", &["Velmora", "The Valley", "[Valley]"])]);
    // Without answers, as the test sets are.
    let (tasks, report) = imported(&json!({"Data": [entry("tc_3", None)], "Version": 1.0}).to_string());
    assert_eq!((tasks.len(), report.left_out["no accepted answer"]), (0, 1));
    let row = json!({
        "question": "Where is Lorn?", "question_id": "tc_1", "entity_pages": {"title": []},
        "answer": {"aliases": ["The Valley", "Velmora"], "normalized_aliases": ["velmora"], "value": "Velmora", "type": "x"},
    });
    let (task, _) = only(row);
    assert_eq!(task.questions, [question("Where is Lorn?", &["Velmora", "The Valley"])]);
}

#[test]
fn kilt_has_its_answers_among_its_outputs() {
    let row = json!({
        "id": "t1", "input": "Where is Lorn?", "meta": {},
        "output": [
            {"answer": "Velmora", "provenance": [{"wikipedia_id": "1", "title": "Lorn", "start_paragraph_id": 1}]},
            {"answer": "The Valley"}, {"answer": "Velmora"}, {"provenance": [{"wikipedia_id": "2", "title": "Velm"}]},
        ],
    });
    let (task, format) = only(row);
    assert_eq!((format.as_str(), task.id.as_str(), task.kind), ("kilt", "t1", ContextKind::None));
    assert_eq!(task.questions, [question("Where is Lorn?", &["Velmora", "The Valley"])]);
    assert_eq!(task.extra["output"][3]["provenance"][0]["title"], "Velm");
    let (tasks, report) = imported("{\"id\": 1, \"input\": \"Who?\", \"output\": [{\"provenance\": []}]}");
    assert_eq!((tasks.len(), report.left_out["no accepted answer"]), (0, 1));
}

#[test]
fn answers_that_look_like_lists_are_answers() {
    let answers = |answer: Value| only(json!({"question": "What?", "answer": answer})).0.questions[0].answers.clone();
    for text in [
        "[0, 1]",
        "[1]",
        "['tis the end]",
        "[Lorn, Velm]",
        "[[0, 1], [2, 3]]",
        "[None]",
        "[true]",
        "[\"a\", 1]",
        "[",
        "[]a",
    ] {
        assert_eq!(answers(json!(text)), [text]);
        assert_eq!(answers(json!([text, "b"])), [text, "b"]);
    }
    for text in ["['a', 'b']", "[\"a\", \"b\"]", "[['a'], [\"b\"]]"] {
        assert_eq!(texts_of(&json!(text)), ["a", "b"], "{text}");
    }
    assert_eq!(answers(json!(1901)), ["1901"]);
}

#[test]
fn ids_of_tables_with_gaps_are_whole_numbers() {
    let rows =
        json!([{"id": 12.0, "question": "Who?", "answer": "Ann"}, {"id": 0.5, "question": "When?", "answer": 3.0}]);
    let (tasks, _) = imported(&rows.to_string());
    assert_eq!((tasks[0].id.as_str(), tasks[1].id.as_str()), ("12", "0.5"));
}

#[test]
fn sets_in_other_encodings_are_read_or_named() {
    let rows = "{\"question\": \"Who?\", \"answer\": \"Ann\"}\n{\"question\": \"When?\", \"answer\": \"1901\", \"score\": NaN}\n";
    let wide: Vec<u8> = "\u{feff}".encode_utf16().chain(rows.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set");
    for bytes in [format!("\u{feff}{rows}").into_bytes(), wide] {
        store::write_atomic(&path, bytes).unwrap();
        let mut answers = Vec::new();
        let report = import(&path, &ImportConfig::default(), |task| {
            answers.extend(task.questions[0].answers.clone());
            Ok(())
        });
        assert!(report.unwrap().left_out.is_empty());
        assert_eq!(answers, ["Ann", "1901"]);
    }
    store::write_atomic(&path, b"{\"question\": \"K\xf6ln?\"}").unwrap();
    let error = import(&path, &ImportConfig::default(), |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("not UTF-8") && error.hint().unwrap().contains("iconv"), "{error}");
}

#[test]
fn memalpha_as_lists_and_as_text() {
    let asked = json!([{"question": "Who?", "answer": "Ann"}, {"question": "When?", "answer": ["1901", "in 1901"]}]);
    let forms = [
        json!({"instance_id": "m", "chunks": ["One.", "Two."], "questions_and_answers": asked, "data_source": "lme"}),
        json!({"instance_id": "m", "chunks": "['One.', 'Two.']", "questions_and_answers": asked.to_string(), "data_source": "lme"}),
        json!({"instance_id": "m", "chunks": [{"text": "One."}, {"content": "Two."}], "questions": asked, "data_source": "lme"}),
    ];
    for form in forms {
        let (task, format) = only(form.clone());
        assert_eq!((format.as_str(), task.id.as_str(), task.source.as_str()), ("memalpha", "m", "lme"));
        assert_eq!(task.kind, ContextKind::Chunks);
        assert_eq!(texts(&task), [("", "One."), ("", "Two.")]);
        assert_eq!(task.questions, [question("Who?", &["Ann"]), question("When?", &["1901", "in 1901"])]);
    }
    let (tasks, report) = imported(r#"{"chunks": ["a", ""], "questions_and_answers": []}"#);
    assert!(tasks.is_empty() && report.left_out.contains_key("a chunk without text"));
}

#[test]
fn parquet_tables_are_read_like_json() {
    use memtrain_corpora::store::TableWriter;

    use crate::verl::VerlRow;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    let row = VerlRow {
        data_source: "set".into(),
        question: "Who?".into(),
        context: "Ann.".into(),
        ground_truth: vec!["Ann".into()],
        index: 3,
        task_id: "t".into(),
        num_docs: 1,
    };
    let mut writer = TableWriter::create(&path).unwrap();
    writer.push(row).unwrap();
    writer.finish().unwrap();
    let mut tasks = Vec::new();
    let report = import(&path, &ImportConfig::default(), |task| {
        tasks.push(task);
        Ok(())
    });
    assert_eq!(report.unwrap().format, "verl");
    assert_eq!(
        (tasks[0].questions.as_slice(), tasks[0].context().as_str()),
        (&[question("Who?", &["Ann"])][..], "Ann.")
    );
}

#[test]
fn what_nobody_knows_is_told_with_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.json");
    let failed = |text: &str| {
        store::write_atomic(&path, text).unwrap();
        import(&path, &ImportConfig::default(), |_| Ok(())).unwrap_err().to_string()
    };
    assert!(failed(r#"[{"alpha": 1, "beta": 2}]"#).contains("the keys `alpha`, `beta`"));
    assert!(failed(r#"[{"question": "q", "answer": "a"}, {"quest"#).contains("the JSON array breaks off"));
    assert!(import(&folder.path().join("none"), &ImportConfig::default(), |_| Ok(())).is_err());
    let named = ImportConfig { format: Some(Format::Musique), source: Some("mine".into()), ..ImportConfig::default() };
    store::write_atomic(&path, r#"[{"question": "q", "answer": "a"}]"#).unwrap();
    let report = import(&path, &named, |_| Ok(())).unwrap();
    assert_eq!((report.tasks, report.left_out["no context"]), (0, 1));
}

#[test]
fn a_task_table_comes_back_as_it_is() {
    let (tasks, _) = imported(r#"[{"question": "who?", "answer": "Ann"}]"#);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    let mut writer = crate::TaskWriter::create(&path).unwrap();
    writer.push(tasks[0].clone()).unwrap();
    writer.finish().unwrap();
    let (back, report) = crate::load(&path, None).unwrap();
    assert_eq!((back, report.unwrap().format.as_str()), (tasks, "memtrain"));
}

mod anything {
    use proptest::prelude::*;

    use super::*;

    /// Keys that formats look for, and one that none does.
    const KEYS: [&str; 24] = [
        "_id",
        "id",
        "question",
        "answer",
        "answers",
        "golden_answers",
        "context",
        "supporting_facts",
        "paragraphs",
        "data",
        "qas",
        "title",
        "text",
        "paragraph_text",
        "sentences",
        "chunks",
        "questions_and_answers",
        "input",
        "outputs",
        "prompt",
        "reward_model",
        "ground_truth",
        "is_impossible",
        "other",
    ];

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z;?é\\\\'\"\\[\\]{} \n]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((prop::sample::select(&KEYS[..]), inner), 0..6)
                    .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn never_panics_and_gold_places_are_places(value in value(), format in prop::sample::select(&Format::ALL[..])) {
            let Value::Object(row) = value else { return Ok(()) };
            let mut tasks = Vec::new();
            convert(format, row, "source", &Place::Row(1), &mut |task| {
                tasks.extend(task);
                Ok(())
            })?;
            for task in tasks {
                prop_assert!(task.gold.iter().all(|&place| (place as usize) < task.passages.len()));
                let _ = task.context();
            }
        }
    }
}

#[test]
fn locomo_is_a_text_of_sessions_with_all_questions() {
    let sessions = json!({
        "speaker_a": "Ada", "speaker_b": "Ben",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            {"speaker": "Ada", "dia_id": "D1:1", "text": "I saw a heron."},
            {"speaker": "Ben", "dia_id": "D1:2", "text": "Nice!", "img_url": ["x"], "blip_caption": "a grey bird"},
        ],
        "session_2_date_time": "9:00 am on 9 May, 2023",
        "session_2": [{"speaker": "Ada", "dia_id": "D2:1", "text": "It left."}],
        "session_3_date_time": "never",
        // No names of sessions.
        "session_01": [{"speaker": "Eve", "text": "No."}], "session_+2": [], "session_2_summary": "x",
    });
    let qa = json!([
        {"question": "When?", "answer": 2023, "evidence": ["D1:1"], "category": 2},
        {"question": "Would Ada?", "answer": "Yes; she likes birds", "evidence": [], "category": 3},
        {"question": "Who owns it?", "adversarial_answer": "Ben", "answer": "Ben", "evidence": ["D1:2"], "category": 5},
    ]);
    let row = json!({"sample_id": "conv-1", "conversation": sessions, "qa": qa, "session_summary": {"session_1_summary": "x"}});
    let (task, format) = only(row);
    assert_eq!((format.as_str(), task.id.as_str(), task.kind), ("locomo", "conv-1", ContextKind::Text));
    let lines = "Ada: I saw a heron.\nBen: Nice! [picture: a grey bird]";
    assert_eq!(texts(&task), [("1:56 pm on 8 May, 2023", lines), ("9:00 am on 9 May, 2023", "Ada: It left.")]);
    assert!(task.context().starts_with("1:56 pm on 8 May, 2023\nAda: I saw"));
    assert_eq!(task.questions[..2], [question("When?", &["2023"]), question("Would Ada?", &["Yes"])]);
    assert_eq!(task.questions[2].answers[0], "not mentioned");
    assert!(!task.questions[2].answers.contains(&"Ben".to_owned()));
    let categories = [0, 1, 2].map(|question| task.category(question));
    assert_eq!(categories, ["temporal", "open-domain", "abstention"]);
    let metrics = [0, 1, 2].map(|question| task.metric(question).unwrap());
    assert_eq!(metrics, ["f1", "f1", "string_match_part"]);
    assert_eq!(task.extra["asked"][0]["evidence"], json!(["D1:1"]));
    assert_eq!(task.extra["asked"][2]["adversarial_answer"], "Ben");
    assert_eq!((&task.extra["speaker_b"], task.extra.get("session_summary")), (&json!("Ben"), None));
    // Files of one conversation have its fields beside the questions.
    let mut flat = sessions.as_object().unwrap().clone();
    flat.insert("qa".to_owned(), qa);
    let (same, report) = imported(&Value::Object(flat.clone()).to_string());
    assert_eq!((report.format.as_str(), &same[0].passages), ("locomo", &task.passages));
    // A question without an answer goes by itself, and what is said of the others stays with them.
    let unanswered = json!([{"question": "Why?", "evidence": ["D1:2"], "category": 4}, flat["qa"][1], {"category": 1}]);
    flat.insert("qa".to_owned(), unanswered);
    let (kept, report) = imported(&Value::Object(flat.clone()).to_string());
    assert_eq!(
        (kept.len(), &kept[0].questions, kept[0].category(0)),
        (1, &vec![question("Would Ada?", &["Yes"])], "open-domain")
    );
    assert_eq!((report.questions, report.left_out["no accepted answer"], report.left_out["no question"]), (1, 1, 1));
    flat.insert("qa".to_owned(), json!([{"question": "Why?", "category": 4}]));
    let (kept, report) = imported(&Value::Object(flat).to_string());
    assert_eq!((kept.len(), report.left_out["no accepted answer"], report.left_out["no question"]), (0, 1, 1));
}

#[test]
fn longmemeval_is_a_history_in_the_order_of_time() {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let row = |id: &str, kind: &str| {
        json!({
            "question_id": id, "question_type": kind, "question": "Where?", "question_date": "2023/06/01 (Thu) 10:00",
            "answer": "At the mill", "answer_session_ids": ["answer_1"],
            "haystack_session_ids": ["answer_1", "other"],
            "haystack_dates": ["2023/05/30 (Tue) 23:40", "2023/05/20 (Sat) 02:21"],
            "haystack_sessions": [
                [{"role": "user", "content": "I met her at the mill.", "has_answer": true}, turn("assistant", "Fine. ")],
                [turn("user", "Hello.")],
            ],
        })
    };
    let (task, format) = only(row("q1", "single-session-user"));
    assert_eq!((format.as_str(), task.id.as_str(), task.kind), ("longmemeval", "q1", ContextKind::Text));
    let later = "user: I met her at the mill.\nassistant: Fine.";
    assert_eq!(texts(&task), [("2023/05/20 (Sat) 02:21", "user: Hello."), ("2023/05/30 (Tue) 23:40", later)]);
    assert_eq!(task.questions, [question("Where? (asked on 2023/06/01 (Thu) 10:00)", &["At the mill"])]);
    assert_eq!(
        (task.gold.as_slice(), task.category(0), task.metric(0)),
        (&[1][..], "single-session-user", Some("sub_em"))
    );
    assert_eq!(task.extra["asked"][0]["evidence"], json!(["answer_1_1"]));
    let (without, _) = only(row("q1_abs", "multi-session"));
    assert_eq!((without.category(0), without.metric(0)), ("abstention", Some("string_match_part")));
    assert_eq!(without.extra["asked"][0]["explanation"], "At the mill");
    assert!(without.questions[0].answers.contains(&"not enough information".to_owned()));
    let mut broken = row("q2", "multi-session");
    broken["haystack_dates"] = json!([]);
    let (tasks, report) = imported(&json!([broken]).to_string());
    assert_eq!((tasks.len(), report.left_out["sessions and their dates do not match"]), (0, 1));
}

#[test]
fn a_metric_can_be_said_at_import() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.jsonl");
    store::write_atomic(&path, r#"{"index": 0, "input": "The text.\nWhich?", "outputs": ["a", "b"]}"#).unwrap();
    let config = ImportConfig { metric: Some("string_match_all".to_owned()), ..ImportConfig::default() };
    let mut found = Vec::new();
    import(&path, &config, |task| {
        found.push(task);
        Ok(())
    })
    .unwrap();
    assert_eq!((found[0].metric(0), found[0].category(0)), (Some("string_match_all"), "ruler"));
}
