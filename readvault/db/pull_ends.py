"""Pulls end with the account or the membership of who asked for them: nobody's credentials are used for who left."""

from __future__ import annotations

from sqlalchemy import update
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import Pull


def end_pulls_of(session: Session, user_name: str, group_id: int | None = None) -> None:
    """Let the time of every open pull be up that this user asked for, or for this group alone.

    The next recovery ends them as it ends all whose time is up: their credentials go, their jobs are called off.
    """
    own = [col(Pull.asked_by) == user_name, col(Pull.ended_at).is_(None)]
    if group_id is not None:
        own.append(col(Pull.group_id) == group_id)
    ended = update(Pull).where(*own).values(expires_at=clock.read(session) - 1)
    session.execute(ended.execution_options(synchronize_session=False))
