"""Reads that are withheld, and another result of the same entry that takes the place of theirs.

It holds the same reads, unless it was made with another host index after a screening had found them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, select
from sqlmodel import Session, col

from readvault.db import records
from readvault.db.names import among
from readvault.db.tables import CurrentResult, Manifest, ManifestFile, Release, Withholding
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import READ_LEVEL
from readvault.services.entries.withheld import newest
from readvault.services.queue.fence import SYSTEM

logger = logging.getLogger(__name__)


def carry_over(session: Session, pairs: Iterable[tuple[int, int]], at: float) -> None:
    """Withhold the reads of new results where those of what stood before are, for the same reason.

    `pairs` are manifests: what stands, and what takes its place in this transaction. Left alone are
    results that were public before (they have decisions of their own), results without public reads,
    and, where a screening found too many human reads, results of another host index than the one that
    had let them pass. What a person withheld for another reason stays so until a person gives it again.
    """
    after = dict(pairs)
    holding = newest(session, after)
    for before, new in after.items():
        row = holding.get(before)
        if row is None or not row.withheld or not _brings_reads_out(session, new) or newest(session, [new]):
            continue
        name = AccessionVersion(row.accession, row.version)
        if _was_found(session, name) and _index_of(session, new) not in (None, _index_of(session, before)):
            continue
        session.add(
            Withholding(
                accession=row.accession, version=row.version, manifest_id=new, withheld=True, reason=row.reason,
                actor=row.actor, at=at,
            )
        )  # fmt: skip
        session.flush()
        records.changed(session, [name])
        logger.warning("%s: its reads stay withheld in the new result", name)


def _brings_reads_out(session: Session, manifest_id: int) -> bool:
    """Whether the result has reads for everybody, and was not published before."""
    with_reads = select(col(ManifestFile.manifest_id)).where(
        col(ManifestFile.manifest_id) == manifest_id,
        col(ManifestFile.category).in_([each.value for each in READ_LEVEL]),
        col(ManifestFile.may_be_public),
    )
    published = (
        select(col(table.manifest_id)).where(col(table.manifest_id) == manifest_id)
        for table in (Release, CurrentResult)
    )
    return _any(session, with_reads) and not any(_any(session, each) for each in published)


def _was_found(session: Session, name: AccessionVersion) -> bool:
    """Whether it was a screening that withheld reads of the entry first."""
    query = select(col(Withholding.id)).where(among(Withholding, [name]), col(Withholding.actor) == SYSTEM)
    return _any(session, query)


def _index_of(session: Session, manifest_id: int) -> str | None:
    body = json.loads(session.get_one(Manifest, manifest_id).body)
    index = (body.get("provenance") or {}).get("hostIndexSha256")
    return index if isinstance(index, str) else None


def _any(session: Session, query: Select[Any]) -> bool:
    return session.execute(query.limit(1)).first() is not None
