"""A worker completes what an external pipeline sent: it computes the SHA-256 of the files and registers the version."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from sqlalchemy import delete
from sqlmodel import Session, col

from readvault.db.tables import PartialResult, UploadedFile
from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.errors import BytesLost, ProcessingFailure, ScratchFull
from readvault.domain.organism import Organism
from readvault.ports import StoredVersion
from readvault.services.entries import damage
from readvault.services.house import House
from readvault.services.processing import external_results, jobs, pipeline_versions
from readvault.services.processing.chain import THEIRS
from readvault.services.processing.external_claims import external_of
from readvault.services.processing.external_known import Sent, inputs, stored_part
from readvault.services.queue.fence import Claim
from readvault.services.queue.lease import Lease

STEP = "register-external"


def register_external(house: House, claim: Claim, lease: Lease, directory: Path) -> str:
    """Download the files one by one, compute their SHA-256, register the version; its manifest's digest.

    `directory` is the job's own scratch, with room for the largest file. A submitted file that hasn't
    the SHA-256 that was declared for it is an error of the submission. Raises ProcessingFailure when
    S3, the disk or the external pipeline's own file is at fault, and LeaseLost.
    """
    organism = house.organism(claim.organism)
    with house.sessions.read() as session:
        sent = _sent(session, claim)
        files = external_results.to_hash(session, organism, sent, claim.pipeline_version)
    hashes = {}
    for file in files:
        hashes[file.id] = _hash(house, file, directory)
        lease.check()
    jobs.record_hashes(house, claim, hashes)
    with house.sessions.read() as session:
        whole = external_results.whole_version(session, organism, claim, _with_faults(session, organism, claim, sent))
    digest = jobs.register(house, claim, whole)
    with house.sessions.begin() as session:
        session.execute(
            delete(PartialResult).where(
                col(PartialResult.accession) == claim.accession_version.accession,
                col(PartialResult.version) == claim.accession_version.version,
                col(PartialResult.pipeline_version) == claim.pipeline_version,
                col(PartialResult.source) == THEIRS,
            )
        )
    with house.sessions.read() as session:
        is_newer = claim.pipeline_version > pipeline_versions.current(session, organism)
    if is_newer:
        pipeline_versions.upgrade(house, organism.name)
    return digest


def _sent(session: Session, claim: Claim) -> Sent:
    sent = stored_part(session, claim.accession_version, claim.pipeline_version)
    if sent is None:
        raise ProcessingFailure(STEP, "what the external pipeline sent is not there any more")
    return sent


def _hash(house: House, file: UploadedFile, directory: Path) -> str:
    assert file.size is not None
    if shutil.disk_usage(directory).free < file.size:
        raise ScratchFull(STEP, f"the scratch disk is full: no room for {file.size} bytes")
    target = directory / "file"
    stored = StoredVersion(file.key, file.version_id, file.size)
    try:
        found = house.store.fetch(stored, target, expected=file.sha256 or file.declared_sha256)
    except BytesLost:
        raise damage.noticed(house, stored, file.sha256, STEP) from None
    finally:
        target.unlink(missing_ok=True)
    if file.sha256 not in (None, found):
        raise damage.noticed(house, stored, file.sha256, STEP)
    return found


def _with_faults(session: Session, organism: Organism, claim: Claim, sent: Sent) -> Sent:
    """What was sent, with an error for each submitted file that isn't what its submitter declared."""
    errors: list[Annotation] = []
    if external_of(organism).mode == "after":  # readvault's own part says so already
        return sent
    for file, label, category in inputs(session, claim.accession_version):
        if file.declared_sha256 not in (None, file.sha256):
            errors.append(
                Annotation(
                    Reason.WRONG_HASH,
                    "The uploaded bytes do not have the SHA-256 that was declared for this file."
                    " Please upload it again.",
                    (Field(FieldType.FILE, category),),
                    file=label,
                )
            )
    return replace(sent, errors=(*errors, *sent.errors)) if errors else sent
