//! Compiles the CUDA kernels for the feature `cuda`: one fat binary a folder of `cuda/`, embedded by `src/cuda`.
//!
//! `MEMTRAIN_CUDA_KERNELS` names a folder with fat binaries that exist already (`scripts/cuda-kernels.sh compile FOLDER`);
//! without it, `NVCC` or the nvcc of the `PATH` compiles them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of `cuda/` with kernels.
const FOLDERS: [&str; 4] = ["attention", "paged", "pointwise", "sampling"];

/// Cubins for A100, L4/RTX 40 and H100/H200, and PTX that the driver compiles for later cards.
const ARCHITECTURES: [&str; 4] = [
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_89,code=sm_89",
    "-gencode=arch=compute_90,code=sm_90",
    "-gencode=arch=compute_90,code=compute_90",
];

#[expect(
    clippy::disallowed_methods,
    reason = "errors of a build are met by those who build; the store is not built yet"
)]
fn main() {
    println!("cargo::rerun-if-env-changed=MEMTRAIN_CUDA_KERNELS");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        println!("cargo::rerun-if-changed=build.rs");
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // What all of them include.
    println!("cargo::rerun-if-changed=cuda/emulator");
    for folder in FOLDERS {
        let source = Path::new("cuda").join(folder);
        println!("cargo::rerun-if-changed={}", source.display());
        let to = out.join(folder).with_extension("fatbin");
        if let Some(compiled) = env::var_os("MEMTRAIN_CUDA_KERNELS") {
            let from = Path::new(&compiled).join(folder).with_extension("fatbin");
            println!("cargo::rerun-if-changed={}", from.display());
            fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            continue;
        }
        let mut nvcc = Command::new(env::var_os("NVCC").unwrap_or_else(|| "nvcc".into()));
        nvcc.args(["-std=c++17", "-O3", "-fatbin"]).args(ARCHITECTURES);
        nvcc.arg("-o").arg(&to).arg(source.join(folder).with_extension("cu"));
        let status = nvcc.status().unwrap_or_else(|error| {
            panic!("nvcc cannot be started ({error}); build with scripts/cuda-build.sh, which brings it")
        });
        assert!(status.success(), "{nvcc:?} ended with {status}");
    }
}
