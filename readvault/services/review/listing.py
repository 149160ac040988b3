"""The list of entries with their statuses, whose cost depends on what is shown and open, not on how many there are.

Open entries are found by the partial index over what is not released, released ones are counted by
`released_count`, and a page is put together group by group from indexes that are in order already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, true, tuple_
from sqlmodel import Session, col

from readvault.db import clock, entry_state
from readvault.db.names import among
from readvault.db.tables import EntryVersion, Manifest, ReleasedCount
from readvault.domain.actor import Actor
from readvault.domain.status import ProcessingResult, Status
from readvault.services.authorization import Action, authorize, own_groups
from readvault.services.house import House
from readvault.services.submission import terms

PAGE = 500
MANY = 10_000
"""Names that are fetched at once when nobody asked for a page."""
_Name = tuple[str, int]
_NAME = (col(EntryVersion.accession), col(EntryVersion.version))
_SHOWN: dict[str, Any] = {
    "accession": col(EntryVersion.accession),
    "version": col(EntryVersion.version),
    "status": entry_state.status(),
    "processingResult": func.coalesce(
        col(Manifest.processing_result), case((col(EntryVersion.is_revocation), ProcessingResult.NO_ISSUES.value))
    ),
    "groupId": col(EntryVersion.group_id),
    "submitter": col(EntryVersion.submitter),
    "isRevocation": col(EntryVersion.is_revocation),
    "submissionId": col(EntryVersion.submission_id),
}
"""The columns of a line, under Loculus's names."""


def list_entries(
    house: House,
    actor: Actor | None,
    organism: str,
    *,
    group_ids: Sequence[int] | None = None,
    statuses: Sequence[Status] | None = None,
    results: Sequence[ProcessingResult] | None = None,
    page: int | None = None,
    size: int | None = None,
) -> dict[str, Any]:
    """The actor's entries, in the shape of Loculus's get-sequences; `page` counts from 0.

    `results` narrows only entries that are PROCESSED. Counts ignore filters and paging, except
    organism and groups. All rows when `page` or `size` is missing. Raises BadRequest for an unknown
    organism, Forbidden for a foreign group.
    """
    house.organism(organism)
    with house.sessions.read() as session:
        wanted = _Wanted(organism, _groups(session, actor, group_ids), statuses or None, results or None)
        if page is not None and size is not None:
            names = _first(session, wanted, (page + 1) * size)[page * size :]
        else:
            names = list(_all(session, wanted))
        rows = [row for few in batched(names, PAGE) for row in _rows(session, few)]
        counts = _counts(session, wanted)
    return {"sequenceEntries": rows, **counts}


@dataclass(frozen=True, slots=True)
class _Wanted:
    organism: str
    groups: Sequence[int] | None
    """None: all of them."""
    statuses: Sequence[Status] | None
    results: Sequence[ProcessingResult] | None

    @property
    def is_all(self) -> bool:
        return self.statuses is None and self.results is None

    @property
    def released(self) -> bool:
        return self.statuses is None or Status.APPROVED_FOR_RELEASE in self.statuses

    @property
    def open(self) -> bool:
        return self.statuses is None or any(each is not Status.APPROVED_FOR_RELEASE for each in self.statuses)

    def is_wanted(self) -> ColumnElement[bool]:
        """SQL: whether an open entry is, in a query made by `with_state`."""
        status = _SHOWN["status"]
        conditions: list[ColumnElement[bool]] = []
        if self.statuses is not None:
            conditions.append(status.in_([each.value for each in self.statuses]))
        if self.results is not None:
            found = _SHOWN["processingResult"].in_([each.value for each in self.results])
            conditions.append(or_(status != Status.PROCESSED.value, found))
        return and_(true(), *conditions)


def _groups(session: Session, actor: Actor | None, group_ids: Sequence[int] | None) -> Sequence[int] | None:
    """The groups whose entries are listed, None for all of them: those that were asked for, else the actor's own."""
    if group_ids:
        authorize(session, actor, Action.REVIEW, group_ids=group_ids)
        return sorted(set(group_ids))
    if actor is None or actor.is_maintainer:
        authorize(session, actor, Action.REVIEW)
        return None
    own = sorted(session.execute(own_groups(actor)).scalars())
    if own:
        authorize(session, actor, Action.REVIEW, group_ids=own)
    return own


def _all(session: Session, wanted: _Wanted) -> Iterator[_Name]:
    """The names of all that is wanted, in order."""
    last: _Name = ("", 0)
    while few := _first(session, wanted, MANY, after=last):
        yield from few
        last = few[-1]


def _first(session: Session, wanted: _Wanted, number: int, after: _Name = ("", 0)) -> list[_Name]:
    """The names of the first so many, in order."""
    everywhere = [None] if wanted.groups is None else wanted.groups
    if wanted.is_all:
        queries = [_of_group(wanted, group) for group in everywhere]
    else:
        queries = []
        if wanted.released:
            queries += [_of_group(wanted, group).where(col(EntryVersion.released)) for group in everywhere]
        if wanted.open:
            # Group by group also for those who see all: the index of what is open begins with the group, and without
            # one a database would rather walk in order through all that is released.
            groups = _groups_with_open(session, wanted)
            those = (entry_state.is_open(), wanted.is_wanted())
            queries += [entry_state.with_state(_of_group(wanted, group)).where(*those) for group in groups]
    found: list[_Name] = []
    for query in queries:
        some = query.where(tuple_(*_NAME) > after).order_by(*_NAME).limit(number)
        found += [(accession, version) for accession, version in session.execute(some)]
    return sorted(found)[:number]


def _of_group(wanted: _Wanted, group: int | None) -> Select[tuple[str, int]]:
    query = select(*_NAME).where(col(EntryVersion.organism) == wanted.organism)
    return query if group is None else query.where(col(EntryVersion.group_id) == group)


def _groups_with_open(session: Session, wanted: _Wanted) -> list[int]:
    query = select(col(EntryVersion.group_id)).where(*_open_of(wanted)).distinct()
    return sorted(session.execute(query).scalars())


def _open_of(wanted: _Wanted) -> tuple[ColumnElement[bool], ...]:
    conditions = (col(EntryVersion.organism) == wanted.organism, entry_state.is_open())
    return conditions if wanted.groups is None else (*conditions, col(EntryVersion.group_id).in_(wanted.groups))


def _rows(session: Session, names: Sequence[_Name]) -> list[dict[str, Any]]:
    query = entry_state.with_state(select(*_SHOWN.values())).where(among(EntryVersion, names)).order_by(*_NAME)
    rows = [dict(zip(_SHOWN, row, strict=True)) for row in session.execute(query)]
    held = terms.terms_now(session, {row["accession"] for row in rows})
    today = terms.today_of(clock.read(session))
    return [{**row, "dataUseTerms": terms.as_json(held.get(row["accession"], terms.Terms()), today)} for row in rows]


def _counts(session: Session, wanted: _Wanted) -> dict[str, Any]:
    by_status = dict.fromkeys((each.value for each in Status), 0)
    by_result = dict.fromkeys((each.value for each in ProcessingResult), 0)
    released = select(func.coalesce(func.sum(col(ReleasedCount.entries)), 0)).where(
        col(ReleasedCount.organism) == wanted.organism
    )
    if wanted.groups is not None:
        released = released.where(col(ReleasedCount.group_id).in_(wanted.groups))
    by_status[Status.APPROVED_FOR_RELEASE.value] = int(session.execute(released).scalar_one())
    state: Select[Any] = select(
        _SHOWN["status"].label("status"), _SHOWN["processingResult"].label("result"), func.count()
    )
    for status, result, number in session.execute(
        entry_state.with_state(state).where(*_open_of(wanted)).group_by("status", "result")
    ):
        by_status[status] += number
        if status == Status.PROCESSED and result is not None:
            by_result[result] += number
    return {"statusCounts": by_status, "processingResultCounts": by_result}
