//! Identity of a policy in runs and evaluations: its weights, and what turns text into its tokens.

use candle_core::{DType, Device};

use crate::policy::stored::{StoredWeights, weight_files};
use crate::policy::{Policy, PolicyTokenizer};

/// Weights hashed at a time.
const HASHED: usize = 1 << 18;

/// Two policies of the same identity say the same to the same prompts, in whatever files they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyIdentity {
    /// BLAKE3 of all weights in f32, in the order of their names, and of adapters after them.
    pub weights: String,
    /// BLAKE3 of the tokenizer's files and of the ids that end a response.
    pub tokenizer: String,
}

impl PolicyIdentity {
    /// The identity of a policy as it was loaded or made.
    ///
    /// # Errors
    /// If weights cannot be read.
    pub fn of(policy: &Policy) -> anyhow::Result<Self> {
        let tokenizer = tokenizer_hash(&policy.tokenizer, &policy.generation.eos_token_ids);
        Ok(Self { weights: weights_hash(policy)?, tokenizer })
    }

    /// Both in one BLAKE3.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.weights.as_bytes()).update(self.tokenizer.as_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

/// BLAKE3 of all weights in f32 of a policy as it was loaded or made, in the order of their names, and of adapters after them.
/// Those on a card are read from the files they were loaded from, not back over the bus.
fn weights_hash(policy: &Policy) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let weights = &policy.decoder.weights;
    let origin = policy.origin.as_ref().filter(|_| !policy.decoder.device().is_cpu());
    let stored = origin.map(|origin| StoredWeights::open_files(weight_files(&origin.directory)?)).transpose()?;
    let mut bytes = Vec::with_capacity(4 * HASHED);
    for (name, tensor) in weights.named().into_iter().chain(weights.named_adapters()) {
        hasher.update(name.as_bytes());
        let values = match stored.as_ref().filter(|stored| stored.view(&name).is_ok()) {
            Some(stored) => stored.load(&name, Some(DType::F32), &Device::Cpu)?,
            None => tensor.detach().to_dtype(DType::F32)?,
        };
        for values in values.flatten_all()?.to_vec1::<f32>()?.chunks(HASHED) {
            bytes.clear();
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            hasher.update(&bytes);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// BLAKE3 of what turns text into a policy's tokens and ends its responses: the tokenizer's files, and the ids that end one.
pub(crate) fn tokenizer_hash(tokenizer: &PolicyTokenizer, eos_token_ids: &[u32]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in tokenizer.files() {
        hasher.update(name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    eos_token_ids.iter().for_each(|id| {
        hasher.update(&id.to_le_bytes());
    });
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{built_in, directory};

    #[test]
    fn an_identity_is_that_of_weights_and_tokenizer_and_not_of_files() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("tiny");
        built_in::write("tiny", &path)?;
        let policy = directory::load(&path, &Device::Cpu, DType::F32)?;
        let identity = PolicyIdentity::of(&policy)?;
        let copy = folder.path().join("copy");
        directory::save(&policy, &copy)?;
        assert_eq!(PolicyIdentity::of(&directory::load(&copy, &Device::Cpu, DType::F32)?)?, identity);
        let mut other = policy;
        other.generation.eos_token_ids.push(0);
        let changed = PolicyIdentity::of(&other)?;
        assert_eq!(changed.weights, identity.weights);
        assert!(changed.tokenizer != identity.tokenizer && changed.hash() != identity.hash());
        Ok(())
    }
}
