"""What a link's holder may do with a file that it announced itself, and knows the name of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import DroppedFile, UploadedFile
from readvault.domain.errors import BadRequest, Conflict, NotFound, RuleViolation
from readvault.ports import SignedRequest
from readvault.services.drops import arrivals
from readvault.services.drops.announcing import HOUR, OPEN, PARTS, signed_put
from readvault.services.drops.links import open_link
from readvault.services.house import House
from readvault.services.uploads import multipart
from readvault.services.uploads.answers import PARTS_PER_PAGE, SignedPart

NO_FILE = "There is no such file."
DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a holder may know of a file of its own: `open` with the numbers of parts that miss, or `delivered`.

    What became of it afterwards is the group's.
    """

    object_name: str
    state: str
    part_size: int | None = None
    part_count: int | None = None
    missing: tuple[int, ...] = ()


def progress(house: House, token: str, object_name: str) -> Progress:
    """How far a file is: to go on where it was cut off.

    Raises NotFound for a name that this link didn't get, and for a file that didn't come in time.
    """
    dropped, file = _mine(house, token, object_name)
    if dropped.state != OPEN:
        return Progress(object_name, DELIVERED)
    if dropped.way == PARTS and not file.multipart_completed:
        count = multipart.part_count(file) or 0
        parts = house.store.list_parts(file.key, file.multipart_upload_id) if file.multipart_upload_id else []
        there = {part.number for part in parts}
        missing = tuple(number for number in range(1, count + 1) if number not in there)
        return Progress(object_name, OPEN, file.multipart_part_size, count, missing)
    return _looked_at(house, token, object_name)


def sign_again(house: House, token: str, object_name: str) -> SignedRequest:
    """A fresh signed PUT of a file that comes in one piece. Raises Conflict for one that is there."""
    with house.sessions.begin() as session:
        dropped, file = _found(session, house, token, object_name, lock=True)
        if dropped.way == PARTS or dropped.settle_until is not None:
            raise BadRequest("This file doesn't come by a single PUT.")
        _check_open(session, dropped, file)
        _keep(session, house, file)
    return signed_put(house, file)


def sign_parts(house: House, token: str, object_name: str, numbers: Sequence[int]) -> list[SignedPart]:
    """Signed PUTs for these parts (from 1), each of its exact length; keeps the upload alive."""
    with house.sessions.begin() as session:
        dropped, file = _found(session, house, token, object_name, lock=True)
        if dropped.way != PARTS:
            raise BadRequest("This file isn't sent in parts.")
        _check_open(session, dropped, file)
        last = multipart.part_count(file) or 0
        if not 0 < len(numbers) <= PARTS_PER_PAGE or not all(1 <= number <= last for number in numbers):
            raise BadRequest(f"Ask for 1 to {PARTS_PER_PAGE} parts with numbers from 1 to {last}.")
        _keep(session, house, file)
    multipart.start(house, [file])
    return list(multipart.sign(house, file, numbers))


def complete(house: House, token: str, object_name: str) -> Progress:
    """Put a file's parts together, or see that one in a piece is there; doing it twice is no error.

    Raises Unprocessable for missing parts, Conflict for a file that isn't there.
    """
    dropped, file = _mine(house, token, object_name)
    if dropped.state != OPEN:
        return Progress(object_name, DELIVERED)
    if dropped.way == PARTS and not file.multipart_completed:
        with _for_holders(dropped):
            with house.sessions.read() as session:
                multipart.check_open(file, clock.read(session))
            multipart.put_together(house, file, None)
    done = _looked_at(house, token, object_name)
    if done.state != DELIVERED:
        raise Conflict("The file has not arrived.")
    return done


def _looked_at(house: House, token: str, object_name: str) -> Progress:
    if not house.settings.read_only_mode:
        arrivals.notice(house, col(DroppedFile.object_name) == object_name)
    dropped, _ = _mine(house, token, object_name)
    return Progress(object_name, OPEN if dropped.state == OPEN else DELIVERED)


def _mine(house: House, token: str, object_name: str) -> tuple[DroppedFile, UploadedFile]:
    with house.sessions.read() as session:
        return _found(session, house, token, object_name)


def _found(
    session: Session, house: House, token: str, object_name: str, *, lock: bool = False
) -> tuple[DroppedFile, UploadedFile]:
    link = open_link(session, house, token)
    dropped = session.get(DroppedFile, object_name, with_for_update=lock)
    if dropped is None or dropped.link_id != link.id:
        raise NotFound(NO_FILE)
    file = session.get(UploadedFile, dropped.file_id, with_for_update=lock)
    waited_for = dropped.state == OPEN and file is not None and file.expires_at > clock.read(session)
    if file is None or not (waited_for or dropped.arrived_at is not None):
        raise NotFound(NO_FILE)  # it never came, and nobody waits for it any more: announce it anew
    return dropped, file


def _check_open(session: Session, dropped: DroppedFile, file: UploadedFile) -> None:
    if dropped.state != OPEN:
        raise Conflict("This file has arrived.")
    with _for_holders(dropped):
        multipart.check_open(file, clock.read(session))


@contextmanager
def _for_holders(dropped: DroppedFile) -> Iterator[None]:
    """Say what is wrong by the name that the holder knows: the file's ID is the group's secret."""
    try:
        yield
    except RuleViolation as fault:
        raise type(fault)(str(fault).replace("ID ", "").replace(dropped.file_id, dropped.object_name)) from None


def _keep(session: Session, house: House, file: UploadedFile) -> None:
    file.expires_at = clock.read(session) + house.settings.drop_links.deliver_within_hours * HOUR
