"""Uploads: who may put which bytes where, once. No byte passes through us."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import update
from sqlmodel import Session, col, select

from readvault.db import clock
from readvault.db.tables import UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, ReadvaultError, TooLarge
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.uploads import quota
from readvault.services.uploads.answers import (
    PARTS_PER_PAGE,
    FileState,
    MultipartPlan,
    SignedPart,
    UploadAnswer,
    WantedFile,
)
from readvault.services.uploads.multipart import (
    MAX_PARTS,
    abort,
    complete_multipart_uploads,
    file_state,
    largest_file,
    part_count,
    part_size_for,
    plan,
    sign_parts,
)

__all__ = [
    "PARTS_PER_PAGE",
    "FileState",
    "MultipartPlan",
    "SignedPart",
    "UploadAnswer",
    "WantedFile",
    "abort",
    "complete_multipart_uploads",
    "file_state",
    "request_multipart_upload",
    "request_upload",
    "request_uploads",
    "sign_parts",
]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")


@dataclass(frozen=True, slots=True)
class _Planned:
    """A file that gets a row: what was declared, and into how many parts it is cut (None: a single PUT)."""

    size: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    part_size: int | None = None
    parts: int | None = None


def request_uploads(
    house: House, actor: Actor | None, group_id: int, wanted: Sequence[WantedFile], *, multipart: bool = False
) -> list[UploadAnswer]:
    """Signed uploads for these files, in order; S3 will refuse another size, another hash, a second write.

    A file that the group has already (same SHA-256 by our own hashing, same size) is answered with
    the ID of that one. Files are cut into parts above `settings.urls.multipart_from`, and with
    `multipart` from `multipart_allowed_from`. Raises BadRequest, Forbidden, NotFound (no such
    group), TooLarge, TooMany.
    """
    files = [_checked(house, file) for file in wanted]
    _check_count(house, len(files))
    with house.sessions.begin() as session:
        authorize(session, actor, Action.UPLOAD, group_id=group_id)
        assert actor is not None
        owned = _owned(session, group_id, files)
        answers = [_yours(owned, file) for file in files]
        planned = [_plan(house, file, multipart) for file, yours in zip(files, answers, strict=True) if yours is None]
        rows = _reserve(house, session, actor, group_id, planned)
    signed = iter(_sign(house, rows, planned))
    return [yours or next(signed) for yours in answers]


def request_upload(house: House, actor: Actor | None, group_id: int, number_files: int = 1) -> list[UploadAnswer]:
    """Signed single PUTs in Loculus's way, without declared sizes."""
    return _undeclared(house, actor, group_id, number_files, _Planned())


def request_multipart_upload(
    house: House, actor: Actor | None, group_id: int, number_files: int = 1, number_parts: int = 1
) -> list[UploadAnswer]:
    """Multipart uploads in Loculus's way: every part signed at once, of whatever size."""
    if not 1 <= number_parts <= MAX_PARTS:
        raise BadRequest(f"The number of parts must between 1 and {MAX_PARTS}.")
    if number_files * number_parts > MAX_PARTS:
        raise BadRequest(f"One request can sign {MAX_PARTS} parts at most, over all its files.")
    return _undeclared(house, actor, group_id, number_files, _Planned(parts=number_parts))


def _undeclared(
    house: House, actor: Actor | None, group_id: int, number_files: int, planned: _Planned
) -> list[UploadAnswer]:
    _check_count(house, number_files)
    with house.sessions.begin() as session:
        authorize(session, actor, Action.UPLOAD, group_id=group_id)
        assert actor is not None
        rows = _reserve(house, session, actor, group_id, [planned] * number_files)
    return _sign(house, rows, [planned] * number_files)


def _checked(house: House, file: WantedFile) -> WantedFile:
    if file.size < 0:
        raise BadRequest(f"File '{file.name}': a size can't be negative.")
    digest = None if file.sha256 is None else file.sha256.lower()
    if digest is not None and _SHA256.fullmatch(digest) is None:
        raise BadRequest(f"File '{file.name}': a SHA-256 has 64 hexadecimal digits.")
    if file.content_type is not None and _CONTENT_TYPE.fullmatch(file.content_type) is None:
        raise BadRequest(f"File '{file.name}': {file.content_type!r} is no content type.")
    if file.size > (limit := largest_file(house, file.category)):
        raise TooLarge(f"File '{file.name}' has {file.size} bytes; a file may have {limit}.")
    return replace(file, sha256=digest)


def _check_count(house: House, number_files: int) -> None:
    if number_files < 1:
        raise BadRequest("Number of files must be at least 1")
    if number_files > (limit := house.settings.limits.files_per_request):
        raise TooLarge(f"One request may ask for {limit} files; {number_files} were asked for.")


def _plan(house: House, file: WantedFile, multipart: bool) -> _Planned:
    urls = house.settings.urls
    if file.size > urls.multipart_from or (multipart and file.size >= urls.multipart_allowed_from):
        part_size = part_size_for(house, file.size)
        return _Planned(file.size, file.sha256, file.content_type, part_size, -(-file.size // part_size))
    return _Planned(file.size, file.sha256, file.content_type)


def _owned(session: Session, group_id: int, files: Iterable[WantedFile]) -> dict[tuple[str | None, int | None], str]:
    """The IDs of the group's own sealed files by SHA-256 (as computed by us, never as declared) and size."""
    digests = {file.sha256 for file in files if file.sha256 is not None}
    query = select(UploadedFile.sha256, UploadedFile.size, UploadedFile.id).where(
        UploadedFile.group_id == group_id,
        col(UploadedFile.sha256).in_(digests),
        col(UploadedFile.sealed_at).is_not(None),
    )
    return {(sha256, size): file_id for sha256, size, file_id in session.exec(query).all()}


def _yours(owned: dict[tuple[str | None, int | None], str], file: WantedFile) -> UploadAnswer | None:
    file_id = owned.get((file.sha256, file.size))
    return None if file_id is None else UploadAnswer(file_id, already_yours=True)


def _reserve(
    house: House, session: Session, actor: Actor, group_id: int, planned: Sequence[_Planned]
) -> list[UploadedFile]:
    if not planned:
        return []
    now = clock.read(session)
    total = sum(file.size or 0 for file in planned)
    quota.reserve(
        session, house.settings.limits, group_id=group_id, user=actor.name, files=len(planned), size=total, now=now
    )
    batch_id = str(uuid.uuid4())
    rows = [
        UploadedFile(
            id=(file_id := str(uuid.uuid4())),
            batch_id=batch_id,
            group_id=group_id,
            uploader=actor.name,
            key=f"incoming/{batch_id}/{file_id}",
            content_type=file.content_type,
            declared_size=file.size,
            declared_sha256=file.sha256,
            multipart_part_size=file.part_size,
            requested_at=now,
            expires_at=now + house.settings.urls.upload_expires_after_hours * 3600,
        )
        for file in planned
    ]
    session.add_all(rows)
    return rows


def _sign(house: House, rows: Sequence[UploadedFile], planned: Sequence[_Planned]) -> list[UploadAnswer]:
    """Sign what was reserved; when S3 fails in the middle, nothing stays reserved."""
    try:
        _start_multipart(house, [row for row, file in zip(rows, planned, strict=True) if file.parts is not None])
        return [_answer(house, row, file) for row, file in zip(rows, planned, strict=True)]
    except ReadvaultError:
        _give_back(house, rows)
        raise


def _answer(house: House, row: UploadedFile, file: _Planned) -> UploadAnswer:
    if file.parts is not None:
        return UploadAnswer(row.id, multipart=plan(house, row, part_count(row) or file.parts))
    put = house.store.sign_put(row.key, size=file.size, sha256=file.sha256, expires=house.settings.urls.upload)
    return UploadAnswer(row.id, put=put)


def _start_multipart(house: House, rows: Sequence[UploadedFile]) -> None:
    for row in rows:
        row.multipart_upload_id = house.store.start_multipart(row.key)
    if rows:
        with house.sessions.begin() as session:
            for row in rows:
                mine = col(UploadedFile.id) == row.id
                session.execute(update(UploadedFile).where(mine).values(multipart_upload_id=row.multipart_upload_id))


def _give_back(house: House, rows: Sequence[UploadedFile]) -> None:
    with house.sessions.begin() as session:
        mine = col(UploadedFile.id).in_([row.id for row in rows])
        for file in session.exec(select(UploadedFile).where(mine)).all():
            file.expires_at = file.requested_at
            # Kept even when the transaction that should have noted it failed, so that it can be aborted.
            file.multipart_upload_id = next(row.multipart_upload_id for row in rows if row.id == file.id)
