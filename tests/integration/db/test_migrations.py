"""A database with data in it gets the newest schema, and nothing that is released is lost or free to change."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, inspect, make_url, text
from sqlalchemy.exc import DBAPIError

from readvault.db import immutability
from readvault.db.engine import Sessions, alembic_config, create_engine, migrate
from readvault.db.migrations import versions
from tests.conftest import DATABASES
from tests.integration.db.test_immutability import REFUSED, released

__all__ = ["released"]

BEFORE_THE_WHOLE_PROTOCOL = "0003"
POPULATION = (
    "INSERT INTO submitting_group (id, name, institution, address, contact_email, created_at)"
    " VALUES (1, 'g', 'i', '{}', 'e', 1), (2, 'h', 'i', '{}', 'e', 1)",
    "INSERT INTO manifest (id, accession, version, pipeline_version, digest, body, processing_result, errors, warnings,"
    " processed_data, created_at) VALUES (1, 'A', 1, 1, 'd', '{}', 'NO_ISSUES', '[]', '[]', '{}', 1)",
    "INSERT INTO release (accession, version, manifest_id, released_at, approver, digest_was_given)"
    " VALUES ('A', 1, 1, 5.5, 'alice', true)",
)
ENTRIES = (
    ("A", 1, 1, "RESTRICTED", "'2027-01-01'"),
    ("A", 2, 1, "RESTRICTED", "'2027-01-01'"),
    ("B", 1, 2, "OPEN", "NULL"),
)
OLD_TRIGGER = {
    "sqlite": "CREATE TRIGGER readvault_keeps_entry_version_update_old BEFORE UPDATE ON entry_version"
    " WHEN EXISTS (SELECT 1 FROM release r WHERE r.accession = OLD.accession) BEGIN SELECT RAISE(ABORT, 'kept'); END",
    "postgresql": "CREATE FUNCTION readvault_keeps_entry_version_update_old() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN IF EXISTS (SELECT 1 FROM release r WHERE r.accession = OLD.accession) THEN RAISE EXCEPTION 'kept';"
    " END IF; RETURN NEW; END $$; CREATE TRIGGER readvault_keeps_entry_version_update_old BEFORE UPDATE ON"
    " entry_version FOR EACH ROW EXECUTE FUNCTION readvault_keeps_entry_version_update_old()",
}


@pytest.fixture(params=DATABASES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'readvault.sqlite'}"
        return
    server = make_url(os.environ["READVAULT_TEST_POSTGRES_URL"]).set(drivername="postgresql+psycopg")
    name = f"readvault_migration_{secrets.token_hex(6)}"
    _on(server.render_as_string(hide_password=False), f'CREATE DATABASE "{name}"')
    yield server.set(database=name).render_as_string(hide_password=False)
    _on(server.render_as_string(hide_password=False), f'DROP DATABASE "{name}" WITH (FORCE)')


def build_older(url: str) -> Engine:
    """A database of an older readvault with a release, a revision and a neighbour."""
    engine = create_engine(url)
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), BEFORE_THE_WHOLE_PROTOCOL)
        connection.exec_driver_sql(POPULATION[0])
        for accession, version, group, terms, until in ENTRIES:
            connection.exec_driver_sql(
                "INSERT INTO entry_version (accession, version, organism, group_id, submission_id, submitter,"
                " submitted_at, is_revocation, terms_type, restricted_until, submitted_metadata, submitted_sequences)"
                f" VALUES ('{accession}', {version}, 'o', {group}, 's', 'alice', {version}.5, false, '{terms}',"
                f" {until}, '{{}}', '{{}}')"
            )
        for statement in POPULATION[1:]:
            connection.exec_driver_sql(statement)
    return engine


@pytest.fixture
def populated(empty_database: str) -> Iterator[Engine]:
    """`A.1` is released and restricted, `A.2` revises it, `B.1` waits; built before migration 0004, then migrated."""
    engine = build_older(empty_database)
    with engine.begin() as connection:
        connection.exec_driver_sql(OLD_TRIGGER[engine.dialect.name])
    migrate(empty_database)
    yield engine
    engine.dispose()


def test_what_was_released_is_known_to_be_and_counted(populated: Engine) -> None:
    assert _rows(populated, "SELECT accession, version, released FROM entry_version ORDER BY 1, 2") == [
        ("A", 1, True), ("A", 2, False), ("B", 1, False),
    ]  # fmt: skip
    assert _rows(populated, "SELECT organism, group_id, entries FROM released_count") == [("o", 1, 1)]
    assert _rows(populated, "SELECT organism, released_revision, released_changed_at FROM organism_state") == [
        ("o", 1, 5.5)
    ]


def test_terms_have_a_history_from_the_first_submission_on(populated: Engine) -> None:
    query = "SELECT accession, terms_type, restricted_until, user_name, changed_at FROM data_use_terms ORDER BY 1"
    assert _rows(populated, query) == [
        ("A", "RESTRICTED", "2027-01-01", "alice", 1.5), ("B", "OPEN", None, "alice", 1.5),
    ]  # fmt: skip


def test_the_triggers_are_the_newest_ones_and_keep_what_is_released(populated: Engine) -> None:
    with populated.connect() as connection:
        assert immutability.missing(connection) == []
    for statement in (
        "UPDATE entry_version SET submitter = 'mallory' WHERE accession = 'A' AND version = 1",
        "DELETE FROM release",
        "DELETE FROM data_use_terms",
        "INSERT INTO release (accession, version, manifest_id, released_at, approver, digest_was_given)"
        " VALUES ('B', 1, 1, 5, 'mallory', true)",
    ):
        with pytest.raises(DBAPIError), populated.begin() as connection:
            connection.execute(text(statement))
    with populated.begin() as connection:
        connection.execute(text("UPDATE entry_version SET submitter = 'bob' WHERE accession = 'B'"))


def test_new_files_of_a_manifest_may_be_public_unless_somebody_says_otherwise(populated: Engine) -> None:
    with populated.begin() as connection:
        for statement in (
            "INSERT INTO stored_object (id, group_id, sha256, size, key, stored_at) VALUES (1, 2, 'h', 1, 'k', 1)",
            "INSERT INTO manifest (id, accession, version, pipeline_version, digest, body, processing_result, errors,"
            " warnings, processed_data, created_at) VALUES (2, 'B', 1, 1, 'd', '{}', 'NO_ISSUES', '[]', '[]', '{}', 1)",
            "INSERT INTO manifest_file (manifest_id, category, name, file_id, stored_object_id)"
            " VALUES (2, 'c', 'n', 'f', 1)",
        ):
            connection.execute(text(statement))
    assert _rows(populated, "SELECT may_be_public FROM manifest_file") == [(True,)]


STEPS = tuple(sorted(path.name[:4] for path in Path(versions.__path__[0]).glob("0*.py")))
LATER_TABLES = ("repair", "erased", "erasure", "tombstone")
"""What statements about tables begin with that an older readvault had not."""


@pytest.mark.parametrize("older", ["0004", "0005", "0008"])
def test_what_is_released_refuses_changes_after_every_step(released: Sessions, older: str) -> None:
    """Back to an older schema and up again, step by step: nothing of the older tables is lost or free to change."""
    before = _contents(released)
    with released.begin() as session:
        command.downgrade(alembic_config(session.connection()), older)
    assert _contents(released).items() <= before.items()
    for step in STEPS[STEPS.index(older) + 1 :]:
        with released.begin() as session:
            command.upgrade(alembic_config(session.connection()), step)
    after = _contents(released)
    assert {name: rows for name, rows in after.items() if name not in NEWER_TABLES} == {
        name: rows for name, rows in before.items() if name not in NEWER_TABLES
    }
    with released.read() as session:
        assert immutability.missing(session.connection()) == []
    accepted = [name for name, statement in REFUSED.items() if not _is_refused(released, statement)]
    assert [name for name in accepted if not name.startswith(LATER_TABLES)] == []


def _is_refused(sessions: Sessions, statement: str) -> bool:
    try:
        with sessions.begin() as session:
            session.execute(text(statement))
            session.rollback()
    except DBAPIError:
        return True
    return False


def test_a_migration_is_one_transaction(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends it half-way leaves the older schema, with its data, and it can be run again."""
    engine = create_engine(empty_database)
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0005")
        connection.exec_driver_sql(POPULATION[0])

    def fail(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(immutability, "install", fail)
        with pytest.raises(KeyboardInterrupt):
            migrate(empty_database)
    assert _rows(engine, "SELECT version_num FROM alembic_version") == [("0005",)]
    assert _rows(engine, "SELECT name FROM submitting_group ORDER BY 1") == [("g",), ("h",)]
    migrate(empty_database)
    assert _rows(engine, "SELECT name FROM submitting_group ORDER BY 1") == [("g",), ("h",)]
    engine.dispose()


NEWER_TABLES = {
    "repair", "second_copy", "bookmark", "fixity_check", "condemned_version", "partial_file", "pending_record",
    "erasure", "erased_version", "erased_object",
}  # fmt: skip


def _contents(sessions: Sessions) -> dict[str, list[str]]:
    """The rows of every table that is there, as text."""
    with sessions.read() as session:
        connection = session.connection()
        there = set(inspect(connection).get_table_names()) - {"alembic_version"}
        return {
            name: sorted(repr(tuple(row)) for row in connection.exec_driver_sql(f'SELECT * FROM "{name}"'))
            for name in there
        }


def _rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [
            tuple(bool(v) if name in ("released", "may_be_public") else v for name, v in row._mapping.items())
            for row in connection.execute(text(query))
        ]


def _on(url: str, statement: str) -> None:
    from sqlalchemy import create_engine as plain_engine

    engine = plain_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
