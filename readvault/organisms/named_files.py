"""The files that an organism file names: there, readable, and fitting each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from readvault.domain.errors import ProcessingFailure
from readvault.organisms.findings import Finding, Level
from readvault.organisms.mistakes import dotted
from readvault.reads import references
from readvault.reads.align import primers
from readvault.reads.call.gene_annotation import Gene, load_genes
from readvault.reads.sample import Segment
from readvault.yaml_files import Document, Place


@dataclass(frozen=True, slots=True)
class Named:
    """A file that is named in an organism file, and where."""

    place: Place
    path: Path
    """As it was written, from the organism file's folder: a link in it may lead elsewhere tomorrow."""


def named_in(content: Any, folder: Path) -> dict[str, list[Named]]:
    """The files by what they are for: `fasta`, `genes` and `primers`; whatever else is wrong with the content."""
    found: dict[str, list[Named]] = {"fasta": [], "genes": [], "primers": []}

    def add(kind: str, place: Place, said: Any) -> None:
        if isinstance(said, str) and said:
            found[kind].append(Named(place, folder / said))

    top = content if isinstance(content, Mapping) else {}
    several = top.get("references")
    places: list[tuple[Place, Any]] = [(("reference",), top.get("reference"))]
    places += [
        (("references", number), each) for number, each in enumerate(several if isinstance(several, list) else [])
    ]
    for place, genome in places:
        for kind in ("fasta", "genes") if isinstance(genome, Mapping) else ():
            add(kind, (*place, kind), genome.get(kind))
    pipeline = top.get("pipeline")
    align = pipeline.get("align") if isinstance(pipeline, Mapping) else None
    if isinstance(align, Mapping):
        said = align.get("primerSchemes")
        schemes: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
        for name, bed in schemes.items():
            add("primers", ("pipeline", "align", "primerSchemes", name), bed)
        if align.get("primers") not in schemes:
            add("primers", ("pipeline", "align", "primers"), align.get("primers"))
    return found


def faults(path: Path, document: Document) -> Iterator[Finding]:
    """What is wrong with each of the files, alone and together."""
    named = named_in(document.content, path.absolute().parent)

    def told(one: Named, message: str, advice: str) -> Finding:
        return Finding(Level.ERROR, path, document.line(one.place), dotted(one.place), message, advice)

    missing = [one for kind in named.values() for one in kind if not one.path.is_file()]
    for one in missing:
        yield told(one, f"there is no file {one.path.resolve()}", "Paths count from the folder of the organism file.")
    everything: list[Segment] = []
    for fasta in named["fasta"]:
        if fasta in missing:
            continue
        try:
            segments = references.load_segments(fasta.path)
        except ProcessingFailure as fault:
            yield told(fasta, f"{fasta.path.name}: {fault.cause}", "Correct the FASTA: a record for each segment.")
            continue
        everything += segments
        for genes in named["genes"]:
            if genes.place[:-1] == fasta.place[:-1] and genes not in missing:
                try:
                    load_genes((genes.path,), segments)
                except ProcessingFailure as fault:
                    yield told(genes, f"{genes.path.name}: {fault.cause}", f"Make it fit {fasta.path.name}.")
    for scheme in named["primers"]:
        if scheme not in missing and everything:
            try:
                primers.load_primers(scheme.path, tuple(everything))
            except ProcessingFailure as fault:
                yield told(scheme, fault.cause, "Correct the BED file, or name the one that fits this reference.")


def genes_of(content: Any, folder: Path) -> dict[str, Gene]:
    """The genes of all genomes by name; none where files can't be used."""
    named = named_in(content, folder)
    found: dict[str, Gene] = {}
    for fasta in named["fasta"]:
        for genes in named["genes"]:
            if genes.place[:-1] == fasta.place[:-1]:
                found |= {gene.name: gene for gene in load_genes((genes.path,), references.load_segments(fasta.path))}
    return found
