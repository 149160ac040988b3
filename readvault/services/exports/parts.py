"""Parts: the lines of one accession version with its metadata, made once and kept for the next exports.

A part lies under its own SHA-256 and has a row once it is stored, so a builder that is killed leaves
what it made to the next one. What can't be read again is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard
from sqlalchemy import delete, select
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import ManifestFile, SiloExportMember, SiloPart, StoredObject
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.errors import BytesLost, Damaged, LeaseLost, ProcessingFailure
from readvault.domain.exports import Genome, parts_folder
from readvault.domain.silo_columns import Column
from readvault.domain.silo_lines import splice, whole_lines
from readvault.failpoints import failpoint
from readvault.ports import StoredVersion
from readvault.services.entries.giving import refuse_any_damaged
from readvault.services.exports import planning
from readvault.services.exports.building import held
from readvault.services.exports.planning import Sample
from readvault.services.house import House

logger = logging.getLogger(__name__)

LEVEL = 3
FRAME_BYTES = 4 << 20
"""Of lines in a frame: SILO and `readvault query` read frame by frame."""
SMALL_METADATA, LEAST_BYTES = 2_000, 1 << 16
"""Bytes of metadata up to which whole frames are spliced at once, and of lines that are at least."""
_STEP = "export"


class LeftOut(Exception):
    """The reads of an accession version can't be in an export, for a reason that the message tells."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part on the local disk. `reads` counts lines."""

    path: Path
    reads: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes and fetches the parts of one export."""

    house: House
    organism: str
    export_id: str
    columns: tuple[Column, ...]
    genome: Genome
    folder: Path

    def kept(self, member: SiloExportMember) -> Part | None:
        """The part of a member as it was made before, read from the bucket; None where it has to be made."""
        with self.house.sessions.read() as session:
            row = planning.part_of(session, member)
        if row is None:
            return None
        path = self.folder / "part"
        stored = StoredVersion(row.key, row.version_id, row.size)
        try:
            if self.house.store.fetch(stored, path, expected=row.sha256) == row.sha256:
                return Part(path, row.reads, row.size, row.sha256)
        except BytesLost:
            pass
        logger.warning("a part of %s.%d can't be read again and is made anew", member.accession, member.version)
        with self.house.sessions.begin() as session:
            gone = delete(SiloPart).where(col(SiloPart.id) == row.id, col(SiloPart.key) == row.key)
            session.execute(gone.execution_options(synchronize_session=False))
        return None

    def made(self, sample: Sample) -> Part:
        """A new part of an accession version: fetched, spliced, stored, and noted as soon as it is. Raises LeftOut."""
        source = self.folder / "source"
        with self.house.sessions.read() as session:
            reads, sha256 = _reads_of(session, sample.manifest_id)
        try:
            refuse_any_damaged(self.house, [reads.key])
            intact = self.house.store.fetch(reads, source, expected=sha256) == sha256
        except (BytesLost, Damaged) as fault:
            raise LeftOut(str(fault)) from None
        if not intact:
            raise LeftOut("the stored reads have other bytes than were sealed")
        part = self.spliced(sample, source)
        source.unlink()
        key = f"{parts_folder(self.organism, sample.name)}{part.sha256}.ndjson.zst"
        stored = self.house.store.store(part.path, key, sha256=part.sha256)
        failpoint("export-part-stored")
        try:
            self._note(sample, part, stored)
        except LeaseLost:
            self.house.store.delete(stored)
            raise
        failpoint("export-part-noted")
        return part

    def spliced(self, sample: Sample, source: Path) -> Part:
        """The lines of a file with the metadata of an accession version, on the local disk. Raises LeftOut."""
        path, first = self.folder / "part", self.genome.segments[0][0]
        reads, sha256, size = 0, hashlib.sha256(), 0
        with path.open("wb") as target:
            try:
                for lines in _blocks(source, len(sample.metadata)):
                    if reads == 0:
                        self._check_keys(lines)
                    named = splice(lines, str(sample.name), sample.metadata, first)
                    size += target.write(frame := frame_of(named))
                    sha256.update(frame)
                    reads += named.count(b"\n")
                if size == 0:
                    size += target.write(frame := frame_of(b""))
                    sha256.update(frame)
            except (ValueError, zstandard.ZstdError) as fault:
                raise LeftOut(str(fault)) from None
        return Part(path, reads, size, sha256.hexdigest())

    def _check_keys(self, lines: bytes) -> None:
        keys = list(json.loads(lines[: lines.index(b"\n")]))
        if keys != ["readId", *self.genome.keys]:
            raise ValueError("their segments and genes are not those of the organism")

    def _note(self, sample: Sample, part: Part, stored: StoredVersion) -> None:
        table = columns_of(SiloPart)
        with self.house.sessions.begin() as session:
            held(session, self.export_id)
            row = {
                "organism": self.organism, "accession": sample.name.accession, "version": sample.name.version,
                "recipe": sample.recipe, "key": stored.key, "version_id": stored.version_id, "size": stored.size,
                "sha256": part.sha256, "reads": part.reads, "made_at": clock.read(session),
            }  # fmt: skip
            new = insert_into(session, table).values(row)
            place = {name: row[name] for name in ("key", "version_id", "size", "sha256", "reads", "made_at")}
            session.execute(new.on_conflict_do_update(index_elements=["accession", "version", "recipe"], set_=place))


def frame_of(lines: bytes) -> bytes:
    """A zstd frame of these lines, with their size and a checksum."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(lines)


def _blocks(source: Path, metadata: int) -> Iterator[bytes]:
    """The lines of a file, some megabytes of them at a time; fewer where each gets many bytes of metadata."""
    size = max(LEAST_BYTES, FRAME_BYTES * SMALL_METADATA // max(metadata, SMALL_METADATA))
    with source.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        with stream:
            yield from whole_lines(stream, size)


def _reads_of(session: Session, manifest_id: int) -> tuple[StoredVersion, str]:
    query = (
        select(StoredObject)
        .join(ManifestFile, col(ManifestFile.stored_object_id) == col(StoredObject.id))
        .where(col(ManifestFile.manifest_id) == manifest_id, col(ManifestFile.category) == planning.CATEGORY)
        .order_by(col(ManifestFile.name))
    )
    row = session.execute(query).scalars().first()
    if row is None:
        raise ProcessingFailure(_STEP, "a result has no reads for SILO any more")
    return StoredVersion(row.key, row.version_id, row.size), row.sha256
