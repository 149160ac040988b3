"""Results of unreleased entries in whose place others came long ago."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from readvault.db.tables import (
    ComparedResult,
    CurrentResult,
    EntryVersion,
    Manifest,
    ManifestFile,
    Release,
    SentBack,
)
from readvault.services.house import House

PAGE = 200
_newer = aliased(Manifest)


def drop_superseded(house: House, before: float, *, dry_run: bool) -> int:
    """Drop results that were superseded before that moment (seconds since 1970); how many.

    Only of entries that are not released: of a released version every result stays, and triggers
    see to that. Nothing can refer to a superseded result anew, so one phase is enough.
    """
    dropped, last = 0, 0
    while True:
        with house.sessions.read() as session:
            query = select(col(Manifest.id)).where(*_unwanted(before), col(Manifest.id) > last)
            page = session.execute(query.order_by(col(Manifest.id)).limit(PAGE)).scalars().all()
        if not page:
            return dropped
        last = page[-1] or 0
        if dry_run:
            dropped += len(page)
            continue
        with house.sessions.begin() as session:
            dropped += _drop(session, [number for number in page if number is not None], before)


def _unwanted(before: float) -> tuple[ColumnElement[bool], ...]:
    same = (col(EntryVersion.accession) == col(Manifest.accession), col(EntryVersion.version) == col(Manifest.version))
    return (
        col(Manifest.superseded_at) < before,
        exists().where(*same, ~col(EntryVersion.released)),
        ~exists().where(
            col(Release.accession) == col(Manifest.accession), col(Release.version) == col(Manifest.version)
        ),
        ~exists().where(col(CurrentResult.manifest_id) == col(Manifest.id)),
        # What a living result was compared with stays beside it.
        ~exists().where(
            col(ComparedResult.compared_manifest_id) == col(Manifest.id),
            col(ComparedResult.manifest_id) == col(_newer.id),
            col(_newer.superseded_at).is_(None),
        ),
    )


def _drop(session: Session, page: list[int], before: float) -> int:
    # An approval locks its entry too: the entry is released before this, or after it, never during it.
    place = (col(EntryVersion.accession), col(EntryVersion.version))
    of_page = exists().where(
        col(Manifest.accession) == place[0], col(Manifest.version) == place[1], col(Manifest.id).in_(page)
    )
    session.execute(select(*place).where(of_page).order_by(*place).with_for_update(key_share=True)).all()
    query = select(col(Manifest.id)).where(*_unwanted(before), col(Manifest.id).in_(page))
    still = list(session.execute(query).scalars())
    told = or_(col(ComparedResult.manifest_id).in_(still), col(ComparedResult.compared_manifest_id).in_(still))
    session.execute(delete(ComparedResult).where(told).execution_options(synchronize_session=False))
    for table, column in (
        (SentBack, SentBack.manifest_id),
        (ManifestFile, ManifestFile.manifest_id),
        (Manifest, Manifest.id),
    ):
        session.execute(delete(table).where(col(column).in_(still)).execution_options(synchronize_session=False))
    return len(still)
