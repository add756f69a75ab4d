"""The counted runs of scripts/cuda-record.sh: what they are, the table of their counts, and the budgets these must keep.

    python3 scripts/cuda_record.py MEMTRAIN BENCH [BUDGETS]

MEMTRAIN and BENCH are the program and its bench `record`, built against the recording CUDA driver. A line of BUDGETS is a run, a
part, a total of the driver's report and the most it may be; what is above it fails, and what has fallen far below it is named.
"""

import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time

# Layers of the policy of Qwen3-4B's shape. Its weights are zeros in a file that takes no place on the disk.
LAYERS = int(os.environ.get("MEMTRAIN_RECORD_LAYERS", "36"))
TOKENS = {"tiny": 1024, "qwen3-4b": 8192}

QWEN3_4B = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "hidden_size": 2560,
    "intermediate_size": 9728, "num_hidden_layers": LAYERS, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 151936, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": True,
    "attention_bias": False, "initializer_range": 0.02, "torch_dtype": "bfloat16",
}

COLUMNS = [
    ("launches", "launches", 1), ("products", "products", 1), ("copies_to_device", "to card", 1), ("bytes_to_device", "MB", 1e6),
    ("copies_to_host", "to host", 1), ("bytes_to_host", "MB", 1e6), ("copies_on_device", "on card", 1),
    ("bytes_on_device", "MB", 1e6), ("allocations", "allocs", 1), ("allocated_bytes", "GB", 1e9), ("events", "events", 1),
    ("synchronizations", "syncs", 1), ("idle_waits", "idle", 1), ("pool_trims", "trims", 1), ("peak_bytes", "peak GB", 1e9),
]


def write_zeros(folder, config):
    """A policy directory without tokenizer: the shapes of a configuration, weights of zeros in bf16."""
    hidden, width, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    layer = {
        "input_layernorm.weight": [hidden], "post_attention_layernorm.weight": [hidden],
        "self_attn.q_proj.weight": [heads * head, hidden], "self_attn.k_proj.weight": [groups * head, hidden],
        "self_attn.v_proj.weight": [groups * head, hidden], "self_attn.o_proj.weight": [hidden, heads * head],
        "self_attn.q_norm.weight": [head], "self_attn.k_norm.weight": [head],
        "mlp.gate_proj.weight": [width, hidden], "mlp.up_proj.weight": [width, hidden], "mlp.down_proj.weight": [hidden, width],
    }
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], hidden], "model.norm.weight": [hidden]}
    for number in range(config["num_hidden_layers"]):
        shapes.update({f"model.layers.{number}.{name}": shape for name, shape in layer.items()})
    header, end = {}, 0
    for name, shape in shapes.items():
        count = 1
        for size in shape:
            count *= size
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + 2 * count]}
        end += 2 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def parts(report):
    """The totals of each part of a report, by the part's name."""
    found, part = {}, None
    for line in report.read_text().splitlines():
        if line.startswith("==== "):
            part = found.setdefault(line[5:].replace(" ", "-"), {})
        elif match := re.fullmatch(r"total (\w+) (\d+)", line):
            part[match[1]] = int(match[2])
    return found


def done(name, command, environment=None):
    """Runs a command that must succeed."""
    ended = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"{name} failed with {ended.returncode}:\n{ended.stdout[-2000:]}{ended.stderr[-4000:]}")


def counted(name, report, command):
    """Runs a command under the driver and returns the totals of its parts."""
    started = time.monotonic()
    environment = {**os.environ, "RECORDER_OUT": str(report), "RECORDER_FAULTS": "abort", "RECORDER_MEMORY": "200000000000",
                   "RECORDER_NAME": "NVIDIA H200"}
    done(name, command, environment)
    print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    found = parts(report)
    for part, totals in found.items():
        # A call that the driver lacks is answered with an error, and the program may have gone another way.
        if totals["missing"] or totals["faults"]:
            sys.exit(f"{name}, {part}: {totals['missing']} calls that the driver lacks, {totals['faults']} faults; see {report}")
    return found


def difference(more, less, times):
    """What `times` repetitions more have cost, for one of them. A peak is no sum."""
    return {key: more[key] if "peak" in key or "live" in key else (more[key] - less[key]) / times for key in more}


def runs(memtrain, bench, folder):
    """Totals by run and part."""
    sets = [f"run.corpus={folder}/corpus", f"run.runs={folder}/runs", f'corpus.ingest.dumps=["{folder}/dump.xml.bz2"]',
            "corpus.synthesize.num_train=16", "corpus.synthesize.num_heldout=16", "world.num_pages=40", "world.annals.years=6",
            "policy.device=cuda:0", f"policy.path={folder}/tiny", "train.documents_per_step=2", "train.evaluate_every=0",
            # From zeros every response is the same one, and no group has an advantage.
            "objective.filter_groups=false", "objective.group_size=2", "objective.recall_questions=2"]
    options = [word for change in sets for word in ("--set", change)]
    config = ["--config", "configs/quickstart.toml", *options]
    done("corpus build", [memtrain, "corpus", "build", *config])
    tokenizer = folder / "corpus/tokenizer/tokenizer.json"
    done("policy init", [memtrain, "policy", "init", "--preset", "tiny", "--tokenizer", tokenizer, "--out", folder / "tiny"])
    write_zeros(folder / "qwen3-4b", QWEN3_4B)
    found = {}
    for name, tokens in TOKENS.items():
        found[name] = counted(name, folder / f"{name}.txt", [bench, "cuda:0", folder / name, tokens])
        found[name]["decode-pass"] = difference(found[name].pop("draw-24"), found[name].pop("draw-8"), 16)
        del found[name]["whole-run"]
    whole = {}
    for steps in (1, 3):
        run = ["--set", f"train.steps={steps}", "--set", f"run.name=steps-{steps}", "--set", f"train.checkpoint_every={steps}"]
        command = [memtrain, "train", *config, *run]
        whole[steps] = counted(f"train, {steps} steps", folder / f"train-{steps}.txt", command)["whole-run"]
    found["train"] = {"start-and-end": difference(whole[1], difference(whole[3], whole[1], 2), 1),
                      "step": difference(whole[3], whole[1], 2)}
    return found


def print_table(found):
    print("| run | part | " + " | ".join(title for _, title, _ in COLUMNS) + " |")
    print("| --- | --- |" + " ---: |" * len(COLUMNS))
    for run, by_part in found.items():
        for part, totals in by_part.items():
            cells = [f"{totals[key] / unit:,.{0 if unit == 1 else 2}f}" for key, _, unit in COLUMNS]
            print(f"| {run} | {part} | " + " | ".join(cells) + " |")


def over_budget(found, path):
    """Says which budgets are broken, and which could be lower; returns the number of the broken ones."""
    broken = 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        run, part, key, limit = line.split()
        got = found.get(run, {}).get(part, {}).get(key)
        if got is None:
            print(f"{path}:{number}: there is no {key} of {run}, {part}")
            broken += 1
        elif got > float(limit):
            print(f"{path}:{number}: {run}, {part}: {key} is {got:,.0f}, more than the {float(limit):,.0f} allowed")
            broken += 1
        elif got < 0.8 * float(limit):
            print(f"{path}:{number}: {run}, {part}: {key} is {got:,.0f}; the limit of {float(limit):,.0f} can be lowered")
    return broken


def main(memtrain, bench, budgets=None):
    with tempfile.TemporaryDirectory() as folder:
        found = runs(memtrain, bench, pathlib.Path(folder))
        keep = os.environ.get("MEMTRAIN_RECORD_REPORTS")
        if keep:
            for report in pathlib.Path(folder).glob("*.txt"):
                pathlib.Path(keep, report.name).write_text(report.read_text())
    print(f"\nqwen3-4b: {LAYERS} layers; tokens a step: {TOKENS}; sequences a decode pass: 8\n")
    print_table(found)
    if budgets:
        broken = over_budget(found, pathlib.Path(budgets))
        if broken:
            sys.exit(f"{broken} budgets are broken")
        print("all counts are within their budgets")


if __name__ == "__main__":
    main(*sys.argv[1:])
