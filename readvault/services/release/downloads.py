"""Downloads: where a processed file may be read, for those who may read it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlmodel import Session, col

from readvault.db import entry_state
from readvault.db.erased import refuse_erased
from readvault.db.names import among
from readvault.db.tables import CurrentResult, EntryVersion, Manifest, ManifestFile, Release, StoredObject
from readvault.domain.actor import Actor
from readvault.domain.errors import Forbidden, NotFound, Unauthenticated
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import READ_LEVEL
from readvault.domain.status import Visibility
from readvault.ports import StoredVersion
from readvault.services import access_log
from readvault.services.authorization import Action, authorize, is_member
from readvault.services.entries import giving
from readvault.services.entries.visibility import refuse_withdrawn, state_of
from readvault.services.entries.withheld import refuse_withheld, withheld_among
from readvault.services.house import House
from readvault.services.release.public_files import is_screened
from readvault.services.release.public_originals import public_original_url
from readvault.services.release.results import may_review

PURPOSE = "download"
NOT_FOUND = "File not found"


@dataclass(frozen=True, slots=True)
class _Found:
    group_id: int
    is_released: bool
    body: str
    file: ManifestFile
    stored: StoredObject


def file_url(
    house: House, actor: Actor | None, accession: str, version: int, category: str, name: str, *, head: bool = False
) -> str:
    """A short-lived pre-signed URL of a processed file: a secret. `actor` None is an anonymous reader.

    Released: the file of the result that stands for the version, at its pinned object version, for
    all. Unreleased, or never to be public: for the group, and written down. Reads that no complete
    screen for human reads has seen are given to nobody. Original files are for everybody only where two
    maintainers opened them. Raises NotFound, Unauthenticated, Forbidden, and
    Gone for what was withdrawn, which only maintainers still read, and for reads that are withheld,
    which the group reads too.
    """
    subject = AccessionVersion(accession, version)
    try:
        with house.sessions.read() as session:
            found, is_public = _look(session, actor, subject, category, name)
    except NotFound:
        original = public_original_url(house, subject, category, name, head=head)
        if original is None:
            raise
        return original
    if not is_public:
        with house.sessions.begin() as session:
            # Looked at again: what is written down must be what is given.
            found, is_public = _look(session, actor, subject, category, name)
            if not is_public and actor is not None:
                access_log.note(session, actor.name, subject, [(found.file.file_id, category)], PURPOSE)
    return _signed(house, found, head=head)


def released_file_url(
    house: House,
    accession: str,
    version: int,
    pipeline_version: int,
    category: str,
    name: str,
    *,
    actor: Actor | None = None,
    head: bool = False,
) -> str:
    """A short-lived pre-signed URL of a published file of one pipeline version, for everybody: always the same bytes.

    Results that others have taken the place of stay. Raises NotFound for all that is not public, Gone
    for what was withdrawn and, but for the group and maintainers, for reads that are withheld.
    """
    subject = AccessionVersion(accession, version)
    published = or_(
        col(Manifest.id).in_(select(col(Release.manifest_id)).where(among(Release, [subject]))),
        col(Manifest.id).in_(select(col(CurrentResult.manifest_id)).where(among(CurrentResult, [subject]))),
    )
    query = (
        select(EntryVersion.group_id, Manifest.body, ManifestFile, StoredObject)  # type: ignore[call-overload]
        .select_from(EntryVersion)
        .join(Manifest, among(Manifest, [subject]))
        .join(ManifestFile, col(ManifestFile.manifest_id) == col(Manifest.id))
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(
            among(EntryVersion, [subject]),
            published,
            col(Manifest.pipeline_version) == pipeline_version,
            col(ManifestFile.category) == category,
            col(ManifestFile.name) == name,
            col(ManifestFile.may_be_public),
        )
    )
    with house.sessions.read() as session:
        refuse_erased(session, subject)
        if session.get(Release, (accession, version)) is not None:
            refuse_withdrawn(session, subject)
        row = session.execute(query).one_or_none()
    if row is None:
        original = public_original_url(house, subject, category, name, head=head)
        if original is None:
            raise NotFound(NOT_FOUND)
        return original
    found = _Found(row[0], True, row[1], row[2], row[3])
    _refuse_unscreened(found)
    if category in READ_LEVEL:
        _note_withheld(house, actor, subject, found)
    return _signed(house, found, head=head)


def _note_withheld(house: House, actor: Actor | None, subject: AccessionVersion, found: _Found) -> None:
    """Let nobody but the group and maintainers by where these reads are withheld, and write down who came."""
    with house.sessions.read() as session:
        if not _is_withheld_for(session, actor, found):
            return
    with house.sessions.begin() as session:
        if _is_withheld_for(session, actor, found) and actor is not None:
            access_log.note(session, actor.name, subject, [(found.file.file_id, found.file.category)], PURPOSE)


def _look(
    session: Session, actor: Actor | None, subject: AccessionVersion, category: str, name: str
) -> tuple[_Found, bool]:
    """The file of the result that stands for the version, if the actor may read it, and whether everybody may."""
    refuse_erased(session, subject)
    withdrawn = False
    if session.get(Release, (subject.accession, subject.version)) is not None:
        withdrawn = _is_withdrawn_for(session, actor, subject)
    query = (
        entry_state.with_state(
            select(EntryVersion.group_id, Release.accession, Manifest.body, ManifestFile, StoredObject)  # type: ignore[call-overload]
        )
        .join(ManifestFile, col(ManifestFile.manifest_id) == col(Manifest.id))
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(among(EntryVersion, [subject]), col(ManifestFile.category) == category, col(ManifestFile.name) == name)
    )
    row = session.execute(query).one_or_none()
    if row is None:
        raise NotFound(NOT_FOUND)
    found = _Found(row[0], row[1] is not None, *row[2:])
    if not found.is_released or withdrawn:
        if actor is None:
            raise Unauthenticated("Authentication needed: the file is not public")
        authorize(session, actor, Action.REVIEW, group_id=found.group_id)
    if not found.file.may_be_public and not _may_read_originals(session, actor, found.group_id):
        raise NotFound(NOT_FOUND)
    _refuse_unscreened(found)
    withheld = found.is_released and category in READ_LEVEL and _is_withheld_for(session, actor, found)
    return found, found.is_released and found.file.may_be_public and not withdrawn and not withheld


def _is_withdrawn_for(session: Session, actor: Actor | None, subject: AccessionVersion) -> bool:
    """Whether the version was withdrawn, for somebody who may read it all the same; raises Gone for all others."""
    if actor is None or not actor.is_maintainer:
        refuse_withdrawn(session, subject)
        return False
    return state_of(session, [subject])[subject] is Visibility.WITHDRAWN


def _is_withheld_for(session: Session, actor: Actor | None, found: _Found) -> bool:
    """Whether these reads are withheld, for somebody who may read them all the same; raises Gone for all others."""
    if not withheld_among(session, [found.file.manifest_id]):
        return False
    if not may_review(session, actor, found.group_id):
        refuse_withheld(session, found.file.manifest_id)
    return True


def _may_read_originals(session: Session, actor: Actor | None, group_id: int) -> bool:
    """Whether the actor may have what is never public, such as originals that a pipeline passed through."""
    if not is_member(session, actor, group_id):
        return False
    try:
        authorize(session, actor, Action.READ_ORIGINALS, group_id=group_id)
    except Forbidden:
        return False
    return True


def _refuse_unscreened(found: _Found) -> None:
    if found.file.category in READ_LEVEL and not is_screened(json.loads(found.body)):
        raise NotFound(NOT_FOUND)


def _signed(house: House, found: _Found, *, head: bool) -> str:
    stored = StoredVersion(found.stored.key, found.stored.version_id, found.stored.size)
    expires = house.settings.urls.download
    return giving.signed_url(house, stored, name=found.file.name, expires=expires, head=head)
