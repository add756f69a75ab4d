import json
import shutil
from pathlib import Path

import memtrain
import pytest


def test_documents_are_those_of_the_split_in_order(folder: Path) -> None:
    train = memtrain.load_documents(folder / "corpus")
    assert train.num_rows == 6
    assert train["id"].to_pylist() == [f"train-{number:08}" for number in range(6)]
    for document in train.to_pylist():
        assert "[MASK]" in document["text"] or "[TARGET]" in document["text"]
    heldout = memtrain.load_documents(str(folder / "corpus"), "heldout", columns=["id", "answer"])
    assert (heldout.num_rows, heldout.column_names) == (2, ["id", "answer"])
    with pytest.raises(ValueError, match="heldout"):
        memtrain.load_documents(folder / "corpus", "test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no column is called 'reward'; there are id, "):
        memtrain.load_documents(folder / "corpus", columns=["reward"])


def test_rollouts_are_those_of_the_steps(folder: Path) -> None:
    run = folder / "runs/run"
    both = memtrain.load_rollouts(run)
    assert set(both["step"].to_pylist()) == {1, 2}
    second = memtrain.load_rollouts(run, [2], columns=["step", "kind", "response"])
    assert set(second["step"].to_pylist()) == {2}
    assert "read" in second["kind"].to_pylist()
    assert second.num_rows < both.num_rows
    with pytest.raises(memtrain.DataError, match="no rollouts of step 3; there are those of 1, 2"):
        memtrain.load_rollouts(run, [3])


def test_metrics_are_lines_without_checksums(folder: Path) -> None:
    metrics = memtrain.load_metrics(folder / "runs/run")
    assert [line["step"] for line in metrics] == [1, 2]
    assert all("reward/mean" in line and "crc32c" not in line for line in metrics)
    assert all(line["time/step_s"] > 0 for line in memtrain.load_metrics(folder / "runs/run", "timings"))
    assert memtrain.load_metrics(folder / "runs/run", "evaluations") == []
    with pytest.raises(ValueError, match="not 'rewards'"):
        memtrain.load_metrics(folder / "runs/run", "rewards")  # type: ignore[arg-type]


def test_what_is_not_there_or_not_as_it_was_written_is_an_error(folder: Path, tmp_path: Path) -> None:
    for load in (memtrain.load_rollouts, memtrain.load_metrics):
        with pytest.raises(memtrain.DataError, match="is no run of memtrain"):
            load(tmp_path)
    with pytest.raises(memtrain.DataError, match="memtrain corpus build"):
        memtrain.load_documents(tmp_path)
    corpus = tmp_path / "corpus"
    shutil.copytree(folder / "corpus", corpus)
    table = next((corpus / "synthesize/data").glob("train-*"))
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(memtrain.DataError, match="bytes, not the"):
        memtrain.load_documents(corpus)
    (corpus / "synthesize/manifest.json").write_text("{")
    with pytest.raises(memtrain.DataError, match="cannot be read"):
        memtrain.load_documents(corpus)


def test_a_line_that_is_being_written_is_no_line_yet(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    log = tmp_path / "metrics.jsonl"
    log.write_text(json.dumps({"step": 1, "crc32c": 5}) + '\n{"step": 2, "rew')
    assert memtrain.load_metrics(tmp_path) == [{"step": 1}]
    log.write_text('{"step": 1\n{"step": 2}\n')
    with pytest.raises(memtrain.DataError, match="line 1 is damaged"):
        memtrain.load_metrics(tmp_path)
