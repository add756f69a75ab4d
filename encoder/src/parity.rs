//! The encoders against `transformers`: token ids, logits, pooled vectors and spans of tiny random models.
//! The fixtures are written by `scripts/encoder_fixtures.py`.

use std::path::{Path, PathBuf};

use memtrain_corpora::store;
use serde::Deserialize;

use crate::TokenClassifier;
use crate::embeddings::{Embeddings, Pooling};
use crate::model::Packed;
use crate::options::Options;
use crate::spans::{Aggregation, LabelledSpan};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const MODELS: [&str; 4] = ["bert", "distilbert", "roberta", "xlm-roberta"];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(model)
}

#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<u32>,
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

fn rows(model: &str) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    Ok(store::read_json(&folder(model).join("expected.json"))?)
}

fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
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
    let places = |(start, end, label, _): &(usize, usize, String, f32)| (*start..*end, label.clone());
    let theirs: Vec<_> = expected.iter().map(places).collect();
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
            for (row, found) in rows.iter().zip(classifier.classify(&texts)?) {
                compare(model, row, aggregation, &found);
            }
        }
    }
    Ok(())
}
