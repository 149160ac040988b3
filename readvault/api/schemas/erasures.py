"""The wire shapes of erasures. No storage key is in them: the command line lists those."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from readvault.api.dependencies import MAX_INT, Text
from readvault.api.schemas.wire import Wire, when
from readvault.db.tables import Erasure
from readvault.domain.erasures import State
from readvault.domain.interventions import LONGEST_REASON


class ErasureRequest(Wire):
    """Which accession versions, as `LOC_000001Y.1`, and why. Everybody reads the reason."""

    accession_versions: Annotated[list[Annotated[Text, Field(max_length=300)]], Field(min_length=1, max_length=1000)]
    reason: Annotated[Text, Field(min_length=1, max_length=2 * LONGEST_REASON)]


class ErasureConfirmation(Wire):
    """What the request named: another number or code confirms nothing."""

    objects: Annotated[int, Field(ge=0, le=MAX_INT)]
    code: Annotated[Text, Field(pattern=r"^[0-9a-f]{64}$")]


class ErasureQuery(Wire):
    """Which page of the erasures."""

    before: Annotated[int, Field(ge=0, le=MAX_INT)] | None = None
    size: Annotated[int, Field(ge=1, le=1000)] = 100


class ErasureInfo(Wire):
    """One erasure. `objects` and `code` are what the second person confirms; `waitsFor` says why it isn't finished."""

    id: int
    state: str
    accession_versions: list[str]
    scope: str
    reason: str
    objects: int
    bytes: int
    code: str
    requested_by: str
    requested_at: str
    confirmed_by: str | None
    confirmed_at: str | None
    finished_at: str | None
    waits_for: str | None
    proof: dict[str, Any] | None

    @classmethod
    def of(cls, row: Erasure, state: State) -> ErasureInfo:
        """As it goes over the wire: of the proof its digest and counts."""
        return cls(
            id=row.id or 0,
            state=state.value,
            accession_versions=row.accession_versions,
            scope=row.scope,
            reason=row.reason,
            objects=row.objects,
            bytes=row.size,
            code=row.code,
            requested_by=row.requested_by,
            requested_at=when(row.requested_at),
            confirmed_by=row.confirmed_by,
            confirmed_at=None if row.confirmed_at is None else when(row.confirmed_at),
            finished_at=None if row.finished_at is None else when(row.finished_at),
            waits_for=row.waits_for,
            proof=None if row.proof is None else _short(row.proof),
        )


class ErasurePage(Wire):
    """Erasures, newest first. `next` is the `before` of the next page, null at the end."""

    erasures: list[ErasureInfo]
    next: int | None


def _short(proof: dict[str, Any]) -> dict[str, Any]:
    return {"sha256": proof["sha256"], "objects": len(proof["objects"]), "search": proof["search"]}
