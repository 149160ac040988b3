"""The child's side: one process, one sample, one step after the other, asked for over a socket."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

from readvault.domain.errors import InvalidSubmission, ProcessingFailure, ReadvaultError, ScratchFull
from readvault.domain.reports import Report
from readvault.nursery import sandbox, wire
from readvault.nursery.sandbox import Limits
from readvault.reads.sample import Sample

_DISK = {errno.ENOSPC: "the scratch disk is full", errno.EDQUOT: "the quota of the scratch disk is used up"}


class LocalSteps(Protocol):
    """The local steps of one sample, as `readvault.reads.local_run.LocalRun` has them."""

    def run(self, step: str) -> Report: ...
    def result(self) -> Any: ...


def serve(conversation: int, limits: Limits, local_run: Callable[[Sample], LocalSteps]) -> None:
    """Do what the other end of the socket asks for, until it closes.

    The first message is the sample; then a step's name, or an empty one for the result.
    """
    cut_off = sandbox.enter(limits)
    with Connection(conversation) as connection:
        connection.send_bytes(wire.dumps((os.getpid(), cut_off)))
        steps: LocalSteps | None = None
        try:
            sample = connection.recv()
            while True:
                step = connection.recv()
                try:
                    steps = steps or local_run(sample)
                    answer = wire.dumps(steps.run(step) if step else steps.result())
                except Exception as fault:
                    answer = wire.dumps(_said(step or "result", fault))
                connection.send_bytes(answer)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _said(step: str, fault: Exception) -> ReadvaultError:
    """The fault as the worker may hear it: the submitter's and ours as they are, of others no text at all."""
    if isinstance(fault, InvalidSubmission | ProcessingFailure):
        return fault
    if isinstance(fault, MemoryError):
        return ProcessingFailure(step, "memory limit")
    if isinstance(fault, OSError) and fault.errno in _DISK:
        return ScratchFull(step, _DISK[fault.errno])
    if isinstance(fault, OSError) and fault.errno == errno.EFBIG:
        return ProcessingFailure(step, "file size limit")
    return ProcessingFailure(step, type(fault).__name__ + _place(fault))


def _place(fault: Exception) -> str:
    """Where in our own code it happened; the text of a stranger's error may quote a read or a name."""
    ours = [frame for frame, _ in traceback.walk_tb(fault.__traceback__)]
    for frame in reversed(ours):
        module = frame.f_globals.get("__name__", "")
        if module.startswith("readvault.reads."):
            return f" in {module}:{frame.f_lineno}"
    return ""
