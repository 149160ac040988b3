"""Which exports hold something of an accession version: what an erasure asks, and ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import batched

from sqlalchemy import delete, func, select, update
from sqlmodel import Session, col

from readvault.db.names import among
from readvault.db.tables import SiloExport, SiloExportFile, SiloExportMember, SiloPart
from readvault.domain.exports import State, Why, folder
from readvault.domain.identifiers import AccessionVersion

PAGE = 300


def holding(session: Session, names: Iterable[AccessionVersion]) -> list[SiloExport]:
    """The exports, dropped ones too, that were made or begun with one of these accession versions; by ID."""
    ids: set[str] = set()
    for page in batched(sorted(set(names)), PAGE):
        query = select(col(SiloExportMember.export_id)).where(among(SiloExportMember, page)).distinct()
        ids |= set(session.execute(query).scalars())
    found: list[SiloExport] = []
    for some in batched(sorted(ids), PAGE):
        found += session.execute(select(SiloExport).where(col(SiloExport.id).in_(some))).scalars()
    return found


def drop_erased(session: Session, names: Sequence[AccessionVersion], at: float) -> None:
    """Let nobody read an export with one of these accession versions from the commit on, nor make one of its parts.

    The files go with the erasure's other bytes. Call it before the organism's row is locked, as exports do.
    """
    ids = sorted(each.id for each in holding(session, names))
    for some in batched(ids, PAGE):
        mine = select(col(SiloExport.id)).where(col(SiloExport.id).in_(some)).order_by(col(SiloExport.id))
        session.execute(mine.with_for_update()).all()
        dropped = {"state": State.DROPPED.value, "why": Why.ERASED.value, "dropped_at": at}
        standing = (col(SiloExport.id).in_(some), col(SiloExport.state) != State.DROPPED.value)
        session.execute(
            update(SiloExport).where(*standing).values(**dropped).execution_options(synchronize_session=False)
        )
    for page in batched(names, PAGE):
        parts = delete(SiloPart).where(among(SiloPart, page))
        session.execute(parts.execution_options(synchronize_session=False))


def folders_of(session: Session, names: Iterable[AccessionVersion]) -> list[str]:
    """Where the files of the exports with these accession versions lie, or may still come to lie."""
    return [folder(each.organism, each.id) for each in holding(session, names)]


def digests(session: Session, keys: Sequence[str]) -> dict[str, str]:
    """The SHA-256 (hexadecimal) of files of exports, by key; a part has its own in its name."""
    found = {key: key.rpartition("/")[2].partition(".")[0] for key in keys if "/parts/" in key}
    files = select(col(SiloExportFile.key), col(SiloExportFile.sha256))
    for page in batched(sorted(set(keys) - found.keys()), PAGE):
        found |= {row[0]: row[1] for row in session.execute(files.where(col(SiloExportFile.key).in_(page)))}
    return found


def alive_until(session: Session, names: Iterable[AccessionVersion]) -> float:
    """Until when (seconds since 1970) somebody may still be building an export with these; 0 when nobody does."""
    return max((each.alive_until or 0.0 for each in holding(session, names)), default=0.0)


def newest_ready(session: Session, organism: str) -> SiloExport | None:
    """The export of an organism that was finished last."""
    query = select(SiloExport).where(col(SiloExport.organism) == organism, col(SiloExport.state) == State.READY.value)
    return session.execute(query.order_by(col(SiloExport.ready_at).desc(), col(SiloExport.id)).limit(1)).scalar()


def count_of(session: Session, export_id: str) -> int:
    """How many accession versions an export has."""
    mine = col(SiloExportMember.export_id) == export_id
    return session.scalar(select(func.count()).select_from(SiloExportMember).where(mine)) or 0
