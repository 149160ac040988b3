"""The audit log shows every alteration of itself."""

from __future__ import annotations

import threading

from sqlalchemy import text
from sqlmodel import func, select

from readvault.db import audit, immutability
from readvault.db.engine import Sessions
from readvault.db.tables import AuditEntry


def write(sessions: Sessions, count: int) -> None:
    for number in range(count):
        with sessions.begin() as session:
            audit.append(session, "alice", "approve", f"A.{number}", {"number": number, "share": 0.1, "name": "Zürich"})


def without_triggers(sessions: Sessions, statement: str) -> None:
    """Alter the log as somebody does who owns the database."""
    with sessions.begin() as session:
        connection = session.connection()
        for rule in immutability.rules():
            if rule.table == "audit_log":
                on = "" if sessions.dialect == "sqlite" else 'ON "audit_log"'
                connection.execute(text(f'DROP TRIGGER "{rule.name}" {on}'))
        connection.execute(text(statement))


def bad_rows(sessions: Sessions) -> list[int]:
    with sessions.read() as session:
        return audit.verify(session)


def test_a_whole_log_has_no_bad_rows(sessions: Sessions) -> None:
    write(sessions, 5)
    assert bad_rows(sessions) == []


def test_an_empty_log_has_no_bad_rows(sessions: Sessions) -> None:
    assert bad_rows(sessions) == []


def test_an_altered_row_is_found(sessions: Sessions) -> None:
    write(sessions, 5)
    without_triggers(sessions, "UPDATE audit_log SET actor = 'mallory' WHERE id = 3")
    assert bad_rows(sessions) == [3]


def test_a_row_that_was_altered_with_its_own_digest_is_found_by_the_next(sessions: Sessions) -> None:
    write(sessions, 5)
    with sessions.read() as session:
        third = session.exec(select(AuditEntry).where(AuditEntry.id == 3)).one()
        third.actor = "mallory"
        forged = audit._digest(third)
    without_triggers(sessions, f"UPDATE audit_log SET actor = 'mallory', sha256 = '{forged}' WHERE id = 3")
    assert bad_rows(sessions) == [4]


def test_a_deleted_row_is_found_by_the_next(sessions: Sessions) -> None:
    write(sessions, 5)
    without_triggers(sessions, "DELETE FROM audit_log WHERE id = 2")
    assert bad_rows(sessions) == [3]


def test_a_deleted_beginning_is_found(sessions: Sessions) -> None:
    write(sessions, 3)
    without_triggers(sessions, "DELETE FROM audit_log WHERE id = 1")
    assert bad_rows(sessions) == [2]


def test_racing_writers_make_one_chain(sessions: Sessions) -> None:
    threads = [threading.Thread(target=write, args=(sessions, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bad_rows(sessions) == []
    with sessions.read() as session:
        assert session.exec(select(func.count()).select_from(AuditEntry)).one() == 40
