#!/usr/bin/env bash
# Fuzzes the readers of other people's bytes for so many seconds each (60 by default), from the seeds in fuzz/seeds.
# A find is written to fuzz/artifacts and fails the script; `cargo fuzz run TARGET FILE` shows it again.
# cargo-fuzz is installed beside the build if it is missing. RUSTC_BOOTSTRAP lets a stable compiler instrument; nightly
# does without.
set -euo pipefail
seconds="${1:-60}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
export RUSTC_BOOTSTRAP=1
tools="$CARGO_TARGET_DIR/tools"
export PATH="$tools/bin:$PATH"
command -v cargo-fuzz >/dev/null || CARGO_TARGET_DIR="$tools/build" cargo install cargo-fuzz --locked --quiet --root "$tools"

# Panics, hangs and broken invariants are what is looked for; there is no unsafe code here that a sanitizer would watch.
options=(--sanitizer none --target-dir "$CARGO_TARGET_DIR")
cargo fuzz build "${options[@]}"
for target in wikitext dump; do
    corpus="$CARGO_TARGET_DIR/corpus/$target"
    mkdir -p "$corpus"
    cargo fuzz run "${options[@]}" "$target" "$corpus" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=16384 -print_final_stats=1
done
