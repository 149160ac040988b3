"""A maintainer in Prefect's own UI, with a browser: forms, Cancel and Retry on the whole stack.

It takes some minutes: READVAULT_LONG=1 runs it.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import select

from readvault import bootstrap
from readvault.db.tables import Job
from readvault.domain.status import JobKind, JobState
from readvault.reads.simulate import simulation
from readvault.services.house import House
from readvault.services.processing import jobs
from tests.chromium import PROGRAM, Chromium
from tests.houses import MAINTAINER
from tests.prefect_database import PrefectDatabase
from tests.stack import Lab, Stack, new_database

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("READVAULT_LONG" not in os.environ, reason="takes minutes; set READVAULT_LONG=1"),
    pytest.mark.skipif(PROGRAM is None, reason="needs Chromium"),
]

PAIRS = 200_000
"""Enough that a job is still under way when somebody has found its buttons."""
OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
FIELDS = {
    "process-submission/default": ["entry", "Accession version", "Reason", "job_id"],
    "reprocess/regularly": [
        "chosen", "Organism", "Only count", "Reason", "Entries an hour", "Accession versions", "Groups", "Released",
        "Versions", "Results", "Platforms", "Submitted from", "Submitted until", "Processed from", "Processed until",
        "Tool", "Version of the tool",
    ],
    "collect-garbage/regularly": ["chosen", "Only count"],
    "verify-integrity/regularly": ["chosen", "Days", "Minutes", "Repair"],
}  # fmt: skip
"""What a maintainer reads, from top to bottom."""


def until[T](found: Callable[[], T], within: float = 60) -> T:
    """The first true answer; fails when there is none in time (seconds)."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"nothing came within {within} s")


@dataclass
class Ui:
    """Prefect's UI in a browser, and the same Prefect asked over HTTP."""

    address: str
    password: str
    prefect: httpx.Client
    folder: Path
    _windows: int = 0

    def get(self, path: str) -> Any:
        return self.prefect.get(path).raise_for_status().json()

    def run(self, run_id: str) -> Any:
        return self.get(f"flow_runs/{run_id}")

    def ended(self, run_id: str, within: float = 120) -> Any:
        return until(lambda: (run := self.run(run_id))["state"]["type"] in OVER and run, within)

    def runs_of(self, name: str) -> list[Any]:
        asked = {"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_ASC"}
        found: list[Any] = self.prefect.post("flow_runs/filter", json=asked).raise_for_status().json()
        return found

    def start(self, deployment: str, **parameters: Any) -> str:
        number = self.get(f"deployments/name/{deployment}")["id"]
        answer = self.prefect.post(f"deployments/{number}/create_flow_run", json={"parameters": parameters})
        return str(answer.raise_for_status().json()["id"])

    def window(self, path: str) -> Chromium:
        """A new window with a page of the UI, logged in."""
        self._windows += 1
        browser = Chromium(self.folder / f"window-{self._windows}")
        browser.get(self.address)
        kept = json.dumps(base64.b64encode(self.password.encode()).decode())
        browser.run(f"localStorage.setItem('prefect-password', {kept})")
        browser.get(f"{self.address}{path}")
        return browser

    def press(self, run_id: str, button: str, confirm: str) -> None:
        """Press a button on a run's page, and the one in the dialog that asks again."""
        browser = self.window(f"/runs/flow-run/{run_id}")
        try:
            for where, each in (("button", button), (".p-modal button", confirm)):
                end = time.monotonic() + 30
                while not browser.run(_CLICK % (json.dumps(where), json.dumps(each))):
                    assert time.monotonic() < end, f"there is no {each}: {browser.text[:1000]}"
                    browser.wait(0.2)
            browser.wait(1)
        finally:
            browser.close()


_CLICK = """(() => {
  const named = [...document.querySelectorAll(%s)].filter(
    each => each.innerText.trim() === %s && each.offsetParent !== null);
  if (!named.length) return false;
  named[named.length - 1].click();
  return true;
})()"""


@pytest.fixture(scope="module")
def stack(prefect_database: PrefectDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("stack"), prefect=prefect_database, environment=new_database())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ui(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    pairs = Path(f"/proc/{stack.addresses['pids']['worker']}/environ").read_bytes().decode().split("\0")
    ours = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    api, password = ours["READVAULT_PREFECT__API_URL"].rstrip("/"), ours["READVAULT_PREFECT__AUTH_STRING"]
    user, _, secret = password.partition(":")
    with httpx.Client(base_url=f"{api}/", auth=(user, secret), timeout=30) as prefect:
        yield Ui(api.removesuffix("/api"), password, prefect, tmp_path_factory.mktemp("windows"))


@pytest.fixture
def house(stack: Stack) -> Iterator[House]:
    opened = bootstrap.house(stack.settings)
    yield opened
    opened.sessions.close()


@pytest.fixture(scope="module")
def lab(stack: Stack) -> Lab:
    return stack.lab()


@pytest.fixture(scope="module")
def reads(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("reads")
    sample = simulation.simulate(stack.organism().reference.fasta, folder, pairs=PAIRS, length=150, seed=5)
    assert sample.r2 is not None
    return sample.r1, sample.r2


@pytest.mark.parametrize("deployment", FIELDS)
def test_a_form_shows_its_fields_in_the_order_in_which_people_think(ui: Ui, deployment: str) -> None:
    number = ui.get(f"deployments/name/{deployment}")["id"]
    browser = ui.window(f"/deployments/deployment/{number}/run")
    try:
        end = time.monotonic() + 30
        while "Validate parameters" not in browser.text:
            assert time.monotonic() < end, browser.text
            browser.wait(0.5)
        _, _, form = browser.text.partition("\nParameters\n")
    finally:
        browser.close()
    lines = [line.removesuffix(" (Optional)") for line in form.splitlines()]
    assert [line for line in lines if line in FIELDS[deployment]] == FIELDS[deployment]


def test_cancel_kills_and_retry_claims_anew_or_finds_nothing_to_do(
    stack: Stack, ui: Ui, lab: Lab, house: House, reads: tuple[Path, Path]
) -> None:
    [(accession, version)] = lab.submit(lab.upload(*reads))
    name = f"{accession}.{version}"

    def job() -> Job:
        query = select(Job).where(Job.accession == accession, Job.kind == JobKind.PROCESS_SUBMISSION.value)
        with house.sessions.read() as session:
            return session.exec(query).one()

    def running() -> str:
        runs = ui.runs_of(name)
        return str(runs[0]["id"]) if runs and runs[0]["state"]["type"] == "RUNNING" else ""

    run = until(running)
    nursery = until(lambda: _grandchildren(stack.addresses["pids"]["worker"]))
    begun = time.monotonic()
    ui.press(run, "Cancel", "Confirm")
    state = ui.ended(run, 30)["state"]
    assert (state["type"], state["name"], state["message"]) == ("CANCELLED", "Cancelled", "cancelled in Prefect")
    until(lambda: not [pid for pid in nursery if Path(f"/proc/{pid}").exists()], 30)
    assert time.monotonic() - begun < 60, "30 s, and what a busy machine needs to open a browser"
    assert (job().state, job().last_error) == (JobState.NEEDS_ATTENTION, "cancelled in Prefect")

    ui.press(run, "Retry", "Retry")
    until(lambda: job().state == JobState.RUNNING and job().attempt == 2)
    ui.press(run, "Cancel", "Confirm")
    ui.ended(run, 30)
    until(lambda: job().state == JobState.NEEDS_ATTENTION)
    jobs.retry(house, MAINTAINER, job().id)
    assert lab.processed(accession, version, seconds=600)["status"] == "PROCESSED"
    assert len(ui.runs_of(name)) == 2, "another run has done it"

    ui.press(run, "Retry", "Retry")
    state = until(lambda: (found := ui.run(run)["state"])["name"] == "NothingToDo" and found)
    assert state["type"] == "COMPLETED"
    assert (job().state, job().attempt) == (JobState.DONE, 3)


def test_housekeeping_ends_as_it_is_named(stack: Stack, ui: Ui) -> None:
    screened = ui.start("screen/regularly")
    s3 = stack.addresses["pids"]["s3"]
    os.kill(s3, signal.SIGSTOP)  # else it is over before anybody has found the button
    try:
        collected = ui.start("collect-garbage/regularly", chosen={"dry_run": True})
        until(lambda: ui.run(collected)["state"]["type"] == "RUNNING")
        ui.press(collected, "Cancel", "Confirm")
    finally:
        os.kill(s3, signal.SIGCONT)
    state = ui.ended(collected, 60)["state"]
    assert (state["type"], state["name"]) == ("CANCELLED", "Cancelled")
    assert ui.ended(screened)["state"]["type"] == "COMPLETED"


def _grandchildren(worker: int) -> list[int]:
    """What the nursery has forked for jobs, and their tools."""
    children = [child for nursery in _children(worker) for child in _children(nursery)]
    return [pid for child in children for pid in (child, *_children(child))]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found
