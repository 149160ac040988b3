"""What people see of entries: the list with statuses, and one version with all its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, true, tuple_
from sqlmodel import Session, col, select

from readvault.db import entry_state
from readvault.db.tables import (
    EntryFile,
    EntryVersion,
    GroupMember,
    Job,
    Manifest,
    ManifestFile,
    StoredObject,
    UploadedFile,
)
from readvault.domain.actor import Actor
from readvault.domain.errors import Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, ProcessingResult, Status
from readvault.services.authorization import Action, authorize, is_member
from readvault.services.house import House


def list_entries(
    house: House,
    actor: Actor | None,
    organism: str,
    *,
    group_ids: Sequence[int] | None = None,
    statuses: Sequence[Status] | None = None,
    results: Sequence[ProcessingResult] | None = None,
    page: int | None = None,
    size: int | None = None,
) -> dict[str, Any]:
    """The actor's entries, in the shape of Loculus's get-sequences; `page` counts from 0.

    `results` narrows only entries that are PROCESSED. Counts ignore filters and paging, except
    organism and groups. All rows when `page` or `size` is missing. Raises BadRequest for an unknown
    organism, Forbidden for a foreign group.
    """
    house.organism(organism)
    status, result = entry_state.status(), _result()
    with house.sessions.read() as session:
        visible = and_(col(EntryVersion.organism) == organism, visible_to(session, actor, group_ids))
        query = entry_state.with_state(select(EntryVersion, status, result)).where(visible)
        if statuses:
            query = query.where(status.in_([Status(s).value for s in statuses]))
        if results:
            wanted = result.in_([ProcessingResult(r).value for r in results])
            query = query.where(or_(status != Status.PROCESSED.value, wanted))
        query = query.order_by(col(EntryVersion.accession), col(EntryVersion.version))
        if page is not None and size is not None:
            query = query.limit(size).offset(page * size)
        rows = [_row(entry, state, found) for entry, state, found in session.execute(query)]
        by_status = _counts(session, status, visible)
        by_result = _counts(session, result, visible, status == Status.PROCESSED.value)
    return {
        "sequenceEntries": rows,
        "statusCounts": {each.value: by_status.get(each.value, 0) for each in Status},
        "processingResultCounts": {each.value: by_result.get(each.value, 0) for each in ProcessingResult},
    }


def submitted_and_processed(
    house: House, actor: Actor | None, organism: str, accession_version: AccessionVersion
) -> dict[str, Any]:
    """All that a reviewer needs of one version, in the shape of Loculus's get-data-to-edit.

    Our extra keys: per file `url` (pre-signed, short-lived: a secret), `size` (bytes), `sha256`; and
    `manifestDigest`, `processingResult`, `pipelineVersion`, `job`. Originals have a `url` for the
    group's members only. `processedData` is None before processing. Raises Unprocessable for an
    unknown version or a revocation, Forbidden for a foreign one.
    """
    house.organism(organism)
    with house.sessions.read() as session:
        entry = find_versions(session, actor, Action.REVIEW, organism, [accession_version])[0]
        if entry.is_revocation:
            raise Unprocessable(f"Accession version {accession_version} is a revocation.")
        query = entry_state.with_state(select(entry_state.status(), Manifest)).where(_is(accession_version))
        status, manifest = session.execute(query).one()
        originals = _original_files(house, session, accession_version, signed=is_member(session, actor, entry.group_id))
        processed = None if manifest is None else _processed_files(house, session, manifest)
        job = _job(session, accession_version, actor)
    return {
        "accession": entry.accession,
        "version": entry.version,
        "status": status,
        "groupId": entry.group_id,
        "submissionId": entry.submission_id,
        "submittedData": {
            "metadata": entry.submitted_metadata,
            "unalignedNucleotideSequences": entry.submitted_sequences,
            "files": originals or None,
        },
        "processedData": None if manifest is None else {**manifest.processed_data, "files": processed or None},
        "errors": [] if manifest is None else manifest.errors,
        "warnings": [] if manifest is None else manifest.warnings,
        "processingResult": None if manifest is None else manifest.processing_result,
        "pipelineVersion": None if manifest is None else manifest.pipeline_version,
        "manifestDigest": None if manifest is None else manifest.digest,
        "job": job,
    }


def find_versions(
    session: Session, actor: Actor | None, action: Action, organism: str, wanted: Sequence[AccessionVersion]
) -> list[EntryVersion]:
    """The named versions, if the actor may do `action` with every one of them; sorted.

    Raises Unprocessable for unknown ones and those of another organism, Forbidden for foreign ones.
    """
    found: list[EntryVersion] = []
    names = sorted(set(wanted))
    for start in range(0, len(names), 500):
        page = names[start : start + 500]
        is_named = tuple_(col(EntryVersion.accession), col(EntryVersion.version)).in_(
            [(name.accession, name.version) for name in page]
        )
        found += session.exec(select(EntryVersion).where(is_named)).all()
    found.sort(key=lambda entry: (entry.accession, entry.version))
    known = {AccessionVersion(entry.accession, entry.version): entry for entry in found}
    if missing := [str(name) for name in names if name not in known]:
        raise Unprocessable(f"Accession versions {', '.join(missing)} do not exist")
    authorize(session, actor, action, group_ids=sorted({entry.group_id for entry in found}))
    if foreign := [str(name) for name in names if known[name].organism != organism]:
        raise Unprocessable(f"The following accession versions are not of organism {organism}: {', '.join(foreign)}")
    return found


def visible_to(
    session: Session, actor: Actor | None, group_ids: Sequence[int] | None, action: Action = Action.REVIEW
) -> ColumnElement[bool]:
    """The condition that an entry belongs to these groups, or to any that the actor may act for."""
    if group_ids:
        authorize(session, actor, action, group_ids=group_ids)
        return col(EntryVersion.group_id).in_(group_ids)
    if actor is None:
        authorize(session, actor, action)
    elif actor.is_maintainer:
        return true()
    own = select(GroupMember.group_id).where(GroupMember.user_name == (actor.name if actor else ""))
    return col(EntryVersion.group_id).in_(own)


def terms_of(entry: EntryVersion) -> dict[str, str]:
    """The data use terms, in Loculus's shape."""
    if entry.terms_type == "RESTRICTED" and entry.restricted_until is not None:
        return {"type": "RESTRICTED", "restrictedUntil": entry.restricted_until}
    return {"type": entry.terms_type}


def _result() -> ColumnElement[str | None]:
    revoked = (col(EntryVersion.is_revocation), ProcessingResult.NO_ISSUES.value)
    return func.coalesce(col(Manifest.processing_result), case(revoked, else_=None))


def _is(name: AccessionVersion) -> ColumnElement[bool]:
    return and_(col(EntryVersion.accession) == name.accession, col(EntryVersion.version) == name.version)


def _counts(session: Session, value: ColumnElement[Any], *conditions: ColumnElement[bool]) -> dict[str, int]:
    query: Select[Any] = select(value.label("value"), func.count()).where(*conditions)
    rows = session.execute(entry_state.with_state(query).group_by("value"))
    return {row[0]: row[1] for row in rows}


def _row(entry: EntryVersion, status: str, result: str | None) -> dict[str, Any]:
    return {
        "accession": entry.accession,
        "version": entry.version,
        "status": status,
        "processingResult": result,
        "groupId": entry.group_id,
        "submitter": entry.submitter,
        "isRevocation": entry.is_revocation,
        "submissionId": entry.submission_id,
        "dataUseTerms": terms_of(entry),
    }


def _original_files(
    house: House, session: Session, key: AccessionVersion, *, signed: bool
) -> dict[str, list[dict[str, Any]]]:
    files: dict[str, list[dict[str, Any]]] = {}
    rows = session.exec(
        select(EntryFile, UploadedFile)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(EntryFile.accession == key.accession, EntryFile.version == key.version)
        .order_by(col(EntryFile.category), col(EntryFile.position), col(EntryFile.name))
    )
    expires = house.settings.urls.download
    for file, uploaded in rows:
        url = (
            house.store.sign_get(uploaded.key, uploaded.version_id, name=file.name, expires=expires) if signed else None
        )
        facts = {"size": uploaded.size, "sha256": uploaded.sha256 or uploaded.declared_sha256}
        files.setdefault(file.category, []).append({"fileId": file.file_id, "name": file.name, "url": url, **facts})
    return files


def _processed_files(house: House, session: Session, manifest: Manifest) -> dict[str, list[dict[str, Any]]]:
    files: dict[str, list[dict[str, Any]]] = {}
    rows = session.exec(
        select(ManifestFile, StoredObject)
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(ManifestFile.manifest_id == manifest.id)
        .order_by(col(ManifestFile.category), col(ManifestFile.name))
    )
    for file, stored in rows:
        url = house.store.sign_get(stored.key, stored.version_id, name=file.name, expires=house.settings.urls.download)
        facts = {"url": url, "size": stored.size, "sha256": stored.sha256}
        files.setdefault(file.category, []).append({"fileId": file.file_id, "name": file.name, **facts})
    return files


def _job(session: Session, key: AccessionVersion, actor: Actor | None) -> dict[str, Any] | None:
    """The newest processing job. Its last error is a maintainer's matter: others read only which step it was."""
    newest = select(Job).where(
        Job.accession == key.accession, Job.version == key.version, Job.kind == JobKind.PROCESS_SUBMISSION.value
    )
    job = session.exec(newest.order_by(col(Job.created_at).desc(), col(Job.id)).limit(1)).first()
    if job is None:
        return None
    error = job.last_error
    if error is not None and not (actor is not None and actor.is_maintainer):
        error = error.partition(":")[0]
    return {"id": job.id, "state": job.state, "attempt": job.attempt, "failures": job.failures, "lastError": error}
