"""A day's figures as people read them: Markdown for Prefect's UI and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from readvault.services.housekeeping.day import Day

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_RESULTS = ("NO_ISSUES", "HAS_WARNINGS", "HAS_ERRORS")


def markdown(day: Day) -> str:
    """All figures of a day; what is nought is left out where that says the same."""
    return "\n".join(_lines(day)) + "\n"


def headline(day: Day) -> str:
    """The day in one line, for a log."""
    made = sum(sum(counts.values()) for counts in day.results.values())
    queue = day.standing.queue
    return (
        f"{day.day}: received {sum(day.received.values())}, processed {made}, "
        f"released {day.happened.get('released', 0)}, waiting {queue.due}, needs attention {queue.needs_attention}, "
        f"damaged {day.standing.objects_damaged}"
    )


def _lines(day: Day) -> Iterator[str]:
    standing = day.standing
    yield f"# {day.day}{'' if day.is_over else ' (so far)'}"
    yield ""
    yield from _waits(day)
    yield from _table(("organism", "received", "processed", *_RESULTS), _organisms(day), "Entries")
    yield from _table(("what", "how often"), day.happened.items(), "What else happened")
    yield from _table(("reason", "entries"), _most_first(day.errors), "Errors by reason")
    yield from _table(("reason", "entries"), _most_first(day.warnings), "Warnings by reason")
    shares = (
        (organism, found.entries, *(f"{100 * share:.2f} %" for share in (found.median, found.p95, found.highest)))
        for organism, found in day.host_reads.items()
    )
    yield from _table(("organism", "entries", "median", "95 % below", "highest"), shares, "Host reads")
    queue = standing.queue
    yield from _table(
        ("queued", "due", "running", "needs attention", "oldest due (minutes)"),
        [(queue.queued, queue.due, queue.running, queue.needs_attention, queue.oldest_minutes)],
        "Queue now",
    )
    failed = {name: standing.failures.get(name, 0) for name in sorted({*standing.failures, *standing.attention})}
    rows = ((name, waits, standing.attention.get(name, 0)) for name, waits in failed.items())
    yield from _table(("failure", "tried again", "needs attention"), rows, "Jobs that failed")
    orders = (
        (f"{order.number}: {order.organism} version {order.pipeline_version}", order.state, order.planned, order.begun,
         order.under_way, ", ".join(f"{state} {count}" for state, count in order.results.items()) or "-")
        for order in standing.orders
    )  # fmt: skip
    yield from _table(("order", "state", "entries", "begun", "under way", "results"), orders, "Reprocessing")
    yield from _table(("of", "stored", "new that day"), _storage(day), "Storage")
    near = ((f"group {number}", f"{100 * share:.1f} %") for number, share in standing.groups_near_limit.items())
    yield from _table(("group", "of its quota"), near, "Near the limit")
    yield from _table(("what", "objects"), _integrity(day), "Integrity")


def _waits(day: Day) -> Iterator[str]:
    waiting = {name: count for name, count in day.standing.waiting.items() if count}
    if waiting:
        yield "**Waits for you:** " + ", ".join(f"{name}: {count}" for name, count in waiting.items())
    else:
        yield "Nothing waits for a maintainer."
    yield ""


def _organisms(day: Day) -> Iterator[tuple[Any, ...]]:
    for organism in sorted({*day.received, *day.results}):
        results = day.results.get(organism, {})
        made = sum(results.values())
        yield (organism, day.received.get(organism, 0), made, *(results.get(name, 0) for name in _RESULTS))


def _storage(day: Day) -> Iterator[tuple[str, str, str]]:
    standing = day.standing
    yield "originals", size(standing.originals), size(day.received_bytes)
    known = standing.by_category or {}
    for category in sorted({*known, *day.stored}):
        total = "not counted" if standing.by_category is None else size(known.get(category, 0))
        yield category, total, size(day.stored.get(category, 0))
    if standing.condemned or day.garbage_deleted:
        yield "garbage that waits to be deleted", size(standing.condemned), f"-{size(day.garbage_deleted_bytes)}"


def _integrity(day: Day) -> Iterator[tuple[str, int]]:
    standing = day.standing
    yield "read in the last 24 hours", standing.objects_checked_last_day
    yield "found damaged that day", day.damaged
    yield "damaged now", standing.objects_damaged
    yield "files that their groups keep elsewhere and have lost", standing.references_lost
    yield "copies owed to the second bucket", standing.copies_owed
    yield "records that wait to be written", standing.records_pending


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda counted: (-counted[1], counted[0]))


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]], title: str) -> Iterator[str]:
    rows = list(rows)
    if not rows:
        return
    yield f"## {title}"
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"| --- |{' ---: |' * (len(head) - 1)}"
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"
    yield ""


def size(count: int) -> str:
    """Bytes with a unit.

    >>> size(999), size(1_500_000), size(2 * 10**18)
    ('999 B', '1.5 MB', '2000.0 PB')
    """
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{count} B"
