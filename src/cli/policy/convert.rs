//! `memtrain policy convert` and `memtrain policy merge-lora`.

use std::path::{Path, PathBuf};

use candle_core::DType;
use clap::{Args, ValueEnum};
use memtrain_corpora::store::{self, Sibling, StoreError};
use memtrain_hub::Needed;
use memtrain_session::models::ModelFolder;

use super::super::written::written_path;
use crate::cli::failure::{Usage, WithHint};
use crate::cli::print::print_line;
use crate::policy::adapter::AdapterConfig;
use crate::policy::convert::{Conversion, convert, merge_lora, parse_bytes};
use crate::policy::{PolicyError, directory, gguf};

/// The types that weights can be converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoredType {
    /// 16 bits, the range of f32
    Bf16,
    /// 16 bits, more precision and less range
    F16,
    /// 32 bits
    F32,
}

/// Arguments of `memtrain policy convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Policy directory, a name of the Hugging Face hub, `built-in:NAME`, or a GGUF file of architecture llama, qwen2 or qwen3
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Directory to write
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub out: PathBuf,
    /// Type of all weights; each keeps its own without it, and those of a GGUF file become f32
    #[arg(long)]
    pub dtype: Option<StoredType>,
    /// Largest weights file, for example `5GB` or `500MiB`; the files stay as they are without it
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_shard_size: Option<u64>,
    /// Put this temperature into the weights: drawn at 1, the new policy draws as the old one at this temperature
    #[arg(long, value_parser = temperature)]
    pub temperature: Option<f64>,
}

/// Arguments of `memtrain policy merge-lora`.
#[derive(Debug, Args)]
pub struct MergeLoraArgs {
    /// Policy directory, a name of the hub or `built-in:NAME`, that the adapter is for; the one that the adapter names without it
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Folder of the adapter
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Directory to write
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub out: PathBuf,
}

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| format!("`{text}` is no size: write it as `5GB` or `500MiB`"))
}

/// Logits beyond 100 times their size, or a hundredth of it, are of no use to anybody.
fn temperature(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.01..=100.0).contains(number));
    number.ok_or_else(|| format!("`{text}` is no temperature between 0.01 and 100"))
}

/// Whether a failure is about the folder to write, or one of the hidden folders beside it.
fn is_of_place(error: &PolicyError, out: &Path) -> bool {
    let PolicyError::Store(
        StoreError::Io { path, .. }
        | StoreError::ForeignFile { path, .. }
        | StoreError::Foreign { path, .. }
        | StoreError::OtherKind { path, .. }
        | StoreError::Locked { path, .. },
    ) = error
    else {
        return false;
    };
    let out = store::resolve(out).unwrap_or_else(|_| out.to_path_buf());
    let hidden = [Sibling::New, Sibling::Old].map(|sibling| store::hidden_sibling(&out, sibling));
    let path = store::resolve(path).unwrap_or_else(|_| path.clone());
    path.starts_with(&out) || out.starts_with(&path) || hidden.iter().any(|hidden| path.starts_with(hidden))
}

/// Converts a policy directory; prints the new one.
///
/// # Errors
/// If the policy cannot be read or the directory cannot be written.
pub fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    let is_gguf = gguf::is_gguf(&args.model)?;
    let found = if is_gguf { None } else { Some(ModelFolder::at(&args.model, Needed::Model)?) };
    let model = found.as_ref().map_or(&args.model, |found| &found.path);
    directory::check_target(&args.out, &[model])?;
    let dtype = args.dtype.map(|dtype| match dtype {
        StoredType::Bf16 => DType::BF16,
        StoredType::F16 => DType::F16,
        StoredType::F32 => DType::F32,
    });
    let conversion = Conversion { dtype, max_shard_bytes: args.max_shard_size, temperature: args.temperature };
    let (converted, hint) = match is_gguf {
        true => (
            gguf::convert(model, &args.out, conversion),
            "GGUF files of Llama, Qwen2 and Qwen3 models with byte-level BPE are read; for others take the original model",
        ),
        false => (
            convert(model, &args.out, conversion),
            "`--model` is a Hugging Face directory of a Qwen2, Qwen3 or Llama model, or a GGUF file",
        ),
    };
    converted.or_else(|error| match is_of_place(&error, &args.out) {
        true => Err(error.into()),
        false => Err(error).hint(|| hint.into()),
    })?;
    print_line!("{}", args.out.display())?;
    Ok(())
}

/// Merges an adapter into a policy; prints the new directory.
///
/// # Errors
/// If the adapter does not fit the policy or the directory cannot be written.
pub fn merge(args: &MergeLoraArgs) -> anyhow::Result<()> {
    let base = match &args.model {
        Some(model) => model.clone(),
        None => AdapterConfig::read(&args.adapter)?
            .base
            .map(PathBuf::from)
            .ok_or_else(|| Usage("the adapter does not name its policy: give `--model`".to_owned()))?,
    };
    let found = ModelFolder::at(&base, Needed::Model)?;
    let base = &found.path;
    directory::check_target(&args.out, &[base, &args.adapter])?;
    merge_lora(base, &args.adapter, &args.out)
        .hint(|| "`--adapter` is a folder with `adapter_config.json`, `--model` the policy it was trained on".into())?;
    print_line!("{}", args.out.display())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::describe;
    use crate::cli::policy::tests::word_policy;
    use crate::nn::PackedBatch;
    use crate::nn::gradient_check::{assert_close, max_difference, wave};
    use crate::policy::LoraConfig;
    use candle_core::Device;

    #[test]
    fn a_conversion_without_a_change_is_the_same_to_the_byte_and_with_one_says_so() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let model = word_policy(folder.path())?;
        store::write_atomic(&model.join("README.md"), "a card")?;
        let out = folder.path().join("out");
        let mut args = ConvertArgs {
            model: model.clone(),
            out: out.clone(),
            dtype: None,
            max_shard_size: None,
            temperature: None,
        };
        run(&args)?;
        // The marker of the second lists the card, too.
        for path in store::list(&model)?.iter().filter(|path| !path.ends_with(store::MARKER)) {
            let name = path.file_name().unwrap_or_default();
            assert_eq!(store::read(path)?, store::read(&out.join(name))?, "{name:?}");
        }
        args = ConvertArgs { dtype: Some(StoredType::Bf16), max_shard_size: Some(400_000), ..args };
        run(&args)?;
        let (before, after) =
            (directory::load_as_stored(&model, &Device::Cpu)?, directory::load_as_stored(&out, &Device::Cpu)?);
        assert_eq!(after.decoder.dtype(), DType::BF16);
        assert!(!store::exists(&out.join("model.safetensors")));
        assert!(store::exists(&out.join("model.safetensors.index.json")));
        for ((name, old), (_, new)) in before.decoder.weights.named().iter().zip(after.decoder.weights.named()) {
            assert_eq!(max_difference(&old.to_dtype(DType::BF16)?, new)?, 0.0, "{name}");
        }
        // Back again: one file, in f32, with the rounded numbers.
        let back = folder.path().join("back");
        let dtype = Some(StoredType::F32);
        run(&ConvertArgs {
            model: out.clone(),
            out: back.clone(),
            dtype,
            max_shard_size: Some(1 << 40),
            temperature: None,
        })?;
        assert_eq!(directory::load_as_stored(&back, &Device::Cpu)?.decoder.dtype(), DType::F32);
        assert!(store::exists(&back.join("model.safetensors")));
        let told = run(&ConvertArgs { model: out.clone(), out, dtype, max_shard_size: None, temperature: None })
            .expect_err("itself");
        assert!(describe(&told, false).contains("which is read"));
        assert!(size("5GB").is_ok() && size("big").is_err());
        Ok(())
    }

    #[test]
    fn a_number_that_a_type_cannot_hold_is_refused_with_its_tensor() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let (model, large) = (word_policy(folder.path())?, folder.path().join("large"));
        let mut policy = directory::load(&model, &Device::Cpu, DType::F32)?;
        let norm = &policy.decoder.weights.norm;
        let largest = (norm.ones_like()? * 65_504.0)?;
        let out = folder.path().join("out");
        for (norm, is_refused) in [(largest.clone(), false), ((largest * 2.0)?, true)] {
            policy.decoder.weights.norm = norm;
            directory::save(&policy, &large)?;
            let dtype = Some(StoredType::F16);
            let done = run(&ConvertArgs {
                model: large.clone(),
                out: out.clone(),
                dtype,
                max_shard_size: None,
                temperature: None,
            });
            let told = done.as_ref().err().map(|error| describe(error, false)).unwrap_or_default();
            assert_eq!(done.is_err(), is_refused, "{told}");
            if is_refused {
                assert!(told.contains("`model.norm.weight` holds 1.31008e5") && told.contains("6.5504e4"), "{told}");
            }
        }
        // What stood there before the refusal stands there still.
        assert_eq!(directory::load_as_stored(&out, &Device::Cpu)?.decoder.dtype(), DType::F16);
        Ok(())
    }

    #[test]
    fn a_temperature_in_the_weights_divides_the_logits() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let (model, out) = (word_policy(folder.path())?, folder.path().join("out"));
        let args = ConvertArgs {
            model: model.clone(),
            out: out.clone(),
            dtype: None,
            max_shard_size: None,
            temperature: Some(0.8),
        };
        run(&args)?;
        let mut batch = PackedBatch::default();
        batch.push(&[4, 5, 6, 7, 8, 1], None);
        let logits = |folder| -> anyhow::Result<candle_core::Tensor> {
            let decoder = directory::load(folder, &Device::Cpu, DType::F32)?.decoder;
            Ok(decoder.logits(&decoder.hidden(&batch)?)?)
        };
        let (before, after) = (logits(&model)?, logits(&out)?);
        assert_close(&(&after * 0.8)?, &before, 1e-5)?;
        assert!(max_difference(&after, &before)? > 1e-2);
        assert!(temperature("0.8").is_ok());
        for wrong in ["0", "-1", "nan", "inf", "warm"] {
            assert!(temperature(wrong).is_err_and(|told| told.contains(wrong)), "{wrong}");
        }
        Ok(())
    }

    #[test]
    fn a_merged_policy_gives_the_adapter_s_logits() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let model = word_policy(folder.path())?;
        let (adapter, out) = (folder.path().join("adapter"), folder.path().join("merged"));
        let mut policy = directory::load(&model, &Device::Cpu, DType::F32)?;
        policy.decoder = policy.decoder.with_lora(&LoraConfig { rank: 3, ..LoraConfig::default() }, 1)?;
        for (name, parameter) in policy.decoder.parameters()? {
            parameter.set(&wave(parameter.dims(), DType::F32, 0.05 + 0.001 * name.len() as f64)?)?;
        }
        directory::save(&policy, &adapter)?;
        // The base is the one that the adapter names.
        merge(&MergeLoraArgs { model: None, adapter: adapter.clone(), out: out.clone() })?;
        let merged = directory::load(&out, &Device::Cpu, DType::F32)?;
        assert!(!merged.decoder.has_adapters());
        let mut batch = PackedBatch::default();
        batch.push(&[4, 5, 6, 7, 8, 1], None);
        let logits = |policy: &crate::policy::Policy| policy.decoder.logits(&policy.decoder.hidden(&batch)?);
        assert_close(&logits(&merged)?, &logits(&policy)?, 1e-5)?;
        let base = directory::load(&model, &Device::Cpu, DType::F32)?;
        assert!(max_difference(&logits(&merged)?, &logits(&base)?)? > 1e-2);
        let told = describe(
            &run(&ConvertArgs { model: adapter, out, dtype: None, max_shard_size: None, temperature: None })
                .unwrap_err(),
            false,
        );
        assert!(told.contains("merge-lora"), "{told}");
        Ok(())
    }
}
