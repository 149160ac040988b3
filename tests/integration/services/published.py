"""Released entries with results of several pipeline versions, for tests of what is public."""

from __future__ import annotations

from typing import Any

from sqlmodel import select

from readvault.db import clock
from readvault.db.tables import CurrentResult, Job, Manifest
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobState
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE
from tests.integration.services.scenes import ORGANISM, change, claimed, of_next_pipeline, processed, result


def released(house: House, group_id: int, **changes: Any) -> tuple[AccessionVersion, str]:
    """A released entry and its manifest's digest. Takes the arguments of `processed`."""
    name, digest = processed(house, group_id, **changes)
    assert approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)]) == [name]
    return name, digest


def processed_again(house: House, name: AccessionVersion, text: bytes) -> str:
    """Pipeline version 2 makes another consensus, which waits for a maintainer; the new manifest's digest."""
    with house.sessions.read() as session:
        query = select(Job.id).where(Job.accession == name.accession, Job.version == name.version)
        job_id = session.exec(query.where(Job.kind == "process-submission")).one()
    change(house, job_id, state=JobState.QUEUED.value)
    cautious = of_next_pipeline(house, switch="byMaintainer")
    claim = claimed(cautious, job_id)
    return jobs.register(cautious, claim, result(house, claim, text=text))


def make_current(house: House, name: AccessionVersion, digest: str) -> None:
    """Publish this result in place of the approved one."""
    with house.sessions.begin() as session:
        manifest = session.exec(select(Manifest).where(Manifest.digest == digest)).one()
        session.add(
            CurrentResult(accession=name.accession, version=name.version, manifest_id=manifest.id,
                          since=clock.read(session), actor="system", reason="a better pipeline")
        )  # fmt: skip
