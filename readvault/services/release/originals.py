"""Original files beyond their group: opened by a maintainer for a reason, or public where that is provably safe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from readvault.db.tables import EntryFile, EntryVersion, UploadedFile
from readvault.domain import interventions
from readvault.domain.actor import Actor
from readvault.domain.errors import NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.reads import FileFormat
from readvault.services import access_log
from readvault.services.authorization import Action, authorize
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
        if session.get(EntryVersion, (name.accession, name.version)) is None:
            raise NotFound(f"Accession version {name} does not exist.")
        files = [(file, at) for file, at in _submitted(session, name) if at.sealed_at is not None]
        access_log.note(
            session, actor.name, name, [(file.file_id, file.category) for file, _ in files], BREAK_GLASS, told
        )
    expires = house.settings.urls.download
    return [
        OpenedFile(
            file_id=file.file_id,
            category=file.category,
            name=file.name,
            size=at.size or 0,
            sha256=at.sha256 or at.declared_sha256,
            url=house.store.sign_get(at.key, at.version_id, name=file.name, expires=expires),
        )
        for file, at in files
    ]


def may_everyone_read(organism: Organism, manifest: Mapping[str, Any], *, submitted_files: int) -> bool:
    """Whether the originals of a *released* version are for everybody: only when it is certain that none is human.

    The organism must want it (`originals.visibility: public_if_no_hits`), and the version's manifest
    must say that every one of its `submitted_files` was FASTQ, that every read went through a
    complete screen with the index that the organism pins now, that none was too short to be
    screened, and that none was taken for human. Whatever is missing, of another shape or not known
    means no. The caller asks whether the version is released and not withdrawn.
    """
    dehumanize = organism.pipeline.dehumanize
    if dehumanize.originals.visibility != "public_if_no_hits" or dehumanize.sha256 is None:
        return False
    provenance = manifest.get("provenance")
    screen = provenance.get("screen") if isinstance(provenance, Mapping) else None
    if not isinstance(provenance, Mapping) or not isinstance(screen, Mapping) or submitted_files < 1:
        return False
    reads = screen.get("reads")
    return (
        manifest.get("screened") is True
        and provenance.get("hostIndexSha256") == dehumanize.sha256
        and screen.get("formats") == [FileFormat.FASTQ.value]
        and _is_count(screen.get("files"), submitted_files)
        and isinstance(reads, int)
        and reads > 0
        and _is_count(screen.get("human"), 0)
        and _is_count(screen.get("tooShort"), 0)
        and _is_count(screen.get("kept"), reads)
    )


def public_original(
    house: House, session: Session, organism: str, name: AccessionVersion, body: str, category: str, file_name: str
) -> UploadedFile | None:
    """The original file of that label when everybody may read it (`may_everyone_read`), else None.

    `body` is the manifest of the *released* result; the caller asks for release and withdrawal.
    """
    known = house.organisms.get(organism)
    if known is None or known.pipeline.dehumanize.originals.visibility != "public_if_no_hits":
        return None
    mine = (EntryFile.accession == name.accession, EntryFile.version == name.version)
    count = session.exec(select(func.count()).select_from(EntryFile).where(*mine)).one()
    if not may_everyone_read(known, json.loads(body), submitted_files=count):
        return None
    query = (
        select(UploadedFile)
        .join(EntryFile, col(EntryFile.file_id) == col(UploadedFile.id))
        .where(*mine, EntryFile.category == category, EntryFile.name == file_name)
        .where(col(UploadedFile.sealed_at).is_not(None))
    )
    return session.exec(query).one_or_none()


def _is_count(value: Any, expected: int) -> bool:
    return type(value) is int and value == expected


def _submitted(session: Session, name: AccessionVersion) -> list[tuple[EntryFile, UploadedFile]]:
    query = (
        select(EntryFile, UploadedFile)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(EntryFile.accession == name.accession, EntryFile.version == name.version)
        .order_by(col(EntryFile.category), col(EntryFile.position), col(EntryFile.name))
    )
    return list(session.exec(query).all())
