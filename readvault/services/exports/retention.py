"""How long exports and parts are kept, and how what nobody needs any more leaves the bucket.

Everything below `exports/` is made of what is public and can be made again, so the collector of garbage
leaves it alone and this is all that looks after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import batched

from sqlalchemy import and_, delete, exists, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import SiloExport, SiloExportFile, SiloExportMember, SiloPart
from readvault.domain.exports import ROOT, State, Why, folder
from readvault.ports import ListedVersion
from readvault.services.exports import building
from readvault.services.house import House

PAGE = 200
DAY = 86_400.0
PART_KEPT = 7 * DAY
"""Seconds that a part is kept that no export has: what was suppressed may come back, and a builder may have died."""
STRAY_AFTER = DAY
"""Seconds after which an object that no row knows is swept: a builder notes what it stores within moments."""


def clear(house: House, organism: str, export_id: str, why: Why) -> None:
    """Give up an export that is not ready: its files go, then its builder has ended."""
    remove_files(house, organism, export_id)
    building.end(house, export_id, why)


def remove_files(house: House, organism: str, export_id: str) -> None:
    """Delete whatever lies in the folder of an export."""
    for each in house.store.walk(folder(organism, export_id)):
        house.store.delete(each.stored)


def tidy(house: House, organism: str | None = None) -> int:
    """Retire exports beyond the newest ones, forget parts that none has, sweep the bucket; how many objects went.

    `storage.silo_exports_kept` exports of each organism stay. Call it as often as you like.
    """
    with house.sessions.begin() as session:
        building.give_up_dead(session, organism)
        for name in _organisms(session, organism):
            _retire(session, name, house.settings.storage.silo_exports_kept)
    _forget_parts(house)
    swept = _sweep(house, f"{ROOT}/" if organism is None else f"{ROOT}/{organism}/")
    _forget_dropped(house)
    return swept


def _organisms(session: Session, organism: str | None) -> list[str]:
    if organism is not None:
        return [organism]
    ready = col(SiloExport.state) == State.READY.value
    return sorted(session.execute(select(col(SiloExport.organism)).where(ready).distinct()).scalars())


def _retire(session: Session, organism: str, kept: int) -> None:
    ready = (col(SiloExport.organism) == organism, col(SiloExport.state) == State.READY.value)
    newest_first = (col(SiloExport.ready_at).desc(), col(SiloExport.id))
    older = select(col(SiloExport.id)).where(*ready).order_by(*newest_first).offset(kept).limit(PAGE)
    ids = list(session.execute(older).scalars())
    at = clock.read(session)
    # Locked by ID, as an erasure does.
    mine = select(SiloExport).where(col(SiloExport.id).in_(ids), *ready).order_by(col(SiloExport.id))
    for row in session.execute(mine.with_for_update()).scalars():
        row.state, row.why, row.dropped_at = State.DROPPED.value, Why.RETIRED.value, at


def _forget_parts(house: House) -> None:
    member, standing = aliased(SiloExportMember), aliased(SiloExport)
    in_use = (
        exists()
        .where(
            col(member.accession) == col(SiloPart.accession),
            col(member.version) == col(SiloPart.version),
            col(member.recipe) == col(SiloPart.recipe),
            col(standing.id) == col(member.export_id),
            col(standing.state) != State.DROPPED.value,
        )
        .correlate(SiloPart)
    )
    last = 0
    while True:
        with house.sessions.begin() as session:
            old = col(SiloPart.made_at) < clock.read(session) - PART_KEPT
            query = select(col(SiloPart.id)).where(old, col(SiloPart.id) > last, ~in_use)
            page = list(session.execute(query.order_by(col(SiloPart.id)).limit(PAGE)).scalars())
            gone = delete(SiloPart).where(col(SiloPart.id).in_(page))
            session.execute(gone.execution_options(synchronize_session=False))
        if not page:
            return
        last = page[-1] or 0


def _sweep(house: House, prefix: str) -> int:
    with house.sessions.read() as session:
        now = clock.read(session)
    swept = 0
    for page in batched(house.store.walk(prefix), PAGE):
        with house.sessions.read() as session:
            unwanted = _unwanted(session, page, now, house.settings.urls.download)
        for each in unwanted:
            swept += house.store.delete(each.stored)
    return swept


def _unwanted(session: Session, page: Sequence[ListedVersion], now: float, links_live: float) -> list[ListedVersion]:
    """Those that no row stands for, and the files of exports that were dropped when no link to them lives any more."""
    keys = [each.stored.key for each in page]
    parts = select(col(SiloPart.key), col(SiloPart.version_id)).where(col(SiloPart.key).in_(keys))
    pins = {(key, version_id) for key, version_id in session.execute(parts)}
    files = select(col(SiloExportFile.key), col(SiloExportFile.version_id)).where(col(SiloExportFile.key).in_(keys))
    pins |= {(key, version_id) for key, version_id in session.execute(files)}
    ids = {_folder_of(key) for key in keys}
    exports = select(SiloExport).where(col(SiloExport.id).in_(ids))
    known = {row.id: row for row in session.execute(exports).scalars()}
    found: list[ListedVersion] = []
    for each in page:
        row = known.get(_folder_of(each.stored.key))
        if row is not None and row.state == State.BUILDING.value:
            continue
        if row is not None and row.state == State.DROPPED.value:
            if (row.dropped_at or 0.0) < now - links_live:
                found.append(each)
        elif (each.stored.key, each.stored.version_id) not in pins and each.modified_at < now - STRAY_AFTER:
            found.append(each)
    return found


def _folder_of(key: str) -> str:
    """The ID of the export that a key belongs to, `parts` for those of parts."""
    pieces = key.split("/")
    return pieces[2] if len(pieces) > 2 else ""


def _forget_dropped(house: House) -> None:
    """Of exports that were dropped long ago the row alone stays."""
    with house.sessions.begin() as session:
        long_ago = and_(
            col(SiloExport.state) == State.DROPPED.value, col(SiloExport.dropped_at) < clock.read(session) - PART_KEPT
        )
        for table in (SiloExportMember, SiloExportFile):
            some = select(col(SiloExport.id)).where(
                long_ago, exists().where(col(table.export_id) == col(SiloExport.id)).correlate(SiloExport)
            )
            ids = list(session.execute(some.limit(PAGE)).scalars())
            gone = delete(table).where(col(table.export_id).in_(ids))
            session.execute(gone.execution_options(synchronize_session=False))
