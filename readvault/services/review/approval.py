"""Review: a person approves what processing made, and it becomes public with the commit.

Commit first, side effects after: nothing is public before the commit, and what follows it (locks,
records) is a job of its own, written in the same transaction.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import batched
from typing import Any

from sqlalchemy import ColumnElement, and_, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from readvault.db import audit, clock, entry_state
from readvault.db.tables import EntryVersion, Job, Manifest, Release
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, ProcessingResult, Status
from readvault.services import housekeeping
from readvault.services.authorization import Action
from readvault.services.house import House
from readvault.services.release import released_state
from readvault.services.review.entries import find_versions, visible_to

PAGE = 500
CONTROLS = frozenset({"negativecontrol", "positivecontrol"})
"""Values of the metadata field `sampleRole`, in lower case, of entries that are never released."""


class Scope(StrEnum):
    """Whether entries with warnings are approved too. Entries with errors never are."""

    ALL = "ALL"
    WITHOUT_WARNINGS = "WITHOUT_WARNINGS"


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: AccessionVersion
    group_id: int
    submitter: str
    status: str
    manifest_id: int | None
    digest: str | None
    result: str | None
    pipeline_version: int | None
    role: str | None

    @property
    def is_control(self) -> bool:
        """Whether it is a sample of the laboratory's own, which tells about a batch and nothing about a virus."""
        return (self.role or "").strip().casefold() in CONTROLS


def approve(
    house: House,
    actor: Actor | None,
    organism: str,
    *,
    scope: Scope,
    accession_versions: Sequence[tuple[AccessionVersion, str | None]] | None = None,
    group_ids: Sequence[int] | None = None,
    submitters: Sequence[str] | None = None,
) -> list[AccessionVersion]:
    """Approve processed versions for release; those that were approved, sorted. All of them or none.

    With `accession_versions` (each with the manifest digest that the person saw, or None) every one
    must be approvable: Unprocessable else, Conflict for another digest, Forbidden for a foreign one.
    Without, everything of the actor's groups that is approvable is approved and the rest is
    skipped. `review.requireDigest` of the organism makes a missing digest Unprocessable. Of racing
    approvals one wins; the others find the version released already.
    """
    _digests_given_where_required(house, organism, accession_versions)
    try:
        with house.sessions.begin() as session:
            if accession_versions is None:
                candidates = _approvable(session, actor, organism, group_ids)
            else:
                candidates = _named(session, actor, organism, accession_versions)
            chosen = [each for each in candidates if _wanted(each, scope, group_ids, submitters)]
            jobs = _release(session, actor, organism, chosen, dict(accession_versions or ()))
    except IntegrityError:
        raise Conflict("Somebody else approved or changed some of these accession versions just now.") from None
    housekeeping.deliver_now(house, jobs)
    return [each.name for each in chosen]


def _digests_given_where_required(
    house: House, organism: str, named: Sequence[tuple[AccessionVersion, str | None]] | None
) -> None:
    if not house.organism(organism).review.require_digest:
        return
    if named is None:
        raise Unprocessable("Approval needs the accession versions and the manifest digests that were reviewed.")
    if without := sorted(str(name) for name, digest in named if digest is None):
        raise Unprocessable(f"Approval needs the manifest digest that was reviewed: {', '.join(without)}")


def _named(
    session: Session,
    actor: Actor | None,
    organism: str,
    named: Sequence[tuple[AccessionVersion, str | None]],
) -> list[_Candidate]:
    """The named versions, locked, if every one can be approved."""
    names = [name for name, _ in named]
    find_versions(session, actor, Action.APPROVE, organism, names)
    candidates: list[_Candidate] = []
    for page in batched(sorted(set(names)), PAGE):
        condition = tuple_(col(EntryVersion.accession), col(EntryVersion.version)).in_(
            [(name.accession, name.version) for name in page]
        )
        candidates += _locked(session, condition)
    _refuse(
        "Accession versions are not in one of the states [PROCESSED]: ",
        (f"{each.name} - {each.status}" for each in candidates if not _is_processed(each)),
    )
    _refuse(
        "Accession versions have errors: ",
        (str(each.name) for each in candidates if each.result == ProcessingResult.HAS_ERRORS),
    )
    _refuse(
        "Accession versions are controls (metadata field sampleRole), which are never released: ",
        (f"{each.name} - {each.role}" for each in candidates if each.is_control),
    )
    current = {each.name: each.digest for each in candidates}
    if changed := sorted({str(name) for name, digest in named if digest not in (None, current[name])}):
        raise Conflict(f"The processed data have changed since they were reviewed: {', '.join(changed)}")
    return candidates


def _refuse(message: str, names: Iterable[str]) -> None:
    if listed := sorted(names):
        raise Unprocessable(message + ", ".join(listed))


def _approvable(
    session: Session, actor: Actor | None, organism: str, group_ids: Sequence[int] | None
) -> list[_Candidate]:
    """Everything processed without errors that the actor may approve, locked."""
    mine = visible_to(session, actor, group_ids, Action.APPROVE)
    processed = entry_state.status() == Status.PROCESSED.value
    still_open = ~col(EntryVersion.released)
    everything = _locked(session, and_(col(EntryVersion.organism) == organism, still_open, mine, processed))
    return [
        each
        for each in everything
        if _is_processed(each) and each.result != ProcessingResult.HAS_ERRORS and not each.is_control
    ]


def _locked(session: Session, condition: ColumnElement[bool]) -> list[_Candidate]:
    """The entry versions that meet the condition, as they are once nobody else can change them.

    On PostgreSQL the first query waits for a registration or approval that is under way, and only
    the second one sees what it did.
    """
    name = (col(EntryVersion.accession), col(EntryVersion.version))
    lock = entry_state.with_state(select(*name)).where(condition).order_by(*name)
    locked = {tuple(row) for row in session.execute(lock.with_for_update(key_share=True, of=EntryVersion))}
    facts = select(
        *name,
        col(EntryVersion.group_id),
        col(EntryVersion.submitter),
        entry_state.status(),
        col(Manifest.id),
        col(Manifest.digest),
        col(Manifest.processing_result),
        col(Manifest.pipeline_version),
        col(EntryVersion.submitted_metadata)["sampleRole"].as_string(),
    )
    rows = session.execute(entry_state.with_state(facts).where(condition).order_by(*name))
    return [_Candidate(AccessionVersion(row[0], row[1]), *row[2:]) for row in rows if (row[0], row[1]) in locked]


def _is_processed(candidate: _Candidate) -> bool:
    return candidate.status == Status.PROCESSED and candidate.manifest_id is not None


def _wanted(
    candidate: _Candidate, scope: Scope, group_ids: Sequence[int] | None, submitters: Sequence[str] | None
) -> bool:
    return (
        not (scope == Scope.WITHOUT_WARNINGS and candidate.result == ProcessingResult.HAS_WARNINGS)
        and (not group_ids or candidate.group_id in group_ids)
        and (not submitters or candidate.submitter in submitters)
    )


def _release(
    session: Session,
    actor: Actor | None,
    organism: str,
    chosen: Sequence[_Candidate],
    digests: dict[AccessionVersion, str | None],
) -> list[str]:
    """Write the releases, their jobs and the audit log; the jobs' IDs."""
    approver = actor.name if actor is not None else ""
    at = clock.read(session)
    jobs: list[dict[str, Any]] = []
    for page in batched(chosen, PAGE):
        _mark_released(session, page)
        releases = [_release_row(each, at, approver, given=digests.get(each.name) is not None) for each in page]
        session.execute(insert(Release), releases)
        page_jobs = [_job_row(each, organism, at) for each in page]
        session.execute(insert(Job), page_jobs)
        jobs += page_jobs
    if chosen:
        released_state.count(session, organism, Counter(each.group_id for each in chosen), at)
    for page in batched(chosen, PAGE):
        listed = [
            {
                "accessionVersion": str(each.name),
                "manifestDigest": each.digest,
                "digestWasGiven": digests.get(each.name) is not None,
            }
            for each in page
        ]
        audit.append(session, approver, "approve", organism, {"approved": listed})
    return [job["id"] for job in jobs]


def _mark_released(session: Session, page: Sequence[_Candidate]) -> None:
    names = tuple_(col(EntryVersion.accession), col(EntryVersion.version))
    named = names.in_([(each.name.accession, each.name.version) for each in page])
    # A version that is released already stays as it is: its second release is what fails, and says so.
    still_open = ~col(EntryVersion.released)
    session.execute(
        update(EntryVersion).where(named, still_open).values(released=True).execution_options(synchronize_session=False)
    )


def _release_row(candidate: _Candidate, at: float, approver: str, *, given: bool) -> dict[str, Any]:
    return {
        "accession": candidate.name.accession,
        "version": candidate.name.version,
        "manifest_id": candidate.manifest_id,
        "released_at": at,
        "approver": approver,
        "digest_was_given": given,
    }


def _job_row(candidate: _Candidate, organism: str, at: float) -> dict[str, Any]:
    job = Job(
        id=str(uuid.uuid4()),
        kind=JobKind.RELEASE.value,
        organism=organism,
        accession=candidate.name.accession,
        version=candidate.name.version,
        pipeline_version=candidate.pipeline_version or 0,
        created_at=at,
        not_before=at,
    )
    return job.model_dump()
