"""What running processes take, looked up in /proc: CPU of a whole family, memory without shared pages twice."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and everything that descends from it now."""
    children: dict[int, list[int]] = defaultdict(list)
    for each, fields in _all():
        children[int(fields[1])].append(each)
    found, unvisited = [], [pid]
    while unvisited:
        found.append(unvisited.pop())
        unvisited += children[found[-1]]
    return found


def lasting(pid: int) -> list[int]:
    """A worker and its nursery: the processes that don't end with a job."""
    return [pid, *(each for each, fields in _all() if int(fields[1]) == pid)]


def cpu(pids: Iterable[int]) -> float:
    """CPU seconds of these processes and of all that they have waited for."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            ticks += sum(int(each) for each in _fields(Path(f"/proc/{pid}/stat"))[11:15])
    return ticks / _TICK


def memory(pids: Iterable[int], figure: str = "Pss") -> int:
    """Bytes of memory; a page that several share counts in parts (`Pss`) or for each of them (`Rss`)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{figure}:"))
    return total


def _all() -> list[tuple[int, list[str]]]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found.append((int(path.parent.name), _fields(path)))
    return found


def _fields(stat: Path) -> list[str]:
    """The fields after the name: state, parent, group, session, …; `utime` to `cstime` are 11 to 14."""
    return stat.read_text().rpartition(")")[2].split()
