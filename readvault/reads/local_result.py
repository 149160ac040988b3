"""What the local steps of one sample made, as it is handed on to whoever registers it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from readvault.domain import silo_lines
from readvault.domain.annotations import Annotation
from readvault.domain.reads import ProcessedCategory
from readvault.domain.reports import CheckReport, OutputFile, Report


@dataclass(frozen=True, slots=True)
class LocalResult:
    """What the local steps made: figures, files with their SHA-256, sequences, provenance.

    Sequences are by segment; a genome of one segment calls it `main`. `sequences` are the entry's own,
    `called_sequences` what the reads say. `insertions` are `pos:BASES`
    after the 1-based reference position. Amino acids are by gene, with `position:AMINO_ACIDS` inserted.
    """

    reports: dict[str, Report]
    outputs: tuple[tuple[OutputFile, Path], ...]
    screened: bool
    consensus_source: str | None
    sequences: dict[str, str]
    called_sequences: dict[str, str]
    aligned_sequences: dict[str, str]
    insertions: dict[str, list[str]]
    aligned_amino_acid_sequences: dict[str, str]
    amino_acid_insertions: dict[str, list[str]]
    provenance: dict[str, Any]

    @property
    def check(self) -> CheckReport:
        found = self.reports["check"]
        assert isinstance(found, CheckReport)
        return found

    @property
    def errors(self) -> tuple[Annotation, ...]:
        return self.check.errors

    @property
    def warnings(self) -> tuple[Annotation, ...]:
        return tuple(warning for found in self.reports.values() for warning in getattr(found, "warnings", ()))


FILES: dict[ProcessedCategory, tuple[str, ...]] = {
    ProcessedCategory.DEHUMANIZED_READS: ("dehumanized_R1.fastq.gz", "dehumanized_R2.fastq.gz", "dehumanized.fastq.gz"),
    ProcessedCategory.ALIGNMENT: ("alignment.bam", "alignment.bam.bai"),
    ProcessedCategory.CONSENSUS: ("consensus.fasta",),
    ProcessedCategory.VARIANTS: ("variants.vcf.gz", "variants.vcf.gz.tbi"),
    ProcessedCategory.ALLELE_COUNTS: ("allele_counts.tsv.gz",),
    ProcessedCategory.COVERAGE: ("coverage.tsv.gz",),
    ProcessedCategory.REPORT: ("report.html", "metrics_mqc.json"),
    ProcessedCategory.SILO_READS: (silo_lines.FILE_NAME,),
}
"""The files of each category, as readers see them."""


def described(category: ProcessedCategory, path: Path) -> OutputFile:
    """An output file with its size and SHA-256."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return OutputFile(category=category.value, name=path.name, size=path.stat().st_size, sha256=digest)
