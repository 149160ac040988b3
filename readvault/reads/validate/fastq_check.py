"""The fast check of FASTQ: is every record of a file right? Compiled loops over blocks of text.

It only says yes or no. Where it says no, `fastq_faults` reads the file again, slowly, and says what
is wrong where. Both know the same rules; a test holds them to it.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from readvault.reads.validate import fastq_native, fastq_stream
from readvault.reads.validate.fastq_native import Figures, Hashes
from readvault.reads.validate.fastq_stream import BLOCK, LONGEST_LINE, Readable, Window

BASES = b"ACGTUNRYKMSWBDHVacgtunrykmswbdhv."
"""IUPAC letters; U is read as T and `.` as N, as ENA does."""
TITLE_CHARACTERS = bytes(range(32, 127)) + b"\t"
WORST_QUALITY, BEST_QUALITY = 33, 126
_CLASSES = np.full(256, fastq_native.BAD, np.uint8)
_CLASSES[list(BASES)] = 0
_CLASSES[list(b"U." + string.ascii_lowercase.encode())] |= fastq_native.RESHAPE
_SOLEXA_LOWEST, _SANGER_HIGHEST = 59, 80
_TITLES_KEPT = 50
_SMALLEST_RECORD = len(b"@a\nA\n+\nI\n")
_KEYS = np.frombuffer(secrets.token_bytes(16), np.uint64).copy()
"""Of all name hashes of this process: mates must hash alike, and nobody may know how."""


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

    def take(self, figures: Figures) -> None:
        """Take over what the compiled check counted."""
        counted = [int(figure) for figure in figures]
        self.reads = counted[fastq_native.READS]
        self.bases = counted[fastq_native.BASES]
        self.shortest = counted[fastq_native.SHORTEST] if self.reads else 0
        self.longest = counted[fastq_native.LONGEST]
        self.quality_sum = counted[fastq_native.QUALITY_SUM]
        self.lowest_character = counted[fastq_native.LOWEST]
        self.highest_character = counted[fastq_native.HIGHEST]
        self.carriage_returns = bool(counted[fastq_native.CARRIAGE_RETURNS])
        self.reshaped_bases = bool(counted[fastq_native.RESHAPED])

    def keep_titles(self, records: Window, used: int) -> None:
        """Keep the first title lines of the file."""
        if wanted := _TITLES_KEPT - len(self.titles):
            lines = records.text[:used].tobytes().split(b"\n", 4 * wanted)[:-1]
            self.titles += [title.rstrip(b"\r") for title in lines[0::4]]


class NameHashes:
    """A 64-bit hash of each read's template name, in order, in a scratch file instead of in memory.

    It is keyed at random, so that nobody can make names collide. `endings` of names are no part of them.
    """

    def __init__(self, directory: Path, endings: tuple[bytes, bytes] = (b"/1", b"/2")) -> None:
        self._file: IO[bytes] = TemporaryFile(dir=directory)  # noqa: SIM115 (lives as long as the hashes)
        self.endings = np.frombuffer(b"".join(endings), np.uint8).copy()
        self.count = 0

    def add(self, hashes: Hashes) -> None:
        """Add those of the next reads."""
        self._file.write(hashes.tobytes())
        self.count += hashes.size

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


def check(stream: Readable, profile: Profile, names: NameHashes, block: int = BLOCK) -> bool:
    """Whether all records of a stream are right. Fills `profile` and `names`, as far as they are."""
    figures = np.zeros(fastq_native.RESHAPED + 1, np.int64)
    figures[fastq_native.SHORTEST] = LONGEST_LINE
    figures[fastq_native.LOWEST], figures[fastq_native.HIGHEST] = BEST_QUALITY, WORST_QUALITY
    window = Window()
    more = True
    while more:
        more = window.fill(stream, block)
        hashes = np.empty(window.size // _SMALLEST_RECORD + 1, np.int64)
        before = int(figures[fastq_native.READS])
        used = fastq_native.check_records(
            window.text, window.size, LONGEST_LINE, _CLASSES, names.endings, _KEYS, figures, hashes
        )
        if used == fastq_native.WRONG:
            return False
        names.add(hashes[: int(figures[fastq_native.READS]) - before])
        profile.keep_titles(window, used)
        window.drop(used)
        if window.size > fastq_stream.LONGEST_RECORD:
            return False
    profile.take(figures)
    return window.size == 0
