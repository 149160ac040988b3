"""A fresh database of Prefect's server, ready to use: making one costs 14 s of CPU each time."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

KEPT = Path(__file__).resolve().parent.parent / ".pytest_cache" / "prefect-database"


class PrefectDatabase:
    """An empty, migrated database of Prefect's server, made once for each version of it and kept in pytest's cache."""

    def __init__(self, folder: Path = KEPT) -> None:
        self._folder = folder / version("prefect")

    def copy_to(self, home: Path) -> None:
        """Put a copy of it where a server with this `PREFECT_HOME` looks for its database; keeps one that is there."""
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "prefect.db").exists():
            shutil.copyfile(self._made(), home / "prefect.db")

    def _made(self) -> Path:
        database = self._folder / "prefect.db"
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not database.exists():
                home = self._folder / "home"
                shutil.rmtree(home, ignore_errors=True)  # of a run that was killed
                _make(home)
                (home / "prefect.db").rename(database)
        return database


def _make(home: Path) -> None:
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=240)
    assert not any((home / f"prefect.db-{part}").exists() for part in ("wal", "journal")), "not everything is written"
