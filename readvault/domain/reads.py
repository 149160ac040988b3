"""What kinds of reads there are, in SRA's and ENA's spelling."""

from __future__ import annotations

from enum import StrEnum


class Platform(StrEnum):
    """The sequencing platform."""

    ILLUMINA = "ILLUMINA"
    OXFORD_NANOPORE = "OXFORD_NANOPORE"
    PACBIO_SMRT = "PACBIO_SMRT"


class LibraryLayout(StrEnum):
    """Whether a fragment was read from one end or from both."""

    SINGLE = "SINGLE"
    PAIRED = "PAIRED"


class FileFormat(StrEnum):
    """A format of submitted reads."""

    FASTQ = "FASTQ"
    BAM = "BAM"
    CRAM = "CRAM"
    SAM = "SAM"


class ProcessedCategory(StrEnum):
    """A file category that the pipeline produces."""

    DEHUMANIZED_READS = "dehumanizedReads"
    ALIGNMENT = "alignment"
    CONSENSUS = "consensus"
    VARIANTS = "variants"
    ALLELE_COUNTS = "alleleCounts"
    COVERAGE = "coverage"
    REPORT = "report"
    SILO_READS = "siloReads"


READ_LEVEL = frozenset({ProcessedCategory.DEHUMANIZED_READS, ProcessedCategory.ALIGNMENT, ProcessedCategory.SILO_READS})
"""Categories that hold reads: never public unless a complete screen for human reads ran before."""

PROCESSED_FIELDS = (
    "totalReads",
    "mappedReads",
    "humanFraction",
    "depthOfCoverage",
    "breadthOfCoverage",
    "platform",
    "primerScheme",
    "reference",
    "consensusSource",
    "droppedAmplicons",
    "qualityControlDetermination",
    "qualityControlIssues",
    "qualityControlDetails",
)
"""Metadata fields that readvault's own steps make; SILO wants them in every line."""
