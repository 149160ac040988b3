"""An export from its beginning to its commit: planned, put together out of parts, stored, and only then everybody's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db import audit, clock
from readvault.db.exports import newest_ready
from readvault.db.tables import OrganismState, SiloExportFile, SiloExportMember
from readvault.domain import manifest as manifests
from readvault.domain.errors import BadRequest, LeaseLost, ProcessingFailure
from readvault.domain.exports import MANIFEST, READS, SAMPLES, Genome, State, Why, folder
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.silo_columns import Column, columns
from readvault.failpoints import failpoint
from readvault.ports import StoredVersion
from readvault.services.exports import building, planning, retention
from readvault.services.exports.engine_files import PRIMARY_KEY, engine_files
from readvault.services.exports.parts import Maker, Part, frame_of
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM

SCHEMA = 1
ROUNDS = 5
"""So often an export is put together again because something of it was closed meanwhile."""
Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to: its ID (of the newest one, where nothing had changed) and its counts."""

    export_id: str | None
    changed: bool
    figures: dict[str, int]


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    path: Path
    size: int
    sha256: str


@dataclass(slots=True)
class _Build:
    """What one builder knows of its export."""

    house: House
    organism: str
    export_id: str
    revision: int
    before: str | None
    columns: tuple[Column, ...]
    genome: Genome
    engine: dict[str, bytes]
    folder: Path
    check: Callable[[], None]
    progress: Progress
    anew: bool
    spliced: int = 0
    reads: int = 0


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
        chosen = columns(rules.silo, rules.exported_fields, terms=house.settings.data_use_terms)
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
            build = _Build(
                house, organism, export_id, revision, None if newest is None else newest.id, chosen, genome, engine,
                scratch, checked, progress, anew,
            )  # fmt: skip
            return _built(build, None if newest is None else newest.content)
    except BaseException:
        # What can't be removed now is swept once this builder counts as dead.
        with suppress(ProcessingFailure):
            retention.clear(house, organism, export_id, Why.BROKEN_OFF)
        raise


def _built(build: _Build, content_before: str | None) -> Exported:
    house, export_id = build.house, build.export_id
    found = planning.plan(house, build.organism, export_id, build.columns, build.genome)
    with house.sessions.begin() as session:
        building.held(session, export_id)
        planning.drop_closed(session, export_id)
    failpoint("export-planned")
    for _ in range(ROUNDS):
        content = planning.content_of(house, export_id, build.engine)
        with house.sessions.read() as session:
            counts = planning.compared(session, export_id, build.before)
        told = counts | {"withoutReads": found.without_reads, "otherReference": found.other_reference}
        told["valuesLeftOut"] = found.unfit.total()
        if content == content_before and not build.anew:
            retention.clear(house, build.organism, export_id, Why.UNCHANGED)
            return Exported(build.before, False, told)
        if build.before is None and not counts["samples"]:
            retention.clear(house, build.organism, export_id, Why.UNCHANGED)
            return Exported(None, False, told)
        files = _put_together(build)
        told = {**told, "spliced": build.spliced, "reads": build.reads, "bytes": files[0].size}
        files.append(_manifest(build, files, told, found.unfit))
        build.check()
        failpoint("export-before-upload")
        stored = [(file, _stored(build, file)) for file in files]
        failpoint("export-before-commit")
        if _commit(build, stored, told, planning.content_of(house, export_id, build.engine)):
            failpoint("export-committed")
            return Exported(export_id, True, told)
        retention.remove_files(house, build.organism, export_id)
    raise ProcessingFailure("export", "what is public changed again and again while it was exported")


def _put_together(build: _Build) -> list[_File]:
    """All files but the manifest, on the local disk; the reads first."""
    maker = Maker(build.house, build.organism, build.export_id, build.columns, build.genome, build.folder)
    reads_path, samples_path = build.folder / READS, build.folder / SAMPLES
    build.reads = offset = 0
    whole = hashlib.sha256()
    with reads_path.open("wb") as reads, samples_path.open("wb") as samples:
        for page in planning.members(build.house, build.export_id):
            for member in page:
                build.check()
                part = _part(build, maker, member)
                if part is None:
                    continue
                line = {
                    "accessionVersion": f"{member.accession}.{member.version}", "reads": part.reads,
                    "offset": offset, "size": part.size, "sha256": part.sha256,
                }  # fmt: skip
                samples.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
                _append(part, reads, whole)
                offset, build.reads = offset + part.size, build.reads + part.reads
                build.progress(1)
        if offset == 0:
            offset = reads.write(nothing := frame_of(b""))
            whole.update(nothing)
    if (size := reads_path.stat().st_size) != offset:
        raise ProcessingFailure("export", f"{size} bytes were put together of parts with {offset}")
    made = [_File(READS, reads_path, size, whole.hexdigest()), _local(samples_path)]
    for name, content in build.engine.items():
        (build.folder / name).write_bytes(content)
        made.append(_local(build.folder / name))
    return made


def _part(build: _Build, maker: Maker, member: SiloExportMember) -> Part | None:
    part = None if build.anew else maker.kept(member)
    if part is not None:
        return part
    name = AccessionVersion(member.accession, member.version)
    sample = planning.samples(build.house, build.organism, [name], build.columns, build.genome).get(name)
    if sample is None or sample.manifest_id != member.manifest_id:
        # Closed, or another result stands for it, since the plan: the next export takes what is there then.
        _forget(build, member)
        return None
    part = maker.made(sample)
    build.spliced += 1
    if sample.recipe != member.recipe:
        _take_over(build, member, sample.recipe)
    return part


def _forget(build: _Build, member: SiloExportMember) -> None:
    with build.house.sessions.begin() as session:
        building.held(session, build.export_id)
        row = session.get(SiloExportMember, (build.export_id, member.accession, member.version))
        if row is not None:
            session.delete(row)


def _take_over(build: _Build, member: SiloExportMember, recipe: str) -> None:
    """The metadata changed after the plan: the export has them as they are now."""
    with build.house.sessions.begin() as session:
        building.held(session, build.export_id)
        row = session.get_one(SiloExportMember, (build.export_id, member.accession, member.version))
        row.recipe = recipe


def _append(part: Part, reads: BinaryIO, whole: Any) -> None:
    with part.path.open("rb") as file:
        while block := file.read(1 << 20):
            whole.update(block)
            reads.write(block)
    part.path.unlink()


def _local(path: Path) -> _File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _File(path.name, path, path.stat().st_size, digest)


def _manifest(build: _Build, files: list[_File], told: dict[str, int], unfit: dict[str, int]) -> _File:
    """What the export is, with the digest of each file; no clock and no key is in it."""
    body = {
        "schema": SCHEMA,
        "organism": build.organism,
        "export": build.export_id,
        "columns": [{"name": PRIMARY_KEY, "type": "string"},
                    *({"name": each.name, "type": each.type.value} for each in build.columns)],
        "segments": [{"name": name, "length": len(sequence)} for name, sequence in build.genome.segments],
        "genes": [{"name": name, "length": len(sequence)} for name, sequence in build.genome.genes],
        "referenceSha256": build.genome.sha256,
        "counts": told,
        "valuesLeftOut": dict(sorted(unfit.items())),
        "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in files],
    }  # fmt: skip
    path = build.folder / MANIFEST
    path.write_bytes(manifests.canonical(body))
    return _local(path)


def _stored(build: _Build, file: _File) -> StoredVersion:
    build.check()
    return build.house.store.store(file.path, folder(build.organism, build.export_id) + file.name, sha256=file.sha256)


def _commit(build: _Build, stored: list[tuple[_File, StoredVersion]], told: dict[str, int], content: str) -> bool:
    """Let everybody have it, unless something of it was closed meanwhile: False, and that is out of the plan.

    Whoever closes something writes the organism's row in the same transaction, and this one holds that row: each
    withdrawal is seen here, or comes after this commit.
    """
    with build.house.sessions.begin() as session:
        row = building.held(session, build.export_id)
        revision = _revision(session, build.organism)
        if revision != build.revision:
            build.revision = revision
            if planning.drop_closed(session, build.export_id):
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
