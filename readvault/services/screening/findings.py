"""What a newer host index has found in released reads: written down, and withheld where it is too much."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db import audit, clock, records
from readvault.db.tables import EntryVersion, Job, Screening, Withholding
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.errors import LeaseLost
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Rescreen
from readvault.failpoints import failpoint
from readvault.services.entries import released_state, withheld
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM, Claim, finish, held, is_finished_by
from readvault.services.screening.unscreened import Unscreened, unscreened

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """One result, and how many of its reads hit the index. A pair is two reads."""

    result: Unscreened
    reads: int
    hits: int
    too_short: int


def register(house: House, claim: Claim, index_sha256: str, found: Sequence[Finding]) -> int:
    """Write down what was found and end the job; of how many results the reads are withheld from the commit on.

    All in one transaction, behind the job's fence. Registering twice is a success without effect, and
    a result that another job has screened with this index meanwhile is left as it is. Raises
    LeaseLost, also when the entry was erased meanwhile.
    """
    name = claim.accession_version
    limits = house.organism(claim.organism).pipeline.dehumanize.rescreen
    with house.sessions.begin() as session:
        entry = session.get(EntryVersion, (name.accession, name.version), with_for_update=True)
        job = session.get(Job, claim.job_id, with_for_update=True)
        if job is not None and is_finished_by(job, claim):
            return 0
        job = held(session, claim)
        if entry is None:
            raise LeaseLost(f"job {claim.job_id}: {name} was deleted")
        now = clock.read(session)
        mine = [each for each in found if _note(session, claim.organism, each, index_sha256, now)]
        over = _withhold(session, [each for each in mine if limits.is_over(each.hits, each.reads)], now)
        unseen = _withhold(session, _published_meanwhile(session, name, index_sha256, over), now)
        finish(session, job, now)
        failpoint("screen-in-transaction")
        if mine:
            records.changed(session, [name])
        if over:
            released_state.changed(session, entry.organism, now)
            told = {**_told(over, index_sha256, limits), "notSeen": [each.result.manifest_id for each in unseen]}
            audit.append(session, SYSTEM, "withhold reads", str(name), told)
    failpoint("screen-after-commit")
    if over:
        count = len(over) + len(unseen)
        logger.error("%s: human reads in what is released; the reads of %d results are withheld", name, count)
    return len(over) + len(unseen)


def _published_meanwhile(
    session: Session, name: AccessionVersion, index_sha256: str, over: Sequence[Finding]
) -> list[Finding]:
    """Results that came while others of their entry were looked at: nobody gets them until they were, too."""
    if not over:
        return []
    worst = max(over, key=lambda each: each.hits)
    return [replace(worst, result=each) for each in unscreened(session, [name], index_sha256) if not each.by_processing]


def note_processed(session: Session, organism: str, results: Iterable[Unscreened], index_sha256: str) -> None:
    """Write down for results of which processing removed all that hits this index that it has seen them."""
    now = clock.read(session)
    for each in results:
        _note(session, organism, Finding(each, 0, 0, 0), index_sha256, now)


def _note(session: Session, organism: str, found: Finding, index_sha256: str, now: float) -> bool:
    """Whether this index had not seen the result before."""
    name, table = found.result.name, columns_of(Screening)
    new = insert_into(session, table).values(
        organism=organism, accession=name.accession, version=name.version, manifest_id=found.result.manifest_id,
        index_sha256=index_sha256, category=found.result.category, by_processing=found.result.by_processing,
        reads=found.reads, hits=found.hits, too_short=found.too_short, at=now,
    )  # fmt: skip
    return session.execute(new.on_conflict_do_nothing().returning(table.c.id)).first() is not None


def _withhold(session: Session, found: Sequence[Finding], now: float) -> list[Finding]:
    """Withhold the reads of these results; those of them that were not withheld before."""
    before = withheld.withheld_among(session, [each.result.manifest_id for each in found])
    new = [each for each in found if each.result.manifest_id not in before]
    session.add_all(
        Withholding(
            accession=each.result.name.accession, version=each.result.name.version,
            manifest_id=each.result.manifest_id, withheld=True, reason=reason_of(each.hits, each.reads),
            actor=SYSTEM, at=now,
        )
        for each in new
    )  # fmt: skip
    session.flush()
    return new


def reason_of(hits: int, reads: int) -> str:
    """What everybody reads who asks for the reads."""
    return f"{hits} of {reads} reads may be human, as a newer host index says."


def _told(over: Sequence[Finding], index_sha256: str, limits: Rescreen) -> dict[str, Any]:
    return {
        "index": index_sha256,
        "limits": limits.model_dump(by_alias=True),
        "results": [
            {"manifest": each.result.manifest_id, "reads": each.reads, "hits": each.hits, "tooShort": each.too_short}
            for each in over
        ],
    }


def found_by(session: Session, manifest_ids: Iterable[int]) -> list[Screening]:
    """All screenings of these results, oldest first."""
    query = select(Screening).where(col(Screening.manifest_id).in_(sorted(set(manifest_ids))))
    return list(session.execute(query.order_by(col(Screening.id))).scalars())
