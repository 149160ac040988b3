"""The proof of an erasure: what went, when, and that a search found none of it. It names its own SHA-256."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from readvault.db.tables import ErasedObject, ErasedVersion, Erasure
from readvault.domain import manifest
from readvault.services.house import House
from readvault.services.storage.erasing import erasure_plan

SCHEMA = 1


def proof_of(session: Session, house: House, row: Erasure, at: float) -> dict[str, Any]:
    """What went and what a search found; no name that a submitter gave is in it."""
    gone = session.exec(
        select(ErasedObject)
        .where(ErasedObject.erasure_id == row.id)
        .order_by(col(ErasedObject.place), col(ErasedObject.key), col(ErasedObject.version_id))
    ).all()
    graves = session.exec(
        select(ErasedVersion)
        .where(ErasedVersion.erasure_id == row.id)
        .order_by(col(ErasedVersion.accession), col(ErasedVersion.version))
    ).all()
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "erasure": row.id,
        "accessionVersions": row.accession_versions,
        "scope": row.scope,
        "reason": row.reason,
        "requestedBy": row.requested_by,
        "requestedAt": row.requested_at,
        "confirmedBy": row.confirmed_by,
        "confirmedAt": row.confirmed_at,
        "code": row.code,
        "tombstones": [
            {
                "accession": each.accession, "version": each.version, "organism": each.organism,
                "groupId": each.group_id, "wasReleased": each.was_released, "manifestDigests": each.manifest_digests,
                "reason": each.reason, "erasedAt": each.erased_at,
            }
            for each in graves
        ],
        "objects": [
            {
                "place": each.place, "kind": each.kind, "key": each.key, "versionId": each.version_id or None,
                "size": each.size, "sha256": each.sha256, "deletedAt": each.deleted_at,
            }
            for each in gone
        ],
        "search": {
            "at": at,
            "places": [place for place, _ in erasure_plan.places(house)],
            "keys": len({each.key for each in gone}),
            "versions": 0,
            "unfinishedUploads": 0,
            "scratchFolders": 0,
        },
    }  # fmt: skip
    return {**body, "sha256": manifest.digest(manifest.canonical(body))}


def is_as_written(proof: dict[str, Any]) -> bool:
    """Whether a proof has the SHA-256 that it says of itself."""
    body = {key: value for key, value in proof.items() if key != "sha256"}
    return manifest.digest(manifest.canonical(body)) == proof.get("sha256")
