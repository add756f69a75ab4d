//! Instruction sets of the program against those of the processor (x86-64).
//!
//! The kernels are written for AVX2 and FMA (x86-64-v3, `.cargo/config.toml`). A program that was built with them refuses a processor
//! without them (`src/processor.c`); one that was built without them, outside the checkout, would be slow without a word.

use std::path::Path;

use memtrain_corpora::store;

/// What x86-64-v3 has beyond x86-64-v2, as `/proc/cpuinfo` names it (`abm` is LZCNT).
const BEYOND_V2: [&str; 8] = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "abm"];
/// Bytes of `/proc/cpuinfo` that hold the flags of the first processor.
const FIRST_PROCESSOR: u64 = 1 << 14;
/// Whether the program needs what [`BEYOND_V2`] lists.
const BUILT_WITH: bool = cfg!(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"));

/// How to build a program that uses what the processor has.
pub const REBUILD: &str =
    "build it inside the checkout (`cargo install --path .`), or with `RUSTFLAGS=\"-C target-cpu=x86-64-v3\"`";

/// What the program was built for, against the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// As good as the processor allows, by the name of the level.
    Fitting(&'static str),
    /// Without instructions that the processor has.
    Baseline,
}

/// What the program was built for.
pub fn build() -> Build {
    match () {
        () if BUILT_WITH => Build::Fitting("x86-64-v3 (AVX2, FMA)"),
        () if is_slow() => Build::Baseline,
        () => Build::Fitting(std::env::consts::ARCH),
    }
}

/// Whether the processor can do more than the program was built for.
fn is_slow() -> bool {
    if cfg!(not(target_arch = "x86_64")) || BUILT_WITH {
        return false;
    }
    let told = told();
    !told.is_empty() && missing(&told).is_empty()
}

/// Instruction sets of the first processor that kernels of this program or of others care for.
pub fn instruction_sets(cpuinfo: &str) -> Vec<&'static str> {
    let sets = [
        ("avx2", "AVX2"),
        ("fma", "FMA"),
        ("avx512f", "AVX-512"),
        ("amx_tile", "AMX"),
        ("asimd", "NEON"),
        ("sve", "SVE"),
    ];
    sets.into_iter().filter(|(name, _)| flags(cpuinfo).any(|flag| flag == *name)).map(|(_, told)| told).collect()
}

/// Warns where the processor can do more than the program was built for.
pub fn warn_of_baseline() {
    if is_slow() {
        tracing::warn!("this program was built without AVX2 and FMA, which this processor has, and is slow: {REBUILD}");
    }
}

/// The beginning of `/proc/cpuinfo`; empty where there is none.
pub fn told() -> String {
    let head = store::head(Path::new("/proc/cpuinfo"), FIRST_PROCESSOR).unwrap_or_default();
    String::from_utf8_lossy(&head).into_owned()
}

/// Those of [`BEYOND_V2`] that the first processor lacks; none where its flags are not told.
fn missing(cpuinfo: &str) -> Vec<&'static str> {
    if !cpuinfo.lines().any(|line| line.starts_with("flags")) {
        return Vec::new();
    }
    BEYOND_V2.into_iter().filter(|name| !flags(cpuinfo).any(|flag| flag == *name)).collect()
}

/// The flags of the first processor; those of aarch64 are called features.
fn flags(cpuinfo: &str) -> impl Iterator<Item = &str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
    line.and_then(|line| line.split_once(':')).map_or("", |(_, flags)| flags).split_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_instructions_are_named_where_the_system_tells_flags() {
        let haswell = "processor\t: 0\nflags\t\t: fpu sse2 ssse3 avx fma movbe f16c abm bmi1 avx2 bmi2\nbugs\t\t:\n";
        assert!(missing(haswell).is_empty());
        let sandy_bridge = haswell.replace(" fma movbe f16c abm bmi1 avx2 bmi2", "");
        assert_eq!(missing(&sandy_bridge), ["avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "abm"]);
        assert!(missing("processor\t: 0\nFeatures\t: fp asimd\n").is_empty());
        assert!(missing("").is_empty());
        assert_eq!(instruction_sets(haswell), ["AVX2", "FMA"]);
        assert_eq!(instruction_sets("processor\t: 0\nFeatures\t: fp asimd\n"), ["NEON"]);
    }
}
