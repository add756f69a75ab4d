#!/usr/bin/env bash
# The agent loop for verl, with stand-ins; and the Python package: installed by pip into an environment of its own, its types checked, its tests run against the binary given as
# the first argument. Where the package index cannot be reached it says so and is skipped.
set -euo pipefail
MEMTRAIN_PROGRAM="$(realpath "$1")"
export MEMTRAIN_PROGRAM
cd "$(dirname "${BASH_SOURCE[0]}")/../integrations/python"
python3 -B ../verl/test_memory_agent_loop.py
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
python="$work/venv/bin/python"
# Without the index nothing of this can be known; what else fails is a failure.
if ! "$python" -m pip download -q --no-deps --no-cache-dir --retries 1 --timeout 15 -d "$work" hatchling >"$work/log" 2>&1; then
    echo "SKIPPED: the Python package was not tested, since pip cannot download anything:" >&2
    tail -n 2 "$work/log" >&2
    exit 0
fi
# From a copy, so that nothing is built in the checkout.
cp -r . "$work/package"
cd "$work/package"
"$python" -m pip install -q '.[test]'
"$python" -m mypy --cache-dir "$work/mypy" src
"$python" -m pytest -q -p no:cacheprovider
