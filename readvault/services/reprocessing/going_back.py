"""Going back: an older result stands for an entry again, one by one or for all that an order changed."""

from __future__ import annotations

from collections.abc import Iterable

from sqlmodel import Session, col, select

from readvault.db import audit, clock, records
from readvault.db.erased import refuse_erased
from readvault.db.names import among
from readvault.db.tables import ComparedResult, CurrentResult, EntryVersion, Manifest, Release, Reprocessing
from readvault.domain.errors import Conflict, Gone
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reprocessing import TAKEN, ResultState
from readvault.failpoints import failpoint
from readvault.services.house import House
from readvault.services.processing.standing import Standing, put_in_place, standing

AT_ONCE = 50
"""Entries of one transaction."""


def carry_on(house: House) -> int:
    """Go on with the roll-backs of whole orders, a few entries in a transaction; how many entries went back.

    It can be broken off anywhere and called again, by several at once.
    """
    begun = (col(Reprocessing.rolled_back_at).is_not(None), ~col(Reprocessing.roll_back_done))
    with house.sessions.read() as session:
        ids = session.exec(select(Reprocessing.id).where(*begun).order_by(col(Reprocessing.id))).all()
    went = 0
    for order_id in ids:
        while (count := _page_back(house, order_id or 0)) is not None:
            went += count
    return went


def _page_back(house: House, order_id: int) -> int | None:
    """Go back with the next entries of an order; None when there are no more."""
    with house.sessions.begin() as session:
        order = session.get_one(Reprocessing, order_id, with_for_update=True)
        rows = _next_taken(session, order)
        if not rows:
            if not order.roll_back_done:
                order.roll_back_done = True
                records.organism_changed(session, order.organism)
            return None
        ids = [row.id for row in rows]
        entries = _locked_entries(session, sorted({AccessionVersion(row.accession, row.version) for row in rows}))
        gone_back = []
        # Asked again once the entries are locked: somebody may have decided otherwise, or deleted one.
        fresh = select(ComparedResult).where(col(ComparedResult.id).in_(ids)).order_by(col(ComparedResult.id))
        for row in session.exec(fresh.execution_options(populate_existing=True)).all():
            name = AccessionVersion(row.accession, row.version)
            if name in entries and _may_go_back(session, row, name):
                by, told = order.rolled_back_by or "", order.rolled_back_reason or ""
                go_back(session, entries[name], name, by, told, None)
                gone_back.append(str(name))
        order.roll_back_after = ids[-1] or 0
        session.flush()
        details = {"reprocessing": order_id, "versions": gone_back, "reason": order.rolled_back_reason}
        audit.append(session, order.rolled_back_by or "", "roll back result", order.organism, details)
        failpoint("roll-back-before-commit")
    failpoint("roll-back-after-commit")
    return len(gone_back)


def _next_taken(session: Session, order: Reprocessing) -> list[ComparedResult]:
    query = select(ComparedResult).where(
        ComparedResult.reprocessing_id == order.id,
        col(ComparedResult.state).in_([state.value for state in TAKEN]),
        col(ComparedResult.id) > order.roll_back_after,
    )
    return list(session.exec(query.order_by(col(ComparedResult.id)).limit(AT_ONCE)))


def _locked_entries(session: Session, names: Iterable[AccessionVersion]) -> dict[AccessionVersion, EntryVersion]:
    place = (col(EntryVersion.accession), col(EntryVersion.version))
    query = select(EntryVersion).where(among(EntryVersion, names)).order_by(*place).with_for_update(key_share=True)
    return {AccessionVersion(row.accession, row.version): row for row in session.exec(query)}


def _may_go_back(session: Session, row: ComparedResult, name: AccessionVersion) -> bool:
    """Whether the order's result still stands, and there is something else that may."""
    try:
        refuse_erased(session, name)
    except Gone:
        return False
    found = standing(session, name)
    if row.state not in TAKEN or found is None or found.manifest_id != row.manifest_id:
        return False
    return not found.released or _published_before(session, name, found) is not None


def go_back(
    session: Session, entry: EntryVersion, name: AccessionVersion, by: str, told: str, wanted: int | None
) -> Manifest:
    """Let an older result of a locked entry stand again, and remember that of the present one.

    `wanted` is the pipeline version of a published one; None: what stood before. Raises Conflict.
    """
    found = standing(session, name)
    if found is None:
        raise Conflict(f"Nothing stands for {name}: there is nothing to go back from.")
    present = session.exec(select(ComparedResult).where(ComparedResult.manifest_id == found.manifest_id)).first()
    if found.released:
        target = _published(session, name, found, wanted)
        put_in_place(session, entry.organism, target, actor=by, reason=told)
        again = session.exec(select(ComparedResult).where(ComparedResult.manifest_id == target.id)).first()
        if again is not None:
            decide(session, again, ResultState.ACCEPTED, by, told)
    elif present is None or present.state not in TAKEN:
        raise Conflict(f"There is no older result of {name} to go back to.")
    if present is not None:
        decide(session, present, ResultState.ROLLED_BACK, by, told)
    session.flush()
    records.changed(session, [name])
    if found.released:
        return target
    older = standing(session, name)
    if older is None or wanted not in (None, older.pipeline_version):
        raise Conflict(f"There is no such older result of {name} to go back to.")
    return session.get_one(Manifest, older.manifest_id)


def _published(session: Session, name: AccessionVersion, found: Standing, wanted: int | None) -> Manifest:
    if wanted is None:
        before = _published_before(session, name, found)
        if before is None:
            raise Conflict(f"No older result of {name} was ever public: there is nothing to go back to.")
        return before
    for manifest in _history(session, name):
        if manifest.pipeline_version == wanted and manifest.id != found.manifest_id:
            return manifest
    raise Conflict(f"No other result of {name} was published with pipeline version {wanted}.")


def _published_before(session: Session, name: AccessionVersion, found: Standing) -> Manifest | None:
    """Of the published results that are older than the present one the one that stood last."""
    older = (each for each in _history(session, name) if each.pipeline_version < found.pipeline_version)
    return next(older, None)


def _history(session: Session, name: AccessionVersion) -> list[Manifest]:
    """The published results of a version, the one that stood last first; the approved one comes at the end."""
    since = select(CurrentResult.manifest_id).where(among(CurrentResult, [name])).order_by(col(CurrentResult.id).desc())
    approved = select(Release.manifest_id).where(among(Release, [name]))
    ids = dict.fromkeys((*session.exec(since), *session.exec(approved)))
    return [session.get_one(Manifest, number) for number in ids]


def decide(session: Session, row: ComparedResult, state: ResultState, by: str, reason: str) -> None:
    """Write down what became of a compared result whose entry is locked."""
    row.state, row.decided_by, row.reason = state.value, by, reason
    row.decided_at = clock.read(session)
    session.flush()
    records.changed(session, [AccessionVersion(row.accession, row.version)])
