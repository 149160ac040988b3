"""Primer schemes: BED files in ARTIC's manner, made to fit the reference."""

from __future__ import annotations

import hashlib
from pathlib import Path

from readvault.domain.errors import ProcessingFailure
from readvault.reads import references
from readvault.reads.sample import PrimerSite, Segment

_STEP = "align"


def load_primers(bed: Path, segments: tuple[Segment, ...]) -> tuple[PrimerSite, ...]:
    """Read a primer scheme (BED with 4 or more columns, plain or gzip).

    A reference with one segment takes every site whatever its first column says, because schemes
    often name an older accession of the same sequence (MN908947.3 for NC_045512.2). The strand is
    column 6 where it is one, else it follows from ARTIC's names (`…_LEFT`, `…_RIGHT`).
    Segments of one name are rivals: a site must fit all of them. Raises ProcessingFailure, with the line, for a
    scheme that is malformed or does not fit the reference.
    """
    lengths: dict[str, int] = {}
    for segment in segments:
        lengths[segment.name] = min(len(segment.sequence), lengths.get(segment.name, len(segment.sequence)))
    sites = []
    for number, line in enumerate(references.text_of(bed, "the primer scheme").splitlines(), start=1):
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        columns = line.rstrip("\r\n").split("\t")
        if len(columns) < 4 or not (columns[1].isdecimal() and columns[2].isdecimal()):
            raise _fault(bed, number, "is no BED with 4 or more columns, separated by tabs")
        name = segments[0].name if len(segments) == 1 else columns[0]
        start, end = int(columns[1]), int(columns[2])
        if name not in lengths:
            raise _fault(bed, number, "names a sequence that the reference has not")
        if not 0 <= start < end <= lengths[name]:
            raise _fault(bed, number, f"is off the reference, which has {lengths[name]} bases")
        sites.append(PrimerSite(name, start, end, columns[3], _strand(columns)))
    if not sites:
        raise ProcessingFailure(_STEP, f"the primer scheme {bed.name} holds no primer")
    return tuple(sites)


def _fault(bed: Path, line: int, what: str) -> ProcessingFailure:
    return ProcessingFailure(_STEP, f"the primer scheme {bed.name} does not fit: line {line} {what}")


def digest(sites: tuple[PrimerSite, ...]) -> str:
    """The SHA-256 (hexadecimal) of what a scheme says."""
    return hashlib.sha256(_bed(sites).encode()).hexdigest()


def write_bed(sites: tuple[PrimerSite, ...], path: Path) -> None:
    """Write the sites as a BED file with six columns."""
    path.write_text(_bed(sites), encoding="utf-8")


def _bed(sites: tuple[PrimerSite, ...]) -> str:
    return "".join(f"{s.segment}\t{s.start}\t{s.end}\t{s.name}\t0\t{s.strand}\n" for s in sites)


def _strand(columns: list[str]) -> str:
    if len(columns) > 5 and columns[5] in ("+", "-"):
        return columns[5]
    return "-" if "_RIGHT" in columns[3].upper() else "+"
