"""Entries, jobs and results, put into the database directly: where a test of jobs and review begins."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from dataclasses import replace
from typing import Any

from sqlmodel import col, select

from readvault.db import clock
from readvault.db.tables import (
    AuditEntry,
    DataUseTerms,
    EntryFile,
    EntryVersion,
    Group,
    GroupMember,
    Job,
    Manifest,
    UploadedFile,
)
from readvault.domain import manifest
from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, ProcessingResult
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.jobs import Claim, ProcessedVersion, StagedFile

ORGANISM = "sars-cov-2"
READY = frozenset({ORGANISM})
WARNING = Annotation(Reason.LOW_DEPTH, "The depth is low.", (Field(FieldType.FILE, "rawReads"),))
ERROR = Annotation(Reason.NO_READS, "secret-sample-name.fastq has no reads.", file="secret-sample-name.fastq")
_numbers = itertools.count(1)


def group(house: House, *members: str) -> int:
    """A group with these members."""
    with house.sessions.begin() as session:
        row = Group(
            name="Group",
            institution="Institution",
            address={"line1": "Street", "city": "City", "postalCode": "4000", "country": "Country"},
            contact_email="group@example.org",
            created_at=clock.read(session),
        )
        session.add(row)
        session.flush()
        assert row.id is not None
        session.add_all(GroupMember(group_id=row.id, user_name=member) for member in members)
        return row.id


def entry(
    house: House, group_id: int, *, files: tuple[bytes, ...] = (b"reads",), **changes: Any
) -> tuple[AccessionVersion, str]:
    """A received entry with sealed files, and the ID of its processing job."""
    name = AccessionVersion(changes.pop("accession", f"LOC_{next(_numbers):06}"), changes.pop("version", 1))
    job_id = str(uuid.uuid4())
    with house.sessions.begin() as session:
        at = clock.read(session)
        columns: dict[str, Any] = {
            "organism": ORGANISM,
            "group_id": group_id,
            "submission_id": f"sample-{name}",
            "submitter": "alice",
            "submitted_at": at,
            "submitted_metadata": {"date": "2020-01-01"},
            "submitted_sequences": {},
        }
        version = EntryVersion(accession=name.accession, version=name.version, **(columns | changes))
        session.add(version)
        session.flush()
        if name.version == 1:
            terms = {"terms_type": version.terms_type, "restricted_until": version.restricted_until}
            session.add(DataUseTerms(accession=name.accession, user_name="alice", changed_at=at, **terms))
        for position, content in enumerate(files):
            file_id = _sealed_file(house, session, group_id, content, at)
            label = f"reads_{position}.fastq"
            file = EntryFile(accession=name.accession, version=name.version, category="rawReads", name=label,
                             position=position, file_id=file_id)  # fmt: skip
            session.add(file)
        session.add(
            Job(id=job_id, kind=JobKind.PROCESS_SUBMISSION.value, organism=changes.get("organism", ORGANISM),
                accession=name.accession, version=name.version, pipeline_version=1, created_at=at, not_before=at)
        )  # fmt: skip
    return name, job_id


def _sealed_file(house: House, session: Any, group_id: int, content: bytes, at: float) -> str:
    file_id = str(uuid.uuid4())
    stored = house.store.write(f"incoming/batch/{file_id}", content)  # type: ignore[attr-defined]
    session.add(
        UploadedFile(id=file_id, batch_id="batch", group_id=group_id, uploader="alice", key=stored.key,
                     requested_at=at, expires_at=at + 3600, sealed_at=at, version_id=stored.version_id,
                     size=stored.size, declared_sha256=hashlib.sha256(content).hexdigest())
    )  # fmt: skip
    session.flush()
    return file_id


def claimed(house: House, job_id: str, worker: str = "worker") -> Claim:
    """The job, claimed."""
    claim = jobs.claim(house, job_id, worker, READY)
    assert claim is not None
    return claim


def result(
    house: House,
    claim: Claim,
    *,
    text: bytes = b">main\nACGT\n",
    errors: tuple[Annotation, ...] = (),
    warnings: tuple[Annotation, ...] = (),
    reads: bytes | None = None,
    screened: bool = True,
) -> ProcessedVersion:
    """What processing made: a consensus, perhaps reads, put into the vault."""
    contents = {("consensus", "consensus.fasta"): text}
    if reads is not None:
        contents["dehumanizedReads", "dehumanized.fastq.gz"] = reads
    files = tuple(_staged(house, claim, *place, content) for place, content in contents.items())
    body = manifest.build(
        claim.accession_version,
        organism=claim.organism,
        pipeline_version=claim.pipeline_version,
        metadata={"date": "2020-01-01"},
        sequences={"main": "ACGT"},
        consensus_source="reads",
        files=[(f.category, f.name, f.size, f.sha256) for f in files],
        processing_result=ProcessingResult.of(errors=bool(errors), warnings=bool(warnings)),
        errors=errors,
        warnings=warnings,
        screened=screened,
        provenance={"tools": {"minimap2": "2.31"}, "parameters": {}, "inputs": []},
    )
    data = {"metadata": {"date": "2020-01-01"}, "unalignedNucleotideSequences": {"main": "ACGT"}}
    return ProcessedVersion(body, errors, warnings, data, files)


def _staged(house: House, claim: Claim, category: str, name: str, content: bytes) -> StagedFile:
    sha256 = hashlib.sha256(content).hexdigest()
    key = f"vault/{claim.group_id}/{sha256}"
    stored = jobs.stored(house, claim, sha256)
    if stored is None:
        stored = house.store.write(key, content)  # type: ignore[attr-defined]
    return StagedFile(category, name, len(content), sha256, stored)


def processed(house: House, group_id: int, **changes: Any) -> tuple[AccessionVersion, str]:
    """An entry that was processed, and its manifest digest. Takes the arguments of `entry` and `result`."""
    of_result = {key: changes.pop(key) for key in ("text", "errors", "warnings", "reads") if key in changes}
    name, job_id = entry(house, group_id, **changes)
    claim = claimed(house, job_id)
    return name, jobs.register(house, claim, result(house, claim, **of_result))


def of_next_pipeline(house: House, version: int = 2, **rules: Any) -> House:
    """The same house whose organism's file has got pipeline version 2, and these rules of reprocessing."""
    old = house.organisms[ORGANISM]
    changed = old.pipeline.reprocessing.model_copy(update=rules)
    pipeline = old.pipeline.model_copy(update={"version": version, "reprocessing": changed})
    new = old.model_copy(update={"pipeline": pipeline})
    return replace(house, organisms={ORGANISM: new})


def job(house: House, job_id: str) -> Job:
    """The job's row as it is now."""
    with house.sessions.read() as session:
        return session.get_one(Job, job_id)


def change(house: House, job_id: str, **columns: Any) -> None:
    """Change the job behind everybody's back."""
    with house.sessions.begin() as session:
        row = session.get_one(Job, job_id)
        for column, value in columns.items():
            setattr(row, column, value)


def let_lease_run_out(house: House, job_id: str) -> None:
    """The job's worker has not renewed its lease in time."""
    change(house, job_id, lease_until=job(house, job_id).lease_until - 10_000)  # type: ignore[operator]


def make_due(house: House, job_id: str) -> None:
    """Nothing more to wait for."""
    change(house, job_id, not_before=0.0)


def manifests(house: House, name: AccessionVersion) -> list[Manifest]:
    """All manifests of an accession version, oldest first."""
    with house.sessions.read() as session:
        query = select(Manifest).where(Manifest.accession == name.accession, Manifest.version == name.version)
        return list(session.exec(query.order_by(col(Manifest.id))))


def audit_log(house: House) -> list[AuditEntry]:
    """The audit log, oldest first."""
    with house.sessions.read() as session:
        return list(session.exec(select(AuditEntry).order_by(col(AuditEntry.id))))
