"""Uploads: who may put which bytes where, once. No byte passes through us."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import batched
from typing import Any

from sqlmodel import Session, col, select

from readvault.db import clock, condemned
from readvault.db.tables import UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Conflict, LimitHit, ReadvaultError, TooLarge
from readvault.services import idempotency
from readvault.services.house import House
from readvault.services.idempotency import Once
from readvault.services.uploads import multipart, quota
from readvault.services.uploads.access import may_upload, only_pipeline
from readvault.services.uploads.answers import PARTS_PER_ANSWER, PARTS_PER_PAGE, UploadAnswer, WantedFile
from readvault.services.uploads.owned import owned_by

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")
_IDS_PER_QUERY = 1000


@dataclass(frozen=True, slots=True)
class _Planned:
    """A file that gets a row: what was declared, and into how many parts it is cut (None: a single PUT)."""

    size: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    part_size: int | None = None
    parts: int | None = None
    part_hashes: bool = False


@dataclass(frozen=True, slots=True)
class Cutting:
    """How a client wants large files cut.

    `multipart` asks for parts from `settings.urls.multipart_allowed_from` on, `bytes_per_second` is the
    rate at which one connection of the client's sends, and `part_hashes` says that it will tell the
    SHA-256 of each part before sending it.
    """

    multipart: bool = False
    bytes_per_second: float | None = None
    part_hashes: bool = False


USUAL = Cutting()


@dataclass(frozen=True, slots=True)
class _Item:
    """One file of an answer: a reserved one with its row, or one that the group has already."""

    file_id: str
    row: UploadedFile | None = None
    parts: int | None = None


def request_uploads(
    house: House,
    actor: Actor | None,
    group_id: int,
    wanted: Sequence[WantedFile],
    *,
    cutting: Cutting = USUAL,
    key: str | None = None,
) -> list[UploadAnswer]:
    """Signed uploads for these files, in order; S3 will refuse another size, another hash, a second write.

    A file that the group has already (same SHA-256 by our own hashing, same size) is answered with
    the ID of that one. Files are cut into parts above `settings.urls.multipart_from`, and sooner when
    `cutting` asks for it. The same request with the same `key` gets the same file IDs, signed anew.
    Raises BadRequest, Forbidden, NotFound (no such group), TooLarge, TooMany, Unprocessable.
    """
    files = [checked(house, file) for file in wanted]
    _check_count(house, len(files))
    asked = [[file.name, file.size, file.sha256, file.category, file.content_type] for file in files]
    how = [cutting.multipart, cutting.bytes_per_second, cutting.part_hashes]
    once = Once.of(key, "request-uploads", group_id, asked, how)
    with house.sessions.begin() as session:
        user = may_upload(session, actor, group_id)
        known = idempotency.earlier(session, user, once)
        if known is None:
            items = _new(house, session, user, group_id, files, cutting)
            idempotency.remember(session, user, once, _kept(items))
        else:
            items = _again(session, known)
    return _sign(house, items, user, once, is_new=known is None)


def request_upload(
    house: House, actor: Actor | None, group_id: int, number_files: int = 1, *, key: str | None = None
) -> list[UploadAnswer]:
    """Signed single PUTs in Loculus's way, without declared sizes."""
    return _undeclared(house, actor, group_id, number_files, _Planned(), key)


def request_multipart_upload(
    house: House,
    actor: Actor | None,
    group_id: int,
    number_files: int = 1,
    number_parts: int = 1,
    *,
    key: str | None = None,
) -> list[UploadAnswer]:
    """Multipart uploads in Loculus's way: every part signed at once, of whatever size."""
    if not 1 <= number_parts <= multipart.MAX_PARTS:
        raise BadRequest(f"The number of parts must between 1 and {multipart.MAX_PARTS}.")
    if number_files * number_parts > multipart.MAX_PARTS:
        raise BadRequest(f"One request can sign {multipart.MAX_PARTS} parts at most, over all its files.")
    return _undeclared(house, actor, group_id, number_files, _Planned(parts=number_parts), key)


def _undeclared(
    house: House, actor: Actor | None, group_id: int, number_files: int, planned: _Planned, key: str | None
) -> list[UploadAnswer]:
    _check_count(house, number_files)
    once = Once.of(key, "request-upload", group_id, number_files, planned.parts)
    with house.sessions.begin() as session:
        user = may_upload(session, actor, group_id, any_group=True)
        known = idempotency.earlier(session, user, once)
        if known is None:
            rows = _reserve(house, session, user, group_id, [planned] * number_files)
            items = [_Item(row.id, row, planned.parts) for row in rows]
            idempotency.remember(session, user, once, _kept(items))
        else:
            items = _again(session, known)
    return _sign(house, items, user, once, is_new=known is None)


def checked(house: House, file: WantedFile) -> WantedFile:
    """The file as it was declared, its hash in small letters; raises BadRequest, and TooLarge for one that no
    organism takes."""
    if file.size < 0:
        raise BadRequest(f"File '{file.name}': a size can't be negative.")
    digest = None if file.sha256 is None else file.sha256.lower()
    if digest is not None and _SHA256.fullmatch(digest) is None:
        raise BadRequest(f"File '{file.name}': a SHA-256 has 64 hexadecimal digits.")
    if file.content_type is not None and _CONTENT_TYPE.fullmatch(file.content_type) is None:
        raise BadRequest(f"File '{file.name}': {file.content_type!r} is no content type.")
    if file.size > (limit := multipart.largest_file(house, file.category)):
        raise TooLarge(
            f"File '{file.name}' has {file.size} bytes; a file may have {limit}.",
            hit=LimitHit("bytes per file", limit, 0, file.size),
        )
    return replace(file, sha256=digest)


def _check_count(house: House, number_files: int) -> None:
    if number_files < 1:
        raise BadRequest("Number of files must be at least 1")
    if number_files > (limit := house.settings.limits.files_per_request):
        raise TooLarge(
            f"One request may ask for {limit} files; {number_files} were asked for.",
            hit=LimitHit("files per request", limit, 0, number_files),
        )


def _plan(house: House, file: WantedFile, cutting: Cutting) -> _Planned:
    urls = house.settings.urls
    if file.size > urls.multipart_from or (cutting.multipart and file.size >= urls.multipart_allowed_from):
        part_size = multipart.part_size_for(house, file.size, cutting.bytes_per_second)
        parts = -(-file.size // part_size)
        return _Planned(file.size, file.sha256, file.content_type, part_size, parts, cutting.part_hashes)
    return _Planned(file.size, file.sha256, file.content_type)


def _new(
    house: House, session: Session, user: Actor, group_id: int, files: Sequence[WantedFile], cutting: Cutting
) -> list[_Item]:
    """Reserve what the group does not have yet."""
    owned = owned_by(session, group_id, files)
    missing = [file for file in files if (file.sha256, file.size) not in owned]
    planned = [_plan(house, file, cutting) for file in missing]
    rows = _reserve(house, session, user, group_id, planned)
    new = iter([_Item(row.id, row, plan.parts) for row, plan in zip(rows, planned, strict=True)])
    return [next(new) if (file_id := owned.get((file.sha256, file.size))) is None else _Item(file_id) for file in files]


def _reserve(
    house: House, session: Session, user: Actor, group_id: int, planned: Sequence[_Planned]
) -> list[UploadedFile]:
    if not planned:
        return []
    wanted = quota.Wanted(
        group_id,
        user.name,
        files=len(planned),
        size=sum(file.size or 0 for file in planned),
        multiparts=sum(file.parts is not None for file in planned),
        by_pipeline=only_pipeline(session, user, group_id),
    )
    now = clock.read(session)
    quota.reserve(session, house.settings.limits, wanted, now)
    batch_id = str(uuid.uuid4())
    rows = [
        UploadedFile(
            id=(file_id := str(uuid.uuid4())),
            batch_id=batch_id,
            group_id=group_id,
            uploader=user.name,
            key=f"incoming/{batch_id}/{file_id}",
            content_type=file.content_type,
            declared_size=file.size,
            declared_sha256=file.sha256,
            multipart_upload_id=None if file.parts is None else multipart.NOT_STARTED,
            multipart_part_size=file.part_size,
            part_hashes=file.part_hashes,
            requested_at=now,
            expires_at=now + house.settings.urls.upload_expires_after_hours * 3600,
        )
        for file in planned
    ]
    session.add_all(rows)
    session.flush()
    return rows


def _sign(house: House, items: Sequence[_Item], user: Actor, once: Once, *, is_new: bool) -> list[UploadAnswer]:
    """Sign what is reserved; when S3 fails in the middle of a new request, nothing stays reserved."""
    try:
        return _signed(house, items)
    except ReadvaultError:
        if is_new:
            with house.sessions.begin() as session:
                _give_back(session, [item.row for item in items if item.row is not None])
                idempotency.forget(session, user, once)
        raise


def _signed(house: House, items: Sequence[_Item]) -> list[UploadAnswer]:
    multipart.start(house, [item.row for item in items if item.row is not None])
    cut = sum(item.parts is not None for item in items)
    page = min(PARTS_PER_PAGE, max(1, PARTS_PER_ANSWER // max(1, cut)))
    return [_answer(house, item, page) for item in items]


def _answer(house: House, item: _Item, page: int) -> UploadAnswer:
    row = item.row
    if row is None or row.sealed_at is not None or row.multipart_completed:
        return UploadAnswer(item.file_id, already_yours=True)
    if item.parts is not None:
        return UploadAnswer(row.id, multipart=multipart.plan(house, row, item.parts, page))
    put = house.store.sign_put(
        row.key, size=row.declared_size, sha256=row.declared_sha256, expires=house.settings.urls.upload
    )
    return UploadAnswer(row.id, put=put)


def _give_back(session: Session, rows: Sequence[UploadedFile]) -> None:
    mine = col(UploadedFile.id).in_([row.id for row in rows])
    for file in session.exec(select(UploadedFile).where(mine)).all():
        file.expires_at = file.requested_at
        file.declared_size = None  # nobody got its URL: the time window shall not count it
        # Kept even when the transaction that should have noted it failed, so that it can be aborted.
        file.multipart_upload_id = next(row.multipart_upload_id for row in rows if row.id == file.id)


def _kept(items: Sequence[_Item]) -> dict[str, Any]:
    """What is remembered of an answer: IDs and numbers of parts, never a URL."""
    return {"files": [[item.file_id, item.parts, item.row is None] for item in items]}


def _again(session: Session, kept: dict[str, Any]) -> list[_Item]:
    """What an earlier request reserved; raises Conflict when some of it is no longer."""
    own = [file_id for file_id, _, yours in kept["files"] if not yours]
    everything = {file_id for file_id, _, _ in kept["files"]}
    rows: dict[str, UploadedFile] = {}
    for some in batched(sorted(everything), _IDS_PER_QUERY):
        query = select(UploadedFile).where(col(UploadedFile.id).in_(some))
        rows |= {row.id: row for row in session.exec(query).all()}
    now = clock.read(session)
    lost = condemned.revive_possible(session, [row.key for row in rows.values() if row.sealed_at is not None])
    open_ones = [rows[file_id] for file_id in own if file_id in rows]
    expired = any(row.sealed_at is None and row.expires_at <= now for row in open_ones)
    if expired or lost or rows.keys() != everything:
        raise Conflict("Uploads of this request have expired or were given up. Request them with a new key.")
    return [_Item(file_id, None if yours else rows[file_id], parts) for file_id, parts, yours in kept["files"]]
