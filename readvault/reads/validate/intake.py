"""What came in: each submitted file recognized by its content; BAM, SAM and CRAM turned back into FASTQ."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import FileCategory
from readvault.domain.reads import FileFormat, Platform
from readvault.reads.sample import InputFile
from readvault.reads.validate.fastq_lanes import Lane, Source
from readvault.reads.validate.fastq_rewrite import END_OF_BGZF
from readvault.reads.validate.fastq_stream import LONGEST_LINE, Readable
from readvault.reads.validate.formats import Compression, Content, Decompressed, UnreadableFileError
from readvault.reads.validate.formats_recognition import Kind, claimed_by, kind_of

_FORMATS = {
    Content.FASTQ: FileFormat.FASTQ,
    Content.TEXT: FileFormat.FASTQ,
    Content.BAM: FileFormat.BAM,
    Content.SAM: FileFormat.SAM,
    Content.CRAM: FileFormat.CRAM,
}
_ALIGNED = (Content.BAM, Content.SAM, Content.CRAM)
_REFUSALS = {
    Content.FASTA: (Reason.WRONG_FORMAT, "The file is FASTA: it has no qualities. Send the reads as FASTQ or BAM."),
    Content.OTHER: (Reason.UNKNOWN_FORMAT, "The file is none of FASTQ, BAM, CRAM and SAM."),
    Content.NOTHING: (Reason.NO_READS, "The file holds no reads: unpacked, it is empty."),
}


def format_of(path: Path) -> FileFormat:
    """The format of a file that was accepted as reads, by its content."""
    return _FORMATS[kind_of(path).content]


@dataclass(slots=True)
class Intake:
    """Files that can be read on: `sources` are still to be arranged, `lanes` are so already (from aligned files).

    `platforms` are those that the headers of aligned files name.
    """

    sources: list[Source] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    faults: list[Annotation] = field(default_factory=list)
    warnings: list[Annotation] = field(default_factory=list)
    platforms: set[Platform] = field(default_factory=set)
    broken: set[Path] = field(default_factory=set)
    """Files with a fault: they keep their place among their mates but are not read."""


@dataclass(frozen=True, slots=True)
class Door:
    """What holds for each file that comes in.

    `references` are the FASTA files that a CRAM may need; `limit` is the largest size of what a file unpacks to.
    """

    rules: FileCategory
    directory: Path
    limit: int
    references: tuple[Path, ...] = ()


def take_in(inputs: Sequence[InputFile], door: Door) -> Intake:
    """Recognize all files; faults and warnings are collected, not raised."""
    rules = door.rules
    intake = Intake()
    if not inputs:
        intake.faults.append(Annotation(Reason.NO_READS, "There is no file of reads."))
    if len(inputs) > rules.max_files:
        message = f"There are {len(inputs)} files; at most {rules.max_files} are accepted."
        intake.faults.append(Annotation(Reason.TOO_MANY_FILES, message))
        return intake
    for number, file in enumerate(inputs, start=1):
        try:
            _take_in(file, door, intake, f"given_back_{number:04d}")
        except UnreadableFileError as fault:
            intake.faults.append(Annotation(fault.reason, fault.message, file=file.label))
            if claimed_by(file.label)[0] in (Content.FASTQ, None):
                intake.broken.add(file.path)
                intake.sources.append(Source(file.path, file.label, Compression.NONE, ()))
        except InvalidSubmission as fault:
            intake.faults += fault.annotations
    return intake


def _take_in(file: InputFile, door: Door, intake: Intake, name: str) -> None:
    kind = kind_of(file.path)
    _check_kind(kind, file.label, door.rules)
    if kind.content in _ALIGNED:
        if kind.content is Content.BAM:
            _check_end_of_bam(file.path)
        _give_back(file, kind, door, intake, name)
        return
    claimed = claimed_by(file.label)[1]
    if claimed is not None and claimed is not kind.compression:
        message = f"The name says {claimed} compression, but the file has {kind.compression}; it was read as it is."
        intake.warnings.append(Annotation(Reason.WRONG_FORMAT, message, file=file.label))
    intake.sources.append(_source(file.path, file.label, kind.compression))


def _give_back(file: InputFile, kind: Kind, door: Door, intake: Intake, name: str) -> None:
    """Turn an aligned file back into reads: one lane for each read group."""
    from readvault.reads.validate import (  # compiled code: only who needs it loads it
        aligned_files,
        aligned_header,
        cram,
    )

    with ExitStack() as files:
        stream: Readable
        if kind.content is Content.CRAM:
            stream = files.enter_context(
                cram.decoded(file.path, file.label, door.references, door.directory, limit=door.limit)
            )
        else:
            stream = files.enter_context(Decompressed(file.path, kind.compression, limit=door.limit))
        kind_of_stream = aligned_header.SamStream if kind.content is Content.SAM else aligned_header.BamStream
        records = kind_of_stream(stream)
        header = records.header()
        found = aligned_files.reads_of(
            records, header, kind.content, file.label, door.directory, name=name, size=file.path.stat().st_size
        )
    intake.warnings += found.warnings
    for lane in found.lanes:
        sources = [_source(path, file.label, Compression.NONE) for path in lane]
        ordinals = [aligned_files.records_beside(path) for path in lane]
        intake.lanes.append(Lane(tuple(replace(s, records=o) for s, o in zip(sources, ordinals, strict=True))))
    if header.platform is not None:
        intake.platforms.add(header.platform)


def _check_end_of_bam(path: Path) -> None:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - (1 << 16)))
        tail = file.read()
    if END_OF_BGZF not in tail:
        raise UnreadableFileError(Reason.TRUNCATED_FILE, "The BAM is cut off: its end-of-file block is missing.")
    if not tail.endswith(END_OF_BGZF) and tail.rpartition(END_OF_BGZF)[2].strip(b"\x00"):
        raise UnreadableFileError(Reason.CORRUPT_COMPRESSION, "Something follows the end-of-file block of the BAM.")


def _check_kind(kind: Kind, label: str, rules: FileCategory) -> None:
    if kind.content in _REFUSALS:
        raise UnreadableFileError(*_REFUSALS[kind.content])
    if kind.content is Content.CRAM and kind.compression is not Compression.NONE:
        raise UnreadableFileError(Reason.WRONG_FORMAT, "The CRAM is compressed once more; send it as it is.")
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
