"""The forkserver: one single-threaded process without secrets that has the native parts and indexes loaded.

Its whole work is to fork a child for each job, to tell how the child ended, and to take a child's
whole process group along when it ends, and whatever has left that group. It never looks at a file of
a submitter itself. It ends with its worker: their socket closes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from readvault.nursery import hand, sandbox
from readvault.nursery.sandbox import Limits
from readvault.nursery.wire import FORK, FORK_GENTLY

_MESSAGE = 2**16
_SECONDS_TO_END = 5.0
"""After which the forkserver ends although something of a job is still there: it is stuck in the kernel."""
NICENESS = 10
"""How much a large job steps back where small ones want the processors too."""
HOST_INDEX = "readvault.reads.dehumanize.host_index"


@dataclass(frozen=True, slots=True)
class _Job:
    key: str
    status: int


class Forkserver:
    """Forks a child for each job that the worker asks for over `control`."""

    def __init__(self, control: socket.socket, limits: Limits, local_run: Callable[..., hand.LocalSteps]) -> None:
        self._control = control
        self._limits = limits
        self._local_run = local_run
        self._jobs: dict[int, _Job] = {}
        self._wakeup, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poller = select.poll()
        self._poller.register(control, select.POLLIN)
        self._poller.register(self._wakeup, select.POLLIN)

    def serve(self) -> None:
        """Work until the worker is gone or SIGTERM comes; then no child is left."""
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, _noted)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        try:
            while self._turn():
                pass
        finally:
            self._end()

    def _turn(self) -> bool:
        ready = {descriptor for descriptor, _ in self._poller.poll()}
        if self._wakeup in ready:
            with contextlib.suppress(BlockingIOError):
                if signal.SIGTERM in os.read(self._wakeup, 4096):
                    return False
            self._reap()
        return self._control.fileno() not in ready or self._obey()

    def _obey(self) -> bool:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, _MESSAGE, 2, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return False
        if not message:
            return False
        verb, key = json.loads(message)
        if verb in (FORK, FORK_GENTLY):
            self._fork(key, *descriptors, gently=verb == FORK_GENTLY)
        else:
            for pid in [pid for pid, job in self._jobs.items() if job.key == key]:
                _kill_group(pid)
        return True

    def _fork(self, key: str, conversation: int, status: int, *, gently: bool) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # the worker sees both ends close and hands the job back
            os.close(conversation)
            os.close(status)
            return
        if pid == 0:
            try:
                if gently:
                    os.nice(NICENESS)
                self._become_child(parent, conversation, status)
            finally:
                os._exit(0)
        with contextlib.suppress(OSError):  # the child does it too; whoever comes first
            os.setpgid(pid, pid)
        os.close(conversation)
        self._jobs[pid] = _Job(key, status)

    def _become_child(self, parent: int, conversation: int, status: int) -> None:
        os.setpgid(0, 0)
        sandbox.die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self._control.close()
        for descriptor in (self._wakeup, self._woken, status, *(job.status for job in self._jobs.values())):
            os.close(descriptor)
        silence = os.open(os.devnull, os.O_WRONLY)  # native code prints file and read names
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        hand.serve(conversation, self._limits, self._local_run)

    def _reap(self) -> None:
        """Tell of every child that ended, how. Its group goes first: until it is reaped, its ID can't be reused."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                job = self._jobs.pop(ended.si_pid, None)
                if job is not None:
                    _kill_group(ended.si_pid)
                _, status = os.waitpid(ended.si_pid, 0)
                if job is not None:
                    with contextlib.suppress(BrokenPipeError):
                        os.write(job.status, status.to_bytes(4, "little"))
                    os.close(job.status)
        self._kill_strays()

    def _kill_strays(self) -> None:
        """Kill what left the process group of a job and outlived it: the system makes it a child of ours."""
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                if pid not in self._jobs and os.getpgid(pid) not in self._jobs:
                    os.kill(pid, signal.SIGKILL)

    def _end(self) -> None:
        """Kill all jobs, then what they leave behind, as long as something comes up."""
        for pid in self._jobs:
            _kill_group(pid)
        end = time.monotonic() + _SECONDS_TO_END
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < end:
                ended, _ = os.waitpid(-1, os.WNOHANG)
                self._jobs.pop(ended, None)
                self._kill_strays()
                if not ended:
                    time.sleep(0.005)


def prepare(plan: dict[str, Any]) -> tuple[Callable[..., hand.LocalSteps], dict[str, Any]]:
    """Load the native parts and every index that can be loaded; what to run, and what is ready."""
    module, _, name = plan["local_run"].partition(":")
    steps = importlib.import_module(module)
    local_run: Callable[..., hand.LocalSteps] = getattr(steps, name)
    if hasattr(steps, "load_ahead"):
        steps.load_ahead()
    digests: dict[str, str] = {}
    faults: dict[str, str] = {}
    if plan["indexes"]:
        host_index = importlib.import_module(HOST_INDEX)
        for path in plan["indexes"]:
            try:
                host_index.load(Path(path))
                digests[path] = host_index.digest(Path(path))
            except Exception as fault:  # one bad index must not stop the organisms that don't need it
                faults[path] = "there is no such file" if not Path(path).exists() else type(fault).__name__
    gc.collect()
    gc.freeze()  # what is loaded stays shared: the collector writes into no page of it
    return local_run, {"digests": digests, "faults": faults}


def main() -> None:
    """Serve the worker at the other end of the socket whose descriptor is the first argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    plan = json.loads(control.recv(_MESSAGE))
    sandbox.die_with_parent(plan["worker"], signal.SIGTERM)
    sandbox.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the worker decides
    local_run, ready = prepare(plan)
    control.send(json.dumps(ready).encode())
    Forkserver(control, Limits(**plan["limits"]), local_run).serve()


def _children() -> list[int]:
    """The processes whose parent is this one; none where the system doesn't tell."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _noted(number: int, frame: object) -> None:
    """The wake-up descriptor tells the loop; a handler must exist for that."""


if __name__ == "__main__":
    main()
