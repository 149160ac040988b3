"""Patterns that a maintainer writes and every value must match: in linear time, whatever the value.

Python's own `re` backtracks: a pattern such as `(a+)+` lets one short value keep a server busy for years.
Here a pattern becomes a state machine that reads each character once (Thompson's construction, with the
sets of states remembered), so there is no such pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

MAX_STATES = 5000
"""A counted repetition is that many copies; this bounds them."""
MAX_REMEMBERED = 5000
MAX_DEPTH = 50

_Test = Callable[[str], bool]
_Node = tuple[object, ...]
_CLASSES: dict[str, _Test] = {
    "d": lambda c: "0" <= c <= "9",
    "w": lambda c: c == "_" or c.isalnum(),
    "s": str.isspace,
    "D": lambda c: not "0" <= c <= "9",
    "W": lambda c: not (c == "_" or c.isalnum()),
    "S": lambda c: not c.isspace(),
}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}


@lru_cache(maxsize=1000)
def compiled(text: str) -> Pattern:
    """The pattern that this text writes; raises ValueError when it can't be read.

    Known are characters, `.`, classes (`[A-Z_]`, `[^;]`, `\\d \\w \\s` and their opposites), groups,
    `|`, and the repetitions `* + ? {n} {n,} {n,m}`. A value must match as a whole.
    """
    return Pattern(_Parser(text).parsed())


@dataclass(slots=True)
class _State:
    test: _Test | None = None
    next: list[int] = field(default_factory=list)


class Pattern:
    """A compiled pattern."""

    def __init__(self, node: _Node) -> None:
        self._states: list[_State] = []
        self._built = 0
        self._end = self._add(None)
        self._start = self._closure([self._build(node, self._end)])
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def matches(self, value: str) -> bool:
        """Whether the whole value matches; the time grows with its length and no faster."""
        states = self._start
        for character in value:
            key = (states, character)
            known = self._steps.get(key)
            if known is None:
                known = self._step(states, character)
                if len(self._steps) >= MAX_REMEMBERED:
                    self._steps.clear()
                self._steps[key] = known
            if not known:
                return False
            states = known
        return self._end in states

    def _step(self, states: frozenset[int], character: str) -> frozenset[int]:
        reached = []
        for number in states:
            state = self._states[number]
            if state.test is not None and state.test(character):
                reached += state.next
        return self._closure(reached)

    def _closure(self, numbers: Sequence[int]) -> frozenset[int]:
        seen: set[int] = set()
        waiting = list(numbers)
        while waiting:
            number = waiting.pop()
            if number not in seen:
                seen.add(number)
                state = self._states[number]
                if state.test is None:
                    waiting += state.next
        return frozenset(seen)

    def _add(self, test: _Test | None, *following: int) -> int:
        if len(self._states) >= MAX_STATES:
            raise ValueError("the pattern repeats too much")
        self._states.append(_State(test, list(following)))
        return len(self._states) - 1

    def _build(self, node: _Node, following: int) -> int:
        """The first state of what this node matches, before `following`."""
        self._built += 1
        if self._built > 10 * MAX_STATES:
            raise ValueError("the pattern repeats too much")
        match node:
            case ("one", test):
                return self._add(test, following)  # type: ignore[arg-type]
            case ("all", *parts):
                for part in reversed(parts):
                    following = self._build(part, following)  # type: ignore[arg-type]
                return following
            case ("any", *choices):
                return self._add(None, *[self._build(choice, following) for choice in choices])  # type: ignore[arg-type]
            case ("repeat", body, int(least), most):
                return self._repeated(body, least, most, following)  # type: ignore[arg-type]
        raise AssertionError(node)

    def _repeated(self, body: _Node, least: int, most: int | None, following: int) -> int:
        if most is None:
            loop = self._add(None, following)
            self._states[loop].next.append(self._build(body, loop))
            first = loop
        else:
            first = following
            for _ in range(most - least):
                first = self._add(None, following, self._build(body, first))
        for _ in range(least):
            first = self._build(body, first)
        return first


class _Parser:
    """Reads a pattern; the few rules that all engines share."""

    def __init__(self, text: str) -> None:
        anchored = text.removeprefix("^")
        ends = anchored.endswith("$") and (len(anchored) - len(anchored[:-1].rstrip("\\"))) % 2 == 1
        self._text = anchored[:-1] if ends else anchored
        self._at = 0
        self._depth = 0

    def parsed(self) -> _Node:
        node = self._choices()
        if self._at < len(self._text):
            raise ValueError("there is a ')' too many")
        return node

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise ValueError("the pattern ends too early")
        self._at += 1
        return character

    def _choices(self) -> _Node:
        choices = [self._sequence()]
        while self._peek() == "|":
            self._take()
            choices.append(self._sequence())
        return choices[0] if len(choices) == 1 else ("any", *choices)

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            part = self._atom()
            while repetition := self._repetition():
                part = ("repeat", part, *repetition)
            parts.append(part)
        return ("all", *parts)

    def _atom(self) -> _Node:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return ("one", self._class())
        if character == ".":
            return ("one", lambda c: c != "\n")
        if character == "\\":
            return ("one", self._escaped())
        if character in "*+?{":
            raise ValueError(f"nothing stands before '{character}'")
        if character in "^$":
            raise ValueError(f"'{character}' may only stand at an end (write '\\{character}' for the character)")
        return ("one", _equal(character))

    def _group(self) -> _Node:
        if self._text.startswith("?:", self._at):
            self._at += 2
        elif self._peek() == "?":
            raise ValueError("groups that begin with '(?' are not known, but for '(?:'")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("the pattern has too many groups within groups")
        node = self._choices()
        self._depth -= 1
        if self._peek() != ")":
            raise ValueError("a ')' is missing")
        self._take()
        return node

    def _repetition(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if (character := self._peek()) in simple:
            self._take()
            return simple[character]
        if character != "{":
            return None
        end = self._text.find("}", self._at)
        least, comma, most = self._text[self._at + 1 : end].partition(",")
        if end < 0 or not least.isdecimal() or not (most == "" or most.isdecimal()) or len(least + most) > 8:
            raise ValueError("a repetition is written {n}, {n,} or {n,m}")
        self._at = end + 1
        upper = int(least) if not comma else int(most) if most else None
        if upper is not None and upper < int(least):
            raise ValueError(f"the repetition {{{least},{most}}} goes down")
        return int(least), upper

    def _escaped(self) -> _Test:
        character = self._take()
        if character in _CLASSES:
            return _CLASSES[character]
        if character in _CONTROLS:
            return _equal(_CONTROLS[character])
        if character.isalnum():
            raise ValueError(f"'\\{character}' is not known")
        return _equal(character)

    def _class(self) -> _Test:
        negated = self._peek() == "^"
        if negated:
            self._take()
        tests: list[_Test] = []
        while True:
            character = self._take()
            if character == "]" and tests:
                break
            if character == "\\" and self._peek() in _CLASSES:
                tests.append(_CLASSES[self._take()])
                continue
            first = self._literal(character)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._take()
                last = self._literal(self._take())
                if last < first:
                    raise ValueError(f"the range {first}-{last} goes down")
                tests.append(_between(first, last))
            else:
                tests.append(_equal(first))
        return _none_of(tests) if negated else _one_of(tests)

    def _literal(self, character: str) -> str:
        if character != "\\":
            return character
        escaped = self._take()
        if escaped.isalnum() and escaped not in _CONTROLS:
            raise ValueError(f"'\\{escaped}' is not known here")
        return _CONTROLS.get(escaped, escaped)


def _equal(wanted: str) -> _Test:
    return lambda c: c == wanted


def _between(first: str, last: str) -> _Test:
    return lambda c: first <= c <= last


def _one_of(tests: Sequence[_Test]) -> _Test:
    return lambda c: any(test(c) for test in tests)


def _none_of(tests: Sequence[_Test]) -> _Test:
    return lambda c: not any(test(c) for test in tests)
