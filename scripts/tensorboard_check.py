"""Checks with TensorBoard's own reader that the event file of a run says what its JSON lines say.

    pip install tensorboard
    python scripts/tensorboard_check.py runs/NAME
"""

import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVERYTHING = dict(scalars=0, tensors=0)


def read_back(folder):
    """Values by (tag, step), old summaries and those that TensorBoard turns into tensors alike."""
    events = EventAccumulator(str(folder), size_guidance=EVERYTHING)
    events.Reload()
    tags = events.Tags()
    values = {(tag, event.step): event.value for tag in tags["scalars"] for event in events.Scalars(tag)}
    for tag in tags["tensors"]:
        values |= {(tag, event.step): event.tensor_proto.float_val[0] for event in events.Tensors(tag)}
    return values


def check(run):
    got = read_back(run / "tb")
    expected = {}
    for name in ["metrics.jsonl", "timings.jsonl", "evaluations.jsonl"]:
        for line in (run / name).read_text().splitlines():
            line = json.loads(line)
            step = line.pop("step")
            expected |= {(key, step): value for key, value in line.items() if key not in ("time/unix_s", "crc32c")}
    assert got.keys() == expected.keys(), sorted(got.keys() ^ expected.keys())[:10]
    for key, value in expected.items():
        same = math.isnan(got[key]) if value is None else math.isclose(got[key], value, rel_tol=1e-6, abs_tol=1e-30)
        assert same, (key, got[key], value)
    print(f"{len(expected)} values of {len({tag for tag, _ in expected})} tags read back")


if __name__ == "__main__":
    check(pathlib.Path(sys.argv[1]))
