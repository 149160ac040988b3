"""Entries come and go in any order while garbage is collected, crashes and all: nothing in use is ever gone."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import event
from sqlmodel import SQLModel, col, select

from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import (
    CondemnedVersion,
    EntryFile,
    EntryVersion,
    Job,
    ManifestFile,
    StoredObject,
    UploadedFile,
    UploadUsage,
)
from readvault.domain import manifest
from readvault.domain.errors import LeaseLost, ProcessingFailure, RuleViolation, Unavailable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.status import JobKind, JobState, ProcessingResult
from readvault.ports import SignedRequest, StoredVersion
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.jobs import Claim, ProcessedVersion, StagedFile
from readvault.services.release.interventions import intervene
from readvault.services.review.approval import Scope, approve
from readvault.services.storage import garbage, unfinished
from readvault.services.submission import deletion, editing
from readvault.services.submission.new_entries import submit
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import request_uploads
from tests.fakes import MemoryStore, RecordingOrchestrator, Refused
from tests.houses import ALICE, MAINTAINER, build_house, group_of, tsv
from tests.integration.services.life import METADATA, revised
from tests.integration.services.scenes import ORGANISM, READY
from tests.moved_clock import MovedClock

WHICH = st.integers(0, 40)
CONTENTS = st.integers(0, 5)
HOURS = st.sampled_from([0.0, 1.0, 30.0, 49.0, 200.0])
STEPS_OF_COLLECTING = 24
"""Crashes come at one of so many places, counted from the beginning of a collection."""


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

    def delete(self, stored: StoredVersion) -> bool:
        self.pass_by()
        gone = super().delete(stored) if stored.key in self.versions else True
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
class Ground:
    """One database file and engine, made empty for each life."""

    folder: Path
    clock: MovedClock = field(default_factory=MovedClock)
    steps: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.template, self.file = self.folder / "template.sqlite", self.folder / "readvault.sqlite"
        migrate(f"sqlite:///{self.template}")
        self.engine = create_engine(f"sqlite:///{self.file}")
        event.listen(self.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
        self.clock.move(self.engine)

    def fresh(self) -> House:
        """A house with nothing in it."""
        self.engine.dispose()
        for leftover in self.folder.glob(f"{self.file.name}*"):
            leftover.unlink()
        shutil.copyfile(self.template, self.file)
        store = CrashingStore(clock=self.clock)
        return build_house(Sessions(self.engine), store, RecordingOrchestrator(), self.folder)


class Garbage(RuleBasedStateMachine):
    """A group's uploads and entries, and a collector that never takes what they need."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground, self.clock = ground, ground.clock
        self.house = ground.fresh()
        self.store: CrashingStore = self.house.store  # type: ignore[assignment]
        self.group = group_of(self.house, ALICE)
        self.bodies: dict[str, bytes] = {}
        self.unsent: list[tuple[SignedRequest, bytes]] = []
        self.staged: list[tuple[Claim, ProcessedVersion]] = []
        self.numbers = 0
        self.real_failpoint = garbage.failpoint
        garbage.failpoint = self.store.pass_by

    def teardown(self) -> None:
        """In the end everything that nothing refers to goes."""
        try:
            self.store.down = False
            for _ in range(4):
                self.clock.jump(400)
                unfinished.expire_uploads(self.house)
                garbage.collect(self.house, dry_run=False)
            self.what_is_in_use_is_there()
            pinned = {
                (row.key, row.version_id)
                for table in (UploadedFile, StoredObject)
                for row in self._all(table)
                if row.version_id
            }
            there = {
                (key, name)
                for key, listed in self.store.versions.items()
                for name, _ in listed
                if key[:2] in ("in", "va")
            }
            assert there == pinned, f"left over: {sorted(there - pinned)}"
            used = {row.file_id for row in self._all(EntryFile)}
            left = [row for row in self._all(UploadedFile) if row.id not in used]
            assert not left, f"rows are left over: {left}, {self._all(CondemnedVersion)}"
            assert {row.id for row in self._all(StoredObject)} == {r.stored_object_id for r in self._all(ManifestFile)}
        finally:
            garbage.failpoint = self.real_failpoint

    def _all(self, table: Any) -> list[Any]:
        with self.house.sessions.read() as session:
            return list(session.exec(select(table)).all())

    def _entry(self, which: int) -> AccessionVersion | None:
        names = sorted(AccessionVersion(each.accession, each.version) for each in self._all(EntryVersion))
        return names[which % len(names)] if names else None

    def _file(self, which: int) -> str:
        known = list(self.bodies)
        return known[which % len(known)]

    @initialize()
    def has_something(self) -> None:
        for number in range(3):
            self.uploads(number, put=True)
            self.submits(number)
        self.processes(0, register=True)
        self.approves()

    @rule(content=CONTENTS, put=st.sampled_from([True, True, True, False]))
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
    @rule(which=WHICH, file=WHICH, keeps=st.booleans())
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

    @rule(content=CONTENTS, register=st.booleans())
    def processes(self, content: int, register: bool) -> None:
        queued = [each for each in self._all(Job) if each.state == JobState.QUEUED and each.kind != JobKind.RELEASE]
        for job in queued[:2]:
            claim = jobs.claim(self.house, job.id, "worker", READY)
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
        garbage.keep_or_finish(self.house, claim.group_id, sha256, key)
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
        processed = {"metadata": {"date": "2020-01-01"}, "unalignedNucleotideSequences": {"main": "ACGT"}}
        return ProcessedVersion(body, (), (), processed, (file,))

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

    @rule()
    def approves(self) -> None:
        approve(self.house, ALICE, ORGANISM, scope=Scope.ALL)

    @rule(which=WHICH, step=st.sampled_from(list(Step)))
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

    @rule(content=CONTENTS, beside=st.booleans(), which=WHICH)
    def leaves_a_stray(self, content: int, beside: bool, which: int) -> None:
        keys = sorted(self.store.versions)
        self.numbers += 1
        key = keys[which % len(keys)] if beside and keys else f"vault/{self.group}/stray-{self.numbers}"
        row = next((each for each in self._all(UploadedFile) if each.key == key), None)
        if row is None or row.sealed_at is not None:  # what comes first to an open upload is the upload
            self.store.write(key, f"stray {content}".encode())

    @rule(hours=HOURS)
    def time_passes(self, hours: float) -> None:
        self.clock.jump(hours)

    @rule(hours=HOURS)
    def collects(self, hours: float) -> None:
        self.clock.jump(hours)
        garbage.collect(self.house, dry_run=False)

    @rule(hours=HOURS, place=st.integers(0, STEPS_OF_COLLECTING))
    def collects_and_crashes(self, hours: float, place: int) -> None:
        self.clock.jump(hours)
        self.store.crash_in = place
        try:
            garbage.collect(self.house, dry_run=False)
        except Crash:
            return
        finally:
            self.store.crash_in = None

    @rule()
    def collects_without_s3(self) -> None:
        self.store.down = True
        try:
            garbage.collect(self.house, dry_run=False)
        except ProcessingFailure:
            return
        finally:
            self.store.down = False

    @rule()
    def counts_only(self) -> None:
        before = self._everything()
        garbage.collect(self.house, dry_run=True)
        assert self._everything() == before, "a dry run has changed something"

    @rule()
    def recovers(self) -> None:
        unfinished.expire_uploads(self.house)
        garbage.finish_quietly(self.house)

    def _everything(self) -> tuple[Any, ...]:
        with self.house.sessions.read() as session:
            tables = SQLModel.metadata.tables
            rows = {name: sorted(map(repr, session.connection().execute(tables[name].select()))) for name in tables}
        return rows, {key: list(listed) for key, listed in self.store.versions.items()}, set(self.store.uploads)

    def _try(self, action: Any) -> None:
        try:
            action()
        except RuleViolation:
            return

    @invariant()
    def what_is_in_use_is_there(self) -> None:
        self.ground.steps += 1
        with self.house.sessions.read() as session:
            originals = session.exec(
                select(UploadedFile).where(col(UploadedFile.id).in_(select(EntryFile.file_id)))
            ).all()
            outputs = session.exec(
                select(StoredObject).where(col(StoredObject.id).in_(select(ManifestFile.stored_object_id)))
            ).all()
            sealed = session.exec(
                select(UploadedFile.group_id, UploadedFile.uploader, UploadedFile.size).where(
                    col(UploadedFile.sealed_at).is_not(None)
                )
            ).all()
            counted = {row.scope: row.sealed_bytes for row in session.exec(select(UploadUsage))}
            doomed = set(
                session.exec(
                    select(CondemnedVersion.key).where(col(CondemnedVersion.deleting_since).is_not(None))
                ).all()
            )
            gone = set(
                session.exec(select(CondemnedVersion.key).where(col(CondemnedVersion.deleted_at).is_not(None))).all()
            )
        for row in originals:
            assert row.size is not None
            held = self.store.read(StoredVersion(row.key, row.version_id, row.size))
            assert held == self.bodies[row.id], f"{row.key} has other bytes"
        for row in outputs:
            held = self.store.read(StoredVersion(row.key, row.version_id, row.size))
            assert hashlib.sha256(held).hexdigest() == row.sha256, f"{row.key} has other bytes"
        total = sum(size or 0 for _, _, size in sealed)
        for scope in (f"group:{self.group}", f"user:{ALICE.name}"):
            assert counted.get(scope, 0) == total, f"quota: {counted.get(scope)} is counted, {total} are there"
        used = {row.key for row in originals}
        assert not used & (doomed - gone), "an original in use is being deleted"


@contextmanager
def lives(folder: Path) -> Iterator[Ground]:
    """A place for many lives, one after the other."""
    ground = Ground(folder)
    try:
        yield ground
    finally:
        ground.engine.dispose()


def seed_of(number: int) -> int:
    """A seed for Hypothesis that differs much where numbers differ little."""
    return random.Random(number).randrange(2**60)
