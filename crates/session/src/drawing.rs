//! The sampler of a policy's responses: the policy in this process, or a server that has it.

use std::path::Path;

use candle_core::DType;
use memtrain_engine::outbound::while_wanted;
use memtrain_hub::Needed;

use crate::device::DeviceChoice;
use crate::error::WithHint;
use crate::policy::{Policy, PolicyTokenizer, TemplateSettings, adapter, directory};
use crate::sampler::{HttpSampler, Sampler, SamplerConfig, SamplerKind};

/// Who draws.
pub enum Draws {
    /// The policy in this process.
    Policy(Box<Policy>),
    /// A server that has the policy, whose responses end in these tokens.
    Server {
        /// The tokens.
        stop_ids: Vec<u32>,
    },
}

/// A policy with what prompts are made with.
pub struct Drawing {
    /// The policy's tokenizer.
    pub tokenizer: PolicyTokenizer,
    /// Positions that it was made for.
    pub positions: usize,
    /// Who draws.
    pub draws: Draws,
}

impl Drawing {
    /// What is read of a policy.
    pub fn needed(server: Option<&str>) -> Needed {
        if server.is_some() { Needed::Tokenizer } else { Needed::Model }
    }

    /// Makes a configuration that of the server, or of this process.
    ///
    /// # Errors
    /// If the server's address or another key of it cannot be.
    pub fn configure(sampler: &mut SamplerConfig, server: Option<&str>) -> Result<(), String> {
        sampler.kind = if server.is_some() { SamplerKind::Http } else { SamplerKind::Local };
        if let Some(server) = server {
            server.clone_into(&mut sampler.http.url);
        }
        sampler.validate()
    }

    /// Loads the policy of a folder, or where a server draws its tokenizer and limits alone.
    ///
    /// # Errors
    /// If something of it cannot be read.
    pub fn open(
        folder: &Path,
        is_served: bool,
        device: &DeviceChoice,
        settings: &TemplateSettings,
    ) -> anyhow::Result<Self> {
        let told = || "a policy is a Hugging Face directory; `memtrain policy init` makes one".to_owned();
        if is_served {
            let folder = adapter::base_of(folder)?;
            let shape = directory::load_config(&folder).hint(told)?;
            let tokenizer = PolicyTokenizer::from_file(&folder.join("tokenizer.json"))?;
            let stop_ids = directory::load_generation(&folder, &shape, &tokenizer)?.eos_token_ids;
            let tokenizer = tokenizer.with_template_settings(settings);
            return Ok(Self { tokenizer, positions: shape.max_position_embeddings, draws: Draws::Server { stop_ids } });
        }
        let policy = directory::load(folder, &device.open()?, DType::F32).hint(told)?.with_template_settings(settings);
        let positions = policy.decoder.config.max_position_embeddings;
        Ok(Self { tokenizer: policy.tokenizer.clone(), positions, draws: Draws::Policy(Box::new(policy)) })
    }

    /// What draws with the policy in this process is made by `local`. While the server is waited for, `goes_on` is asked ten
    /// times a second; its error ends it.
    ///
    /// # Errors
    /// If the device refuses, or the server cannot be reached, or as `goes_on` says.
    pub fn sampler(
        &self,
        config: &SamplerConfig,
        local: impl FnOnce(&Policy) -> anyhow::Result<Box<dyn Sampler>>,
        goes_on: &dyn Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Box<dyn Sampler>> {
        match &self.draws {
            Draws::Policy(policy) => local(policy),
            Draws::Server { stop_ids } => {
                let (http, stop_ids, allowed) = (config.http.clone(), stop_ids.clone(), self.tokenizer.vocab_size());
                Ok(Box::new(while_wanted(goes_on, move || HttpSampler::connect(&http, &stop_ids, allowed))??))
            }
        }
    }
}
