"""A whole stack for tests: `readvault up` on free ports with a data directory of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, make_url

from readvault import bootstrap, demo_organism
from readvault.client import Client, files_cell
from readvault.config import Settings
from readvault.domain.organism import Organism
from readvault.services.people import accounts
from tests.prefect_database import PrefectDatabase

ADDRESS = {"line1": "-", "line2": "", "city": "-", "state": "", "postalCode": "-", "country": "-"}
SECONDS_TO_START = 240


class Stack:
    """One running stack; `start` again after `kill` to see what is left. Without `prefect` jobs run in the worker."""

    program: tuple[str, ...] = (sys.executable, "-m", "readvault.cli.main")

    def __init__(
        self,
        data_dir: Path,
        *,
        prefect: PrefectDatabase | None,
        environment: Mapping[str, str] | None = None,
        organisms: Path | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._prefect = prefect
        self._organisms = organisms
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.addresses: dict[str, Any] = {}

    @property
    def settings(self) -> Settings:
        """The settings that its database and organisms have."""
        return Settings(
            data_dir=self.data_dir,
            load_demo_organism=True,
            orchestrator="inline",
            database_url=self._environment.get("READVAULT_DATABASE_URL"),
        )

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        command = [
            *self.program,
            "up",
            "--demo-organism",
            "--data-dir",
            str(self.data_dir),
        ]
        if self._organisms is not None:
            command += ["--organisms", str(self._organisms)]
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if self._prefect is None:
            command.append("--no-prefect")
        else:
            self._prefect.copy_to(self.data_dir / "prefect")
        with (self.data_dir / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | self._environment,
                start_new_session=True,
            )
        end = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < end:
            assert self._process.poll() is None, (self.data_dir / "up.log").read_text()
            found = self.stack_json()
            if found and found["pids"].get("up") == self._process.pid and found["status"] == "ready":
                self.addresses = found
                return
            time.sleep(0.2)
        self.stop()
        raise AssertionError("the stack was not ready in time:\n" + (self.data_dir / "up.log").read_text())

    def stack_json(self) -> dict[str, Any]:
        """What the stack says of itself."""
        try:
            found: dict[str, Any] = json.loads((self.data_dir / "stack.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self._process = None

    def kill(self) -> None:
        """kill -9 of every process of the stack."""
        pids = [self.addresses["pids"][name] for name in self.addresses.get("pids", {})]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def new_user(self, *roles: str) -> tuple[str, str]:
        """A new login."""
        name, password = f"user-{secrets.token_hex(4)}", secrets.token_urlsafe(12)
        house = bootstrap.house(self.settings)
        accounts.create_account(house, name, password, roles)
        house.sessions.close()
        return name, password

    def lab(self) -> Lab:
        """A new user with a group of its own."""
        client = Client(self.addresses["api"], self.addresses["identity"])
        client.login(*self.new_user())
        group = client.create_group("Lab", institution="Lab", contact_email="lab@example.org", address=ADDRESS)
        return Lab(client, group)

    def anyone(self) -> Client:
        """Somebody who is not logged in."""
        return Client(self.addresses["api"], self.addresses["identity"])

    def organism(self) -> Organism:
        """The demo organism."""
        return demo_organism.load(self.settings)

    def http(self) -> httpx.Client:
        """A bare HTTP client of the API."""
        return httpx.Client(base_url=self.addresses["api"])


def new_database() -> dict[str, str]:
    """The environment of a stack with a PostgreSQL database of its own, where tests run on PostgreSQL; else nothing."""
    server = os.environ.get("READVAULT_TEST_POSTGRES_URL")
    if server is None:
        return {}
    name = f"readvault_{secrets.token_hex(6)}"
    with create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    return {"READVAULT_DATABASE_URL": url}


class Lab:
    """A logged-in user and its group."""

    def __init__(self, client: Client, group: int) -> None:
        self.client = client
        self.group = group

    def upload(self, *paths: Path) -> str:
        """Upload files; the cell that names them in the metadata."""
        tickets = self.client.request_uploads(self.group, paths, category="rawReads")
        for ticket in tickets:
            self.client.upload(ticket)
        return files_cell(tickets)

    def submit(self, *cells: str, consensus: str | None = None) -> list[tuple[str, int]]:
        """Submit one entry for each cell; their accession versions."""
        rows = [f"sample-{number}\t2026-01-02\tSwitzerland\t{cell}" for number, cell in enumerate(cells)]
        metadata = "\n".join(["id\tdate\tcountry\tfiles.rawReads", *rows]) + "\n"
        entries = self.client.submit("demo", self.group, metadata, consensus)
        return [(entry["accession"], entry["version"]) for entry in entries]

    def processed(self, accession: str, version: int, *, seconds: float = 240) -> dict[str, Any]:
        """The review data, as soon as the version is processed."""
        return self.client.wait_until_processed("demo", accession, version, seconds=seconds, every=0.3)
