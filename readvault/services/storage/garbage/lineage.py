"""Is the bucket this database's own, up to its end? After a restored backup it is not: it knows more than the rows.

What was committed after the backup looks like garbage then, and is perhaps released. The ends of the
audit log that lie in the bucket tell: each has to be a row of this database.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import batched, groupby

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db import audit, records
from readvault.db.audit import Head
from readvault.db.erased import tombstones
from readvault.db.names import among
from readvault.db.tables import AccessionCounter, AuditEntry, EntryVersion
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict
from readvault.domain.identifiers import AccessionVersion, number_of
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.storage.rebuilding.rebuild import BEGUN, ENDED
from readvault.services.storage.rebuilding.record_reading import listed, newest_documents

PAGE = 500
ACTION = "take over bucket"


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What only the bucket knew: the first such row of the audit log; and the number of the last accession."""

    unknown: Head | None
    last_number: int


def check(house: House) -> None:
    """Raise Conflict when the bucket knows of rows that this database hasn't, or a rebuild is not at its end."""
    with house.sessions.read() as session:
        rebuilds = select(col(AuditEntry.action)).where(col(AuditEntry.action).in_((BEGUN, ENDED)))
        if session.execute(rebuilds.order_by(col(AuditEntry.id).desc()).limit(1)).scalar() == BEGUN:
            raise Conflict("A rebuild was begun and is not done: call `readvault admin rebuild` again first.")
    head = unknown_head(house)
    if head is not None:
        raise Conflict(
            f"The bucket knows row {head.id} of an audit log that this database does not have: it is older than the"
            " bucket, or another one. Rebuild it, or see `readvault admin take-over-bucket`."
        )


def unknown_head(house: House) -> Head | None:
    """The first end of the audit log, since a log last began, that is in the bucket and no row of this database."""
    unknown: Head | None = None
    for page in batched(_heads(house), PAGE):
        with house.sessions.read() as session:
            query = select(col(AuditEntry.id), col(AuditEntry.sha256))
            there = {(row[0], row[1]) for row in session.execute(query.where(AuditEntry.id.in_([h.id for h in page])))}  # type: ignore[union-attr]
        for head in page:
            if head.begins:
                unknown = None
            if unknown is None and (head.id, head.sha256) not in there:
                unknown = head
    return unknown


def take_over(house: House, actor: Actor) -> TakenOver:
    """Let this database be the bucket's from now on, whatever else the bucket knows; accessions go on beyond all of it.

    For a restored backup, where a rebuild is not wanted: what was committed after it is given up, and
    its objects are garbage. Raises Forbidden for all but maintainers, and Conflict that names what was
    erased after the backup and is here again: that has to be erased again first.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
    if forgotten := sorted(_erased_and_here_again(house)):
        names = ", ".join(map(str, forgotten[:50]))
        raise Conflict(f"These were erased after the backup; erase them again first (`readvault admin shred`): {names}")
    unknown = unknown_head(house)
    last = max((number_of(name, house.settings.accession_prefix) or 0 for name in _accessions(house)), default=0)
    with house.sessions.begin() as session:
        last = _go_on_beyond(session, last)
        said = None if unknown is None else {"id": unknown.id, "sha256": unknown.sha256}
        entry = audit.append(session, actor.name, ACTION, "database", {"unknown": said, "lastNumber": last})
        audit.queue_head(session, entry, begins=True)
    return TakenOver(unknown, last)


def _heads(house: House) -> Iterator[Head]:
    for each in listed(house.store, f"{records.AUDIT}/"):
        head = audit.head_of(each.key)
        if head is not None:
            yield head


def _accessions(house: House) -> Iterator[str]:
    for folder, _ in groupby(listed(house.store, f"{records.ROOT}/"), key=lambda each: each.key.split("/")[1]):
        yield folder


def _erased_and_here_again(house: House) -> Iterator[AccessionVersion]:
    for body in newest_documents(house.store, records.ERASURES, lambda _: None):
        for page in batched(body["rows"]["erased_version"], PAGE):
            names = {AccessionVersion(row["accession"], row["version"]) for row in page}
            with house.sessions.read() as session:
                here = select(col(EntryVersion.accession), col(EntryVersion.version))
                found = {AccessionVersion(*row) for row in session.execute(here.where(among(EntryVersion, names)))}
                yield from found - tombstones(session, found).keys()


def _go_on_beyond(session: Session, last: int) -> int:
    counter = session.get(AccessionCounter, 1, with_for_update=True) or AccessionCounter(id=1, last=0)
    counter.last = max(counter.last, last)
    session.add(counter)
    return counter.last
