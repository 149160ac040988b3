"""What tests of an entry's life share: released entries to begin with, and what the database holds afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlmodel import SQLModel, col, select

from readvault.db import entry_state
from readvault.db.tables import EntryFile, EntryVersion, Job
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.review.approval import Scope, approve
from readvault.services.submission.revision import revise
from readvault.services.submission.writing import SubmittedEntry
from tests.houses import ALICE, tsv
from tests.integration.services.scenes import ORGANISM, claimed, processed, result

METADATA = {"date": "2024-01-01", "platform": "ILLUMINA"}


def released(house: House, group_id: int, **changes: Any) -> AccessionVersion:
    """An entry that was processed and approved."""
    name, digest = processed(house, group_id, **changes)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    return name


def release(house: House, name: AccessionVersion) -> None:
    """Process an entry version that waits, and approve it."""
    with house.sessions.read() as session:
        waiting = select(Job.id).where(Job.accession == name.accession, Job.version == name.version)
        job_id = session.exec(waiting.where(Job.state == "queued", Job.kind == "process-submission")).one()
    claim = claimed(house, job_id)
    digest = jobs.register(house, claim, result(house, claim))
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])


def revised(house: House, *rows: dict[str, str], actor: Any = ALICE, **options: Any) -> list[SubmittedEntry]:
    """Revise entries by these rows; an ID and what every entry needs are filled in."""
    full = [{"id": f"r{number}", **METADATA, **row} for number, row in enumerate(rows)]
    given: dict[str, Any] = {"metadata": tsv(*full), "metadata_name": "metadata.tsv", **options}
    return revise(house, actor, ORGANISM, **given)


def version(house: House, name: AccessionVersion) -> EntryVersion:
    """The row of an accession version."""
    with house.sessions.read() as session:
        return session.get_one(EntryVersion, (name.accession, name.version))


def status(house: House, name: AccessionVersion) -> str | None:
    """The status of an accession version; None when there is none."""
    query = entry_state.with_state(select(entry_state.status()))  # type: ignore[arg-type]
    query = query.where(col(EntryVersion.accession) == name.accession, col(EntryVersion.version) == name.version)
    with house.sessions.read() as session:
        found = session.execute(query).first()
    return None if found is None else str(found[0])


def files_of(house: House, name: AccessionVersion) -> dict[str, list[tuple[str, str]]]:
    """The submitted files of a version: (name, ID) by category, in their order."""
    files: dict[str, list[tuple[str, str]]] = {}
    query = select(EntryFile).where(EntryFile.accession == name.accession, EntryFile.version == name.version)
    with house.sessions.read() as session:
        for file in session.exec(query.order_by(col(EntryFile.category), col(EntryFile.position))):
            files.setdefault(file.category, []).append((file.name, file.file_id))
    return files


def counts(house: House) -> dict[str, int]:
    """How many rows each table has; a refused or tried request adds none."""
    with house.sessions.read() as session:
        return {
            name: len(session.connection().execute(table.select()).all())
            for name, table in SQLModel.metadata.tables.items()
        }


def with_organism(house: House, **changes: Any) -> House:
    """The same house under other rules for its organism."""
    changed = house.organisms[ORGANISM].model_copy(update=changes)
    return replace(house, organisms={**house.organisms, ORGANISM: changed})


def at_once(*actions: Callable[[], object]) -> list[object]:
    """Do these things at the same time; what each answered, or the refusal that it met."""
    start = threading.Barrier(len(actions))
    answers: list[object] = [None] * len(actions)

    def act(number: int) -> None:
        start.wait()
        try:
            answers[number] = actions[number]()
        except Exception as refusal:  # a test that doesn't expect it shows it
            answers[number] = refusal

    threads = [threading.Thread(target=act, args=(number,)) for number in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return answers
