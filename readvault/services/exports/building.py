"""The row of an export that is being built: one at a time, alive for as long as its builder says so."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import OrganismState, SiloExport
from readvault.domain.errors import Conflict, LeaseLost
from readvault.domain.exports import State, Why
from readvault.rounds import Rounds
from readvault.services.house import House

ENDS_WITHIN = 10.0


def begin(house: House, organism: str) -> tuple[str, int]:
    """Begin an export: its ID, and how often what is public of the organism has changed so far.

    Raises Conflict while somebody else builds one.
    """
    export_id = secrets.token_hex(8)
    under_way = Conflict(f"An export of {organism} is under way already.")
    try:
        with house.sessions.begin() as session:
            give_up_dead(session, organism)
            at = clock.read(session)
            if session.execute(select(col(SiloExport.id)).where(*_building(organism))).first() is not None:
                raise under_way
            session.add(
                SiloExport(
                    id=export_id, organism=organism, state=State.BUILDING.value, begun_at=at,
                    alive_until=at + house.settings.worker.lease, figures={},
                )
            )  # fmt: skip
            session.flush()
            state = session.get(OrganismState, organism)
    except IntegrityError:  # somebody began at the same moment
        raise under_way from None
    return export_id, 0 if state is None else state.released_revision


def _building(organism: str | None) -> tuple[ColumnElement[bool], ...]:
    mine = (col(SiloExport.state) == State.BUILDING.value,)
    return mine if organism is None else (*mine, col(SiloExport.organism) == organism)


def give_up_dead(session: Session, organism: str | None = None) -> None:
    """Drop exports whose builder is dead; what it stored is swept."""
    at = clock.read(session)
    dead = (*_building(organism), col(SiloExport.alive_until) < at)
    values = {"state": State.DROPPED.value, "why": Why.BROKEN_OFF.value, "dropped_at": at, "alive_until": None}
    session.execute(update(SiloExport).where(*dead).values(**values).execution_options(synchronize_session=False))


def held(session: Session, export_id: str) -> SiloExport:
    """The row, locked; raises LeaseLost when the export is not being built any more."""
    row = session.get(SiloExport, export_id, with_for_update=True)
    if row is None or row.state != State.BUILDING.value:
        raise LeaseLost("The export was given up meanwhile.")
    return row


@contextmanager
def alive(house: House, export_id: str) -> Iterator[Callable[[], None]]:
    """Say that the builder is alive until the block ends; what comes raises LeaseLost once nobody wants the export."""
    settings = house.settings.worker
    stopping, lost = threading.Event(), threading.Event()

    def renew() -> None:
        with house.sessions.begin() as session:
            until = clock.read(session) + settings.lease
            mine = (col(SiloExport.id) == export_id, col(SiloExport.state) == State.BUILDING.value)
            renewed = update(SiloExport).where(*mine).values(alive_until=until).returning(col(SiloExport.id))
            if session.execute(renewed.execution_options(synchronize_session=False)).first() is None:
                lost.set()

    def check() -> None:
        if lost.is_set():
            raise LeaseLost("The export was given up meanwhile.")

    renewing = Rounds("export", stopping, ((settings.renew_every, renew),))
    renewing.start()
    try:
        yield check
    finally:
        stopping.set()
        renewing.join(ENDS_WITHIN)


def end(house: House, export_id: str, why: Why) -> None:
    """Drop an export that is not ready; once this is done, its builder stores nothing more."""
    with house.sessions.begin() as session:
        row = session.get(SiloExport, export_id, with_for_update=True)
        if row is None or row.state == State.READY.value:
            return
        if row.state == State.BUILDING.value:
            row.state, row.why, row.dropped_at = State.DROPPED.value, why.value, clock.read(session)
        row.alive_until = None
