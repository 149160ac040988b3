"""Who was given a URL of a file that is not public: one row for each URL, and one link of the hash-chained log."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert
from sqlmodel import Session

from readvault.db import audit
from readvault.db.tables import FileAccess
from readvault.domain.identifiers import AccessionVersion

ACTION = "read files"
FileOfCategory = tuple[str, str]
"""A file's ID and the category it was read as."""


def note(
    session: Session,
    actor_name: str,
    subject: AccessionVersion,
    files: Sequence[FileOfCategory],
    purpose: str,
    reason: str | None = None,
) -> None:
    """Write down that URLs of these files of `subject` are given to `actor_name`; nothing for no files.

    Belongs at the end of the caller's write transaction, and the URLs are handed out after its
    commit only: what isn't written down isn't given. `purpose` is `review`, `download`, `pipeline`
    or `break-glass`. The audit row names every file, so that no row of the table can be taken away
    unseen. It holds no URL and no file name.
    """
    note_all(session, actor_name, [(subject, files)], purpose, reason)


def note_all(
    session: Session,
    actor_name: str,
    given: Sequence[tuple[AccessionVersion, Sequence[FileOfCategory]]],
    purpose: str,
    reason: str | None = None,
) -> None:
    """As `note`, for URLs of many accession versions in one request: one audit row for all of them."""
    given = [(subject, files) for subject, files in given if files]
    if not given:
        return
    named = {str(subject): sorted([category, file_id] for file_id, category in files) for subject, files in given}
    details = {"purpose": purpose, "files": named, **({} if reason is None else {"reason": reason})}
    subject = next(iter(named)) if len(named) == 1 else f"{len(named)} accession versions"
    entry = audit.append(session, actor_name, ACTION, subject, details)
    common = {"at": entry.at, "actor": actor_name, "purpose": purpose, "reason": reason, "audit_id": entry.id}
    rows = [
        {"file_id": file_id, "accession": name.accession, "version": name.version, "category": category, **common}
        for name, files in given
        for file_id, category in files
    ]
    session.execute(insert(FileAccess), rows)
