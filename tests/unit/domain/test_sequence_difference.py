"""What differs between two sequences, by position."""

from __future__ import annotations

import random
import time

import pytest

from readvault.domain import sequence_difference as difference
from readvault.domain.sequence_difference import MOST_CHANGES, SHOWN_BASES, Aligned, Kind
from readvault.domain.side_by_side import laid

START = "ACGTTGCAGGATCCATTGCA"


def _genome(size: int, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=size))


def _told(found: difference.SegmentDifference) -> list[tuple[str, int, int, str, str]]:
    return [(str(each.kind), each.start, each.end, each.old, each.new) for each in found.changes]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (START, []),
        (START.lower(), []),
        ("ACGTTGCAGGATCCATTGCC", [("substitution", 20, 20, "A", "C")]),
        ("ACGTTGCARGATCCATTGCA", [("substitution", 9, 9, "G", "R")]),
        ("ACGTTGGATCCATTGCA", [("deletion", 6, 8, "GCA", "")]),
        ("ACGTTGCATTTGGATCCATTGCA", [("insertion", 8, 8, "", "TTT")]),
        ("ACNNNGCAGGATCCATTGCA", [("now unknown", 3, 5, "GTT", "NNN")]),
        ("GCGTTGCAGGATCCATTGCA", [("substitution", 1, 1, "A", "G")]),
        ("", [("deletion", 1, 20, START, "")]),
        ("N" * 12, [("now unknown", 1, 20, START, "N" * 12)]),
    ],
)
def test_changes_of_a_short_sequence(new: str, expected: list[tuple[str, int, int, str, str]]) -> None:
    found = difference.between("main", START, new)
    assert (_told(found), found.is_same) == (expected, not expected)
    assert (found.old_length, found.new_length, found.on_reference) == (20, len(new), False)


def test_what_was_unknown_and_is_known_now_is_one_change_a_run() -> None:
    found = difference.between("main", "ACGTTNNNNNATCCATTNCA", START)
    assert _told(found) == [("now known", 6, 10, "NNNNN", "GCAGG"), ("now known", 18, 18, "N", "G")]
    assert found.counts == {Kind.NOW_KNOWN: 2}
    assert found.bases == {Kind.NOW_KNOWN: 6}
    assert _told(difference.between("main", "", START)) == [("insertion", 0, 0, "", START)]
    assert difference.between("main", "", "").is_same


def test_one_deleted_base_of_a_homopolymer_is_the_first_one() -> None:
    assert _told(difference.between("main", "ACGTAAAATTGC", "ACGTAAATTGC")) == [("deletion", 5, 5, "A", "")]


def test_a_segment_that_one_result_lacks() -> None:
    gone, new = difference.missing("S", "ACGT", None), difference.missing("S", None, "ACG")
    assert ((gone.old_length, gone.new_length), (new.old_length, new.new_length)) == ((4, None), (None, 3))
    assert not gone.is_same
    assert not new.is_same


def test_a_large_genome_is_quick_and_every_planted_change_is_found() -> None:
    old = _genome(197_000)
    letters = list(old)
    places = sorted(random.Random(2).sample(range(10_000, 80_000), 200))
    for place in places:
        letters[place] = {"A": "C", "C": "G", "G": "T", "T": "A"}[letters[place]]
    letters[150_000:155_000] = "N" * 5000
    letters[120_000:120_000] = "ACGTTGCA" * 5
    del letters[100_000:100_200]
    began = time.process_time()
    found = difference.between("main", old, "".join(letters))
    assert time.process_time() - began < 3
    by_kind = {kind: [each for each in found.changes if each.kind is kind] for kind in Kind}
    assert [each.start - 1 for each in by_kind[Kind.SUBSTITUTION]] == places
    [deletion], [insertion] = by_kind[Kind.DELETION], by_kind[Kind.INSERTION]
    assert (deletion.end - deletion.start, deletion.old_length, len(deletion.old)) == (199, 200, SHOWN_BASES)
    assert (insertion.start, insertion.new_length) == (120_000, 40)
    assert found.bases is not None
    assert found.bases[Kind.NOW_UNKNOWN] == 5000
    assert [(each.start, each.end) for each in by_kind[Kind.NOW_UNKNOWN]] == [(150_001, 155_000)]


def test_what_has_nothing_in_common_is_quick_too() -> None:
    began = time.process_time()
    found = difference.between("main", _genome(60_000, 1), _genome(50_000, 2))
    assert time.process_time() - began < 5
    assert {each.kind for each in found.changes} <= {Kind.REPLACED, Kind.SUBSTITUTION, Kind.INSERTION, Kind.DELETION}
    assert not found.is_same


def test_a_huge_number_of_changes_is_counted_and_not_told() -> None:
    old = _genome(30_000)
    new = "".join(letter if place % 40 else {"A": "T"}.get(letter, "A") for place, letter in enumerate(old))
    found = difference.between("main", old, new)
    assert found.counts == {Kind.SUBSTITUTION: 750}
    assert (len(found.changes), found.left_out) == (MOST_CHANGES, 750 - MOST_CHANGES)
    assert [each.start for each in found.changes] == [1 + 40 * number for number in range(MOST_CHANGES)]


def test_on_a_reference_positions_are_the_reference_s() -> None:
    old = Aligned("NNACG-TTACGTAC-N", {5: "GG"})
    new = Aligned("NCACGATTNNGT-CNN", {5: "GG", 11: "T"})
    found = difference.on_reference("main", old, new)
    assert _told(found) == [
        ("now known", 2, 2, "N", "C"),
        ("insertion", 6, 6, "", "A"),
        ("now unknown", 9, 10, "AC", "NN"),
        ("insertion", 11, 11, "", "T"),
        ("deletion", 13, 13, "A", ""),
        ("now unknown", 15, 15, "", "N"),
    ]
    assert (found.old_length, found.new_length) == (16, 18)
    assert old.assembled() == "NNACGGGTTACGTACN"
    assert difference.on_reference("main", Aligned("ACG", {1: "TT"}), Aligned("ACG", {1: "T"})).changes[0].kind == (
        Kind.REPLACED
    )
    with pytest.raises(ValueError, match="length"):
        difference.on_reference("main", old, Aligned("ACGT", {}))


def test_both_sequences_are_laid_whole_whatever_they_are() -> None:
    chance = random.Random(3)
    for _ in range(400):
        old = "".join(chance.choices("ACGTN", weights=(5, 5, 5, 5, 3), k=chance.randrange(150)))
        letters = list(old)
        for _ in range(chance.randrange(6)):
            at = chance.randrange(len(letters) + 1)
            letters[at : at + chance.randrange(9)] = chance.choices("ACGTN", k=chance.randrange(9))
        new = "".join(letters)
        spans = list(laid(old, new))
        assert "".join(old[a:b] for a, b, _, _ in spans) == old
        assert "".join(new[c:d] for _, _, c, d in spans) == new
        assert difference.between("main", old, new).is_same == (old == new)
