"""Whose pulls somebody may see and stop. Their IDs are secret: foreign and unknown ones get one answer."""

from __future__ import annotations

from sqlalchemy import func
from sqlmodel import Session, col, select, tuple_

from readvault.db.tables import Pull, PullSource
from readvault.domain.actor import Actor
from readvault.domain.errors import Forbidden, NotFound
from readvault.domain.pulls import PullState
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.pulls.asked import Challenge, PullView, folder_of

PAGE = 100


def own_pull(session: Session, actor: Actor | None, pull_id: str, *, for_update: bool = False) -> Pull:
    """The pull of this ID; raises one NotFound for unknown and for foreign IDs alike."""
    query = select(Pull).where(Pull.id == pull_id)
    pull = session.exec(query.with_for_update() if for_update else query).one_or_none()
    authorize(session, actor, Action.LOOK_UP_PULL)
    missing = NotFound(f"There is no pull {pull_id}.")
    if pull is None:
        raise missing
    try:
        authorize(session, actor, Action.PULL, group_id=pull.group_id)
    except Forbidden:
        raise missing from None
    return pull


def view_of(session: Session, pull: Pull) -> PullView:
    """A pull as its group sees it."""
    query = select(PullSource).where(PullSource.pull_id == pull.id).order_by(col(PullSource.number))
    sources = tuple(session.exec(query))
    size = sum(each.size or each.expected_size or 0 for each in sources)
    challenge = None
    if pull.challenge_name is not None and pull.challenge_content is not None:
        places = [pull.prefix] if pull.prefix is not None else [each.place for each in sources]
        folders = tuple(dict.fromkeys(map(folder_of, places)))
        challenge = Challenge(pull.challenge_name, pull.challenge_content, folders)
    return PullView(pull, sources, challenge, size, sum(each.bytes_done for each in sources))


def look_up(house: House, actor: Actor | None, pull_id: str) -> PullView:
    """How far a pull is, source by source; raises NotFound."""
    with house.sessions.read() as session:
        return view_of(session, own_pull(session, actor, pull_id))


def pulls_of_group(house: House, actor: Actor | None, group_id: int, after: str | None = None) -> list[PullView]:
    """A group's pulls without their sources, the newest first; at most `PAGE` that come after the pull `after`."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.PULL, group_id=group_id)
        query = select(Pull).where(Pull.group_id == group_id)
        place = (col(Pull.asked_at), col(Pull.id))
        if after is not None:
            last = own_pull(session, actor, after)
            query = query.where(tuple_(*place) < (last.asked_at, last.id))
        rows = session.exec(query.order_by(*(each.desc() for each in place)).limit(PAGE)).all()
        return _with_sums(session, list(rows))


def all_pulls(house: House, actor: Actor, *, over: bool = False, after: str | None = None) -> list[PullView]:
    """Pulls of all groups without their sources, the newest first: those that go on or, with `over`, all. Paged."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        query = select(Pull) if over else select(Pull).where(col(Pull.ended_at).is_(None))
        place = (col(Pull.asked_at), col(Pull.id))
        if after is not None and (last := session.get(Pull, after)) is not None:
            query = query.where(tuple_(*place) < (last.asked_at, last.id))
        rows = session.exec(query.order_by(*(each.desc() for each in place)).limit(PAGE)).all()
        return _with_sums(session, list(rows))


def open_pulls(session: Session, group_id: int) -> int:
    """How many of a group's pulls are not over."""
    query = select(func.count(col(Pull.id))).where(Pull.group_id == group_id, col(Pull.ended_at).is_(None))
    return session.exec(query).one()


def _with_sums(session: Session, pulls: list[Pull]) -> list[PullView]:
    size = func.sum(func.coalesce(PullSource.size, PullSource.expected_size, 0))
    query = select(PullSource.pull_id, size, func.sum(PullSource.bytes_done)).group_by(col(PullSource.pull_id))
    rows = session.exec(query.where(col(PullSource.pull_id).in_([pull.id for pull in pulls])))
    sums = {pull_id: (int(all_of_it or 0), int(done or 0)) for pull_id, all_of_it, done in rows}
    return [PullView(pull, (), None, *sums.get(pull.id, (0, 0))) for pull in pulls]


def is_over(pull: Pull) -> bool:
    """Whether nothing more is pulled."""
    return pull.ended_at is not None or pull.state not in (PullState.OPEN, PullState.AWAITS_PROOF)
