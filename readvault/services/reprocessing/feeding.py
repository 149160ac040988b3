"""Feeding: confirmed orders become jobs, a few at a time, so that new submissions always go first.

The bookmark of an order moves through the entries by their key, in flat memory. Whoever is killed has
moved it together with the jobs that he made, or not at all; whoever comes second finds it moved.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, tuple_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from readvault.db import audit, clock, entry_state
from readvault.db.names import among
from readvault.db.tables import EntryVersion, Job, Reprocessing
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.reprocessing import OrderState
from readvault.domain.status import JobKind, JobState, Priority
from readvault.failpoints import failpoint
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM
from readvault.services.queue.sizes import note_sizes
from readvault.services.reprocessing import lowered, orders, selection
from readvault.services.reprocessing.choices import Choice
from readvault.services.reprocessing.planning import counted

WINDOW = 500
"""Entries of one look."""
LOOKS_FOR = 1.0
"""Seconds that one call looks for entries of an order; the next call goes on where it ended."""
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class _Found:
    """Entries to process again, in order, and where the look ended; `last` is None at the end of all entries."""

    order_id: int
    bookmark: AccessionVersion | None
    names: tuple[AccessionVersion, ...]
    last: AccessionVersion | None


def feed(house: House) -> int:
    """Make the next jobs of the orders that are under way, and note which are done; how many jobs.

    Never more than `worker.background_jobs` are open at once, nor more an hour than an order allows.
    Can be called by several workers at once, and broken off anywhere.
    """
    orders.follow_organisms(house)
    lowered.call_off_jobs(house)
    with house.sessions.read() as session:
        running = [row for row in session.exec(_running()) if _is_for(house, row)]
        room = house.settings.worker.background_jobs - _open_jobs(session, running)
    found = [_look_ahead(house, row, room) for row in running if not row.fed and room > 0]
    failpoint("feed-before-transaction")
    moves = any(each.last is None or each.last != each.bookmark for each in found)
    if not moves and not any(row.fed for row in running):
        return 0
    with house.sessions.begin() as session:
        made = _feed(session, house, found)
        failpoint("feed-before-commit")
    failpoint("feed-after-commit")
    return made


def begin_again(house: House) -> int:
    """Let automatic orders that are done look once more for what they passed over; how many do.

    Such as an entry that another job was busy with. What has a result of the version already, whatever
    a maintainer decided about it, is left alone.
    """
    begun = 0
    for organism in list(house.organisms.values()):
        done = _done_order(house, organism)
        if done is None:
            continue
        with house.sessions.begin() as session:
            row = session.get_one(Reprocessing, done, with_for_update=True)
            if row.state != OrderState.DONE:
                continue
            row.after_accession, row.after_version, row.fed = "", 0, False
            orders.changed(session, row, OrderState.RUNNING)
            details = {"reprocessing": row.id, "pipelineVersion": row.pipeline_version}
            audit.append(session, SYSTEM, "begin reprocessing", organism.name, details)
            begun += 1
    return begun


def _done_order(house: House, organism: Organism) -> int | None:
    """The automatic order of the organism's present version, if it is done and left something."""
    query = select(Reprocessing).where(
        Reprocessing.organism == organism.name,
        Reprocessing.pipeline_version == organism.pipeline.version,
        col(Reprocessing.automatic),
        Reprocessing.state == OrderState.DONE.value,
        col(Reprocessing.rolled_back_at).is_(None),
    )
    with house.sessions.read() as session:
        row = session.exec(query).first()
        if row is None or counted(session, organism, Choice.of_json(row.choice)).entries == 0:
            return None
        return row.id


def _running() -> SelectOfScalar[Reprocessing]:
    return select(Reprocessing).where(Reprocessing.state == OrderState.RUNNING.value).order_by(col(Reprocessing.id))


def _is_for(house: House, row: Reprocessing) -> bool:
    """Whether this process knows the version that the order is about: an older worker leaves it to others."""
    organism = house.organisms.get(row.organism)
    return organism is not None and organism.pipeline.version == row.pipeline_version


def _open_jobs(session: Session, running: Sequence[Reprocessing]) -> int:
    return sum(_open_of(session, row) for row in running)


def _open_of(session: Session, row: Reprocessing) -> int:
    busy = col(Job.state).in_((JobState.QUEUED.value, JobState.RUNNING.value))
    query = select_columns(func.count()).select_from(Job).where(col(Job.reprocessing_id) == row.id, busy)
    return int(session.execute(query).scalar_one())


def _look_ahead(house: House, row: Reprocessing, wanted: int) -> _Found:
    """Find up to `wanted` entries behind the bookmark, window by window."""
    begin = last = AccessionVersion(row.after_accession, row.after_version) if row.after_accession else None
    names: list[AccessionVersion] = []
    choice = Choice.of_json(row.choice)
    deadline = time.monotonic() + LOOKS_FOR
    while len(names) < wanted and time.monotonic() < deadline:
        with house.sessions.read() as session:
            window = _window(session, row.organism, choice, last)
            if not window:
                return _Found(row.id or 0, begin, tuple(names), None)
            names += _processable(session, row, choice, window)
        last = window[-1]
    if len(names) >= wanted:
        names = names[:wanted]
        last = names[-1]
    return _Found(row.id or 0, begin, tuple(names), last)


def _window(
    session: Session, organism: str, choice: Choice, after: AccessionVersion | None
) -> tuple[AccessionVersion, ...]:
    """The next keys of the organism's entries, or of those that are named."""
    if choice.names:
        return tuple(name for name in choice.names if after is None or name > after)[:WINDOW]
    place = (col(EntryVersion.accession), col(EntryVersion.version))
    query = select_columns(*place).where(col(EntryVersion.organism) == organism).order_by(*place).limit(WINDOW)
    if after is not None:
        query = query.where(tuple_(*place) > (after.accession, after.version))
    return tuple(AccessionVersion(*row) for row in session.execute(query))


def _processable(
    session: Session, row: Reprocessing, choice: Choice, names: Sequence[AccessionVersion]
) -> list[AccessionVersion]:
    """Those of these entries that the order is about and that can be processed now, in order."""
    place = (col(EntryVersion.accession), col(EntryVersion.version))
    query = entry_state.with_state(select_columns(*place)).where(
        among(EntryVersion, names),
        selection.chosen(session, row.organism, row.pipeline_version, choice),
        selection.has_its_originals(),
        selection.is_at_rest(),
    )
    return [AccessionVersion(*each) for each in session.execute(query.order_by(*place))]


def _feed(session: Session, house: House, found: Sequence[_Found]) -> int:
    locked = [row for row in session.exec(_running().with_for_update()) if _is_for(house, row)]
    room = house.settings.worker.background_jobs - _open_jobs(session, locked)
    by_order = {each.order_id: each for each in found}
    made = 0
    for row in locked:
        ahead = by_order.get(row.id or 0)
        begin = AccessionVersion(row.after_accession, row.after_version) if row.after_accession else None
        if ahead is not None and not row.fed and ahead.bookmark == begin:
            taken = _take(session, row, ahead, min(room - made, _allowed(session, row)))
            # Before the next order is looked at: of what two orders want each entry gets one job.
            _write(session, row, taken)
            made += len(taken)
    for row in locked:
        if row.fed and _open_of(session, row) == 0:
            orders.changed(session, row, OrderState.DONE)
            details = {"reprocessing": row.id, "pipelineVersion": row.pipeline_version, "queued": row.queued}
            audit.append(session, SYSTEM, "finish reprocessing", row.organism, details)
    return made


def _allowed(session: Session, row: Reprocessing) -> int:
    """How many jobs the order may get now, by its pace; an hour that was slept through is not made up for."""
    if row.per_hour is None:
        return WINDOW
    now = clock.read(session)
    if now - row.pace_since > HOUR:
        row.pace_since, row.pace_queued = now - HOUR / row.per_hour, 0
    return int(row.per_hour * (now - row.pace_since) / HOUR) - row.pace_queued


def _take(session: Session, row: Reprocessing, ahead: _Found, most: int) -> list[AccessionVersion]:
    """Move the bookmark, and say which entries get a job: those that are still to be processed once locked."""
    if ahead.names and most <= 0:
        return []
    names, last = list(ahead.names), ahead.last
    if len(names) > most:
        names = names[:most]
        last = names[-1]
    taken: list[AccessionVersion] = []
    if names:
        place = (col(EntryVersion.accession), col(EntryVersion.version))
        lock = select(*place).where(among(EntryVersion, names)).order_by(*place)
        session.exec(lock.with_for_update(key_share=True)).all()
        # Asked again in a statement of its own: somebody may have changed, erased or begun to process one.
        taken = _processable(session, row, Choice.of_json(row.choice), names)
    row.fed = last is None
    if last is not None:
        row.after_accession, row.after_version = last.accession, last.version
    row.queued += len(taken)
    row.pace_queued += len(taken)
    session.flush()
    return taken


def _write(session: Session, row: Reprocessing, names: Sequence[AccessionVersion]) -> None:
    if not names:
        return
    now = clock.read(session)
    rows = [
        Job(
            id=str(uuid.uuid4()), kind=JobKind.PROCESS_SUBMISSION.value, organism=row.organism,
            accession=name.accession, version=name.version, pipeline_version=row.pipeline_version,
            priority=Priority.BACKGROUND.value, reprocessing_id=row.id, created_at=now, not_before=now,
        ).model_dump()
        for name in names
    ]  # fmt: skip
    session.execute(insert(Job), rows)
    note_sizes(session, [each["id"] for each in rows])
