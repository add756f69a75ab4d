"""Corpora, runs and readings of memtrain in Python.

`load_documents`, `load_rollouts` and `load_metrics` read what the program has written; `read` runs it on a text.
"""

from ._errors import CommandError, DataError, MemtrainError, ProgramNotFoundError
from ._read import Answer, Memory, Reading, read
from ._tables import load_documents, load_metrics, load_rollouts

__all__ = [
    "Answer",
    "CommandError",
    "DataError",
    "Memory",
    "MemtrainError",
    "ProgramNotFoundError",
    "Reading",
    "load_documents",
    "load_metrics",
    "load_rollouts",
    "read",
]
