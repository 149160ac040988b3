"""The bytes of a confirmed erasure go, version by version, until a search finds none; then the proof is written.

Everything can be broken off and called again, by several processes at once: what goes is a row before
it goes, and nobody refers to such a version anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from typing import Any, Protocol

from sqlalchemy import update
from sqlmodel import col, select

from readvault.db import audit, clock, exports
from readvault.db.tables import ErasedObject, Erasure
from readvault.domain.erasures import POLICY, Kind, Scope
from readvault.domain.errors import BytesLost, NotFound, ProcessingFailure, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.failpoints import failpoint
from readvault.ports import StoredVersion
from readvault.services.house import House
from readvault.services.storage.erasing import erasure_plan, erasure_proof, erasure_search, tombstoning
from readvault.services.storage.erasing.erasure_plan import Line

logger = logging.getLogger(__name__)

PAGE = 100
ROUNDS = 3


class Unlocker(Protocol):
    """The maintainer's own credential at one bucket: it deletes what GOVERNANCE holds. No service has it."""

    def delete(self, stored: StoredVersion, *, bypass: bool = False) -> bool:
        """Take one version away; False when a lock holds it all the same."""


@dataclass(frozen=True, slots=True)
class _Waiting(Exception):
    why: str


def carry_on(house: House, erasure_id: int, unlockers: Mapping[str, Unlocker] | None = None) -> Erasure:
    """Delete what a confirmed erasure takes, search for what is left, write the proof; the erasure as it is then.

    `unlockers` are the maintainer's own credentials by bucket (`bucket`, `second`), for versions that a
    lock holds. What can't be finished now says why in `waits_for`. Raises NotFound, Unprocessable for an
    erasure that nobody confirmed.
    """
    with house.sessions.read() as session:
        row = session.get(Erasure, erasure_id)
    if row is None:
        raise NotFound("There is no such erasure.")
    if row.confirmed_at is None:
        raise Unprocessable("The erasure is not confirmed.")
    if row.finished_at is not None:
        return row
    try:
        for _ in range(ROUNDS):
            fresh = _note(house, row)
            _delete(house, row, unlockers or {})
            if not fresh:
                break
        left = list(erasure_search.left(house, row))
        if left:
            raise _Waiting(f"{len(left)} versions came while the others went; it goes on with the next call")
        _see_that_nobody_works(house, row)
    except _Waiting as waiting:
        return _wait(house, erasure_id, waiting.why)
    failpoint("erase-before-proof")
    return _finish(house, erasure_id)


def carry_on_all(house: House) -> int:
    """Go on with every erasure that is confirmed and not finished; how many were finished."""
    with house.sessions.read() as session:
        query = select(Erasure.id).where(col(Erasure.confirmed_at).is_not(None), col(Erasure.finished_at).is_(None))
        waiting = list(session.exec(query.order_by(col(Erasure.id))))
    finished = 0
    for erasure_id in waiting:
        try:
            finished += carry_on(house, erasure_id or 0).finished_at is not None
        except ProcessingFailure as failure:
            logger.warning("erasure %s waits for the next time: %s", erasure_id, failure.cause)
    return finished


def carry_on_quietly(house: House, erasure_id: int) -> None:
    """Go on with a confirmed erasure as far as it comes now; what stops it is logged, and it goes on later."""
    try:
        carry_on(house, erasure_id)
    except ProcessingFailure as failure:
        logger.warning("erasure %d waits for the next time: %s", erasure_id, failure.cause)


def left_of(house: House, erasure_id: int) -> list[Line]:
    """What a search finds now of a confirmed erasure; nothing once it is finished."""
    with house.sessions.read() as session:
        row = session.get(Erasure, erasure_id)
    if row is None:
        raise NotFound("There is no such erasure.")
    return list(erasure_search.left(house, row, finished=row.finished_at is not None))


def _note(house: House, row: Erasure) -> int:
    """Make a row of everything that lies there and goes, before it goes; how many are new."""
    fresh = 0
    for page in batched(erasure_search.candidates(house, row), PAGE):
        hashes = {line: _sha256(house, line) for line in page if line.kind in (Kind.OTHER_VERSION, Kind.DOCUMENT)}
        with house.sessions.read() as session:
            stored = exports.digests(session, [line.key for line in page if line.kind is Kind.EXPORT])
        hashes |= {line: stored.get(line.key) for line in page if line.kind is Kind.EXPORT}
        with house.sessions.begin() as session:
            tombstoning.lock_groups(session, erasure_search.groups_of(session, row))
            new = [line for line in erasure_search.going(session, page) if line.kind is not Kind.PARTS]
            at = clock.read(session)
            tombstoning.add_objects(session, (
                {
                    "key": line.key, "version_id": line.version_id, "place": line.place, "kind": line.kind.value,
                    "sha256": hashes.get(line), "size": line.size, "erasure_id": row.id, "erased_at": at,
                }
                for line in new
            ))  # fmt: skip
        fresh += len(new)
        _drop_parts(house, page)
    failpoint("erase-noted")
    return fresh


def _delete(house: House, row: Erasure, unlockers: Mapping[str, Unlocker]) -> None:
    stores = dict(erasure_plan.places(house))
    locked: list[ErasedObject] = []
    after = ("", "", "")
    while page := _undeleted(house, row, after):
        after = (page[-1].place, page[-1].key, page[-1].version_id)
        for each in page:
            stored = StoredVersion(each.key, each.version_id or None, each.size)
            store = stores.get(each.place)
            if store is None:
                raise _Waiting(f"the bucket '{each.place}' is not configured here")
            gone = store.delete(stored)
            if not gone and each.place in unlockers:
                gone = unlockers[each.place].delete(stored, bypass=True)
            if not gone:
                locked.append(each)
                continue
            failpoint("erase-between-deletions")
            _note_deleted(house, each)
    if locked:
        raise _Waiting(_why_locked(stores, locked, unlockers))


def _why_locked(stores: dict[str, Any], locked: Sequence[ErasedObject], unlockers: Mapping[str, Unlocker]) -> str:
    if not all(each.place in unlockers for each in locked):
        return f"the maintainer's own credential: a lock holds {len(locked)} versions"
    first = locked[0]
    until = stores[first.place].locked_until(StoredVersion(first.key, first.version_id or None, first.size))
    day = "an unknown date" if until is None else datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
    return f"{len(locked)} versions are locked against everybody (COMPLIANCE or a hold), one of them until {day}"


def _undeleted(house: House, row: Erasure, after: tuple[str, str, str]) -> list[ErasedObject]:
    place, key, version_id = col(ErasedObject.place), col(ErasedObject.key), col(ErasedObject.version_id)
    beyond = (place > after[0]) | (
        (place == after[0]) & ((key > after[1]) | ((key == after[1]) & (version_id > after[2])))
    )
    query = select(ErasedObject).where(ErasedObject.erasure_id == row.id, col(ErasedObject.deleted_at).is_(None))
    with house.sessions.read() as session:
        return list(session.exec(query.where(beyond).order_by(place, key, version_id).limit(PAGE)))


def _note_deleted(house: House, each: ErasedObject) -> None:
    with house.sessions.begin() as session:
        mine = (col(ErasedObject.place) == each.place, col(ErasedObject.key) == each.key)
        session.execute(
            update(ErasedObject)
            .where(*mine, col(ErasedObject.version_id) == each.version_id, col(ErasedObject.deleted_at).is_(None))
            .values(deleted_at=clock.read(session))
            .execution_options(synchronize_session=False)
        )


def _drop_parts(house: House, page: Iterable[Line]) -> None:
    stores = dict(erasure_plan.places(house))
    for line in page:
        if line.kind is Kind.PARTS:
            stores[line.place].abort_multipart(line.key, line.version_id)


def _sha256(house: House, line: Line) -> str | None:
    """Of what nobody pinned: the proof names it by its bytes as well."""
    try:
        return dict(erasure_plan.places(house))[line.place].sha256_of(line.stored)
    except BytesLost:
        return None


def _see_that_nobody_works(house: House, row: Erasure) -> None:
    """A called-off job's worker stops when it can't renew its lease; only then nothing of it comes any more."""
    with house.sessions.read() as session:
        wait = (row.not_before or 0.0) - clock.read(session)
    if wait > 0:
        raise _Waiting(f"a worker that held a job of it, {wait:.0f} seconds at most")
    if row.scope == Scope.EVERYTHING.value:
        _see_that_nobody_exports(house, row)
    if scratch := _scratch(house, row):
        raise _Waiting(f"{scratch} scratch folders of a job that was called off")


def _see_that_nobody_exports(house: House, row: Erasure) -> None:
    """Who was building an export with one of the versions may store something until it notices, or counts as dead."""
    names = [AccessionVersion.parse(name) for name in row.accession_versions]
    with house.sessions.read() as session:
        wait = exports.alive_until(session, names) - clock.read(session)
    if wait > 0:
        raise _Waiting(f"an export with it that was being built, {wait:.0f} seconds at most")


def _scratch(house: House, row: Erasure) -> int:
    return sum(1 for job in row.called_off for _ in house.settings.scratch.glob(f"*/{job}-*"))


def _wait(house: House, erasure_id: int, why: str) -> Erasure:
    logger.warning("erasure %d waits for %s", erasure_id, why)
    with house.sessions.begin() as session:
        row = session.get_one(Erasure, erasure_id, with_for_update=True)
        if row.finished_at is None:
            row.waits_for = why
        return row


def _finish(house: House, erasure_id: int) -> Erasure:
    with house.sessions.begin() as session:
        row = session.get_one(Erasure, erasure_id, with_for_update=True)
        if row.finished_at is not None:
            return row
        at = clock.read(session)
        row.proof = proof = erasure_proof.proof_of(session, house, row, at)
        row.waits_for = None
        row.finished_at = at
        if row.scope == Scope.EVERYTHING.value:
            names = [AccessionVersion.parse(name) for name in row.accession_versions]
            tombstoning.queue_records(session, row, names)
        tombstoning.queue_document(session, row)
        details = {"erasure": erasure_id, "versions": row.accession_versions, "proofSha256": proof["sha256"]}
        details |= {"objects": len(proof["objects"]), "bytes": sum(each["size"] for each in proof["objects"])}
        audit.append(session, POLICY, "erase", row.accession_versions[0], details)
        failpoint("erase-before-finish")
    failpoint("erase-finished")
    return row
