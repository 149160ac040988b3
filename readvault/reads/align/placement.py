"""FASTQ in, BAM records out for the reads that `exact_placement` is certain of; the rest stays FASTQ for minimap2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from readvault.domain.errors import ProcessingFailure
from readvault.reads.align.bam_records import Bytes, Integers
from readvault.reads.align.bam_sort import SUB_BITS
from readvault.reads.align.bam_writer import copied, key_of, placed_record
from readvault.reads.align.exact_placement import encode, lie_as_mates, locate, score_one
from readvault.reads.align.short_read_index import KMER, ShortReadIndex
from readvault.reads.native import compiled

_NEWLINE, _AT, _SPACE, _TAB, _SLASH = 10, 64, 32, 9, 47
_LONGEST = 2048
_FIXED = 400  # of a record: fields, name, CIGAR and tags
_BLOCK = 4 << 20


class Stream(Protocol):
    """What FASTQ is read from."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Groups:
    """The read groups' tags as bytes, and the ordinal (from 0) of the template after each group's last one."""

    tags: NDArray[np.uint8]
    lengths: Integers
    ends: Integers


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a block: records one after the other, their keys and sizes; FASTQ of the rest and whose it is."""

    records: Bytes
    keys: NDArray[np.uint64]
    sizes: Integers
    rest: Bytes
    templates: Integers


class Placer:
    """Places the reads of block after block of FASTQ, one stream or two in step."""

    def __init__(self, index: ShortReadIndex, groups: Groups, *, by_place: bool) -> None:
        self._index = index
        self._groups = groups
        self._by_place = by_place
        self._state = np.zeros(6, dtype=np.int64)
        self.reads = 0
        self.templates = 0

    def place(self, streams: Sequence[Stream]) -> Iterator[Placed]:
        """Place all reads of one stream, or of two in step, a block at a time."""
        rests = [b""] * len(streams)
        while True:
            fresh = [s.read(max(_BLOCK - len(rest), _BLOCK // 4)) for s, rest in zip(streams, rests, strict=True)]
            if not any(fresh):
                break
            rests = [rest + new for rest, new in zip(rests, fresh, strict=True)]
            yield self._block(rests)
            rests = [rest[int(at) :] for rest, at in zip(rests, self._state[:2], strict=False)]
        if any(rests):
            raise ProcessingFailure("align", "the reads end within a record or mates are out of step")

    def _block(self, texts: list[bytes]) -> Placed:
        one = np.frombuffer(bytearray(texts[0]), dtype=np.uint8)
        other = np.frombuffer(bytearray(texts[1]), dtype=np.uint8) if len(texts) == 2 else one[:0]
        size = len(one) + len(other)
        most = size // 8 + 2
        records = np.empty(size + (_FIXED + self._groups.tags.shape[1]) * (size // 120 + 2), dtype=np.uint8)
        rest = np.empty(size, dtype=np.uint8)
        keys, sizes = np.empty(most, dtype=np.uint64), np.empty(most, dtype=np.int64)
        templates = np.empty(most, dtype=np.int64)
        index, groups = self._index, self._groups
        ok = _place_block(
            one,
            other,
            len(texts) == 2,
            index.bases,
            index.starts,
            index.keys,
            index.places,
            index.repeats,
            groups.tags,
            groups.lengths,
            groups.ends,
            self._by_place,
            self.templates,
            records,
            keys,
            sizes,
            rest,
            templates,
            self._state,
        )
        if not ok:
            raise ProcessingFailure("align", "the reads are no FASTQ")
        _, _, seen, written, placed, left = self._state.tolist()
        kept = int(sizes[:placed].sum())
        templates = templates[:left].copy()
        self.templates += seen
        self.reads += placed
        return Placed(records[:kept].copy(), keys[:placed].copy(), sizes[:placed].copy(), rest[:written], templates)


@compiled("int64(uint8[::1], int64, int64[::1])")
def _record_at(text: Bytes, at: int, found: Integers) -> int:
    """Find the record at a place: 1 whole, 0 not whole yet, -1 no FASTQ.

    `found` becomes: name, its length, bases, their length, qualities, end, whether the name is a plain one.
    """
    begin = at
    for line in range(3):
        ahead, first = text[at:], at
        size = len(ahead)
        for i in range(len(ahead)):
            if ahead[i] == _NEWLINE:
                size = i
                break
        at += size + 1
        if at > len(text):
            return 0
        if line == 0:
            found[0] = first + 1
        elif line == 1:
            found[2], found[3] = first, size
    found[4] = at  # as many qualities as bases: looking for the end would cost as much as all the rest
    at += found[3] + 1
    if at > len(text):
        return 0
    if text[at - 1] != _NEWLINE:
        return -1
    if text[begin] != _AT:
        return -1
    found[5] = at
    end = found[0]
    while text[end] != _NEWLINE and text[end] != _SPACE and text[end] != _TAB:
        end += 1
    length = end - found[0]
    found[1] = length
    # minimap2 cuts /1 and /2 off
    found[6] = 0 < length < 250 and not (length > 2 and text[end - 2] == _SLASH)
    return 1


@compiled("boolean(uint8[::1], int64[::1], uint8[::1], int64[::1])")
def _same_name(one: Bytes, found: Integers, other: Bytes, found_other: Integers) -> bool:
    if found[1] != found_other[1]:
        return False
    for i in range(found[1]):  # noqa: SIM110 - compiled code knows no generators
        if one[found[0] + i] != other[found_other[0] + i]:
            return False
    return True


@compiled(
    "boolean(uint8[::1], uint8[::1], boolean, uint8[::1], int64[::1], uint64[::1], int64[::1], int64[::1],"
    " uint8[:,::1], int64[::1], int64[::1], boolean, int64, uint8[::1], uint64[::1], int64[::1], uint8[::1],"
    " int64[::1], int64[::1])"
)
def _place_block(
    one: Bytes,
    other: Bytes,
    paired: bool,
    reference: Bytes,
    starts: Integers,
    keys: NDArray[np.uint64],
    places: Integers,
    repeats: Integers,
    groups: NDArray[np.uint8],
    group_lengths: Integers,
    group_ends: Integers,
    by_place: bool,
    first_template: int,
    records: Bytes,
    record_keys: NDArray[np.uint64],
    sizes: Integers,
    rest: Bytes,
    templates: Integers,
    state: Integers,
) -> bool:
    """Place whole templates of a block.

    `state` becomes: bytes used of each text, templates, bytes of the rest, records placed, templates left.
    """
    at, at_other, template, written, placed, left, end = 0, 0, first_template, 0, 0, 0, 0
    found, found_other = np.zeros(7, dtype=np.int64), np.zeros(7, dtype=np.int64)
    errors, errors_other = np.zeros(8, dtype=np.int64), np.zeros(8, dtype=np.int64)
    where, where_other = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    read, read_other = np.empty(_LONGEST, dtype=np.uint8), np.empty(_LONGEST, dtype=np.uint8)
    fields = np.zeros(8, dtype=np.int64)
    while True:
        status = _record_at(one, at, found)
        status_other = _record_at(other, at_other, found_other) if paired else 1
        if status < 0 or status_other < 0:
            return False
        if status == 0 or status_other == 0:
            break
        length, length_other = found[3], found_other[3] if paired else 0
        begin, begin_other = at, at_other
        at = found[5]
        at_other = found_other[5] if paired else 0
        start, start_other, score, score_other = -1, -1, -1, -1
        usable = found[6] == 1 and length < _LONGEST and length_other < _LONGEST
        usable = usable and (not paired or _same_name(one, found, other, found_other))
        if usable and encode(one, found[2], length, read):
            start = locate(read, length, reference, starts, keys, places, repeats, errors, where)
        if not paired and start >= 0:
            score = score_one(read, reference, start, length, 0, errors, where[2])
        if paired and start >= 0 and encode(other, found_other[2], length_other, read_other):
            start_other = locate(
                read_other, length_other, reference, starts, keys, places, repeats, errors_other, where_other
            )
            if start_other >= 0 and where[0] != where_other[0] and where[1] == where_other[1]:
                count, count_other = where[2], where_other[2]
                if where[0] == 0 and lie_as_mates(
                    start, length, start_other, length_other, errors, count, errors_other, count_other
                ):
                    sure = max(start + length - KMER + 1 - start_other, 0)
                    score = score_one(read, reference, start, length, 0, errors, count)
                    score_other = score_one(
                        read_other, reference, start_other, length_other, sure, errors_other, count_other
                    )
                elif where[0] == 1 and lie_as_mates(
                    start_other, length_other, start, length, errors_other, count_other, errors, count
                ):
                    sure = max(start_other + length_other - KMER + 1 - start, 0)
                    score = score_one(read, reference, start, length, sure, errors, count)
                    score_other = score_one(
                        read_other, reference, start_other, length_other, 0, errors_other, count_other
                    )
        if score < 0 or (paired and score_other < 0):
            written = copied(one[:at], begin, rest, written)
            if paired:
                written = copied(other[:at_other], begin_other, rest, written)
            templates[left] = template
            left += 1
            template += 1
            continue
        lane = np.searchsorted(group_ends, template, side="right")
        group = groups[lane, : group_lengths[lane]]
        origin = starts[where[1]]
        span = max(start + length, start_other + length_other) - min(start, start_other) if paired else 0
        if paired:
            fields[0] = 0x53 if where[0] else 0x63
            fields[3], fields[4], fields[5] = where[1], start_other - origin, -span if where[0] else span
        else:
            fields[0], fields[3], fields[4], fields[5] = 0x10 * where[0], -1, -1, 0
        fields[1], fields[2], fields[6], fields[7] = where[1], start - origin, where[2], score
        before = end
        end = placed_record(one, found[0], found[1], found[4], length, read, where[0] == 1, fields, group, records, end)
        rank = 2 * template
        record_keys[placed] = key_of(start, where[0], rank) if by_place else np.uint64(rank) << np.uint64(SUB_BITS)
        sizes[placed] = end - before
        placed += 1
        if paired:
            fields[0] = 0xA3 if where[0] else 0x93
            fields[2], fields[4], fields[5] = start_other - origin, start - origin, span if where[0] else -span
            fields[6], fields[7] = where_other[2], score_other
            before = end
            end = placed_record(
                other,
                found_other[0],
                found_other[1],
                found_other[4],
                length_other,
                read_other,
                where_other[0] == 1,
                fields,
                group,
                records,
                end,
            )
            rank = 2 * template + 1
            record_keys[placed] = (
                key_of(start_other, where_other[0], rank) if by_place else np.uint64(rank) << np.uint64(SUB_BITS)
            )
            sizes[placed] = end - before
            placed += 1
        template += 1
    state[0], state[1], state[2], state[3], state[4], state[5] = (
        at,
        at_other,
        template - first_template,
        written,
        placed,
        left,
    )
    return True
