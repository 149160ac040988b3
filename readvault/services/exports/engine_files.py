"""The small files of an export: what SILO has to know before it reads a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from readvault.domain.exports import (
    DATABASE_CONFIG,
    PREPROCESSING_CONFIG,
    READS,
    REFERENCE_GENOMES,
    Genome,
)
from readvault.domain.silo_columns import Column

PRIMARY_KEY = "readId"


def engine_files(organism: str, columns: Sequence[Column], genome: Genome) -> dict[str, bytes]:
    """The configuration files by name. The same organism gives the same bytes.

    Raises ValueError when a metadata column is called like a segment or gene.
    """
    if both := sorted({column.name for column in columns} & set(genome.keys)):
        raise ValueError(f"siloExport: {', '.join(both)}: a segment or gene has the name of a metadata column")
    return {
        DATABASE_CONFIG: _yaml(_database_config(organism, columns)),
        REFERENCE_GENOMES: _reference_genomes(genome),
        PREPROCESSING_CONFIG: _yaml(
            {
                "ndjsonInputFilename": READS,
                "referenceGenomeFilename": REFERENCE_GENOMES,
                "databaseConfig": DATABASE_CONFIG,
                # Else SILO wants a column for the unaligned sequence of each segment on every line.
                "withoutUnalignedSequences": True,
            }
        ),
    }


def _database_config(organism: str, columns: Sequence[Column]) -> dict[str, Any]:
    # SILO refuses an index on its primary key and, before 0.17, on dates.
    metadata = [{"name": PRIMARY_KEY, "type": "string"}, *(column.as_config() for column in columns)]
    return {
        "schema": {
            "instanceName": organism,
            "opennessLevel": "OPEN",
            "metadata": metadata,
            "primaryKey": PRIMARY_KEY,
            "features": [],
        }
    }


def _reference_genomes(genome: Genome) -> bytes:
    def named(sequences: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        return [{"name": name, "sequence": sequence} for name, sequence in sequences]

    body = {"nucleotideSequences": named(genome.segments), "genes": named(genome.genes)}
    return json.dumps(body, indent=1).encode("ascii") + b"\n"


def _yaml(body: dict[str, Any]) -> bytes:
    text: str = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text.encode("utf-8")
