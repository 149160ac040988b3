"""How a pull ends: with it go its credentials, at once. It also ends with the account or the membership of who asked
for it: nobody's credentials are used for who left.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
from sqlmodel import Session, col, select

from readvault.db import audit, clock
from readvault.db.job_columns import UNDELIVERED
from readvault.db.tables import Job, Pull, PullSource, UploadedFile
from readvault.domain.errors import Conflict
from readvault.domain.pulls import PullState, Refusal, SourceState
from readvault.domain.status import JobState

_UNFINISHED = (SourceState.WAITING.value, SourceState.PULLING.value)
_TRIES = 3


def end_pulls_of(session: Session, user_name: str, group_id: int | None = None) -> Sequence[str]:
    """Cancel every open pull that this user asked for, or for this group alone; their IDs.

    What is pulled already stays the group's.
    """
    own = [col(Pull.asked_by) == user_name, col(Pull.ended_at).is_(None)]
    if group_id is not None:
        own.append(col(Pull.group_id) == group_id)
    ended = []
    for pull_id in session.exec(select(Pull.id).where(*own).order_by(col(Pull.id))).all():
        pull = locked(session, pull_id)
        if pull.ended_at is None:
            end(session, pull, PullState.CANCELLED)
            session.flush()
            ended.append(pull_id)
    return ended


def write_down(session: Session, actor: str, pulls: Sequence[str]) -> None:
    """Say in the audit log that these pulls ended, as part of what ended them; at the end of the transaction."""
    for pull_id in pulls:
        audit.append(session, actor, "cancel pull", pull_id, {"why": "who asked for it left"})


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


def locked(session: Session, pull_id: str) -> Pull:
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
