"""What programs outside say of approved accession versions, such as their accessions in other databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db import audit, clock, records
from readvault.db.names import among
from readvault.db.tables import EntryVersion, ExternalMetadata
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import MetadataField, Organism
from readvault.domain.processed_data import checked_metadata
from readvault.domain.status import Status
from readvault.services.authorization import Action, authorize
from readvault.services.entries import released_state
from readvault.services.house import House

PAGE = 500


@dataclass(frozen=True, slots=True)
class Update:
    """What an updater says of one accession version; it replaces what the same updater said before."""

    name: AccessionVersion
    content: dict[str, Any]


def submit(house: House, actor: Actor | None, organism_name: str, updater: str, updates: Sequence[Update]) -> None:
    """Take over what an updater says, of all accession versions or of none.

    Raises Forbidden, BadRequest for one that comes twice, and Unprocessable, in Loculus's words, for
    unknown ones, those that aren't approved or of another organism, and for fields that aren't this
    updater's or of another type.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.UPDATE_EXTERNAL_METADATA)
    assert actor is not None
    organism = house.organism(organism_name)
    names = [update.name for update in updates]
    if repeated := sorted(str(name) for name, times in Counter(names).items() if times > 1):
        raise BadRequest(f"The request contains a duplicate accession version: {', '.join(repeated)}")
    fields = fields_of(organism, updater)
    contents = {update.name: checked_metadata(update.content, fields) for update in updates}
    with house.sessions.begin() as session:
        _all_approved(session, organism, names)
        at = clock.read(session)
        table = columns_of(ExternalMetadata)
        for page in batched(sorted(names), PAGE):
            new = insert_into(session, table).values(
                [
                    {"accession": name.accession, "version": name.version, "updater": updater,
                     "content": contents[name], "updated_at": at}
                    for name in page
                ]
            )  # fmt: skip
            session.execute(
                new.on_conflict_do_update(
                    index_elements=["accession", "version", "updater"],
                    set_={"content": new.excluded.content, "updated_at": new.excluded.updated_at},
                )
            )
        records.changed(session, names)
        if names:
            released_state.changed(session, organism.name, at)
        for page in batched(names, PAGE):
            details = {"updater": updater, "accessionVersions": [str(name) for name in page]}
            audit.append(session, actor.name, "submit external metadata", organism.name, details)


def content_of(
    session: Session, organism: Organism, names: Iterable[AccessionVersion]
) -> Mapping[AccessionVersion, dict[str, Any]]:
    """All external metadata of released accession versions: every field of the organism, null where nobody said."""
    empty = {field.name: None for field in organism.external_metadata}
    found: dict[AccessionVersion, dict[str, Any]] = {name: dict(empty) for name in names}
    for page in batched(sorted(found), PAGE):
        rows = session.execute(
            select(ExternalMetadata).where(among(ExternalMetadata, page)).order_by(col(ExternalMetadata.updated_at))
        )
        for row in rows.scalars():
            said = {name: value for name, value in row.content.items() if name in empty and value is not None}
            found[AccessionVersion(row.accession, row.version)] |= said
    return found


def fields_of(organism: Organism, updater: str) -> list[MetadataField]:
    """The fields that an updater may fill in."""
    return [
        MetadataField(name=field.name, type=field.type)
        for field in organism.external_metadata
        if field.external_metadata_updater == updater
    ]


def _all_approved(session: Session, organism: Organism, names: Sequence[AccessionVersion]) -> None:
    found: dict[AccessionVersion, EntryVersion] = {}
    for page in batched(sorted(names), PAGE):
        query = select(EntryVersion).where(among(EntryVersion, page))
        for entry in session.execute(query).scalars():
            found[AccessionVersion(entry.accession, entry.version)] = entry
    if missing := [str(name) for name in names if name not in found]:
        raise Unprocessable(f"Accession versions {', '.join(missing)} do not exist")
    if foreign := [str(name) for name in names if found[name].organism != organism.name]:
        raise Unprocessable(
            f"The following accession versions are not of organism {organism.name}: {', '.join(foreign)}"
        )
    if unreleased := [str(name) for name in names if not found[name].released]:
        raise Unprocessable(
            f"Accession versions are not in one of the states [{Status.APPROVED_FOR_RELEASE}]: {', '.join(unreleased)}"
        )
