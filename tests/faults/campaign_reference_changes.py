"""A group's store changes a file that only lies there, lies about it, breaks off; what is read of it is what it was."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from readvault.db.tables import UploadedFile
from readvault.domain.errors import BytesLost, ProcessingFailure, StoreUnavailable
from readvault.domain.pulls import SourceState
from readvault.ports import StoredVersion
from readvault.services.pulls import copying, referenced_store
from tests.fakes import MemoryStore
from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaign_pull_changes import TRICKS, Trick, play, pulling_scene
from tests.integration.services.pull_scenes import PART, Lab, seen_through

KEY = "reads.fastq"
PATH = f"/lab/{KEY}"


def trial(there: Lab, trick: Trick, rng: random.Random, folder: Path) -> str | None:
    """Refer to one file, then read it as a job would, under one trick and after it; what went wrong, or None."""
    body = rng.randbytes(rng.choice((rng.randrange(2, PART), rng.randrange(PART + 1, 5 * PART))))
    there.shop.objects[PATH] = body
    sha256 = hashlib.sha256(body).hexdigest()
    stored = _referenced(there, sha256)
    if stored is None:
        return "a file that nobody disturbed can't be referenced"
    play(there, trick, PATH, rng)
    seen = _read(there, stored, folder / "read", sha256)
    there.shop.odd = lambda _handler, _body: False
    if seen not in ("right", "lost", "failed") or (trick.whole and seen != "right"):
        return f"{trick.name}: reading it was {seen}"
    if (after := _read(there, stored, folder / "read", sha256)) != "right":
        return f"{trick.name}: once it was as before, reading it was {after}"
    store = referenced_store_of(there)
    return f"{trick.name}: something of it lies in our bucket" if store.versions or store.uploads else None


def _referenced(there: Lab, sha256: str) -> StoredVersion | None:
    view = there.referenced(KEY)
    there.work()
    (source,) = there.seen(view.pull.id).sources
    if source.state != SourceState.DONE or source.sha256 != sha256 or source.file_id is None:
        return None
    with there.house.sessions.read() as session:
        file = session.get_one(UploadedFile, source.file_id)
        return StoredVersion(file.key, source.version_id, file.declared_size or 0)


def _read(there: Lab, stored: StoredVersion, target: Path, sha256: str) -> str:
    """How a job's download ends: `right`, `lost`, `failed`, or what must never be."""
    try:
        told = there.house.store.fetch(stored, target, expected=sha256)
    except BytesLost:
        return "lost"
    except StoreUnavailable:
        return "taken for an outage of our own bucket"
    except ProcessingFailure:
        return "failed"
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    return "right" if told == found == sha256 else "wrong bytes"


def referenced_store_of(there: Lab) -> MemoryStore:
    """Our own bucket behind the store that sees referenced files."""
    store = there.house.store
    assert isinstance(store, referenced_store.StoreWithReferenced)
    assert isinstance(store._own, MemoryStore)
    return store._own


@contextmanager
def _scene(folder: Path) -> Iterator[Lab]:
    with (
        mock.patch.object(copying, "RANGE", PART),
        mock.patch.object(referenced_store, "RANGE", PART),
        pulling_scene(folder, references=True) as made,
    ):
        made.shop.keys.add("LAB")
        yield seen_through(made)


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """Each trick in turn."""
    rng = random.Random(seed)
    with _scene(folder) as there:
        tried = (trial(there, TRICKS[number % len(TRICKS)], rng, folder) for number in range(trials))
        failures = [fault for fault in tried if fault is not None]
    conditions = "SQLite, store in memory, a server with TLS, ranges of 64 KiB, up to five of them"
    return Outcome(trials, failures, conditions)


CAMPAIGN = Campaign(
    name="reference_changes",
    promise="P5 What was validated is what is released",
    how=(
        "a group's store exchanges, shortens, lengthens, removes, forbids or redirects a file that stays there while a"
        " job reads it, sends other bytes under the same ETag, breaks off or is busy: the job gets the bytes that were"
        " hashed first or none, no trick is taken for an outage of our own bucket, and afterwards it is read again"
    ),
    full=100,
    run=run,
    unit="readings",
    part=50,
    tiny=len(TRICKS),
)
