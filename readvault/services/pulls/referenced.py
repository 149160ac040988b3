"""Files that stay in a bucket of their group: where they lie, and the credentials while they are referenced."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from readvault.config.pulls import PullSettings
from readvault.db import audit, clock
from readvault.db.erased import is_erased
from readvault.db.tables import FixityCheck, Pull, PullSource, ReferencedFile, UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, NotFound, ProcessingFailure
from readvault.ports import ForeignAddress, ForeignBucket, ForeignKeys, ForeignObject, ForeignStores
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.pulls.requests import checked_bucket, offered
from readvault.services.pulls.sealed import conceal, is_newest, of_pull, of_referenced, reveal

logger = logging.getLogger(__name__)

PAGE = 200
STEP = "reference"


@dataclass(frozen=True, slots=True)
class Referenced:
    """A referenced file as its group sees it: no credential. `checked_at`: when its bytes were last read here."""

    where: ReferencedFile
    size: int
    sha256: str | None
    checked_at: float | None
    damage: str | None


def keep(settings: PullSettings, session: Session, pull: Pull, source: PullSource) -> None:
    """Write down where a source lies that was read and hashed, with the credentials of its pull."""
    assert source.file_id is not None
    assert source.etag is not None
    secret = None
    if pull.secret is not None:
        told = reveal(settings, pull.secret, of_pull(pull.id))
        secret = conceal(settings, told, of_referenced(source.file_id))
    row = ReferencedFile(
        file_id=source.file_id,
        endpoint=pull.endpoint,
        region=pull.region,
        bucket=pull.bucket,
        place=source.place,
        etag=source.etag,
        version_id=source.version_id,
        referenced_at=clock.read(session),
        secret=secret,
    )
    session.add(row)


def address_of(settings: PullSettings, foreign: ForeignStores, row: ReferencedFile) -> ForeignAddress:
    """Where a referenced file is, with all that is needed to read it. A secret."""
    if row.bucket is None or row.endpoint is None:
        return ForeignAddress(row.place)
    keys = None
    if row.secret is not None:
        keys = ForeignKeys(*json.loads(reveal(settings, row.secret, of_referenced(row.file_id))))
    return foreign.address_in(ForeignBucket(row.endpoint, row.region or "", row.bucket, keys), row.place)


def pin_of(row: ReferencedFile, size: int) -> ForeignObject:
    """What the file was when it was read first."""
    return ForeignObject(size, row.etag, row.version_id)


def references_of_group(house: House, actor: Actor | None, group_id: int, after: str | None = None) -> list[Referenced]:
    """What a group keeps in its own buckets, by file ID, and how it was found; at most `PAGE` beyond `after`."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.PULL, group_id=group_id)
        query = (
            select(ReferencedFile, UploadedFile, FixityCheck)
            .join(UploadedFile, col(UploadedFile.id) == col(ReferencedFile.file_id))
            .outerjoin(FixityCheck, col(FixityCheck.key) == col(UploadedFile.key))
            .where(UploadedFile.group_id == group_id, ReferencedFile.file_id > (after or ""))
            .where(~is_erased(col(UploadedFile.key), col(UploadedFile.version_id)))
            .order_by(col(ReferencedFile.file_id))
        )
        return [
            Referenced(
                where,
                file.size or file.declared_size or 0,
                file.sha256 or file.declared_sha256,
                None if check is None else check.checked_at,
                None if check is None else check.damage,
            )
            for where, file, check in session.exec(query.limit(PAGE))
        ]


def renew_credentials(house: House, actor: Actor | None, group_id: int, bucket: ForeignBucket) -> int:
    """Read all that a group references in a bucket with other keys from now on; how many files.

    Nothing is asked of the bucket now: the next verification says whether the keys are good. Raises
    BadRequest for temporary keys and for what is no bucket, Forbidden, and NotFound where the group references
    nothing in this bucket at this endpoint.
    """
    foreign = offered(house)
    wanted = checked_bucket(foreign, bucket)
    if wanted.keys is None or wanted.keys.session_token is not None:
        raise BadRequest("A reference needs an access key that lasts, with its secret key.")
    told = json.dumps([wanted.keys.access_key, wanted.keys.secret_key, None])
    with house.sessions.begin() as session:
        authorize(session, actor, Action.PULL, group_id=group_id)
        assert actor is not None
        mine = (
            select(ReferencedFile)
            .join(UploadedFile, col(UploadedFile.id) == col(ReferencedFile.file_id))
            .where(UploadedFile.group_id == group_id)
            .where(ReferencedFile.endpoint == wanted.endpoint, ReferencedFile.bucket == wanted.bucket)
            .where(~is_erased(col(UploadedFile.key), col(UploadedFile.version_id)))
        )
        renewed, last = 0, ""
        while page := _locked(session, mine.where(ReferencedFile.file_id > last)):
            for row in page:
                row.secret = conceal(house.settings.pulls, told, of_referenced(row.file_id))
            renewed, last = renewed + len(page), page[-1].file_id
            session.flush()
        if not renewed:
            raise NotFound("Your group references nothing in this bucket at this endpoint.")
        details = {"bucket": wanted.bucket, "files": renewed}
        audit.append(session, actor.name, "renew credentials", f"group {group_id}", details)
    return renewed


def encrypt_anew(house: House) -> int:
    """Encrypt with the newest key what an older one has encrypted, so that the older one can go; how many files.

    What no key opens any more stays as it is: only its group can help, by renewing the credentials.
    """
    settings = house.settings.pulls
    if not settings.secret_keys:
        return 0
    changed, shut, last = 0, 0, ""
    while True:
        with house.sessions.begin() as session:
            query = select(ReferencedFile).where(col(ReferencedFile.secret).is_not(None))
            stale = query.where(~is_newest(settings, col(ReferencedFile.secret)))
            page = _locked(session, stale.where(ReferencedFile.file_id > last))
            for row in page:
                belongs_to = of_referenced(row.file_id)
                try:
                    told = reveal(settings, row.secret or "", belongs_to)
                except ProcessingFailure:
                    shut += 1
                    continue
                row.secret = conceal(settings, told, belongs_to)
                changed += 1
        if not page:
            break
        last = page[-1].file_id
    if shut:
        logger.warning("the credentials of %d referenced files open with none of the keys in the settings", shut)
    return changed


def _locked(session: Session, query: object) -> Sequence[ReferencedFile]:
    ordered = query.order_by(col(ReferencedFile.file_id)).limit(PAGE)  # type: ignore[attr-defined]
    return list(session.exec(ordered.with_for_update(of=ReferencedFile)).all())
