"""The parts of `readvault up`, each as a child process described by data."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from readvault.adapters import prefect_server
from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.ports import LOOPBACK, reserve_port
from readvault.adapters.processes import READY_FILE, STACK_ID, Child, RunningChild, base_environment
from readvault.adapters.secrets_file import load_or_make
from readvault.config import S3Credentials, Settings

API_PORT, PREFECT_PORT = 8079, 4200
PREFECT_USER = "admin"
LOGIN = "admin"
PROBE_TIMEOUT = 3.0
HEARTBEAT_SLACK = 1.0
_OURS = ("READVAULT_S3__", "READVAULT_PREFECT__", "READVAULT_MAINTAINER_")
"""What no child inherits: it is given its own, and nobody but a maintainer's own command the maintainer's."""


@dataclass(frozen=True)
class Wishes:
    """What the person at the command line asked for."""

    data_dir: Path
    organisms_dir: Path
    port: int = API_PORT
    s3_port: int | None = None
    prefect_port: int = PREFECT_PORT
    use_prefect: bool = True
    demo_organism: bool = False


class Stack:
    """Addresses, secrets and processes of one installation on one machine.

    Secrets are made at the first start and kept in `secrets.json` in the data directory; processes
    get them through their environment, each only those that it needs.
    """

    def __init__(self, wishes: Wishes, stack_id: str) -> None:
        self._directory = wishes.data_dir.absolute()
        self._mark = {STACK_ID: stack_id}
        self._http = httpx.Client(timeout=PROBE_TIMEOUT)
        secrets_file = self._directory / "secrets.json"
        secrets = load_or_make(secrets_file, ("admin_password", "prefect_password", "pulls_key"))
        self._pulls_key = base64.b64encode(hashlib.sha256(secrets["pulls_key"].encode()).digest()).decode()
        self.password = secrets["admin_password"]
        self.prefect_auth = f"{PREFECT_USER}:{secrets['prefect_password']}" if wishes.use_prefect else None
        self._prefect_http = httpx.Client(timeout=PROBE_TIMEOUT, auth=(PREFECT_USER, secrets["prefect_password"]))
        self._port = reserve_port(wishes.port, API_PORT)
        self._prefect_port = reserve_port(wishes.prefect_port, PREFECT_PORT) if wishes.use_prefect else None
        self.api = f"http://{LOOPBACK}:{self._port}"
        self.prefect_ui = f"http://{LOOPBACK}:{self._prefect_port}" if wishes.use_prefect else None
        self.prefect_api = f"{self.prefect_ui}/api" if wishes.use_prefect else None
        self.s3 = SeaweedFS(
            self._directory / "s3",
            port=wishes.s3_port,
            allowed_origins=[self.api, f"http://localhost:{self._port}"],
            secrets_file=secrets_file,
            log=self.log("s3"),
            stack_environment=self._mark,
        )
        self.settings = Settings(
            data_dir=self._directory,
            organisms_dir=wishes.organisms_dir.absolute(),
            public_url=self.api,
            orchestrator="prefect" if wishes.use_prefect else "inline",
            load_demo_organism=wishes.demo_organism,
        )

    def log(self, name: str) -> Path:
        """Where a child's output goes."""
        return self._directory / "logs" / f"{name}.log"

    def children(self) -> list[Child]:
        """All children, in the order of their start; they are stopped the other way round."""
        prefect = [self._prefect()] if self.prefect_api else []
        return [self.s3.child(), *prefect, self._worker(), self._api()]

    def _prefect(self) -> Child:
        environment = {
            **base_environment(),  # nothing of ours: a password in the database's address is none of its business
            **self._mark,
            "PYTHONUNBUFFERED": "1",
            "PREFECT_HOME": str(self._directory / "prefect"),
            "PREFECT_SERVER_API_HOST": LOOPBACK,
            "PREFECT_SERVER_API_PORT": str(self._prefect_port),
            "PREFECT_SERVER_API_AUTH_STRING": str(self.prefect_auth),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "true",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # Events are most of its database and of no use to us after a while.
            "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "2d",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            # In memory they would go with a restart, and what ran then would hold its deployment's only place for ever.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "DO_NOT_TRACK": "1",
            **prefect_server.SETTINGS,
        }
        if elsewhere := self.settings.prefect.server_database_url:
            environment["PREFECT_API_DATABASE_CONNECTION_URL"] = elsewhere.get_secret_value()
        return Child(
            name="prefect",
            argv=(sys.executable, "-m", prefect_server.__name__),
            log=self.log("prefect"),
            env=environment,
            cwd=self._directory,
            ready=lambda running: _answers(self._prefect_http, f"{self.prefect_api}/health"),
        )

    def _worker(self) -> Child:
        ready_file = self._directory / "worker.ready"
        ready_file.unlink(missing_ok=True)
        environment = {**self._environment("worker"), READY_FILE: str(ready_file)}
        connected: Callable[[RunningChild], bool] = self._prefect_knows_worker
        if not self.prefect_api:
            connected = lambda running: _is_newer(ready_file, running.started_at)  # noqa: E731
        return Child(
            name="worker",
            argv=(sys.executable, "-m", "readvault.cli.main", "worker"),
            log=self.log("worker"),
            env=environment,
            needs=("s3",),
            uses=("prefect",),  # but doesn't wait for it: both take long to start, and it waits itself
            ready=connected,
            grace=30.0,
        )

    def _api(self) -> Child:
        return Child(
            name="api",
            argv=(sys.executable, "-m", "readvault.cli.main", "api", "--host", LOOPBACK, "--port", str(self._port)),
            log=self.log("api"),
            env=self._environment("upload_signer", "read_signer", "worker"),
            needs=("s3",),
            ready=lambda running: _answers(self._http, f"{self.api}/"),
        )

    def _environment(self, *identities: str) -> dict[str, str]:
        """The environment of one of our own processes, with the keys of these S3 identities."""
        settings = self.settings
        environment = {
            **self._inherited(),
            "READVAULT_DATA_DIR": str(settings.data_dir),
            "READVAULT_ORGANISMS_DIR": str(settings.organisms_dir),
            "READVAULT_PUBLIC_URL": settings.public_url,
            "READVAULT_ORCHESTRATOR": settings.orchestrator,
            "READVAULT_LOAD_DEMO_ORGANISM": str(settings.load_demo_organism).lower(),
            "READVAULT_S3__ENDPOINT": self.s3.settings.endpoint,
            "READVAULT_S3__REGION": self.s3.settings.region,
            "READVAULT_S3__BUCKET": self.s3.settings.bucket,
        }
        # A key of the environment's, which may have older ones behind it, comes before the one that was made here.
        environment.setdefault("READVAULT_PULLS__SECRET_KEYS", json.dumps([self._pulls_key]))
        for identity in identities:
            keys: S3Credentials = self.s3.credentials(identity)
            environment[f"READVAULT_S3__{identity.upper()}__ACCESS_KEY"] = keys.access_key
            environment[f"READVAULT_S3__{identity.upper()}__SECRET_KEY"] = keys.secret_key.get_secret_value()
        if self.prefect_api and self.prefect_auth:
            chosen = settings.prefect
            environment["READVAULT_PREFECT__REGISTER_EVERY"] = str(chosen.register_every)
            if chosen.huge_work_pool is not None:
                environment["READVAULT_PREFECT__HUGE_WORK_POOL"] = chosen.huge_work_pool
            environment |= {
                "READVAULT_PREFECT__API_URL": self.prefect_api,
                "READVAULT_PREFECT__AUTH_STRING": self.prefect_auth,
                # Prefect's own client reads these; its home keeps it from the settings of whoever runs us.
                "PREFECT_API_URL": self.prefect_api,
                "PREFECT_API_AUTH_STRING": self.prefect_auth,
                "PREFECT_HOME": str(self._directory / "prefect"),
                "DO_NOT_TRACK": "1",
            }
        return environment

    def _inherited(self) -> dict[str, str]:
        inherited = {k: v for k, v in base_environment("READVAULT_").items() if not k.startswith(_OURS)}
        return inherited | self._mark | {"PYTHONUNBUFFERED": "1"}

    def _prefect_knows_worker(self, running: RunningChild) -> bool:
        """Whether a worker of this start, not one of the last, has shown itself to Prefect."""
        url = f"{self.prefect_api}/work_pools/{self.settings.prefect.work_pool}/workers/filter"
        try:
            workers = self._prefect_http.post(url, json={})
            seen = [worker["last_heartbeat_time"] for worker in workers.raise_for_status().json()]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False
        since = running.started_at - HEARTBEAT_SLACK
        return any(time and datetime.fromisoformat(time).timestamp() >= since for time in seen)


def _answers(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _is_newer(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime >= moment - HEARTBEAT_SLACK
    except FileNotFoundError:
        return False
