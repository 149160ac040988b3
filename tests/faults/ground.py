"""What campaigns about races and kills stand on: a database, a bucket that outlives processes, real kills.

Processes that are killed come from `tests.faults.forge`: each opens its own connections to the same
database and the same bucket, does one thing with a fail point armed, and SIGKILL hits it there.
"""

from __future__ import annotations

import os
import secrets
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine as plain_engine
from sqlalchemy import event, make_url

from readvault.config import WorkerSettings
from readvault.db.engine import Sessions, create_engine, migrate
from readvault.failpoints import VARIABLE
from readvault.ports import StoredVersion
from readvault.services.house import House
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.houses import build_house
from tests.postgres_server import POSTGRES_URL, server

LEASE = 2.0
"""Seconds."""
WORKER = WorkerSettings(
    lease=LEASE, renew_every=LEASE / 4, retry_after=(0.0,), max_attempts=1000, max_handbacks=1000, dispatch_every=0.2
)


class DiskStore(MemoryStore):
    """A versioned bucket in a folder, which several processes share. `put` and signatures stay in one process."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.versions = _Versions(folder)
        self._locks = folder.parent / f"{folder.name}-locks"
        self._locks.mkdir(exist_ok=True)

    def write(self, key: str, data: bytes) -> StoredVersion:
        version_id = f"{time.time_ns():020}-{uuid.uuid4().hex[:8]}"
        self.versions.add(key, version_id, data)  # type: ignore[attr-defined]
        return StoredVersion(key, version_id, len(data))

    def lock(self, stored: StoredVersion, *, until: float) -> None:
        (self._locks / f"{stored.version_id}").write_text(str(until))

    def is_locked(self, stored: StoredVersion) -> bool:
        """Whether a release has locked this version."""
        return (self._locks / f"{stored.version_id}").exists()


class _Versions(dict[str, list[tuple[str, bytes]]]):
    """What lies in the folder, read anew each time: keys are folders, versions files in the order of their names."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _place(self, key: str) -> Path:
        return self._folder / key.replace("/", "|")

    def add(self, key: str, version_id: str, data: bytes) -> None:
        place = self._place(key)
        place.mkdir(exist_ok=True)
        half = place / f".{version_id}"
        half.write_bytes(data)
        half.rename(place / version_id)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(each.name.replace("|", "/") for each in self._folder.iterdir() if each.is_dir()))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._place(key).is_dir()

    def __getitem__(self, key: str) -> list[tuple[str, bytes]]:
        if key not in self:
            raise KeyError(key)
        files = sorted(each for each in self._place(key).iterdir() if not each.name.startswith("."))
        return [(each.name, each.read_bytes()) for each in files]

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __setitem__(self, key: str, kept: list[tuple[str, bytes]]) -> None:
        names = {name for name, _ in kept}
        for name, _ in self[key]:
            if name not in names:
                (self._place(key) / name).unlink()

    def __delitem__(self, key: str) -> None:
        for each in self._place(key).iterdir():
            each.unlink()
        self._place(key).rmdir()


@dataclass
class Ground:
    """A migrated database and a bucket; `house()` opens both anew, as every process must for itself."""

    url: str
    folder: Path
    houses: list[House] = field(default_factory=list)

    def house(self, **settings: Any) -> House:
        """A house with its own connections."""
        engine = create_engine(self.url)
        if engine.dialect.name == "sqlite":
            # A power cut is not tried here, only the death of processes.
            event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
        else:
            engine.dispose()
        store = DiskStore(self.folder / "bucket")
        made = build_house(
            Sessions(engine), store, RecordingOrchestrator(), self.folder, **({"worker": WORKER} | settings)
        )
        self.houses.append(made)
        return made


@contextmanager
def ground(folder: Path, database: str = "sqlite") -> Iterator[Ground]:
    """A fresh, migrated database of this kind and an empty bucket. Raises NotHere without PostgreSQL."""
    folder.mkdir(parents=True, exist_ok=True)
    with _fresh(folder, database) as url:
        migrate(url)
        made = Ground(url, folder)
        try:
            yield made
        finally:
            for house in made.houses:
                house.sessions.close()


@contextmanager
def _fresh(folder: Path, database: str) -> Iterator[str]:
    if database == "sqlite":
        yield f"sqlite:///{folder / 'readvault.sqlite'}"
        return
    given = os.environ.get(POSTGRES_URL)
    if given is None:
        with server() as url, new_database(url) as named:
            yield named
    else:
        with new_database(given) as named:
            yield named


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """An empty database on this PostgreSQL, gone at the end."""
    name = f"readvault_{secrets.token_hex(6)}"
    url = make_url(server_url).set(drivername="postgresql+psycopg")
    engine = plain_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
        yield url.set(database=name).render_as_string(hide_password=False)
        with engine.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        engine.dispose()


def of_scenes(found: Sequence[str]) -> list[str]:
    """What the checker found, but for what scenes leave out: documents of manifests, and quota."""
    return [each for each in found if not each.startswith(("documents:", "quota:"))]


class FailPoints:
    """The folder in which fail points are armed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def arm(self, name: str) -> None:
        """The next process of ours that comes by dies there."""
        (self.folder / name).touch()

    def is_armed(self, name: str) -> bool:
        """Whether nobody has come by yet."""
        return (self.folder / name).exists()

    def forked(self, act: Callable[[], object]) -> int:
        """Do something in a forked process, which dies at what is armed; the signal that ended it, or 0."""
        child = os.fork()
        if child == 0:
            try:
                os.environ[VARIABLE] = str(self.folder)
                act()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        return os.WTERMSIG(os.waitpid(child, 0)[1])

    def disarm(self) -> None:
        """Let everybody pass."""
        for each in self.folder.iterdir():
            each.unlink()
