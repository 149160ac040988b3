"""Run a command with a PostgreSQL server of its own: `python -m tests.postgres_server COMMAND…`.

The server listens on a free port of the loopback address, keeps its data in a temporary directory
and ends with the command. As root it runs as another user, since PostgreSQL refuses root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

SECONDS_TO_START = 60
POSTGRES_URL = "READVAULT_TEST_POSTGRES_URL"
UNPRIVILEGED = ("postgres", "nobody")


class NoPostgres(Exception):
    """There is no PostgreSQL server to run, or it doesn't start."""


def main() -> int:
    """Start the server, run the command with READVAULT_TEST_POSTGRES_URL set, stop the server."""
    try:
        with server() as url:
            return subprocess.run(sys.argv[1:], env=os.environ | {POSTGRES_URL: url}).returncode
    except NoPostgres as reason:
        sys.exit(str(reason))


def available() -> bool:
    """Whether tests can have a PostgreSQL."""
    try:
        return POSTGRES_URL in os.environ or _binaries().is_dir()
    except NoPostgres:
        return False


@contextmanager
def server() -> Iterator[str]:
    """A fresh PostgreSQL, stopped and gone at the end; the URL of its first database. Raises NoPostgres."""
    with running() as here:
        yield here.url


@contextmanager
def running() -> Iterator[Postgres]:
    """The same, with a hand on the server itself."""
    binaries = _binaries()
    user = _user()
    with tempfile.TemporaryDirectory(prefix="readvault-postgres-") as place:
        directory = Path(place)
        if user is not None:
            shutil.chown(directory, user)
        data = directory / "data"
        _run([binaries / "initdb", "-D", data, "-A", "trust", "-U", "readvault", "-E", "UTF8", "--no-sync"], user)
        started = Postgres(binaries, directory, _free_port(), user)
        started.start()
        try:
            yield started
        finally:
            started.stop()


class Postgres:
    """A server on a free port; `stop` and `start` again to see what its clients make of it."""

    def __init__(self, binaries: Path, directory: Path, port: int, user: str | None) -> None:
        self.url = f"postgresql+psycopg://readvault@127.0.0.1:{port}/postgres"
        self._binaries, self._directory, self._port, self._user = binaries, directory, port, user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = ["fsync=off", "max_connections=200", f"unix_socket_directories={self._directory}"]
        options = [part for setting in settings for part in ("-c", setting)]
        data = self._directory / "data"
        self._process = subprocess.Popen(
            [self._binaries / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(self._port), *options],
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait(self._process, self._port)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop it: after it has cut all connections in order, or as `pg_ctl stop -m immediate` does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(timeout=60)
        self._process = None


def _binaries() -> Path:
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for candidate in candidates:
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    raise NoPostgres("these tests need a PostgreSQL server (on Debian: apt-get install postgresql)")


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in UNPRIVILEGED if name in names), None)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _run(command: list[object], user: str | None) -> None:
    subprocess.run([str(part) for part in command], user=user, check=True, stdout=subprocess.DEVNULL, cwd="/")


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        if server.poll() is not None:
            raise NoPostgres(f"PostgreSQL ended with status {server.returncode}")
        try:  # while it starts up it takes connections and refuses whoever asks for a database
            psycopg.connect(host="127.0.0.1", port=port, user="readvault", dbname="postgres", connect_timeout=5).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise NoPostgres("PostgreSQL did not answer in time")


if __name__ == "__main__":
    sys.exit(main())
