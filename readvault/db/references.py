"""Who refers to an object version: the one list of all places, as SQL. What nothing here refers to is garbage."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from readvault.db.erased import is_erased
from readvault.db.tables import (
    EntryFile,
    FixityCheck,
    ManifestFile,
    PartialFile,
    PartialResult,
    PendingRecord,
    StoredObject,
    UploadedFile,
)
from readvault.db.upsert import columns_of
from readvault.domain.referenced import FOLDER

REFERENCES = {
    "uploaded_file.key": "an upload that is open, or sealed and in use",
    "uploaded_file.version_id": "the pin of a sealed upload",
    "uploaded_file.multipart_upload_id": "an upload in parts that is open (`services.storage.unfinished`)",
    "stored_object.key": "a processed file that is in use",
    "stored_object.version_id": "its pin",
    "entry_file.file_id": "a submitted file",
    "manifest_file.file_id": "a result's file that is an upload",
    "manifest_file.stored_object_id": "a result's file",
    "partial_file.key": "a file of readvault's part of a chain",
    "partial_file.file_id": "an upload of an external pipeline that waits for its hash",
    "erased_object.key": "a version that is shredded belongs to its erasure, whose proof names it",
    "erased_object.version_id": "the same",
    "fixity_check.key": "a damaged object: its other versions may be what it is repaired from",
    "pending_record.key": "a document that is about to be written",
}
"""Columns that keep an object from being garbage, and why."""

NO_REFERENCES = {
    "repair.key": "history; the pin itself was moved",
    "repair.lost_version_id": "history",
    "repair.version_id": "history; it is the pin, or a later repair's is",
    "second_copy.key": "what lies in the second bucket, which is not collected",
    "second_copy.version_id": "the same",
    "silo_export_file.key": "of `exports/`, which is looked after by `services.exports.retention`",
    "silo_export_file.version_id": "the same",
    "silo_part.key": "the same",
    "silo_part.version_id": "the same",
    "silo_export.figures": "figures",
    "condemned_version.key": "garbage itself",
    "condemned_version.version_id": "garbage itself",
    "dropped_file.file_id": "an upload that is open until it expires or an entry takes it: its own row says so",
    "dropped_file.version_id": "what `uploaded_file` pins when an entry takes it",
    "dropped_file.charged_versions": "versions that go, and were counted",
    "drop_link.categories": "words",
    "drop_link.formats": "words",
    "pull_source.file_id": "an upload that is open until it expires or an entry takes it: its own row says so",
    "pull_source.version_id": "of an object in the submitter's own bucket",
    "referenced_file.file_id": "it goes with the upload's row",
    "referenced_file.version_id": "of an object in the group's own bucket",
    "file_access.file_id": "the trail of who read it, which outlives it",
    "idempotent_request.key": "a client's own word for a request",
    "idempotent_request.answer": "IDs of uploads, which are looked up and revived when the request comes again",
    "partial_result.files": "`partial_file` has the same in columns",
    "partial_result.processed_data": "metadata and sequences",
    "partial_result.errors": "annotations",
    "partial_result.warnings": "annotations",
    "submitted_data_archive.files": "history: files that were edited away are garbage",
    "submitted_data_archive.submitted_metadata": "metadata",
    "submitted_data_archive.submitted_sequences": "sequences",
    "entry_version.submitted_metadata": "metadata",
    "entry_version.submitted_sequences": "sequences",
    "manifest.errors": "annotations",
    "manifest.warnings": "annotations",
    "manifest.processed_data": "metadata and sequences",
    "compared_result.findings": "figures",
    "external_metadata.content": "metadata",
    "audit_log.details": "history",
    "erasure.accession_versions": "names",
    "erasure.called_off": "IDs of jobs",
    "erasure.proof": "history",
    "erased_version.manifest_digests": "history",
    "submitting_group.address": "an address",
    "machine_token.scopes": "words",
    "user_account.roles": "words",
}
"""Columns that hold keys, IDs of files, or anything (JSON), and keep nothing from being garbage, and why."""

# Aliases, so that a query over these very tables isn't asked about its own row alone; made once, which takes long.
_UPLOAD, _STORED, _PART = aliased(UploadedFile), aliased(StoredObject), aliased(PartialFile)


def referenced(key: Any, version_id: Any, expired_before: float | ColumnElement[float]) -> ColumnElement[bool]:
    """SQL: whether anything refers to this object version; `version_id` is '' where there are no versions.

    An upload that wasn't submitted counts until it expired before that moment (seconds since 1970).
    """
    upload, stored, part = _UPLOAD, _STORED, _PART
    in_use = or_(
        exists().where(col(EntryFile.file_id) == col(upload.id)),
        exists().where(col(ManifestFile.file_id) == col(upload.id)),
        exists().where(col(part.file_id) == col(upload.id)),
    )
    sealed = and_(col(upload.sealed_at).is_not(None), func.coalesce(col(upload.version_id), "") == version_id, in_use)
    still_open = and_(col(upload.sealed_at).is_(None), col(upload.expires_at) >= expired_before)
    of_result = exists().where(col(ManifestFile.stored_object_id) == col(stored.id))
    return or_(
        exists().where(col(upload.key) == key, or_(sealed, still_open)),
        exists().where(
            col(stored.key) == key, func.coalesce(col(stored.version_id), "") == version_id, of_result
        ),
        exists().where(col(part.key) == key),
        is_erased(key, version_id),
        exists().where(
            col(FixityCheck.key) == key, col(FixityCheck.damage).is_not(None), ~col(FixityCheck.key).startswith(FOLDER)
        ),
    )  # fmt: skip


def awaited(key: Any) -> ColumnElement[bool]:
    """SQL: whether a document is about to be written under this key."""
    return exists().where(col(PendingRecord.key) == key)


def note_files(session: Session, part: PartialResult) -> None:
    """Write down which objects and uploads a part of a chain refers to; call it wherever such a row is written."""
    session.flush()
    rows = [
        {
            "accession": part.accession,
            "version": part.version,
            "pipeline_version": part.pipeline_version,
            "source": part.source,
            "place": place,
            "key": file.get("key"),
            "file_id": file.get("file_id"),
        }
        for place, file in enumerate(part.files)
    ]
    if rows:
        session.connection().execute(columns_of(PartialFile).insert(), rows)


def note_restored(session: Session) -> None:
    """Do what `note_files` does for all parts of a rebuilt database."""
    for part in session.exec(select(PartialResult)).all():
        note_files(session, part)
