"""What must hold after every fault, whatever it was: the database and the bucket looked at together.

`check` is called at rest: nothing is being written. It needs every job neither done nor stuck, unless
`open_jobs` says that some may still be under way.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator

from sqlalchemy import func
from sqlmodel import Session, col, select

from readvault.db import audit, immutability, references
from readvault.db.clock import now
from readvault.db.erased import is_erased, is_tombstone
from readvault.db.tables import (
    CondemnedVersion,
    CurrentResult,
    EntryFile,
    EntryVersion,
    Job,
    Manifest,
    ManifestFile,
    PartialResult,
    Release,
    StoredObject,
    UploadedFile,
    UploadUsage,
)
from readvault.domain import manifest as manifests
from readvault.domain.errors import ProcessingFailure
from readvault.domain.reads import READ_LEVEL
from readvault.domain.status import JobKind, JobState
from readvault.services import trail
from readvault.services.house import House
from readvault.services.storage.integrity import fsck
from readvault.services.storage.integrity.pinned import pinned_versions

OPEN = (JobState.QUEUED, JobState.RUNNING)


def check(house: House, *, open_jobs: bool = False) -> list[str]:
    """Everything that is not as promised, in words; nothing when all is well."""
    looks: list[Callable[[House], Iterator[str]]] = [_bytes, _documents, _fsck]
    found = [fault for look in looks for fault in look(house)]
    of_database: list[Callable[[Session], Iterator[str]]] = [
        _manifests,
        _released,
        _whole_versions,
        _jobs,
        _audit,
        _triggers,
        _quota,
        _garbage,
    ]
    with house.sessions.read() as session:
        for look_inside in of_database:
            found += look_inside(session)
        if not open_jobs:
            found += _nothing_is_open(session)
    verdict = trail.verify(house)
    return found if verdict.whole else [*found, f"trail: {verdict.fault}"]


def _bytes(house: House) -> Iterator[str]:
    """Every pinned version is there and has the SHA-256 that the database knows."""
    for pinned in pinned_versions(house):
        if pinned.sha256 is None:
            continue
        try:
            sha256 = house.store.sha256_of(pinned.stored)
        except ProcessingFailure as failure:
            yield f"bytes: {pinned.key} can't be read: {failure.cause}"
            continue
        if sha256 != pinned.sha256:
            yield f"bytes: {pinned.key} has other bytes than were sealed"


def _documents(house: House) -> Iterator[str]:
    """Every manifest's document lies beside the files with the bytes of the database."""
    with house.sessions.read() as session:
        rows = session.exec(
            select(Manifest.accession, Manifest.version, Manifest.digest, Manifest.private_body)
            .join(
                EntryVersion,
                (col(EntryVersion.accession) == col(Manifest.accession))
                & (col(EntryVersion.version) == col(Manifest.version)),
            )
            .where(~is_tombstone())
        ).all()
        parts = {
            (part.accession, part.version, part.pipeline_version) for part in session.exec(select(PartialResult)).all()
        }
    for accession, version, digest, private in rows:
        prefix = f"manifests/{accession}/{version}/{digest}"
        there = {stored.key: stored for stored in house.store.list_versions(prefix)}
        wanted = {f"{prefix}.json": digest}
        if private is not None:
            wanted[f"{prefix}.private.json"] = manifests.digest(private.encode())
        for key, sha256 in wanted.items():
            if key not in there:
                if parts or not _by_readvault(house, accession, version):
                    continue  # what an external pipeline joined in is recorded by that pipeline's registration
                yield f"documents: {key} is missing"
            elif house.store.sha256_of(there[key]) != sha256:
                yield f"documents: {key} is not what the database holds"


def _by_readvault(house: House, accession: str, version: int) -> bool:
    with house.sessions.read() as session:
        mine = (Job.accession == accession, Job.version == version)
        kinds = set(session.exec(select(Job.kind).where(*mine)))
        entry = session.get(EntryVersion, (accession, version))
    outside = {JobKind.EXTERNAL_PROCESSING.value, JobKind.REGISTER_EXTERNAL.value}
    return not kinds & outside and entry is not None and not entry.is_revocation


def _fsck(house: House) -> Iterator[str]:
    for finding in fsck.fsck(house):
        if finding.difference.loses_bytes:
            yield f"fsck: {finding.difference} {finding.key}"


def _manifests(session: Session) -> Iterator[str]:
    """Body, digest, private document and files of each manifest agree, and no unscreened read is in one."""
    current: defaultdict[tuple[str, int, int], int] = defaultdict(int)
    for row in session.exec(select(Manifest)).all():
        name = f"manifest {row.id} of {row.accession}.{row.version}"
        body = json.loads(row.body)
        if manifests.digest(row.body.encode()) != row.digest:
            yield f"manifests: {name} has another digest than its body"
        if row.private_body is not None and body.get("privateSha256") != manifests.digest(row.private_body.encode()):
            yield f"manifests: {name} names another private document"
        if (body["accession"], body["version"], body["pipelineVersion"]) != (
            row.accession,
            row.version,
            row.pipeline_version,
        ):
            yield f"manifests: {name} is about something else"
        hidden = json.loads(row.private_body)["files"] if row.private_body is not None else []
        said = sorted((f["category"], f["name"], f["size"], f["sha256"]) for f in [*body["files"], *hidden])
        rows = session.exec(
            select(ManifestFile.category, ManifestFile.name, StoredObject.size, StoredObject.sha256)
            .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
            .where(ManifestFile.manifest_id == row.id)
        ).all()
        if said != sorted(tuple(each) for each in rows):
            yield f"manifests: {name} and the files of the database differ: a half version"
        if not body["screened"] and any(f["category"] in READ_LEVEL for f in body["files"]):
            yield f"manifests: {name} publishes reads that nobody screened"
        if row.superseded_at is None:
            current[row.accession, row.version, row.pipeline_version] += 1
    for place, count in current.items():
        if count != 1:
            yield f"manifests: {place} has {count} current results"


def _released(session: Session) -> Iterator[str]:
    """What is released has a manifest of its own that stands, is marked, and has its job."""
    for release in session.exec(select(Release)).all():
        name = f"{release.accession}.{release.version}"
        manifest = session.get(Manifest, release.manifest_id)
        entry = session.get(EntryVersion, (release.accession, release.version))
        if manifest is None or (manifest.accession, manifest.version) != (release.accession, release.version):
            yield f"released: {name} is released with a manifest that isn't its own"
        elif manifest.superseded_at is not None:
            yield f"released: the manifest of {name} was superseded"
        if entry is None or not entry.released:
            yield f"released: {name} is not marked"
        jobs = select(func.count()).where(
            Job.accession == release.accession, Job.version == release.version, Job.kind == JobKind.RELEASE.value
        )
        if session.exec(jobs).one() == 0:
            yield f"released: {name} has no job for what follows its approval"
    marked = session.exec(select(EntryVersion).where(EntryVersion.released)).all()
    for entry in marked:
        if session.get(Release, (entry.accession, entry.version)) is None:
            yield f"released: {entry.accession}.{entry.version} is marked without an approval"
    for row in session.exec(select(CurrentResult)).all():
        if session.get(Release, (row.accession, row.version)) is None:
            yield f"released: {row.accession}.{row.version} has a published result without an approval"


def _whole_versions(session: Session) -> Iterator[str]:
    """Every version has its files sealed, and a job or a result: none is forgotten."""
    for entry in session.exec(select(EntryVersion)).all():
        name = f"{entry.accession}.{entry.version}"
        mine = (Job.accession == entry.accession, Job.version == entry.version)
        result = select(func.count()).where(Manifest.accession == entry.accession, Manifest.version == entry.version)
        if session.exec(select(func.count()).select_from(Job).where(*mine)).one() + session.exec(result).one() == 0:
            yield f"versions: {name} has neither a job nor a result: it is forgotten"
    unsealed = (
        select(EntryFile.accession, EntryFile.version)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(col(UploadedFile.sealed_at).is_(None))
    )
    for accession, version in session.exec(unsealed).all():
        yield f"versions: {accession}.{version} has a file that is not sealed"


def _jobs(session: Session) -> Iterator[str]:
    """A running job has a holder, one at rest has none, one that is done has done it."""
    for job in session.exec(select(Job)).all():
        name = f"job {job.id} ({job.kind} of {job.accession}.{job.version})"
        has_holder = job.lease_owner is not None and job.lease_until is not None
        if job.state == JobState.RUNNING and (not has_holder or job.attempt < 1):
            yield f"jobs: {name} runs without a holder"
        if job.state != JobState.RUNNING and (job.lease_owner is not None or job.lease_until is not None):
            yield f"jobs: {name} is {job.state} and still held"
        if (job.state == JobState.DONE) != (job.finished_at is not None):
            yield f"jobs: {name} is {job.state}, finished at {job.finished_at}"
        if job.state == JobState.NEEDS_ATTENTION and not job.last_error:
            yield f"jobs: {name} needs attention and says no reason"
        if job.state == JobState.DONE and job.kind == JobKind.PROCESS_SUBMISSION and job.last_error is None:
            yield from _has_result(session, job, name)


def _has_result(session: Session, job: Job, name: str) -> Iterator[str]:
    mine = (Manifest.accession == job.accession, Manifest.version == job.version)
    found = session.exec(
        select(func.count()).where(*mine, Manifest.pipeline_version == job.pipeline_version)
    ).one()  # fmt: skip
    part = session.get(PartialResult, (job.accession, job.version, job.pipeline_version, "readvault"))
    of_same = select(func.count()).where(Job.accession == job.accession, Job.version == job.version)
    handed_on = of_same.where(Job.kind == JobKind.EXTERNAL_PROCESSING.value)
    # An edit drops what a part of a chain made, and begins anew.
    edited = of_same.where(Job.kind == job.kind, col(Job.created_at) > job.created_at)
    if not (found or part or session.exec(handed_on).one() or session.exec(edited).one()):
        yield f"jobs: {name} is done and has no result"


def _nothing_is_open(session: Session) -> Iterator[str]:
    late = select(Job, now()).where(col(Job.state).in_([state.value for state in OPEN]))
    for job, at in session.exec(late.where(col(Job.kind) != JobKind.EXTERNAL_PROCESSING.value)).all():
        due = f"due for {at - job.not_before:.0f} s"
        yield f"jobs: {job.kind} of {job.accession}.{job.version} is still {job.state} ({due}, {job.last_error})"


def _audit(session: Session) -> Iterator[str]:
    for number in audit.verify(session):
        yield f"audit: row {number} is not as it was written"


def _triggers(session: Session) -> Iterator[str]:
    for name in immutability.missing(session.connection()):
        yield f"triggers: {name} is missing"


def _quota(session: Session) -> Iterator[str]:
    """What is counted as used is what is sealed."""
    sealed = select(UploadedFile.group_id, UploadedFile.uploader, UploadedFile.size).where(
        col(UploadedFile.sealed_at).is_not(None), ~is_erased(col(UploadedFile.key), col(UploadedFile.version_id))
    )
    sums: defaultdict[str, int] = defaultdict(int)
    for group_id, uploader, size in session.exec(sealed):
        sums[f"group:{group_id}"] += size or 0
        sums[f"user:{uploader}"] += size or 0
    counted = {usage.scope: usage.sealed_bytes for usage in session.exec(select(UploadUsage))}
    for scope in sorted(sums.keys() | counted.keys()):
        if sums[scope] != counted.get(scope, 0):
            yield f"quota: {scope} has {sums[scope]} sealed bytes and {counted.get(scope, 0)} are counted"


def _garbage(session: Session) -> Iterator[str]:
    """Nothing that anything refers to is about to be deleted."""
    row = CondemnedVersion
    needed = references.referenced(col(row.key), col(row.version_id), now())
    under_way = (
        col(row.deleting_since).is_not(None),
        col(row.deleted_at).is_(None),
        ~is_erased(col(row.key), col(row.version_id)),
    )
    for key in session.exec(select(row.key).where(*under_way, needed)).all():
        yield f"garbage: {key} is in use and is being deleted"
