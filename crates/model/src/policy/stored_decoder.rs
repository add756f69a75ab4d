//! A decoder out of stored tensors: which of them it needs, which are passed over, which are refused.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};

use super::stored::StoredWeights;
use super::{Decoder, PolicyConfig, PolicyError, Weights};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// The decoder of these tensors, as variables. It has a head of its own where one is stored that is not the embedding,
/// whatever the configuration says: that head is what was trained.
pub(super) fn build(
    stored: &StoredWeights,
    mut config: PolicyConfig,
    device: &Device,
    dtype: Option<DType>,
) -> Result<Decoder, PolicyError> {
    check_tensors(stored, &config)?;
    if config.tie_word_embeddings && has_own_head(stored)? {
        tracing::warn!(
            "the configuration ties the head to the embedding, but `{HEAD}` is stored and differs from it: \
             the stored head is used"
        );
        config.tie_word_embeddings = false;
        check_tensors(stored, &config)?;
    }
    let weights =
        Weights::build(&config, |name, _| Ok(Var::from_tensor(&stored.load(name, dtype, device)?)?.into_inner()))?;
    Ok(Decoder { config, weights })
}

/// Whether a head is stored whose values are not those of the embedding.
///
/// # Errors
/// If the embedding is missing.
pub fn has_own_head(stored: &StoredWeights) -> Result<bool, PolicyError> {
    if !stored.names().any(|name| name == HEAD) {
        return Ok(false);
    }
    let (embedding, head) = (stored.view(EMBEDDING)?, stored.view(HEAD)?);
    if embedding.shape() != head.shape() || embedding.dtype() == head.dtype() {
        return Ok(embedding.data() != head.data());
    }
    let values = |name| -> Result<Tensor, PolicyError> { stored.load(name, Some(DType::F32), &Device::Cpu) };
    let different = values(EMBEDDING)?.ne(&values(HEAD)?)?.to_dtype(DType::F32)?.sum_all()?;
    Ok(different.to_scalar::<f32>()? > 0.0)
}

/// Checks by the headers of the files, before anything is copied or allocated, that the tensors are those of the
/// configuration.
///
/// # Errors
/// If a tensor is missing or of another shape, or there is one without a place.
pub fn check_tensors(stored: &StoredWeights, config: &PolicyConfig) -> Result<(), PolicyError> {
    let shapes: BTreeMap<String, Vec<usize>> = config.tensor_shapes().into_iter().collect();
    for (name, expected) in config.tensor_shapes() {
        let got = stored.view(&name)?.shape().to_vec();
        if got != expected {
            return Err(PolicyError::Shape { name, expected, got });
        }
    }
    // A head may be stored beside a tied configuration: the embedding a second time, or one of its own.
    let known =
        |name: &str| shapes.contains_key(name) || is_rotary_buffer(name) || config.tie_word_embeddings && name == HEAD;
    match stored.names().find(|name| !known(name)) {
        Some(name) => Err(PolicyError::UnexpectedTensor { name: name.to_owned() }),
        None => Ok(()),
    }
}

/// Whether a tensor is a table of rotary angles, which older directories store: all of them follow from the configuration.
fn is_rotary_buffer(name: &str) -> bool {
    const TABLES: [&str; 4] = ["inv_freq", "original_inv_freq", "cos_cached", "sin_cached"];
    let (path, last) = name.rsplit_once('.').unwrap_or(("", name));
    TABLES.contains(&last) && path.rsplit('.').next() == Some("rotary_emb")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::directory::{load, load_decoder, save};
    use crate::policy::stored::{Entry, WEIGHTS, write_file};
    use crate::policy::{LoraConfig, Policy, PolicyTokenizer, preset};
    use memtrain_corpora::store;
    use memtrain_kernels::nn::gradient_check::wave;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn config() -> PolicyConfig {
        let tiny = preset::tiny(20);
        PolicyConfig { hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1, tie_word_embeddings: true, ..tiny }
    }

    /// The tensors of a fresh decoder in a folder, with more of them or others of the same name.
    fn stored(folder: &Path, more: &[(&str, Tensor)]) -> Result<StoredWeights, Box<dyn std::error::Error>> {
        let decoder = Decoder::init(config(), 5, &Device::Cpu, DType::F32)?;
        let mut entries: BTreeMap<&str, &Tensor> = BTreeMap::new();
        let named = decoder.weights.named();
        entries.extend(named.iter().map(|(name, tensor)| (name.as_str(), *tensor)));
        entries.extend(more.iter().map(|(name, tensor)| (*name, tensor)));
        let entries: Vec<Entry<'_>> =
            entries.into_iter().map(|(name, tensor)| Entry::of_tensor(name.to_owned(), tensor)).collect();
        write_file(&folder.join(WEIGHTS), &entries)?;
        Ok(StoredWeights::open(folder)?)
    }

    #[test]
    fn a_stored_head_is_used_only_where_it_is_not_the_embedding() -> Outcome {
        let folder = tempfile::tempdir()?;
        let embedding = Decoder::init(config(), 5, &Device::Cpu, DType::F32)?.weights.embed_tokens.detach();
        let rounded = embedding.to_dtype(DType::BF16)?;
        for (head, is_own) in [(embedding.copy()?, false), (rounded, true), (wave(&[20, 16], DType::F32, 0.3)?, true)] {
            let stored = stored(folder.path(), &[(HEAD, head.clone())])?;
            let decoder = build(&stored, config(), &Device::Cpu, Some(DType::F32))?;
            assert_eq!((has_own_head(&stored)?, decoder.weights.lm_head.is_some()), (is_own, is_own));
            assert_eq!(decoder.config.tie_word_embeddings, !is_own);
            assert_eq!(decoder.head().to_vec2::<f32>()?, head.to_dtype(DType::F32)?.to_vec2::<f32>()?);
        }
        let wrong = stored(folder.path(), &[(HEAD, wave(&[19, 16], DType::F32, 0.3)?)])?;
        assert!(matches!(
            build(&wrong, config(), &Device::Cpu, None),
            Err(PolicyError::Shape { name, .. }) if name == HEAD
        ));
        Ok(())
    }

    #[test]
    fn rotary_tables_are_passed_over_and_other_tensors_are_not() -> Outcome {
        let folder = tempfile::tempdir()?;
        let table = wave(&[4], DType::F32, 0.5)?;
        for name in [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.rotary_emb.inv_freq",
            "model.layers.0.self_attn.rotary_emb.cos_cached",
        ] {
            let stored = stored(folder.path(), &[(name, table.clone())])?;
            build(&stored, config(), &Device::Cpu, None).map_err(|error| format!("{name}: {error}"))?;
        }
        let stored = stored(folder.path(), &[("model.layers.0.self_attn.inv_freq", table)])?;
        assert!(matches!(check_tensors(&stored, &config()), Err(PolicyError::UnexpectedTensor { .. })));
        Ok(())
    }

    #[test]
    fn a_weight_that_is_no_number_is_named() -> Outcome {
        let folder = tempfile::tempdir()?;
        for dtype in [DType::F32, DType::BF16, DType::F16, DType::F64] {
            for wrong in [f64::NAN, f64::NEG_INFINITY] {
                let mut values = vec![0.5; 16];
                values[11] = wrong;
                let norm = Tensor::new(values, &Device::Cpu)?.to_dtype(dtype)?;
                let stored = stored(folder.path(), &[("model.norm.weight", norm)])?;
                let error = build(&stored, config(), &Device::Cpu, Some(DType::F32)).err();
                let message = error.map(|error| error.to_string()).unwrap_or_default();
                assert!(message.contains("model.norm.weight") && message.contains("not finite"), "{message}");
            }
        }
        Ok(())
    }

    #[test]
    fn an_adapter_is_read_with_its_base_and_alone_trainable() -> Outcome {
        let folder = tempfile::tempdir()?;
        let (base, adapter) = (folder.path().join("base"), folder.path().join("adapter"));
        let decoder = Decoder::init(PolicyConfig { vocab_size: 260, ..config() }, 5, &Device::Cpu, DType::F32)?;
        save(&Policy::new(decoder, PolicyTokenizer::of_bytes()?)?, &base)?;
        let mut policy = load(&base, &Device::Cpu, DType::F32)?;
        policy.decoder = policy.decoder.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, 1)?;
        save(&policy, &adapter)?;
        // The folder of an adapter has no tokenizer unless whoever made it put one there.
        store::remove_file(&adapter.join("tokenizer.json"))?;
        let names = |decoder: &Decoder| -> Result<Vec<String>, PolicyError> {
            Ok(decoder.parameters()?.into_iter().map(|(name, _)| name).collect())
        };
        let read = names(&load_decoder(&adapter, &Device::Cpu, DType::F32)?)?;
        assert_eq!(read, names(&policy.decoder)?);
        assert!(!read.is_empty() && read.iter().all(|name| name.contains("lora_")), "{read:?}");
        assert!(names(&load_decoder(&base, &Device::Cpu, DType::F32)?)?.contains(&EMBEDDING.to_owned()));
        Ok(())
    }
}
