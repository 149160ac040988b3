"""Records, read back from the bucket: accession by accession, a few ahead, in flat memory."""

from __future__ import annotations

import json
import re
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import batched, groupby
from pathlib import Path
from typing import Any

from readvault.db import records
from readvault.domain.errors import BytesLost
from readvault.ports import ReadStore, StoredVersion

THREADS = 8
AHEAD = 32
PAGE = 32
Rows = dict[str, list[dict[str, Any]]]
_DIGEST = re.compile(r"-([0-9a-f]{64})\.json$")
_OF_VERSION = re.compile(r"([0-9]+)/(?:state-|result-([0-9]{12})-)[0-9]+-[0-9a-f]{64}\.json")
_TERMS = re.compile(r"terms-[0-9]+-[0-9a-f]{64}\.json")
RELEASED = re.compile(r"([0-9]+)/release\.json")


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of the bucket with its versions, newest first."""

    key: str
    versions: tuple[StoredVersion, ...]


@dataclass(slots=True)
class AccessionRecords:
    """The newest documents of one accession: rows by table, of every version; results by their manifest's ID."""

    accession: str
    versions: dict[int, Rows] = field(default_factory=dict)
    results: dict[int, Rows] = field(default_factory=dict)
    terms: Rows = field(default_factory=dict)
    published: set[int] = field(default_factory=set)
    """Versions whose release's side effects were done."""
    damaged: list[str] = field(default_factory=list)
    """Keys of documents that are not what they were written as, and of those that are gone."""


def listed(store: ReadStore, prefix: str) -> Iterator[Listed]:
    """The objects under a prefix, by key, without delete markers."""
    for key, of_key in groupby(store.walk(prefix), key=lambda each: each.stored.key):
        versions = tuple(each.stored for each in of_key if not each.deleted)
        if versions:
            yield Listed(key, versions)


def documents(store: ReadStore, prefix: str, damaged: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """The documents under a prefix in the order of their keys; `damaged` is told of those that can't be read."""
    for found in listed(store, f"{prefix}/"):
        body = read(store, found)
        if body is None:
            damaged(found.key)
        else:
            yield body


def newest_documents(store: ReadStore, prefix: str, damaged: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Of each folder under a prefix the newest document that is whole."""
    for _, of_folder in groupby(listed(store, f"{prefix}/"), key=lambda each: each.key.rpartition("/")[0]):
        body = _newest(store, list(of_folder), damaged)
        if body is not None:
            yield body


def accessions(
    store: ReadStore, there: Callable[[Sequence[str]], Collection[str]] = lambda _: ()
) -> Iterator[AccessionRecords]:
    """What the bucket has of every accession, by name; a few are read ahead.

    `there` is asked page by page which ones the database has already: nothing of them is read, they come empty.
    """
    waiting: deque[Future[AccessionRecords]] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="records") as pool:
        try:
            for page in batched(_by_accession(store), PAGE):
                known = there([accession for accession, _ in page])
                for accession, objects in page:
                    waiting.append(
                        pool.submit(AccessionRecords, accession)
                        if accession in known
                        else pool.submit(_read_accession, store, accession, objects)
                    )
                    if len(waiting) >= AHEAD:
                        yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def read(store: ReadStore, found: Listed) -> dict[str, Any] | None:
    """A document whose bytes are those that its key names, whichever version has them; None when none does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        if fetch(store, found, path) is None:
            return None
        body: dict[str, Any] = json.loads(path.read_bytes())
        return body


def fetch(store: ReadStore, found: Listed, path: Path) -> str | None:
    """Write a document's bytes to `path`; their SHA-256, None when no version has those that the key names."""
    # The key of an end of the audit log names a row, not its own bytes.
    expected = None if found.key.startswith(f"{records.AUDIT}/") else _DIGEST.search(found.key)
    for version in found.versions:
        try:
            sha256 = store.fetch(version, path)
        except BytesLost:
            continue
        if expected is None or sha256 == expected[1]:
            return sha256
    return None


def _by_accession(store: ReadStore) -> Iterator[tuple[str, list[Listed]]]:
    for folder, objects in groupby(listed(store, f"{records.ROOT}/"), key=lambda each: each.key.split("/")[1]):
        if f"{records.ROOT}/{folder}" not in records.ROOMS:
            yield folder, list(objects)


def _read_accession(store: ReadStore, accession: str, objects: list[Listed]) -> AccessionRecords:
    found = AccessionRecords(accession)
    states: dict[int, list[Listed]] = {}
    results: dict[int, list[Listed]] = {}
    terms: list[Listed] = []
    for each in objects:
        name = each.key.removeprefix(f"{records.ROOT}/{accession}/")
        if (match := _OF_VERSION.fullmatch(name)) is not None:
            of_result = match[2] is not None
            (results if of_result else states).setdefault(int(match[2] if of_result else match[1]), []).append(each)
        elif _TERMS.fullmatch(name) is not None:
            terms.append(each)
        elif (match := RELEASED.fullmatch(name)) is not None:
            found.published.add(int(match[1]))
    for number, those in states.items():
        if (body := _newest(store, those, found.damaged.append)) is not None:
            found.versions[number] = body["rows"]
    for number, those in results.items():
        if (body := _newest(store, those, found.damaged.append)) is not None:
            found.results[number] = body["rows"]
    if terms and (body := _newest(store, terms, found.damaged.append)) is not None:
        found.terms = body["rows"]
    return found


def _newest(store: ReadStore, objects: list[Listed], damaged: Callable[[str], None]) -> dict[str, Any] | None:
    for each in reversed(objects):
        body = read(store, each)
        if body is not None:
            return body
        damaged(each.key)
    return None
