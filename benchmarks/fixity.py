"""Is every byte still there, and the database made again, at a million files: `python -m benchmarks.fixity`.

`make bench-fixity` fills a database with released entries and lays beside it a bucket that is made by
arithmetic (`fixity_scene`). Then, each in a process of its own: fsck finds what was planted and nothing
else; verify-integrity is broken off in the middle, goes on, and has read every object once; a rebuild
is broken off, goes on, and has every row. Memory must not grow with the rows.
Runs on SQLite, and on PostgreSQL where READVAULT_TEST_POSTGRES_URL names a server.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from sqlmodel import func, select

from benchmarks.api import MAINTAINER, database, house_of
from benchmarks.fixity_scene import BrokenOffError, Bucket, Records, fill, original_key, processed_key
from readvault.db.tables import AccessionCounter, EntryVersion, Manifest, Release, StoredObject, UploadedFile
from readvault.services.house import House
from readvault.services.storage.integrity import verification
from readvault.services.storage.integrity.fsck import Difference, fsck
from readvault.services.storage.rebuilding import rebuild as rebuilding
from readvault.services.storage.rebuilding.record_reading import AHEAD
from tests.fakes import MemoryStore

SMALLER = 100
GROWTH, SLACK = 1.5, 64 * 2**20
"""How much more memory than a hundredth of the rows all of them may take: a factor, and bytes."""
FIGURES = ("rows", "seconds", "CPU s", "rows/s", "peak above baseline, MB")


@dataclass(frozen=True, slots=True)
class Ground:
    """A database and the bucket beside it."""

    url: str
    folder: Path
    entries: int
    """Each has two files."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process: seconds, bytes of resident memory at its peak above those before it began, what is wrong."""

    seconds: float
    cpu: float
    memory: int
    wrong: list[str]
    result: Any


def main() -> None:
    """Print the figures; fail when something was not found, read twice or not made again, or memory grew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="stored objects")
    parser.add_argument("--records", type=int, help="entries to rebuild; default: a tenth of the rows")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    options = parser.parse_args()
    entries = options.rows // 2
    to_rebuild = options.rows // 10 if options.records is None else options.records
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="readvault-fixity-") as place:
        for dialect, server in (("sqlite", None), ("postgresql", os.environ.get("READVAULT_TEST_POSTGRES_URL"))):
            if options.only in (None, dialect) and (dialect == "sqlite" or server):
                print(f"{dialect}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)
                print(f"  {'':<34}" + "".join(f"{name:>{len(name) + 2}}" for name in FIGURES), flush=True)
                wrong += _compare(Path(place), server, entries, _fixity)
                wrong += _compare(Path(place), server, to_rebuild, _rebuilding)
                print(f"  load {os.getloadavg()[0]:.1f} at the end", flush=True)
    if wrong:
        sys.exit("\n".join(wrong))


def _compare(
    place: Path, server: str | None, entries: int, steps: Callable[[Ground], Iterator[tuple[str, int, Part]]]
) -> list[str]:
    """Do the steps with a hundredth and with all; what went wrong."""
    wrong: list[str] = []
    small: dict[str, int] = {}
    for size in (max(96, entries // SMALLER), entries):
        with database(place, server) as url:
            for what, rows, part in steps(Ground(url, place, size)):
                figures = (rows, part.seconds, part.cpu, rows / part.seconds, part.memory / 2**20)
                shown = zip(FIGURES, figures, (0, 1, 1, 0, 1), strict=True)
                print(f"  {what:<34}" + "".join(f"{n:>{len(name) + 2}.{d}f}" for name, n, d in shown), flush=True)
                wrong += [f"{what}, {rows} rows: {each}" for each in part.wrong]
                before = small.setdefault(what, part.memory)
                if part.memory > GROWTH * before + SLACK:
                    wrong.append(f"{what}: {part.memory >> 20} MB with {rows} rows, {before >> 20} MB with fewer")
    return wrong


def _fixity(ground: Ground) -> Iterator[tuple[str, int, Part]]:
    house = house_of(ground.url, MemoryStore(), ground.folder)
    fill(house.sessions, ground.entries)
    house.sessions.close()
    rows = 2 * ground.entries
    yield "fsck, both ways", rows, _in_a_process(compared, ground)
    first = _in_a_process(broken_off, ground)
    yield "verify-integrity, broken off", first.result[2], first
    reads, again, checked = first.result
    yield "verify-integrity, gone on", rows - checked, _in_a_process(gone_on, ground, reads, again, checked)


def _rebuilding(ground: Ground) -> Iterator[tuple[str, int, Part]]:
    with database(ground.folder, None) as url:
        house = house_of(url, MemoryStore(), ground.folder)
        fill(house.sessions, 1)
        documents = Records.of(house.sessions)
        house.sessions.close()
    first = _in_a_process(rebuilt_half, ground, documents)
    yield "rebuild, broken off", first.result[1], first
    rest = _in_a_process(rebuilt, ground, documents, first.result[0])
    yield "rebuild, gone on", ground.entries - first.result[1], rest


def _in_a_process(step: Callable[..., tuple[Any, list[str]]], ground: Ground, *known: Any) -> Part:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (step, ground, *known))


def _measured(step: Callable[..., tuple[Any, list[str]]], ground: Ground, *known: Any) -> Part:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, cpu, started = _peak(), process_time(), perf_counter()
    result, wrong = step(ground, *known)
    return Part(perf_counter() - started, process_time() - cpu, _peak() - before, wrong, result)


def _peak() -> int:
    """Largest resident memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def compared(ground: Ground) -> tuple[None, list[str]]:
    """Run fsck where two rows have lost their objects, two objects their rows, and four are not as they should be."""
    places = [ground.entries * tenth // 10 for tenth in range(1, 9)]
    lost = {original_key(places[0]), processed_key(places[1])}
    cut = {original_key(places[2]), processed_key(places[3])}
    swapped = {original_key(places[4]), processed_key(places[5])}
    bucket = Bucket(
        entries=ground.entries,
        missing=frozenset(lost), other_size=frozenset(cut), other_version=frozenset(swapped),
    )  # fmt: skip
    strays = {bucket.write(f"{key}-x", b"nobody's").key for key in (original_key(places[6]), processed_key(places[7]))}
    covered = bucket.write(processed_key(places[6]), b"meddled").key
    planted = {
        Difference.MISSING: lost | swapped,
        Difference.OTHER_SIZE: cut,
        Difference.STRAY: strays,
        Difference.HIDDEN: {covered},
    }
    house = house_of(ground.url, bucket, ground.folder)
    found = sorted((each.difference.value, each.key) for each in fsck(house))
    expected = sorted((what.value, key) for what, keys in planted.items() for key in keys)
    house.sessions.close()
    return None, [] if found == expected else [f"found {found[:20]}, planted {expected}"]


def _damaged_bucket(ground: Ground, reads: bytearray) -> Bucket:
    return Bucket(entries=ground.entries, reads=reads, wrong=frozenset({processed_key(ground.entries // 4)}))


def broken_off(ground: Ground) -> tuple[tuple[bytearray, set[str], int], list[str]]:
    """Verify the integrity until half is read; the bits of what was read, what was read twice, how many."""
    bucket = _damaged_bucket(ground, bytearray())
    house = house_of(ground.url, bucket, ground.folder)
    checked = 0

    def breaks(done: verification.Verification) -> None:
        nonlocal checked
        checked = done.checked
        if checked >= ground.entries:
            raise BrokenOffError

    wrong = ["it was not broken off"]
    try:
        verification.verify(house, progress=breaks)
    except BrokenOffError:
        wrong = []
    house.sessions.close()
    return (bucket.reads, bucket.read_again, checked), wrong


def gone_on(ground: Ground, reads: bytearray, again: set[str], checked: int) -> tuple[None, list[str]]:
    """Verify the rest; in all each object was read once, and what is damaged is known."""
    bucket = _damaged_bucket(ground, reads)
    house = house_of(ground.url, bucket, ground.folder)
    done = verification.verify(house)
    wrong = [] if done.finished else ["it was not finished"]
    damaged = [row.key for row in verification.damaged(house)]
    read = sum(each.bit_count() for each in bucket.reads)
    if damaged != sorted(bucket.wrong):
        wrong.append(f"damaged: {damaged[:20]}")
    if read != 2 * ground.entries or checked + done.checked != read:
        wrong.append(f"{read} objects were read, {checked + done.checked} checked")
    twice = (again | bucket.read_again) - bucket.wrong  # what looks wrong is read once more before it is said
    if twice:
        wrong.append(f"{len(twice)} objects were read twice")
    house.sessions.close()
    return None, wrong


def _bucket_of_records(ground: Ground, documents: Records) -> Bucket:
    bucket = Bucket(entries=ground.entries, documents=documents)
    key, body = documents.group
    bucket.write(key, body)
    return bucket


def rebuilt_half(ground: Ground, documents: Records) -> tuple[tuple[int, int], list[str]]:
    """Rebuild until half of the documents are read; how many were read, and entries that are there again."""
    bucket = _bucket_of_records(ground, documents)
    bucket.breaks_at = ground.entries
    house = house_of(ground.url, bucket, ground.folder)
    wrong = ["it was not broken off"]
    try:
        rebuilding.rebuild(house, MAINTAINER)
    except BrokenOffError:
        wrong = []
    there = _count(house, EntryVersion)
    house.sessions.close()
    return (bucket.fetched, there), wrong


def rebuilt(ground: Ground, documents: Records, fetched: int) -> tuple[None, list[str]]:
    """Rebuild the rest; every row is there, and no document was read twice but those of pages that were under way."""
    bucket = _bucket_of_records(ground, documents)
    house = house_of(ground.url, bucket, ground.folder)
    said: list[str] = []
    counts = rebuilding.rebuild(house, MAINTAINER, say=said.append)
    wrong = [f"it said {said[:5]}"] if said or counts[rebuilding.LOST] else []
    for table in (EntryVersion, Manifest, Release, StoredObject, UploadedFile):
        if _count(house, table) != ground.entries:
            wrong.append(f"{_count(house, table)} rows of {table.__tablename__}")
    with house.sessions.read() as session:
        last = session.exec(select(AccessionCounter.last)).one()
    if last != ground.entries:
        wrong.append(f"the next accession would be number {last + 1}")
    read = fetched + bucket.fetched
    under_way = 2 * (AHEAD + rebuilding.PAGE) + 10
    if not 2 * ground.entries <= read <= 2 * ground.entries + under_way:
        wrong.append(f"{read} documents were read for {ground.entries} entries with two each")
    house.sessions.close()
    return None, wrong


def _count(house: House, table: Any) -> int:
    with house.sessions.read() as session:
        return session.exec(select(func.count()).select_from(table)).one()


if __name__ == "__main__":
    main()
