//! The decoder against `transformers`: logits, log-probabilities, gradients and greedy tokens of tiny random models.
//! The fixtures are written by `scripts/parity_fixtures.py`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use memtrain::nn::gradient_check::max_difference;
use memtrain::nn::{PackedBatch, tape};
use memtrain::policy::{Decoder, directory};
use memtrain_corpora::store;
use safetensors::SafeTensors;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const MODELS: [&str; 2] = ["qwen2", "qwen3"];

struct Fixture {
    decoder: Decoder,
    expected: Vec<u8>,
}

impl Fixture {
    fn load(name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(name);
        let config = directory::load_config(&folder)?;
        let decoder = directory::load_decoder(&folder, config, &Device::Cpu, DType::F32)?;
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
