"""What was sent: a metadata file and perhaps a sequence file, read into entries with all their faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from readvault.domain import fasta
from readvault.domain.annotations import MAX_LISTED, Annotation, Reason, first_listed
from readvault.domain.errors import TooLarge, Unprocessable
from readvault.domain.organism import Organism
from readvault.ports import StoredVersion
from readvault.services.drops.claiming import PREFIX as DROPPED
from readvault.services.drops.claiming import Dropped
from readvault.services.house import House
from readvault.services.submission import metadata_file, sequence_file
from readvault.services.submission.decompression import text_of
from readvault.services.submission.metadata_file import MetadataRow, NamedFile


@dataclass(frozen=True, slots=True)
class Sent:
    """The two files of a submission, perhaps compressed as their names tell."""

    metadata: bytes
    metadata_name: str
    sequences: bytes | None = None
    sequences_name: str | None = None


@dataclass(frozen=True, slots=True)
class Previous:
    """What the latest version of an entry consists of: what a revision is silent about, it keeps."""

    files: Mapping[str, list[NamedFile]] = field(default_factory=dict)
    sequences: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Content:
    """The entries, their consensus sequences by submission ID, and all faults of both files."""

    rows: list[MetadataRow]
    sequences: dict[str, dict[str, str]]
    faults: list[Annotation]


def metadata_text(house: House, sent: Sent) -> str:
    """The text of the metadata file; raises BadRequest, TooLarge or Unprocessable."""
    limit = house.settings.limits.bytes_of_metadata
    return text_of(sent.metadata, sent.metadata_name, kind="Metadata file", extensions=("tsv",), limit=limit)


def read(
    house: House,
    organism: Organism,
    sent: Sent,
    *,
    text: str | None = None,
    previous: Mapping[str, Previous] | None = None,
    dropped: Mapping[str, Dropped] = MappingProxyType({}),
) -> Content:
    """The entries of a submission; of a revision when `previous` says what it is about, by accession.

    `text` is the metadata file's, when it was read already, and `dropped` are the unclaimed files that it
    may name, by object name. Raises BadRequest, TooLarge and
    Unprocessable for files that can't be read as what they should be.
    """
    limits = house.settings.limits
    if text is None:
        text = metadata_text(house, sent)
    sequence_file.check_presence(organism, given=sent.sequences is not None, may_keep=previous is not None)
    revised = None if previous is None else {name: each.files for name, each in previous.items()}
    faults: list[Annotation] = []
    records: dict[str, str] = {}
    if sent.sequences is not None:
        records, faults = fasta.parse(
            text_of(
                sent.sequences,
                sent.sequences_name or "",
                kind="Sequence file",
                extensions=sequence_file.EXTENSIONS,
                limit=limits.bytes_of_sequences,
            )
        )
    content = metadata_file.parse(text, organism, max_rows=limits.rows_per_submission, revised=revised, dropped=dropped)
    if previous is not None and sent.sequences is None:
        kept = {name: each.sequences for name, each in previous.items()}
        sequences, misfits = sequence_file.keep(organism, content.rows, kept)
    else:
        sequences, misfits = sequence_file.assign(organism, content.rows, records)
    known = [row for row in content.rows if previous is None or row.accession in previous]
    empty = [] if content.faults else _empty_entries(organism, known, sequences)
    twice = _claimed_twice(content.rows, dropped)
    return Content(content.rows, sequences, [*content.faults, *twice, *faults, *misfits, *empty])


def lacks_data(organism: Organism, files: Mapping[str, Sequence[object]], sequences: Mapping[str, str]) -> bool:
    """Whether an entry consists of nothing but metadata, and could have more.

    It needs a file of reads or a consensus sequence; any file, where no category holds reads. Only an
    organism that takes neither files nor sequences takes metadata alone.
    """
    categories = organism.submission.files
    if not categories and organism.submission.consensus_sequences == "forbidden":
        return False
    with_reads = [name for name, category in categories.items() if category.may_contain_reads]
    return not sequences and not any(files.get(name) for name in with_reads or categories)


def refuse(faults: Sequence[Annotation]) -> None:
    """Raise Unprocessable with all faults, if there are any."""
    if faults:
        listed = first_listed(faults, MAX_LISTED)
        raise Unprocessable("\n".join(fault.message for fault in listed), listed)


def check_sizes(organism: Organism, rows: Sequence[MetadataRow], present: Mapping[str, StoredVersion]) -> None:
    """Raise TooLarge for a file with more bytes than its category allows."""
    for row in rows:
        for category, files in row.files.items():
            if (rules := organism.submission.files.get(category)) is None:
                continue  # kept from a version that was submitted under other rules
            for file in files:
                if (size := present[file.file_id].size) > rules.max_bytes_per_file:
                    raise TooLarge(
                        f"In metadata file: record #{row.record} with id '{row.submission_id}': file '{file.name}' has"
                        f" {size} bytes; a file of category {category} may have {rules.max_bytes_per_file}."
                    )


def labels_of(rows: Sequence[MetadataRow]) -> dict[str, str]:
    """The submitter's name for each file ID."""
    return {file.file_id: file.name for row in rows for files in row.files.values() for file in files}


def _claimed_twice(rows: Sequence[MetadataRow], dropped: Mapping[str, Dropped]) -> list[Annotation]:
    """Files that came through a drop link and are named more than once: each becomes part of one entry."""
    names = {each.file_id: f"{DROPPED}{name}" for name, each in dropped.items()}
    if not names:
        return []
    named = [(row, file) for row in rows for files in row.files.values() for file in files if file.file_id in names]
    often = Counter(file.file_id for _, file in named)
    return [
        Annotation(
            Reason.INVALID_METADATA,
            f"In metadata file: record #{row.record} with id '{row.submission_id}': '{names[file.file_id]}' is named"
            " more than once.",
            record=row.record,
            line=row.line,
        )
        for row, file in named
        if often[file.file_id] > 1
    ]


def _empty_entries(
    organism: Organism, rows: Sequence[MetadataRow], sequences: Mapping[str, Mapping[str, str]]
) -> list[Annotation]:
    if organism.submission.consensus_sequences == "required":
        return []
    lacking = "neither a file of reads nor a consensus sequence"
    if organism.submission.consensus_sequences == "forbidden":
        lacking = "no file"
    return [
        Annotation(
            Reason.INVALID_METADATA,
            f"In metadata file: record #{row.record} with id '{row.submission_id}': there is {lacking}.",
            record=row.record,
            line=row.line,
        )
        for row in rows
        if lacks_data(organism, row.files, sequences[row.submission_id])
    ]
