"""The trail, read: what was done, who read which file, and whether nobody has touched it since."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlmodel import Session, col, select

from readvault.db import audit, records
from readvault.db.audit import Head
from readvault.db.tables import AuditEntry, EntryFile, FileAccess, Manifest, ManifestFile
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, NotFound, NotReady, ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.services import access_log
from readvault.services.authorization import Action, authorize
from readvault.services.house import House

LARGEST_PAGE = 1000
HEADS = 1000
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look over the whole log found. `first_bad` is the ID of the first row that is not as it was written."""

    rows: int
    reads: int
    first_bad: int | None = None
    fault: str = ""
    heads: int | None = None
    """How many heads in the bucket are rows of the log; None when the bucket could not be asked."""

    @property
    def whole(self) -> bool:
        """Whether log and trail of reads are as they were written, up to the last exported head."""
        return not self.fault


def page(
    house: House,
    actor: Actor | None,
    *,
    who: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    before: int | None = None,
    size: int = 100,
) -> list[AuditEntry]:
    """Rows of the audit log, newest first, at most `size` with IDs below `before`. For maintainers only."""
    query = select(AuditEntry).order_by(col(AuditEntry.id).desc()).limit(min(size, LARGEST_PAGE))
    for column, wanted in ((AuditEntry.actor, who), (AuditEntry.action, action), (AuditEntry.subject, subject)):
        if wanted is not None:
            query = query.where(col(column) == wanted)
    if before is not None:
        query = query.where(col(AuditEntry.id) < before)
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        return list(session.exec(query))


def who_read(house: House, actor: Actor | None, file: str) -> list[FileAccess]:
    """Every URL that was given out for a file that was not public, oldest first. For maintainers only.

    `file` is a file ID or `accession.version/category/name`. Raises BadRequest for anything else and
    NotFound for a file that there isn't; a file ID that nobody knows any more may still have rows.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        ids = [file.lower()] if _UUID.fullmatch(file) else _file_ids(session, file)
        query = select(FileAccess).where(col(FileAccess.file_id).in_(ids)).order_by(col(FileAccess.id))
        return list(session.exec(query))


def verify(house: House) -> Verdict:
    """Look over the whole log: every digest, every link, and every URL that the log names or that names it.

    Heads that lie in the bucket must be rows of it: so rows that were cut off at the end show, and a
    log that was written anew. Reads all rows once, in flat memory.
    """
    # Before the rows: every head that is there by now is a row by now.
    heads = _heads_if_the_bucket_answers(house)
    with house.sessions.read() as session:
        found = audit.examine(session, heads or [])
        if (bad := found.first_bad) is not None:
            fault = f"row {bad} of the audit log was altered, or a row before it is missing"
            return Verdict(found.rows, 0, bad, fault)
        if found.lost is not None:
            number = found.lost.id
            fault = f"row {number} of the audit log, as the bucket knows it, is gone: rows were cut off or written anew"
            return Verdict(found.rows, 0, number, fault)
        reads, wrong = _reads_that_differ(session)
        if wrong is not None:
            fault = f"the trail of reads is not what row {wrong} of the audit log says"
            return Verdict(found.rows, reads, wrong, fault)
        return Verdict(found.rows, reads, heads=None if heads is None else len(heads))


def _heads_if_the_bucket_answers(house: House) -> list[Head] | None:
    try:
        return exported_heads(house)
    except (NotReady, ProcessingFailure):
        return None


def exported_heads(house: House) -> list[Head]:
    """The last heads of the log that lie in the bucket, oldest first, at most `HEADS`; the newest vouches for all.

    Only those since the database was last rebuilt, if it ever was.
    """
    heads: deque[Head] = deque(maxlen=HEADS)
    for listed in house.store.walk(f"{records.AUDIT}/"):
        head = None if listed.deleted else audit.head_of(listed.stored.key)
        if head is not None:
            if head.begins:
                heads.clear()
            heads.append(head)
    return list(heads)


def _file_ids(session: Session, file: str) -> list[str]:
    name, category, label = _parsed(file)
    mine = (EntryFile.accession == name.accession, EntryFile.version == name.version)
    submitted = select(EntryFile.file_id).where(*mine, EntryFile.category == category, EntryFile.name == label)
    processed = (
        select(ManifestFile.file_id)
        .join(Manifest, col(Manifest.id) == col(ManifestFile.manifest_id))
        .where(Manifest.accession == name.accession, Manifest.version == name.version)
        .where(ManifestFile.category == category, ManifestFile.name == label)
    )
    found = [*session.exec(submitted), *session.exec(processed)]
    if not found:
        raise NotFound(f"There is no file {file}.")
    return found


def _parsed(file: str) -> tuple[AccessionVersion, str, str]:
    try:
        name, category, label = file.split("/", 2)
        return AccessionVersion.parse(name), category, label
    except ValueError:
        raise BadRequest("A file is named by its file ID, or as accession.version/category/name.") from None


def _reads_that_differ(session: Session) -> tuple[int, int | None]:
    """How many reads were looked at, and the first row of the log whose files are not exactly those of the trail.

    Both are walked side by side, once, in the log's order.
    """
    reads = 0
    by_link = groupby(
        session.exec(
            select(FileAccess).order_by(col(FileAccess.audit_id), col(FileAccess.id)).execution_options(yield_per=1000)
        ),
        key=lambda row: row.audit_id,
    )
    link, mine = _next(by_link)
    entries = session.exec(
        select(AuditEntry).where(AuditEntry.action == access_log.ACTION).order_by(col(AuditEntry.id))
        .execution_options(yield_per=500)
    )  # fmt: skip
    for entry in entries:
        if link is not None and link < (entry.id or 0):
            return reads, link  # these reads hang on a row that is about something else
        told = mine if link == entry.id else []
        reads += len(told)
        if not _tell_the_same(entry, told):
            return reads, entry.id
        if link == entry.id:
            link, mine = _next(by_link)
    return reads, link


def _next(groups: Iterator[tuple[int, Iterator[FileAccess]]]) -> tuple[int | None, list[FileAccess]]:
    for link, rows in groups:
        return link, list(rows)
    return None, []


def _tell_the_same(entry: AuditEntry, rows: list[FileAccess]) -> bool:
    said = Counter(
        (name, file_id, category)
        for name, files in dict(entry.details.get("files", {})).items()
        for category, file_id in files
    )
    told = Counter((f"{row.accession}.{row.version}", row.file_id, row.category) for row in rows)
    return said == told and all(_agree(row, entry) for row in rows)


def _agree(row: FileAccess, entry: AuditEntry) -> bool:
    details: dict[str, Any] = entry.details
    said = (entry.actor, entry.at, details.get("purpose"), details.get("reason"))
    return (row.actor, row.at, row.purpose, row.reason) == said
