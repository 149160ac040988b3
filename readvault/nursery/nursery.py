"""The worker's side of the nursery: keeps one forkserver alive and gets a child from it for each job."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

from readvault.config import WorkerSettings
from readvault.domain.errors import NotReady, NurseryDied
from readvault.failpoints import VARIABLE as FAILPOINTS
from readvault.nursery.child import Child
from readvault.nursery.sandbox import Limits
from readvault.nursery.wire import FORK, FORK_GENTLY
from readvault.pipeline import LOCAL
from readvault.reads.sample import Sample

logger = logging.getLogger(__name__)

LOCAL_RUN = "readvault.reads.local_run:LocalRun"
_NUMBA = ("NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
"""Which compiled code is used: the children's must be the worker's."""
_HANDED_DOWN = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", *_NUMBA, FAILPOINTS)
_MESSAGE = 2**16
_TO_STOP = 5.0
_BETWEEN_STARTS = 1.0


class Nursery:
    """Gives each job a child process with the native parts and host indexes loaded, and no secrets.

    `indexes` are host index files by the name of who needs them. `local_run` names what does the
    local steps, as `module:callable`. `environment` adds to the few variables that children see.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        indexes: Mapping[str, Path],
        *,
        local_run: str = LOCAL_RUN,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings
        self._indexes = sorted({str(path) for path in indexes.values()})
        self._local_run = local_run
        self._environment = dict(environment or {})
        self._home = settings.scratch or Path(tempfile.gettempdir())
        self._server: _Server | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._retired = False
        self._jobs = 0
        self._keeper: threading.Thread | None = None
        self.ready_indexes: dict[Path, str] = {}
        """The indexes that are loaded, with their SHA-256 (hexadecimal)."""

    @property
    def pid(self) -> int | None:
        """The process ID of the forkserver, or None while there is none."""
        server = self._server
        return server.process.pid if server else None

    def start(self) -> None:
        """Start the forkserver and wait until it has everything loaded; a dead one is replaced from now on.

        Raises NotReady when it doesn't come up.
        """
        self._keeper = threading.Thread(target=self._keep, name="nursery-keeper", daemon=True)
        self._keeper.start()
        with self._changed:
            self._changed.wait_for(lambda: self._server is not None or self._stopping)
        if self._server is None:
            raise NotReady("the nursery doesn't start: its native parts can't be loaded (see standard error)")

    def stop(self) -> None:
        """End the forkserver and all children; whoever waits for one gets NurseryDied."""
        with self._changed:
            self._stopping = True
            server = self._server
            self._changed.notify_all()
        if server is not None:
            server.end()
        if self._keeper is not None:
            self._keeper.join(timeout=2 * _TO_STOP)

    def retire(self) -> None:
        """Take no further sample, and end when the last one that is in it has ended: another nursery has come."""
        with self._changed:
            self._retired = True
        self._end_if_nobody_needs_it()

    @contextmanager
    def child(self, sample: Sample, *, gently: bool = False) -> Iterator[Child]:
        """A child for one sample; when the block ends it is gone, with all that it started.

        `gently`: it leaves the processors to others that want them, so that a large job slows no small one.
        Raises NurseryDied when the nursery is stopping or has retired.
        """
        with self._changed:
            if self._retired:
                raise NurseryDied("another nursery has taken the place of this one")
            self._jobs += 1
        try:
            child = self._fork(uuid.uuid4().hex, sample, gently)
            try:
                yield child
            finally:
                child.close()
        finally:
            with self._changed:
                self._jobs -= 1
            self._end_if_nobody_needs_it()

    def _end_if_nobody_needs_it(self) -> None:
        if self._retired and not self._jobs:
            self.stop()

    def _fork(self, key: str, sample: Sample, gently: bool) -> Child:
        with self._changed:
            self._changed.wait_for(lambda: self._server is not None or self._stopping)
            server = self._server
        if server is None or self._stopping:
            raise NurseryDied("the nursery is stopping")
        ours, theirs = socket.socketpair()
        status, told = os.pipe()
        try:
            server.send(FORK_GENTLY if gently else FORK, key, theirs.fileno(), told)
        finally:
            theirs.close()
            os.close(told)
        child = Child(
            Connection(ours.detach()),
            status,
            step_limit=self._settings.step_limit,
            kill=lambda: server.send("kill", key),
            is_stopping=lambda: self._stopping,
        )
        try:
            child.greet(sample)
            if not child.is_cut_off:
                _say_once("jobs are not cut off from the network: this system permits no network namespaces")
        except BaseException:
            child.close()
            raise
        return child

    def _keep(self) -> None:
        """Start a forkserver, wait for its end, start another one. It dies with this thread (PR_SET_PDEATHSIG)."""
        ever = False
        while not (self._stopping or self._retired):
            try:
                server = _Server(self._plan(), self._clean_environment(), self._home)
            except OSError as refusal:  # no memory or no process ID for it: perhaps in a moment
                logger.error("the nursery can't be started: %s", type(refusal).__name__)
                if not ever:
                    break
                time.sleep(_BETWEEN_STARTS)
                continue
            ready = server.wait_until_ready()
            with self._changed:
                if ready is not None:
                    ever = True
                    self.ready_indexes = {Path(path): sha256 for path, sha256 in ready["digests"].items()}
                    self._server = server
                elif not ever:
                    self._stopping = True
                self._changed.notify_all()
            for path, fault in (ready or {}).get("faults", {}).items():
                logger.error("the host index %s can't be loaded: %s", Path(path).name, fault)
            server.process.wait()
            with self._changed:
                self._server = None
            server.control.close()
            if not (self._stopping or self._retired):
                logger.error("the nursery ended (%s); another one is started", _ending(server.process.returncode))
                time.sleep(_BETWEEN_STARTS)
        with self._changed:  # nobody waits for another one
            self._stopping = True
            self._changed.notify_all()

    def _plan(self) -> dict[str, object]:
        settings = self._settings
        cpu = int(settings.step_limit * settings.threads * len(LOCAL)) + 1
        limits = Limits(memory=settings.memory_limit, cpu=cpu, file_size=settings.file_size_limit)
        return {
            "worker": os.getpid(),
            "indexes": self._indexes,
            "local_run": self._local_run,
            "limits": asdict(limits),
        }

    def _clean_environment(self) -> dict[str, str]:
        """The few variables that a child may see: nothing of the worker's settings, so no secret."""
        return {
            **{name: os.environ[name] for name in _HANDED_DOWN if name in os.environ},
            "HOME": str(self._home),
            "TMPDIR": str(self._home),
            "LANG": "C.UTF-8",
            "REF_PATH": os.devnull,  # htslib would fetch references from the network
            "OPENBLAS_NUM_THREADS": "1",  # a process with threads can't be forked safely
            "OMP_NUM_THREADS": "1",
            **self._environment,
        }


class _Server:
    """One forkserver process and the socket to it."""

    def __init__(self, plan: dict[str, object], environment: dict[str, str], home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "readvault.nursery.forkserver", str(theirs.fileno())],
                env=environment,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._lock = threading.Lock()
        with contextlib.suppress(OSError):
            self.control.send(json.dumps(plan).encode())

    def wait_until_ready(self) -> dict[str, dict[str, str]] | None:
        """What the forkserver has loaded; None when it ended instead."""
        try:
            answer = self.control.recv(_MESSAGE)
        except OSError:
            return None
        return json.loads(answer) if answer else None

    def send(self, verb: str, key: str, *descriptors: int) -> None:
        """Ask the forkserver for something; when it is gone, so is everything that it could do it to."""
        with self._lock, contextlib.suppress(OSError):
            socket.send_fds(self.control, [json.dumps([verb, key]).encode()], descriptors)

    def end(self) -> None:
        """End the forkserver with all its children."""
        with self._lock, contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(_TO_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()


_said: set[str] = set()


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        logger.warning(text)


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"
