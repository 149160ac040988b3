"""Are mates in step? Compared by the hashes of their names, in order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from readvault.domain.annotations import Annotation, Reason
from readvault.reads.validate.fastq_check import NameHashes
from readvault.reads.validate.fastq_lanes import Lane
from readvault.reads.validate.fastq_names import mate_of
from readvault.reads.validate.fastq_native import Hashes


def mate_faults(lane: Lane, hashes: Sequence[NameHashes]) -> list[Annotation]:
    """The first place at which mates are out of step, if any: the record counts from 1."""
    if lane.interleaved:
        return _interleaved_faults(lane.sources[0].label, hashes[0])
    if len(lane.sources) == 1:
        return []
    second = lane.sources[1]
    marks = [mate_of(source.titles[0]) for source in lane.sources]
    if marks[0] == marks[1] is not None:
        message = f"Both files hold mate {marks[0]} of the pairs."
        return [Annotation(Reason.UNPAIRED_MATES, message, file=second.label, record=1, line=1)]
    ordinal = 0
    for one, two in zip_longest(hashes[0].parts(), hashes[1].parts(), fillvalue=np.empty(0, np.int64)):
        size = min(one.size, two.size)
        if (place := _first_difference(one[:size], two[:size])) is not None:
            return [_out_of_step(second.label, ordinal + place + 1)]
        ordinal += size
    counts = [names.count for names in hashes]
    if counts[0] != counts[1]:
        message = f"The files of the pair hold {counts[0]} and {counts[1]} reads."
        shorter = lane.sources[counts.index(min(counts))]
        return [Annotation(Reason.UNPAIRED_MATES, message, file=shorter.label, record=min(counts) + 1)]
    return []


def _interleaved_faults(label: str, hashes: NameHashes) -> list[Annotation]:
    ordinal = 0
    for part in hashes.parts():
        even = part.size // 2 * 2
        if (place := _first_difference(part[:even:2], part[1:even:2])) is not None:
            record = ordinal + 2 * place + 2
            message = (
                "The file begins with two reads of one name, as interleaved pairs do,"
                f" but read {record} has another name than the one before it."
            )
            return [Annotation(Reason.UNPAIRED_MATES, message, file=label, record=record, line=record * 4 - 3)]
        ordinal += part.size
    if hashes.count % 2:
        message = "The last read of the interleaved pairs has no mate."
        return [Annotation(Reason.UNPAIRED_MATES, message, file=label, record=hashes.count)]
    return []


def _first_difference(one: Hashes, two: Hashes) -> int | None:
    different = np.flatnonzero(one != two)
    return int(different[0]) if different.size else None


def _out_of_step(label: str, record: int) -> Annotation:
    message = f"Mates are out of step: read {record} has another name than its mate; all before it are in step."
    return Annotation(Reason.UNPAIRED_MATES, message, file=label, record=record, line=record * 4 - 3)
