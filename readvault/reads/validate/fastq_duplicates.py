"""What occurs twice: read names in one file, found by their hashes and shown by their names; and whole files."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from readvault.domain.annotations import Annotation, Reason
from readvault.reads.validate.fastq_check import NameHashes, Profile
from readvault.reads.validate.fastq_lanes import Source
from readvault.reads.validate.fastq_names import identifier_of, template_of
from readvault.reads.validate.fastq_native import Hashes
from readvault.reads.validate.fastq_stream import batches
from readvault.reads.validate.formats import Decompressed

_AT_ONCE = 1 << 23
_MOST_CANDIDATES = 10_000
_MOST_FAULTS = 1000


def find_duplicates(hashes: NameHashes, stream: Decompressed, source: Source, *, every: int = 1) -> list[Annotation]:
    """One annotation for each read whose name came before in the file; record and line are 1-based.

    `every=2` looks at first mates of an interleaved file only. Memory is bounded: the hashes are
    sorted in as many passes as it takes, and names are read again only where hashes are equal.
    """
    twice = _hashes_that_repeat(hashes, every)
    if not twice.size:
        return []
    first: dict[bytes, tuple[int, bytes]] = {}
    found: list[Annotation] = []
    apart = False
    for ordinal, identifier in _identifiers_with(hashes, twice, stream, every):
        before, name = first.setdefault(template_of(identifier), (ordinal, identifier))
        if before == ordinal:
            continue
        if name == identifier:
            message = f"The read has the same name as record {source.record(before)}."
            found.append(_fault(Reason.DUPLICATE_READ_NAME, message, source, ordinal))
        elif not apart:
            apart = True
            message = (
                f"The read is the mate of record {source.record(before)}; mates must be in two files in the same order,"
                " or one right after the other."
            )
            found.append(_fault(Reason.UNPAIRED_MATES, message, source, ordinal))
        if len(found) == _MOST_FAULTS:
            break
    return found


def repeated_files(files: Sequence[tuple[Source, Profile]], limit: int) -> list[Annotation]:
    """A warning for each file with exactly the bases of an earlier one: R1 sent as R2 too, a lane sent twice."""
    alike: dict[tuple[int, ...], list[Source]] = defaultdict(list)
    for source, profile in files:
        figures = (profile.reads, profile.bases, profile.quality_sum, profile.shortest, profile.longest)
        alike[figures].append(source)
    seen: set[bytes] = set()
    repeated = set()
    for group in alike.values():
        for source in group if len(group) > 1 else ():
            digest = _digest_of_bases(source, limit)
            if digest in seen:
                repeated.add(source.path)
            seen.add(digest)
    message = "All reads have the same bases as those of another file; was one file sent as both mates, or twice?"
    return [
        Annotation(Reason.REPEATED_FILE, message, file=source.label) for source, _ in files if source.path in repeated
    ]


def _digest_of_bases(source: Source, limit: int) -> bytes:
    digest = hashlib.blake2b()
    with Decompressed(source.path, source.compression, limit=limit) as stream:
        for lines in batches(stream):
            digest.update(b"\n".join([*lines[1::4], b""]))
    return digest.digest()


def _fault(reason: Reason, message: str, source: Source, ordinal: int) -> Annotation:
    line = ordinal * 4 - 3 if source.records is None else None
    return Annotation(reason, message, file=source.label, record=source.record(ordinal), line=line)


def _hashes_that_repeat(hashes: NameHashes, every: int) -> Hashes:
    passes = hashes.count // every // _AT_ONCE + 1
    repeated: list[Hashes] = []
    for turn in range(passes):
        chosen = np.concatenate([part[part % passes == turn] for part in hashes.parts(every=every)])
        chosen.sort()
        repeated.append(np.unique(chosen[1:][chosen[1:] == chosen[:-1]])[:_MOST_CANDIDATES])
    return np.concatenate(repeated)[:_MOST_CANDIDATES]


def _identifiers_with(
    hashes: NameHashes, wanted: Hashes, stream: Decompressed, every: int
) -> Iterator[tuple[int, bytes]]:
    """Record (from 1) and identifier of the reads that have one of the wanted hashes."""
    start = 0
    places = _places(hashes, wanted, every)
    place = next(places, None)
    for lines in batches(stream):
        size = len(lines) // 4
        while place is not None and place < start + size:
            title = lines[(place - start) * 4]
            yield place + 1, identifier_of(title)
            place = next(places, None)
        if place is None:
            return
        start += size


def _places(hashes: NameHashes, wanted: Hashes, every: int) -> Iterator[int]:
    start = 0
    for part in hashes.parts(every=every):
        yield from (int(place) for place in (np.flatnonzero(np.isin(part, wanted)) + start) * every)
        start += part.size
