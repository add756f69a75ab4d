//! fastembed against candle: the same weights, as safetensors and as ONNX, must give the same vectors.
//!
//! The model is the small random BERT of the encoder's tests; `scripts/bert_to_onnx.py` exports it to `tests/onnx/model.onnx`. The
//! ONNX runtime is where ORT_DYLIB_PATH says (`.ci/fastembed` fetches it); without it there is a word and no test.
#![cfg(feature = "fastembed")]

use std::path::{Path, PathBuf};

use memtrain_corpora::store;
use memtrain_encoder::Pooling;
use memtrain_index::embed::{Embedder, Neural, Onnx, Role};
use memtrain_index::{EmbedBackend, EmbedConfig};

/// The model's directory with the export in it, or one that ORT_MODEL names.
fn model(folder: &Path) -> PathBuf {
    if let Some(model) = std::env::var_os("ORT_MODEL") {
        return model.into();
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in store::list(&here.join("../encoder/tests/parity/bert")).unwrap() {
        store::write_atomic(&folder.join(file.file_name().unwrap()), store::read(&file).unwrap()).unwrap();
    }
    store::write_atomic(&folder.join("model.onnx"), store::read(&here.join("tests/onnx/model.onnx")).unwrap()).unwrap();
    folder.to_path_buf()
}

fn config(backend: EmbedBackend, model: &Path, pooling: Pooling) -> EmbedConfig {
    let (query_prefix, passage_prefix) = ("query: ".to_owned(), "passage: ".to_owned());
    EmbedConfig { backend, model: model.into(), pooling, query_prefix, passage_prefix, ..EmbedConfig::default() }
}

#[test]
fn vectors_are_those_of_candle() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        println!("skipped: ORT_DYLIB_PATH does not say where the ONNX runtime is");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let long = "The river rises in the hills and the town keeps its mill. ".repeat(60);
    let texts = ["A town on a river.", "", "Été — 北京 🙂", "a", &long, "The weavers of the guild keep their looms."];
    for pooling in [Pooling::Model, Pooling::Mean, Pooling::Cls] {
        let onnx = Onnx::open(&config(EmbedBackend::Fastembed, &model, pooling)).unwrap();
        let candle = Neural::open(&config(EmbedBackend::Candle, &model, pooling)).unwrap();
        assert_eq!(onnx.dimensions(), candle.dimensions());
        for role in [Role::Query, Role::Passage] {
            let (got, expected) = (onnx.embed(&texts, role).unwrap(), candle.embed(&texts, role).unwrap());
            for ((text, got), expected) in texts.iter().zip(&got).zip(&expected) {
                let furthest = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(furthest < 1e-5, "{pooling:?}, {role:?}: `{text:.30}` differs by {furthest}");
            }
        }
    }
    let max = Onnx::open(&config(EmbedBackend::Fastembed, &model, Pooling::Max)).err().unwrap().to_string();
    assert!(max.contains("candle"), "{max}");
    let gone = Onnx::open(&config(EmbedBackend::Fastembed, &folder.path().join("gone"), Pooling::Mean));
    assert!(gone.err().unwrap().to_string().contains("no such directory"));
    store::write_atomic(&folder.path().join("model.onnx"), "no model").unwrap();
    let damaged = Onnx::open(&config(EmbedBackend::Fastembed, folder.path(), Pooling::Mean));
    assert!(std::env::var_os("ORT_MODEL").is_some() || damaged.is_err());
}
