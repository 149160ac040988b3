"""Files that came through drop links and that no entry has yet: the group sees them and may discard some."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlmodel import col

from readvault.db import audit, clock
from readvault.db.tables import DropLink, DroppedFile, UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, NotFound
from readvault.services.authorization import Action, authorize
from readvault.services.drops import arrivals
from readvault.services.drops.announcing import CLAIMED, DISCARDED, OPEN, UNCLAIMED
from readvault.services.drops.links import refuse_when_off
from readvault.services.house import House

PAGE = 200


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """A file as its group sees it. `sha256` is what the holder declared; we compute it when an entry is processed."""

    object_name: str
    name: str
    category: str | None
    link_id: str
    link_label: str
    size: int
    sha256: str | None
    arrived_at: float
    expires_at: float


def unclaimed_files(house: House, actor: Actor | None, group_id: int, after: str = "") -> list[Unclaimed]:
    """One page of a group's unclaimed files, by object name; the next one comes `after` the last."""
    refuse_when_off(house)
    with house.sessions.read() as session:
        authorize(session, actor, Action.READ_DROPPED, group_id=group_id)
    if not after:
        arrivals.look_quietly(house, col(DroppedFile.group_id) == group_id)
    row, link, file = DroppedFile, DropLink, UploadedFile
    with house.sessions.read() as session:
        authorize(session, actor, Action.READ_DROPPED, group_id=group_id)
        query = (
            select(row, col(link.label), col(file.declared_sha256), col(file.expires_at))
            .join(link, col(link.id) == col(row.link_id))
            .join(file, col(file.id) == col(row.file_id))
            .where(col(row.group_id) == group_id, col(row.state) == UNCLAIMED, col(row.object_name) > after)
            .where(col(file.expires_at) > clock.now())
            .order_by(col(row.object_name))
            .limit(PAGE)
        )
        return [
            Unclaimed(
                object_name=dropped.object_name,
                name=dropped.label,
                category=dropped.category,
                link_id=dropped.link_id,
                link_label=label,
                size=dropped.size or 0,
                sha256=sha256,
                arrived_at=dropped.arrived_at or 0.0,
                expires_at=expires_at,
            )
            for dropped, label, sha256, expires_at in session.execute(query)
        ]


def discard(house: House, actor: Actor | None, group_id: int, object_name: str) -> None:
    """Give up a file that no entry has: its place in the group's quota is free at once, its bytes go as garbage.

    Raises NotFound for an unknown and for a foreign one, Conflict for one that an entry has.
    """
    refuse_when_off(house)
    with house.sessions.begin() as session:
        authorize(session, actor, Action.READ_DROPPED, group_id=group_id)
        assert actor is not None
        row = session.get(DroppedFile, object_name, with_for_update=True)
        if row is None or row.group_id != group_id:
            raise NotFound("There is no such file.")
        if row.state == CLAIMED:
            raise Conflict("This file is part of an entry.")
        if row.state not in (OPEN, UNCLAIMED):
            return
        now = clock.read(session)
        row.state, row.ended_at = DISCARDED, now
        # The row stays: its signed URL may still be used, and the garbage collector must know the key.
        file = session.get(UploadedFile, row.file_id, with_for_update=True)
        if file is not None:
            file.expires_at = min(file.expires_at, now)
        audit.append(session, actor.name, "discard dropped file", f"dropped file {object_name}", {"group": group_id})
