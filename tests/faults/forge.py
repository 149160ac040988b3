"""Kills without the cost of a start: a process that has everything imported forks one that does a single thing.

The forge itself has one thread and no connection. Run as `python -m tests.faults.forge MODULE`: the
module's OPERATIONS are what can be ordered, as JSON lines; for each come a process ID and how it ended.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from types import TracebackType
from typing import Any

from readvault.failpoints import VARIABLE
from tests.faults.ground import FailPoints

KILLED = -signal.SIGKILL


class Forge:
    """Makes one process at a time: `with Forge("tests.faults.release_kills") as forge: forge.start("approve")`."""

    def __init__(self, module: str, fail_points: FailPoints | None = None) -> None:
        surroundings = {} if fail_points is None else {VARIABLE: str(fail_points.folder)}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.faults.forge", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | surroundings,
        )
        self.pid = 0

    def __enter__(self) -> Forge:
        assert self._line(240) == {"ready": True}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        if self.pid and self.is_running:
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait(30)
        self._process.stdout.close()

    def start(self, operation: str, **order: Any) -> int:
        """Let a new process do this; its ID."""
        assert self.pid == 0
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([operation, order]).encode() + b"\n")
        self._process.stdin.flush()
        self.pid = int(self._line(120)["pid"])
        return self.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        assert self._process.stdout is not None
        return not select.select([self._process.stdout], [], [], 0)[0]

    def kill(self) -> None:
        """kill -9, if it still runs."""
        if self.is_running:
            os.kill(self.pid, signal.SIGKILL)

    def ended(self, seconds: float = 240) -> tuple[int, Any]:
        """Wait for the end: the exit status, or minus the signal that killed it, and what it answered."""
        said = self._line(seconds)
        self.pid = 0
        return int(said["status"]), said["answer"]

    def _line(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise AssertionError("a process did not end in time")
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def main() -> None:
    """Fork what is ordered until the pipe closes."""
    operations = importlib.import_module(sys.argv[1]).OPERATIONS
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        name, order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _do(operations[name], order, writing)
        os.close(writing)
        print(json.dumps({"pid": child}), file=out, flush=True)
        with os.fdopen(reading) as pipe:
            answer = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "answer": json.loads(answer or "null")}), file=out, flush=True)


def _do(operation: Any, order: dict[str, Any], writing: int) -> None:
    try:
        answer = operation(**order)
        os.write(writing, json.dumps(answer).encode())
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


if __name__ == "__main__":
    main()
