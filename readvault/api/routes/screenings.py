"""Released reads and newer host indexes, and originals for everybody: what maintainers see and decide."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from readvault.api.dependencies import HouseDep, Label, Number, UserDep, documented, parameters
from readvault.api.schemas import screenings as schemas
from readvault.api.schemas.admin import Reason
from readvault.api.schemas.wire import Version
from readvault.domain.errors import BadRequest
from readvault.domain.identifiers import AccessionVersion
from readvault.services.release import opening
from readvault.services.screening import withholding
from readvault.services.screening.progress import progress

router = APIRouter(prefix="/admin", tags=["maintenance"])
READS = "/entries/{accession}/{version}/reads/{pipeline_version}"


@router.get("/screenings")
def list_screenings(user: UserDep, house: HouseDep) -> list[schemas.ScreeningInfo]:
    """How far the released reads of each organism have been screened with which host index."""
    return [schemas.ScreeningInfo.of(each) for each in progress(house, user)]


@router.get("/withheld-reads", openapi_extra=documented(schemas.WithheldQuery))
def list_withheld_reads(
    user: UserDep, house: HouseDep, asked: Annotated[schemas.WithheldQuery, parameters(schemas.WithheldQuery)]
) -> schemas.WithheldPage:
    """The results whose reads are withheld, newest first, page by page."""
    rows = withholding.page(house, user, before=asked.before, undecided=asked.undecided, size=asked.size)
    following = rows[-1].id if len(rows) == asked.size else None
    return schemas.WithheldPage(results=[schemas.WithheldInfo.of(row) for row in rows], next=following)


@router.post(READS + "/withhold")
def withhold_reads(
    accession: Label, version: Number, pipeline_version: Number, asked: Reason, user: UserDep, house: HouseDep
) -> schemas.DecisionInfo:
    """Withhold the reads of a published result from all but its group; or say that they rightly are."""
    name = AccessionVersion(accession, version)
    done = withholding.withhold(house, user, name, pipeline_version, asked.reason)
    return schemas.DecisionInfo.of(name, pipeline_version, done, withheld=True)


@router.post(READS + "/give-again")
def give_reads_again(
    accession: Label, version: Number, pipeline_version: Number, asked: Reason, user: UserDep, house: HouseDep
) -> schemas.DecisionInfo:
    """Let everybody have the reads again that were withheld."""
    name = AccessionVersion(accession, version)
    done = withholding.give_again(house, user, name, pipeline_version, asked.reason)
    return schemas.DecisionInfo.of(name, pipeline_version, done, withheld=False)


@router.post("/original-openings", status_code=201)
def request_opening(asked: schemas.OpeningRequest, user: UserDep, house: HouseDep) -> list[schemas.OpeningInfo]:
    """Ask for originals to be opened to everybody. Nothing is open until another maintainer confirms."""
    done = opening.request(house, user, _names(asked.accession_versions), asked.reason)
    return [schemas.OpeningInfo.of(each) for each in done]


@router.post("/original-openings/confirm")
def confirm_opening(asked: schemas.OpeningConfirmation, user: UserDep, house: HouseDep) -> list[schemas.OpeningInfo]:
    """Confirm what another maintainer asked for: everybody may read these originals from now on."""
    return [schemas.OpeningInfo.of(each) for each in opening.confirm(house, user, _names(asked.accession_versions))]


@router.post("/original-openings/close")
def close_originals(asked: schemas.OpeningRequest, user: UserDep, house: HouseDep) -> list[schemas.OpeningInfo]:
    """Close originals again, or refuse a request."""
    done = opening.close(house, user, _names(asked.accession_versions), asked.reason)
    return [schemas.OpeningInfo.of(each) for each in done]


@router.get("/original-openings", openapi_extra=documented(schemas.OpeningQuery))
def list_openings(
    user: UserDep, house: HouseDep, asked: Annotated[schemas.OpeningQuery, parameters(schemas.OpeningQuery)]
) -> schemas.OpeningPage:
    """Whose originals were ever asked for, and how it stands with them; what changed last first, page by page."""
    rows = opening.page(house, user, state=asked.state, before=asked.before, size=asked.size)
    following = rows[-1].id if len(rows) == asked.size else None
    return schemas.OpeningPage(openings=[schemas.OpeningInfo.of(row) for row in rows], next=following)


@router.get("/original-openings/candidates", openapi_extra=documented(schemas.CandidateQuery))
def list_candidates(
    user: UserDep, house: HouseDep, asked: Annotated[schemas.CandidateQuery, parameters(schemas.CandidateQuery)]
) -> schemas.CandidatePage:
    """Released versions whose originals could be opened, page by page."""
    after = None if asked.after is None else _names([asked.after])[0]
    found, following = opening.candidates(
        house, user, asked.organism, group_id=asked.group_id, after=after, size=asked.size
    )
    return schemas.CandidatePage(
        entries=[Version.of(name) for name in found], next=None if following is None else str(following)
    )


def _names(texts: list[str]) -> list[AccessionVersion]:
    try:
        return [AccessionVersion.parse(text) for text in texts]
    except ValueError as fault:
        raise BadRequest(str(fault)) from None
