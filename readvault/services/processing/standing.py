"""Which result stands for an entry, and how a newer one takes its place: by rule, or when a maintainer says so.

For a released entry nothing is public before the commit: the switch is a row beside the new result,
and what follows it (locks, a record, the second bucket) is a job in the same transaction.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlmodel import Session, col

from readvault.db import clock, entry_state, records
from readvault.db.names import among
from readvault.db.tables import ComparedResult, CurrentResult, EntryVersion, Job, Manifest, SentBack
from readvault.domain.comparison import Finding, compare, figures
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.reprocessing import ResultState
from readvault.domain.status import JobKind, Priority, Visibility
from readvault.services.entries import released_state
from readvault.services.entries.visibility import state_of
from readvault.services.processing import still_withheld


@dataclass(frozen=True, slots=True)
class Standing:
    """The result that stands for an accession version, and whether the version is released."""

    manifest_id: int
    pipeline_version: int
    released: bool


def standing(session: Session, name: AccessionVersion) -> Standing | None:
    """What stands for an accession version right now; None where nothing does. Lock the entry first."""
    columns = (col(Manifest.id), col(Manifest.pipeline_version), col(EntryVersion.released))
    row = session.execute(entry_state.with_state(select(*columns)).where(among(EntryVersion, [name]))).first()
    return None if row is None or row[0] is None else Standing(*row)


def settle(
    session: Session,
    organism: Organism,
    name: AccessionVersion,
    *,
    before: Standing | None,
    manifest_id: int,
    reprocessing_id: int | None,
) -> ComparedResult | None:
    """Compare a result that was registered just now with what stood before it, and let it take its place or wait.

    None where there was nothing older to compare with. Of a released version the better result is
    public from the commit on. Results of an organism with an external pipeline follow Loculus's rule
    instead (`pipeline_versions`).
    """
    new = session.get_one(Manifest, manifest_id)
    if before is None or organism.pipeline.external is not None or before.pipeline_version >= new.pipeline_version:
        return None
    rules = organism.pipeline.reprocessing
    findings = list(_worse(session.get_one(Manifest, before.manifest_id), new, rules.breadth_tolerance))
    withdrawn = before.released and state_of(session, [name])[name] is Visibility.WITHDRAWN
    if withdrawn:
        findings.append(Finding("visibility", None, Visibility.WITHDRAWN.value))
    switches = not findings and rules.switch == "byRule"
    row = ComparedResult(
        accession=name.accession,
        version=name.version,
        manifest_id=manifest_id,
        compared_manifest_id=before.manifest_id,
        reprocessing_id=reprocessing_id,
        findings=[finding.as_json() for finding in findings],
        state=(ResultState.SWITCHED if switches else ResultState.WAITS).value,
        compared_at=clock.read(session),
    )
    session.add(row)
    session.flush()
    if reprocessing_id is not None and not before.released:
        _stays_sent_back(session, before.manifest_id, manifest_id)
    if switches and before.released:
        reason = f"pipeline version {new.pipeline_version} is no worse"
        put_in_place(session, organism.name, new, actor="readvault", reason=reason)
    records.changed(session, [name])
    return row


def put_in_place(session: Session, organism: str, manifest: Manifest, *, actor: str, reason: str) -> None:
    """Let a result stand for a released accession version, for everybody, from the commit on.

    What stood before it stays downloadable by its pipeline version. Where its reads were withheld they
    are in the new result too, unless a newer host index has removed them. Lock the entry first.
    """
    at = clock.read(session)
    assert manifest.id is not None
    name, version = manifest.accession, manifest.version
    before = standing(session, AccessionVersion(name, version))
    if before is not None:
        still_withheld.carry_over(session, [(before.manifest_id, manifest.id)], at)
    session.add(
        CurrentResult(accession=name, version=version, manifest_id=manifest.id, since=at, actor=actor, reason=reason)
    )
    session.add(
        Job(id=str(uuid.uuid4()), kind=JobKind.RELEASE.value, organism=organism, accession=name, version=version,
            pipeline_version=manifest.pipeline_version, priority=Priority.BACKGROUND.value,
            created_at=at, not_before=at)
    )  # fmt: skip
    session.flush()
    released_state.changed(session, organism, at)


def forget_superseded(session: Session, name: AccessionVersion) -> None:
    """A comparison is over when another result of the same pipeline version has come: that one is compared anew."""
    superseded = select(col(Manifest.id)).where(among(Manifest, [name]), col(Manifest.superseded_at).is_not(None))
    session.execute(
        update(ComparedResult)
        .where(
            among(ComparedResult, [name]),
            col(ComparedResult.manifest_id).in_(superseded),
            col(ComparedResult.state) != ResultState.REPLACED.value,
        )
        .values(state=ResultState.REPLACED.value)
        .execution_options(synchronize_session=False)
    )


def _stays_sent_back(session: Session, old_id: int, new_id: int) -> None:
    """A reviewer's no holds for a result that came by an order: nobody has changed anything about the entry."""
    told = session.get(SentBack, old_id)
    if told is not None:
        session.add(SentBack(**told.model_dump() | {"manifest_id": new_id}))
        session.flush()


def _worse(old: Manifest, new: Manifest, breadth_tolerance: float) -> tuple[Finding, ...]:
    before, after = (figures(json.loads(each.body), each.errors) for each in (old, new))
    return compare(before, after, breadth_tolerance=breadth_tolerance)
