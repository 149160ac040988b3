"""Which of an organism's reference genomes a sample is nearest to, segment by segment.

A bounded sample of the reads is mapped to all genomes at once. A read that could be of two genomes
gets a low mapping quality; those that clearly prefer one decide. Where the reads of one segment
clearly prefer two genomes, the sample is a mixture or a recombinant, and the submitter is warned.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pysam

from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import CandidateReference, Organism
from readvault.domain.reads import LibraryLayout
from readvault.domain.reports import ReferenceChoice
from readvault.reads import references, tools
from readvault.reads.align import fastq_sample
from readvault.reads.sample import ChosenReference, ReadFiles, Segment

STEP = "align"
TEMPLATES = 50_000
"""How many templates have a say: enough for a share of 10 %, and seconds for the longest reads."""

CLEAR = 20
"""The mapping quality from which a read clearly prefers one genome."""

MIXTURE_SHARE = 0.1
MIXTURE_READS = 20
MAIN = "main"


@dataclass(frozen=True, slots=True)
class _Record:
    """One segment of one genome; `place` is its ordinal among all of them."""

    place: int
    candidate: CandidateReference
    segment: str
    content: Segment


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen reference, why, and what the submitter should know."""

    reference: ChosenReference
    segments: tuple[ReferenceChoice, ...]
    warnings: tuple[Annotation, ...] = ()


def by_reads(
    organism: Organism, reads: ReadFiles, *, templates: int, preset: str, directory: Path, threads: int
) -> Choice:
    """Choose by the reads; leaves `reference.fasta` (and `genes_….gff3`) in `directory`.

    `templates` is how many there are in all, `preset` is minimap2's. The same reads give the same
    choice whatever the threads. Raises ProcessingFailure when a tool or a reference file fails.
    """
    records = _records(organism)
    every = max(1, -(-templates // TEMPLATES))
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        inputs = [Path(scratch) / "r1.fastq"]
        fastq_sample.write_every(reads.r1, every, inputs[0])
        if reads.layout is LibraryLayout.PAIRED:
            inputs.append(Path(scratch) / "r2.fastq")
            fastq_sample.write_every(reads.r2, every, inputs[1])
        mapped, clear = _scores(records, inputs, preset, threads, Path(scratch), lambda record: 1)
    chosen = _choose(records, mapped, clear)
    segments = tuple(_told(records, record, mapped, clear) for record in chosen)
    return Choice(_write(records, chosen, directory), segments, _mixtures(records, chosen, clear))


def by_sequences(organism: Organism, submitted: Mapping[str, str], *, directory: Path) -> Choice:
    """Choose by the submitted sequences' alignment scores (minimap2, preset asm20)."""
    records = _records(organism)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        fasta = Path(scratch) / "submitted.fasta"
        sequences = (s.upper().replace("U", "T") for s in submitted.values())
        fasta.write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(sequences) if s.isascii() and s.isalpha()))
        scores, _ = _scores(records, [fasta], "asm20", 1, Path(scratch), lambda record: max(record.get_tag("AS"), 0))
    chosen = _choose(records, scores, scores)
    segments = tuple(_told(records, record, {}, {}) for record in chosen)
    return Choice(_write(records, chosen, directory), segments)


def digests(organism: Organism) -> dict[str, str]:
    """The digest of each genome that could have been chosen, by name."""
    return {candidate.name: references.digest(candidate.fasta) for candidate in organism.references}


def _records(organism: Organism) -> list[_Record]:
    """All segments of all genomes. Genomes with one record each are all the one segment `main`."""
    loaded = [(candidate, references.load_segments(candidate.fasta)) for candidate in organism.references]
    unsegmented = all(len(segments) == 1 for _, segments in loaded)
    found: list[_Record] = []
    for candidate, segments in loaded:
        for segment in segments:
            found.append(_Record(len(found), candidate, MAIN if unsegmented else segment.name, segment))
    return found


def _scores(
    records: list[_Record],
    inputs: list[Path],
    preset: str,
    threads: int,
    scratch: Path,
    score: Callable[[pysam.AlignedSegment], int],
) -> tuple[dict[int, int], dict[int, int]]:
    """The sum of the scores of primary alignments by record's place: of all, and of the clear ones."""
    every_record = scratch / "candidates.fasta"
    every_record.write_text("".join(f">{record.place}\n{record.content.sequence}\n" for record in records))
    arguments = ["-a", "-x", preset, "-t", str(threads), "--secondary=no", str(every_record), *map(str, inputs)]
    mapped: dict[int, int] = {}
    clear: dict[int, int] = {}
    try:
        with tools.minimap2(STEP, arguments) as sam, pysam.AlignmentFile(sam, "r") as alignments:
            for record in alignments:
                if record.flag & (pysam.FUNMAP | pysam.FSUPPLEMENTARY):
                    continue
                place = int(record.reference_name)
                mapped[place] = mapped.get(place, 0) + score(record)
                if record.mapping_quality >= CLEAR:
                    clear[place] = clear.get(place, 0) + score(record)
    except (OSError, ValueError) as fault:
        raise ProcessingFailure(STEP, "the reads can't be mapped to the organism's references") from fault
    return mapped, clear


def _choose(records: list[_Record], mapped: Mapping[int, int], clear: Mapping[int, int]) -> list[_Record]:
    """One record for each segment, in the order in which the genomes bring them."""
    by_segment: dict[str, list[_Record]] = {}
    for record in records:
        by_segment.setdefault(record.segment, []).append(record)
    won: dict[str, _Record] = {}
    for segment, rivals in by_segment.items():
        best = max(rivals, key=lambda r: (clear.get(r.place, 0), mapped.get(r.place, 0), -r.place))
        if mapped.get(best.place, 0):
            won[segment] = best
    winners: dict[str, int] = {}
    for record in won.values():
        winners[record.candidate.name] = winners.get(record.candidate.name, 0) + mapped[record.place]
    if not winners:
        winners[records[0].candidate.name] = 1
    alone = {
        name for name in {r.candidate.name for r in records} if sum(r.candidate.name == name for r in records) == 1
    }
    for segment, rivals in by_segment.items():
        # A segment of genomes that lost everywhere else (a segment that only influenza A has) is left out.
        fitting = [r for r in rivals if r.candidate.name in winners or r.candidate.name in alone]
        if segment not in won and fitting:
            won[segment] = max(fitting, key=lambda r: (winners.get(r.candidate.name, 0), -r.place))
    return [won[segment] for segment in by_segment if segment in won]


def _told(
    records: list[_Record], chosen: _Record, mapped: Mapping[int, int], clear: Mapping[int, int]
) -> ReferenceChoice:
    rivals = [record for record in records if record.segment == chosen.segment]
    total = sum(clear.get(record.place, 0) for record in rivals)
    return ReferenceChoice(
        segment=chosen.segment,
        contig=chosen.content.name,
        name=chosen.candidate.name,
        reads=mapped.get(chosen.place, 0),
        share=round(clear.get(chosen.place, 0) / total, 4) if total else None,
    )


def _mixtures(records: list[_Record], chosen: list[_Record], clear: Mapping[int, int]) -> tuple[Annotation, ...]:
    found = []
    for best in chosen:
        rivals = [record for record in records if record.segment == best.segment]
        total = sum(clear.get(record.place, 0) for record in rivals)
        for rival in rivals:
            reads = clear.get(rival.place, 0)
            if rival is best or reads < MIXTURE_READS or reads <= MIXTURE_SHARE * total:
                continue
            where = "" if best.segment == MAIN else f" of segment {best.segment}"
            message = (
                f"{best.candidate.name} was chosen as the reference, but {reads / total:.0%} of the reads{where} that"
                f" clearly prefer one reference prefer {rival.candidate.name}: a mixture, or a recombinant?"
            )
            found.append(Annotation(Reason.MIXED_REFERENCES, message, (Field(FieldType.FILE, "rawReads"),)))
    return tuple(found)


def _write(records: list[_Record], chosen: list[_Record], directory: Path) -> ChosenReference:
    segments = tuple(record.content for record in chosen)
    fasta = directory / "reference.fasta"
    fasta.write_text("".join(f">{segment.name}\n{segment.sequence}\n" for segment in segments), encoding="ascii")
    names = {record.content.name: record.candidate.name for record in chosen}
    genes: list[Path] = []
    for candidate in dict.fromkeys(record.candidate for record in chosen):
        if candidate.genes is not None:
            target = directory / f"genes_{len(genes)}.gff3"
            target.write_text(_about(candidate.genes, {c for c, name in names.items() if name == candidate.name}))
            genes.append(target)
    return ChosenReference(fasta, segments, names, tuple(genes))


def _about(gff3: Path, contigs: set[str]) -> str:
    """The lines of a GFF3 that are about some records."""
    lines = references.text_of(gff3, "the reference's GFF3").split("##FASTA")[0].splitlines()
    return "##gff-version 3\n" + "".join(f"{line}\n" for line in lines if line.split("\t")[0] in contigs)
