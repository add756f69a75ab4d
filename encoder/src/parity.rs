//! The encoders against `transformers`: token ids, logits, pooled vectors and spans of tiny random models.
//! The fixtures are written by `scripts/encoder_fixtures.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use memtrain_corpora::store;
use serde::Deserialize;

use crate::TokenClassifier;
use crate::embeddings::Embeddings;
use crate::options::Options;
use crate::packed::Packed;
use crate::pooling::Pooling;
use crate::spans::{Aggregation, LabelledSpan};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const MODELS: [&str; 4] = ["bert", "distilbert", "roberta", "xlm-roberta"];

pub(crate) fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(model)
}

#[derive(Deserialize)]
pub(crate) struct Row {
    text: String,
    pub(crate) ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
    mean: Vec<f32>,
    cls: Vec<f32>,
    spans: Spans,
}

#[derive(Deserialize)]
struct Spans {
    simple: Vec<(usize, usize, String, f32)>,
    first: Vec<(usize, usize, String, f32)>,
    average: Vec<(usize, usize, String, f32)>,
    max: Vec<(usize, usize, String, f32)>,
}

pub(crate) fn rows(model: &str) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    Ok(store::read_json(&folder(model).join("expected.json"))?)
}

pub(crate) fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn tokens_logits_and_vectors_are_those_of_transformers() -> Outcome {
    for model in MODELS {
        let rows = rows(model)?;
        let classifier = TokenClassifier::open(&folder(model), &Options::default())?;
        let mut packed = Packed::default();
        for row in &rows {
            let ids = classifier.tokenizer.ids(&row.text)?;
            let ids: Vec<u32> = classifier.tokenizer.sequence(&ids).collect();
            assert_eq!(ids, row.ids, "{model}: {:?}", row.text);
            packed.push(ids);
        }
        let logits = classifier.logits(&packed)?;
        let expected: Vec<f32> = rows.iter().flat_map(|row| row.logits.concat()).collect();
        let off = difference(&logits, &expected);
        assert!(off < 1e-5, "{model}: logits differ by {off:e}");
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        for pooling in [Pooling::Mean, Pooling::Cls] {
            let vectors = Embeddings::open(&folder(model), pooling, false, &Options::default())?.embed(&texts)?;
            for (row, vector) in rows.iter().zip(&vectors) {
                let off = difference(vector, if pooling == Pooling::Cls { &row.cls } else { &row.mean });
                assert!(off < 1e-5, "{model}: {pooling:?} of {:?} differs by {off:e}", row.text);
            }
        }
    }
    Ok(())
}

fn compare(model: &str, row: &Row, aggregation: Aggregation, found: &[LabelledSpan]) {
    let expected = match aggregation {
        Aggregation::Simple => &row.spans.simple,
        Aggregation::First => &row.spans.first,
        Aggregation::Average => &row.spans.average,
        Aggregation::Max => &row.spans.max,
    };
    let theirs: Vec<_> = expected.iter().map(|(start, end, label, _)| (*start..*end, label.clone())).collect();
    let ours: Vec<_> = found.iter().map(|span| (span.span.clone(), span.label.clone())).collect();
    assert_eq!(ours, theirs, "{model}, {aggregation:?}: {:?}", row.text);
    for (span, (.., score)) in found.iter().zip(expected) {
        assert!((span.score - score).abs() < 1e-5, "{model}: {span:?} has {score} there");
    }
}

#[test]
fn spans_are_those_of_the_pipeline_of_transformers() -> Outcome {
    use Aggregation::{Average, First, Max, Simple};
    for model in MODELS {
        // Of other tokenizers than WordPiece, the pipeline takes whatever stands between spaces for one word.
        let strategies = if model.contains("roberta") { &[Simple][..] } else { &[Simple, First, Average, Max] };
        for &aggregation in strategies {
            let options = Options { aggregation, ..Options::default() };
            let classifier = TokenClassifier::open(&folder(model), &options)?;
            let rows = rows(model)?;
            let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
            let mut compared = 0;
            for (row, found) in rows.iter().zip(classifier.classify(&texts)?) {
                // There, each part of a character that a tokenizer of bytes has cut can have a label of its own.
                let tokens = classifier.tokenizer.tokens(&row.text)?;
                if !(1..tokens.ids.len()).any(|token| tokens.shares_character(token)) {
                    compare(model, row, aggregation, &found);
                    compared += 1;
                }
            }
            assert!(compared >= if model.contains("roberta") { 3 } else { rows.len() }, "{model}: {compared}");
        }
    }
    Ok(())
}

fn copy_without(model: &str, left_out: &[&str]) -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    copy_of(&folder(model), left_out)
}

/// A copy of a fixture in a temporary directory, without some of its files.
pub(crate) fn copy_of(fixture: &Path, left_out: &[&str]) -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let copy = tempfile::tempdir()?;
    for path in store::list(fixture)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !left_out.contains(&name) {
            store::write_atomic(&copy.path().join(name), store::read(&path)?)?;
        }
    }
    Ok(copy)
}

type Tensors = HashMap<String, Tensor>;

fn tensors(model: &str) -> Result<Tensors, Box<dyn std::error::Error>> {
    let bytes = store::read(&folder(model).join("model.safetensors"))?;
    Ok(candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?)
}

fn vectors(directory: &Path) -> Result<Vec<Vec<f32>>, Box<dyn std::error::Error>> {
    let model = Embeddings::open(directory, Pooling::Mean, false, &Options::default())?;
    Ok(model.embed(&["Ada Lovelace met Charles Babbage.", "北京 🙂", ""])?)
}

#[test]
fn the_ways_in_which_weights_are_stored_give_the_same_numbers() -> Outcome {
    const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
    let expected = vectors(&folder("bert"))?;
    let pickle = copy_without("bert", &["model.safetensors"])?;
    assert_eq!(vectors(pickle.path())?, expected, "pytorch_model.bin");

    let renamed = |change: &dyn Fn(&str) -> String| -> Outcome {
        let copy = copy_without("bert", &WEIGHTS)?;
        let tensors: Tensors = tensors("bert")?.into_iter().map(|(name, tensor)| (change(&name), tensor)).collect();
        candle_core::safetensors::save(&tensors, copy.path().join("model.safetensors"))?;
        assert_eq!(vectors(copy.path())?, expected);
        Ok(())
    };
    renamed(&|name| name.strip_prefix("bert.").unwrap_or(name).to_owned())?;
    renamed(&|name| format!("0.auto_model.{name}"))?;
    renamed(&|name| name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"))?;

    let sharded = copy_without("bert", &WEIGHTS)?;
    let (mut map, mut parts) = (serde_json::Map::new(), [Tensors::new(), Tensors::new()]);
    for (number, (name, tensor)) in tensors("bert")?.into_iter().enumerate() {
        map.insert(name.clone(), format!("model-{}.safetensors", number % 2).into());
        parts[number % 2].insert(name, tensor);
    }
    for (number, part) in parts.iter().enumerate() {
        candle_core::safetensors::save(part, sharded.path().join(format!("model-{number}.safetensors")))?;
    }
    let index = serde_json::json!({ "weight_map": map });
    store::write_json(&sharded.path().join("model.safetensors.index.json"), &index)?;
    assert_eq!(vectors(sharded.path())?, expected, "shards");
    let files = crate::files(sharded.path())?;
    assert!(files.contains(&"model-1.safetensors".into()) && files.contains(&"tokenizer.json".into()), "{files:?}");
    Ok(())
}

#[test]
fn half_precision_weights_are_read() -> Outcome {
    let copy = copy_without("bert", &["model.safetensors", "pytorch_model.bin"])?;
    let half: Result<Tensors, _> =
        tensors("bert")?.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::BF16)?))).collect();
    candle_core::safetensors::save(
        &half.map_err(|error: candle_core::Error| error)?,
        copy.path().join("model.safetensors"),
    )?;
    for (ours, full) in vectors(copy.path())?.iter().zip(vectors(&folder("bert"))?) {
        let off = difference(ours, &full);
        assert!(off > 0.0 && off < 0.2, "{off}");
    }
    Ok(())
}

#[test]
fn weights_that_do_not_fit_are_named() -> Outcome {
    let copy = copy_without("bert", &["model.safetensors", "pytorch_model.bin"])?;
    let mut tensors = tensors("bert")?;
    tensors.remove("bert.encoder.layer.1.output.dense.bias");
    let narrow = Tensor::zeros((3, 16), DType::F32, &Device::Cpu)?;
    tensors.insert("bert.encoder.layer.1.attention.self.key.weight".into(), narrow);
    candle_core::safetensors::save(&tensors, copy.path().join("model.safetensors"))?;
    let error = TokenClassifier::open(copy.path(), &Options::default()).err().ok_or("it was read")?.to_string();
    assert!(error.contains("`bert.encoder.layer.1.output.dense.bias` is missing"), "{error}");
    assert!(
        error.contains("`bert.encoder.layer.1.attention.self.key.weight` is [3, 16], expected [16, 16]"),
        "{error}"
    );
    let mut tensors = self::tensors("bert")?;
    tensors.retain(|name, _| !name.starts_with("classifier"));
    candle_core::safetensors::save(&tensors, copy.path().join("model.safetensors"))?;
    let error = TokenClassifier::open(copy.path(), &Options::default()).err().ok_or("it was read")?;
    assert!(error.to_string().contains("classifier.weight") && error.hint().is_some(), "{error}");
    Ok(())
}

#[test]
fn what_cannot_be_read_is_refused_by_name() -> Outcome {
    let complaint = |change: &dyn Fn(&mut serde_json::Value)| -> Result<String, Box<dyn std::error::Error>> {
        let copy = copy_without("bert", &[])?;
        let path = copy.path().join("config.json");
        let mut config: serde_json::Value = store::read_json(&path)?;
        change(&mut config);
        store::write_json(&path, &config)?;
        Ok(TokenClassifier::open(copy.path(), &Options::default()).err().ok_or("it was read")?.to_string())
    };
    assert!(complaint(&|config| config["model_type"] = "albert".into())?.contains("`albert`"));
    assert!(complaint(&|config| config["hidden_act"] = "mish".into())?.contains("`mish`"));
    assert!(complaint(&|config| config["position_embedding_type"] = "relative_key".into())?.contains("relative_key"));
    assert!(complaint(&|config| config["num_attention_heads"] = 3.into())?.contains("3 heads"));
    assert!(complaint(&|config| config["num_attention_heads"] = "x".into())?.contains("num_attention_heads"));
    assert!(complaint(&|config| config["id2label"]["9"] = "X".into())?.contains("id2label"));
    // Sizes beyond any memory are met by comparing, not by allocating.
    for key in ["vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings", "num_hidden_layers"] {
        let error = complaint(&|config| config[key] = (1u64 << 40).into())?;
        assert!(error.contains("do not fit") && error.len() < 1000, "{key}: {error}");
    }
    let nowhere = TokenClassifier::open(Path::new("dslim/bert-base-NER"), &Options::default());
    let error = nowhere.err().ok_or("it was read")?;
    assert!(error.to_string().contains("does not exist") && error.hint().is_some_and(|hint| hint.contains("download")));
    let no_tokenizer = copy_without("bert", &["tokenizer.json"])?;
    let error = TokenClassifier::open(no_tokenizer.path(), &Options::default()).err().ok_or("it was read")?;
    assert!(error.to_string().contains("no tokenizer.json"), "{error}");
    let cuda = Options { device: crate::Device::Cuda(0), ..Options::default() };
    let error = TokenClassifier::open(&folder("bert"), &cuda).err().ok_or("there is a GPU")?;
    assert!(error.to_string().contains("`cuda:0`"), "{error}");
    Ok(())
}

/// The vocabulary of a `tokenizer.json`, in the order of its ids.
fn vocabulary(model: &str) -> Result<Vec<(String, u64)>, Box<dyn std::error::Error>> {
    let value: serde_json::Value = store::read_json(&folder(model).join("tokenizer.json"))?;
    let tokens = value["model"]["vocab"].as_object().ok_or("no vocabulary")?;
    let mut tokens: Vec<(String, u64)> =
        tokens.iter().filter_map(|(token, id)| Some((token.clone(), id.as_u64()?))).collect();
    tokens.sort_by_key(|(_, id)| *id);
    Ok(tokens)
}

#[test]
fn vocabularies_alone_make_the_same_tokenizer() -> Outcome {
    for model in ["bert", "distilbert", "roberta"] {
        let copy = copy_without(model, &["tokenizer.json"])?;
        let tokens = vocabulary(model)?;
        if model == "roberta" {
            let value: serde_json::Value = store::read_json(&folder(model).join("tokenizer.json"))?;
            let pair = |pair: &serde_json::Value| Some(format!("{} {}\n", pair[0].as_str()?, pair[1].as_str()?));
            let merges: String = value["model"]["merges"].as_array().into_iter().flatten().filter_map(pair).collect();
            store::write_atomic(&copy.path().join("merges.txt"), format!("#version: 0.2\n{merges}"))?;
            store::write_json(&copy.path().join("vocab.json"), &tokens.into_iter().collect::<HashMap<_, _>>())?;
        } else {
            let lines: String = tokens.iter().map(|(token, _)| format!("{token}\n")).collect();
            store::write_atomic(&copy.path().join("vocab.txt"), lines)?;
        }
        let made = TokenClassifier::open(copy.path(), &Options::default())?.tokenizer;
        let read = TokenClassifier::open(&folder(model), &Options::default())?.tokenizer;
        for row in rows(model)? {
            let (ours, theirs) = (made.tokens(&row.text)?, read.tokens(&row.text)?);
            assert_eq!(made.sequence(&ours.ids).collect::<Vec<_>>(), row.ids, "{model}: {:?}", row.text);
            assert_eq!((ours.spans, ours.words), (theirs.spans, theirs.words), "{model}: {:?}", row.text);
        }
    }
    Ok(())
}

#[test]
fn kernels_and_candles_operations_agree() -> Outcome {
    for model in MODELS {
        let mut classifier = TokenClassifier::open(&folder(model), &Options::default())?;
        let mut packed = Packed::default();
        rows(model)?.iter().for_each(|row| packed.push(row.ids.clone()));
        let by_kernels = classifier.logits(&packed)?;
        classifier.model.encoder.use_portable();
        let off = difference(&classifier.logits(&packed)?, &by_kernels);
        assert!(off < 1e-5, "{model}: {off:e}");
    }
    Ok(())
}

#[test]
fn neither_batches_nor_threads_change_a_bit() -> Outcome {
    let rows = rows("bert")?;
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).cycle().take(60).collect();
    let with = |batch_tokens: usize, threads: usize| -> Result<Vec<Vec<f32>>, Box<dyn std::error::Error>> {
        let options = Options { batch_tokens, ..Options::default() };
        let model = Embeddings::open(&folder("bert"), Pooling::Mean, true, &options)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(pool.install(|| model.embed(&texts))?)
    };
    let expected = with(1024, 1)?;
    assert_eq!(with(1024, 3)?, expected);
    for (ours, vector) in with(60, 2)?.iter().zip(&expected) {
        assert!(difference(ours, vector) < 1e-6);
    }
    for vector in &expected {
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    Ok(())
}

/// Long texts in batches of windows, against one window after the other, each token labelled by the window in which it has
/// the most context.
#[test]
fn long_texts_are_read_in_windows() -> Outcome {
    let texts =
        [5, 1, 30, 11].map(|times| "Ada Lovelace met Charles Babbage in London. Émile 北京 naïve! ".repeat(times));
    let options = Options { max_tokens: Some(24), batch_tokens: 100, ..Options::default() };
    let classifier = TokenClassifier::open(&folder("bert"), &options)?;
    let num_labels = classifier.labels().len();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens: Vec<_> = texts.iter().map(|text| classifier.tokenizer.tokens(text)).collect::<Result<_, _>>()?;
    for (tokens, found) in tokens.iter().zip(classifier.probabilities(&tokens)?) {
        let n = tokens.ids.len();
        let (size, overlap) = (22, 5);
        // Place of the cut that is nearest to a token, and the probabilities the window gives it.
        let mut best: Vec<(usize, Vec<f32>)> = vec![(0, Vec::new()); n];
        for start in (0..).map(|number| number * (size - overlap)) {
            let start = start.min(n.saturating_sub(size));
            let end = (start + size).min(n);
            let mut packed = Packed::default();
            packed.push(classifier.tokenizer.sequence(&tokens.ids[start..end]));
            let values = classifier.of_tokens(&packed)?;
            for (place, best) in best[start..end].iter_mut().enumerate() {
                let before = if start == 0 { n } else { place };
                let context = 1 + before.min(if end == n { n } else { end - start - 1 - place });
                if context > best.0 {
                    let row = place + 1;
                    *best = (context, values[row * num_labels..(row + 1) * num_labels].to_vec());
                }
            }
            if end == n {
                break;
            }
        }
        let expected: Vec<f32> = best.into_iter().flat_map(|(_, values)| values).collect();
        assert!(difference(&found, &expected) < 1e-6);
    }
    for (text, spans) in texts.iter().zip(classifier.classify(&texts)?) {
        assert!(spans.len() > 3 && spans.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start));
        assert!(spans.iter().all(|span| text.get(span.span.clone()).is_some_and(|words| words == words.trim())));
    }
    Ok(())
}

#[test]
fn spans_hold_whole_characters_of_the_original() -> Outcome {
    let texts = [
        "Jose\u{301} Ga\u{308}rtner e\u{301}",
        "🙂🙂 e\u{200d}x👩‍👩‍👧 北京市Ada",
        "\u{feff}\u{ad}Ada\u{ad}Love\u{200b}lace",
        "İstanbul ŒUVRE ﬁne ½ ㎏",
        "\r\n\t \u{a0}",
    ];
    for model in MODELS {
        let options = Options { aggregation: Aggregation::Simple, ..Options::default() };
        let classifier = TokenClassifier::open(&folder(model), &options)?;
        for text in texts {
            let tokens = classifier.tokenizer.tokens(text)?;
            for span in &tokens.spans {
                let word = text.get(span.clone()).ok_or("a span within a character")?;
                assert_eq!(word, word.trim());
                let next = text[span.end..].chars().next();
                let cut = !span.is_empty() && next.is_some_and(unicode_normalization::char::is_combining_mark);
                assert!(!cut, "{model}: {text:?} {span:?}");
            }
            assert!(tokens.spans.windows(2).all(|pair| pair[0].start <= pair[1].start), "{model}: {text:?}");
        }
        assert_eq!(classifier.classify(&[])?, Vec::<Vec<LabelledSpan>>::new());
    }
    Ok(())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Whatever the text: spans are in order, disjoint, whole characters, trimmed, and the scores probabilities.
    #[test]
    fn any_text_is_read(text in "([a-zA-Z ]|[éßŁ北の🙂]|[\\u{0300}-\\u{0310}]|\\PC){0,80}", model in 0usize..4, max_tokens in 8usize..40) {
        let options = Options { max_tokens: Some(max_tokens), batch_tokens: 64, ..Options::default() };
        let classifier = TokenClassifier::open(&folder(MODELS[model]), &options).unwrap();
        let found = classifier.classify(&[&text, ""]).unwrap();
        proptest::prop_assert!(found[1].is_empty());
        let mut end = 0;
        for span in &found[0] {
            let words = text.get(span.span.clone());
            proptest::prop_assert!(words.is_some_and(|words| !words.is_empty() && words == words.trim()), "{span:?}");
            proptest::prop_assert!(span.span.start >= end && span.score > 0.0 && span.score <= 1.0, "{span:?}");
            end = span.span.end;
        }
    }
}
