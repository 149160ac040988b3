"""The fast check of FASTQ: is every record of a file right? A few calls in C for thousands of reads.

It only says yes or no. Where it says no, `fastq_faults` reads the file again, slowly, and says what
is wrong where. Both know the same rules; a test holds them to it.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import methodcaller
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import numpy.typing as npt

from readvault.reads.fastq_names import template_of
from readvault.reads.fastq_stream import LONGEST_LINE, Batch

PLAIN_BASES = b"ACGTN"
BASES = b"ACGTUNRYKMSWBDHVacgtunrykmswbdhv."
"""IUPAC letters; U is read as T and `.` as N, as ENA does."""
TITLE_CHARACTERS = bytes(range(32, 127)) + b"\t"
WORST_QUALITY, BEST_QUALITY = 33, 126
_RESHAPED = b"Uu." + string.ascii_lowercase.encode()
_SOLEXA_LOWEST, _SANGER_HIGHEST = 59, 80
_TITLES_KEPT = 50
_is_title = methodcaller("startswith", b"@")

Hashes = npt.NDArray[np.int64]


@dataclass(slots=True)
class Profile:
    """What is known of the reads of one file so far. Lengths are bases, qualities Phred scores."""

    reads: int = 0
    bases: int = 0
    shortest: int = 0
    longest: int = 0
    quality_sum: int = 0
    lowest_character: int = BEST_QUALITY
    highest_character: int = WORST_QUALITY
    carriage_returns: bool = False
    reshaped_bases: bool = False
    """Some base has to be rewritten: lower case, U, or a dot."""
    titles: list[bytes] = field(default_factory=list)

    @property
    def looks_like_phred64(self) -> bool:
        """Whether the quality characters fit the old Illumina and Solexa scales and not today's."""
        return self.lowest_character >= _SOLEXA_LOWEST and self.highest_character >= _SANGER_HIGHEST

    def add(self, lengths: npt.NDArray[np.int64], qualities: npt.NDArray[np.uint8], titles: list[bytes]) -> None:
        """Count a batch in."""
        self.shortest = min(self.shortest or LONGEST_LINE, int(lengths.min()))
        self.longest = max(self.longest, int(lengths.max()))
        self.reads += lengths.size
        self.bases += qualities.size
        self.quality_sum += int(qualities.sum(dtype=np.uint64)) - WORST_QUALITY * qualities.size
        self.lowest_character = min(self.lowest_character, int(qualities.min()))
        self.highest_character = max(self.highest_character, int(qualities.max()))
        self.titles += titles[: _TITLES_KEPT - len(self.titles)]


class NameHashes:
    """A 64-bit hash of each read's template name, in order, in a scratch file instead of in memory.

    The hash is Python's own for bytes: keyed at random, so that nobody can make names collide.
    """

    def __init__(self, directory: Path, endings: tuple[bytes, bytes] = (b"/1", b"/2")) -> None:
        self._file: IO[bytes] = TemporaryFile(dir=directory)  # noqa: SIM115 (lives as long as the hashes)
        self._endings = endings
        self.count = 0

    def add(self, identifiers: list[bytes]) -> None:
        """Add the next reads."""
        together = b" ".join(identifiers)
        if any(ending in together for ending in self._endings):
            identifiers = [template_of(identifier, self._endings) for identifier in identifiers]
        self._file.write(np.fromiter(map(hash, identifiers), np.int64, len(identifiers)).tobytes())
        self.count += len(identifiers)

    def parts(self, size: int = 1 << 20, *, every: int = 1) -> Iterator[Hashes]:
        """The hashes in order (the first of each `every`), at most `size` at a time, which `every` divides."""
        position = 0
        while True:
            self._file.seek(position)
            data = self._file.read(size * 8)
            if not data:
                return
            position += len(data)
            yield np.frombuffer(data, np.int64)[::every]

    def close(self) -> None:
        """Drop them."""
        self._file.close()


def check(lines: Batch, profile: Profile) -> list[bytes] | None:
    """Check whole records: their identifiers when all are right, else None. Counts them into `profile`."""
    if len(lines) % 4 or not lines:
        return None
    if b"\r" in b"".join(lines):
        profile.carriage_returns = True
        lines = [line.rstrip(b"\r") for line in lines]
    titles, sequences, separators, qualities = lines[0::4], lines[1::4], lines[2::4], lines[3::4]
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    if not (
        all(map(_is_title, titles))
        and _separators_are_right(titles, separators)
        and np.array_equal(lengths, np.fromiter(map(len, qualities), np.int64, len(qualities)))
        and lengths.min() > 0
        and lengths.max() <= LONGEST_LINE
        and max(map(len, titles)) <= LONGEST_LINE
        and _bases_are_right(sequences, profile)
    ):
        return None
    characters = np.frombuffer(b"".join(qualities), np.uint8)
    if characters.min() < WORST_QUALITY or characters.max() > BEST_QUALITY:
        return None
    identifiers = _identifiers(titles)
    if identifiers is not None:
        profile.add(lengths, characters, titles)
    return identifiers


def _separators_are_right(titles: list[bytes], separators: list[bytes]) -> bool:
    """Each is `+`, alone or followed by the title once more."""
    if separators.count(b"+") == len(separators):
        return True
    return all(
        separator == b"+" or (separator[:1] == b"+" and separator[1:] == title[1:])
        for title, separator in zip(titles, separators, strict=True)
    )


def _bases_are_right(sequences: list[bytes], profile: Profile) -> bool:
    unusual = b"".join(sequences).translate(None, PLAIN_BASES)
    if unusual:
        if unusual.translate(None, BASES):
            return False
        if len(unusual.translate(None, _RESHAPED)) < len(unusual):
            profile.reshaped_bases = True
    return True


def _identifiers(titles: list[bytes]) -> list[bytes] | None:
    """The first words, without `@`; None when one is empty or has a character that no name may have."""
    together = b"".join(titles)
    if together.translate(None, TITLE_CHARACTERS):
        return None
    if b"\t" in together:
        titles = [title.replace(b"\t", b" ") for title in titles]
    identifiers = [title[1:].partition(b" ")[0] for title in titles]
    return identifiers if all(identifiers) else None
