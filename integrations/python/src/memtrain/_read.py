"""Reading a text with a memory, by the program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._errors import CommandError, MemtrainError, ProgramNotFoundError


@dataclass(frozen=True)
class Memory:
    """The memory after a chunk. `question` counts from 1, and is None where the text is read once for all questions."""

    question: int | None
    chunk: int
    chunks: int
    prompt_tokens: int
    memory_tokens: int
    finish: str
    memory: str


@dataclass(frozen=True)
class Answer:
    """An answer: what is boxed in the response, else all of it. `finish` is `stop`, or `length` where it was cut off."""

    question: int
    ask: str
    prompt_tokens: int
    answer_tokens: int
    finish: str
    answer: str
    response: str


@dataclass(frozen=True)
class Reading:
    """What came of a reading: the answers in the order of the questions, and the memories in the order in which they came."""

    answers: list[Answer]
    memories: list[Memory]


def read(
    text: str | os.PathLike[str],
    ask: str | Sequence[str],
    policy: str | os.PathLike[str] | None = None,
    *,
    read_once: bool = False,
    options: Sequence[str] = (),
    program: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> Reading:
    """Reads a text of any length chunk by chunk with a memory, and answers questions from that memory alone.

    Args:
        text: the text itself, or the path of a file.
        ask: a question, or several.
        policy: directory of a policy or its name on the hub; the small one that the program carries without it, which knows
            nothing but its fictional world.
        read_once: reads once for all questions, instead of once for each.
        options: further options of `memtrain read`, for example `["--chunk-tokens", "2000"]`.
        program: the program, instead of `$MEMTRAIN_PROGRAM` or `memtrain` on the `PATH`.
        timeout: seconds after which the program is ended.

    Raises:
        ProgramNotFoundError: if the program is not there.
        CommandError: if it refuses the text, the policy or an option.
        subprocess.TimeoutExpired: after `timeout`.
    """
    questions = [ask] if isinstance(ask, str) else list(ask)
    if not questions:
        raise ValueError("`ask` has no question")
    command = [_program(program), "read", "--json", "--quiet"]
    command += [f"--ask={question}" for question in questions]
    if policy is not None:
        command.append(f"--policy={os.fspath(policy)}")
    if read_once:
        command.append("--read-once")
    command += list(options)
    # Behind `--` a name may begin with a hyphen.
    command += ["--", "-" if isinstance(text, str) else os.path.abspath(text)]
    answers: list[Answer] = []
    memories: list[Memory] = []
    for event in _events(command, text if isinstance(text, str) else "", timeout):
        kind = event.pop("event", None)
        try:
            if kind == "answer":
                answers.append(Answer(**event))
            elif kind == "memory":
                memories.append(Memory(**{"question": None, **event}))
        except TypeError as error:
            raise MemtrainError(f"this package does not know what the program prints: {error}") from error
    return Reading(answers, memories)


def _program(program: str | os.PathLike[str] | None) -> str:
    named = os.fspath(program) if program is not None else os.environ.get("MEMTRAIN_PROGRAM") or "memtrain"
    found = shutil.which(named)
    if found is None:
        raise ProgramNotFoundError(
            f"the program `{named}` is not there: build it with `cargo build --release`, and put it on the PATH or name it"
            " in MEMTRAIN_PROGRAM"
        )
    return found


def _events(command: list[str], stdin: str, timeout: float | None) -> list[dict[str, Any]]:
    try:
        done = subprocess.run(
            command,
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )
    except OSError as error:
        raise ProgramNotFoundError(f"the program `{command[0]}` cannot be run: {error}") from error
    if done.returncode != 0:
        raise CommandError.of_log(done.returncode, done.stderr.decode(errors="replace"))
    try:
        return [json.loads(line) for line in done.stdout.decode().splitlines() if line]
    except ValueError as error:
        raise MemtrainError(f"the program prints something else than JSON lines: {error}") from error
