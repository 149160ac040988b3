"""Manifests: what each accession version is, for machines and for everybody once it is released."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from readvault.api import scans
from readvault.api.dependencies import (
    CallerDep,
    Fields,
    FieldsDep,
    HouseDep,
    Label,
    Number,
    OrganismDep,
    UserDep,
    documented,
    parameters,
)
from readvault.api.schemas import manifests as schemas
from readvault.domain.identifiers import AccessionVersion
from readvault.services.release import manifest_list, manifests

router = APIRouter(prefix="/{organism}", tags=["manifests"])

_NOT_FIELDS = frozenset({"format", "spreadsheet", "fileCategory", "fields"})
AskedDep = Annotated[schemas.ManifestParameters, parameters(schemas.ManifestParameters)]


@router.get(
    "/manifest/{accession}/{version}",
    openapi_extra=documented(schemas.ManifestParameters),
    responses={304: {"description": "It is the one whose ETag was sent."}},
)
def get_manifest(
    accession: Label,
    version: Number,
    caller: CallerDep,
    house: HouseDep,
    organism: OrganismDep,
    asked: AskedDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The manifest in its exact bytes: their SHA-256 is the digest that was approved. Public after release."""
    name = AccessionVersion(accession, version)
    found = manifests.manifest(house, caller, organism.name, name, asked.pipeline_version)
    etag = f'"{hashlib.sha256(found.body).hexdigest()}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "no-cache",
        "x-manifest-digest": found.digest,
        "x-pipeline-version": str(found.pipeline_version),
    }
    if if_none_match is not None and etag in (each.strip() for each in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type="application/json", headers=headers)


@router.get("/manifest/{accession}/{version}/private", openapi_extra=documented(schemas.ManifestParameters))
def get_private_manifest(
    accession: Label, version: Number, user: UserDep, house: HouseDep, organism: OrganismDep, asked: AskedDep
) -> Response:
    """What the group keeps for itself, in exact bytes: their SHA-256 is the manifest's `privateSha256`."""
    name = AccessionVersion(accession, version)
    body = manifests.private_manifest(house, user, organism.name, name, asked.pipeline_version)
    return Response(body, media_type="application/json")


@router.get("/manifests/{accession}/{version}")
def get_results(
    accession: Label, version: Number, caller: CallerDep, house: HouseDep, organism: OrganismDep
) -> dict[str, Any]:
    """The results of an accession version by pipeline version, each with its files."""
    return manifests.results(house, caller, organism.name, AccessionVersion(accession, version))


@router.get("/manifests", openapi_extra=documented(schemas.ManifestsParameters), response_class=StreamingResponse)
def get_manifests(
    house: HouseDep,
    organism: OrganismDep,
    fields: FieldsDep,
    asked: Annotated[schemas.ManifestsParameters, parameters(schemas.ManifestsParameters)],
) -> Response:
    """All files of the released entries that match, with size, SHA-256, data use terms and a URL that stays."""
    question = manifest_list.question(organism, _asked_fields(fields), asked.file_category)
    manifest_list.check_fields(organism, asked.fields)
    entries = manifest_list.matching(house, organism.name, question)
    if asked.format == "json":
        return StreamingResponse(scans.pieces(manifest_list.as_json(entries)), media_type="application/json")
    lines = manifest_list.as_table(entries, asked.fields, for_spreadsheets=asked.spreadsheet)
    attached = {"Content-Disposition": 'attachment; filename="files.tsv"'}
    return StreamingResponse(scans.pieces(lines), media_type="text/tab-separated-values", headers=attached)


def _asked_fields(fields: Fields) -> Mapping[str, Sequence[str]]:
    """The parameters that are fields of entries; accessions may be separated by commas."""
    asked = {name: texts for name, texts in fields.texts.items() if name not in _NOT_FIELDS}
    if "accession" in asked:
        asked["accession"] = [part.strip() for text in asked["accession"] for part in text.split(",") if part.strip()]
    return asked
