"""Erasures: bytes are destroyed on purpose, for a reason, by two maintainers, and a tombstone stays.

Asking lists what would go. Confirming, by another person and against the code of that very list, makes
the versions unreadable for everybody at once; the bytes follow (`services.storage.shredding`), as often
as it takes, until a search finds nothing left and the proof of it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from readvault.db import audit, clock
from readvault.db.erased import tombstones
from readvault.db.tables import EntryVersion, Erasure
from readvault.domain import interventions
from readvault.domain.actor import Actor
from readvault.domain.erasures import CONFIRM_WITHIN, Kind, Scope, State
from readvault.domain.errors import BadRequest, Conflict, Forbidden, NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.failpoints import failpoint
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.storage.erasing import erasure_plan, tombstoning
from readvault.services.storage.erasing.erasure_plan import Line, Target

MOST_VERSIONS = 1000
PAGE = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """What an erasure takes, as it is now. `documents` change by themselves, so the code says nothing of them."""

    names: tuple[AccessionVersion, ...]
    scope: Scope
    targets: tuple[Target, ...]
    lines: tuple[Line, ...]
    documents: int

    @property
    def code(self) -> str:
        """The SHA-256 of the list."""
        return erasure_plan.code_of(self.names, self.scope, self.lines, self.targets)

    @property
    def size(self) -> int:
        """Bytes in both buckets."""
        return sum(line.size for line in self.lines)

    def kind_of(self, line: Line) -> Kind:
        """What a listed version is: pinned as this or that, or what was listed."""
        pins = {(each.key, each.version_id or ""): each.kind for each in self.targets}
        return pins.get((line.key, line.version_id), line.kind)


def request(house: House, actor: Actor | None, names: Iterable[AccessionVersion], reason: str) -> tuple[Erasure, Plan]:
    """Ask for the erasure of accession versions: nothing goes, what would go is listed and remembered by its code.

    The reason is public: it stands in the versions' place (410). Raises Forbidden for all but
    maintainers, BadRequest without versions or reason, NotFound, and Conflict for versions that are
    erased already or share files with versions that are not named.
    """
    told = interventions.checked_reason(reason)
    wanted = tuple(sorted(set(names)))
    if not 1 <= len(wanted) <= MOST_VERSIONS:
        raise BadRequest(f"An erasure is of 1 to {MOST_VERSIONS} accession versions.")
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
    assert actor is not None
    plan = plan_of(house, wanted)
    with house.sessions.begin() as session:
        row = Erasure(
            accession_versions=[str(name) for name in wanted],
            scope=plan.scope.value,
            reason=told,
            code=plan.code,
            objects=len(plan.lines),
            size=plan.size,
            requested_by=actor.name,
            requested_at=clock.read(session),
        )
        session.add(row)
        session.flush()
        details = {"erasure": row.id, "versions": row.accession_versions, "reason": told, "code": row.code}
        details |= {"objects": row.objects, "bytes": row.size}
        audit.append(session, actor.name, "request erasure", str(wanted[0]), details)
        return row, plan


def confirm(house: House, actor: Actor | None, erasure_id: int, *, objects: int, code: str) -> Erasure:
    """Say yes to another maintainer's request: from the commit on nobody reads the versions any more.

    `objects` and `code` are those that the request showed. Released versions are withdrawn, jobs called
    off, quotas freed, unreleased versions deleted but for their tombstones. The bytes go after this
    (`shredding.carry_on`). Raises Forbidden for the one who asked and for machine tokens, NotFound, and
    Conflict when it is confirmed or expired, or the list is another one than what was asked for.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.CONFIRM_ERASURE)
        row = _found(session, erasure_id)
        _check_open(session, row)
    assert actor is not None
    if actor.name == row.requested_by:
        raise Forbidden("Another maintainer has to confirm: nobody erases alone.")
    if (objects, code) != (row.objects, row.code):
        raise Conflict(f"Erasure {row.id} is of {row.objects} objects with the code {row.code}.")
    plan = plan_of(house, names_of(row))
    if plan.code != row.code:
        raise Conflict("What would go is not what it was when it was asked for. Ask anew.")
    with house.sessions.begin() as session:
        row = session.get_one(Erasure, erasure_id, with_for_update=True)
        _check_open(session, row)
        row.confirmed_by, row.confirmed_at = actor.name, clock.read(session)
        entries = tombstoning.lock(session, plan.names, plan.targets)
        _check_unchanged(session, plan)
        tombstoning.execute(session, row, entries, plan.targets)
        details = {"erasure": row.id, "versions": row.accession_versions, "code": row.code}
        audit.append(session, actor.name, "confirm erasure", row.accession_versions[0], details)
        failpoint("erase-before-confirm")
    failpoint("erase-confirmed")
    return row


def plan_of(house: House, names: Sequence[AccessionVersion], scope: Scope = Scope.EVERYTHING) -> Plan:
    """What an erasure of these versions takes now. Raises what `request` raises for versions."""
    with house.sessions.read() as session:
        released = {name: _entry(session, name).released for name in names}
        if gone := tombstones(session, names):
            raise Conflict(f"Erased already: {', '.join(map(str, sorted(gone)))}")
        pins = tuple(erasure_plan.targets(session, names, scope))
        shared = erasure_plan.others(session, names, (each.key for each in pins))
    if shared:
        listed = ", ".join(f"{name} ({len(keys)} of its objects)" for name, keys in sorted(shared.items())[:50])
        raise Conflict(f"Other accession versions have some of the same files; name them too: {listed}")
    lines = tuple(erasure_plan.lines(house, (each.key for each in pins)))
    prefixes = [prefix for name in names for prefix in erasure_plan.document_prefixes(name, released=released[name])]
    documents = sum(1 for _ in erasure_plan.documents(house, prefixes))
    return Plan(tuple(sorted(names)), scope, pins, lines, documents)


def find(house: House, actor: Actor | None, erasure_id: int) -> tuple[Erasure, State]:
    """One erasure and how far it is. Raises Forbidden for all but maintainers, NotFound."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        row = _found(session, erasure_id)
        return row, state_of(row, clock.read(session))


def page(
    house: House, actor: Actor | None, *, before: int | None = None, size: int = PAGE
) -> list[tuple[Erasure, State]]:
    """Erasures, newest first, with IDs below `before`. Raises Forbidden for all but maintainers."""
    query = select(Erasure).order_by(col(Erasure.id).desc()).limit(size)
    if before is not None:
        query = query.where(col(Erasure.id) < before)
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        now = clock.read(session)
        return [(row, state_of(row, now)) for row in session.exec(query)]


def state_of(row: Erasure, now: float) -> State:
    """How far an erasure is at this moment of the database's clock."""
    if row.finished_at is not None:
        return State.FINISHED
    if row.confirmed_at is not None:
        return State.CONFIRMED
    return State.EXPIRED if now > row.requested_at + CONFIRM_WITHIN else State.REQUESTED


def names_of(row: Erasure) -> tuple[AccessionVersion, ...]:
    """The accession versions of an erasure."""
    return tuple(AccessionVersion.parse(each) for each in row.accession_versions)


def _found(session: Session, erasure_id: int) -> Erasure:
    row = session.get(Erasure, erasure_id)
    if row is None:
        raise NotFound("There is no such erasure.")
    return row


def _check_open(session: Session, row: Erasure) -> None:
    state = state_of(row, clock.read(session))
    if state is State.EXPIRED:
        raise Conflict("The request was not confirmed in time and is void. Ask anew.")
    if state is not State.REQUESTED:
        raise Conflict(f"The erasure is {state} already.")


def _check_unchanged(session: Session, plan: Plan) -> None:
    """See, once nobody else can change it, that the database is as it was when the buckets were listed."""
    same = erasure_plan.targets(session, plan.names, plan.scope) == list(plan.targets)
    if (
        not same
        or tombstones(session, plan.names)
        or erasure_plan.others(session, plan.names, (each.key for each in plan.targets))
    ):
        raise Conflict(tombstoning.CHANGED)


def _entry(session: Session, name: AccessionVersion) -> EntryVersion:
    entry = session.get(EntryVersion, (name.accession, name.version))
    if entry is None:
        if tombstones(session, [name]):
            raise Conflict(f"Erased already: {name}")
        raise NotFound(f"Accession version {name} does not exist.")
    return entry
