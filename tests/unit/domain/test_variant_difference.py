"""What differs between the variants of two results."""

from __future__ import annotations

import pytest

from readvault.domain.variant_difference import MOST_LISTED, Called, NotVcf, compare, parse

HEADER = ["##fileformat=VCFv4.3", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]


def _line(position: int, alternative: str = "T", frequency: str = "0.9", filters: str = "PASS") -> str:
    return f"main\t{position}\t.\tC\t{alternative}\t99.0\t{filters}\tDP=100;AF={frequency};DP4=1,2,3,4\n"


def test_a_vcf_is_read_one_variant_for_each_alternative() -> None:
    found = parse([*HEADER, _line(5), "\n", _line(9, "A,ctt", "0.3,0.2", "LowDepth;StrandBias")])
    assert found == {
        ("main", 5, "C", "T"): Called(0.9, 100, "PASS"),
        ("main", 9, "C", "A"): Called(0.3, 100, "LowDepth;StrandBias"),
        ("main", 9, "C", "CTT"): Called(0.2, 100, "LowDepth;StrandBias"),
    }
    assert parse(["main\t1\t.\tA\tC\t.\t.\t.\n"]) == {("main", 1, "A", "C"): Called(None, None, ".")}
    assert parse([]) == {}


@pytest.mark.parametrize("line", ["nonsense", "main\tx\t.\tA\tC\t.\t.\t.", "main\t٣\t.\tA\tC\t.\t.\t.", "<b>\t1"])
def test_what_is_no_vcf_is_refused_without_quoting_it(line: str) -> None:
    with pytest.raises(NotVcf) as refused:
        parse([*HEADER, line])
    assert str(refused.value) == "line 3 is none of a VCF."


def test_odd_numbers_are_none() -> None:
    for text in ("nan", "inf", "1e400", "x", ""):
        [called] = parse([f"main\t1\t.\tA\tC\t.\tPASS\tDP={text};AF={text}"]).values()
        assert (called.frequency, called.depth) == (None, None)


def test_added_lost_and_moved() -> None:
    old = parse([_line(1), _line(2, frequency="0.50"), _line(3, frequency="0.50"), _line(4)])
    new = parse([_line(2, frequency="0.54"), _line(3, frequency="0.55"), _line(4, filters="LowDepth"), _line(7)])
    found = compare(old, new)
    assert [each.position for each in found.added] == [7]
    assert [each.position for each in found.lost] == [1]
    assert [each.position for each in found.changed] == [3, 4]
    assert found.lost[0].new is None
    assert (found.old, found.new) == (4, 4)
    assert not found.is_same
    assert compare(old, old).is_same
    assert compare({}, {}).is_same


def test_many_are_counted_and_not_told() -> None:
    found = compare({}, parse(_line(position) for position in range(1, 5001)))
    assert (found.added_in_all, len(found.added)) == (5000, MOST_LISTED)
    long = compare({}, {("main", 1, "A" * 500, "C" * 500): Called(1.0, 5, "PASS")}).added[0]
    assert max(len(long.reference), len(long.alternative)) < 100
