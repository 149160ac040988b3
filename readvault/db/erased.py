"""Which object versions and accession versions were shredded, as SQL and as questions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import batched
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, exists, func, select
from sqlmodel import Session, col

from readvault.db.names import among
from readvault.db.tables import EntryVersion, ErasedObject, ErasedVersion, Erasure
from readvault.domain.errors import Gone
from readvault.domain.identifiers import AccessionVersion

PAGE = 400


def is_erased(key: SQLColumnExpression[str], version_id: SQLColumnExpression[Any]) -> ColumnElement[bool]:
    """SQL: whether the object version that these columns pin was shredded: nobody expects it any more."""
    return exists().where(
        col(ErasedObject.key) == key,
        col(ErasedObject.version_id) == func.coalesce(version_id, ""),
        col(ErasedObject.place) == "bucket",
    )


def is_tombstone() -> ColumnElement[bool]:
    """SQL: whether the accession version of the surrounding query (over EntryVersion) was shredded."""
    return (
        exists()
        .where(
            col(ErasedVersion.accession) == col(EntryVersion.accession),
            col(ErasedVersion.version) == col(EntryVersion.version),
        )
        .correlate(EntryVersion)
    )


def erased_among(session: Session, pins: Iterable[tuple[str, str | None]]) -> set[tuple[str, str | None]]:
    """Which of these (key, version ID) were shredded."""
    wanted = set(pins)
    found: set[tuple[str, str]] = set()
    for page in batched(sorted({key for key, _ in wanted}), PAGE):
        query = select(col(ErasedObject.key), col(ErasedObject.version_id))
        found |= {
            (row[0], row[1])
            for row in session.execute(
                query.where(col(ErasedObject.key).in_(page), col(ErasedObject.place) == "bucket")
            )
        }
    return {(key, version_id) for key, version_id in wanted if (key, version_id or "") in found}


def refuse_shredded(session: Session, key: str, version_id: str | None) -> None:
    """Raise Gone, with the reason, when this object version was shredded. Nobody is excepted."""
    row = session.get(ErasedObject, (key, version_id or "", "bucket"))
    if row is not None:
        raise Gone(f"This file was erased: {session.get_one(Erasure, row.erasure_id).reason}")


def tombstones(session: Session, names: Iterable[AccessionVersion]) -> dict[AccessionVersion, ErasedVersion]:
    """Those of these accession versions that were shredded, with what is left of them."""
    found: dict[AccessionVersion, ErasedVersion] = {}
    for page in batched(sorted(set(names)), PAGE):
        for row in session.execute(select(ErasedVersion).where(among(ErasedVersion, page))).scalars():
            found[AccessionVersion(row.accession, row.version)] = row
    return found


def refuse_erased(session: Session, name: AccessionVersion) -> None:
    """Raise Gone, with the maintainers' reason, when the accession version was shredded. Nobody is excepted."""
    row = session.get(ErasedVersion, (name.accession, name.version))
    if row is not None:
        raise Gone(f"{name} was erased: {row.reason}")
