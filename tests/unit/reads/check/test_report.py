"""The report is one file, says the verdict first, and keeps to itself what is nobody's business."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.organism import Consensus, Organism, PlatformThresholds
from readvault.domain.reports import ConsensusReport
from readvault.reads import references
from readvault.reads.call import consensus
from readvault.reads.call.calls import Calls
from readvault.reads.check import coverage_plot, qc, report
from readvault.reads.sample import Sample, Segment
from tests.unit.reads.bam_maker import make_bam
from tests.unit.reads.call.test_consensus import REFERENCE, copies
from tests.unit.reads.check.test_qc import alignment, depletion, validation

SEGMENT = (Segment("reference", REFERENCE),)


@pytest.fixture
def organism(tmp_path: Path) -> Organism:
    (tmp_path / "reference.fasta").write_text(f">reference\n{REFERENCE}\n")
    content = {"name": "virus", "displayName": "<b>Virus</b>", "reference": {"fasta": tmp_path / "reference.fasta"}}
    return Organism.model_validate(content)


@pytest.fixture
def called(tmp_path: Path) -> tuple[Calls, ConsensusReport]:
    reads = [*copies(90, 0, "6M", "ACGTAC"), *copies(30, 0, "6M", "ACTTAC"), *copies(9, 10, "4M", "TTAC")]
    return consensus.call(
        make_bam(tmp_path, SEGMENT, reads),
        SEGMENT,
        thresholds=PlatformThresholds(),
        rules=Consensus(),
        sample_name="S.1",
        directory=tmp_path,
    )


def written(path: Path, organism: Organism, called: tuple[Calls, ConsensusReport]) -> str:
    calls, consensus_report = called
    label = Annotation(Reason.QUALITY_ENCODING, "Odd qualities.", file="patient_smith.fastq.gz", record=3)
    warned = validation().__class__(**{**_values(validation()), "warnings": (label,)})
    sample = Sample("LOC_000001Y.1", organism, (), Path())
    found = qc.Findings(
        validation=warned, depletion=depletion(), alignment=alignment(), consensus=consensus_report, calls=calls
    )
    reference = references.only(organism)
    assert reference is not None
    report.write_report(
        path, sample=sample, reference=reference, found=found, check=qc.check(sample, reference, found),
        provenance={"tools": {"minimap2": "2.31"}, "referenceSha256": "c" * 64, "parameters": {"qc": "default"}},
    )  # fmt: skip
    return path.read_text()


def _values(found: object) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__slots__}  # type: ignore[attr-defined]


def test_the_verdict_comes_first_and_every_part_is_there(
    tmp_path: Path, organism: Organism, called: tuple[Calls, ConsensusReport]
) -> None:
    text = written(tmp_path / "report.html", organism, called)
    parts = ["<strong>WARN</strong>", "Odd qualities.", "<h2>Coverage", "<h2>Quality rules", "<h2>Removal of human"]
    parts += ["<h2>Variants", "<h2>Provenance", "c" * 64, "minimap2 2.31"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "25.00%" in text  # the minority G3T: 30 of 120


def test_the_page_is_well_formed_and_asks_nobody_for_anything(
    tmp_path: Path, organism: Organism, called: tuple[Calls, ConsensusReport]
) -> None:
    text = written(tmp_path / "report.html", organism, called)
    checker = _Checker()
    checker.feed(text)
    assert checker.open == []
    assert "script" not in checker.tags
    assert not re.search(r"https?:|url\(|@import|src=|href=", text)
    assert "default-src 'none'" in text


def test_names_of_files_are_left_out_and_names_are_escaped(
    tmp_path: Path, organism: Organism, called: tuple[Calls, ConsensusReport]
) -> None:
    text = written(tmp_path / "report.html", organism, called)
    assert "smith" not in text
    assert "<b>Virus" not in text
    assert "&lt;b&gt;Virus" in text
    assert str(tmp_path) not in text


def test_the_same_findings_give_the_same_bytes(
    tmp_path: Path, organism: Organism, called: tuple[Calls, ConsensusReport]
) -> None:
    assert written(tmp_path / "a.html", organism, called) == written(tmp_path / "b.html", organism, called)


def test_a_plot_marks_where_depth_is_too_low(called: tuple[Calls, ConsensusReport]) -> None:
    calls, found = called
    plot = coverage_plot.plot(calls.segments[0], calls.variants, min_depth=found.min_depth)
    assert len(plot.lacking) == 1  # from position 7 to the end
    start, width = plot.lacking[0].start, plot.lacking[0].width
    left, right = coverage_plot.LEFT, plot.width - coverage_plot.RIGHT
    assert start == pytest.approx(left + (right - left) * 6 / 24, abs=0.2)
    assert start + width == pytest.approx(right, abs=0.2)
    assert [mark.label for mark in plot.marks] == ["G3T, 25.0% of 120"]


def test_an_entry_without_alignment_has_a_report_too(tmp_path: Path, organism: Organism) -> None:
    sample = Sample("S.1", organism, (), Path(), submitted={"a": "ACG-T"})
    reference = references.only(organism)
    assert reference is not None
    report.write_report(
        tmp_path / "report.html", sample=sample, reference=reference, found=qc.Findings(),
        check=qc.check(sample, reference, qc.Findings()), provenance={},
    )  # fmt: skip
    assert "<strong>FAIL</strong>" in (tmp_path / "report.html").read_text()


class _Checker(HTMLParser):
    """Follows which elements are open."""

    EMPTY = frozenset({"meta", "line", "polygon", "polyline", "rect", "circle", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
