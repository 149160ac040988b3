"""What worker and child say to each other: pickles, of which the worker believes only plain data.

The child reads files of strangers with native code. If one of them ever takes it over, its answers
must not become code in the worker: only our own dataclasses, enumerations and errors, paths and
built-in values are unpickled.
"""

from __future__ import annotations

import builtins
import dataclasses
import enum
import importlib
import io
import pathlib
import pickle
from typing import Any

from readvault.domain.errors import ReadvaultError

FORK, FORK_GENTLY = "fork", "fork gently"
"""What the worker asks of the forkserver: a child, or one that leaves the processors to others."""
MAX_ANSWER = 256 * 10**6
"""Bytes of one answer: the sequences of a genome and a report fit many times."""

_ROOMS = ("readvault.domain.", "readvault.reads.")
_PLAIN = frozenset({"set", "frozenset", "bytearray", "complex"})
_PATHS = frozenset({"PosixPath", "PurePosixPath"})


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name in _PLAIN:
            return getattr(builtins, name)
        if module in ("pathlib", "pathlib._local") and name in _PATHS:
            return getattr(pathlib, name)
        if module.startswith(_ROOMS):
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, type) and found.__module__ == module and _is_data(found):
                return found
        raise pickle.UnpicklingError("the answer holds something that is no plain data")


def dumps(message: Any) -> bytes:
    """The message as bytes."""
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


def loads(answer: bytes) -> Any:
    """Read an answer of plain data. Raises pickle.UnpicklingError for anything else."""
    return _PlainUnpickler(io.BytesIO(answer)).load()


def _is_data(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, enum.Enum | ReadvaultError)
