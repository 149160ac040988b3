"""What tests about drop links begin with: an instance that has them, a maker with an account, a delivered file."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from sqlalchemy import update
from sqlmodel import col, select

from readvault.config import LimitSettings
from readvault.config.drops import DropLinkSettings
from readvault.db.tables import DropLink, DroppedFile, UploadedFile, UserAccount
from readvault.domain.actor import Actor
from readvault.services.drops import announcing, links
from readvault.services.drops.links import Wish
from readvault.services.house import House
from readvault.services.uploads.answers import WantedFile
from tests.fakes import MemoryStore
from tests.houses import ALICE, MAINTAINER, group_of

ROW = {"id": "s1", "date": "2024-01-01", "platform": "ILLUMINA"}


def with_links(house: House, **rules: Any) -> House:
    """The house of an instance that has drop links."""
    chosen = house.settings.model_copy(update={"drop_links": DropLinkSettings(enabled=True, **rules)})
    return replace(house, settings=chosen)


def prepared(house: House, **rules: Any) -> tuple[House, int]:
    """Such a house, in which Alice and a maintainer have accounts, and Alice's group."""
    ready = with_links(house, **rules)
    for actor in (ALICE, MAINTAINER):
        with_account(ready, actor)
    return ready, group_of(ready, ALICE)


def with_account(house: House, actor: Actor) -> None:
    """An account in which nobody can log in: making a real password's hash takes long."""
    with house.sessions.begin() as session:
        session.add(UserAccount(name=actor.name, password_hash="", roles=sorted(actor.roles)))


def with_limits(house: House, **limits: int) -> House:
    """The house of an instance with these limits."""
    return replace(house, settings=house.settings.model_copy(update={"limits": LimitSettings(**limits)}))


def link_of(house: House, group_id: int, actor: Actor = ALICE, **wish: Any) -> tuple[str, str]:
    """A new link: its ID and its token."""
    view, token = links.make_link(house, actor, group_id, Wish(**{"label": "sequencer", "days": 7, **wish}))
    assert token is not None
    return view.id, token


def announced(house: House, token: str, body: bytes, name: str = "r1.fastq", **more: Any) -> announcing.Ticket:
    """A file of these bytes, announced with its hash."""
    wanted = WantedFile(name, len(body), hashlib.sha256(body).hexdigest(), **more)
    return announcing.announce(house, token, wanted)


def delivered(house: House, token: str, body: bytes, name: str = "r1.fastq", **more: Any) -> str:
    """A file of these bytes, delivered; its object name."""
    ticket = announced(house, token, body, name, **more)
    assert ticket.put is not None
    assert isinstance(house.store, MemoryStore)
    house.store.put(ticket.put, body)
    return ticket.object_name


def dropped(house: House, object_name: str) -> DroppedFile:
    """The row of a delivered file."""
    with house.sessions.read() as session:
        return session.get_one(DroppedFile, object_name)


def upload_of(house: House, object_name: str) -> UploadedFile:
    """Its upload."""
    with house.sessions.read() as session:
        file_id = session.get_one(DroppedFile, object_name).file_id
        return session.exec(select(UploadedFile).where(UploadedFile.id == file_id)).one()


def used(house: House, link_id: str) -> tuple[int, int]:
    """The bytes and files that a link's quota counts."""
    with house.sessions.read() as session:
        row = session.get_one(DropLink, link_id)
        return row.used_bytes, row.used_objects


def let_pass(house: House, seconds: float) -> None:
    """Everything about drop links and uploads happened so much earlier."""
    times = {
        DropLink: ("created_at", "expires_at"),
        DroppedFile: ("announced_at", "arrived_at", "ended_at", "settle_until"),
        UploadedFile: ("requested_at", "expires_at"),
    }
    with house.sessions.begin() as session:
        for table, columns in times.items():
            moved = {name: col(getattr(table, name)) - seconds for name in columns}
            session.execute(update(table).values(moved).execution_options(synchronize_session=False))
