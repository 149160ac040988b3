"""The sequence file: which consensus sequences belong to which entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.errors import BadRequest
from readvault.domain.organism import Organism
from readvault.services.submission.metadata_file import FASTA_IDS_COLUMN, MetadataRow

EXTENSIONS = ("fa", "fasta", "seq", "fna", "fas")
_LISTED = 10


def check_presence(organism: Organism, *, given: bool, may_keep: bool = False) -> None:
    """Refuse a missing sequence file where one is required, and one where none is allowed (BadRequest).

    A revision `may_keep` the sequences that the entries have.
    """
    if not given and not may_keep and organism.submission.consensus_sequences == "required":
        raise BadRequest(f"Submissions for organism {organism.name} require a sequence file.")
    if given and organism.submission.consensus_sequences == "forbidden":
        raise BadRequest(f"Sequence uploads are not allowed for organism {organism.name}.")


def keep(
    organism: Organism, rows: Sequence[MetadataRow], previous: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, dict[str, str]], list[Annotation]]:
    """Each revised entry's sequences by submission ID when no file was sent: those of its latest version.

    An empty cell in a column `fastaIds` drops them, as an empty cell drops files.
    """
    kept: dict[str, dict[str, str]] = {}
    faults = []
    for row in rows:
        dropped = organism.submission.consensus_sequences == "forbidden" or row.fasta_ids == []
        kept[row.submission_id] = {} if dropped else dict(previous.get(row.accession, {}))
        known = row.accession in previous
        if organism.submission.consensus_sequences == "required" and known and not kept[row.submission_id]:
            text = f"In metadata file: record #{row.record} with id '{row.submission_id}': the latest version of"
            text += f" {row.accession} has no consensus sequence to keep; a sequence file is needed."
            field = Field(FieldType.METADATA, FASTA_IDS_COLUMN)
            faults.append(Annotation(Reason.INVALID_METADATA, text, (field,), record=row.record, line=row.line))
    return kept, faults


def assign(
    organism: Organism, rows: Sequence[MetadataRow], sequences: Mapping[str, str]
) -> tuple[dict[str, dict[str, str]], list[Annotation]]:
    """Each entry's sequences by submission ID and FASTA ID, and every ID that fits nowhere.

    Without a column `fastaIds` an entry's sequence has the entry's own ID; where consensus
    sequences are optional it may be missing.
    """
    if organism.submission.consensus_sequences == "forbidden":
        return {row.submission_id: {} for row in rows}, []
    required = organism.submission.consensus_sequences == "required"
    wanted = {row.submission_id: _wanted(row, sequences, required) for row in rows}
    used = Counter(fasta_id for fasta_ids in wanted.values() for fasta_id in fasta_ids)
    faults = []
    if any(count > 1 for count in used.values()) and len(wanted) == len(rows):
        faults.append(_fault("Metadata file contains duplicate fastaIds."))
    if missing := [fasta_id for fasta_id in used if fasta_id not in sequences]:
        faults.append(
            _fault(
                f"Metadata file contains {len(missing)} FASTA ids that are not present in the sequence file:"
                f" {_listed(missing)}"
            )
        )
    if unused := [fasta_id for fasta_id in sequences if fasta_id not in used]:
        faults.append(
            _fault(
                f"Sequence file contains {len(unused)} FASTA ids that are not present in the metadata file:"
                f" {_listed(unused)}"
            )
        )
    assigned = {
        submission_id: {fasta_id: sequences[fasta_id] for fasta_id in fasta_ids if fasta_id in sequences}
        for submission_id, fasta_ids in wanted.items()
    }
    return assigned, faults


def _wanted(row: MetadataRow, sequences: Mapping[str, str], required: bool) -> Iterable[str]:
    if row.fasta_ids is not None:
        return row.fasta_ids
    return [row.submission_id] if required or row.submission_id in sequences else []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def _fault(message: str) -> Annotation:
    return Annotation(Reason.INVALID_METADATA, message, (Field(FieldType.METADATA, FASTA_IDS_COLUMN),))
