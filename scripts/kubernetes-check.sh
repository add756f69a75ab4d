#!/usr/bin/env bash
# The Kubernetes manifests: each Job that corpus.sh sends, and the training's, is compared with the schema of its kind (PyPI's
# `kubernetes-validate`), and its commands are run with the binary given as the first argument; the corpus equals that of one process.
# `PYTHON` names a Python with that package; without it one is made in a temporary folder. No cluster is asked.
set -euo pipefail
memtrain="$(realpath "$1")"
root="$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python="${PYTHON:-}"
if [ -z "$python" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install -q kubernetes-validate
    python="$work/venv/bin/python"
fi
mkdir "$work/bin" "$work/folder"
ln -s "$memtrain" "$work/bin/memtrain"

# kubectl that runs what a Job says at once.
cat >"$work/bin/kubectl" <<SCRIPT
#!$python
import os, subprocess, sys
import kubernetes_validate, yaml

STATE = "$work/state"

def check(job):
    kubernetes_validate.validate(job, "1.33", strict=True)
    spec, [container] = job["spec"], job["spec"]["template"]["spec"]["containers"]
    # What the schema does not know.
    assert spec["template"]["spec"]["restartPolicy"] == "Never", "podFailurePolicy wants it"
    assert all(rule.get("onExitCodes", {}).get("containerName", container["name"]) == container["name"]
               for rule in spec["podFailurePolicy"]["rules"])
    assert ("backoffLimitPerIndex" in spec) == (spec.get("completionMode") == "Indexed")
    ignored = [rule for rule in spec["podFailurePolicy"]["rules"] if rule["action"] == "Ignore"]
    assert any(75 in rule.get("onExitCodes", {}).get("values", []) for rule in ignored)
    return spec, container

match sys.argv[1:]:
    case ["check", path]:
        check(yaml.safe_load(open(path)))
    case ["delete", *_]:
        pass
    case ["get", *_]:
        print(open(STATE).read())
    case ["apply", *_]:
        spec, container = check(yaml.safe_load(sys.stdin))
        codes = [subprocess.run(container["command"], env={**os.environ, "JOB_COMPLETION_INDEX": str(index)},
                                stdout=subprocess.DEVNULL).returncode for index in range(spec.get("completions", 1))]
        open(STATE, "w").write("Failed" if any(codes) else "SuccessCriteriaMet Complete")
SCRIPT
chmod +x "$work/bin/kubectl"
export PATH="$work/bin:$PATH" POLL_SECONDS=0
kubectl check "$root/integrations/kubernetes/train.yaml"

cd "$work/folder"
sed 's#data/quickstart/##; s#"data/quickstart"#"corpus"#; s#^num_pages = .*#num_pages = 40#' "$root/configs/quickstart.toml" >small.toml
sed -i 's#^num_train = .*#num_train = 40#; s#^num_heldout = .*#num_heldout = 20#; s#^documents_per_shard = .*#documents_per_shard = 8#' small.toml
"$root/integrations/kubernetes/corpus.sh" small.toml 3
"$memtrain" corpus build small.toml --out direct -q
contents() { (cd "$1" && find . -type f -not -name '*lock*' -print0 | sort -z | xargs -0 sha256sum); }
diff <(contents corpus) <(contents direct)
echo "the Jobs left the same $(contents corpus | wc -l) files"
if "$root/integrations/kubernetes/corpus.sh" nothing.toml 3 2>refused.txt; then exit 1; fi
grep -q "memtrain-ingest-plan failed" refused.txt
