"""What an organism takes and shows, as Loculus's website and command line read it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from readvault.domain import tsv
from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import FILES_PREFIX, MetadataField, MetadataType, Organism
from readvault.domain.processed_data import MAIN, MEASURED
from readvault.reads import references

_RANGE_SEARCHED = (MetadataType.DATE, MetadataType.INT, MetadataType.FLOAT, MetadataType.NUMBER)
_EVERY_ENTRY = (
    ("accessionVersion", "string"),
    ("accession", "string"),
    ("version", "int"),
    ("submissionId", "string"),
    ("isRevocation", "boolean"),
    ("submitter", "string"),
    ("groupId", "int"),
    ("groupName", "string"),
    ("submittedDate", "string"),
    ("submittedAtTimestamp", "timestamp"),
    ("releasedDate", "string"),
    ("releasedAtTimestamp", "timestamp"),
    ("versionStatus", "string"),
    ("pipelineVersion", "int"),
    ("dataUseTerms", "string"),
    ("dataUseTermsRestrictedUntil", "date"),
)
"""What a released entry has besides its own metadata."""
_COLUMNS_OF_TABLES = 4


def described(organism: Organism) -> dict[str, Any]:
    """One organism of `/loculus-info`."""
    segments = reference_genomes(organism)
    return {
        "displayName": organism.title,
        "schema": {
            "organismName": organism.title,
            "primaryKey": "accessionVersion",
            "tableColumns": [field.name for field in organism.metadata[:_COLUMNS_OF_TABLES]],
            "metadata": [*map(_field, organism.metadata), *_outcome(organism), *_of_every_entry()],
            "inputFields": [{"name": "id", "displayName": "ID"}, *map(_input_field, organism.metadata)],
            "submissionDataTypes": {
                "consensusSequences": organism.submission.consensus_sequences != "forbidden",
                "consensusSequencesRule": organism.submission.consensus_sequences,
                "maxSequencesPerEntry": len(segments),
                "files": {
                    "enabled": bool(organism.submission.files),
                    "categories": [
                        {
                            "name": name,
                            "required": category.required,
                            "formats": [str(each) for each in category.formats],
                            "maxFiles": category.max_files,
                            "maxBytesPerFile": category.max_bytes_per_file,
                        }
                        for name, category in organism.submission.files.items()
                    ],
                },
            },
        },
        "referenceGenomes": [
            {"name": segment, "references": [{"name": name} for name in genomes]}
            for segment, genomes in segments.items()
        ],
    }


def reference_genomes(organism: Organism) -> dict[str, list[str]]:
    """The organism's segments, each with the names of the genomes that have it; `main` where no genome can be read."""
    genomes = {
        organism.references[place].name if organism.references else "singleReference": _segments(candidate.fasta)
        for place, candidate in enumerate(organism.candidates)
    }
    if len(genomes) > 1 and all(len(segments) <= 1 for segments in genomes.values()):
        return {MAIN: list(genomes)}
    found: dict[str, list[str]] = {}
    for name, segments in genomes.items():
        for segment in segments:
            found.setdefault(segment, []).append(name)
    return found or {MAIN: list(genomes)}


@lru_cache(maxsize=1000)
def _segments(fasta: Path) -> tuple[str, ...]:
    try:
        return tuple(segment.name for segment in references.load_segments(fasta))
    except ProcessingFailure:
        return ()


def template(organism: Organism, *, example: bool, revision: bool) -> str:
    """A metadata file (TSV) with every column of the organism; with an example row where that is asked for."""
    cells = {"id": "sample-1"}
    if revision:
        cells["accession"] = "LOC_000001Y"
    cells |= {field.name: _example(field) for field in organism.metadata}
    cells |= {FILES_PREFIX + category: "" for category in organism.submission.files}
    if organism.submission.consensus_sequences != "forbidden":
        cells["fastaIds"] = "sample-1"
    return tsv.line(cells) + (tsv.line(cells.values()) if example else "")


def _field(field: MetadataField) -> dict[str, Any]:
    described = {
        "name": field.name,
        "type": str(field.type),
        "required": field.required,
        "displayName": field.display_name or field.name,
        "rangeSearch": field.type in _RANGE_SEARCHED,
        "requiredWhen": list(field.required_when),
    }
    return described | _rules(field)


def _input_field(field: MetadataField) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": field.name, "displayName": field.display_name or field.name}
    if field.options:
        shown["options"] = [{"name": option} for option in field.options]
    rules = {name: value for name, value in _rules(field).items() if name != "options"}
    return shown | {"required": field.required} | rules


def _rules(field: MetadataField) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    if field.options:
        rules["options"] = list(field.options)
    if field.allowed_range is not None:
        rules["range"] = [bound if bound is None or isinstance(bound, int | float) else str(bound)
                          for bound in field.allowed_range]  # fmt: skip
    for name, value in (("pattern", field.pattern), ("guidance", field.guidance), ("example", field.example)):
        if value is not None:
            rules[name] = value
    return rules


def _outcome(organism: Organism) -> list[dict[str, Any]]:
    """What processing and programs outside add to the metadata."""
    external = organism.pipeline.external
    added = [] if external is not None and external.mode == "instead" else list(MEASURED)
    added += external.metadata if external is not None else ()
    added += [MetadataField(name=field.name, type=field.type) for field in organism.external_metadata]
    known = {field.name for field in organism.metadata}
    return [_field(field) | {"required": False, "noInput": True} for field in added if field.name not in known]


def _of_every_entry() -> list[dict[str, Any]]:
    return [
        {"name": name, "type": kind, "required": False, "displayName": name, "noInput": True}
        for name, kind in _EVERY_ENTRY
    ]


def _example(field: MetadataField) -> str:
    return field.example or (field.options[0] if field.options else "")
