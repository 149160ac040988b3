"""Records that only another bucket has are written to this one again, or the next rebuild would find a part of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from readvault.db import records
from readvault.ports import ReadStore
from readvault.services.storage.rebuilding.record_reading import Listed, fetch, listed
from readvault.services.storage.rebuilding.records import LOCKED_FOR


def bring(store: ReadStore, source: ReadStore, now: float) -> int:
    """Copy what `source` has under `records/` and `store` has not, byte by byte; how many records.

    `now` (seconds since 1970, the database's clock) is from when the ends of the audit log are locked.

    It can be broken off anywhere and called again. Damaged records stay behind.
    """
    brought = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        for found in _missing(store, source):
            sha256 = fetch(source, found, path)
            if sha256 is not None:
                stored = store.store(path, found.key, sha256=sha256)
                if found.key.startswith(f"{records.AUDIT}/"):
                    store.lock(stored, until=now + LOCKED_FOR)
                brought += 1
    return brought


def _missing(store: ReadStore, source: ReadStore) -> Iterator[Listed]:
    there = listed(store, f"{records.ROOT}/")
    here = next(there, None)
    for found in listed(source, f"{records.ROOT}/"):
        while here is not None and here.key < found.key:
            here = next(there, None)
        if here is None or here.key != found.key:
            yield found
