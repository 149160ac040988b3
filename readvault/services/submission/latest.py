"""The latest versions of entries: what a revision or a revocation builds on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import func, select
from sqlmodel import Session, col

from readvault.db import entry_state
from readvault.db.names import among
from readvault.db.tables import DeletedEntryVersion, EntryFile, EntryVersion
from readvault.domain.actor import Actor
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import Status
from readvault.services.authorization import Action, acts_for, authorize
from readvault.services.submission.metadata_file import NamedFile
from readvault.services.submission.reading import Previous

PAGE = 500


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest version of an entry, and the number that the next one gets."""

    name: AccessionVersion
    organism: str
    group_id: int
    submission_id: str
    status: str
    next_version: int


def find(session: Session, accessions: Iterable[str], *, lock: bool = False) -> dict[str, Latest]:
    """The latest version of each accession; unknown ones are absent.

    Locked, no version of these entries can be changed, approved, deleted or revised by anybody else
    until the transaction ends.
    """
    found: dict[str, Latest] = {}
    for page in batched(sorted(set(accessions)), PAGE):
        if lock:
            every = select(col(EntryVersion.accession)).where(col(EntryVersion.accession).in_(page))
            in_order = every.order_by(col(EntryVersion.accession), col(EntryVersion.version))
            session.execute(in_order.with_for_update(key_share=True)).all()
        # A new statement: on PostgreSQL only it sees what the lock has waited for.
        for latest in _latest(session, page):
            found[latest.name.accession] = latest
    return found


def let_change(session: Session, actor: Actor | None, found: Mapping[str, Latest], action: Action) -> None:
    """Let `actor` do `action` with every one of these entries, or raise what `authorize` raises."""
    groups = sorted({each.group_id for each in found.values()})
    if actor is None or groups:
        authorize(session, actor, action, group_ids=groups)
    else:
        acts_for(actor, action)  # a token that isn't meant for this is told so, though nothing was found


def faults_of(organism: str, accessions: Collection[str], latest: dict[str, Latest]) -> list[str]:
    """Why these entries can't get a new version, in Loculus's words."""
    faults = []
    if missing := sorted(set(accessions) - latest.keys()):
        faults.append(f"Accessions {', '.join(missing)} do not exist")
    known = [latest[accession] for accession in sorted(latest)]
    if foreign := [str(each.name) for each in known if each.organism != organism]:
        faults.append(f"The following accession versions are not of organism {organism}: {', '.join(foreign)}")
    if unreleased := [f"{each.name} - {each.status}" for each in known if each.status != Status.APPROVED_FOR_RELEASE]:
        text = "Accession versions are not in one of the states [APPROVED_FOR_RELEASE]: "
        faults.append(text + ", ".join(unreleased))
    return faults


def previous_of(session: Session, latest: Sequence[Latest], *, sequences: bool) -> dict[str, Previous]:
    """What these versions consist of, by accession; their sequences only when asked for: they may be many bytes."""
    everything: dict[str, Previous] = {}
    for page in batched(latest, PAGE):
        names = [each.name for each in page]
        files = files_of(session, names)
        texts: dict[str, dict[str, str]] = {}
        if sequences:
            chosen = among(EntryVersion, names)
            rows = select(col(EntryVersion.accession), col(EntryVersion.submitted_sequences)).where(chosen)
            texts = {accession: dict(held) for accession, held in session.execute(rows)}
        for name in names:
            everything[name.accession] = Previous(files.get(name, {}), texts.get(name.accession, {}))
    return everything


def files_of(session: Session, names: Sequence[AccessionVersion]) -> dict[AccessionVersion, dict[str, list[NamedFile]]]:
    """The submitted files of these accession versions by category, in the submitter's order."""
    files: dict[AccessionVersion, dict[str, list[NamedFile]]] = {}
    columns = (col(EntryFile.accession), col(EntryFile.version), col(EntryFile.category))
    for page in batched(names, PAGE):
        query = select(*columns, col(EntryFile.name), col(EntryFile.file_id)).where(among(EntryFile, page))
        for accession, version, category, name, file_id in session.execute(
            query.order_by(*columns, col(EntryFile.position))
        ):
            of_version = files.setdefault(AccessionVersion(accession, version), {})
            of_version.setdefault(category, []).append(NamedFile(name, file_id))
    return files


def _latest(session: Session, accessions: Sequence[str]) -> list[Latest]:
    newest = (
        select(col(EntryVersion.accession), func.max(col(EntryVersion.version)))
        .where(col(EntryVersion.accession).in_(accessions))
        .group_by(col(EntryVersion.accession))
    )
    names = [(row[0], row[1]) for row in session.execute(newest)]
    deleted = (
        select(col(DeletedEntryVersion.accession), func.max(col(DeletedEntryVersion.version)))
        .where(col(DeletedEntryVersion.accession).in_(accessions))
        .group_by(col(DeletedEntryVersion.accession))
    )
    gone = {row[0]: row[1] for row in session.execute(deleted)}
    columns = select(
        col(EntryVersion.accession),
        col(EntryVersion.version),
        col(EntryVersion.organism),
        col(EntryVersion.group_id),
        col(EntryVersion.submission_id),
        entry_state.status(),
    )
    chosen = among(EntryVersion, names)
    rows = session.execute(entry_state.with_state(columns).where(chosen)).all()
    return [
        Latest(
            AccessionVersion(accession, version),
            organism,
            group_id,
            submission_id,
            status,
            next_version=max(version, gone.get(accession, 0)) + 1,
        )
        for accession, version, organism, group_id, submission_id, status in rows
    ]
