"""A sample's aligned reads as lines of SILO, from the BAM that becomes public.

A line is a fragment: mates are merged on the reference (`layout` has the rules), what lies between them is not known.
Mates on different segments, or with a wide gap between them, have a line each, and so has every mate where the
organism says `reads`. Lines stand in the order in which fragments begin on the reference. They are a
function of the BAM and the organism: threads, batches and the machine are no part of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from readvault.domain import silo_lines
from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Pipeline
from readvault.domain.reports import SiloReport
from readvault.reads.align.bam_records import BamReader, Bytes, Integers, record_offsets
from readvault.reads.align.bam_sort import RecordSorter
from readvault.reads.call import fragments
from readvault.reads.call.gene_annotation import Gene, load_genes
from readvault.reads.sample import Alignment, ChosenReference, Segment
from readvault.reads.silo import row_writer, templates
from readvault.reads.silo.codons import GeneTable
from readvault.reads.silo.line_check import count_lines
from readvault.reads.silo.lines import FILE_NAME, FrameWriter

STEP = "silo"
_OUT_BYTES = 4 << 20
_BATCH_BYTES, _RUN_BYTES = 8 << 20, 16 << 20
"""Small enough for the allocator to give the same memory again: fresh pages cost more than what is done in them."""

_INSERTIONS = 1 << 16
_SMALLEST_RECORD = 37
_FAULTS = {
    row_writer.NO_MATE_NUMBER: "the BAM has a mate that is neither the first nor the last of its template",
    row_writer.TWICE: "the BAM has a read twice",
}


def convert(
    alignment: Alignment,
    reference: ChosenReference,
    *,
    names: tuple[str, ...],
    pipeline: Pipeline,
    wanted: bool,
    directory: Path,
) -> SiloReport:
    """Write a sample's lines as its organism wants them, or nothing where no reads are published.

    `names` are the keys of the reference's segments. Raises ProcessingFailure as `write` does.
    """
    rules = pipeline.silo
    minimum = rules.min_base_quality
    if minimum is None:
        minimum = pipeline.thresholds(alignment.platform).min_base_quality
    if not wanted:
        return SiloReport(written=False, min_base_quality=minimum)
    return write(
        alignment.bam,
        reference.segments,
        names=names,
        genes=load_genes(reference.genes, reference.segments) if rules.amino_acids else (),
        merged=rules.mode == "fragments",
        min_base_quality=minimum,
        directory=directory,
    )


def write(
    bam: Path,
    segments: tuple[Segment, ...],
    *,
    names: tuple[str, ...],
    genes: tuple[Gene, ...] = (),
    merged: bool = True,
    min_base_quality: int,
    directory: Path,
) -> SiloReport:
    """Write `reads.silo.ndjson.zst` to `directory`.

    `names` are the segments' keys, `genes` those whose amino acids are written. With `merged` False each mate has
    a line of its own. Raises ProcessingFailure when the BAM is damaged, lies on another reference or
    has a read twice, or when keys clash.
    """
    maker = _Lines(segments, names, genes, merged=merged, minimum=min_base_quality)
    scratch = directory / "silo.scratch"
    scratch.mkdir()
    try:
        with BamReader(bam, step=STEP, batch_bytes=_BATCH_BYTES) as reader, FrameWriter(directory / FILE_NAME) as out:
            if reader.segments != tuple((segment.name, len(segment.sequence)) for segment in segments):
                raise ProcessingFailure(STEP, "the alignment lies on another reference")
            for records in _in_order(reader, maker, scratch) if merged else _taken(reader, maker):
                for lines in maker.of(records):
                    out.write(lines)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return maker.report()


def _taken(reader: BamReader, maker: _Lines) -> Iterator[Bytes]:
    while True:
        yield maker.take(reader).content
        if reader.at_end:
            return


def _in_order(reader: BamReader, maker: _Lines, scratch: Path) -> Iterator[Bytes]:
    """The records by template, those of mates one behind the other."""
    with RecordSorter(scratch, run_bytes=_RUN_BYTES) as sorter:
        while True:
            records = maker.take(reader)
            sorter.add(records.content, records.keys, records.sizes)
            if reader.at_end:
                break
        yield from sorter.sorted()


@dataclass(slots=True)
class _Counts:
    reads: int = 0
    left_out: int = 0
    lines: int = 0
    merged: int = 0


@dataclass(slots=True)
class _Room:
    """Memory for lines and what they are made from, as large as the longest fragment so far needs."""

    out: Bytes = field(default_factory=lambda: np.empty(_OUT_BYTES, dtype=np.uint8))
    batch: Bytes = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    scratch: NDArray[np.uint8] = field(default_factory=lambda: np.empty((4, 0), dtype=np.uint8))
    events: NDArray[np.int64] = field(default_factory=lambda: np.empty((3, 2 * _INSERTIONS, 4), dtype=np.int64))
    seen: Bytes = field(default_factory=lambda: np.zeros(1 << 10, dtype=np.uint8))

    def for_batch(self, size: int) -> Bytes:
        """Room for the records of a batch; the same memory each time, since fresh pages cost more than filling them."""
        if size > len(self.batch):
            self.batch = np.empty(size, dtype=np.uint8)
        return self.batch

    def hold(self, longest: int, largest_ordinal: int) -> None:
        """Grow for a fragment of two such reads, and for so large an ordinal."""
        width = 4 * longest + row_writer.WIDEST_GAP
        if width > self.scratch.shape[1]:
            self.scratch = np.empty((4, width), dtype=np.uint8)
        if largest_ordinal // 4 >= len(self.seen):
            more = np.zeros(max(2 * len(self.seen), largest_ordinal // 4 + 1) - len(self.seen), dtype=np.uint8)
            self.seen = np.concatenate((self.seen, more))


class _Lines:
    """Makes lines of records and counts them."""

    def __init__(
        self,
        segments: tuple[Segment, ...],
        names: tuple[str, ...],
        genes: tuple[Gene, ...],
        *,
        merged: bool,
        minimum: int,
    ) -> None:
        self._genes = GeneTable.of(genes, segments)
        self._merged = merged
        self._minimum = minimum
        self._names = (*names, *self._genes.names)
        if (taken := silo_lines.clash(self._names)) is not None:
            raise ProcessingFailure(STEP, f"two segments or genes are called {taken}, or it is a word of the lines")
        keys = [b"," + silo_lines.key(name) for name in self._names]
        self._keys = np.frombuffer(b"".join(keys), dtype=np.uint8).copy()
        self._key_ends = np.cumsum([0, *map(len, keys)]).astype(np.int64)
        lengths = [len(segment.sequence) for segment in segments]
        self._segment_lengths = np.array(lengths, dtype=np.int64)
        self._starts = (np.cumsum([0, *lengths])[:-1]).astype(np.int64)
        self._lengths = np.concatenate((self._segment_lengths, self._genes.codons)).astype(np.int64)
        self._room = _Room()
        self._counts = _Counts()

    def take(self, reader: BamReader) -> templates.Records:
        """The next records that become lines."""
        batch = reader.read()
        if not fragments.are_sound(batch, self._segment_lengths):
            raise ProcessingFailure(STEP, "the BAM has a damaged record")
        records = templates.take(batch, self._starts, self._room.for_batch(len(batch.buffer)))
        if records is None:
            raise ProcessingFailure(STEP, "the BAM has a read that is not named by its ordinal")
        self._room.hold(records.longest, records.largest_ordinal)
        self._counts.reads += len(records.sizes)
        self._counts.left_out += records.left_out
        return records

    def of(self, records: Bytes) -> Iterator[memoryview]:
        """The lines of whole records, some millions of bytes at a time, each of them checked."""
        offset = np.empty(len(records) // _SMALLEST_RECORD + 1, dtype=np.int64)
        count, end = record_offsets(records, len(records), offset)
        assert end == len(records)
        offset = offset[:count].copy()
        state = np.zeros(4, dtype=np.int64)
        while state[0] < count:
            written = self._write(records, offset, state)
            if written:
                yield self._checked(written, int(state[1]))
                state[1] = 0
            elif state[0] < count:
                self._room.out = np.empty(int(state[3]), dtype=np.uint8)
        self._counts.merged += int(state[2])

    def _write(self, records: Bytes, offset: Integers, state: Integers) -> int:
        genes, room = self._genes, self._room
        written = int(
            row_writer.write_lines(
                records,
                offset,
                state,
                self._merged,
                self._minimum,
                self._keys,
                self._key_ends,
                len(self._segment_lengths),
                genes.segment,
                genes.reverse,
                genes.first,
                genes.places,
                genes.reach,
                genes.rest,
                genes.expected,
                room.scratch,
                room.events,
                room.seen,
                room.out,
            )
        )
        if written < 0:
            raise ProcessingFailure(STEP, _FAULTS[written])
        return written

    def _checked(self, written: int, lines: int) -> memoryview:
        made = self._room.out[:written]
        counted = count_lines(made, self._keys, self._key_ends, self._lengths, len(self._segment_lengths))
        if counted != lines:
            raise ProcessingFailure(STEP, "a line of SILO reads breaks the format")
        self._counts.lines += lines
        return memoryview(made)

    def report(self) -> SiloReport:
        """What was written."""
        counts = self._counts
        return SiloReport(
            written=True,
            reads=counts.reads,
            left_out=counts.left_out,
            lines=counts.lines,
            merged_pairs=counts.merged,
            min_base_quality=self._minimum,
            genes=len(self._genes.names),
        )
