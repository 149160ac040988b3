"""An export from its beginning to its commit: planned, put together out of parts, stored, and only then everybody's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db import audit, clock
from readvault.db.exports import newest_ready
from readvault.db.tables import OrganismState, SiloExportFile
from readvault.domain.errors import BadRequest, LeaseLost, ProcessingFailure
from readvault.domain.exports import Genome, State, Why, folder
from readvault.domain.silo_columns import Column, columns
from readvault.failpoints import failpoint
from readvault.ports import StoredVersion
from readvault.services.exports import building, planning, reading, retention
from readvault.services.exports.assembling import Build, LocalFile, Progress, manifest_of, put_together
from readvault.services.exports.engine_files import engine_files
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM

ROUNDS = 5
"""So often an export is put together again because something of it was closed meanwhile."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to: its ID (of the newest one, where nothing had changed) and its counts."""

    export_id: str | None
    changed: bool
    figures: dict[str, int]

    @property
    def told(self) -> str:
        """The counts in words."""
        counts = self.figures
        if not self.changed:
            return f"nothing has changed, {counts['samples']} samples"
        kinds = ", ".join(f"{counts[kind]} {kind}" for kind in ("reused", "new", "replaced", "dropped"))
        return f"{counts['samples']} samples with {counts['reads']} reads ({kinds})"


def export(
    house: House,
    organism: str,
    genome: Genome,
    scratch: Path,
    *,
    anew: bool = False,
    check: Callable[[], None] = lambda: None,
    progress: Progress = lambda _: None,
) -> Exported:
    """Make an export of all public reads of an organism, unless nothing has changed since the newest one.

    Of samples whose reads and metadata are as they were nothing is read but the part that the last
    export had; with `anew` every part is made again. `scratch` is an empty directory with room for the whole
    set. Killed anywhere, the next call goes on with the parts that are there. `check` is called often and
    may raise. Raises BadRequest for an organism without such reads, Conflict while another export of it
    is under way, LeaseLost when an erasure ended this one, ProcessingFailure.
    """
    rules = house.organism(organism)
    try:
        chosen = columns(rules.silo_export, rules.exported_fields, terms=house.settings.data_use_terms)
        engine = engine_files(organism, chosen, genome)
    except ValueError as fault:
        raise BadRequest(str(fault)) from None
    try:
        done = _export(house, organism, genome, scratch, chosen, engine, anew, check, progress)
    except LeaseLost:  # something of it was erased meanwhile: it is begun again without that
        done = _export(house, organism, genome, scratch, chosen, engine, anew, check, progress)
    retention.tidy(house, organism)
    return done


def _export(
    house: House,
    organism: str,
    genome: Genome,
    scratch: Path,
    chosen: tuple[Column, ...],
    engine: dict[str, bytes],
    anew: bool,
    check: Callable[[], None],
    progress: Progress,
) -> Exported:
    export_id, revision = building.begin(house, organism)
    try:
        with building.alive(house, export_id) as wanted:

            def checked() -> None:
                wanted()
                check()

            with house.sessions.read() as session:
                newest = newest_ready(session, organism)
            build = Build(
                house, organism, export_id, revision, None if newest is None else newest.id, chosen, genome, engine,
                scratch, checked, progress, anew,
            )  # fmt: skip
            return _built(build, None if newest is None else newest.content)
    except BaseException:
        # What can't be removed now is swept once this builder counts as dead.
        with suppress(ProcessingFailure):
            retention.clear(house, organism, export_id, Why.BROKEN_OFF)
        raise


def _built(build: Build, content_before: str | None) -> Exported:
    house, export_id = build.house, build.export_id
    found = planning.plan(house, build.organism, export_id, build.columns, build.genome)
    _drop_closed(build)
    failpoint("export-planned")
    for _ in range(ROUNDS):
        told = {"withoutReads": found.without_reads, "otherReference": found.other_reference}
        if (unchanged := _unchanged(build, content_before, told)) is not None:
            return unchanged
        files = put_together(build)
        # What had to be left out was not in the one before either.
        if build.left_out and (unchanged := _unchanged(build, content_before, told)) is not None:
            return unchanged
        with house.sessions.read() as session:
            told |= planning.compared(session, export_id, build.before)
        told |= {"spliced": build.spliced, "leftOut": build.left_out, "valuesLeftOut": found.unfit.total()}
        told |= {"reads": build.reads, "bytes": files[0].size}
        files.append(manifest_of(build, files, told, found.unfit))
        build.check()
        failpoint("export-before-upload")
        stored = [(file, _stored(build, file)) for file in files]
        failpoint("export-before-commit")
        if _commit(build, stored, told, planning.content_of(house, export_id, build.engine)):
            failpoint("export-committed")
            return Exported(export_id, True, told)
        # In this order: by its members an erasure knows where something of an accession version may lie.
        retention.remove_files(house, build.organism, export_id)
        _drop_closed(build)
    raise ProcessingFailure("export", "what is public changed again and again while it was exported")


def _unchanged(build: Build, content_before: str | None, told: dict[str, int]) -> Exported | None:
    """That there is nothing to export: what is planned is what everybody has already, or nothing at all."""
    content = planning.content_of(build.house, build.export_id, build.engine)
    with build.house.sessions.read() as session:
        counts = planning.compared(session, build.export_id, build.before)
        if build.before is None:
            same = not counts["samples"]
        else:
            # Of equal bytes those of an earlier result may be nobody's any more, and the export with them.
            same = content == content_before and not build.anew and not reading.has_closed(session, build.before)
    if not same:
        return None
    retention.clear(build.house, build.organism, build.export_id, Why.UNCHANGED)
    return Exported(build.before, False, counts | told)


def _drop_closed(build: Build) -> None:
    with build.house.sessions.begin() as session:
        building.held(session, build.export_id)
        planning.drop_closed(session, build.export_id)


def _stored(build: Build, file: LocalFile) -> StoredVersion:
    build.check()
    return build.house.store.store(file.path, folder(build.organism, build.export_id) + file.name, sha256=file.sha256)


def _commit(build: Build, stored: list[tuple[LocalFile, StoredVersion]], told: dict[str, int], content: str) -> bool:
    """Let everybody have it, unless something of it was closed meanwhile: False, and nothing has happened.

    Whoever closes something writes the organism's row in the same transaction, and this one holds that row: each
    withdrawal is seen here, or comes after this commit.
    """
    with build.house.sessions.begin() as session:
        row = building.held(session, build.export_id)
        revision = _revision(session, build.organism)
        if revision != build.revision:
            build.revision = revision
            if planning.closed(session, build.export_id):
                return False
        session.add_all(
            SiloExportFile(
                export_id=build.export_id, name=file.name, key=at.key, version_id=at.version_id, size=at.size,
                sha256=file.sha256,
            )
            for file, at in stored
        )  # fmt: skip
        row.state, row.ready_at, row.alive_until = State.READY.value, clock.read(session), None
        row.figures, row.content, row.manifest_digest = dict(told), content, stored[-1][0].sha256
        session.flush()
        details = {"export": build.export_id, "manifest": row.manifest_digest, **told}
        audit.append(session, SYSTEM, "export silo", build.organism, details)
    return True


def _revision(session: Session, organism: str) -> int:
    """How often what is public of the organism has changed; nobody changes it until this transaction ends."""
    revision = select(col(OrganismState.released_revision)).where(col(OrganismState.organism) == organism)
    return session.execute(revision.with_for_update()).scalar() or 0
