"""kill -9 at every fail point on the way of a submission, from its upload to its published release."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.pipeline import LOCAL, STEPS
from tests.faults import invariants
from tests.faults.campaign import Campaign, Outcome
from tests.faults.rig import Process, Reads, Rig, Site, TooSlowError, until


@dataclass(frozen=True, slots=True)
class Place:
    """A fail point: at which passing it kills, and which ones must be armed with it to get there.

    `elsewhere`: the worker after the first dead one is on another host, which must wait for the lease.
    """

    name: str
    passing: int = 1
    first: tuple[str, ...] = ()
    elsewhere: bool = False

    def __str__(self) -> str:
        return self.name if self.passing == 1 else f"{self.name} #{self.passing}"


IN_SUBMIT = tuple(Place(name) for name in ("submit-sealed", "submit-before-commit", "submit-after-commit"))
IN_APPROVE = tuple(Place(f"approve-{where}") for where in ("marked", "written-down", "before-commit", "after-commit"))
IN_WORKER = (
    Place("deliver-before-handing-over"),
    Place("deliver-after-handing-over"),
    Place("claim-before-commit"),
    Place("worker-claimed"),
    Place("renew-before-commit"),
    *(Place(f"worker-{step}") for step in STEPS),
    *(Place(f"child-{step}") for step in LOCAL),
    Place("hashes-before-commit"),
    Place("hashes-after-commit"),
    Place("stage-between-files"),
    Place("stage-between-files", 5),
    *(Place("register-document-written", passing) for passing in (1, 2)),
    Place("register-before-commit"),
    Place("register-in-transaction"),
    Place("register-after-commit"),
    Place("give-up-before-commit", first=("child-align",)),
    Place("give-up-after-commit", first=("child-align",)),
    Place("reap-before-commit", first=("worker-claimed",), elsewhere=True),
)
IN_RELEASE = (
    Place("release-before-verify"),
    Place("release-verified"),
    Place("record-written"),
    Place("release-between-locks"),
    Place("release-between-locks", 6),
    Place("release-before-record"),
    Place("release-after-record"),
    Place("complete-before-commit"),
    Place("complete-after-commit"),
)
PLACES = (*IN_SUBMIT, *IN_WORKER, *IN_APPROVE, *IN_RELEASE)
"""In an order that a run of a few trials has different kinds of."""
_undisturbed: dict[int, str] = {}
"""Manifest digests of a site where nothing was killed, by the sample's number: accessions are counted."""


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """One entry for each trial, through its whole life, with one kill on the way."""
    chosen = list(_chosen(trials, seed))
    failures: list[str] = []
    with Rig(folder) as rig:
        site = rig.site("disturbed")
        reads = Reads(folder / "reads", site.settings)
        expected = _expected(rig, reads, trials)
        killing = _Killing(site, random.Random(seed))
        for number, place in enumerate(chosen):
            try:
                killing.one_life(number, place, reads)
            except AssertionError as fault:
                failures.append(f"{place}: {fault}")
        for number, name in killing.names.items():
            manifest = site.manifest(name)
            if manifest is None or manifest.digest != expected[number]:
                failures.append(f"{chosen[number]}: {name} has another manifest than an undisturbed run gives")
        killing.rest()
        failures += invariants.check(site.house)
        if left := [str(path.name) for path in site.scratch()]:
            failures.append(f"scratch of jobs that have ended is still there: {left[:3]}")
        conditions = (
            f"{site.database}, SeaweedFS, inline orchestrator, lease 2 s, 50 pairs, workers forked from a warm process"
        )
    return Outcome(len(chosen), failures, conditions)


def _chosen(trials: int, seed: int) -> Iterator[Place]:
    """Every fail point in turn; a later part of a campaign goes on where the last one stopped."""
    shuffled = list(PLACES)
    random.Random(20261123).shuffle(shuffled)
    for number in range(trials):
        yield shuffled[(seed + number) % len(shuffled)]


def _expected(rig: Rig, reads: Reads, trials: int) -> dict[int, str]:
    missing = [number for number in range(trials) if number not in _undisturbed]
    if missing:
        site = rig.site("undisturbed")
        worker = site.worker()
        names = {number: site.submit(number, site.upload(*reads.pairs(number))) for number in range(trials)}
        for number, name in names.items():
            until(lambda name=name: site.is_done(name), f"{name} undisturbed")  # type: ignore[misc]
            manifest = site.manifest(name)
            assert manifest is not None
            _undisturbed[number] = manifest.digest
        worker.kill()
    return _undisturbed


class _Killing:
    """A worker that is replaced whenever it is dead, and what is done to it."""

    def __init__(self, site: Site, dice: random.Random) -> None:
        self.names: dict[int, AccessionVersion] = {}
        self._site = site
        self._dice = dice
        self._worker: Process | None = None
        self._hosts = 0
        self._elsewhere = False

    def one_life(self, number: int, place: Place, reads: Reads) -> None:
        """Upload, submit, process, approve and publish one entry, with a kill at this place."""
        site = self._site
        self._keep_worker()
        self._elsewhere = place.elsewhere
        cell = site.upload(*reads.pairs(number))
        if place not in IN_APPROVE and place not in IN_RELEASE:
            self._arm(place)
        name = self._submit(number, cell)
        self.names[number] = name
        self._until(lambda: site.is_done(name), f"{name} is processed")
        if place not in IN_APPROVE and place not in IN_RELEASE:
            self._until(lambda: self._was_killed(place), "the kill")
        else:
            self._arm(place)
        manifest = site.manifest(name)
        assert manifest is not None, "it is done and has no manifest"
        self._approve(name, manifest.digest)
        self._until(lambda: site.is_done(name, JobKind.RELEASE), f"{name} is published")
        self._until(lambda: self._was_killed(place), "the kill")
        for kind in (JobKind.PROCESS_SUBMISSION, JobKind.RELEASE):
            job = site.job(name, kind)
            assert job is not None
            assert job.state != JobState.NEEDS_ATTENTION, job.last_error

    def rest(self) -> None:
        """Let a living worker look after what is left, then end it."""
        self._keep_worker()
        with suppress(TooSlowError):
            until(lambda: not self._site.scratch(), "the scratch is swept", 10)
        assert self._worker is not None
        self._worker.kill()

    def _arm(self, place: Place) -> None:
        for name in place.first:
            (self._site.fail_points / name).write_text("")
        armed = self._site.fail_points / place.name
        armed.write_text(str(place.passing))

    def _was_killed(self, place: Place) -> bool:
        return not (self._site.fail_points / place.name).exists()

    def _submit(self, number: int, cell: str) -> AccessionVersion:
        """Submit until there is an answer, as a client with an idempotency key does."""
        answer = self._operation("submit", self._site.submission(number, cell))
        [[accession, version]] = answer
        return AccessionVersion(accession, version)

    def _approve(self, name: AccessionVersion, digest: str) -> None:
        """Approve until it is approved; whoever got no answer looks first."""
        site = self._site
        if any((site.fail_points / place.name).exists() for place in IN_APPROVE):
            process, answer = site.operation("approve", **site.approval(name, digest))
            process.ended()
            if answer.exists() or site.job(name, JobKind.RELEASE) is not None:
                return
        site.approve(name, digest)

    def _operation(self, name: str, order: dict[str, Any]) -> Any:
        for _ in range(3):
            process, answer = self._site.operation(name, **order)
            process.ended()
            if answer.exists():
                return json.loads(answer.read_text())
        raise AssertionError(f"no answer to {name}: {self._site.log[-500:]}")

    def _keep_worker(self) -> None:
        if self._worker is not None and self._worker.alive:
            return
        # Where it starts on the same host it takes over at once; elsewhere the lease has to run out first.
        self._hosts += self._elsewhere or self._dice.random() < 0.25
        self._worker = self._site.worker(f"host{self._hosts}")

    def _until(self, come: Any, what: str) -> None:
        def come_with_a_worker() -> Any:
            self._keep_worker()
            return come()

        until(come_with_a_worker, what)


CAMPAIGN = Campaign(
    name="failpoints",
    promise="P1, P2 Nothing released is lost or altered, and no version is half there",
    how=f"kill -9 at each of {len(PLACES)} fail points, from sealing to the published release; every entry ends"
    " released, with the manifest of an undisturbed run",
    full=1000,
    run=run,
    unit="kills",
    part=len(PLACES),
    tiny=2,
)
