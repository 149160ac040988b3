"""A walk over the rules of the garbage machine: random, repeatable, and without the price of a search for examples."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from tests.faults.garbage_machine import CHOICES, Garbage, Ground


def walk(ground: Ground, chance: random.Random, steps: int) -> str | None:
    """One life of so many steps, all that must hold looked at after each; what went wrong, and on which way there.

    As Hypothesis does it: of the rules that are possible one is taken, with arguments out of their ranges.
    """
    way: deque[str] = deque(maxlen=steps + 1)
    machine = Garbage(ground)
    fault = _said(machine.has_something, way)
    for _ in range(steps):
        if fault is not None:
            break
        rule = chance.choice([each for each in machine.rules if all(holds(machine) for holds in each.preconditions)])
        chosen = {name: chance.choice(CHOICES[id(strategy)]) for name, strategy in rule.arguments.items()}
        way.append(f"{rule.function.__name__}({', '.join(f'{name}={value!r}' for name, value in chosen.items())})")
        fault = _said(lambda rule=rule, chosen=chosen: rule.function(machine, **chosen), way)  # type: ignore[misc]
        fault = fault or _said(machine.what_is_in_use_is_there, way)
    way.append("the end")
    return fault or _said(machine.teardown, way)


def _said(action: Callable[[], object], way: deque[str]) -> str | None:
    try:
        action()
    except Exception as failure:
        return f"{type(failure).__name__}: {failure}"[:400] + f" after {len(way)} steps: " + "; ".join([*way][-12:])
    return None
