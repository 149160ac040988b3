"""What became of an upload, a fresh URL for it, and giving it up."""

from __future__ import annotations

from readvault.db import clock
from readvault.db.tables import UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Conflict
from readvault.domain.referenced import is_referenced
from readvault.ports import SignedRequest
from readvault.services.house import House
from readvault.services.uploads.access import own_files
from readvault.services.uploads.answers import FileState
from readvault.services.uploads.multipart import part_count


def file_state(house: House, actor: Actor | None, file_id: str) -> FileState:
    """What became of an upload; raises NotFound for an unknown or foreign file ID."""
    with house.sessions.read() as session:
        file = own_files(session, actor, [file_id])[0]
        expired = file.sealed_at is None and file.expires_at <= clock.read(session)
    sealed = file.sealed_at is not None
    unfinished = bool(file.multipart_upload_id) and not (sealed or expired or file.multipart_completed)
    parts = house.store.list_parts(file.key, file.multipart_upload_id or "") if unfinished else []
    single = file.multipart_upload_id is None and not (sealed or expired)
    arrived = (
        next((each for each in house.store.list_versions(file.key) if each.key == file.key), None) if single else None
    )
    return FileState(
        file_id=file.id,
        group_id=file.group_id,
        state="uploaded" if arrived is not None else _state(file, expired),
        declared_size=file.declared_size,
        declared_sha256=file.declared_sha256,
        size=file.size if arrived is None else arrived.size,
        sha256=file.sha256,
        expires_at=None if sealed else file.expires_at,
        part_size=file.multipart_part_size,
        part_count=part_count(file),
        parts=tuple(parts),
    )


def _state(file: UploadedFile, expired: bool) -> str:
    if file.sealed_at is not None:
        return "sealed"
    if expired:
        return "expired"
    return "completed" if file.multipart_completed else "requested"


def sign_again(house: House, actor: Actor | None, file_id: str) -> SignedRequest:
    """A fresh signed PUT of a file that comes in one piece; keeps the upload alive.

    It can still be made once: what has arrived stays. Raises NotFound, BadRequest for a file in parts and
    for one that stays in a bucket of its group, Conflict for one that is sealed or expired.
    """
    with house.sessions.begin() as session:
        now = clock.read(session)
        file = own_files(session, actor, [file_id], for_update=True)[0]
        if is_referenced(file.key):
            raise BadRequest(f"File {file_id} stays in a bucket of its group: nothing of it is uploaded.")
        if file.multipart_upload_id is not None:
            raise BadRequest(f"File {file_id} is uploaded in parts: ask for those.")
        if file.sealed_at is not None:
            raise Conflict(f"File {file_id} is complete already.")
        if file.expires_at <= now:
            raise Conflict(f"The upload of file {file_id} has expired; request a new one.")
        file.expires_at = now + house.settings.urls.upload_expires_after_hours * 3600
    return house.store.sign_put(
        file.key, size=file.declared_size, sha256=file.declared_sha256, expires=house.settings.urls.upload
    )


def abort(house: House, actor: Actor | None, file_id: str) -> None:
    """Give up an upload and free its reservation; raises Conflict once it is sealed."""
    with house.sessions.begin() as session:
        file = own_files(session, actor, [file_id], for_update=True)[0]
        if file.sealed_at is not None:
            raise Conflict(f"File {file_id} is part of a submission and can't be given up.")
        # The row stays: its signed URL may still be used, and the garbage collector must know the key.
        file.expires_at = min(file.expires_at, clock.read(session))
    if file.multipart_upload_id and not file.multipart_completed:
        house.store.abort_multipart(file.key, file.multipart_upload_id)
