//! Instruction sets of the program against those of the processor (x86-64).
//!
//! The kernels are written for AVX2 and FMA (x86-64-v3, `.cargo/config.toml`). A program that was built with them and runs on
//! a processor without them would end in an illegal instruction; one that was built without them, outside the checkout,
//! would be slow without a word.

use std::path::Path;

use memtrain_corpora::store;

/// What x86-64-v3 has beyond x86-64-v2, as `/proc/cpuinfo` names it (`abm` is LZCNT).
const BEYOND_V2: [&str; 8] = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "abm"];
/// Bytes of `/proc/cpuinfo` that hold the flags of the first processor.
const FIRST_PROCESSOR: u64 = 1 << 14;
/// Whether the program needs what [`BEYOND_V2`] lists.
const BUILT_WITH: bool = cfg!(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"));

/// The message of a program that cannot run on this processor; nothing where it can, or the system does not say.
#[inline(never)]
pub fn refusal() -> Option<String> {
    let missing = if BUILT_WITH { missing(&flags()) } else { Vec::new() };
    (!missing.is_empty()).then(|| {
        format!(
            "error: this program was built for processors with AVX2 and FMA (x86-64-v3), and this one lacks {}\n\
             hint: Build it on this machine: `RUSTFLAGS=\"-C target-cpu=native\" cargo build --release`\n",
            missing.join(", ")
        )
    })
}

/// Warns where the processor can do more than the program was built for.
pub fn warn_of_baseline() {
    if cfg!(target_arch = "x86_64") && !BUILT_WITH {
        let flags = flags();
        if !flags.is_empty() && missing(&flags).is_empty() {
            tracing::warn!(
                "this program was built without AVX2 and FMA, which this processor has, and is slow: build it inside the \
                 checkout (`cargo install --path .`), or with `RUSTFLAGS=\"-C target-cpu=x86-64-v3\"`"
            );
        }
    }
}

/// The beginning of `/proc/cpuinfo`; empty where there is none.
fn flags() -> String {
    let head = store::head(Path::new("/proc/cpuinfo"), FIRST_PROCESSOR).unwrap_or_default();
    String::from_utf8_lossy(&head).into_owned()
}

/// Those of [`BEYOND_V2`] that the first processor lacks; none where its flags are not told.
fn missing(cpuinfo: &str) -> Vec<&'static str> {
    let told = cpuinfo.lines().find(|line| line.starts_with("flags")).and_then(|line| line.split_once(':'));
    let Some((_, flags)) = told else { return Vec::new() };
    let has = |name: &str| flags.split_whitespace().any(|flag| flag == name);
    BEYOND_V2.into_iter().filter(|name| !has(name)).collect()
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
    }

    #[test]
    fn the_program_runs_where_its_tests_do() {
        assert_eq!(refusal(), None);
    }
}
