"""Uploads that nobody finished: their parts in S3, and at last their rows."""

from __future__ import annotations

import logging

from sqlalchemy import ColumnElement, delete, exists, or_, update
from sqlmodel import col, select

from readvault.db import clock
from readvault.db.clock import now
from readvault.db.tables import CondemnedVersion, UploadedFile
from readvault.domain.errors import ProcessingFailure
from readvault.ports import UnfinishedUpload
from readvault.services.house import House
from readvault.services.storage.garbage.unreferenced import BUCKET, HOUR

logger = logging.getLogger(__name__)

PAGE = 200


def expire_uploads(house: House) -> int:
    """Drop multipart uploads that were never completed or submitted and whose time is up; how many.

    Their quota is free already, by their expiry; this frees the parts in S3.
    """
    dropped, last = 0, ""
    while True:
        with house.sessions.read() as session:
            page = session.exec(
                select(UploadedFile)
                .where(_stale(), col(UploadedFile.id) > last)
                .order_by(col(UploadedFile.id))
                .limit(PAGE)
            ).all()
        if not page:
            return dropped
        last = page[-1].id
        for file in page:
            dropped += _drop(house, file)


def unknown_parts(house: House, before: float) -> list[UnfinishedUpload]:
    """Multipart uploads that S3 holds since before that moment (seconds since 1970) and that no open row knows."""
    unknown = []
    for prefix in BUCKET:
        for upload in house.store.unfinished_uploads(prefix):
            if upload.begun_at < before and not _is_known(house, upload):
                unknown.append(upload)
    return unknown


def forgotten_rows(house: House, before: float, *, dry_run: bool) -> int:
    """Drop the rows of uploads that expired before that moment and of which nothing is left in S3; how many.

    Call it after the whole bucket was looked through: what is there is condemned then, and keeps its row.
    """
    with house.sessions.read() as session:
        window = clock.read(session) - house.settings.limits.window_hours * HOUR
    file, last, dropped = UploadedFile, "", 0
    left = exists().where(col(CondemnedVersion.key) == col(file.key), col(CondemnedVersion.deleted_at).is_(None))
    open_parts = col(file.multipart_upload_id).is_not(None) & ~col(file.multipart_completed)
    given_up = (
        col(file.sealed_at).is_(None),
        col(file.expires_at) < before,
        col(file.requested_at) < window,  # the limit of bytes in a time window counts it until then
        ~(open_parts & (col(file.multipart_upload_id) != "")),
        ~left,
    )
    while True:
        with house.sessions.read() as session:
            query = select(file.id).where(*given_up, col(file.id) > last).order_by(col(file.id)).limit(PAGE)
            page = session.exec(query).all()
        if not page:
            return dropped
        last = page[-1]
        if dry_run:
            dropped += len(page)
            continue
        with house.sessions.begin() as session:
            dropped += session.connection().execute(delete(file).where(col(file.id).in_(page), *given_up)).rowcount


def _is_known(house: House, upload: UnfinishedUpload) -> bool:
    with house.sessions.read() as session:
        mine = col(UploadedFile.key) == upload.key
        not_expired = or_(col(UploadedFile.expires_at) >= now(), col(UploadedFile.sealed_at).is_not(None))
        same = col(UploadedFile.multipart_upload_id) == upload.upload_id
        return session.exec(select(UploadedFile.id).where(mine, same, not_expired).limit(1)).first() is not None


def _stale() -> ColumnElement[bool]:
    return (
        col(UploadedFile.sealed_at).is_(None)
        & (col(UploadedFile.expires_at) < now())
        & col(UploadedFile.multipart_upload_id).is_not(None)
        & ~col(UploadedFile.multipart_completed)
    )


def _drop(house: House, file: UploadedFile) -> bool:
    try:
        if file.multipart_upload_id:
            house.store.abort_multipart(file.key, file.multipart_upload_id)
    except ProcessingFailure as failure:
        logger.warning("an upload is expired and its parts are still there: %s", failure.cause)
        return False
    with house.sessions.begin() as session:
        dropped = session.execute(
            update(UploadedFile)
            .where(col(UploadedFile.id) == file.id, _stale())
            .values(multipart_upload_id=None)
            .returning(col(UploadedFile.id))
        ).first()
    return dropped is not None
