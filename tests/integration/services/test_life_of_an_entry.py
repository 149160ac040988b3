"""The life of entries in any order of events: after each of them the whole database still makes sense.

`READVAULT_LIVES` sets how many lives are tried, of 30 events each; a few by default.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlmodel import col, select

from readvault.db import audit, entry_state
from readvault.db.engine import Sessions, create_engine
from readvault.db.tables import (
    DeletedEntryVersion,
    EntryFile,
    EntryVersion,
    Job,
    Manifest,
    ManifestFile,
    Release,
    ReleasedCount,
    UploadedFile,
    UploadUsage,
)
from readvault.domain.errors import LeaseLost, RuleViolation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.status import JobKind, JobState
from readvault.services.house import House
from readvault.services.processing import jobs, reprocessing
from readvault.services.release.interventions import intervene
from readvault.services.release.released_data import released_data
from readvault.services.review.approval import Scope, approve
from readvault.services.review.listing import list_entries
from readvault.services.review.sending_back import send_back
from readvault.services.submission import deletion, editing
from readvault.services.submission.new_entries import submit
from readvault.services.submission.revocation import revoke
from tests.conftest import DATABASES, MigratedDatabases
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.houses import ALICE, MAINTAINER, build_house, group_of, tsv, upload
from tests.integration.services.life import METADATA, revised, status
from tests.integration.services.scenes import ERROR, ORGANISM, READY, WARNING, of_next_pipeline, result

LIVES = int(os.environ.get("READVAULT_LIVES", "3"))
WHICH = st.integers(0, 30)


class Life(RuleBasedStateMachine):
    """A group's entries, and what happened to them."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self.house, self.newer = house, of_next_pipeline(house)
        self.group = group_of(house, ALICE)
        self.claims: list[jobs.Claim] = []
        self.deleted: set[AccessionVersion] = set()
        self.released: dict[AccessionVersion, tuple[Any, ...]] = {}
        self.hidden: dict[AccessionVersion, Step] = {}
        self.uploads = 0

    def _all(self, table: Any) -> list[Any]:
        with self.house.sessions.read() as session:
            return list(session.exec(select(table)).all())

    def _names(self) -> list[AccessionVersion]:
        return sorted(AccessionVersion(each.accession, each.version) for each in self._all(EntryVersion))

    def _one(self, which: int) -> AccessionVersion:
        names = self._names()
        return names[which % len(names)]

    def _file(self) -> str:
        self.uploads += 1
        return upload(self.house, ALICE, self.group, f"reads {self.uploads}".encode())[0]

    def _expect(self, possible: bool, action: Any) -> bool:
        """Do it; whether it is refused must be as expected."""
        if possible:
            action()
            return True
        with pytest.raises(RuleViolation):
            action()
        return False

    def _result_of(self, name: AccessionVersion) -> Any:
        listed = list_entries(self.house, ALICE, ORGANISM)["sequenceEntries"]
        return next(each for each in listed if (each["accession"], each["version"]) == (name.accession, name.version))

    @initialize()
    def has_something_processed_and_released(self) -> None:
        for _ in range(3):
            self.submits()
        for _ in range(2):
            self.claims_a_job(newer=False)
            self.registers(0, 0, "good")
            self.approves_all()
        self.claims_a_job(newer=False)
        self.registers(0, 0, "warnings")

    @rule()
    def submits(self) -> None:
        row = {"id": "a", **METADATA, "files.rawReads": f"a.fastq:{self._file()}"}
        submit(self.house, ALICE, ORGANISM, group_id=self.group, metadata=tsv(row), metadata_name="m.tsv")

    @rule(newer=st.booleans())
    def claims_a_job(self, newer: bool) -> None:
        queued = [each for each in self._all(Job) if each.state == JobState.QUEUED and each.kind != JobKind.RELEASE]
        for job in queued[:1]:
            claim = jobs.claim(self.newer if newer else self.house, job.id, "worker", READY)
            self.claims += [] if claim is None else [claim]  # it may have to wait after a failure

    @precondition(lambda self: self.claims)
    @rule(which=WHICH, text=st.integers(0, 1), outcome=st.sampled_from(["good", "good", "warnings", "errors"]))
    def registers(self, which: int, text: int, outcome: str) -> None:
        claim = self.claims.pop(which % len(self.claims))
        found = {
            "warnings": (WARNING,) if outcome == "warnings" else (),
            "errors": (ERROR,) if outcome == "errors" else (),
        }
        made = result(self.house, claim, text=f">main\nACG{'T' * text}\n".encode(), **found)
        try:
            jobs.register(self.house, claim, made)
        except LeaseLost:
            return

    @precondition(lambda self: self.claims)
    @rule(counted=st.booleans())
    def gives_up(self, counted: bool) -> None:
        try:
            jobs.give_up(self.house, self.claims.pop(), "the tool crashed", counted=counted)
        except LeaseLost:
            return

    @rule()
    def approves_all(self) -> None:
        for name in approve(self.house, ALICE, ORGANISM, scope=Scope.ALL):
            assert name not in self.released

    @precondition(lambda self: self._names())
    @rule(which=WHICH)
    def sends_back(self, which: int) -> None:
        name = self._one(which)
        try:
            send_back(self.house, ALICE, ORGANISM, [(name, None)], "contaminated")
        except RuleViolation:
            return
        with pytest.raises(RuleViolation):
            approve(self.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, None)])

    @precondition(lambda self: self._names())
    @rule(which=WHICH, files=st.booleans())
    def edits(self, which: int, files: bool) -> None:
        name = self._one(which)
        possible = status(self.house, name) == "PROCESSED" and not self._result_of(name)["isRevocation"]
        given = {"rawReads": [editing.NamedFile("b.fastq", self._file())]} if files else None
        data = editing.EditedData({**METADATA, "country": "edited"}, {}, given)
        if self._expect(possible, lambda: editing.edit(self.house, ALICE, ORGANISM, name, data)):
            assert status(self.house, name) == "RECEIVED"

    @precondition(lambda self: self._names())
    @rule(which=WHICH)
    def deletes(self, which: int) -> None:
        name = self._one(which)
        possible = status(self.house, name) in ("RECEIVED", "PROCESSED")
        if self._expect(
            possible,
            lambda: deletion.delete_versions(
                self.house, ALICE, ORGANISM, scope=deletion.Scope.ALL, accession_versions=[name]
            ),
        ):
            self.deleted.add(name)

    @precondition(lambda self: self._names())
    @rule(which=WHICH, revocation=st.booleans())
    def makes_a_new_version(self, which: int, revocation: bool) -> None:
        accession = self._one(which).accession
        latest = max(name for name in self._names() if name.accession == accession)
        before = {name for name in {*self._names(), *self.deleted} if name.accession == accession}

        def act() -> None:
            if revocation:
                revoke(self.house, ALICE, ORGANISM, accessions=[accession])
            else:
                revised(self.house, {"accession": accession, "files.rawReads": f"c.fastq:{self._file()}"})

        if self._expect(latest in self.released, act):
            new = max(name for name in self._names() if name.accession == accession)
            assert new.version == max(name.version for name in before) + 1

    @precondition(lambda self: self._names())
    @rule(which=WHICH, newer=st.booleans())
    def is_wanted_again(self, which: int, newer: bool) -> None:
        house = self.newer if newer else self.house
        try:
            reprocessing.process_again(house, self._one(which), "a reason", "maintainer")
        except RuleViolation:
            return

    @precondition(lambda self: self._names())
    @rule(which=WHICH, step=st.sampled_from(Step))
    def intervenes(self, which: int, step: Step) -> None:
        name = self._one(which)
        try:
            intervene(self.house, MAINTAINER, name, step, "a reason")
        except RuleViolation:
            return
        assert name in self.released
        self.hidden.pop(name, None)
        if step is not Step.RESTORE:
            self.hidden[name] = step

    @invariant()
    def what_is_released_stays_as_it_is(self) -> None:
        manifests = {each.id: each for each in self._all(Manifest)}
        files = Counter((each.manifest_id, each.category, each.name, each.stored_object_id)
                        for each in self._all(ManifestFile))  # fmt: skip
        now = {}
        for each in self._all(Release):
            held = sorted(file for file in files if file[0] == each.manifest_id)
            approved = manifests[each.manifest_id]
            assert approved.superseded_at is None
            now[AccessionVersion(each.accession, each.version)] = (each.manifest_id, approved.body, held)
        assert self.released.items() <= now.items()
        self.released = now
        marked = {AccessionVersion(e.accession, e.version) for e in self._all(EntryVersion) if e.released}
        assert marked == now.keys()
        assert sum(each.entries for each in self._all(ReleasedCount)) == len(now)

    @invariant()
    def names_are_never_used_again(self) -> None:
        gone = {AccessionVersion(each.accession, each.version) for each in self._all(DeletedEntryVersion)}
        assert gone == self.deleted
        assert not gone & set(self._names())
        for table in (Manifest, Job, EntryFile):
            assert not gone & {AccessionVersion(each.accession, each.version) for each in self._all(table)}

    @invariant()
    def every_open_entry_has_one_current_result_or_one_job(self) -> None:
        current = [each for each in self._all(Manifest) if each.superseded_at is None]
        counted = Counter((each.accession, each.version, each.pipeline_version) for each in current)
        assert set(counted.values()) <= {1}
        with_result = {(each.accession, each.version) for each in current}
        waiting = Counter((each.accession, each.version) for each in self._all(Job)
                          if each.state != JobState.DONE and each.kind != JobKind.RELEASE)  # fmt: skip
        for name in self._names():
            jobs_of = waiting[name.accession, name.version]
            assert jobs_of <= 1
            assert jobs_of == 1 or (name.accession, name.version) in with_result

    @invariant()
    def lists_and_counts_tell_what_is_there(self) -> None:
        listed = list_entries(self.house, ALICE, ORGANISM)
        names = [AccessionVersion(each["accession"], each["version"]) for each in listed["sequenceEntries"]]
        assert names == self._names()
        columns = (col(EntryVersion.accession), col(EntryVersion.version), entry_state.status())
        with self.house.sessions.read() as session:
            rows = session.execute(entry_state.with_state(select(*columns))).all()
        statuses = {AccessionVersion(*row[:2]): row[2] for row in rows}
        assert Counter(listed["statusCounts"]) == Counter(statuses.values())
        results = Counter(e["processingResult"] for e in listed["sequenceEntries"] if e["status"] == "PROCESSED")
        assert Counter(listed["processingResultCounts"]) == results
        released = {AccessionVersion(each.accession, each.version) for each in self._all(Release)}
        assert {name for name, found in statuses.items() if found == "APPROVED_FOR_RELEASE"} == released
        public = [line["metadata"]["accessionVersion"] for line in released_data(self.house, ORGANISM)]
        assert public == [str(name) for name in sorted(released - self.hidden.keys())]

    @invariant()
    def the_trail_is_whole_and_every_byte_is_counted(self) -> None:
        with self.house.sessions.read() as session:
            assert audit.verify(session) == []
            sealed = session.exec(select(UploadedFile.size).where(col(UploadedFile.sealed_at).is_not(None))).all()
        used = {each.scope: each.sealed_bytes for each in self._all(UploadUsage)}
        assert {used.get(f"group:{self.group}", 0), used.get("user:alice", 0)} == {sum(size or 0 for size in sealed)}


@pytest.mark.parametrize("database", DATABASES)
def test_whatever_happens_the_database_makes_sense(
    database: str, migrated_databases: MigratedDatabases, engines: dict[str, Any], tmp_path: Path
) -> None:
    opened: list[Sessions] = []

    def life() -> Life:
        for sessions in opened:
            sessions.close()
        url = migrated_databases.postgresql() if database == "postgresql" else migrated_databases.sqlite()
        opened[:] = [Sessions(engines.setdefault(url, create_engine(url)))]
        return Life(build_house(opened[0], MemoryStore(), RecordingOrchestrator(), tmp_path))

    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=LIVES,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize=LIVES < 10,
            phases=[Phase.generate],
        ),
    )
    opened[0].close()
