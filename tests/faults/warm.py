"""A warm process: it has everything imported and forks workers, APIs and single operations from itself.

A worker that starts as users start it needs four seconds of CPU before its first job; forked from here
it needs a few hundredths. What it runs is the same code from there on (`readvault worker`, `readvault
api`), with two differences: its first nursery is forked too (those after it start as always), and what
waits half a minute or five for a process that may only be slow waits seconds, where nothing else is wished.

Run as `python -m tests.faults.warm`; orders come as JSON lines, each answered with a process ID.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from readvault import scratch
from readvault.config import Settings
from readvault.domain.actor import Actor
from readvault.domain.identifiers import AccessionVersion
from readvault.nursery import forkserver, nursery, sandbox
from readvault.nursery.sandbox import Limits
from readvault.pipeline import LOCAL
from readvault.services.house import House
from readvault.services.queue import deliveries
from readvault.worker import house as worker_house

READY = "ready"
AS_SHIPPED = "FAULTS_AS_SHIPPED"
"""The variable of sites whose processes wait as long as shipped ones do."""
_Server = nursery._Server
_control: socket.socket | None = None
_child = 0
_ready: dict[str, Any] = {}


def main() -> None:
    """Load all that is needed, then fork what is asked for until the pipe closes."""
    from readvault import bootstrap, demo_organism  # noqa: F401 - what children will need
    from readvault.adapters import inline_orchestrator, issuer  # noqa: F401
    from readvault.api import app  # noqa: F401
    from readvault.cli import serve  # noqa: F401
    from readvault.web import mounting  # noqa: F401

    settings = Settings()
    index = settings.host_index(demo_organism.load(settings))
    local_run, ready = forkserver.prepare(
        {"local_run": nursery.LOCAL_RUN, "indexes": [] if index is None else [str(index)]}
    )
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: they are watched from outside
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(READY, file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order, local_run, ready)
        print(pid, file=answers, flush=True)


def _become(order: dict[str, Any], local_run: Callable[..., Any], ready: dict[str, Any]) -> None:
    """Do what was ordered, in the forked process; never returns."""
    code = 1
    try:
        os.setsid()
        sandbox.die_with_parent(os.getppid())
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["environment"])
        if AS_SHIPPED not in os.environ:
            deliveries.IN_FLIGHT, scratch.LEFT_AFTER = 2.0, 3.0
        if name := order.get("host"):
            socket.gethostname = lambda: str(name)
        if order["do"] == "worker":
            if steps := order.get("local_run"):
                local_run = forkserver.prepare({"local_run": steps, "indexes": []})[0]
                worker_house.Nursery = functools.partial(nursery.Nursery, local_run=steps)  # type: ignore[assignment, attr-defined]
            _fork_nursery(local_run, ready)
            from readvault import logs
            from readvault.cli import serve

            logs.to_stderr("text")
            serve.worker()
        elif order["do"] == "api":
            from readvault.cli import serve

            serve.api(host="127.0.0.1", port=order["port"])
        else:
            _write(Path(order["answer"]), OPERATIONS[order["do"]](_house(), order))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _fork_nursery(local_run: Callable[..., Any], ready: dict[str, Any]) -> None:
    """Fork the forkserver of the worker that this process becomes, while it has one thread only."""
    global _control, _child, _ready
    settings, worker = Settings().worker, os.getpid()
    cpu = int(settings.step_limit * settings.threads * len(LOCAL)) + 1
    limits = asdict(Limits(memory=settings.memory_limit, cpu=cpu, file_size=settings.file_size_limit))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            ours.close()
            sandbox.die_with_parent(worker, signal.SIGTERM)
            sandbox.adopt_orphans()
            forkserver.Forkserver(theirs, Limits(**limits), local_run).serve()
        finally:
            os._exit(0)
    theirs.close()
    _control, _child, _ready = ours, pid, ready
    nursery._Server = _forked_first  # type: ignore[misc, assignment]


def _forked_first(*arguments: Any) -> Any:
    global _control
    if _control is None:
        return _Server(*arguments)
    control, _control = _control, None
    return _Forked(control, _child, _ready)


class _Forked(_Server):
    """A forkserver that is there already."""

    def __init__(self, control: socket.socket, pid: int, ready: dict[str, Any]) -> None:
        import threading

        self.control = control
        self.process = _Process(pid)  # type: ignore[assignment]
        self._lock = threading.Lock()
        self._answer = ready

    def wait_until_ready(self) -> dict[str, dict[str, str]] | None:
        return self._answer


class _Process:
    """As much of subprocess.Popen as the nursery needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode = 0

    def wait(self, timeout: float | None = None) -> int:
        import subprocess
        import time

        end = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                done, status = os.waitpid(self.pid, 0 if end is None else os.WNOHANG)
            except ChildProcessError:  # another thread was faster
                return self.returncode
            if done:
                self.returncode = os.waitstatus_to_exitcode(status)
                return self.returncode
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("nursery", timeout or 0.0)
            time.sleep(0.01)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _house() -> House:
    from readvault import bootstrap
    from readvault.adapters.inline_orchestrator import NoOrchestrator

    return bootstrap.house(bootstrap.settings(), NoOrchestrator())


def _submit(house: House, order: dict[str, Any]) -> Any:
    from readvault.services.idempotency import Once
    from readvault.services.submission.new_entries import submit

    metadata = order["metadata"].encode()
    entries = submit(
        house,
        Actor(order["actor"]),
        order["organism"],
        group_id=order["group"],
        metadata=metadata,
        metadata_name="metadata.tsv",
        terms_type="OPEN",
        once=Once.of(order["key"], "submit", metadata),
    )
    return [[entry.accession, entry.version] for entry in entries]


def _approve(house: House, order: dict[str, Any]) -> Any:
    from readvault.services.review.approval import Scope, approve

    named = [(AccessionVersion.parse(name), digest) for name, digest in order["named"]]
    approved = approve(house, Actor(order["actor"]), order["organism"], scope=Scope.ALL, accession_versions=named)
    return [str(name) for name in approved]


OPERATIONS: dict[str, Callable[[House, dict[str, Any]], Any]] = {"submit": _submit, "approve": _approve}


def _write(path: Path, answer: Any) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(answer))
    draft.rename(path)


if __name__ == "__main__":
    main()
