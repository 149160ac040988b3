"""The metadata of a group's entries as they were submitted, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, select, tuple_
from sqlmodel import col

from readvault.db import entry_state
from readvault.db.names import among
from readvault.db.tables import EntryVersion
from readvault.domain.actor import Actor
from readvault.domain.errors import Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import Status
from readvault.services.authorization import Action
from readvault.services.entries.finding import visible_to
from readvault.services.house import House

PAGE = 500
MAX_NAMED = 500
_NAME = (col(EntryVersion.accession), col(EntryVersion.version))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose metadata are asked for. `fields` narrows them; a field that an entry lacks is None there."""

    group_ids: Sequence[int] | None = None
    statuses: Sequence[Status] | None = None
    accession_versions: Sequence[str] | None = None
    fields: Sequence[str] | None = None


def submitted_metadata(house: House, actor: Actor | None, organism: str, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Each entry of the actor's groups with its metadata, by accession and version, in Loculus's shape.

    In flat memory; the status is ours besides. Raises Forbidden for a foreign group, Unprocessable for
    what is no accession version, both before the first line is asked for.
    """
    house.organism(organism)
    narrowed = list(_narrowed(wanted))
    with house.sessions.read() as session:
        mine = visible_to(session, actor, wanted.group_ids, Action.REVIEW)
    return _lines(house, and_(col(EntryVersion.organism) == organism, mine, *narrowed), wanted.fields)


def _narrowed(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.statuses:
        yield entry_state.status().in_([Status(status).value for status in wanted.statuses])
    if wanted.accession_versions is not None:
        if len(wanted.accession_versions) > MAX_NAMED:
            raise Unprocessable(f"One request may name {MAX_NAMED} accession versions.")
        try:
            yield among(EntryVersion, [AccessionVersion.parse(text) for text in wanted.accession_versions])
        except ValueError as fault:
            raise Unprocessable(str(fault)) from None


def _lines(house: House, condition: ColumnElement[bool], fields: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    columns = (*_NAME, col(EntryVersion.submitter), col(EntryVersion.is_revocation), entry_state.status())
    query = entry_state.with_state(select(*columns, col(EntryVersion.submitted_metadata))).where(condition)
    query = query.order_by(*_NAME).limit(PAGE)
    last: tuple[str, int] | None = None
    with house.sessions.read() as session:
        while True:
            page = query if last is None else query.where(tuple_(*_NAME) > last)
            rows = session.execute(page).all()
            for accession, version, submitter, is_revocation, status, metadata in rows:
                last = (accession, version)
                yield {
                    "accession": accession,
                    "version": version,
                    "submitter": submitter,
                    "isRevocation": is_revocation,
                    "status": status,
                    "submittedMetadata": metadata if fields is None else {name: metadata.get(name) for name in fields},
                }
            if len(rows) < PAGE:
                return
