"""A chain: readvault's part of a result waits for the external pipeline's, and both become one version.

readvault's part is kept after that: a newer version of the external pipeline continues from it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from sqlalchemy import ColumnElement, and_, select, update
from sqlmodel import Session, SQLModel, col

from readvault.db import audit, clock, condemned, records, references
from readvault.db.names import among
from readvault.db.tables import Job, PartialResult
from readvault.domain import manifest
from readvault.domain.annotations import Annotation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.status import JobKind, JobState, ProcessingResult
from readvault.ports import StoredVersion
from readvault.services.house import House
from readvault.services.processing.registration import ProcessedVersion, examine, lock_entry
from readvault.services.processing.stored_objects import StagedFile
from readvault.services.queue.fence import SYSTEM, UNDELIVERED, Claim, finish, held
from readvault.services.queue.sizes import submitted_bytes

OURS = "readvault"
THEIRS = "external"
PAGE = 500
PARTS_OF_SEQUENCES = (
    "unalignedNucleotideSequences",
    "alignedNucleotideSequences",
    "nucleotideInsertions",
    "alignedAminoAcidSequences",
    "aminoAcidInsertions",
)


@dataclass(frozen=True, slots=True)
class ExternalPart:
    """What an external pipeline made of an accession version. `inputs` is for the provenance.

    `data` is Loculus's ProcessedData without files; it was examined unless there are errors.
    """

    data: dict[str, Any]
    errors: tuple[Annotation, ...]
    warnings: tuple[Annotation, ...]
    files: tuple[StagedFile, ...]
    inputs: tuple[dict[str, Any], ...] = ()


def continues(organism: Organism, version: ProcessedVersion) -> bool:
    """Whether an external pipeline has to see this result of readvault's steps before it is registered.

    Where they ended with errors and without a sequence there is nothing for it to do.
    """
    external = organism.pipeline.external
    nothing_left = version.errors and not any(version.processed_data["unalignedNucleotideSequences"].values())
    return external is not None and external.mode == "after" and not nothing_left


def hand_on(house: House, claim: Claim, version: ProcessedVersion) -> str:
    """Keep readvault's part, queue the external pipeline's, end the job; the digest of the part.

    A part of an earlier attempt is replaced, and whoever works on it works in vain. Raises LeaseLost.
    """
    examine(claim, version)
    digest = manifest.digest(manifest.canonical(version.manifest))
    key = claim.accession_version
    with house.sessions.begin() as session:
        lock_entry(session, claim)
        job = held(session, claim)
        place = (key.accession, key.version, claim.pipeline_version, OURS)
        if (earlier := session.get(PartialResult, place)) is not None:
            session.delete(earlier)
            session.flush()
        condemned.revive(session, [file.stored.key for file in version.files])
        condemned.refuse_deleted(session, [(file.stored.key, file.stored.version_id) for file in version.files])
        part = PartialResult(
            accession=key.accession,
            version=key.version,
            pipeline_version=claim.pipeline_version,
            source=OURS,
            body=json.dumps(version.manifest, sort_keys=True),
            processed_data=version.processed_data,
            errors=[annotation.as_json() for annotation in version.errors],
            warnings=[annotation.as_json() for annotation in version.warnings],
            files=[_file_json(file) for file in version.files],
            created_at=clock.read(session),
        )
        session.add(part)
        references.note_files(session, part)
        _queue_external(session, claim)
        records.changed(session, [key])
        finish(session, job)
        details = {"job": claim.job_id, "pipelineVersion": claim.pipeline_version, "digestOfPart": digest}
        audit.append(session, SYSTEM, "hand on to external pipeline", str(key), details)
    return digest


def _queue_external(session: Session, claim: Claim) -> None:
    now = clock.read(session)
    key = claim.accession_version
    again = session.execute(
        update(Job)
        .where(
            col(Job.accession) == key.accession,
            col(Job.version) == key.version,
            col(Job.pipeline_version) == claim.pipeline_version,
            col(Job.kind) == JobKind.EXTERNAL_PROCESSING.value,
            col(Job.state) != JobState.DONE.value,
        )
        .values(state=JobState.QUEUED.value, attempt=col(Job.attempt) + 1, handbacks=0, not_before=now, created_at=now,
                **UNDELIVERED)
        .returning(col(Job.id))
        .execution_options(synchronize_session=False)
    ).first()  # fmt: skip
    if again is None:
        session.add(
            Job(
                id=str(uuid.uuid4()),
                kind=JobKind.EXTERNAL_PROCESSING.value,
                organism=claim.organism,
                accession=key.accession,
                version=key.version,
                pipeline_version=claim.pipeline_version,
                created_at=now,
                not_before=now,
                input_bytes=session.scalar(select(submitted_bytes(key.accession, key.version))) or 0,
            )
        )


def is_part_of(table: type[SQLModel], version: Any) -> ColumnElement[bool]:
    """Whether a partial result is readvault's part, of this version or an older one, of a row's accession version."""
    return and_(
        col(PartialResult.accession) == table.accession,  # type: ignore[attr-defined]
        col(PartialResult.version) == table.version,  # type: ignore[attr-defined]
        col(PartialResult.source) == OURS,
        col(PartialResult.pipeline_version) <= version,
    )


def first_parts(
    session: Session, names: Sequence[AccessionVersion], version: int
) -> dict[AccessionVersion, PartialResult]:
    """readvault's newest parts that are not newer than a pipeline version, by accession version."""
    found: dict[AccessionVersion, PartialResult] = {}
    for page in batched(names, PAGE):
        query = select(PartialResult).where(
            among(PartialResult, page),
            col(PartialResult.source) == OURS,
            col(PartialResult.pipeline_version) <= version,
        )
        for part in session.execute(query.order_by(col(PartialResult.pipeline_version))).scalars():
            found[AccessionVersion(part.accession, part.version)] = part
    return found


def staged_files(part: PartialResult) -> tuple[StagedFile, ...]:
    """The files of readvault's part, under the IDs that the external pipeline was told."""
    return tuple(
        StagedFile(
            category=file["category"],
            name=file["name"],
            size=file["size"],
            sha256=file["sha256"],
            stored=StoredVersion(file["key"], file["versionId"], file["size"]),
            file_id=file["fileId"],
        )
        for file in part.files
    )


def whole(
    organism: Organism, name: AccessionVersion, pipeline_version: int, theirs: ExternalPart, ours: PartialResult | None
) -> ProcessedVersion:
    """One version made of an external pipeline's part and, in a chain, of readvault's.

    Where both say something the external pipeline's word counts: it came after and saw ours.
    """
    said = {"mode": "instead" if ours is None else "after", "pipelineVersion": pipeline_version}
    errors, warnings, files, data = theirs.errors, theirs.warnings, theirs.files, theirs.data
    provenance: dict[str, Any] = {"external": said, "inputs": list(theirs.inputs)}
    before: dict[str, Any] = {}
    if ours is not None:
        before = json.loads(ours.body)
        errors = tuple(Annotation.of_json(each) for each in ours.errors) + errors
        warnings = tuple(Annotation.of_json(each) for each in ours.warnings) + warnings
        files = staged_files(ours) + files
        data = dict(ours.processed_data) if theirs.errors else _merged(ours.processed_data, data)
        inputs = before[manifest.PRIVATE]["inputs"]
        provenance = {**before["provenance"], "external": said, "inputs": inputs}
    # Beside errors an external pipeline may send anything; what was never examined can't be approved either.
    sequences = {} if theirs.errors and ours is None else data["unalignedNucleotideSequences"]
    source = "submitted" if any(sequences.values()) else None
    body = manifest.build(
        name,
        organism=organism.name,
        pipeline_version=pipeline_version,
        metadata=data["metadata"],
        sequences=sequences,
        consensus_source=source if ours is None else before["consensusSource"],
        files=[_named(file) for file in files if file.may_be_public],
        withheld=[_named(file) for file in files if not file.may_be_public],
        processing_result=ProcessingResult.of(errors=bool(errors), warnings=bool(warnings)),
        errors=errors,
        warnings=warnings,
        screened=bool(before.get("screened")),
        provenance=provenance,
    )
    return ProcessedVersion(body, errors, warnings, data, files)


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    merged = {key: _one_of_both(ours.get(key) or {}, theirs.get(key) or {}) for key in PARTS_OF_SEQUENCES}
    metadata = dict(ours.get("metadata") or {})
    for name, value in (theirs.get("metadata") or {}).items():
        if value is not None or name not in metadata:
            metadata[name] = value
    return {**theirs, **merged, "metadata": metadata}


def _one_of_both(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: theirs.get(name) or ours.get(name, theirs.get(name)) for name in {**ours, **theirs}}


def _named(file: StagedFile) -> tuple[str, str, int, str]:
    return file.category, file.name, file.size, file.sha256


def _file_json(file: StagedFile) -> dict[str, Any]:
    return {
        "fileId": file.file_id or str(uuid.uuid4()),
        "category": str(file.category),
        "name": file.name,
        "size": file.size,
        "sha256": file.sha256,
        "key": file.stored.key,
        "versionId": file.stored.version_id,
    }
