#!/usr/bin/env python3
"""Corpora and training runs of memtrain on a Ray cluster whose nodes share a folder.

    python memtrain_ray.py corpus configs/memtrain.toml --address auto
    python memtrain_ray.py train configs/qwen3-4b.toml --seeds 1 2 3 --address auto

`corpus` runs each missing shard of a stage as a task (`memtrain corpus run-shard`), with retries, and commits the stage when all
are there. `train` runs one process a GPU, each in a placement group of its own; one that stops with everything saved (exit code
75) is started again and goes on. Options of the program stand behind `--`, for example `-- --set train.steps=100`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

SAVED = 75  # exit code: stopped by a signal with everything saved; the same command goes on
FINAL = {2, 3}  # wrong command line or configuration, a dump that breaks off: the same again
LINES = 20  # of the log that a failure shows


class Failed(Exception):
    """A command that fails again when it is run again."""


class Again(Exception):
    """A command that may succeed when it is run again."""


def with_parent() -> None:
    """Has the system stop the program, which then saves, when its worker dies. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def run(folder: str, command: list[str]) -> str:
    """Runs a command of memtrain in a folder and returns what it prints.

    Raises `Again` or `Failed` with the end of its log. Cancelled, it lets the program save first.
    """
    # As many threads as the task has processors.
    cpus = int(ray.get_runtime_context().get_assigned_resources().get("CPU", 0)) or 1
    environment = {"RAYON_NUM_THREADS": str(cpus), **os.environ}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=with_parent
    )
    try:
        printed, log = process.communicate()
    except BaseException:
        process.terminate()
        process.communicate()
        raise
    if process.returncode == 0:
        return printed
    told = f"{' '.join(command)}: exit code {process.returncode}\n" + "\n".join(log.splitlines()[-LINES:])
    raise Failed(told) if process.returncode in FINAL else Again(told)


class Cluster:
    """How commands are run: each as a task with so many processors and retries."""

    def __init__(self, args: argparse.Namespace):
        self.folder = os.path.abspath(args.folder)
        self.program, self.more = args.memtrain, args.more
        options = {"num_cpus": args.cpus, "max_retries": args.retries, "retry_exceptions": [Again]}
        self.task = ray.remote(**options)(run)

    def command(self, *words: str) -> list[str]:
        return [self.program, *words, *self.more]

    def start(self, *words: str, **options: object) -> ray.ObjectRef:
        return self.task.options(**options).remote(self.folder, self.command(*words))


def finished(tasks: list[ray.ObjectRef]) -> list[str]:
    """What the tasks print. Where one fails or this is interrupted, those that are left are cancelled."""
    try:
        return ray.get(tasks)
    except BaseException as error:
        for task in tasks:
            ray.cancel(task)
        # What the command said, without Ray's own frames.
        raise error.cause if isinstance(error, ray.exceptions.RayTaskError) else error


def corpus(cluster: Cluster, config: str) -> None:
    """Brings a corpus up to date: what is there and whole is left alone."""

    def status() -> dict[str, dict]:
        [printed] = finished([cluster.start("corpus", "status", "--json", "--config", config)])
        return {stage["stage"]: stage for stage in json.loads(printed)}

    def do(stage: str) -> None:
        command = ("--config", config, "--stage", stage)
        finished([cluster.start("corpus", "plan", *command)])
        if stage in ("tokenizer", "index"):  # one piece of work each
            shards = [("--part", "0/1")]
        else:
            shards = [("--index", str(index)) for index in status()[stage]["missing"]]
        print(f"{stage}: {len(shards)} tasks", flush=True)
        finished([cluster.start("corpus", "run-shard", *command, *shard) for shard in shards])
        finished([cluster.start("corpus", "finish", *command)])

    # The three in the middle read the passages alone.
    for stages in [["ingest"], ["entities", "tokenizer", "index"], ["synthesize"]]:
        done = status()
        left = [stage for stage in stages if done[stage]["state"] != "done"]
        with ThreadPoolExecutor(len(stages)) as pool:
            list(pool.map(do, left))


def train(cluster: Cluster, args: argparse.Namespace) -> None:
    """Trains, a run for each seed, each in a placement group of its own, as soon as there is room for it."""
    there = ray.cluster_resources().get("GPU", 0)
    if args.gpus > there:
        raise Failed(f"a run wants {args.gpus} GPUs, and the cluster has {there:g}; --gpus says how many")
    bundle = {"CPU": args.cpus, **({"GPU": args.gpus} if args.gpus else {})}
    groups = [placement_group([bundle]) for _ in args.seeds or [None]]
    try:
        tasks = []
        for seed, group in zip(args.seeds or [None], groups, strict=True):
            words = ["train", "--config", args.config]
            if seed is not None:
                words += ["--set", f"run.seed={seed}", "--set", f"run.name={args.name}-seed-{seed}"]
            options = {"scheduling_strategy": PlacementGroupSchedulingStrategy(group), "num_gpus": args.gpus}
            tasks.append(cluster.start(*words, **options))
        for printed in finished(tasks):
            print(printed, end="")
    finally:
        for group in groups:
            remove_placement_group(group)


def parsed(arguments: list[str]) -> argparse.Namespace:
    """What was typed. Words behind `--` are the program's."""
    here = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="action", required=True)
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("config", help="configuration, as the nodes find it")
    both.add_argument("--address", help="address of the cluster, or `auto`; a cluster of this machine without it")
    both.add_argument("--memtrain", default="memtrain", help="the program, as the nodes find it")
    both.add_argument("--folder", default=".", help="folder that every node has, in which paths are looked for")
    both.add_argument("--cpus", type=int, default=1, help="processors of a task")
    both.add_argument("--retries", type=int, default=3, help="how often a task is tried again")
    commands.add_parser("corpus", parents=[both], help="build a corpus")
    trainer = commands.add_parser("train", parents=[both], help="train, one process a GPU")
    trainer.add_argument("--seeds", type=int, nargs="+", help="a run for each; the configuration's run without it")
    trainer.add_argument("--name", default="run", help="name of the runs, in front of their seed")
    trainer.add_argument("--gpus", type=int, default=1, help="GPUs of a process; 0 trains on processors")
    args = parser.parse_args(arguments[:here])
    args.more = arguments[here + 1 :]
    return args


def main() -> int:
    args = parsed(sys.argv[1:])
    ray.init(address=args.address, log_to_driver=False)
    cluster = Cluster(args)
    try:
        corpus(cluster, args.config) if args.action == "corpus" else train(cluster, args)
    except (Again, Failed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was finished is saved: the same command goes on", file=sys.stderr)
        return SAVED
    finally:
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
