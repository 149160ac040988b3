"""A town: people who submit, approve and revise over HTTP, while processes are killed; and what became of it all."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from readvault.adapters.ports import reserve_port
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.services.people import accounts
from tests.faults import invariants
from tests.faults.campaign import Outcome
from tests.faults.lab_over_http import Lab
from tests.faults.prefect_server import PrefectServer
from tests.faults.rig import LAB, ORGANISM, Process, Reads, Rig, Site, TooSlowError, until

PEOPLE = 3
PASSWORD = "a password of a test"
UP_FOR = 15.0
"""Seconds at most for which a Prefect that was killed and started is let alone: while it starts nothing begins."""
SECONDS_TO_PROCESS = {False: 120.0, True: 600.0}
"""How long people wait for a result; with a Prefect that is away most of the time they have more patience."""


def run(trials: int, seed: int, folder: Path, victims: Mapping[str, int], *, with_prefect: bool = False) -> Outcome:
    """So many kills; people begin no new life after the last of them. `victims` says who is killed how often."""
    server = PrefectServer(folder / "prefect") if with_prefect else None
    with Rig(folder) as rig, _running(server):
        site = rig.site("disturbed", **(server.environment if server else {}))
        accounts.create_account(site.house, LAB.name, PASSWORD, [])
        town = _Town(site, Reads(folder / "reads", site.settings), SECONDS_TO_PROCESS[with_prefect])
        killer = _Killer(site, random.Random(seed), town.api_port, victims, server)
        people = [threading.Thread(target=town.live, name=f"person-{n}", args=(n,)) for n in range(PEOPLE)]
        killer.start()
        for person in people:
            person.start()
        until(lambda: town.versions or town.failures, "the first version")
        killed = killer.kill(trials)
        town.closing.set()
        killer.replace()
        for person in people:
            person.join()
        failures = [*town.failures, *_unfinished(site, town)]
        killer.end()
        failures += invariants.check(site.house)
        failures += _differences(rig, site, town)
        told = ", ".join(f"{count} x {name}" for name, count in sorted(killed.items()))
        starter = "a real Prefect on SQLite" if with_prefect else "inline orchestrator"
        print(f"  {told}; {len(town.versions)} versions", flush=True)
    ratio = ":".join(str(often) for often in victims.values())
    names = ", ".join(list(victims)[:-1]) + f" and {list(victims)[-1]}"
    how = f"{site.database}, SeaweedFS, {starter}, lease 2 s, processes forked from a warm one; {names} in the ratio"
    return Outcome(trials, failures, f"{how} {ratio}")


def _running(server: PrefectServer | None) -> AbstractContextManager[object]:
    return nullcontext() if server is None else server


@dataclass
class _Town:
    """People who submit, approve and revise over HTTP, and what they were answered."""

    site: Site
    reads: Reads
    patience: float
    api_port: int = field(default_factory=reserve_port)
    closing: threading.Event = field(default_factory=threading.Event)
    versions: dict[AccessionVersion, int] = field(default_factory=dict)
    """The sample of every version that somebody was told of."""
    approved: dict[AccessionVersion, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    _samples: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def live(self, number: int) -> None:
        """Submit, approve, revise, approve: once at least, and until the town closes."""
        try:
            lab = Lab(f"http://127.0.0.1:{self.api_port}", LAB.name, PASSWORD)
            while True:
                name = self._submit(lab)
                self._approve(lab, name)
                if number == 0:
                    self._approve(lab, self._revise(lab, name))
                if self.closing.is_set():
                    break
            lab.close()
        except (AssertionError, httpx.HTTPError, KeyError) as fault:
            text = fault.response.text[:200] if isinstance(fault, httpx.HTTPStatusError) else str(fault)
            self.failures.append(f"person {number}: {type(fault).__name__} {text}")

    def _submit(self, lab: Lab) -> AccessionVersion:
        sample, cell = self._uploaded(lab)
        form = {"groupId": str(self.site.group), "dataUseTermsType": "OPEN"}
        return self._sent(lab, "submit", sample, f"sample-{sample}", "id", cell, form)

    def _revise(self, lab: Lab, name: AccessionVersion) -> AccessionVersion:
        sample, cell = self._uploaded(lab)
        return self._sent(lab, "revise", sample, f"{name.accession}\tsample-{sample}", "accession\tid", cell, {})

    def _uploaded(self, lab: Lab) -> tuple[int, str]:
        with self._lock:
            sample = self._samples = self._samples + 1
        return sample, lab.upload(self.site.group, f"upload-{sample}", self.reads.pairs(sample))

    def _sent(self, lab: Lab, route: str, sample: int, row: str, head: str, cell: str, form: Any) -> AccessionVersion:
        metadata = f"{head}\tdate\tcountry\tfiles.rawReads\n{row}\t2026-01-02\tSwitzerland\t{cell}\n"
        files = {"metadataFile": ("metadata.tsv", metadata)}
        [answer] = lab.ask("POST", f"/{ORGANISM}/{route}", f"{route}-{sample}", data=form, files=files)
        name = AccessionVersion(answer["accession"], answer["version"])
        with self._lock:
            assert name not in self.versions, f"{name} was given to two"
            self.versions[name] = sample
        return name

    def _approve(self, lab: Lab, name: AccessionVersion) -> None:
        until(lambda: self.site.is_done(name), f"{name} is processed", self.patience, 0.1)
        manifest = self.site.manifest(name)
        assert manifest is not None, f"{name} is processed and has no manifest"
        chosen = {"accession": name.accession, "version": name.version, "manifestDigest": manifest.digest}
        try:
            lab.ask(
                "POST",
                f"/{ORGANISM}/approve-processed-data",
                json={"scope": "ALL", "accessionVersionsFilter": [chosen]},
            )
        except httpx.HTTPStatusError:
            # The answer before was lost: it is approved already.
            if self.site.job(name, JobKind.RELEASE) is None:
                raise
        self.approved[name] = manifest.digest


class _Killer:
    """Kills processes, and starts them again."""

    def __init__(
        self, site: Site, dice: random.Random, port: int, victims: Mapping[str, int], prefect: PrefectServer | None
    ) -> None:
        self._site = site
        self._dice = dice
        self._port = port
        self._wanted = victims
        self._prefect = prefect
        self._hosts = 0
        self._worker: Process | None = None
        self._api: Process | None = None

    def start(self) -> None:
        """Start them, and wait until the API answers."""
        self.replace()
        until(self._answers, "the API answers")

    def replace(self) -> None:
        """Start what is dead."""
        if self._worker is None or not self._worker.alive:
            self._hosts += self._dice.random() < 0.25
            self._worker = self._site.worker(f"host{self._hosts}")
        if self._api is None or not self._api.alive:
            self._api = self._site.api(self._port)

    def kill(self, trials: int) -> Counter[str]:
        """Kill so often, at random times; how often whom."""
        killed: Counter[str] = Counter()
        while killed.total() < trials:
            time.sleep(self._dice.uniform(0.1, 1.5))
            self.replace()
            wanted = self._dice.choices(list(self._wanted), list(self._wanted.values()))[0]
            if self._hit(wanted):
                killed[wanted] += 1
        return killed

    def _hit(self, wanted: str) -> bool:
        assert self._worker is not None
        assert self._api is not None
        if wanted == "API":
            self._api.kill()
            return True
        if wanted == "Prefect":
            assert self._prefect is not None
            self._prefect.kill()
            self._prefect.start()  # on the database that it had
            time.sleep(self._dice.uniform(0, UP_FOR))
            return True
        if wanted == "worker":
            self._worker.kill()
            return True
        nurseries = _children(self._worker.pid)
        pids = nurseries if wanted == "nursery" else [pid for each in nurseries for pid in _children(each)]
        if not pids:
            return False
        try:
            os.kill(self._dice.choice(pids), signal.SIGKILL)
        except ProcessLookupError:  # it has just ended by itself
            return False
        return True

    def end(self) -> None:
        """Kill them all."""
        for process in (self._worker, self._api):
            if process is not None:
                process.kill()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _unfinished(site: Site, town: _Town) -> list[str]:
    """What was promised and did not come."""
    failures = []
    for name in town.versions:
        try:
            until(lambda name=name: site.is_done(name), f"{name} is processed")  # type: ignore[misc]
        except TooSlowError as late:
            job = site.job(name)
            failures.append(f"{late}: {None if job is None else (job.state, job.last_error)}")
    for name, digest in town.approved.items():
        try:
            until(lambda name=name: site.is_done(name, JobKind.RELEASE), f"{name} is published")  # type: ignore[misc]
        except TooSlowError as late:
            failures.append(str(late))
        manifest = site.manifest(name)
        if manifest is None or manifest.digest != digest:
            failures.append(f"{name} was altered after its approval")
    for name in town.versions:
        job = site.job(name)
        if job is not None and job.state == JobState.NEEDS_ATTENTION:
            failures.append(f"{name} needs attention: {job.last_error}")
    return failures


def _differences(rig: Rig, site: Site, town: _Town) -> list[str]:
    """Versions whose manifest is not what a site gives where nothing is killed."""
    calm = rig.site("undisturbed")
    worker = calm.worker()
    failures = []
    ordered = sorted(town.versions.items(), key=lambda each: (each[0].version, each[0].accession))
    for name, sample in ordered:
        cell = calm.upload(*town.reads.pairs(sample))
        again = calm.submit(sample, cell) if name.version == 1 else calm.revise(sample, name.accession, cell)
        assert again == name, f"{again} is not {name}: an accession was lost"
        if any(later.accession == name.accession and later.version > name.version for later in town.versions):
            until(lambda name=name: calm.is_done(name), f"{name} undisturbed")  # type: ignore[misc]
            manifest = calm.manifest(name)
            assert manifest is not None
            calm.approve(name, manifest.digest)
    for name in town.versions:
        until(lambda name=name: calm.is_done(name), f"{name} undisturbed")  # type: ignore[misc]
        ours, wanted = site.manifest(name), calm.manifest(name)
        if ours is None or wanted is None or ours.digest != wanted.digest:
            failures.append(f"{name} has another manifest than an undisturbed run gives")
    worker.kill()
    return failures
