"""Review: look at what was submitted and what processing made of it, approve."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from readvault.api.dependencies import HouseDep, Label, Number, OrganismDep, UserDep
from readvault.api.schemas import review as schemas
from readvault.api.schemas.wire import Version
from readvault.domain.identifiers import AccessionVersion
from readvault.services.review import approval, entries

router = APIRouter(prefix="/{organism}", tags=["review"])

_LOCULUS_FILE_KEYS = ("fileId", "name")
_LOCULUS_KEYS = (
    "accession",
    "version",
    "status",
    "groupId",
    "processedData",
    "submittedData",
    "errors",
    "warnings",
    "submissionId",
)


@router.get("/get-data-to-edit/{accession}/{version}")
def get_data_to_edit(
    user: UserDep, house: HouseDep, organism: OrganismDep, accession: Label, version: Number
) -> dict[str, Any]:
    """What was submitted and what processing made of it, in Loculus's shape and without URLs."""
    everything = entries.submitted_and_processed(house, user, organism.name, AccessionVersion(accession, version))
    shown = {key: everything.get(key) for key in _LOCULUS_KEYS}
    return {key: _without_our_keys(value) if key.endswith("Data") else value for key, value in shown.items()}


@router.get("/review/{accession}/{version}")
def get_review(
    user: UserDep, house: HouseDep, organism: OrganismDep, accession: Label, version: Number
) -> dict[str, Any]:
    """All that a reviewer needs: originals and processed files with fresh URLs, quality, the manifest's digest."""
    return entries.submitted_and_processed(house, user, organism.name, AccessionVersion(accession, version))


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


def _without_our_keys(data: Any) -> Any:
    """Loculus's files are pairs of ID and name; URLs stay on the review endpoint, where somebody asked for them."""
    if not isinstance(data, dict) or not isinstance(data.get("files"), dict):
        return data
    files = {
        category: [{key: file[key] for key in _LOCULUS_FILE_KEYS} for file in listed]
        for category, listed in data["files"].items()
    }
    return {**data, "files": files}
