"""The documents that the database is rebuilt from: rows as they are, table by table.

For each accession version what is small and may change (`version`), and each result, which never
changes (`result`); for an accession its terms. They hold what the manifests leave out: who submitted
what and when, keys and versions in the bucket, file IDs, terms, releases, interventions.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import batched
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, SQLModel, col

from readvault.db.names import among
from readvault.db.records import ERASURES, GROUPS, ORGANISMS, ROOT, Kind, stamp
from readvault.db.tables import (
    ComparedResult,
    CurrentResult,
    DataUseTerms,
    DeletedEntryVersion,
    EntryFile,
    EntryVersion,
    ErasedObject,
    ErasedVersion,
    Erasure,
    ExternalMetadata,
    Group,
    GroupMember,
    Intervention,
    Manifest,
    ManifestFile,
    OrganismState,
    OriginalOpening,
    PartialResult,
    ReferencedFile,
    Release,
    Reprocessing,
    Screening,
    SentBack,
    StoredObject,
    SubmittedDataArchive,
    UploadedFile,
    Withholding,
)
from readvault.db.upsert import columns_of
from readvault.domain import manifest
from readvault.domain.identifiers import AccessionVersion

SCHEMA = 1
PAGE = 500
Rows = dict[str, list[dict[str, Any]]]
_OF_VERSION: tuple[type[SQLModel], ...] = (
    EntryVersion,
    EntryFile,
    SubmittedDataArchive,
    DeletedEntryVersion,
    Release,
    CurrentResult,
    Intervention,
    Withholding,
    Screening,
    OriginalOpening,
    ExternalMetadata,
)
_NAME_OF_RESULT = ("id", "pipeline_version", "digest")
_OURS = "readvault"


def document(session: Session, kind: Kind, subject: str, at: float) -> tuple[str, bytes] | None:
    """Key and content of a record as the database is now; None when there is nothing left to say."""
    if kind is Kind.VERSION:
        name = AccessionVersion.parse(subject)
        stem = f"{ROOT}/{name.accession}/{name.version}/state-{stamp(at)}"
        return _written(stem, "version", _of_version(session, name))
    if kind is Kind.TERMS:
        rows = _rows(session, DataUseTerms, col(DataUseTerms.accession) == subject)
        return _written(f"{ROOT}/{subject}/terms-{stamp(at)}", "terms", rows)
    if kind is Kind.RESULT:
        return _of_result(session, int(subject), at)
    if kind is Kind.GROUP:
        rows = _rows(session, Group, col(Group.id) == int(subject))
        rows |= _rows(session, GroupMember, col(GroupMember.group_id) == int(subject))
        return _written(f"{GROUPS}/{int(subject):09d}/{stamp(at)}", "group", rows)
    if kind is Kind.ERASURE:
        rows = _rows(session, Erasure, col(Erasure.id) == int(subject))
        rows |= _rows(session, ErasedVersion, col(ErasedVersion.erasure_id) == int(subject))
        rows |= _rows(session, ErasedObject, col(ErasedObject.erasure_id) == int(subject))
        return _written(f"{ERASURES}/{int(subject):09d}/{stamp(at)}", "erasure", rows)
    rows = _rows(session, OrganismState, col(OrganismState.organism) == subject)
    rows |= _rows(session, Reprocessing, col(Reprocessing.organism) == subject)
    return _written(f"{ORGANISMS}/{subject}/{stamp(at)}", "organism", rows)


def _written(stem: str, kind: str, rows: Rows) -> tuple[str, bytes] | None:
    if not any(rows.values()):
        return None
    content = manifest.canonical({"schema": SCHEMA, "kind": kind, "rows": rows})
    return f"{stem}-{manifest.digest(content)}.json", content


def _of_version(session: Session, name: AccessionVersion) -> Rows:
    rows: Rows = {}
    for table in _OF_VERSION:
        rows |= _rows(session, table, among(table, [name]))
    rows |= _rows(session, DataUseTerms, col(DataUseTerms.accession) == name.accession)
    rows |= _rows(session, PartialResult, among(PartialResult, [name]), col(PartialResult.source) == _OURS)
    results = _rows(session, Manifest, among(Manifest, [name]), col(Manifest.superseded_at).is_(None))["manifest"]
    ids = [row["id"] for row in results]
    rows |= _rows(session, SentBack, col(SentBack.manifest_id).in_(ids))
    rows |= _rows(session, ComparedResult, col(ComparedResult.manifest_id).in_(ids))
    rows["results"] = [{name: row[name] for name in _NAME_OF_RESULT} for row in results]
    earlier = (file["fileId"] for row in rows["submitted_data_archive"] for listed in row["files"].values()
               for file in listed)  # fmt: skip
    rows |= _uploads(session, (*(row["file_id"] for row in rows["entry_file"]), *earlier))
    return rows


def _of_result(session: Session, manifest_id: int, at: float) -> tuple[str, bytes] | None:
    rows = _rows(session, Manifest, col(Manifest.id) == manifest_id, col(Manifest.superseded_at).is_(None))
    if not rows["manifest"]:
        return None
    result = rows["manifest"][0]
    rows |= _rows(session, ManifestFile, col(ManifestFile.manifest_id) == manifest_id)
    listed = rows["manifest_file"]
    ids = sorted({row["stored_object_id"] for row in listed})
    rows["stored_object"] = [
        row for page in batched(ids, PAGE)
        for row in _rows(session, StoredObject, col(StoredObject.id).in_(page))["stored_object"]
    ]  # fmt: skip
    # What an external pipeline uploaded itself, or passed on, is an upload too.
    rows |= _uploads(session, (row["file_id"] for row in listed))
    stem = f"{ROOT}/{result['accession']}/{result['version']}/result-{manifest_id:012d}-{stamp(at)}"
    return _written(stem, "result", rows)


def _uploads(session: Session, ids: Iterable[str]) -> Rows:
    """These uploads, and of those that are only referenced where they lie; no credential is ever in a record."""
    rows: Rows = {"uploaded_file": []}
    for page in batched(sorted(set(ids)), PAGE):
        rows["uploaded_file"] += _rows(session, UploadedFile, col(UploadedFile.id).in_(page))["uploaded_file"]
        referenced = _rows(session, ReferencedFile, col(ReferencedFile.file_id).in_(page))["referenced_file"]
        if referenced:
            rows.setdefault("referenced_file", []).extend({**row, "secret": None} for row in referenced)
    return rows


def _rows(session: Session, table: type[SQLModel], *conditions: Any) -> Rows:
    """The rows of one table, in the order of its key."""
    columns = columns_of(table)
    found = session.execute(select(columns).where(*conditions).order_by(*columns.primary_key)).mappings()
    return {columns.name: [dict(row) for row in found]}
