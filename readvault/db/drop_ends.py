"""Drop links die with the account or the membership of who made them, in the transaction that ends it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
from sqlmodel import Session, col, select

from readvault.db import audit, clock
from readvault.db.tables import DropLink


def end_links_of(session: Session, user_name: str, group_id: int | None = None) -> Sequence[str]:
    """Revoke every link that this user made, or for this group alone; the IDs of those that were not revoked yet."""
    own = [col(DropLink.created_by) == user_name, col(DropLink.revoked_at).is_(None)]
    if group_id is not None:
        own += [col(DropLink.group_id) == group_id, ~col(DropLink.by_maintainer)]
    # Locked in the order in which the ends of files give back their bytes.
    held = session.exec(select(DropLink.id).where(*own).order_by(col(DropLink.id)).with_for_update()).all()
    mine = (col(DropLink.id).in_(held), *own)
    ended = update(DropLink).where(*mine).values(revoked_at=clock.read(session)).returning(col(DropLink.id))
    return sorted(session.execute(ended.execution_options(synchronize_session=False)).scalars())


def write_down(session: Session, actor: str, links: Sequence[str]) -> None:
    """Say in the audit log that these links ended, as part of what ended them; at the end of the transaction."""
    for link_id in links:
        audit.append(session, actor, "revoke drop link", f"drop link {link_id}", {"why": "its maker left"})
