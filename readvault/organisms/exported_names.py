"""Columns of exported reads that are called like a segment or a gene: SILO takes one key of a line for one thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from readvault.domain.organism import Organism
from readvault.domain.silo_columns import columns
from readvault.organisms.findings import Finding, Level
from readvault.organisms.mistakes import dotted
from readvault.reads.silo.genome import genome_of
from readvault.services.exports.form import is_exported
from readvault.yaml_files import Document, Place

_FIELDS: tuple[Place, ...] = (("metadata",), ("externalMetadata",), ("pipeline", "external", "metadata"))


def faults(path: Path, document: Document, organism: Organism, *, terms: bool) -> Iterator[Finding]:
    """The names that stand for two things in an export of this organism, whose files are right; where and why.

    `terms` says whether the instance has data use terms, which are a column too.
    """
    if not is_exported(organism):
        return
    genome = genome_of(organism)
    genes, keys = {name for name, _ in genome.genes}, set(genome.keys)
    for column in columns(organism.silo_export, organism.exported_fields, terms=terms):
        if column.name in keys:
            of = "gene" if column.name in genes else "segment"
            place = _place_of(column.name, document.content) or ("reference", "genes" if of == "gene" else "fasta")
            message = f"{column.name!r} is the name of a {of} too, so that no reads can be exported for SILO"
            advice = "Rename one of them, or choose other columns with siloExport."
            yield Finding(Level.ERROR, path, document.line(place), dotted(place), message, advice)


def _place_of(name: str, content: Any) -> Place | None:
    for place in _FIELDS:
        fields = content
        for key in place:
            fields = fields.get(key) if isinstance(fields, Mapping) else None
        for number, field in enumerate(fields if isinstance(fields, list) else []):
            if isinstance(field, Mapping) and field.get("name") == name:
                return (*place, number, "name")
    return None
