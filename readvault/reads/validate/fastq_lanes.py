"""Which files belong together: mates, lanes and chunks, by their names and their first reads."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.reads import LibraryLayout, Platform
from readvault.reads.validate.fastq_names import PLATFORM_NAMES, identifier_of, loose_mates, mate_of, template_of
from readvault.reads.validate.formats import Compression

_EXTENSIONS = re.compile(r"(\.(fastq|fq|gz|bgz|bgzf|zst))+$", re.IGNORECASE)
_ILLUMINA_MATE = re.compile(r"^(.*[._-]R)([12])([._-].*)?$", re.IGNORECASE)
_NUMBERED = re.compile(r"^(.*[._-])(\d+)$")
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Source:
    """One FASTQ file. `titles` are its first two title lines; none when it could not be opened.

    Where its reads were given back from an aligned file, `records` holds the ordinal that each one's record
    has there, from 1, as 64-bit integers.
    """

    path: Path
    label: str
    compression: Compression
    titles: tuple[bytes, ...]
    records: Path | None = None

    @property
    def first(self) -> bytes:
        """The identifier of the first read."""
        return identifier_of(self.titles[0]) if self.titles else b""

    def record(self, ordinal: int) -> int:
        """Which record of the submitted file a read is, both counted from 1."""
        if self.records is None:
            return ordinal
        with self.records.open("rb") as file:
            file.seek(8 * (ordinal - 1))
            return int.from_bytes(file.read(8), sys.byteorder)


@dataclass(frozen=True, slots=True)
class Lane:
    """One file of single or interleaved reads, or two files of mates."""

    sources: tuple[Source, ...]
    interleaved: bool = False

    @property
    def layout(self) -> LibraryLayout:
        """Whether the lane holds pairs."""
        return LibraryLayout.PAIRED if len(self.sources) == 2 or self.interleaved else LibraryLayout.SINGLE

    @property
    def endings(self) -> tuple[bytes, bytes]:
        """The endings of names that tell mates apart: `/1` and `/2` unless the first reads show others."""
        if len(self.sources) == 2:
            one, two = (source.first for source in self.sources)
            if template_of(one) != template_of(two) and loose_mates(one, two):
                return one[-2:], two[-2:]
        return b"/1", b"/2"


def arrange(sources: Sequence[Source]) -> tuple[list[Lane], list[Annotation]]:
    """Put mates together and lanes in the order of their names; and say which file has lost its mate.

    Two files are mates when their names differ only in R1 and R2 (or a last 1 and 2, unless these
    number the chunks of a nanopore run); where no names do so, when just these two begin with one read.
    """
    pairs, rest, faults = _by_illumina_names(sources)
    more, rest = _by_last_number(rest)
    pairs += more
    if not pairs:
        pairs, rest = _by_first_reads(rest)
    if pairs:
        faults += [_without_mate(source) for source in rest]
        rest = []
    lanes = [Lane(pair) for pair in pairs]
    lanes += [Lane((source,), interleaved=is_interleaved(source)) for source in rest]
    return sorted(lanes, key=lambda lane: natural(lane.sources[0].label)), faults


def _by_illumina_names(
    sources: Iterable[Source],
) -> tuple[list[tuple[Source, Source]], list[Source], list[Annotation]]:
    found: dict[tuple[str, str], dict[str, Source]] = defaultdict(dict)
    rest: list[Source] = []
    for source in sources:
        match = _ILLUMINA_MATE.match(_EXTENSIONS.sub("", source.label))
        key = (match[1], match[3] or "") if match else ("", "")
        if match is None or match[2] in found[key]:
            rest.append(source)
        else:
            found[key][match[2]] = source
    pairs = [(mates["1"], mates["2"]) for mates in found.values() if len(mates) == 2]
    alone = [source for mates in found.values() if len(mates) == 1 for source in mates.values()]
    if pairs:
        return pairs, rest, [_without_mate(source) for source in alone]
    return [], rest + alone, []


def _by_last_number(sources: list[Source]) -> tuple[list[tuple[Source, Source]], list[Source]]:
    families: dict[str, dict[int, Source]] = defaultdict(dict)
    for source in sources:
        if match := _NUMBERED.match(_EXTENSIONS.sub("", source.label)):
            families[match[1]].setdefault(int(match[2]), source)
    pairs = [
        (family[1], family[2])
        for family in families.values()
        if set(family) == {1, 2} and not _are_nanopore_chunks(family.values())
    ]
    taken = {id(source) for pair in pairs for source in pair}
    return pairs, [source for source in sources if id(source) not in taken]


def _are_nanopore_chunks(sources: Iterable[Source]) -> bool:
    name = PLATFORM_NAMES[Platform.OXFORD_NANOPORE]
    return all(source.titles and name.match(source.titles[0][1:]) for source in sources)


def _by_first_reads(sources: list[Source]) -> tuple[list[tuple[Source, Source]], list[Source]]:
    """Mates by their first reads, or their names would hide from everybody that a human read has a mate."""
    families: dict[bytes, list[Source]] = defaultdict(list)
    for source in sources:
        if template := template_of(source.first):
            families[template].append(source)
    pairs = []
    for family in families.values():
        if len(family) == 2 and not _are_nanopore_chunks(family):
            one, two = sorted(family, key=lambda source: mate_of(source.titles[0]) or 0)
            pairs.append((one, two))
    taken = {id(source) for pair in pairs for source in pair}
    return pairs, [source for source in sources if id(source) not in taken]


def is_interleaved(source: Source) -> bool:
    """Whether the first two reads are mates of each other."""
    if len(source.titles) < 2:
        return False
    one, two = source.titles
    alike = template_of(identifier_of(one)) == template_of(identifier_of(two)) != b""
    return alike and (mate_of(one), mate_of(two)) in ((1, 2), (None, None))


def _without_mate(source: Source) -> Annotation:
    message = "The file has no mate, but other files of the sample are pairs; its partner is missing or misnamed."
    return Annotation(Reason.UNPAIRED_MATES, message, file=source.label)


def natural(label: str) -> list[tuple[int, str]]:
    """A sort key in which 2 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(label) if part]
