"""What differs between two configurations of an organism, and what each difference does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Effect(StrEnum):
    """What follows from a changed key."""

    RESULTS = "changes results"
    """Entries are processed otherwise: the pipeline's version must rise, or old and new results look alike."""
    VERSION = "has everything processed again"
    SUBMISSIONS = "counts for what is submitted from now on"
    AT_ONCE = "counts at once"
    SHOWN = "is only shown"


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value differs; None stands for a key that isn't there."""

    organism: str
    key: str
    before: Any
    after: Any
    effect: Effect


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two sets of organisms."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changes: tuple[Change, ...]
    unraised: tuple[str, ...]
    """Organisms whose results change while their pipeline's version doesn't rise."""
    lowered: tuple[str, ...]
    """Organisms whose pipeline's version falls."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changes)

    @property
    def warnings(self) -> Iterator[str]:
        """What a maintainer should know before this counts."""
        for name in self.unraised:
            keys = ", ".join(c.key for c in self.changes if c.organism == name and c.effect is Effect.RESULTS)
            yield (
                f"{name}: results change ({keys}), but pipeline.version was not raised:"
                " what is processed from now on differs from what has the same version"
            )
        for name in self.lowered:
            yield f"{name}: pipeline.version falls: new results will not take the place of those of the newer version"
        for name in self.removed:
            yield f"{name}: is removed; while it has entries a running instance refuses that"


def difference(before: Mapping[str, dict[str, Any]], after: Mapping[str, dict[str, Any]]) -> Difference:
    """What differs between two sets of `effective.by_content` by name."""
    changes: list[Change] = []
    unraised, lowered = [], []
    for name in sorted(before.keys() & after.keys()):
        found = list(_changes(name, before[name], after[name]))
        changes += found
        old, new = before[name]["pipeline"]["version"], after[name]["pipeline"]["version"]
        if any(change.effect is Effect.RESULTS for change in found) and new <= old and _could_process(before[name]):
            unraised.append(name)
        if new < old:
            lowered.append(name)
    added, removed = tuple(sorted(after.keys() - before.keys())), tuple(sorted(before.keys() - after.keys()))
    return Difference(added, removed, tuple(changes), tuple(unraised), tuple(lowered))


def _could_process(organism: Mapping[str, Any]) -> bool:
    """Whether there can be results: without a host index, and with nobody else in its place, nothing was processed."""
    pipeline = organism["pipeline"]
    external = pipeline["external"] or {}
    screen = pipeline["dehumanize"]
    return bool(screen["index"] or screen["off"] or external.get("mode") == "instead")


def _changes(name: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    old, new = dict(_flat("", before)), dict(_flat("", after))
    for key in [*old, *(key for key in new if key not in old)]:
        if old.get(key) != new.get(key):
            yield Change(name, key, old.get(key), new.get(key), effect_of(key, old.get(key), new.get(key)))


_EFFECTS: tuple[tuple[str, Effect], ...] = (
    (r"pipeline\.version", Effect.VERSION),
    (r"pipeline\.(dehumanize\.(originals|rescreen)|reprocessing|external\.timeout)\b.*", Effect.AT_ONCE),
    (r"review\..*|externalMetadata.*|siloExport\..*", Effect.AT_ONCE),
    (r"(reference|references|sampleType|pipeline)\b.*", Effect.RESULTS),
    (r"submission\.files\..*\.mayContainReads", Effect.RESULTS),
    (r"displayName|metadata\[.*\]\.(displayName|guidance|example)", Effect.SHOWN),
)


def effect_of(key: str, before: Any, after: Any) -> Effect:
    """What a change of this key does."""
    if key == "submission.consensusSequences" and "required" in (before, after):
        return Effect.RESULTS  # where one is required, reads that give none are an error
    return next((effect for keys, effect in _EFFECTS if re.fullmatch(keys, key)), Effect.SUBMISSIONS)


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Keys with plain values; what has a name is told by it, so that a field that moved is no change."""
    if isinstance(value, Mapping) and value:
        for name, each in value.items():
            yield from _flat(f"{key}.{name}" if key else name, each)
    elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        for number, each in enumerate(value):
            yield from _flat(f"{key}[{each.get('name', number)}]", each)
    elif value not in ([], {}):
        yield key, value
