"""The wire shapes of reprocessing: orders, plans, compared results."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from readvault.api.dependencies import MAX_INT, Text
from readvault.api.schemas.wire import Wire, when
from readvault.db.tables import ComparedResult, Reprocessing
from readvault.domain.interventions import LONGEST_REASON
from readvault.domain.reprocessing import ResultState
from readvault.services.reprocessing.choices import Choice
from readvault.services.reprocessing.decisions import Waiting
from readvault.services.reprocessing.orders import Order
from readvault.services.reprocessing.planning import Plan

Reason = Annotated[Text, Field(min_length=1, max_length=2 * LONGEST_REASON)]


class ReprocessingRequest(Wire):
    """Which entries of an organism, and why. `dryRun` only counts; then no reason is needed."""

    organism: Annotated[Text, Field(min_length=1, max_length=300)]
    choice: Choice = Choice()
    dry_run: bool = True
    reason: Annotated[Text, Field(max_length=2 * LONGEST_REASON)] = ""
    per_hour: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class DecisionRequest(Wire):
    """Why."""

    reason: Reason


class RollBackRequest(Wire):
    """Which accession version goes back to an older published result, to which (the one before by default), and why."""

    accession_version: Annotated[Text, Field(max_length=300)]
    reason: Reason
    pipeline_version: Annotated[int, Field(ge=1, le=MAX_INT)] | None = None


class PageQuery(Wire):
    """Which page of the orders."""

    before: Annotated[int, Field(ge=0, le=MAX_INT)] | None = None
    size: Annotated[int, Field(ge=1, le=1000)] = 100


class ComparedQuery(Wire):
    """Which compared results, and which page of them."""

    state: ResultState | None = ResultState.WAITS
    reprocessing: Annotated[int, Field(ge=0, le=MAX_INT)] | None = None
    after: Annotated[int, Field(ge=0, le=MAX_INT)] | None = None
    size: Annotated[int, Field(ge=1, le=1000)] = 100


class PlanInfo(Wire):
    """What an order would do, roughly for `cpuSeconds`; `entries` has none of `withoutOriginals` and `busy`."""

    organism: str
    pipeline_version: int
    entries: int
    released: int
    bytes: int
    cpu_seconds: float
    without_originals: int
    busy: int

    @classmethod
    def of(cls, plan: Plan) -> PlanInfo:
        return cls(
            organism=plan.organism,
            pipeline_version=plan.pipeline_version,
            entries=plan.entries,
            released=plan.released,
            bytes=plan.bytes,
            cpu_seconds=plan.cpu_seconds,
            without_originals=plan.without_originals,
            busy=plan.busy,
        )


class ReprocessingInfo(Wire):
    """One order. `jobs` are its open ones by state, `results` those that it made by what became of them."""

    id: int
    organism: str
    pipeline_version: int
    state: str
    choice: Choice
    reason: str
    automatic: bool
    per_hour: int | None
    planned_entries: int
    planned_bytes: int
    queued: int
    jobs: dict[str, int]
    results: dict[str, int]
    requested_by: str
    requested_at: str
    confirmed_by: str | None
    confirmed_at: str | None
    changed_at: str
    rolled_back_by: str | None
    rolled_back_at: str | None
    roll_back_done: bool

    @classmethod
    def of(cls, order: Order) -> ReprocessingInfo:
        row = order.row
        return cls(
            id=row.id or 0,
            organism=row.organism,
            pipeline_version=row.pipeline_version,
            state=row.state,
            choice=order.choice,
            reason=row.reason,
            automatic=row.automatic,
            per_hour=row.per_hour,
            planned_entries=row.planned_entries,
            planned_bytes=row.planned_bytes,
            queued=row.queued,
            jobs=order.jobs,
            results=order.results,
            requested_by=row.requested_by,
            requested_at=when(row.requested_at),
            confirmed_by=row.confirmed_by,
            confirmed_at=_maybe(row.confirmed_at),
            changed_at=when(row.changed_at),
            rolled_back_by=row.rolled_back_by,
            rolled_back_at=_maybe(row.rolled_back_at),
            roll_back_done=row.roll_back_done,
        )

    @classmethod
    def of_row(cls, row: Reprocessing) -> ReprocessingInfo:
        """One that was changed just now, without its counts."""
        return cls.of(Order(row))


class ReprocessingAnswer(Wire):
    """What was counted, and the order that waits for a confirmation; null after a dry run."""

    plan: PlanInfo
    reprocessing: ReprocessingInfo | None


class ReprocessingPage(Wire):
    """Orders, newest first. `next` is the `before` of the next page, null at the end."""

    reprocessings: list[ReprocessingInfo]
    next: int | None


class FindingInfo(Wire):
    """A figure in which the new result is worse."""

    figure: str
    old: str | int | float | None
    new: str | int | float | None


class ComparedInfo(Wire):
    """A result of a newer pipeline version, and what became of it."""

    id: int
    accession: str
    version: int
    organism: str | None
    pipeline_version: int | None
    released: bool | None
    state: str
    findings: list[FindingInfo]
    reprocessing: int | None
    compared_at: str
    decided_by: str | None
    decided_at: str | None
    reason: str | None

    @classmethod
    def of(cls, row: ComparedResult, known: Waiting | None = None) -> ComparedInfo:
        return cls(
            id=row.id or 0,
            accession=row.accession,
            version=row.version,
            organism=None if known is None else known.organism,
            pipeline_version=None if known is None else known.pipeline_version,
            released=None if known is None else known.released,
            state=row.state,
            findings=[FindingInfo(**finding) for finding in row.findings],
            reprocessing=row.reprocessing_id,
            compared_at=when(row.compared_at),
            decided_by=row.decided_by,
            decided_at=_maybe(row.decided_at),
            reason=row.reason,
        )


class ComparedPage(Wire):
    """Compared results, oldest first. `next` is the `after` of the next page, null at the end."""

    results: list[ComparedInfo]
    next: int | None


class RolledBack(Wire):
    """The pipeline version whose result stands now."""

    accession_version: str
    pipeline_version: int


def _maybe(at: float | None) -> str | None:
    return None if at is None else when(at)
