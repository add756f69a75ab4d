//! Configuration of the sampler: keys `[sampler]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Who samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SamplerKind {
    /// The policy in this process.
    #[default]
    Local,
    /// A server that the policy's weights are handed to.
    Http,
}

/// Who samples, and with what means.
///
/// ```
/// use memtrain_engine::sampler::config::{Dialect, SamplerConfig, SamplerKind};
/// let text = "kind = \"http\"\n[http]\nurl = \"http://localhost:30000\"\ndialect = \"sglang\"";
/// let config: SamplerConfig = toml::from_str(text).unwrap();
/// assert_eq!((config.kind, config.http.dialect), (SamplerKind::Http, Dialect::Sglang));
/// assert_eq!(config.validate(), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplerConfig {
    /// Who samples.
    pub kind: SamplerKind,
    /// GiB that keys and values may take; 0 takes half of what is free when sampling begins. Local.
    pub cache_gib: f64,
    /// Most sequences sampled at the same time. More of them use a card better, and take more memory for their rows.
    /// Local.
    pub max_sequences: usize,
    /// The server.
    pub http: HttpConfig,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self { kind: SamplerKind::Local, cache_gib: 0.0, max_sequences: 512, http: HttpConfig::default() }
    }
}

/// Whose words a server understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// vLLM's `/v1/completions`, and what speaks like it.
    #[default]
    Vllm,
    /// SGLang's `/generate`.
    Sglang,
}

/// How a server gets a policy with adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServedLora {
    /// The adapter alone, on the base that the server was started with.
    #[default]
    Adapter,
    /// Whole matrices with the adapters added in.
    Merged,
}

impl ServedLora {
    /// Left out of a run's configuration then, so that runs from before the key go on.
    fn is_adapter(&self) -> bool {
        *self == Self::Adapter
    }
}

/// A call that makes a server do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerCall {
    /// Path of the endpoint.
    pub path: String,
    /// JSON that is sent; `{path}` becomes the folder of the weights, `{version}` what tells them from others.
    #[serde(default)]
    pub body: String,
}

/// A server that samples: keys `[sampler.http]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Where it is. A key, if it wants one, comes from the environment: `MEMTRAIN_SAMPLER_KEY`.
    pub url: String,
    /// Name of the model as the server has it; empty takes its first.
    pub model: String,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// Requests under way at the same time.
    pub concurrency: usize,
    /// Seconds after which an answer is no longer waited for.
    pub timeout_s: f64,
    /// How often a request is sent again that failed for a reason that may pass: no connection, a timeout, statuses 408, 425,
    /// 429 and 5xx, an answer broken off.
    pub retries: usize,
    /// Seconds before it is sent again the first time; each time twice as long, 30 s at most.
    pub backoff_s: f64,
    /// Folder that the weights are written to before each step, on a file system that the server sees; empty is
    /// `sampler-weights` in the run's folder.
    pub weights: PathBuf,
    /// What a policy with adapters is written as.
    #[serde(skip_serializing_if = "ServedLora::is_adapter")]
    pub lora: ServedLora,
    /// What makes the server read whole weights, in this order; empty is what the dialect's server has for it.
    pub reload: Vec<ServerCall>,
    /// How far the server's log-probabilities of fixed prompts may be from the policy's once it has read them: nats, the mean
    /// over the tokens. What it takes at temperature 0 may be five times as far behind the likeliest token. 0 does not ask. The
    /// default is above what others have measured of servers in bf16, 0.01 to 0.05, and below a server that had read half of its
    /// weights, 0.097 (`docs/lab/sampling.md`).
    pub max_mismatch: f64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8000".to_owned(),
            model: String::new(),
            dialect: Dialect::Vllm,
            concurrency: 256,
            timeout_s: 600.0,
            retries: 5,
            backoff_s: 0.5,
            weights: PathBuf::new(),
            lora: ServedLora::default(),
            reload: Vec::new(),
            max_mismatch: 0.06,
        }
    }
}

impl HttpConfig {
    /// The calls that make the server read new weights.
    pub fn reload_calls(&self) -> Vec<ServerCall> {
        let call = |path: &str, body: &str| ServerCall { path: path.to_owned(), body: body.to_owned() };
        match (self.reload.is_empty(), self.dialect) {
            (false, _) => self.reload.clone(),
            // A server in development mode (VLLM_SERVER_DEV_MODE=1).
            (true, Dialect::Vllm) => {
                let reload = r#"{"method": "reload_weights", "kwargs": {"weights_path": "{path}"}}"#;
                vec![call("/collective_rpc", reload), call("/reset_prefix_cache", "")]
            }
            (true, Dialect::Sglang) => {
                let update = r#"{"model_path": "{path}", "flush_cache": true, "weight_version": "{version}"}"#;
                vec![call("/update_weights_from_disk", update)]
            }
        }
    }
}

/// A server that is asked in words, with OpenAI's chat completions: keys `[bank.answerer]`.
///
/// ```
/// use memtrain_engine::sampler::config::ChatConfig;
/// let text = "url = \"http://localhost:8000\"\n[parameters.chat_template_kwargs]\nenable_thinking = false";
/// let config: ChatConfig = toml::from_str(text).unwrap();
/// assert_eq!((config.retries, config.validate("bank.answerer")), (5, Ok(())));
/// assert!(ChatConfig { url: "localhost:8000".to_owned(), ..config }.validate("bank.answerer").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChatConfig {
    /// Where it is. A key, if it wants one, comes from the environment: `MEMTRAIN_ANSWERER_KEY`.
    pub url: String,
    /// Name of the model as the server has it; empty takes its first.
    pub model: String,
    /// Requests under way at the same time.
    pub concurrency: usize,
    /// Seconds after which an answer is no longer waited for.
    pub timeout_s: f64,
    /// As `sampler.http.retries`.
    pub retries: usize,
    /// As `sampler.http.backoff_s`.
    pub backoff_s: f64,
    /// What else is sent with each request, for example `chat_template_kwargs.enable_thinking = false`.
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    pub parameters: toml::Table,
}

impl Default for ChatConfig {
    fn default() -> Self {
        let HttpConfig { url, model, timeout_s, retries, backoff_s, .. } = HttpConfig::default();
        Self { url, model, concurrency: 64, timeout_s, retries, backoff_s, parameters: toml::Table::new() }
    }
}

impl ChatConfig {
    /// Checks what a type cannot; `section` is where the keys stand.
    ///
    /// # Errors
    /// The key, its value and what it must be.
    pub fn validate(&self, section: &str) -> Result<(), String> {
        check_server(section, &self.url, self.concurrency, [self.timeout_s, self.backoff_s])
    }
}

/// Checks what all servers have.
fn check_server(section: &str, url: &str, concurrency: usize, seconds: [f64; 2]) -> Result<(), String> {
    if concurrency == 0 {
        return Err(format!("`{section}.concurrency` is 0: it must be at least 1"));
    }
    for (key, value) in ["timeout_s", "backoff_s"].into_iter().zip(seconds) {
        if !(value > 0.0 && value <= 1e6) {
            return Err(format!("`{section}.{key}` is {value}: it must be a positive number of seconds"));
        }
    }
    if is_url(url) {
        return Ok(());
    }
    Err(format!("`{section}.url` is `{url}`: it must begin with http:// or https://"))
}

/// Whether something names a server rather than a folder.
pub fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

impl SamplerConfig {
    /// Checks what a type cannot.
    ///
    /// # Errors
    /// The key, its value and what it must be.
    pub fn validate(&self) -> Result<(), String> {
        if !(self.cache_gib >= 0.0 && self.cache_gib.is_finite()) {
            return Err(format!("`sampler.cache_gib` is {}: it must be 0 or a positive number", self.cache_gib));
        }
        if self.max_sequences == 0 {
            return Err("`sampler.max_sequences` is 0: it must be at least 1".to_owned());
        }
        let HttpConfig { url, concurrency, timeout_s, backoff_s, max_mismatch, .. } = &self.http;
        if !(*max_mismatch >= 0.0 && max_mismatch.is_finite()) {
            return Err(format!("`sampler.http.max_mismatch` is {max_mismatch}: it must be 0 or a positive number"));
        }
        // The address matters where it is used alone.
        let url = if self.kind == SamplerKind::Http { url } else { "http://" };
        check_server("sampler.http", url, *concurrency, [*timeout_s, *backoff_s])
    }

    /// Bytes that keys and values may take, where the configuration says.
    pub fn cache_bytes(&self) -> Option<usize> {
        (self.cache_gib > 0.0).then(|| (self.cache_gib * f64::from(1 << 30)) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        let wrong = |text: &str| toml::from_str::<SamplerConfig>(text).expect(text).validate().expect_err(text);
        assert!(wrong("cache_gib = -1").contains("sampler.cache_gib"));
        assert!(wrong("max_sequences = 0").contains("sampler.max_sequences"));
        assert!(wrong("[http]\nconcurrency = 0").contains("sampler.http.concurrency"));
        assert!(wrong("[http]\nmax_mismatch = -0.1").contains("sampler.http.max_mismatch"));
        assert!(wrong("[http]\ntimeout_s = nan").contains("sampler.http.timeout_s"));
        assert!(wrong("kind = \"http\"\n[http]\nurl = \"localhost:8000\"").contains("sampler.http.url"));
        assert!(toml::from_str::<SamplerConfig>("kind = \"grpc\"").is_err());
    }
}
