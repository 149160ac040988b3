"""Originals whose time is up: those of released versions go after the days that the organism's file says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import batched

from sqlalchemy import exists, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from readvault.db import audit, clock
from readvault.db.erased import is_erased
from readvault.db.names import among
from readvault.db.tables import EntryFile, EntryVersion, Erasure, Job, Release, UploadedFile
from readvault.domain.erasures import POLICY, Scope
from readvault.domain.errors import Conflict
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.status import JobState
from readvault.failpoints import failpoint
from readvault.services.house import House
from readvault.services.storage.erasing import erasure_plan, tombstoning
from readvault.services.storage.erasing.erasure_plan import Target

DAY = 86_400.0
AT_ONCE = 100
"""Accession versions of one erasure."""


def shred_due(house: House) -> int:
    """Erase the originals of released versions whose days are over; how many erasures begin.

    The organism's rule is the reason and the second person. An original that several versions share goes
    when it is due for all of them. The bytes follow with `shredding.carry_on_all`.
    """
    begun = 0
    for organism in house.organisms.values():
        if organism.pipeline.dehumanize.originals.shred_after_days is not None:
            begun += _of_organism(house, organism)
    return begun


def _of_organism(house: House, organism: Organism) -> int:
    days = organism.pipeline.dehumanize.originals.shred_after_days or 0
    begun, after = 0, ("", 0)
    while True:
        with house.sessions.read() as session:
            before = clock.read(session) - days * DAY
            names = _due(session, organism.name, before, after)
        if not names:
            return begun
        after = (names[-1].accession, names[-1].version)
        try:
            begun += _begin(house, names, before, f"originals are kept for {days} days ({organism.name})")
        except Conflict:
            continue  # somebody was faster, or uses one of the files again; what is due comes next time


def _due(session: Session, organism: str, before: float, after: tuple[str, int]) -> list[AccessionVersion]:
    """Versions, by name, that have originals which are due for everybody who has them and not shredded yet."""
    other, of_other = aliased(EntryFile), aliased(Release)
    still_needed = (
        exists()
        .where(col(other.file_id) == col(EntryFile.file_id))
        .where(
            ~exists()
            .where(
                col(of_other.accession) == col(other.accession),
                col(of_other.version) == col(other.version),
                col(of_other.released_at) < before,
            )
            .correlate(other)
        )
        .correlate(EntryFile)
    )
    accession, version = col(EntryVersion.accession), col(EntryVersion.version)
    busy = exists().where(
        col(Job.accession) == accession, col(Job.version) == version, col(Job.state) != JobState.DONE.value
    )
    query = (
        select(accession, version)
        .join(Release, (col(Release.accession) == accession) & (col(Release.version) == version))
        .join(EntryFile, (col(EntryFile.accession) == accession) & (col(EntryFile.version) == version))
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(
            col(EntryVersion.organism) == organism,
            col(Release.released_at) < before,
            ~is_erased(col(UploadedFile.key), col(UploadedFile.version_id)),
            ~still_needed,
            ~busy.correlate(EntryVersion),
            (accession > after[0]) | ((accession == after[0]) & (version > after[1])),
        )
        .distinct()
        .order_by(accession, version)
        .limit(AT_ONCE)
    )
    return [AccessionVersion(row[0], row[1]) for row in session.execute(query)]


def _begin(house: House, names: Sequence[AccessionVersion], before: float, reason: str) -> bool:
    with house.sessions.begin() as session:
        everybody, pins = _what_goes(session, names, before)
        entries = tombstoning.lock(session, everybody, pins)
        if (everybody, pins) != _what_goes(session, names, before):
            raise Conflict(tombstoning.CHANGED)
        if not pins:
            return False
        at = clock.read(session)
        row = Erasure(
            accession_versions=[str(name) for name in everybody],
            scope=Scope.ORIGINALS.value,
            reason=reason,
            code=erasure_plan.code_of(everybody, Scope.ORIGINALS, (), pins),
            objects=len(pins),
            size=sum(each.size for each in pins),
            requested_by=POLICY,
            requested_at=at,
            confirmed_by=POLICY,
            confirmed_at=at,
        )
        session.add(row)
        session.flush()
        tombstoning.execute(session, row, entries, pins)
        details = {"erasure": row.id, "versions": row.accession_versions, "objects": row.objects, "bytes": row.size}
        audit.append(session, POLICY, "shred originals", str(everybody[0]), details)
        failpoint("shred-before-commit")
    return True


def _what_goes(
    session: Session, names: Sequence[AccessionVersion], before: float
) -> tuple[list[AccessionVersion], list[Target]]:
    """The originals that are due for all who have them, and all who have them."""
    pins = erasure_plan.targets(session, names, Scope.ORIGINALS)
    shared = erasure_plan.others(session, names, (each.key for each in pins))
    due: set[AccessionVersion] = set()
    for page in batched(sorted(shared), AT_ONCE):
        old = select(col(Release.accession), col(Release.version)).where(
            among(Release, page), col(Release.released_at) < before
        )
        due |= {AccessionVersion(row[0], row[1]) for row in session.execute(old)}
    needed = {key for name, keys in shared.items() if name not in due for key in keys}
    kept = [each for each in pins if each.key not in needed]
    keys = {each.key for each in kept}
    return sorted({*names, *(name for name in due if shared[name] & keys)}), kept
