"""Uploads in parts: signed page by page, resumed while they last, put together by us, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import update
from sqlmodel import Session, col, select

from readvault.db import clock
from readvault.db.tables import UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    ProcessingFailure,
    TooLarge,
    Unprocessable,
)
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.uploads.answers import PARTS_PER_PAGE, FileState, MultipartPlan, SignedPart

MAX_PARTS = 10_000
"""S3's limit of parts."""
SMALLEST_PART = 5 * 2**20
"""S3's limit for all parts but the last, in bytes."""


def part_size_for(house: House, size: int) -> int:
    """The part size (bytes) that cuts a file of `size` bytes into at most `MAX_PARTS` parts."""
    return max(house.settings.urls.part_size, SMALLEST_PART, -(-size // MAX_PARTS))


def part_count(file: UploadedFile) -> int | None:
    """Into how many parts a file is cut, or None when it declared no size."""
    if file.declared_size is None or file.multipart_part_size is None:
        return None
    return -(-file.declared_size // file.multipart_part_size)


def sign(house: House, file: UploadedFile, numbers: Iterable[int]) -> tuple[SignedPart, ...]:
    """Signed PUTs of these parts, each with its exact length when that is known."""
    upload_id = file.multipart_upload_id
    assert upload_id is not None
    return tuple(
        SignedPart(
            number,
            house.store.sign_part(
                file.key, upload_id, number, size=_size_of_part(file, number), expires=house.settings.urls.upload
            ),
        )
        for number in numbers
    )


def plan(house: House, file: UploadedFile, parts: int) -> MultipartPlan:
    """How a file is cut, with the first page of signed parts (all of them when it declared no size)."""
    page = parts if file.declared_size is None else min(parts, PARTS_PER_PAGE)
    return MultipartPlan(file.multipart_part_size, parts, sign(house, file, range(1, page + 1)))


def sign_parts(house: House, actor: Actor | None, file_id: str, numbers: Sequence[int]) -> list[SignedPart]:
    """Fresh signed PUTs for these parts (from 1), at most `PARTS_PER_PAGE`; keeps the upload alive."""
    with house.sessions.begin() as session:
        now = clock.read(session)
        file = own_files(session, actor, [file_id])[0]
        if file.multipart_upload_id is None:
            raise BadRequest(f"File {file_id} is not uploaded in parts.")
        if file.multipart_completed or file.sealed_at is not None:
            raise Conflict(f"File {file_id} is complete already.")
        if file.expires_at <= now:
            raise Conflict(f"The upload of file {file_id} has expired; request a new one.")
        last = part_count(file) or MAX_PARTS
        if not 0 < len(numbers) <= PARTS_PER_PAGE or not all(1 <= number <= last for number in numbers):
            raise BadRequest(f"Ask for 1 to {PARTS_PER_PAGE} parts with numbers from 1 to {last}.")
        file.expires_at = now + house.settings.urls.upload_expires_after_hours * 3600
    return list(sign(house, file, numbers))


def complete_multipart_uploads(
    house: House, actor: Actor | None, completed: Sequence[tuple[str, Sequence[str]]]
) -> None:
    """Put parts together: pairs of file ID and ETags, the i-th of part i+1.

    Raises NotFound for an unknown or foreign file ID, Unprocessable for one that is complete
    already, for parts that S3 refuses and for a sum of parts that isn't the declared size.
    """
    etags_of = dict(completed)
    with house.sessions.read() as session:
        files = own_files(session, actor, list(etags_of))
        now = clock.read(session)
    if done := [file.id for file in files if file.multipart_completed or file.multipart_upload_id is None]:
        raise Unprocessable(f"The following files have already been completed: {', '.join(done)}")
    if empty := [file_id for file_id, etags in etags_of.items() if not etags]:
        raise Unprocessable(f"No etags provided for file ID {empty[0]}.")
    if expired := [file.id for file in files if file.expires_at <= now]:
        raise Unprocessable(
            f"The following file IDs are no longer valid because they have expired: {', '.join(expired)}"
        )
    for file in files:
        _complete(house, file, [(n, etag.strip('"')) for n, etag in enumerate(etags_of[file.id], start=1)])
        with house.sessions.begin() as session:
            mine = col(UploadedFile.id) == file.id
            session.execute(update(UploadedFile).where(mine).values(multipart_completed=True))


def file_state(house: House, actor: Actor | None, file_id: str) -> FileState:
    """What became of an upload; raises NotFound for an unknown or foreign file ID."""
    with house.sessions.read() as session:
        file = own_files(session, actor, [file_id])[0]
        expired = file.sealed_at is None and file.expires_at <= clock.read(session)
    sealed = file.sealed_at is not None
    unfinished = not (sealed or expired or file.multipart_completed or file.multipart_upload_id is None)
    parts = house.store.list_parts(file.key, file.multipart_upload_id or "") if unfinished else []
    return FileState(
        file_id=file.id,
        group_id=file.group_id,
        state=_state(file, expired),
        declared_size=file.declared_size,
        declared_sha256=file.declared_sha256,
        size=file.size,
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


def abort(house: House, actor: Actor | None, file_id: str) -> None:
    """Give up an upload and free its reservation; raises Conflict once it is sealed."""
    with house.sessions.begin() as session:
        file = own_files(session, actor, [file_id], for_update=True)[0]
        if file.sealed_at is not None:
            raise Conflict(f"File {file_id} is part of a submission and can't be given up.")
        # The row stays: its signed URL may still be used, and the garbage collector must know the key.
        file.expires_at = min(file.expires_at, clock.read(session))
    if file.multipart_upload_id is not None and not file.multipart_completed:
        house.store.abort_multipart(file.key, file.multipart_upload_id)


def own_files(
    session: Session, actor: Actor | None, file_ids: Sequence[str], *, for_update: bool = False
) -> list[UploadedFile]:
    """The files with these IDs, in order; raises one NotFound for unknown and for foreign IDs alike."""
    query = select(UploadedFile).where(col(UploadedFile.id).in_(file_ids)).order_by(UploadedFile.id)
    found = {file.id: file for file in session.exec(query.with_for_update() if for_update else query).all()}
    authorize(session, actor, Action.LOOK_UP_FILE)
    for group_id in {file.group_id for file in found.values()}:
        try:
            authorize(session, actor, Action.UPLOAD, group_id=group_id)
        except Forbidden:
            found = {file_id: file for file_id, file in found.items() if file.group_id != group_id}
    if secret := [file_id for file_id in file_ids if file_id not in found]:
        raise NotFound(f"The following file IDs do not exist: {', '.join(secret)}")
    return [found[file_id] for file_id in file_ids]


def _complete(house: House, file: UploadedFile, parts: list[tuple[int, str]]) -> None:
    assert file.multipart_upload_id is not None
    try:
        sizes = {part.number: part.size for part in house.store.list_parts(file.key, file.multipart_upload_id)}
        total = sum(sizes.get(number, 0) for number, _ in parts)
        if file.declared_size is not None and total != file.declared_size:
            raise Unprocessable(
                f"The parts of file ID {file.id} have {total} bytes, declared were {file.declared_size}."
            )
        if total > (limit := largest_file(house)):
            house.store.abort_multipart(file.key, file.multipart_upload_id)
            raise TooLarge(f"The parts of file ID {file.id} have {total} bytes; a file may have {limit}.")
        house.store.complete_multipart(file.key, file.multipart_upload_id, parts)
    except (Unprocessable, ProcessingFailure):
        # Perhaps an earlier call put them together and its answer got lost.
        if not any(version.key == file.key for version in house.store.list_versions(file.key)):
            raise


def largest_file(house: House, category: str | None = None) -> int:
    """The size (bytes) that no organism's limit allows to exceed, for one file category or for all."""
    categories = [
        (name, limits) for organism in house.organisms.values() for name, limits in organism.submission.files.items()
    ]
    sizes = [limits.max_bytes_per_file for name, limits in categories if category in (None, name)]
    return max(sizes, default=0) or max((limits.max_bytes_per_file for _, limits in categories), default=0)


def _size_of_part(file: UploadedFile, number: int) -> int | None:
    if file.declared_size is None or file.multipart_part_size is None:
        return None
    return min(file.multipart_part_size, file.declared_size - (number - 1) * file.multipart_part_size)
