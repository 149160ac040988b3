"""The scratch of one worker: where its jobs work, and how what dead workers left there is swept."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

LEFT_AFTER = 300.0
"""Seconds without a sign of life after which a worker of another host is taken for dead."""
_MARK = ".readvault-worker"
"""Its time is the sign of life. Nothing without it is ever swept, whatever else lies on that disk."""


class Scratch:
    """The directory `<host>-<process ID>` below `root`, which many workers may share, on one host or several.

    `lease` (seconds) is how long a worker may be silent and still hold jobs.
    """

    def __init__(self, root: Path, *, lease: float) -> None:
        self.name = worker_name()
        self._root = root
        self.own = root / self.name
        self._left_after = max(LEFT_AFTER, 2 * lease)

    def take_over(self, hand_back: Callable[[str], int]) -> None:
        """Begin: hand back the jobs and remove the scratch of workers that died on this host."""
        for scratch in self._root.glob(f"{socket.gethostname()}-*"):
            if scratch == self.own or not _is_alive(scratch.name):
                handed_back = hand_back(scratch.name)
                shutil.rmtree(scratch, ignore_errors=True)
                logger.info("took over %d jobs of a worker that died", handed_back)
        self.own.mkdir(parents=True, exist_ok=True)
        (self.own / _MARK).touch()

    def sweep(self) -> int:
        """Give a sign of life, and remove what workers of other hosts left that give none any more; how many.

        Their jobs go by their leases. Times are compared as the disk itself has them, so no clocks need agree.
        """
        self.own.mkdir(parents=True, exist_ok=True)
        (self.own / _MARK).touch()
        now = (self.own / _MARK).stat().st_mtime
        swept = 0
        for mark in self._root.glob(f"*/{_MARK}"):
            with suppress(FileNotFoundError):  # another worker was faster
                if mark.parent != self.own and mark.stat().st_mtime < now - self._left_after and not _is_near(mark):
                    shutil.rmtree(mark.parent, ignore_errors=True)
                    swept += 1
        if swept:
            logger.info("swept the scratch of %d workers that gave no sign of life", swept)
        return swept

    @contextmanager
    def directory(self, name: str) -> Iterator[Path]:
        """A new directory, gone when the block ends."""
        directory = self.own / name
        directory.mkdir(parents=True)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def remove(self) -> None:
        """End: remove all of it."""
        shutil.rmtree(self.own, ignore_errors=True)


@contextmanager
def temporary(root: Path, purpose: str) -> Iterator[Path]:
    """A new directory of this process, worker or not, gone when the block ends; swept like a job's after a kill."""
    own = root / worker_name()
    own.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f"{purpose}-", dir=own) as folder:
            yield Path(folder)
    finally:
        with suppress(OSError):  # a worker's own has more in it
            own.rmdir()


def worker_name() -> str:
    """The name of this process as a worker: host and process ID."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _is_near(mark: Path) -> bool:
    """Whether it is a living worker of this host's, however busy."""
    host, _, _ = mark.parent.name.rpartition("-")
    return host == socket.gethostname() and _is_alive(mark.parent.name)


def _is_alive(name: str) -> bool:
    try:
        os.kill(int(name.rpartition("-")[2]), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
