"""A submission of many rows that is killed, and sent again with the same key."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlmodel import func, select

from readvault.db.tables import EntryVersion, Job
from readvault.services.house import House
from readvault.services.idempotency import Once
from readvault.services.submission.new_entries import submit
from readvault.services.submission.writing import SubmittedEntry
from tests.faults.campaign import Campaign, Outcome
from tests.faults.forge import KILLED, Forge
from tests.faults.ground import FailPoints, Ground, ground
from tests.faults.invariants import check
from tests.houses import ALICE, group_of, tsv, upload
from tests.integration.services.scenes import ORGANISM
from tests.postgres_server import available

POINTS = (
    "submit-inspected",
    "submit-sealed",
    "submit-numbered",
    "submit-written",
    "submit-remembered",
    "submit-before-commit",
    "submit-after-commit",
    "deliver-before-handing-over",
    "deliver-after-handing-over",
)
MOMENTS = 11
"""Besides the fail points: kills at so many moments spread over the time that a submission takes."""
ROWS = 100
FILES = 4


def _send(house: House, group_id: int, key: str, files: list[str]) -> list[SubmittedEntry]:
    rows = [
        {"id": f"{key}-{n}", "date": "2024-01-01", "platform": "ILLUMINA" if n < len(files) else "",
         "files.rawReads": f"reads.fastq:{files[n]}" if n < len(files) else ""}
        for n in range(ROWS)
    ]  # fmt: skip
    sequences = "".join(f">{key}-{n}\nACGTACGTACGT\n" for n in range(ROWS)).encode()
    return submit(
        house, ALICE, ORGANISM, group_id=group_id, metadata=tsv(*rows), metadata_name="metadata.tsv",
        sequences=sequences, sequences_name="sequences.fasta", once=Once.of(key, "submit", group_id),
    )  # fmt: skip


def _submit(url: str, folder: str, group_id: int, key: str, files: list[str]) -> None:
    _send(Ground(url, Path(folder)).house(), group_id, key, files)


OPERATIONS = {"submit": _submit}


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many killed submissions."""
    database = "postgresql" if seed // 25 % 2 and available() else "sqlite"
    failures: list[str] = []
    with ground(folder, database) as there, ExitStack() as stack:
        house = there.house()
        points = FailPoints(folder / "fail-points")
        forge = stack.enter_context(Forge("tests.faults.campaign_submit_kills", points))
        typical = _time_of_one(there, forge)
        for number in range(trials):
            turn = (seed + 7 * number) % (len(POINTS) + MOMENTS)
            failures += _trial(there, house, forge, points, turn, typical, f"s{seed}-{number}")
        failures += check(house, open_jobs=True)
    return Outcome(trials, failures, f"{database}, {ROWS} rows, {FILES} files, the service in a process of its own")


def _time_of_one(there: Ground, forge: Forge) -> float:
    house = there.house()
    group_id = group_of(house, ALICE)
    started = time.monotonic()
    forge.start("submit", **_order(there, group_id, "first", upload(house, ALICE, group_id, b"first")))
    assert forge.ended() == (0, None)
    return time.monotonic() - started


def _order(there: Ground, group_id: int, key: str, files: list[str]) -> dict[str, Any]:
    return {"url": there.url, "folder": str(there.folder), "group_id": group_id, "key": key, "files": files}


def _trial(
    there: Ground, house: House, forge: Forge, points: FailPoints, turn: int, typical: float, key: str
) -> list[str]:
    group_id = group_of(house, ALICE)
    files = upload(house, ALICE, group_id, *(f"{key} {n}".encode() for n in range(FILES)))
    where = POINTS[turn] if turn < len(POINTS) else f"{100 * (turn - len(POINTS)) // MOMENTS} % of its time"
    if turn < len(POINTS):
        points.arm(where)
    forge.start("submit", **_order(there, group_id, key, files))
    if turn >= len(POINTS):
        time.sleep(typical * (turn - len(POINTS) + random.Random(key).random()) / MOMENTS)
        forge.kill()
    status, _ = forge.ended()
    if turn < len(POINTS) and status != KILLED:
        points.disarm()
        where += ", which a slow machine leaves to the dispatcher"
    if turn < len(POINTS) and status != KILLED and not where.startswith("deliver-"):
        return [f"{where}: nothing was killed (status {status})"]
    there_now = _accessions(house, group_id)
    if len(there_now) not in (0, ROWS):
        return [f"{where}: {len(there_now)} of {ROWS} rows are there"]
    first = _send(house, group_id, key, files)
    again = _send(house, group_id, key, files)
    failures = []
    if first != again or len(first) != ROWS:
        failures.append(f"{where}: the same key gave other accessions")
    if there_now and there_now != sorted(each.accession or "" for each in first):
        failures.append(f"{where}: what was committed is not what the same key gives")
    if _accessions(house, group_id) != sorted(each.accession or "" for each in first):
        failures.append(f"{where}: the database holds other accessions than were told")
    with house.sessions.read() as session:
        in_group = select(EntryVersion.accession).where(EntryVersion.group_id == group_id)
        jobs = session.exec(select(func.count()).select_from(Job).where(Job.accession.in_(in_group))).one()  # type: ignore[attr-defined]
    return failures if jobs == ROWS else [*failures, f"{where}: {jobs} jobs for {ROWS} rows"]


def _accessions(house: House, group_id: int) -> list[str]:
    with house.sessions.read() as session:
        return sorted(session.exec(select(EntryVersion.accession).where(EntryVersion.group_id == group_id)))


CAMPAIGN = Campaign(
    name="submit_kills",
    promise="P6 A submission is there as a whole or not at all, and sent again with its key it is the same one",
    how=f"kill -9 of a submission of {ROWS} rows at {len(POINTS)} fail points and {MOMENTS} moments, then the same"
    " request again, twice",
    full=1000,
    run=run,
    unit="kills",
    tiny=2,
)
