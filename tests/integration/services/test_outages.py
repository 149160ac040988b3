"""The scratch disk is full, or the database goes away: no job's fault, and never the submitter's."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from readvault.db import faults
from readvault.domain.errors import ProcessingFailure, ScratchFull
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.ports import Delivery
from readvault.services.house import House
from readvault.worker.house import WorkerHouse
from tests.broken_database import BROKEN, VICTIM, failing
from tests.fakes import MemoryStore
from tests.faults.fake_pipeline import worker
from tests.integration.services.scenes import entry, group, job, let_lease_run_out, make_due, manifests

FULL = "the scratch disk is full"


def _run(one: WorkerHouse, job_id: str) -> None:
    one.run(Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION, "a job"))


def _full(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device", "secret-path")


def _fetch_full(*_: object, **__: object) -> Any:
    raise ScratchFull("fetch", FULL)


PLACES = {
    "the job's directory": (Path, "mkdir", _full),
    "the download": (MemoryStore, "fetch", _fetch_full),
    "the manifest's text": (Path, "write_bytes", _full),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_full_disk_is_ours_and_the_job_waits(house: House, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    name, job_id = entry(house, group(house, "alice"))
    one = worker(house, "worker")
    with monkeypatch.context() as patch:
        patch.setattr(*PLACES[place])
        with pytest.raises((OSError, ProcessingFailure)):
            _run(one, job_id)
    _waits(house, one, name, job_id)


def _waits(house: House, one: WorkerHouse, name: AccessionVersion, job_id: str) -> None:
    """Handed back uncounted, with a pause, nothing left behind; done as soon as there is room."""
    back = job(house, job_id)
    assert (back.state, back.failures, back.handbacks) == (JobState.QUEUED, 0, 1)
    assert FULL in (back.last_error or "")
    assert "secret" not in (back.last_error or "")
    assert back.not_before > back.created_at + house.settings.worker.retry_after[0]
    assert manifests(house, name) == []
    assert list(house.settings.scratch.glob("*/[!.]*")) == []
    make_due(house, job_id)
    _run(one, job_id)
    assert job(house, job_id).state == JobState.DONE
    assert [each.errors for each in manifests(house, name)] == [[]]


@pytest.fixture
def tiny_disk(house: House) -> Iterator[Path]:
    """The scratch on a disk of its own with room for little."""
    place = house.settings.scratch
    place.mkdir(parents=True)
    options = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=12", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(options, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("lacks", ["bytes", "files"])
def test_a_disk_that_is_really_full(house: House, tiny_disk: Path, lacks: str) -> None:
    name, job_id = entry(house, group(house, "alice"))
    one = worker(house, "worker")
    with suppress(OSError):
        if lacks == "bytes":
            (tiny_disk / ".others").write_bytes(bytes(10**5))
        for number in range(20 if lacks == "files" else 0):
            (tiny_disk / f".other-{number}").touch()
    with pytest.raises((OSError, ProcessingFailure)):
        _run(one, job_id)
    for other in tiny_disk.glob(".other*"):
        other.unlink()
    _waits(house, one, name, job_id)


@pytest.mark.parametrize("instead", [BROKEN, VICTIM], ids=["connection", "deadlock"])
def test_a_database_that_breaks_costs_no_attempt(house: House, monkeypatch: pytest.MonkeyPatch, instead: str) -> None:
    """At one statement of a job after the other: it is done in the end, once, and no failure is counted."""
    monkeypatch.setattr(faults, "_PAUSE", 0.001)
    group_id = group(house, "alice")
    one = worker(house, "worker")
    with failing(house.sessions, at=10**6) as came:
        _run(one, entry(house, group_id, files=(b"first",))[1])
        statements = came()
    assert statements > 20
    tries = 0
    for number in range(1, statements + 1, 7 if instead == BROKEN else 17):
        name, job_id = entry(house, group_id, files=(b"reads %d" % number,))
        with failing(house.sessions, at=number, instead=instead), suppress(SQLAlchemyError):
            _run(one, job_id)
        for _ in range(3):
            if job(house, job_id).state == JobState.DONE:
                break
            tries += 1
            if job(house, job_id).state == JobState.RUNNING:
                let_lease_run_out(house, job_id)
            make_due(house, job_id)
            _run(one, job_id)
        found = job(house, job_id)
        assert (found.state, found.failures) == (JobState.DONE, 0), number
        assert len(manifests(house, name)) == 1, number
    assert tries, "some are handed back and done again"
