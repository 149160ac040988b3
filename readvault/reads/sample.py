"""What the steps hand to each other: local files and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from readvault.domain.organism import FileCategory, Organism, SampleType
from readvault.domain.reads import LibraryLayout, Platform


@dataclass(frozen=True, slots=True)
class InputFile:
    """A submitted file on local disk. `label` is the submitter's name for it: a text, never a path."""

    path: Path
    label: str
    category: str = "rawReads"


@dataclass(frozen=True, slots=True)
class Declared:
    """What the metadata say of the sample besides its platform; None where they say nothing.

    `primer_scheme` and `library_strategy` are the submitter's own words.
    """

    layout: LibraryLayout | None = None
    primer_scheme: str | None = None
    library_strategy: str | None = None
    sample_type: SampleType | None = None


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
    declared: Declared = Declared()

    @property
    def rules(self) -> FileCategory:
        """What its file categories allow together: whatever they are called, these are reads of one sample."""
        names = sorted({file.category for file in self.inputs})
        rules = [self.organism.submission.files.get(name, FileCategory()) for name in names]
        return FileCategory(
            formats=tuple(dict.fromkeys(each for rule in rules for each in rule.formats)),
            max_files=sum(rule.max_files for rule in rules),
            max_bytes_per_file=max(rule.max_bytes_per_file for rule in rules),
        )

    @property
    def sample_type(self) -> SampleType:
        """What was sequenced: as the metadata say, else as the organism says."""
        return self.declared.sample_type or self.organism.sample_type


@dataclass(frozen=True, slots=True)
class ReadFiles:
    """Well-formed FASTQ files on local disk, plain or gzip. With mates, `r1` and `r2` are in step.

    Where lanes have become one file, `lanes` says how many of its records came from each, in order; a
    pair is one.
    """

    platform: Platform
    layout: LibraryLayout
    r1: tuple[Path, ...]
    r2: tuple[Path, ...] = ()
    lanes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PrimerSite:
    """Where one primer binds: 0-based half-open on its segment, `+` for a left primer, `-` for a right one."""

    segment: str
    start: int
    end: int
    name: str
    strand: str


@dataclass(frozen=True, slots=True)
class Alignment:
    """Aligned reads: a coordinate-sorted, indexed BAM, the reference that it lies on, the primers clipped from it."""

    bam: Path
    bai: Path
    reference: Path
    platform: Platform
    primers: tuple[PrimerSite, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """One reference segment."""

    name: str
    sequence: str


@dataclass(frozen=True, slots=True)
class ChosenReference:
    """The reference genome that the results of one sample lie on.

    `fasta` has one record per segment, in the order of `segments`; `genes` are GFF3 files about these
    records. `names` tells for each of them from which of the organism's references it was
    chosen; it is empty when the organism has only one.
    """

    fasta: Path
    segments: tuple[Segment, ...]
    names: dict[str, str] = field(default_factory=dict)
    genes: tuple[Path, ...] = ()
