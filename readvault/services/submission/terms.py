"""Data use terms: what may be done with an accession's data. They can only be shortened or opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import batched
from typing import Any

from sqlalchemy import func, insert, select
from sqlmodel import Session, col

from readvault.db import audit, clock, records
from readvault.db.tables import DataUseTerms, EntryVersion
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, NotFound, Unprocessable
from readvault.services.authorization import Action, acts_for, authorize
from readvault.services.entries import released_state
from readvault.services.house import House

OPEN = "OPEN"
RESTRICTED = "RESTRICTED"
PAGE = 500
MAX_ACCESSIONS = 100_000
"""Accessions of one change."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Data use terms: `OPEN`, or `RESTRICTED` until a date (YYYY-MM-DD)."""

    type: str = OPEN
    restricted_until: str | None = None

    def columns(self) -> dict[str, str | None]:
        """The terms as columns of a table."""
        return {"terms_type": self.type, "restricted_until": self.restricted_until}

    def on(self, today: date) -> Terms:
        """What holds on a day: a restriction has lapsed once its date has come."""
        if self.restricted_until is None or self.restricted_until <= today.isoformat():
            return Terms()
        return self


def as_json(terms: Terms, today: date) -> dict[str, str]:
    """The terms as they are on a day, in Loculus's shape."""
    holding = terms.on(today)
    if holding.restricted_until is None:
        return {"type": OPEN}
    return {"type": RESTRICTED, "restrictedUntil": holding.restricted_until}


def today_of(at: float) -> date:
    """The date (UTC) of a moment of the database's clock."""
    return datetime.fromtimestamp(at, UTC).date()


def requested(house: House, terms_type: str | None, restricted_until: str | None, now: float) -> Terms:
    """The data use terms that a submission asked for; raises BadRequest in Loculus's words.

    Where an instance has no data use terms (`dataUseTerms: false`) everything is open.
    """
    if not house.settings.data_use_terms:
        return Terms()
    if terms_type is None:
        raise BadRequest("The 'dataUseTermsType' must be set to OPEN or RESTRICTED.")
    return checked(terms_type, restricted_until, now)


def checked(terms_type: str, restricted_until: str | None, now: float) -> Terms:
    """Terms that are possible today; raises BadRequest in Loculus's words."""
    if terms_type == OPEN:
        return Terms()
    if terms_type != RESTRICTED:
        raise BadRequest(f"Invalid dataUseTermsType: {terms_type}, possible values are: [OPEN, RESTRICTED]")
    if restricted_until is None:
        raise BadRequest("The date 'restrictedUntil' must be set if 'dataUseTermsType' is RESTRICTED.")
    try:
        until = datetime.strptime(restricted_until, "%Y-%m-%d").date()
    except ValueError:
        raise BadRequest(
            f"The date 'restrictedUntil' must be a valid date in the format YYYY-MM-DD: {restricted_until}."
        ) from None
    today = today_of(now)
    if not today <= until <= _a_year_after(today):
        raise BadRequest("The date 'restrictedUntil' must be in the future, up to a maximum of 1 year from now.")
    return Terms(RESTRICTED, until.isoformat())


def terms_now(session: Session, accessions: Iterable[str]) -> dict[str, Terms]:
    """The newest data use terms of each accession; unknown ones are absent. They may have lapsed: see `as_json`."""
    found: dict[str, Terms] = {}
    columns = (col(DataUseTerms.accession), col(DataUseTerms.terms_type), col(DataUseTerms.restricted_until))
    for page in batched(sorted(set(accessions)), PAGE):
        newest = select(func.max(col(DataUseTerms.id))).where(col(DataUseTerms.accession).in_(page))
        ids = newest.group_by(col(DataUseTerms.accession))
        for accession, terms_type, until in session.execute(select(*columns).where(col(DataUseTerms.id).in_(ids))):
            found[accession] = Terms(terms_type, until if terms_type == RESTRICTED else None)
    return found


def change(
    house: House, actor: Actor | None, accessions: Sequence[str], *, terms_type: str, restricted_until: str | None
) -> None:
    """Give accessions other data use terms from now on: all of them or none.

    A restriction can be opened or get an earlier date, never a later one. Raises Unprocessable for
    unknown accessions and for a change that isn't allowed, Forbidden for foreign ones, BadRequest for
    terms that are not possible.
    """
    if len(accessions) > MAX_ACCESSIONS:
        raise Unprocessable(f"One request may change the terms of {MAX_ACCESSIONS} accessions.")
    names = sorted(set(accessions))
    with house.sessions.begin() as session:
        if actor is None:
            authorize(session, actor, Action.CHANGE_TERMS)
        organisms = _locked_organisms(session, actor, names)
        now = clock.read(session)
        terms = checked(terms_type, restricted_until, now)
        known = terms_now(session, names)
        _check_change([known.get(name, Terms()) for name in names], terms, today_of(now))
        assert actor is not None
        same = terms.columns()
        rows = [{"accession": name, "user_name": actor.name, "changed_at": now, **same} for name in names]
        if not rows:
            return
        session.execute(insert(DataUseTerms), rows)
        records.terms_changed(session, names)
        for organism in sorted(organisms):
            released_state.changed(session, organism, now)
        for page in batched(names, PAGE):
            audit.append(session, actor.name, "change data use terms", terms.type, {"accessions": list(page), **same})


def history(house: House, accession: str) -> list[dict[str, Any]]:
    """All data use terms that an accession has had, oldest first, for everybody, in Loculus's shape.

    Raises NotFound for an unknown accession.
    """
    with house.sessions.read() as session:
        known = select(col(EntryVersion.accession)).where(col(EntryVersion.accession) == accession).limit(1)
        if session.execute(known).first() is None:
            raise NotFound(f"Accession {accession} not found")
        query = select(DataUseTerms).where(col(DataUseTerms.accession) == accession).order_by(col(DataUseTerms.id))
        rows = session.execute(query).scalars().all()
    return [_history_row(row) for row in rows]


def _history_row(row: DataUseTerms) -> dict[str, Any]:
    terms: dict[str, str] = {"type": row.terms_type}
    if row.terms_type == RESTRICTED and row.restricted_until is not None:
        terms["restrictedUntil"] = row.restricted_until
    changed_at = datetime.fromtimestamp(row.changed_at, UTC).replace(tzinfo=None)
    return {
        "accession": row.accession,
        "changeDate": changed_at.isoformat(),
        "dataUseTerms": terms,
        "userName": row.user_name,
    }


def _locked_organisms(session: Session, actor: Actor | None, names: Sequence[str]) -> set[str]:
    """The organisms of these accessions, which nobody else can change terms of until the transaction ends."""
    known: set[str] = set()
    groups: set[int] = set()
    organisms: set[str] = set()
    columns = (col(EntryVersion.accession), col(EntryVersion.group_id), col(EntryVersion.organism))
    for page in batched(names, PAGE):
        # The first version is always there to be locked: a later one may be deleted meanwhile.
        query = (
            select(*columns)
            .where(col(EntryVersion.accession).in_(page))
            .order_by(columns[0], col(EntryVersion.version))
        )
        for accession, group_id, organism in session.execute(query.with_for_update(key_share=True)):
            known.add(accession)
            groups.add(group_id)
            organisms.add(organism)
    if missing := [name for name in names if name not in known]:
        raise Unprocessable(f"Accessions {', '.join(missing)} do not exist")
    if groups:
        authorize(session, actor, Action.CHANGE_TERMS, group_ids=sorted(groups))
    elif actor is not None:
        acts_for(actor, Action.CHANGE_TERMS)
    return organisms


def _check_change(old: Sequence[Terms], new: Terms, today: date) -> None:
    for terms in old:
        holding = terms.on(today)
        if new.type == OPEN and terms.type == OPEN:
            raise Unprocessable(
                "The data use terms have already been set to 'Open'- this will take effect in the next several minutes."
            )
        if new.restricted_until is None:
            continue
        if holding.restricted_until is None:
            raise Unprocessable("Cannot change data use terms from OPEN to RESTRICTED.")
        if holding.restricted_until < new.restricted_until:
            raise Unprocessable(
                f"Cannot extend restricted data use period. Please choose a date before {holding.restricted_until}."
            )


def _a_year_after(day: date) -> date:
    try:
        return day.replace(year=day.year + 1)
    except ValueError:
        return day.replace(year=day.year + 1, day=28)
