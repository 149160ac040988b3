"""The way of a sample, once: which steps there are, in which order, and what each one hands on.

The order matters. Originals are hashed before anything reads them; reads are validated before a
tool sees them; human reads leave before anything is derived; all that is published is derived
from what is left.

`run` knows neither where a job comes from nor who watches it. A server's job fetches from S3 and
registers in the database (`readvault.worker.server_job`), a laptop's job takes local files and writes
`result.json` (`readvault.local_job`). `around` wraps each step: a Prefect task in the flows, a
progress bar in the CLI, nothing in the inline orchestrator.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from readvault.domain.annotations import Annotation
from readvault.domain.errors import InvalidSubmission
from readvault.domain.reports import Report
from readvault.failpoints import failpoint

BEFORE = ("fetch",)
LOCAL = ("validate", "dehumanize", "align", "consensus", "check", "silo")
LOCAL_WITHOUT_READS = ("check",)
AFTER = ("stage", "register")
STEPS = BEFORE + LOCAL + AFTER

Body = Callable[[], Report]
Around = Callable[[str, Body], Report]


class Hands(Protocol):
    """Who does the local steps: this process, or a child of the nursery."""

    def run(self, step: str) -> Report:
        """Do one step; raises InvalidSubmission or ProcessingFailure."""

    def result(self) -> Any:
        """What the steps made (`readvault.reads.local_run.LocalResult`)."""


class Job(Protocol):
    """One sample on its way, from its originals to its registration."""

    has_reads: bool

    def fetch(self) -> Report: ...
    def hands(self) -> AbstractContextManager[Hands]: ...
    def stage(self, result: Any) -> Report: ...
    def register(self, result: Any, refusals: Iterable[Annotation]) -> Report: ...


def directly(step: str, body: Body) -> Report:
    """Do a step with nothing around it."""
    return body()


def run(job: Job, around: Around = directly) -> Report:
    """Take one job through all steps; the report of its registration.

    A submission with faults is registered too, with its annotations and without files.
    Raises ProcessingFailure when we are at fault.
    """
    refusals: tuple[Annotation, ...] = ()
    result = None

    def step(name: str, body: Body) -> Report:
        failpoint(f"worker-{name}")
        return around(name, body)

    try:
        step("fetch", job.fetch)
        with job.hands() as hands:
            for name in LOCAL if job.has_reads else LOCAL_WITHOUT_READS:
                step(name, functools.partial(hands.run, name))
            result = hands.result()
    except InvalidSubmission as refusal:
        refusals = refusal.annotations
    else:
        step("stage", lambda: job.stage(result))
    return step("register", lambda: job.register(result, refusals))
