"""Two results beside each other."""

from __future__ import annotations

from typing import Any

from readvault.domain import result_difference as difference
from readvault.domain.result_difference import Figure, FileChange


def _data(sequence: str, aligned: str | None = None, *, reference: str = "wuhan", **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"reference": reference},
        "unalignedNucleotideSequences": {"main": sequence},
        "alignedNucleotideSequences": {"main": aligned},
        **more,
    }


def test_the_file_is_the_consensus_and_segments_are_what_it_says() -> None:
    fasta = ">LOC_000001Y.1|HA\nACGT\nacgt\n>LOC_000001Y.1|NA\n\nTT TT\n"
    assert difference.by_segment(fasta) == {"HA": "ACGTACGT", "NA": "TTTT"}
    assert difference.by_segment(">LOC_000001Y.1\nACGT\n", only="genome") == {"genome": "ACGT"}
    assert difference.by_segment("") == {}
    assert difference.by_segment(">x\n") == {"main": ""}
    assert difference.by_segment("ACGT\n") == {}
    found = difference.sequences(_data("AAAA"), ">LOC_000001Y.1\nCCCC\n")
    assert found.by_segment == {"main": "CCCC"}
    assert difference.sequences(_data("AAAA"), None).by_segment == {"main": "AAAA"}
    assert difference.sequences({}, None).by_segment == {}
    assert difference.sequences({"unalignedNucleotideSequences": {"main": None}}, None).by_segment == {}


def test_positions_are_the_reference_s_where_both_lie_on_the_same() -> None:
    old = difference.sequences(_data("CGT", "-CGT"), None)
    new = difference.sequences(_data("CGAAC", "-CGC", nucleotideInsertions={"main": ["3:AA"]}), None)
    [found] = difference.compare_sequences(old, new)
    assert found.on_reference
    assert [(each.start, each.old, each.new) for each in found.changes] == [(3, "", "AA"), (4, "T", "C")]


def test_where_the_record_is_another_sequence_than_the_file_the_file_counts() -> None:
    old = difference.sequences(_data("ACGT", "ACGT"), ">x\nACGTACGT\n")
    new = difference.sequences(_data("ACGT", "ACGT"), ">x\nACGTACGG\n")
    [found] = difference.compare_sequences(old, new)
    assert not found.on_reference
    assert [(each.start, each.new) for each in found.changes] == [(8, "G")]


def test_another_reference_has_other_positions() -> None:
    old = difference.sequences(_data("CGT", "-CGT"), None)
    new = difference.sequences(_data("CGA", "-CGA", reference="another"), None)
    [found] = difference.compare_sequences(old, new)
    assert not found.on_reference
    assert [each.start for each in found.changes] == [3]


def test_an_odd_insertion_is_no_reason_to_fail() -> None:
    old = difference.sequences(_data("ACGT", "ACGT"), None)
    odd = _data("ACGGT", "ACGT", nucleotideInsertions={"main": ["x", None, "-1:A", "3:G!"]})
    [found] = difference.compare_sequences(old, difference.sequences(odd, None))
    assert not found.on_reference
    assert found.counts is not None
    assert list(found.counts) == ["insertion"]


def test_segments_come_and_go() -> None:
    old = difference.sequences({}, ">a|HA\nACGT\n>a|NA\nTTTT\n")
    new = difference.sequences({}, ">a|NA\nTTTT\n>a|PB1\nGG\n")
    found = {each.segment: each for each in difference.compare_sequences(old, new)}
    assert list(found) == ["HA", "NA", "PB1"]
    assert (found["HA"].new_length, found["PB1"].old_length) == (None, None)
    assert found["NA"].is_same
    assert difference.compare_sequences(difference.sequences({}, None), difference.sequences({}, None)) == ()


def test_figures_that_differ_and_those_that_matter() -> None:
    old = {"depthOfCoverage": 30.5, "country": "CH", "date": "2020", "qualityControlDetails": "a"}
    new = {"depthOfCoverage": 30.5, "country": "DE", "date": "2020", "qualityControlDetails": "b", "lineage": "X"}
    found = difference.compare_figures(old, new, ("depthOfCoverage", "humanFraction"))
    assert found == (
        Figure("depthOfCoverage", 30.5, 30.5),
        Figure("country", "CH", "DE"),
        Figure("lineage", None, "X"),
    )
    assert [each.is_same for each in found] == [True, False, False]


def test_messages_and_files() -> None:
    a, b, c = ({"reason": name, "message": name} for name in "abc")
    found = difference.compare_messages([a, b], [b, c])
    assert (found.added, found.gone, found.same) == ((c,), (a,), 1)
    old = {("consensus", "x.fasta"): (4, "1"), ("report", "r.html"): (9, "2")}
    new = {("consensus", "x.fasta"): (4, "3"), ("variants", "v.vcf.gz"): (5, "4")}
    assert difference.compare_files(old, new) == (
        FileChange("consensus", "x.fasta", 4, 4, is_same=False),
        FileChange("report", "r.html", 9, None, is_same=False),
        FileChange("variants", "v.vcf.gz", None, 5, is_same=False),
    )
