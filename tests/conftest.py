"""What the tests share: the databases, a house with fakes, the shared real data."""

from __future__ import annotations

import gc
import os
import shutil
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from _pytest.doctest import DoctestModule

from tests.prefect_database import PrefectDatabase

REPOSITORY = Path(__file__).resolve().parent.parent
POSTGRES = os.environ.get("READVAULT_TEST_POSTGRES_URL")
DATABASES = ["sqlite", "postgresql"] if POSTGRES else ["sqlite"]
LONGEST_FIRST = (
    "tests/integration/test_prefect_worker.py",
    "tests/faults/test_campaigns.py",
    "tests/journey/test_submission_journey.py",
    "tests/journey/test_import_journey.py",
    "tests/integration/test_up.py",
    "tests/faults/test_kills.py",
    "tests/integration/api/test_access_matrix.py",
    "tests/journey/test_external_pipeline_journey.py",
    "tests/integration/s3/test_s3_store.py",
    "tests/integration/api/test_hostile_texts.py",
    "tests/integration/api/test_schemathesis.py",
    "tests/integration/api/test_web_hostile.py",
    "tests/journey/test_loculus_clients.py",
    "tests/journey/test_pages_journey.py",
    "tests/integration/test_nursery.py",
    "tests/integration/services/test_exports.py",
    "tests/integration/api/test_caps.py",
    "tests/integration/s3/test_s3_probes.py",
    "tests/integration/services/test_clocks.py",
)


def pytest_configure() -> None:
    """Of what is loaded and collected nothing becomes garbage, and to look through it all takes seconds each time."""
    gc.disable()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Examples in docstrings are the package's; to look for some in each file of tests takes each process a second."""
    found = yield
    return [collector for collector in found if not isinstance(collector, DoctestModule)]


def pytest_collection_finish() -> None:
    """In every test the fake S3 refuses what is asked inside a write transaction, and passwords cost little."""
    # Not for the process that only hands out tests: it would load the database's tables for nothing.
    from typer import testing

    from readvault.services.people import accounts
    from tests import transactions

    transactions.watch()
    # The commands stay the same: to make them all anew costs each call of one 50 ms of CPU.
    testing._get_command = cache(testing._get_command)  # type: ignore[attr-defined]
    # A password's hash tells how dear it is to check; a dear one costs 60 ms of CPU at each login.
    accounts._COST = 2**4
    # From here on garbage is looked for among what tests make.
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val: object) -> str | None:
    """A name that is the same in every process: compressed bytes may hold the time at which they were made."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and not val.isascii() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that two processes end together."""
    ranks = {REPOSITORY / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real reads and their truth; skips where it is absent."""
    folder = Path(os.environ.get("READVAULT_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the shared real data are not here (set READVAULT_SHARED_DATA)")
    return folder


@dataclass(frozen=True)
class MigratedDatabases:
    """One migrated database of each kind, made fresh for each test: SQLite by a copy, PostgreSQL by emptying it."""

    folder: Path

    def sqlite(self) -> str:
        """The database's URL; it is a fresh copy of the migrated one."""
        from readvault.db.engine import migrate

        template, current = self.folder / "template.sqlite", self.folder / "readvault.sqlite"
        if not template.exists():
            # A test that is stopped in the middle of this leaves no half of a template to the next one.
            unfinished = self.folder / f"{uuid.uuid4().hex}.sqlite"
            migrate(f"sqlite:///{unfinished}")
            assert [path.name for path in self.folder.glob(f"{unfinished.name}*")] == [unfinished.name]
            unfinished.rename(template)
        for leftover in self.folder.glob(f"{current.name}*"):
            leftover.unlink()
        shutil.copyfile(template, current)
        return f"sqlite:///{current}"

    def postgresql(self) -> str:
        """The database's URL; it is empty, and its triggers are all there."""
        from readvault.db.engine import migrate

        marker = self.folder / "postgresql"
        if not marker.exists():
            name = f"readvault_test_{uuid.uuid4().hex[:12]}"
            _on_server(f'CREATE DATABASE "{name}"')
            marker.write_text(name)
            migrate(_at(name))
        _empty(url := _at(marker.read_text()))
        return url

    def drop(self) -> None:
        """Remove the PostgreSQL database."""
        marker = self.folder / "postgresql"
        if marker.exists():
            _on_server(f'DROP DATABASE "{marker.read_text()}" WITH (FORCE)')


def _empty(url: str) -> None:
    from sqlmodel import SQLModel

    from readvault.db import immutability
    from readvault.db.engine import create_engine

    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            # The triggers that keep releases would refuse this to everybody but a replica.
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            for table in SQLModel.metadata.tables:
                connection.exec_driver_sql(f'DELETE FROM "{table}"')
            connection.exec_driver_sql(
                "SELECT setval(oid, 1, false) FROM pg_class"
                " WHERE relkind = 'S' AND relnamespace = current_schema()::regnamespace"
            )
            immutability.install(connection)
    finally:
        engine.dispose()


def _at(database: str) -> str:
    from sqlalchemy import make_url

    assert POSTGRES is not None
    return make_url(POSTGRES).set(database=database).render_as_string(hide_password=False)


def _on_server(statement: str) -> None:
    from sqlalchemy import create_engine, make_url

    assert POSTGRES is not None
    engine = create_engine(make_url(POSTGRES).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def migrated_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MigratedDatabases]:
    """The databases that tests start from."""
    databases = MigratedDatabases(tmp_path_factory.mktemp("databases"))
    yield databases
    databases.drop()


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, migrated_databases: MigratedDatabases) -> str:
    """An empty, migrated database of this test alone."""
    return migrated_databases.postgresql() if request.param == "postgresql" else migrated_databases.sqlite()


@pytest.fixture(scope="session")
def prefect_database() -> PrefectDatabase:
    """A database for Prefect's server that needs no migration; all test runs of a working copy share its making."""
    return PrefectDatabase()


@pytest.fixture(scope="session")
def engines() -> Iterator[dict[str, Any]]:
    """One engine for each database, because each compiles every statement anew."""
    opened: dict[str, Any] = {}
    yield opened
    for engine in opened.values():
        engine.dispose()


@pytest.fixture
def sessions(database_url: str, engines: dict[str, Any]) -> Iterator[object]:
    """Sessions of an empty, migrated database."""
    from sqlalchemy import event

    from readvault.db.engine import Sessions, create_engine

    if database_url not in engines:
        engines[database_url] = engine = create_engine(database_url)
        if engine.dialect.name == "sqlite":
            # A power cut would lose nothing but a test.
            event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    opened = Sessions(engines[database_url])
    yield opened
    opened.close()


@pytest.fixture
def store() -> object:
    """A store in memory."""
    from tests.fakes import MemoryStore

    return MemoryStore()


@pytest.fixture
def orchestrator() -> object:
    """An orchestrator that writes deliveries down."""
    from tests.fakes import RecordingOrchestrator

    return RecordingOrchestrator()


@pytest.fixture
def house(sessions: object, store: object, orchestrator: object, tmp_path: Path) -> object:
    """A house with a real database, a fake store and a fake orchestrator."""
    from tests.houses import build_house

    return build_house(sessions, store, orchestrator, tmp_path)
