#!/usr/bin/env bash
# Sends the jobs that are left to do, all or none, and prints the number of the one that all others come before.
# Written by `memtrain slurm`.
set -euo pipefail
cd '/tmp/test/a slurm'
command -v sbatch >/dev/null || {
    echo "sbatch is not on the PATH; run $PWD/corpus-submit.sh on a machine of the cluster" >&2
    exit 1
}
if [ -s corpus-jobs.txt ]; then
    # Numbers that Slurm has forgotten are an error of squeue where there are no others.
    queued="$(squeue --noheader --format=%A --jobs="$(paste -sd, corpus-jobs.txt)" 2>/dev/null | sort -u | paste -sd' ')" || true
    if [ -n "$queued" ]; then
        echo "jobs of the last submission are still there: $queued; let them end, or cancel them with scancel" >&2
        exit 1
    fi
fi
mkdir -p logs

jobs=()
taken_back() {
    local code=$?
    if [ "$code" -ne 0 ] && [ ${#jobs[@]} -gt 0 ]; then
        echo "what was sent before is cancelled: ${jobs[*]}" >&2
        scancel "${jobs[@]}"
    fi
    exit "$code"
}
trap taken_back EXIT

# The jobs that the next ones wait for. Where one of them fails, those that wait are cancelled instead of waiting for ever.
after() {
    local joined=''
    for job in "$@"; do
        [ -z "$job" ] || joined="$joined:$job"
    done
    dependency=''
    [ -z "$joined" ] || dependency="--dependency=afterok$joined --kill-on-invalid-dep=yes"
}
submit() {
    # Two words or none.
    job="$(sbatch --parsable $dependency "$@")"
    # With several clusters the name of one stands behind the number.
    job="${job%%;*}"
    jobs+=("$job")
}

first='7 8_9'

# ingest: it is to be planned
after $first
submit --job-name=memtrain-ingest-plan corpus-step.sbatch ingest plan
after "$job"
submit --job-name=memtrain-ingest --array=0-15 corpus-shards.sbatch ingest 16
after "$job"
submit --job-name=memtrain-ingest-finish corpus-step.sbatch ingest finish
ingest="$job"

# entities: it is to be planned
after "$ingest"
submit --job-name=memtrain-entities-plan corpus-step.sbatch entities plan
after "$job"
submit --job-name=memtrain-entities --array=0-15 corpus-shards.sbatch entities 16
after "$job"
submit --job-name=memtrain-entities-finish corpus-step.sbatch entities finish
entities="$job"

# tokenizer: it is to be planned
after "$ingest"
submit --job-name=memtrain-tokenizer corpus-step.sbatch tokenizer plan shards finish
tokenizer="$job"

# index: it is to be planned
after "$ingest"
submit --job-name=memtrain-index corpus-step.sbatch index plan shards finish
index="$job"

# synthesize: it is to be planned
after "$ingest" "$entities" "$tokenizer" "$index"
submit --job-name=memtrain-synthesize-plan corpus-step.sbatch synthesize plan
after "$job"
submit --job-name=memtrain-synthesize --array=0-15 corpus-shards.sbatch synthesize 16
after "$job"
submit --job-name=memtrain-synthesize-finish corpus-step.sbatch synthesize finish
synthesize="$job"

printf '%s\n' "${jobs[@]}" >corpus-jobs.txt
echo "$job"

# As it was written: 0123456789abcdef
