"""Garbage is condemned, waits, is looked at again and deleted: never what anything refers to.

Between condemned and deleted lie `storage.garbage_waits_hours`, longer than any transaction and any
job: whoever saw an object before it was condemned has long referred to it, and whoever refers to it
later deletes its row (`db.condemned`). Deletion begins in one statement that sets `deleting_since`
only where nothing refers to the version; from then on nobody can refer to it, so all that follows may
be broken off anywhere and done again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, delete, func, or_, select, tuple_, update
from sqlmodel import Session, col

from readvault.db import audit, clock, condemned, references
from readvault.db.erased import is_erased
from readvault.db.tables import CondemnedVersion, FixityCheck, StoredObject, UploadedFile
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.errors import ProcessingFailure
from readvault.failpoints import failpoint
from readvault.ports import StoredVersion
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM
from readvault.services.storage.garbage import lineage, superseded, unfinished
from readvault.services.storage.garbage.unreferenced import HOUR, Category, Garbage, old_before, unreferenced
from readvault.services.uploads import quota

logger = logging.getLogger(__name__)

PAGE = 100
REMEMBERED = 30 * 24 * HOUR
"""Seconds that the name of a deleted version is kept."""
LOCKED = "the store refused: a lock holds it"
_Row = CondemnedVersion


@dataclass(slots=True)
class Collection:
    """What a run found and deleted, by category: pairs of how many and how many bytes."""

    found: dict[Category, tuple[int, int]] = field(default_factory=dict)
    deleted: dict[Category, tuple[int, int]] = field(default_factory=dict)
    condemned: int = 0
    """Object versions that wait for their deletion from this run on."""
    locked: int = 0
    """Object versions that a lock holds: they stay condemned."""

    def counts(self) -> dict[str, int]:
        """All figures under their names; no key, no name of anybody."""
        told = {"condemned now": self.condemned, "held by a lock": self.locked}
        for what, sums in (("found", self.found), ("deleted", self.deleted)):
            for category, (number, size) in sorted(sums.items()):
                told[f"{what}: {category}"] = number
                told[f"{what}: {category}, bytes"] = size
        return told


def collect(house: House, *, dry_run: bool = True, check: Callable[[], None] = lambda: None) -> Collection:
    """Delete what was condemned long enough ago, and condemn what nothing refers to now.

    A dry run only looks. Call it again after whatever broke it off, `check` among it. Raises ProcessingFailure
    when S3 can't be reached, and Conflict (no dry run) for a database that isn't the bucket's: nothing is lost.
    """
    done, before = Collection(), old_before(house)
    if not dry_run:
        lineage.check(house)
        finish_begun(house, done)
        _delete_condemned(house, done, before, check)
    _note(done.found, Category.SUPERSEDED, superseded.drop_superseded(house, before, dry_run=dry_run), 0)
    failpoint("garbage-superseded")
    for page in unreferenced(house, before):
        check()
        for garbage in page:
            _note(done.found, garbage.category, 1, garbage.size)
        if page and not dry_run:
            done.condemned += _condemn(house, page)
            failpoint("garbage-condemned-page")
    for upload in unfinished.unknown_parts(house, before):
        _note(done.found, Category.MULTIPART, 1, 0)
        if not dry_run:
            house.store.abort_multipart(upload.key, upload.upload_id)
    forgotten = unfinished.forgotten_rows(house, before, dry_run=dry_run)
    _note(done.found, Category.EXPIRED_UPLOAD, 0 if dry_run else forgotten, 0)
    if not dry_run:
        _write_down(house, done)
    return done


def finish_begun(house: House, done: Collection | None = None) -> int:
    """Bring deletions to an end that were broken off after they had begun; how many versions."""
    finished = 0
    for page in _pages(house, col(_Row.deleting_since).is_not(None)):
        finished += _destroy(house, page, done or Collection())
    return finished


def finish_quietly(house: House) -> int:
    """Do what `finish_begun` does, unless S3 can't be reached: then it is for the next time."""
    try:
        return finish_begun(house)
    except ProcessingFailure as failure:
        logger.warning("deletions that were begun wait: %s", failure.cause)
        return 0


def keep_or_finish(house: House, group_id: int, sha256: str, key: str) -> None:
    """Keep from deletion what a group's content is stored as, or would be under this key.

    Where the deletion has begun it is brought to its end: then the content has to be stored anew. What
    is looked up after this stays for as long as garbage waits.
    """
    known = select(col(StoredObject.key)).where(
        col(StoredObject.group_id) == group_id, col(StoredObject.sha256) == sha256
    )
    with house.sessions.read() as session:
        keys = {key, *session.execute(known).scalars()}
        listed = select(col(_Row.key)).where(col(_Row.key).in_(keys), col(_Row.deleted_at).is_(None))
        if session.execute(listed.limit(1)).first() is None:
            return
    with house.sessions.begin() as session:
        lost = condemned.revive_possible(session, keys)
    for page in _pages(house, and_(col(_Row.key).in_(lost), col(_Row.deleting_since).is_not(None))):
        _destroy(house, page, Collection())


def _note(sums: dict[Category, tuple[int, int]], category: Category, number: int, size: int) -> None:
    if number:
        before = sums.get(category, (0, 0))
        sums[category] = (before[0] + number, before[1] + size)


def _condemn(house: House, page: Sequence[Garbage]) -> int:
    """Put these on the list; how many were not on it. Who refers to one meanwhile is seen before the deletion."""
    table = columns_of(CondemnedVersion)
    with house.sessions.begin() as session:
        at = clock.read(session)
        rows = [
            {"key": each.key, "version_id": each.version_id, "size": each.size, "category": each.category.value,
             "condemned_at": at}
            for each in page
        ]  # fmt: skip
        new = insert_into(session, table).values(rows).on_conflict_do_nothing()
        return len(session.execute(new.returning(table.c.key)).all())


def _pages(house: House, *conditions: ColumnElement[bool]) -> Iterator[list[Garbage]]:
    """What is condemned and not deleted, by key, page by page."""
    place = (col(_Row.key), col(_Row.version_id))
    query = select(*place, col(_Row.size), col(_Row.category)).where(col(_Row.deleted_at).is_(None), *conditions)
    last = ("", "")
    while True:
        with house.sessions.read() as session:
            found = session.execute(query.where(tuple_(*place) > last).order_by(*place).limit(PAGE)).all()
        if not found:
            return
        last = (found[-1][0], found[-1][1])
        yield [Garbage(key, version_id, size, Category(category)) for key, version_id, size, category in found]


def _delete_condemned(house: House, done: Collection, before: float, check: Callable[[], None]) -> None:
    with house.sessions.read() as session:
        ripe = clock.read(session) - house.settings.storage.garbage_waits_hours * HOUR
    for page in _pages(house, col(_Row.deleting_since).is_(None), col(_Row.condemned_at) < ripe):
        check()
        begun = _begin(house, [each for each in page if _may_go(house, each)], ripe, before)
        failpoint("garbage-begun")
        _destroy(house, begun, done)


def _may_go(house: House, garbage: Garbage) -> bool:
    """Beside a pinned version: only while that one is there, or this may be what it is repaired from."""
    if garbage.category is not Category.BESIDE_PINNED:
        return True
    pins = set[str]()
    with house.sessions.read() as session:
        for table in (UploadedFile, StoredObject):
            here = (col(table.key) == garbage.key, ~is_erased(col(table.key), col(table.version_id)))
            pins |= set(session.execute(select(func.coalesce(col(table.version_id), "")).where(*here)).scalars())
    listed = house.store.list_versions(garbage.key)
    return pins <= {each.version_id or "" for each in listed if each.key == garbage.key} - {garbage.version_id}


def _begin(house: House, page: Sequence[Garbage], ripe: float, before: float) -> list[Garbage]:
    """Begin the deletion of those of a page that nothing refers to; the others are condemned no more.

    Rows that somebody is reviving right now are skipped, so nobody waits for the collector.
    """
    row = _Row
    with house.sessions.begin() as session:
        wanted = tuple_(col(row.key), col(row.version_id)).in_([(each.key, each.version_id) for each in page])
        free = (col(row.deleting_since).is_(None), col(row.deleted_at).is_(None), col(row.condemned_at) < ripe)
        lock = (
            select(col(row.key), col(row.version_id)).where(wanted, *free).order_by(col(row.key), col(row.version_id))
        )
        held = [(key, version_id) for key, version_id in session.execute(lock.with_for_update(skip_locked=True))]
        # This statement sees every reference that was committed before the locks were taken; who came
        # after them waits for these locks, and then finds the deletion begun.
        mine = tuple_(col(row.key), col(row.version_id)).in_(held)
        in_use = or_(
            references.referenced(col(row.key), col(row.version_id), before),
            and_(col(row.category) == Category.DOCUMENT.value, references.awaited(col(row.key))),
        )
        begin = (
            update(row)
            .where(mine, *free, ~in_use)
            .values(deleting_since=clock.now(), note=None)
            .returning(col(row.key), col(row.version_id))
        )
        begun = {(key, version_id) for key, version_id in session.execute(_plain(begin))}
        session.execute(_plain(delete(row).where(mine, *free, in_use)))
    return [each for each in page if (each.key, each.version_id) in begun]


def _plain[T](statement: T) -> T:
    return statement.execution_options(synchronize_session=False)  # type: ignore[attr-defined, no-any-return]


def _destroy(house: House, page: Sequence[Garbage], done: Collection) -> int:
    """Delete versions whose deletion has begun, then what the database holds of them; how many went."""
    gone: list[Garbage] = []
    locked: list[Garbage] = []
    for each in page:
        deleted = house.store.delete(StoredVersion(each.key, each.version_id or None, each.size))
        (gone if deleted else locked).append(each)
        failpoint("garbage-deleted-version")
    with house.sessions.begin() as session:
        finished = _forget(session, gone)
        _hold(session, locked)
    failpoint("garbage-forgotten-rows")
    for each in finished:
        _note(done.deleted, each.category, 1, each.size)
    done.locked += len(locked)
    return len(finished)


def _forget(session: Session, gone: Sequence[Garbage]) -> list[Garbage]:
    """Drop the rows of deleted versions and free their quota, once, whoever else is doing the same."""
    keys = [each.key for each in gone]
    file, row = UploadedFile, _Row
    owners = session.execute(select(col(file.group_id), col(file.uploader)).where(col(file.key).in_(keys))).all()
    quota.lock(session, {group for group, _ in owners}, {uploader for _, uploader in owners})
    place = (col(row.key), col(row.version_id))
    wanted = tuple_(*place).in_([(each.key, each.version_id) for each in gone])
    under_way = (wanted, col(row.deleting_since).is_not(None), col(row.deleted_at).is_(None))
    mine = {(k, v) for k, v in session.execute(select(*place).where(*under_way).order_by(*place).with_for_update())}
    finished = [each for each in gone if (each.key, each.version_id) in mine]
    freed: defaultdict[str, int] = defaultdict(int)
    for each in finished:
        _forget_one(session, each, freed)
    for scope, size in sorted(freed.items()):
        quota.add_sealed(session, scope, -size)
    session.execute(_plain(update(row).where(*under_way, col(row.version_id) != "").values(deleted_at=clock.now())))
    # Without version IDs the next object under the key would be taken for this one.
    session.execute(_plain(delete(row).where(*under_way, col(row.version_id) == "")))
    session.execute(_plain(delete(row).where(col(row.deleted_at) < clock.now() - REMEMBERED)))
    return finished


def _forget_one(session: Session, gone: Garbage, freed: defaultdict[str, int]) -> None:
    file = UploadedFile

    def pinned(column: SQLColumnExpression[str | None]) -> ColumnElement[bool]:
        return func.coalesce(column, "") == gone.version_id

    stored = delete(StoredObject).where(col(StoredObject.key) == gone.key, pinned(col(StoredObject.version_id)))
    session.execute(_plain(stored))
    # An erasure that came after the deletion's begin has freed the quota already, and keeps its row.
    sealed = delete(file).where(
        col(file.key) == gone.key, col(file.sealed_at).is_not(None), pinned(col(file.version_id)),
        ~is_erased(col(file.key), col(file.version_id)),
    )  # fmt: skip
    for group_id, uploader, size in session.execute(
        _plain(sealed.returning(col(file.group_id), col(file.uploader), func.coalesce(col(file.size), 0)))
    ):
        freed[quota.scope_of_group(group_id)] += size
        freed[quota.scope_of_user(uploader)] += size
    pins = (select(col(table.key)).where(col(table.key) == gone.key) for table in (UploadedFile, StoredObject))
    checked = delete(FixityCheck).where(col(FixityCheck.key) == gone.key)
    session.execute(_plain(checked.where(*(~pin.exists() for pin in pins))))


def _hold(session: Session, locked: Iterable[Garbage]) -> None:
    """What a lock holds can be used again, stays condemned, and is tried again by the next run."""
    places = [(each.key, each.version_id) for each in locked]
    wanted = tuple_(col(_Row.key), col(_Row.version_id)).in_(places)
    held = update(_Row).where(wanted, col(_Row.deleted_at).is_(None)).values(deleting_since=None, note=LOCKED)
    session.execute(_plain(held))


def _write_down(house: House, done: Collection) -> None:
    if done.locked:
        logger.warning("garbage: %d versions are held by locks and stay condemned", done.locked)
    with house.sessions.begin() as session:
        audit.append(session, SYSTEM, "collect garbage", "storage", done.counts())
