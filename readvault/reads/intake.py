"""What came in: each submitted file recognized by its content, BAM turned back into FASTQ."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import FileCategory
from readvault.domain.reads import FileFormat
from readvault.reads.fastq_lanes import Lane, Source
from readvault.reads.fastq_stream import LONGEST_LINE
from readvault.reads.formats import Compression, Content, Decompressed, Kind, UnreadableFileError, claimed_by, kind_of
from readvault.reads.formats_bam import reads_of_bam
from readvault.reads.sample import InputFile

_FORMATS = {Content.FASTQ: FileFormat.FASTQ, Content.TEXT: FileFormat.FASTQ, Content.BAM: FileFormat.BAM}
_REFUSALS = {
    Content.FASTA: (Reason.WRONG_FORMAT, "The file is FASTA: it has no qualities. Send the reads as FASTQ or BAM."),
    Content.SAM: (Reason.FORMAT_NOT_ALLOWED, "SAM is not read; send BAM (samtools view -b) or FASTQ."),
    Content.CRAM: (Reason.FORMAT_NOT_ALLOWED, "CRAM is not read yet; send BAM (samtools view -b) or FASTQ."),
    Content.OTHER: (Reason.UNKNOWN_FORMAT, "The file is neither FASTQ nor BAM."),
    Content.NOTHING: (Reason.NO_READS, "The file holds no reads: unpacked, it is empty."),
}


@dataclass(slots=True)
class Intake:
    """Files that can be read on: `sources` are still to be arranged, `lanes` are so already (from BAM)."""

    sources: list[Source] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    faults: list[Annotation] = field(default_factory=list)
    warnings: list[Annotation] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)
    """Files with a fault: they keep their place among their mates but are not read."""


def take_in(inputs: Sequence[InputFile], rules: FileCategory, directory: Path, limit: int) -> Intake:
    """Recognize all files; faults and warnings are collected, not raised."""
    intake = Intake()
    if not inputs:
        intake.faults.append(Annotation(Reason.NO_READS, "There is no file of reads."))
    if len(inputs) > rules.max_files:
        message = f"There are {len(inputs)} files; at most {rules.max_files} are accepted."
        intake.faults.append(Annotation(Reason.TOO_MANY_FILES, message))
        return intake
    for number, file in enumerate(inputs, start=1):
        try:
            _take_in(file, rules, intake, directory, f"from_bam_{number:04d}")
        except UnreadableFileError as fault:
            intake.faults.append(Annotation(fault.reason, fault.message, file=file.label))
            if claimed_by(file.label)[0] in (Content.FASTQ, None):
                intake.broken.add(file.path)
                intake.sources.append(Source(file.path, file.label, Compression.NONE, ()))
        except InvalidSubmission as fault:
            intake.faults += fault.annotations
    return intake


def _take_in(file: InputFile, rules: FileCategory, intake: Intake, directory: Path, name: str) -> None:
    kind = kind_of(file.path)
    _check_kind(kind, file.label, rules)
    if kind.content is Content.BAM:
        reads = reads_of_bam(file.path, file.label, directory, name=name)
        intake.warnings += reads.warnings
        intake.lanes.append(Lane(tuple(_source(path, file.label, Compression.NONE) for path in reads.files)))
        return
    claimed = claimed_by(file.label)[1]
    if claimed is not None and claimed is not kind.compression:
        message = f"The name says {claimed} compression, but the file has {kind.compression}; it was read as it is."
        intake.warnings.append(Annotation(Reason.WRONG_FORMAT, message, file=file.label))
    intake.sources.append(_source(file.path, file.label, kind.compression))


def _check_kind(kind: Kind, label: str, rules: FileCategory) -> None:
    if kind.content in _REFUSALS:
        raise UnreadableFileError(*_REFUSALS[kind.content])
    if kind.content is Content.BAM and not kind.bgzf:
        raise UnreadableFileError(Reason.CORRUPT_COMPRESSION, "The BAM is not compressed with BGZF, as BAM must be.")
    claimed = claimed_by(label)[0]
    if claimed is not None and claimed is not kind.content and kind.content is not Content.TEXT:
        message = f"The name says {claimed}, but the file is {kind.content}."
        raise UnreadableFileError(Reason.WRONG_FORMAT, message)
    if (found := _FORMATS[kind.content]) not in rules.formats:
        allowed = ", ".join(rules.formats)
        raise UnreadableFileError(Reason.FORMAT_NOT_ALLOWED, f"{found} is not accepted here; {allowed} is.")


def _source(path: Path, label: str, compression: Compression) -> Source:
    """The file with the title lines of its first two records, as far as they can be read."""
    titles: list[bytes] = []
    try:
        with Decompressed(path, compression, limit=8 * LONGEST_LINE) as stream:
            lines = io.BufferedReader(stream, 1 << 16)
            for number in range(5):
                line = lines.readline(LONGEST_LINE)
                if number % 4 == 0 and line.startswith(b"@"):
                    titles.append(line.rstrip(b"\r\n"))
    except UnreadableFileError:
        pass  # the check of the whole file says what is wrong
    return Source(path, label, compression, tuple(titles))
