"""Races on one entry: threads that change it at once, and a model of what may come of that.

Each round has fresh entries in a group of their own. All threads begin in the same moment, each with
one thing drawn by the seed. What each was answered, and in which order calls and answers came, is
held against a sequential model: there must be an order in which all answers are right.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from readvault.db.tables import EntryVersion, Intervention, Manifest, Release
from readvault.domain.errors import Conflict, InvalidSubmission, LeaseLost, NotFound, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import TABLE, Step
from readvault.domain.status import Visibility
from readvault.services.house import House
from readvault.services.processing import jobs, reprocessing
from readvault.services.processing.jobs import Claim
from readvault.services.release.interventions import intervene
from readvault.services.review import sending_back
from readvault.services.review.approval import Scope, approve
from readvault.services.submission import deletion
from readvault.services.submission.editing import EditedData, edit
from readvault.services.submission.revision import revise
from readvault.services.submission.revocation import revoke
from tests.fakes import MemoryStore
from tests.faults.campaign import Campaign, Outcome
from tests.faults.ground import ground, of_scenes
from tests.faults.invariants import check
from tests.faults.linearizable import Operation, order_of
from tests.houses import ALICE, MAINTAINER, tsv
from tests.integration.services.scenes import ORGANISM, READY, group, processed, result

THREADS = 16
REFUSALS = (Conflict, Unprocessable, NotFound, InvalidSubmission, LeaseLost)
"""What the loser of a race may meet: 404, 409, 422, or a worker's lost lease."""
METADATA = {"date": "2024-01-01", "platform": "ILLUMINA"}
UNKNOWN = "?"
"""A job that was made without telling its ID."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the entry in the model. `jobs`: who may still register, (job ID, attempt or None)."""

    status: str
    digest: str | None = None
    sent_back: bool = False
    shown: Visibility = Visibility.PUBLIC
    jobs: frozenset[tuple[str, int | None]] = frozenset()
    is_revocation: bool = False


type State = tuple[tuple[int, Version | None], ...]
"""The versions by number; None for a deleted one, whose number is never used again."""


def model(state: State, operation: Operation) -> State | None:
    """The sequential entry: the state after `operation`, None when it can't be answered so in this state."""
    versions = dict(state)
    done = _STEPS[operation.what](versions, operation)
    return tuple(sorted(versions.items())) if done else None


def _approve(versions: dict[int, Version | None], asked: Operation) -> bool:
    number, digest = asked.arguments
    there = versions.get(number)
    good = there is not None and there.status == "PROCESSED" and not there.sent_back
    good = good and there is not None and digest in (None, there.digest)
    if good and asked.changes and there is not None:
        versions[number] = replace(there, status="RELEASED")
    return good == asked.changes


def _approve_all(versions: dict[int, Version | None], asked: Operation) -> bool:
    ready = {n for n, v in versions.items() if v is not None and v.status == "PROCESSED" and not v.sent_back}
    if ready != set(asked.outcome):
        return False
    for number in ready:
        there = versions[number]
        assert there is not None
        versions[number] = replace(there, status="RELEASED")
    return True


def _newest(versions: dict[int, Version | None]) -> Version | None:
    there = [number for number, version in versions.items() if version is not None]
    return versions[max(there)] if there else None


def _next_version(versions: dict[int, Version | None], asked: Operation) -> bool:
    newest = _newest(versions)
    good = newest is not None and newest.status == "RELEASED"
    if not asked.changes:
        # An entry that changed between the look at it and its lock is told as a conflict.
        return not good or (asked.outcome == "Conflict" and asked.arguments[0] == "disturbed")
    if not good or asked.outcome != max(versions) + 1:
        return False
    revoked = asked.what == "revoke"
    made = Version("PROCESSED", "revocation", is_revocation=True) if revoked else None
    versions[asked.outcome] = made or Version("RECEIVED", jobs=frozenset({(UNKNOWN, None)}))
    return True


def _edit(versions: dict[int, Version | None], asked: Operation) -> bool:
    there = versions.get(asked.arguments[0])
    good = there is not None and there.status == "PROCESSED" and not there.is_revocation
    if good and asked.changes:
        versions[asked.arguments[0]] = Version("RECEIVED", jobs=frozenset({(UNKNOWN, None)}))
    return good == asked.changes


def _delete(versions: dict[int, Version | None], asked: Operation) -> bool:
    there = versions.get(asked.arguments[0])
    good = there is not None and there.status != "RELEASED"
    if there is not None and there.status == "RECEIVED" and any(attempt for _, attempt in there.jobs):
        good = False  # in processing
    if good and asked.changes:
        versions[asked.arguments[0]] = None
    return good == asked.changes


def _intervene(versions: dict[int, Version | None], asked: Operation) -> bool:
    number, step = asked.arguments
    there = versions.get(number)
    after = TABLE.get((there.shown, step)) if there is not None and there.status == "RELEASED" else None
    if asked.changes and there is not None and after is not None:
        versions[number] = replace(there, shown=after)
        return bool(asked.outcome == after)
    return (after is not None) == asked.changes


def _send_back(versions: dict[int, Version | None], asked: Operation) -> bool:
    there = versions.get(asked.arguments[0])
    good = there is not None and there.status == "PROCESSED" and not there.sent_back
    if good and asked.changes and there is not None:
        versions[asked.arguments[0]] = replace(there, sent_back=True)
    return good == asked.changes


def _process_again(versions: dict[int, Version | None], asked: Operation) -> bool:
    number = asked.arguments[0]
    there = versions.get(number)
    good = there is not None and there.status != "RELEASED" and not there.is_revocation
    if not asked.changes or not good or there is None:
        return good == asked.changes
    known = {job for job, _ in there.jobs}
    if asked.outcome in known:
        return True
    if there.jobs and UNKNOWN not in known:
        return False  # a second job beside an open one
    others = frozenset(each for each in there.jobs if each[0] != UNKNOWN)
    versions[number] = replace(there, jobs=others | {(asked.outcome, None)})
    return True


def _claim(versions: dict[int, Version | None], asked: Operation) -> bool:
    number, job = asked.arguments
    there = versions.get(number)
    good = there is not None and (job, None) in there.jobs
    if good and asked.changes and there is not None:
        versions[number] = replace(there, jobs=(there.jobs - {(job, None)}) | {(job, asked.outcome)})
    return good == asked.changes


def _register(versions: dict[int, Version | None], asked: Operation) -> bool:
    number, job, attempt, digest = asked.arguments
    there = versions.get(number)
    good = there is not None and there.status != "RELEASED" and (job, attempt) in there.jobs
    if good and asked.changes and there is not None:
        left = there.jobs - {(job, attempt)}
        versions[number] = replace(there, status="PROCESSED", digest=digest, sent_back=False, jobs=left)
    return good == asked.changes


def _look(versions: dict[int, Version | None], asked: Operation) -> bool:
    seen = tuple(sorted((n, (v.status, v.digest, v.shown)) for n, v in versions.items() if v is not None))
    return bool(seen == asked.outcome)


_STEPS: dict[str, Callable[[dict[int, Version | None], Operation], bool]] = {
    "approve": _approve,
    "approve all": _approve_all,
    "revise": _next_version,
    "revoke": _next_version,
    "edit": _edit,
    "delete": _delete,
    "intervene": _intervene,
    "send back": _send_back,
    "process again": _process_again,
    "claim": _claim,
    "register": _register,
    "look": _look,
}


@dataclass
class Entry:
    """One entry of a round: its state when the round begins, and who holds a job of it."""

    accession: str
    group_id: int
    start: State
    newest: int
    digest: str
    claim: Claim | None = None
    history: list[Operation] = field(default_factory=list)


class Races:
    """The rounds on one database."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.random = random.Random(seed)
        self.ticks = itertools.count()
        self.texts = itertools.count()
        self.failures: list[str] = []

    def round(self) -> int:
        """Sixteen threads, each with one thing to do, on one or two fresh entries; how many operations that were."""
        group_id = group(self.house, ALICE.name)
        beginnings = [self.random.choice((self._processed, self._held, self._released, self._revised))]
        if self.random.random() < 0.25:
            beginnings.append(beginnings[0])
        entries = [beginning(group_id) for beginning in beginnings]
        works = [self._draw(entries) for _ in range(THREADS)]
        start = threading.Barrier(THREADS)

        def run(work: Callable[[], None]) -> None:
            start.wait(60)
            try:
                work()
            except Exception as fault:
                self.failures.append(f"{type(fault).__name__}: {str(fault)[:200]}")

        threads = [threading.Thread(target=run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        if any(thread.is_alive() for thread in threads):
            self.failures.append("somebody waits for ever")
        for entry in entries:
            self._judge(entry)
        return THREADS

    def _processed(self, group_id: int) -> Entry:
        name, digest = processed(self.house, group_id, text=self._text())
        return Entry(name.accession, group_id, ((1, Version("PROCESSED", digest)),), 1, digest)

    def _held(self, group_id: int) -> Entry:
        """Processed, and a worker is about to register another result."""
        made = self._processed(group_id)
        name = AccessionVersion(made.accession, 1)
        job_id = reprocessing.process_again(self.house, name, "once more", "root")
        made.claim = jobs.claim(self.house, job_id, "worker", READY)
        assert made.claim is not None
        held = frozenset({(job_id, made.claim.attempt)})
        made.start = ((1, Version("PROCESSED", made.digest, jobs=held)),)
        return made

    def _released(self, group_id: int) -> Entry:
        made = self._processed(group_id)
        name = AccessionVersion(made.accession, 1)
        approve(self.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, made.digest)])
        made.start = ((1, Version("RELEASED", made.digest)),)
        return made

    def _revised(self, group_id: int) -> Entry:
        """Released, with a second version that waits for its worker."""
        made = self._released(group_id)
        self._revise([made.accession])
        second = AccessionVersion(made.accession, 2)
        job_id = reprocessing.process_again(self.house, second, "find its job", "root")
        made.claim = jobs.claim(self.house, job_id, "worker", READY)
        assert made.claim is not None
        held = frozenset({(job_id, made.claim.attempt)})
        made.start = (*made.start, (2, Version("RECEIVED", jobs=held)))
        made.newest = 2
        return made

    def _draw(self, entries: Sequence[Entry]) -> Callable[[], None]:
        entry = self.random.choice(entries)
        number = self.random.choice((1, entry.newest, entry.newest, entry.newest + 1))
        name = AccessionVersion(entry.accession, number)
        step = self.random.choice(list(Step))
        digest = self.random.choice((None, entry.digest, entry.digest))
        everything = [each.accession for each in self.random.sample(list(entries), len(entries))]
        chosen = everything if self.random.random() < 0.5 else [entry.accession]
        text = self._text()
        house = self.house

        def approve_one() -> None:
            asked = [(name, digest)]
            self._do(entry, "approve", (number, digest), lambda: bool(_approved(house, asked)))

        def approve_all() -> None:
            ticks = next(self.ticks)
            got = approve(house, ALICE, ORGANISM, scope=Scope.ALL, group_ids=[entry.group_id])
            for each in entries:
                numbers = tuple(n.version for n in got if n.accession == each.accession)
                self._note(each, "approve all", (), numbers, ticks, changes=bool(numbers))

        def next_version() -> None:
            self._together(entries, chosen, "revise", lambda: self._revise(chosen))

        def revocation() -> None:
            self._together(
                entries,
                [entry.accession],
                "revoke",
                lambda: revoke(house, ALICE, ORGANISM, accessions=[entry.accession]),
            )

        def edited() -> None:
            data = EditedData({**METADATA, "country": f"C{next(self.texts)}"}, {})
            self._do(entry, "edit", (number,), lambda: edit(house, ALICE, ORGANISM, name, data))

        def deleted() -> None:
            scope = deletion.Scope.ALL
            self._do(
                entry, "delete", (number,),
                lambda: deletion.delete_versions(house, ALICE, ORGANISM, scope=scope, accession_versions=[name]),
            )  # fmt: skip

        def intervened() -> None:
            self._do(
                entry, "intervene", (number, step),
                lambda: Visibility(intervene(house, MAINTAINER, name, step, "a good reason").state),
            )  # fmt: skip

        def sent_back() -> None:
            self._do(
                entry, "send back", (number,),
                lambda: sending_back.send_back(house, ALICE, ORGANISM, [(name, None)], "look again"),
            )  # fmt: skip

        def worked() -> None:
            again = lambda: reprocessing.process_again(house, name, "once more", "root")  # noqa: E731
            job_id = self._do(entry, "process again", (number,), again)
            if job_id is not None:
                taken: list[Claim] = []
                self._do(entry, "claim", (number, job_id), lambda: _claimed(house, job_id, taken), refused=None)
                if taken:
                    self._registered(entry, taken[0], text)

        def finished() -> None:
            if entry.claim is not None:
                self._registered(entry, entry.claim, text)
            else:
                worked()

        drawn = (approve_one, approve_one, approve_all, next_version, revocation, edited, edited, deleted)
        return self.random.choice((*drawn, intervened, intervened, sent_back, worked, finished, finished))

    def _registered(self, entry: Entry, claim: Claim, text: bytes) -> None:
        made = result(self.house, claim, text=text)
        digest = _digest_of(made)
        number = claim.accession_version.version
        arguments = (number, claim.job_id, claim.attempt, digest)
        self._do(entry, "register", arguments, lambda: jobs.register(self.house, claim, made))

    def _together(
        self, entries: Sequence[Entry], chosen: Sequence[str], what: str, act: Callable[[], Sequence[Any]]
    ) -> None:
        """New versions of one or several entries: all or none."""
        mine = [each for each in entries if each.accession in chosen]
        called = next(self.ticks)
        try:
            made = {each.accession: each.version for each in act()}
        except REFUSALS as refusal:
            if len(mine) == 1:  # of several nobody can tell here which one was to blame
                self._note(mine[0], what, (called,), type(refusal).__name__, called, changes=False)
            return
        for each in mine:
            self._note(each, what, (called,), made[each.accession], called, changes=True)

    def _revise(self, accessions: Sequence[str]) -> Sequence[Any]:
        rows = [{"id": f"r{n}", "accession": accession, **METADATA} for n, accession in enumerate(accessions)]
        return revise(self.house, ALICE, ORGANISM, metadata=tsv(*rows), metadata_name="metadata.tsv")

    def _do(
        self, entry: Entry, what: str, arguments: tuple[Any, ...], act: Callable[[], Any], *, refused: Any = UNKNOWN
    ) -> Any:
        called = next(self.ticks)
        try:
            outcome = act()
            changes = outcome != refused
        except REFUSALS as refusal:
            self._note(entry, what, arguments, type(refusal).__name__, called, changes=False)
            return None
        self._note(entry, what, arguments, outcome, called, changes=changes)
        return outcome

    def _note(
        self, entry: Entry, what: str, arguments: tuple[Any, ...], outcome: Any, called: int, *, changes: bool
    ) -> None:
        entry.history.append(Operation(what, arguments, outcome, changes, called, next(self.ticks)))

    def _text(self) -> bytes:
        return f">main\nACGT{next(self.texts):09}\n".encode()

    def _judge(self, entry: Entry) -> None:
        seen, approved = self._seen(entry)
        history = [_disturbed(each, entry.history) for each in entry.history]
        end = next(self.ticks)
        history.append(Operation("look", (), seen, changes=False, called=end, returned=next(self.ticks)))
        if order_of(history, entry.start, model) is None:
            told = "; ".join(f"{e.called}-{e.returned} {e.what}{e.arguments} -> {e.outcome}" for e in history)
            self.failures.append(f"no order explains {entry.start}: {told}")
        for each in entry.history:
            if each.what == "approve" and each.changes and each.arguments[1] not in (None, approved[each.arguments[0]]):
                self.failures.append(f"{entry.accession}: another digest was released than the one given")

    def _seen(self, entry: Entry) -> tuple[Any, dict[int, str]]:
        """The entry as the database has it, and the digest of what is released by version."""
        with self.house.sessions.read() as session:
            rows = session.exec(select(EntryVersion).where(EntryVersion.accession == entry.accession)).all()
            released = dict(
                session.exec(
                    select(Release.version, Manifest.digest)
                    .join(Manifest, col(Manifest.id) == col(Release.manifest_id))
                    .where(Release.accession == entry.accession)
                ).all()
            )
            current = dict(
                session.exec(
                    select(Manifest.version, Manifest.digest).where(
                        Manifest.accession == entry.accession, col(Manifest.superseded_at).is_(None)
                    )
                ).all()
            )
            shown: dict[int, str] = dict(
                session.exec(
                    select(Intervention.version, Intervention.state)
                    .where(Intervention.accession == entry.accession)
                    .order_by(col(Intervention.id))
                ).all()
            )
        seen = []
        for row in sorted(rows, key=lambda each: each.version):
            number = row.version
            status = "RELEASED" if number in released else "PROCESSED" if number in current else "RECEIVED"
            digest = "revocation" if row.is_revocation else released.get(number, current.get(number))
            seen.append((number, (status, digest, Visibility(shown.get(number, "PUBLIC")))))
        return tuple(seen), released


def _approved(house: House, asked: list[tuple[AccessionVersion, str | None]]) -> list[AccessionVersion]:
    return approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=asked)


def _claimed(house: House, job_id: str, taken: list[Claim]) -> int | None:
    claim = jobs.claim(house, job_id, "worker", READY)
    if claim is None:
        return None
    taken.append(claim)
    return claim.attempt


def _digest_of(made: Any) -> str:
    from readvault.domain import manifest

    return manifest.digest(manifest.canonical(made.manifest))


def _disturbed(operation: Operation, history: Sequence[Operation]) -> Operation:
    """Of a refused revision: whether anything changed while it was asked for."""
    if operation.what not in ("revise", "revoke") or operation.changes:
        return operation
    beside = any(
        other.changes and other.called < operation.returned and other.returned > operation.called for other in history
    )
    return replace(operation, arguments=("disturbed" if beside else "alone",))


def run(trials: int, seed: int, folder: Path, database: str) -> Outcome:
    """Rounds of sixteen operations until there were so many."""
    done = 0
    with ground(folder, database) as there:
        house = replace(there.house(), store=MemoryStore())
        races = Races(house, seed)
        while done < trials and len(races.failures) < 5:
            done += races.round()
        failures = races.failures + of_scenes(check(house, open_jobs=True))
    return Outcome(done, failures, f"{database}, {THREADS} threads, one or two entries a round")


def campaign(database: str) -> Campaign:
    """The campaign of these races on one kind of database."""

    def on_it(trials: int, seed: int, folder: Path) -> Outcome:
        return run(trials, seed, folder, database)

    return Campaign(
        name=f"approve_races_{database}",
        promise="P5 What was reviewed is what is released; of those who change an entry at once one wins",
        how="16 threads approve, revise, revoke, edit, delete, withdraw, suppress, restore, send back, reprocess and"
        " register results of the same entries at once; an order must exist in which every answer is right",
        full=32_000,
        run=on_it,
        unit="operations",
        part=1600,
        tiny=48,
    )
