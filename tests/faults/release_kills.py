"""kill -9 inside approval and release, while strangers try to read what is private.

Strangers are anonymous or of another group, and ask every route of the API that can be read, with
every ID there is to guess right, before, during and after the kill; against the real S3 server they
also ask the bucket itself. Nothing may be readable before the commit, and nothing in part after it.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import uvicorn
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from pydantic import SecretStr
from sqlmodel import col, select

from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.adapters.s3 import S3Store
from readvault.api.app import create_app
from readvault.config import S3Credentials, S3Settings
from readvault.db.tables import (
    EntryFile,
    EntryVersion,
    Job,
    Manifest,
    ManifestFile,
    Release,
    StoredObject,
    UploadedFile,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.ports import Delivery, StoredVersion
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.queue import deliveries
from readvault.services.review import approval
from readvault.services.review.approval import Scope, approve
from readvault.worker.house import WorkerHouse
from tests.fakes import RecordingOrchestrator
from tests.faults.campaign import Outcome
from tests.faults.forge import KILLED, Forge
from tests.faults.ground import LEASE, FailPoints, Ground, ground, of_scenes
from tests.faults.invariants import check
from tests.houses import ALICE, BOB, group_of
from tests.integration.services.scenes import ORGANISM, processed

BEFORE_COMMIT = (
    "approve-begin",
    "approve-marked",
    "approve-between-pages",
    "approve-written-down",
    "approve-before-commit",
)
AFTER_COMMIT = ("approve-after-commit",)
IN_RELEASE = (
    "release-before-verify",
    "release-verified",
    "release-between-locks",
    "release-before-record",
    "release-after-record",
    "complete-before-commit",
    "complete-after-commit",
)
POINTS = (*BEFORE_COMMIT, *AFTER_COMMIT, *IN_RELEASE)
SPARSE = 12
"""Of the questions, one in so many is asked around each kill where kills are what counts."""
TOGETHER = 3
"""Entries of one approval, on more than one page."""
WITH_SERVERS = 10
"""Every so many parts run against real servers."""
_USUAL = {"organism": ORGANISM, "pipeline_version": 1}


class _Guessed(dict[str, Any]):
    """What is not known has a likely value."""

    def __missing__(self, key: str) -> str:
        return "main"


def _approve(place: dict[str, Any], named: list[tuple[str, str]]) -> None:
    """In a process of its own: approve these, two on a page."""
    approval.PAGE = 2  # type: ignore[misc]
    house = _house_at(place)
    asked = [(AccessionVersion.parse(name), digest) for name, digest in named]
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=asked)


def _publish(place: dict[str, Any], job_id: str) -> None:
    """In a process of its own: a worker that is woken for a release."""
    WorkerHouse(_house_at(place)).run(Delivery(job_id, 1, JobKind.RELEASE.value, "a release"))


OPERATIONS = {"approve": _approve, "publish": _publish}


class RealStore(S3Store):
    """The real store, into which tests can write as uploads and workers do."""

    def write(self, key: str, data: bytes) -> StoredVersion:
        """Write as a client with a signed URL, or as a worker."""
        sha256 = hashlib.sha256(data).hexdigest()
        if key.startswith("incoming/"):
            signed = self.sign_put(key, size=len(data), sha256=sha256, expires=60)
            httpx.put(signed.url, headers=dict(signed.headers), content=data).raise_for_status()
        else:
            with _file(data) as path:
                return self.store(path, key, sha256=sha256)
        return next(iter(self.list_versions(key)))


@contextmanager
def _file(data: bytes) -> Iterator[Path]:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield Path(file.name)


def _house_at(place: dict[str, Any]) -> House:
    house = Ground(place["url"], Path(place["folder"])).house()
    return house if place["s3"] is None else replace(house, store=RealStore(_s3_of(place["s3"])))


def _s3_as_json(settings: S3Settings) -> dict[str, Any]:
    who = {}
    for name in ("upload_signer", "read_signer", "worker"):
        keys = getattr(settings, name)
        who[name] = [keys.access_key, keys.secret_key.get_secret_value()]
    return {"endpoint": settings.endpoint, "region": settings.region, "bucket": settings.bucket, "who": who}


def _s3_of(told: dict[str, Any]) -> S3Settings:
    who = {name: S3Credentials(access_key=a, secret_key=SecretStr(s)) for name, (a, s) in told["who"].items()}
    return S3Settings(endpoint=told["endpoint"], region=told["region"], bucket=told["bucket"], **who)


@dataclass
class Target:
    """An entry that somebody is about to release, and everything by which a stranger would know it."""

    name: AccessionVersion
    digest: str
    batch_id: str
    group_id: int
    processed: list[tuple[str, str, str, str]]
    """Category, name, file ID, key."""
    originals: list[tuple[str, str, str, str]]
    canaries: frozenset[str]
    secret_for_ever: frozenset[str]


@dataclass
class Strangers:
    """Who asks, and how often they did. `leaks`: what they were told before they might be."""

    house: House
    request: Callable[..., Any]
    routes: Mapping[str, Any]
    bob: Mapping[str, str]
    bucket: str | None = None
    probes: int = 0
    leaks: list[str] = field(default_factory=list)

    def questions(self, target: Target) -> list[tuple[str, str, Mapping[str, str], Any]]:
        """Everything that can be asked about an entry: method, URL, headers, body."""
        asked: list[tuple[str, str, Mapping[str, str], Any]] = []
        for method, path in self._paths(target):
            asked += [(method, path, {}, None), (method, path, self.bob, None)]
        wire = {"accession": target.name.accession, "version": target.name.version, "manifestDigest": target.digest}
        for body in ({"accessionVersionsFilter": [wire], "scope": "ALL"}, {"scope": "ALL"}):
            asked.append(("POST", f"/{ORGANISM}/approve-processed-data", self.bob, body))
        if self.bucket is not None:
            keys = [key for *_, key in (*target.processed, *target.originals)]
            record = f"records/{target.name.accession}/{target.name.version}/release.json"
            asked += [("GET", f"{self.bucket}/{key}", {}, None) for key in (*keys, record)]
            listings = ("?list-type=2", "?versions", "?list-type=2&prefix=vault/", "?uploads")
            asked += [("GET", f"{self.bucket}{query}", {}, None) for query in listings]
        return asked

    def _paths(self, target: Target) -> Iterator[tuple[str, str]]:
        files = [*target.processed, *target.originals]
        for path, verbs in self.routes.items():
            for method in ("GET", "HEAD"):
                if method.lower() not in verbs or "{scope}" in path:
                    continue
                known = _USUAL | {
                    "accession": target.name.accession,
                    "version": target.name.version,
                    "batch_id": target.batch_id,
                    "group_id": target.group_id,
                }
                if "{name}" in path or "{file_id}" in path:
                    for category, name, file_id, _ in files:
                        yield method, path.format_map(_Guessed(known, category=category, name=name, file_id=file_id))
                else:
                    yield method, path.format_map(_Guessed(known))

    def ask(self, target: Target, question: tuple[str, str, Mapping[str, str], Any]) -> int:
        """One probe; its status code."""
        method, url, headers, body = question
        answer = self.request(method, url, headers=dict(headers), json=body)
        self.probes += 1
        told = answer.headers.get("location", "") + answer.text
        if answer.status_code >= 500 and answer.status_code != 503:
            self.leaks.append(f"{answer.status_code} to {method} {url}")
        if self.bucket is not None and url.startswith(self.bucket) and answer.status_code < 400:
            self.leaks.append(f"the bucket answered {answer.status_code} to {method} {url}")
        asked = unquote(url) + str(body)
        for canary in (each for each in target.canaries if each in told and each not in asked):
            if canary in target.secret_for_ever or not self._is_released(target):
                self.leaks.append(f"{method} {url} told {canary} ({answer.status_code})")
        return int(answer.status_code)

    def sees(self, target: Target) -> set[str]:
        """What a stranger has of an entry: the files that the API gives, and those that its manifest names."""
        base = f"{target.name.accession}/{target.name.version}"
        seen = set()
        for category, name, _, _ in target.processed:
            if self.ask(target, ("GET", f"/files/get/{base}/{category}/{name}", {}, None)) == 307:
                seen.add(f"{category}/{name}")
        manifest = self.request("GET", f"/{ORGANISM}/manifest/{base}")
        self.probes += 1
        if manifest.status_code == 200:
            seen |= {f"named {file['category']}/{file['name']}" for file in manifest.json()["files"]}
        return seen

    def _is_released(self, target: Target) -> bool:
        with self.house.sessions.read() as session:
            return session.get(Release, (target.name.accession, target.name.version)) is not None


class Scene:
    """One database, one bucket, one API, one forge."""

    def __init__(self, there: Ground, strangers: Strangers, forge: Forge, points: FailPoints, place: Any) -> None:
        self.house, self.strangers, self.forge, self.points = strangers.house, strangers, forge, points
        self.place = place
        self.folder = there.folder
        self.group_id = group_of(self.house, ALICE)
        self.numbers, self.turns = itertools.count(), itertools.count()
        self.failures: list[str] = []
        self.targets: list[Target] = []

    def trial(self, point: str, every: int) -> None:
        """One kill at this point, and who sees what around it: every n-th question before it and after it."""
        targets = [self._target() for _ in range(TOGETHER)]
        self.targets += targets
        first = targets[0]
        turn = next(self.turns)
        for question in self.strangers.questions(first)[turn % every :: every]:
            self.strangers.ask(first, question)
        in_release = point in IN_RELEASE
        if in_release:
            self._approve(targets)
        self.points.arm(point)
        if in_release:
            self.forge.start("publish", place=self.place, job_id=self._release_job(first))
        else:
            named = [(str(each.name), each.digest) for each in targets]
            self.forge.start("approve", place=self.place, named=named)
        questions = itertools.cycle(self.strangers.questions(first))
        while self.forge.is_running:
            self.strangers.ask(first, next(questions))
        status, _ = self.forge.ended()
        if status != KILLED:
            self.failures.append(f"{point}: nothing was killed (status {status})")
            self.points.disarm()
        for question in self.strangers.questions(first)[(turn + 1) % every :: every]:
            self.strangers.ask(first, question)
        self._whole_or_nothing(targets, point, public=point not in BEFORE_COMMIT)
        if point in BEFORE_COMMIT:
            self._approve(targets)

    def finish(self) -> None:
        """What the reconciler does once the leases of the dead have run out, and whether all is released then."""
        time.sleep(LEASE + 0.1)
        housekeeping.reap(self.house)
        orchestrator = self.house.orchestrator
        assert isinstance(orchestrator, RecordingOrchestrator)
        orchestrator.states.clear()  # whatever was delivered before came to nothing
        self._forget_deliveries()
        orchestrator.deliveries.clear()
        deliveries.dispatch(self.house, self.house.organisms, budget_seconds=120)
        worker = WorkerHouse(self.house)
        for delivery in list(orchestrator.deliveries):
            worker.run(delivery)
        for target in self.targets:
            self._whole_or_nothing([target], "after all", public=True)
            prefix = f"records/{target.name.accession}/{target.name.version}/"
            if not any(True for _ in self.house.store.list_versions(prefix)):
                self.failures.append(f"{target.name} has no record")
        with self.house.sessions.read() as session:
            left = session.exec(
                select(Job.id).where(Job.kind == JobKind.RELEASE.value, Job.state != JobState.DONE.value)
            ).all()
        if left:
            self.failures.append(f"{len(left)} releases were not finished")

    def _forget_deliveries(self) -> None:
        """The orchestrator's patience with a run that it doesn't know is waited out."""
        with self.house.sessions.begin() as session:
            for job in session.exec(select(Job).where(Job.state == JobState.QUEUED.value)):
                job.delivered_at = job.run_checked_at = job.run_id = None

    def _target(self) -> Target:
        number = next(self.numbers)
        name, digest = processed(
            self.house, self.group_id, files=(f"@original-{number}\n".encode(),),
            text=f">main\nACGT{number}\n".encode(), reads=f"screened {number}".encode(),
            submitted_metadata={"date": "2020-01-01", "country": f"Country{number}"}, batch_id=f"batch-of-{number}",
        )  # fmt: skip
        with self.house.sessions.read() as session:
            made = session.exec(
                select(ManifestFile, StoredObject)
                .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
                .join(Manifest, col(Manifest.id) == col(ManifestFile.manifest_id))
                .where(Manifest.accession == name.accession)
            ).all()
            sent = session.exec(
                select(EntryFile, UploadedFile)
                .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
                .where(EntryFile.accession == name.accession)
            ).all()
            entry = session.get_one(EntryVersion, (name.accession, name.version))
        results = [(file.category, file.name, file.file_id, at.key) for file, at in made]
        originals = [(file.category, file.name, file.file_id, at.key) for file, at in sent]
        for_ever = {text for _, name_, file_id, key in originals for text in (file_id, key)}
        known = {digest, entry.submission_id, f"Country{number}", name.accession}
        known |= {text for *_, file_id, key in results for text in (file_id, key)}
        return Target(
            name, digest, entry.batch_id or "", self.group_id, results, originals,
            frozenset(known | for_ever), frozenset(for_ever),
        )  # fmt: skip

    def _approve(self, targets: list[Target]) -> None:
        asked: list[tuple[AccessionVersion, str | None]] = [(each.name, each.digest) for each in targets]
        approve(self.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=asked)

    def _release_job(self, target: Target) -> str:
        with self.house.sessions.read() as session:
            query = select(Job.id).where(Job.accession == target.name.accession, Job.kind == JobKind.RELEASE.value)
            return session.exec(query).one()

    def _whole_or_nothing(self, targets: list[Target], point: str, *, public: bool) -> None:
        for target in targets:
            files = {f"{category}/{name}" for category, name, *_ in target.processed}
            wanted = files | {f"named {file}" for file in files} if public else set()
            if (seen := self.strangers.sees(target)) != wanted:
                self.failures.append(f"{point}: strangers see {sorted(seen)} of {target.name}, not {sorted(wanted)}")


@contextmanager
def scene(folder: Path, *, servers: bool) -> Iterator[Scene]:
    """All of it, in one process with a fake bucket, or on real servers."""
    with ExitStack() as stack:
        there = stack.enter_context(ground(folder))
        house = there.house()
        settings = None
        if servers:
            s3 = stack.enter_context(SeaweedFS(folder / "s3"))
            settings = s3.settings
            house = replace(house, store=RealStore(settings))
        issuer = EmbeddedIssuer(folder / "key.pem", url="http://testserver", token_minutes=60)
        app = create_app(house, Identity(issuer))
        group_of(house, BOB)
        request = stack.enter_context(_served(app) if servers else _in_process(app))
        bob = {"Authorization": f"Bearer {issuer.tokens(BOB)['access_token']}"}
        bucket = None if settings is None else f"{settings.endpoint}/{settings.bucket}"
        strangers = Strangers(house, request, app.openapi()["paths"], bob, bucket)
        points = FailPoints(folder / "fail-points")
        place = {
            "url": there.url,
            "folder": str(folder),
            "s3": None if settings is None else _s3_as_json(settings),
        }
        forge = stack.enter_context(Forge("tests.faults.release_kills", points))
        yield Scene(there, strangers, forge, points, place)


@contextmanager
def _in_process(app: FastAPI) -> Iterator[Callable[..., Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient
    client = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
    with start_blocking_portal() as portal:
        client.portal = portal
        yield client.request


@contextmanager
def _served(app: FastAPI) -> Iterator[Callable[..., Any]]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client.request
    finally:
        server.should_exit = True
        thread.join(30)


def run(folder: Path, seed: int, *, kills: int | None = None, probes: int | None = None) -> tuple[int, int, Outcome]:
    """So many kills, or kills until so many probes were asked; both counts, and what was found."""
    servers = seed // 25 % WITH_SERVERS == WITH_SERVERS - 6
    done = 0
    with scene(folder, servers=servers) as there:
        while done < (kills or 10**9) and there.strangers.probes < (probes or 10**9):
            there.trial(POINTS[(seed + 5 * done) % len(POINTS)], every=SPARSE if probes is None else 1)
            done += 1
            if len(there.failures) + len(there.strangers.leaks) > 5:
                break
        there.finish()
        failures = [*there.failures, *there.strangers.leaks, *of_scenes(check(there.house))]
        asked = there.strangers.probes
    how = "uvicorn and SeaweedFS" if servers else "API in process, fake bucket"
    return done, asked, Outcome(done, failures, f"SQLite, {how}, lease {LEASE:.0f} s")
