"""BAM, aligned or not, back to the reads that the machine gave: FASTQ, mates in step.

Secondary and supplementary records repeat a read and are left out; reads on the reverse strand are
turned back. `samtools collate` and `samtools fastq`, in pysam, do the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pysam

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission
from readvault.reads.formats import UnreadableFileError

_END_OF_FILE = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block at the end of each whole BAM (SAM specification, 4.1.2)."""
_NOT_PRIMARY = 0x900
_PAIRED, _SECOND = 0x1, 0x80
_HARD_CLIP = 5


@dataclass(frozen=True, slots=True)
class BamReads:
    """FASTQ files made of a BAM: one of single reads, or two of mates."""

    files: tuple[Path, ...]
    warnings: tuple[Annotation, ...] = ()


@dataclass(slots=True)
class _Census:
    """What kinds of primary records there are."""

    single: int = 0
    first: int = 0
    second: int = 0
    hard_clipped: int = 0


def reads_of_bam(bam: Path, label: str, directory: Path, *, name: str) -> BamReads:
    """Write the reads of a BAM to `directory`, in files whose names begin with `name`.

    Raises UnreadableFileError for a file that is cut, damaged or holds no reads, and InvalidSubmission
    for reads without bases or qualities, or when only some of them are paired.
    """
    _check_end(bam)
    census = _census(bam, label)
    if census.single and census.first + census.second:
        raise UnreadableFileError(
            Reason.UNPAIRED_MATES, "The BAM holds single reads and pairs; send them as separate files."
        )
    outputs = [directory / f"{name}{ending}.fastq" for ending in ("_R1", "_R2", "_other", "_without_mate")]
    collated = directory / f"{name}_collated.bam"
    try:
        pysam.collate("-o", str(collated), "-u", str(bam), str(directory / f"{name}_collate"))
        one, two, other, orphans = map(str, outputs)
        pysam.fastq("-n", "-1", one, "-2", two, "-0", other, "-s", orphans, str(collated))
    except pysam.SamtoolsError as fault:
        raise UnreadableFileError(Reason.UNREADABLE_FILE, "The BAM can't be read to its end: it is damaged.") from fault
    collated.unlink()
    if census.single:
        return BamReads((outputs[2],), _hard_clip_warning(census, label))
    return BamReads((outputs[0], outputs[1]), (*_hard_clip_warning(census, label), *_orphans(outputs, census, label)))


def _check_end(bam: Path) -> None:
    with bam.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(_END_OF_FILE)))
        if file.read() != _END_OF_FILE:
            raise UnreadableFileError(Reason.TRUNCATED_FILE, "The BAM is cut off: its end-of-file block is missing.")


def _census(bam: Path, label: str) -> _Census:
    """Read all records; pysam stops at a damaged one, and so do we."""
    census = _Census()
    faults: list[Annotation] = []
    record = 0
    try:
        with pysam.AlignmentFile(str(bam), "rb", check_sq=False) as records:
            for record, read in enumerate(records.fetch(until_eof=True), start=1):
                if not read.flag & _NOT_PRIMARY:
                    _count(census, read)
                    if len(faults) < 1000 and (message := _why_no_read(read)):
                        faults.append(Annotation(Reason.MALFORMED_RECORD, message, file=label, record=record))
    except (OSError, ValueError) as fault:
        message = f"The BAM can't be read: it is damaged after {record} records." if record else "The BAM is damaged."
        raise UnreadableFileError(Reason.UNREADABLE_FILE, message) from fault
    if faults:
        raise InvalidSubmission(faults)
    if not census.single + census.first + census.second:
        raise UnreadableFileError(Reason.NO_READS, "The BAM holds no reads.")
    return census


def _count(census: _Census, read: pysam.AlignedSegment) -> None:
    if not read.flag & _PAIRED:
        census.single += 1
    elif read.flag & _SECOND:
        census.second += 1
    else:
        census.first += 1
    if read.cigartuples and any(operation == _HARD_CLIP for operation, _ in read.cigartuples):
        census.hard_clipped += 1


def _why_no_read(read: pysam.AlignedSegment) -> str | None:
    if not read.query_length:
        return "The record has no bases."
    if read.query_qualities is None:
        return "The record has no qualities."
    return None


def _hard_clip_warning(census: _Census, label: str) -> tuple[Annotation, ...]:
    if not census.hard_clipped:
        return ()
    message = f"{census.hard_clipped} reads are hard-clipped: bases that the machine read are missing from the BAM."
    return (Annotation(Reason.MALFORMED_RECORD, message, file=label),)


def _orphans(outputs: list[Path], census: _Census, label: str) -> tuple[Annotation, ...]:
    if not outputs[0].stat().st_size:
        raise UnreadableFileError(Reason.UNPAIRED_MATES, "The BAM has paired reads, but of no pair both mates.")
    orphans = sum(path.stat().st_size > 0 for path in outputs[2:])
    if not orphans:
        return ()
    with outputs[0].open("rb") as file:
        pairs = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) // 4
    left_out = census.first + census.second - 2 * pairs
    message = f"{left_out} reads whose mate is not in the BAM were left out."
    return (Annotation(Reason.UNPAIRED_MATES, message, file=label),)
