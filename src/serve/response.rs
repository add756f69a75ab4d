//! A response: status and JSON.

use serde_json::{Value, json};

/// A response: status and JSON.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Response {
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self { status, body: value.to_string() }
    }

    pub(super) fn error(status: u16, error: &str) -> Self {
        Self::json(status, &json!({ "error": error }))
    }
}
