#!/usr/bin/env python3
"""Sends what a run records to Weights & Biases, MLflow or trackio, while it trains or afterwards.

    pip install wandb
    python3 scripts/log_metrics.py runs/NAME --to wandb

Metrics, timings and evaluations are read from the JSON lines of the run's folder as they are written; nothing is written
there. A line that is still being written is waited for, and after a resume, which takes back the lines behind its
checkpoint, steps that were sent are not sent again. The script ends with the last step of the run, or by Ctrl-C; with
`--once` it sends what is there and ends. Started again it makes a new run of the logger, from the first step on.

Without a network: `WANDB_MODE=offline` (later `wandb sync`), MLflow's `MLFLOW_TRACKING_URI`; trackio is local by itself.
Needs Python 3.11 or newer.
"""

import argparse
import json
import pathlib
import signal
import sys
import time
import tomllib

FILES = ("metrics.jsonl", "timings.jsonl", "evaluations.jsonl")
# Checksum, step, and the clock's time: no measurements.
NO_METRICS = ("crc32c", "step", "time/unix_s")


class Tail:
    """The lines of a growing file, each once."""

    def __init__(self, path):
        self.path = path
        self.offset = 0
        self.last_step = -1

    def lines(self):
        """Steps and numbers of the lines that have come since the last call."""
        if not self.path.exists():
            return
        # A run that goes on from a checkpoint cuts its files.
        if self.path.stat().st_size < self.offset:
            self.offset = 0
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.offset += len(line)
                try:
                    fields = json.loads(line)
                    step = int(fields["step"])
                except (ValueError, KeyError, TypeError):
                    # Cut and written over between two looks: from the start again, without what was sent.
                    self.offset = 0
                    return
                if step <= self.last_step:
                    continue
                self.last_step = step
                is_number = lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)
                numbers = {key: value for key, value in fields.items() if key not in NO_METRICS and is_number(value)}
                if numbers:
                    yield step, numbers


def flat(table, prefix=""):
    """A configuration as one level of dotted keys."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_wandb(project, name, config):
    import wandb

    run = wandb.init(project=project, name=name, config=config)
    # Lines of three files come in the order in which they are written, which is not that of W&B's own steps.
    run.define_metric("step")
    run.define_metric("*", step_metric="step")
    return lambda step, numbers: run.log({"step": step, **numbers}), run.finish


def to_mlflow(project, name, config):
    import mlflow

    mlflow.set_experiment(project)
    mlflow.start_run(run_name=name)
    parameters = {key: str(value)[:500] for key, value in flat(config)}
    for keys in batches(list(parameters), 100):
        mlflow.log_params({key: parameters[key] for key in keys})
    return lambda step, numbers: mlflow.log_metrics(numbers, step=step), mlflow.end_run


def to_trackio(project, name, config):
    import trackio

    trackio.init(project=project, name=name, config=dict(flat(config)))
    return lambda step, numbers: trackio.log(numbers, step=step), trackio.finish


def batches(values, size):
    return (values[at : at + size] for at in range(0, len(values), size))


LOGGERS = {"wandb": to_wandb, "mlflow": to_mlflow, "trackio": to_trackio}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="folder of a run")
    parser.add_argument("--to", choices=LOGGERS, required=True, help="the logger; its package must be installed")
    parser.add_argument("--project", default="memtrain", help="project, or MLflow's experiment")
    parser.add_argument("--name", help="name of the run; that of its folder without it")
    parser.add_argument("--once", action="store_true", help="send what is there, and end")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="seconds between two looks")
    given = parser.parse_args()
    settings = given.run / "config.toml"
    if not (given.run / "manifest.json").exists() or not settings.exists():
        sys.exit(f"error: `{given.run}` is not a run directory")
    config = tomllib.loads(settings.read_text(encoding="utf-8"))
    name = given.name or given.run.resolve().name
    try:
        log, finish = LOGGERS[given.to](given.project, name, config)
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error}\nhint: `pip install {given.to}`")

    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
    tails = [Tail(given.run / file) for file in FILES]
    sent = 0
    while True:
        # What was recorded before this look is sent before the end.
        is_last = given.once or stopped
        last = last_step(given.run, config)
        is_done = all(tail.last_step >= last for tail in tails[:2])
        news = 0
        for tail in tails:
            for step, numbers in tail.lines():
                log(step, numbers)
                news += 1
        sent += news
        # The evaluation of the last step comes behind it.
        if is_last or (is_done and not news and is_evaluated(config, tails[2], last)):
            break
        time.sleep(given.every)
    finish()
    print(f"{sent} lines sent to {given.to}", file=sys.stderr)


def last_step(run, config):
    """The last step, which may have been changed since the run began."""
    last = config.get("train", {}).get("steps", 300)
    for change in json.loads((run / "manifest.json").read_text(encoding="utf-8")).get("changes", []):
        last = int(change.get("keys", {}).get("train.steps", {}).get("to", last))
    return last


def is_evaluated(config, evaluations, last):
    every = config.get("train", {}).get("evaluate_every", 0)
    return every == 0 or evaluations.last_step >= last - last % every


if __name__ == "__main__":
    main()
