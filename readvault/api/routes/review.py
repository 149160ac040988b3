"""Review: look at what was submitted and what processing made of it, approve, send back."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from readvault.api.dependencies import HouseDep, Label, Number, OrganismDep, UserDep
from readvault.api.schemas import review as schemas
from readvault.api.schemas.wire import Version
from readvault.domain.identifiers import AccessionVersion
from readvault.services.review import approval, review, sending_back

router = APIRouter(prefix="/{organism}", tags=["review"])


@router.get("/get-data-to-edit/{accession}/{version}")
def get_data_to_edit(
    user: UserDep, house: HouseDep, organism: OrganismDep, accession: Label, version: Number
) -> dict[str, Any]:
    """What was submitted and what processing made of it, in Loculus's shape and without URLs."""
    return review.data_to_edit(house, user, organism.name, AccessionVersion(accession, version))


@router.get("/review/{accession}/{version}")
def get_review(
    user: UserDep, house: HouseDep, organism: OrganismDep, accession: Label, version: Number
) -> dict[str, Any]:
    """All that a reviewer needs: originals and processed files with fresh URLs, quality, the manifest's digest."""
    return review.review(house, user, organism.name, AccessionVersion(accession, version))


@router.post("/approve-processed-data")
def approve_processed_data(
    user: UserDep, house: HouseDep, organism: OrganismDep, body: schemas.Approval
) -> list[Version]:
    """Approve processed versions for release: all of them or none."""
    chosen = body.accession_versions_filter
    approved = approval.approve(
        house,
        user,
        organism.name,
        scope=body.scope,
        accession_versions=None if chosen is None else [version.pair() for version in chosen],
        group_ids=body.group_ids_filter,
        submitters=body.submitter_names_filter,
    )
    return [Version.of(accession_version) for accession_version in approved]


@router.post("/send-back")
def send_back(user: UserDep, house: HouseDep, organism: OrganismDep, body: schemas.SendingBack) -> list[Version]:
    """Refuse results for a reason that the submitter reads: all of them or none."""
    named = [version.pair() for version in body.accession_versions]
    sent = sending_back.send_back(house, user, organism.name, named, body.reason)
    return [Version.of(accession_version) for accession_version in sent]
