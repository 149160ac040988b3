"""Entries of an organism: submit, list, look at, approve, read what is released."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from starlette.datastructures import UploadFile

from readvault.api.dependencies import (
    FieldsDep,
    HouseDep,
    Label,
    Number,
    OrganismDep,
    UserDep,
    documented,
    parameters,
)
from readvault.api.schemas import entries as schemas
from readvault.domain.errors import BadRequest
from readvault.domain.identifiers import AccessionVersion
from readvault.services.review import approval, entries
from readvault.services.submission import new_entries

router = APIRouter(prefix="/{organism}", tags=["entries"])

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


@router.post(
    "/submit",
    openapi_extra=documented(schemas.SubmitParameters, files={"metadataFile": True, "sequenceFile": False}),
)
def submit(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    fields: FieldsDep,
    asked: Annotated[schemas.SubmitParameters, parameters(schemas.SubmitParameters)],
) -> list[schemas.SubmittedVersion]:
    """Submit the rows of a metadata file, with their files and perhaps sequences: all of them or none."""
    metadata = fields.files.get("metadataFile")
    if metadata is None:
        raise BadRequest("Required part 'metadataFile' is not present.")
    sequences = fields.files.get("sequenceFile")
    submitted = new_entries.submit(
        house,
        user,
        organism.name,
        group_id=asked.group_id,
        metadata=metadata.file.read(),
        metadata_name=metadata.filename or "",
        sequences=None if sequences is None else sequences.file.read(),
        sequences_name=_name_of(sequences),
        terms_type=asked.data_use_terms_type,
        restricted_until=asked.restricted_until,
    )
    return [schemas.SubmittedVersion.of(entry) for entry in submitted]


@router.get("/get-sequences", openapi_extra=documented(schemas.EntryFilters))
def get_sequences(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    asked: Annotated[schemas.EntryFilters, parameters(schemas.EntryFilters)],
) -> dict[str, Any]:
    """The user's entries with their status, and how many there are of each status."""
    return entries.list_entries(
        house,
        user,
        organism.name,
        group_ids=asked.group_ids_filter,
        statuses=asked.statuses_filter,
        results=asked.processing_result_filter,
        page=asked.page,
        size=asked.size,
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
) -> list[schemas.Version]:
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
    return [schemas.Version.of(accession_version) for accession_version in approved]


def _name_of(file: UploadFile | None) -> str | None:
    return None if file is None else file.filename or ""


def _without_our_keys(data: Any) -> Any:
    """Loculus's files are pairs of ID and name; URLs stay on the review endpoint, where somebody asked for them."""
    if not isinstance(data, dict) or not isinstance(data.get("files"), dict):
        return data
    files = {
        category: [{key: file[key] for key in _LOCULUS_FILE_KEYS} for file in listed]
        for category, listed in data["files"].items()
    }
    return {**data, "files": files}
