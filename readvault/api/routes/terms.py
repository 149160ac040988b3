"""Data use terms: change them, and see what they were."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from readvault.api.dependencies import HouseDep, Label, UserDep
from readvault.api.schemas import terms as schemas
from readvault.services.submission import terms

router = APIRouter(prefix="/data-use-terms", tags=["data use terms"])


@router.put("", status_code=204)
def put_data_use_terms(user: UserDep, house: HouseDep, body: schemas.TermsChange) -> None:
    """Open restricted accessions, or give their restriction an earlier date: all of them or none."""
    terms.change(
        house,
        user,
        body.accessions,
        terms_type=body.new_data_use_terms.type,
        restricted_until=body.new_data_use_terms.restricted_until,
    )


@router.get("/{accession}")
def get_data_use_terms(house: HouseDep, accession: Label) -> list[dict[str, Any]]:
    """All data use terms that an accession has had, oldest first."""
    return terms.history(house, accession)
