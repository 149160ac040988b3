"""`readvault up` brings everything up, keeps it up, and leaves nothing behind but the data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.prefect_database import PrefectDatabase

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

START_LIMIT = 150.0
ORGANISM = """
name: {name}
reference: {{fasta: reference.fasta}}
pipeline: {{dehumanize: {{{dehumanize}}}}}
"""


class Running:
    """One `readvault up` on a data directory."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.data_dir = folder / "data"
        self.output = folder / "up.out"
        command = [sys.executable, "-m", "readvault.cli.main", "up", "--data-dir", str(self.data_dir)]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--organisms", str(folder / "organisms"), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def stack(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.data_dir / "stack.json").read_text())
        return content

    def until_ready(self) -> dict[str, Any]:
        self.until(lambda: self.stack["status"] == "ready" and self.stack["pids"]["up"] == self.process.pid)
        return self.stack

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + START_LIMIT
        while True:
            try:
                if condition():
                    return
            except (FileNotFoundError, KeyError):
                pass
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < end, self.output.read_text()
            time.sleep(0.1)

    def stop(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=90)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two organisms: one needs no screen, the other's host index isn't there."""
    organisms = tmp_path / "organisms"
    organisms.mkdir()
    (organisms / "reference.fasta").write_text(">main\n" + "ACGTTGCA" * 100 + "\n")
    unscreened = 'off: "no reads of people in this test"'
    absent = f'index: absent, sha256: "{"0" * 64}"'
    for name, dehumanize in (("unscreened", unscreened), ("screened", absent)):
        (organisms / f"{name}.yaml").write_text(ORGANISM.format(name=name, dehumanize=dehumanize))
    return tmp_path


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def can_log_in(http: httpx.Client, stack: dict[str, Any]) -> bool:
    form = {
        "grant_type": "password",
        "client_id": "backend-client",
        "username": stack["login"]["user"],
        "password": stack["login"]["password"],
    }
    url = f"{stack['identity']}/realms/loculus/protocol/openid-connect/token"
    return "access_token" in http.post(url, data=form).json()


@pytest.mark.parametrize(
    "prefects_database",
    [
        "made before",
        pytest.param(
            "made by the stack",
            marks=pytest.mark.skipif(
                "READVAULT_LONG" not in os.environ, reason="takes half a minute more; set READVAULT_LONG=1"
            ),
        ),
    ],
)
def test_one_command_brings_everything_up_and_takes_it_down(
    folder: Path, prefect_database: PrefectDatabase, prefects_database: str
) -> None:
    if prefects_database == "made before":
        prefect_database.copy_to(folder / "data" / "prefect")
        (folder / "data").chmod(0o755)
    running = Running(folder)
    try:
        stack = running.until_ready()
        assert (running.data_dir / "stack.json").stat().st_mode & 0o777 == 0o600
        assert running.data_dir.stat().st_mode & 0o777 == 0o700
        assert set(stack["pids"]) == {"up", "s3", "prefect", "worker", "api"}
        assert stack["organisms"]["unscreened"] == "ready"
        assert "absent.idx" in stack["organisms"]["screened"]
        with httpx.Client(timeout=20) as http:
            assert http.get(stack["api"] + "/").status_code == 200
            assert http.get(stack["s3"] + "/").status_code == 403
            assert http.get(stack["prefectUi"] + "/").status_code == 200
            assert http.get(stack["prefectApi"] + "/admin/version").status_code == 401
            assert can_log_in(http, stack)
        _a_second_one_is_refused(folder, running)
        _what_is_killed_comes_back(running)
        assert_no_secret_in_logs(running.data_dir)
        pids = running.stack["pids"]
    finally:
        code = running.stop(signal.SIGTERM)
    assert code == 0, running.output.read_text()
    for name in ("api", "worker", "prefect"):  # by themselves, in time
        assert f"{name:<8} stopped after" in running.output.read_text(), running.output.read_text()
    assert [name for name, pid in pids.items() if is_alive(pid)] == []
    assert not (running.data_dir / "stack.json").exists()


def _a_second_one_is_refused(folder: Path, running: Running) -> None:
    second = Running(folder)
    assert second.process.wait(timeout=60) == 1
    assert f"process {running.process.pid}, since" in running.output.read_text()
    assert running.stack["status"] == "ready"


def _what_is_killed_comes_back(running: Running) -> None:
    before = running.stack["pids"]
    for name in ("worker", "api"):
        os.kill(before[name], signal.SIGKILL)
    running.until(
        lambda: all(running.stack["pids"].get(name, before[name]) != before[name] for name in ("worker", "api"))
    )
    after = running.until_ready()["pids"]
    assert (after["s3"], after["prefect"]) == (before["s3"], before["prefect"])
    assert "worker   was killed by signal 9" in running.output.read_text()


def assert_no_secret_in_logs(data_dir: Path) -> None:
    """Nobody who reads the logs can act in anybody's name."""
    secrets = list(json.loads((data_dir / "secrets.json").read_text()).values())
    for log in (data_dir / "logs").iterdir():
        content = log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in content], log.name


def test_after_kill_9_of_everything_the_next_start_finds_all_data(folder: Path) -> None:
    running = Running(folder, "--no-prefect")
    try:
        before = running.until_ready()
    finally:
        running.stop(signal.SIGKILL)
    end = time.monotonic() + 20
    while any(is_alive(pid) for pid in before["pids"].values()) and time.monotonic() < end:
        time.sleep(0.05)
    assert [name for name, pid in before["pids"].items() if is_alive(pid)] == []
    again = Running(folder, "--no-prefect")
    try:
        after = again.until_ready()
        assert after["login"] == before["login"]
        assert after["prefectUi"] is None
        with httpx.Client(timeout=20) as http:
            assert can_log_in(http, after)
    finally:
        code = again.stop(signal.SIGINT)
    assert code == 0, again.output.read_text()


def test_a_fault_in_an_organism_file_is_said_at_once_and_nothing_is_left_running(folder: Path) -> None:
    (folder / "organisms" / "screened.yaml").write_text("name: screened\nreference: {fasta: nowhere.fasta}\n")
    running = Running(folder, "--no-prefect")
    assert running.process.wait(timeout=90) == 1
    said = running.output.read_text()
    assert "there is no file" in said
    assert "Traceback" not in said
    assert not (running.data_dir / "stack.json").exists()
