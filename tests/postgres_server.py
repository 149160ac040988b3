"""Run a command with a PostgreSQL server of its own: `python -m tests.postgres_server COMMAND…`.

The server listens on a free port of the loopback address, keeps its data in a temporary directory
and ends with the command. As root it runs as another user, since PostgreSQL refuses root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS_TO_START = 60
UNPRIVILEGED = ("postgres", "nobody")


def main() -> int:
    """Start the server, run the command with READVAULT_TEST_POSTGRES_URL set, stop the server."""
    binaries = _binaries()
    user = _user()
    with tempfile.TemporaryDirectory(prefix="readvault-postgres-") as place:
        directory = Path(place)
        if user is not None:
            shutil.chown(directory, user)
        data, port = directory / "data", _free_port()
        _run([binaries / "initdb", "-D", data, "-A", "trust", "-U", "readvault", "-E", "UTF8", "--no-sync"], user)
        settings = ["fsync=off", "max_connections=200", f"unix_socket_directories={directory}"]
        options = [part for setting in settings for part in ("-c", setting)]
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), *options],
            user=user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(server, port)
            url = f"postgresql+psycopg://readvault@127.0.0.1:{port}/postgres"
            return subprocess.run(sys.argv[1:], env=os.environ | {"READVAULT_TEST_POSTGRES_URL": url}).returncode
        finally:
            server.terminate()
            server.wait(timeout=30)


def _binaries() -> Path:
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for candidate in candidates:
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    sys.exit("these tests need a PostgreSQL server (on Debian: apt-get install postgresql)")


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
            sys.exit(f"PostgreSQL ended with status {server.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("PostgreSQL did not answer in time")


if __name__ == "__main__":
    sys.exit(main())
