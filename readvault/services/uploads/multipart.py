"""Uploads in parts: signed page by page, resumed while they last, put together by us, once."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import update
from sqlmodel import col

from readvault.db import clock
from readvault.db.tables import UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Conflict, ProcessingFailure, TooLarge, Unprocessable
from readvault.ports import UploadedPart
from readvault.services.house import House
from readvault.services.uploads.access import own_files
from readvault.services.uploads.answers import PARTS_PER_PAGE, MultipartPlan, SignedPart

MAX_PARTS = 10_000
"""S3's limit of parts."""
SMALLEST_PART = 5 * 2**20
"""S3's limit for all parts but the last, in bytes."""
LARGEST_PART = 64 * 10**6
"""What a stated rate can lead to, in bytes; only a file that would have too many parts gets larger ones."""
SECONDS_PER_PART = 15
NOT_STARTED = ""
"""In place of an upload ID that S3 was not asked for yet."""
_STARTS_AT_ONCE = 8
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def part_size_for(house: House, size: int, bytes_per_second: float | None = None) -> int:
    """The part size (bytes) for a file of `size` bytes: at the client's rate a part takes about 15 seconds.

    Between `SMALLEST_PART` and `LARGEST_PART`, but never so small that there are more than `MAX_PARTS`.
    """
    usual = house.settings.urls.part_size
    wanted = usual if bytes_per_second is None else min(LARGEST_PART, int(bytes_per_second * SECONDS_PER_PART))
    return max(wanted, SMALLEST_PART, -(-size // MAX_PARTS))


def part_count(file: UploadedFile) -> int | None:
    """Into how many parts a file is cut, or None when it declared no size."""
    if file.declared_size is None or file.multipart_part_size is None:
        return None
    return -(-file.declared_size // file.multipart_part_size)


def start(house: House, files: Sequence[UploadedFile]) -> None:
    """Begin these uploads in S3, but for those that are begun; their rows know the upload IDs afterwards.

    Of two that begin the same one at once, both go on with the first one's.
    """
    fresh = [file for file in files if file.multipart_upload_id == NOT_STARTED]
    if not fresh:
        return
    with ThreadPoolExecutor(_STARTS_AT_ONCE) as pool:
        begun = {
            file.id: upload_id
            for file, upload_id in zip(
                fresh,
                pool.map(lambda file: house.store.start_multipart(file.key, part_hashes=file.part_hashes), fresh),
                strict=True,
            )
        }
    superfluous = []
    with house.sessions.begin() as session:
        for file in fresh:
            mine, first = col(UploadedFile.id) == file.id, col(UploadedFile.multipart_upload_id) == NOT_STARTED
            noted = session.execute(
                update(UploadedFile)
                .where(mine, first)
                .values(multipart_upload_id=begun[file.id])
                .returning(col(UploadedFile.id))
            ).first()
            file.multipart_upload_id = begun[file.id]
            if noted is None:
                superfluous.append((file.key, begun[file.id]))
                file.multipart_upload_id = session.get_one(UploadedFile, file.id).multipart_upload_id
    for key, upload_id in superfluous:
        house.store.abort_multipart(key, upload_id)


def sign(
    house: House, file: UploadedFile, numbers: Iterable[int], hashes: Mapping[int, str] | None = None
) -> tuple[SignedPart, ...]:
    """Signed PUTs of these parts, each with its exact length and its SHA-256 when they are known."""
    upload_id = file.multipart_upload_id
    assert upload_id
    return tuple(
        SignedPart(
            number,
            house.store.sign_part(
                file.key,
                upload_id,
                number,
                size=_size_of_part(file, number),
                sha256=(hashes or {}).get(number),
                expires=house.settings.urls.upload,
            ),
        )
        for number in numbers
    )


def plan(house: House, file: UploadedFile, parts: int, page: int = PARTS_PER_PAGE) -> MultipartPlan:
    """How a file is cut, with its first `page` signed parts: all of them when it declared no size.

    None when each part is to be signed with its hash, which isn't known yet.
    """
    signed = parts if file.declared_size is None else min(parts, page)
    return MultipartPlan(
        file.multipart_part_size, parts, sign(house, file, range(1, 1 + (0 if file.part_hashes else signed)))
    )


def sign_parts(
    house: House, actor: Actor | None, file_id: str, numbers: Sequence[int], hashes: Mapping[int, str] | None = None
) -> list[SignedPart]:
    """Fresh signed PUTs for these parts (from 1), at most `PARTS_PER_PAGE`; keeps the upload alive.

    `hashes` are SHA-256 (hexadecimal) by part, for an upload that was requested with part hashes: then
    S3 refuses other bytes.
    """
    with house.sessions.begin() as session:
        now = clock.read(session)
        file = own_files(session, actor, [file_id], for_update=True)[0]
        if file.multipart_upload_id is None:
            raise BadRequest(f"File {file_id} is not uploaded in parts.")
        check_open(file, now)
        last = part_count(file) or MAX_PARTS
        if not 0 < len(numbers) <= PARTS_PER_PAGE or not all(1 <= number <= last for number in numbers):
            raise BadRequest(f"Ask for 1 to {PARTS_PER_PAGE} parts with numbers from 1 to {last}.")
        _check_hashes(file, numbers, hashes or {})
        file.expires_at = now + house.settings.urls.upload_expires_after_hours * 3600
    start(house, [file])
    return list(sign(house, file, numbers, hashes))


def check_open(file: UploadedFile, now: float) -> None:
    """Raise Conflict for an upload that is complete or has expired."""
    if file.multipart_completed or file.sealed_at is not None:
        raise Conflict(f"File {file.id} is complete already.")
    if file.expires_at <= now:
        raise Conflict(f"The upload of file {file.id} has expired; request a new one.")


def _check_hashes(file: UploadedFile, numbers: Sequence[int], hashes: Mapping[int, str]) -> None:
    if not file.part_hashes:
        if hashes:
            raise BadRequest(f"File {file.id} was requested without part hashes.")
        return
    if missing := sorted(set(numbers) - set(hashes)):
        raise BadRequest(f"File {file.id} was requested with part hashes: part {missing[0]} needs its SHA-256.")
    if not all(_SHA256.fullmatch(sha256) for sha256 in hashes.values()):
        raise BadRequest("A SHA-256 has 64 hexadecimal digits.")


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
        put_together(house, file, etags_of[file.id])


def complete(
    house: House,
    actor: Actor | None,
    file_id: str,
    etags: Sequence[str] | None = None,
    hashes: Sequence[str] | None = None,
) -> None:
    """Put one file together, from the parts with these ETags or, without them, from those that S3 has.

    `hashes` are the SHA-256 (hexadecimal) of the parts, in order, of an upload with part hashes: not
    every S3 tells them again, and all want to hear them.
    An upload that is complete already is left as it is. Raises NotFound, BadRequest for a file that
    isn't uploaded in parts, Conflict for an expired one, Unprocessable for missing or other parts.
    """
    with house.sessions.read() as session:
        file = own_files(session, actor, [file_id])[0]
        now = clock.read(session)
    if file.multipart_upload_id is None:
        raise BadRequest(f"File {file_id} is not uploaded in parts.")
    if file.multipart_completed or file.sealed_at is not None:
        return
    check_open(file, now)
    if etags is not None and not etags:
        raise Unprocessable(f"No etags provided for file ID {file_id}.")
    if hashes is not None and not all(_SHA256.fullmatch(each) for each in hashes):
        raise BadRequest("A SHA-256 has 64 hexadecimal digits.")
    put_together(house, file, etags, hashes)


def put_together(
    house: House, file: UploadedFile, etags: Sequence[str] | None, hashes: Sequence[str] | None = None
) -> None:
    """Put one file together from the parts with these ETags or, without them, from those that S3 has.

    Raises Unprocessable for missing or other parts, TooLarge.
    """
    try:
        there = house.store.list_parts(file.key, file.multipart_upload_id) if file.multipart_upload_id else []
        chosen = _chosen(file, there, etags)
        total = sum(part.size for part in chosen)
        if file.declared_size is not None and total != file.declared_size:
            raise Unprocessable(
                f"The parts of file ID {file.id} have {total} bytes, declared were {file.declared_size}."
            )
        if total > (limit := largest_file(house)):
            house.store.abort_multipart(file.key, file.multipart_upload_id or "")
            raise TooLarge(f"The parts of file ID {file.id} have {total} bytes; a file may have {limit}.")
        house.store.complete_multipart(
            file.key,
            file.multipart_upload_id or "",
            [(part.number, part.etag) for part in chosen],
            checksums=_checksums(file, chosen, hashes),
        )
    except (Unprocessable, ProcessingFailure):
        # Perhaps an earlier call put them together and its answer got lost.
        if not any(version.key == file.key for version in house.store.list_versions(file.key)):
            raise
    with house.sessions.begin() as session:
        session.execute(update(UploadedFile).where(col(UploadedFile.id) == file.id).values(multipart_completed=True))


def _chosen(file: UploadedFile, there: Sequence[UploadedPart], etags: Sequence[str] | None) -> list[UploadedPart]:
    """The parts to put together: what the client names by ETag (S3 looks whether it is right), or all there are."""
    if etags is not None:
        known = {part.number: part for part in there}
        return [
            UploadedPart(
                number,
                etag.strip().strip('"'),
                known[number].size if number in known else 0,
                known[number].checksum if number in known else None,
            )
            for number, etag in enumerate(etags, start=1)
        ]
    if not there or [part.number for part in there] != list(range(1, len(there) + 1)):
        arrived = len(there)
        raise Unprocessable(
            f"Parts of file ID {file.id} are missing: {arrived} of {part_count(file) or '?'} are there."
        )
    return list(there)


def _checksums(
    file: UploadedFile, chosen: Sequence[UploadedPart], hashes: Sequence[str] | None
) -> dict[int, str] | None:
    """The checksum (base64) of every part, of an upload with part hashes; what S3 lists comes first."""
    if not file.part_hashes:
        return None
    told = {number: base64.b64encode(bytes.fromhex(each)).decode() for number, each in enumerate(hashes or (), start=1)}
    known = {part.number: part.checksum or told.get(part.number) for part in chosen}
    if missing := [number for number, checksum in known.items() if checksum is None]:
        raise Unprocessable(f"File ID {file.id} was requested with part hashes: part {missing[0]} needs its SHA-256.")
    return {number: checksum for number, checksum in known.items() if checksum is not None}


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
