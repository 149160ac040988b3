"""Review: a person approves what processing made, and it becomes public with the commit.

Commit first, side effects after: nothing is public before the commit, and what follows it (locks,
records) is a job of its own, written in the same transaction.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from itertools import batched
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from readvault.db import audit, clock, records
from readvault.db.names import among
from readvault.db.tables import AuditEntry, EntryVersion, Job, Release
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, ProcessingResult
from readvault.failpoints import failpoint
from readvault.services.authorization import Action, authorize
from readvault.services.entries import candidates, released_state
from readvault.services.entries.candidates import PAGE, Candidate, refuse
from readvault.services.house import House
from readvault.services.queue import deliveries


class Scope(StrEnum):
    """Whether entries with warnings are approved too. Entries with errors never are."""

    ALL = "ALL"
    WITHOUT_WARNINGS = "WITHOUT_WARNINGS"


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
    must be approvable: Unprocessable else (unprocessed, with errors, a control, sent back), Conflict
    for another digest, Forbidden for a foreign one. Without, everything of the actor's groups that
    is approvable is approved and the rest is skipped. An empty list approves nothing. Of the
    organism, `review.requireDigest` makes a missing digest Unprocessable and
    `review.submitterMayApprove: false` what the actor submitted, edited or uploaded. Of racing
    approvals one wins; the others find the version released already.
    """
    _digests_given_where_required(house, organism, accession_versions)
    failpoint("approve-begin")
    try:
        with house.sessions.begin() as session:
            if actor is None or group_ids:
                authorize(session, actor, Action.APPROVE, group_ids=group_ids or ())
            if [] in (_listed(accession_versions), _listed(group_ids), _listed(submitters)):
                return []
            if accession_versions is None:
                found = candidates.approvable(session, actor, organism, group_ids, submitters)
            else:
                found = _named(session, actor, organism, accession_versions)
            chosen = [each for each in found if _wanted(each, scope, group_ids, submitters)]
            chosen = _by_other_eyes(house, session, actor, organism, chosen, named=accession_versions is not None)
            jobs = _release(session, actor, organism, chosen, dict(accession_versions or ()))
            failpoint("approve-before-commit")
    except IntegrityError:
        raise Conflict("Somebody else approved or changed some of these accession versions just now.") from None
    failpoint("approve-after-commit")
    deliveries.deliver_now(house, jobs)
    return [each.name for each in chosen]


def _listed(values: Sequence[object] | None) -> list[object] | None:
    return None if values is None else list(values)


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
) -> list[Candidate]:
    """The named versions, locked, if every one can be approved."""
    found = candidates.named(session, actor, Action.APPROVE, organism, named)
    refuse("Accession versions have errors: ", (str(each.name) for each in found if each.has_errors))
    refuse(
        "Accession versions are controls (metadata field sampleRole), which are never released: ",
        (f"{each.name} - {each.role}" for each in found if each.is_control),
    )
    refuse(
        "Accession versions were sent back and have not changed since: ",
        (f"{each.name} - {each.sent_back}" for each in found if each.sent_back is not None),
    )
    return found


def _by_other_eyes(
    house: House,
    session: Session,
    actor: Actor | None,
    organism: str,
    chosen: list[Candidate],
    *,
    named: bool,
) -> list[Candidate]:
    """Without what the actor made, where the organism wants other eyes; refused when it was named."""
    if actor is None or house.organism(organism).review.submitter_may_approve:
        return chosen
    own = candidates.made_by(session, actor.name, chosen)
    if named:
        text = f"User {actor.name} submitted, edited or uploaded these accession versions, so that somebody else "
        refuse(text + "must approve them: ", map(str, own))
    return [each for each in chosen if each.name not in own]


def _wanted(
    candidate: Candidate, scope: Scope, group_ids: Sequence[int] | None, submitters: Sequence[str] | None
) -> bool:
    return (
        not (scope == Scope.WITHOUT_WARNINGS and candidate.result == ProcessingResult.HAS_WARNINGS)
        and (group_ids is None or candidate.group_id in group_ids)
        and (submitters is None or candidate.submitter in submitters)
    )


def _release(
    session: Session,
    actor: Actor | None,
    organism: str,
    chosen: Sequence[Candidate],
    digests: dict[AccessionVersion, str | None],
) -> list[str]:
    """Write the releases, their jobs and the audit log; the jobs' IDs."""
    approver = actor.name if actor is not None else ""
    at = clock.read(session)
    jobs: list[dict[str, Any]] = []
    for page in batched(chosen, PAGE):
        _mark_released(session, page)
        failpoint("approve-marked")
        releases = [_release_row(each, at, approver, given=digests.get(each.name) is not None) for each in page]
        session.execute(insert(Release), releases)
        page_jobs = [_job_row(each, organism, at) for each in page]
        session.execute(insert(Job), page_jobs)
        jobs += page_jobs
        records.changed(session, (each.name for each in page))
        failpoint("approve-between-pages")
    if chosen:
        released_state.count(session, organism, Counter(each.group_id for each in chosen), at)
    last: AuditEntry | None = None
    for page in batched(chosen, PAGE):
        listed = [
            {
                "accessionVersion": str(each.name),
                "manifestDigest": each.digest,
                "digestWasGiven": digests.get(each.name) is not None,
            }
            for each in page
        ]
        last = audit.append(session, approver, "approve", organism, {"approved": listed})
        failpoint("approve-written-down")
    if last is not None:
        audit.queue_head(session, last)
    return [job["id"] for job in jobs]


def _mark_released(session: Session, page: Sequence[Candidate]) -> None:
    named = among(EntryVersion, [each.name for each in page])
    # A version that is released already stays as it is: its second release is what fails, and says so.
    still_open = ~col(EntryVersion.released)
    session.execute(
        update(EntryVersion).where(named, still_open).values(released=True).execution_options(synchronize_session=False)
    )


def _release_row(candidate: Candidate, at: float, approver: str, *, given: bool) -> dict[str, Any]:
    return {
        "accession": candidate.name.accession,
        "version": candidate.name.version,
        "manifest_id": candidate.manifest_id,
        "released_at": at,
        "approver": approver,
        "digest_was_given": given,
    }


def _job_row(candidate: Candidate, organism: str, at: float) -> dict[str, Any]:
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
