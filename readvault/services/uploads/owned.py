"""Which of the wanted files a group has already, whole and for good: nobody sends those again."""

from __future__ import annotations

from collections.abc import Iterable

from sqlmodel import Session, col, select

from readvault.db import condemned
from readvault.db.erased import is_erased
from readvault.db.tables import UploadedFile
from readvault.domain.referenced import FOLDER
from readvault.services.entries import damage
from readvault.services.uploads.answers import WantedFile


def owned_by(session: Session, group_id: int, files: Iterable[WantedFile]) -> dict[tuple[str | None, int | None], str]:
    """The IDs of the group's own sealed files by SHA-256 (as computed by us, never as declared) and size."""
    digests = {file.sha256 for file in files if file.sha256 is not None}
    query = select(UploadedFile.sha256, UploadedFile.size, UploadedFile.id, UploadedFile.key).where(
        UploadedFile.group_id == group_id,
        col(UploadedFile.sha256).in_(digests),
        col(UploadedFile.sealed_at).is_not(None),
        ~is_erased(col(UploadedFile.key), col(UploadedFile.version_id)),
        # Who uploads a file wants it kept here: one that is only referenced is none of ours.
        ~col(UploadedFile.key).startswith(FOLDER),
    )
    found = session.exec(query).all()
    keys = [key for *_, key in found]
    # What is damaged may be restored by this very upload.
    lost = condemned.revive_possible(session, keys) | damage.damaged_among(session, keys)
    # What was deleted before its lock could be taken is gone now; what is revived stays a good while.
    found = session.exec(query).all() if found else found
    return {(sha256, size): file_id for sha256, size, file_id, key in found if key not in lost}
