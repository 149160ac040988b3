"""A lost database comes back from what lies in the bucket: `readvault admin rebuild`.

It works accession by accession, a few in a transaction, and passes over what is there already, so that
it can be broken off anywhere and called again. A row of the audit log marks a database that is being
rebuilt. What can't be restored is named, never invented.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import batched

from sqlalchemy import select
from sqlmodel import Session, SQLModel, col

from readvault.db import audit, clock, records
from readvault.db.audit import Head
from readvault.db.tables import (
    AuditEntry,
    EntryVersion,
    ErasedObject,
    ErasedVersion,
    Erasure,
    Group,
    GroupMember,
    LimitOverride,
    Repair,
    Reprocessing,
    UploadedFile,
)
from readvault.db.upsert import columns_of
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict
from readvault.domain.identifiers import number_of
from readvault.domain.reprocessing import OrderState
from readvault.ports import ReadStore
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.storage.erasing import tombstoning
from readvault.services.storage.rebuilding import rebuild_end, rebuild_pins, records_back
from readvault.services.storage.rebuilding.rebuild_rows import RowsRebuild, put, there_already
from readvault.services.storage.rebuilding.record_reading import (
    AccessionRecords,
    accessions,
    documents,
    listed,
    newest_documents,
)
from readvault.services.storage.rebuilding.records import export

BEGUN, ENDED = "begin rebuild", "rebuild"
LOST = "not restored"
PAGE = 50
"""Accessions of one transaction."""
EMPTY: tuple[type[SQLModel], ...] = (EntryVersion, Group, UploadedFile)


def rebuild(
    house: House,
    actor: Actor,
    *,
    source: ReadStore | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Counter[str]:
    """Fill an empty, migrated database from the records in the bucket, or in `source`; what came back, counted.

    `say` is told of every thing that could not be restored (counted as `LOST`) and of every object that
    lies there under another version. Broken off, it goes on when it is called again. Nothing else may
    use the database meanwhile. Raises Conflict for a database that isn't empty, Forbidden for all but
    maintainers, ProcessingFailure when the bucket can't be reached.
    """
    store = source or house.store
    with house.sessions.begin() as session:
        _begin(session, actor)
    counts: Counter[str] = Counter()

    def lost(what: str) -> None:
        counts[LOST] += 1
        say(what)

    _people(house, store, counts, lost)
    rows = RowsRebuild(house.organisms, counts, lost, _tombstones(store))
    highest = _accessions(house, store, rows)
    _what_befell(house, store, rows, counts, lost)
    with house.sessions.begin() as session:
        rebuild_end.go_on_counting(session)
        tombstoning.withdraw_restored(session)
        tombstoning.forget_restored_references(session)
        now = clock.read(session)
    rebuild_pins.check(house, actor, counts, lost, say)
    if source is not None:
        counts["records brought back"] = records_back.bring(house.store, source, now)
    old = last_head(store)
    organisms = list(newest_documents(store, records.ORGANISMS, lost))
    with house.sessions.begin() as session:
        rebuild_end.sum_up(session, organisms, highest)
        said = None if old is None else {"id": old.id, "sha256": old.sha256}
        entry = audit.append(session, actor.name, ENDED, "database", {"lastHead": said, "restored": dict(counts)})
        audit.queue_head(session, entry, begins=True)
    export(house)
    return counts


def last_head(store: ReadStore) -> Head | None:
    """The last end of the audit log that lies in the bucket."""
    found = (audit.head_of(each.key) for each in listed(store, f"{records.AUDIT}/"))
    last = deque((head for head in found if head is not None), maxlen=1)
    return last[0] if last else None


def _begin(session: Session, actor: Actor) -> None:
    authorize(session, actor, Action.MAINTAIN)
    last = select(col(AuditEntry.action)).where(col(AuditEntry.action).in_((BEGUN, ENDED)))
    if session.execute(last.order_by(col(AuditEntry.id).desc()).limit(1)).scalar() == BEGUN:
        return  # it was broken off
    if any(session.execute(select(*columns_of(table).c).limit(1)).first() is not None for table in EMPTY):
        raise Conflict("The database is not empty: only a new one can be rebuilt.")
    audit.append(session, actor.name, BEGUN, "database")


def _people(house: House, store: ReadStore, counts: Counter[str], lost: Callable[[str], None]) -> None:
    for body in newest_documents(store, records.GROUPS, lost):
        with house.sessions.begin() as session:
            put(session, Group, body["rows"]["submitting_group"], once=False)
            put(session, GroupMember, body["rows"]["group_member"], once=False)
        counts["groups"] += 1
        counts["memberships"] += len(body["rows"]["group_member"])
    limits = {body["scope"]: body["limits"] for body in documents(store, records.LIMITS, lost)}
    with house.sessions.begin() as session:
        put(session, LimitOverride, (row for row in limits.values() if row is not None), once=False)


def _tombstones(store: ReadStore) -> dict[tuple[str, int], bool]:
    """The accession versions that two maintainers agreed to erase, whether it is done or not: was it released?"""
    return {
        (row["accession"], row["version"]): row["was_released"]
        for body in newest_documents(store, records.ERASURES, lambda _: None)
        for row in body["rows"]["erased_version"]
    }


def _accessions(house: House, store: ReadStore, rows: RowsRebuild) -> int:
    """Restore every accession; the highest number that became one."""
    highest = max((number_of(name, house.settings.accession_prefix) or 0 for name, _ in rows.tombstones), default=0)

    def there(names: Sequence[str]) -> set[str]:
        with house.sessions.read() as session:
            return there_already(session, names)

    for page in batched(accessions(store, there), PAGE):
        numbers = (number_of(found.accession, house.settings.accession_prefix) or 0 for found in page)
        highest = max(highest, *numbers)
        _restore(house, rows, page)
    return highest


def _restore(house: House, rows: RowsRebuild, page: Sequence[AccessionRecords]) -> None:
    with house.sessions.begin() as session:
        rows.restore(session, page)


def _what_befell(
    house: House, store: ReadStore, rows: RowsRebuild, counts: Counter[str], lost: Callable[[str], None]
) -> None:
    """Restore repairs, erasures and orders to reprocess."""
    for body in newest_documents(store, records.ORGANISMS, lost):
        with house.sessions.begin() as session:
            put(session, Reprocessing, map(_from_the_beginning, body["rows"].get("reprocessing", ())), once=False)
    for body in newest_documents(store, records.ERASURES, lost):
        with house.sessions.begin() as session:
            rows.make_groups(session, body["rows"]["erased_version"])
            for table in (Erasure, ErasedVersion, ErasedObject):
                put(session, table, body["rows"][str(table.__tablename__)], once=False)
        counts["erasures"] += 1
    for body in documents(store, records.REPAIRS, lost):
        with house.sessions.begin() as session:
            counts["repairs"] += _repair(session, body["repair"])
    with house.sessions.begin() as session:
        rows.pin_what_came_again(session)


def _from_the_beginning(row: dict[str, object]) -> dict[str, object]:
    """An order whose jobs are lost looks at all entries once more: it passes over those that have their result."""
    return {**row, "after_accession": "", "after_version": 0, "fed": row["state"] == OrderState.DONE.value}


def _repair(session: Session, row: dict[str, object]) -> int:
    columns = columns_of(Repair).c
    same: Iterable[object] = (columns[name] == row[name] for name in ("key", "version_id", "at"))
    if session.execute(select(columns.id).where(*same).limit(1)).first() is None:  # type: ignore[arg-type]
        put(session, Repair, [row])
    rebuild_pins.follow(session, row)
    return 1
