"""The database is lost: every accession version comes back from the bucket, and answers as before."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlmodel import col, func, select

from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import DeletedEntryVersion, EntryVersion, UploadedFile
from readvault.domain.identifiers import AccessionVersion, accession_of
from readvault.domain.interventions import Step
from readvault.ports import ReadStore
from readvault.services import trail
from readvault.services.house import House
from readvault.services.release.interventions import intervene
from readvault.services.review.approval import Scope, approve
from readvault.services.review.sending_back import send_back
from readvault.services.storage.integrity.fsck import fsck
from readvault.services.storage.rebuilding import rebuild as rebuilding
from readvault.services.storage.rebuilding.rebuild import rebuild
from readvault.services.storage.rebuilding.records import export
from readvault.services.submission import deletion, terms
from readvault.services.submission.new_entries import submit
from readvault.services.submission.revocation import revoke
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.faults import invariants, rebuilt
from tests.faults.campaign import Campaign, Outcome
from tests.faults.ground import of_scenes
from tests.houses import ALICE, MAINTAINER, build_house, group_of, tsv, upload
from tests.integration.services import pipeline_scenes
from tests.integration.services.life import METADATA, release, revised
from tests.integration.services.scenes import ORGANISM, WARNING, processed

RESTRICTED = {"terms_type": "RESTRICTED", "restricted_until": "2999-01-01"}


class World:
    """One database with versions of every kind."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = replace(house, settings=house.settings.model_copy(update={"data_use_terms": True}))
        self.random = random.Random(seed)
        self.groups = [group_of(house, ALICE), group_of(house, ALICE)]
        self.number = 0

    def grow(self, versions: int) -> None:
        """Make more versions until there are so many, each kind in turn."""
        kinds: list[Callable[[], object]] = [
            self.released, self.open, self.revised, self.revoked, self.intervened, self.reopened, self.sent_back,
            self.deleted,
        ]  # fmt: skip
        self.random.shuffle(kinds)
        turn = 0
        while count(self.house) < versions:
            kinds[turn % len(kinds)]()
            turn += 1

    def _processed(self) -> tuple[AccessionVersion, str]:
        self.number += 1
        dice = self.random
        return processed(
            self.house,
            dice.choice(self.groups),
            accession=accession_of(self.number, "LOC_"),
            files=tuple(dice.randbytes(8) for _ in range(dice.randint(1, 3))),
            reads=dice.randbytes(50) if dice.random() < 0.7 else None,
            text=b">main\n" + dice.choice((b"ACGT", b"ACGA")) + b"\n",
            warnings=(WARNING,) if dice.random() < 0.3 else (),
            **(RESTRICTED if dice.random() < 0.5 else {}),
        )

    def released(self) -> AccessionVersion:
        name, digest = self._processed()
        given = digest if self.random.random() < 0.5 else None
        approve(self.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, given)])
        return name

    def open(self) -> None:
        self._processed()

    def sent_back(self) -> None:
        name, digest = self._processed()
        send_back(self.house, ALICE, ORGANISM, [(name, digest)], "the wrong plate")

    def deleted(self) -> None:
        name, _ = self._processed()
        deletion.delete_versions(self.house, ALICE, ORGANISM, scope=deletion.Scope.ALL, accession_versions=[name])

    def revised(self) -> None:
        name = self.released()
        revised(self.house, {"accession": name.accession, "country": "Peru"})
        if self.random.random() < 0.7:
            release(self.house, AccessionVersion(name.accession, 2))

    def revoked(self) -> None:
        name = self.released()
        revoke(self.house, ALICE, ORGANISM, accessions=[name.accession], comment="a mix-up")
        if self.random.random() < 0.5:
            second = AccessionVersion(name.accession, 2)
            approve(self.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(second, None)])

    def intervened(self) -> None:
        name = self.released()
        for step in self.random.choice(([Step.SUPPRESS], [Step.WITHDRAW], [Step.WITHDRAW, Step.RESTORE])):
            intervene(self.house, MAINTAINER, name, step, f"a reason for {step}")

    def reopened(self) -> None:
        self.number += 1
        accession = accession_of(self.number, "LOC_")
        processed(self.house, self.groups[0], accession=accession, **RESTRICTED)
        terms.change(self.house, ALICE, [accession], terms_type="OPEN", restricted_until=None)


class ExternalWorld(World):
    """One database whose organism has an external pipeline, a newer version of which takes over."""

    def grow(self, versions: int) -> None:
        """So many versions with files that the pipeline sent; most are released, then processed anew."""
        pipeline_scenes.attach(self.house)
        group = self.groups[0]
        names = [pipeline_scenes.received(self.house, group, accession_of(n + 1, "LOC_")) for n in range(versions)]
        self._answer(names, group, pipeline_version=1)
        chosen = [(name, None) for name in names if self.random.random() < 0.7]
        approve(self.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=chosen)
        self._answer(names, group, pipeline_version=2)

    def _answer(self, names: list[AccessionVersion], group: int, *, pipeline_version: int) -> None:
        with self.house.sessions.begin() as session:  # as a worker does that has fetched them
            for file in session.exec(select(UploadedFile).where(col(UploadedFile.sha256).is_(None))):
                file.sha256 = file.declared_sha256
        given = pipeline_scenes.ask(self.house, len(names), pipeline_version)
        assert sorted(pipeline_scenes.names_of(given)) == names
        bodies = [self.random.randbytes(30) for _ in names]
        files = upload(self.house, ALICE, group, *bodies)
        with self.house.sessions.begin() as session:
            for file_id, body in zip(files, bodies, strict=True):
                session.get_one(UploadedFile, file_id).sha256 = hashlib.sha256(body).hexdigest()
        sent = (
            pipeline_scenes.sent(
                name,
                metadata={"date": "2020-01-01", "clade": f"{self.random.randint(19, 24)}A", "snps": 3},
                files=(("annotations", "a.gff", file_id),),
            )
            for name, file_id in zip(names, files, strict=True)
        )
        pipeline_scenes.answer(self.house, *sent, version=pipeline_version)


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many versions in two databases; each database is lost and rebuilt."""
    outcomes = [
        _lose_and_rebuild(World, max(1, trials - trials // 3), seed, folder / "own"),
        _lose_and_rebuild(ExternalWorld, max(1, trials // 3), seed, folder / "external"),
    ]
    failures = [failure for _, failures in outcomes for failure in failures]
    return Outcome(sum(n for n, _ in outcomes), failures, "SQLite, bucket in memory, a second rebuild after a break")


def _lose_and_rebuild(kind: type[World], versions: int, seed: int, folder: Path) -> tuple[int, list[str]]:
    folder.mkdir()
    old = _house(folder, "old", MemoryStore())
    world = kind(old, seed)
    world.grow(versions)
    export(world.house)
    new = replace(_house(folder, "new", old.store), settings=world.house.settings, organisms=world.house.organisms)
    said: list[str] = []
    failures = (
        [] if broken_off(new, world.random.randrange(accessions(world.house))) else ["the rebuild was not broken off"]
    )
    rebuild(new, MAINTAINER, say=said.append)
    failures += [f"not restored: {line}" for line in said]
    failures += rebuilt.differences(world.house, new)
    failures += [f"fsck: {finding.difference} {finding.key}" for finding in fsck(new) if finding.difference.loses_bytes]
    failures += of_scenes(invariants.check(new, open_jobs=True))
    failures += goes_on(world, new)
    found = count(world.house)
    for house in (old, new):
        house.sessions.close()
    return found, failures


def broken_off(new: House, after: int) -> bool:
    """Whether a first rebuild dies after so many accessions."""
    left = [after]
    real, page = rebuilding._restore, rebuilding.PAGE
    patched: Any = rebuilding

    def dies(*given: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(*given)

    try:
        patched._restore, patched.PAGE = dies, 1
        rebuild(new, MAINTAINER)
    except KeyboardInterrupt:
        return True
    finally:
        patched._restore, patched.PAGE = real, page
    return False


def goes_on(world: World, new: House) -> list[str]:
    """What is wrong when the rebuilt database goes on: a new accession, an approval of what waits."""
    with new.sessions.read() as session:
        known = set(session.exec(select(EntryVersion.accession)))
        known |= set(session.exec(select(DeletedEntryVersion.accession)))
    group = world.groups[0]
    [file] = upload(new, ALICE, group, world.random.randbytes(9))
    rows = tsv({"id": "n", **METADATA, "files.rawReads": f"n.fq:{file}"})
    sent: dict[str, Any] = {"metadata": rows, "metadata_name": "m.tsv", "terms_type": "OPEN"}
    [entry] = submit(new, ALICE, ORGANISM, group_id=group, **sent)
    failures = [f"accession {entry.accession} was given out before"] if entry.accession in known else []
    approve(new, ALICE, ORGANISM, scope=Scope.ALL)
    return failures + ([] if trail.verify(new).whole else ["the new audit log is not whole"])


def accessions(house: House) -> int:
    """How many accessions have a version that is not deleted."""
    with house.sessions.read() as session:
        return len(set(session.exec(select(EntryVersion.accession))))


def count(house: House) -> int:
    """How many accession versions there are."""
    with house.sessions.read() as session:
        return session.exec(select(func.count()).select_from(EntryVersion)).one()


def _house(folder: Path, name: str, store: ReadStore) -> House:
    url = f"sqlite:///{folder / name}.sqlite"
    migrate(url)
    engine = create_engine(url)
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    return build_house(Sessions(engine), store, RecordingOrchestrator(), folder)


CAMPAIGN = Campaign(
    name="rebuild",
    promise="P13 A lost database can be rebuilt from the bucket",
    how="databases with versions of every kind (revised, revoked, withdrawn, sent back, deleted, external, with newer"
    " results) are lost and rebuilt from the bucket, broken off once on the way: rows, released lines, manifests and"
    " downloads are as before, fsck and the invariants are clean, new submissions get new accessions",
    full=200,
    run=run,
    unit="versions",
    part=50,
    tiny=6,
)
