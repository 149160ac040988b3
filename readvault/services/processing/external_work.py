"""What an external pipeline reads of the accession versions that it has claimed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import batched
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db.names import among
from readvault.db.tables import EntryFile, EntryVersion, PartialResult, UploadedFile
from readvault.domain.errors import Damaged, ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.referenced import is_referenced
from readvault.ports import StoredVersion
from readvault.services.entries import damage, giving
from readvault.services.house import House
from readvault.services.processing import chain, external_claims
from readvault.services.processing.external_claims import external_of

PAGE = 50
"""Sequences may be long, so only a few entries are in memory at once."""

Files = dict[str, list[dict[str, str]]]


def lines(
    house: House, organism: Organism, names: Sequence[AccessionVersion], pipeline_version: int
) -> Iterator[dict[str, Any]]:
    """The claimed accession versions in order, as Loculus's lines of unprocessed data.

    URLs are signed as late as their line is written and live at least as long as the claim: secrets,
    for the caller only. What was deleted since is left out, and so is what has damaged files: its job
    needs attention until they are restored.
    """
    external = external_of(organism)
    expires = max(house.settings.urls.pipeline, int(external.timeout) + 1)
    for page in batched(names, PAGE):
        with house.sessions.read() as session:
            entries = _entries(session, page)
            if external.mode == "after":
                parts = chain.first_parts(session, page, pipeline_version)
                contents = {
                    name: _of_part(house, session, entries[name], parts[name], expires)
                    for name in page
                    if name in parts and name in entries
                }
            else:
                contents = _as_submitted(house, session, entries, expires)
        damaged = [name for name in contents if contents[name] is None]
        if damaged:
            external_claims.set_aside(house, damaged, pipeline_version)
        for name in page:
            data = contents.get(name)
            if data is not None and name in entries:
                yield _line(entries[name], data)


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
) -> dict[AccessionVersion, dict[str, Any] | None]:
    """Everything that was submitted, originals included; None where an original is damaged or can't be given."""
    files: dict[AccessionVersion, Files] = {}
    rows = session.execute(
        select(EntryFile, UploadedFile)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(among(EntryFile, entries))
        .order_by(col(EntryFile.category), col(EntryFile.position), col(EntryFile.name))
    )
    uploads = [(file, upload) for file, upload in rows]
    lost = damage.damaged_among(session, [upload.key for _, upload in uploads])
    spoiled = {AccessionVersion(file.accession, file.version) for file, upload in uploads if upload.key in lost}
    for file, upload in uploads:
        if AccessionVersion(file.accession, file.version) in spoiled:
            continue
        stored = StoredVersion(upload.key, upload.version_id, upload.size or 0)
        of_entry = files.setdefault(AccessionVersion(file.accession, file.version), {})
        try:
            described = _file(house, file.file_id, file.name, stored, expires)
        except (Damaged, ProcessingFailure):
            # One that stays with its group is no obstacle to everybody else's entries.
            if not is_referenced(upload.key):
                raise
            spoiled.add(AccessionVersion(file.accession, file.version))
            continue
        of_entry.setdefault(file.category, []).append(described)
    return {
        name: None
        if name in spoiled
        else {
            "metadata": entry.submitted_metadata,
            "unalignedNucleotideSequences": entry.submitted_sequences,
            "files": files.get(name),
        }
        for name, entry in entries.items()
    }


def _of_part(
    house: House, session: Session, entry: EntryVersion, part: PartialResult, expires: int
) -> dict[str, Any] | None:
    """The consensus and what readvault's steps made; no original. None when one of the files is damaged."""
    files: Files = {}
    if damage.damaged_among(session, [staged.stored.key for staged in chain.staged_files(part)]):
        return None
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
    url = giving.signed_url(house, stored, name=name, expires=expires)
    return {"fileId": file_id, "name": name, "url": url}
