"""Pulls that somebody cancels or whose time is up; and when they are forgotten."""

from __future__ import annotations

from sqlalchemy import delete
from sqlmodel import col, select

from readvault.db import audit, clock
from readvault.db.clock import now as database_now
from readvault.db.pull_ends import end, locked
from readvault.db.tables import Pull, PullSource
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict
from readvault.domain.pulls import PullState
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.pulls.access import is_over, own_pull, view_of
from readvault.services.pulls.asked import PullView

PAGE = 100
KEPT_FOR = 30 * 86_400.0
"""Seconds for which a pull that is over can be looked up."""


def cancel(house: House, actor: Actor | None, pull_id: str, reason: str = "") -> PullView:
    """Stop a pull. What is pulled already stays, and can be submitted; one that is over stays as it is.

    The audit log keeps the reason, where there is one. Raises NotFound, and Conflict when it begins in this very
    moment: ask again.
    """
    with house.sessions.begin() as session:
        own_pull(session, actor, pull_id)
        assert actor is not None
        pull = locked(session, pull_id)
        if not is_over(pull):
            end(session, pull, PullState.CANCELLED)
            session.flush()
            audit.append(session, actor.name, "cancel pull", pull.id, {"reason": reason} if reason else {})
        return view_of(session, pull)


def cancel_any(house: House, actor: Actor, pull_id: str, reason: str) -> None:
    """Stop a pull of any group, for a reason that the audit log keeps. For maintainers; raises as `cancel`."""
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MAINTAIN)
        own_pull(session, actor, pull_id)
        pull = locked(session, pull_id)
        if is_over(pull):
            raise Conflict(f"This pull is {pull.state}.")
        end(session, pull, PullState.CANCELLED)
        session.flush()
        audit.append(session, actor.name, "cancel pull", pull.id, {"reason": reason})


def expire(house: House) -> int:
    """End the pulls whose time is up, whatever became of their jobs; how many."""
    ended, last = 0, ""
    while True:
        with house.sessions.read() as session:
            due = (col(Pull.ended_at).is_(None), col(Pull.expires_at) < database_now(), col(Pull.id) > last)
            page = session.exec(select(Pull.id).where(*due).order_by(col(Pull.id)).limit(PAGE)).all()
        if not page:
            return ended
        last = page[-1]
        for pull_id in page:
            with house.sessions.begin() as session:
                pull = locked(session, pull_id)
                if not is_over(pull):
                    end(session, pull, PullState.EXPIRED)
                    ended += 1


def forget_old(house: House) -> int:
    """Drop what ended a month ago, with the names that it knew; how many pulls. Their files are others' matter."""
    forgotten = 0
    while True:
        with house.sessions.begin() as session:
            old = select(Pull.id).where(col(Pull.ended_at) < clock.read(session) - KEPT_FOR).order_by(col(Pull.id))
            page = session.exec(old.limit(PAGE).with_for_update(skip_locked=True)).all()
            for table, owner in ((PullSource, col(PullSource.pull_id)), (Pull, col(Pull.id))):
                session.execute(delete(table).where(owner.in_(page)).execution_options(synchronize_session=False))
        forgotten += len(page)
        if len(page) < PAGE:
            return forgotten
