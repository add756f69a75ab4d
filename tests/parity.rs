//! The decoder against `transformers`: logits, log-probabilities, gradients and greedy tokens of tiny random models.
//! The fixtures are written by `scripts/parity_fixtures.py`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use memtrain::nn::gradient_check::max_difference;
use memtrain::nn::{PackedBatch, tape};
use memtrain::policy::convert::{Conversion, convert, merge_lora};
use memtrain::policy::directory::load_decoder;
use memtrain::policy::{Decoder, adapter, directory};
use memtrain_corpora::store;
use safetensors::SafeTensors;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const MODELS: [&str; 3] = ["qwen2", "qwen3", "llama"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(name)
}

struct Fixture {
    decoder: Decoder,
    expected: Vec<u8>,
}

impl Fixture {
    fn load(name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let folder = folder(name);
        let decoder = load_decoder(&folder, &Device::Cpu, DType::F32)?;
        Ok(Self { decoder, expected: store::read(&folder.join("expected.safetensors"))? })
    }

    fn tensor(&self, name: &str) -> Result<Tensor, Box<dyn std::error::Error>> {
        let file = SafeTensors::deserialize(&self.expected)?;
        let view = file.tensor(name)?;
        Ok(Tensor::from_raw_buffer(view.data(), DType::try_from(view.dtype())?, view.shape(), &Device::Cpu)?)
    }

    fn sequences(&self) -> Result<Vec<Vec<u32>>, Box<dyn std::error::Error>> {
        Ok(self.tensor("input_ids")?.to_dtype(DType::U32)?.to_vec2()?)
    }
}

#[test]
fn logits_log_probabilities_and_gradients_are_those_of_transformers() -> Outcome {
    for model in MODELS {
        let fixture = Fixture::load(model)?;
        let sequences = fixture.sequences()?;
        let mut batch = PackedBatch::default();
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for sequence in &sequences {
            // Cut in two so that the shared-prefix path is what is compared.
            let (first, second) = sequence.split_at(9);
            let prefix = batch.push(first, None);
            let rest = batch.push(second, Some(prefix));
            let start = batch.segments[prefix].rows.start as u32;
            rows.extend(start..batch.segments[rest].rows.end as u32 - 1);
            targets.extend_from_slice(&sequence[1..]);
        }
        let decoder = &fixture.decoder;
        let hidden = decoder.hidden(&batch)?;
        let expected = fixture.tensor("logits")?.flatten(0, 1)?;
        let difference = max_difference(&decoder.logits(&hidden)?, &expected)?;
        assert!(difference < 1e-4, "{model}: logits differ by {difference:e}");
        let scored = decoder.log_probs(&hidden, &rows, &targets, 1.0)?;
        let difference = max_difference(&scored.log_probs, &fixture.tensor("log_probs")?.flatten_all()?)?;
        assert!(difference < 1e-4, "{model}: log-probabilities differ by {difference:e}");
        let parameters = decoder.parameters()?;
        let gradients = tape::gradients(&scored.log_probs.mean_all()?.neg()?, &parameters)?;
        for ((name, _), gradient) in parameters.iter().zip(&gradients) {
            let expected = fixture.tensor(&format!("gradient.{name}"))?;
            let scale = max_difference(&expected, &expected.zeros_like()?)?;
            let difference = max_difference(gradient, &expected)?;
            assert!(difference <= 1e-4 * scale, "{model}: {name} differs by {difference:e} at {scale:e}");
        }
    }
    Ok(())
}

#[test]
fn greedy_tokens_are_those_of_transformers() -> Outcome {
    for model in MODELS {
        let fixture = Fixture::load(model)?;
        let expected = fixture.tensor("greedy")?.to_dtype(DType::U32)?.to_vec2::<u32>()?.remove(0);
        let mut ids = expected[..6].to_vec();
        while ids.len() < expected.len() {
            let mut batch = PackedBatch::default();
            batch.push(&ids, None);
            let hidden = fixture.decoder.frozen()?.hidden(&batch)?;
            let logits = fixture.decoder.logits(&hidden.narrow(0, ids.len() - 1, 1)?)?;
            ids.push(logits.get(0)?.argmax(0)?.to_scalar::<u32>()?);
        }
        assert_eq!(ids, expected, "{model}");
    }
    Ok(())
}

/// Logits of whole sequences, and the mean negative log-probability of what follows.
fn logits_and_loss(decoder: &Decoder, sequences: &[Vec<u32>]) -> candle_core::Result<(Tensor, Tensor)> {
    let mut batch = PackedBatch::default();
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for sequence in sequences {
        let segment = batch.push(sequence, None);
        let own = batch.segments[segment].rows.clone();
        rows.extend(own.start as u32..own.end as u32 - 1);
        targets.extend_from_slice(&sequence[1..]);
    }
    let hidden = decoder.hidden(&batch)?;
    let loss = decoder.log_probs(&hidden, &rows, &targets, 1.0)?.log_probs.mean_all()?.neg()?;
    Ok((decoder.logits(&hidden)?, loss))
}

#[test]
fn an_adapter_of_peft_gives_its_logits_gradients_and_merged_weights() -> Outcome {
    let base = Fixture::load("qwen3")?;
    let fixture = Fixture {
        decoder: adapter::attach(&base.decoder, &folder("lora"))?,
        expected: store::read(&folder("lora/expected.safetensors"))?,
    };
    let sequences = fixture.sequences()?;
    let (logits, loss) = logits_and_loss(&fixture.decoder, &sequences)?;
    let expected = fixture.tensor("logits")?.flatten(0, 1)?;
    let difference = max_difference(&logits, &expected)?;
    assert!(difference < 1e-4, "logits differ by {difference:e}");
    let parameters = fixture.decoder.parameters()?;
    assert_eq!(parameters.len(), 12);
    for ((name, _), gradient) in parameters.iter().zip(tape::gradients(&loss, &parameters)?) {
        let expected = fixture.tensor(&format!("gradient.{name}"))?;
        let scale = max_difference(&expected, &expected.zeros_like()?)?;
        let difference = max_difference(&gradient, &expected)?;
        assert!(difference <= 1e-4 * scale, "{name} differs by {difference:e} at {scale:e}");
    }
    let out = tempfile::tempdir()?;
    let merged = out.path().join("merged");
    merge_lora(&folder("qwen3"), &folder("lora"), &merged)?;
    let merged = load_decoder(&merged, &Device::Cpu, DType::F32)?;
    let difference = max_difference(&merged.weights.layers[1].down_proj, &fixture.tensor("merged")?)?;
    assert!(difference < 1e-6, "a merged matrix differs by {difference:e}");
    let difference = max_difference(&logits_and_loss(&merged, &sequences)?.0, &expected)?;
    assert!(difference < 1e-4, "merged logits differ by {difference:e}");
    Ok(())
}

/// Asserts that two folders hold the same files, to the byte, but for the marker of folders of ours.
fn assert_same_files(one: &Path, other: &Path) -> Outcome {
    let names = |folder: &Path| -> Result<Vec<_>, store::StoreError> {
        let names = store::list(folder)?.into_iter().filter_map(|path| path.file_name().map(ToOwned::to_owned));
        Ok(names.filter(|name| name != store::MARKER).collect())
    };
    assert_eq!(names(one)?, names(other)?);
    for name in names(one)? {
        assert_eq!(store::read(&one.join(&name))?, store::read(&other.join(&name))?, "{name:?}");
    }
    Ok(())
}

#[test]
fn a_sharded_directory_of_transformers_comes_back_byte_for_byte() -> Outcome {
    let out = tempfile::tempdir()?;
    let (copy, saved, single) = (out.path().join("copy"), out.path().join("saved"), out.path().join("single"));
    convert(&folder("sharded"), &copy, Conversion::default())?;
    assert_same_files(&folder("sharded"), &copy)?;
    assert!(store::list(&copy)?.len() > 4, "several shards");
    // Through memory, with a tokenizer, which a policy needs.
    let words = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"},
    });
    store::write_json(&copy.join("tokenizer.json"), &words)?;
    let policy = directory::load_as_stored(&copy, &Device::Cpu)?;
    assert_eq!(policy.decoder.dtype(), DType::BF16);
    directory::save(&policy, &saved)?;
    assert_same_files(&copy, &saved)?;
    // In one file and back in another type, values are the same.
    convert(
        &copy,
        &single,
        Conversion { dtype: Some(DType::F32), max_shard_bytes: Some(1 << 30), ..Conversion::default() },
    )?;
    let wide = directory::load_as_stored(&single, &Device::Cpu)?;
    for ((name, narrow), (_, wide)) in policy.decoder.weights.named().iter().zip(wide.decoder.weights.named()) {
        assert_eq!(wide.dtype(), DType::F32);
        assert_eq!(max_difference(&narrow.to_dtype(DType::F32)?, wide)?, 0.0, "{name}");
    }
    Ok(())
}
