"""Exports of public reads for SILO: their files, where they lie, and what can become of one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from readvault.domain.identifiers import AccessionVersion

ROOT = "exports"
READS = "reads.ndjson.zst"
DATABASE_CONFIG = "database_config.yaml"
REFERENCE_GENOMES = "reference_genomes.json"
PREPROCESSING_CONFIG = "preprocessing_config.yaml"
SAMPLES = "samples.ndjson"
MANIFEST = "manifest.json"
FILES = (READS, DATABASE_CONFIG, REFERENCE_GENOMES, PREPROCESSING_CONFIG, SAMPLES, MANIFEST)
"""What an export consists of. SILO reads the first four, programs and people the others."""
LATEST = "latest"
"""In place of an export's ID: the newest."""


class State(StrEnum):
    """How it stands with an export."""

    BUILDING = "building"
    READY = "ready"
    DROPPED = "dropped"


class Why(StrEnum):
    """Why an export was dropped."""

    BROKEN_OFF = "broken off"
    """Who built it died, or failed."""
    UNCHANGED = "nothing had changed"
    RETIRED = "newer ones took its place"
    ERASED = "an entry of it was erased"


def folder(organism: str, export_id: str) -> str:
    """The prefix of an export's files in the bucket."""
    return f"{ROOT}/{organism}/{export_id}/"


def parts_folder(organism: str, name: AccessionVersion) -> str:
    """The prefix of the parts of an accession version: all that the exports hold of it but the whole files."""
    return f"{ROOT}/{organism}/parts/{name}/"


@dataclass(frozen=True, slots=True)
class Genome:
    """What the lines of an organism's reads lie on: segments and genes with their sequences, in their order.

    `sha256` is the digest by which results name their reference.
    """

    segments: tuple[tuple[str, str], ...]
    genes: tuple[tuple[str, str], ...]
    sha256: str

    @property
    def keys(self) -> list[str]:
        """The keys of a line, after the read ID and the metadata."""
        return [name for name, _ in (*self.segments, *self.genes)]
