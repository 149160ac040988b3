"""Nurseries whose children misbehave on request (`tests.integration.nursery.steps`), and samples for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from readvault.config import WorkerSettings
from readvault.domain.organism import Organism, Reference
from readvault.nursery import Nursery
from readvault.reads.sample import Sample

REPOSITORY = Path(__file__).resolve().parents[3]
SETTINGS = WorkerSettings(memory_limit=2 * 10**9, file_size_limit=10**6)
STEPS = "tests.integration.nursery.steps:Steps"

Samples = Callable[..., Sample]


def samples_in(folder: Path) -> Samples:
    """Makes samples, each with a directory of its own."""

    def make(name: str = "LOC_000001Y.1") -> Sample:
        directory = folder / name
        directory.mkdir(exist_ok=True)
        organism = Organism(name="tiny", reference=Reference(fasta=Path("tiny.fasta")))
        return Sample(name=name, organism=organism, inputs=(), directory=directory)

    return make


def started(scratch: Path, settings: WorkerSettings = SETTINGS) -> Nursery:
    """A nursery that runs, with the misbehaving steps."""
    nursery = Nursery(
        settings.model_copy(update={"scratch": scratch}),
        {},
        local_run=STEPS,
        environment={"PYTHONPATH": str(REPOSITORY), "WORKER": str(os.getpid())},
    )
    nursery.start()
    return nursery


def is_gone(pid: int | None) -> bool:
    """Whether the process ends within twenty seconds; a zombie that nobody reaps is not gone."""
    assert pid is not None
    for _ in range(2000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False
