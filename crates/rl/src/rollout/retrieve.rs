//! Passages for queries: from an index in this process, or from a server.
//!
//! The protocol is the one of Search-R1 and MEM1: `POST /retrieve` with `queries`, `topk` and `return_scores`, answered with
//! `result`: for each query a list of `{"document": {"id", "contents", …}, "score"}`. `contents` is the title on a line of
//! its own and the text.

use std::time::Duration;

use memtrain_engine::outbound::{self, OutboundError};
use memtrain_index::{Index, IndexError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A passage that was found.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Entry")]
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

/// The passages of one query as they go over the wire, an element of the list `result`.
pub fn list_answer(found: &[Found], with_scores: bool) -> Value {
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
    found.iter().map(entry).collect()
}

/// An answer, with or without scores.
#[derive(Deserialize)]
struct RetrieveReply {
    result: Vec<Vec<Found>>,
}

/// A passage on the wire: a document with its score, or what a document has by itself.
#[derive(Deserialize)]
struct Entry {
    document: Option<Document>,
    score: Option<f32>,
    id: Option<Id>,
    title: Option<String>,
    text: Option<String>,
    contents: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    id: Option<Id>,
    title: Option<String>,
    text: Option<String>,
    contents: Option<String>,
}

/// An id; some servers have numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Words(String),
    Number(serde_json::Number),
}

impl TryFrom<Entry> for Found {
    type Error = &'static str;

    fn try_from(entry: Entry) -> Result<Self, &'static str> {
        let Entry { document, score, id, title, text, contents } = entry;
        let Document { id, title, text, contents } = document.unwrap_or(Document { id, title, text, contents });
        let id = match id {
            Some(Id::Words(id)) => id,
            Some(Id::Number(id)) => id.to_string(),
            None => String::new(),
        };
        let (first_line, text) = match (text, contents) {
            (Some(text), _) if title.is_some() => (String::new(), text),
            (_, Some(contents)) => match contents.split_once('\n') {
                Some((first, rest)) => (first.trim().trim_matches('"').to_owned(), rest.to_owned()),
                None => (String::new(), contents),
            },
            (Some(text), None) => (String::new(), text),
            (None, None) => return Err("a document has no `contents`"),
        };
        Ok(Self { id, title: title.unwrap_or(first_line), text, score: score.unwrap_or(0.0) })
    }
}

/// A server of the protocol.
#[derive(Clone, Debug)]
pub struct HttpRetriever {
    agent: ureq::Agent,
    url: String,
    attempts: u32,
}

/// Bytes that a passage of an answer may have, twice (`text` and `contents`) and in JSON.
const PASSAGE_BYTES: u64 = 32 << 10;
/// Bytes of all passages of an answer.
const ANSWER_BYTES: u64 = 64 << 20;
/// Queries of one request.
const QUERIES_PER_REQUEST: usize = 64;

impl HttpRetriever {
    /// A server by its address, with or without `/retrieve` at its end.
    pub fn new(address: &str, timeout: Duration) -> Self {
        let address = address.trim_end_matches('/');
        let url = if address.ends_with("/retrieve") { address.to_owned() } else { format!("{address}/retrieve") };
        Self { agent: outbound::agent(timeout), url, attempts: 5 }
    }

    /// One request. `Ok(Err(…))` is a failure that may pass by itself.
    fn ask(&self, queries: &[&str], k: usize) -> Result<Result<Vec<Vec<Found>>, String>, RetrieveError> {
        let body = RetrieveRequest {
            queries: queries.iter().map(|&query| query.to_owned()).collect(),
            topk: Some(k as u64),
            return_scores: Some(true),
        };
        let wrong = |detail: String| RetrieveError::Answer { url: self.url.clone(), detail };
        let most = (64 << 10) + PASSAGE_BYTES.saturating_mul(queries.len() as u64 * k as u64).min(ANSWER_BYTES);
        let received = match outbound::receive(self.agent.post(&self.url).send_json(&body), most) {
            Ok(received) => received,
            Err(error @ OutboundError::TooLong { .. }) => return Err(wrong(error.to_string())),
            Err(OutboundError::Failed(detail)) => return Ok(Err(detail)),
        };
        match received.status {
            200 => {
                let RetrieveReply { result } = received.json().map_err(wrong)?;
                if result.len() != queries.len() {
                    return Err(wrong(format!("{} lists for {} queries", result.len(), queries.len())));
                }
                Ok(Ok(result))
            }
            status @ (408 | 429 | 500..=599) => Ok(Err(format!("status {status}: {}", received.complaint()))),
            status => Err(RetrieveError::Refused { url: self.url.clone(), status, detail: received.complaint() }),
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

    fn parse(result: &Value) -> Result<Vec<Vec<Found>>, String> {
        serde_json::from_str::<RetrieveReply>(&json!({ "result": result }).to_string())
            .map(|reply| reply.result)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let all = vec![vec![found("7", "Lorn \"river\"", "It\nflows.", 0.5), found("8", "", "x", -1.0)], vec![]];
        let written = |with_scores| -> Value { all.iter().map(|list| list_answer(list, with_scores)).collect() };
        assert_eq!(parse(&written(true)).unwrap(), all);
        let without: Vec<f32> = parse(&written(false)).unwrap().concat().iter().map(|found| found.score).collect();
        assert_eq!(without, [0.0, 0.0]);
        assert_eq!(written(true)[0][0]["document"]["contents"], "\"Lorn \"river\"\"\nIt\nflows.");
    }

    #[test]
    fn answers_of_other_servers_are_read() {
        let other = json!([[{"document": {"id": 3, "contents": "\"A town\"\nIt lies."}, "score": 1.5}]]);
        assert_eq!(parse(&other).unwrap(), [[found("3", "A town", "It lies.", 1.5)]]);
        assert_eq!(
            parse(&json!([[{"contents": "no title", "score": null}]])).unwrap(),
            [[found("", "", "no title", 0.0)]]
        );
        let both = json!([[{"text": "words", "contents": "\"A\"\nother words"}]]);
        assert_eq!(parse(&both).unwrap(), [[found("", "A", "other words", 0.0)]]);
        for wrong in [json!(null), json!([3]), json!([[{"document": {}}]]), json!([[{}]]), json!([[{"text": [1]}]])] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
    }
}
