#!/usr/bin/env bash
# TensorBoard reads the event file of the run given as the first argument, and finds what the JSON lines say. TensorBoard is
# installed from PyPI beside the build, once.
set -euo pipefail
here="$(dirname "${BASH_SOURCE[0]}")"
target="${CARGO_TARGET_DIR:-$here/../target}"
python="$target/tensorboard/bin/python"
if ! "$python" -c "import tensorboard" 2> /dev/null; then
    command -v python3 > /dev/null && python3 -c "import ensurepip" 2> /dev/null ||
        { apt-get update -qq && apt-get install -y -qq python3 python3-venv; }
    python3 -m venv --clear "$target/tensorboard"
    "$target/tensorboard/bin/pip" install --quiet tensorboard
fi
"$python" "$here/tensorboard_check.py" "$1"
