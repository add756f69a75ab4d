//! The memory that it takes to save and to restore an optimizer's state.

#![cfg(target_os = "linux")]

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use memtrain_corpora::store;
use memtrain_model::optim::{AdamW, AdamWConfig};

const MIB: u64 = 1 << 20;

/// Most bytes that the process has held so far.
fn peak() -> u64 {
    let text = store::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap()
}

/// 32 matrices of 4 MiB with moments of f32: a state of 256 MiB.
fn optimizer() -> AdamW {
    let parameter = |number: usize| {
        let start = Tensor::full(number as f32, (1024, 1024), &Device::Cpu).unwrap();
        (format!("w{number}"), Var::from_tensor(&start).unwrap())
    };
    AdamW::new((0..32).map(parameter).collect(), AdamWConfig::default()).unwrap()
}

#[test]
fn a_state_is_saved_and_restored_tensor_by_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut optimizer = optimizer();
    let gradient = Tensor::ones((1024, 1024), DType::F32, &Device::Cpu).unwrap();
    optimizer.step(&vec![gradient; 32], 1e-3).unwrap();
    let before = peak();
    optimizer.save_state(&path).unwrap();
    let saved = peak();
    assert!(store::len(&path).unwrap() > 256 * MIB);
    assert!(saved < before + 24 * MIB, "saving took {} MiB", (saved - before) / MIB);
    optimizer.restore_state(&path).unwrap();
    let restored = peak();
    assert!(restored < saved + 24 * MIB, "restoring took {} MiB", (restored - saved) / MIB);
}
