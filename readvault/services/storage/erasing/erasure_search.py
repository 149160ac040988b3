"""What the buckets still hold of an erasure, and which of it goes: never what somebody else refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import batched

from sqlmodel import Session, col, select

from readvault.db import exports
from readvault.db.erased import erased_among
from readvault.db.tables import ErasedObject, ErasedVersion, Erasure, StoredObject, UploadedFile
from readvault.domain.erasures import BUCKET, Kind
from readvault.domain.exports import parts_folder
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.storage.erasing import erasure_plan
from readvault.services.storage.erasing.erasure_plan import Line

PAGE = 100
UPLOADS = "incoming/"


def left(house: House, row: Erasure, *, finished: bool = False) -> Iterator[Line]:
    """What both buckets still hold of it.

    Processed files that came again after the proof are other people's new ones. The key of an upload is
    never used again: what lies there came by a URL that was signed before, and is the erased file.
    """
    for page in batched(candidates(house, row, only_noted=finished), PAGE):
        with house.sessions.read() as session:
            if finished:
                noted = _noted(session, {line.key for line in page})
                late = {line for line in going(session, page, noted_too=True) if line.key.startswith(UPLOADS)}
                yield from (line for line in page if line in late or (line.place, line.key, line.version_id) in noted)
            else:
                yield from going(session, page, noted_too=True)


def candidates(house: House, row: Erasure, *, only_noted: bool = False) -> Iterator[Line]:
    """Every version, marker and part that may be of the erasure's; `only_noted` leaves out what has no row of it."""
    with house.sessions.read() as session:
        keys = list(
            session.exec(
                select(ErasedObject.key)
                .where(ErasedObject.erasure_id == row.id, col(ErasedObject.kind).not_in((Kind.DOCUMENT.value,)))
                .distinct()
            )
        )
        graves = list(session.exec(select(ErasedVersion).where(ErasedVersion.erasure_id == row.id)))
        groups = sorted(groups_of(session, row)) if row.called_off else []
        exported = _export_folders(session, graves)
    yield from erasure_plan.lines(house, keys)
    if only_noted:
        return
    prefixes = [
        prefix
        for each in graves
        for prefix in erasure_plan.document_prefixes(
            AccessionVersion(each.accession, each.version), released=each.was_released
        )
    ]
    yield from erasure_plan.documents(house, prefixes)
    for folder in exported:
        for each in house.store.walk(folder):
            kind = Kind.MARKER if each.deleted else Kind.EXPORT
            yield Line(BUCKET, each.stored.key, each.stored.version_id or "", each.stored.size, kind)
    for group_id in groups:
        yield from _staged(house, group_id)


def _export_folders(session: Session, graves: Sequence[ErasedVersion]) -> list[str]:
    """Where the exports with these versions lie, and the parts of them that exports are put together from."""
    names = {AccessionVersion(each.accession, each.version): each.organism for each in graves}
    parts = [parts_folder(organism, name) for name, organism in sorted(names.items())]
    return [*exports.folders_of(session, names), *parts]


def _staged(house: House, group_id: int) -> Iterator[Line]:
    """Outputs in a group's vault that no row stands for: a job that was called off may have left them."""
    for page in batched(house.store.walk(f"vault/{group_id}/"), PAGE):
        keys = sorted({each.stored.key for each in page})
        with house.sessions.read() as session:
            known = set(session.exec(select(StoredObject.key).where(col(StoredObject.key).in_(keys))))
        for each in page:
            if each.stored.key not in known:
                kind = Kind.MARKER if each.deleted else Kind.STAGED
                yield Line(BUCKET, each.stored.key, each.stored.version_id or "", each.stored.size, kind)


def going(session: Session, page: Sequence[Line], *, noted_too: bool = False) -> list[Line]:
    """Those that go: not the versions that others refer to, nor, unless `noted_too`, those that are rows already."""
    keys = sorted({line.key for line in page})
    pins: set[tuple[str, str | None]] = set()
    stored = select(StoredObject.key, StoredObject.version_id).where(col(StoredObject.key).in_(keys))
    pins |= set(session.exec(stored.with_for_update() if not noted_too else stored))
    sealed = (col(UploadedFile.key).in_(keys), col(UploadedFile.sealed_at).is_not(None))
    pins |= set(session.exec(select(UploadedFile.key, UploadedFile.version_id).where(*sealed)))
    standing = {(key, version_id or "") for key, version_id in pins - erased_among(session, pins)}
    kept = {key for key, _ in standing}
    going = [
        line
        for line in page
        # A copy in the second bucket belongs to whoever has the key now.
        if (line.key, line.version_id) not in standing and not (line.place != BUCKET and line.key in kept)
    ]
    if noted_too:
        return going
    noted = _noted(session, keys)
    return [line for line in going if (line.place, line.key, line.version_id) not in noted]


def groups_of(session: Session, row: Erasure) -> set[int]:
    """Whose vaults an erasure touches: the groups of its versions and of the uploads that it names."""
    graves = select(ErasedVersion.group_id).where(ErasedVersion.erasure_id == row.id)
    keys = select(ErasedObject.key).where(ErasedObject.erasure_id == row.id, ErasedObject.place == BUCKET)
    uploads = select(UploadedFile.group_id).where(col(UploadedFile.key).in_(keys)).distinct()
    return set(session.exec(graves)) | set(session.exec(uploads))


def _noted(session: Session, keys: Iterable[str]) -> set[tuple[str, str, str]]:
    mine = select(ErasedObject.place, ErasedObject.key, ErasedObject.version_id)
    return set(session.exec(mine.where(col(ErasedObject.key).in_(sorted(keys)))))
