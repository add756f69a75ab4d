//! The shape of a policy: what Hugging Face keeps in `config.json`.

use memtrain_kernels::nn::ops::frequencies;
use serde_json::{Map, Value, json};

use super::PolicyError;
use super::lora::Target;

/// Largest sizes that a configuration may ask for, far above any published model. Within them numbers of parameters and
/// of bytes fit 64 bits, and lists of tensors stay short.
const LARGEST: [(&str, usize); 8] = [
    ("num_hidden_layers", 1 << 12),
    ("hidden_size", 1 << 20),
    ("intermediate_size", 1 << 22),
    ("num_attention_heads", 1 << 14),
    ("num_key_value_heads", 1 << 14),
    ("head_dim", 1 << 14),
    ("vocab_size", 1 << 28),
    ("max_position_embeddings", 1 << 32),
];
/// Most query heads times their width.
const LARGEST_PROJECTION: usize = 1 << 22;

/// Which of its relatives the decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Qwen2 and Qwen2.5: biases on the query, key and value projections, no norms on queries and keys.
    Qwen2,
    /// Qwen3: norms on queries and keys, a head width of its own, no biases.
    Qwen3,
    /// Llama 2 and 3: neither biases nor norms on queries and keys.
    Llama,
}

impl Architecture {
    /// The class that `transformers` loads it by.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Llama => "LlamaForCausalLM",
        }
    }

    /// The `model_type` of `transformers`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Llama => "llama",
        }
    }
}

/// How Llama 3 stretches its rotary frequencies: slow ones are divided by `factor`, fast ones stay, and those between are
/// a mixture. Keys are those of `rope_scaling`.
///
/// Source: the `llama3` rule of `transformers`' `modeling_rope_utils`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Llama3Scaling {
    /// What slow frequencies are divided by.
    pub factor: f64,
    /// Wavelengths above the original context over this are slow.
    pub low_freq_factor: f64,
    /// Wavelengths below the original context over this are fast.
    pub high_freq_factor: f64,
    /// The original context in tokens.
    pub original_max_position_embeddings: f64,
}

impl Llama3Scaling {
    /// The frequency that stands for `frequency`, in radians a position.
    fn apply(&self, frequency: f64) -> f64 {
        let turns = self.original_max_position_embeddings * frequency / std::f64::consts::TAU;
        if turns < self.low_freq_factor {
            return frequency / self.factor;
        }
        if turns > self.high_freq_factor {
            return frequency;
        }
        let smooth = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        (1.0 - smooth) * frequency / self.factor + smooth * frequency
    }
}

/// The configuration of a decoder. Keys that mean nothing here are kept and written back.
///
/// ```
/// use memtrain_model::policy::{PolicyConfig, preset};
/// let written = preset::tiny(1024).to_json();
/// assert_eq!(PolicyConfig::from_json(written.clone())?.to_json(), written);
/// # Ok::<(), memtrain_model::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyConfig {
    /// Qwen2, Qwen3 or Llama.
    pub architecture: Architecture,
    /// Model width `d`.
    pub hidden_size: usize,
    /// Feed-forward width `F`.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads `H`.
    pub num_attention_heads: usize,
    /// Key/value heads `K`, a divisor of `H`.
    pub num_key_value_heads: usize,
    /// Head width `D`, even.
    pub head_dim: usize,
    /// Vocabulary `V`, rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the frequencies are stretched, where they are.
    pub rope_scaling: Option<Llama3Scaling>,
    /// The output head is the embedding.
    pub tie_word_embeddings: bool,
    /// Standard deviation of fresh matrices.
    pub initializer_range: f64,
    /// The whole JSON object it was read from, unknown keys included.
    pub other: Map<String, Value>,
}

impl PolicyConfig {
    /// Reads the JSON object of a `config.json`. Both layouts of the rotary base are understood: `rope_theta`, and
    /// `rope_parameters` with `rope_theta` inside.
    ///
    /// # Errors
    /// If a needed key is missing, has another type, or asks for what the decoder does not do (sliding windows, scaled
    /// rotary frequencies, other activations).
    pub fn from_json(json: Map<String, Value>) -> Result<Self, PolicyError> {
        let architecture = architecture(&json)?;
        let keys = Keys(&json);
        let hidden_size = keys.required("hidden_size")?;
        let num_attention_heads = keys.required("num_attention_heads")?;
        // What `transformers` falls back to.
        let head_dim = match architecture {
            Architecture::Qwen2 | Architecture::Llama => hidden_size / num_attention_heads.max(1),
            Architecture::Qwen3 => 128,
        };
        let config = Self {
            architecture,
            hidden_size,
            intermediate_size: keys.required("intermediate_size")?,
            num_hidden_layers: keys.required("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: keys.size("num_key_value_heads")?.unwrap_or(num_attention_heads),
            head_dim: keys.size("head_dim")?.unwrap_or(head_dim),
            vocab_size: keys.required("vocab_size")?,
            max_position_embeddings: keys.size("max_position_embeddings")?.unwrap_or(32_768),
            rms_norm_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6),
            rope_theta: rope_theta(&keys)?,
            rope_scaling: rope_scaling(&keys)?,
            tie_word_embeddings: keys.flag("tie_word_embeddings")?.unwrap_or(false),
            initializer_range: keys.number("initializer_range")?.unwrap_or(0.02),
            other: json.clone(),
        };
        refuse_unsupported(&keys, architecture)?;
        config.check()?;
        Ok(config)
    }

    /// The JSON object for `config.json`: all keys that `transformers` needs, then those it was read with.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut json = self.other.clone();
        let mut put = |key: &str, value: Value| {
            json.insert(key.to_owned(), value);
        };
        put("architectures", json!([self.architecture.class_name()]));
        put("model_type", json!(self.architecture.model_type()));
        put("hidden_size", json!(self.hidden_size));
        put("intermediate_size", json!(self.intermediate_size));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("num_attention_heads", json!(self.num_attention_heads));
        put("num_key_value_heads", json!(self.num_key_value_heads));
        put("head_dim", json!(self.head_dim));
        put("vocab_size", json!(self.vocab_size));
        put("max_position_embeddings", json!(self.max_position_embeddings));
        put("rms_norm_eps", json!(self.rms_norm_eps));
        put("tie_word_embeddings", json!(self.tie_word_embeddings));
        put("initializer_range", json!(self.initializer_range));
        match json.get_mut("rope_parameters").and_then(Value::as_object_mut) {
            Some(parameters) => parameters.insert("rope_theta".to_owned(), json!(self.rope_theta)),
            None => json.insert("rope_theta".to_owned(), json!(self.rope_theta)),
        };
        for (key, value) in [
            ("hidden_act", json!("silu")),
            ("attention_bias", json!(false)),
            ("attention_dropout", json!(0.0)),
            ("use_cache", json!(true)),
            ("use_sliding_window", json!(false)),
            ("torch_dtype", json!("float32")),
        ] {
            // Newer files say `dtype` for `torch_dtype`; a second name for it would contradict the first.
            if !(json.contains_key(key) || key == "torch_dtype" && json.contains_key("dtype")) {
                json.insert(key.to_owned(), value);
            }
        }
        json
    }

    /// Names and shapes of all tensors in the order of the architecture.
    pub fn tensor_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let d = self.hidden_size;
        let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, d])];
        for layer in 0..self.num_hidden_layers {
            let layer_shapes = self.layer_shapes();
            shapes
                .extend(layer_shapes.into_iter().map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape)));
        }
        shapes.push(("model.norm.weight".to_owned(), vec![d]));
        if !self.tie_word_embeddings {
            shapes.push(("lm_head.weight".to_owned(), vec![self.vocab_size, d]));
        }
        shapes
    }

    fn layer_shapes(&self) -> Vec<(&'static str, Vec<usize>)> {
        let (d, f) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim);
        let mut shapes = vec![
            ("input_layernorm.weight", vec![d]),
            ("self_attn.q_proj.weight", vec![q, d]),
            ("self_attn.k_proj.weight", vec![kv, d]),
            ("self_attn.v_proj.weight", vec![kv, d]),
            ("self_attn.o_proj.weight", vec![d, q]),
        ];
        match self.architecture {
            Architecture::Qwen2 => shapes.extend([
                ("self_attn.q_proj.bias", vec![q]),
                ("self_attn.k_proj.bias", vec![kv]),
                ("self_attn.v_proj.bias", vec![kv]),
            ]),
            Architecture::Qwen3 => shapes.extend([
                ("self_attn.q_norm.weight", vec![self.head_dim]),
                ("self_attn.k_norm.weight", vec![self.head_dim]),
            ]),
            Architecture::Llama => {}
        }
        shapes.extend([
            ("post_attention_layernorm.weight", vec![d]),
            ("mlp.gate_proj.weight", vec![f, d]),
            ("mlp.up_proj.weight", vec![f, d]),
            ("mlp.down_proj.weight", vec![d, f]),
        ]);
        shapes
    }

    /// Rows and columns, `[out, in]`, of a matrix of a layer.
    pub fn matrix_shape(&self, target: Target) -> (usize, usize) {
        let (d, f) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim);
        match target {
            Target::Q => (q, d),
            Target::K | Target::V => (kv, d),
            Target::O => (d, q),
            Target::Gate | Target::Up => (f, d),
            Target::Down => (d, f),
        }
    }

    /// Whether a card has kernels for whole passes of this shape in bf16: heads that its attention takes, rows that its norms take.
    pub fn has_card_pass(&self) -> bool {
        matches!(self.head_dim, 64 | 96 | 128) && self.hidden_size <= 8_192 && self.num_hidden_layers > 0
    }

    /// Bytes a token that a layer in bf16 on a card keeps of its forward beside its input, if it is not computed again: queries,
    /// keys, values, the attention's output with its log-sum-exp in f32, the sum after it, gate and up.
    pub fn kept_bytes_a_token(&self) -> u64 {
        let (q, kv) = (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim);
        (2 * (2 * q + 2 * kv + self.hidden_size + 2 * self.intermediate_size) + 4 * self.num_attention_heads) as u64
    }

    /// Number of parameters of one layer.
    pub fn num_layer_parameters(&self) -> usize {
        self.layer_shapes().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// The `D / 2` rotary frequencies of a head, in radians a position.
    pub fn rotary_frequencies(&self) -> Vec<f64> {
        let plain = frequencies(self.head_dim, self.rope_theta).into_iter();
        plain.map(|frequency| self.rope_scaling.map_or(frequency, |scaling| scaling.apply(frequency))).collect()
    }

    /// Number of parameters, a tied head counted once.
    pub fn num_parameters(&self) -> usize {
        self.tensor_shapes().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    fn check(&self) -> Result<(), PolicyError> {
        let positive = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
        ];
        if let Some(&(key, _)) = positive.iter().find(|(_, size)| *size == 0) {
            return Err(PolicyError::Config { key, detail: "a positive number expected, got 0".to_owned() });
        }
        let size = |key| match key {
            "num_hidden_layers" => self.num_hidden_layers,
            "max_position_embeddings" => self.max_position_embeddings,
            _ => positive.iter().find(|(own, _)| *own == key).map_or(0, |(_, size)| *size),
        };
        if let Some((key, most)) = LARGEST.into_iter().find(|&(key, most)| size(key) > most) {
            return Err(PolicyError::Config { key, detail: format!("at most {most} expected, got {}", size(key)) });
        }
        if self.num_attention_heads * self.head_dim > LARGEST_PROJECTION {
            let (heads, width) = (self.num_attention_heads, self.head_dim);
            let detail = format!("{heads} heads of width {width} are more than {LARGEST_PROJECTION} numbers a token");
            return Err(PolicyError::Config { key: "head_dim", detail });
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
            let detail = format!("{kv_heads} key/value heads do not divide {heads} query heads");
            return Err(PolicyError::Config { key: "num_key_value_heads", detail });
        }
        if !self.head_dim.is_multiple_of(2) {
            let detail = format!("an even number expected for the rotary embedding, got {}", self.head_dim);
            return Err(PolicyError::Config { key: "head_dim", detail });
        }
        Ok(())
    }
}

fn architecture(json: &Map<String, Value>) -> Result<Architecture, PolicyError> {
    let class = json.get("architectures").and_then(|classes| classes.get(0)).and_then(Value::as_str);
    let name = class.or_else(|| json.get("model_type").and_then(Value::as_str)).unwrap_or_default();
    match name {
        "Qwen2ForCausalLM" | "qwen2" => Ok(Architecture::Qwen2),
        "Qwen3ForCausalLM" | "qwen3" => Ok(Architecture::Qwen3),
        "LlamaForCausalLM" | "llama" => Ok(Architecture::Llama),
        other => Err(PolicyError::UnknownArchitecture { got: other.to_owned() }),
    }
}

fn rope_theta(keys: &Keys<'_>) -> Result<f64, PolicyError> {
    let inner = keys.0.get("rope_parameters").and_then(Value::as_object);
    let inner = inner.map(|inner| Keys(inner).number("rope_theta")).transpose()?.flatten();
    Ok(inner.or(keys.number("rope_theta")?).unwrap_or(10_000.0))
}

/// The stretching of the rotary frequencies under either of its names.
fn rope_scaling(keys: &Keys<'_>) -> Result<Option<Llama3Scaling>, PolicyError> {
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(scaling) = keys.0.get(key).and_then(Value::as_object) else { continue };
        let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str);
        match kind {
            None | Some("default") => {}
            Some("llama3") => {
                let inner = Keys(scaling);
                let needed = |key: &'static str| {
                    let missing = || PolicyError::Config { key, detail: "rotary scaling `llama3` needs it".to_owned() };
                    inner.number(key)?.filter(|number| *number > 0.0).ok_or_else(missing)
                };
                return Ok(Some(Llama3Scaling {
                    factor: needed("factor")?,
                    low_freq_factor: needed("low_freq_factor")?,
                    high_freq_factor: needed("high_freq_factor")?,
                    original_max_position_embeddings: needed("original_max_position_embeddings")?,
                }));
            }
            Some(kind) => {
                let detail = format!("rotary scaling `{kind}` is not supported: `default` or `llama3` expected");
                return Err(PolicyError::Config { key, detail });
            }
        }
    }
    Ok(None)
}

fn refuse_unsupported(keys: &Keys<'_>, architecture: Architecture) -> Result<(), PolicyError> {
    let refuse = |key, detail: String| Err(PolicyError::Config { key, detail });
    if let Some(activation) = keys.0.get("hidden_act").and_then(Value::as_str).filter(|name| *name != "silu") {
        return refuse("hidden_act", format!("`silu` expected, got `{activation}`"));
    }
    if keys.flag("use_sliding_window")? == Some(true) {
        return refuse("use_sliding_window", "sliding windows are not supported".to_owned());
    }
    let kinds = keys.0.get("layer_types").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    if let Some(kind) = kinds.into_iter().find(|kind| *kind != "full_attention") {
        return refuse("layer_types", format!("`full_attention` in every layer expected, got `{kind}`"));
    }
    if architecture != Architecture::Qwen2 && keys.flag("attention_bias")? == Some(true) {
        let class = architecture.class_name();
        return refuse("attention_bias", format!("biases are not supported in a decoder of type {class}"));
    }
    if keys.flag("mlp_bias")? == Some(true) {
        return refuse("mlp_bias", "biases of the feed-forward are not supported".to_owned());
    }
    if keys.0.contains_key("quantization_config") {
        return refuse(
            "quantization_config",
            "quantized weights are not supported: take the original model".to_owned(),
        );
    }
    Ok(())
}

struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    fn get<T>(
        &self,
        key: &'static str,
        kind: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, PolicyError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(PolicyError::Config { key, detail: format!("{kind} expected, got {value}") }),
            },
        }
    }

    fn size(&self, key: &'static str) -> Result<Option<usize>, PolicyError> {
        self.get(key, "a whole number", |value| usize::try_from(value.as_u64()?).ok())
    }

    fn required(&self, key: &'static str) -> Result<usize, PolicyError> {
        let missing = || PolicyError::Config { key, detail: "it is missing".to_owned() };
        self.size(key)?.ok_or_else(missing)
    }

    fn number(&self, key: &'static str) -> Result<Option<f64>, PolicyError> {
        self.get(key, "a number", Value::as_f64)
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>, PolicyError> {
        self.get(key, "true or false", Value::as_bool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn qwen2() -> Value {
        json!({"architectures": ["Qwen2ForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "vocab_size": 100,
               "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 7})
    }

    #[test]
    fn unknown_keys_survive_and_defaults_are_those_of_transformers() -> Result<(), PolicyError> {
        let config = PolicyConfig::from_json(object(qwen2()))?;
        assert_eq!((config.head_dim, config.rope_theta, config.tie_word_embeddings), (16, 10_000.0, false));
        assert_eq!(config.to_json()["bos_token_id"], 7);
        assert_eq!(PolicyConfig::from_json(config.to_json())?.to_json(), config.to_json());
        Ok(())
    }

    #[test]
    fn both_layouts_of_the_rotary_base_are_read_and_kept() -> Result<(), PolicyError> {
        let mut json = object(qwen2());
        json.insert("rope_theta".to_owned(), json!(1e6));
        assert_eq!(PolicyConfig::from_json(json)?.rope_theta, 1e6);
        let mut json = object(qwen2());
        json.insert("rope_parameters".to_owned(), json!({"rope_theta": 5e6, "rope_type": "default"}));
        let config = PolicyConfig::from_json(json)?;
        assert_eq!(config.rope_theta, 5e6);
        assert!(!config.to_json().contains_key("rope_theta"));
        Ok(())
    }

    #[test]
    fn llama_3_stretches_slow_frequencies_alone() -> Result<(), PolicyError> {
        let mut json = object(qwen2());
        json.insert("architectures".to_owned(), json!(["LlamaForCausalLM"]));
        json.insert("rope_theta".to_owned(), json!(500_000.0));
        json.insert("head_dim".to_owned(), json!(64));
        let plain = PolicyConfig::from_json(json.clone())?.rotary_frequencies();
        let scaling = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192});
        json.insert("rope_scaling".to_owned(), scaling.clone());
        let config = PolicyConfig::from_json(json.clone())?;
        let stretched = config.rotary_frequencies();
        assert_eq!(stretched[0], plain[0]);
        assert_eq!(stretched[31], plain[31] / 32.0);
        assert!(stretched.iter().zip(&plain).all(|(new, old)| *new <= *old && *new >= old / 32.0));
        assert!(stretched.windows(2).all(|pair| pair[0] > pair[1]));
        // Llama has no biases, and its scaling is written back.
        assert!(config.tensor_shapes().iter().all(|(name, _)| !name.ends_with(".bias")));
        assert_eq!(config.to_json()["rope_scaling"], scaling);
        if let Some(scaling) = json.get_mut("rope_scaling").and_then(Value::as_object_mut) {
            scaling.remove("factor");
        }
        let message = PolicyConfig::from_json(json).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("factor"), "{message}");
        Ok(())
    }

    #[test]
    fn what_the_decoder_cannot_do_is_refused_by_name() {
        for (key, value) in [
            ("architectures", json!(["MistralForCausalLM"])),
            ("hidden_act", json!("gelu")),
            ("use_sliding_window", json!(true)),
            ("layer_types", json!(["full_attention", "sliding_attention"])),
            ("mlp_bias", json!(true)),
            ("quantization_config", json!({"quant_method": "awq"})),
            ("rope_scaling", json!({"rope_type": "yarn"})),
            ("num_key_value_heads", json!(3)),
            ("head_dim", json!(15)),
            ("hidden_size", json!("wide")),
            ("hidden_size", json!(0)),
            ("vocab_size", Value::Null),
        ] {
            let mut json = object(qwen2());
            json.insert(key.to_owned(), value);
            let message = PolicyConfig::from_json(json).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(key) || message.contains("MistralForCausalLM"), "{key}: {message}");
        }
    }
}
