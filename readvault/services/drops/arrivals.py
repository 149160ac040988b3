"""What arrived: S3 is asked, for nobody has to tell us. Done when somebody looks, and every few minutes.

A file that arrived is unclaimed: its first version is noted, and its upload now expires when unclaimed
files do. It is sealed like every upload, by the submission that names it.

Whoever locks rows of several kinds takes them in one order: dropped files by name, links by ID, uploads by ID.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import batched
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import DroppedFile, UploadedFile
from readvault.domain.errors import ProcessingFailure
from readvault.failpoints import failpoint
from readvault.ports import StoredVersion
from readvault.services.drops.announcing import CLAIMED, DISCARDED, EXPIRED, FORM, OPEN, PARTS, UNCLAIMED, charge
from readvault.services.house import House

logger = logging.getLogger(__name__)

PAGE = 200
ONE_BY_ONE = 8
"""Up to so many keys of a link are asked for by themselves; more of them by a listing of all its keys."""
DAY = 86_400.0
REMEMBERED = 90 * DAY
"""Seconds that the row of a file that never became part of an entry is kept after its end."""


class _Awaited(NamedTuple):
    object_name: str
    link_id: str
    file_id: str
    way: str
    reserved_bytes: int
    key: str


def notice(house: House, *wanted: ColumnElement[bool], late: bool = False) -> int:
    """Note which announced files are there now, of those that fit all conditions; how many.

    With `late` also those whose time to come is up and that nobody has ended yet.
    Raises ProcessingFailure when S3 can't be asked.
    """
    noticed = 0
    for page in _pages(house, *wanted, late=late):
        by_link: dict[str, list[_Awaited]] = {}
        for each in page:
            by_link.setdefault(each.link_id, []).append(each)
        for of_link in by_link.values():
            noticed += _arrived(house, of_link)
    return noticed


def look_quietly(house: House, *wanted: ColumnElement[bool]) -> None:
    """Do what `notice` does; without S3, or where nothing may be written, things stay as they were known."""
    if house.settings.read_only_mode:
        return
    try:
        notice(house, *wanted)
    except ProcessingFailure as failure:
        logger.warning("what arrived through drop links can't be looked up: %s", failure.cause)


def sweep(house: House) -> int:
    """Note what arrived, end what did not or was not claimed in time, look after forms; how many rows changed."""
    # What came in time while no sweep was done, an outage of days, is lost to nobody.
    changed = notice(house, late=True)
    changed += expire(house)
    changed += settle_forms(house)
    return changed + _forget(house)


def expire(house: House) -> int:
    """End files whose upload has expired; how many. What never came is given back to its link's quota."""
    ended, last = 0, ""
    while True:
        with house.sessions.begin() as session:
            row, file = DroppedFile, UploadedFile
            past = select(col(file.id)).where(col(file.id) == col(row.file_id), col(file.expires_at) > clock.now())
            stale = (
                select(col(row.object_name))
                .where(col(row.state).in_((OPEN, UNCLAIMED)), col(row.object_name) > last, ~past.exists())
                .order_by(col(row.object_name))
                .limit(PAGE)
            )
            names = list(session.execute(stale).scalars())
            ended += _expire(session, names)
        if not names:
            return ended
        last = names[-1]


def settle_forms(house: House) -> int:
    """Delete and charge what was posted over a file that came by a form; how many versions.

    A form's policy can't demand that nothing is there, so the first version counts and every later one
    goes: at once while the file is unsealed, afterwards by the collection of garbage, which knows of repairs.
    """
    removed, last = 0, ""
    row, file = DroppedFile, UploadedFile
    while True:
        with house.sessions.read() as session:
            query = (
                select(row, file)
                .join(file, col(file.id) == col(row.file_id))
                .where(col(row.settle_until).is_not(None), col(row.version_id).is_not(None))
                .where(col(row.object_name) > last)
            )
            page = session.execute(query.order_by(col(row.object_name)).limit(PAGE)).all()
            now = clock.read(session)
        if not page:
            return removed
        last = page[-1][0].object_name
        for dropped, upload in page:
            removed += _settle(house, dropped, upload, now)


def first_versions(house: House, keys: Sequence[str]) -> dict[str, StoredVersion]:
    """The first version under each of these keys of one link, of those that are there."""
    if len(keys) <= ONE_BY_ONE:
        prefixes: Iterable[str] = keys
    else:
        prefixes = [keys[0].rpartition("/")[0] + "/"]
    wanted, found = set(keys), dict[str, StoredVersion]()
    for prefix in prefixes:
        for version in house.store.list_versions(prefix):
            if version.key in wanted:
                found.setdefault(version.key, version)
    return found


def _pages(house: House, *wanted: ColumnElement[bool], late: bool) -> Iterator[list[_Awaited]]:
    row, file, last = DroppedFile, UploadedFile, ""
    if not late:
        wanted = (*wanted, col(file.expires_at) > clock.now())
    while True:
        with house.sessions.read() as session:
            query = (
                select(row.object_name, row.link_id, row.file_id, row.way, row.reserved_bytes, file.key)  # type: ignore[call-overload]
                .join(file, col(file.id) == col(row.file_id))
                .where(col(row.state) == OPEN, *wanted, col(row.object_name) > last)
                .order_by(col(row.object_name))
                .limit(PAGE)
            )
            page = [_Awaited(*each) for each in session.execute(query)]
        if not page:
            return
        yield page
        last = page[-1].object_name


def _arrived(house: House, awaited: Sequence[_Awaited]) -> int:
    there = first_versions(house, [each.key for each in awaited])
    if posted := [each.key for each in awaited if each.way == FORM and each.key in there]:
        # Nothing vouches for a listing, and here it decides which version counts.
        again = first_versions(house, posted)
        there = {key: version for key, version in there.items() if key not in posted or again.get(key) == version}
    failpoint("drop-noticed")
    noticed = 0
    present = [(each, there[each.key]) for each in awaited if each.key in there]
    for page in batched(present, PAGE):
        with house.sessions.begin() as session:
            noticed += _note(house, session, page)
        failpoint("drop-arrived")
    return noticed


def _note(house: House, session: Session, present: Sequence[tuple[_Awaited, StoredVersion]]) -> int:
    """Make announced files of one link unclaimed ones, each once, whoever else is looking; how many."""
    now = clock.read(session)
    still_open = {row.object_name for row in _locked(session, [each.object_name for each, _ in present], OPEN)}
    noted = [(each, version) for each, version in present if each.object_name in still_open]
    if not noted:
        return 0
    uploads: dict[str, dict[str, object]] = {}
    row, more = DroppedFile, 0
    for awaited, version in noted:
        if awaited.way == FORM:
            # It binds no exact size; and without version IDs nothing tells its first version from a later one.
            refused = version.size > awaited.reserved_bytes or version.version_id is None
        else:
            refused = version.size != awaited.reserved_bytes  # a provider that doesn't enforce what was signed
        state = {"state": DISCARDED, "ended_at": now} if refused else {"state": UNCLAIMED}
        session.execute(
            update(row)
            .where(col(row.object_name) == awaited.object_name)
            .values(arrived_at=now, size=version.size, version_id=version.version_id, **state)
            .execution_options(synchronize_session=False)
        )
        kept = 0 if refused else house.settings.drop_links.unclaimed_days * DAY
        known = uploads.setdefault(awaited.file_id, {"expires_at": now + kept})
        if awaited.way == FORM:
            known["declared_size"] = version.size
            more += version.size - awaited.reserved_bytes
        if awaited.way == PARTS:
            known["multipart_completed"] = True
    if more:
        charge(session, noted[0][0].link_id, more)
    for file_id, known in sorted(uploads.items()):
        mine = (col(UploadedFile.id) == file_id, col(UploadedFile.sealed_at).is_(None))
        session.execute(update(UploadedFile).where(*mine).values(known).execution_options(synchronize_session=False))
    return len(noted)


def _expire(session: Session, object_names: Sequence[str]) -> int:
    rows = _locked(session, object_names, OPEN, UNCLAIMED)
    of_rows = select(UploadedFile.id, UploadedFile.expires_at).where(  # type: ignore[call-overload]
        col(UploadedFile.id).in_([row.file_id for row in rows])
    )
    ends = {each.id: each.expires_at for each in session.execute(of_rows)}
    now, ended = clock.read(session), 0
    back: dict[str, tuple[int, int]] = {}
    for row in rows:
        if ends.get(row.file_id, now) > now:  # kept alive since it was looked for
            continue
        if row.state == OPEN:
            size, objects = back.get(row.link_id, (0, 0))
            back[row.link_id] = (size - row.reserved_bytes, objects - 1)
        row.state, row.ended_at = EXPIRED, now
        ended += 1
    session.flush()
    for link_id, freed in sorted(back.items()):
        charge(session, link_id, *freed)
    return ended


def _locked(session: Session, object_names: Sequence[str], *states: str) -> Sequence[DroppedFile]:
    """Wait for these of the files that are in one of the states, in the one order."""
    row = DroppedFile
    wanted = select(row).where(col(row.object_name).in_(object_names), col(row.state).in_(states))
    held = wanted.order_by(col(row.object_name)).with_for_update().execution_options(populate_existing=True)
    return session.execute(held).scalars().all()


def _settle(house: House, dropped: DroppedFile, upload: UploadedFile, now: float) -> int:
    # A repair of a sealed file moves its pin to another version.
    counts = {dropped.version_id, upload.version_id if upload.sealed_at is not None else None}
    listed = [each for each in house.store.list_versions(upload.key) if each.key == upload.key]
    later = [each for each in listed if each.version_id not in counts]
    last_look = (dropped.settle_until or 0.0) < now
    if later:
        # Charged before they go: what a process deleted and then died can't be counted any more.
        _charge_later(house, dropped.object_name, later)
        failpoint("drop-charged")
        if upload.sealed_at is None:
            for each in later:
                house.store.delete(each)
    if last_look:
        with house.sessions.begin() as session:
            row = session.get_one(DroppedFile, dropped.object_name, with_for_update=True)
            row.settle_until, row.charged_versions = None, []
    return len(later)


def _charge_later(house: House, object_name: str, later: Sequence[StoredVersion]) -> None:
    """Charge each of these versions once, whoever else is looking."""
    with house.sessions.begin() as session:
        row = session.get_one(DroppedFile, object_name, with_for_update=True)
        fresh = {str(each.version_id): each.size for each in later if str(each.version_id) not in row.charged_versions}
        if row.settle_until is not None and fresh:
            row.charged_versions = [*row.charged_versions, *fresh]
            charge(session, row.link_id, sum(fresh.values()))


def _forget(house: House) -> int:
    """Drop rows of what ended long ago and is part of no entry (any more); how many. Others say whence an entry's
    file came."""
    row, file = DroppedFile, UploadedFile
    is_gone = ~select(col(file.id)).where(col(file.id) == col(row.file_id)).exists()
    ended = or_(col(row.state).in_((DISCARDED, EXPIRED)), and_(col(row.state) == CLAIMED, is_gone))
    with house.sessions.begin() as session:
        old = (ended, col(row.ended_at) < clock.now() - REMEMBERED)
        gone = select(col(row.object_name)).where(*old).limit(PAGE)
        dropped = delete(row).where(col(row.object_name).in_(gone)).returning(col(row.object_name))
        return len(session.execute(dropped.execution_options(synchronize_session=False)).all())
