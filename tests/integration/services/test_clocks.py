"""Leases, expiry and releases go by the database's clock alone: a machine whose clock is wrong changes nothing."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest

import readvault
from readvault.db import clock
from readvault.db.tables import Release
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.review.approval import Scope, approve
from readvault.services.storage.garbage import unfinished
from readvault.services.submission.new_entries import submit
from tests.houses import ALICE, group_of, tsv, upload
from tests.integration.services.scenes import ORGANISM, READY, claimed, entry, group, job, let_lease_run_out, result

MACHINE_CLOCKS = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}
ROOMS = ("services", "db")


@pytest.mark.parametrize("wrong_by", [-600.0, 600.0])
def test_a_wrong_machine_clock_changes_nothing(house: House, monkeypatch: pytest.MonkeyPatch, wrong_by: float) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + wrong_by)
    mine = group_of(house, ALICE)
    [file_id] = upload(house, ALICE, mine, b"reads")
    assert unfinished.expire_uploads(house) == 0
    row = {"id": "s", "date": "2024-01-01", "platform": "ILLUMINA", "files.rawReads": f"r.fastq:{file_id}"}
    assert len(submit(house, ALICE, ORGANISM, group_id=mine, metadata=tsv(row), metadata_name="m.tsv")) == 1
    name, job_id = entry(house, group(house, "alice"))
    claim = claimed(house, job_id)
    assert housekeeping.reap(house) == 0
    assert jobs.claim(house, job_id, "another", READY) is None
    digest = jobs.register(house, claim, result(house, claim))
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    with house.sessions.read() as session:
        released = session.get_one(Release, (name.accession, name.version)).released_at
        assert abs(clock.read(session) - released) < 60
    _, other = entry(house, group(house, "alice"))
    claimed(house, other)
    let_lease_run_out(house, other)
    assert housekeeping.reap(house) == 1
    assert job(house, other).state == "queued"


def test_no_use_case_looks_at_the_machines_clock() -> None:
    """`time.monotonic` measures how long something takes and may be used; what time it is the database knows."""
    package = Path(readvault.__file__).parent
    found = [
        f"{path.relative_to(package)}:{node.lineno}"
        for room in ROOMS
        for path in (package / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in MACHINE_CLOCKS
    ]
    assert found == []
