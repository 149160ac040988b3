"""The checker of invariants finds what it is there for: each fault is planted once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from readvault.db import immutability
from readvault.domain.actor import Actor
from readvault.services.house import House
from readvault.services.review.approval import Scope, approve
from tests.faults import invariants
from tests.integration.services import scenes

ALICE = Actor("alice")


@pytest.fixture
def sound(house: House) -> House:
    """A house with one released and one unreleased version; its store has the documents that a worker writes."""
    group = scenes.group(house, "alice")
    name, digest = scenes.processed(house, group)
    scenes.processed(house, group, text=b">main\nACGG\n")
    approve(house, ALICE, scenes.ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    for manifest in [row for each in (1, 2) for row in _manifests(house) if row.id == each]:
        place = f"manifests/{manifest.accession}/{manifest.version}/{manifest.digest}"
        house.store.write(f"{place}.json", manifest.body.encode())  # type: ignore[attr-defined]
        house.store.write(f"{place}.private.json", manifest.private_body.encode())  # type: ignore[attr-defined]
    with house.sessions.begin() as session:
        for scope in (f"group:{group}", "user:alice"):
            session.execute(
                text("INSERT INTO upload_usage (scope, sealed_bytes) VALUES (:scope, 10)"), {"scope": scope}
            )
    return house


def _manifests(house: House) -> list[Any]:
    from sqlmodel import select

    from readvault.db.tables import Manifest

    with house.sessions.read() as session:
        return list(session.exec(select(Manifest)))


def test_nothing_is_found_where_all_is_well(sound: House) -> None:
    assert invariants.check(sound, open_jobs=True) == []


def test_open_jobs_are_told(sound: House) -> None:
    assert [fault.partition(":")[0] for fault in invariants.check(sound)] == ["jobs"]


def _lost(house: House) -> None:
    store: Any = house.store
    store.versions.pop(next(key for key in store.versions if key.startswith("vault/")))


def _altered(house: House) -> None:
    store: Any = house.store
    key = next(key for key in store.versions if key.startswith("vault/"))
    [(version_id, data)] = store.versions[key]
    store.versions[key] = [(version_id, bytes([data[0] ^ 1]) + data[1:])]


def _undocumented(house: House) -> None:
    store: Any = house.store
    store.versions.pop(next(key for key in store.versions if key.startswith("manifests/")))


PLANTED: dict[str, str | Callable[[House], None]] = {
    "bytes: a": _lost,
    "bytes: b": _altered,
    "documents": _undocumented,
    "manifests: a": "DELETE FROM manifest_file WHERE manifest_id = 2",
    "manifests: b": "UPDATE manifest SET digest = 'x' WHERE id = 2",
    "manifests: c": "UPDATE manifest SET private_body = '{\"files\":[]}' WHERE id = 2",
    "released: a": "UPDATE manifest SET superseded_at = 1 WHERE id = 1",
    "released: b": "UPDATE entry_version SET released = false WHERE released",
    "released: c": "DELETE FROM job WHERE kind = 'release'",
    "jobs: a": "UPDATE job SET lease_owner = 'somebody', lease_until = 1 WHERE state = 'done'",
    "jobs: b": "UPDATE job SET state = 'running', finished_at = NULL WHERE state = 'done'",
    "jobs: c": "UPDATE job SET finished_at = NULL WHERE state = 'done'",
    "jobs: d": "UPDATE manifest SET pipeline_version = 9 WHERE id = 2",
    "jobs: e": "UPDATE job SET state = 'needs attention' WHERE kind = 'release'",
    "versions": "UPDATE uploaded_file SET sealed_at = NULL",
    "audit": "UPDATE audit_log SET actor = 'somebody else' WHERE id = 1",
    "quota": "UPDATE upload_usage SET sealed_bytes = 11",
    "garbage": "INSERT INTO condemned_version (key, version_id, size, category, condemned_at, deleting_since)"
    " SELECT key, version_id, 1, 'unused processed file', 1, 1 FROM stored_object",
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, sound: House, tmp_path: Path) -> None:
    fault = PLANTED[name]
    if isinstance(fault, str):
        _run(sound, fault)
    else:
        fault(sound)
    found = invariants.check(sound, open_jobs=True)
    assert any(each.startswith(name.partition(":")[0]) for each in found), found


def test_a_missing_trigger_is_found(sound: House) -> None:
    with sound.sessions.engine.begin() as connection:
        immutability.lift(connection)
    try:
        assert any(each.startswith("triggers") for each in invariants.check(sound, open_jobs=True))
    finally:
        with sound.sessions.engine.begin() as connection:
            immutability.install(connection)


def _run(house: House, statement: str) -> None:
    """Run what no trigger would permit."""
    with house.sessions.engine.begin() as connection:
        immutability.lift(connection)
        connection.exec_driver_sql(statement)
        immutability.install(connection)
