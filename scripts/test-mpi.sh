#!/usr/bin/env bash
# Training by several processes of MPI on this machine: builds the program with the feature `mpi` (Debian: `apt-get install
# openmpi-bin libopenmpi-dev libclang-dev`), and holds what two and three processes leave against one, to the byte; also after a
# signal, after one of them is killed, and when another number of them goes on. Says loudly that it is skipped where MPI is missing.
set -euo pipefail
for program in mpirun mpicc; do
    command -v "$program" >/dev/null || {
        echo "NOT RUN: $program is missing (apt-get install openmpi-bin libopenmpi-dev libclang-dev)"
        exit 0
    }
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$PWD"
target="${CARGO_TARGET_DIR:-$root/target}"
work="$(mktemp -d)"
memtrain="$work/memtrain"
if [ -n "${1:-}" ]; then
    cp "$1" "$memtrain"
    trap 'rm -rf "$work"' EXIT
else
    . scripts/ordinary-program.sh
    keep_ordinary "$target/release"
    trap 'restore_ordinary "$target/release"; rm -rf "$work"' EXIT
    cargo build --release --locked --workspace --features mpi --bin memtrain
    take_built "$target/release" "$memtrain"
fi
cd "$work"
# Open MPI on any machine: as root, more processes than cores, none bound to one, without copies between address spaces.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_orte_tmpdir_base="$work" RAYON_NUM_THREADS=1 CANDLE_NUM_THREADS=1

# Several micro-batches an update, no multiple of the number of processes; groups that are filtered; an update that is clipped.
cat >small.toml <<CONF
include = ["$root/scripts/several-shards.toml"]
[run]
name = "mpi"
[train]
steps = 8
documents_per_step = 3
checkpoint_every = 4
evaluate_every = 4
max_refills = 1
[eval]
documents = 4
[update]
micro_batch_tokens = 700
minibatches = 2
max_gradient_norm = 0.05
CONF
contents() {
    (cd "$1" && find . -type f -not -path '*/logs/*' -not -path '*/tb/*' -not -name timings.jsonl -not -name '*lock*' \
        -print0 | sort -z | xargs -0 sha256sum)
}
together() {
    local count="$1"
    shift
    mpirun -n "$count" "$memtrain" train small.toml -q "$@"
}
# The same in the background: `mpirun` is its number.
start() {
    mpirun -n "$1" "$memtrain" train small.toml -q &
    mpirun=$!
}
steps() { until [ -f runs/mpi/metrics.jsonl ] && [ "$(wc -l <runs/mpi/metrics.jsonl)" -ge "$1" ]; do sleep 0.05; done; }
# Fails unless a command in the background has ended with this code.
ended() {
    local code=0
    wait "$2" || code=$?
    [ "$code" = "$1" ] || [ "$1" = any ] && [ "$code" != 0 ] || {
        echo "exit code $code, not $1" >&2
        exit 1
    }
}
same() {
    diff <(contents runs/mpi) <(contents alone/mpi)
    rm -rf runs
    echo "$1 left the same $(contents alone/mpi | wc -l) files as one process"
}

echo "-- one process"
"$memtrain" corpus build small.toml -q
"$memtrain" train small.toml -q >/dev/null
mv runs alone

echo "-- two processes, and three"
together 2 >/dev/null
same "two processes"
together 3 >/dev/null
same "three processes"

echo "-- a signal to one of two stops both; three go on"
start 2 >/dev/null 2>stopped.txt
steps 2
kill -USR1 "$(pgrep -P $mpirun | tail -n 1)"
ended 75 $mpirun
grep -q "stopped by a signal: step . is saved" stopped.txt
together 3 >/dev/null
same "a run that two processes began and three finished"

echo "-- one of two is killed, which ends the other; one goes on, and then two"
start 2 >/dev/null 2>&1
steps 5
kill -KILL "$(pgrep -P $mpirun | tail -n 1)"
ended any $mpirun
"$memtrain" train small.toml -q >/dev/null &
alone=$!
steps 6
kill -USR1 $alone
ended 75 $alone
together 2 >/dev/null
same "a run that was killed, and finished by one process and two"

echo "-- gradients added up by rank: the same but for rounding"
together 2 --set train.gradient_sums=ranks >/dev/null
[ "$(wc -l <runs/mpi/metrics.jsonl)" -eq 8 ]
rm -rf runs

echo "-- processes that were started differently, and a program that is built for one"
if mpirun -n 1 "$memtrain" train small.toml -q : -n 1 "$memtrain" train small.toml -q --set run.seed=9 >/dev/null 2>refused.txt; then
    echo "different configurations were trained together" >&2
    exit 1
fi
grep -q "rank 1 was started with another configuration" refused.txt
[ ! -e runs ]
echo "all is as it should be"
