"""Original files beyond their group: opened by a maintainer for a reason, or public where that is provably safe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from readvault.db import entry_state
from readvault.db.erased import is_erased, refuse_erased, refuse_shredded
from readvault.db.tables import EntryFile, EntryVersion, Manifest, UploadedFile
from readvault.domain import interventions
from readvault.domain.actor import Actor
from readvault.domain.errors import NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.reads import FileFormat
from readvault.ports import StoredVersion
from readvault.services import access_log
from readvault.services.authorization import Action, authorize
from readvault.services.entries import giving
from readvault.services.entries.visibility import is_withdrawn
from readvault.services.house import House

BREAK_GLASS = "break-glass"
PUBLIC_IF_NO_HITS = "public_if_no_hits"


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


def may_everyone_read(organism: Organism, manifest: Mapping[str, Any], *, submitted_files: int) -> bool:
    """Whether the originals of a *released* version are for everybody: only when it is certain that none is human.

    The organism must want it (`originals.visibility: public_if_no_hits`) and keep originals for ever
    (what is public stays), and the version's manifest
    must say that every one of its `submitted_files` was FASTQ, that every read went through a
    complete screen with the index that the organism pins now, that none was too short to be
    screened, and that none was taken for human. Whatever is missing, of another shape or not known
    means no. The caller asks whether the version is released and not withdrawn.
    """
    dehumanize = organism.pipeline.dehumanize
    rules = dehumanize.originals
    if rules.visibility != PUBLIC_IF_NO_HITS or rules.shred_after_days is not None or dehumanize.sha256 is None:
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


def public_originals(house: House, session: Session, name: AccessionVersion) -> list[tuple[EntryFile, UploadedFile]]:
    """The original files of an accession version that everybody may read (`may_everyone_read`); none as a rule.

    None of a version that is not released or was withdrawn.
    """
    query = entry_state.with_state(
        select_columns(col(EntryVersion.organism), col(Manifest.body)).where(
            col(EntryVersion.accession) == name.accession,
            col(EntryVersion.version) == name.version,
            col(EntryVersion.released),
            ~is_withdrawn(),
        )
    )
    row = session.execute(query).one_or_none()
    organism = None if row is None else house.organisms.get(row[0])
    if row is None or organism is None or organism.pipeline.dehumanize.originals.visibility != PUBLIC_IF_NO_HITS:
        return []
    files = _submitted(session, name)
    known = row[1] is not None and may_everyone_read(organism, json.loads(row[1]), submitted_files=len(files))
    return [(file, at) for file, at in files if at.sealed_at is not None] if known else []


def public_original_url(
    house: House, name: AccessionVersion, category: str, label: str, *, head: bool = False
) -> str | None:
    """A short-lived pre-signed URL of an original file that everybody may read; None for any other file."""
    with house.sessions.read() as session:
        files = public_originals(house, session, name)
    expires = house.settings.urls.download
    for file, at in files:
        if (file.category, file.name) == (category, label):
            return giving.signed_url(house, _stored(at), name=label, expires=expires, head=head)
    return None


def _stored(at: UploadedFile) -> StoredVersion:
    return StoredVersion(at.key, at.version_id, at.size or 0)


def _is_count(value: Any, expected: int) -> bool:
    return type(value) is int and value == expected


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
