"""Sending back: a reviewer's no, with the reason that the submitter reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import batched

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from readvault.db import audit, clock, records
from readvault.db.tables import SentBack
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Conflict
from readvault.domain.identifiers import AccessionVersion
from readvault.services.authorization import Action
from readvault.services.entries import candidates
from readvault.services.house import House

MAX_REASON = 2000


def send_back(
    house: House,
    actor: Actor | None,
    organism: str,
    named: Sequence[tuple[AccessionVersion, str | None]],
    reason: str,
) -> list[AccessionVersion]:
    """Refuse the results of these versions for a reason; all of them or none, sorted.

    Nobody can approve such a result any more: the entry must be edited, revised or processed again.
    Each version may have the manifest digest that the person saw. Raises BadRequest without
    versions or reason, Unprocessable for unknown, unprocessed or released ones, Forbidden for
    foreign ones, Conflict for another digest or what was sent back already.
    """
    house.organism(organism)
    reason = reason.strip()
    if not reason or len(reason) > MAX_REASON:
        raise BadRequest(f"A reason of up to {MAX_REASON} characters is needed: the submitter will read it.")
    if not named:
        raise BadRequest("Which accession versions are sent back?")
    try:
        with house.sessions.begin() as session:
            found = candidates.named(session, actor, Action.APPROVE, organism, named)
            assert actor is not None
            if already := sorted(str(each.name) for each in found if each.sent_back is not None):
                raise Conflict(f"Accession versions have been sent back already: {', '.join(already)}")
            at = clock.read(session)
            common = {"reason": reason, "sent_by": actor.name, "sent_at": at}
            session.execute(insert(SentBack), [{"manifest_id": each.manifest_id, **common} for each in found])
            records.changed(session, (each.name for each in found))
            for page in batched(found, candidates.PAGE):
                listed = [{"accessionVersion": str(each.name), "manifestDigest": each.digest} for each in page]
                audit.append(session, actor.name, "send back", organism, {"sentBack": listed, "reason": reason})
    except IntegrityError:
        raise Conflict("Somebody else sent back some of these accession versions just now.") from None
    return [each.name for each in found]
