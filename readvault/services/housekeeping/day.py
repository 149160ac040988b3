"""One day of the instance, in figures for its maintainers: what came, what was made of it, what failed and waits.

Which rows are of a day the audit log says: its rows are numbered in the order of time, so a day is found
in some twenty look-ups, and only what happened on it is read, a page at a time. The rest costs what is
open. No name of a person, a file or an entry is in it, and no free text: reasons are words of ours.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import batched
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import AuditEntry, EntryFile, Manifest, ManifestFile, StoredObject, UploadedFile
from readvault.domain.annotations import Reason
from readvault.domain.identifiers import AccessionVersion
from readvault.services.entries.damage import REFERENCE_LOST
from readvault.services.house import House
from readvault.services.housekeeping.standing import Standing, standing

PAGE = 500
COUNTED = {
    "approve": ("released", "approved"),
    "delete": ("deleted", "versions"),
    "edit": ("edited", None),
    "process again": ("processed again by hand", None),
    "repair": ("objects repaired", None),
    "restore": ("restored", None),
    "retry job": ("jobs retried by hand", None),
    "revise": ("revised", "versions"),
    "revoke": ("revoked", "versions"),
    "send back": ("sent back", "sentBack"),
    "suppress": ("suppressed", None),
    "uncover": ("objects uncovered", None),
    "withdraw": ("withdrawn", None),
}
"""Actions of the audit log: what they are called here, and where a row lists what it is about (else it is one)."""


@dataclass(slots=True)
class HostReads:
    """The share of human reads in the entries of one organism: the middle one, the 95th of 100, the highest."""

    entries: int
    median: float
    p95: float
    highest: float


@dataclass(slots=True)
class Day:
    """The figures of a day (UTC), and how the instance stands when they are asked for. Sizes are bytes."""

    day: str
    is_over: bool
    received: dict[str, int] = field(default_factory=dict)
    """New entries by organism."""
    received_bytes: int = 0
    happened: dict[str, int] = field(default_factory=dict)
    """How often each other thing happened that people or the instance did."""
    results: dict[str, dict[str, int]] = field(default_factory=dict)
    """By organism how many entries were processed, by result."""
    errors: dict[str, int] = field(default_factory=dict)
    """By reason (`readvault.domain.annotations.Reason`) in how many entries."""
    warnings: dict[str, int] = field(default_factory=dict)
    host_reads: dict[str, HostReads] = field(default_factory=dict)
    attempts: int = 0
    """Attempts that the processed entries took."""
    stored: dict[str, int] = field(default_factory=dict)
    """Bytes by category of the processed files that are new since then."""
    damaged: int = 0
    """Objects that were found damaged."""
    garbage_deleted: int = 0
    garbage_deleted_bytes: int = 0
    standing: Standing = field(default_factory=Standing)

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return asdict(self)


def in_figures(house: House, day: date | None = None, *, days_ago: int = 1) -> Day:
    """The figures of a day, or of the day so many days before today (UTC, by the database's clock)."""
    with house.sessions.read() as session:
        now = clock.read(session)
        chosen = day or datetime.fromtimestamp(now, UTC).date() - timedelta(days=days_ago)
        start = datetime(chosen.year, chosen.month, chosen.day, tzinfo=UTC).timestamp()
        end = start + 86_400
        told = Day(chosen.isoformat(), is_over=now >= end)
        first, last = _first_row_at(session, start), _first_row_at(session, end)
    made = _Made(start, end)
    for page in _pages(house, first, last):
        with house.sessions.read() as session:
            _take(session, told, made, page)
    told.host_reads = {organism: _shares(found) for organism, found in sorted(made.human.items())}
    told.standing = standing(house)
    return told


class _Made:
    """What processing made on the day: each result once, however many rows of the log speak of it."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end
        self.seen: set[int] = set()
        self.human: dict[str, list[float]] = defaultdict(list)


def _first_row_at(session: Session, at: float) -> int:
    """The number of the first row of the log that isn't older than this moment."""
    low, high = 1, (session.execute(select(func.max(AuditEntry.id))).scalar() or 0) + 1
    while low < high:
        middle = (low + high) // 2
        place = select(col(AuditEntry.id), col(AuditEntry.at)).where(col(AuditEntry.id) >= middle)
        found = session.execute(place.order_by(col(AuditEntry.id)).limit(1)).first()
        if found is None or found[1] >= at:
            high = middle
        else:
            low = found[0] + 1
    return low


def _pages(house: House, first: int, last: int) -> Iterator[list[tuple[str, str, dict[str, Any]]]]:
    query = select(col(AuditEntry.id), col(AuditEntry.action), col(AuditEntry.subject), col(AuditEntry.details))
    while first < last:
        with house.sessions.read() as session:
            numbered = col(AuditEntry.id)
            page = session.execute(query.where(numbered >= first, numbered < last).order_by(numbered).limit(PAGE)).all()
        if not page:
            return
        yield [(action, subject, details) for _, action, subject, details in page]
        first = page[-1][0] + 1


def _take(session: Session, told: Day, made: _Made, page: list[tuple[str, str, dict[str, Any]]]) -> None:
    names: set[AccessionVersion] = set()
    happened = Counter(told.happened)
    for action, subject, details in page:
        if action == "submit":
            _add(told.received, details["organism"], details["entries"])
            told.received_bytes += _bytes_between(session, details["first"], details["last"])
        elif action in COUNTED:
            name, listed = COUNTED[action]
            happened[name] += len(details[listed]) if listed else 1
        elif action == "register":
            names.add(AccessionVersion.parse(subject))
            told.attempts += details["attempt"]
        elif action == "submit processed data":
            names |= {AccessionVersion.parse(name) for name in details["accessionVersions"]}
        elif action == "verify integrity" and details["before"] is None:
            told.damaged += details["damage"] not in (None, REFERENCE_LOST)
        elif action == "collect garbage":
            told.garbage_deleted += _sum(details, bytes_too=False)
            told.garbage_deleted_bytes += _sum(details, bytes_too=True)
    told.happened = dict(sorted(happened.items()))
    for some in batched(sorted(names), PAGE):
        _take_results(session, told, made, some)


def _take_results(session: Session, told: Day, made: _Made, names: tuple[AccessionVersion, ...]) -> None:
    wanted = set(names)
    query = select(
        col(Manifest.id), col(Manifest.accession), col(Manifest.version), col(Manifest.processing_result),
        col(Manifest.body), col(Manifest.errors), col(Manifest.warnings),
    ).where(
        col(Manifest.accession).in_({name.accession for name in names}),
        col(Manifest.superseded_at).is_(None),
        col(Manifest.created_at) >= made.start, col(Manifest.created_at) < made.end,
    )  # fmt: skip
    new: list[int] = []
    for number, accession, version, result, body, errors, warnings in session.execute(query):
        if number in made.seen or AccessionVersion(accession, version) not in wanted:
            continue
        new.append(number)
        manifest = json.loads(body)
        organism, human = manifest["organism"], manifest["metadata"].get("humanFraction")
        _add(told.results.setdefault(organism, {}), result)
        for counts, listed in ((told.errors, errors), (told.warnings, warnings)):
            for reason in {_reason(annotation) for annotation in listed}:
                _add(counts, reason)
        if isinstance(human, int | float):
            made.human[organism].append(float(human))
    made.seen.update(new)
    _take_files(session, told, made, new)


def _take_files(session: Session, told: Day, made: _Made, manifests: list[int]) -> None:
    query = (
        select(col(ManifestFile.category), func.sum(StoredObject.size))
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(
            col(ManifestFile.manifest_id).in_(manifests),
            col(StoredObject.stored_at) >= made.start,
            col(StoredObject.stored_at) < made.end,
        )
        .group_by(col(ManifestFile.category))
    )
    for category, size in session.execute(query):
        _add(told.stored, category, int(size))


def _bytes_between(session: Session, first: str, last: str) -> int:
    """The size of the files of a request's entries: a request's accessions follow each other."""
    query = (
        select(func.coalesce(func.sum(UploadedFile.size), 0))
        .select_from(EntryFile)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(col(EntryFile.accession) >= first, col(EntryFile.accession) <= last, col(EntryFile.version) == 1)
    )
    return int(session.execute(query).scalar_one())


def _reason(annotation: dict[str, Any]) -> str:
    """The reason as a word of ours: what isn't one could be anything."""
    found = annotation.get("reason")
    return str(found) if found in set(Reason) else Reason.EXTERNAL_PIPELINE.value


def _shares(found: list[float]) -> HostReads:
    found.sort()
    count = len(found)
    middle = (found[(count - 1) // 2] + found[count // 2]) / 2
    return HostReads(count, round(middle, 6), round(found[-(-95 * count // 100) - 1], 6), round(found[-1], 6))


def _sum(counts: dict[str, int], *, bytes_too: bool) -> int:
    deleted = {name: value for name, value in counts.items() if name.startswith("deleted: ")}
    return sum(value for name, value in deleted.items() if name.endswith(", bytes") is bytes_too)


def _add(counts: dict[str, int], name: str, value: int = 1) -> None:
    counts[name] = counts.get(name, 0) + value
