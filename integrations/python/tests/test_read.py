import pickle
import subprocess
from pathlib import Path

import memtrain
import pytest

TEXT = "Anna built the mill. It stood by the river for a hundred years. Then it burned down. " * 8
LIMITS = ["--chunk-tokens", "64", "--memory-tokens", "24", "--answer-tokens", "8", "--prompts", "compact"]


def test_a_text_and_a_file_are_read_alike(program: str, folder: Path) -> None:
    asked = ["Who built the mill?", "What stood by the river?"]
    reading = memtrain.read(TEXT, asked, options=LIMITS, program=program)
    assert [answer.ask for answer in reading.answers] == asked
    assert {memory.question for memory in reading.memories} == {1, 2}
    assert all(memory.memory_tokens <= 24 for memory in reading.memories)
    path = folder / "-a text.txt"
    path.write_text(TEXT)
    assert memtrain.read(path, asked, options=LIMITS, program=program).answers == reading.answers
    once = memtrain.read(path, asked, read_once=True, options=LIMITS, program=program)
    assert {memory.question for memory in once.memories} == {None}
    assert 2 * len(once.memories) == len(reading.memories)


def test_a_checkpoint_reads_with_the_limits_of_its_run(program: str, folder: Path) -> None:
    policy = folder / "runs/run/checkpoints/latest"
    reading = memtrain.read(TEXT, "-- who?", policy, program=program)
    assert reading.answers[0].question == 1
    assert reading.memories[-1].chunk == reading.memories[-1].chunks


def test_what_the_program_refuses_is_an_error_with_its_words(program: str, tmp_path: Path) -> None:
    with pytest.raises(memtrain.CommandError, match="could not read") as refused:
        memtrain.read(tmp_path / "nothing.txt", "Who?", program=program)
    assert refused.value.code == 1
    assert refused.value.hint is not None
    with pytest.raises(memtrain.CommandError) as refused:
        memtrain.read("A text.", "Who?", options=["--memory-tokens", "many"], program=program)
    assert refused.value.code == 2
    copy = pickle.loads(pickle.dumps(refused.value))
    assert (copy.code, copy.message, copy.hint) == (2, refused.value.message, refused.value.hint)
    with pytest.raises(ValueError, match="no question"):
        memtrain.read("A text.", [], program=program)


def test_a_program_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(memtrain.ProgramNotFoundError, match="cargo build --release"):
        memtrain.read("A text.", "Who?", program=tmp_path / "nothing")
    monkeypatch.setenv("MEMTRAIN_PROGRAM", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(memtrain.ProgramNotFoundError, match="`memtrain` is not there"):
        memtrain.read("A text.", "Who?")


def script(folder: Path, text: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_other_programs_do_not_pass_for_memtrain(tmp_path: Path) -> None:
    with pytest.raises(memtrain.MemtrainError, match="something else than JSON lines"):
        memtrain.read("A text.", "Who?", program=script(tmp_path, "echo hello"))
    with pytest.raises(memtrain.MemtrainError, match="does not know what the program prints"):
        memtrain.read("A text.", "Who?", program=script(tmp_path, """echo '{"event": "answer", "new": 1}'"""))
    with pytest.raises(memtrain.CommandError, match="signal 9: last words") as ended:
        memtrain.read("A text.", "Who?", program=script(tmp_path, "echo last words >&2; kill -9 $$"))
    assert ended.value.code == -9
    with pytest.raises(subprocess.TimeoutExpired):
        memtrain.read("A text.", "Who?", program=script(tmp_path, "exec sleep 60"), timeout=0.2)
