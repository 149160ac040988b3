"""What an external pipeline reads of the accession versions that it has claimed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import batched
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db.names import among
from readvault.db.tables import EntryFile, EntryVersion, PartialResult, UploadedFile
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.ports import StoredVersion
from readvault.services.house import House
from readvault.services.processing import chain
from readvault.services.processing.external_claims import external_of

PAGE = 50
"""Sequences may be long, so only a few entries are in memory at once."""

Files = dict[str, list[dict[str, str]]]


def lines(
    house: House, organism: Organism, names: Sequence[AccessionVersion], pipeline_version: int
) -> Iterator[dict[str, Any]]:
    """The claimed accession versions in order, as Loculus's lines of unprocessed data.

    URLs are signed as late as their line is written and live at least as long as the claim: secrets,
    for the caller only. What was deleted since is left out.
    """
    external = external_of(organism)
    expires = max(house.settings.urls.pipeline, int(external.timeout) + 1)
    for page in batched(names, PAGE):
        with house.sessions.read() as session:
            entries = _entries(session, page)
            if external.mode == "after":
                parts = chain.first_parts(session, page, pipeline_version)
                contents = {
                    name: _of_part(house, entries[name], parts[name], expires) for name in page if name in parts
                }
            else:
                contents = _as_submitted(house, session, entries, expires)
        for name in page:
            if name in contents and name in entries:
                yield _line(entries[name], contents[name])


def _line(entry: EntryVersion, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "accession": entry.accession,
        "version": entry.version,
        "data": data,
        "submissionId": entry.submission_id,
        "submitter": entry.submitter,
        "groupId": entry.group_id,
        "submittedAt": int(entry.submitted_at),
    }


def _entries(session: Session, page: Sequence[AccessionVersion]) -> dict[AccessionVersion, EntryVersion]:
    rows = session.execute(select(EntryVersion).where(among(EntryVersion, page))).scalars()
    return {AccessionVersion(entry.accession, entry.version): entry for entry in rows}


def _as_submitted(
    house: House, session: Session, entries: dict[AccessionVersion, EntryVersion], expires: int
) -> dict[AccessionVersion, dict[str, Any]]:
    """Everything that was submitted, originals included."""
    files: dict[AccessionVersion, Files] = {}
    rows = session.execute(
        select(EntryFile, UploadedFile)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(among(EntryFile, entries))
        .order_by(col(EntryFile.category), col(EntryFile.position), col(EntryFile.name))
    )
    for file, upload in rows:
        stored = StoredVersion(upload.key, upload.version_id, upload.size or 0)
        of_entry = files.setdefault(AccessionVersion(file.accession, file.version), {})
        of_entry.setdefault(file.category, []).append(_file(house, file.file_id, file.name, stored, expires))
    return {
        name: {
            "metadata": entry.submitted_metadata,
            "unalignedNucleotideSequences": entry.submitted_sequences,
            "files": files.get(name),
        }
        for name, entry in entries.items()
    }


def _of_part(house: House, entry: EntryVersion, part: PartialResult, expires: int) -> dict[str, Any]:
    """The consensus and what readvault's steps made; no original."""
    files: Files = {}
    for staged in chain.staged_files(part):
        described = _file(house, staged.file_id or "", staged.name, staged.stored, expires)
        files.setdefault(staged.category, []).append(described)
    found = part.processed_data["metadata"]
    measured = {name: str(value) for name, value in found.items() if value is not None}
    sequences = part.processed_data["unalignedNucleotideSequences"]
    return {
        "metadata": {**measured, **entry.submitted_metadata},
        "unalignedNucleotideSequences": {name: sequence for name, sequence in sequences.items() if sequence},
        "files": files or None,
    }


def _file(house: House, file_id: str, name: str, stored: StoredVersion, expires: int) -> dict[str, str]:
    url = house.store.sign_get(stored.key, stored.version_id, name=name, expires=expires)
    return {"fileId": file_id, "name": name, "url": url}
