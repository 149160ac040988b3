"""Results of two pipeline versions of one released entry: what a maintainer compares."""

from __future__ import annotations

import gzip
import uuid
from dataclasses import replace
from typing import Any

from sqlmodel import select

from readvault.db import clock
from readvault.db.tables import ComparedResult, Job
from readvault.domain import manifest
from readvault.domain.annotations import Annotation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, ProcessingResult
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.jobs import Claim, ProcessedVersion
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE
from tests.integration.services import scenes

OLD = "ACGTTGCAGGATCCATTGCA"
NEW = "ACGTTGCARGATCCATTNNN"
_HEADER = "##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def vcf(*variants: tuple[int, str, str, float]) -> bytes:
    """A packed VCF of position, reference, alternative and frequency."""
    lines = [f"main\t{at}\t.\t{ref}\t{alt}\t99.0\tPASS\tDP=100;AF={share}\n" for at, ref, alt, share in variants]
    return gzip.compress((_HEADER + "".join(lines)).encode(), mtime=0)


def result(
    house: House,
    claim: Claim,
    sequence: str,
    variants: bytes,
    *,
    breadth: float,
    warnings: tuple[Annotation, ...] = (),
    withheld: tuple[str, ...] = (),
    fasta: bytes | None = None,
    **metadata: Any,
) -> ProcessedVersion:
    """A result with a consensus, variants and a breadth of coverage."""
    name = claim.accession_version
    contents = {
        ("consensus", "consensus.fasta"): fasta or f">{name}\n{sequence}\n".encode(),
        ("variants", "variants.vcf.gz"): variants,
        ("variants", "variants.vcf.gz.tbi"): b"an index",
    }
    files = tuple(
        replace(scenes._staged(house, claim, *place, content), may_be_public=place[0] not in withheld)
        for place, content in contents.items()
    )
    listed = [(file.category, file.name, file.size, file.sha256) for file in files]
    made = {"date": "2020-01-01", "breadthOfCoverage": breadth, "depthOfCoverage": 800.4, **metadata}
    body = manifest.build(
        name,
        organism=claim.organism,
        pipeline_version=claim.pipeline_version,
        metadata=made,
        sequences={"main": sequence},
        consensus_source="reads",
        files=[each for each in listed if each[0] not in withheld],
        withheld=[each for each in listed if each[0] in withheld],
        processing_result=ProcessingResult.of(errors=False, warnings=bool(warnings)),
        errors=(),
        warnings=warnings,
        screened=True,
        provenance={"tools": {}, "parameters": {}, "inputs": []},
    )
    data = {
        "metadata": made,
        "unalignedNucleotideSequences": {"main": sequence},
        "alignedNucleotideSequences": {"main": sequence},
        "nucleotideInsertions": {"main": []},
    }
    return ProcessedVersion(body, (), warnings, data, files)


def released(house: House, group_id: int, **changes: Any) -> AccessionVersion:
    """An entry that was released with pipeline version 1."""
    name, job_id = scenes.entry(house, group_id, **changes)
    claim = scenes.claimed(house, job_id)
    variants = vcf((3, "G", "T", 0.9), (5, "T", "C", 0.4), (9, "G", "A", 0.5))
    jobs.register(house, claim, result(house, claim, OLD, variants, breadth=0.98))
    approve(house, ALICE, scenes.ORGANISM, scope=Scope.ALL, accession_versions=[(name, None)])
    return name


def processed_again(
    house: House,
    name: AccessionVersion,
    *,
    breadth: float = 0.6,
    sequence: str = NEW,
    variants: bytes | None = None,
    order: int | None = None,
    **changes: Any,
) -> int:
    """The entry with a result of pipeline version 2, which waits when its breadth is below; the comparison's ID."""
    newer = scenes.of_next_pipeline(house)
    job_id = str(uuid.uuid4())
    with newer.sessions.begin() as session:
        at = clock.read(session)
        session.add(
            Job(id=job_id, kind=JobKind.PROCESS_SUBMISSION.value, organism=scenes.ORGANISM, accession=name.accession,
                version=name.version, pipeline_version=2, created_at=at, not_before=at, reprocessing_id=order)
        )  # fmt: skip
    claim = scenes.claimed(newer, job_id)
    called = variants or vcf((3, "G", "T", 0.91), (9, "G", "A", 0.75), (12, "C", "CAA", 1.0))
    jobs.register(newer, claim, result(newer, claim, sequence, called, breadth=breadth, **changes))
    with house.sessions.read() as session:
        query = select(ComparedResult.id).where(ComparedResult.accession == name.accession)
        found = session.exec(query).one()
    assert found is not None
    return found
