//! Low-rank adapters on disk, as PEFT writes and reads them: `adapter_config.json` and `adapter_model.safetensors`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Var};
use memtrain_corpora::store;
use serde_json::{Map, Value, json};

use super::lora::{Adapter, Target};
use super::stored::{Entry, StoredWeights, write_file};
use super::tokenizer::{object, pretty};
use super::{Decoder, PolicyError, recorded};

/// What makes a folder an adapter.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT puts before the name of a tensor of the base model.
const PREFIX: &str = "base_model.model.";

/// An `adapter_config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// Directory or name of the policy it is for.
    pub base: Option<String>,
    /// Rank.
    pub rank: usize,
    /// What products of adapters are multiplied by.
    pub scale: f64,
}

impl AdapterConfig {
    /// Reads the file of an adapter's folder.
    ///
    /// # Errors
    /// If it is missing, or asks for what adapters here are not: other methods than LoRA, biases, whole modules, ranks by
    /// pattern, weight decomposition.
    pub fn read(folder: &Path) -> Result<Self, PolicyError> {
        let path = folder.join(ADAPTER_CONFIG);
        recorded::check(&path)?;
        if !store::exists(&path) {
            return Err(PolicyError::Missing {
                path,
                hint: "an adapter is a folder that PEFT or memtrain has written",
            });
        }
        let json =
            object(&store::read(&path)?).map_err(|detail| PolicyError::Corrupt { path: path.clone(), detail })?;
        Self::from_json(&json)
    }

    fn from_json(json: &Map<String, Value>) -> Result<Self, PolicyError> {
        /// Keys that must be empty: what they ask for would change the numbers.
        const UNSUPPORTED: [&str; 10] = [
            "use_dora",
            "use_qalora",
            "modules_to_save",
            "rank_pattern",
            "alpha_pattern",
            "fan_in_fan_out",
            "lora_bias",
            "layer_replication",
            "trainable_token_indices",
            "target_parameters",
        ];
        let refuse = |key, detail: String| Err(PolicyError::Config { key, detail });
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let empty = |key: &str| match json.get(key) {
            None | Some(Value::Null) | Some(Value::Bool(false)) => true,
            Some(value) => value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty),
        };
        if text("peft_type") != Some("LORA") {
            return refuse(
                "peft_type",
                format!("`LORA` expected, got {}", json.get("peft_type").unwrap_or(&Value::Null)),
            );
        }
        if let Some(bias) = text("bias").filter(|bias| *bias != "none") {
            return refuse("bias", format!("`none` expected, got `{bias}`"));
        }
        for key in UNSUPPORTED {
            if !empty(key) {
                return refuse(key, format!("adapters with it are not supported, got {}", json[key]));
            }
        }
        let rank = json.get("r").and_then(Value::as_u64).filter(|rank| *rank > 0);
        let Some(rank) = rank else { return refuse("r", "a positive rank expected".to_owned()) };
        let alpha = json.get("lora_alpha").and_then(Value::as_f64);
        let Some(alpha) = alpha else { return refuse("lora_alpha", "a number expected".to_owned()) };
        let stabilized = json.get("use_rslora").and_then(Value::as_bool) == Some(true);
        let divisor = if stabilized { (rank as f64).sqrt() } else { rank as f64 };
        let base = text("base_model_name_or_path").map(str::to_owned);
        Ok(Self { base, rank: rank as usize, scale: alpha / divisor })
    }
}

/// Whether a folder holds an adapter and no policy of its own.
pub fn is_adapter(folder: &Path) -> bool {
    store::exists(&folder.join(ADAPTER_CONFIG)) && !store::exists(&folder.join("config.json"))
}

/// The policy `base` with the adapter of a folder, which alone is trainable; the rest is shared with `base` and frozen.
///
/// # Errors
/// If a file is missing or damaged, or a tensor of the adapter has no place in the policy.
pub fn attach(base: &Decoder, folder: &Path) -> Result<Decoder, PolicyError> {
    AdapterWeights::open(folder)?.attach(base)
}

/// Writes the adapters of `decoder` into `folder`, which must be there. `base` is the policy they are for.
///
/// # Errors
/// If there are none, they differ in rank or scale, or a file cannot be written.
pub(super) fn write(decoder: &Decoder, base: Option<&str>, folder: &Path) -> Result<(), PolicyError> {
    let refuse = |detail: &str| PolicyError::Config { key: "policy.lora", detail: detail.to_owned() };
    let adapters = || {
        let layers = decoder.weights.layers.iter();
        layers
            .flat_map(|layer| Target::ALL.into_iter().filter_map(|target| Some((target, layer.adapters.get(target)?))))
    };
    let (_, first) = adapters().next().ok_or_else(|| refuse("there are no adapters to write"))?;
    let (rank, scale) = (first.a.dim(0)?, first.scale);
    if adapters().any(|(_, adapter)| adapter.a.dims()[0] != rank || adapter.scale != scale) {
        return Err(refuse("adapters of several ranks or scales cannot be written to one file"));
    }
    let mut modules: Vec<&str> = Vec::new();
    for target in Target::ALL {
        if adapters().any(|(own, _)| own == target) {
            modules.push(target.module());
        }
    }
    let entries: Vec<Entry<'_>> = decoder
        .weights
        .named_adapters()
        .into_iter()
        .map(|(name, tensor)| Entry::of_tensor(format!("{PREFIX}{name}"), tensor))
        .collect();
    write_file(&folder.join(ADAPTER_WEIGHTS), &entries)?;
    let config = json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": scale * rank as f64,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {},
        "target_modules": modules,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    });
    store::write_atomic(&folder.join(ADAPTER_CONFIG), pretty(&config))?;
    Ok(())
}

/// An adapter's tensors, by layer and matrix.
struct AdapterWeights {
    stored: StoredWeights,
    path: PathBuf,
    scale: f64,
}

impl AdapterWeights {
    /// Opens an adapter's folder.
    ///
    /// # Errors
    /// If a file is missing or damaged, or it holds what adapters here are not.
    fn open(folder: &Path) -> Result<Self, PolicyError> {
        let config = AdapterConfig::read(folder)?;
        let path = folder.join(ADAPTER_WEIGHTS);
        recorded::check(&path)?;
        if !store::exists(&path) {
            return Err(PolicyError::Missing { path, hint: "adapters are read from safetensors alone" });
        }
        Ok(Self { stored: StoredWeights::open_files(vec![path.clone()])?, path, scale: config.scale })
    }

    /// The policy `base` with these adapters as its only variables.
    ///
    /// # Errors
    /// If a tensor has no place in the policy, lacks its partner, or does not fit.
    fn attach(&self, base: &Decoder) -> Result<Decoder, PolicyError> {
        let mut decoder = base.frozen()?;
        let mut used = 0;
        for (number, layer) in decoder.weights.layers.iter_mut().enumerate() {
            for target in Target::ALL {
                let name = |letter| format!("{PREFIX}model.layers.{number}.{}.lora_{letter}.weight", target.path());
                if !self.stored.names().any(|own| own == name('A')) {
                    continue;
                }
                let variable = |letter| -> Result<_, PolicyError> {
                    let tensor = self.stored.load(&name(letter), Some(DType::F32), base.device())?;
                    Ok(Var::from_tensor(&tensor)?.into_inner())
                };
                let adapter = Adapter { a: variable('A')?, b: variable('B')?, scale: self.scale };
                let (out, width) = layer.matrix(target).dims2()?;
                let rank = adapter.a.dims().first().copied().unwrap_or_default();
                for (letter, tensor, expected) in
                    [('A', &adapter.a, vec![rank, width]), ('B', &adapter.b, vec![out, rank])]
                {
                    if tensor.dims() != expected {
                        let got = tensor.dims().to_vec();
                        return Err(PolicyError::Shape { name: name(letter), expected, got });
                    }
                }
                layer.adapters.set(target, adapter);
                used += 2;
            }
        }
        let names: Vec<&str> = self.stored.names().collect();
        if used == 0 {
            let detail = "none of its tensors belongs to a matrix of this policy".to_owned();
            return Err(PolicyError::Corrupt { path: self.path.clone(), detail });
        }
        if used != names.len() {
            let attached = decoder.weights.named_adapters();
            let unknown = names.into_iter().find(|name| {
                let own = name.strip_prefix(PREFIX);
                !attached.iter().any(|(attached, _)| own == Some(attached.as_str()))
            });
            return Err(PolicyError::UnexpectedTensor { name: unknown.unwrap_or_default().to_owned() });
        }
        Ok(decoder)
    }
}

/// The directory whose weights are meant: that of an adapter's base, or itself.
///
/// # Errors
/// If an adapter does not say what it is for, or is for another adapter.
pub fn base_of(directory: &Path) -> Result<PathBuf, PolicyError> {
    if !is_adapter(directory) {
        return Ok(directory.to_path_buf());
    }
    let base = AdapterConfig::read(directory)?.base.ok_or_else(|| PolicyError::Config {
        key: "base_model_name_or_path",
        detail: "the adapter does not say which policy it is for".to_owned(),
    })?;
    if is_adapter(Path::new(&base)) {
        let detail = format!("`{base}` is an adapter itself");
        return Err(PolicyError::Config { key: "base_model_name_or_path", detail });
    }
    Ok(base.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: &[(&str, Value)]) -> Result<AdapterConfig, PolicyError> {
        let mut json = Map::from_iter([
            ("peft_type".to_owned(), json!("LORA")),
            ("r".to_owned(), json!(4)),
            ("lora_alpha".to_owned(), json!(8)),
            ("rank_pattern".to_owned(), json!({})),
            ("modules_to_save".to_owned(), Value::Null),
        ]);
        json.extend(change.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        AdapterConfig::from_json(&json)
    }

    #[test]
    fn configurations_of_peft_are_read_and_what_is_unsupported_is_named() -> Result<(), PolicyError> {
        assert_eq!(config(&[])?, AdapterConfig { base: None, rank: 4, scale: 2.0 });
        assert_eq!(config(&[("use_rslora", json!(true))])?.scale, 4.0);
        for (key, value) in [
            ("peft_type", json!("IA3")),
            ("bias", json!("all")),
            ("use_dora", json!(true)),
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({"q_proj": 2})),
            ("r", json!(0)),
            ("lora_alpha", Value::Null),
        ] {
            let message = config(&[(key, value)]).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(key), "{key}: {message}");
        }
        Ok(())
    }
}
