#!/usr/bin/env bash
# Opens pages of `memtrain report` in headless Chromium, made by the binary given as the first argument from two short
# quickstarts, or of the runs that follow it: no errors, charts drawn, a reading opens, search finds, no sideways scrolling on
# a phone. Screenshots go to $REPORT_SHOTS, else beside the build. Chromium and Node.js are Debian's, playwright-core is npm's;
# where they cannot be had, it says so and does nothing, and with MEMTRAIN_REQUIRE_CHROMIUM=1 it fails.
set -euo pipefail
memtrain="$(realpath "$1")"
shift
here="$(realpath "$(dirname "${BASH_SOURCE[0]}")")"
tools="${CARGO_TARGET_DIR:-$here/../target}/report-check"
shots="${REPORT_SHOTS:-$tools/shots}"
mkdir -p "$tools" "$shots"

without() {
    printf 'SKIPPED: the report was not opened in a browser, since %s\n' "$1" >&2
    [ -z "${MEMTRAIN_REQUIRE_CHROMIUM:-}" ] || exit 1
    exit 0
}
installed() {
    command -v "$1" > /dev/null ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${@:2}"; } > "$tools/apt.log" 2>&1 ||
        { tail -n 3 "$tools/apt.log" >&2 && without "there is no $1, and it cannot be installed"; }
}
installed chromium chromium fonts-dejavu-core
installed node nodejs
[ -d "$tools/node_modules/playwright-core" ] ||
    { installed npm npm && npm install --silent --no-fund --no-audit --prefix "$tools" playwright-core@1 > "$tools/npm.log" 2>&1; } ||
    without "playwright-core cannot be installed"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
runs=("$@")
if [ ${#runs[@]} -eq 0 ]; then
    export CANDLE_NUM_THREADS="${CANDLE_NUM_THREADS:-2}"
    short=(--set corpus.synthesize.num_train=120 --set corpus.synthesize.num_heldout=60 --set train.steps=8
        --set train.evaluate_every=2 --set eval.documents=20)
    for seed in 1 2; do
        "$memtrain" --quiet quickstart --out "$work/quickstart" --seed "$seed" "${short[@]}" > "$work/told"
        runs+=("$work/quickstart/runs/seed-$seed")
    done
fi
"$memtrain" report "${runs[0]}" --out "$work/report.html"
"$memtrain" report "${runs[@]}" --out "$work/comparison.html"
NODE_PATH="$tools/node_modules" node "$here/report-check.cjs" "$(command -v chromium)" "$shots" "$work/report.html" "$work/comparison.html"
