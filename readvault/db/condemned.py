"""The guard between those who begin to refer to an object and those who delete what nothing refers to.

Whoever refers to an object anew deletes its row here, in the transaction that refers; the collector
sets `deleting_since` on the same row, in one statement that looks for references too. The row's lock
puts one before the other: either the collector finds no row, or the other one finds it being deleted.
An object without a row can't be deleted for as long as garbage has to wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import batched
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, delete, exists, func, select
from sqlmodel import Session, col

from readvault.db.tables import CondemnedVersion
from readvault.domain.errors import Unavailable

PAGE = 500
_REFUSED = "An object of this request is being deleted as garbage. Please try again."


def revive(session: Session, keys: Iterable[str]) -> None:
    """Take these keys off the list of what is to be deleted; call it in the transaction that refers to them anew.

    Raises Unavailable when the deletion of one has begun: nothing is lost, and trying again finds it
    gone or uploads it anew.
    """
    if revive_possible(session, keys):
        raise Unavailable(_REFUSED)


def revive_possible(session: Session, keys: Iterable[str]) -> set[str]:
    """Do what `revive` does for those keys for which it is possible; the others, whose deletion has begun."""
    row = CondemnedVersion
    lost: set[str] = set()
    for page in batched(sorted(set(keys)), PAGE):
        present = (col(row.key).in_(page), col(row.deleted_at).is_(None))
        # Locked in one order: two that revive the same keys don't wait for each other in a circle.
        found = (
            select(col(row.key), col(row.deleting_since)).where(*present).order_by(col(row.key), col(row.version_id))
        )
        locked = session.execute(found.with_for_update()).all()
        lost |= {key for key, deleting_since in locked if deleting_since is not None}
        if any(deleting_since is None for _, deleting_since in locked):
            undecided = delete(row).where(*present, col(row.deleting_since).is_(None))
            session.execute(undecided.execution_options(synchronize_session=False))
    return lost


def is_being_deleted(key: SQLColumnExpression[str], version_id: SQLColumnExpression[Any]) -> ColumnElement[bool]:
    """SQL: whether the deletion of the version that these columns pin has begun and its row is still to go."""
    return exists().where(
        col(CondemnedVersion.key) == key,
        col(CondemnedVersion.version_id) == func.coalesce(version_id, ""),
        col(CondemnedVersion.deleting_since).is_not(None),
        col(CondemnedVersion.deleted_at).is_(None),
    )


def refuse_deleted(session: Session, versions: Iterable[tuple[str, str | None]]) -> None:
    """Raise Unavailable when one of these (key, version ID) was deleted: it was seen before, and is gone since."""
    wanted = {(key, version_id) for key, version_id in versions if version_id is not None}
    for page in batched(sorted({key for key, _ in wanted}), PAGE):
        gone = select(col(CondemnedVersion.key), col(CondemnedVersion.version_id)).where(
            col(CondemnedVersion.key).in_(page), col(CondemnedVersion.deleting_since).is_not(None)
        )
        if wanted & {(row[0], row[1]) for row in session.execute(gone)}:
            raise Unavailable(_REFUSED)
