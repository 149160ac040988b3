"""Announcing a file: its key is ours, its place in every quota is taken, and S3 will take it once."""

from __future__ import annotations

import base64
import secrets
import uuid
from dataclasses import dataclass, replace

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from readvault.db import clock
from readvault.db.tables import DropLink, DroppedFile, UploadedFile
from readvault.domain import filenames
from readvault.domain.errors import BadRequest, LimitHit, NotFound, ReadvaultError, TooLarge, TooMany, Unprocessable
from readvault.failpoints import failpoint
from readvault.ports import SignedRequest
from readvault.services.drops.links import NO_LINK, categories_of, open_link
from readvault.services.house import House
from readvault.services.uploads import multipart, quota
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import checked

HOUR = 3600.0
OPEN, UNCLAIMED, CLAIMED, DISCARDED, EXPIRED = "open", "unclaimed", "claimed", "discarded", "expired"
PUT, PARTS, FORM = "put", "parts", "form"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where to put one file: `put` for one in a piece; one in parts is signed part by part."""

    object_name: str
    put: SignedRequest | None = None
    part_size: int | None = None
    part_count: int | None = None


@dataclass(frozen=True, slots=True)
class Purpose:
    """What the holder of a link may know of it. Sizes are bytes, times seconds since 1970."""

    expires_at: float
    categories: tuple[str, ...]
    formats: tuple[str, ...] | None
    largest_file: int
    parts_from: int
    """From which size a file may be sent in parts, so that it can go on where it was cut off."""


def purpose(house: House, token: str) -> Purpose:
    """What a link takes, for its holder; nothing of what came through it. Raises NotFound."""
    with house.sessions.read() as session:
        link = open_link(session, house, token)
        categories = tuple(_categories(house, link))
        largest = max((_largest(house, link, each) for each in categories), default=0)
        formats = None if link.formats is None else tuple(link.formats)
        return Purpose(
            link.expires_at,
            categories,
            formats,
            min(largest, link.bytes_quota),
            house.settings.urls.multipart_allowed_from,
        )


def announce(house: House, token: str, wanted: WantedFile, *, in_parts: bool = False) -> Ticket:
    """A signed upload for one file; S3 will refuse another size, another hash, a second write.

    `in_parts` cuts files from `settings.urls.multipart_allowed_from` on; larger ones than a single PUT
    takes are cut anyway. Raises NotFound for a link that isn't valid (any more), BadRequest for a name
    that no file may have, Unprocessable for what the link doesn't take, TooLarge and TooMany.
    """
    wanted = checked(house, wanted)
    urls = house.settings.urls
    cut = wanted.size > urls.multipart_from or (in_parts and wanted.size >= urls.multipart_allowed_from)
    with house.sessions.begin() as session:
        link = open_link(session, house, token)
        wanted = fitting(house, link, wanted)
        part_size = multipart.part_size_for(house, wanted.size) if cut else None
        file, dropped = reserve(house, session, link, wanted, way=PARTS if cut else PUT, part_size=part_size)
    failpoint("drop-announced")
    try:
        if cut:
            multipart.start(house, [file])
            return Ticket(dropped.object_name, None, part_size, multipart.part_count(file))
        return Ticket(dropped.object_name, signed_put(house, file))
    except ReadvaultError:
        give_back(house, dropped)
        raise


def signed_put(house: House, file: UploadedFile) -> SignedRequest:
    """The PUT of a file that comes in one piece; it can be made once."""
    expires = house.settings.urls.upload
    return house.store.sign_put(file.key, size=file.declared_size, sha256=file.declared_sha256, expires=expires)


def fitting(house: House, link: DropLink, wanted: WantedFile) -> WantedFile:
    """What is wanted, as the link takes it; raises BadRequest, Unprocessable or TooLarge."""
    if fault := filenames.fault_of(wanted.name):
        raise BadRequest(fault)
    if wanted.size < 1:
        raise BadRequest("A file has at least one byte.")
    known = _categories(house, link)
    category = wanted.category or (known[0] if len(known) == 1 else None)
    if category is not None and category not in known:
        raise Unprocessable(f"This link takes files of these categories: {', '.join(known)}.")
    if link.formats is not None and filenames.format_of(wanted.name) not in link.formats:
        raise Unprocessable(f"This link takes {', '.join(link.formats)}, and the file's name must tell that it is one.")
    largest = max((_largest(house, link, each) for each in ([category] if category else known)), default=0)
    if wanted.size > largest:
        raise TooLarge(
            f"File '{wanted.name}' has {wanted.size} bytes; a file may have {largest}.",
            hit=LimitHit("bytes per file", largest, 0, wanted.size),
        )
    return replace(wanted, category=category)


def reserve(
    house: House,
    session: Session,
    link: DropLink,
    wanted: WantedFile,
    *,
    way: str,
    part_size: int | None = None,
    settle_until: float | None = None,
) -> tuple[UploadedFile, DroppedFile]:
    """Take a place for a file in the quotas of the group, of the link's maker and of the link, or raise.

    Whoever made the link answers for what comes through it: it counts as that user's upload.
    """
    now = clock.read(session)
    rules = house.settings.drop_links
    whole = quota.Wanted(
        link.group_id, link.created_by, files=1, size=wanted.size, multiparts=0 if part_size is None else 1
    )
    try:
        quota.reserve(session, house.settings.limits, whole, now)
    except (TooLarge, TooMany) as full:
        # How much a group has and may have is nothing for a link's holder.
        raise type(full)("There is no room for this file now. Tell whoever gave you the link.") from None
    _take(session, link, wanted.size, now)
    _refuse_too_many_open(house, session, link, way)
    object_name, file_id = new_name(), str(uuid.uuid4())
    folder = f"drop-{link.id}"
    file = UploadedFile(
        id=file_id,
        batch_id=folder,
        group_id=link.group_id,
        uploader=link.created_by,
        key=f"incoming/{folder}/{object_name}",
        declared_size=wanted.size,
        declared_sha256=wanted.sha256,
        multipart_upload_id=None if part_size is None else multipart.NOT_STARTED,
        multipart_part_size=part_size,
        requested_at=now,
        expires_at=now + rules.deliver_within_hours * HOUR,
    )
    dropped = DroppedFile(
        object_name=object_name,
        link_id=link.id,
        group_id=link.group_id,
        file_id=file_id,
        label=wanted.name,
        category=wanted.category,
        way=way,
        state=OPEN,
        reserved_bytes=wanted.size,
        announced_at=now,
        settle_until=settle_until,
    )
    session.add_all((file, dropped))
    session.flush()
    return file, dropped


def new_name() -> str:
    """An object name nobody can guess: 128 random bits in 26 small letters and digits."""
    return base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


def charge(session: Session, link_id: str, size: int, objects: int = 0) -> None:
    """Count `size` more bytes (fewer, when negative) and so many files for a link, whatever its quota says."""
    more = {"used_bytes": col(DropLink.used_bytes) + size, "used_objects": col(DropLink.used_objects) + objects}
    session.execute(
        update(DropLink).where(col(DropLink.id) == link_id).values(more).execution_options(synchronize_session=False)
    )


def _take(session: Session, link: DropLink, size: int, now: float) -> None:
    """Count a file for the link if it fits and the link still stands, in one statement: nobody gets between."""
    row = DropLink
    taken = (
        update(row)
        .where(
            col(row.id) == link.id,
            col(row.revoked_at).is_(None),
            col(row.expires_at) > now,
            col(row.used_bytes) + size <= col(row.bytes_quota),
            col(row.used_objects) + 1 <= col(row.objects_quota),
        )
        .values(used_bytes=col(row.used_bytes) + size, used_objects=col(row.used_objects) + 1)
        .returning(col(row.id))
        .execution_options(synchronize_session=False)
    )
    if session.execute(taken).first() is not None:
        return
    session.refresh(link)
    if link.revoked_at is not None or link.expires_at <= now:
        raise NotFound(NO_LINK)
    if link.used_objects >= link.objects_quota:
        raise TooLarge("This link has taken as many files as it may.")
    raise TooLarge("This link can't take so many more bytes.")


def _refuse_too_many_open(house: House, session: Session, link: DropLink, way: str) -> None:
    rules = house.settings.drop_links
    for limit, what, ways in (
        (rules.open_files_per_link, "files that have not arrived yet", (PUT, PARTS, FORM)),
        (rules.open_multiparts_per_link, "unfinished files in parts", (PARTS,)),
    ):
        if way not in ways:
            continue
        mine = (DroppedFile.link_id == link.id, DroppedFile.state == OPEN, col(DroppedFile.way).in_(ways))
        has = session.exec(select(func.count()).select_from(DroppedFile).where(*mine)).one()
        if has >= limit:
            raise TooMany(f"A link may have {limit} {what}. Finish some first.")


def give_back(house: House, dropped: DroppedFile) -> None:
    """Nobody got the signed request: the place is free again, and the time window doesn't count it."""
    with house.sessions.begin() as session:
        row = session.get_one(DroppedFile, dropped.object_name)
        file = session.get_one(UploadedFile, dropped.file_id)
        file.expires_at, file.declared_size = file.requested_at, None
        row.state, row.ended_at = EXPIRED, clock.read(session)
        charge(session, row.link_id, -row.reserved_bytes, -1)


def _categories(house: House, link: DropLink) -> list[str]:
    """What the link takes now: an organism's categories may have changed since it was made."""
    if link.organism is not None and link.organism not in house.organisms:
        return []
    known = categories_of(house, link.organism)
    return [name for name in known if link.categories is None or name in link.categories]


def _largest(house: House, link: DropLink, category: str) -> int:
    chosen = [house.organisms[link.organism]] if link.organism else list(house.organisms.values())
    limits = (each.submission.files.get(category) for each in chosen)
    return max((each.max_bytes_per_file for each in limits if each is not None), default=0)
