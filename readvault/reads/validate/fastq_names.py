"""What the names of reads tell: which template and mate a read is, and which machine made it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from readvault.domain.reads import Platform

_MATE_ENDINGS = {b"/1": 1, b"/2": 2}
_CASAVA = re.compile(rb"[ \t]([12]):[YN]:\d+:")
_LOOSE_ENDING = re.compile(rb"^(.+[._:|-])([12])$")

PLATFORM_NAMES: dict[Platform, re.Pattern[bytes]] = {
    Platform.OXFORD_NANOPORE: re.compile(
        rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|.*[ \t]runid=[0-9a-f]|.*_Basecall_(1D|2D|Alignment)"
    ),
    Platform.PACBIO_SMRT: re.compile(rb"m[A-Za-z0-9]+_[0-9]{6}_[0-9]{6}(_\w+)?/[0-9]+(/|[ \t]|$)"),
    Platform.ILLUMINA: re.compile(
        rb"(.*[ \t])?[A-Za-z0-9_-]+:\d+:[A-Za-z0-9_-]+:\d+:\d+:\d+:\d+([:/ \t]|$)"  # Casava 1.8
        rb"|[A-Za-z0-9_.-]+:\d+:\d+:-?\d+:-?\d+(#[0-9ACGTN+]+)?(/[12])?([ \t]|$)"  # before
    ),
}
"""How each platform names its reads (without `@`)."""


def template_of(identifier: bytes, endings: tuple[bytes, bytes] = (b"/1", b"/2")) -> bytes:
    """The name that mates share: the identifier without `/1` or `/2`."""
    return identifier[:-2] if identifier.endswith(endings) else identifier


def mate_of(title: bytes) -> int | None:
    """Which mate a title line says that it is: `/1` at the name's end, or Casava's `1:N:0:…` after it."""
    identifier, _, comment = title.partition(b" ")
    if mate := _MATE_ENDINGS.get(identifier[-2:]) or _MATE_ENDINGS.get(comment[:2]):
        return mate
    if match := _CASAVA.search(title):
        return int(match[1])
    return None


def identifier_of(title: bytes) -> bytes:
    """The first word of a title line, without `@`."""
    return title[1:].replace(b"\t", b" ").partition(b" ")[0]


def loose_mates(first: bytes, second: bytes) -> bool:
    """Whether two identifiers differ only in an ending such as `.1` and `.2` (fastq-dump's)."""
    one, two = _LOOSE_ENDING.match(first), _LOOSE_ENDING.match(second)
    return one is not None and two is not None and one[1] == two[1] and (one[2], two[2]) == (b"1", b"2")


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long reads are, in bases, and how good (mean Phred score)."""

    longest: int
    mean: float
    mean_quality: float


def detect_platform(titles: Sequence[bytes], lengths: Lengths, *, paired: bool) -> tuple[Platform, bool]:
    """The platform, and whether names prove it; else it is guessed from layout and lengths.

    Pairs and reads of at most 600 bases are guessed to be Illumina, longer ones PacBio HiFi when their
    mean quality is 25 or more, else nanopore.
    """
    names = [title[1:] for title in titles]
    for platform, pattern in PLATFORM_NAMES.items():
        if names and all(pattern.match(name) for name in names):
            return platform, True
    if paired or lengths.longest <= 600:
        return Platform.ILLUMINA, False
    if lengths.mean >= 1000 and lengths.mean_quality >= 25:
        return Platform.PACBIO_SMRT, False
    return Platform.OXFORD_NANOPORE, False
