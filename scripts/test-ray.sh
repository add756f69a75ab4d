#!/usr/bin/env bash
# Corpus and training as tasks of a Ray on this machine, with the binary given as the first argument: what they leave equals what
# single processes leave, to the byte, though each shard fails once and a training is stopped in the middle.
# `RAY_PYTHON` names a Python with PyPI's `ray`; without it one is made in a temporary folder.
set -euo pipefail
memtrain="$(realpath "$1")"
root="$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")"
work="$(mktemp -d)"
ray_pid=
clean_up() {
    # This one alone: `ray stop` would end those of others too.
    if [ -n "$ray_pid" ]; then
        kill "$ray_pid" 2>/dev/null || true
        wait "$ray_pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
python="${RAY_PYTHON:-}"
if [ -z "$python" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install -q ray
    python="$work/venv/bin/python"
fi
mkdir "$work/a place"
cd "$work/a place"

cat >small.toml <<CONF
include = ["$root/scripts/several-shards.toml"]
[run]
name = "ray"
[train]
steps = 6
checkpoint_every = 3
CONF

# The program, but the first try of each shard fails, and the first training is stopped after two steps.
cat >program <<SCRIPT
#!/usr/bin/env bash
once="\$PWD/tried-\$(echo "\$*" | sha256sum | cut -c 1-16)"
case "\$2/\$1" in
    run-shard/corpus) [ -e "\$once" ] || { touch "\$once"; echo "the first try" >&2; exit 1; } ;;
    */train)
        if [[ "\$*" == *two-seed-1* ]] && [ ! -e "\$once" ]; then
            touch "\$once"
            "$memtrain" "\$@" &
            child=\$!
            until [ -f runs/two-seed-1/metrics.jsonl ] && [ "\$(wc -l <runs/two-seed-1/metrics.jsonl)" -ge 2 ]; do sleep 0.1; done
            kill -USR1 "\$child"
            wait "\$child"
            exit
        fi
        ;;
esac
exec "$memtrain" "\$@"
SCRIPT
chmod +x program
contents() {
    (cd "$1" && find . -type f -not -path '*/logs/*' -not -path '*/tb/*' -not -name timings.jsonl -not -name '*lock*' \
        -print0 | sort -z | xargs -0 sha256sum)
}

# A token of this cluster's own: nobody else can send it tasks, and none in the user's folder is read or made.
RAY_AUTH_TOKEN="$(head -c 32 /dev/urandom | sha256sum | cut -c 1-64)"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
# Two cards that are not there: Ray counts them, and nothing uses them.
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
"$(dirname "$python")/ray" start --head --block --port="$port" --num-cpus=2 --num-gpus=2 --include-dashboard=false \
    --temp-dir="$work/ray" >ray.log 2>&1 &
ray_pid=$!
for _ in $(seq 60); do
    "$(dirname "$python")/ray" status --address="127.0.0.1:$port" >/dev/null 2>&1 && break
    sleep 1
done
tasks=("$python" "$root/integrations/ray/memtrain_ray.py")
options=(--address="127.0.0.1:$port" --memtrain="$PWD/program")

echo "-- a corpus by tasks each of which fails once, and by one process"
"${tasks[@]}" corpus small.toml "${options[@]}"
"$memtrain" corpus build small.toml --out direct -q
diff <(contents corpus) <(contents direct)
echo "the tasks left the same $(contents corpus | wc -l) files"
[ -z "$("${tasks[@]}" corpus small.toml "${options[@]}")" ]

echo "-- two trainings, a card each; one is stopped and goes on"
"${tasks[@]}" train small.toml "${options[@]}" --seeds 1 2 --name two
mv runs ray-runs
for seed in 1 2; do
    "$memtrain" train small.toml --set run.seed="$seed" --set run.name="two-seed-$seed" -q >/dev/null
done
diff <(contents runs) <(contents ray-runs)
echo "the trainings left the same $(contents runs | wc -l) files"

echo "-- what cannot succeed is not tried again, and says why"
refused() {
    local part="$1"
    shift
    if "${tasks[@]}" train small.toml "${options[@]}" "$@" 2>refused.txt; then
        echo "it was not refused: $*" >&2
        exit 1
    fi
    grep -q "$part" refused.txt || {
        cat refused.txt >&2
        exit 1
    }
}
refused "unknown key .stepz." -- --set train.stepz=1
refused "wants 3 GPUs, and the cluster has 2" --gpus 3
