"""A fresh database of Prefect's server, ready to use: making one costs 14 s of CPU each time."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path


class PrefectDatabase:
    """An empty, migrated database of Prefect's server, made once for all test processes of a run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def copy_to(self, home: Path) -> None:
        """Put a copy of it where a server with this `PREFECT_HOME` looks for its database; keeps one that is there."""
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "prefect.db").exists():
            shutil.copyfile(self._made(), home / "prefect.db")

    def _made(self) -> Path:
        database = self._folder / "prefect.db"
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not database.exists():
                _make(self._folder / "home")
                (self._folder / "home" / "prefect.db").rename(database)
        return database


def _make(home: Path) -> None:
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=240)
    assert not any((home / f"prefect.db-{part}").exists() for part in ("wal", "journal")), "not everything is written"
