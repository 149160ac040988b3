"""The database is opened, built and told the time as the services need it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, text
from sqlmodel import SQLModel, select

from readvault.db import clock, immutability
from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import AccessionCounter, GroupMember


def test_the_migrations_build_exactly_the_tables(sessions: Sessions) -> None:
    with sessions.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_migrating_again_changes_nothing_and_brings_back_lost_triggers(database_url: str, sessions: Sessions) -> None:
    rule = next(immutability.rules())
    with sessions.begin() as session:
        on = "" if sessions.dialect == "sqlite" else f'ON "{rule.table}"'
        session.execute(text(f'DROP TRIGGER "{rule.name}" {on}'))
        assert immutability.missing(session.connection()) == [rule.name]
    migrate(database_url)
    with sessions.read() as session:
        assert immutability.missing(session.connection()) == []


def test_the_clock_is_the_databases_and_has_fractions(sessions: Sessions) -> None:
    with sessions.read() as session:
        first = clock.read(session)
        time.sleep(0.01)
        second = clock.read(session)
    assert abs(first - time.time()) < 5
    assert 0.005 < second - first < 5


def test_the_clock_counts_within_statements(sessions: Sessions) -> None:
    with sessions.read() as session:
        assert session.exec(select(func.count()).where(clock.now() > 1.7e9)).one() == 1


def test_writers_wait_for_each_other_and_none_is_lost(sessions: Sessions) -> None:
    """Read-then-write in eight threads; a deferred transaction would fail or lose an increment."""
    with sessions.begin() as session:
        session.add(AccessionCounter(id=1, last=0))

    def increment() -> None:
        for _ in range(10):
            with sessions.begin() as session:
                counter = session.exec(select(AccessionCounter).with_for_update()).one()
                counter.last += 1

    in_threads(8, increment)
    with sessions.read() as session:
        assert session.exec(select(AccessionCounter.last)).one() == 80


def test_a_failed_transaction_leaves_nothing(sessions: Sessions) -> None:
    def fail() -> None:
        with sessions.begin() as session:
            session.add(AccessionCounter(id=1, last=7))
            session.flush()
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        fail()
    with sessions.read() as session:
        assert session.get(AccessionCounter, 1) is None


def test_reading_does_not_wait_for_a_writer(sessions: Sessions) -> None:
    with sessions.begin() as writer:
        writer.add(AccessionCounter(id=1, last=1))
        writer.flush()
        with sessions.read() as reader:
            assert reader.get(AccessionCounter, 1) is None


def test_references_are_enforced(sessions: Sessions) -> None:
    from sqlalchemy.exc import IntegrityError

    def refer_to_nothing() -> None:
        with sessions.begin() as session:
            session.add(GroupMember(group_id=4711, user_name="nobody"))

    with pytest.raises(IntegrityError):
        refer_to_nothing()


def test_two_starts_at_once_migrate_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('fresh') / 'new' / 'readvault.sqlite'}"
    in_threads(2, lambda: migrate(url))
    engine = create_engine(url)
    with engine.connect() as connection:
        assert immutability.missing(connection) == []
    engine.dispose()


def test_a_new_database_can_be_opened_by_several_at_once(tmp_path: Path) -> None:
    """SQLite does not wait by itself when two switch a new database to WAL: one open in forty failed."""
    for number in range(30):
        url = f"sqlite:///{tmp_path / f'{number}.sqlite'}"
        together = threading.Barrier(4)

        def opened(url: str = url, together: threading.Barrier = together) -> None:
            engine = create_engine(url)
            together.wait()
            with engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (a INTEGER)")
            engine.dispose()

        in_threads(4, opened)


def in_threads(count: int, work: Callable[[], None]) -> None:
    """Run `work` in threads at once; raises what any of them raised."""
    faults: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
