"""What a job's child may not do: outlive its parent, grow without limit, reach the network.

Everything here works on the calling process and on Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

OPEN_FILES = 4096
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None, use_errno=True).prctl


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job's child may use: bytes of memory besides what it is born with, CPU seconds, bytes a file."""

    memory: int
    cpu: int
    file_size: int


def enter(limits: Limits) -> bool:
    """Limit the calling process and all that it will start; whether it is cut off from the network too."""
    cut_off = leave_network()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, limits.file_size)
    _limit(resource.RLIMIT_CPU, limits.cpu, more_for_the_signal=5)
    _limit(resource.RLIMIT_AS, _address_space() + limits.memory)
    with contextlib.suppress(OSError):  # a kernel short of memory takes the job, not the worker
        Path("/proc/self/oom_score_adj").write_text("500")
    return cut_off


def leave_network() -> bool:
    """Move the calling process into a network of its own that has no way out; False where that is forbidden.

    With the new user namespace it also loses every privilege over the processes outside, the worker's
    memory and environment among them. Its user keeps its ID, so that files stay readable.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
    except OSError:
        try:
            os.unshare(os.CLONE_NEWNET)
        except OSError:
            return False
        return True
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Receive a signal when the thread that started this process ends; exit at once if `parent` is gone already."""
    _prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of whatever the children's children leave behind, so that it can be reaped."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def hide_memory() -> None:
    """Keep other processes of the same user from reading this process's memory and environment."""
    _prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _limit(kind: int, value: int, more_for_the_signal: int = 0) -> None:
    """Lower a limit. At the soft limit of CPU time comes SIGXCPU, which says what happened; at the hard one SIGKILL."""
    _, hard = resource.getrlimit(kind)
    top = value + more_for_the_signal
    allowed = top if hard == resource.RLIM_INFINITY else min(top, hard)
    resource.setrlimit(kind, (min(value, allowed), allowed))
