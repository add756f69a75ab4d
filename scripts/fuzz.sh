#!/usr/bin/env bash
# Fuzzes the readers of other people's bytes for so many seconds each (60 by default), from the seeds in fuzz/seeds.
#
#   scripts/fuzz.sh [SECONDS]     searches on from what earlier searches reached
#   scripts/fuzz.sh runs=NUMBER   so many inputs, the same ones each time: a judgement of the commit, not of the day's luck
#
# A find is written to fuzz/artifacts and fails the script; `cargo fuzz run TARGET FILE` shows it again.
# Parquet tables are not among them: their reader is mostly the `parquet` crate, which takes minutes to build with counters, and
# corpora/tests/hostile_tables.rs spoils tables of every form in each test run.
# cargo-fuzz is installed beside the build if it is missing. RUSTC_BOOTSTRAP lets a stable compiler instrument; nightly
# does without.
set -euo pipefail
extent="${1:-60}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
export RUSTC_BOOTSTRAP=1
tools="$CARGO_TARGET_DIR/tools"
export PATH="$tools/bin:$PATH"
command -v cargo-fuzz >/dev/null || CARGO_TARGET_DIR="$tools/build" cargo install cargo-fuzz --locked --quiet --root "$tools"

# Panics, hangs and broken invariants are what is looked for; there is no unsafe code here that a sanitizer would watch.
options=(--sanitizer none --target-dir "$CARGO_TARGET_DIR")
cargo fuzz build "${options[@]}"
for target in wikitext markdown dump; do
    corpus="$CARGO_TARGET_DIR/corpus/$target"
    case "$extent" in
    runs=*)
        corpus="$corpus-anew"
        rm -rf "$corpus"
        bounds=(-seed=1 "-$extent")
        ;;
    *) bounds=("-max_total_time=$extent") ;;
    esac
    mkdir -p "$corpus"
    cargo fuzz run "${options[@]}" "$target" "$corpus" "fuzz/seeds/$target" -- \
        "${bounds[@]}" -timeout=20 -rss_limit_mb=4096 -max_len=16384 -print_final_stats=1
done
