//! The configuration and the tensors of a GGUF file under the names of `transformers`.

use serde_json::{Map, Value, json};

use super::super::config::{Architecture, Llama3Scaling};
use super::super::{PolicyConfig, PolicyError};
use super::file::Gguf;
use candle_core::Tensor;

/// Factors of the rotary frequencies, as llama.cpp keeps Llama 3's scaling.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Modules of a layer, as `transformers` and llama.cpp call them.
const MODULES: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The object of a `config.json`.
///
/// # Errors
/// If a key is missing or the model is none that the decoder can be.
pub(super) fn config(file: &Gguf) -> Result<Map<String, Value>, PolicyError> {
    let name = file.needed("general.architecture", file.text("general.architecture"))?;
    let (architecture, model_type) = match name {
        "llama" => (Architecture::Llama, "llama"),
        "qwen2" => (Architecture::Qwen2, "qwen2"),
        "qwen3" => (Architecture::Qwen3, "qwen3"),
        other => return Err(PolicyError::UnknownArchitecture { got: other.to_owned() }),
    };
    let size = |part: &str| {
        let key = format!("{name}.{part}");
        file.needed(&key, file.size(&key))
    };
    let (width, heads) = (size("embedding_length")?, size("attention.head_count")?);
    let head_dim = file.size(&format!("{name}.attention.key_length"))?;
    let kv_heads = file.size(&format!("{name}.attention.head_count_kv"))?;
    let epsilon = format!("{name}.attention.layer_norm_rms_epsilon");
    let embedding = file.tensors.get("token_embd.weight").map(|place| place.shape.as_slice());
    let Some([vocab_size, _]) = embedding else {
        return Err(file.wrong("it has no matrix `token_embd.weight`"));
    };
    let mut config = json!({
        "architectures": [architecture.class_name()],
        "model_type": model_type,
        "hidden_size": width,
        "intermediate_size": size("feed_forward_length")?,
        "num_hidden_layers": size("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads.unwrap_or(heads),
        "head_dim": head_dim.unwrap_or(width / heads.max(1)),
        "vocab_size": vocab_size,
        "max_position_embeddings": size("context_length")?,
        "rms_norm_eps": file.needed(&epsilon, file.number(&epsilon))?,
        "rope_theta": file.number(&format!("{name}.rope.freq_base"))?.unwrap_or(10_000.0),
        "tie_word_embeddings": !file.tensors.contains_key("output.weight"),
        "hidden_act": "silu",
        "attention_bias": false,
        "attention_dropout": 0.0,
        "use_cache": true,
    });
    if architecture == Architecture::Llama {
        config["mlp_bias"] = json!(false);
    } else {
        config["use_sliding_window"] = json!(false);
    }
    if let Some(scaling) = scaling(file, name, &config)? {
        config["rope_scaling"] = json!({
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_position_embeddings,
        });
    }
    match config {
        Value::Object(config) => Ok(config),
        _ => Err(file.wrong("it has no configuration")),
    }
}

/// Llama 3's scaling of the rotary frequencies. A GGUF has the factors by which they are divided, not what they were computed
/// from: of Meta's models, which all have the same bounds, that is the largest factor.
fn scaling(file: &Gguf, name: &str, config: &Value) -> Result<Option<Llama3Scaling>, PolicyError> {
    let kind = file.text(&format!("{name}.rope.scaling.type"))?.unwrap_or("none");
    if kind != "none" {
        return Err(file.wrong(format!("its rotary scaling `{kind}` is not supported")));
    }
    let rotated = file.size(&format!("{name}.rope.dimension_count"))?;
    if rotated.is_some_and(|rotated| config["head_dim"] != json!(rotated)) {
        return Err(file.wrong("it rotates a part of each head, which is not supported"));
    }
    if !file.tensors.contains_key(ROPE_FACTORS) {
        return Ok(None);
    }
    let factors = file.tensor(ROPE_FACTORS)?.flatten_all()?.to_vec1::<f32>()?;
    let factor = factors.iter().fold(1.0_f64, |largest, factor| largest.max(f64::from(*factor)));
    let scaling =
        Llama3Scaling { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 8192.0 };
    let Value::Object(object) = config else { return Ok(None) };
    let plain = PolicyConfig::from_json(object.clone())?;
    let scaled = PolicyConfig { rope_scaling: Some(scaling), ..plain.clone() }.rotary_frequencies();
    let same = |(factor, (plain, scaled)): (&f32, (f64, f64))| {
        (plain / scaled - f64::from(*factor)).abs() < 1e-3 * f64::from(factor.abs())
    };
    let pairs = plain.rotary_frequencies().into_iter().zip(scaled);
    match factors.len() == pairs.len() && factors.iter().zip(pairs).all(same) {
        true => Ok(Some(scaling)),
        false => Err(file.wrong(format!("the factors in `{ROPE_FACTORS}` are not those of Llama 3"))),
    }
}

/// The name in a GGUF file of a tensor of `transformers`.
fn own_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some("output.weight".to_owned()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, kind) = rest.rsplit_once('.')?;
    let own = MODULES.iter().find(|(theirs, _)| *theirs == module)?.1;
    Some(format!("blk.{layer}.{own}.{kind}"))
}

/// The tensors of a configuration: their names, those in the file, and their shapes.
///
/// # Errors
/// If one is missing, has another shape, or has no place in the architecture.
pub(super) fn tensors(file: &Gguf, config: &PolicyConfig) -> Result<Vec<(String, String, Vec<usize>)>, PolicyError> {
    let mut named = Vec::new();
    let mut unused: std::collections::BTreeSet<&str> = file.tensors.keys().map(String::as_str).collect();
    unused.remove(ROPE_FACTORS);
    for (name, expected) in config.tensor_shapes() {
        let own = own_name(&name).unwrap_or_else(|| name.clone());
        let Some(place) = file.tensors.get(&own) else {
            return Err(file.wrong(format!("its tensor `{own}` is missing")));
        };
        if place.shape != expected {
            return Err(PolicyError::Shape { name: own, expected, got: place.shape.clone() });
        }
        unused.remove(own.as_str());
        named.push((name, own, expected));
    }
    match unused.first() {
        Some(name) => Err(PolicyError::UnexpectedTensor { name: (*name).to_owned() }),
        None => Ok(named),
    }
}

/// A tensor of the file, in f32 and as `transformers` has it.
///
/// # Errors
/// If it cannot be read.
pub(super) fn values(file: &Gguf, own: &str, config: &PolicyConfig) -> Result<Tensor, PolicyError> {
    let tensor = file.tensor(own)?;
    let heads = match own.rsplit('.').nth(1) {
        Some("attn_q") => config.num_attention_heads,
        Some("attn_k") => config.num_key_value_heads,
        _ => return Ok(tensor),
    };
    // llama.cpp turns a Llama's pairs (i, i + D/2) of a head into neighbours; the families that came later it leaves.
    if config.architecture != Architecture::Llama {
        return Ok(tensor);
    }
    let (rows, columns) = tensor.dims2()?;
    let apart = tensor.reshape((heads, rows / heads / 2, 2, columns))?.transpose(1, 2)?;
    Ok(apart.contiguous()?.reshape((rows, columns))?)
}
