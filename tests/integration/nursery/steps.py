"""Local steps that misbehave on request; children of the nursery run them instead of the real ones."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission, ProcessingFailure
from readvault.domain.reports import FetchReport, Report, StageReport
from readvault.reads.sample import Sample


class Steps:
    """Each step's name says what it does; the report holds a figure or two about it."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def run(self, step: str) -> Report:
        return getattr(self, step)()

    def result(self) -> Any:
        return self._sample.directory

    def work(self) -> Report:
        return FetchReport(files=os.getpid(), bytes=os.getppid())

    def refuse(self) -> Report:
        raise InvalidSubmission([Annotation(Reason.NO_READS, "There are no reads.", file="a.fastq", line=3)])

    def fail(self) -> Report:
        raise ProcessingFailure("fail", "a tool crashed")

    def slip(self) -> Report:
        raise ValueError("ACGTACGT is a read of somebody")

    def segfault(self) -> Report:
        ctypes.string_at(0)
        raise AssertionError

    def leave(self) -> Report:
        os._exit(3)

    def eat_memory(self) -> Report:
        return FetchReport(files=0, bytes=len(bytearray(10**10)))

    def write_too_much(self) -> Report:
        (self._sample.directory / "big").write_bytes(bytes(5 * 10**6))
        raise AssertionError

    def burn(self) -> Report:
        while True:
            pass

    def sleep(self) -> Report:
        time.sleep(60)
        raise AssertionError

    def hold_the_interpreter(self) -> Report:
        seconds = int((self._sample.directory / "seconds").read_text())
        ctypes.PyDLL(None).sleep(seconds)
        return FetchReport(files=seconds, bytes=0)

    def start_helper(self) -> Report:
        helper = subprocess.Popen(["sleep", "60"])
        (self._sample.directory / "helper").write_text(str(helper.pid))
        return FetchReport(files=helper.pid, bytes=0)

    def hang(self) -> Report:
        """A tool that hears no SIGTERM hangs, with a helper that hears none either and has left the process group."""
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pids = []
        for leaves in (False, True):
            helper = subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=leaves, cwd="/"
            )
            assert helper.stdout is not None
            helper.stdout.readline()
            pids.append(helper.pid)
        (self._sample.directory / "helpers").write_text(" ".join(map(str, pids)))
        return self.sleep()

    def be_killed(self) -> Report:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def look_around(self) -> Report:
        secrets = b"SECRET" in Path("/proc/self/environ").read_bytes() or "SECRET" in str(dict(os.environ))
        parents = 0
        try:
            parents = b"SECRET" in Path(f"/proc/{os.environ['WORKER']}/environ").read_bytes()
        except OSError:
            parents = 0
        return StageReport(files=int(secrets), bytes=int(parents))

    def call_home(self) -> Report:
        try:
            socket.create_connection(("127.0.0.1", int((self._sample.directory / "port").read_text())), timeout=2)
        except OSError:
            return FetchReport(files=0, bytes=0)
        return FetchReport(files=1, bytes=0)

    def take_over(self) -> Report:
        return subprocess.Popen  # type: ignore[return-value]
