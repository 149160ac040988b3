"""The newest export for everybody: what it is, and where its files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from readvault.db.tables import (
    ErasedVersion,
    Intervention,
    SiloExport,
    SiloExportFile,
    SiloExportMember,
    Withholding,
)
from readvault.domain.actor import Actor
from readvault.domain.errors import BytesLost, Gone, NotFound, Unavailable
from readvault.domain.exports import FILES, LATEST, State
from readvault.domain.status import Visibility
from readvault.ports import StoredVersion
from readvault.services.authorization import Action, authorize
from readvault.services.entries import giving
from readvault.services.house import House

NONE = "No reads of this organism have been exported."
CLOSED = "Something of it is no longer for everybody; the next export is without it."
ANEW = "Something of the newest export is no longer for everybody. The next one is without it; please come back."


@dataclass(frozen=True, slots=True)
class Export:
    """An export as everybody may read it, with its files in the order in which they are listed."""

    row: SiloExport
    files: tuple[SiloExportFile, ...]

    def as_json(self, base_url: str) -> dict[str, Any]:
        """What is told of it; the addresses give the same bytes for as long as the export is kept."""
        base = f"{base_url.rstrip('/')}/{self.row.organism}/get-silo-reads/{self.row.id}"
        return {
            "organism": self.row.organism,
            "export": self.row.id,
            "readyAtTimestamp": int(self.row.ready_at or 0),
            "manifestSha256": self.row.manifest_digest,
            "counts": self.row.figures,
            "files": [
                {"name": file.name, "size": file.size, "sha256": file.sha256, "url": f"{base}/{file.name}"}
                for file in self.files
            ],
        }


def find(house: House, actor: Actor | None, organism: str, export_id: str = LATEST) -> Export:
    """An export by its ID, or the newest one; with something in it that was withdrawn or withheld since it is nobody's.

    Raises NotFound, Gone for one that nobody gets any more, Unavailable where the newest ones are such.
    """
    house.organism(organism)
    with house.sessions.read() as session:
        authorize(session, actor, Action.READ_RELEASED)
        row = _newest_clean(session, organism) if export_id == LATEST else _one(session, organism, export_id)
        query = select(SiloExportFile).where(col(SiloExportFile.export_id) == row.id)
        files = {file.name: file for file in session.execute(query).scalars()}
    return Export(row, tuple(files[name] for name in FILES if name in files))


def file_url(house: House, actor: Actor | None, organism: str, export_id: str, name: str, *, head: bool = False) -> str:
    """A short-lived pre-signed URL of a file of an export: a secret. Raises as `find` does."""
    return _signed(house, _file(find(house, actor, organism, export_id), name), head=head)


def write(house: House, actor: Actor | None, organism: str, export_id: str, out: Path) -> list[Path]:
    """Write all files of an export into a folder, each checked against its SHA-256; files of the same names go."""
    found = find(house, actor, organism, export_id)
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for file in found.files:
        path, unfinished = out / file.name, out / f".{file.name}.part"
        stored = StoredVersion(file.key, file.version_id, file.size)
        if house.store.fetch(stored, unfinished, expected=file.sha256) != file.sha256:
            unfinished.unlink()
            raise BytesLost("export", f"{file.name} has other bytes than were stored: make the export anew")
        unfinished.replace(path)
        written.append(path)
    return written


def _file(export: Export, name: str) -> SiloExportFile:
    for file in export.files:
        if file.name == name:
            return file
    raise NotFound("An export has no such file.")


def _signed(house: House, file: SiloExportFile, *, head: bool) -> str:
    stored = StoredVersion(file.key, file.version_id, file.size)
    return giving.signed_url(house, stored, name=file.name, expires=house.settings.urls.download, head=head)


def _newest_clean(session: Session, organism: str) -> SiloExport:
    ready = (col(SiloExport.organism) == organism, col(SiloExport.state) == State.READY.value)
    query = select(SiloExport).where(*ready).order_by(col(SiloExport.ready_at).desc(), col(SiloExport.id))
    rows: list[SiloExport] = list(session.execute(query).scalars())
    for row in rows:
        if not has_closed(session, row.id):
            return row
    if rows:
        raise Unavailable(ANEW)
    raise NotFound(NONE)


def _one(session: Session, organism: str, export_id: str) -> SiloExport:
    row: SiloExport | None = session.get(SiloExport, export_id)
    if row is None or row.organism != organism or row.state != State.READY.value:
        raise NotFound("There is no such export, or it is not kept any more.")
    if has_closed(session, row.id):
        raise Gone(CLOSED)
    return row


def has_closed(session: Session, export_id: str) -> bool:
    """Whether an export has reads that nobody gets any more: withdrawn, withheld or erased since it was made.

    What is suppressed stays readable for those who know its name, so an export with it does too.
    """
    # Few entries are ever closed, and everybody asks this: so it begins with those, not with the export's.
    newer, later = aliased(Intervention), aliased(Withholding)
    again = exists().where(
        col(newer.accession) == col(Intervention.accession),
        col(newer.version) == col(Intervention.version),
        col(newer.id) > col(Intervention.id),
    )
    given = exists().where(col(later.manifest_id) == col(Withholding.manifest_id), col(later.id) > col(Withholding.id))
    withdrawn = col(Intervention.state) == Visibility.WITHDRAWN.value
    found = (
        select(col(Intervention.id)).where(withdrawn, ~again, _has(export_id, Intervention)),
        select(col(Withholding.id)).where(col(Withholding.withheld), ~given, _has(export_id, Withholding)),
        select(col(ErasedVersion.version)).where(_has(export_id, ErasedVersion)),
    )
    return any(session.execute(query.limit(1)).first() is not None for query in found)


def _has(export_id: str, table: type[Intervention | Withholding | ErasedVersion]) -> ColumnElement[bool]:
    mine = SiloExportMember
    same = [col(mine.accession) == col(table.accession), col(mine.version) == col(table.version)]
    if table is Withholding:
        same.append(col(mine.manifest_id) == col(Withholding.manifest_id))
    return exists().where(col(mine.export_id) == export_id, *same).correlate(table)
