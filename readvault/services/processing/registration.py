"""Registration: a result becomes an entry's current one, exactly once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from sqlalchemy import or_, update
from sqlmodel import Session, col, select

from readvault.db import audit, clock, records
from readvault.db.names import among
from readvault.db.tables import ComparedResult, CurrentResult, EntryVersion, Job, ManifestFile, Release
from readvault.db.tables import Manifest as ManifestRow
from readvault.domain import manifest
from readvault.domain.annotations import Annotation
from readvault.domain.errors import LeaseLost, ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import READ_LEVEL
from readvault.domain.status import JobState
from readvault.failpoints import failpoint
from readvault.services.house import House
from readvault.services.processing import standing
from readvault.services.processing.counting import count_once_committed
from readvault.services.processing.stored_objects import StagedFile, store_objects
from readvault.services.queue.fence import SYSTEM, Claim, finish, hand_back, held, is_finished_by

PAGE = 500


@dataclass(frozen=True, slots=True)
class ProcessedVersion:
    """What processing made of an accession version. `manifest` is `domain.manifest.build(...)`.

    `processed_data` is Loculus's ProcessedData without `files`.
    """

    manifest: dict[str, Any]
    errors: tuple[Annotation, ...]
    warnings: tuple[Annotation, ...]
    processed_data: dict[str, Any]
    files: tuple[StagedFile, ...] = ()


def register(house: House, claim: Claim, version: ProcessedVersion) -> str:
    """Make the result the entry's current one and end the job, in one transaction; the manifest's digest.

    Registering the same result again (its answer was lost) is a success without effect. An
    unreleased result of the same pipeline version is superseded, a released one never: when the
    new result differs from it, the job needs attention and LeaseLost is raised. Raises
    ProcessingFailure for a manifest that doesn't fit the claim or its files.
    """
    examine(claim, version)
    digest = manifest.digest(manifest.canonical(version.manifest))
    with house.sessions.begin() as session:
        lock_entry(session, claim)  # entry first, job second: whoever edits or deletes an entry does so too
        if _answer_was_lost(session, claim, digest):
            return digest
        job = held(session, claim)
        objects = store_objects(session, claim.group_id, version.files)
        before = standing.standing(session, claim.accession_version)
        released = put(session, claim, job, version, objects)
        state = _settled(session, house, claim, job, before) if released is None else None
        _write_down(session, claim, version, digest, released, state)
        failpoint("register-in-transaction")
    if released not in (None, digest):
        raise LeaseLost(
            f"job {claim.job_id} needs attention: {claim.accession_version} is released with another result"
        )
    return digest


def _settled(session: Session, house: House, claim: Claim, job: Job, before: standing.Standing | None) -> str | None:
    """What became of the result beside the one that stood before; None where there was nothing to compare."""
    query = select(ManifestRow.id).where(*_of_pipeline(claim), col(ManifestRow.superseded_at).is_(None))
    manifest_id, name = session.exec(query).one(), claim.accession_version
    standing.forget_superseded(session, name)
    if (
        manifest_id is None
        or session.exec(select(ComparedResult).where(ComparedResult.manifest_id == manifest_id)).first()
    ):
        return None  # the same result was registered, and compared, before
    compared = standing.settle(
        session,
        house.organism(claim.organism),
        name,
        before=before,
        manifest_id=manifest_id,
        reprocessing_id=job.reprocessing_id,
    )
    return None if compared is None else compared.state


def put(session: Session, claim: Claim, job: Job, version: ProcessedVersion, objects: Mapping[str, int]) -> str | None:
    """Make the result the entry's current one and end the locked job; the digest that is released already, if any.

    When that is another one, nothing changes and the job needs attention. Examine the version and
    lock the entry first; `objects` are the IDs of `store_objects` for its files.
    """
    digest = manifest.digest(manifest.canonical(version.manifest))
    released = _released_digest(session, claim)
    if released in (None, digest):
        if released is None and _current_digest(session, claim) != digest:
            _insert(session, claim, version, objects)
            count_once_committed(session, [(claim.organism, version)])
        finish(session, job)
    else:
        cause = "register: the result differs from the released one, which needs a new pipeline version to change"
        hand_back(session, job, JobState.NEEDS_ATTENTION, cause)
    return released


def put_first(
    session: Session, results: Sequence[tuple[Claim, Job, ProcessedVersion]], objects: Mapping[int, Mapping[str, int]]
) -> None:
    """What `put` does, at once for many that have no result of their pipeline version; `objects` by group."""
    at = clock.read(session)
    rows = [_row(claim, version, at) for claim, _, version in results]
    session.add_all(rows)
    session.flush()
    for row, (claim, job, version) in zip(rows, results, strict=True):
        session.add_all(_file_rows(row, version, objects[claim.group_id]))
        finish(session, job, at)
    session.flush()
    records.registered(session, ((row.id, (row.accession, row.version)) for row in rows))
    count_once_committed(session, [(claim.organism, version) for claim, _, version in results])


def with_result(session: Session, names: Iterable[AccessionVersion], pipeline_version: int) -> set[AccessionVersion]:
    """Which of these accession versions have a result of a pipeline version that isn't superseded."""
    found: set[AccessionVersion] = set()
    for page in batched(names, PAGE):
        query = select(ManifestRow.accession, ManifestRow.version).where(
            among(ManifestRow, page),
            ManifestRow.pipeline_version == pipeline_version,
            col(ManifestRow.superseded_at).is_(None),
        )
        found |= {AccessionVersion(*row) for row in session.exec(query)}
    return found


def examine(claim: Claim, version: ProcessedVersion) -> None:
    """See that the manifest is about the claim and its files, and holds no unscreened reads; else ProcessingFailure."""
    body = version.manifest
    about = (body["accession"], body["version"], body["organism"], body["pipelineVersion"])
    key = claim.accession_version
    if about != (key.accession, key.version, claim.organism, claim.pipeline_version):
        raise ProcessingFailure("register", "the manifest is not about the claimed accession version")
    staged = sorted((file.category, file.name, file.size, file.sha256) for file in version.files)
    if staged != [(f["category"], f["name"], f["size"], f["sha256"]) for f in manifest.all_files(body)]:
        raise ProcessingFailure("register", "the manifest and the staged files differ")
    if not body["screened"] and any(file.category in READ_LEVEL for file in version.files):
        raise ProcessingFailure(
            "register", "reads that no complete screen for human reads has seen are never registered"
        )


def _answer_was_lost(session: Session, claim: Claim, digest: str) -> bool:
    job = session.get(Job, claim.job_id, with_for_update=True)
    if job is None or not is_finished_by(job, claim):
        return False
    same = select(ManifestRow.id).where(*_of_pipeline(claim), ManifestRow.digest == digest)
    return session.exec(same).first() is not None


def lock_entry(session: Session, claim: Claim) -> None:
    """Let no approval see the old result while the new one comes. Raises LeaseLost for an entry that was deleted."""
    key = claim.accession_version
    found = session.exec(
        select(EntryVersion.accession)
        .where(EntryVersion.accession == key.accession, EntryVersion.version == key.version)
        .with_for_update(key_share=True)
    ).one_or_none()
    if found is None:
        raise LeaseLost(f"{key} was deleted")


def _of_pipeline(claim: Claim) -> tuple[Any, ...]:
    key = claim.accession_version
    return (
        col(ManifestRow.accession) == key.accession,
        col(ManifestRow.version) == key.version,
        col(ManifestRow.pipeline_version) == claim.pipeline_version,
    )


def _released_digest(session: Session, claim: Claim) -> str | None:
    """The digest of what was published of this pipeline version: at the approval, or later in its place."""
    approved = select(Release.manifest_id).where(Release.manifest_id == col(ManifestRow.id))
    since = select(CurrentResult.manifest_id).where(CurrentResult.manifest_id == col(ManifestRow.id))
    published = or_(approved.exists(), since.exists())
    return session.exec(select(ManifestRow.digest).where(*_of_pipeline(claim), published)).one_or_none()


def _current_digest(session: Session, claim: Claim) -> str | None:
    current = select(ManifestRow.digest).where(*_of_pipeline(claim), col(ManifestRow.superseded_at).is_(None))
    return session.exec(current).one_or_none()


def _insert(session: Session, claim: Claim, version: ProcessedVersion, objects: Mapping[str, int]) -> None:
    now = clock.read(session)
    session.execute(
        update(ManifestRow)
        .where(*_of_pipeline(claim), col(ManifestRow.superseded_at).is_(None))
        .values(superseded_at=now)
        .execution_options(synchronize_session=False)
    )
    row = _row(claim, version, now)
    session.add(row)
    session.flush()
    session.add_all(_file_rows(row, version, objects))
    records.registered(session, [(row.id, claim.accession_version)])


def _row(claim: Claim, version: ProcessedVersion, at: float) -> ManifestRow:
    body = manifest.canonical(version.manifest)
    return ManifestRow(
        accession=claim.accession_version.accession,
        version=claim.accession_version.version,
        pipeline_version=claim.pipeline_version,
        digest=manifest.digest(body),
        body=body.decode("utf-8"),
        private_body=manifest.private(version.manifest).decode("utf-8"),
        processing_result=version.manifest["processingResult"],
        errors=[annotation.as_json() for annotation in version.errors],
        warnings=[annotation.as_json() for annotation in version.warnings],
        processed_data=version.processed_data,
        created_at=at,
    )


def _file_rows(row: ManifestRow, version: ProcessedVersion, objects: Mapping[str, int]) -> list[ManifestFile]:
    assert row.id is not None
    return [
        ManifestFile(
            manifest_id=row.id,
            category=file.category,
            name=file.name,
            file_id=file.file_id or str(uuid.uuid4()),
            stored_object_id=objects[file.sha256],
            may_be_public=file.may_be_public,
        )
        for file in version.files
    ]


def _write_down(
    session: Session,
    claim: Claim,
    version: ProcessedVersion,
    digest: str,
    released: str | None,
    compared: str | None = None,
) -> None:
    details = {
        "job": claim.job_id,
        "attempt": claim.attempt,
        "pipelineVersion": claim.pipeline_version,
        "manifestDigest": digest,
        "processingResult": version.manifest["processingResult"],
    }
    if released is not None:
        details["releasedDigest"] = released
    if compared is not None:
        details["comparedWithOlder"] = compared
    action = "register" if released in (None, digest) else "refuse to change a released result"
    audit.append(session, SYSTEM, action, str(claim.accession_version), details)
