#!/usr/bin/env bash
# Runs the comparisons of docs/lab/systems.md on the fictional encyclopedia: recipes of configs/lab, seeds, evaluations.
#
#   scripts/lab.sh BINARY FOLDER QUESTION      QUESTION: ablation, downstream, infomem, bank, slow; `table` prints what is there
#
# SEEDS (default "1 2 3"; empty: only what all seeds share). What is done is not done again, and a run that was stopped goes
# on. Several may work in one FOLDER at once, best on other seeds: each waits for what another has in hand.
# Needs GNU time, flock, python3.
set -euo pipefail
memtrain="$(realpath "$1")"
scripts="$(realpath "$(dirname "$0")")"
recipes="$scripts/../configs/lab"
question="$3"
seeds="${SEEDS-1 2 3}"
mkdir -p "$2"
cd "$2"
mkdir -p done locks times logs tasks eval recall bank data/lab-bank data/other
export CANDLE_NUM_THREADS="${CANDLE_NUM_THREADS:-1}" RAYON_NUM_THREADS="${RAYON_NUM_THREADS:-1}"

steps=50 bank_steps=30 # as in the recipes
half=25

# Runs a command once, whoever comes first; its CPU-seconds go to times/NAME, a line an attempt.
once() {
    local name="$1" lock
    shift
    exec {lock}>"locks/$name"
    flock "$lock"
    if [ ! -f "done/$name" ]; then
        echo "$(date +%T) $name" >&2
        /usr/bin/time -q -a -o "times/$name" -f '%U %S %e' "$@" >>"logs/$name" 2>&1
        touch "done/$name"
    fi
    exec {lock}>&-
}

# What the corpus of four times the length is built with, and read with.
longer=(--set corpus.synthesize.num_train=0)
four_times=(--set run.corpus=data/quickstart-4x "${longer[@]}" --set corpus.synthesize.num_random=27
    --set corpus.synthesize.min_tokens=400 --set corpus.synthesize.max_tokens=1200)

corpora() {
    once corpus "$memtrain" corpus build --config "$recipes/memtrain.toml"
    once corpus-4x "$memtrain" corpus build --config "$recipes/memtrain.toml" "${four_times[@]}"
    once corpus-16x "$memtrain" corpus build --config "$recipes/memtrain.toml" --set run.corpus=data/quickstart-16x "${longer[@]}" \
        --set corpus.synthesize.num_random=123 --set corpus.synthesize.min_tokens=1600 --set corpus.synthesize.max_tokens=4800
    # The same held-out documents among 8, 32 and 128 passages.
    questions 8 data/quickstart 400
    questions 32 data/quickstart-4x 150
    questions 128 data/quickstart-16x 80
}

# questions PASSAGES CORPUS COUNT: which name is hidden in the first held-out documents?
questions() {
    once "tasks-$1" "$memtrain" tasks documents "$2" --limit "$3" --question '[MASK]?' --source fictional \
        --out "tasks/passages-$(printf %05d "$1").jsonl"
}

# train NAME RECIPE KEY=VALUE...
train() {
    local name="$1" recipe="$2"
    shift 2
    once "train-$name" "$memtrain" train --config "$recipes/$recipe.toml" --set run.name="$name" --set train.evaluate_every=0 \
        "${@/#/--set=}"
}

policy() { printf 'runs/%s/checkpoints/step_%06d' "$1" "${2:-$steps}"; }

# answers NAME POLICY: which name is hidden, at each length
answers() {
    once "eval-$1" "$memtrain" eval long-qa tasks/*.jsonl --config "$recipes/memtrain.toml" --policy "$2" --out "eval/$1" \
        --methods reader --temperature 0 --batch 40
}

# recalls NAME POLICY: recall by distance, in documents of four times the length; and with a memory of one token
recalls() {
    local of=(--config "$recipes/memtrain.toml" --policy "$2" "${four_times[@]}" --set reader.max_chunks=32)
    of+=(--set eval.documents=40 --set eval.temperature=0)
    once "recall-$1" "$memtrain" eval recall "${of[@]}" --out "recall/$1.json"
    once "blank-$1" "$memtrain" eval recall "${of[@]}" --set reader.memory_tokens=1 --out "recall/blank-$1.json"
}

ablation() {
    corpora
    answers start built-in:tiny
    once "blank-answers" "$memtrain" eval reconstruction --config "$recipes/memtrain.toml" --set reader.memory_tokens=1 \
        --set eval.documents=400 --set eval.temperature=0 --set eval.recall_questions=1 --out recall/blank-answers.json
    recalls start built-in:tiny
    # How much of recall is memory: documents as trained, with a memory and without; and a world that nobody was warmed up on.
    local short=(--config "$recipes/memtrain.toml" --set eval.temperature=0)
    local other=(--set run.corpus=data/other --set world.seed=2 --set 'corpus.ingest.dumps=["data/other/dump.xml.bz2"]')
    once recall-short "$memtrain" eval recall "${short[@]}" --set eval.documents=200 --out recall/short.json
    once blank-short "$memtrain" eval recall "${short[@]}" --set eval.documents=200 --set reader.memory_tokens=1 --out recall/blank-short.json
    once corpus-other "$memtrain" corpus build --config "$recipes/memtrain.toml" "${other[@]}"
    once recall-other "$memtrain" eval recall "${short[@]}" "${other[@]}" --set eval.documents=100 --out recall/other.json
    for seed in $seeds; do
        for variant in full decoupled end-to-end; do
            train "$variant-$seed" memtrain objective.variant="$variant" run.seed="$seed"
            answers "$variant-$seed" "$(policy "$variant-$seed")"
            recalls "$variant-$seed" "$(policy "$variant-$seed")"
        done
    done
}

downstream() {
    corpora
    answers start built-in:tiny
    for seed in $seeds; do
        train "memagent-$seed" memagent run.seed="$seed"
        answers "memagent-$seed" "$(policy "memagent-$seed")"
        train "full-$seed" memtrain objective.variant=full run.seed="$seed"
        answers "half-$seed" "$(policy "full-$seed" "$half")"
        # Another seed, or it would be given the documents that its first half has seen.
        train "then-memagent-$seed" memagent run.seed="1$seed" policy.path="$(policy "full-$seed" "$half")" train.steps="$half"
        answers "then-memagent-$seed" "$(policy "then-memagent-$seed" "$half")"
    done
}

# The outcome alone is MemAgent: the recipes differ in nothing else.
infomem() {
    corpora
    for seed in $seeds; do
        train "memagent-$seed" memagent run.seed="$seed"
        answers "memagent-$seed" "$(policy "memagent-$seed")"
        train "infomem-$seed" infomem run.seed="$seed"
        answers "infomem-$seed" "$(policy "infomem-$seed")"
    done
}

# banks NAME RECIPE [ARGUMENT]...: questions to the bank; the policy after warming up answers
banks() {
    local name="$1" recipe="$2"
    shift 2
    once "bank-$name" "$memtrain" eval bank --config "$recipes/$recipe.toml" --out "bank/$name" --limit 200 --batch 40 \
        --set eval.temperature=0 "$@"
}

bank() {
    once corpus-bank "$memtrain" corpus build --config "$recipes/bank-warm-up.toml"
    once warm-up-finemem "$memtrain" sft --config "$recipes/bank-warm-up.toml" --set run.name=wu-fine --out data/lab-bank/policy-finemem
    banks finemem-start finemem
    banks finemem-blank finemem --set reader.memory_tokens=1 # no call is ever closed: what is answered from an empty bank
    # Mem-α's calls from a policy that has the language and Fine-Mem's calls already.
    once warm-up-memalpha "$memtrain" sft --config "$recipes/bank-warm-up.toml" --set run.name=wu-alpha --set objective.kind=memalpha \
        --set policy.path=data/lab-bank/policy-finemem --set sft.steps=500 --out data/lab-bank/policy-memalpha
    banks memalpha-start memalpha
    banks memalpha-blank memalpha --set reader.memory_tokens=1
    for seed in $seeds; do
        for kind in finemem memalpha; do
            train "$kind-$seed" "$kind" run.seed="$seed"
            banks "$kind-$seed" "$kind" --policy "$(policy "$kind-$seed" "$bank_steps")"
        done
    done
}

# Is it the learning rate?
slow() {
    bank
    for seed in $seeds; do
        for kind in finemem memalpha; do
            train "$kind-slow-$seed" "$kind" run.seed="$seed" optimizer.learning_rate=5e-5
            banks "$kind-slow-$seed" "$kind" --policy "$(policy "$kind-slow-$seed" "$bank_steps")"
        done
    done
}

case "$question" in
    ablation | downstream | infomem | bank | slow) "$question" ;;
    table) python3 "$scripts/lab.py" table "$memtrain" . ;;
    *) echo "no such question: $question" >&2 && exit 2 ;;
esac
