"""All files of an export on the local disk: the parts of its samples one behind the other, and what says so."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from readvault.db.tables import SiloExportMember
from readvault.domain import manifest as manifests
from readvault.domain.errors import ProcessingFailure
from readvault.domain.exports import MANIFEST, READS, SAMPLES, Genome
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.silo_columns import Column
from readvault.services.exports import building, planning
from readvault.services.exports.engine_files import PRIMARY_KEY
from readvault.services.exports.parts import LeftOut, Maker, Part, frame_of
from readvault.services.house import House

logger = logging.getLogger(__name__)

SCHEMA = 1
Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that is to be stored. Size in bytes, SHA-256 in hexadecimal."""

    name: str
    path: Path
    size: int
    sha256: str


@dataclass(slots=True)
class Build:
    """What one builder knows of its export."""

    house: House
    organism: str
    export_id: str
    revision: int
    before: str | None
    columns: tuple[Column, ...]
    genome: Genome
    engine: dict[str, bytes]
    folder: Path
    check: Callable[[], None]
    progress: Progress
    anew: bool
    spliced: int = 0
    left_out: int = 0
    reads: int = 0


def put_together(build: Build) -> list[LocalFile]:
    """All files but the manifest, on the local disk; the reads first."""
    maker = Maker(build.house, build.organism, build.export_id, build.columns, build.genome, build.folder)
    reads_path, samples_path = build.folder / READS, build.folder / SAMPLES
    build.reads = offset = 0
    whole = hashlib.sha256()
    with reads_path.open("wb") as reads, samples_path.open("wb") as samples:
        for page in planning.members(build.house, build.export_id):
            for member in page:
                build.check()
                part = _part(build, maker, member)
                if part is None:
                    continue
                line = {
                    "accessionVersion": f"{member.accession}.{member.version}", "reads": part.reads,
                    "offset": offset, "size": part.size, "sha256": part.sha256,
                }  # fmt: skip
                samples.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
                _append(part, reads, whole)
                offset, build.reads = offset + part.size, build.reads + part.reads
                build.progress(1)
        if offset == 0:
            offset = reads.write(nothing := frame_of(b""))
            whole.update(nothing)
    if (size := reads_path.stat().st_size) != offset:
        raise ProcessingFailure("export", f"{size} bytes were put together of parts with {offset}")
    made = [LocalFile(READS, reads_path, size, whole.hexdigest()), _local(samples_path)]
    for name, content in build.engine.items():
        (build.folder / name).write_bytes(content)
        made.append(_local(build.folder / name))
    return made


def _part(build: Build, maker: Maker, member: SiloExportMember) -> Part | None:
    part = None if build.anew else maker.kept(member)
    if part is not None:
        return part
    name = AccessionVersion(member.accession, member.version)
    sample = planning.samples(build.house, build.organism, [name], build.columns, build.genome).get(name)
    if sample is None or sample.manifest_id != member.manifest_id:
        # Closed, or another result stands for it, since the plan: the next export takes what is there then.
        _forget(build, member)
        return None
    try:
        part = maker.made(sample)
    except LeftOut as fault:
        # One sample that can't be read must not keep all others from readers.
        logger.error("%s is left out of the export: %s", name, fault)
        build.left_out += 1
        _forget(build, member)
        return None
    build.spliced += 1
    if sample.recipe != member.recipe:
        _take_over(build, member, sample.recipe)
    return part


def _forget(build: Build, member: SiloExportMember) -> None:
    with build.house.sessions.begin() as session:
        building.held(session, build.export_id)
        row = session.get(SiloExportMember, (build.export_id, member.accession, member.version))
        if row is not None:
            session.delete(row)


def _take_over(build: Build, member: SiloExportMember, recipe: str) -> None:
    """The metadata changed after the plan: the export has them as they are now."""
    with build.house.sessions.begin() as session:
        building.held(session, build.export_id)
        row = session.get_one(SiloExportMember, (build.export_id, member.accession, member.version))
        row.recipe = recipe


def _append(part: Part, reads: BinaryIO, whole: Any) -> None:
    with part.path.open("rb") as file:
        while block := file.read(1 << 20):
            whole.update(block)
            reads.write(block)
    part.path.unlink()


def _local(path: Path) -> LocalFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return LocalFile(path.name, path, path.stat().st_size, digest)


def manifest_of(build: Build, files: list[LocalFile], told: dict[str, int], unfit: dict[str, int]) -> LocalFile:
    """What the export is, with the digest of each file; no clock and no key is in it."""
    body = {
        "schema": SCHEMA,
        "organism": build.organism,
        "export": build.export_id,
        "columns": [{"name": PRIMARY_KEY, "type": "string"},
                    *({"name": each.name, "type": each.type.value} for each in build.columns)],
        "segments": [{"name": name, "length": len(sequence)} for name, sequence in build.genome.segments],
        "genes": [{"name": name, "length": len(sequence)} for name, sequence in build.genome.genes],
        "referenceSha256": build.genome.sha256,
        "counts": told,
        "valuesLeftOut": dict(sorted(unfit.items())),
        "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in files],
    }  # fmt: skip
    path = build.folder / MANIFEST
    path.write_bytes(manifests.canonical(body))
    return _local(path)
