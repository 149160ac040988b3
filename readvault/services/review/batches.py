"""Batches: what came with one request, a plate say, as its group reviews it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select
from sqlmodel import Session, col

from readvault.db import entry_state
from readvault.db.tables import EntryVersion, Group, Manifest, SentBack
from readvault.domain.actor import Actor
from readvault.domain.errors import NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult, Status
from readvault.services.entries.candidates import is_control
from readvault.services.entries.finding import visible_to
from readvault.services.house import House
from readvault.services.review import sending_back

METRICS = (
    "totalReads",
    "mappedReads",
    "humanFraction",
    "depthOfCoverage",
    "breadthOfCoverage",
    "platform",
    "primerScheme",
    "reference",
    "consensusSource",
    "qualityControlDetermination",
    "qualityControlIssues",
)
"""The processed metadata fields of the table; `docs/metrics.md` explains them."""
COLUMNS = (
    *("accession", "version", "submissionId", "groupId", "isRevocation", "isControl"),
    *("status", "processingResult", "sentBack"),
    *METRICS,
    *("errors", "warnings", "firstError", "firstWarning", "pipelineVersion", "manifestDigest"),
)
"""The keys of a row, in the order of the table."""


def list_batches(
    house: House,
    actor: Actor | None,
    organism: str,
    *,
    group_ids: Sequence[int] | None = None,
    before: float | None = None,
    size: int = 20,
) -> dict[str, Any]:
    """The submissions of the actor's groups, newest first: ID, time, who, how many entries of which status.

    `before` is the `next` of the page before (seconds since 1970). What it costs grows with the page
    and the number of groups, not with the number of entries. Raises BadRequest for an unknown
    organism, Forbidden for a foreign group.
    """
    house.organism(organism)
    with house.sessions.read() as session:
        mine = visible_to(session, actor, group_ids)
        newest = _newest(session, and_(col(EntryVersion.organism) == organism, mine), before, size)
        summaries = _summaries(session, and_(_inside(organism), mine), [batch_id for batch_id, _ in newest])
    more = len(newest) >= size
    return {
        "batches": [summaries[batch_id] for batch_id, _ in newest],
        "next": newest[-1][1] if more and newest else None,
    }


def batch(house: House, actor: Actor | None, organism: str, batch_id: str) -> dict[str, Any]:
    """One batch: its summary and a row of figures for each entry, by accession and version.

    A row has the status, the result, the metrics, how many errors and warnings there are and the
    first of each, why it was sent back, and the manifest's digest. Raises NotFound, with the same
    words, for a batch that isn't there and for one of another group.
    """
    house.organism(organism)
    with house.sessions.read() as session:
        mine = and_(_inside(organism), visible_to(session, actor, None))
        summary = _summaries(session, mine, [batch_id]).get(batch_id)
        if summary is None:
            raise NotFound("There is no such batch.")
        rows = _rows(session, and_(mine, col(EntryVersion.batch_id) == batch_id))
    return {**summary, "rows": rows}


def send_back(
    house: House,
    actor: Actor | None,
    organism: str,
    batch_id: str,
    named: Sequence[tuple[AccessionVersion, str | None]],
    reason: str,
) -> list[AccessionVersion]:
    """Send back entries of a batch, as `sending_back.send_back` does. Raises NotFound for a batch and
    for entries that are not in it."""
    house.organism(organism)
    with house.sessions.read() as session:
        mine = and_(_inside(organism), visible_to(session, actor, None))
        inside = {
            AccessionVersion(*row)
            for row in session.execute(
                select(col(EntryVersion.accession), col(EntryVersion.version)).where(
                    mine, col(EntryVersion.batch_id) == batch_id
                )
            )
        }
    if not inside:
        raise NotFound("There is no such batch.")
    if strangers := sorted({str(name) for name, _ in named if name not in inside}):
        raise NotFound(f"The batch has no such entries: {', '.join(strangers)}")
    return sending_back.send_back(house, actor, organism, named, reason)


def _inside(organism: str) -> ColumnElement[bool]:
    """The organism's entries, said so that SQLite looks the batch up, not the organism: it has no statistics."""
    return func.coalesce(col(EntryVersion.organism), "") == organism


def _newest(session: Session, mine: ColumnElement[bool], before: float | None, size: int) -> list[tuple[str, float]]:
    """The newest batches and their times: group by group one look into the index, never at all entries."""
    latest = (
        select(col(EntryVersion.submitted_at))
        .where(mine, col(EntryVersion.group_id) == col(Group.id), col(EntryVersion.batch_id).is_not(None))
        .order_by(col(EntryVersion.submitted_at).desc())
        .limit(1)
        .correlate(Group)
    )

    def moments(group_id: int | None, earlier_than: float | None) -> list[tuple[float, int]]:
        found = latest
        if earlier_than is not None:
            found = found.where(col(EntryVersion.submitted_at) < earlier_than)
        query = select(found.scalar_subquery(), col(Group.id))
        if group_id is not None:
            query = query.where(col(Group.id) == group_id)
        return [(-moment, group) for moment, group in session.execute(query) if moment is not None]

    waiting = moments(None, before)
    heapq.heapify(waiting)
    chosen: dict[str, float] = {}
    while waiting and len(chosen) < size:
        negative, group_id = heapq.heappop(waiting)
        at_that_moment = select(col(EntryVersion.batch_id)).where(
            mine, col(EntryVersion.group_id) == group_id, col(EntryVersion.submitted_at) == -negative
        )
        for batch_id in session.scalars(at_that_moment.distinct().order_by(col(EntryVersion.batch_id))):
            if batch_id is not None:
                chosen.setdefault(batch_id, -negative)
        for moment in moments(group_id, -negative):
            heapq.heappush(waiting, moment)
    return list(chosen.items())


def _summaries(session: Session, mine: ColumnElement[bool], batch_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    result = col(Manifest.processing_result)
    query = entry_state.with_state(
        select(
            col(EntryVersion.batch_id).label("batch_id"),
            col(EntryVersion.group_id).label("group_id"),
            col(EntryVersion.submitter).label("submitter"),
            func.min(col(EntryVersion.submitted_at)).label("at"),
            entry_state.status().label("status"),
            result.label("result"),
            func.count().label("entries"),
            func.count(col(SentBack.manifest_id)).label("sent_back"),
        )
    ).outerjoin(SentBack, col(SentBack.manifest_id) == col(Manifest.id))
    query = query.where(mine, col(EntryVersion.batch_id).in_(batch_ids))
    found: dict[str, dict[str, Any]] = {}
    for row in session.execute(query.group_by("batch_id", "group_id", "submitter", "status", "result")):
        summary = found.setdefault(row.batch_id, _empty(row.batch_id, row.at))
        summary["submittedAt"] = min(summary["submittedAt"], row.at)
        for key, value in (("groupIds", row.group_id), ("submitters", row.submitter)):
            summary[key] = sorted({*summary[key], value})
        summary["entries"] += row.entries
        summary["statusCounts"][row.status] += row.entries
        if row.status == Status.PROCESSED and row.result is not None:
            summary["processingResultCounts"][row.result] += row.entries
            summary["sentBack"] += row.sent_back
    return found


def _empty(batch_id: str, at: float) -> dict[str, Any]:
    return {
        "batchId": batch_id,
        "submittedAt": at,
        "submitters": [],
        "groupIds": [],
        "entries": 0,
        "statusCounts": {each.value: 0 for each in Status},
        "processingResultCounts": {each.value: 0 for each in ProcessingResult},
        "sentBack": 0,
    }


def _rows(session: Session, condition: ColumnElement[bool]) -> list[dict[str, Any]]:
    """The rows of the table. Sequences stay in the database: of the processed data only the metadata are read."""
    query = entry_state.with_state(
        select(
            col(EntryVersion.accession),
            col(EntryVersion.version),
            col(EntryVersion.submission_id),
            col(EntryVersion.group_id),
            col(EntryVersion.is_revocation),
            col(EntryVersion.submitted_metadata)["sampleRole"].as_string().label("role"),
            entry_state.status().label("status"),
            col(Manifest.processing_result),
            col(Manifest.pipeline_version),
            col(Manifest.digest),
            col(Manifest.errors),
            col(Manifest.warnings),
            col(Manifest.processed_data)["metadata"].label("made"),
            col(SentBack.reason),
        )
    ).outerjoin(SentBack, col(SentBack.manifest_id) == col(Manifest.id))
    query = query.where(condition).order_by(col(EntryVersion.accession), col(EntryVersion.version))
    return [_row(row) for row in session.execute(query)]


def _row(row: Any) -> dict[str, Any]:
    made = row.made if isinstance(row.made, dict) else {}
    errors, warnings = row.errors or [], row.warnings or []
    return {
        "accession": row.accession,
        "version": row.version,
        "submissionId": row.submission_id,
        "groupId": row.group_id,
        "isRevocation": row.is_revocation,
        "isControl": is_control(row.role),
        "status": row.status,
        "processingResult": row.processing_result,
        "sentBack": row.reason,
        **{metric: made.get(metric) for metric in METRICS},
        "errors": len(errors),
        "warnings": len(warnings),
        "firstError": errors[0]["message"] if errors else None,
        "firstWarning": warnings[0]["message"] if warnings else None,
        "pipelineVersion": row.pipeline_version,
        "manifestDigest": row.digest,
    }
