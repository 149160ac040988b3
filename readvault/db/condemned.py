"""The guard between those who begin to refer to an object and those who delete what nothing refers to."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import batched

from sqlalchemy import delete, select
from sqlmodel import Session, col

from readvault.db.tables import CondemnedVersion
from readvault.domain.errors import Unavailable

PAGE = 500


def revive(session: Session, keys: Iterable[str]) -> None:
    """Take these keys off the list of what is to be deleted; call it in the transaction that refers to them anew.

    Raises Unavailable when the deletion of one has begun: nothing is lost, and trying again finds it
    gone or uploads it anew. Locks in the order of the keys.
    """
    for page in batched(sorted(set(keys)), PAGE):
        named = col(CondemnedVersion.key).in_(page)
        session.execute(
            delete(CondemnedVersion)
            .where(named, col(CondemnedVersion.deleting_since).is_(None))
            .execution_options(synchronize_session=False)
        )
        if session.execute(select(col(CondemnedVersion.key)).where(named).limit(1)).first() is not None:
            raise Unavailable("An object of this request is being deleted as garbage. Please try again.")
