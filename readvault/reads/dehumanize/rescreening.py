"""Reads that are released already, looked up in a newer host index: counted, not rewritten.

The FASTQ files of a result hold all of its reads; its BAM holds the same ones, so it is read only
where there is no FASTQ.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pysam

from readvault.domain.errors import ProcessingFailure
from readvault.domain.reads import ProcessedCategory
from readvault.domain.reports import ScreeningReport
from readvault.reads import tools
from readvault.reads.dehumanize import dehumanization
from readvault.reads.sample import Sample

STEP = "screen"
_NOT_PRIMARY = "0x900"


def rescreen(sample: Sample, directory: Path) -> ScreeningReport:
    """Count the reads of released files that hit the sample's host index.

    Its inputs are one FASTQ, or two of mates in their order, or one BAM, whose reads are looked up
    each by itself. Raises ProcessingFailure when the screen is not provably complete.
    """
    if sample.host_index is None:
        raise ProcessingFailure(STEP, "there is no host index")
    paths = tuple(file.path for file in sample.inputs)
    of_alignment = [file.category == ProcessedCategory.ALIGNMENT for file in sample.inputs]
    if not paths or any(of_alignment) != all(of_alignment) or len(paths) > (1 if of_alignment[0] else 2):
        raise ProcessingFailure(STEP, "these are not the reads of one result")
    lanes: Sequence[tuple[Path, ...]] = _reads_of(paths[0], directory) if of_alignment[0] else [paths]
    return dehumanization.count_hits(
        lanes, sample.host_index, rules=sample.organism.pipeline.dehumanize, directory=directory, threads=sample.threads
    )


def _reads_of(bam: Path, directory: Path) -> list[tuple[Path, ...]]:
    """Every read of a BAM once, mapped or not, as FASTQ files: first mates, second mates, those without mates."""
    files = {option: directory / f"{name}.fastq" for option, name in (("-1", "r1"), ("-2", "r2"), ("-0", "single"))}
    places = [text for option, path in files.items() for text in (option, str(path))]
    tools.samtools(STEP, pysam.fastq, "-n", "-F", _NOT_PRIMARY, *places, str(bam))
    return [(path,) for path in files.values() if path.is_file() and path.stat().st_size]
