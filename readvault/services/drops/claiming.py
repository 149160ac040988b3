"""Metadata name files that came through drop links; a submission makes them its own, each once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import select, update
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import DropLink, DroppedFile, UploadedFile
from readvault.domain import filenames
from readvault.domain.errors import Unprocessable
from readvault.domain.organism import Organism
from readvault.ports import StoredVersion
from readvault.services.drops import arrivals
from readvault.services.drops.announcing import CLAIMED, OPEN, UNCLAIMED
from readvault.services.house import House

PREFIX = "drop:"
NAME = r"[a-z2-7]{26}"
_NAMED = re.compile(rf'(?<![^\s:"]){PREFIX}({NAME})(?![^\s"])')
"""A table's cells may stand in quotes; what is looked up too much does no harm, `read_token` is exact."""
_TOKEN = re.compile(rf"(?:(?P<name>.+):)?{PREFIX}(?P<object>{NAME})")
_PER_QUERY = 500
_UNKNOWN = "The following file IDs do not exist: "


@dataclass(frozen=True, slots=True)
class Dropped:
    """An unclaimed file that metadata may name: its upload, its label and what its link allows."""

    file_id: str
    group_id: int
    name: str
    version_id: str | None
    organism: str | None
    categories: tuple[str, ...] | None

    def fault_in(self, organism: Organism, category: str) -> str | None:
        """Why it can't stand in this category of this organism, or None."""
        if self.organism not in (None, organism.name):
            return f"it was delivered for organism {self.organism}"
        if self.categories is not None and category not in self.categories:
            return f"its link is for {', '.join(self.categories)}"
        formats = organism.submission.files[category].formats
        kind = filenames.format_of(self.name)
        if kind is not None and kind not in formats:
            return f"the category takes {', '.join(formats)}"
        return None


def named_in(text: str) -> set[str]:
    """The object names that a metadata file names.

    >>> named_in("id\\tfiles.rawReads\\na\\tr1.fq:drop:" + "a" * 26)
    {'aaaaaaaaaaaaaaaaaaaaaaaaaa'}
    """
    return set(_NAMED.findall(text)) if PREFIX in text else set()


def read_token(
    token: str, organism: Organism, category: str, dropped: Mapping[str, Dropped]
) -> tuple[str, str] | str | None:
    """The name and file ID that `drop:<object name>` or `<name>:drop:<object name>` stand for.

    A text says why it can't stand there; None: it is no such token. One that nothing is known of stands
    for itself, as a file ID that doesn't exist.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    known = dropped.get(match["object"])
    if known is None:
        return match["name"] or match["object"], PREFIX + match["object"]
    return known.fault_in(organism, category) or (match["name"] or known.name, known.file_id)


def look_up(house: House, text: str, groups: Collection[int]) -> dict[str, Dropped]:
    """What a metadata file names and these groups have unclaimed, by object name; S3 is asked what arrived.

    What is missing from it is unknown, foreign, claimed or gone: one answer for all of them. Raises
    ProcessingFailure when S3 can't be asked.
    """
    names = named_in(text)
    if not names or not groups or not house.settings.drop_links.enabled:
        return {}
    found: dict[str, Dropped] = {}
    for some in batched(sorted(names), _PER_QUERY):
        mine = (col(DroppedFile.object_name).in_(some), col(DroppedFile.group_id).in_(groups))
        arrivals.notice(house, *mine, col(DroppedFile.state) == OPEN)
        with house.sessions.read() as session:
            query = (
                select(DroppedFile, col(DropLink.organism), col(DropLink.categories))
                .join(DropLink, col(DropLink.id) == col(DroppedFile.link_id))
                .join(UploadedFile, col(UploadedFile.id) == col(DroppedFile.file_id))
                .where(*mine, col(DroppedFile.state) == UNCLAIMED, col(UploadedFile.expires_at) > clock.now())
            )
            for row, organism, categories in session.execute(query):
                allowed = None if categories is None else tuple(categories)
                found[row.object_name] = Dropped(
                    row.file_id, row.group_id, row.label, row.version_id, organism, allowed
                )
    return found


def of_these(dropped: Mapping[str, Dropped], file_ids: Collection[str]) -> dict[str, Dropped]:
    """Those of the files that a submission names in a place for files."""
    return {name: each for name, each in dropped.items() if each.file_id in file_ids}


def claim(session: Session, dropped: Mapping[str, Dropped], present: Mapping[str, StoredVersion]) -> None:
    """Make these files part of what is being submitted, in its transaction, before they are sealed.

    Raises Unprocessable, as for unknown files, when somebody else claimed or discarded one meanwhile, or
    when S3 has another first version of one than the one that arrived.
    """
    row, now = DroppedFile, clock.read(session)
    claimed: set[str] = set()
    for some in batched(sorted(dropped), _PER_QUERY):
        mine = (col(row.object_name).in_(some), col(row.state) == UNCLAIMED)
        # Locked in one order: two that claim the same files don't wait for each other in a circle.
        held = select(col(row.object_name)).where(*mine).order_by(col(row.object_name)).with_for_update()
        names = list(session.execute(held).scalars())
        same = [name for name in names if present[dropped[name].file_id].version_id == dropped[name].version_id]
        done = update(row).where(*mine, col(row.object_name).in_(same)).values(state=CLAIMED, ended_at=now)
        taken = done.returning(col(row.object_name)).execution_options(synchronize_session=False)
        claimed |= set(session.execute(taken).scalars())
    if lost := sorted(dropped.keys() - claimed):
        raise Unprocessable(_UNKNOWN + ", ".join(PREFIX + name for name in lost))
