"""The one place where somebody is given a stored file: a pre-signed URL of the very bytes that were sealed, or 503."""

from __future__ import annotations

from collections.abc import Iterable

from sqlmodel import Session, col, select

from readvault.db.erased import refuse_shredded
from readvault.db.tables import Repair
from readvault.ports import StoredVersion
from readvault.services.entries.damage import refuse_damaged
from readvault.services.house import House


def signed_url(house: House, stored: StoredVersion, *, name: str, expires: int, head: bool = False) -> str:
    """A short-lived URL (a secret) of a pinned version, under `name`; `expires` counts seconds.

    Raises Gone when they were shredded, Damaged when they are known to be lost or altered and are not
    restored yet.
    """
    with house.sessions.read() as session:
        refuse_shredded(session, stored.key, stored.version_id)
        refuse_damaged(session, [stored.key])
        version_id = _pin_now(session, stored)
    return house.store.sign_get(stored.key, version_id, name=name, expires=expires, head=head)


def refuse_any_damaged(house: House, keys: Iterable[str]) -> None:
    """Raise Damaged when one of these files is damaged, before the first URL of many is signed."""
    with house.sessions.read() as session:
        refuse_damaged(session, list(keys))


def _pin_now(session: Session, stored: StoredVersion) -> str | None:
    """The version that stands for this one: another one since a repair, of which the caller may not know yet."""
    version_id = stored.version_id
    repairs = select(Repair).where(Repair.key == stored.key).order_by(col(Repair.id))
    for repair in session.exec(repairs):
        if repair.lost_version_id == version_id:
            version_id = repair.version_id
    return version_id
