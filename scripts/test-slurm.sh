#!/usr/bin/env bash
# Corpus and training as jobs of a real Slurm on this machine, with the binary given as the first argument: what they leave equals
# what single processes leave, to the byte; a failed job lets nothing wait; what is sent again does only what is missing; a training
# that is cancelled has saved, and one that is warned goes on from the queue. Needs root and Debian's `slurm-wlm`.
set -euo pipefail
if [ -z "${SLURM_CONF:-}" ] || [ "${2:-}" != inside ]; then
    exec "$(dirname "${BASH_SOURCE[0]}")/slurm-node.sh" "${BASH_SOURCE[0]}" "$(realpath "$1")" inside
fi
memtrain="$1"
root="$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/it's a place"
cd "$work/it's a place"
scripts="$work/job scripts"

# The fictional world of the quickstart, in short, with several shards a stage; a training of some seconds.
cat >small.toml <<CONF
include = ["$root/scripts/several-shards.toml"]
[run]
name = "slurm"
[train]
steps = 8
checkpoint_every = 4
CONF

# Waits until a job has ended, and prints its state.
ended() {
    local state
    for _ in $(seq 600); do
        state="$(scontrol --oneliner show job "$1" | grep -o 'JobState=[A-Z_]*' | sort -u)"
        case "$state" in
            *PENDING* | *RUNNING* | *COMPLETING* | *REQUEUE* | *CONFIGURING*) sleep 0.5 ;;
            *) break ;;
        esac
    done
    echo "${state//JobState=/}"
}
# Fails unless a job has ended in this state.
expect() {
    local state
    state="$(ended "$2")"
    [ "$state" = "$1" ] || {
        echo "job $2 is $state, not $1" >&2
        tail -n 5 "$scripts"/logs/* >&2
        exit 1
    }
}
contents() {
    (cd "$1" && find . -type f -not -path '*/logs/*' -not -path '*/tb/*' -not -name timings.jsonl -not -name '*lock*' \
        -print0 | sort -z | xargs -0 sha256sum)
}
corpus=("$memtrain" slurm corpus small.toml --tasks 3 --scripts "$scripts" --submit)

echo "-- a job that fails: those that wait for it are cancelled"
last="$("${corpus[@]}" --program /bin/false)"
expect CANCELLED "$last"
[ -z "$(squeue --noheader)" ]

echo "-- a corpus by jobs, and by one process"
last="$("${corpus[@]}")"
if "${corpus[@]}" 2>refused.txt; then
    echo "the same jobs were sent twice" >&2
    exit 1
fi
grep -q "jobs of the last submission are still there" refused.txt
expect COMPLETED "$last"
"$memtrain" corpus build small.toml --out direct -q
diff <(contents corpus) <(contents direct)
echo "the jobs left the same $(contents corpus | wc -l) files"
[ -z "$("${corpus[@]}")" ]

echo "-- what is missing, and nothing else"
rm corpus/synthesize/data/train-00004-of-00006.parquet
last="$("${corpus[@]}")"
expect COMPLETED "$last"
[ "$(wc -l <"$scripts/corpus-jobs.txt")" -eq 2 ]
diff <(contents corpus) <(contents direct)

echo "-- a training that is cancelled saves and stays away; one that is warned goes on from the queue"
"$memtrain" train small.toml -q >/dev/null
mv runs direct-runs
steps() { until [ -f runs/slurm/metrics.jsonl ] && [ "$(wc -l <runs/slurm/metrics.jsonl)" -ge "$1" ]; do sleep 0.1; done; }
train=("$memtrain" slurm train small.toml --scripts "$scripts" --submit)
job="$("${train[@]}" --after "$last")"
steps 2
scancel "$job"
expect CANCELLED "$job"
grep -q "stopped by a signal: step . is saved" "$scripts/logs/memtrain-train-$job.log"
job="$("${train[@]}")"
steps 5
scancel --signal=USR1 --batch "$job"
expect COMPLETED "$job"
scontrol show job "$job" | grep -q 'Restarts=1'
diff <(contents runs/slurm) <(contents direct-runs/slurm)
echo "the training that stopped twice left the same $(contents runs/slurm | wc -l) files"
