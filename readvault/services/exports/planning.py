"""Which accession versions an export has, and of what their lines are made: known before a byte is moved."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import batched

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, delete, exists, func, insert, or_, select, tuple_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from readvault.db.erased import is_tombstone
from readvault.db.names import among
from readvault.db.tables import EntryVersion, Manifest, SiloExportMember, SiloPart, Withholding
from readvault.db.upsert import columns_of
from readvault.domain import manifest as manifests
from readvault.domain.exports import Genome
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.silo_columns import Column, spliced
from readvault.services.entries.visibility import is_listed
from readvault.services.exports.building import held
from readvault.services.house import House
from readvault.services.release.released_data import Released, released

CATEGORY = "siloReads"
FORMAT = 1
"""Of what stands in a part; another one has all parts made anew."""
PAGE = 200
LATEST = "LATEST_VERSION"


@dataclass(frozen=True, slots=True)
class Sample:
    """An accession version on its way into an export, and what is made of its reads."""

    name: AccessionVersion
    manifest_id: int
    metadata: bytes
    recipe: str


@dataclass(slots=True)
class Plan:
    """What the walk over all released entries found. Every count is of accession versions."""

    without_reads: int = 0
    other_reference: int = 0
    unfit: Counter[str] = field(default_factory=Counter)
    """Values that don't fit their column and are null, by column."""


def plan(house: House, organism: str, export_id: str, columns: Sequence[Column], genome: Genome) -> Plan:
    """Write down what an export is made of: the newest public version of each accession, if it has public reads.

    What was made with another reference is left out, as SILO would refuse it, and all the rest with it.
    """
    made = Plan()
    for page in batched(_latest(house, organism), PAGE):
        samples: list[Sample] = []
        for entry in page:
            sample = sample_of(entry, columns, genome)
            if sample is None:
                made.without_reads += 1
                continue
            samples.append(sample)
            made.unfit.update(spliced(columns, metadata_of(entry))[1])
        with house.sessions.read() as session:
            elsewhere = _of_other_references(session, samples, genome)
        made.other_reference += len(elsewhere)
        with house.sessions.begin() as session:
            held(session, export_id)
            rows = [
                {"export_id": export_id, "accession": each.name.accession, "version": each.name.version,
                 "manifest_id": each.manifest_id, "recipe": each.recipe}
                for each in samples if each.name not in elsewhere
            ]  # fmt: skip
            if rows:
                session.connection().execute(insert(columns_of(SiloExportMember)), rows)
    return made


def sample_of(entry: Released, columns: Sequence[Column], genome: Genome) -> Sample | None:
    """What is made of an entry's reads, or None where no reads of it are public."""
    file = next((file for file in entry.files if file.category == CATEGORY), None)
    if file is None:
        return None
    metadata, _ = spliced(columns, metadata_of(entry))
    recipe = {
        "format": FORMAT,
        "accessionVersion": str(entry.name),
        "reads": file.sha256,
        "reference": genome.sha256,
        "keys": genome.keys,
        "metadata": metadata.decode("utf-8"),
    }
    return Sample(entry.name, entry.manifest_id, metadata, manifests.digest(manifests.canonical(recipe)))


def metadata_of(entry: Released) -> dict[str, object]:
    """All that is public of an entry and may fill a column."""
    return {**(entry.processed_data.get("metadata") or {}), **entry.external_metadata, **entry.facts()}


def samples(
    house: House, organism: str, names: Sequence[AccessionVersion], columns: Sequence[Column], genome: Genome
) -> dict[AccessionVersion, Sample]:
    """These accession versions as they are now; what has no public reads any more is absent."""
    only = among(EntryVersion, names)
    found = (sample_of(entry, columns, genome) for entry in released(house, organism, only=only, sequences=False))
    return {each.name: each for each in found if each is not None}


def _latest(house: House, organism: str) -> Iterator[Released]:
    for entry in released(house, organism, sequences=False):
        if entry.version_status == LATEST and not entry.is_revocation:
            yield entry


def _of_other_references(session: Session, samples: Iterable[Sample], genome: Genome) -> set[AccessionVersion]:
    names = {each.manifest_id: each.name for each in samples}
    bodies = select(col(Manifest.id), col(Manifest.body)).where(col(Manifest.id).in_(names))
    return {
        names[number or 0]
        for number, body in session.execute(bodies)
        if (json.loads(body).get("provenance") or {}).get("referenceSha256") != genome.sha256
    }


def members(house: House, export_id: str) -> Iterator[list[SiloExportMember]]:
    """The accession versions of an export, in their order, page by page."""
    place = (col(SiloExportMember.accession), col(SiloExportMember.version))
    last = ("", 0)
    while True:
        with house.sessions.read() as session:
            query = select(SiloExportMember).where(col(SiloExportMember.export_id) == export_id, tuple_(*place) > last)
            page = list(session.execute(query.order_by(*place).limit(PAGE)).scalars())
        if not page:
            return
        yield page
        last = (page[-1].accession, page[-1].version)


def content_of(house: House, export_id: str, engine: dict[str, bytes]) -> str:
    """SHA-256 of what an export is made of: equal ones have equal reads and settings."""
    content = hashlib.sha256()
    for name in sorted(engine):
        content.update(f"{name} {hashlib.sha256(engine[name]).hexdigest()}\n".encode())
    for page in members(house, export_id):
        for each in page:
            content.update(f"{each.accession}.{each.version} {each.recipe}\n".encode())
    return content.hexdigest()


def closed(session: Session, export_id: str) -> list[AccessionVersion]:
    """What an export has that is not for everybody (any more)."""
    mine = SiloExportMember
    entry = and_(col(EntryVersion.accession) == col(mine.accession), col(EntryVersion.version) == col(mine.version))
    query = (
        select(col(mine.accession), col(mine.version))
        .join(EntryVersion, entry)
        .where(
            col(mine.export_id) == export_id,
            or_(~is_listed(), is_tombstone(), ~col(EntryVersion.released), is_withheld(col(mine.manifest_id))),
        )
    )
    return [AccessionVersion(accession, version) for accession, version in session.execute(query)]


def drop_closed(session: Session, export_id: str) -> None:
    """Take out of an export what is not for everybody (any more). Nothing of it may lie in the bucket by then."""
    mine = SiloExportMember
    for page in batched(closed(session, export_id), PAGE):
        gone = delete(mine).where(col(mine.export_id) == export_id, among(mine, page))
        session.execute(gone.execution_options(synchronize_session=False))


def is_withheld(manifest_id: SQLColumnExpression[int]) -> ColumnElement[bool]:
    """SQL: whether the reads of this result are withheld."""
    row, newer = aliased(Withholding), aliased(Withholding)
    later = exists().where(col(newer.manifest_id) == col(row.manifest_id), col(newer.id) > col(row.id))
    return exists().where(col(row.manifest_id) == manifest_id, col(row.withheld), ~later)


def compared(session: Session, export_id: str, before: str | None) -> dict[str, int]:
    """How many samples are the same as in another export, new, replaced by other lines, or dropped."""
    mine, theirs = aliased(SiloExportMember), aliased(SiloExportMember)

    def count(one: type[SiloExportMember], of: str, *conditions: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(one).where(col(one.export_id) == of, *conditions)
        return session.scalar(query) or 0

    total = count(mine, export_id)
    if before is None:
        return {"samples": total, "reused": 0, "new": total, "replaced": 0, "dropped": 0}
    there = exists().where(col(theirs.export_id) == before, col(theirs.accession) == col(mine.accession))
    same = there.where(col(theirs.version) == col(mine.version), col(theirs.recipe) == col(mine.recipe))
    here = exists().where(col(mine.export_id) == export_id, col(mine.accession) == col(theirs.accession))
    reused, known = count(mine, export_id, same), count(mine, export_id, there)
    dropped = count(theirs, before, ~here)
    return {"samples": total, "reused": reused, "new": total - known, "replaced": known - reused, "dropped": dropped}


def part_of(session: Session, member: SiloExportMember) -> SiloPart | None:
    """The part that was made already of what a member is made of."""
    return session.execute(
        select(SiloPart).where(
            col(SiloPart.accession) == member.accession,
            col(SiloPart.version) == member.version,
            col(SiloPart.recipe) == member.recipe,
        )
    ).scalar_one_or_none()
