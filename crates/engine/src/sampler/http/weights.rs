//! New weights for a server: written to a folder that it sees, then it is told to read them, then asked whether it has.
//!
//! ```text
//! whole     vLLM    POST /collective_rpc              reload_weights with weights_path; POST /reset_prefix_cache
//!           SGLang  POST /update_weights_from_disk    model_path, weight_version
//! adapter   vLLM    POST /v1/load_lora_adapter        lora_name, lora_path; completions name it as their `model`
//!           SGLang  POST /load_lora_adapter           lora_name, lora_path; `/generate` names it as `lora_path`
//! ```
//!
//! Each version of an adapter has a name of its own: servers keep keys and values of prompts by the adapter's name, and what was
//! computed with an earlier version must not be found again.

use std::cell::Cell;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use memtrain_corpora::store;
use memtrain_model::policy::{Policy, directory};
use serde_json::json;

use super::client::{Client, HttpError};
use super::wire::ReloadReply;
use super::{CompletionsEndpoint, HttpSampler, ServedWeights, probe};
use crate::outbound::beginning;
use crate::sampler::config::{Dialect, ServedLora, ServerCall};

/// Bytes of an answer to a call that makes a server do something.
const TOLD_BYTES: u64 = 1 << 20;

/// Letters of a version: 64 bits of a hash.
const VERSION_LETTERS: usize = 16;

impl HttpSampler {
    /// Gives the server a policy's weights: writes them to `folder`, tells the server to read them, and checks that it draws
    /// with them. Of a policy with adapters these alone are written, or whole matrices with the adapters added in
    /// (`sampler.http.lora`).
    ///
    /// # Errors
    /// If the folder cannot be written, the server refuses, its log-probabilities differ by more than
    /// `sampler.http.max_mismatch`, or it does not draw what it is asked to.
    pub fn refresh(&mut self, policy: &Policy, folder: &Path) -> Result<()> {
        // The server can write where the folder lies. What it puts in its place is not followed.
        ensure!(
            !store::is_link(folder),
            "`{}` is a link: set `sampler.http.weights` to the folder that it leads to, if the weights shall go there",
            folder.display()
        );
        let mut endpoint = CompletionsEndpoint::clone(&self.endpoint);
        let decoder = match endpoint.client.config.lora {
            ServedLora::Adapter => policy.decoder.clone(),
            ServedLora::Merged => policy.decoder.merged_lora()?,
        };
        let policy = Policy { decoder, ..policy.clone() };
        directory::save(&policy, folder).context("the weights for the sampler cannot be written")?;
        let mut version = store::hash_file(&folder.join(store::MARKER))?;
        version.truncate(VERSION_LETTERS);
        let path = std::path::absolute(folder)?.display().to_string();
        let before = endpoint.served.take();
        let told = match policy.decoder.has_adapters() {
            true => endpoint.load_adapter(&path, version),
            false => endpoint.reload(&path, version),
        };
        let served =
            told.with_context(|| format!("the server did not take the new weights of `{}`", folder.display()))?;
        endpoint.served = Some(served.clone());
        let probed = probe::check(&endpoint, &policy, before.as_ref())?;
        if let Some(old) = before.and_then(|before| before.adapter).filter(|old| Some(old) != served.adapter.as_ref()) {
            endpoint.unload(&old)?;
        }
        endpoint.served = Some(ServedWeights { probed, ..served });
        self.endpoint = endpoint.into();
        Ok(())
    }
}

impl CompletionsEndpoint {
    /// Tells the server to read whole weights.
    fn reload(&self, path: &str, version: String) -> Result<ServedWeights> {
        let calls = self.client.config.reload_calls();
        // As JSON, so that quotes and backslashes of a path stay what they are.
        let name = serde_json::to_string(path)?;
        for ServerCall { path: place, body } in &calls {
            self.tell(place, &body.replace("{path}", name.trim_matches('"')).replace("{version}", &version))?;
        }
        let label = calls.iter().any(|call| call.body.contains("{version}")).then(|| version.clone());
        Ok(ServedWeights { version, label, ..ServedWeights::default() })
    }

    /// Tells the server to load an adapter.
    fn load_adapter(&self, path: &str, version: String) -> Result<ServedWeights> {
        let name = format!("memtrain-{version}");
        let body = json!({"lora_name": name, "lora_path": path}).to_string();
        let is_again = Cell::new(false);
        let load = |client: &Client| {
            // A run that was killed may have left this name with half of its files.
            self.unload_once(client, &name)?;
            tell_once(client, &self.adapters("load_lora_adapter"), &body)
        };
        let told = self.client.with_retries(|client| match load(client) {
            // A call that was given up may end after all, and then the server has an adapter of this name.
            Err(HttpError::Status { status: 400..=499, .. }) if is_again.replace(true) => load(client),
            told => {
                is_again.set(true);
                told
            }
        });
        told.map_err(|error| match error {
            HttpError::Status { url, status, body } => HttpError::Adapter { url, status, body },
            other => other,
        })?;
        Ok(ServedWeights { version, adapter: Some(name), ..ServedWeights::default() })
    }

    /// Tells the server to forget an adapter, which it need not have.
    fn unload(&self, name: &str) -> Result<(), HttpError> {
        self.client.with_retries(|client| self.unload_once(client, name))
    }

    fn unload_once(&self, client: &Client, name: &str) -> Result<(), HttpError> {
        match tell_once(client, &self.adapters("unload_lora_adapter"), &json!({"lora_name": name}).to_string()) {
            // 408, 425 and 429 are no answer to this.
            Err(error @ HttpError::Status { status: 400..=499, .. }) if !error.may_pass() => Ok(()),
            told => told,
        }
    }

    /// Path of an endpoint that is about adapters.
    fn adapters(&self, endpoint: &str) -> String {
        match self.client.config.dialect {
            Dialect::Vllm => format!("/v1/{endpoint}"),
            Dialect::Sglang => format!("/{endpoint}"),
        }
    }

    /// Makes the server do something.
    fn tell(&self, place: &str, body: &str) -> Result<(), HttpError> {
        self.client.with_retries(|client| tell_once(client, place, body))
    }
}

fn tell_once(client: &Client, place: &str, body: &str) -> Result<(), HttpError> {
    let told: ReloadReply = client.post(place, body, TOLD_BYTES)?.json().unwrap_or_default();
    match told {
        ReloadReply { success: Some(false), message } => {
            let message = beginning(&message.unwrap_or_default());
            Err(HttpError::Answer { url: client.url(place), detail: format!("no success: {message}") })
        }
        _ => Ok(()),
    }
}
