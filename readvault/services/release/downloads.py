"""Downloads: where a processed file may be read, for those who may read it."""

from __future__ import annotations

import json

from sqlmodel import col, select

from readvault.db import entry_state
from readvault.db.tables import EntryVersion, Manifest, ManifestFile, Release, StoredObject
from readvault.domain.actor import Actor
from readvault.domain.errors import NotFound, Unauthenticated
from readvault.domain.reads import READ_LEVEL
from readvault.services.authorization import Action, authorize
from readvault.services.house import House


def file_url(
    house: House, actor: Actor | None, accession: str, version: int, category: str, name: str, *, head: bool = False
) -> str:
    """A short-lived pre-signed URL of a processed file: a secret. `actor` None is an anonymous reader.

    Released: the file of the released manifest, at its pinned object version, for all. Unreleased:
    the file of the current manifest, for the group. Reads that no complete screen for human reads
    has seen are given to nobody. Raises NotFound, Unauthenticated, Forbidden.
    """
    query = (
        entry_state.with_state(select(EntryVersion.group_id, Release.accession, Manifest.body, StoredObject))
        .join(ManifestFile, col(ManifestFile.manifest_id) == col(Manifest.id))
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(
            col(EntryVersion.accession) == accession,
            col(EntryVersion.version) == version,
            col(ManifestFile.category) == category,
            col(ManifestFile.name) == name,
        )
    )
    with house.sessions.read() as session:
        found = session.execute(query).one_or_none()
        if found is None:
            raise NotFound("File not found")
        group_id, released, body, stored = found
        if released is None:
            if actor is None:
                raise Unauthenticated("Authentication needed: the file is not public")
            authorize(session, actor, Action.REVIEW, group_id=group_id)
    if category in READ_LEVEL and json.loads(body).get("screened") is not True:
        raise NotFound("File not found")
    return house.store.sign_get(
        stored.key, stored.version_id, name=name, expires=house.settings.urls.download, head=head
    )
