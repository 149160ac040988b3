"""Revoking entries: a new version that says that the earlier ones should not be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from readvault.db import audit, clock, records
from readvault.db.tables import EntryVersion, Manifest
from readvault.domain import manifest
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.status import ProcessingResult
from readvault.services import idempotency
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.idempotency import NOT_ONCE, Once
from readvault.services.submission import latest, writing
from readvault.services.submission.latest import Latest
from readvault.services.submission.terms import Terms, terms_now
from readvault.services.submission.writing import SubmittedEntry

MAX_COMMENT = 10_000
"""Characters."""


def revoke(
    house: House,
    actor: Actor | None,
    organism_name: str,
    *,
    accessions: Sequence[str],
    comment: str | None = None,
    once: Once = NOT_ONCE,
) -> list[SubmittedEntry]:
    """Make a revocation of every one of these entries, or of none; sorted.

    It has no data, is processed at once, and takes effect when it is approved. Earlier versions and
    their files stay public. Raises Unprocessable (unknown, of another organism, latest version not
    released), Forbidden, and Conflict when somebody else was faster.
    """
    organism = house.organism(organism_name)
    if comment is not None and len(comment) > MAX_COMMENT:
        raise Unprocessable(f"A version comment may have {MAX_COMMENT} characters.")
    try:
        with house.sessions.begin() as session:
            if actor is None:
                authorize(session, actor, Action.SUBMIT)
            assert actor is not None
            if (known := idempotency.earlier(session, actor, once)) is not None:
                return writing.from_answer(known)
            found = latest.find(session, accessions, lock=True)
            latest.let_change(session, actor, found, Action.SUBMIT)
            if faults := latest.faults_of(organism.name, accessions, found):
                raise Unprocessable("\n".join(faults))
            revoked = _write(session, actor, organism, found, comment)
            idempotency.remember(session, actor, once, writing.as_answer(revoked))
            if revoked:
                versions = [f"{each.accession}.{each.version}" for each in revoked]
                audit.append(session, actor.name, "revoke", organism.name, {"versions": versions, "comment": comment})
    except IntegrityError:
        raise Conflict("Somebody else changed some of these entries just now. Look at them again.") from None
    return revoked


def _write(
    session: Session, actor: Actor, organism: Organism, found: Mapping[str, Latest], comment: str | None
) -> list[SubmittedEntry]:
    if not found:
        return []
    now = clock.read(session)
    terms = terms_now(session, found)
    batch = writing.new_batch()
    ordered = [found[accession] for accession in sorted(found)]
    entries: list[dict[str, Any]] = [
        {
            "accession": each.name.accession,
            "version": each.next_version,
            "organism": organism.name,
            "group_id": each.group_id,
            "submission_id": each.submission_id,
            "submitter": actor.name,
            "submitted_at": now,
            "batch_id": batch,
            "is_revocation": True,
            "version_comment": comment,
            **terms.get(each.name.accession, Terms()).columns(),
            "submitted_metadata": {},
            "submitted_sequences": {},
        }
        for each in ordered
    ]
    session.execute(insert(EntryVersion), entries)
    # Approval looks for a manifest and its digest; a revocation's says that there is nothing.
    rows = [_empty_manifest(entry, organism, now) for entry in entries]
    made = insert(Manifest).returning(col(Manifest.id), col(Manifest.accession), col(Manifest.version))
    records.registered(session, ((row[0], (row[1], row[2])) for row in session.execute(made, rows)))
    return [SubmittedEntry(each.name.accession, each.next_version, each.submission_id) for each in ordered]


def _empty_manifest(entry: Mapping[str, Any], organism: Organism, now: float) -> dict[str, Any]:
    built = manifest.build(
        AccessionVersion(entry["accession"], entry["version"]),
        organism=organism.name,
        pipeline_version=organism.pipeline.version,
        metadata={},
        sequences={},
        consensus_source=None,
        files=[],
        processing_result=ProcessingResult.NO_ISSUES,
        errors=[],
        warnings=[],
        screened=False,
        provenance={},
    )
    body = manifest.canonical(built)
    return {
        "accession": entry["accession"],
        "version": entry["version"],
        "pipeline_version": organism.pipeline.version,
        "digest": manifest.digest(body),
        "body": body.decode(),
        "private_body": manifest.private(built).decode(),
        "processing_result": ProcessingResult.NO_ISSUES.value,
        "errors": [],
        "warnings": [],
        "processed_data": {},
        "created_at": now,
    }
