"""Released entries with reads for SILO, for tests of exports: a few lines each, written as the pipeline's are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import zstandard

from readvault.domain import manifest
from readvault.domain.exports import Genome
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.silo_lines import FILE_NAME
from readvault.domain.status import ProcessingResult
from readvault.reads.silo.genome import genome_of
from readvault.reads.silo.lines import FrameWriter
from readvault.services.exports import exporting, reading
from readvault.services.exports.exporting import Exported
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.jobs import ProcessedVersion
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE
from tests.integration.services.scenes import ORGANISM, _staged, claimed, entry

REFERENCE = "ACGTACGTACGTACGTACGT"
"""Of the organism of `tests.houses`."""
Read = tuple[str, int]
READS: tuple[Read, ...] = (("ACGTAC", 0), ("GTTCGT", 2), ("ACGNACG", 4))
"""Sequence and 0-based offset. The second has T in place of A at position 5 (1-based)."""


def lines(reads: tuple[Read, ...] = READS, segment: str = "main") -> bytes:
    """Lines as the pipeline writes them."""
    return b"".join(
        b'{"readId":"%d",%s:{"sequence":"%s","insertions":[],"offset":%d}}\n'
        % (number, json.dumps(segment).encode(), sequence.encode(), offset)
        for number, (sequence, offset) in enumerate(reads, 1)
    )


def genome(house: House) -> Genome:
    """What the organism's lines lie on."""
    return genome_of(house.organism(ORGANISM))


def released_reads(
    house: House,
    group_id: int,
    *,
    reads: tuple[Read, ...] = READS,
    metadata: dict[str, Any] | None = None,
    segment: str = "main",
    reference: str | None = None,
    **changes: Any,
) -> AccessionVersion:
    """A released accession version with these reads. Takes the columns of an entry, too."""
    name = processed_reads(
        house, group_id, reads=reads, metadata=metadata, segment=segment, reference=reference, **changes
    )
    assert approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, None)]) == [name]
    return name


def processed_reads(
    house: House,
    group_id: int,
    *,
    reads: tuple[Read, ...] = READS,
    metadata: dict[str, Any] | None = None,
    segment: str = "main",
    reference: str | None = None,
    **changes: Any,
) -> AccessionVersion:
    """The same, not approved."""
    name, job_id = entry(house, group_id, **changes)
    claim = claimed(house, job_id)
    path = house.settings.data_dir / f"{name}.zst"
    with FrameWriter(path, frame_bytes=100) as writer:
        writer.write(lines(reads, segment))
    told = {"date": "2026-01-05", "country": "Peru"} if metadata is None else metadata
    files = (
        _staged(house, claim, "consensus", "consensus.fasta", b">main\n" + reads[-1][0].encode() + b"\n"),
        _staged(house, claim, "siloReads", FILE_NAME, path.read_bytes()),
    )
    body = manifest.build(
        claim.accession_version,
        organism=claim.organism,
        pipeline_version=claim.pipeline_version,
        metadata=told,
        sequences={"main": "ACGT"},
        consensus_source="reads",
        files=[(f.category, f.name, f.size, f.sha256) for f in files],
        processing_result=ProcessingResult.NO_ISSUES,
        errors=(),
        warnings=(),
        screened=True,
        provenance={"referenceSha256": reference or genome(house).sha256, "inputs": []},
    )
    jobs.register(house, claim, ProcessedVersion(body, (), (), {"metadata": told}, files))
    return name


def export(house: House, **options: Any) -> Exported:
    """Export the organism's reads, with a scratch folder of its own."""
    folder = house.settings.data_dir / "export-scratch"
    folder.mkdir(exist_ok=True)
    return exporting.export(house, ORGANISM, genome(house), folder, **options)


def exported_files(house: House, export_id: str = "latest") -> dict[str, bytes]:
    """The files of an export as everybody gets them."""
    found = reading.find(house, None, ORGANISM, export_id)
    versions = house.store.versions  # type: ignore[attr-defined]
    return {file.name: dict(versions[file.key])[file.version_id] for file in found.files}


def rows(house: House, export_id: str = "latest") -> list[dict[str, Any]]:
    """The lines of an export."""
    packed = exported_files(house, export_id)["reads.ndjson.zst"]
    text = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read()
    return [json.loads(line) for line in text.splitlines()]


def samples_of(house: House, export_id: str = "latest") -> list[str]:
    """The accession versions that an export has lines of."""
    return sorted({row["accessionVersion"] for row in rows(house, export_id)})


def folder_of(path: Path, house: House) -> Path:
    """Write the newest export into a folder."""
    reading.write(house, None, ORGANISM, "latest", path)
    return path
