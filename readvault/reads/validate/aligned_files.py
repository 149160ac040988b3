"""BAM, SAM and CRAM, aligned or not, back to the reads that the machine gave: FASTQ, mates in step.

Secondary and supplementary records repeat a read and are left out; duplicates are reads and stay;
reads on the reverse strand are turned back; soft clips stay. Each read group becomes a lane. Single
reads keep their order; mates, which may lie far apart, are put aside by the hash of their name, in
as many scratch files as keep each one small, and joined file by file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission
from readvault.reads.validate.aligned_header import Header
from readvault.reads.validate.aligned_reads import pack, pair_up, unpack, write_fastq
from readvault.reads.validate.aligned_records import (
    BASES,
    COLUMNS,
    DAMAGED,
    FAULT,
    FIRST,
    FLAG,
    GROUP,
    HARD_CLIPPED,
    HASH,
    MESSAGES,
    NAME_SIZE,
    NOT_PRIMARY,
    ORDINAL,
    PAIRED,
    SECOND,
    Bytes,
    Table,
    scan_bam,
)
from readvault.reads.validate.fastq_stream import LONGEST_LINE, Readable
from readvault.reads.validate.formats import Content, UnreadableFileError
from readvault.reads.validate.sam_records import scan_sam

_BLOCK = 4 << 20
_ROWS = 1 << 15
_MOST_FAULTS = 1000
LARGEST_PART = 1 << 30
"""Bytes of a scratch file of mates. Only names that are all alike, or made to be put together, fill one so far."""
_LEAST_PAIRED = 2 / 3
"""Of all reads, so that the rest may be left out."""
_SINGLE, _ONE, _TWO = 0, 1, 2


@dataclass(frozen=True, slots=True)
class GivenBack:
    """FASTQ files made of an aligned file, lane by lane: one file of single reads, or two of mates."""

    lanes: tuple[tuple[Path, ...], ...]
    warnings: tuple[Annotation, ...] = ()


@dataclass(slots=True)
class _Counts:
    records: int = 0
    reads: int = 0
    single: int = 0
    orphans: int = 0
    hard_clipped: int = 0
    faults: list[Annotation] = field(default_factory=list)


def records_beside(path: Path) -> Path:
    """The file beside a FASTQ file of `reads_of` that says which record each read was, from 1, as 64-bit integers."""
    return path.with_suffix(".records")


class _Outputs:
    """FASTQ files by read group and mate, made when the first read of their kind comes."""

    def __init__(self, directory: Path, name: str, packed: bool, closing: ExitStack) -> None:
        self._directory, self._name, self._packed, self._closing = directory, name, packed, closing
        self._files: dict[tuple[int, int], IO[bytes]] = {}

    def write(self, data: Bytes, table: Table, rows: Table, kind: int, groups: Table) -> None:
        """Append reads (rows, with the read group of each) to the files of their groups."""
        for group in np.unique(groups).tolist():
            chosen = rows[groups == group]
            room = int((table[chosen, NAME_SIZE] + 2 * table[chosen, BASES] + 6).sum())
            out = np.empty(room, np.uint8)
            size = write_fastq(data, table, chosen, self._packed, out)
            self._file(group, kind).write(out[:size].data)
            with records_beside(self.path(group, kind)).open("ab") as records:
                records.write(table[chosen, ORDINAL].tobytes())

    def _file(self, group: int, kind: int) -> IO[bytes]:
        if (group, kind) not in self._files:
            path = self.path(group, kind)
            self._files[group, kind] = self._closing.enter_context(path.open("wb"))
        return self._files[group, kind]

    def path(self, group: int, kind: int) -> Path:
        return self._directory / f"{self._name}_group{group:04d}_{('single', 'R1', 'R2')[kind]}.fastq"

    def made(self, *kinds: int) -> list[tuple[Path, ...]]:
        """The paths of these kinds, group by group."""
        groups = sorted({group for group, kind in self._files if kind in kinds})
        return [tuple(self.path(g, k) for k in kinds if (g, k) in self._files) for g in groups]


def reads_of(
    stream: Readable,
    header: Header,
    content: Content,
    label: str,
    directory: Path,
    *,
    name: str,
    size: int,
) -> GivenBack:
    """Write the reads of a BAM's or a SAM's records to `directory`, in files whose names begin with `name`.

    `stream` gives what comes after the header; `size` is the size of the whole file, packed, in bytes.
    Where two thirds of the reads are pairs, those without a mate are left out with a warning; else
    all are taken as single reads.

    Raises UnreadableFileError for what is cut, damaged or holds no reads, and InvalidSubmission for
    reads without bases or qualities and for two reads of one name.
    """
    packed = content is not Content.SAM
    counts = _Counts()
    with ExitStack() as closing:
        outputs = _Outputs(directory, name, packed, closing)
        waiting: list[IO[bytes]] = [closing.enter_context(TemporaryFile(dir=directory)) for _ in range(_parts(size))]
        for data, table in _chunks(stream, header, scan_bam if packed else scan_sam, counts, content):
            rows = _reads_among(table, counts, label, header)
            if counts.faults:
                continue
            mates = (table[rows, FLAG] & PAIRED != 0) & (table[rows, FLAG] & (FIRST | SECOND) != 0)
            single = rows[~mates]
            counts.single += single.size
            outputs.write(data, table, single, _SINGLE, table[single, GROUP])
            _put_aside(data, table, rows[mates], packed, waiting)
        for part in waiting:
            if not counts.faults:
                _join(part, packed, outputs, counts, label)
            part.close()
    if counts.faults:
        raise InvalidSubmission(counts.faults)
    if not counts.reads:
        raise UnreadableFileError(Reason.NO_READS, f"The {content} holds no reads.")
    return _concluded(outputs, counts, label, content)


def _parts(size: int) -> int:
    """Scratch files to put mates in, each of at most 512 MB even if the file unpacks to 50 times its size."""
    return min(300, 1 + size * 50 // (512 << 20))


def _chunks(
    stream: Readable, header: Header, scan: Callable[..., tuple[int, int, int]], counts: _Counts, content: Content
) -> Iterator[tuple[Bytes, Table]]:
    """Bytes with the table of the whole records in them, until the end of the stream."""
    held = bytearray()
    table = np.empty((_ROWS, COLUMNS), np.int64)
    ended = False
    while not ended:
        more = stream.read(max(_BLOCK, len(held)))
        ended = not more
        held += more
        if ended and content is Content.SAM and held and not held.endswith(b"\n"):
            held += b"\n"
        data, used = np.frombuffer(held, np.uint8), 0
        while True:
            rows, size, state = scan(data[used:], header.references, header.groups, table, counts.records)
            if state == DAMAGED:
                message = f"The {content} is damaged after {counts.records + rows} records."
                raise UnreadableFileError(Reason.UNREADABLE_FILE, message)
            if not rows:
                break
            counts.records += rows
            yield data[used:], table[:rows]
            used += size
        held = bytearray(data[used:].data)
        if len(held) > 8 * LONGEST_LINE:
            raise UnreadableFileError(Reason.RECORD_TOO_LONG, f"A record is longer than {8 * LONGEST_LINE:,} bytes.")
    if held:
        message = f"The {content} ends in the middle of a record, after {counts.records} whole ones."
        raise UnreadableFileError(Reason.TRUNCATED_FILE, message)


def _reads_among(table: Table, counts: _Counts, label: str, header: Header) -> Table:
    """The rows of primary records; their faults are noted."""
    rows = np.flatnonzero(table[:, FLAG] & NOT_PRIMARY == 0)
    counts.reads += rows.size
    counts.hard_clipped += int(table[rows, HARD_CLIPPED].sum())
    for row in rows[table[rows, FAULT] != 0][: _MOST_FAULTS - len(counts.faults)].tolist():
        record, message = int(table[row, ORDINAL]), MESSAGES[int(table[row, FAULT])]
        line = None if header.lines is None else header.lines + record
        counts.faults.append(Annotation(Reason.MALFORMED_RECORD, message, file=label, record=record, line=line))
    return rows


def _put_aside(data: Bytes, table: Table, rows: Table, packed: bool, waiting: list[IO[bytes]]) -> None:
    part = table[rows, HASH].view(np.uint64) % np.uint64(len(waiting))
    for number in np.unique(part).tolist():
        chosen = rows[part == number]
        out = np.empty(int((table[chosen, NAME_SIZE] + 2 * table[chosen, BASES] + 49).sum()), np.uint8)
        waiting[number].write(out[: pack(data, table, chosen, packed, out)].data)
        if waiting[number].tell() > LARGEST_PART:
            message = "Too many reads have one name, or names that were made to be mistaken for each other."
            raise UnreadableFileError(Reason.DUPLICATE_READ_NAME, message)


def _join(part: IO[bytes], packed: bool, outputs: _Outputs, counts: _Counts, label: str) -> None:
    """Write the mates of one scratch file, in the order in which the first of each two came."""
    data = np.empty(part.tell(), np.uint8)
    part.seek(0)
    part.readinto(data.data)  # type: ignore[attr-defined]
    table = np.empty((0, COLUMNS), np.int64)
    table = np.empty((unpack(data, packed, table), COLUMNS), np.int64)
    if not len(table):
        return
    unpack(data, packed, table)
    order = np.lexsort((table[:, ORDINAL], table[:, HASH]))
    mates, twice = np.empty(len(table), np.int64), np.empty(len(table), np.int64)
    pair_up(data, table, order, mates, twice)
    for row in np.flatnonzero(twice >= 0)[: _MOST_FAULTS - len(counts.faults)].tolist():
        message = f"The read has the same name as record {table[twice[row], ORDINAL]}, and is the same mate."
        record = int(table[row, ORDINAL])
        counts.faults.append(Annotation(Reason.DUPLICATE_READ_NAME, message, file=label, record=record))
    here = np.arange(len(table))
    leaders = np.flatnonzero((mates >= 0) & (here < mates))
    followers = mates[leaders]
    first = table[leaders, FLAG] & FIRST != 0
    one, two = np.where(first, leaders, followers), np.where(first, followers, leaders)
    orphans = np.flatnonzero((mates < 0) & (twice < 0))
    counts.orphans += orphans.size
    outputs.write(data, table, one, _ONE, table[one, GROUP])
    outputs.write(data, table, two, _TWO, table[one, GROUP])
    outputs.write(data, table, orphans, _SINGLE, table[orphans, GROUP])


def _concluded(outputs: _Outputs, counts: _Counts, label: str, content: Content) -> GivenBack:
    warnings = []
    if counts.hard_clipped:
        message = (
            f"{counts.hard_clipped} reads are hard-clipped: bases that the machine read are missing from the {content}."
        )
        warnings.append(Annotation(Reason.MALFORMED_RECORD, message, file=label))
    alone = counts.single + counts.orphans
    paired = counts.reads - alone
    if not paired:
        if counts.orphans:
            message = f"Of no pair both mates are in the {content}; its reads were taken as single reads."
            warnings.append(Annotation(Reason.UNPAIRED_MATES, message, file=label))
        return GivenBack(tuple(outputs.made(_SINGLE)), tuple(warnings))
    if paired < _LEAST_PAIRED * counts.reads:
        message = (
            f"The {content} mixes {paired} reads in pairs with {alone} that have no mate;"
            " all were taken as single reads."
        )
        warnings.append(Annotation(Reason.UNPAIRED_MATES, message, file=label))
        lanes = [*outputs.made(_SINGLE), *outputs.made(_ONE), *outputs.made(_TWO)]
        return GivenBack(tuple(lanes), tuple(warnings))
    if alone:
        message = f"{alone} reads that have no mate in the {content} were left out: most of its reads are pairs."
        warnings.append(Annotation(Reason.UNPAIRED_MATES, message, file=label))
    return GivenBack(tuple(outputs.made(_ONE, _TWO)), tuple(warnings))
