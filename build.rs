//! Links the check of the processor (`src/processor.c`) into a program that is built for more than the oldest x86-64.

use std::env::var;

fn main() {
    println!("cargo:rerun-if-changed=src/processor.c");
    let of = |name: &str| var(name).unwrap_or_default();
    let features = of("CARGO_CFG_TARGET_FEATURE");
    let has = |name: &str| features.split(',').any(|feature| feature == name);
    if of("CARGO_CFG_TARGET_ARCH") != "x86_64" || of("CARGO_CFG_TARGET_FAMILY") != "unix" || !has("avx2") {
        return;
    }
    let mut check = cc::Build::new();
    // The one part of the program that runs on any x86-64.
    check.file("src/processor.c").flag("-march=x86-64").warnings_into_errors(true);
    if has("avx512f") {
        check.define("WITH_AVX512", None);
    }
    for object in check.compile_intermediates() {
        println!("cargo:rustc-link-arg-bins={}", object.display());
    }
}
