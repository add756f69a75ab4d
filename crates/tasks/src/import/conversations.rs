//! Questions about long conversations: LoCoMo and LongMemEval.
//!
//! A conversation is one text of sessions, each a passage: its date is the title, and each line is what somebody says. What the
//! sets say of a question beside its answer (kind, evidence, who cannot be answered) stays with it under [`ASKED`].

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::fields::{first, id, others, question, text, texts};
use super::{Refused, Sink};
use crate::{ASKED, CATEGORY, ContextKind, ContextPassage, METRIC, Task, TaskError};

/// The category of questions that the conversation does not answer.
const ABSTENTION: &str = "abstention";
/// What is accepted for them: the first two are LoCoMo's, the others what LongMemEval's judge is told to look for.
const ABSTAINED: [&str; 7] = [
    "not mentioned",
    "no information available",
    "not enough information",
    "information is not",
    "did not mention",
    "does not say",
    "cannot be answered",
];

/// Whether a row is a conversation of LoCoMo.
pub(super) fn is_locomo(row: &Map<String, Value>) -> bool {
    row.get("qa").is_some_and(Value::is_array) && conversation(row).contains_key("session_1")
}

/// The sessions stand in a field of their own in `locomo10.json`, and beside the questions in the files of single conversations.
fn conversation(row: &Map<String, Value>) -> &Map<String, Value> {
    row.get("conversation").and_then(Value::as_object).unwrap_or(row)
}

/// LoCoMo's names of its categories (arXiv 2402.17753), by their numbers.
fn locomo_category(number: Option<u64>) -> &'static str {
    match number {
        Some(1) => "multi-hop",
        Some(2) => "temporal",
        Some(3) => "open-domain",
        Some(4) => "single-hop",
        Some(5) => ABSTENTION,
        _ => "other",
    }
}

/// A conversation of LoCoMo with all its questions; those that cannot be asked are refused one by one.
pub(super) fn locomo(
    row: &Map<String, Value>,
    source: &str,
    fallback: &str,
    sink: &mut Sink<'_>,
) -> Result<(), TaskError> {
    let sessions = conversation(row);
    let mut passages = Vec::new();
    // Only as they are written here: `session_01` would be looked for as `session_1`.
    let number = |key: &String| {
        let number: u32 = key.strip_prefix("session_")?.parse().ok()?;
        (*key == format!("session_{number}")).then_some(number)
    };
    let mut numbers: Vec<u32> = sessions.keys().filter_map(number).collect();
    numbers.sort_unstable();
    for number in numbers {
        let session = sessions.get(&format!("session_{number}")).unwrap_or(&Value::Null);
        let date = text(sessions, &[&format!("session_{number}_date_time")]).unwrap_or_default();
        let lines: Vec<String> = session.as_array().into_iter().flatten().filter_map(locomo_line).collect();
        passages.extend(session_of(date, &lines));
    }
    if passages.is_empty() {
        return sink(Err(Refused::new("no session", "")));
    }
    let (mut questions, mut asked) = (Vec::new(), Vec::new());
    for row in row.get("qa").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let category = locomo_category(row.get("category").and_then(Value::as_u64));
        let answers = match category {
            ABSTENTION => ABSTAINED.map(str::to_owned).to_vec(),
            // Of answers to open questions only what stands before a semicolon counts.
            "open-domain" => first(row, &["answer"])
                .map(texts)
                .unwrap_or_default()
                .iter()
                .map(|answer| before_semicolon(answer))
                .collect(),
            _ => first(row, &["answer"]).map(texts).unwrap_or_default(),
        };
        let metric = if category == ABSTENTION { "string_match_part" } else { "f1" };
        let mut said = others(row, &["question", "category", "answer"]);
        said.insert(CATEGORY.to_owned(), json!(category));
        said.insert(METRIC.to_owned(), json!(metric));
        match question(text(row, &["question"]), answers) {
            Ok(question) => {
                questions.push(question);
                asked.push(Value::Object(said));
            }
            Err(refused) => sink(Err(refused))?,
        }
    }
    if questions.is_empty() {
        return sink(Err(Refused::new("no question", "")));
    }
    let mut extra = Map::from_iter([(ASKED.to_owned(), Value::Array(asked))]);
    for name in ["speaker_a", "speaker_b"] {
        extra.extend(sessions.get(name).map(|speaker| (name.to_owned(), speaker.clone())));
    }
    sink(Ok(Task {
        id: text(row, &["sample_id"]).filter(|id| !id.trim().is_empty()).unwrap_or_else(|| fallback.to_owned()),
        source: source.to_owned(),
        questions,
        kind: ContextKind::Text,
        passages,
        gold: Vec::new(),
        length: 0,
        extra,
    }))
}

fn before_semicolon(answer: &str) -> String {
    answer.split(';').next().unwrap_or(answer).trim().to_owned()
}

/// A turn of LoCoMo: who says what, and what the picture shows that comes with it.
fn locomo_line(turn: &Value) -> Option<String> {
    let turn = turn.as_object()?;
    let (speaker, said) = (text(turn, &["speaker"])?, text(turn, &["text"]).unwrap_or_default());
    let picture = text(turn, &["blip_caption"]).map(|caption| format!(" [picture: {caption}]")).unwrap_or_default();
    Some(format!("{speaker}: {}{picture}", said.trim()))
}

fn session_of(date: String, lines: &[String]) -> Option<ContextPassage> {
    (!lines.is_empty()).then(|| ContextPassage { title: date.trim().to_owned(), text: lines.join("\n") })
}

/// A question of LongMemEval (arXiv 2410.10813) with its history, the sessions by their dates.
pub(super) fn longmemeval(row: &Map<String, Value>, source: &str, fallback: &str) -> Result<Task, Refused> {
    let list = |key: &str| row.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (sessions, dates, ids) = (list("haystack_sessions"), list("haystack_dates"), list("haystack_session_ids"));
    if dates.len() != sessions.len() || ids.len() != sessions.len() {
        let detail = format!("{} sessions, {} dates, {} ids", sessions.len(), dates.len(), ids.len());
        return Err(Refused::new("sessions and their dates do not match", detail));
    }
    let mut order: Vec<usize> = (0..sessions.len()).collect();
    // `2023/05/20 (Sat) 02:21`: as text they are in the order of time.
    order.sort_by_key(|&place| dates[place].as_str().unwrap_or_default());
    let answering: HashSet<String> = list("answer_session_ids").iter().map(Value::to_string).collect();
    let (mut passages, mut gold, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
    for place in order {
        let turns = || sessions[place].as_array().into_iter().flatten().filter_map(Value::as_object);
        let line = |turn: &Map<String, Value>| {
            Some(format!("{}: {}", text(turn, &["role"])?, text(turn, &["content"])?.trim()))
        };
        let lines: Vec<String> = turns().filter_map(line).collect();
        let Some(passage) = session_of(dates[place].as_str().unwrap_or_default().to_owned(), &lines) else { continue };
        let session = ids[place].as_str().unwrap_or_default();
        if answering.contains(&ids[place].to_string()) {
            gold.push(passages.len() as u32);
        }
        let answers = turns().zip(1..).filter(|(turn, _)| turn.get("has_answer") == Some(&Value::Bool(true)));
        evidence.extend(answers.map(|(_, number)| format!("{session}_{number}")));
        passages.push(passage);
    }
    if passages.is_empty() {
        return Err(Refused::new("no session", ""));
    }
    let name = text(row, &["question_id"]).unwrap_or_else(|| id(row, fallback));
    let answers = first(row, &["answer"]).map(texts).unwrap_or_default();
    let (mut said, kind) = (Map::new(), text(row, &["question_type"]).unwrap_or_else(|| source.to_owned()));
    let (category, metric, accepted) = if name.ends_with("_abs") {
        said.insert("explanation".to_owned(), json!(answers.first()));
        said.insert("question_type".to_owned(), json!(kind));
        (ABSTENTION.to_owned(), "string_match_part", ABSTAINED.map(str::to_owned).to_vec())
    } else {
        // A wish is answered by a rubric, of which some words may come; facts are named.
        let metric = if kind == "single-session-preference" { "f1" } else { "sub_em" };
        (kind, metric, answers)
    };
    said.insert(CATEGORY.to_owned(), json!(category));
    said.insert(METRIC.to_owned(), json!(metric));
    said.insert("evidence".to_owned(), json!(evidence));
    let asked = match (text(row, &["question"]), text(row, &["question_date"])) {
        (Some(asked), Some(date)) => Some(format!("{asked} (asked on {date})")),
        (asked, _) => asked,
    };
    let taken = [
        "question_id",
        "question",
        "question_date",
        "question_type",
        "answer",
        "haystack_sessions",
        "haystack_dates",
        "haystack_session_ids",
    ];
    let mut extra = others(row, &taken);
    extra.insert(ASKED.to_owned(), json!([said]));
    Ok(Task {
        id: name,
        source: source.to_owned(),
        questions: vec![question(asked, accepted)?],
        kind: ContextKind::Text,
        passages,
        gold,
        length: 0,
        extra,
    })
}
