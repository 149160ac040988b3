"""What a probe says, and how it is kept from hanging."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from readvault.config import Settings
from readvault.domain.errors import ReadvaultError


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe saw: one line, and what to do about it when it is not ok."""

    probe: str
    level: Level
    message: str
    advice: str | None = None
    refused: bool = False
    """Whether production mode refuses to start over it."""


Probe = Callable[[Settings], Iterator[Finding]]


def shielded(name: str, probe: Probe, settings: Settings, *, mandatory: bool = False) -> Iterator[Finding]:
    """What a probe finds; when it breaks, that is a finding too, and `mandatory` ones then refuse production."""
    try:
        yield from probe(settings)
    except Exception as fault:
        said = f"{fault}" if isinstance(fault, ReadvaultError | OSError) else type(fault).__name__
        yield Finding(name, Level.FAIL, f"the probe broke: {said}", "Something that it needs is not there.", mandatory)


def within(
    seconds: float, name: str, probe: Probe, settings: Settings, *, mandatory: bool = False
) -> Iterator[Finding]:
    """What a probe finds in so many seconds. Then it is left alone and its silence is a finding.

    It runs in a thread of its own: nobody can interrupt a call that waits for an answer that never comes.
    """
    told: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()

    def run() -> None:
        for finding in shielded(name, probe, settings, mandatory=mandatory):
            told.put(finding)
        told.put(None)

    deadline = time.monotonic() + seconds
    threading.Thread(target=run, name=f"doctor-{name}", daemon=True).start()
    while True:
        try:
            finding = told.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            message = f"no answer within {seconds:.0f} s"
            advice = "Somebody takes the connection and doesn't answer."
            yield Finding(name, Level.FAIL, message, advice, mandatory)
            return
        if finding is None:
            return
        yield finding
