"""What an external pipeline sends back: checked as a whole, and registered as a whole, exactly once."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import batched
from typing import Any

from sqlmodel import Session

from readvault.db import audit, clock, references
from readvault.db.tables import Job, PartialResult, UploadedFile
from readvault.domain import manifest
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import MetadataField, Organism
from readvault.domain.processed_data import MEASURED, Shape, checked, passed_on
from readvault.domain.referenced import is_referenced
from readvault.domain.status import JobKind
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.processing import chain, external_files, pipeline_versions
from readvault.services.processing.chain import THEIRS, ExternalPart
from readvault.services.processing.external_claims import external_of
from readvault.services.processing.external_known import Known, Sent, claims_of, entries_of, look_up
from readvault.services.processing.registration import (
    ProcessedVersion,
    examine,
    put,
    put_first,
    with_result,
)
from readvault.services.processing.stored_objects import store_objects
from readvault.services.queue import deliveries
from readvault.services.queue.fence import Claim, finish
from readvault.services.queue.sizes import bytes_of
from readvault.services.uploads import sealing

PAGE = 500


def submit(
    house: House,
    actor: Actor | None,
    organism_name: str,
    shape: Shape,
    sent: Sequence[Sent],
    *,
    pipeline_version: int,
) -> None:
    """Register the results of claimed accession versions, all or none.

    Where the SHA-256 of a file isn't known yet, a worker computes it and registers that version then.
    Raises BadRequest for an accession version that comes twice, Forbidden, and Unprocessable, in
    Loculus's words, for all that isn't awaited or doesn't fit. The data of one with errors are not
    examined, but its files are.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.PREPROCESS)
    assert actor is not None
    organism = house.organism(organism_name)
    external_of(organism)
    names = [each.name for each in sent]
    if repeated := sorted(str(name) for name, times in Counter(names).items() if times > 1):
        raise BadRequest(f"The request contains a duplicate accession version: {', '.join(repeated)}")
    with house.sessions.read() as session:
        _awaited(session, organism, names, pipeline_version)
        known = look_up(session, organism, sent, pipeline_version)
        is_newer = pipeline_version > pipeline_versions.current(session, organism)
    sent = [_examined(organism, each, known, shape) for each in sent]
    labels = _labels(sent, known)
    with house.sessions.read() as session:
        at = clock.read(session)
        present = {group: sealing.inspect(session, house.store, group, named, at) for group, named in labels.items()}
    with house.sessions.begin() as session:
        # Files before entries, as in a revision: two that lock in opposite orders wait for ever.
        at = clock.read(session)
        sealing.take_turns(session, labels)
        for group, named in sorted(labels.items()):
            sealing.seal(session, house.settings.limits, group, named, present[group], at)
        claims = _locked(session, organism, names, pipeline_version)
        known = look_up(session, organism, sent, pipeline_version)
        waiting, refused = _register(session, organism, claims, sent, known)
        pipeline_versions.note_change(session, organism.name)
        details = {
            "pipelineVersion": pipeline_version,
            "results": len(sent),
            "refused": [str(name) for name in refused],
        }
        for page in batched(names, PAGE):
            listed = {**details, "accessionVersions": [str(name) for name in page]}
            audit.append(session, actor.name, "submit processed data", organism.name, listed)
    deliveries.deliver_now(house, waiting)
    if is_newer:
        pipeline_versions.upgrade(house, organism.name)


def whole_version(session: Session, organism: Organism, claim: Claim, sent: Sent) -> ProcessedVersion:
    """The version that a pipeline's part makes, all of whose files are sealed and hashed."""
    known = look_up(session, organism, [sent], claim.pipeline_version)
    return _whole(organism, claim, sent, known)


def to_hash(session: Session, organism: Organism, sent: Sent, pipeline_version: int) -> list[UploadedFile]:
    """The files whose SHA-256 has to be computed before the version can be registered."""
    known = look_up(session, organism, [sent], pipeline_version)
    return _unhashed(sent, known)


def _awaited(session: Session, organism: Organism, names: Sequence[AccessionVersion], version: int) -> None:
    """Refuse what no pipeline of this version is to answer for."""
    entries = entries_of(session, names)
    running = claims_of(session, names)
    for name in names:
        entry = entries.get(name)
        if entry is not None and entry.organism != organism.name:
            raise Unprocessable(
                f"Accession version {name} is for organism {entry.organism},"
                f" but submitted data is for organism {organism.name}"
            )
        jobs = running.get(name, [])
        if not jobs:
            raise Unprocessable(f"Accession version {name} does not exist or is not awaiting any processing results")
        if all(job.pipeline_version != version for job in jobs):
            raise Unprocessable(
                f"Accession version {name} is not awaiting processing results of version {version} (anymore)"
            )


def _locked(
    session: Session, organism: Organism, names: Sequence[AccessionVersion], version: int
) -> dict[AccessionVersion, tuple[Claim, Job]]:
    """The claims, and their jobs, as they are once nobody else can end them; entries first, as everywhere."""
    entries = entries_of(session, names, for_update=True)
    jobs = claims_of(session, names, for_update=True)
    _awaited(session, organism, names, version)
    claims: dict[AccessionVersion, tuple[Claim, Job]] = {}
    for name in names:
        job = next(job for job in jobs[name] if job.pipeline_version == version)
        claims[name] = (
            Claim(
                job_id=job.id,
                attempt=job.attempt,
                kind=JobKind.EXTERNAL_PROCESSING,
                organism=organism.name,
                accession_version=name,
                pipeline_version=version,
                worker=job.lease_owner or "",
                group_id=entries[name].group_id,
            ),
            job,
        )
    return claims


def _examined(organism: Organism, sent: Sent, known: Known, shape: Shape) -> Sent:
    """What was sent, without what readvault made itself; raises Unprocessable."""
    external_files.check_names(organism, sent.files)
    part = known.parts.get(sent.name)
    files = external_files.new_files(sent.files, part)
    external_files.check_group(sent.name, known.entries[sent.name].group_id, files, known.uploads)
    files = external_files.stored_here(files, known.uploads, known.submitted)
    for file in files:
        external_files.check_category_of_new(organism, file, known.submitted)
    if sent.errors:
        return replace(sent, files=files)
    given = (
        () if part is None else [name for name, value in part.processed_data["metadata"].items() if value is not None]
    )
    data = passed_on(sent.data, shape, known.entries[sent.name].submitted_sequences)
    return replace(sent, files=files, data=checked(data, _fields(organism), shape, given=given))


def _fields(organism: Organism) -> list[MetadataField]:
    """The metadata that a pipeline may send: the organism's, its own, and what readvault measures."""
    own = external_of(organism).metadata
    fields = {field.name: field for field in (*MEASURED, *organism.metadata, *own)}
    return list(fields.values())


def _labels(sent: Sequence[Sent], known: Known) -> dict[int, dict[str, str]]:
    """The files to seal: name by file ID, by group."""
    labels: dict[int, dict[str, str]] = {}
    for each in sent:
        for file in each.files:
            labels.setdefault(known.entries[each.name].group_id, {})[file.file_id] = file.name
    return labels


def _register(
    session: Session,
    organism: Organism,
    claims: dict[AccessionVersion, tuple[Claim, Job]],
    sent: Sequence[Sent],
    known: Known,
) -> tuple[list[str], list[AccessionVersion]]:
    """Register what is complete, keep what isn't; the IDs of the jobs that will complete it, and what was refused.

    Refused is what is released already with another result of this pipeline version: it stays as it
    is, its job needs attention, and the other results are none the worse.
    """
    waiting = [each for each in sent if _unhashed(each, known)]
    incomplete = {each.name for each in waiting}
    complete = [each for each in sent if each.name not in incomplete]
    versions = {each.name: _whole(organism, claims[each.name][0], each, known) for each in complete}
    objects: dict[int, dict[str, int]] = {}
    for group in sorted({claims[name][0].group_id for name in versions}):
        files = [f for name, version in versions.items() if claims[name][0].group_id == group for f in version.files]
        objects[group] = store_objects(session, group, files)
    results = [(*claims[name], version) for name, version in sorted(versions.items())]
    for claim, _, version in results:
        examine(claim, version)
    again = with_result(session, versions, results[0][0].pipeline_version) if results else set()
    put_first(session, [each for each in results if each[0].accession_version not in again], objects)
    refused = []
    for claim, job, version in results:
        name = claim.accession_version
        if name not in again:
            continue
        released = put(session, claim, job, version, objects[claim.group_id])
        if released not in (None, manifest.digest(manifest.canonical(version.manifest))):
            refused.append(name)
    return [_keep(session, *claims[each.name], each) for each in waiting], refused


def _unhashed(sent: Sent, known: Known) -> list[UploadedFile]:
    ids = dict.fromkeys(file.file_id for file in (*sent.files, *known.originals.get(sent.name, ())))
    return [known.uploads[file_id] for file_id in ids if known.uploads[file_id].sha256 is None]


def _whole(organism: Organism, claim: Claim, sent: Sent, known: Known) -> ProcessedVersion:
    uploads = known.uploads
    part = ExternalPart(
        data=sent.data,
        errors=sent.errors,
        warnings=sent.warnings,
        files=tuple(
            external_files.staged(organism, file, uploads[file.file_id], known.submitted) for file in sent.files
        ),
        inputs=tuple(
            {
                "category": file.category,
                "size": uploads[file.file_id].size,
                "sha256": uploads[file.file_id].sha256,
                **({"storage": "group"} if is_referenced(uploads[file.file_id].key) else {}),
            }
            for file in known.originals.get(sent.name, ())
        ),
    )
    return chain.whole(organism, sent.name, claim.pipeline_version, part, known.parts.get(sent.name))


def _keep(session: Session, claim: Claim, job: Job, sent: Sent) -> str:
    """Keep a pipeline's part, and queue the job that hashes its files; that job's ID."""
    at = clock.read(session)
    place: dict[str, Any] = {
        "accession": sent.name.accession,
        "version": sent.name.version,
        "pipeline_version": claim.pipeline_version,
    }
    earlier = session.get(PartialResult, (*place.values(), THEIRS))
    if earlier is not None:
        session.delete(earlier)
        session.flush()
    files = [{"category": file.category, "name": file.name, "file_id": file.file_id} for file in sent.files]
    part: dict[str, Any] = {
        "processed_data": sent.data,
        "errors": [annotation.as_json() for annotation in sent.errors],
        "warnings": [annotation.as_json() for annotation in sent.warnings],
        "files": files,
    }
    body = json.dumps(part, sort_keys=True)
    kept = PartialResult(**place, source=THEIRS, body=manifest.digest(body.encode()), created_at=at, **part)
    session.add(kept)
    references.note_files(session, kept)
    following = Job(
        id=str(uuid.uuid4()),
        kind=JobKind.REGISTER_EXTERNAL.value,
        organism=claim.organism,
        created_at=at,
        not_before=at,
        input_bytes=bytes_of(session, [file.file_id for file in sent.files]),
        **place,
    )
    session.add(following)
    finish(session, job)
    session.flush()
    return following.id
