"""Damage is planted in a bucket full of released files; the verification must find and mend all of it, and no more."""

from __future__ import annotations

import hashlib
import random
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
from sqlalchemy import event
from sqlmodel import col, select

from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.s3 import S3Store
from readvault.config import S3Settings
from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import Job, Repair, UploadedFile
from readvault.domain.status import JobKind, JobState
from readvault.ports import StoredVersion
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.release import publication
from readvault.services.storage.integrity import making_again
from readvault.services.storage.integrity.pinned import Pinned, pinned_at, pinned_versions
from readvault.services.storage.integrity.verification import damaged, verify
from readvault.services.uploads import quota
from tests.fakes import RecordingOrchestrator
from tests.faults import invariants
from tests.faults.campaign import Campaign, Outcome
from tests.houses import ALICE, build_house
from tests.integration.services.published import released
from tests.integration.services.scenes import READY, group

UNTOUCHED = 3
"""Released entries that nobody ever touches, in each house: each is a possible false alarm."""
OF_ONE_HOUSE = 10


class WritableStore(S3Store):
    """A real bucket with the two things that scenes need: to write and read behind readvault's back."""

    def write(self, key: str, data: bytes) -> StoredVersion:
        """A new version, as somebody with the keys could make it."""
        answer = self._worker.put_object(Bucket=self._bucket, Key=key, Body=data)
        return StoredVersion(key, answer["VersionId"], len(data))

    def hide(self, key: str) -> None:
        """A delete marker over whatever lies there."""
        self._worker.delete_object(Bucket=self._bucket, Key=key)


@dataclass(frozen=True, slots=True)
class Ground:
    """A house on a real SeaweedFS with two buckets, and a way to end a lock as only a maintainer can."""

    house: House
    store: WritableStore
    second: WritableStore
    master: Any
    bucket: str

    def destroy(self, stored: StoredVersion) -> None:
        """Take a version away for ever, whatever lock it has."""
        named = {"Bucket": self.bucket, "Key": stored.key, "VersionId": stored.version_id}
        self.master.delete_object(BypassGovernanceRetention=True, **named)


Harm = Callable[[Ground, Pinned, bytes], None]


def _lost(ground: Ground, pinned: Pinned, _: bytes) -> None:
    ground.destroy(pinned.stored)


def _marker(ground: Ground, pinned: Pinned, _: bytes) -> None:
    ground.store.hide(pinned.key)


def _newer(ground: Ground, pinned: Pinned, data: bytes) -> None:
    ground.store.write(pinned.key, data[::-1])


def _flipped(ground: Ground, pinned: Pinned, data: bytes) -> None:
    _point_at(ground, pinned, ground.store.write(pinned.key, bytes([data[0] ^ 1]) + data[1:]))


def _truncated(ground: Ground, pinned: Pinned, data: bytes) -> None:
    _point_at(ground, pinned, ground.store.write(pinned.key, data[:-7]))


def _lost_and_covered(ground: Ground, pinned: Pinned, data: bytes) -> None:
    ground.destroy(pinned.stored)
    ground.store.write(pinned.key, data[::-1])


def _point_at(ground: Ground, pinned: Pinned, other: StoredVersion) -> None:
    """No store lets a version's bytes be changed, so the pin is moved to a version with the wrong ones.

    The triggers refuse that to readvault and everybody else; here they are told of a repair that never was.
    """
    with ground.house.sessions.begin() as session:
        table = "uploaded_file" if pinned.key.startswith("incoming/") else "stored_object"
        session.add(
            Repair(key=pinned.key, lost_version_id=pinned.stored.version_id, version_id=other.version_id,
                   sha256=pinned.sha256 or "", size=pinned.stored.size, source="planted", actor="campaign", at=0.0)
        )  # fmt: skip
        session.flush()
        session.connection().exec_driver_sql(
            f"UPDATE {table} SET version_id = '{other.version_id}' WHERE key = '{pinned.key}'"
        )
    ground.destroy(pinned.stored)


HARMS: dict[str, Harm] = {
    "deleted version": _lost,
    "delete marker on top": _marker,
    "newer version on top": _newer,
    "other bytes": _flipped,
    "truncated": _truncated,
    "deleted, and another on top": _lost_and_covered,
}
COVERS = {"delete marker on top", "newer version on top"}
FROM = ("second bucket", "uploaded again", "made again")
PLACES = ("incoming/", "vault/")


def cases() -> Iterator[tuple[str, str, str]]:
    """What is done to which file, and where its bytes can be found then: all that can be, in turn."""
    for origin in FROM:
        for harm in HARMS:
            for place in PLACES:
                if (origin, place) in (("made again", "incoming/"), ("uploaded again", "vault/")):
                    continue
                if harm in COVERS and origin != "second bucket":
                    continue
                yield harm, place, origin


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """Plant `trials` damages one by one, each in a house with untouched entries beside it."""
    every = list(cases())
    failures: list[str] = []
    with SeaweedFS(folder / "seaweed", buckets="test-*", bucket="test-first") as server:
        for first in range(0, trials, OF_ONE_HOUSE):
            with _ground(server, folder / str(first)) as ground:
                people = group(ground.house, "alice")
                for number in range(first, min(first + OF_ONE_HOUSE, trials)):
                    case = every[(seed + number) % len(every)]
                    fault = _trial(ground, people, random.Random(f"{seed}-{number}"), *case)
                    failures += [f"{', '.join(case)}: {fault}"] if fault else []
                faults = invariants.check(ground.house, open_jobs=True)
                # Results come from a scene, not from a worker, so their manifests never were in the bucket.
                failures += [
                    f"afterwards: {fault}" for fault in faults if not fault.startswith("documents: manifests/")
                ]
    conditions = "SeaweedFS with versions and locks, a second bucket, SQLite; files of 1 to 9 kB"
    return Outcome(trials, failures, conditions)


def _trial(ground: Ground, people: int, dice: random.Random, harm: str, place: str, origin: str) -> str | None:
    house = ground.house
    before = {each.key for each in pinned_versions(house)}
    mine = _entry(ground, people, dice)
    for _ in range(UNTOUCHED if not before else 0):
        _entry(ground, people, dice)
    data = mine[place]
    victim = next(each for each in pinned_versions(house) if each.restorable == hashlib.sha256(data).hexdigest())
    HARMS[harm](ground, victim, data)
    if origin != "second bucket":
        _empty_second(ground, victim.key)
    first = verify(house, days=0, survey_every=0)
    expected = 0 if harm in COVERS else 1
    alarms = {row.key for row in damaged(house)} - {victim.key}
    if alarms or first.damaged != expected:
        return f"found {first.damaged} damaged, other alarms {len(alarms)}"
    if harm in COVERS and first.uncovered != 1:
        return f"{first.uncovered} were uncovered"
    if origin == "uploaded again":
        if first.repaired:
            return "was repaired out of nothing"
        ground.store.write(_new_upload(house, people, data), data)
        verify(house, days=0, survey_every=0)
    elif origin == "made again" and (fault := _make_again(ground, people, victim, data)):
        return fault
    again = pinned_at(house, victim.key)
    if damaged(house) or again is None or house.store.sha256_of(again.stored) != victim.restorable:
        return "the bytes are not back"
    with house.sessions.read() as session:
        rows = session.exec(select(Repair).where(Repair.key == victim.key).order_by(col(Repair.id).desc())).all()
    if harm not in COVERS and rows[0].source != origin:
        return f"repaired from {rows[0].source}"
    return None


def _entry(ground: Ground, people: int, dice: random.Random) -> dict[str, bytes]:
    """A released entry whose job and copies are done; the bytes of its original and of its processed file."""
    reads, text = dice.randbytes(dice.randint(1000, 9000)), b">main\n" + dice.randbytes(1000).hex().encode()
    released(ground.house, people, files=(reads,), text=text)
    with ground.house.sessions.begin() as session:
        for file in session.exec(select(UploadedFile).where(col(UploadedFile.sha256).is_(None))):
            file.sha256 = file.declared_sha256 if file.sealed_at is not None else None
        quota.lock(session, [people], [ALICE.name])
        for scope in (f"group:{people}", f"user:{ALICE.name}"):
            quota.add_sealed(session, scope, len(reads))
        waiting = session.exec(
            select(Job.id).where(Job.kind == JobKind.RELEASE.value, Job.state == JobState.QUEUED.value)
        ).all()
    for job_id in waiting:
        claim = jobs.claim(ground.house, job_id, "campaign", READY)
        assert claim is not None
        publication.publish(ground.house, claim)
    return {"incoming/": reads, "vault/": text}


def _empty_second(ground: Ground, key: str) -> None:
    for stored in list(ground.second.list_versions(key)):
        ground.second.delete(stored)


def _new_upload(house: House, people: int, data: bytes) -> str:
    """The row of an upload that the group was asked for; its key."""
    file_id = str(uuid.uuid4())
    key = f"incoming/again/{file_id}"
    with house.sessions.begin() as session:
        session.add(
            UploadedFile(id=file_id, batch_id="again", group_id=people, uploader=ALICE.name, key=key,
                         requested_at=0.0, expires_at=2e9, declared_sha256=hashlib.sha256(data).hexdigest())
        )  # fmt: skip
    return key


def _make_again(ground: Ground, people: int, victim: Pinned, data: bytes) -> str | None:
    """What the job of the damage does with the outputs of the pipeline: right ones and others."""
    house = ground.house
    with house.sessions.read() as session:
        wished = session.exec(
            select(Job.id).where(Job.kind == JobKind.REPAIR.value, Job.state == JobState.QUEUED.value)
        ).all()
    if len(wished) != 1:
        return f"{len(wished)} jobs make it again"
    claim = jobs.claim(house, wished[0], "campaign", READY)
    assert claim is not None
    with tempfile.TemporaryDirectory() as folder:
        made, other = Path(folder) / "made", Path(folder) / "other"
        made.write_bytes(data)
        other.write_bytes(data[::-1])
        outputs = [(hashlib.sha256(data[::-1]).hexdigest(), other), (victim.restorable or "", made)]
        put = making_again.put_back_made(house, people, outputs)
    jobs.complete(house, claim)
    verify(house, days=0, survey_every=0)
    return None if put == 1 else f"{put} were put back"


@contextmanager
def _ground(server: SeaweedFS, folder: Path) -> Iterator[Ground]:
    folder.mkdir()
    first, second = (server.provision(f"test-{uuid.uuid4().hex[:12]}") for _ in range(2))
    url = f"sqlite:///{folder / 'readvault.sqlite'}"
    migrate(url)
    engine = create_engine(url)
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    sessions = Sessions(engine)
    try:
        store, other = WritableStore(first), WritableStore(second)
        house = replace(build_house(sessions, store, RecordingOrchestrator(), folder), second_store=other)
        yield Ground(house, store, other, _master(server, first), first.bucket)
    finally:
        sessions.close()


def _master(server: SeaweedFS, settings: S3Settings) -> Any:
    """Whoever owns the bucket: not readvault."""
    keys = server.credentials("maintainer")
    return boto3.client(
        "s3", endpoint_url=settings.endpoint, region_name=settings.region,
        aws_access_key_id=keys.access_key, aws_secret_access_key=keys.secret_key.get_secret_value(),
    )  # fmt: skip


CAMPAIGN = Campaign(
    name="corruption",
    promise="P1 No released byte is lost or altered",
    how="a version of a released file is deleted, covered, cut or altered on a real SeaweedFS; one verification must "
    "find it, give no other alarm, and put the same bytes back from the second bucket, a new upload or the pipeline",
    full=50,
    run=run,
    unit="planted damages",
    part=10,
    tiny=4,
)
