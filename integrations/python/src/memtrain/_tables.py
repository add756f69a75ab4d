"""Tables and logs that memtrain has written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ._errors import DataError

PathLike = str | os.PathLike[str]
Split = Literal["train", "heldout"]
Log = Literal["metrics", "timings", "evaluations"]


def load_documents(corpus: PathLike, split: Split = "train", *, columns: Sequence[str] | None = None) -> pa.Table:
    """The documents of a corpus, a row each, in order.

    Args:
        corpus: folder of a corpus whose stage `synthesize` is finished.
        split: `train` or `heldout`.
        columns: only these columns (`corpora/README.md` describes them).

    Raises:
        DataError: if the stage is not finished or a file is not as its record says.
        ValueError: if there is no such split or column.
    """
    if split not in ("train", "heldout"):
        raise ValueError(f"a split is `train` or `heldout`, not {split!r}")
    folder = Path(corpus) / "synthesize"
    path = folder / "manifest.json"
    if not path.is_file():
        raise DataError(f"{corpus} has no finished documents: {path} is missing; `memtrain corpus build` makes them")
    manifest = _json(path)
    files = [file for shard in manifest["shards"] for file in shard["files"]]
    wanted = [file for file in files if Path(file["path"]).name.startswith(f"{split}-")]
    if not wanted:
        raise DataError(f"{corpus} has no documents of the split `{split}`")
    return _concatenated([(folder / file["path"], file["bytes"]) for file in wanted], columns)


def load_rollouts(run: PathLike, steps: Iterable[int] | None = None, *, columns: Sequence[str] | None = None) -> pa.Table:
    """The turns of a run's rollouts, a row each, step by step.

    Args:
        run: folder of a run.
        steps: only these steps; all that there are without it. Tables of many steps are large.
        columns: only these columns (`docs/formats.md` describes them).

    Raises:
        DataError: if there is no such run or step, or a table is not as its record says.
        ValueError: if there is no such column.
    """
    tables = {line["step"]: line["bytes"] for line in _lines(Path(run) / "rollouts.jsonl")}
    chosen = sorted(tables) if steps is None else list(steps)
    for step in chosen:
        if step not in tables:
            raise DataError(f"{run} has no rollouts of step {step}; there are those of {_listed(sorted(tables))}")
    if not chosen:
        raise DataError(f"{run} has no rollouts yet")
    folder = Path(run) / "rollouts"
    return _concatenated([(folder / f"step_{step:06}.parquet", tables[step]) for step in chosen], columns)


def load_metrics(run: PathLike, log: Log = "metrics") -> list[dict[str, Any]]:
    """The lines of a run's log, a dict each, `step` first; `pandas.DataFrame` takes them as they are.

    Args:
        run: folder of a run.
        log: `metrics` (what follows from the configuration alone), `timings` (what the clock said) or `evaluations`.

    Raises:
        DataError: if there is no such run, or a line of it cannot be read.
        ValueError: if there is no such log.
    """
    if log not in ("metrics", "timings", "evaluations"):
        raise ValueError(f"a log is `metrics`, `timings` or `evaluations`, not {log!r}")
    return _lines(Path(run) / f"{log}.jsonl")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log without their checksums. A line that a kill has cut off at the end is no line yet."""
    if not (path.parent / "manifest.json").is_file():
        raise DataError(f"{path.parent} is no run of memtrain: it has no manifest.json")
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    lines = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            values = json.loads(line)
            values.pop("crc32c", None)
        except (ValueError, AttributeError) as error:
            raise DataError(f"{path}, line {number} is damaged: {error}; `memtrain run verify` says more") from error
        lines.append(values)
    return lines


def _concatenated(files: list[tuple[Path, int]], columns: Sequence[str] | None) -> pa.Table:
    tables = []
    for path, size in files:
        try:
            if path.stat().st_size != size:
                raise DataError(f"{path} has {path.stat().st_size} bytes, not the {size} that were written")
            there = pq.read_schema(path).names
            unknown = [column for column in columns or () if column not in there]
            if unknown:
                raise ValueError(f"no column is called {unknown[0]!r}; there are {_listed(there)}")
            tables.append(pq.read_table(path, columns=None if columns is None else list(columns)))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
    return pa.concat_tables(tables)


def _listed(values: Sequence[object]) -> str:
    shown = [str(value) for value in values]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:5], "…", *shown[-5:]]) or "none"
