"""The checker of races believes what could have been, and nothing else."""

from __future__ import annotations

import pytest

from readvault.domain.interventions import Step
from readvault.domain.status import Visibility
from tests.faults.linearizable import Operation, order_of
from tests.faults.races import Version, model

PROCESSED = ((1, Version("PROCESSED", "d0")),)
HELD = ((1, Version("PROCESSED", "d0", jobs=frozenset({("job", 1)}))),)
RELEASED = ((1, Version("RELEASED", "d0")),)


def op(what: str, *arguments: object, outcome: object = "Unprocessable", at: tuple[int, int] = (0, 100)) -> Operation:
    changes = outcome not in ("Unprocessable", "Conflict", "LeaseLost", ()) and what != "look"
    return Operation(what, arguments, outcome, changes, *at)


BELIEVED = {
    "one of two approvals wins": (
        PROCESSED,
        [op("approve", 1, "d0", outcome=True), op("approve", 1, "d0", outcome="Conflict")],
    ),
    "a result came first, so the digest that was seen is refused": (
        HELD,
        [op("register", 1, "job", 1, "d1", outcome="d1"), op("approve", 1, "d0", outcome="Conflict")],
    ),
    "the approval came first, so the result is refused": (
        HELD,
        [op("register", 1, "job", 1, "d1", outcome="LeaseLost"), op("approve", 1, "d0", outcome=True)],
    ),
    "approved, then revised": (PROCESSED, [op("revise", "alone", outcome=2), op("approve", 1, None, outcome=True)]),
    "withdrawn, restored": (
        RELEASED,
        [
            op("intervene", 1, Step.WITHDRAW, outcome=Visibility.WITHDRAWN),
            op("intervene", 1, Step.RESTORE, outcome=Visibility.PUBLIC),
            op("intervene", 1, Step.RESTORE, outcome="Conflict"),
        ],
    ),
}
DISBELIEVED = {
    "two approvals win": (PROCESSED, [op("approve", 1, "d0", outcome=True), op("approve", 1, None, outcome=True)]),
    "nobody wins": (PROCESSED, [op("approve", 1, "d0"), op("approve", 1, "d0")]),
    "approved with a digest that is gone": (
        HELD,
        [
            op("register", 1, "job", 1, "d1", outcome="d1", at=(0, 1)),
            op("approve", 1, "d0", outcome=True, at=(2, 3)),
        ],
    ),
    "approved and deleted": (PROCESSED, [op("approve", 1, "d0", outcome=True), op("delete", 1, outcome=True)]),
    "a zombie registers": (
        HELD,
        [
            op("edit", 1, outcome=None, at=(0, 1)),
            op("register", 1, "job", 1, "d1", outcome="d1", at=(2, 3)),
        ],
    ),
    "two revisions get one number": (RELEASED, [op("revise", 0, outcome=2), op("revise", 0, outcome=2)]),
    "revised before it was released": (
        PROCESSED,
        [op("revise", 0, outcome=2, at=(0, 1)), op("approve", 1, None, outcome=True, at=(2, 3))],
    ),
    "the database ends as nobody said": (
        PROCESSED,
        [
            op("approve", 1, "d0", outcome=True, at=(0, 1)),
            op("look", outcome=((1, ("RELEASED", "d1", Visibility.PUBLIC)),), at=(2, 3)),
        ],
    ),
    "a refusal of nothing": (RELEASED, [op("intervene", 1, Step.SUPPRESS)]),
}


@pytest.mark.parametrize(("start", "history"), BELIEVED.values(), ids=BELIEVED.keys())
def test_what_could_have_been(start: tuple[tuple[int, Version], ...], history: list[Operation]) -> None:
    found = order_of(history, start, model)
    assert found is not None
    assert sorted(map(id, found[0])) == sorted(map(id, history))


@pytest.mark.parametrize(("start", "history"), DISBELIEVED.values(), ids=DISBELIEVED.keys())
def test_what_could_not(start: tuple[tuple[int, Version], ...], history: list[Operation]) -> None:
    assert order_of(history, start, model) is None
