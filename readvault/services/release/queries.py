"""Questions about released entries, in the manner of LAPIS: for an instance that has no LAPIS of its own.

Each question reads all released entries of the organism, one after the other, in flat memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from readvault.domain.errors import BadRequest, NotFound
from readvault.services.house import House
from readvault.services.release.released_data import released_data

MAX_ENTRIES = 10_000
"""So many entries are one answer at most; more are asked for page by page."""
MAX_BASES = 100_000_000
"""In the sequences of one answer: they are in memory together."""
_Rule = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """Which entries: `filters` are fields with a value, or fields followed by `From` or `To`. Offsets count from 0."""

    filters: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    offset: int = 0
    order_by: str | None = None
    fields: Sequence[str] = ()


def details(house: House, organism: str, asked: Question) -> list[dict[str, Any]]:
    """The metadata of the entries that match. Raises BadRequest for a field that doesn't exist and for too many."""
    known = _fields(house, organism)
    _check_names(known, asked.fields)
    found = _page((line["metadata"] for line in _matching(house, organism, asked)), asked, known)
    return [{name: entry.get(name) for name in asked.fields or entry} for entry in found]


def aggregated(house: House, organism: str, asked: Question) -> list[dict[str, Any]]:
    """How many entries match, by the values of `fields`; the most frequent first."""
    known = _fields(house, organism)
    _check_names(known, asked.fields)
    counts = Counter(
        tuple(line["metadata"].get(name) for name in asked.fields) for line in _matching(house, organism, asked)
    )
    if not asked.fields:
        return [{"count": counts[()]}]
    return [{**dict(zip(asked.fields, values, strict=True)), "count": n} for values, n in counts.most_common()]


def sequences(
    house: House, organism: str, asked: Question, segment: str | None, *, aligned: bool
) -> list[tuple[str, str]]:
    """Accession version and sequence of the entries that match and have this segment.

    Without `segment` it is the organism's only one. Raises NotFound for one that no entry has,
    BadRequest when there are several and none was named.
    """
    key = "alignedNucleotideSequences" if aligned else "unalignedNucleotideSequences"
    segments: set[str] = set()

    def entries() -> Iterator[dict[str, Any]]:
        for line in _matching(house, organism, asked):
            there = {name: sequence for name, sequence in line[key].items() if sequence}
            segments.update(there)
            chosen = segment if segment is not None else next(iter(there), None)
            if chosen in there:
                yield {**line["metadata"], "": there[chosen]}

    found = [(str(entry["accessionVersion"]), str(entry[""])) for entry in
             _page(entries(), asked, {*_fields(house, organism), ""})]  # fmt: skip
    if segment is None and len(segments) > 1:
        raise BadRequest(f"Which segment? There are {', '.join(sorted(segments))}.")
    if segment is not None and segments and segment not in segments:
        raise NotFound(f"There is no segment {segment}.")
    return found


def _matching(house: House, organism: str, asked: Question) -> Iterator[dict[str, Any]]:
    known = _fields(house, organism)
    rules = [_rule(known, name, wanted) for name, wanted in asked.filters.items()]
    for line in released_data(house, organism):
        if all(_holds(line["metadata"].get(name), how, wanted) for name, how, wanted in rules):
            yield line


def _fields(house: House, organism: str) -> set[str]:
    """The names that may be asked for: those of the newest entries are those of all."""
    first = next(iter(released_data(house, organism)), None)
    declared = {each.name for each in house.organism(organism).metadata}
    return declared | (set(first["metadata"]) if first is not None else _ALWAYS)


_ALWAYS = {"accession", "accessionVersion", "version", "versionStatus", "groupId", "groupName", "submitter"}


def _rule(known: set[str], name: str, wanted: str) -> _Rule:
    if name in known:
        return name, "=", wanted
    for ending in ("From", "To"):
        if name.endswith(ending) and name.removesuffix(ending) in known:
            return name.removesuffix(ending), ending, wanted
    raise BadRequest(f"'{name}' is not a field of the released entries.")


def _check_names(known: set[str], names: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise BadRequest(f"'{name}' is not a field of the released entries.")


def _holds(value: Any, how: str, wanted: str) -> bool:
    if how == "=":
        return _text(value) == wanted.lower() if isinstance(value, bool) else _text(value) == wanted
    if value is None:
        return False
    if isinstance(value, str):
        return value >= wanted if how == "From" else value <= wanted
    try:
        limit = float(wanted)
    except ValueError:
        raise BadRequest(f"'{wanted}' is no number.") from None
    return bool(value >= limit if how == "From" else value <= limit)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _page(entries: Iterator[dict[str, Any]], asked: Question, known: set[str]) -> list[dict[str, Any]]:
    if asked.order_by is not None:
        _check_names(known, [asked.order_by])
    end = None if asked.limit is None else asked.offset + asked.limit
    found: list[dict[str, Any]] = []
    bases = 0
    for place, entry in enumerate(entries):
        if asked.order_by is None and end is not None and place >= end:
            break
        if asked.order_by is not None or place >= asked.offset:
            found.append(entry)
            bases += len(entry.get("", ""))
        if len(found) > MAX_ENTRIES or bases > MAX_BASES:
            what = f"{MAX_ENTRIES} entries" if bases <= MAX_BASES else f"{MAX_BASES} bases"
            raise BadRequest(f"More than {what} match: ask with 'limit' and 'offset', or read get-released-data.")
    if asked.order_by is not None:
        found.sort(key=lambda entry: _sortable(itemgetter(asked.order_by)({asked.order_by: None} | entry)))
        found = found[asked.offset : end]
    return found


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 1, float(value), ""
    return (0, 0, "") if value is None else (2, 0, str(value))
