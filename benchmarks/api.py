"""How the API grows with the database: `python -m benchmarks.api` (`make bench-api`).

Two databases, with 10,000 and with 1,000,000 entries and equally many open ones, answer the same
questions in turns; the best of several answers counts, since everything slower was the machine's.
Runs on SQLite, and on PostgreSQL where READVAULT_TEST_POSTGRES_URL names a server.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import multiprocessing
import os
import resource
import tempfile
import uuid
from collections.abc import AsyncIterable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import batched
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
from sqlalchemy import create_engine as create_plain_engine
from sqlalchemy import make_url, select, text
from sqlmodel import col

from benchmarks.api_scene import OPEN_PROCESSED, Scene, fill
from readvault.api import ndjson
from readvault.config import Settings
from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import EntryVersion, Manifest
from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import FileCategory, Organism, Reference, Submission
from readvault.domain.processed_data import Shape
from readvault.domain.status import Status
from readvault.ports import ReadStore
from readvault.services.house import House
from readvault.services.release.released_data import released_data
from readvault.services.review.approval import Scope, approve
from readvault.services.review.listing import list_entries
from readvault.services.submission.new_entries import submit
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import request_uploads
from tests.fakes import MemoryStore, RecordingOrchestrator

ORGANISM = "bench"
SMALL = 10_000
AT_ONCE = 1_000
"""Entries of one approval."""
APPROVALS = 3
OPEN = APPROVALS * AT_ONCE * 2
TURNS = 15
CONNECTIONS = 16
ALICE, BOB = Actor("alice"), Actor("bob")
MAINTAINER = Actor("maintainer", frozenset({MAINTAINER_ROLE}))
TO_REVIEW = [Status.RECEIVED, Status.IN_PROCESSING, Status.PROCESSED]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the large database")
    parser.add_argument("--rows", type=int, default=10_000, help="of one submission")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="readvault-bench-") as place:
        folder = Path(place)
        for dialect, server in (("sqlite", None), ("postgresql", os.environ.get("READVAULT_TEST_POSTGRES_URL"))):
            if options.only in (None, dialect) and (dialect == "sqlite" or server):
                print(f"{dialect}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)
                _submissions(folder, server, options.rows)
                _growth(folder, server, options.entries)


def _submissions(folder: Path, server: str | None, rows: int) -> None:
    with database(folder, server) as url:
        seconds = _submit(house_of(url, MemoryStore(), folder), rows, _into_memory)
        print(f"  submit {rows} rows with one file each, store in memory: {seconds:.1f} s", flush=True)
    if os.environ.get("READVAULT_BENCH_S3") == "0":
        return
    from readvault.adapters.embedded import SeaweedFS
    from readvault.adapters.s3 import S3Store

    with SeaweedFS(folder / f"s3-{uuid.uuid4().hex[:6]}", buckets="bench", bucket="bench") as server_of_files:
        store = S3Store(server_of_files.provision("bench"))
        with database(folder, server) as url:
            seconds = _submit(house_of(url, store, folder), rows, _over_http)
            print(f"  submit {rows} rows with one file each, SeaweedFS: {seconds:.1f} s", flush=True)


def _submit(house: House, rows: int, send: Callable[[House, list[Any]], None]) -> float:
    """Upload one small file for each row, then submit them all; the seconds of the submission alone."""
    from readvault.services.people.groups import create_group
    from tests.houses import GROUP

    group_id = create_group(house, ALICE, GROUP).group_id
    files: list[str] = []
    for numbers in batched(range(rows), house.settings.limits.files_per_request):
        bodies = {f"r{n}.fastq": str(n).encode() for n in numbers}
        wanted = [WantedFile(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in bodies.items()]
        answers = request_uploads(house, ALICE, group_id, wanted)
        send(house, list(zip(answers, bodies.values(), strict=True)))
        files += [answer.file_id for answer in answers]
    lines = [f"s{n}\t2024-01-01\tr{n}.fastq:{file_id}\n" for n, file_id in enumerate(files)]
    metadata = ("id\tdate\tfiles.rawReads\n" + "".join(lines)).encode()
    started = perf_counter()
    done = submit(
        house, ALICE, ORGANISM, group_id=group_id, metadata=metadata, metadata_name="m.tsv", terms_type="OPEN"
    )
    seconds = perf_counter() - started
    assert len(done) == rows
    return seconds


def _into_memory(house: House, sent: list[Any]) -> None:
    for answer, body in sent:
        house.store.put(answer.put, body)  # type: ignore[attr-defined]


def _over_http(_house: House, sent: list[Any]) -> None:
    with httpx.Client() as client, ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in pool.map(lambda s: client.put(s[0].put.url, content=s[1], headers=s[0].put.headers), sent):
            done.raise_for_status()


def _growth(folder: Path, server: str | None, entries: int) -> None:
    sizes = {SMALL: "", entries: ""}
    with database(folder, server) as small, database(folder, server) as large:
        houses = []
        for url, size in zip((small, large), sizes, strict=True):
            started = perf_counter()
            house = house_of(url, MemoryStore(), folder)
            fill(house.sessions, Scene(ORGANISM, size - OPEN, OPEN))
            print(f"  (made {size} entries in {perf_counter() - started:.0f} s)", flush=True)
            houses.append(house)
        for what, asked in _questions():
            _compare(what, *(_best(houses, asked)))
        _compare(f"approve {AT_ONCE}", *_approvals(houses))
        _released(houses[1], large, entries, folder)


def _questions() -> Iterator[tuple[str, Callable[[House], Any]]]:
    for name, actor in (("one group", ALICE), ("three groups", BOB), ("maintainer", MAINTAINER)):
        yield f"get-sequences, {name}: first page of all", lambda h, a=actor: _page(h, a)
        yield f"get-sequences, {name}: page to review", lambda h, a=actor: _page(h, a, statuses=TO_REVIEW)
        yield f"get-sequences, {name}: counts", lambda h, a=actor: list_entries(h, a, ORGANISM, page=0, size=0)


def _page(house: House, actor: Actor, **filters: Any) -> None:
    assert len(list_entries(house, actor, ORGANISM, page=0, size=100, **filters)["sequenceEntries"]) == 100


def _best(houses: list[House], asked: Callable[[House], Any]) -> list[float]:
    best = [float("inf")] * len(houses)
    for _ in range(TURNS):
        for place, house in enumerate(houses):
            best[place] = min(best[place], _seconds(lambda: asked(house)))  # noqa: B023 - called at once
    return best


def _approvals(houses: list[House]) -> list[float]:
    """Each time other entries, named with their digests as the pages do; the best of a few."""
    best = [float("inf")] * len(houses)
    chosen = [list(batched(_approvable(house), AT_ONCE))[:APPROVALS] for house in houses]
    for turn in range(APPROVALS):
        for place, house in enumerate(houses):
            some = chosen[place][turn]
            seconds = _seconds(lambda: approve(house, MAINTAINER, ORGANISM, scope=Scope.ALL, accession_versions=some))  # noqa: B023
            best[place] = min(best[place], seconds)
    return best


def _approvable(house: House) -> list[tuple[AccessionVersion, str]]:
    query = (
        select(col(EntryVersion.accession), col(Manifest.digest))
        .join(Manifest, col(Manifest.accession) == col(EntryVersion.accession))
        .where(~col(EntryVersion.released), col(Manifest.processing_result) != "HAS_ERRORS")
        .order_by(col(EntryVersion.accession))
    )
    with house.sessions.read() as session:
        return [(AccessionVersion(accession, 1), digest) for accession, digest in session.execute(query)]


def _seconds(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def _compare(what: str, small: float, large: float) -> None:
    print(f"  {what:48}{small * 1000:8.1f} ms{large * 1000:8.1f} ms   ratio {large / small:.2f}", flush=True)


def _released(house: House, url: str, entries: int, folder: Path) -> None:
    house.sessions.close()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        lines, seconds, growth, size = pool.apply(_read_released, (url, folder))
    assert entries - OPEN <= lines <= entries
    print(
        f"  get-released-data, {lines} lines, zstd: {seconds:.0f} s, {size / 1e6:.0f} MB;"
        f" memory grew by {growth / 1e6:.0f} MB after the first thousand lines",
        flush=True,
    )


def _read_released(url: str, folder: Path) -> tuple[int, float, int, int]:
    """In a process of its own: lines, seconds, growth of the largest resident memory in bytes, bytes of the answer."""
    house = house_of(url, MemoryStore(), folder)
    after_some = [0]

    def watched() -> Iterator[dict[str, Any]]:
        for number, line in enumerate(released_data(house, ORGANISM, Shape({"main": frozenset({200})}, {}))):
            if number == 1000:
                after_some[0] = _memory()
            yield line

    started = perf_counter()
    response = ndjson.answer(watched(), compressed=True)
    size = asyncio.run(_size(response.body_iterator))
    seconds = perf_counter() - started
    return int(response.headers["x-total-records"]), seconds, _memory() - after_some[0], size


async def _size(blocks: AsyncIterable[Any]) -> int:
    return sum([len(block) async for block in blocks])


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def database(folder: Path, server: str | None) -> Iterator[str]:
    """An empty, migrated database, gone afterwards."""
    name = f"bench_{uuid.uuid4().hex[:8]}"
    if server is None:
        path = folder / f"{name}.sqlite"
        url = f"sqlite:///{path}"
        migrate(url)
        yield url
        for file in folder.glob(f"{path.name}*"):
            file.unlink()
        return
    plain = make_url(server).set(drivername="postgresql+psycopg")
    engine = create_plain_engine(plain, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    url = plain.set(database=name).render_as_string(hide_password=False)
    migrate(url)
    yield url
    with engine.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    engine.dispose()


def house_of(url: str, store: ReadStore, folder: Path) -> House:
    reference = folder / "reference.fasta"
    reference.write_text(">main\n" + "ACGT" * 50 + "\n")
    organism = Organism(
        name=ORGANISM, reference=Reference(fasta=reference), submission=Submission(files={"rawReads": FileCategory()})
    )
    settings = Settings(data_dir=folder)
    return House(Sessions(create_engine(url)), store, RecordingOrchestrator(down=True), {ORGANISM: organism}, settings)


if __name__ == "__main__":
    assert OPEN_PROCESSED * OPEN >= APPROVALS * AT_ONCE
    main()
