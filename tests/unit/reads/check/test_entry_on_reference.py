"""An entry without reads: its submitted consensus gets alignment, insertions and proteins all the same."""

from __future__ import annotations

import random
from pathlib import Path

from readvault.domain.annotations import Reason
from readvault.domain.organism import Organism, Reference
from readvault.domain.reports import CheckReport
from readvault.reads.local_run import LocalRun
from readvault.reads.sample import Sample


def test_a_submitted_consensus_without_reads_has_its_proteins_told(tmp_path: Path) -> None:
    chance = random.Random(2)
    gene = "ATG" + "".join(chance.choices(["GCT", "AAA", "GAT", "TTC", "CGT"], k=150)) + "TAA"
    genome = "".join(chance.choices("ACGT", k=300)) + gene + "".join(chance.choices("ACGT", k=300))
    fasta, genes, work = tmp_path / "reference.fasta", tmp_path / "genes.gff3", tmp_path / "work"
    work.mkdir()
    fasta.write_text(f">genome\n{genome}\n")
    genes.write_text(f"genome\t.\tCDS\t301\t{300 + len(gene)}\t.\t+\t0\tID=a;gene=P\n")
    submitted = genome[:330] + "CATCAT" + genome[330:]
    organism = Organism(name="tiny", reference=Reference(fasta=fasta, genes=genes))
    run = LocalRun(Sample("LOC_000001Y.1", organism, (), work, submitted={"mine": submitted}))
    run.run("check")
    found = run.result()
    assert found.aligned_sequences == {"main": genome}
    assert found.insertions == {"main": ["330:CATCAT"]}
    assert found.aligned_amino_acid_sequences["P"].endswith("*")
    assert len(found.aligned_amino_acid_sequences["P"]) == len(gene) // 3
    assert found.amino_acid_insertions == {"P": ["10:HH"]}


_CHANCE = random.Random(4)
HA, NA = ("".join(_CHANCE.choices("ACGT", k=length)) for length in (1500, 1200))


def _checked(directory: Path, submitted: dict[str, str]) -> tuple[LocalRun, CheckReport]:
    """An entry without reads of an organism with two segments."""
    (directory / "work").mkdir()
    fasta = directory / "reference.fasta"
    fasta.write_text(f">HA\n{HA}\n>NA\n{NA}\n")
    organism = Organism(name="two", reference=Reference(fasta=fasta))
    run = LocalRun(Sample("LOC_000001Y.1", organism, (), directory / "work", submitted=submitted))
    report = run.run("check")
    assert isinstance(report, CheckReport)
    return run, report


def test_submitted_sequences_are_named_after_the_segments_on_which_they_lie(tmp_path: Path) -> None:
    run, report = _checked(tmp_path, {"s1_b": NA[20:], "s1_a": HA})
    found = run.result()
    assert found.sequences == {"HA": HA, "NA": NA[20:]}
    assert found.aligned_sequences == {"HA": HA, "NA": "N" * 20 + NA[20:]}
    assert (report.errors, report.warnings) == ((), ())


def test_a_sequence_of_another_organism_is_warned_about_and_keeps_its_name_or_segment(tmp_path: Path) -> None:
    strange = "".join(random.Random(5).choices("ACGT", k=1300))
    run, report = _checked(tmp_path, {"x": HA, "s_NA": strange})
    assert run.result().sequences == {"HA": HA, "NA": strange}
    assert run.result().aligned_sequences == {"HA": HA}
    assert [(w.reason, w.record) for w in report.warnings] == [(Reason.INVALID_CONSENSUS, 2)]
    assert "right organism" in report.warnings[0].message


def test_two_sequences_of_one_segment_are_an_error(tmp_path: Path) -> None:
    _, report = _checked(tmp_path, {"a": HA, "b": HA[:-9]})
    assert [(e.reason, e.record) for e in report.errors] == [(Reason.INVALID_CONSENSUS, 2)]


def test_a_reverse_complement_is_warned_about(tmp_path: Path) -> None:
    _, report = _checked(tmp_path, {"a": HA[::-1].translate(str.maketrans("ACGT", "TGCA")), "b": NA})
    assert [w.record for w in report.warnings] == [1]
    assert "reverse complement" in report.warnings[0].message


def test_a_shifted_frame_of_a_submitted_consensus_without_reads_warns(tmp_path: Path) -> None:
    chance = random.Random(3)
    gene = "ATG" + "".join(chance.choices(["GCT", "AAA", "GAT", "TTC", "CGT"], k=150)) + "TAA"
    genome = "".join(chance.choices("ACGT", k=300)) + gene + "".join(chance.choices("ACGT", k=300))
    fasta, genes, work = tmp_path / "reference.fasta", tmp_path / "genes.gff3", tmp_path / "work"
    work.mkdir()
    fasta.write_text(f">genome\n{genome}\n")
    genes.write_text(f"genome\t.\tCDS\t301\t{300 + len(gene)}\t.\t+\t0\tID=a;gene=P\n")
    organism = Organism(name="tiny", reference=Reference(fasta=fasta, genes=genes))
    shifted = genome[:450] + genome[452:]
    report = LocalRun(Sample("LOC_000001Y.1", organism, (), work, submitted={"mine": shifted})).run("check")
    (warning,) = report.warnings
    assert warning.reason is Reason.UNKNOWN_FRAMESHIFTS
    assert "P:" in warning.message


def test_a_sequence_half_of_which_is_of_something_else_is_warned_about(tmp_path: Path) -> None:
    strange = "".join(random.Random(6).choices("ACGT", k=700))
    _, report = _checked(tmp_path, {"a": HA[:700] + "N" * 600 + strange, "b": NA[:600] + "N" * 600})
    assert [(w.reason, w.record) for w in report.warnings] == [(Reason.INVALID_CONSENSUS, 1)]
    assert "50%" in report.warnings[0].message
