"""What has to be done again and again: take jobs back from dead workers, drop stale uploads."""

from __future__ import annotations

import logging
from itertools import batched

from sqlalchemy import ColumnElement, update
from sqlmodel import col, select

from readvault.db.clock import now
from readvault.db.tables import Job, UploadedFile
from readvault.domain.errors import ProcessingFailure
from readvault.domain.status import JobState
from readvault.failpoints import failpoint
from readvault.services.house import House
from readvault.services.queue.fence import lease_ran_out, take_back

logger = logging.getLogger(__name__)

PAGE = 200


def reap(house: House) -> int:
    """Take back the jobs whose lease has run out; how many. Their worker is dead, so they next run alone."""
    with house.sessions.read() as session:
        query = select(Job.id).where(Job.state == JobState.RUNNING.value, lease_ran_out())
        ended = list(session.exec(query.order_by(col(Job.id))))
    taken = 0
    for page in batched(ended, PAGE):
        with house.sessions.begin() as session:
            taken += len(take_back(session, house.settings.worker, col(Job.id).in_(page), lease_ran_out()))
            failpoint("reap-before-commit")
    if taken:
        logger.warning("%d jobs were taken back from workers that died", taken)
    return taken


def hand_back_worker(house: House, worker: str) -> int:
    """Take back at once what a dead worker of this name still holds; how many jobs. For a worker's start."""
    with house.sessions.begin() as session:
        return len(take_back(session, house.settings.worker, col(Job.lease_owner) == worker))


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
        logger.warning("upload %s is expired and its parts are still there: %s", file.id, failure.cause)
        return False
    with house.sessions.begin() as session:
        dropped = session.execute(
            update(UploadedFile)
            .where(col(UploadedFile.id) == file.id, _stale())
            .values(multipart_upload_id=None)
            .returning(col(UploadedFile.id))
        ).first()
    return dropped is not None
