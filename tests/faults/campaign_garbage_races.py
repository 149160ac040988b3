"""Threads use what is condemned in the very moment in which its deletion begins, on both databases."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import update
from sqlmodel import col, select

from readvault.db.tables import CondemnedVersion, EntryFile, StoredObject, UploadedFile, UploadUsage
from readvault.domain.errors import ReadvaultError, RuleViolation
from readvault.ports import ListedVersion, StoredVersion
from readvault.services.house import House
from readvault.services.processing.stored_objects import StagedFile, store_objects
from readvault.services.storage.garbage import collection
from readvault.services.submission import deletion
from readvault.services.submission.new_entries import submit
from tests import postgres_server
from tests.fakes import MemoryStore
from tests.faults.campaign import Campaign, Outcome
from tests.faults.garbage_machine import in_memory
from tests.faults.ground import ground
from tests.houses import ALICE, group_of, tsv, upload
from tests.integration.services.life import METADATA
from tests.integration.services.scenes import ORGANISM

THREADS = 16
SHARED = 4
"""Files that are raced for at once, and as many processed files."""


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """Rounds of 16 threads, half of them on each database where there is a PostgreSQL."""
    kinds = ["sqlite", "postgresql"] if postgres_server.available() else ["sqlite"]
    failures: list[str] = []
    done = 0
    for number, kind in enumerate(kinds):
        share = -(-trials // len(kinds))
        with in_memory(folder / kind) as here, ground(here, kind) as place:
            house = replace(place.house(), store=OneAtATime())
            rounds = Rounds(house, random.Random(seed * 10 + number))
            while share > 0 and not failures:
                failures += [f"{kind}, seed {seed}: {each}" for each in rounds.play()]
                done, share = done + THREADS, share - THREADS
    return Outcome(done, failures, f"{' and '.join(kinds)}, {THREADS} threads, store in memory")


@dataclass
class OneAtATime(MemoryStore):
    """A store in memory that threads share: S3 does one thing to a key at a time, too."""

    turn: threading.RLock = field(default_factory=threading.RLock)

    def write(self, key: str, data: bytes) -> StoredVersion:
        with self.turn:
            return super().write(key, data)

    def delete(self, stored: StoredVersion, *, bypass: bool = False) -> bool:
        with self.turn:
            return super().delete(stored, bypass=bypass)

    def list_versions(self, prefix: str) -> Iterator[StoredVersion]:
        with self.turn:
            return iter(list(super().list_versions(prefix)))

    def walk(self, prefix: str, *, after: str | None = None) -> Iterator[ListedVersion]:
        with self.turn:
            return iter(list(super().walk(prefix, after=after)))


class Rounds:
    """One group's files: condemned before each round, used and deleted in it."""

    def __init__(self, house: House, chance: random.Random) -> None:
        self.house, self.chance = house, chance
        self.group = group_of(house, ALICE)
        storage = house.settings.storage.model_copy(update={"garbage_older_than_hours": -1.0})
        self.old = House(house.sessions, house.store, house.orchestrator, house.organisms,
                         house.settings.model_copy(update={"storage": storage}))  # fmt: skip
        self.number = 0

    def play(self) -> list[str]:
        """One round; what went wrong in it."""
        self.number += 1
        files = [upload(self.house, ALICE, self.group, f"{self.number} {n}".encode())[0] for n in range(SHARED)]
        for file_id in files:
            self._submit(file_id)
        deletion.delete_versions(self.house, ALICE, ORGANISM, scope=deletion.Scope.ALL)
        outputs = [self._output(n) for n in range(SHARED)]
        collection.collect(self.old, dry_run=False)
        with self.house.sessions.begin() as session:
            session.execute(update(CondemnedVersion).values(condemned_at=1.0))
        actions: list[Callable[[], object]] = [lambda: collection.collect(self.old, dry_run=False)] * 2
        for _ in range(THREADS - 2):
            which = self.chance.randrange(SHARED)
            uses = self.chance.random() < 0.5
            actions.append(
                (lambda n=which: self._submit(files[n])) if uses else (lambda n=which: self._refer(outputs[n]))  # type: ignore[misc]
            )
        self.chance.shuffle(actions)
        return [*self._at_once(actions), *self._checked()]

    def _submit(self, file_id: str) -> None:
        row = {"id": "a", **METADATA, "files.rawReads": f"a.fastq:{file_id}"}
        submit(self.house, ALICE, ORGANISM, group_id=self.group, metadata=tsv(row), metadata_name="m.tsv")

    def _output(self, number: int) -> StagedFile:
        data = f"output {self.number} {number}".encode()
        sha256 = hashlib.sha256(data).hexdigest()
        stored = self.house.store.write(f"vault/{self.group}/{sha256}", data)  # type: ignore[attr-defined]
        return StagedFile("consensus", "c.fasta", len(data), sha256, stored)

    def _refer(self, file: StagedFile) -> None:
        with self.house.sessions.begin() as session:
            store_objects(session, self.group, [file])

    def _at_once(self, actions: list[Callable[[], object]]) -> list[str]:
        start, wrong = threading.Barrier(len(actions)), list[str]()

        def act(action: Callable[[], object]) -> None:
            start.wait()
            try:
                action()
            except RuleViolation:  # it is being deleted, or gone: whoever asked uploads anew
                return
            except ReadvaultError as failure:
                wrong.append(f"{type(failure).__name__}: {failure}")
            except Exception as failure:
                wrong.append(f"{type(failure).__name__}: {failure}"[:300])

        threads = [threading.Thread(target=act, args=(action,)) for action in actions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        return wrong

    def _checked(self) -> list[str]:
        """What is in use is there; what was registered in this round counts as in use until the next."""
        with self.house.sessions.read() as session:
            used = session.exec(select(UploadedFile).where(col(UploadedFile.id).in_(select(EntryFile.file_id)))).all()
            pinned = [*used, *session.exec(select(StoredObject)).all()]
            sizes = session.exec(select(UploadedFile.size).where(col(UploadedFile.sealed_at).is_not(None))).all()
            counted = {row.sealed_bytes for row in session.exec(select(UploadUsage))}
        wrong = []
        for row in pinned:
            held = self.house.store.list_versions(row.key)
            if StoredVersion(row.key, row.version_id, row.size or 0) not in list(held):
                wrong.append(f"{row.key} is in use and gone")
        if counted != {sum(size or 0 for size in sizes)}:
            wrong.append(f"quota: {counted} counted, {sum(size or 0 for size in sizes)} there")
        return wrong


CAMPAIGN = Campaign(
    name="garbage-races",
    promise="P15 The garbage collector never deletes what anything refers to",
    how="Sixteen threads at once, two of which collect garbage whose time is up while the others submit the same"
    " files again or register the same objects: whoever was told yes finds the bytes, and the quota is their sum.",
    full=16_000,
    run=run,
    unit="racing threads",
    part=160,
    tiny=32,
)
