"""Whose reads are withheld: those of published results in which a newer host index has found human reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import func, select
from sqlmodel import Session, col

from readvault.db.tables import Withholding
from readvault.domain.errors import Gone

PAGE = 500


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why nobody but the group and maintainers gets the reads of a result, who says so, and since when."""

    reason: str
    actor: str
    at: float


def newest(session: Session, manifest_ids: Iterable[int]) -> dict[int, Withholding]:
    """The row that holds for each of these results; those that nobody ever withheld are absent."""
    found: dict[int, Withholding] = {}
    for page in batched(sorted(set(manifest_ids)), PAGE):
        last = (
            select(func.max(col(Withholding.id)))
            .where(col(Withholding.manifest_id).in_(page))
            .group_by(col(Withholding.manifest_id))
        )
        rows = session.execute(select(Withholding).where(col(Withholding.id).in_(last))).scalars()
        found |= {row.manifest_id: row for row in rows}
    return found


def withheld_among(session: Session, manifest_ids: Iterable[int]) -> dict[int, Withheld]:
    """Those of these results whose reads are withheld."""
    rows = newest(session, manifest_ids)
    return {number: Withheld(row.reason, row.actor, row.at) for number, row in rows.items() if row.withheld}


def refuse_withheld(session: Session, manifest_id: int) -> None:
    """Raise Gone with the reason when the reads of this result are withheld."""
    found = withheld_among(session, [manifest_id]).get(manifest_id)
    if found is not None:
        raise Gone(f"These reads are withheld: {found.reason}")
