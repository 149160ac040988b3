"""Released entries on LAPIS's paths, for instances without a LAPIS: what Loculus's command line searches."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from readvault.api import scans
from readvault.api.dependencies import MAX_INT, HouseDep, Label, OrganismDep, Text, documented, parameters
from readvault.api.schemas.wire import Wire
from readvault.domain.errors import BadRequest
from readvault.domain.organism import Organism
from readvault.services.entries.released_state import released_etag
from readvault.services.house import House
from readvault.services.release import queries

router = APIRouter(prefix="/{organism}/lapis/sample", tags=["queries"])

_OTHERS = frozenset({"limit", "offset", "orderBy", "fields", "groupBy", "dataFormat"})
_NO_SEGMENT = "None"
"""How Loculus's command line calls the segment of an organism that has only one."""
_FASTA: dict[int | str, dict[str, Any]] = {200: {"content": {"text/x-fasta": {"schema": {"type": "string"}}}}}


class QueryParameters(Wire):
    """What a query may have besides filters, which are fields of the metadata with a value."""

    limit: int | None = Field(None, ge=0, le=MAX_INT)
    offset: int | None = Field(None, ge=0, le=MAX_INT)
    order_by: Text | None = None
    fields: list[Text] | None = None
    group_by: list[Text] | None = None


Asked = Annotated[QueryParameters, parameters(QueryParameters)]


@router.get("/details", openapi_extra=documented(QueryParameters), response_model=dict[str, Any])
async def query_details(house: HouseDep, organism: OrganismDep, request: Request, asked: Asked) -> Response:
    """The metadata of released entries."""
    question = _question(request, asked)
    return await scans.answered(lambda: _answer(house, organism, queries.details(house, organism.name, question)))


@router.get("/aggregated", openapi_extra=documented(QueryParameters), response_model=dict[str, Any])
async def query_aggregated(house: HouseDep, organism: OrganismDep, request: Request, asked: Asked) -> Response:
    """How many released entries there are, by fields."""
    question = _question(request, asked)
    return await scans.answered(lambda: _answer(house, organism, queries.aggregated(house, organism.name, question)))


@router.get(
    "/unalignedNucleotideSequences",
    openapi_extra=documented(QueryParameters),
    response_class=Response,
    responses=_FASTA,
)
async def query_sequences(house: HouseDep, organism: OrganismDep, request: Request, asked: Asked) -> Response:
    """The consensus sequences of released entries (FASTA)."""
    return await _fasta(house, organism, _question(request, asked), None, aligned=False)


@router.get(
    "/unalignedNucleotideSequences/{segment}",
    openapi_extra=documented(QueryParameters),
    response_class=Response,
    responses=_FASTA,
)
async def query_segment(
    house: HouseDep, organism: OrganismDep, segment: Label, request: Request, asked: Asked
) -> Response:  # fmt: skip
    """The consensus sequences of one segment of released entries (FASTA)."""
    return await _fasta(house, organism, _question(request, asked), segment, aligned=False)


@router.get(
    "/alignedNucleotideSequences", openapi_extra=documented(QueryParameters), response_class=Response, responses=_FASTA
)
async def query_aligned_sequences(house: HouseDep, organism: OrganismDep, request: Request, asked: Asked) -> Response:
    """The aligned consensus sequences of released entries (FASTA)."""
    return await _fasta(house, organism, _question(request, asked), None, aligned=True)


@router.get(
    "/alignedNucleotideSequences/{segment}",
    openapi_extra=documented(QueryParameters),
    response_class=Response,
    responses=_FASTA,
)
async def query_aligned_segment(
    house: HouseDep, organism: OrganismDep, segment: Label, request: Request, asked: Asked
) -> Response:  # fmt: skip
    """The aligned consensus sequences of one segment of released entries (FASTA)."""
    return await _fasta(house, organism, _question(request, asked), segment, aligned=True)


def _question(request: Request, asked: QueryParameters) -> queries.Question:
    filters: dict[str, str] = {}
    for name, wanted in request.query_params.multi_items():
        if name in _OTHERS:
            continue
        if name in filters:
            raise BadRequest(f"'{name}' is there twice.")
        filters[name] = wanted
    return queries.Question(
        filters, asked.limit, asked.offset or 0, asked.order_by, [*(asked.fields or []), *(asked.group_by or [])]
    )


def _answer(house: House, organism: Organism, data: list[dict[str, Any]]) -> Response:
    """Written as JSON at once: not in the event loop, as it may be much."""
    return JSONResponse({"data": data, "info": {"dataVersion": released_etag(house, organism.name).strip('"')}})


async def _fasta(
    house: House, organism: Organism, question: queries.Question, segment: str | None, *, aligned: bool
) -> Response:
    wanted = None if segment == _NO_SEGMENT else segment

    def written() -> Response:
        found = queries.sequences(house, organism.name, question, wanted, aligned=aligned)
        return Response("".join(f">{name}\n{bases}\n" for name, bases in found), media_type="text/x-fasta")

    return await scans.answered(written)
