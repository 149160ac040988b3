"""Whether what several did to one thing at once could have happened one after the other.

After Wing and Gong (1993): look for an order of the operations that fits a sequential model and in
which no operation comes before one that had ended when it began.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Operation:
    """What somebody asked for, when (any monotonic unit), and what came of it. `changes`: it claims to have done it."""

    what: str
    arguments: tuple[Any, ...]
    outcome: Any
    changes: bool
    called: int
    returned: int


type Model[State: Hashable] = Callable[[State, Operation], State | None]
"""The state after an operation with this outcome; None when it can't have this outcome in this state."""


def order_of[State: Hashable](
    history: Sequence[Operation], start: State, model: Model[State]
) -> tuple[list[Operation], State] | None:
    """An order of the whole history that the model allows, and the state at its end; None when there is none."""
    operations = sorted(history, key=lambda each: each.called)
    tried: set[tuple[frozenset[int], State]] = set()

    def search(left: frozenset[int], state: State, so_far: list[int]) -> tuple[list[int], State] | None:
        first_return = min((operations[n].returned for n in left), default=0)
        ready = [n for n in sorted(left) if operations[n].called <= first_return]
        # What was refused changes nothing: as soon as its refusal fits it can go, and nobody is worse off.
        for number in ready:
            if not operations[number].changes and model(state, operations[number]) is not None:
                return search(left - {number}, state, [*so_far, number])
        if not left:
            return so_far, state
        if (left, state) in tried:
            return None
        tried.add((left, state))
        for number in ready:
            if operations[number].changes:
                after = model(state, operations[number])
                if after is not None and (found := search(left - {number}, after, [*so_far, number])) is not None:
                    return found
        return None

    found = search(frozenset(range(len(operations))), start, [])
    return None if found is None else ([operations[n] for n in found[0]], found[1])
