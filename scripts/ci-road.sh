#!/usr/bin/env bash
# The whole road with the binary given as the first argument: the quickstart in short, then a real dump through all
# stages and some training, each killed on the way and compared byte by byte with an undisturbed run.
set -euo pipefail
memtrain="$(realpath "$1")"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$PWD"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export CANDLE_NUM_THREADS=1

echo "-- the quickstart, in short"
cd "$work"
short=(--set corpus.synthesize.num_train=120 --set corpus.synthesize.num_heldout=100 --set train.steps=3 --set eval.documents=40)
"$memtrain" quickstart "${short[@]}"
"$memtrain" quickstart "${short[@]}" | grep "All is done" > /dev/null
"$memtrain" corpus inspect quickstart/corpus --document heldout-00000003 | grep "pivot" > /dev/null

"$memtrain" report quickstart/runs/seed-1 | xargs grep -q "advantage is the distance"

echo "-- the commands of the documentation that are marked for it, and the keys of the metrics"
cp -r "$root/configs" .
mkdir bin
ln -s "$memtrain" bin/memtrain
# Blocks with the language `sh ci`, in the order of the book's pages.
for page in $(grep -o '([a-z/-]*\.md)' "$root/docs/SUMMARY.md" | tr -d '()'); do
    sed -n '/^```sh ci$/,/^```$/{/^```/d;p}' "$root/docs/$page" > commands.sh
    [ ! -s commands.sh ] || PATH="$PWD/bin:$PATH" bash -euxo pipefail commands.sh > commands.out 2> commands.err ||
        { cat commands.out commands.err; echo "a command of docs/$page failed"; exit 1; }
done
for log in metrics timings evaluations; do
    [ ! -e "quickstart/runs/seed-1/$log.jsonl" ] || grep -o '"[a-z_/]*":' "quickstart/runs/seed-1/$log.jsonl" | tr -d '":'
done | sort -u | grep -vx step | while read -r key; do
    grep -qF "\`$key\`" "$root/docs/metrics.md" || { echo "docs/metrics.md does not describe $key"; exit 1; }
done

echo "-- its event file, read by TensorBoard"
"$root/scripts/tensorboard.sh" quickstart/runs/seed-1

echo "-- a real dump through all stages, and some training"
dump="$root/corpora/data/enwiki-sample.xml.bz2"
sample=(--config configs/enwiki-sample.toml --set "corpus.ingest.dumps=[\"$dump\"]"
    --set corpus.synthesize.num_train=4 --set corpus.synthesize.num_heldout=2
    --set reader.memory_tokens=24 --set reader.answer_tokens=8 --set eval.documents=1)
# A policy made from nothing earns no reward on real text, so a little warming up shows the gradient at work.
road() {
    "$memtrain" corpus build "${sample[@]}" &&
        "$memtrain" sft "${sample[@]}" --out data/warmed &&
        "$memtrain" train "${sample[@]}" --set policy.path=data/warmed
}
mkdir undisturbed disturbed
for folder in undisturbed disturbed; do cp -r configs "$folder/"; done
(cd undisturbed && road && "$memtrain" corpus status "${sample[@]}" && "$memtrain" eval reconstruction "${sample[@]}")

echo "-- the same, killed on the way"
(
    cd disturbed
    for seconds in 0.4 1.5 4 9 15; do
        timeout --signal=KILL "$seconds" "$memtrain" corpus build "${sample[@]}" 2>/dev/null || true
        timeout --signal=KILL "$seconds" "$memtrain" sft "${sample[@]}" --out data/warmed 2>/dev/null || true
    done
    road
)
contents() {
    (cd "$1" && find data runs -type f -not -path '*/logs/*' -not -path '*/tb/*' -not -name timings.jsonl -not -name '*lock*' \
        -print0 | sort -z | xargs -0 sha256sum)
}
diff <(contents undisturbed) <(contents disturbed)
echo "the killed run left the same $(contents disturbed | wc -l) files"
