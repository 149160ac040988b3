"""Exports for SILO are killed (SIGKILL) at every step while entries come and go: none holds what is nobody's."""

from __future__ import annotations

import hashlib
import json
import random
import traceback
from pathlib import Path

from sqlmodel import select

from readvault.db.tables import SiloExport
from readvault.domain.errors import Conflict, NotFound, Unavailable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.services.entries.visibility import state_of
from readvault.services.entries.withheld import withheld_among
from readvault.services.exports import reading, retention
from readvault.services.house import House
from readvault.services.release.interventions import intervene
from readvault.services.release.released_data import released
from readvault.services.screening import withholding
from tests.faults.campaign import Campaign, Outcome
from tests.faults.ground import FailPoints, Ground, ground
from tests.houses import MAINTAINER
from tests.integration.services.scenes import ORGANISM, group
from tests.integration.services.silo_scenes import export, exported_files, released_reads, rows

POINTS = (
    "export-planned",
    "export-part-stored",
    "export-part-noted",
    "export-before-upload",
    "export-before-commit",
    "export-committed",
)
KILLED = 9
CONDITIONS = "SQLite, a bucket in a folder, a process of its own for each export that is killed"
BASES = "ACGT"


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """One house in which entries are released, revised, hidden and shown again between the exports."""
    chance = random.Random(seed)
    failures: list[str] = []
    names: list[AccessionVersion] = []
    with ground(folder / "ground") as place:
        house, points = place.house(), FailPoints(folder / "points")
        group_id = group(house, "alice")
        for trial in range(trials):
            try:
                failures += [
                    f"trial {trial}, seed {seed}: {each}"
                    for each in _trial(place, house, points, chance, names, group_id, POINTS[trial % len(POINTS)])
                ]
            except Exception as failure:
                traceback.print_exc()
                failures.append(f"trial {trial}, seed {seed}: {type(failure).__name__}: {failure}")
            points.disarm()
    return Outcome(trials, failures, CONDITIONS)


def _trial(
    place: Ground, house: House, points: FailPoints, chance: random.Random, names: list[AccessionVersion],
    group_id: int, point: str,
) -> list[str]:  # fmt: skip
    names.append(_released(house, group_id, chance))
    for _ in range(chance.randint(0, 2)):
        _something_happens(house, chance, names, group_id)
    (points.folder / point).write_text("1")
    status = points.forked(lambda: export(place.house(), anew=True))
    faults = [] if status == KILLED else [f"the process ended with {status} instead of dying at {point}"]
    points.disarm()
    try:
        reading.find(house, None, ORGANISM)
        if hidden := {row["accessionVersion"] for row in rows(house)} & _taken_back(house, names):
            faults.append(f"killed at {point}: everybody gets {sorted(hidden)}")
    except (Unavailable, NotFound):
        pass
    with house.sessions.begin() as session:
        for row in session.exec(select(SiloExport).where(SiloExport.state == "building")):
            row.alive_until = 1.0
    done = export(house)
    public = _public(house)
    if done.export_id is None:
        return [*faults, *([f"killed at {point}: nothing was exported of {sorted(public)}"] if public else [])]
    found = {row["accessionVersion"] for row in rows(house)}
    if found != public:
        faults.append(f"killed at {point}: the export has {sorted(found)}, public are {sorted(public)}")
    return faults + _differing(house) + _left_over(house)


def _released(house: House, group_id: int, chance: random.Random, **changes: object) -> AccessionVersion:
    reads = tuple(("".join(chance.choices(BASES, k=6)), chance.randint(0, 14)) for _ in range(3))
    metadata = {"date": f"2026-01-{chance.randint(1, 28):02}", "country": chance.choice(["Peru", "Chile"])}
    return released_reads(house, group_id, reads=reads, metadata=metadata, **changes)  # type: ignore[arg-type]


def _something_happens(house: House, chance: random.Random, names: list[AccessionVersion], group_id: int) -> None:
    name = chance.choice(names)
    kind = chance.choice(["revise", "withdraw", "suppress", "withhold", "restore", "give"])
    try:
        if kind == "revise":
            newest = max(each.version for each in names if each.accession == name.accession)
            names.append(_released(house, group_id, chance, accession=name.accession, version=newest + 1))
        elif kind == "withhold":
            withholding.withhold(house, MAINTAINER, name, 1, "human reads")
        elif kind == "give":
            withholding.give_again(house, MAINTAINER, name, 1, "not human")
        else:
            intervene(house, MAINTAINER, name, Step(kind), "a reason")
    except Conflict:
        pass  # its state doesn't allow it


def _public(house: House) -> set[str]:
    """What an export should have, as released data say it."""
    return {
        str(each.name)
        for each in released(house, ORGANISM)
        if each.version_status == "LATEST_VERSION" and any(file.category == "siloReads" for file in each.files)
    }


def _taken_back(house: House, names: list[AccessionVersion]) -> set[str]:
    """Versions that were withdrawn or whose reads are withheld."""
    with house.sessions.read() as session:
        withdrawn = {str(name) for name, state in state_of(session, names).items() if state.value == "WITHDRAWN"}
        entries = {each.manifest_id: str(each.name) for each in released(house, ORGANISM)}
        return withdrawn | {entries[number] for number in withheld_among(session, entries)}


def _differing(house: House) -> list[str]:
    files = exported_files(house)
    told = json.loads(files["manifest.json"])
    wrong = [
        file["name"]
        for file in told["files"]
        if (len(files[file["name"]]), hashlib.sha256(files[file["name"]]).hexdigest()) != (file["size"], file["sha256"])
    ]
    if told["counts"]["reads"] != len(rows(house)):
        wrong.append("the number of reads")
    return [f"the manifest is wrong about {wrong}"] if wrong else []


def _left_over(house: House) -> list[str]:
    with house.sessions.begin() as session:
        dropped = list(session.exec(select(SiloExport).where(SiloExport.state == "dropped")))
        for row in dropped:
            row.dropped_at = min(row.dropped_at or 1.0, 1.0)
    retention.tidy(house)
    dead = {row.id for row in dropped}
    kept = [key for key in house.store.versions if key.startswith("exports/") and key.split("/")[2] in dead]  # type: ignore[attr-defined]
    return [f"{len(kept)} files of dropped exports stay"] if kept else []


CAMPAIGN = Campaign(
    name="export_kills",
    promise="P3 What is not everybody's is in no export",
    how="SIGKILL at each step of an export while entries are released, revised, withdrawn, suppressed and withheld;"
    " then the newest export has exactly what is public, and every digest is right",
    full=300,
    run=run,
    tiny=6,
)
