"""A laboratory lets its files be fetched from a bucket of its own: the whole stack, Prefect's server among it.

The laboratory's S3 is a second SeaweedFS behind https; what can be slow is a server of the tests. It takes
three minutes: READVAULT_LONG=1 runs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlmodel import select

from readvault import bootstrap
from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.s3_client import client
from readvault.config import S3Settings
from readvault.db.tables import Job, Pull
from readvault.domain.status import JobState
from readvault.reads.simulate import simulation
from readvault.services.house import House
from readvault.services.processing import jobs
from tests import foreign
from tests.foreign import HOST, Authority, Shop
from tests.houses import MAINTAINER
from tests.prefect_database import PrefectDatabase
from tests.stack import Lab, Stack, new_database

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif("READVAULT_LONG" not in os.environ, reason="takes three minutes; set READVAULT_LONG=1"),
]

FOLDER = "canary-run7"
SIGNATURE = "canary4b1d"
SLOW = "/lab/canary-slow.bam"
PIECE = 64 * 2**10
OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
NAMES = f"""
import socket
ask = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **named: ask("127.0.0.1" if host == "{HOST}" else host, *more, **named)
"""
"""The one thing of the stack's that isn't as it is elsewhere: the laboratory's name is this machine's."""


class StackWithNames(Stack):
    """A stack whose processes know where the laboratory's host is."""

    def __init__(self, data_dir: Path, tools: Path, **more: Any) -> None:
        super().__init__(data_dir, **more)
        tools.mkdir()
        (tools / "sitecustomize.py").write_text(NAMES)
        python = tools / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{tools}" exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        begin = f"import sys; sys.executable = {str(python)!r}; from readvault.cli.main import main; main()"
        self.program = (sys.executable, "-c", begin)


@dataclass
class Site:
    """The stack, the laboratory's bucket behind https, and its slow server."""

    stack: Stack
    bucket: S3Settings
    port: int
    slow_port: int
    shop: Shop
    hurry: threading.Event
    prefect: httpx.Client

    @property
    def asked_for(self) -> dict[str, Any]:
        """All under the folder, with the bucket's own keys."""
        keys = self.bucket.worker
        return {
            "name": self.bucket.bucket,
            "region": self.bucket.region,
            "endpoint": f"https://{HOST}:{self.port}",
            "accessKey": keys.access_key,
            "secretKey": keys.secret_key.get_secret_value(),
            "prefix": f"{FOLDER}/",
            "category": "rawReads",
        }

    @property
    def slow_url(self) -> str:
        return f"https://{HOST}:{self.slow_port}{SLOW}?signature=right&X-Amz-Signature={SIGNATURE}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What opens something: our own database and logs may not hold these either."""
        keys = self.bucket.worker
        return keys.access_key, keys.secret_key.get_secret_value(), SIGNATURE

    @property
    def canaries(self) -> tuple[str, ...]:
        """What Prefect may not hold: secrets, host, bucket, keys, names."""
        return *self.secrets, HOST, self.bucket.bucket, FOLDER, "canary-slow", "sample_R1", "sample_R2", "alone.fastq"

    def asked(self, path: str, **body: Any) -> list[Any]:
        found: list[Any] = self.prefect.post(path, json=body).raise_for_status().json()
        return found

    def runs_of(self, job_id: str) -> list[Any]:
        """The runs of one job, oldest first."""
        runs = self.asked("flow_runs/filter", sort="START_TIME_ASC", flows={"name": {"any_": ["import-files"]}})
        return [run for run in runs if run["parameters"] == {"job_id": job_id}]

    def ended(self, job_id: str, *, runs: int = 1) -> Any:
        """The state of the job's last run of so many, as soon as it has ended."""
        return until(lambda: len(found := self.runs_of(job_id)) >= runs and _over(found[-1]), 240)


def _over(run: Any) -> Any:
    return run["state"] if run["state"]["type"] in OVER else None


def until[T](found: Callable[[], T], within: float = 60) -> T:
    """The first true answer; fails when there is none in time (seconds)."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.3)
    raise AssertionError(f"nothing came within {within} s")


def _slowly(hurry: threading.Event) -> Callable[[BaseHTTPRequestHandler, bytes | None], bool]:
    """Answers of more than a byte come at 200 kB a second, twice what counts as away, until there is hurry."""

    def drips(handler: BaseHTTPRequestHandler, body: bytes | None) -> bool:
        asked = handler.headers.get("Range")
        if hurry.is_set() or body is None or asked is None or "signature=right" not in handler.path:
            return False
        first, last = (int(each) for each in asked.removeprefix("bytes=").split("-"))
        if last == first:
            return False
        handler.send_response(206)
        handler.send_header("Content-Length", str(last + 1 - first))
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        handler.send_header("ETag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
        handler.end_headers()
        with contextlib.suppress(OSError):
            for start in range(first, last + 1, PIECE):
                handler.wfile.write(body[start : min(start + PIECE, last + 1)])
                hurry.wait(PIECE / 200_000)
        return True

    return drips


@pytest.fixture(scope="module")
def site(prefect_database: PrefectDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("import")
    authority, hurry = Authority(folder), threading.Event()
    shop = Shop(objects={SLOW: os.urandom(40 * 2**20)}, odd=_slowly(hurry))
    with contextlib.ExitStack() as stack_of_all:
        seaweed = stack_of_all.enter_context(SeaweedFS(folder / "lab", buckets="canary-*", bucket="canary-first"))
        theirs = seaweed.provision(f"canary-{uuid.uuid4().hex[:12]}")
        front = foreign.tls_front(authority, urlsplit(theirs.endpoint).port or 0)
        port = stack_of_all.enter_context(front)
        slow_port = stack_of_all.enter_context(foreign.https_server(authority, shop))
        environment = {
            **new_database(),
            "READVAULT_PULLS__ENABLED": "true",
            "READVAULT_PULLS__HOSTS": f'["{HOST}:{port}", "{HOST}:{slow_port}"]',
            "READVAULT_PULLS__CA_FILE": str(authority.ca_file),
            "READVAULT_PULLS__ALLOW_PRIVATE_ADDRESSES": "true",
            "READVAULT_URLS__PART_SIZE": str(5 * 2**20),
        }
        stack = StackWithNames(folder / "stack", folder / "tools", prefect=prefect_database, environment=environment)
        stack.start()
        stack_of_all.callback(stack.stop)
        stack_of_all.callback(hurry.set)
        ours = _environment_of(stack.addresses["pids"]["worker"])
        user, _, password = ours["READVAULT_PREFECT__AUTH_STRING"].partition(":")
        address = ours["READVAULT_PREFECT__API_URL"].rstrip("/") + "/"
        with httpx.Client(base_url=address, auth=(user, password), timeout=30) as prefect:
            yield Site(stack, theirs, port, slow_port, shop, hurry, prefect)


@pytest.fixture
def house(site: Site) -> Iterator[House]:
    opened = bootstrap.house(site.stack.settings)
    yield opened
    opened.sessions.close()


@pytest.fixture
def lab(site: Site) -> Lab:
    return site.stack.lab()


def _environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _job(house: House, pull_id: str) -> Job:
    with house.sessions.read() as session:
        return session.exec(select(Job).join(Pull, Pull.job_id == Job.id).where(Pull.id == pull_id)).one()  # type: ignore[arg-type]


def _seen(lab: Lab, pull_id: str) -> Any:
    return lab.client._json("GET", f"/pulls/{pull_id}")


def _over_http(lab: Lab, **body: Any) -> str:
    return str(lab.client._json("POST", "/pulls", json={"groupId": lab.group, **body})["id"])


def test_three_files_of_a_bucket_become_entries_and_prefect_learns_no_name(
    site: Site, house: House, lab: Lab, tmp_path: Path
) -> None:
    fasta = site.stack.organism().reference.fasta
    sample = simulation.simulate(fasta, tmp_path / "a", pairs=40_000, length=150, seed=5)
    alone = simulation.simulate(fasta, tmp_path / "b", pairs=2_000, length=150, seed=6)
    assert sample.r2 is not None
    files = {"sample_R1.fastq.gz": sample.r1, "sample_R2.fastq.gz": sample.r2, "alone.fastq.gz": alone.r1}
    outside = client(site.bucket.worker, identity="worker", endpoint=site.bucket.endpoint, region=site.bucket.region)
    for name, path in files.items():
        outside.put_object(Bucket=site.bucket.bucket, Key=f"{FOLDER}/{name}", Body=path.read_bytes())

    pull_id = _over_http(lab, bucket=site.asked_for)
    pull = until(lambda: (seen := _seen(lab, pull_id))["state"] == "done" and seen, 240)
    assert {each["name"]: (each["state"], each["sha256"]) for each in pull["sources"]} == {
        name: ("done", hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in files.items()
    }
    job = _job(house, pull_id)
    state = site.ended(job.id)
    assert (state["type"], state["name"], state["message"]) == (
        "COMPLETED",
        "Completed",
        "3 files are pulled, 0 sources failed.",
    )
    [run] = site.runs_of(job.id)
    assert run["parameters"] == {"job_id": job.id}

    cell = {part.partition(":")[0]: part for part in pull["cells"]["rawReads"].split()}
    names = lab.submit(f"{cell['sample_R1.fastq.gz']} {cell['sample_R2.fastq.gz']}", cell["alone.fastq.gz"])
    assert [lab.processed(*name, seconds=400)["status"] for name in names] == ["PROCESSED", "PROCESSED"]

    shown = until(lambda: site.asked("artifacts/filter", flow_runs={"id": {"any_": [run["id"]]}}))
    assert [each["key"] for each in shown] == ["import"]
    logged = until(lambda: site.asked("logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}}))
    assert "Finished in state Completed('3 files are pulled, 0 sources failed.')" in [
        each["message"] for each in logged
    ]
    _prefect_holds_none_of(site, site.canaries, job.id)
    _nobody_wrote(site, site.secrets)


def test_a_slow_pull_is_cancelled_in_prefect_and_goes_on_when_somebody_wants_it(
    site: Site, house: House, lab: Lab
) -> None:
    site.hurry.clear()
    pull_id = _over_http(lab, urls=[{"url": site.slow_url, "category": "rawReads"}])
    job_id = _job(house, pull_id).id
    run = until(lambda: next((r for r in site.runs_of(job_id) if r["state"]["type"] == "RUNNING"), None), 120)
    until(lambda: _seen(lab, pull_id)["sources"][0]["state"] == "pulling")
    until(lambda: any("Range" in headers for _, headers in site.shop.asked))
    begun = time.monotonic()
    site.prefect.post(f"flow_runs/{run['id']}/set_state", json={"state": {"type": "CANCELLING"}}).raise_for_status()
    state = site.ended(job_id)
    assert (state["type"], state["name"], state["message"]) == ("CANCELLED", "Cancelled", "cancelled in Prefect")
    assert time.monotonic() - begun < 60, "30 s, and what a busy machine needs"
    job = _job(house, pull_id)
    assert (job.state, job.last_error, job.failures) == (JobState.NEEDS_ATTENTION, "cancelled in Prefect", 0)
    asked = len(site.shop.asked)
    time.sleep(2)
    assert len(site.shop.asked) == asked, "nobody asks the laboratory any more"
    assert _seen(lab, pull_id)["state"] == "open"

    site.hurry.set()
    jobs.retry(house, MAINTAINER, job_id)
    pull = until(lambda: (seen := _seen(lab, pull_id))["state"] == "done" and seen, 240)
    assert [each["sha256"] for each in pull["sources"]] == [hashlib.sha256(site.shop.objects[SLOW]).hexdigest()]
    assert site.ended(job_id, runs=2)["name"] == "Completed"
    _prefect_holds_none_of(site, site.canaries, job_id)
    _nobody_wrote(site, site.secrets)


def test_a_slow_pull_that_its_submitter_cancels_ends_its_run(site: Site, house: House, lab: Lab) -> None:
    site.hurry.clear()
    pull_id = _over_http(lab, urls=[{"url": site.slow_url}])
    job_id = _job(house, pull_id).id
    until(lambda: _seen(lab, pull_id)["sources"][0]["state"] == "pulling", 120)
    assert lab.client._json("DELETE", f"/pulls/{pull_id}")["state"] == "cancelled"
    state = site.ended(job_id)
    assert (state["type"], state["name"]) == ("CANCELLED", "HandedBack")
    assert _job(house, pull_id).state == JobState.DONE
    assert len(site.runs_of(job_id)) == 1, "nobody delivers it again"
    site.hurry.set()
    _prefect_holds_none_of(site, site.canaries, job_id)


def _prefect_holds_none_of(site: Site, canaries: Sequence[str], job_id: str) -> None:
    """Neither what its API gives nor a row of its database nor a byte of its files."""
    time.sleep(3)  # logs are sent every two seconds
    for path in ("flow_runs", "task_runs", "logs", "artifacts", "deployments", "work_queues", "concurrency_limits"):
        for offset in itertools.count(0, 200):
            answer = site.prefect.post(f"{path}/filter", json={"limit": 200, "offset": offset}).raise_for_status()
            assert not [each for each in canaries if each in answer.text], f"Prefect's API: {path}"
            if len(answer.json()) < 200:
                break
    home = site.stack.data_dir / "prefect"
    database = sqlite3.connect(f"file:{home / 'prefect.db'}?mode=ro", uri=True)
    with contextlib.closing(database):
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = 0
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                text = str(row)
                found += job_id in text
                assert not [each for each in canaries if each in text], f"Prefect's table {table}"
    assert found, "what is there is found: the job's ID among the parameters"
    _no_file_has(home, canaries)


def _nobody_wrote(site: Site, secrets: Sequence[str]) -> None:
    """No file of the stack's (databases, logs, objects) has a credential in clear; no log has any of it."""
    _no_file_has(site.stack.data_dir, secrets)
    _no_file_has(site.stack.data_dir / "logs", site.canaries)


def _no_file_has(folder: Path, words: Sequence[str]) -> None:
    looked_at = 0
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # a file that comes and goes
            continue
        looked_at += 1
        assert not [each for each in words if each.encode() in content], path
    assert looked_at
