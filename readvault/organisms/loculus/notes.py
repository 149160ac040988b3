"""What became of each part of a configuration: nothing is left out silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What became of a key."""

    TO_DO = "to do"
    APPROXIMATED = "approximated"
    DROPPED = "dropped"
    MAPPED = "mapped"


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one key of an organism (empty: of the whole instance). `fields` are those it is about."""

    organism: str
    outcome: Outcome
    key: str
    text: str
    fields: tuple[str, ...] = ()


@dataclass(slots=True)
class Notes:
    """All notes; the same about several fields becomes one."""

    _fields: dict[tuple[str, Outcome, str, str], list[str]] = field(default_factory=dict)

    def add(self, organism: str, outcome: Outcome, key: str, text: str, about: str = "") -> None:
        """Note what became of a key; `about` is the field that it belongs to."""
        fields = self._fields.setdefault((organism, outcome, key, text), [])
        if about and about not in fields:
            fields.append(about)

    def __iter__(self) -> Iterator[Note]:
        order = list(Outcome)
        for key in sorted(self._fields, key=lambda each: (each[0], order.index(each[1]))):
            yield Note(*key, tuple(self._fields[key]))

    def count(self, outcome: Outcome) -> int:
        """How many notes there are of an outcome."""
        return sum(note.outcome is outcome for note in self)

    def as_markdown(self, source: str) -> str:
        """The report for people."""
        lines = [f"# What became of {source}"]
        organism, outcome = None, None
        for note in self:
            if note.organism != organism:
                lines += ["", f"## {note.organism or 'The instance'}"]
                organism, outcome = note.organism, None
            if note.outcome != outcome:
                lines += ["", f"### {note.outcome.capitalize()}"]
                outcome = note.outcome
            about = f" ({', '.join(note.fields)})" if note.fields else ""
            lines.append(f"- `{note.key}`: {note.text}{about}")
        return "\n".join(lines) + "\n"
