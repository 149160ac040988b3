"""fsck: the database and the bucket are laid side by side, and every difference is named."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, takewhile

from sqlmodel import col, select

from readvault.db import clock
from readvault.db.tables import CondemnedVersion, Repair, UploadedFile
from readvault.ports import ListedVersion
from readvault.services.house import House
from readvault.services.storage.integrity.pinned import Pinned, pinned_at, pinned_versions

PREFIXES = ("incoming/", "vault/")
"""Where objects lie that rows of the database stand for."""
PAGE = 500


class Difference(StrEnum):
    """What is not as it should be."""

    MISSING = "missing"
    """A row without its object version: bytes are lost. Verify the integrity, then repair."""
    OTHER_SIZE = "other size"
    """The pinned version has another size than was sealed: damage."""
    HIDDEN = "hidden"
    """A delete marker or a newer version lies over the pinned one: nothing is lost, somebody meddled."""
    STRAY = "stray"
    """An object without a row: an upload nobody asked for, a step that was broken off, or a lost row."""

    @property
    def loses_bytes(self) -> bool:
        """Whether something that was promised can't be read."""
        return self in (Difference.MISSING, Difference.OTHER_SIZE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between the database and the bucket. Size in bytes, age in seconds (0: unknown)."""

    difference: Difference
    key: str
    version_id: str | None
    size: int
    age: float = 0.0


GoesOn = Callable[[str], bool]


def fsck(house: House, *, after: str = "", goes_on: GoesOn = lambda _: True) -> Iterator[Finding]:
    """Every difference, by key, in flat memory; `after` goes on beyond a key.

    Uploads that are requested and not submitted yet are neither missing nor stray; a version that a repair
    left behind hides nothing; what was shredded is not expected. Nothing is changed. `goes_on` is asked
    before each key of a row: where it says no, the walk ends, and what was found before is still told.
    """
    with house.sessions.read() as session:
        now = clock.read(session)
    for prefix in PREFIXES:
        if after >= prefix + "\x7f":
            continue
        pinned = pinned_versions(house, after=max(after, prefix))
        wanted = takewhile(functools.partial(_lies_under, prefix), pinned)
        listed = groupby(house.store.walk(prefix, after=after or None), key=lambda each: each.stored.key)
        there = ((key, list(of)) for key, of in listed)
        yield from _without_known(house, _compared(wanted, there, now, goes_on))


def _lies_under(prefix: str, pinned: Pinned) -> bool:
    return pinned.key.startswith(prefix)


def _compared(
    wanted: Iterator[Pinned], listed: Iterator[tuple[str, list[ListedVersion]]], now: float, goes_on: GoesOn
) -> Iterator[Finding]:
    row, there = next(wanted, None), next(listed, None)
    while row is not None or there is not None:
        if row is not None and not goes_on(row.key):
            return
        if there is None or (row is not None and row.key < there[0]):
            assert row is not None
            yield Finding(Difference.MISSING, row.key, row.stored.version_id, row.stored.size)
            row = next(wanted, None)
        elif row is None or there[0] < row.key:
            yield from _strays(there[1], now)
            there = next(listed, None)
        else:
            yield from _of_one_key(row, there[1])
            row, there = next(wanted, None), next(listed, None)


def _of_one_key(row: Pinned, listed: list[ListedVersion]) -> Iterator[Finding]:
    versions = [each for each in listed if not each.deleted]
    found = next((each for each in versions if each.stored.version_id == row.stored.version_id), None)
    if found is None:
        yield Finding(Difference.MISSING, row.key, row.stored.version_id, row.stored.size)
    elif found.stored.size != row.stored.size:
        yield Finding(Difference.OTHER_SIZE, row.key, row.stored.version_id, found.stored.size)
    elif not found.newest:
        above = next(each for each in listed if each.newest)
        yield Finding(Difference.HIDDEN, row.key, above.stored.version_id, above.stored.size)


def _strays(listed: list[ListedVersion], now: float) -> Iterator[Finding]:
    for each in listed:
        if not each.deleted:
            age = max(0.0, now - each.modified_at)
            yield Finding(Difference.STRAY, each.stored.key, each.stored.version_id, each.stored.size, age)


def _without_known(house: House, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Leave out uploads that are only not submitted yet, and what lies above a repaired file from before its repair."""
    page: list[Finding] = []
    for finding in findings:
        page.append(finding)
        if len(page) == PAGE:
            yield from _unknown(house, page)
            page = []
    yield from _unknown(house, page)


def _unknown(house: House, page: list[Finding]) -> Iterator[Finding]:
    strays = [finding.key for finding in page if finding.difference is Difference.STRAY]
    hidden = [finding.key for finding in page if finding.difference is Difference.HIDDEN]
    with house.sessions.read() as session:
        requested = set(session.exec(select(UploadedFile.key).where(col(UploadedFile.key).in_(strays))))
        lost = select(Repair.key, Repair.lost_version_id).where(col(Repair.key).in_(hidden))
        deleted = select(CondemnedVersion.key, CondemnedVersion.version_id).where(
            col(CondemnedVersion.key).in_(strays), col(CondemnedVersion.deleting_since).is_not(None)
        )
        going = set(session.exec(deleted))
        left_behind = {(key, version_id) for key, version_id in session.exec(lost)}
    for finding in page:
        is_requested = finding.difference is Difference.STRAY and finding.key in requested
        is_old = finding.difference is Difference.HIDDEN and (finding.key, finding.version_id) in left_behind
        is_going = finding.difference is Difference.STRAY and (finding.key, finding.version_id or "") in going
        is_gone = finding.difference is Difference.MISSING and _is_dropped(house, finding)
        if not (is_requested or is_old or is_going or is_gone):
            yield finding


def _is_dropped(house: House, finding: Finding) -> bool:
    """Whether its row went, or moved to another version, after it was read: garbage, an erasure, a repair."""
    pinned = pinned_at(house, finding.key)
    return pinned is None or pinned.stored.version_id != finding.version_id
