"""Objects in a group's vault: one row for each content that the group has, whatever becomes of the bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import update
from sqlmodel import Session, col, select

from readvault.db import clock, condemned
from readvault.db.erased import erased_among, is_erased
from readvault.db.tables import StoredObject
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.errors import ProcessingFailure
from readvault.ports import StoredVersion

PAGE = 500


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A processed file that lies in the store. `size` counts bytes, `sha256` is hexadecimal.

    `file_id`: what it is called already, when somebody was told; `may_be_public` False: for the group only.
    """

    category: str
    name: str
    size: int
    sha256: str
    stored: StoredVersion
    file_id: str | None = None
    may_be_public: bool = True


def store_objects(session: Session, group_id: int, files: Iterable[StagedFile]) -> dict[str, int]:
    """The IDs of the files' objects by SHA-256; what the group's vault had before stays as it is.

    Bytes that were shredded and have come again take the place of the old ones. Raises ProcessingFailure
    when the very versions that were staged are shredded: they have to be stored again. Raises Unavailable
    when one of them was deleted as garbage since it was staged.
    """
    by_content = {file.sha256: file for file in files}
    _keep_from_deletion(session, group_id, by_content)
    at = clock.read(session)
    new = insert_into(session, columns_of(StoredObject))
    # In one order, so that two registrations that share objects don't wait for each other in a circle.
    rows = [
        {
            "group_id": group_id,
            "sha256": sha256,
            "size": file.size,
            "stored_at": at,
            "key": file.stored.key,
            "version_id": file.stored.version_id,
        }
        for sha256, file in sorted(by_content.items())
    ]
    found: dict[str, int] = {}
    for page in batched(rows, PAGE):
        session.connection().execute(new.on_conflict_do_nothing(), list(page))
        known = select(StoredObject.sha256, StoredObject.id).where(
            StoredObject.group_id == group_id, col(StoredObject.sha256).in_([row["sha256"] for row in page])
        )
        ids = {sha256: number for sha256, number in session.exec(known) if number is not None}
        _replace_shredded(session, {number: by_content[sha256].stored for sha256, number in ids.items()})
        found |= ids
    return found


def _keep_from_deletion(session: Session, group_id: int, files: Mapping[str, StagedFile]) -> None:
    """Take off the list of garbage what these contents are stored as, here or by the group before."""
    stored = [file.stored for file in files.values()]
    keys = {each.key for each in stored}
    for page in batched(sorted(files), PAGE):
        before = select(StoredObject.key).where(StoredObject.group_id == group_id, col(StoredObject.sha256).in_(page))
        keys |= set(session.exec(before))
    condemned.revive(session, keys)
    condemned.refuse_deleted(session, [(each.key, each.version_id) for each in stored])


def _replace_shredded(session: Session, staged: Mapping[int, StoredVersion]) -> None:
    """Have what was shredded stand for the bytes that came after it."""
    query = select(StoredObject.id, StoredObject.key, StoredObject.version_id)
    rows = session.exec(query.where(col(StoredObject.id).in_(staged)).order_by(col(StoredObject.id))).all()
    gone = erased_among(session, ((key, version_id) for _, key, version_id in rows))
    again = [number for number, key, version_id in rows if (key, version_id) in gone and number is not None]
    if not again:
        return
    places = {(staged[number].key, staged[number].version_id) for number in again}
    if erased_among(session, places):
        raise ProcessingFailure("register", "outputs were shredded meanwhile: they have to be stored again")
    for number in again:
        moved = {"key": staged[number].key, "version_id": staged[number].version_id}
        shredded = is_erased(col(StoredObject.key), col(StoredObject.version_id))
        session.execute(
            update(StoredObject)
            .where(col(StoredObject.id) == number, shredded)
            .values(**moved)
            .execution_options(synchronize_session=False)
        )
