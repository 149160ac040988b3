"""Entries come and go in any order while garbage is collected, crashes and all: nothing in use is ever gone."""

from __future__ import annotations

import copy
import hashlib
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import event
from sqlmodel import SQLModel, select

from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import (
    CondemnedVersion,
    EntryFile,
    ManifestFile,
    PartialResult,
    StoredObject,
    UploadedFile,
)
from readvault.domain import manifest
from readvault.domain.errors import LeaseLost, ProcessingFailure, RuleViolation, Unavailable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.status import ProcessingResult
from readvault.ports import SignedRequest, StoredVersion
from readvault.services.house import House
from readvault.services.processing import chain, jobs
from readvault.services.processing.jobs import Claim, ProcessedVersion, StagedFile
from readvault.services.release.interventions import intervene
from readvault.services.review.approval import Scope, approve
from readvault.services.storage.garbage import collection, unfinished
from readvault.services.storage.garbage.unreferenced import BUCKET
from readvault.services.storage.rebuilding import records
from readvault.services.submission import deletion, editing
from readvault.services.submission.new_entries import submit
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import request_uploads
from tests.fakes import MemoryStore, RecordingOrchestrator, Refused
from tests.faults import invariants
from tests.houses import ALICE, MAINTAINER, build_house, group_of, tsv
from tests.integration.services.life import METADATA, revised
from tests.integration.services.scenes import ORGANISM, READY
from tests.moved_clock import MovedClock

CHOICES: dict[int, Sequence[Any]] = {}
"""What a rule's argument is chosen from, by the identity of its strategy: for those who choose without Hypothesis."""
STEPS_OF_COLLECTING = 24
"""Crashes come at one of so many places, counted from the beginning of a collection."""


def one_of[T](values: Sequence[T]) -> st.SearchStrategy[T]:
    """A strategy that is known to `CHOICES` too."""
    strategy = st.sampled_from(values)
    CHOICES[id(strategy)] = values
    return strategy


WHICH = one_of(range(41))
CONTENTS = one_of(range(6))
HOURS = one_of([0.0, 1.0, 30.0, 49.0, 200.0])
PLACES = one_of(range(STEPS_OF_COLLECTING + 1))
EITHER = one_of([False, True])
MOSTLY = one_of([True, True, True, False])
STEPS_OF_REVIEW = one_of(list(Step))


ENTRIES = "SELECT accession, version FROM entry_version ORDER BY accession, version"
OPEN_UPLOADS = "SELECT key FROM uploaded_file WHERE sealed_at IS NULL"
QUEUED = "SELECT id FROM job WHERE state = 'queued' AND kind = 'process-submission' LIMIT 2"
ORIGINALS = (
    "SELECT DISTINCT f.key, f.version_id, f.size, f.id FROM entry_file e LEFT JOIN uploaded_file f ON f.id = e.file_id"
)
OUTPUTS = (
    "SELECT o.key, o.version_id, o.size, o.sha256 FROM manifest_file m"
    " LEFT JOIN stored_object o ON o.id = m.stored_object_id"
    " UNION SELECT f.value ->> 'key', f.value ->> 'versionId', f.value ->> 'size', f.value ->> 'sha256'"
    " FROM partial_result p, json_each(p.files) f"
)
SEALED = "SELECT coalesce(sum(size), 0) FROM uploaded_file WHERE sealed_at IS NOT NULL"
COUNTED = "SELECT scope, sealed_bytes FROM upload_usage"
DOOMED = "SELECT key, version_id FROM condemned_version WHERE deleting_since IS NOT NULL AND deleted_at IS NULL"


class Crash(BaseException):
    """The collector dies here."""


@dataclass
class CrashingStore(MemoryStore):
    """A store that knows when each version came, and can die before or after a deletion."""

    clock: MovedClock = field(default_factory=MovedClock)
    crash_in: int | None = None

    def write(self, key: str, data: bytes) -> StoredVersion:
        stored = super().write(key, data)
        assert stored.version_id is not None
        self.modified[stored.version_id] = self.clock.now()
        return stored

    def delete(self, stored: StoredVersion, *, bypass: bool = False) -> bool:
        self.pass_by()
        gone = super().delete(stored, bypass=bypass) if stored.key in self.versions else True
        self.pass_by()
        return gone

    def pass_by(self, _name: str = "") -> None:
        """A place at which the collector may die."""
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in = None
                raise Crash


@dataclass
class Start:
    """How every life begins: what is in the store, the bodies by their file IDs, the clock."""

    store: CrashingStore
    group: int
    bodies: dict[str, bytes]
    ahead: float


@dataclass
class Ground:
    """One database file and one engine for many lives: its compiled statements are kept, its file is replaced."""

    folder: Path
    clock: MovedClock = field(default_factory=MovedClock)
    steps: int = 0
    start: Start | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.template, self.file = self.folder / "template.sqlite", self.folder / "readvault.sqlite"
        migrate(f"sqlite:///{self.template}")
        self.engine = create_engine(f"sqlite:///{self.file}")
        event.listen(self.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
        self.clock.move(self.engine)
        self.sessions = Sessions(self.engine.execution_options(compiled_cache={}))
        store = CrashingStore(clock=self.clock)
        self.house = build_house(self.sessions, store, RecordingOrchestrator(), self.folder)

    def fresh(self) -> House:
        """A house with nothing in it but what `keep` has kept."""
        self.engine.dispose()
        for leftover in self.folder.glob(f"{self.file.name}*"):
            leftover.unlink()
        shutil.copyfile(self.template, self.file)
        store = CrashingStore(clock=self.clock)
        if self.start is not None:
            store = copy.deepcopy(self.start.store, {id(self.clock): self.clock})
            self.clock.ahead = self.start.ahead
        return replace(self.house, store=store, orchestrator=RecordingOrchestrator())

    def keep(self, store: CrashingStore, group: int, bodies: dict[str, bytes]) -> None:
        """Have every life begin as this one is now."""
        self.engine.dispose()  # the last connection that is closed writes all of the log to the file
        shutil.copyfile(self.file, self.template)
        kept = copy.deepcopy(store, {id(self.clock): self.clock})
        self.start = Start(kept, group, dict(bodies), self.clock.ahead)


class Garbage(RuleBasedStateMachine):
    """A group's uploads and entries, and a collector that never takes what they need."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground, self.clock = ground, ground.clock
        self.house = ground.fresh()
        self.store: CrashingStore = self.house.store  # type: ignore[assignment]
        start = ground.start
        self.group = group_of(self.house, ALICE) if start is None else start.group
        self.bodies: dict[str, bytes] = {} if start is None else dict(start.bodies)
        self.unsent: list[tuple[SignedRequest, bytes]] = []
        self.staged: list[tuple[Claim, ProcessedVersion]] = []
        self.numbers = 0
        self.real_failpoint = collection.failpoint
        collection.failpoint = self.store.pass_by

    def teardown(self) -> None:
        """In the end everything that nothing refers to goes."""
        try:
            self.store.down = False
            for _ in range(4):
                self.clock.jump(400)
                unfinished.expire_uploads(self.house)
                collection.collect(self.house, dry_run=False)
            self.what_is_in_use_is_there()
            records.export(self.house)
            assert (wrong := invariants.check(self.house, open_jobs=True)) == [], wrong[:5]
            pinned = {
                (row.key, row.version_id)
                for table in (UploadedFile, StoredObject)
                for row in self._all(table)
                if row.version_id
            }
            parts = {(file["key"], file["versionId"]) for row in self._all(PartialResult) for file in row.files}
            pinned |= parts
            keys_of_parts = {key for key, _ in parts}  # a part keeps all that lies under its keys
            there = {
                (key, name)
                for key, listed in self.store.versions.items()
                for name, _ in listed
                if key.startswith(BUCKET) and ((key, name) in parts or key not in keys_of_parts)
            }
            assert there == pinned, f"left over: {sorted(there - pinned)}"
            used = {row.file_id for row in self._all(EntryFile)}
            left = [row for row in self._all(UploadedFile) if row.id not in used]
            assert not left, f"rows are left over: {left}, {self._all(CondemnedVersion)}"
            of_results = {row.stored_object_id for row in self._all(ManifestFile)}
            objects = {row.id for row in self._all(StoredObject) if row.key not in keys_of_parts}
            assert objects <= of_results, f"rows are left over: {objects - of_results}"
        finally:
            collection.failpoint = self.real_failpoint

    def _rows(self, statement: str) -> list[Any]:
        """Plain SQL: to look at everything after each step must cost less than the step."""
        with self.house.sessions.read() as session:
            return list(session.connection().exec_driver_sql(statement))

    def _all(self, table: Any) -> list[Any]:
        with self.house.sessions.read() as session:
            return list(session.exec(select(table)).all())

    def _entry(self, which: int) -> AccessionVersion | None:
        names = [AccessionVersion(*row) for row in self._rows(ENTRIES)]
        return names[which % len(names)] if names else None

    def _file(self, which: int) -> str:
        known = list(self.bodies)
        return known[which % len(known)]

    @initialize()
    def has_something(self) -> None:
        if self.ground.start is not None:
            return
        for number in range(3):
            self.uploads(number, put=True)
            self.submits(number)
        self.processes(0, register=True)
        self.approves()
        self.ground.keep(self.store, self.group, self.bodies)

    @rule(content=CONTENTS, put=MOSTLY)
    def uploads(self, content: int, put: bool) -> None:
        body = f"reads {content}".encode()
        wanted = [WantedFile("f", len(body), hashlib.sha256(body).hexdigest())]
        answer = request_uploads(self.house, ALICE, self.group, wanted)[0]
        self.bodies[answer.file_id] = body
        if answer.put is not None and put:
            self.store.put(answer.put, body)
        elif answer.put is not None:
            self.unsent.append((answer.put, body))

    @precondition(lambda self: self.unsent)
    @rule(which=WHICH)
    def sends_late(self, which: int) -> None:
        request, body = self.unsent.pop(which % len(self.unsent))
        try:
            self.store.put(request, body)
        except Refused:
            return

    @precondition(lambda self: self.bodies)
    @rule(which=WHICH)
    def submits(self, which: int) -> None:
        row = {"id": "a", **METADATA, "files.rawReads": f"a.fastq:{self._file(which)}"}
        self._try(
            lambda: submit(self.house, ALICE, ORGANISM, group_id=self.group, metadata=tsv(row), metadata_name="m.tsv")
        )

    @precondition(lambda self: self.bodies)
    @rule(which=WHICH, file=WHICH, keeps=EITHER)
    def revises(self, which: int, file: int, keeps: bool) -> None:
        name = self._entry(which)
        files = {} if keeps else {"files.rawReads": f"a.fastq:{self._file(file)}"}
        if name is not None:
            self._try(lambda: revised(self.house, {"accession": name.accession, **files}))

    @precondition(lambda self: self.bodies)
    @rule(which=WHICH, file=WHICH)
    def edits(self, which: int, file: int) -> None:
        name = self._entry(which)
        data = editing.EditedData(METADATA, {}, {"rawReads": [editing.NamedFile("b.fastq", self._file(file))]})
        if name is not None:
            self._try(lambda: editing.edit(self.house, ALICE, ORGANISM, name, data))

    @rule(content=CONTENTS, register=EITHER)
    def processes(self, content: int, register: bool) -> None:
        for (job_id,) in self._rows(QUEUED):
            claim = jobs.claim(self.house, job_id, "worker", READY)
            if claim is None:
                continue
            inputs = jobs.inputs_of(self.house, claim)
            hashes = {}
            for file in inputs.files:
                hashes[file.file_id] = hashlib.sha256(self.store.read(file.stored)).hexdigest()
            jobs.record_hashes(self.house, claim, hashes)
            self.staged.append((claim, self._made(claim, content)))
            if register:
                self.registers(-1)

    def _made(self, claim: Claim, content: int) -> ProcessedVersion:
        """As a worker stages: nothing is looked up before it is kept from deletion."""
        data = f">main\n{'ACGT' * (content + 1)}\n".encode()
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"vault/{claim.group_id}/{sha256}"
        collection.keep_or_finish(self.house, claim.group_id, sha256, key)
        stored = jobs.stored(self.house, claim, sha256)
        if stored is None:
            same = [
                StoredVersion(key, name, len(data)) for name, held in self.store.versions.get(key, []) if held == data
            ]
            stored = same[0] if same else self.store.write(key, data)
        file = StagedFile("consensus", "consensus.fasta", len(data), sha256, stored)
        body = manifest.build(
            claim.accession_version,
            organism=claim.organism,
            pipeline_version=claim.pipeline_version,
            metadata={"date": "2020-01-01"},
            sequences={"main": "ACGT"},
            consensus_source="reads",
            files=[(file.category, file.name, file.size, file.sha256)],
            processing_result=ProcessingResult.NO_ISSUES,
            errors=(),
            warnings=(),
            screened=True,
            provenance={"tools": {}, "parameters": {}, "inputs": []},
        )
        name, digest = claim.accession_version, manifest.digest(manifest.canonical(body))
        self._document(f"manifests/{name.accession}/{name.version}/{digest}", body)
        processed = {"metadata": {"date": "2020-01-01"}, "unalignedNucleotideSequences": {"main": "ACGT"}}
        return ProcessedVersion(body, (), (), processed, (file,))

    def _document(self, place: str, body: dict[str, Any]) -> None:
        documents = {f"{place}.json": manifest.canonical(body), f"{place}.private.json": manifest.private(body)}
        for key, content in documents.items():
            if content not in [held for _, held in self.store.versions.get(key, [])]:
                self.store.write(key, content)

    @precondition(lambda self: self.staged)
    @rule(which=WHICH)
    def registers(self, which: int) -> None:
        claim, made = self.staged.pop(which % len(self.staged))
        try:
            jobs.register(self.house, claim, made)
        except LeaseLost:
            return
        except Unavailable:  # it was deleted since: the next attempt stores it anew
            jobs.give_up(self.house, claim, "an output was collected", counted=False)

    @precondition(lambda self: self.staged)
    @rule(which=WHICH)
    def hands_on(self, which: int) -> None:
        """As in a chain: the result waits, as a part, for an external pipeline."""
        claim, made = self.staged.pop(which % len(self.staged))
        try:
            chain.hand_on(self.house, claim, made)
        except LeaseLost:
            return
        except Unavailable:
            jobs.give_up(self.house, claim, "an output was collected", counted=False)

    @rule()
    def approves(self) -> None:
        approve(self.house, ALICE, ORGANISM, scope=Scope.ALL)

    @rule(which=WHICH, step=STEPS_OF_REVIEW)
    def intervenes(self, which: int, step: Step) -> None:
        name = self._entry(which)
        if name is not None:
            self._try(lambda: intervene(self.house, MAINTAINER, name, step, "a reason"))

    @rule(which=WHICH)
    def deletes(self, which: int) -> None:
        name = self._entry(which)
        scope = deletion.Scope.ALL
        if name is not None:
            self._try(
                lambda: deletion.delete_versions(self.house, ALICE, ORGANISM, scope=scope, accession_versions=[name])
            )

    @rule(content=CONTENTS, beside=EITHER, which=WHICH)
    def leaves_a_stray(self, content: int, beside: bool, which: int) -> None:
        keys = sorted(key for key in self.store.versions if key.startswith(BUCKET))
        self.numbers += 1
        key = keys[which % len(keys)] if beside and keys else f"vault/{self.group}/stray-{self.numbers}"
        if key not in {row[0] for row in self._rows(OPEN_UPLOADS)}:  # what comes first to an open upload is the upload
            self.store.write(key, f"stray {content}".encode())

    @rule(hours=HOURS)
    def time_passes(self, hours: float) -> None:
        self.clock.jump(hours)

    @rule(hours=HOURS)
    def collects(self, hours: float) -> None:
        self.clock.jump(hours)
        collection.collect(self.house, dry_run=False)

    @rule(hours=HOURS, place=PLACES)
    def collects_and_crashes(self, hours: float, place: int) -> None:
        self.clock.jump(hours)
        self.store.crash_in = place
        try:
            collection.collect(self.house, dry_run=False)
        except Crash:
            return
        finally:
            self.store.crash_in = None

    @rule()
    def collects_without_s3(self) -> None:
        self.store.down = True
        try:
            collection.collect(self.house, dry_run=False)
        except ProcessingFailure:
            return
        finally:
            self.store.down = False

    @rule()
    def counts_only(self) -> None:
        before = self._everything()
        collection.collect(self.house, dry_run=True)
        assert self._everything() == before, "a dry run has changed something"

    @rule(waits=MOSTLY)
    def recovers(self, waits: bool) -> None:
        unfinished.expire_uploads(self.house)
        if not waits:
            records.export(self.house)
        collection.finish_quietly(self.house)

    def _everything(self) -> tuple[Any, ...]:
        with self.house.sessions.read() as session:
            look = session.connection().exec_driver_sql
            rows = {name: sorted(map(repr, look(f'SELECT * FROM "{name}"'))) for name in SQLModel.metadata.tables}
        return rows, {key: list(listed) for key, listed in self.store.versions.items()}, set(self.store.uploads)

    def _try(self, action: Any) -> None:
        try:
            action()
        except RuleViolation:
            return

    @invariant()
    def what_is_in_use_is_there(self) -> None:
        """Every row that says who needs which bytes is followed to the bytes, by other ways than the collector's."""
        self.ground.steps += 1
        with self.house.sessions.read() as session:
            connection = session.connection()
            originals, outputs, sealed, counted, doomed = (
                connection.exec_driver_sql(statement).all()
                for statement in (ORIGINALS, OUTPUTS, SEALED, COUNTED, DOOMED)
            )
        for key, version_id, size, file_id in originals:
            held = self.store.read(StoredVersion(key, version_id, size))
            assert held == self.bodies[file_id], f"{key} has other bytes"
        for key, version_id, size, sha256 in outputs:
            held = self.store.read(StoredVersion(key, version_id, size))
            assert hashlib.sha256(held).hexdigest() == sha256, f"{key} has other bytes"
        total = sealed[0][0]
        usage = {row[0]: row[1] for row in counted}
        for scope in (f"group:{self.group}", f"user:{ALICE.name}"):
            assert usage.get(scope, 0) == total, f"quota: {usage.get(scope)} is counted, {total} are there"
        used = {(row[0], row[1]) for row in (*originals, *outputs)}
        assert not used & {(key, version_id) for key, version_id in doomed}, "what is in use is being deleted"


@contextmanager
def in_memory(folder: Path) -> Iterator[Path]:
    """A folder in memory where the machine has a file system there, else one in `folder`."""
    memory = Path("/dev/shm")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else folder) as place:
        yield Path(place)


@contextmanager
def lives(folder: Path) -> Iterator[Ground]:
    """A place for many lives, one after the other."""
    with in_memory(folder) as place:
        ground = Ground(place)
        try:
            yield ground
        finally:
            ground.engine.dispose()


def seed_of(number: int) -> int:
    """A seed for Hypothesis that differs much where numbers differ little."""
    return random.Random(number).randrange(2**60)
