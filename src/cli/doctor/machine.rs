//! The program's build and the machine: processor, memory, disk, NVIDIA cards, libraries that optional features load.

use std::path::{Path, PathBuf};

use memtrain_corpora::store;
use memtrain_session::run_plan::memory_of_this_machine;

use super::Finding;
use crate::cli::processor::{self, Build};
use crate::device::{DeviceChoice, DeviceError, card_name};
use crate::plan::memory::gib;
use crate::sampler;

/// Free memory below which it is told that little is left; the quickstart takes 0.8 GB.
const LITTLE_MEMORY_GIB: f64 = 1.0;
/// Free disk below which it is told that little is left; a run of a policy of 0.6 billion parameters keeps checkpoints of 7 GB.
const LITTLE_DISK_GIB: f64 = 10.0;
/// Where the loader looks beside `LD_LIBRARY_PATH`.
const LIBRARY_FOLDERS: [&str; 8] = [
    "/usr/local/cuda/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/lib/wsl/lib",
    "/opt/homebrew/lib",
];
/// What a program with the feature `cuda` loads, by the beginning of the name, and what brings it.
const CUDA_LIBRARIES: [(&str, &str); 4] =
    [("libcuda.so", "NVIDIA's driver"), ("libcublas.so", "CUDA"), ("libcurand.so", "CUDA"), ("libnvrtc.so", "CUDA")];

/// The program, what it was built with and for.
pub(super) fn program() -> Finding {
    let built = [
        ("cuda", cfg!(feature = "cuda")),
        ("fastembed", cfg!(feature = "fastembed")),
        ("rust-bert", cfg!(feature = "rust-bert")),
    ];
    let built: Vec<&str> = built.iter().filter(|(_, is_built)| *is_built).map(|(name, _)| *name).collect();
    let features =
        if built.is_empty() { "no optional features".to_owned() } else { format!("features {}", built.join(", ")) };
    let found = format!("memtrain {}, {features}", env!("CARGO_PKG_VERSION"));
    match processor::build() {
        Build::Fitting(level) => Finding::fine("program", format!("{found}, built for {level}")),
        Build::Baseline => Finding::note(
            "program",
            format!("{found}, built without AVX2 and FMA, which this processor has: it is slow"),
            processor::REBUILD,
        ),
    }
}

/// Its name, its instruction sets and its threads.
pub(super) fn processor() -> Finding {
    let text = processor::told();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.trim_start().strip_prefix(':'));
    let sets = processor::instruction_sets(&text);
    let sets = if sets.is_empty() { String::new() } else { format!(", {}", sets.join(" ")) };
    let threads = rayon::current_num_threads();
    let name = name.unwrap_or("of a name unknown").trim();
    Finding::fine("processor", format!("{name}{sets}; {threads} threads compute (RAYON_NUM_THREADS changes that)"))
}

/// Memory of the machine and what of it is free.
pub(super) fn memory() -> Finding {
    let Some(all) = memory_of_this_machine() else { return Finding::fine("memory", "the system does not say") };
    let free = sampler::local::free_bytes(&candle_core::Device::Cpu).map(|bytes| gib(bytes as u64));
    let found = format!("{:.1} GiB{}", gib(all), free.map_or_else(String::new, |free| format!(", {free:.1} free")));
    match free {
        Some(free) if free < LITTLE_MEMORY_GIB => Finding::note(
            "memory",
            found,
            "end other programs; `train --dry-run` says what a run takes, and which keys lower it",
        ),
        _ => Finding::fine("memory", found),
    }
}

/// Free disk of the folder in which corpora and runs go by default.
pub(super) fn disk(folder: &Path) -> Finding {
    match fs4::available_space(folder) {
        Err(error) => Finding::fine("disk", format!("the system does not say: {error}")),
        Ok(free) if gib(free) < LITTLE_DISK_GIB => Finding::note(
            "disk",
            format!("{:.1} GiB free here", gib(free)),
            "name folders on a larger disk with `run.corpus` and `run.runs`; dry runs say what is needed, `train.keep_last` \
             keeps fewer checkpoints",
        ),
        Ok(free) => Finding::fine("disk", format!("{:.1} GiB free here", gib(free))),
    }
}

/// An NVIDIA card: its driver, its libraries, and whether it answers.
pub(super) fn card() -> Finding {
    let driver = driver();
    match DeviceChoice::Cuda(0).open() {
        Ok(device) => {
            let name = card_name(&device).unwrap_or_else(|| "a card".to_owned());
            Finding::fine("card", format!("cuda:0 answers: {name}{}", driver.map_or_else(String::new, told_driver)))
        }
        Err(DeviceError::NotBuilt) => match driver {
            None => {
                Finding::fine("card", "none: the system has no driver of NVIDIA, and this program has no code for one")
            }
            Some(driver) => Finding::note(
                "card",
                format!("not used: this program was built without the feature `cuda`{}", told_driver(driver)),
                "scripts/cuda-build.sh builds the program for it",
            ),
        },
        Err(error) => {
            let missing = CUDA_LIBRARIES.into_iter().find(|(name, _)| library(name).is_none());
            let fix = match (&driver, missing) {
                (None, _) => "install NVIDIA's driver; a container has to be started with `--gpus all`".to_owned(),
                (_, Some((name, of))) => format!("`{name}` of {of} is not found: name its folder in LD_LIBRARY_PATH"),
                _ => "`nvidia-smi` says whether the driver works and who uses the card".to_owned(),
            };
            let told = driver.map_or_else(|| "; the system has no driver".to_owned(), told_driver);
            Finding::note("card", format!("none: {error}{told}"), fix)
        }
    }
}

/// Version of NVIDIA's driver, and the names of its cards, as the kernel tells them.
fn driver() -> Option<(String, Vec<String>)> {
    let text = store::read_to_string(Path::new("/proc/driver/nvidia/version")).ok()?;
    let folders = store::list(Path::new("/proc/driver/nvidia/gpus")).unwrap_or_default();
    let told = folders.iter().filter_map(|folder| store::read_to_string(&folder.join("information")).ok());
    let cards =
        told.filter_map(|text| Some(text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim().to_owned()));
    Some((driver_version(&text), cards.collect()))
}

/// The version in `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue …`.
fn driver_version(text: &str) -> String {
    let is_version = |word: &&str| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.split_whitespace().find(is_version).unwrap_or("of a version unknown").to_owned()
}

fn told_driver((version, cards): (String, Vec<String>)) -> String {
    format!("; driver {version}{}", cards.iter().map(|card| format!(", {card}")).collect::<String>())
}

/// The library of `corpus.index.embed.backend = "fastembed"`.
pub(super) fn onnx_runtime() -> Finding {
    const NAME: &str = "onnx";
    if cfg!(not(feature = "fastembed")) {
        return Finding::fine(NAME, "not needed: this program was built without the feature `fastembed`");
    }
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let found = match &named {
        Some(path) => Some(path.clone()).filter(|path| store::exists(path)),
        None => library("libonnxruntime."),
    };
    match found {
        Some(path) => Finding::fine(NAME, format!("the runtime is `{}`", path.display())),
        None => Finding::note(
            NAME,
            named.map_or_else(
                || "no runtime is found".to_owned(),
                |path| format!("ORT_DYLIB_PATH names `{}`, where nothing is", path.display()),
            ),
            "`pip install onnxruntime` brings one: set ORT_DYLIB_PATH to its libonnxruntime.so",
        ),
    }
}

/// The library of `corpus.entities.backend = "rust-bert"`, without which such a program does not start.
pub(super) fn libtorch() -> Finding {
    match cfg!(feature = "rust-bert") {
        true => Finding::fine("libtorch", "loaded with the program"),
        false => Finding::fine("libtorch", "not needed: this program was built without the feature `rust-bert`"),
    }
}

/// The first file whose name begins so where the loader looks.
fn library(beginning: &str) -> Option<PathBuf> {
    let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = std::env::split_paths(&named).chain(LIBRARY_FOLDERS.map(PathBuf::from));
    let mut files = folders.filter(|folder| !folder.as_os_str().is_empty()).flat_map(|folder| {
        let mut files = store::list(&folder).unwrap_or_default();
        files.sort();
        files
    });
    files.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_driver_is_read_as_the_kernel_tells_it() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n";
        assert_eq!(driver_version(closed), "550.54.15");
        assert_eq!(driver_version(open), "580.95.05");
        assert_eq!(driver_version("?"), "of a version unknown");
    }
}
