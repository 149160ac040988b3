"""Registration: a result becomes an entry's current one, exactly once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from sqlalchemy import or_, update
from sqlmodel import Session, col, select

from readvault.db import audit, clock, condemned, records
from readvault.db.erased import erased_among, is_erased
from readvault.db.names import among
from readvault.db.tables import CurrentResult, EntryVersion, Job, ManifestFile, Release, StoredObject
from readvault.db.tables import Manifest as ManifestRow
from readvault.db.upsert import columns_of, insert_into
from readvault.domain import manifest
from readvault.domain.annotations import Annotation
from readvault.domain.errors import LeaseLost, ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import READ_LEVEL
from readvault.domain.status import JobState
from readvault.failpoints import failpoint
from readvault.ports import StoredVersion
from readvault.services.house import House
from readvault.services.processing.counting import count_once_committed
from readvault.services.queue.fence import SYSTEM, Claim, finish, hand_back, held, is_finished_by

PAGE = 500


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A processed file that lies in the store. `size` counts bytes, `sha256` is hexadecimal.

    `file_id`: what it is called already, when somebody was told; `may_be_public` False: for the group only.
    """

    category: str
    name: str
    size: int
    sha256: str
    stored: StoredVersion
    file_id: str | None = None
    may_be_public: bool = True


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
        released = put(session, claim, job, version, objects)
        _write_down(session, claim, version, digest, released)
        failpoint("register-in-transaction")
    if released not in (None, digest):
        raise LeaseLost(
            f"job {claim.job_id} needs attention: {claim.accession_version} is released with another result"
        )
    return digest


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


def store_objects(session: Session, group_id: int, files: Iterable[StagedFile]) -> dict[str, int]:
    """The IDs of the files' objects by SHA-256; what the group's vault had before stays as it is.

    Bytes that were shredded and have come again take the place of the old ones. Raises ProcessingFailure
    when the very versions that were staged are shredded: they have to be stored again. Raises Unavailable
    when one of them was deleted as garbage since it was staged.
    """
    by_content = {file.sha256: file for file in files}
    _keep_from_deletion(session, group_id, by_content)
    at = clock.read(session)
    new = insert_into(session, columns_of(StoredObject))
    # In one order, so that two registrations that share objects don't wait for each other in a circle.
    rows = [
        {
            "group_id": group_id,
            "sha256": sha256,
            "size": file.size,
            "stored_at": at,
            "key": file.stored.key,
            "version_id": file.stored.version_id,
        }
        for sha256, file in sorted(by_content.items())
    ]
    found: dict[str, int] = {}
    for page in batched(rows, PAGE):
        session.connection().execute(new.on_conflict_do_nothing(), list(page))
        known = select(StoredObject.sha256, StoredObject.id).where(
            StoredObject.group_id == group_id, col(StoredObject.sha256).in_([row["sha256"] for row in page])
        )
        ids = {sha256: number for sha256, number in session.exec(known) if number is not None}
        _replace_shredded(session, {number: by_content[sha256].stored for sha256, number in ids.items()})
        found |= ids
    return found


def _keep_from_deletion(session: Session, group_id: int, files: Mapping[str, StagedFile]) -> None:
    """Take off the list of garbage what these contents are stored as, here or by the group before."""
    stored = [file.stored for file in files.values()]
    keys = {each.key for each in stored}
    for page in batched(sorted(files), PAGE):
        before = select(StoredObject.key).where(StoredObject.group_id == group_id, col(StoredObject.sha256).in_(page))
        keys |= set(session.exec(before))
    condemned.revive(session, keys)
    condemned.refuse_deleted(session, [(each.key, each.version_id) for each in stored])


def _replace_shredded(session: Session, staged: Mapping[int, StoredVersion]) -> None:
    """Have what was shredded stand for the bytes that came after it."""
    query = select(StoredObject.id, StoredObject.key, StoredObject.version_id)
    rows = session.exec(query.where(col(StoredObject.id).in_(staged)).order_by(col(StoredObject.id))).all()
    gone = erased_among(session, ((key, version_id) for _, key, version_id in rows))
    again = [number for number, key, version_id in rows if (key, version_id) in gone and number is not None]
    if not again:
        return
    places = {(staged[number].key, staged[number].version_id) for number in again}
    if erased_among(session, places):
        raise ProcessingFailure("register", "outputs were shredded meanwhile: they have to be stored again")
    for number in again:
        moved = {"key": staged[number].key, "version_id": staged[number].version_id}
        shredded = is_erased(col(StoredObject.key), col(StoredObject.version_id))
        session.execute(
            update(StoredObject)
            .where(col(StoredObject.id) == number, shredded)
            .values(**moved)
            .execution_options(synchronize_session=False)
        )


def _write_down(session: Session, claim: Claim, version: ProcessedVersion, digest: str, released: str | None) -> None:
    details = {
        "job": claim.job_id,
        "attempt": claim.attempt,
        "pipelineVersion": claim.pipeline_version,
        "manifestDigest": digest,
        "processingResult": version.manifest["processingResult"],
    }
    if released is not None:
        details["releasedDigest"] = released
    action = "register" if released in (None, digest) else "refuse to change a released result"
    audit.append(session, SYSTEM, action, str(claim.accession_version), details)
