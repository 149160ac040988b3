"""Runs of commands with what they took."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

_PAGE = os.sysconf("SC_PAGESIZE")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one command: seconds, and bytes of its largest process and of all of them at once."""

    wall: float
    cpu: float
    memory: int
    memory_together: int


def timed(command: Sequence[str], directory: Path) -> Run:
    """Run a command in a new directory; ends this program when it fails."""
    directory.mkdir()
    start = perf_counter()
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, start_new_session=True)
    together, over = [0], threading.Event()
    watch = threading.Thread(target=_watch, args=(process.pid, together, over))
    watch.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = perf_counter() - start
    over.set()
    watch.join()
    if status:
        sys.exit(f"{command[0]} ended with status {os.waitstatus_to_exitcode(status)}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, together[0])


def _watch(session: int, together: list[int], over: threading.Event) -> None:
    """Note the largest sum of resident memory of a session's processes, looked at ten times a second."""
    while not over.wait(0.1):
        together[0] = max(together[0], sum(_resident(path, session) for path in Path("/proc").glob("[0-9]*/stat")))


def _resident(stat: Path, session: int) -> int:
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[21]) * _PAGE if int(fields[3]) == session else 0
