"""Who freezes inside a write transaction on PostgreSQL loses it, and nobody waits for ever."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from readvault.db import engine as engines
from readvault.db import faults
from readvault.db.engine import Sessions
from readvault.db.tables import AccessionCounter

SHOW = text("SHOW idle_in_transaction_session_timeout")


@pytest.fixture(autouse=True)
def postgresql(sessions: Sessions) -> None:
    """SQLite lets go of the lock of a dead process by itself; one that is frozen keeps it."""
    if sessions.dialect != "postgresql":
        pytest.skip("PostgreSQL's limit")


def test_only_writers_have_a_limit(sessions: Sessions) -> None:
    """A download reads as slowly as its client does."""
    with sessions.begin() as session:
        assert session.execute(SHOW).scalar_one() == "1min"
    with sessions.read() as session:
        assert session.execute(SHOW).scalar_one() == "0"


def test_a_frozen_writer_is_cut_and_its_locks_are_free(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    with sessions.begin() as session:
        session.add(AccessionCounter(id=1, last=1))
    monkeypatch.setattr(engines, "IDLE_LIMIT", 0.2)
    with pytest.raises(DBAPIError) as cut:
        _freeze_with_a_lock(sessions)
    assert faults.is_passing(cut.value)
    with sessions.read() as session:
        assert session.get_one(AccessionCounter, 1).last == 11


def _freeze_with_a_lock(sessions: Sessions) -> None:
    with sessions.begin() as frozen:
        frozen.get_one(AccessionCounter, 1, with_for_update=True).last = 2
        frozen.flush()
        time.sleep(0.5)
        with sessions.begin() as other:  # waits for nobody
            other.get_one(AccessionCounter, 1, with_for_update=True).last += 10
        frozen.execute(text("SELECT 1"))
