#!/usr/bin/env bash
# Counts what memtrain asks of an NVIDIA card, without one, and fails where a count is above its budget.
#
#   scripts/cuda-record.sh               builds, counts, prints a table
#   scripts/cuda-record.sh ci            the same, and compares the counts with their budgets
#   scripts/cuda-record.sh run ARGUMENTS one command of the program, and the driver's report of it on standard error
#   scripts/cuda-record.sh execute       operations, a tiny decoder and AdamW on the device against the CPU: the driver runs the
#                                        project's kernels in their emulator and what else is launched by plain twins
#
# The program is built with the feature `cuda` against a driver that computes nothing and counts
# (crates/kernels/cuda/recorder): launches by kernel, matrix products by shape, copies and bytes by direction,
# allocations, events, live and peak memory. Its kernels are names without code, so no nvcc is needed; what is counted
# is what candle and memtrain ask for, not how long it takes. What comes back from the device is zeros. The runs are
# listed in scripts/cuda_record.py, the budgets in crates/kernels/cuda/recorder/budgets.txt.
#
# What is built lies in cargo's target folder, where all but candle and the workspace is shared with the ordinary build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/memtrain/target}"
sources="$PWD/crates/kernels/cuda/recorder"
libraries="$target/cuda-recorder"

# Sources of the crates whose names the driver has to know, as the lockfile names them, and the packages of the workspace.
{ read -r cudarc candle && read -ra members; } < <(cargo metadata --locked --format-version 1 --features cuda | python3 -c '
import json, os, sys
metadata = json.load(sys.stdin)
folders = {p["name"]: os.path.dirname(p["manifest_path"]) for p in metadata["packages"]}
print(folders["cudarc"], folders["candle-kernels"])
print(*[p["name"] for p in metadata["packages"] if p["id"] in metadata["workspace_members"]])')
"$sources/build.sh" "$libraries" "$cudarc" "$candle"
gcc -std=gnu11 -Wall -Wextra -Werror -o "$libraries/test" "$sources/test.c" -ldl
"$libraries/test" "$libraries" 2>/dev/null | sed 's/^/test of the recording driver: /'

# cudarc asks a toolkit for its version unless it is told. The linker is told by its own path: the flags of
# .cargo/config.toml must stay as they are. What is counted does not depend on how well the host's code is optimized, so
# that of candle and of the workspace is optimized less, which halves the time to build it. It also gives these
# candle-kernels a place of their own among what is built: a build with a real nvcc never takes them for its own.
# The copy of nvcc is the same for every checkout: what has been built depends on its path.
cmp -s "$sources/nvcc" "$libraries/nvcc" || cp "$sources/nvcc" "$libraries/nvcc"
export CUDARC_CUDA_VERSION=13000 CUDA_COMPUTE_CAP=90 NVCC="$libraries/nvcc"
export LIBRARY_PATH="$libraries" CARGO_TARGET_DIR="$target"
levels=()
for package in candle-core candle-kernels candle-nn "${members[@]}"; do
    levels+=(--config "profile.release.package.$package.opt-level=1")
done
program="$libraries/memtrain"
. scripts/ordinary-program.sh
keep_ordinary "$target/release"
trap 'restore_ordinary "$target/release"' EXIT
cargo build --release --locked "${levels[@]}" --workspace --features cuda --bin memtrain --bench record --bench gpu
take_built "$target/release" "$program"
newest() { ls -t "$target/release/deps/$1"-* | grep -v '\.d$' | head -n 1; }

export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
if [ "${1:-}" = run ]; then
    shift
    exec "$program" "$@"
fi
if [ "${1:-}" = execute ] || [ "${1:-}" = ci ]; then
    executor="$target/cuda-executor"
    "$sources/build.sh" "$executor" "$cudarc" "$candle" execute
    LD_LIBRARY_PATH="$executor" RECORDER_OUT=/dev/null "$(newest gpu)" cuda:0 parity
fi
[ "${1:-}" != execute ] || exit 0
exec python3 scripts/cuda_record.py "$program" "$(newest record)" ${1:+"$sources/budgets.txt"}
