"""The worker's side of one job's child: ask, wait without holding the GIL, tell how it ended."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from readvault.domain.errors import ChildDied, InvalidSubmission, NurseryDied, ProcessingFailure
from readvault.domain.reports import Report
from readvault.nursery import wire
from readvault.reads.sample import Sample

_TO_DIE = 10.0
"""Seconds that a killed process gets to be gone."""
_RUNNING = -1
_LIMITS = {signal.SIGXCPU: "CPU time limit", signal.SIGXFSZ: "file size limit"}


class Child:
    """One forked process that does the local steps of one sample (`readvault.pipeline.Hands`).

    `kill` makes the nursery kill its process group; `is_stopping` says whether the nursery is
    stopping, so that its death is nobody's failure.
    """

    def __init__(
        self,
        connection: Connection,
        status: int,
        *,
        step_limit: float,
        kill: Callable[[], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._status = status
        self._step_limit = step_limit
        self._kill = kill
        self._is_stopping = is_stopping
        self.is_cut_off = False
        """Whether the child can't reach the network."""
        self._cancelled = False
        self._pid: int | None = None
        self._ended: int | None = _RUNNING

    @property
    def pid(self) -> int | None:
        """The child's process ID, which is also its process group."""
        return self._pid

    def greet(self, sample: Sample) -> None:
        """Give the child its sample. Raises as `run` does."""
        pid, cut_off = self._receive("start")
        self._pid, self.is_cut_off = int(pid), bool(cut_off)
        self._send("start", sample)

    def run(self, step: str) -> Report:
        """Do one step in the child.

        Raises InvalidSubmission; ProcessingFailure when the step failed or took longer than
        `worker.step_limit`; ChildDied when the child died; NurseryDied when the nursery did.
        """
        answer = self._ask(step, step)
        assert isinstance(answer, Report)
        return answer

    def result(self) -> Any:
        """What the steps made; raises as `run` does."""
        return self._ask("", "result")

    def cancel(self) -> None:
        """Kill the child and all that it started; whoever waits for it gets ChildDied."""
        self._cancelled = True
        self._kill()

    def close(self) -> None:
        """Let the child go and wait until it is gone, so that nobody writes to its directory any more."""
        self._connection.close()
        try:
            self._end_status(kill_after=1.0)
        finally:
            os.close(self._status)

    def _ask(self, question: str, step: str) -> Any:
        self._send(step, question)
        answer = self._receive(step)
        if isinstance(answer, InvalidSubmission | ProcessingFailure):
            raise answer
        return answer

    def _send(self, step: str, message: Any) -> None:
        try:
            self._connection.send_bytes(wire.dumps(message))
        except (BrokenPipeError, ConnectionResetError):
            raise self._death(step) from None

    def _receive(self, step: str) -> Any:
        if not self._answered(self._step_limit):
            self._kill()
            self._end_status(kill_after=0)
            raise ProcessingFailure(step, "time limit")
        try:
            return wire.loads(self._connection.recv_bytes(wire.MAX_ANSWER))
        except (EOFError, ConnectionResetError):
            raise self._death(step) from None
        except (OSError, pickle.UnpicklingError):
            self._kill()
            raise ProcessingFailure(step, "the child's answer can't be read") from None

    def _answered(self, seconds: float) -> bool:
        """Wait for an answer, or the end of the child; False when neither came in time."""
        poller = select.poll()
        poller.register(self._connection.fileno(), select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def _death(self, step: str) -> ProcessingFailure | NurseryDied:
        """How the child ended, as an error to raise."""
        status = self._end_status(kill_after=1.0)
        if status is None or self._is_stopping():
            return NurseryDied("the nursery ended while it held the job")
        if self._cancelled:
            return ChildDied(step, "cancelled")
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            try:
                name = signal.Signals(number)
            except ValueError:
                return ChildDied(step, f"the child died by signal {number}")
            return ChildDied(step, _LIMITS.get(name, f"the child died by {name.name}"))
        return ChildDied(step, f"the child ended with code {os.waitstatus_to_exitcode(status)}")

    def _end_status(self, kill_after: float) -> int | None:
        """Wait for the child's end; its wait status, or None when the forkserver is gone with it."""
        if self._ended is not _RUNNING:
            return self._ended
        poller = select.poll()
        poller.register(self._status, select.POLLIN)
        if not poller.poll(kill_after * 1000):
            self._kill()
            poller.poll(_TO_DIE * 1000)
        os.set_blocking(self._status, False)
        with contextlib.suppress(BlockingIOError):
            told = os.read(self._status, 4)
            self._ended = int.from_bytes(told, "little") if told else None
            if not told and self._pid is not None:
                _kill_orphans(self._pid)
            return self._ended
        return None


def _kill_orphans(group: int) -> None:
    """The forkserver can't do it any more."""
    deadline = time.monotonic() + _TO_DIE
    while time.monotonic() < deadline:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.01)
