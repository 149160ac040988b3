"""Which processed files of a result everybody may have once it is released, and where they are downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import batched
from typing import Any
from urllib.parse import quote

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db.tables import Manifest, ManifestFile, StoredObject
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import READ_LEVEL
from readvault.services.entries.withheld import withheld_among

PAGE = 500


@dataclass(frozen=True, slots=True)
class PublicFile:
    """A file that is public after release. `size` counts bytes, `sha256` is hexadecimal."""

    category: str
    name: str
    file_id: str
    size: int
    sha256: str

    def as_json(self, base_url: str, accession_version: AccessionVersion, pipeline_version: int) -> dict[str, Any]:
        """The file as manifests and listings name it; its URL gives the same bytes for ever."""
        return {
            "category": self.category,
            "name": self.name,
            "size": self.size,
            "sha256": self.sha256,
            "url": stable_url(base_url, accession_version, pipeline_version, self.category, self.name),
        }


def public_files(
    session: Session, manifest_ids: Iterable[int], *, withheld_too: bool = False
) -> dict[int, list[PublicFile]]:
    """For each manifest its public files, by category and name; manifests without any are absent.

    Left out is what is the group's own for ever, and reads that no complete screen for human reads
    has seen, whatever the database says of them; reads that are withheld unless `withheld_too`, for
    those who only name files.
    """
    found: dict[int, list[PublicFile]] = {}
    for page in batched(sorted(set(manifest_ids)), PAGE):
        columns = (
            col(ManifestFile.manifest_id), col(ManifestFile.category), col(ManifestFile.name),
            col(ManifestFile.file_id), col(StoredObject.size), col(StoredObject.sha256),
        )  # fmt: skip
        query = (
            select(*columns)
            .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
            .where(col(ManifestFile.manifest_id).in_(page), col(ManifestFile.may_be_public))
            .order_by(*columns[:3])
        )
        for manifest_id, category, name, file_id, size, sha256 in session.execute(query):
            found.setdefault(manifest_id, []).append(PublicFile(category, name, file_id, size, sha256))
    with_reads = [number for number, files in found.items() if any(file.category in READ_LEVEL for file in files)]
    closed = set() if withheld_too else set(withheld_among(session, with_reads))
    for number in closed | (set(with_reads) - _screened(session, with_reads)):
        found[number] = [file for file in found[number] if file.category not in READ_LEVEL]
    return found


def is_screened(body: Mapping[str, Any]) -> bool:
    """Whether a manifest says that every read of its files went through a complete screen for human reads."""
    return body.get("screened") is True


def get_url(base_url: str, accession_version: AccessionVersion, category: str, name: str) -> str:
    """Loculus's address of a file: of whichever result stands for the accession version."""
    return f"{base_url.rstrip('/')}/files/get/{_path(accession_version)}/{quote(category, safe='')}/{_quoted(name)}"


def stable_url(
    base_url: str, accession_version: AccessionVersion, pipeline_version: int, category: str, name: str
) -> str:
    """The address of a file whose content never changes, as it names the pipeline version too."""
    place = f"{_path(accession_version)}/{pipeline_version}/{quote(category, safe='')}/{_quoted(name)}"
    return f"{base_url.rstrip('/')}/files/released/{place}"


def _path(accession_version: AccessionVersion) -> str:
    return f"{accession_version.accession}/{accession_version.version}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _screened(session: Session, manifest_ids: list[int]) -> set[int]:
    found: set[int] = set()
    for page in batched(manifest_ids, PAGE):
        rows = session.execute(select(col(Manifest.id), col(Manifest.body)).where(col(Manifest.id).in_(page)))
        found |= {number for number, body in rows if number is not None and is_screened(json.loads(body))}
    return found
