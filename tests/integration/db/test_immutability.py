"""What is released never changes, whoever runs the SQL."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, IntegrityError

from readvault.db import audit
from readvault.db.engine import Sessions
from readvault.db.tables import (
    EntryFile,
    EntryVersion,
    Group,
    Manifest,
    ManifestFile,
    Release,
    StoredObject,
    UploadedFile,
)

REFUSED = {
    "release: approver": "UPDATE release SET approver = 'mallory'",
    "release: time": "UPDATE release SET released_at = 0 WHERE accession = 'A'",
    "release: delete": "DELETE FROM release",
    "audit: text": "UPDATE audit_log SET action = 'nothing'",
    "audit: delete": "DELETE FROM audit_log WHERE id = 1",
    "entry: metadata": "UPDATE entry_version SET submitted_metadata = '{}' WHERE accession = 'A'",
    "entry: delete": "DELETE FROM entry_version WHERE accession = 'A'",
    "entry file: name": "UPDATE entry_file SET name = 'other' WHERE accession = 'A'",
    "entry file: delete": "DELETE FROM entry_file WHERE accession = 'A'",
    "entry file: one more": "INSERT INTO entry_file VALUES ('A', 1, 'rawReads', 'new', 1, 'u')",
    "manifest: body": "UPDATE manifest SET body = '[]' WHERE accession = 'A'",
    "manifest: errors": "UPDATE manifest SET errors = '[1]' WHERE accession = 'A'",
    "manifest: superseded": "UPDATE manifest SET superseded_at = 1 WHERE accession = 'A'",
    "manifest: delete": "DELETE FROM manifest WHERE accession = 'A'",
    "unreleased manifest: body": "UPDATE manifest SET body = '[]' WHERE accession = 'B'",
    "manifest file: name": "UPDATE manifest_file SET name = 'other'",
    "manifest file: delete": "DELETE FROM manifest_file",
    "manifest file: one more": "INSERT INTO manifest_file VALUES (1, 'report', 'new', 'f2', 1, true)",
    "object: size": "UPDATE stored_object SET size = 1",
    "object: hash": "UPDATE stored_object SET sha256 = 'x'",
    "object: delete": "DELETE FROM stored_object",
    "sealed file: key": "UPDATE uploaded_file SET key = 'incoming/other' WHERE id = 'u'",
    "sealed file: version": "UPDATE uploaded_file SET version_id = 'v2' WHERE id = 'u'",
    "sealed file: no version": "UPDATE uploaded_file SET version_id = NULL WHERE id = 'u'",
    "sealed file: size": "UPDATE uploaded_file SET size = 8 WHERE id = 'u'",
    "sealed file: hash": "UPDATE uploaded_file SET sha256 = 'b' WHERE id = 'u'",
    "sealed file: unsealed": "UPDATE uploaded_file SET sealed_at = NULL WHERE id = 'u'",
    "sealed file: group": "UPDATE uploaded_file SET group_id = 2 WHERE id = 'u'",
    "sealed file: delete": "DELETE FROM uploaded_file WHERE id = 'u'",
}
REFUSED_REPLACEMENTS = {
    "release": "INSERT OR REPLACE INTO release VALUES ('A', 1, 1, 0, 'mallory', 0)",
    "entry": "INSERT OR REPLACE INTO entry_version SELECT * FROM entry_version WHERE accession = 'A'",
    "entry file": "REPLACE INTO entry_file VALUES ('A', 1, 'rawReads', 'reads.fq', 0, 'u')",
    "manifest": "INSERT OR REPLACE INTO manifest SELECT * FROM manifest WHERE accession = 'A'",
    "manifest file": "REPLACE INTO manifest_file VALUES (1, 'report', 'report.html', 'other', 1, true)",
    "object": "REPLACE INTO stored_object VALUES (1, 1, 'h', 99, 'vault/1/h', 'v', 0)",
    "sealed file": "REPLACE INTO uploaded_file SELECT * FROM uploaded_file WHERE id = 'u'",
    "audit": "INSERT OR REPLACE INTO audit_log VALUES (1, 0, 'x', 'x', 'x', '{}', 'x', 'x')",
}
ALLOWED = {
    "an unreleased manifest is superseded": "UPDATE manifest SET superseded_at = 1 WHERE accession = 'B'",
    "an unreleased entry is edited": "UPDATE entry_version SET submitted_metadata = '{}' WHERE accession = 'B'",
    "a lost version is repaired": "UPDATE stored_object SET version_id = 'v9'",
    "an open upload is sealed": "UPDATE uploaded_file SET sealed_at = 1, size = 1, version_id = 'v' WHERE id = 'open'",
    "an open upload goes": "DELETE FROM uploaded_file WHERE id = 'open'",
}


@pytest.fixture
def released(sessions: Sessions) -> Sessions:
    """`A.1` is released with one file, `B.1` is not; the upload `u` belongs to `A.1`."""
    same: dict[str, Any] = {"group_id": 1, "organism": "o", "submitter": "alice", "submitted_at": 1.0}
    upload: dict[str, Any] = {"batch_id": "b", "group_id": 1, "uploader": "alice", "requested_at": 1, "expires_at": 9}
    made: dict[str, Any] = {
        "version": 1, "pipeline_version": 1, "digest": "d", "body": "{}", "processing_result": "NO_ISSUES",
        "errors": [], "warnings": [], "processed_data": {}, "created_at": 1.0,
    }  # fmt: skip
    with sessions.begin() as session:
        for group in ("one", "two"):
            session.add(Group(name=group, institution="i", address={}, contact_email="e", created_at=1.0))
        session.flush()
        session.add_all(
            EntryVersion(
                accession=a,
                version=1,
                submission_id=a,
                submitted_metadata={"k": "v"},
                submitted_sequences={},
                released=a == "A",
                **same,
            )
            for a in ("A", "B")
        )
        sealed = {"sealed_at": 2.0, "version_id": "v1", "size": 7, "sha256": "a"}
        session.add(UploadedFile(id="u", key="incoming/b/u", **sealed, **upload))
        session.add(UploadedFile(id="open", key="incoming/b/open", **upload))
        session.add(StoredObject(id=1, group_id=1, sha256="h", size=3, key="vault/1/h", version_id="v", stored_at=1.0))
        session.flush()
        session.add(EntryFile(accession="A", version=1, category="rawReads", name="reads.fq", position=0, file_id="u"))
        session.add_all([Manifest(id=1, accession="A", **made), Manifest(id=2, accession="B", **made)])
        session.flush()
        session.add(ManifestFile(manifest_id=1, category="report", name="report.html", file_id="f", stored_object_id=1))
        session.flush()
        session.add(
            Release(accession="A", version=1, manifest_id=1, released_at=3.0, approver="alice", digest_was_given=True)
        )
        audit.append(session, "alice", "approve", "A.1")
    return sessions


def execute(sessions: Sessions, statement: str) -> int:
    """Run one statement in its own transaction; how many rows it touched."""
    with sessions.begin() as session:
        return session.connection().execute(text(statement)).rowcount


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_released_rows_refuse(released: Sessions, statement: str) -> None:
    with pytest.raises(IntegrityError):
        execute(released, statement)


@pytest.mark.parametrize("statement", REFUSED_REPLACEMENTS.values(), ids=REFUSED_REPLACEMENTS.keys())
def test_released_rows_refuse_replacement(released: Sessions, statement: str) -> None:
    if released.dialect != "sqlite":
        pytest.skip("only SQLite has REPLACE")
    with pytest.raises(IntegrityError):
        execute(released, statement)


@pytest.mark.parametrize(
    "table",
    [
        "release",
        "audit_log",
        "entry_version",
        "entry_file",
        "manifest",
        "manifest_file",
        "stored_object",
        "uploaded_file",
    ],
)
def test_tables_refuse_to_be_emptied(released: Sessions, table: str) -> None:
    if released.dialect == "sqlite":
        pytest.skip("SQLite has no TRUNCATE; DELETE is tried above")
    with pytest.raises(DatabaseError):
        execute(released, f'TRUNCATE TABLE "{table}" CASCADE')


@pytest.mark.parametrize("statement", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_is_not_released_may_change(released: Sessions, statement: str) -> None:
    assert execute(released, statement) == 1


def test_a_manifest_is_superseded_once(released: Sessions) -> None:
    execute(released, "UPDATE manifest SET superseded_at = 1 WHERE accession = 'B'")
    with pytest.raises(IntegrityError):
        execute(released, "UPDATE manifest SET superseded_at = NULL WHERE accession = 'B'")
