"""Child processes that are described as data, watched, and surely gone in the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from readvault.adapters import die_with_parent

READY_FILE = "READVAULT_READY_FILE"
STACK_ID = "READVAULT_STACK_ID"
MAX_LOG = 20 * 10**6
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE", "NO_PROXY")


@dataclass(frozen=True)
class Child:
    """A process to run: what it is called, how it is started, when it is ready.

    `ready` is asked again and again; it must answer at once and may raise nothing. `needs` names
    children that must be ready before, `uses` those that only must not stop before it does.
    `when_ready` is called once, after the first readiness. `grace` is how many seconds it gets to
    stop by itself. What stands in `env` may be secret and is never shown.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    ready: Callable[[RunningChild], bool] = lambda running: True
    when_ready: Callable[[], None] | None = None
    grace: float = 10.0


def base_environment(*prefixes: str) -> dict[str, str]:
    """What a child inherits of our environment: the usual few variables, and those with these prefixes."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _INHERITED or any(name.startswith(prefix) for prefix in prefixes)
    }


def announce_ready() -> None:
    """Tell whoever started this process that it takes work now, if they asked to be told."""
    if path := os.environ.get(READY_FILE):
        Path(path).touch()


class RunningChild:
    """One started process, leader of a session of its own, so that a Ctrl-C doesn't reach it before we decide."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.started_at = time.time()
        child.log.parent.mkdir(parents=True, exist_ok=True)
        if child.log.exists() and child.log.stat().st_size > MAX_LOG:
            child.log.replace(child.log.with_suffix(".1.log"))
        with child.log.open("ab") as log:
            self._process = subprocess.Popen(
                # -S and -E: the little script needs no packages, and starts in a blink without them.
                [sys.executable, "-S", "-E", die_with_parent.__file__, str(os.getpid()), *child.argv],
                env=dict(child.env),
                cwd=child.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._swept = self._asked = False

    @property
    def exit_code(self) -> int | None:
        """How it ended, None while it runs; negative numbers are signals. What it left running is killed."""
        if self._process.returncode is None and self._has_ended():
            self._sweep()
            self._process.wait()
        return self._process.returncode

    def is_ready(self) -> bool:
        """Whether it runs and says that it is ready."""
        return self.exit_code is None and self.child.ready(self)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to it alone, once; its own children are its own business while it drains."""
        if self.exit_code is None and not self._asked:
            self._asked = True
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and its whole session at once."""
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGKILL)
            while self.exit_code is None:
                time.sleep(0.01)

    def stop(self, grace: float | None = None, hurry: Callable[[], bool] = lambda: False) -> None:
        """Ask it to stop, wait up to `grace` seconds (or until `hurry`), then kill it."""
        self.ask_to_stop()
        end = time.monotonic() + (self.child.grace if grace is None else grace)
        while self.exit_code is None and time.monotonic() < end and not hurry():
            time.sleep(0.05)
        self.kill()

    def last_lines(self, count: int = 5) -> list[str]:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return self.child.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
        return []

    def _has_ended(self) -> bool:
        # Not reaped yet: until it is, nobody else can get its session's number.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _sweep(self) -> None:
        """Kill what is left of its session: children in process groups of their own, too."""
        if self._swept:
            return
        self._swept = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for _ in range(100):
            left = [pid for pid in _processes() if pid != self.pid and _session_of(pid) == self.pid]
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def end_leftovers(stack_id: str) -> list[int]:
    """Kill the processes whose environment says that they belong to this stack; their process IDs.

    After a kill -9 of everything a grandchild may have lived on. The mark is a random ID, so nobody
    else's process can be met.
    """
    mark = f"{STACK_ID}={stack_id}".encode()
    ended = []
    for pid in _processes():
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
                ended.append(pid)
    return ended


def _processes() -> list[int]:
    proc = Path("/proc")
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal()] if proc.is_dir() else []


def _session_of(pid: int) -> int | None:
    """The session of a process that still runs; None for one that is gone or only waits to be reaped."""
    try:
        # The second field is the program's name in brackets and may itself have spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[3])
