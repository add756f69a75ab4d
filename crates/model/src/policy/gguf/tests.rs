//! Files that the tests write themselves, by candle's writer: read as they were meant, and any damage told.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use memtrain_corpora::store;
use memtrain_kernels::nn::PackedBatch;
use memtrain_kernels::nn::gradient_check::max_difference;
use proptest::prelude::*;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::super::config::{Architecture, Llama3Scaling};
use super::super::convert::Conversion;
use super::super::{Decoder, PolicyConfig, PolicyError, PromptText, Weights, directory, preset};
use super::{convert, is_gguf};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Types by turns: rows of 256 values are whole blocks of all of them.
const TYPES: [GgmlDType; 12] = [
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
    GgmlDType::F16,
    GgmlDType::BF16,
];

fn shape(architecture: Architecture, tied: bool) -> PolicyConfig {
    PolicyConfig {
        architecture,
        hidden_size: 256,
        intermediate_size: 256,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 64,
        vocab_size: 260,
        max_position_embeddings: 512,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        tie_word_embeddings: tied,
        ..preset::tiny(260)
    }
}

/// Rows of a head as llama.cpp has them: a pair that stood apart stands together.
fn interleaved(tensor: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (rows, _) = tensor.dims2()?;
    let width = rows / heads;
    let of = |row: usize| (row / width * width + row % width / 2 + row % 2 * (width / 2)) as u32;
    tensor.index_select(&Tensor::from_iter((0..rows).map(of), &Device::Cpu)?, 0)
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn texts<'a>(all: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(all.into_iter().map(text).collect())
}

/// A file: metadata and tensors.
struct Written {
    metadata: BTreeMap<String, Value>,
    tensors: Vec<(String, QTensor)>,
}

impl Written {
    fn bytes(&self) -> Vec<u8> {
        let metadata: Vec<_> = self.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<_> = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut bytes = Cursor::new(Vec::new());
        gguf_file::write(&mut bytes, &metadata, &tensors).unwrap();
        bytes.into_inner()
    }

    fn put(&mut self, key: &str, value: Value) {
        self.metadata.insert(key.to_owned(), value);
    }
}

/// A policy of random weights as a file, and the weights that are to come of it.
fn written(config: &PolicyConfig, quantized: bool) -> Result<(Written, Decoder), Box<dyn std::error::Error>> {
    let name = config.architecture.model_type();
    let mut decoder = Decoder::init(config.clone(), 3, &Device::Cpu, DType::F32)?;
    let (mut tensors, mut expected) = (Vec::new(), BTreeMap::new());
    for (number, (hf_name, tensor)) in decoder.weights.named().into_iter().enumerate() {
        // Biases and norms are not all the same.
        let noise = Tensor::randn(0f32, 0.02, tensor.dims(), &Device::Cpu)?;
        let values = tensor.detach().add(&noise)?;
        let dtype = if tensor.rank() == 2 && quantized { TYPES[number % TYPES.len()] } else { GgmlDType::F32 };
        let heads = match hf_name.rsplit('.').nth(1) {
            Some("q_proj") => Some(config.num_attention_heads),
            Some("k_proj") => Some(config.num_key_value_heads),
            _ => None,
        };
        let heads = heads.filter(|_| config.architecture == Architecture::Llama);
        let own = match hf_name.as_str() {
            "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
            "model.norm.weight" => "output_norm.weight".to_owned(),
            "lm_head.weight" => "output.weight".to_owned(),
            _ => hf_name
                .replace("model.layers", "blk")
                .replace("self_attn.q_norm", "attn_q_norm")
                .replace("self_attn.k_norm", "attn_k_norm")
                .replace("self_attn.o_proj", "attn_output")
                .replace("self_attn.", "attn_")
                .replace("mlp.", "ffn_")
                .replace("_proj", "")
                .replace("input_layernorm", "attn_norm")
                .replace("post_attention_layernorm", "ffn_norm"),
        };
        let stored = heads.map_or(Ok(values.clone()), |heads| interleaved(&values, heads))?;
        let stored = QTensor::quantize(&stored, dtype)?;
        // Where rows are put back, the expected values are made from the same blocks.
        let rows = stored.dequantize(&Device::Cpu)?;
        let back = match heads {
            None => rows,
            Some(heads) => {
                let (count, width) = (values.dim(0)?, values.dim(0)? / heads);
                let of =
                    |row: usize| (row / width * width + 2 * (row % (width / 2)) + row % width / (width / 2)) as u32;
                rows.index_select(&Tensor::from_iter((0..count).map(of), &Device::Cpu)?, 0)?
            }
        };
        expected.insert(hf_name, back);
        tensors.push((own, stored));
    }
    decoder.weights = Weights::build(config, |name, _| Ok(expected[name].clone()))?;
    let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let letters: Vec<String> = letters.into_iter().map(String::from).collect();
    let tokens = letters.iter().map(String::as_str).chain(["th", "<|im_start|>", "<|im_end|>", "<think>"]);
    let kinds = (0..260)
        .map(|id| {
            Value::I32(match id {
                257 | 258 => 3,
                259 => 4,
                _ => 1,
            })
        })
        .collect();
    let mut file = Written { metadata: BTreeMap::new(), tensors };
    let number = |size: usize| Value::U32(size as u32);
    for (key, value) in [
        ("embedding_length", number(config.hidden_size)),
        ("feed_forward_length", number(config.intermediate_size)),
        ("block_count", number(config.num_hidden_layers)),
        ("attention.head_count", number(config.num_attention_heads)),
        ("attention.head_count_kv", number(config.num_key_value_heads)),
        ("attention.key_length", number(config.head_dim)),
        ("attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps as f32)),
        ("rope.freq_base", Value::F32(config.rope_theta as f32)),
        ("context_length", number(config.max_position_embeddings)),
    ] {
        file.put(&format!("{name}.{key}"), value);
    }
    for (key, value) in [
        ("general.architecture", text(name)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.scores", Value::Array(vec![Value::F32(0.5); 260])),
        ("tokenizer.ggml.merges", texts(["t h"])),
        ("tokenizer.ggml.eos_token_id", Value::U32(258)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", text("{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}")),
    ] {
        file.put(key, value);
    }
    Ok((file, decoder))
}

fn converted(folder: &Path, bytes: &[u8], conversion: Conversion) -> Result<PathBuf, PolicyError> {
    let (from, to) = (folder.join("model.gguf"), folder.join("policy"));
    store::write_atomic(&from, bytes)?;
    convert(&from, &to, conversion).map(|()| to)
}

#[test]
fn every_quantization_of_every_architecture_gives_its_values_to_the_bit() -> Outcome {
    let folder = tempfile::tempdir()?;
    for (architecture, tied) in [
        (Architecture::Llama, true),
        (Architecture::Llama, false),
        (Architecture::Qwen2, false),
        (Architecture::Qwen3, true),
    ] {
        let (file, expected) = written(&shape(architecture, tied), true)?;
        let path = converted(folder.path(), &file.bytes(), Conversion::default())?;
        let policy = directory::load_as_stored(&path, &Device::Cpu)?;
        let read = &policy.decoder.config;
        assert_eq!(
            (read.architecture, read.head_dim, read.rms_norm_eps, read.rope_theta, read.tie_word_embeddings),
            (architecture, 64, 1e-5, 100_000.0, tied)
        );
        for ((name, got), (_, wanted)) in policy.decoder.weights.named().iter().zip(expected.weights.named()) {
            assert_eq!((got.dtype(), max_difference(got, wanted)?), (DType::F32, 0.0), "{architecture:?} {name}");
        }
        let mut batch = PackedBatch::default();
        batch.push(&[4, 5, 256, 7, 258, 1], None);
        let logits = |decoder: &Decoder| decoder.logits(&decoder.hidden(&batch)?);
        assert_eq!(max_difference(&logits(&policy.decoder)?, &logits(&expected)?)?, 0.0);
        assert_eq!(policy.generation.eos_token_ids, [258]);
    }
    Ok(())
}

#[test]
fn type_and_temperature_are_those_that_are_asked_for() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (file, expected) = written(&shape(Architecture::Qwen3, true), false)?;
    let conversion = Conversion { dtype: Some(DType::BF16), max_shard_bytes: Some(200_000), temperature: Some(0.5) };
    let path = converted(folder.path(), &file.bytes(), conversion)?;
    assert!(store::exists(&path.join("model.safetensors.index.json")));
    let policy = directory::load_as_stored(&path, &Device::Cpu)?;
    let norm = (expected.weights.norm.detach() / 0.5)?.to_dtype(DType::BF16)?;
    assert_eq!(max_difference(&policy.decoder.weights.norm, &norm)?, 0.0);
    let embedding = expected.weights.embed_tokens.detach().to_dtype(DType::BF16)?;
    assert_eq!(max_difference(&policy.decoder.weights.embed_tokens, &embedding)?, 0.0);
    Ok(())
}

#[test]
fn the_tokenizer_is_that_of_the_metadata() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (mut file, _) = written(&shape(Architecture::Llama, true), false)?;
    let tokens = |file: &Written, text: &str| -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let policy = directory::load(
            &converted(folder.path(), &file.bytes(), Conversion::default())?,
            &Device::Cpu,
            DType::F32,
        )?;
        let ids = policy.tokenizer.encode(text)?;
        assert_eq!(policy.tokenizer.decode(&ids)?, text);
        Ok(ids.into_iter().map(|id| policy.tokenizer.decode(&[id])).collect::<Result<_, _>>()?)
    };
    assert_eq!(tokens(&file, "the<|im_end|>")?, ["th", "e", "<|im_end|>"]);
    assert_eq!(tokens(&file, "<think>12")?, ["<think>", "1", "2"]);
    let policy = directory::load(&folder.path().join("policy"), &Device::Cpu, DType::F32)?;
    assert_eq!(policy.tokenizer.chat_prompt("the")?, "<|im_start|>the<|im_end|>");
    let foreign = policy.tokenizer.encode_text(PromptText::foreign("<|im_end|>"))?;
    assert!(foreign.len() > 1, "in text of others a control token is text");
    for known in ["gpt-2", "smollm", "llama-bpe"] {
        file.put("tokenizer.ggml.pre", text(known));
        assert_eq!(tokens(&file, "the")?, ["th", "e"], "{known}");
    }
    Ok(())
}

#[test]
fn the_scaling_of_llama_3_is_found_again() -> Outcome {
    let folder = tempfile::tempdir()?;
    let scaling = Llama3Scaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192.0,
    };
    let config = PolicyConfig { rope_theta: 500_000.0, ..shape(Architecture::Llama, true) };
    let (mut file, _) = written(&config, false)?;
    let plain = config.rotary_frequencies().into_iter();
    let scaled = PolicyConfig { rope_scaling: Some(scaling), ..config }.rotary_frequencies();
    let mut factors: Vec<f32> = plain.zip(scaled).map(|(plain, scaled)| (plain / scaled) as f32).collect();
    let tensor = |factors: &[f32]| QTensor::quantize(&Tensor::new(factors, &Device::Cpu)?, GgmlDType::F32);
    file.tensors.push(("rope_freqs.weight".to_owned(), tensor(&factors)?));
    let path = converted(folder.path(), &file.bytes(), Conversion::default())?;
    assert_eq!(directory::load_config(&path)?.rope_scaling, Some(scaling));
    factors[3] *= 1.5;
    file.tensors.pop();
    file.tensors.push(("rope_freqs.weight".to_owned(), tensor(&factors)?));
    let told = converted(folder.path(), &file.bytes(), Conversion::default()).unwrap_err().to_string();
    assert!(told.contains("not those of Llama 3"), "{told}");
    Ok(())
}

#[test]
fn what_cannot_be_said_exactly_is_refused_by_name() -> Outcome {
    let folder = tempfile::tempdir()?;
    let refused = |change: &dyn Fn(&mut Written), part: &str| {
        let (mut file, _) = written(&shape(Architecture::Llama, true), false).unwrap();
        change(&mut file);
        let told = converted(folder.path(), &file.bytes(), Conversion::default()).unwrap_err().to_string();
        assert!(told.contains(part), "{part}: {told}");
        assert!(!store::exists(&folder.path().join("policy")), "{part}: something was written");
    };
    refused(&|file| file.put("general.architecture", text("gemma3")), "unknown architecture `gemma3`");
    refused(&|file| file.put("tokenizer.ggml.model", text("llama")), "kind `llama`");
    refused(&|file| file.put("tokenizer.ggml.pre", text("tekken")), "splits text as `tekken`");
    refused(&|file| file.put("tokenizer.ggml.eos_token_id", Value::U32(9_999)), "there is no such token");
    refused(&|file| file.put("tokenizer.ggml.merges", texts(["no-space"])), "tokenizer");
    refused(&|file| file.put("llama.rope.scaling.type", text("yarn")), "rotary scaling `yarn`");
    refused(&|file| file.put("llama.rope.dimension_count", Value::U32(32)), "a part of each head");
    refused(&|file| file.put("llama.block_count", Value::U32(3)), "`blk.2.attn_norm.weight` is missing");
    refused(&|file| file.put("llama.block_count", Value::U32(1)), "`blk.1.attn_k.weight` has no place");
    refused(&|file| file.put("llama.block_count", text("two")), "`llama.block_count` is not one whole number");
    refused(&|file| file.put("llama.feed_forward_length", Value::U32(512)), "[512, 256]");
    refused(&|file| file.put("general.alignment", Value::U32(0)), "`general.alignment`");
    refused(&|file| drop(file.metadata.remove("llama.context_length")), "no key `llama.context_length`");
    refused(&|file| drop(file.metadata.remove("tokenizer.ggml.tokens")), "no key `tokenizer.ggml.tokens`");
    Ok(())
}

/// Headers whose counts and lengths are larger than the file.
#[test]
fn a_count_is_held_against_the_file_before_anything_is_allocated() -> Outcome {
    let folder = tempfile::tempdir()?;
    let header = |tensors: u64, keys: u64, rest: &[u8]| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(keys.to_le_bytes());
        bytes.extend(rest);
        bytes
    };
    let huge = u64::MAX.to_le_bytes();
    let array = [&1_u64.to_le_bytes()[..], b"k", &9_u32.to_le_bytes(), &0_u32.to_le_bytes(), &huge].concat();
    let tensor = |sizes: [u64; 2], offset: u64| {
        let sizes = sizes.map(u64::to_le_bytes).concat();
        [&1_u64.to_le_bytes()[..], b"t", &2_u32.to_le_bytes(), &sizes, &0_u32.to_le_bytes(), &offset.to_le_bytes()]
            .concat()
    };
    for (bytes, part) in [
        (header(u64::MAX, 0, b""), "longer than the"),
        (header(0, u64::MAX, b""), "longer than the"),
        (header(0, 1, &[&huge[..], &[0; 32]].concat()), "a string of length"),
        (header(0, 1, &[array, vec![0; 32]].concat()), "an array of length"),
        (header(1, 0, &tensor([1 << 40, 1 << 40], 0)), "reaches beyond the end"),
        (header(1, 0, &tensor([4, 1], u64::MAX)), "reaches beyond the end"),
        (header(1, 0, &tensor([1 << 32, 1 << 32], 0)), "reaches beyond the end"),
        (b"GGUF\x01\0\0\0".to_vec(), "version 1"),
        (b"GGUF\0\0\0\x03".to_vec(), "big-endian"),
        (b"GGUF".to_vec(), "longer than the"),
    ] {
        let told = converted(folder.path(), &bytes, Conversion::default()).unwrap_err().to_string();
        assert!(told.contains("model.gguf` cannot be read") && told.contains(part), "{part}: {told}");
    }
    assert!(is_gguf(&folder.path().join("model.gguf"))?);
    assert!(!is_gguf(folder.path())? && !is_gguf(&folder.path().join("nowhere"))?);
    Ok(())
}

/// A file of a few kilobytes, so that flips reach every part of it.
fn small() -> Vec<u8> {
    let config = PolicyConfig {
        hidden_size: 4,
        intermediate_size: 4,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 2,
        ..shape(Architecture::Llama, true)
    };
    written(&config, false).unwrap().0.bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn damage_is_an_error_or_another_policy(cut in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u32..8), 0..4), header: bool) {
        static WHOLE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(small);
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = WHOLE.clone();
        // Half of the flips are where the counts are.
        let reach = if header { 400 } else { bytes.len() };
        for (place, bit) in &flips {
            bytes[place.index(reach)] ^= 1 << bit;
        }
        if flips.is_empty() {
            // The last tensor ends in at most 31 bytes of padding, which nobody misses.
            bytes.truncate(cut.index(bytes.len() - 31));
        }
        let done = converted(folder.path(), &bytes, Conversion::default());
        prop_assert!(!flips.is_empty() || done.is_err(), "a file that is cut off was taken");
        if let Ok(path) = done {
            directory::load(&path, &Device::Cpu, DType::F32).unwrap();
        }
    }
}
