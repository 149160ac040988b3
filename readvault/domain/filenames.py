"""Which names a submitted or processed file may have. A name is a label: never a path, a key or an argument."""

from __future__ import annotations

import re
import unicodedata

from readvault.domain.reads import FileFormat

MAX_LENGTH = 255
FORBIDDEN = '<>:"/\\|?*'
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
"""Nearly all names; nothing else needs to be looked at in them."""


_PACKED = re.compile(r"\.(gz|bgz|bgzf|zst)$")
_ENDINGS = {
    ".fastq": FileFormat.FASTQ,
    ".fq": FileFormat.FASTQ,
    ".bam": FileFormat.BAM,
    ".cram": FileFormat.CRAM,
    ".sam": FileFormat.SAM,
}


def format_of(name: str) -> FileFormat | None:
    """The format of reads that a file's name tells, None when it tells none: content decides later.

    >>> format_of("a_R1.fastq.gz"), format_of("a.BAM"), format_of("notes.txt")
    (<FileFormat.FASTQ: 'FASTQ'>, <FileFormat.BAM: 'BAM'>, None)
    """
    plain = _PACKED.sub("", name.lower())
    return next((kind for ending, kind in _ENDINGS.items() if plain.endswith(ending)), None)


def fault_of(name: str) -> str | None:
    """Why a file may not have this name, or None. Loculus's rules, and no other control or direction character."""
    if _PLAIN.fullmatch(name):
        return None
    if not name:
        return "Filenames may not be empty"
    if len(name.encode("utf-16-le")) // 2 > MAX_LENGTH:
        return f"Filenames may not exceed {MAX_LENGTH} characters"
    if any(character in FORBIDDEN for character in name):
        return 'Filenames may not contain forbidden characters (< > : \\" / \\\\ | ? *).'
    if any(ord(character) < 32 for character in name):
        return "Filenames may not contain ASCII control characters 0-31."
    if name in (".", ".."):
        return "Filenames '.' and '..' are not accepted."
    if any(character.isspace() for character in name):
        return "Filenames may not contain whitespace."
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in name):
        return "Filenames may not contain control or text direction characters."
    return None


def message(name: str, category: str, fault: str) -> str:
    """The fault as Loculus words it."""
    return f"Invalid filename '{name}' in category '{category}': {fault}"
