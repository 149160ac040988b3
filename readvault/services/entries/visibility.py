"""What maintainers made of released accession versions: nothing, suppressed, withdrawn. The newest row holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from readvault.db.erased import refuse_erased
from readvault.db.names import among
from readvault.db.tables import EntryVersion, Intervention
from readvault.domain.errors import Gone
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import Visibility

PAGE = 200


@dataclass(frozen=True, slots=True)
class Intervened:
    """What holds for an accession version, why, and since when (seconds since 1970). `PUBLIC` after a restoration."""

    state: Visibility
    reason: str
    actor: str
    at: float


def interventions_on(session: Session, names: Iterable[AccessionVersion]) -> dict[AccessionVersion, Intervened]:
    """The newest intervention on each of these accession versions; untouched ones are absent."""
    newest: dict[AccessionVersion, Intervened] = {}
    key = (col(Intervention.accession), col(Intervention.version))
    for page in batched(sorted({(name.accession, name.version) for name in names}), PAGE):
        ids = select(func.max(col(Intervention.id))).where(among(Intervention, page)).group_by(*key)
        for row in session.execute(select(Intervention).where(col(Intervention.id).in_(ids))).scalars():
            found = Intervened(Visibility(row.state), row.reason, row.actor, row.at)
            newest[AccessionVersion(row.accession, row.version)] = found
    return newest


def state_of(session: Session, names: Iterable[AccessionVersion]) -> dict[AccessionVersion, Visibility]:
    """How visible each of these accession versions is; all of them are in the answer.

    Says nothing about whether they are released at all.
    """
    wanted = list(names)
    found = interventions_on(session, wanted)
    return {name: found[name].state if name in found else Visibility.PUBLIC for name in wanted}


def refuse_withdrawn(session: Session, name: AccessionVersion) -> None:
    """Raise Gone with the maintainer's reason when the accession version was erased or withdrawn."""
    refuse_erased(session, name)
    found = interventions_on(session, [name]).get(name)
    if found is not None and found.state is Visibility.WITHDRAWN:
        raise Gone(f"{name} was withdrawn: {found.reason}")


def is_withdrawn() -> ColumnElement[bool]:
    """SQL: whether the accession version of the surrounding query (over EntryVersion) was withdrawn."""
    return func.coalesce(_state() == Visibility.WITHDRAWN.value, False)


def is_suppressed() -> ColumnElement[bool]:
    """SQL: whether the accession version of the surrounding query (over EntryVersion) is suppressed."""
    return func.coalesce(_state() == Visibility.SUPPRESSED.value, False)


def is_listed() -> ColumnElement[bool]:
    """SQL: whether the accession version of the surrounding query is for everybody to find: neither of the two."""
    return func.coalesce(_state(), Visibility.PUBLIC.value) == Visibility.PUBLIC.value


def _state() -> ColumnElement[str | None]:
    newest = aliased(Intervention)
    return (
        select(col(newest.state))
        .where(col(newest.accession) == col(EntryVersion.accession), col(newest.version) == col(EntryVersion.version))
        .order_by(col(newest.id).desc())
        .limit(1)
        .correlate(EntryVersion)
        .scalar_subquery()
    )
