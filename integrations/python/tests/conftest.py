"""A corpus and a run of the program in `$MEMTRAIN_PROGRAM`, made once."""

import os
import subprocess
from pathlib import Path

import pytest

CONFIG = """
[run]
name = "run"
corpus = "corpus"
[world]
num_pages = 30
[corpus.ingest]
dumps = ["dump.xml.bz2"]
min_words = 6
max_words = 24
[corpus.tokenizer]
source = "built-in:tiny"
[corpus.synthesize]
num_train = 6
num_heldout = 2
documents_per_shard = 4
heldout_fraction = 0.3
num_related = 2
num_random = 2
min_tokens = 20
max_tokens = 288
[policy]
path = "built-in:tiny"
[reader]
prompts = "compact"
chunk_tokens = 64
max_chunks = 8
memory_tokens = 24
answer_tokens = 8
context_tokens = 256
[objective]
group_size = 2
[train]
steps = 2
documents_per_step = 2
"""


@pytest.fixture(scope="session")
def program() -> str:
    program = os.environ.get("MEMTRAIN_PROGRAM")
    if not program:
        pytest.skip("MEMTRAIN_PROGRAM does not name a program")
    return program


@pytest.fixture(scope="session")
def folder(program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memtrain")
    (folder / "small.toml").write_text(CONFIG)
    for words in (["corpus", "build", "small.toml"], ["train", "small.toml"]):
        subprocess.run([program, *words, "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder
