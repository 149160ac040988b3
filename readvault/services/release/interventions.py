"""Interventions: a maintainer suppresses, withdraws or restores a released accession version, with a reason.

Nothing that was released is changed or deleted: an intervention is a new row, and the newest counts.
"""

from __future__ import annotations

from sqlmodel import Session, col, select

from readvault.db import audit, clock, records
from readvault.db.erased import refuse_erased
from readvault.db.tables import EntryVersion, Intervention
from readvault.domain import interventions
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, NotFound, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.status import Visibility
from readvault.services.authorization import Action, authorize
from readvault.services.entries import released_state
from readvault.services.entries.visibility import Intervened, state_of
from readvault.services.house import House


def intervene(house: House, actor: Actor | None, name: AccessionVersion, step: Step, reason: str) -> Intervened:
    """Suppress, withdraw or restore a released accession version for everybody, at once.

    The reason of a withdrawal is public: it stands in the version's place (410). URLs that were
    signed before live to their end, minutes. Of racing interventions each sees the one before.
    Raises Forbidden for all but maintainers (who restores must be there in person), NotFound, Unprocessable for a
    version that isn't released, Conflict for a step that its state doesn't allow, BadRequest without a reason.
    """
    told = interventions.checked_reason(reason)
    with house.sessions.begin() as session:
        authorize(session, actor, Action.DECIDE_WHAT_IS_PUBLIC if step is Step.RESTORE else Action.MAINTAIN)
        assert actor is not None
        refuse_erased(session, name)
        entry = locked_entry(session, name)
        refuse_erased(session, name)
        if not entry.released:
            raise Unprocessable(f"Accession version {name} is not released: delete it instead.")
        before = state_of(session, [name])[name]
        try:
            state = interventions.after(before, step)
        except Conflict as refusal:
            raise Conflict(f"Accession version {name}: {refusal}") from None
        now = clock.read(session)
        row = Intervention(
            accession=name.accession, version=name.version, state=state.value, reason=told, actor=actor.name, at=now
        )
        session.add(row)
        session.flush()
        records.changed(session, [name])
        released_state.changed(session, entry.organism, now)
        details = {"before": before.value, "after": state.value, "reason": told}
        audit.append(session, actor.name, step.value, str(name), details)
        return Intervened(Visibility(state), told, actor.name, now)


def history(house: House, actor: Actor | None, name: AccessionVersion) -> list[Intervened]:
    """All interventions on an accession version, oldest first. Raises Forbidden for all but maintainers, NotFound."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        if session.get(EntryVersion, (name.accession, name.version)) is None:
            raise NotFound(f"Accession version {name} does not exist.")
        query = select(Intervention).where(
            Intervention.accession == name.accession, Intervention.version == name.version
        )
        rows = session.exec(query.order_by(col(Intervention.id)))
        return [Intervened(Visibility(row.state), row.reason, row.actor, row.at) for row in rows]


def locked_entry(session: Session, name: AccessionVersion) -> EntryVersion:
    """The entry version, locked against everybody who decides by its state; raises NotFound."""
    query = select(EntryVersion).where(EntryVersion.accession == name.accession, EntryVersion.version == name.version)
    entry = session.exec(query.with_for_update(key_share=True)).one_or_none()
    if entry is None:
        raise NotFound(f"Accession version {name} does not exist.")
    return entry
