//! Wire format of servers' answers, as far as it is read. Unknown keys are passed over, so that an answer takes about as
//! much memory as it has bytes.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// Ids and log-probabilities of a response.
pub(super) type Drawn = (Vec<u32>, Vec<f64>);

/// An answer of vLLM's `/v1/completions`.
#[derive(Deserialize)]
pub(super) struct VllmAnswer {
    choices: Vec<VllmChoice>,
}

/// The one response of it.
#[derive(Deserialize)]
pub(super) struct VllmChoice {
    pub(super) finish_reason: Option<String>,
    token_ids: Option<Vec<u32>>,
    logprobs: Option<VllmLogProbs>,
    prompt_logprobs: Option<Vec<Option<HashMap<String, VllmLogProb>>>>,
}

#[derive(Deserialize)]
struct VllmLogProbs {
    tokens: Option<Vec<NamedToken>>,
    token_logprobs: Option<Vec<Option<f64>>>,
}

#[derive(Deserialize)]
struct VllmLogProb {
    logprob: f64,
}

/// A token named by its id, `token_id:17`; `None` for one that comes as text.
struct NamedToken(Option<u32>);

impl<'de> Deserialize<'de> for NamedToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(Self(name.strip_prefix("token_id:").and_then(|id| id.parse().ok())))
    }
}

/// An answer of SGLang's `/generate`.
#[derive(Deserialize)]
pub(super) struct SglangAnswer {
    pub(super) meta_info: SglangMeta,
}

/// What it says of the response.
#[derive(Deserialize)]
pub(super) struct SglangMeta {
    finish_reason: Option<SglangFinish>,
    output_token_logprobs: Option<Vec<SglangToken>>,
    input_token_logprobs: Option<Vec<SglangToken>>,
    /// What the weights that it was drawn with were called when the server got them.
    pub(super) weight_version: Option<String>,
}

#[derive(Deserialize)]
struct SglangFinish {
    r#type: String,
}

/// Log-probability, id, text.
#[derive(Deserialize)]
struct SglangToken(Option<f64>, u32, IgnoredAny);

/// An answer to a call that makes a server do something.
#[derive(Default, Deserialize)]
pub(super) struct ReloadReply {
    /// Whether it was done, where the server says.
    #[serde(default)]
    pub(super) success: Option<bool>,
    /// Why not.
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// An answer of `/v1/chat/completions`.
#[derive(Deserialize)]
pub(super) struct ChatReply {
    #[serde(default)]
    pub(super) choices: Vec<ChatChoice>,
}

/// The one response of it.
#[derive(Deserialize)]
pub(super) struct ChatChoice {
    pub(super) finish_reason: Option<String>,
    pub(super) message: Option<ChatMessage>,
}

/// Its words; a model that thinks may come to its end before it says anything.
#[derive(Deserialize)]
pub(super) struct ChatMessage {
    #[serde(default)]
    pub(super) content: Option<String>,
}

fn known(log_prob: Option<f64>) -> Result<f64, String> {
    log_prob.ok_or_else(|| "a log-probability null".to_owned())
}

impl VllmAnswer {
    pub(super) fn choice(self) -> Result<VllmChoice, String> {
        self.choices.into_iter().next().ok_or_else(|| "`choices` is empty".to_owned())
    }
}

impl VllmChoice {
    pub(super) fn drawn(self) -> Result<Drawn, String> {
        let missing = "`logprobs.token_logprobs` is missing: does the server give log-probabilities?";
        let VllmLogProbs { tokens, token_logprobs } = self.logprobs.ok_or(missing)?;
        let log_probs = token_logprobs.ok_or(missing)?.into_iter().map(known).collect::<Result<_, _>>()?;
        let ids = match (self.token_ids, tokens) {
            (Some(ids), _) => ids,
            (None, Some(tokens)) => tokens
                .into_iter()
                .map(|token| token.0.ok_or("tokens come as text: the server must know `return_tokens_as_token_ids`"))
                .collect::<Result<_, _>>()?,
            (None, None) => return Err("neither `token_ids` nor `logprobs.tokens`".to_owned()),
        };
        Ok((ids, log_probs))
    }

    /// Log-probabilities of the prompt's tokens from the second on, where the server gives them.
    pub(super) fn prompt_log_probs(&mut self, prompt: &[u32]) -> Result<Option<Vec<f64>>, String> {
        let Some(rows) = self.prompt_logprobs.take() else { return Ok(None) };
        let row = |(row, id): (Option<HashMap<String, VllmLogProb>>, &u32)| {
            let scored = row.as_ref().and_then(|row| row.get(&id.to_string()));
            scored.map(|scored| scored.logprob).ok_or_else(|| format!("`prompt_logprobs` lacks token {id}"))
        };
        if rows.len() != prompt.len() {
            return Err(format!("{} `prompt_logprobs` for a prompt of {} tokens", rows.len(), prompt.len()));
        }
        rows.into_iter().zip(prompt).skip(1).map(row).collect::<Result<_, _>>().map(Some)
    }
}

impl SglangMeta {
    pub(super) fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_ref().map(|finish| finish.r#type.as_str())
    }

    pub(super) fn drawn(self) -> Result<Drawn, String> {
        let tokens = self.output_token_logprobs.ok_or("`meta_info.output_token_logprobs` is missing")?;
        Ok(tokens
            .into_iter()
            .map(|SglangToken(log_prob, id, _)| Ok((id, known(log_prob)?)))
            .collect::<Result<Vec<_>, String>>()?
            .into_iter()
            .unzip())
    }

    /// As [`VllmChoice::prompt_log_probs`].
    pub(super) fn prompt_log_probs(&mut self, prompt: &[u32]) -> Result<Option<Vec<f64>>, String> {
        let Some(tokens) = self.input_token_logprobs.take() else { return Ok(None) };
        if tokens.iter().map(|token| token.1).ne(prompt.iter().copied()) {
            return Err("`input_token_logprobs` is about another prompt".to_owned());
        }
        tokens.into_iter().skip(1).map(|token| known(token.0)).collect::<Result<_, _>>().map(Some)
    }
}
