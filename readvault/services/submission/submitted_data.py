"""What was submitted, as files that can be changed and sent back as a revision."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from readvault.db.erased import is_tombstone
from readvault.db.names import among
from readvault.db.tables import EntryVersion, Release
from readvault.domain import tsv
from readvault.domain.actor import Actor
from readvault.domain.errors import Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import FILES_PREFIX, Organism
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.submission import latest
from readvault.services.submission.metadata_file import (
    ACCESSION_COLUMN,
    FASTA_IDS_COLUMN,
    ID_COLUMNS,
    NamedFile,
    is_metadata_column,
)

MAX_ENTRIES = 500
METADATA_NAME = "metadata.tsv"
SEQUENCES_NAME = "sequences.fasta"
_TIME_IN_ARCHIVE = (1980, 1, 1, 0, 0, 0)


@dataclass(slots=True)
class _Entry:
    """One entry as it is written: with IDs that are its own among all that are written."""

    name: AccessionVersion
    submission_id: str
    metadata: dict[str, str]
    sequences: dict[str, str]
    files: dict[str, list[NamedFile]] = field(default_factory=dict)


def write_submitted_data(
    house: House,
    actor: Actor | None,
    organism_name: str,
    *,
    group_id: int,
    accessions: Sequence[str] | None,
    target: IO[bytes],
) -> int:
    """Write a zip archive of the group's entries, ready to be revised; how many entries it has.

    It holds the latest version of each entry that is released and not revoked (of `accessions`
    only, when given): `metadata.tsv` with a column `accession` and the files of each category, and
    `sequences.fasta` where the organism takes sequences. Sent to `revise` unchanged, the new versions
    are what the old ones were. Submission IDs that several entries share get a number.
    Raises Unprocessable for more than 500 entries, Forbidden, NotFound.
    """
    organism = house.organism(organism_name)
    with house.sessions.read() as session:
        authorize(session, actor, Action.REVIEW, group_id=group_id)
        names = _revisable(session, organism, group_id, accessions)
        entries = _with_own_ids(_read(session, names))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, METADATA_NAME, "".join(_table(organism, entries)))
        if organism.submission.consensus_sequences != "forbidden":
            records = (record for entry in entries for record in entry.sequences.items())
            _add(archive, SEQUENCES_NAME, "".join(f">{fasta_id}\n{sequence}\n" for fasta_id, sequence in records))
    return len(entries)


def _revisable(
    session: Session, organism: Organism, group_id: int, accessions: Sequence[str] | None
) -> list[AccessionVersion]:
    """The latest versions of entries, where these are released and no revocations; sorted."""
    if accessions is not None and not accessions:
        return []
    later = aliased(EntryVersion)
    newest = ~select(later).where(
        col(later.accession) == col(EntryVersion.accession), col(later.version) > col(EntryVersion.version)
    ).exists().correlate(EntryVersion)  # fmt: skip
    query = (
        select(col(EntryVersion.accession), col(EntryVersion.version))
        .join(
            Release,
            tuple_(col(Release.accession), col(Release.version))
            == tuple_(col(EntryVersion.accession), col(EntryVersion.version)),
        )
        .where(
            col(EntryVersion.organism) == organism.name,
            col(EntryVersion.group_id) == group_id,
            ~col(EntryVersion.is_revocation),
            newest,
            ~is_tombstone(),
        )
    )
    if accessions is not None:
        wanted = sorted(set(accessions))
        if len(wanted) > MAX_ENTRIES:
            raise _too_many(len(wanted))
        query = query.where(col(EntryVersion.accession).in_(wanted))
    count = session.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    if count > MAX_ENTRIES:
        raise _too_many(count)
    rows = session.execute(query.order_by(col(EntryVersion.accession)))
    return [AccessionVersion(row[0], row[1]) for row in rows]


def _too_many(count: int) -> Unprocessable:
    return Unprocessable(
        f"Submitted data of {count} entries were asked for; one request may ask for {MAX_ENTRIES}."
        " Name fewer in accessionsFilter."
    )


def _read(session: Session, names: Sequence[AccessionVersion]) -> list[_Entry]:
    if not names:
        return []
    columns = (
        col(EntryVersion.accession),
        col(EntryVersion.version),
        col(EntryVersion.submission_id),
        col(EntryVersion.submitted_metadata),
        col(EntryVersion.submitted_sequences),
    )
    rows = session.execute(select(*columns).where(among(EntryVersion, names)).order_by(*columns[:2]))
    entries = [_Entry(AccessionVersion(row[0], row[1]), row[2], dict(row[3]), dict(row[4])) for row in rows]
    files = latest.files_of(session, names)
    for entry in entries:
        entry.files = files.get(entry.name, {})
    return entries


def _with_own_ids(entries: list[_Entry]) -> list[_Entry]:
    """Make submission IDs and FASTA IDs unique; an entry's only sequence is named after the entry where it was."""
    ids = _unique([entry.submission_id for entry in entries])
    taken = {fasta_id for entry in entries for fasta_id in entry.sequences}
    seen: set[str] = set()
    for entry, own in zip(entries, ids, strict=True):
        named: dict[str, str] = {}
        for fasta_id, sequence in entry.sequences.items():
            wanted = own if fasta_id == entry.submission_id else fasta_id
            if wanted in seen or (wanted != fasta_id and wanted in taken):
                wanted = _first_free(wanted, seen | taken)
            seen.add(wanted)
            named[wanted] = sequence
        entry.submission_id, entry.sequences = own, named
    return entries


def _unique(names: Sequence[str]) -> list[str]:
    """Each name once: a repeated one gets `_1`, `_2`, …, and never another's."""
    taken = set(names)
    seen: set[str] = set()
    unique = []
    for name in names:
        if name in seen:
            name = _first_free(name, seen | taken)
        seen.add(name)
        unique.append(name)
    return unique


def _first_free(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _table(organism: Organism, entries: Sequence[_Entry]) -> Iterator[str]:
    # Without a column `fastaIds` a sequence is found by its entry's ID.
    with_fasta_ids = any(list(entry.sequences) not in ([], [entry.submission_id]) for entry in entries)
    used = {name for entry in entries for name in entry.metadata if is_metadata_column(name)}
    configured = [each.name for each in organism.metadata]
    fields = [*configured, *sorted(used - set(configured))]
    # A file of a category that is no longer taken can't be named again: a revision without the column keeps it.
    categories = list(organism.submission.files)
    fasta_column = [FASTA_IDS_COLUMN] if with_fasta_ids else []
    yield tsv.line(
        [ID_COLUMNS[0], ACCESSION_COLUMN, *fasta_column, *fields, *(FILES_PREFIX + name for name in categories)]
    )
    for entry in entries:
        fasta_cell = [" ".join(entry.sequences)] if with_fasta_ids else []
        values = [entry.metadata.get(name, "") for name in fields]
        files = [_files_cell(entry.files.get(name, ())) for name in categories]
        yield tsv.line([entry.submission_id, entry.name.accession, *fasta_cell, *values, *files])


def _files_cell(files: Sequence[NamedFile]) -> str:
    return " ".join(f"{file.name}:{file.file_id}" for file in files)


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(zipfile.ZipInfo(name, _TIME_IN_ARCHIVE), text.encode(), zipfile.ZIP_DEFLATED)
