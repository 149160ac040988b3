"""SILO's engine loads what the step writes, and says of it what samtools says of the BAM.

Each figure is counted three ways: by the engine, from the BAM by samtools (or, for fragments, by the plain
oracle and by `alleleCounts`), and never by what wrote the lines.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest

from readvault.domain import silo_lines
from readvault.domain.reads import LibraryLayout, Platform
from readvault.reads.align import alignment
from readvault.reads.call import allele_counts, genes
from readvault.reads.call.gene_annotation import Gene
from readvault.reads.references import load_segments
from readvault.reads.sample import Alignment, ReadFiles, Segment
from readvault.reads.silo import conversion
from readvault.reads.simulate import simulation
from tests import silo_engine, silo_maker, silo_oracle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(silo_engine.MISSING, reason="rhydb, SILO's engine, is not installed"),
]
MINIMUM = 20
SITES = 200
NAMES = ("one", "two")
Counts = dict[tuple[str, int, str], int]


@dataclass(frozen=True)
class Aligned:
    """A sample of two segments with planted variants, on its reference."""

    alignment: Alignment
    segments: tuple[Segment, ...]
    genes: tuple[Gene, ...]


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    place = tmp_path_factory.mktemp("silo")
    reference = place / "reference.fasta"
    simulation.synthetic_reference(reference, segments=2)
    made = simulation.simulate(
        reference,
        place,
        pairs=2000,
        length=120,
        seed=11,
        substitutions=30,
        insertions=8,
        deletions=8,
        shares=(1.0, 0.3),
    )
    assert made.r2 is not None
    reads = tuple(numbered(path, place / f"R{mate}.fastq") for mate, path in enumerate((made.r1, made.r2), start=1))
    files = ReadFiles(Platform.ILLUMINA, LibraryLayout.PAIRED, reads[:1], reads[1:])
    found, _ = alignment.align(
        files, reference, preset="auto", primers=None, sample_name="S.1", directory=place, threads=1
    )
    segments = load_segments(reference)
    first, second = (segment.name for segment in segments)
    coding = (
        Gene("forward", first, False, np.arange(90, 390)),
        Gene("slipping", first, False, np.r_[400:550, 549:699]),
        Gene("backward", second, True, np.arange(449, 149, -1)),
    )
    return Aligned(found, segments, coding)


def numbered(path: Path, target: Path) -> Path:
    """The reads under the names that the screen for human reads gives them."""
    with pysam.FastxFile(str(path)) as records, target.open("w") as out:
        for number, record in enumerate(records, start=1):
            out.write(f"@{number}\n{record.sequence}\n+\n{record.quality}\n")
    return target


def lines_of(aligned: Aligned, place: Path, **options: Any) -> Path:
    """What the step writes, as a set of one entry: `sampleId` joined, unpacked."""
    conversion.write(aligned.alignment.bam, aligned.segments, names=NAMES, directory=place, **options)
    lines = place / "lines.ndjson"
    written = silo_maker.unpacked(place / silo_lines.FILE_NAME)
    lines.write_bytes(silo_lines.splice(written, "S.1", b'"sampleId":"S.1"', NAMES[0]))
    return lines


def asked(aligned: Aligned, lines: Path, *, coding: bool = False) -> dict[str, list[dict[str, Any]]]:
    """All that is compared: mutations, insertions, and how many lines don't cover each of many sites."""
    filters = {
        f"{name}:{place}": f"data.filter(nucleotideEquals(position:={place}, symbol:='N', sequenceName:='{name}'))"
        for name, segment in zip(NAMES, aligned.segments, strict=True)
        for place in sites(segment)
    }
    queries = {
        "lines": "data.group(by:={}, aggs:={n:=count()})",
        "samples": "data.group(by:={sampleId}, aggs:={n:=count()})",
        "mutations": "data.mutations(minProportion:=0.0)",
        "insertions": "data.insertions()",
        **{name: f"{query}.group(by:={{}}, aggs:={{n:=count()}})" for name, query in filters.items()},
    }
    of_genes = {
        gene.name: genes.protein(gene, segment.sequence)
        for gene in aligned.genes
        for segment in aligned.segments
        if segment.name == gene.segment
    }
    if coding:
        queries["aminoAcidMutations"] = "data.aminoAcidMutations(minProportion:=0.0)"
        queries["aminoAcidInsertions"] = "data.aminoAcidInsertions()"
    return silo_engine.ask(
        lines,
        queries,
        genomes={name: segment.sequence for name, segment in zip(NAMES, aligned.segments, strict=True)},
        genes=of_genes if coding else {},
        columns=["sampleId := string(generateIndex := true)"],
    )


def sites(segment: Segment) -> range:
    """1-based positions that are asked for one by one, evenly spread."""
    return range(1, len(segment.sequence) + 1, len(segment.sequence) // (SITES // 2))


def compare(
    aligned: Aligned,
    found: Mapping[str, list[dict[str, Any]]],
    symbols: Counts,
    insertions: Counts,
    lines: Mapping[str, int],
) -> None:
    """The engine's answers against counts of symbols by (segment, 1-based position, symbol), and of insertions.

    `lines` is how many lie on each segment.
    """
    total = sum(lines.values())
    assert found["lines"] == [{"n": total}]
    assert found["samples"] == [{"sampleId": "S.1", "n": total}]
    coverage: Counter[tuple[str, int]] = Counter()
    for (name, place, _), count in symbols.items():
        coverage[name, place] += count
    references = {name: segment.sequence for name, segment in zip(NAMES, aligned.segments, strict=True)}
    expected = {
        key: (count, coverage[key[:2]]) for key, count in symbols.items() if references[key[0]][key[1] - 1] != key[2]
    }
    assert {
        (row["sequenceName"], row["position"], row["mutationTo"]): (row["count"], row["coverage"])
        for row in found["mutations"]
    } == expected
    assert len({key[:2] for key in expected}) >= SITES
    assert sum(key[2] == "-" for key in expected) >= 8
    asked_for = [key.split(":") for key in found if ":" in key]
    assert len(asked_for) >= SITES
    for name, site in asked_for:
        place = int(site)
        assert lines[name] - found[f"{name}:{place}"][0]["n"] == coverage[name, place], (name, place)
    assert {
        (row["sequenceName"], row["position"], row["insertedSymbols"]): row["count"] for row in found["insertions"]
    } == (insertions)
    assert len(insertions) >= 4


def test_reads_by_samtools(aligned: Aligned, tmp_path: Path) -> None:
    """One line for each read, no mask: the engine's counts are those of `samtools mpileup`."""
    found = asked(aligned, lines_of(aligned, tmp_path, merged=False, min_base_quality=0))
    symbols, insertions = piled_up(aligned)
    with pysam.AlignmentFile(str(aligned.alignment.bam)) as bam:
        reads = Counter(NAMES[read.reference_id] for read in bam if not read.flag & silo_oracle.UNUSED)
    compare(aligned, found, symbols, insertions, reads)


def piled_up(aligned: Aligned) -> tuple[Counts, Counts]:
    """What `samtools mpileup` sees of each base, deletion and insertion, of overlapping mates too."""
    flags = "UNMAP,SECONDARY,QCFAIL,DUP,SUPPLEMENTARY"
    text = pysam.mpileup("-A", "-B", "-x", "-d", "0", "-Q", "0", "--ff", flags, str(aligned.alignment.bam))
    names = {segment.name: name for name, segment in zip(NAMES, aligned.segments, strict=True)}
    symbols: Counter[tuple[str, int, str]] = Counter()
    insertions: Counter[tuple[str, int, str]] = Counter()
    for line in text.splitlines():
        contig, place, _, _, column = line.split("\t")[:5]
        name, position, at = names[contig], int(place), 0
        while at < len(column):
            letter = column[at]
            at += 2 if letter == "^" else 1
            if letter in "+-":
                digits = at
                while column[at].isdigit():
                    at += 1
                size = int(column[digits:at])
                if letter == "+":
                    insertions[name, position, column[at : at + size].upper()] += 1
                at += size
            elif letter.upper() in "ACGT*":
                symbols[name, position, letter.upper().replace("*", "-")] += 1
    return dict(symbols), dict(insertions)


def test_fragments_by_a_plain_oracle_and_by_allele_counts(aligned: Aligned, tmp_path: Path) -> None:
    """The default: mates merged, bases masked. `alleleCounts` are counted by other code, judged by other tests."""
    found = asked(aligned, lines_of(aligned, tmp_path, min_base_quality=MINIMUM))
    rows = list(silo_oracle.rows(aligned.alignment.bam, merged=True, minimum=MINIMUM))
    symbols: Counter[tuple[str, int, str]] = Counter()
    insertions: Counter[tuple[str, int, str]] = Counter()
    for row in rows:
        name = NAMES[row.segment]
        symbols.update((name, place + 1, symbol) for place, (symbol, _) in row.symbols.items() if symbol != "N")
        insertions.update((name, place, bases) for place, (bases, _) in row.insertions.items())
    compare(aligned, found, dict(symbols), dict(insertions), Counter(NAMES[row.segment] for row in rows))
    with pysam.AlignmentFile(str(aligned.alignment.bam)) as bam:
        assert not any(read.is_supplementary for read in bam), "these would count in alleleCounts only"
    counted = allele_counts.count(aligned.alignment, aligned.segments, min_base_quality=MINIMUM)
    for number, name in enumerate(NAMES):
        here = counted.counts.sum(axis=0)[:, counted.span(number)]
        for index, symbol in ((0, "A"), (1, "C"), (2, "G"), (3, "T"), (5, "-")):
            said = [symbols[name, place + 1, symbol] for place in range(here.shape[1])]
            assert here[index].tolist() == said, (name, symbol)


def test_amino_acids_by_a_plain_oracle(aligned: Aligned, tmp_path: Path) -> None:
    lines = lines_of(aligned, tmp_path, min_base_quality=MINIMUM, genes=aligned.genes)
    found = asked(aligned, lines, coding=True)
    seen: defaultdict[str, Counter[tuple[int, str]]] = defaultdict(Counter)
    inserted: Counter[tuple[str, int, str]] = Counter()
    for row in silo_oracle.rows(aligned.alignment.bam, merged=True, minimum=MINIMUM):
        for gene in aligned.genes:
            segment = aligned.segments[row.segment]
            own = silo_oracle.amino_acids(row, gene, segment.sequence) if segment.name == gene.segment else None
            if own is not None:
                known = ((at, each) for at, each in enumerate(own["sequence"], own["offset"] + 1) if each != "X")
                seen[gene.name].update(known)
                inserted.update(
                    (gene.name, int(at), more) for at, _, more in (i.partition(":") for i in own["insertions"])
                )
    expected: dict[tuple[str, int, str], tuple[int, int]] = {}
    for gene in aligned.genes:
        protein = genes.protein(gene, next(s.sequence for s in aligned.segments if s.name == gene.segment))
        covered: Counter[int] = Counter()
        for (place, _), count in seen[gene.name].items():
            covered[place] += count
        expected |= {
            (gene.name, place, amino_acid): (count, covered[place])
            for (place, amino_acid), count in seen[gene.name].items()
            if protein[place - 1] != amino_acid
        }
    assert len(expected) > 30
    rows = found["aminoAcidMutations"]
    assert {(r["sequenceName"], r["position"], r["mutationTo"]): (r["count"], r["coverage"]) for r in rows} == expected
    rows = found["aminoAcidInsertions"]
    assert {(r["sequenceName"], r["position"], r["insertedSymbols"]): r["count"] for r in rows} == dict(inserted)
