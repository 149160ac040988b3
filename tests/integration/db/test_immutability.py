"""What is released never changes, whoever runs the SQL."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, IntegrityError

from readvault.db import audit
from readvault.db.engine import Sessions
from readvault.db.tables import (
    CurrentResult,
    DataUseTerms,
    DeletedEntryVersion,
    EntryFile,
    EntryVersion,
    ErasedObject,
    ErasedVersion,
    Erasure,
    Group,
    Intervention,
    Manifest,
    ManifestFile,
    Release,
    Repair,
    StoredObject,
    SubmittedDataArchive,
    UploadedFile,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.services import access_log

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
    "entry: no longer released": "UPDATE entry_version SET released = false WHERE accession = 'A'",
    "entry: another batch": "UPDATE entry_version SET batch_id = 'other' WHERE accession = 'A'",
    "entry: another group": "UPDATE entry_version SET group_id = 2 WHERE accession = 'A'",
    "entry: another accession": "UPDATE entry_version SET accession = 'C' WHERE accession = 'A'",
    "release: of an unmarked entry": "INSERT INTO release VALUES ('B', 1, 2, 3.0, 'mallory', true)",
    "release: of another manifest": "UPDATE release SET manifest_id = 2",
    "manifest file: public after all": "UPDATE manifest_file SET may_be_public = true WHERE category = 'secret'",
    "republished manifest: superseded": "UPDATE manifest SET superseded_at = 1 WHERE id = 3",
    "republished manifest: delete": "DELETE FROM manifest WHERE id = 3",
    "republished manifest: one more file": "INSERT INTO manifest_file VALUES (3, 'report', 'new', 'f2', 1, true)",
    "current result: manifest": "UPDATE current_result SET manifest_id = 1",
    "current result: since": "UPDATE current_result SET since = 0",
    "current result: delete": "DELETE FROM current_result",
    "intervention: state": "UPDATE intervention SET state = 'PUBLIC'",
    "intervention: reason": "UPDATE intervention SET reason = 'none'",
    "intervention: actor": "UPDATE intervention SET actor = 'mallory'",
    "intervention: time": "UPDATE intervention SET at = 0",
    "intervention: of another entry": "UPDATE intervention SET accession = 'B'",
    "intervention: delete": "DELETE FROM intervention WHERE accession = 'A'",
    "read: who": "UPDATE file_access SET actor = 'mallory'",
    "read: what for": "UPDATE file_access SET purpose = 'review'",
    "read: why": "UPDATE file_access SET reason = NULL",
    "read: which file": "UPDATE file_access SET file_id = 'other'",
    "read: when": "UPDATE file_access SET at = 0",
    "read: link": "UPDATE file_access SET audit_id = 2",
    "read: delete": "DELETE FROM file_access WHERE file_id = 'u'",
    "audit: who": "UPDATE audit_log SET actor = 'mallory'",
    "audit: details": "UPDATE audit_log SET details = '{}' WHERE id = 1",
    "audit: digest": "UPDATE audit_log SET sha256 = 'x', previous_sha256 = 'y' WHERE id = 1",
    "audit: place": "UPDATE audit_log SET id = 99 WHERE id = 1",
    "audit: delete all": "DELETE FROM audit_log",
    "terms: type": "UPDATE data_use_terms SET terms_type = 'RESTRICTED'",
    "terms: date": "UPDATE data_use_terms SET restricted_until = '2099-01-01'",
    "terms: delete": "DELETE FROM data_use_terms",
    "archive: metadata": "UPDATE submitted_data_archive SET submitted_metadata = '{}'",
    "archive: files": "UPDATE submitted_data_archive SET files = '{}'",
    "archive: delete": "DELETE FROM submitted_data_archive WHERE id = 1",
    "deleted name: by whom": "UPDATE deleted_entry_version SET deleted_by = 'mallory'",
    "deleted name: free again": "DELETE FROM deleted_entry_version WHERE accession = 'D'",
    "object: another version": "UPDATE stored_object SET version_id = 'v8'",
    "repair: what it says": "UPDATE repair SET version_id = 'v8'",
    "repair: delete": "DELETE FROM repair",
    "erased: bytes are back": "DELETE FROM erased_object",
    "erased: which": "UPDATE erased_object SET key = 'vault/1/h'",
    "erased: it never went": "UPDATE erased_object SET deleted_at = NULL WHERE key = 'vault/1/e'",
    "erased: shredded bytes stand again": "UPDATE stored_object SET key = 'vault/1/e', version_id = 'e1' WHERE id = 7",
    "tombstone: reason": "UPDATE erased_version SET reason = 'none'",
    "tombstone: delete": "DELETE FROM erased_version",
    "erasure: what": "UPDATE erasure SET accession_versions = '[]' WHERE id = 1",
    "erasure: reason": "UPDATE erasure SET reason = 'none' WHERE id = 1",
    "erasure: proof": "UPDATE erasure SET proof = '{}' WHERE id = 2",
    "erasure: delete": "DELETE FROM erasure WHERE id = 1",
    "several at once": "UPDATE intervention SET reason = reason || '!' WHERE id IN (SELECT id FROM intervention)",
}
REFUSED_UPSERTS = {
    "release": "INSERT INTO release VALUES ('A', 1, 1, 0, 'mallory', true)"
    " ON CONFLICT (accession, version) DO UPDATE SET approver = 'mallory'",
    "intervention": "INSERT INTO intervention VALUES (1, 'A', 1, 'PUBLIC', 'none', 'mallory', 0)"
    " ON CONFLICT (id) DO UPDATE SET state = 'PUBLIC'",
    "read": "INSERT INTO file_access VALUES (1, 0, 'x', 'x', 'A', 1, 'x', 'x', NULL, 1)"
    " ON CONFLICT (id) DO UPDATE SET actor = 'mallory'",
    "audit": "INSERT INTO audit_log VALUES (1, 0, 'x', 'x', 'x', '{}', 'x', 'x')"
    " ON CONFLICT (id) DO UPDATE SET actor = 'mallory'",
    "current result": "INSERT INTO current_result VALUES (1, 'A', 1, 1, 0, 'mallory', 'none')"
    " ON CONFLICT (id) DO UPDATE SET manifest_id = 1",
    "terms": "INSERT INTO data_use_terms VALUES (1, 'A', 'OPEN', NULL, 'mallory', 0)"
    " ON CONFLICT (id) DO UPDATE SET user_name = 'mallory'",
    "deleted name": "INSERT INTO deleted_entry_version VALUES ('D', 1, 'o', 1, 'mallory', 0)"
    " ON CONFLICT (accession, version) DO UPDATE SET deleted_by = 'mallory'",
    "manifest file": "INSERT INTO manifest_file VALUES (1, 'report', 'report.html', 'f', 1, true)"
    " ON CONFLICT (manifest_id, category, name) DO UPDATE SET file_id = 'other'",
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
    "intervention": "INSERT OR REPLACE INTO intervention VALUES (1, 'A', 1, 'PUBLIC', 'none', 'mallory', 0)",
    "read": "REPLACE INTO file_access SELECT * FROM file_access",
    "current result": "REPLACE INTO current_result SELECT * FROM current_result",
    "terms": "INSERT OR REPLACE INTO data_use_terms VALUES (1, 'A', 'OPEN', NULL, 'mallory', 0)",
    "archive": "REPLACE INTO submitted_data_archive SELECT * FROM submitted_data_archive",
    "deleted name": "REPLACE INTO deleted_entry_version VALUES ('D', 1, 'o', 1, 'mallory', 0)",
}
ALLOWED = {
    "an unreleased manifest is superseded": "UPDATE manifest SET superseded_at = 1 WHERE accession = 'B'",
    "an unreleased entry is edited": "UPDATE entry_version SET submitted_metadata = '{}' WHERE accession = 'B'",
    "a lost version is repaired": "UPDATE stored_object SET version_id = 'v9' WHERE id = 1",
    "shredded bytes come again as new ones": "UPDATE stored_object SET version_id = 'f2' WHERE id = 7",
    "what is to be shredded goes": "UPDATE erased_object SET deleted_at = 4 WHERE key = 'vault/1/f'",
    "an archive under a tombstone goes": "DELETE FROM submitted_data_archive WHERE id = 2",
    "a lost original is repaired": "UPDATE uploaded_file SET version_id = 'u9' WHERE id = 'u'",
    "an erasure is confirmed": "UPDATE erasure SET confirmed_by = 'bob', finished_at = 3 WHERE id = 1",
    "an open upload is sealed": "UPDATE uploaded_file SET sealed_at = 1, size = 1, version_id = 'v' WHERE id = 'open'",
    "an open upload goes": "DELETE FROM uploaded_file WHERE id = 'open'",
    "another intervention": "INSERT INTO intervention VALUES (9, 'A', 1, 'PUBLIC', 'restored', 'root', 9)",
    "terms change": "INSERT INTO data_use_terms VALUES (9, 'A', 'OPEN', NULL, 'alice', 9)",
    "another result is published": "INSERT INTO current_result VALUES (9, 'A', 1, 1, 9, 'root', 'rollback')",
    "an unreleased entry is marked": "UPDATE entry_version SET released = true WHERE accession = 'B'",
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
        hidden = {"category": "secret", "name": "s", "file_id": "s", "may_be_public": False}
        session.add(ManifestFile(manifest_id=1, stored_object_id=1, **hidden))
        session.flush()
        session.add(
            Release(accession="A", version=1, manifest_id=1, released_at=3.0, approver="alice", digest_was_given=True)
        )
        audit.append(session, "alice", "approve", "A.1")
        access_log.note(session, "root", AccessionVersion("A", 1), [("u", "rawReads")], "break-glass", "a reason")
        newer = {**made, "pipeline_version": 2}
        session.add(Manifest(id=3, accession="A", **newer))
        session.flush()
        entry: dict[str, Any] = {"accession": "A", "version": 1}
        session.add(CurrentResult(id=1, manifest_id=3, since=4.0, actor="readvault", reason="no worse", **entry))
        session.add(Intervention(id=1, state="WITHDRAWN", reason="consent", actor="root", at=5.0, **entry))
        session.add(DataUseTerms(id=1, accession="A", terms_type="OPEN", user_name="alice", changed_at=1.0))
        session.add(
            SubmittedDataArchive(
                id=1, edited_by="alice", edited_at=1.0, submitted_metadata={"k": "v"}, submitted_sequences={},
                files={"rawReads": []}, **entry
            )
        )  # fmt: skip
        mended: dict[str, Any] = {"source": "second bucket", "actor": "readvault", "at": 6.0}
        session.add(Repair(key="vault/1/h", lost_version_id="v", version_id="v9", sha256="h", size=3, **mended))
        session.add(Repair(key="incoming/b/u", lost_version_id="v1", version_id="u9", sha256="a", size=7, **mended))
        asked: dict[str, Any] = {"accession_versions": ["E.1"], "reason": "r", "requested_by": "root"}
        asked |= {"scope": "everything", "code": "c", "objects": 1, "size": 3}
        session.add(Erasure(id=1, requested_at=1.0, **asked))
        session.add(Erasure(id=2, requested_at=1.0, confirmed_by="bob", finished_at=2.0, proof={"left": 0}, **asked))
        session.flush()
        shredded: dict[str, Any] = {"size": 3, "erasure_id": 2, "erased_at": 2.0, "kind": "processed"}
        session.add(ErasedObject(key="vault/1/e", version_id="e1", deleted_at=3.0, **shredded))
        session.add(ErasedObject(key="vault/1/f", version_id="f1", **shredded))
        session.add(StoredObject(id=7, group_id=1, sha256="f", size=3, key="vault/1/f", version_id="f1", stored_at=1.0))
        tombstone: dict[str, Any] = {"organism": "o", "group_id": 1, "was_released": False, "manifest_digests": []}
        session.add(ErasedVersion(accession="E", version=1, erasure_id=2, reason="r", erased_at=2.0, **tombstone))
        session.add(
            SubmittedDataArchive(
                id=2, accession="E", version=1, edited_by="alice", edited_at=1.0, submitted_metadata={"k": "v"},
                submitted_sequences={}, files={},
            )
        )  # fmt: skip
        session.add(
            DeletedEntryVersion(accession="D", version=1, organism="o", group_id=1, deleted_by="alice", deleted_at=1.0)
        )
    return sessions


def execute(sessions: Sessions, statement: str) -> int:
    """Run one statement in its own transaction; how many rows it touched."""
    with sessions.begin() as session:
        return session.connection().execute(text(statement)).rowcount


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_released_rows_refuse(released: Sessions, statement: str) -> None:
    with pytest.raises(IntegrityError):
        execute(released, statement)


@pytest.mark.parametrize("statement", REFUSED_UPSERTS.values(), ids=REFUSED_UPSERTS.keys())
def test_released_rows_refuse_upserts(released: Sessions, statement: str) -> None:
    with pytest.raises(IntegrityError) as refusal:
        execute(released, statement)
    ours = ("never", "only grows", "gets no more")
    assert any(word in str(refusal.value) for word in ours), "another rule refused it"


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
        "intervention",
        "file_access",
        "current_result",
        "data_use_terms",
        "submitted_data_archive",
        "deleted_entry_version",
        "repair",
        "erasure",
        "erased_object",
        "erased_version",
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


@pytest.mark.parametrize("table", ["submitting_group", "manifest", "entry_version", "stored_object", "audit_log"])
def test_nothing_released_goes_with_what_it_belongs_to(released: Sessions, table: str) -> None:
    with pytest.raises(IntegrityError):
        execute(released, f'DELETE FROM "{table}"')


def test_without_foreign_keys_the_rules_still_hold(released: Sessions) -> None:
    """Whoever switches references off gets past them, but not past the triggers."""
    if released.dialect != "sqlite":
        pytest.skip("only SQLite can switch references off for a connection")
    for statement in (each for each in REFUSED.values() if each.startswith("DELETE")):
        with released.engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 0
            with pytest.raises(IntegrityError):
                connection.execute(text(statement))
            connection.invalidate()
