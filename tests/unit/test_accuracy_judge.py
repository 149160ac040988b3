"""The judge of accuracy finds what is wrong, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy_judge import (
    Call,
    Difference,
    differences,
    judge_consensus,
    judge_variants,
    key,
    reference_position,
)
from readvault.reads.simulate.simulated_genome import PlantedVariant
from readvault.reads.simulate.simulation import Simulated

TRUTH = "".join("ACGT"[i] for i in np.random.default_rng(1).integers(0, 4, 600))


def changed(at: int, length: int, bases: str) -> str:
    return TRUTH[:at] + bases + TRUTH[at + length :]


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        (TRUTH, []),
        (changed(100, 50, "N" * 50), []),
        (changed(0, 80, "N" * 80), []),
        (changed(100, 50, "N" * 38), []),
        (changed(100, 50, "N" * 55), []),
        (changed(300, 20, ""), [("deletion", 20)]),
        (changed(300, 0, "ACGTTGCA" * 3), [("insertion", 24)]),
        (changed(570, 30, ""), [("deletion", 30)]),
    ],
)
def test_differences_are_found_and_unknown_bases_are_none(called: str, expected: list[tuple[str, int]]) -> None:
    found = differences("s", TRUTH, called)
    assert [(d.kind, abs(len(d.truth) - len(d.called))) for d in found] == expected


def test_a_wrong_base_is_a_substitution_and_a_code_that_allows_the_truth_is_ambiguous() -> None:
    other = "ACGT"[("ACGT".index(TRUTH[200]) + 1) % 4]
    assert differences("s", TRUTH, changed(200, 1, other)) == [Difference("s", 200, TRUTH[200], other)]
    code = {"A": "R", "G": "R", "C": "Y", "T": "Y"}[TRUTH[200]]
    assert [d.kind for d in differences("s", TRUTH, changed(200, 1, code))] == ["ambiguous"]


def test_two_neighbouring_changes_with_unknown_bases_around_are_both_found() -> None:
    other = "ACGT"[("ACGT".index(TRUTH[200]) + 1) % 4]
    called = changed(200, 1, other)
    called = called[:205] + "N" * 100 + called[305:320] + called[325:]  # unknown, then five bases too few
    assert [d.kind for d in differences("s", TRUTH, called)] == ["substitution", "deletion"]


def sample() -> Simulated:
    variants = (
        PlantedVariant("s", 50, TRUTH[49], "X"),
        PlantedVariant("s", 100, TRUTH[99], TRUTH[99] + "ACG"),
        PlantedVariant("s", 200, TRUTH[199:205], TRUTH[199], 0.5),
        PlantedVariant("s", 300, TRUTH[299], "Y", 0.05),
    )
    return Simulated(
        Path(), None, {"s": changed(100, 0, "ACG")}, variants, (), (1.0, 1.0, 0.48, 0.06), (500, 500, 900, 600)
    )


def test_recall_precision_and_frequencies_are_of_what_was_really_read() -> None:
    made = sample()
    calls = {
        key(made.variants[0]): 0.98,
        key(made.variants[3]): 0.03,
        Call("s", 7, "A", "C"): 0.2,
        Call("s", 8, "A", "C"): 0.01,
    }
    found = judge_variants(made, calls, min_frequency=0.05, min_depth=500, ignored=[key(made.variants[1])])
    assert (found.wanted, found.found, found.missed) == (3, 2, (key(made.variants[2]),))
    assert (found.called, found.right, found.false) == (2, 1, (Call("s", 7, "A", "C"),))
    assert found.worst_deviation == pytest.approx(0.03)


def test_what_half_of_the_fragments_have_is_no_error_either_way() -> None:
    made = sample()
    truth = made.truth["s"]
    assert judge_consensus(made, {"s": truth}) == []
    assert judge_consensus(made, {"s": truth[:203] + truth[208:]}) == []  # the deletion of 50 %
    assert len(judge_consensus(made, {"s": truth[:403] + truth[408:]})) == 1


def test_positions_of_the_truth_are_found_on_the_reference() -> None:
    made = sample()
    assert [reference_position(made, "s", at) for at in (10, 99, 101, 102, 103, 400)] == [10, 99, 99, 99, 100, 397]
