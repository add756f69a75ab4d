#!/usr/bin/env bash
# Everything there is to check on a machine with an NVIDIA card, in this order:
#
#   1. the feature `cuda` builds (scripts/cuda-build.sh)
#   2. each operation and a tiny policy, f32 and bf16, against the CPU
#   3. a training step of a random policy of the shape of Qwen3-4B on 8,192 tokens: seconds, MFU, free memory; what the
#      memory plan says beside it
#   4. tokens a second of drawing at 1, 32 and 128 live sequences
#   5. a short run of the quickstart's world on the card
#
#   scripts/gpu-check.sh [DEVICE] [SIZE]        default: cuda:0 qwen3-4b
#
# It fails at the first thing that is off. Figures worth keeping go to docs/lab/ with card, driver, commit and date.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
device="${1:-cuda:0}"
size="${2:-qwen3-4b}"
memory_gib=131

if [ "$device" = cpu ]; then
    cargo build --release -p memtrain --bin memtrain
    bench=(cargo bench --bench gpu --)
else
    number="${device#cuda}"
    nvidia-smi --id="${number#:}" --query-gpu=name,memory.total,driver_version,compute_cap --format=csv
    memory_gib=$(nvidia-smi --id="${number#:}" --query-gpu=memory.total --format=csv,noheader,nounits | awk '{ print int($1 / 1024) }')
    CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-$(nvidia-smi --id="${number#:}" --query-gpu=compute_cap --format=csv,noheader | tr -d .)}"
    export CUDA_COMPUTE_CAP
    scripts/cuda-build.sh
    bench=(scripts/cuda-build.sh bench -p memtrain --bench gpu)
fi
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(date -u +%F)"

if [ "$device" = cpu ]; then
    "${bench[@]}" "$device" "$size"
else
    # The script puts `--features cuda` last, so what the benchmark is told goes through the environment.
    MEMTRAIN_GPU_BENCH="$device $size" "${bench[@]}"
fi

binary="${CARGO_TARGET_DIR:-target}/release/memtrain"
"$binary" train --dry-run --config configs/qwen3-4b.toml --device-memory "$memory_gib" | sed -n '/^# Memory/,$p'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$binary" quickstart --out "$folder/quickstart" --set policy.device="$device" --set train.steps=3 \
    --set corpus.synthesize.num_train=64 --set corpus.synthesize.num_heldout=32 --set eval.documents=16
echo "everything that was checked holds"
