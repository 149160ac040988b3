"""The step `silo` as the pipeline takes it: for which organisms, with which rules, and when not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from readvault.domain.organism import Organism, Pipeline, Reference, Silo
from readvault.domain.reads import READ_LEVEL, Platform, ProcessedCategory
from readvault.reads import organism_files
from readvault.reads.sample import Alignment, ChosenReference, Segment
from readvault.reads.silo import conversion
from tests.unit.reads.bam_maker import Read, make_bam

SEGMENTS = (Segment("reference", "ACGT" * 10),)


def test_the_category_holds_reads_and_is_kept_by_default() -> None:
    assert ProcessedCategory.SILO_READS in READ_LEVEL & set(Pipeline().outputs)


@pytest.mark.parametrize("more", [(), (ProcessedCategory.CONSENSUS,)])
def test_lines_alone_could_not_be_screened_again(more: tuple[ProcessedCategory, ...]) -> None:
    with pytest.raises(ValidationError, match="where human reads are looked for"):
        Pipeline(outputs=(ProcessedCategory.SILO_READS, *more))
    for beside in (ProcessedCategory.DEHUMANIZED_READS, ProcessedCategory.ALIGNMENT):
        assert Pipeline(outputs=(ProcessedCategory.SILO_READS, beside, *more))


@pytest.mark.parametrize(
    ("platform", "said", "taken"),
    [(Platform.ILLUMINA, None, 20), (Platform.OXFORD_NANOPORE, None, 10), (Platform.ILLUMINA, 0, 0)],
)
def test_the_mask_is_the_platforms_unless_the_organism_says_another(
    tmp_path: Path, platform: Platform, said: int | None, taken: int
) -> None:
    made = make_bam(tmp_path, SEGMENTS, [Read("1", 0, "4M", "ACGT", quality=15)])
    aligned = Alignment(made.bam, made.bai, made.reference, platform)
    reference = ChosenReference(tmp_path / "none.fasta", SEGMENTS)
    pipeline = Pipeline(silo=Silo(min_base_quality=said))
    options = {"names": ("main",), "pipeline": pipeline, "directory": tmp_path}
    report = conversion.convert(aligned, reference, wanted=True, **options)  # type: ignore[arg-type]
    assert (report.written, report.min_base_quality, report.lines) == (True, taken, 1)


def test_nothing_is_written_where_no_reads_are_published(tmp_path: Path) -> None:
    absent = Alignment(tmp_path / "no.bam", tmp_path / "no.bai", tmp_path / "no.fasta", Platform.ILLUMINA)
    reference = ChosenReference(tmp_path / "none.fasta", SEGMENTS)
    report = conversion.convert(
        absent, reference, names=("main",), pipeline=Pipeline(), wanted=False, directory=tmp_path
    )
    assert (report.written, report.lines, list(tmp_path.iterdir())) == (False, 0, [])


def test_a_gene_called_like_a_segment_is_found_before_a_job_is(tmp_path: Path) -> None:
    fasta, gff = tmp_path / "virus.fasta", tmp_path / "virus.gff3"
    fasta.write_text(">HA\nATGAAATAA\n>NA\nATGAAATAA\n")
    gff.write_text("##gff-version 3\nHA\t.\tCDS\t1\t9\t.\t+\t0\tgene=HA\n")

    def fault(**pipeline: object) -> str | None:
        reference = Reference(fasta=fasta, genes=gff)
        return organism_files.fault_of(Organism(name="flu", reference=reference, pipeline=Pipeline(**pipeline)))

    assert fault() is None
    assert "HA" in (fault(silo={"aminoAcids": True}) or "")
    assert fault(silo={"aminoAcids": True}, outputs=("alignment",)) is None
    fasta.write_text(">HA\nATGAAATAA\n>offset\nATGAAATAA\n")
    assert "offset" in (fault() or "")
