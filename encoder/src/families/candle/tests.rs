//! The families of candle-transformers against `transformers`, and this crate's own families against candle-transformers.
//! The fixtures are written by `scripts/encoder_family_fixtures.py` and `scripts/encoder_fixtures.py`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert, distilbert, xlm_roberta};
use memtrain_corpora::store;
use serde::Deserialize;
use serde_json::{Value, json};

use super::padded;
use crate::packed::Packed;
use crate::parity::{copy_of, difference, folder as own_folder};
use crate::{Aggregation, Embeddings, Options, Pooling, TokenClassifier};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Vectors, or the error of a model that is refused.
type Changed = Result<Vec<Vec<f32>>, String>;

/// Fixtures with a head for tokens, then those without.
const CLASSIFIERS: [&str; 4] = ["modernbert", "deberta-v3", "deberta-v2", "nomic-bert"];
const MODELS: [&str; 6] = ["modernbert", "deberta-v3", "deberta-v2", "nomic-bert", "jina-bert", "qwen3"];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families").join(model)
}

#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<u32>,
    mean: Vec<f32>,
    cls: Vec<f32>,
    last: Vec<f32>,
    #[serde(default)]
    logits: Vec<Vec<f32>>,
    #[serde(default)]
    spans: Vec<(usize, usize, String, f32)>,
}

fn rows(model: &str) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    Ok(store::read_json(&folder(model).join("expected.json"))?)
}

/// All texts in one padded batch.
fn together() -> Options {
    Options { batch_tokens: 1 << 20, ..Options::default() }
}

#[test]
fn vectors_are_those_of_transformers() -> Outcome {
    for model in MODELS {
        let rows = rows(model)?;
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        for pooling in [Pooling::Mean, Pooling::Cls, Pooling::LastToken] {
            let vectors = Embeddings::open(&folder(model), pooling, false, &together())?.embed(&texts)?;
            for (row, vector) in rows.iter().zip(&vectors) {
                let expected = match pooling {
                    Pooling::Mean => &row.mean,
                    Pooling::Cls => &row.cls,
                    _ => &row.last,
                };
                let off = difference(vector, expected);
                assert!(off < 2e-5, "{model}: {pooling:?} of {:?} differs by {off:e}", row.text);
            }
        }
    }
    Ok(())
}

#[test]
fn tokens_logits_and_spans_are_those_of_transformers() -> Outcome {
    for model in CLASSIFIERS {
        let rows: Vec<Row> = rows(model)?.into_iter().filter(|row| !row.logits.is_empty()).collect();
        let options = Options { aggregation: Aggregation::Simple, ..together() };
        let classifier = TokenClassifier::open(&folder(model), &options)?;
        let mut packed = Packed::default();
        for row in &rows {
            let ids = classifier.tokenizer.ids(&row.text)?;
            let ids: Vec<u32> = classifier.tokenizer.sequence(&ids).collect();
            assert_eq!(ids, row.ids, "{model}: {:?}", row.text);
            packed.push(ids);
        }
        let expected: Vec<f32> = rows.iter().flat_map(|row| row.logits.concat()).collect();
        let off = difference(&classifier.logits(&packed)?, &expected);
        assert!(off < 3e-5, "{model}: logits differ by {off:e}");
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let mut compared = 0;
        for (row, found) in rows.iter().zip(classifier.classify(&texts)?) {
            // There, each part of a character that a tokenizer of bytes has cut can have a label of its own.
            let tokens = classifier.tokenizer.tokens(&row.text)?;
            if (1..tokens.ids.len()).any(|token| tokens.shares_character(token)) {
                continue;
            }
            let ours: Vec<_> = found.iter().map(|span| (span.span.clone(), span.label.clone())).collect();
            let theirs: Vec<_> = row.spans.iter().map(|(start, end, label, _)| (*start..*end, label.clone())).collect();
            assert_eq!(ours, theirs, "{model}: {:?}", row.text);
            compared += ours.len();
        }
        assert!(compared > 20, "{model}: {compared} spans");
    }
    Ok(())
}

#[test]
fn a_text_alone_and_in_a_batch_has_the_same_vector() -> Outcome {
    for model in MODELS {
        let rows = rows(model)?;
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let embeddings = Embeddings::open(&folder(model), Pooling::Model, true, &together())?;
        let vectors = embeddings.embed(&texts)?;
        for (text, vector) in texts.iter().zip(&vectors) {
            let off = difference(&embeddings.embed(&[text])?[0], vector);
            assert!(off < 2e-6, "{model}: {text:?} differs by {off:e} from the batch");
        }
        let with = |threads: usize| -> Result<_, Box<dyn std::error::Error>> {
            let options = Options { batch_tokens: 90, ..Options::default() };
            let embeddings = Embeddings::open(&folder(model), Pooling::Model, true, &options)?;
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            Ok(pool.install(|| embeddings.embed(&texts))?)
        };
        assert_eq!(with(1)?, with(3)?, "{model}: threads");
    }
    Ok(())
}

/// Vectors of a fixture with another configuration, or why there are none.
fn changed(model: &str, change: impl Fn(&mut Value)) -> Result<Changed, Box<dyn std::error::Error>> {
    let copy = copy_of(&folder(model), &[])?;
    let path = copy.path().join("config.json");
    let mut config: Value = store::read_json(&path)?;
    change(&mut config);
    store::write_json(&path, &config)?;
    let rows = rows(model)?;
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let opened = Embeddings::open(copy.path(), Pooling::Mean, false, &together());
    Ok(opened.and_then(|embeddings| embeddings.embed(&texts)).map_err(|error| error.to_string()))
}

#[test]
fn files_of_the_hub_say_the_same_by_older_keys() -> Outcome {
    let same = |model: &str, change: &dyn Fn(&mut Value)| -> Outcome {
        let found = changed(model, change)?.map_err(|error| format!("{model}: {error}"))?;
        for (row, vector) in rows(model)?.iter().zip(&found) {
            assert!(difference(vector, &row.mean) < 2e-5, "{model}");
        }
        Ok(())
    };
    same("nomic-bert", &|config| {
        *config = json!({
            "model_type": "nomic_bert", "architectures": ["NomicBertModel"], "activation_function": "swiglu",
            "n_embd": 16, "n_head": 4, "n_layer": 2, "n_inner": 24, "n_positions": 8192, "vocab_size": config["vocab_size"],
            "type_vocab_size": 2, "layer_norm_epsilon": 1e-3, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": false, "rotary_emb_scale_base": null, "rotary_scaling_factor": null,
            "prenorm": false, "qkv_proj_bias": false, "mlp_fc1_bias": false, "mlp_fc2_bias": false,
            "max_trained_positions": 2048, "parallel_block": false, "use_rms_norm": false,
        });
    })?;
    same("modernbert", &|config| {
        let fields = config.as_object_mut().unwrap();
        for key in ["layer_types", "rope_parameters", "norm_eps"] {
            fields.remove(key);
        }
        fields.insert("global_attn_every_n_layers".into(), 3.into());
        fields.insert("global_rope_theta".into(), 160_000.0.into());
        fields.insert("local_rope_theta".into(), 10_000.0.into());
        fields.insert("layer_norm_eps".into(), 1e-3.into());
    })?;
    same("qwen3", &|config| {
        let fields = config.as_object_mut().unwrap();
        fields.remove("rope_parameters");
        fields.remove("layer_types");
        fields.insert("rope_theta".into(), 1_000_000.into());
        fields.insert("rope_scaling".into(), Value::Null);
    })?;
    same("deberta-v3", &|config| config["pos_att_type"] = "p2c|c2p".into())?;
    // Named by its class alone.
    same("jina-bert", &|config| {
        config.as_object_mut().unwrap().remove("model_type");
    })
}

#[test]
fn what_candle_transformers_would_compute_wrongly_is_refused_by_name() -> Outcome {
    let complaint = |model: &str, key: &str, value: Value| -> Result<String, Box<dyn std::error::Error>> {
        let found = changed(model, |config| config[key] = value.clone())?;
        Ok(found.err().ok_or(format!("{model} was read with {key} = {value}"))?)
    };
    for (model, key, value, told) in [
        ("deberta-v3", "conv_kernel_size", json!(3), "conv_kernel_size"),
        ("deberta-v3", "norm_rel_ebd", json!("layer_norm|batch_norm"), "norm_rel_ebd"),
        ("deberta-v3", "pos_att_type", json!("p2p|c2p"), "p2p"),
        ("deberta-v3", "position_buckets", json!(2), "2 buckets"),
        ("deberta-v3", "position_buckets", json!(u64::MAX), "buckets"),
        ("deberta-v3", "embedding_size", json!(8), "embedding_size"),
        ("modernbert", "norm_bias", json!(true), "norm_bias"),
        ("modernbert", "hidden_activation", json!("silu"), "hidden_activation"),
        ("modernbert", "layer_types", json!(vec!["sliding_attention"; 5]), "layer_types"),
        ("nomic-bert", "num_experts", json!(8), "num_experts"),
        ("nomic-bert", "rotary_emb_interleaved", json!(true), "rotary_emb_interleaved"),
        ("nomic-bert", "rope_parameters", json!({"rope_type": "yarn"}), "yarn"),
        ("jina-bert", "feed_forward_type", json!("original"), "feed_forward_type"),
        ("qwen3", "use_sliding_window", json!(true), "use_sliding_window"),
        ("qwen3", "is_causal", json!(false), "is_causal"),
        ("qwen3", "rope_parameters", json!({"rope_type": "default", "rope_theta": 0}), "above 0"),
        ("qwen3", "model_type", json!("jina_embeddings_v3"), "`jina_embeddings_v3` is not among bert, "),
    ] {
        let error = complaint(model, key, value)?;
        assert!(error.contains(told), "{model}, {key}: {error}");
    }
    Ok(())
}

/// Sizes beyond any memory are met by comparing, not by allocating.
#[test]
fn sizes_are_compared_before_memory_is_asked_for() -> Outcome {
    for model in MODELS {
        let config: Value = store::read_json(&folder(model).join("config.json"))?;
        for (key, value) in config.as_object().ok_or("no configuration")? {
            if !value.is_u64() || key.ends_with("_token_id") {
                continue;
            }
            for size in [0, 1 << 40, u64::MAX / 2] {
                if let Err(error) = changed(model, |config| config[key] = size.into())? {
                    assert!(error.len() < 1000, "{model}, {key} = {size}: {error}");
                }
            }
        }
        for key in ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"] {
            let error = changed(model, |config| config[key] = (1_u64 << 40).into())?.err();
            let error = error.ok_or(format!("{model} was read with a {key} of 2^40"))?;
            assert!(
                ["do not fit", "heads", "once a layer"].iter().any(|told| error.contains(told)),
                "{model}, {key}: {error}"
            );
        }
        // More positions than any text has need no memory.
        if model != "deberta-v2" {
            changed(model, |config| config["max_position_embeddings"] = (1_u64 << 40).into())??;
        }
    }
    Ok(())
}

#[test]
fn half_a_classifier_is_told() -> Outcome {
    let copy = copy_of(&folder("modernbert"), &["model.safetensors"])?;
    let bytes = store::read(&folder("modernbert").join("model.safetensors"))?;
    let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
    tensors.remove("head.norm.weight");
    tensors.insert("model.layers.2.attn_norm.weight".into(), Tensor::zeros(3, DType::F32, &Device::Cpu)?);
    candle_core::safetensors::save(&tensors, copy.path().join("model.safetensors"))?;
    let error = TokenClassifier::open(copy.path(), &Options::default()).err().ok_or("it was read")?.to_string();
    assert!(error.contains("`model.layers.2.attn_norm.weight` is [3], expected [16]"), "{error}");
    tensors.insert("model.layers.2.attn_norm.weight".into(), Tensor::ones(16, DType::F32, &Device::Cpu)?);
    candle_core::safetensors::save(&tensors, copy.path().join("model.safetensors"))?;
    let error = TokenClassifier::open(copy.path(), &Options::default()).err().ok_or("it was read")?.to_string();
    assert!(error.contains("`head.norm.weight` is missing"), "{error}");
    // Vectors need no head.
    Embeddings::open(copy.path(), Pooling::Mean, true, &Options::default())?;
    Ok(())
}

/// The families that this crate computes itself, as candle-transformers computes them.
#[test]
fn own_families_and_those_of_candle_transformers_agree() -> Outcome {
    let device = Device::Cpu;
    for model in ["bert", "distilbert", "roberta", "xlm-roberta"] {
        let copy = copy_of(&own_folder(model), &[])?;
        let path = copy.path().join("config.json");
        let mut config: Value = store::read_json(&path)?;
        config["position_embedding_type"] = "absolute".into();
        let theirs_config = config.clone();
        if model == "distilbert" {
            // Its DistilBERT approximates `gelu` by tanh, which transformers and this crate call `gelu_new`.
            config["activation"] = "gelu_new".into();
        }
        store::write_json(&path, &config)?;
        let ours = TokenClassifier::open(copy.path(), &Options::default())?;
        let mut packed = Packed::default();
        for row in crate::parity::rows(model)? {
            packed.push(row.ids);
        }
        let bytes = store::read(&copy.path().join("model.safetensors"))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &device)?;
        let builder = VarBuilder::from_tensors(tensors, DType::F32, &device);
        let theirs = match model {
            "bert" => {
                let config: bert::Config = serde_json::from_value(theirs_config)?;
                let theirs = bert::BertModel::load(builder.pp("bert"), &config)?;
                padded(&packed, &device, |ids, mask| theirs.forward(ids, &ids.zeros_like()?, Some(mask)))?
            }
            "distilbert" => {
                let config: distilbert::Config = serde_json::from_value(theirs_config)?;
                let theirs = distilbert::DistilBertModel::load(builder.pp("distilbert"), &config)?;
                // Its mask says what is left out.
                padded(&packed, &device, |ids, mask| {
                    let (count, length) = mask.dims2()?;
                    theirs.forward(ids, &mask.eq(0_u32)?.reshape((count, 1, 1, length))?)
                })?
            }
            _ => {
                let config: xlm_roberta::Config = serde_json::from_value(theirs_config)?;
                let theirs = xlm_roberta::XLMRobertaModel::new(&config, builder.pp("roberta"))?;
                padded(&packed, &device, |ids, mask| {
                    let mask = mask.to_dtype(DType::F32)?;
                    theirs.forward(ids, &mask, &ids.zeros_like()?, None, None, None)
                })?
            }
        };
        let ours = ours.model.hidden(&packed)?.flatten_all()?.to_vec1()?;
        let off = difference(&ours, &theirs.flatten_all()?.to_vec1()?);
        assert!(off < 1e-5, "{model}: hidden states differ by {off:e}");
    }
    Ok(())
}
