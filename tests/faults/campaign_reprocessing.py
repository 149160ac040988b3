"""A raised pipeline version reprocesses released entries while others are submitted, workers die, and all goes back."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml
from sqlmodel import col, select

from readvault import bootstrap
from readvault.adapters.inline_orchestrator import NoOrchestrator
from readvault.db.names import among
from readvault.db.tables import ComparedResult, Job, Manifest, ManifestFile, Reprocessing
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reprocessing import OrderState, ResultState
from readvault.domain.status import JobState
from readvault.services.house import House
from readvault.services.processing.standing import standing
from readvault.services.release.downloads import released_file_url
from readvault.services.reprocessing import decisions
from tests.faults import invariants
from tests.faults.campaign import Campaign, Outcome
from tests.faults.rig import ORGANISM, Process, Reads, Rig, Site, until
from tests.houses import MAINTAINER

WORKERS = 2
PER_ENTRY = 10.0
"""Seconds that an entry may take on a busy machine."""
SEEN_TWICE = 2
"""Every so many entries hold each read twice: they lose no breadth when version 2 wants a depth of two."""


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many released entries, reprocessed and taken back."""
    if trials == 0:
        return Outcome(0, [], "a few cases are in test_reprocessing.py")
    chance = random.Random(seed)
    with Rig(folder / "rig") as rig:
        site = rig.site("reprocessed", READVAULT_WORKER__BACKGROUND_JOBS="8")
        reads = Reads(folder / "reads", site.settings)
        _set_version(site, 1, min_depth=1)
        names = _released(site, reads, trials)
        before = _public_bytes(site.house, names, 1)
        later, arrived, kills = _reprocess(site, reads, names, chance)
        failures = [*_wrong_by_rule(later, names), *_changed(before, _public_bytes(later, names, 1), "reprocessing")]
        newer = _public_bytes(later, names[::SEEN_TWICE], 2)
        kills += _roll_back(site, later, chance)
        failures += [f"{name} did not go back" for name in names if _version_of(later, name) != 1]
        failures += _changed(before, _public_bytes(later, names, 1), "rolling back")
        failures += _changed(newer, _public_bytes(later, names[::SEEN_TWICE], 2), "rolling back (version 2)")
        failures += invariants.check(later)
        told = f"{site.database}, inline orchestrator, {WORKERS} workers, {kills} kills -9, {arrived} arrived meanwhile"
        return Outcome(trials, failures[:20], told)


def _set_version(site: Site, version: int, *, min_depth: int) -> House:
    """Write the organism's file anew, as a maintainer does; the house that workers have who read it."""
    path = site.folder / "demo" / f"{ORGANISM}.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    thresholds = {"ILLUMINA": {"minDepth": min_depth, "minBaseQuality": 0}}
    content["pipeline"] |= {"version": version, "qc": [], "platforms": thresholds}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return bootstrap.house(site.settings, NoOrchestrator())


def _sample(reads: Reads, number: int) -> list[bytes]:
    """Two files; of every second sample with each read twice."""
    first = reads.pairs(number)
    if number % SEEN_TWICE:
        return first
    # Two gzip members are one file.
    return [one + again for one, again in zip(first, reads.pairs(number + 1_000_000), strict=True)]


def _released(site: Site, reads: Reads, trials: int) -> list[AccessionVersion]:
    workers = [site.worker() for _ in range(WORKERS)]
    names = [site.submit(number, site.upload(*_sample(reads, number))) for number in range(trials)]
    patience = 120 + PER_ENTRY * trials
    for name in names:
        found = until(lambda name=name: site.manifest(name), f"the result of {name}", patience)  # type: ignore[misc]
        site.approve(name, found.digest)
    until(lambda: not _open(site), "the releases", patience)
    for worker in workers:
        worker.kill()
    return names


def _open(site: Site) -> int:
    with site.house.sessions.read() as session:
        return len(session.exec(select(Job.id).where(Job.state != JobState.DONE.value)).all())


def _reprocess(
    site: Site, reads: Reads, names: list[AccessionVersion], chance: random.Random
) -> tuple[House, int, int]:
    """Raise the version; kill workers and submit others until the order is done. The house, arrivals, kills."""
    later = _set_version(site, 2, min_depth=2)
    workers = [site.worker() for _ in range(WORKERS)]
    arrived: list[AccessionVersion] = []
    kills, deadline = 0, time.monotonic() + 240 + PER_ENTRY * len(names)
    while not _is(site, OrderState.DONE):
        if time.monotonic() > deadline:
            raise AssertionError(f"the order is not done: {site.log[-3000:]}")
        if len(arrived) * 10 < len(names):
            number = 10_000 + len(arrived)
            arrived.append(site.submit(number, site.upload(*_sample(reads, number))))
        time.sleep(chance.uniform(0.5, 3))
        if kills * 10 <= len(names):
            kills += _kill_one(site, workers, chance)
    for name in arrived:
        until(lambda name=name: site.manifest(name), f"the result of {name}")  # type: ignore[misc]
    until(lambda: not _open(site), "all jobs", 240)
    for worker in workers:
        worker.kill()
    return later, len(arrived), kills


def _kill_one(site: Site, workers: list[Process], chance: random.Random) -> int:
    victim = chance.randrange(len(workers))
    workers[victim].kill()
    workers[victim] = site.worker()
    return 1


def _roll_back(site: Site, later: House, chance: random.Random) -> int:
    """Take the order back, with workers that are killed while they do it; how many."""
    with later.sessions.read() as session:
        order = session.exec(select(Reprocessing.id)).one()
    decisions.roll_back_order(later, MAINTAINER, order or 0, "it was no good after all")
    workers = [site.worker() for _ in range(WORKERS)]
    time.sleep(chance.uniform(0.5, 2))
    kills = _kill_one(site, workers, chance)
    until(lambda: _row(site).roll_back_done, "the way back", 240)
    until(lambda: not _open(site), "all jobs", 240)
    for worker in workers:
        worker.kill()
    return kills


def _row(site: Site) -> Reprocessing:
    with site.house.sessions.read() as session:
        return session.exec(select(Reprocessing)).one()


def _is(site: Site, state: OrderState) -> bool:
    with site.house.sessions.read() as session:
        row = session.exec(select(Reprocessing)).first()
    return row is not None and row.state == state


def _version_of(house: House, name: AccessionVersion) -> int:
    with house.sessions.read() as session:
        found = standing(session, name)
    return 0 if found is None else found.pipeline_version


def _wrong_by_rule(house: House, names: list[AccessionVersion]) -> Iterator[str]:
    """Those that lost no breadth must have switched, the others must wait; each has one comparison."""
    for number, name in enumerate(names):
        with house.sessions.read() as session:
            rows = session.exec(select(ComparedResult).where(among(ComparedResult, [name]))).all()
        wanted = ResultState.WAITS if number % SEEN_TWICE else ResultState.SWITCHED
        states = [row.state for row in rows]
        stands = 1 if wanted is ResultState.WAITS else 2
        if states != [wanted.value] or _version_of(house, name) != stands:
            yield f"{name} is {states}, version {_version_of(house, name)} stands; expected {wanted.value}"
        elif wanted is ResultState.WAITS and [each["figure"] for each in rows[0].findings] != ["breadthOfCoverage"]:
            yield f"{name} waits for {rows[0].findings}"


def _public_bytes(house: House, names: list[AccessionVersion], version: int) -> dict[str, str]:
    """The SHA-256 of what everybody downloads under the stable URL of each file of a pipeline version."""
    found: dict[str, str] = {}
    with httpx.Client(timeout=60) as client:
        for name in names:
            with house.sessions.read() as session:
                files = session.exec(
                    select(ManifestFile)
                    .join(Manifest, col(Manifest.id) == col(ManifestFile.manifest_id))
                    .where(
                        among(Manifest, [name]),
                        Manifest.pipeline_version == version,
                        col(Manifest.superseded_at).is_(None),
                        col(ManifestFile.may_be_public),
                    )
                ).all()
            for file in files:
                url = released_file_url(house, name.accession, name.version, version, file.category, file.name)
                body = client.get(url).raise_for_status().content
                found[f"{name} {file.category} {file.name}"] = hashlib.sha256(body).hexdigest()
    assert found
    return found


def _changed(before: dict[str, str], after: dict[str, str], by: str) -> list[str]:
    return [f"{name} was changed by {by}" for name in before if after.get(name) != before[name]]


CAMPAIGN = Campaign(
    name="reprocessing",
    promise="P5 What was reviewed is what is released; of those who change an entry at once one wins",
    how="a raised pipeline version reprocesses released entries while others are submitted and workers are killed -9;"
    " all switch or wait by rule, no byte under an old URL changes, and all goes back",
    full=200,
    run=run,
    unit="released entries",
    part=40,
    tiny=0,
)
