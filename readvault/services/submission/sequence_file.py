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


def check_presence(organism: Organism, *, given: bool) -> None:
    """Refuse a missing sequence file where one is required, and one where none is allowed (BadRequest)."""
    if not given and organism.submission.consensus_sequences == "required":
        raise BadRequest(f"Submissions for organism {organism.name} require a sequence file.")
    if given and organism.submission.consensus_sequences == "forbidden":
        raise BadRequest(f"Sequence uploads are not allowed for organism {organism.name}.")


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
