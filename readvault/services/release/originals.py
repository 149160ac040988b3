"""Original files, read by a maintainer who breaks the glass for a reason. `public_originals` is about everybody."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from readvault.db.erased import is_erased, refuse_erased, refuse_shredded
from readvault.db.tables import EntryFile, EntryVersion, UploadedFile
from readvault.domain import interventions
from readvault.domain.actor import Actor
from readvault.domain.errors import NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.ports import StoredVersion
from readvault.services import access_log
from readvault.services.authorization import Action, authorize
from readvault.services.entries import giving
from readvault.services.house import House

BREAK_GLASS = "break-glass"


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """An original file with a URL that lives for minutes: a secret. `size` counts bytes."""

    file_id: str
    category: str
    name: str
    size: int
    sha256: str | None
    url: str


def open_originals(house: House, actor: Actor | None, name: AccessionVersion, reason: str) -> list[OpenedFile]:
    """Give a maintainer the original files of an entry, against a reason that stays in the audit log for ever.

    Who opened which file, when and why is written down and committed before the first URL is
    signed. Raises Forbidden for all but maintainers, BadRequest without a reason, NotFound for an
    unknown accession version.
    """
    told = interventions.checked_reason(reason)
    with house.sessions.begin() as session:
        authorize(session, actor, Action.BREAK_GLASS)
        assert actor is not None
        refuse_erased(session, name)
        if session.get(EntryVersion, (name.accession, name.version)) is None:
            raise NotFound(f"Accession version {name} does not exist.")
        files = [(file, at) for file, at in _submitted(session, name) if at.sealed_at is not None]
        if not files:
            _refuse_if_shredded(session, name)
        access_log.note(
            session, actor.name, name, [(file.file_id, file.category) for file, _ in files], BREAK_GLASS, told
        )
    expires = house.settings.urls.download
    giving.refuse_any_damaged(house, [at.key for _, at in files])
    return [
        OpenedFile(
            file_id=file.file_id,
            category=file.category,
            name=file.name,
            size=at.size or 0,
            sha256=at.sha256 or at.declared_sha256,
            url=giving.signed_url(house, _stored(at), name=file.name, expires=expires),
        )
        for file, at in files
    ]


def _stored(at: UploadedFile) -> StoredVersion:
    return StoredVersion(at.key, at.version_id, at.size or 0)


def _submitted(session: Session, name: AccessionVersion) -> list[tuple[EntryFile, UploadedFile]]:
    query = (
        select(EntryFile, UploadedFile)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(EntryFile.accession == name.accession, EntryFile.version == name.version)
        .where(~is_erased(col(UploadedFile.key), col(UploadedFile.version_id)))
        .order_by(col(EntryFile.category), col(EntryFile.position), col(EntryFile.name))
    )
    return list(session.exec(query).all())


def _refuse_if_shredded(session: Session, name: AccessionVersion) -> None:
    query = select(UploadedFile).join(EntryFile, col(UploadedFile.id) == col(EntryFile.file_id))
    for file in session.exec(query.where(EntryFile.accession == name.accession, EntryFile.version == name.version)):
        refuse_shredded(session, file.key, file.version_id)
