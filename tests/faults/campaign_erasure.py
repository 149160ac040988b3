"""Erasures are killed (SIGKILL) at every step and gone on with: none of it stays, nothing of others goes."""

from __future__ import annotations

import random
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path

from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.storage.erasing import erasure, erasure_proof, shredding
from readvault.services.storage.integrity.pinned import pinned_versions
from tests.faults.campaign import Campaign, Outcome
from tests.faults.ground import DiskStore, FailPoints, Ground, ground, of_scenes
from tests.faults.invariants import check
from tests.houses import MAINTAINER
from tests.integration.services.life import released
from tests.integration.services.scenes import group, processed

POINTS = (
    "erase-before-confirm",
    "erase-confirmed",
    "erase-noted",
    "erase-between-deletions",
    "erase-before-proof",
    "erase-before-finish",
    "erase-finished",
)
OTHER = Actor("other-maintainer", frozenset({MAINTAINER_ROLE}))
KILLED = 9
CONDITIONS = "SQLite, buckets in folders, a process of its own for each confirmation"


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """Erase one entry after the other in a house where others live on."""
    chance = random.Random(seed)
    failures: list[str] = []
    with ground(folder / "ground") as place:
        house = _house(place)
        points = FailPoints(folder / "points")
        group_id = group(house, "alice")
        neighbours = [released(house, group_id, files=(b"kept %d" % n,), text=b">k%d\nA\n" % n) for n in (1, 2)]
        for each in neighbours:
            _documents(house, each)
        for trial in range(trials):
            try:
                failures += [f"trial {trial}, seed {seed}: {each}" for each in _trial(place, points, chance, trial)]
            except Exception as failure:
                traceback.print_exc()
                failures.append(f"trial {trial}, seed {seed}: {type(failure).__name__}: {failure}")
            points.disarm()
        failures += of_scenes(check(house, open_jobs=True))
    return Outcome(trials, failures, CONDITIONS)


def _house(place: Ground) -> House:
    return replace(place.house(), second_store=DiskStore(place.folder / "second"))


def _trial(place: Ground, points: FailPoints, chance: random.Random, trial: int) -> list[str]:
    house = _house(place)
    before = _everything(house)
    group_id = 1
    files = tuple(b"original %d %d" % (trial, n) for n in range(chance.randint(1, 4)))
    make = released if chance.random() < 0.5 else processed
    made = make(house, group_id, files=files, text=b">t%d\nAC\n" % trial, reads=b"screened %d" % trial)
    name = made if isinstance(made, AccessionVersion) else made[0]
    _documents(house, name)
    asked, plan = erasure.request(house, MAINTAINER, [name], "the patient took the consent back")
    for line in plan.lines:
        if chance.random() < 0.5:
            assert isinstance(house.second_store, DiskStore)
            house.second_store.write(line.key, b"copy")
    asked, plan = erasure.request(house, MAINTAINER, [name], "the patient took the consent back")
    assert asked.id is not None
    point = POINTS[trial % len(POINTS)]
    (points.folder / point).write_text(str(chance.randint(1, 3) if point == "erase-between-deletions" else 1))
    status = points.forked(partial(_erase, place, asked.id, asked.objects, asked.code))
    faults = [] if status == KILLED else [f"the process ended with {status} instead of dying at {point}"]
    points.disarm()
    if point == "erase-before-confirm":
        if shredding.carry_on_all(house) or _everything(house).keys() < before.keys():
            faults.append("something went that nobody confirmed")
        erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    shredding.carry_on_all(house)
    row, _ = erasure.find(house, MAINTAINER, asked.id)
    if row.proof is None or not erasure_proof.is_as_written(row.proof):
        return [*faults, f"killed at {point} it was not finished: {row.waits_for}"]
    if left := shredding.left_of(house, asked.id):
        faults.append(f"{len(left)} versions are left")
    stays = {("bucket", f"manifests/{name.accession}/{name.version}/d.json")} if make is released else set()
    after = _everything(house)
    if gone := [where for where, data in before.items() if after.get(where) != data]:
        faults.append(f"{len(gone)} objects of others are gone or altered: {gone[:3]}")
    if more := [where for where in after if where not in before and where not in stays]:
        faults.append(f"{len(more)} objects stay: {more[:3]}")
    listed = {(each["place"], each["key"], each["versionId"]) for each in row.proof["objects"]}
    if missing := [line for line in plan.lines if (line.place, line.key, line.version_id) not in listed]:
        faults.append(f"the proof leaves out {len(missing)} versions")
    if name.accession in {each.key.split("/")[0] for each in pinned_versions(house)}:
        faults.append("something of it is still pinned")
    return faults


def _documents(house: House, name: AccessionVersion) -> None:
    assert isinstance(house.store, DiskStore)
    place = f"{name.accession}/{name.version}"
    for key in (f"manifests/{place}/d.json", f"manifests/{place}/d.private.json", f"records/{place}/state-1-a.json"):
        house.store.write(key, b"{}")


def _everything(house: House) -> dict[tuple[str, str], list[tuple[str, bytes]]]:
    found: dict[tuple[str, str], list[tuple[str, bytes]]] = {}
    for place, store in (("bucket", house.store), ("second", house.second_store)):
        assert isinstance(store, DiskStore)
        found |= {(place, key): store.versions[key] for key in store.versions}
    return found


def _erase(place: Ground, erasure_id: int, objects: int, code: str) -> None:
    """Confirm and carry out."""
    house = _house(place)
    erasure.confirm(house, OTHER, erasure_id, objects=objects, code=code)
    shredding.carry_on(house, erasure_id)


CAMPAIGN = Campaign(
    name="erasure",
    promise="P16 What is erased leaves no byte, and takes none of anybody else's along",
    how="Released and unreleased entries with copies in a second bucket are erased; the process is killed at each"
    " step in turn and another goes on; then both buckets are compared, byte by byte, with what they held before.",
    full=100,
    run=run,
    unit="erasures",
    part=25,
    tiny=len(POINTS),
)
