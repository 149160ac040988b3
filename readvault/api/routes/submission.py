"""What a submitter sends: new entries, revisions, revocations, edits, deletions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from starlette.datastructures import UploadFile

from readvault.api.dependencies import (
    Fields,
    FieldsDep,
    HouseDep,
    IdempotencyKeyDep,
    OrganismDep,
    UserDep,
    documented,
    parameters,
)
from readvault.api.schemas import submission as schemas
from readvault.api.schemas.wire import Version
from readvault.domain.errors import BadRequest
from readvault.services.idempotency import Once
from readvault.services.submission import deletion, editing, new_entries, revision, revocation
from readvault.services.submission.reading import Sent

router = APIRouter(prefix="/{organism}", tags=["submission"])
_PARTS = {"metadataFile": True, "sequenceFile": False}


@router.post("/submit", openapi_extra=documented(schemas.SubmitParameters, files=_PARTS))
def submit(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    fields: FieldsDep,
    key: IdempotencyKeyDep,
    asked: Annotated[schemas.SubmitParameters, parameters(schemas.SubmitParameters)],
) -> list[schemas.SubmittedVersion]:
    """Submit the rows of a metadata file, with their files and perhaps sequences: all of them or none."""
    sent = _sent(fields)
    submitted = new_entries.submit(
        house,
        user,
        organism.name,
        group_id=asked.group_id,
        metadata=sent.metadata,
        metadata_name=sent.metadata_name,
        sequences=sent.sequences,
        sequences_name=sent.sequences_name,
        terms_type=asked.data_use_terms_type,
        restricted_until=asked.restricted_until,
        dry_run=asked.dry_run,
        once=Once.of(key, "submit", organism.name, asked.model_dump(), *_asked(sent)),
    )
    return [schemas.SubmittedVersion.of(entry) for entry in submitted]


@router.post("/revise", openapi_extra=documented(schemas.ReviseParameters, files=_PARTS))
def revise(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    fields: FieldsDep,
    key: IdempotencyKeyDep,
    asked: Annotated[schemas.ReviseParameters, parameters(schemas.ReviseParameters)],
) -> list[schemas.SubmittedVersion]:
    """Make a new version of each entry that a metadata file names: all of them or none.

    What the request is silent about is kept: a file category without a column, sequences without a file.
    """
    sent = _sent(fields)
    revised = revision.revise(
        house,
        user,
        organism.name,
        metadata=sent.metadata,
        metadata_name=sent.metadata_name,
        sequences=sent.sequences,
        sequences_name=sent.sequences_name,
        dry_run=asked.dry_run,
        once=Once.of(key, "revise", organism.name, asked.model_dump(), *_asked(sent)),
    )
    return [schemas.SubmittedVersion.of(entry) for entry in revised]


@router.post("/revoke")
def revoke(
    user: UserDep, house: HouseDep, organism: OrganismDep, key: IdempotencyKeyDep, body: schemas.Revocation
) -> list[schemas.SubmittedVersion]:
    """Make a revocation of each of these entries, which takes effect when it is approved: of all or none."""
    revoked = revocation.revoke(
        house,
        user,
        organism.name,
        accessions=body.accessions,
        comment=body.version_comment,
        once=Once.of(key, "revoke", organism.name, body.model_dump()),
    )
    return [schemas.SubmittedVersion.of(entry) for entry in revoked]


@router.post("/submit-edited-data", status_code=204)
def submit_edited_data(user: UserDep, house: HouseDep, organism: OrganismDep, body: schemas.Edit) -> None:
    """Replace what was submitted for a processed, unreleased version; it is processed again."""
    editing.edit(house, user, organism.name, body.name(), body.data.data())


@router.delete("/delete-sequence-entry-versions")
def delete_sequence_entry_versions(
    user: UserDep, house: HouseDep, organism: OrganismDep, body: schemas.Deletion
) -> list[Version]:
    """Delete versions that are received or processed and were never released."""
    chosen = body.accession_versions_filter
    deleted = deletion.delete_versions(
        house,
        user,
        organism.name,
        scope=body.scope,
        accession_versions=None if chosen is None else [version.name() for version in chosen],
        group_ids=body.group_ids_filter,
    )
    return [Version.of(name) for name in deleted]


def _sent(fields: Fields) -> Sent:
    metadata = fields.files.get("metadataFile")
    if metadata is None:
        raise BadRequest("Required part 'metadataFile' is not present.")
    sequences = fields.files.get("sequenceFile")
    return Sent(
        metadata.file.read(),
        metadata.filename or "",
        None if sequences is None else sequences.file.read(),
        _name_of(sequences),
    )


def _name_of(file: UploadFile | None) -> str | None:
    return None if file is None else file.filename or ""


def _asked(sent: Sent) -> tuple[object, ...]:
    """What makes two requests with these files the same request."""
    return sent.metadata, sent.metadata_name, sent.sequences, sent.sequences_name
