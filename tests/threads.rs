//! The same bytes whatever the number of threads: the test runs itself in processes of their own.

use candle_core::{DType, Device, Result, Tensor};
use memtrain::nn::{PackedBatch, tape};
use memtrain::optim::{AdamW, AdamWConfig, clip_global_norm};
use memtrain::policy::{Decoder, preset};
use memtrain_corpora::store;

const CHILD: &str = "MEMTRAIN_TEST_THREADS_CHILD";

/// Two training steps of the tiny policy; the hash of its weights and of the optimizer's state.
fn train() -> Result<String> {
    let decoder = Decoder::init(preset::tiny(300), 1, &Device::Cpu, DType::F32).map_err(candle_core::Error::wrap)?;
    let parameters = decoder.parameters()?;
    let mut optimizer = AdamW::new(parameters.clone(), AdamWConfig::default())?;
    let mut batch = PackedBatch::default();
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for group in 0..3u32 {
        let ids = |len: u32, salt: u32| (0..len).map(|i| (i * i + 31 * salt) % 300).collect::<Vec<_>>();
        let prompt = batch.push(&ids(150, group), None);
        for response in 0..4 {
            let segment = batch.push(&ids(40 + 9 * response, 7 * group + response), Some(prompt));
            let own = batch.segments[segment].rows.clone();
            rows.extend(own.start as u32..own.end as u32 - 1);
            targets.extend_from_slice(&batch.token_ids[own.start + 1..own.end]);
        }
    }
    for _ in 0..2 {
        let scored = decoder.log_probs(&decoder.hidden(&batch)?, &rows, &targets, 1.0)?;
        let loss = (scored.log_probs.mean_all()?.neg()? - (scored.entropy.mean_all()? * 0.01)?)?;
        let mut gradients = tape::gradients(&loss, &parameters)?;
        clip_global_norm(&mut gradients, 0.5)?;
        optimizer.step(&gradients, 1e-3)?;
    }
    let mut hasher = blake3::Hasher::new();
    for (_, parameter) in &parameters {
        let values = Tensor::flatten_all(parameter)?.to_vec1::<f32>()?;
        values.iter().for_each(|value| {
            hasher.update(&value.to_le_bytes());
        });
    }
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    optimizer.save_state(&state).map_err(candle_core::Error::wrap)?;
    hasher.update(&store::read(&state).map_err(candle_core::Error::wrap)?);
    Ok(hasher.finalize().to_hex().to_string())
}

#[test]
fn training_does_not_depend_on_threads() -> std::result::Result<(), Box<dyn std::error::Error>> {
    if std::env::var_os(CHILD).is_some() {
        println!("hash {}", train()?);
        return Ok(());
    }
    let mut hashes = Vec::new();
    for threads in ["1", "2", "5"] {
        let output = std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", "training_does_not_depend_on_threads", "--nocapture"])
            .env(CHILD, "1")
            .env("RAYON_NUM_THREADS", threads)
            .output()?;
        let stdout = String::from_utf8(output.stdout)?;
        let hash = stdout.split("hash ").nth(1).and_then(|rest| rest.split_whitespace().next());
        hashes.push(hash.ok_or_else(|| format!("no hash in {stdout}"))?.to_owned());
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    Ok(())
}
