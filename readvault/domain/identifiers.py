"""Accessions and accession versions, as Loculus writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

ALPHABET = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # base 34: no I, no O
BASE = len(ALPHABET)
MIN_DIGITS = 6
_ACCESSION_VERSION = re.compile(r"([A-Za-z0-9_]+)\.([1-9][0-9]*)")


def accession_of(number: int, prefix: str) -> str:
    """The accession of the `number`-th entry, with its check character.

    >>> accession_of(1, "LOC_"), accession_of(1234567, "LOC_")
    ('LOC_000001Y', 'LOC_00XDYTS')
    """
    digits = ""
    while number:
        number, digit = divmod(number, BASE)
        digits = ALPHABET[digit] + digits
    body = digits.rjust(MIN_DIGITS, "0")
    return prefix + body + check_character(body)


def number_of(accession: str, prefix: str) -> int | None:
    """Which entry has this accession; None for a name that isn't one of ours.

    >>> number_of("LOC_00XDYTS", "LOC_"), number_of("LOC_00XDYTT", "LOC_")
    (1234567, None)
    """
    body = accession.removeprefix(prefix)[:-1]
    if len(body) < MIN_DIGITS or any(digit not in ALPHABET for digit in body):
        return None
    number = 0
    for digit in body:
        number = number * BASE + ALPHABET.index(digit)
    return number if accession_of(number, prefix) == accession else None


def check_character(body: str) -> str:
    """The Luhn-mod-34 check character of an accession's body."""
    total = 0
    for place, character in enumerate(reversed(body)):
        addend = ALPHABET.index(character) * (2 if place % 2 == 0 else 1)
        total += addend // BASE + addend % BASE
    return ALPHABET[-total % BASE]


@dataclass(frozen=True, slots=True, order=True)
class AccessionVersion:
    """One version of one entry, written `LOC_000001Y.1`. Versions count from 1."""

    accession: str
    version: int

    def __str__(self) -> str:
        return f"{self.accession}.{self.version}"

    @classmethod
    def parse(cls, text: str) -> AccessionVersion:
        """Read `accession.version`; raises ValueError for anything else."""
        match = _ACCESSION_VERSION.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no accession version; expected for example LOC_000001Y.1")
        return cls(match[1], int(match[2]))
