"""Which accession versions can be approved, as they are once nobody else can change them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import ColumnElement, and_, select
from sqlmodel import Session, col

from readvault.db import entry_state
from readvault.db.names import among
from readvault.db.tables import EntryFile, EntryVersion, Manifest, SentBack, SubmittedDataArchive, UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult, Status
from readvault.services.authorization import Action
from readvault.services.entries.finding import find_versions, visible_to

PAGE = 500
CONTROLS = frozenset({"negativecontrol", "positivecontrol"})
"""Values of the metadata field `sampleRole`, in lower case, of entries that are never released."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An accession version on its way to release, with the result that stands for it."""

    name: AccessionVersion
    group_id: int
    submitter: str
    status: str
    manifest_id: int | None
    digest: str | None
    result: str | None
    pipeline_version: int | None
    role: str | None
    sent_back: str | None
    """Why a reviewer sent this result back, if one did."""

    @property
    def is_processed(self) -> bool:
        """Whether there is a result to say yes or no to."""
        return self.status == Status.PROCESSED and self.manifest_id is not None

    @property
    def has_errors(self) -> bool:
        """Whether processing found errors."""
        return self.result == ProcessingResult.HAS_ERRORS

    @property
    def is_control(self) -> bool:
        """Whether it is a sample of the laboratory's own, which tells about a batch and nothing about a virus."""
        return is_control(self.role)


def is_control(role: str | None) -> bool:
    """Whether the metadata field `sampleRole` names a control."""
    return (role or "").strip().casefold() in CONTROLS


def named(
    session: Session,
    actor: Actor | None,
    action: Action,
    organism: str,
    wanted: Sequence[tuple[AccessionVersion, str | None]],
) -> list[Candidate]:
    """The named versions with results, locked; each may have the manifest digest that the person saw.

    Raises Unprocessable for unknown or unprocessed ones, Forbidden for foreign ones, Conflict for
    another digest.
    """
    names = [name for name, _ in wanted]
    find_versions(session, actor, action, organism, names)
    found: list[Candidate] = []
    for page in batched(sorted(set(names)), PAGE):
        found += locked(session, among(EntryVersion, page))
    if gone := sorted(set(names) - {each.name for each in found}):  # deleted since they were found
        raise Unprocessable(f"Accession versions {', '.join(map(str, gone))} do not exist")
    refuse(
        "Accession versions are not in one of the states [PROCESSED]: ",
        (f"{each.name} - {each.status}" for each in found if not each.is_processed),
    )
    current = {each.name: each.digest for each in found}
    if changed := sorted({str(name) for name, digest in wanted if digest not in (None, current.get(name))}):
        raise Conflict(f"The processed data have changed since they were reviewed: {', '.join(changed)}")
    return found


def approvable(
    session: Session,
    actor: Actor | None,
    organism: str,
    group_ids: Sequence[int] | None,
    submitters: Sequence[str] | None,
) -> list[Candidate]:
    """Everything that has a good result, was not sent back and the actor may approve, locked.

    Perhaps more than what the `submitters` submitted, where there are very many of them.
    """
    mine = visible_to(session, actor, group_ids, Action.APPROVE)
    waiting = select(col(EntryVersion.accession), col(EntryVersion.version)).where(
        col(EntryVersion.organism) == organism, entry_state.is_open(), mine
    )
    if submitters is not None and len(submitters) <= PAGE:
        waiting = waiting.where(col(EntryVersion.submitter).in_(submitters))
    # Without statistics SQLite would rather walk through all that was ever released.
    waiting = waiting.with_hint(EntryVersion, "INDEXED BY ix_entry_version_unreleased", "sqlite")
    processed = and_(entry_state.is_open(), entry_state.status() == Status.PROCESSED.value)
    found: list[Candidate] = []
    for page in batched(sorted(AccessionVersion(*row) for row in session.execute(waiting)), PAGE):
        found += locked(session, and_(among(EntryVersion, page), processed))
    return [
        each
        for each in found
        if each.is_processed and not each.has_errors and not each.is_control and each.sent_back is None
    ]


def refuse(message: str, names: Iterable[str]) -> None:
    """Raise Unprocessable with the message and these names, if there are any."""
    if listed := sorted(names):
        raise Unprocessable(message + ", ".join(listed))


def locked(session: Session, condition: ColumnElement[bool]) -> list[Candidate]:
    """The entry versions that meet the condition, as they are once nobody else can change them.

    On PostgreSQL the first query waits for a registration or approval that is under way, and only
    the second one sees what it did.
    """
    name = (col(EntryVersion.accession), col(EntryVersion.version))
    lock = entry_state.with_state(select(*name)).where(condition).order_by(*name)
    held = {tuple(row) for row in session.execute(lock.with_for_update(key_share=True, of=EntryVersion))}
    facts = select(
        *name,
        col(EntryVersion.group_id),
        col(EntryVersion.submitter),
        entry_state.status(),
        col(Manifest.id),
        col(Manifest.digest),
        col(Manifest.processing_result),
        col(Manifest.pipeline_version),
        col(EntryVersion.submitted_metadata)["sampleRole"].as_string(),
        col(SentBack.reason),
    )
    query = entry_state.with_state(facts).outerjoin(SentBack, col(SentBack.manifest_id) == col(Manifest.id))
    rows = session.execute(query.where(condition).order_by(*name))
    return [Candidate(AccessionVersion(row[0], row[1]), *row[2:]) for row in rows if (row[0], row[1]) in held]


def made_by(session: Session, user: str, candidates: Sequence[Candidate]) -> set[AccessionVersion]:
    """Which of these the user submitted, edited or uploaded files of."""
    mine = {each.name for each in candidates if each.submitter == user}
    for page in batched(candidates, PAGE):
        names = [each.name for each in page]
        edited = select(col(SubmittedDataArchive.accession), col(SubmittedDataArchive.version)).where(
            among(SubmittedDataArchive, names),
            col(SubmittedDataArchive.edited_by) == user,
        )
        uploaded = (
            select(col(EntryFile.accession), col(EntryFile.version))
            .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
            .where(
                among(EntryFile, names),
                col(UploadedFile.uploader) == user,
            )
        )
        for query in (edited, uploaded):
            mine |= {AccessionVersion(*row) for row in session.execute(query)}
    return mine
