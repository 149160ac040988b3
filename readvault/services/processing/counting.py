"""Counts results for `/metrics`, and why those with errors were refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import event
from sqlmodel import Session

from readvault.counters import REFUSALS, RESULTS
from readvault.domain.annotations import Annotation
from readvault.domain.status import ProcessingResult


class Result(Protocol):
    """What processing has to say about an entry."""

    @property
    def errors(self) -> tuple[Annotation, ...]: ...

    @property
    def warnings(self) -> tuple[Annotation, ...]: ...


def count_once_committed(session: Session, results: Sequence[tuple[str, Result]]) -> None:
    """Count these results, each with its organism's name, if the transaction comes through."""

    def count(_: object) -> None:
        for organism, result in results:
            says = ProcessingResult.of(errors=bool(result.errors), warnings=bool(result.warnings))
            RESULTS.labels(organism, says.value).inc()
            for reason in {annotation.reason for annotation in result.errors}:
                REFUSALS.labels(organism, reason.value).inc()

    event.listen(session, "after_commit", count, once=True)
