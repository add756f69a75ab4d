#!/usr/bin/env bash
# Brings a corpus up to date by Jobs, stage after stage: `corpus.sh CONFIG [PARTS]`, the configuration as the pods find it in the
# folder of the volume `memtrain-work`, and the number of pods that a stage's shards are shared out to (8 unless said otherwise).
# Called again it does what is missing. Options of kubectl, such as a namespace, are those of its context.
set -euo pipefail
here="$(dirname "${BASH_SOURCE[0]}")"
config="${1:?the configuration is missing: corpus.sh CONFIG [PARTS]}"
parts="${2:-8}"
[[ "$config" =~ ^[A-Za-z0-9._/-]+$ ]] || { echo "a name of letters, digits, '.', '_', '-' and '/', not: $config" >&2 && exit 2; }
[[ "$parts" =~ ^[1-9][0-9]{0,4}$ ]] || { echo "the number of pods is no number: $parts" >&2 && exit 2; }

# Sends a Job and waits for its end, good or bad: apply FILE STAGE STEP PARTS.
apply() {
    local job="memtrain-$2-$3" ended
    # A Job cannot be changed, so one of an earlier call goes first.
    kubectl delete job "$job" --ignore-not-found --wait=true >/dev/null
    sed "s/STAGE/$2/g; s/STEP/$3/g; s/PARTS/$4/g; s#CONFIG#$config#g" "$here/$1" | kubectl apply -f - >/dev/null
    echo "$job: sent" >&2
    while :; do
        ended="$(kubectl get job "$job" -o jsonpath='{range .status.conditions[?(@.status=="True")]}{.type} {end}')"
        case "$ended" in
            *Complete*) return ;;
            *Failed*)
                echo "$job failed; its pods say why: kubectl logs --selector job-name=$job --tail 20" >&2
                exit 1
                ;;
        esac
        sleep "${POLL_SECONDS:-5}"
    done
}
for stage in ingest entities tokenizer index synthesize; do
    # The tokenizer and the index are one piece of work each.
    case "$stage" in tokenizer | index) pods=1 ;; *) pods="$parts" ;; esac
    apply step.yaml "$stage" plan 1
    apply shards.yaml "$stage" shards "$pods"
    apply step.yaml "$stage" finish 1
done
