"""What the steps hand to each other: local files and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from readvault.domain.organism import Organism
from readvault.domain.reads import LibraryLayout, Platform


@dataclass(frozen=True, slots=True)
class InputFile:
    """A submitted file on local disk. `label` is the submitter's name for it: a text, never a path."""

    path: Path
    label: str
    category: str = "rawReads"


@dataclass(frozen=True, slots=True)
class Sample:
    """All that the local steps need to know of one accession version. Picklable.

    `name` is the accession version and becomes the sample name of every output. `submitted`
    holds unaligned consensus sequences by FASTA ID. `directory` is an empty scratch directory of this
    sample alone. `host_index` None means that reads can't be screened.
    """

    name: str
    organism: Organism
    inputs: tuple[InputFile, ...]
    directory: Path
    host_index: Path | None = None
    platform: Platform | None = None
    primers: Path | None = None
    submitted: dict[str, str] | None = None
    threads: int = 2
    publish_unscreened: bool = False


@dataclass(frozen=True, slots=True)
class ReadFiles:
    """Well-formed FASTQ files on local disk, plain or gzip. With mates, `r1` and `r2` are in step."""

    platform: Platform
    layout: LibraryLayout
    r1: tuple[Path, ...]
    r2: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Alignment:
    """Aligned reads: a coordinate-sorted, indexed BAM and the reference that it lies on."""

    bam: Path
    bai: Path
    reference: Path
    platform: Platform


@dataclass(frozen=True, slots=True)
class Segment:
    """One reference segment."""

    name: str
    sequence: str
