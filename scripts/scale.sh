#!/usr/bin/env bash
# What each stage takes on fictional encyclopedias of several sizes: CPU-seconds, wall clock, peak memory, disk, as a
# Markdown table. Usage: scripts/scale.sh BINARY FOLDER ARTICLES...
# DOCUMENTS (default 128) documents are made of each. Needs GNU time. What is in FOLDER already is not made again, so an
# interrupted run goes on; remove FOLDER to measure anew.
set -euo pipefail
memtrain="$(realpath "$1")"
mkdir -p "$2"
cd "$2"
shift 2
documents="${DOCUMENTS:-128}"
export CANDLE_NUM_THREADS=1

# Runs a command under GNU time and adds what it took to a file: user and system seconds, KiB at most, wall clock.
timed() {
    local file="$1"
    shift
    /usr/bin/time -a -o "$file" -f '%U %S %M %e' "$@"
}

row() {
    awk -v name="$1" -v stage="$2" -v disk="$3" '
        { cpu += $1 + $2; wall += $4; if ($3 > memory) memory = $3 }
        END { printf "| %s | %s | %.1f | %.1f | %.0f | %s |\n", name, stage, cpu, wall, memory / 1024, disk }' "$4"
}

disk() { du -sm --apparent-size "$1" | cut -f1; }

echo "| articles | stage | CPU s | wall clock s | peak MiB | MB on disk |"
echo "|---|---|---|---|---|---|"
for articles in "$@"; do
    folder="$articles"
    mkdir -p "$folder/times"
    cat >"$folder/config.toml" <<CONFIG
[run]
corpus = "$folder/corpus"
[corpus]
seed = 1
[corpus.ingest]
dumps = ["$folder/dump.xml.bz2"]
[corpus.tokenizer]
vocab_size = 16384
max_passages = 20000
[corpus.synthesize]
num_train = $documents
num_heldout = 0
documents_per_shard = 64
CONFIG
    if [ ! -f "$folder/dump.xml.bz2" ]; then
        timed "$folder/times/world" "$memtrain" world --long --pages "$articles" --out "$folder/dump.xml.bz2" >&2
    fi
    [ -f "$folder/times/world" ] && row "$articles" world "$(disk "$folder/dump.xml.bz2")" "$folder/times/world"
    for stage in ingest entities tokenizer index synthesize; do
        of=(--config "$folder/config.toml" --stage "$stage")
        if [ ! -f "$folder/times/$stage.done" ]; then
            rm -f "$folder/times/$stage"
            shards="$(timed "$folder/times/$stage" "$memtrain" corpus plan "${of[@]}" 2>/dev/null)"
            for ((shard = 0; shard < shards; shard++)); do
                timed "$folder/times/$stage" "$memtrain" corpus run-shard --index "$shard" "${of[@]}" >/dev/null
            done
            timed "$folder/times/$stage" "$memtrain" corpus finish "${of[@]}" >/dev/null
            touch "$folder/times/$stage.done"
        fi
        row "$articles" "$stage" "$(disk "$folder/corpus/$stage")" "$folder/times/$stage"
    done
done
