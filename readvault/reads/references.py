"""Reference genomes: their segments, and the digest by which a result names its reference."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from pathlib import Path

from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Organism
from readvault.reads.sample import ChosenReference, Segment

_STEP = "reference"
BASES = "ACGTRYKMSWBDHVN"


def only(organism: Organism) -> ChosenReference | None:
    """The organism's reference genome, or None when it has several and the reads must choose."""
    if organism.reference is None:
        return None
    genes = organism.reference.genes
    fasta = organism.reference.fasta
    return ChosenReference(fasta, load_segments(fasta), genes=() if genes is None else (genes,))


def load_segments(fasta: Path) -> tuple[Segment, ...]:
    """Read a reference FASTA (plain or gzip): one segment per record, bases in upper case, U read as T.

    A segment's name is the first word of its header. Raises ProcessingFailure when the file is no
    FASTA, has no or an empty record, a strange character or a name twice: references are the maintainer's, never the
    submitter's fault.
    """
    import dnaio  # here, so that a worker starts without it

    try:
        with dnaio.open(str(fasta), fileformat="fasta") as records:
            segments = tuple(
                Segment(record.name.split(maxsplit=1)[0] if record.name.strip() else "", _canonical(record.sequence))
                for record in records
            )
    except (OSError, dnaio.FileFormatError, UnicodeError, EOFError) as fault:
        raise ProcessingFailure(_STEP, "the reference FASTA can't be read") from fault
    names = [segment.name for segment in segments]
    if not segments or not all(names) or not all(segment.sequence for segment in segments):
        raise ProcessingFailure(_STEP, "the reference FASTA has no record, or one without name or sequence")
    if any(re.search(f"[^{BASES}]", segment.sequence) for segment in segments):
        raise ProcessingFailure(_STEP, "the reference FASTA has a character that is no IUPAC code of a base")
    if len(set(names)) < len(names):
        raise ProcessingFailure(_STEP, "the reference FASTA has a segment name twice")
    return segments


def digest(fasta: Path) -> str:
    """The SHA-256 (hexadecimal) of the reference's content: names and upper-case bases, in order.

    Line lengths, descriptions, letter case and compression don't change it.
    """
    return digest_of(load_segments(fasta))


def digest_of(segments: tuple[Segment, ...]) -> str:
    """The digest of segments that are loaded already."""
    content = hashlib.sha256()
    for segment in segments:
        content.update(f">{segment.name}\n{segment.sequence}\n".encode())
    return content.hexdigest()


def spoken(reference: ChosenReference) -> str:
    """What a reference is called: its records, or which of several genomes was chosen (for each segment, if mixed)."""
    if not reference.names:
        return ",".join(segment.name for segment in reference.segments)
    names = set(reference.names.values())
    return names.pop() if len(names) == 1 else ",".join(f"{contig}:{name}" for contig, name in reference.names.items())


def text_of(file: Path, what: str) -> str:
    """The text of a maintainer's file, plain or gzip. Raises ProcessingFailure, which names `what` it should be."""
    try:
        content = file.read_bytes()
        return (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeError) as fault:
        raise ProcessingFailure(_STEP, f"{what} can't be read") from fault


def _canonical(sequence: str) -> str:
    return sequence.upper().replace("U", "T")
