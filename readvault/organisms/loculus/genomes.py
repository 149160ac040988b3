"""Reference genomes of a Loculus configuration: one, or several of which each sample has one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SINGLE = "singleReference"
LINE = 70
_URL = re.compile(r"\s*\[\[\s*URL\s*:\s*(?P<url>[^\]\s]+)\s*\]\]\s*")
_PLACEHOLDER = re.compile(r"\s*\[\[.*\]\]\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence as it was given: its letters, or where they lie."""

    name: str
    letters: str = ""
    url: str = ""

    @property
    def unknown(self) -> bool:
        """Whether it was given in a way that readvault doesn't know."""
        return not self.letters and not self.url


@dataclass(slots=True)
class Genome:
    """A reference genome: segments, and proteins by gene."""

    name: str
    segments: list[Sequence] = field(default_factory=list)
    proteins: list[Sequence] = field(default_factory=list)


def genomes_of(raw: Any) -> list[Genome]:
    """The genomes of `referenceGenomes` (or `referenceGenome`), in any of the shapes that Loculus has had.

    `{nucleotideSequences, genes}`; the same by the name of a reference; or a list of segments, each
    with its references. Genomes without any segment are none.
    """
    if isinstance(raw, list):
        return _by_segment(raw)
    if not isinstance(raw, Mapping):
        return []
    by_name = {SINGLE: raw} if "nucleotideSequences" in raw else raw
    genomes = [
        Genome(str(name), _sequences(each.get("nucleotideSequences")), _sequences(each.get("genes")))
        for name, each in by_name.items()
        if isinstance(each, Mapping)
    ]
    return [genome for genome in genomes if genome.segments]


def mappings(raw: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list; nothing of what is none."""
    return [each for each in raw if isinstance(each, Mapping)] if isinstance(raw, list) else []


def segments_of(genomes: list[Genome]) -> list[str]:
    """The names of all segments; `main` for the only one of genomes that have one each."""
    if all(len(genome.segments) == 1 for genome in genomes):
        return ["main"]
    return list(dict.fromkeys(segment.name for genome in genomes for segment in genome.segments))


def _by_segment(raw: list[Any]) -> list[Genome]:
    several = any(len(mappings(each.get("references"))) > 1 for each in mappings(raw))
    genomes: dict[str, Genome] = {}
    for segment in mappings(raw):
        for reference in mappings(segment.get("references")):
            said = next((reference[key] for key in ("name", "referenceName", "reference_name") if key in reference), "")
            name = str(said) if several and said else SINGLE
            genome = genomes.setdefault(name, Genome(name))
            genome.segments.append(_sequence({**reference, "name": segment.get("name", "main")}))
            genome.proteins += _sequences(reference.get("genes"))
    return list(genomes.values())


def _sequences(raw: Any) -> list[Sequence]:
    return [_sequence(each) for each in mappings(raw)]


def _sequence(raw: Mapping[str, Any]) -> Sequence:
    name, said = str(raw.get("name", "")), str(raw.get("sequence") or "")
    if match := _URL.fullmatch(said):
        return Sequence(name, url=match["url"])
    if _PLACEHOLDER.fullmatch(said):
        return Sequence(name)
    return Sequence(name, letters=letters_of(said))


def letters_of(text: str) -> str:
    """The letters of a sequence or of a FASTA with one record."""
    return "".join(line.strip() for line in text.splitlines() if not line.startswith(">")).upper()


def record(sequence: Sequence) -> str:
    """The sequence as a record of a FASTA."""
    lines = [sequence.letters[at : at + LINE] for at in range(0, len(sequence.letters), LINE)]
    return f">{sequence.name}\n" + "\n".join(lines) + "\n"


def word(name: str) -> str:
    """The name of a segment as a FASTA and a GFF3 may have it: without blanks."""
    return re.sub(r"\s+", "_", name) or "main"
