"""Lines of SILO reads: each rule by an example, and all of them against a plain oracle for any CIGAR."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from readvault.domain import silo_lines
from readvault.domain.errors import ProcessingFailure
from readvault.domain.reports import SiloReport
from readvault.reads.call.gene_annotation import Gene
from readvault.reads.sample import Segment
from readvault.reads.silo import conversion
from tests import silo_maker, silo_oracle
from tests.unit.reads.bam_maker import Read, make_bam, pair

REFERENCE = "ACGTACGTACGTACGTACGT" * 3
SEGMENTS = (Segment("reference", REFERENCE),)
GENE = Gene("orf", "reference", False, np.arange(3, 33))


def text_of(path: Path) -> str:
    return silo_maker.unpacked(path).decode("ascii")


def converted(
    directory: Path,
    reads: Iterable[Read],
    segments: tuple[Segment, ...] = SEGMENTS,
    names: tuple[str, ...] = ("main",),
    **options: Any,
) -> tuple[str, SiloReport]:
    bam = make_bam(directory, segments, reads).bam
    options = {"min_base_quality": 20, **options}
    report = conversion.write(bam, segments, names=names, directory=directory, **options)
    return text_of(directory / silo_lines.FILE_NAME), report


def rows(directory: Path, *reads: Read, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in converted(directory, reads, **options)[0].splitlines()]


def main(directory: Path, *reads: Read, **options: Any) -> list[tuple[str, int, str, list[str]]]:
    found = [(row["readId"], row["main"]) for row in rows(directory, *reads, **options)]
    return [(name, own["offset"], own["sequence"], own["insertions"]) for name, own in found]


def test_an_insertion_stands_after_the_base_before_it(tmp_path: Path) -> None:
    """sr2silo 1.8.0 says `6:TT` here, one too high."""
    assert main(tmp_path, Read("1", 0, "5M2I5M", "ACGTATTCGTAC")) == [("1", 0, "ACGTACGTAC", ["5:TT"])]


def test_an_insertion_before_the_first_base_stands_after_0(tmp_path: Path) -> None:
    assert main(tmp_path, Read("1", 0, "1S2I5M", "GTTACGTA")) == [("1", 0, "ACGTA", ["0:TT"])]


def test_an_insertion_at_the_end_and_next_to_a_deletion(tmp_path: Path) -> None:
    found = main(tmp_path, Read("1", 55, "5M2I", "TACGTGG"), Read("2", 0, "3M1I2D3M", "ACGGCGT"))
    assert found == [("2", 0, "ACG--CGT", ["3:G"]), ("1", 55, "TACGT", ["60:GG"])]


def test_what_the_cigar_says(tmp_path: Path) -> None:
    read = Read("1", 2, "2H3S2=1X2D2N3M2S1H", "TTTGTCTACGG")
    assert main(tmp_path, read) == [("1", 2, "GTC--NNTAC", [])]


def test_bases_deletions_and_insertions_of_low_quality_say_nothing(tmp_path: Path) -> None:
    low = Read("1", 0, "3M2D2M2I3M", "ACGCGTTTAC", quality=(40, 19, 10, 20, 40, 19, 20, 20, 40, 40))
    assert main(tmp_path, low) == [("1", 0, "ANNNNCGTAC", [])]
    assert main(tmp_path, low, min_base_quality=0) == [("1", 0, "ACG--CGTAC", ["7:TT"])]


def test_ambiguous_bases_are_unknown(tmp_path: Path) -> None:
    assert main(tmp_path, Read("1", 0, "6M", "ARGTNC")) == [("1", 0, "ANGTNC", [])]


def test_mates_become_one_fragment_with_an_unknown_gap(tmp_path: Path) -> None:
    found = main(tmp_path, *pair("7", (0, "4M", "ACGT"), (6, "4M", "GTAC")))
    assert found == [("7", 0, "ACGTNNGTAC", [])]


def test_of_mates_that_disagree_the_better_quality_wins_and_a_tie_says_nothing(tmp_path: Path) -> None:
    better = pair("1", (0, "6M", "ACGTTC"), (4, "6M", "ACGTAC"), quality=30, mate_quality=40)
    tie = pair("2", (0, "6M", "ACGTTC"), (4, "6M", "ACGTAC"))
    masked = pair("3", (0, "6M", "ACGTTC"), (4, "6M", "ACGTAC"), quality=19, mate_quality=20)
    found = [sequence for _, _, sequence, _ in main(tmp_path, *better, *tie, *masked)]
    assert found == ["ACGTACGTAC", "ACGTNCGTAC", "NNNNACGTAC"]


def test_a_deletion_or_insertion_of_one_mate_counts_and_the_same_one_once(tmp_path: Path) -> None:
    deleted = pair("1", (0, "4M1D3M", "ACGTCGT"), (2, "6M", "GTACGT"))
    inserted = pair("2", (0, "4M2I4M", "ACGTGGACGT"), (2, "2M2I4M", "GTGGACGT"))
    lonely = pair("3", (0, "4M2I4M", "ACGTGGACGT"), (2, "6M", "GTACGT"))
    found = [(sequence, insertions) for _, _, sequence, insertions in main(tmp_path, *deleted, *inserted, *lonely)]
    assert found == [("ACGT-CGT", []), ("ACGTACGT", ["4:GG"]), ("ACGTACGT", ["4:GG"])]


def test_of_different_insertions_the_better_one_counts_and_a_tie_leaves_none(tmp_path: Path) -> None:
    better = pair("1", (0, "4M2I4M", "ACGTGGACGT"), (2, "2M1I4M", "GTCACGT"), quality=30, mate_quality=40)
    tie = pair("2", (0, "4M2I4M", "ACGTGGACGT"), (2, "2M1I4M", "GTCACGT"))
    assert [insertions for *_, insertions in main(tmp_path, *better, *tie)] == [["4:C"], []]


def test_mates_far_apart_on_other_segments_or_read_by_read_have_lines_of_their_own(tmp_path: Path) -> None:
    segments = (Segment("A", REFERENCE * 40), Segment("B", REFERENCE))
    near, far = pair("1", (0, "4M", "ACGT"), (1004, "4M", "ACGT")), pair("2", (0, "4M", "ACGT"), (1005, "4M", "CGTA"))
    apart = [Read("3", 4, "4M", "ACGT", flag=0x61), Read("3", 4, "4M", "ACGT", flag=0x91, segment=1)]
    reads = [*near, *far, *apart]
    found = rows(tmp_path, *reads, segments=segments, names=("A", "B"))
    assert [row["readId"] for row in found] == ["1", "2/1", "2/2", "3/1", "3/2"]
    assert [row["A"] is None for row in found] == [False, False, False, False, True]
    assert found[0]["A"]["sequence"] == "ACGT" + "N" * 1000 + "ACGT"
    each = rows(tmp_path, *reads, segments=segments, names=("A", "B"), merged=False)
    assert sorted(row["readId"] for row in each) == ["1/1", "1/2", "2/1", "2/2", "3/1", "3/2"]


def test_a_mate_whose_other_one_never_comes_has_a_line(tmp_path: Path) -> None:
    """Its mate is unmapped, or mapped but left out."""
    alone, left = Read("1", 0, "4M", "ACGT", flag=0x49), Read("2", 0, "4M", "ACGT", flag=0x63, mate_start=8)
    failed = Read("2", 8, "4M", "ACGT", flag=0x93 | 0x200, mate_start=0)
    assert [name for name, *_ in main(tmp_path, alone, left, failed)] == ["1", "2/1"]


def test_alignments_that_are_left_out(tmp_path: Path) -> None:
    flags = (0x100, 0x200, 0x400, 0x800)
    reads = [Read(str(number), 0, "4M", "ACGT", flag=flag) for number, flag in enumerate(flags, start=1)]
    text, report = converted(tmp_path, [*reads, Read("6", 3, "4S", "ACGT"), Read("7", 0, "2S2I", "ACGT")])
    assert (text, report.reads, report.left_out, report.lines) == ("", 0, 6, 0)


@pytest.mark.parametrize(
    ("reads", "cause"),
    [
        ([Read("1", 0, "4M", "ACGT"), Read("1", 3, "4M", "TACG")], "twice"),
        ([*pair("1", (0, "4M", "ACGT"), (2, "4M", "GTAC")), Read("1", 0, "1M", "A", flag=99, mate_start=2)], "twice"),
        ([Read("r1", 0, "4M", "ACGT")], "ordinal"),
        ([Read("0", 0, "4M", "ACGT")], "ordinal"),
        ([Read("07", 0, "4M", "ACGT")], "ordinal"),
        ([Read("99999999999", 0, "4M", "ACGT")], "ordinal"),
        ([Read("1", 0, "4M", "ACGT", flag=0x1)], "neither"),
        ([Read("1", 57, "4M", "ACGT")], "damaged"),
    ],
)  # fmt: skip
def test_a_strange_bam_is_refused(tmp_path: Path, reads: list[Read], cause: str) -> None:
    with pytest.raises(ProcessingFailure, match=cause):
        converted(tmp_path, reads)
    assert not list(tmp_path.glob("silo.scratch"))


def test_a_bam_of_another_reference_or_a_cut_one_is_refused(tmp_path: Path) -> None:
    bam = make_bam(tmp_path, SEGMENTS, [Read("1", 0, "4M", "ACGT")]).bam
    options: Any = {"names": ("main",), "min_base_quality": 20, "directory": tmp_path}
    for other in (Segment("other", REFERENCE), Segment("reference", REFERENCE + "A")):
        with pytest.raises(ProcessingFailure, match="silo: the alignment lies on another reference"):
            conversion.write(bam, (other,), **options)
    bam.write_bytes(bam.read_bytes()[:-40])
    with pytest.raises(ProcessingFailure, match="silo: the BAM"):
        conversion.write(bam, SEGMENTS, **options)
    with pytest.raises(ProcessingFailure, match="called offset"):
        conversion.write(bam, SEGMENTS, **options | {"names": ("offset",)})


def amino(directory: Path, read: Read, *genes: Gene) -> dict[str, Any]:
    (row,) = rows(directory, read, genes=genes or (GENE,))
    return {name: value for name, value in row.items() if name not in ("readId", "main")}


def test_amino_acids_of_whole_codons_only(tmp_path: Path) -> None:
    """TAC GTA CGT ACG TAC …: Y V R T Y V …"""
    found = amino(tmp_path, Read("1", 4, "10M", REFERENCE[4:14]))["orf"]
    assert found == {"sequence": "VR", "insertions": [], "offset": 1}
    assert amino(tmp_path, Read("1", 4, "4M", REFERENCE[4:8]))["orf"] is None
    assert amino(tmp_path, Read("1", 40, "10M", REFERENCE[40:50]))["orf"] is None


def test_deletions_of_whole_codons_lie_where_most_stays_the_same(tmp_path: Path) -> None:
    between = Read("1", 3, "4M3D8M", REFERENCE[3:7] + REFERENCE[10:18])  # TAC G-- -GT ACG TAC
    assert amino(tmp_path, between)["orf"] == {"sequence": "YG-TY", "insertions": [], "offset": 0}
    same = Read("1", 3, "5M3D7M", "TACGT" + "TACGTAC")  # TAC GT- --T ACG TAC: GTT is the V of before
    assert amino(tmp_path, same)["orf"] == {"sequence": "YV-TY", "insertions": [], "offset": 0}
    whole = Read("1", 3, "3M3D9M", REFERENCE[3:6] + REFERENCE[9:18])
    assert amino(tmp_path, whole)["orf"] == {"sequence": "Y-RTY", "insertions": [], "offset": 0}


def test_a_shifted_codon_is_unknown_and_the_next_ones_are_read_on(tmp_path: Path) -> None:
    shifted = Read("1", 3, "4M1D13M", REFERENCE[3:7] + REFERENCE[8:21])
    assert amino(tmp_path, shifted)["orf"] == {"sequence": "YXRTYV", "insertions": [], "offset": 0}


def test_an_insertion_of_a_codon(tmp_path: Path) -> None:
    read = Read("1", 3, "6M3I6M", REFERENCE[3:9] + "AAA" + REFERENCE[9:15])
    assert amino(tmp_path, read)["orf"] == {"sequence": "YVRT", "insertions": ["2:K"], "offset": 0}


def test_genes_that_slip_join_or_lie_on_the_other_strand(tmp_path: Path) -> None:
    slipping = Gene("slip", "reference", False, np.array([3, 4, 5, 5, 6, 7, 8, 9, 10]))  # TAC CGT ACG
    joined = Gene("joined", "reference", False, np.array([3, 4, 12, 13, 14, 15]))  # TA|A CGT
    reverse = Gene("back", "reference", True, np.array([11, 10, 9, 8, 7, 6, 5, 4, 3]))  # ACG TAC GTA
    found = amino(tmp_path, Read("1", 0, "20M", REFERENCE[:20]), slipping, joined, reverse)
    assert [found[name]["sequence"] for name in ("slip", "joined", "back")] == ["YRT", "*R", "TYV"]
    gap = Read("1", 0, "6M3D11M", REFERENCE[:6] + REFERENCE[9:20])
    assert amino(tmp_path, gap, reverse)["back"] == {"sequence": "T-V", "insertions": [], "offset": 0}


def test_the_same_bytes_whatever_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one go, and with runs on disk, many batches and hardly any room for lines."""
    dice = random.Random(5)
    reads = [
        read
        for number in range(1, 3000)
        for start in (dice.randrange(20),)
        for read in pair(
            str(number), (start, "20M", REFERENCE[start : start + 20]), (start + 15, "20M", REFERENCE[:20])
        )
    ]
    whole, report = converted(tmp_path, reads)
    first = (tmp_path / silo_lines.FILE_NAME).read_bytes()
    monkeypatch.setattr(conversion, "_RUN_BYTES", 20_000)
    monkeypatch.setattr(conversion, "_BATCH_BYTES", 10_000)
    monkeypatch.setattr(conversion, "_OUT_BYTES", 10)
    assert converted(tmp_path, reads) == (whole, report)
    assert (tmp_path / silo_lines.FILE_NAME).read_bytes() == first
    assert (report.reads, report.lines, report.merged_pairs) == (5998, 2999, 2999)
    assert not list(tmp_path.glob("silo.scratch"))


OPERATIONS = st.lists(st.tuples(st.sampled_from("MMMMMIDNS=XP"), st.integers(1, 7)), min_size=1, max_size=7)
QUALITIES = st.sampled_from([(40,), (20,), (10, 40), (2, 19, 20, 30)])
GENES = (
    Gene("front", "reference", False, np.arange(1, 58)),
    Gene("back", "reference", True, np.arange(58, 1, -1)),
    Gene("slip", "reference", False, np.r_[0:13, 12:29]),
    Gene("joined", "reference", True, np.r_[40:30:-1, 20:3:-1][:27]),
)


@st.composite
def placed(draw: st.DrawFn, name: str, flag: int) -> Read | None:
    dice = random.Random(draw(st.integers(0, 1 << 30)))
    kinds = draw(OPERATIONS)
    inner = [(code, length) for code, length in kinds if code != "S"]
    clips = [length for code, length in kinds if code == "S"][:2]
    parts = [(clips[0], "S")] if clips else []
    parts += [(length, code) for code, length in inner] + ([(clips[1], "S")] if len(clips) > 1 else [])
    span = sum(length for length, code in parts if code in "MDN=X")
    bases = sum(length for length, code in parts if code in "MIS=X")
    if span > len(REFERENCE) or not bases:
        return None
    start = draw(st.integers(0, len(REFERENCE) - span))
    levels = draw(QUALITIES)
    sequence = "".join(dice.choice("ACGTACGTACGTN") for _ in range(bases))
    quality = tuple(dice.choice(levels) for _ in range(bases))
    return Read(name, start, "".join(f"{n}{c}" for n, c in parts), sequence, flag=flag, quality=quality)


@st.composite
def libraries(draw: st.DrawFn) -> list[Read]:
    found: list[Read] = []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        if draw(st.booleans()):
            one, other = draw(placed(str(number), 0x61)), draw(placed(str(number), 0x91))
            if one and other:
                found += [
                    Read(**{**vars(one), "mate_start": other.start}),
                    Read(**{**vars(other), "mate_start": one.start}),
                ]
        elif read := draw(placed(str(number), 0)):
            found.append(read)
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(reads=libraries(), merged=st.booleans(), minimum=st.sampled_from([0, 20]), seed=st.integers(0, 99))
def test_any_cigar_gives_what_a_plain_oracle_says(reads: list[Read], merged: bool, minimum: int, seed: int) -> None:
    sequence = "".join(random.Random(seed).choices("ACGT", k=len(REFERENCE)))
    segments = (Segment("reference", sequence),)
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        bam = make_bam(directory, segments, reads, level=1).bam
        options: Any = {"names": ("main",), "genes": GENES, "merged": merged}
        expected = "".join(silo_oracle.lines(bam, segments, minimum=minimum, **options))
        conversion.write(bam, segments, min_base_quality=minimum, directory=directory, **options)
        assert text_of(directory / silo_lines.FILE_NAME) == expected
