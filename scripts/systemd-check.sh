#!/usr/bin/env bash
# The systemd units, as `systemd-analyze verify` reads them: nothing it says may be about them.
set -euo pipefail
command -v systemd-analyze >/dev/null || {
    echo "SKIPPED: the systemd units were not verified, since there is no systemd-analyze" >&2
    exit 0
}
cd "$(dirname "${BASH_SOURCE[0]}")/../integrations/systemd"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
for unit in *; do
    # The program need not be installed here.
    sed 's#/usr/local/bin/memtrain#/bin/true#' "$unit" >"$work/${unit/@./@sample.}"
done
if ! systemd-analyze verify --man=no "$work"/*.service "$work"/*.timer >"$work/log" 2>&1 || grep memtrain "$work/log"; then
    cat "$work/log" >&2
    exit 1
fi
systemd-analyze calendar "$(sed -n 's/^OnCalendar=//p' memtrain-corpus@.timer)" >/dev/null
echo "$(find . -type f | wc -l) units verified"
