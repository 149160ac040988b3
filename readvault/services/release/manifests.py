"""Manifests: what each accession version is, in the bytes whose digest was approved.

A released one is for everybody. Nothing of the group's own is in it (`domain.manifest` keeps that in
the private document); should a manifest hold such a thing all the same, because it is older or names
a file that may not be public, others than the group get a copy without it that says so.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from readvault.db.tables import EntryVersion, Manifest
from readvault.domain import manifest as manifests
from readvault.domain.actor import Actor
from readvault.domain.errors import NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.services.entries.withheld import Withheld, withheld_among
from readvault.services.house import House
from readvault.services.release.public_files import PublicFile, public_files
from readvault.services.release.public_originals import public_originals
from readvault.services.release.released_data import terms_of_accessions
from readvault.services.release.results import NOT_FOUND, Result, may_review, visible_results


@dataclass(frozen=True, slots=True)
class ManifestText:
    """The bytes of a manifest. `digest` is the approved SHA-256; that of the bytes too unless `redacted`."""

    body: bytes
    digest: str
    pipeline_version: int
    redacted: bool = False


def manifest(
    house: House, actor: Actor | None, organism: str, name: AccessionVersion, pipeline_version: int | None = None
) -> ManifestText:
    """The manifest of an accession version, of one pipeline version or of the result that stands for it.

    Published ones are for everybody, others for the group. Raises NotFound, always in the same words,
    and Gone for a withdrawn version.
    """
    house.organism(organism)
    with house.sessions.read() as session:
        found = _chosen(visible_results(session, actor, organism, name), pipeline_version)
        if _is_for_group(session, actor, name):
            return _exact(found.manifest)
        row = found.manifest
        files = public_files(session, [row.id or 0], withheld_too=True).get(row.id or 0, [])
    return as_published(row, files)


def private_manifest(
    house: House, actor: Actor | None, organism: str, name: AccessionVersion, pipeline_version: int | None = None
) -> bytes:
    """The private document of a manifest, for the group: its SHA-256 is the manifest's `privateSha256`.

    Raises NotFound, always in the same words.
    """
    house.organism(organism)
    with house.sessions.read() as session:
        found = _chosen(visible_results(session, actor, organism, name), pipeline_version)
        if found.manifest.private_body is None or not _is_for_group(session, actor, name):
            raise NotFound(NOT_FOUND)
        return found.manifest.private_body.encode("utf-8")


def results(house: House, actor: Actor | None, organism: str, name: AccessionVersion) -> dict[str, Any]:
    """The results of an accession version by pipeline version, with files and data use terms.

    Files have a URL once they are published. Originals are listed only where everybody may read
    them, and why reads are withheld. Raises NotFound, always in the same words, and Gone for a withdrawn version.
    """
    house.organism(organism)
    with house.sessions.read() as session:
        found = visible_results(session, actor, organism, name)
        files = public_files(session, [each.manifest.id or 0 for each in found])
        withheld = withheld_among(session, files)
        terms = terms_of_accessions(house, session, [name.accession]).get(name.accession, {})
        originals = public_originals(house, session, [name]).get(name, ())
    return {
        "accession": name.accession,
        "version": name.version,
        "accessionVersion": str(name),
        **terms,
        **({"originals": [each.as_json(house.settings.public_url, name) for each in originals]} if originals else {}),
        "results": [
            _result(house, name, each, files.get(each.manifest.id or 0, []), withheld.get(each.manifest.id or 0))
            for each in found
        ],
    }


def as_published(row: Manifest, files: Collection[PublicFile]) -> ManifestText:
    """The manifest as everybody may read it; `files` are those of it that are public."""
    body = json.loads(row.body)
    public = {(file.category, file.name) for file in files}
    is_clean = (
        body.get("schema", 0) >= manifests.SCHEMA
        and row.private_body is not None
        and "inputs" not in (body.get("provenance") or {})
        and all((file["category"], file["name"]) in public for file in body["files"])
    )
    if is_clean:
        return _exact(row)
    shown = {key: value for key, value in body.items() if key not in ("errors", "warnings", manifests.PRIVATE)}
    shown["files"] = [file for file in body["files"] if (file["category"], file["name"]) in public]
    shown["provenance"] = {key: value for key, value in (body.get("provenance") or {}).items() if key != "inputs"}
    text = manifests.canonical({**shown, "redacted": True, "manifestDigest": row.digest})
    return ManifestText(text, row.digest, row.pipeline_version, redacted=True)


def _exact(row: Manifest) -> ManifestText:
    return ManifestText(row.body.encode("utf-8"), row.digest, row.pipeline_version)


def _chosen(found: list[Result], pipeline_version: int | None) -> Result:
    for each in found:
        if each.manifest.pipeline_version == pipeline_version or (pipeline_version is None and each.is_current):
            return each
    raise NotFound(NOT_FOUND)


def _is_for_group(session: Session, actor: Actor | None, name: AccessionVersion) -> bool:
    entry = session.get_one(EntryVersion, (name.accession, name.version))
    return may_review(session, actor, entry.group_id)


def _result(
    house: House, name: AccessionVersion, each: Result, files: list[PublicFile], withheld: Withheld | None
) -> dict[str, Any]:
    pipeline_version = each.manifest.pipeline_version
    listed = [file.as_json(house.settings.public_url, name, pipeline_version) for file in files]
    if each.published_at is None:
        listed = [{**file, "url": None} for file in listed]
    return {
        "pipelineVersion": pipeline_version,
        "manifestDigest": each.manifest.digest,
        "processingResult": each.manifest.processing_result,
        "isCurrent": each.is_current,
        "publishedAtTimestamp": None if each.published_at is None else int(each.published_at),
        "files": listed,
        **({"readsWithheld": withheld.reason} if withheld is not None else {}),
    }
