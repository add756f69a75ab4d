"""What scripts/lab.sh needs beside the program: the figures of docs/lab/systems.md.

    python3 scripts/lab.py table BINARY FOLDER
"""

import json
import pathlib
import random
import statistics
import subprocess
import sys

LENGTHS = [8, 32, 128]
ARMS = ["start", "full", "decoupled", "end-to-end", "memagent", "half", "then-memagent", "infomem"]
PAIRS = [("start", "full"), ("start", "decoupled"), ("start", "end-to-end"), ("decoupled", "full"), ("end-to-end", "full"),
         ("start", "memagent"), ("start", "then-memagent"), ("memagent", "half"), ("memagent", "then-memagent"), ("half", "then-memagent"),
         ("memagent", "infomem")]


def spread(values):
    """Mean ± standard deviation over seeds."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}" if values else ""


def seeds_of(folder, kind, arm):
    """What there is of an arm: one path a seed, or the only one."""
    ending = ".json" if kind == "recall" else ""
    single = folder / kind / f"{arm}{ending}"
    return [single] if single.exists() else sorted((folder / kind).glob(f"{arm}-[0-9]{ending}"))


def items(path):
    return [json.loads(line) for line in (path / "items.jsonl").open()]


def pool(folder, arm, seeds):
    """One evaluation of all seeds: the seed is the number of the question, so that a task is drawn with all its seeds."""
    paths = {path.name[-1]: path for path in seeds_of(folder, "eval", arm)}
    paths = {seed: paths.get(seed, folder / "eval" / arm) for seed in seeds}
    pooled = folder / "pooled" / arm
    pooled.mkdir(parents=True, exist_ok=True)
    # Items of the first format have no checksums.
    note = json.loads((paths[seeds[0]] / "run.json").read_text()) | {"format": 1}
    (pooled / "run.json").write_text(json.dumps(note))
    of_seed = [item | {"question": int(seed)} for seed, path in paths.items() for item in items(path)]
    lines = [json.dumps({key: item[key] for key in item if key != "crc32c"}) + "\n" for item in of_seed]
    (pooled / "items.jsonl").write_text("".join(lines))
    return pooled


def compare(memtrain, folder, a, b):
    """A row: exact match of b minus a by `memtrain eval compare`, at each length and at all; and seed by seed at all."""
    of_arms = [{path.name[-1] for path in seeds_of(folder, "eval", arm)} for arm in (a, b)]
    seeds = sorted(of_arms[1] if a == "start" else of_arms[0] & of_arms[1])
    if not seeds:
        return
    pooled = [str(pool(folder, arm, seeds)) for arm in (a, b)]
    told = subprocess.run([memtrain, "eval", "compare", *pooled, "--json"], check=True, capture_output=True)
    em = {row["length"]: row for row in json.loads(told.stdout)["differences"] if row["metric"] == "em"}
    cells = ["{difference:+.3f} [{low:+.3f}, {high:+.3f}]".format(**em[length]) for length in [*LENGTHS, None]]
    scores = [{seed: [i["scores"]["em"] for i in items(pathlib.Path(path)) if i["question"] == int(seed)] for seed in seeds} for path in pooled]
    alone = ", ".join(f"{statistics.mean(scores[1][seed]) - statistics.mean(scores[0][seed]):+.3f}" for seed in seeds)
    print("|", " | ".join([a, b, *cells, alone]), "|")


def curve(folder, arm, key):
    """A metric in the first and in the last ten steps, over seeds."""
    ends = ([], [])
    for done in sorted((folder / "done").glob(f"train-{arm}-[0-9]")):
        lines = (folder / "runs" / done.name.removeprefix("train-") / "metrics.jsonl").read_text().splitlines()
        values = [json.loads(line).get(key) for line in lines]
        for end, part in zip(ends, (values[:10], values[-10:])):
            known = [value for value in part if value is not None]
            end.extend([statistics.mean(known)] if known else [])
    return " → ".join(spread(end) for end in ends) if ends[0] else ""


def cost(folder, arm):
    """CPU-seconds a step."""
    seconds, steps = 0.0, 0
    for path in sorted((folder / "times").glob(f"train-{arm}-[0-9]")):
        if (folder / "done" / path.name).exists():
            seconds += sum(float(number) for line in path.open() for number in line.split()[:2])
            steps += sum(1 for _ in (folder / "runs" / path.name.removeprefix("train-") / "metrics.jsonl").open())
    return f"{seconds / steps:.1f}" if steps else ""


def distances(path):
    """Recall at distances 1–4, 5–8, 9 and more: each a mean over questions."""
    cells = json.loads(path.read_text())["by_distance"]
    groups = ((1, 4), (5, 8), (9, 99))
    within = [[cell for cell in cells if low <= cell["at"] <= high] for low, high in groups]
    return [sum(c["recall"]["mean"] * c["questions"] for c in w) / sum(c["questions"] for c in w) for w in within]


def paired(a, b, draws=10_000):
    """Mean of b − a over items, and its 95 % interval over items; a and b hold a list of values an item."""
    names = sorted(a.keys() & b.keys())
    differences = [statistics.mean(b[name]) - statistics.mean(a[name]) for name in names]
    generator = random.Random(0)
    means = sorted(statistics.fmean(generator.choices(differences, k=len(names))) for _ in range(draws))
    return f"{statistics.mean(differences):+.3f} [{means[draws // 40]:+.3f}, {means[-draws // 40 - 1]:+.3f}]"


def of_banks(folder, arm):
    """Share of right answers of each document's bank, a value a seed."""
    found = {}
    for path in seeds_of(folder, "bank", arm):
        for item in items(path):
            found.setdefault(item["task"], []).append(item["details"]["accuracy"])
    return found


def table(memtrain, folder):
    """Everything that is there, as Markdown."""
    folder = pathlib.Path(folder)
    arms = [arm for arm in ARMS if seeds_of(folder, "eval", arm)]

    print("Exact match of which name is hidden, mean ± standard deviation over seeds\n\n| arm | seeds", *LENGTHS, sep=" | ")
    for arm in arms:
        paths = seeds_of(folder, "eval", arm)
        by_seed = [{n: [i["scores"]["em"] for i in items(path) if i["length"] == n] for n in LENGTHS} for path in paths]
        print("|", " | ".join([arm, str(len(paths)), *(spread([statistics.mean(of[n]) for of in by_seed]) for n in LENGTHS)]), "|")

    print("\nRecall: all, distance 1–4, 5–8, 9 and more, and all with a memory of one token")
    for arm in arms:
        paths, blank = seeds_of(folder, "recall", arm), seeds_of(folder, "recall", f"blank-{arm}")
        if paths:
            means = [[json.loads(path.read_text())["recall"]["mean"] for path in of] for of in (paths, blank)]
            near = zip(*(distances(path) for path in paths))
            print("|", " | ".join([arm, spread(means[0]), *(spread(list(values)) for values in near), spread(means[1])]), "|")

    print("\nDifferences b − a, pooled over seeds, 95 % interval over documents; last, seed by seed\n\n| a | b", *LENGTHS, "all", "seeds |", sep=" | ")
    for a, b in PAIRS:
        compare(memtrain, folder, a, b)

    print("\nBanks: share of right answers, and what training changed, 95 % interval over documents")
    for kind in ("finemem", "memalpha"):
        start = of_banks(folder, f"{kind}-start")
        for arm in (f"{kind}-blank", f"{kind}-start", kind, f"{kind}-slow"):
            found = of_banks(folder, arm)
            by_seed = [statistics.mean(values) for values in zip(*found.values())]
            alone = ", ".join(f"{value:.3f}" for value in by_seed)
            print("|", arm, "|", spread(by_seed), "|", paired(start, found) if found and start else "", "|", alone, "|")

    print("\nTraining: CPU-seconds a step; the reward's parts, first ten steps → last ten")
    keys = ["end_to_end", "recall", "correct", "gain", "global", "evidence", "chunk", "format", "accuracy", "calls", "compression", "content"]
    for arm in [*arms[1:], "finemem", "memalpha", "finemem-slow", "memalpha-slow"]:
        parts = {key: curve(folder, arm, f"reward/{key}/mean") for key in keys}
        if not parts["end_to_end"] + parts["correct"] + parts["global"] + parts["accuracy"]:
            continue
        told = "; ".join(f"{key} {values}" for key, values in parts.items() if values)
        print("|", arm, "|", cost(folder, arm), "|", told, "| entropy", curve(folder, arm, "entropy"), "|")


if __name__ == "__main__":
    {"table": table}[sys.argv[1]](*sys.argv[2:])
