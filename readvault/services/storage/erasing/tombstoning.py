"""The transaction of an erasure: accession versions become tombstones, and nothing refers to their bytes any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import batched

from sqlalchemy import delete, insert, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from readvault.db import exports, records
from readvault.db.erased import is_erased, is_tombstone
from readvault.db.names import among
from readvault.db.tables import (
    DeletedEntryVersion,
    DroppedFile,
    EntryVersion,
    ErasedObject,
    ErasedVersion,
    Erasure,
    Group,
    Intervention,
    Job,
    Manifest,
    PullSource,
    ReferencedFile,
    StoredObject,
    SubmittedDataArchive,
    UploadedFile,
)
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.erasures import BUCKET, Scope
from readvault.domain.errors import Conflict
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState, Visibility
from readvault.services.entries import released_state
from readvault.services.entries.visibility import state_of
from readvault.services.queue.new_jobs import call_off
from readvault.services.storage.erasing.erasure_plan import Target
from readvault.services.submission import deletion
from readvault.services.uploads import quota

PAGE = 300
NAMELESS = "erased"
CHANGED = "What would go is not what it was a moment ago. Look at it again."


def lock(session: Session, names: Sequence[AccessionVersion], pins: Sequence[Target]) -> list[EntryVersion]:
    """The entries, once nobody else can submit, register, approve, claim or use anew anything of them.

    Raises Conflict when one is gone.
    """
    groups: set[int] = set()
    for page in batched(names, PAGE):
        groups |= set(session.exec(select(EntryVersion.group_id).where(among(EntryVersion, page))))
    # The order of everybody else: quotas, files, entries, jobs, groups, objects.
    quota.lock(session, groups, {each.uploader for each in pins if each.uploader is not None})
    ids = [each.file_id for each in pins if each.file_id is not None]
    for some in batched(sorted(ids), PAGE):
        files = select(UploadedFile.id).where(col(UploadedFile.id).in_(some)).order_by(col(UploadedFile.id))
        session.exec(files.with_for_update()).all()
    entries: list[EntryVersion] = []
    for page in batched(sorted(names), PAGE):
        query = select(EntryVersion).where(among(EntryVersion, page))
        ordered = query.order_by(col(EntryVersion.accession), col(EntryVersion.version))
        entries += session.exec(ordered.with_for_update()).all()
    if len(entries) != len(set(names)):
        raise Conflict(CHANGED)
    for page in batched(sorted(names), PAGE):
        session.exec(select(Job.id).where(among(Job, page)).order_by(col(Job.id)).with_for_update()).all()
    lock_groups(session, groups)
    for keys in batched(sorted(each.key for each in pins), PAGE):
        objects = select(StoredObject.id).where(col(StoredObject.key).in_(keys)).order_by(col(StoredObject.id))
        session.exec(objects.with_for_update()).all()
    return entries


def execute(session: Session, erasure: Erasure, entries: Sequence[EntryVersion], pins: Sequence[Target]) -> None:
    """Let nobody read or refer to these objects any more, free what they took of quotas; entries become tombstones.

    The erasure is locked and its `confirmed_at` and `confirmed_by` are set; the entries come from `lock`.
    """
    _erase_objects(session, erasure, pins)
    _free_quota(session, pins)
    _forget_names(session, [each.file_id for each in pins if each.file_id is not None])
    if erasure.scope == Scope.EVERYTHING.value:
        _bury(session, erasure, entries)
        # Until the bytes are gone, which may take days, a lost database must not come back with them.
        records.changed(session, [(each.accession, each.version) for each in entries])
    queue_document(session, erasure)


def add_objects(session: Session, rows: Iterable[dict[str, object]]) -> None:
    """Note object versions as shredded, those that are not yet: nobody refers to them anew from the commit on."""
    new = insert_into(session, columns_of(ErasedObject)).on_conflict_do_nothing()
    for page in batched(rows, PAGE):
        session.connection().execute(new, list(page))


def lock_groups(session: Session, group_ids: Iterable[int]) -> None:
    """Wait for all who register objects of these groups: their rows need the group's, which is held until the end."""
    wanted = sorted(set(group_ids))
    session.exec(select(Group.id).where(col(Group.id).in_(wanted)).order_by(col(Group.id)).with_for_update()).all()


def _erase_objects(session: Session, erasure: Erasure, pins: Sequence[Target]) -> None:
    add_objects(session, (
        {
            "key": each.key, "version_id": each.version_id or "", "place": BUCKET, "kind": each.kind.value,
            "sha256": each.sha256, "size": each.size, "erasure_id": erasure.id, "erased_at": erasure.confirmed_at,
        }
        for each in pins
    ))  # fmt: skip


def _free_quota(session: Session, pins: Sequence[Target]) -> None:
    """What is sealed counts until it is shredded, for its group and for who uploaded it."""
    group_of = {each.id: each.group_id for each in _uploads(session, pins)}
    freed: dict[str, int] = {}
    for each in pins:
        if each.file_id is not None and each.uploader is not None:
            for scope in (quota.scope_of_group(group_of[each.file_id]), quota.scope_of_user(each.uploader)):
                freed[scope] = freed.get(scope, 0) + each.size
    for scope, size in sorted(freed.items()):
        quota.add_sealed(session, scope, -size)


def _forget_names(session: Session, file_ids: Sequence[str]) -> None:
    """What senders and foreign buckets called these files may name a person."""
    nameless: tuple[tuple[type[DroppedFile | PullSource], dict[str, str]], ...] = (
        (DroppedFile, {"label": NAMELESS}),
        (PullSource, {"name": NAMELESS, "place": NAMELESS}),
    )
    for some in batched(sorted(file_ids), PAGE):
        for table, names in nameless:
            forget = update(table).where(col(table.file_id).in_(some)).values(names)
            session.execute(forget.execution_options(synchronize_session=False))
        # A reference ends with its credentials; the bytes are not ours to delete, as the proof says.
        referenced = delete(ReferencedFile).where(col(ReferencedFile.file_id).in_(some))
        session.execute(referenced.execution_options(synchronize_session=False))


def forget_restored_references(session: Session) -> None:
    """In a rebuilt database: forget where files lay that were erased; their records are older than that."""
    erased = select(UploadedFile.id).where(is_erased(col(UploadedFile.key), col(UploadedFile.version_id)))
    gone = delete(ReferencedFile).where(col(ReferencedFile.file_id).in_(erased))
    session.execute(gone.execution_options(synchronize_session=False))


def _uploads(session: Session, pins: Sequence[Target]) -> list[UploadedFile]:
    found: list[UploadedFile] = []
    for some in batched(sorted(each.file_id for each in pins if each.file_id is not None), PAGE):
        found += session.exec(select(UploadedFile).where(col(UploadedFile.id).in_(some))).all()
    return found


def _bury(session: Session, erasure: Erasure, entries: Sequence[EntryVersion]) -> None:
    names = [AccessionVersion(each.accession, each.version) for each in entries]
    at = erasure.confirmed_at or 0.0
    erasure.called_off, erasure.not_before = _call_off(session, names, at)
    digests: dict[AccessionVersion, list[str]] = {}
    for page in batched(names, PAGE):
        for row in session.exec(select(Manifest).where(among(Manifest, page)).order_by(col(Manifest.id))):
            digests.setdefault(AccessionVersion(row.accession, row.version), []).append(row.digest)
    session.connection().execute(
        insert(columns_of(ErasedVersion)),
        [
            {
                "accession": each.accession, "version": each.version, "organism": each.organism,
                "group_id": each.group_id, "erasure_id": erasure.id, "was_released": each.released,
                "manifest_digests": digests.get(AccessionVersion(each.accession, each.version), []),
                "reason": erasure.reason, "erased_at": at,
            }
            for each in entries
        ],
    )  # fmt: skip
    exports.drop_erased(session, names, at)
    _withdraw(session, erasure, [each for each in entries if each.released])
    for page in batched(names, PAGE):
        earlier = delete(SubmittedDataArchive).where(among(SubmittedDataArchive, page))
        session.execute(earlier.execution_options(synchronize_session=False))
    _delete(session, erasure, [each for each in entries if not each.released])


def _call_off(session: Session, names: Sequence[AccessionVersion], at: float) -> tuple[list[str], float | None]:
    """End all jobs of these versions: those that a worker may still be busy with, and until when it may."""
    busy: list[Job] = []
    for page in batched(names, PAGE):
        mine = (among(Job, page), col(Job.state) != JobState.DONE.value, col(Job.attempt) > 0)
        busy += session.exec(select(Job).where(*mine)).all()
    called_off = sorted(job.id for job in busy)
    held = [job.lease_until for job in busy if job.lease_until is not None]
    call_off(session, names)
    for page in batched(names, PAGE):
        releases = update(Job).where(
            among(Job, page), col(Job.kind) == JobKind.RELEASE.value, col(Job.state) != JobState.DONE.value
        )
        ended = {"state": JobState.DONE.value, "attempt": col(Job.attempt) + 1, "last_error": "called off"}
        nobody = {"lease_owner": None, "lease_until": None}
        session.execute(releases.values(**ended, **nobody, finished_at=at).execution_options(synchronize_session=False))
    return called_off, max(held, default=None)


def _withdraw(session: Session, erasure: Erasure, entries: Sequence[EntryVersion]) -> None:
    """A shredded version is withdrawn for everybody first, and what only its group could read of its results goes."""
    if not entries:
        return
    at = erasure.confirmed_at or 0.0
    names = [AccessionVersion(each.accession, each.version) for each in entries]
    before = state_of(session, names)
    session.add_all(
        Intervention(
            accession=name.accession, version=name.version, state=Visibility.WITHDRAWN.value,
            reason=erasure.reason, actor=erasure.confirmed_by or "", at=at,
        )
        for name in names
        if before[name] is not Visibility.WITHDRAWN
    )  # fmt: skip
    session.flush()
    for page in batched(names, PAGE):
        private = update(Manifest).where(among(Manifest, page), col(Manifest.private_body).is_not(None))
        session.execute(private.values(private_body=None).execution_options(synchronize_session=False))
    for organism in sorted({each.organism for each in entries}):
        released_state.changed(session, organism, at)


def withdraw_restored(session: Session) -> None:
    """In a rebuilt database: withdraw what was released and is erased, where the records didn't come to say so."""
    agreed = select(Erasure).where(col(Erasure.confirmed_at).is_not(None)).order_by(col(Erasure.id))
    for erasure in session.exec(agreed):
        for page in batched(map(AccessionVersion.parse, erasure.accession_versions), PAGE):
            erased = (among(EntryVersion, page), col(EntryVersion.released), is_tombstone())
            _withdraw(session, erasure, session.exec(select(EntryVersion).where(*erased)).all())


def _delete(session: Session, erasure: Erasure, entries: Sequence[EntryVersion]) -> None:
    """Of a version that was never public nothing but its name and its tombstone stays."""
    for page in batched([AccessionVersion(each.accession, each.version) for each in entries], PAGE):
        deletion.delete_rows(session, page)
    session.flush()
    if entries:
        session.connection().execute(
            insert(columns_of(DeletedEntryVersion)),
            [
                {
                    "accession": each.accession, "version": each.version, "organism": each.organism,
                    "group_id": each.group_id, "deleted_by": erasure.confirmed_by, "deleted_at": erasure.confirmed_at,
                }
                for each in entries
            ],
        )  # fmt: skip


def queue_records(session: Session, erasure: Erasure, names: Sequence[AccessionVersion]) -> None:
    """Have what the database still says of these versions written anew, now that their old records are gone."""
    assert erasure.id is not None
    records.erasure_changed(session, erasure.id)
    for page in batched(names, PAGE):
        rows = session.exec(select(Manifest).where(among(Manifest, page), col(Manifest.superseded_at).is_(None))).all()
        records.registered(session, [(row.id, AccessionVersion(row.accession, row.version)) for row in rows])
        records.changed(session, page)


def queue_document(session: Session, erasure: Erasure) -> None:
    """Have the erasure written to the bucket as its rows are now, so that a rebuilt database knows it."""
    session.flush()
    rows: dict[str, list[dict[str, object]]] = {}
    for table, key in ((Erasure, "id"), (ErasedVersion, "erasure_id"), (ErasedObject, "erasure_id")):
        columns = columns_of(table)
        found = session.execute(
            select_columns(columns).where(columns.c[key] == erasure.id).order_by(*columns.primary_key)
        )
        rows[columns.name] = [dict(row) for row in found.mappings()]
    records.queue(session, f"{records.ERASURES}/{erasure.id:09d}", {"schema": 1, "kind": "erasure", "rows": rows})
