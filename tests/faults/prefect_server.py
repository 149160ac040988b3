"""A real Prefect server for campaigns, as `readvault up` has it: it can be stopped, lose its data, and come back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from readvault.adapters import prefect_server
from readvault.adapters.ports import reserve_port
from tests.faults.rig import until
from tests.prefect_database import PrefectDatabase

PASSWORD = "admin:only for campaigns"
SECONDS_TO_START = 180.0
AS_SHIPPED = {
    "FAULTS_AS_SHIPPED": "1",
    "READVAULT_WORKER__RETRY_AFTER": "[60, 240, 900]",
    "READVAULT_WORKER__LEASE": "60",
    "READVAULT_WORKER__RENEW_EVERY": "15",
    "READVAULT_WORKER__DISPATCH_EVERY": "2",
    "READVAULT_WORKER__PENDING_LIMIT": "60",
}
"""The times that readvault has when nobody sets any, in place of the rig's quick ones."""


class PrefectServer:
    """Prefect's server on SQLite; `with PrefectServer(folder) as prefect` has it running."""

    def __init__(self, folder: Path) -> None:
        self._home = folder
        self._port = reserve_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}/api"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a site whose jobs are started by this server."""
        return {
            "READVAULT_ORCHESTRATOR": "prefect",
            "READVAULT_PREFECT__API_URL": self.url,
            "READVAULT_PREFECT__AUTH_STRING": PASSWORD,
            "DO_NOT_TRACK": "1",
        }

    def __enter__(self) -> PrefectServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, on the database that it has or on an empty one, and wait until it answers."""
        PrefectDatabase().copy_to(self._home)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment |= {
            **prefect_server.SETTINGS,
            "PREFECT_HOME": str(self._home),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(self._port),
            "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        command = [sys.executable, "-m", prefect_server.__name__]
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        until(self._answers, "Prefect answers", SECONDS_TO_START, 0.1)

    def kill(self) -> None:
        """kill -9 of the server and of what it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        """Lose the database of a server that was killed."""
        assert self._process is None
        shutil.rmtree(self._home)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._home / "server.log").read_text(errors="replace")[-2000:]
        user, _, password = PASSWORD.partition(":")
        try:
            return httpx.get(f"{self.url}/health", auth=(user, password), timeout=5).is_success
        except httpx.TransportError:
            return False
