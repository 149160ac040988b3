"""How a pull ends: done, cancelled or expired; with it go its credentials, at once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from readvault.db import audit, clock
from readvault.db.clock import now as database_now
from readvault.db.tables import Job, Pull, PullSource, UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict
from readvault.domain.pulls import PullState, Refusal, SourceState
from readvault.domain.status import JobState
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.pulls.access import is_over, own_pull, view_of
from readvault.services.pulls.asked import PullView
from readvault.services.queue.fence import UNDELIVERED

PAGE = 100
KEPT_FOR = 30 * 86_400.0
"""Seconds for which a pull that is over can be looked up."""
_UNFINISHED = (SourceState.WAITING.value, SourceState.PULLING.value)
_TRIES = 3


def cancel(house: House, actor: Actor | None, pull_id: str) -> PullView:
    """Stop a pull. What is pulled already stays, and can be submitted; one that is over stays as it is.

    Raises NotFound, and Conflict when it begins in this very moment: ask again.
    """
    with house.sessions.begin() as session:
        own_pull(session, actor, pull_id)
        assert actor is not None
        pull = _locked(session, pull_id)
        if not is_over(pull):
            end(session, pull, PullState.CANCELLED)
            session.flush()
            audit.append(session, actor.name, "cancel pull", pull.id)
        return view_of(session, pull)


def cancel_any(house: House, actor: Actor, pull_id: str, reason: str) -> None:
    """Stop a pull of any group, for a reason that the audit log keeps. For maintainers; raises as `cancel`."""
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MAINTAIN)
        own_pull(session, actor, pull_id)
        pull = _locked(session, pull_id)
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
                pull = _locked(session, pull_id)
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


def end(session: Session, pull: Pull, state: PullState) -> None:
    """End a pull whose files, job and row are locked: its credentials are deleted, its open job is called off.

    Uploads that are not finished expire at once; what S3 has of them is taken away with other expired ones.
    """
    now = clock.read(session)
    pull.state, pull.ended_at, pull.secret = state.value, now, None
    mine = col(PullSource.pull_id) == pull.id
    reason: dict[str, object] = {"state": SourceState.CANCELLED.value, "secret": None}
    if state is PullState.EXPIRED:
        reason = {
            "state": SourceState.FAILED.value,
            "refusal": Refusal.EXPIRED.value,
            "reason": "The time of the pull was up.",
            "secret": None,
        }
    unfinished = mine & col(PullSource.state).in_(_UNFINISHED)
    files = select(PullSource.file_id).where(unfinished, col(PullSource.file_id).is_not(None))
    not_synchronized = {"synchronize_session": False}
    session.execute(
        update(UploadedFile)
        .where(col(UploadedFile.id).in_(files), col(UploadedFile.expires_at) > now)
        .values(expires_at=now)
        .execution_options(**not_synchronized)
    )
    session.execute(update(PullSource).where(unfinished).values(**reason).execution_options(**not_synchronized))
    session.execute(update(PullSource).where(mine).values(secret=None).execution_options(**not_synchronized))
    session.expire_all()
    if pull.job_id is not None and state is not PullState.DONE:
        _call_off(session, pull.job_id, now)


def _call_off(session: Session, job_id: str, now: float) -> None:
    """End the job of a pull that is over: a worker that is at it finds that it doesn't hold it any more."""
    off = {"state": JobState.DONE.value, "finished_at": now, "last_error": "called off", **UNDELIVERED}
    session.execute(
        update(Job)
        .where(col(Job.id) == job_id, col(Job.state) != JobState.DONE.value)
        .values(attempt=col(Job.attempt) + 1, **off)
        .execution_options(synchronize_session=False)
    )


def _locked(session: Session, pull_id: str) -> Pull:
    """A pull with everything that a worker writes in the same order: its files, its job, itself."""
    for _ in range(_TRIES):
        seen = session.get_one(Pull, pull_id, populate_existing=True).job_id
        lock_files(session, pull_id)
        if seen is not None:
            session.exec(select(Job.id).where(Job.id == seen).with_for_update()).one_or_none()
        pull = session.get_one(Pull, pull_id, with_for_update=True, populate_existing=True)
        if pull.job_id == seen:
            return pull
    raise Conflict("The pull is just beginning. Ask again.")


def lock_files(session: Session, pull_id: str) -> Sequence[str]:
    """Wait for the uploaded files of a pull, in the order of their IDs."""
    mine = select(PullSource.file_id).where(PullSource.pull_id == pull_id, col(PullSource.file_id).is_not(None))
    query = select(UploadedFile.id).where(col(UploadedFile.id).in_(mine)).order_by(col(UploadedFile.id))
    return session.exec(query.with_for_update()).all()
