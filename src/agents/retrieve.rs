//! Passages for queries: from an index in this process, or from a server.
//!
//! The protocol is the one of Search-R1 and MEM1: `POST /retrieve` with `queries`, `topk` and `return_scores`, answered with
//! `result`: for each query a list of `{"document": {"id", "contents", …}, "score"}`. `contents` is the title on a line of
//! its own and the text.

use std::time::Duration;

use memtrain_index::{Index, IndexError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A passage that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its id, as the source names it.
    pub id: String,
    /// Its title; may be empty.
    pub title: String,
    /// Its text.
    pub text: String,
    /// How well it fits: comparable within one answer only.
    pub score: f32,
}

/// Why there are no passages.
#[derive(Debug, thiserror::Error)]
pub enum RetrieveError {
    /// The index in this process.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The server cannot be asked.
    #[error("`{url}` does not answer after {attempts} attempts: {detail}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// How often.
        attempts: u32,
        /// What went wrong the last time.
        detail: String,
    },
    /// The server refuses.
    #[error("`{url}` answers with status {status}: {detail}")]
    Refused {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the server says.
        detail: String,
    },
    /// The answer is not what it should be.
    #[error("the answer of `{url}` is not understood: {detail}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong.
        detail: String,
    },
}

/// Finds passages.
pub trait Retriever: Send + Sync {
    /// The `k` best passages for each query, best first.
    ///
    /// # Errors
    /// If the index cannot be read or the server does not answer.
    fn retrieve(&self, queries: &[&str], k: usize) -> Result<Vec<Vec<Found>>, RetrieveError>;
}

impl Retriever for Index {
    fn retrieve(&self, queries: &[&str], k: usize) -> Result<Vec<Vec<Found>>, RetrieveError> {
        let mut all = Vec::with_capacity(queries.len());
        for hits in self.search_many(queries, k)? {
            let mut found = Vec::with_capacity(hits.len());
            for hit in hits {
                let (title, text) = self.text(hit.passage_id)?;
                found.push(Found { id: hit.passage_id.to_string(), title, text, score: hit.score });
            }
            all.push(found);
        }
        Ok(all)
    }
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetrieveRequest {
    /// The queries.
    pub queries: Vec<String>,
    /// Passages for each; the server's choice where it is not given.
    #[serde(default)]
    pub topk: Option<u64>,
    /// Whether each passage comes with its score.
    #[serde(default)]
    pub return_scores: Option<bool>,
}

/// Passages as they go over the wire.
pub fn answer(found: &[Vec<Found>], with_scores: bool) -> Value {
    let entry = |found: &Found| {
        let document = Map::from_iter([
            ("id".to_owned(), Value::from(found.id.as_str())),
            ("title".to_owned(), found.title.as_str().into()),
            ("text".to_owned(), found.text.as_str().into()),
            // Clients of the protocol cut the title off at the first line break and take it with its quotation marks.
            ("contents".to_owned(), format!("\"{}\"\n{}", found.title, found.text).into()),
        ]);
        if with_scores {
            let score = serde_json::Number::from_f64(f64::from(found.score)).map_or(Value::Null, Value::Number);
            Value::Object(Map::from_iter([("document".to_owned(), document.into()), ("score".to_owned(), score)]))
        } else {
            Value::Object(document)
        }
    };
    let result: Vec<Value> = found.iter().map(|found| found.iter().map(entry).collect()).collect();
    Value::Object(Map::from_iter([("result".to_owned(), result.into())]))
}

/// Passages of an answer, with or without scores.
fn parse(answer: &Value, num_queries: usize) -> Result<Vec<Vec<Found>>, String> {
    let lists = answer["result"].as_array().ok_or("it has no list `result`")?;
    if lists.len() != num_queries {
        return Err(format!("{} lists for {num_queries} queries", lists.len()));
    }
    let list = |list: &Value| -> Result<Vec<Found>, String> {
        list.as_array().ok_or("a result is no list")?.iter().map(passage).collect()
    };
    lists.iter().map(list).collect()
}

fn passage(entry: &Value) -> Result<Found, String> {
    let document = entry.get("document").unwrap_or(entry);
    let text = |key: &str| match &document[key] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let (title, words) = match (text("text"), text("contents")) {
        (Some(words), _) if document.get("title").is_some() => (String::new(), words),
        (_, Some(contents)) => match contents.split_once('\n') {
            Some((title, words)) => (title.trim().trim_matches('"').to_owned(), words.to_owned()),
            None => (String::new(), contents),
        },
        (Some(words), None) => (String::new(), words),
        (None, None) => return Err("a document has no `contents`".to_owned()),
    };
    let score = entry.get("score").and_then(Value::as_f64).unwrap_or(0.0) as f32;
    Ok(Found { id: text("id").unwrap_or_default(), title: text("title").unwrap_or(title), text: words, score })
}

/// A server of the protocol.
#[derive(Clone, Debug)]
pub struct HttpRetriever {
    agent: ureq::Agent,
    url: String,
    attempts: u32,
}

/// Bytes of an answer that are read at most.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// Queries of one request.
const QUERIES_PER_REQUEST: usize = 64;
/// Characters of a server's complaint that are repeated.
const COMPLAINT: usize = 300;

impl HttpRetriever {
    /// A server by its address, with or without `/retrieve` at its end.
    pub fn new(address: &str, timeout: Duration) -> Self {
        let address = address.trim_end_matches('/');
        let url = if address.ends_with("/retrieve") { address.to_owned() } else { format!("{address}/retrieve") };
        let config = ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false).build();
        Self { agent: config.into(), url, attempts: 5 }
    }

    /// One request. `Ok(Err(…))` is a failure that may pass by itself.
    fn ask(&self, queries: &[&str], k: usize) -> Result<Result<Vec<Vec<Found>>, String>, RetrieveError> {
        let body = RetrieveRequest {
            queries: queries.iter().map(|&query| query.to_owned()).collect(),
            topk: Some(k as u64),
            return_scores: Some(true),
        };
        let mut response = match self.agent.post(&self.url).send_json(&body) {
            Ok(response) => response,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let status = response.status().as_u16();
        let text = match response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string() {
            Ok(text) => text,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let complaint = || text.chars().take(COMPLAINT).collect::<String>();
        match status {
            200 => {
                let wrong = |detail: String| RetrieveError::Answer { url: self.url.clone(), detail };
                let value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
                Ok(Ok(parse(&value, queries.len()).map_err(wrong)?))
            }
            408 | 429 | 500..=599 => Ok(Err(format!("status {status}: {}", complaint()))),
            _ => Err(RetrieveError::Refused { url: self.url.clone(), status, detail: complaint() }),
        }
    }
}

impl Retriever for HttpRetriever {
    fn retrieve(&self, queries: &[&str], k: usize) -> Result<Vec<Vec<Found>>, RetrieveError> {
        let mut all = Vec::with_capacity(queries.len());
        for part in queries.chunks(QUERIES_PER_REQUEST) {
            let mut attempt = 1;
            let found = loop {
                match self.ask(part, k)? {
                    Ok(found) => break found,
                    Err(detail) if attempt == self.attempts => {
                        return Err(RetrieveError::Unreachable { url: self.url.clone(), attempts: attempt, detail });
                    }
                    Err(detail) => {
                        tracing::debug!("attempt {attempt} of `{}`: {detail}", self.url);
                        std::thread::sleep(Duration::from_millis(100 << attempt));
                        attempt += 1;
                    }
                }
            };
            all.extend(found);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(id: &str, title: &str, text: &str, score: f32) -> Found {
        Found { id: id.into(), title: title.into(), text: text.into(), score }
    }

    #[test]
    fn what_is_written_is_read() {
        let all = vec![vec![found("7", "Lorn \"river\"", "It\nflows.", 0.5), found("8", "", "x", -1.0)], vec![]];
        assert_eq!(parse(&answer(&all, true), 2).unwrap(), all);
        let without: Vec<f32> =
            parse(&answer(&all, false), 2).unwrap().concat().iter().map(|found| found.score).collect();
        assert_eq!(without, [0.0, 0.0]);
        assert_eq!(answer(&all, true)["result"][0][0]["document"]["contents"], "\"Lorn \"river\"\"\nIt\nflows.");
        assert!(parse(&answer(&all, true), 1).unwrap_err().contains("2 lists for 1 queries"));
    }

    #[test]
    fn answers_of_other_servers_are_read() {
        let other = json!({"result": [[{"document": {"id": 3, "contents": "\"A town\"\nIt lies."}, "score": 1.5}]]});
        assert_eq!(parse(&other, 1).unwrap(), [[found("3", "A town", "It lies.", 1.5)]]);
        let bare = json!({"result": [[{"contents": "no title"}]]});
        assert_eq!(parse(&bare, 1).unwrap(), [[found("", "", "no title", 0.0)]]);
        for wrong in [json!({}), json!({"result": [3]}), json!({"result": [[{"document": {}}]]})] {
            assert!(parse(&wrong, 1).is_err(), "{wrong}");
        }
    }
}
