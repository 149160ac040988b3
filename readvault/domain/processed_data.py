"""What an external pipeline may send: metadata of known fields and types, sequences that fit the reference.

The order of the checks and their texts are Loculus's, because its pipelines' maintainers read them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from readvault.domain.errors import Unprocessable
from readvault.domain.organism import MetadataField, MetadataType

MAIN = "main"
"""What Loculus's pipelines call the only segment of a genome."""
NUCLEOTIDES = frozenset("ACGTMRWSYKVHDBN")
AMINO_ACIDS = frozenset("ACDEFGHIKLMNPQRSTVWYBZX-*")
GAP = "-"
SHOWN_SYMBOLS = 10
MEASURED = (
    *(MetadataField(name=name, type=MetadataType.INT) for name in ("totalReads", "mappedReads", "droppedAmplicons")),
    *(
        MetadataField(name=name, type=MetadataType.NUMBER)
        for name in ("humanFraction", "depthOfCoverage", "breadthOfCoverage")
    ),
    *(
        MetadataField(name=name)
        for name in ("platform", "primerScheme", "reference", "consensusSource", "qualityControlDetermination",
                     "qualityControlIssues", "qualityControlDetails")
    ),
)  # fmt: skip
"""What readvault's own steps find out. An external pipeline may send it, and leave it out."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """How long each segment (in bases) and each gene (in amino acids) may be, once aligned."""

    segments: Mapping[str, frozenset[int]]
    genes: Mapping[str, frozenset[int]]


def checked(data: Data, fields: Sequence[MetadataField], shape: Shape, *, given: Iterable[str] = ()) -> Data:
    """The processed data as they are kept: sequences in upper case, and null for all that is missing.

    `fields` are the metadata that may be sent; those in `given` have a value already, so they need
    none. Raises Unprocessable for the first thing that is wrong.
    """
    metadata = _metadata(data.get("metadata") or {}, fields, frozenset(given))
    unaligned, aligned, insertions = (
        _upper(data.get(key) or {})
        for key in ("unalignedNucleotideSequences", "alignedNucleotideSequences", "nucleotideInsertions")
    )
    amino_acids, amino_insertions = (
        _upper(data.get(key) or {}) for key in ("alignedAminoAcidSequences", "aminoAcidInsertions")
    )
    _check_lengths(aligned, shape.segments, "alignedNucleotideSequences")
    _check_known(aligned, shape.segments, "segments", "alignedNucleotideSequences")
    _check_known(unaligned, shape.segments, "segments", "unalignedNucleotideSequences")
    _check_known(insertions, shape.segments, "segments", "nucleotideInsertions")
    where = "The sequence of segment '{}' in '{}'"
    _check_symbols(aligned, NUCLEOTIDES | {GAP}, where, "alignedNucleotideSequences")
    _check_symbols(unaligned, NUCLEOTIDES, where, "unalignedNucleotideSequences")
    for segment, inserted in insertions.items():
        for insertion in inserted:
            _refuse(
                f"The insertion {insertion} of segment '{segment}' in 'nucleotideInsertions'", insertion, NUCLEOTIDES
            )
    _check_lengths(amino_acids, shape.genes, "alignedAminoAcidSequences")
    _check_known(amino_acids, shape.genes, "genes", "alignedAminoAcidSequences")
    _check_known(amino_insertions, shape.genes, "genes", "aminoAcidInsertions")
    _check_symbols(amino_acids, AMINO_ACIDS, "The gene '{}' in '{}'", "alignedAminoAcidSequences")
    for gene, inserted in amino_insertions.items():
        for insertion in inserted:
            _refuse(f"An insertion of gene '{gene}' in 'aminoAcidInsertions'", insertion, AMINO_ACIDS)
    return {
        **{key: data[key] for key in ("sequenceNameToFastaId",) if data.get(key) is not None},
        "metadata": metadata,
        "unalignedNucleotideSequences": {name: unaligned.get(name) for name in shape.segments},
        "alignedNucleotideSequences": {name: aligned.get(name) for name in shape.segments},
        "nucleotideInsertions": {name: insertions.get(name) or [] for name in shape.segments},
        "alignedAminoAcidSequences": {name: amino_acids.get(name) for name in shape.genes},
        "aminoAcidInsertions": {name: amino_insertions.get(name) or [] for name in shape.genes},
    }


def passed_on(data: Data, shape: Shape, handed_out: Collection[str]) -> Data:
    """The data with the genome's only segment under its own name.

    A pipeline that aligns nothing passes a sequence on under the name that it got, which is the FASTA
    ID (Loculus's nextclade pipeline without segments does). With several segments nobody could tell
    which one is meant, so there the names stay.
    """
    unaligned = data.get("unalignedNucleotideSequences") or {}
    sent = [name for name, sequence in unaligned.items() if sequence is not None]
    if len(shape.segments) != 1 or len(sent) != 1 or sent[0] in shape.segments or sent[0] not in handed_out:
        return data
    (segment,) = shape.segments
    return {
        **data,
        "unalignedNucleotideSequences": {segment: unaligned[sent[0]]},
        "sequenceNameToFastaId": data.get("sequenceNameToFastaId") or {segment: sent[0]},
    }


def checked_metadata(metadata: Data, fields: Sequence[MetadataField]) -> Data:
    """Metadata in which every field is known and of its type, with null for what is missing; else Unprocessable."""
    return _metadata(metadata, fields, frozenset())


def _metadata(metadata: Data, fields: Sequence[MetadataField], given: frozenset[str]) -> Data:
    if unknown := sorted(set(metadata) - {field.name for field in fields}):
        raise Unprocessable(f"Unknown fields in metadata: {', '.join(unknown)}.")
    for field in fields:
        value = metadata.get(field.name)
        if value is None and field.required and field.name not in given:
            if field.name in metadata:
                raise Unprocessable(f"Field '{field.name}' is null, but a value is required.")
            raise Unprocessable(f"Missing the required field '{field.name}'.")
        if value is not None and not _is_of_type(field, value):
            form = " in format 'yyyy-MM-dd'" if field.type is MetadataType.DATE else ""
            found = json.dumps(value, ensure_ascii=False)
            raise Unprocessable(f"Expected type '{field.type}'{form} for field '{field.name}', found value '{found}'.")
    return {
        field.name: metadata.get(field.name)
        for field in fields
        if field.name in metadata or not any(field is each for each in MEASURED)
    }


def _is_of_type(field: MetadataField, value: Any) -> bool:
    match field.type:
        case MetadataType.DATE:
            return isinstance(value, str) and _is_date(value)
        case MetadataType.INT:
            return isinstance(value, int) and not isinstance(value, bool)
        case MetadataType.FLOAT:
            return isinstance(value, float)
        case MetadataType.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case MetadataType.BOOLEAN:
            return isinstance(value, bool)
        case _:
            return isinstance(value, str)


def _is_date(value: str) -> bool:
    try:
        return _DATE.fullmatch(value) is not None and bool(date.fromisoformat(value))
    except ValueError:
        return False


def _upper(values: Data) -> Data:
    return {
        name: [each.upper() for each in value] if isinstance(value, list) else value and value.upper()
        for name, value in values.items()
    }


def _check_lengths(sequences: Data, lengths: Mapping[str, frozenset[int]], kind: str) -> None:
    for name, allowed in lengths.items():
        sequence = sequences.get(name)
        if sequence is not None and len(sequence) not in allowed:
            wanted = " or ".join(map(str, sorted(allowed)))
            raise Unprocessable(f"The length of '{name}' in '{kind}' is {len(sequence)}, but it should be {wanted}.")


def _check_known(values: Data, known: Mapping[str, object], what: str, kind: str) -> None:
    if unknown := sorted(set(values) - set(known)):
        raise Unprocessable(f"Unknown {what} in '{kind}': {', '.join(unknown)}.")


def _check_symbols(sequences: Data, allowed: frozenset[str], where: str, kind: str) -> None:
    for name, sequence in sequences.items():
        if sequence is not None:
            _refuse(where.format(name, kind), sequence, allowed)


def _refuse(where: str, sequence: str, allowed: frozenset[str]) -> None:
    inserted = re.sub(r"^[0-9:]+", "", sequence)
    if wrong := sorted(set(inserted) - allowed, key=inserted.index)[:SHOWN_SYMBOLS]:
        raise Unprocessable(f"{where} contains invalid symbols: [{', '.join(wrong)}].")
