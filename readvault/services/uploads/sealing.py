"""Sealing: an uploaded file is pinned for ever by its key, its S3 version ID and its size.

S3 is asked before the write transaction (`inspect`); in it, only what may have changed meanwhile is
checked again (`seal`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import NamedTuple

from sqlalchemy import bindparam, select, update
from sqlmodel import Session, col

from readvault.config import LimitSettings
from readvault.db import condemned
from readvault.db.erased import erased_among
from readvault.db.tables import UploadedFile
from readvault.db.upsert import columns_of
from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import StoreUnavailable, Unprocessable
from readvault.ports import ReadStore, StoredVersion
from readvault.services.uploads import quota

_IDS_PER_QUERY = 5000
_LISTINGS_AT_ONCE = 8
_LISTINGS = 5


class _Upload(NamedTuple):
    """What is known of an upload; plain rows, because there may be many."""

    id: str
    group_id: int
    uploader: str
    key: str
    declared_size: int | None
    expires_at: float
    sealed_at: float | None
    version_id: str | None
    size: int | None
    multipart_upload_id: str | None
    multipart_completed: bool


def inspect(
    session: Session, store: ReadStore, group_id: int, labels: Mapping[str, str], now: float
) -> dict[str, StoredVersion]:
    """What lies in the store under these file IDs, which a submission names by `labels` (ID to file name).

    Closes the session's transaction before it asks the store. Raises Unprocessable, in Loculus's
    words: unknown and foreign IDs (one answer for both), unfinished multipart uploads, expired ones,
    files that were not uploaded, files of another size than declared.
    """
    files = _find(session, labels)
    _refuse_shredded(session, [file for file in files if file.group_id == group_id])
    session.rollback()
    _check_usable(files, group_id, labels, now)
    present = _first_versions(store, files)
    if absent := [file.id for file in files if file.id not in present]:
        raise Unprocessable(f"No file uploaded for file IDs: {', '.join(absent)}")
    wrong = [
        Annotation(
            Reason.WRONG_SIZE,
            f"File '{labels[file.id]}' ({file.id}) has {present[file.id].size} bytes,"
            f" declared were {file.declared_size}.",
            file=labels[file.id],
        )
        for file in files
        if file.declared_size is not None and present[file.id].size != file.declared_size
    ]
    if wrong:
        raise Unprocessable("\n".join(fault.message for fault in wrong[:100]), wrong)
    return present


def seal(
    session: Session,
    limits: LimitSettings,
    group_id: int,
    labels: Mapping[str, str],
    present: Mapping[str, StoredVersion],
    now: float,
    *,
    kept: Collection[str] = (),
) -> None:
    """Pin these files; files that are sealed already stay as they are.

    Those that the entries had before are `kept`: they are no part of what is submitted now.
    Counts their bytes, and refuses (TooLarge, TooMany) what never declared a size and fits no limit.
    Raises Unprocessable when a file was given up or expired since `inspect`, and Unavailable for one
    that nothing used and that is being deleted right now.
    """
    named = labels.keys() - set(kept)
    quota.check_submission(limits, len(named), sum(present[file_id].size for file_id in named))
    usage = quota.lock(session, [group_id], _uploaders(session, labels))
    # Only under the lock is it certain which ones another submission has not sealed meanwhile.
    files = _find(session, labels, for_update=True)
    _check_usable(files, group_id, labels, now)
    _refuse_shredded(session, [file for file in files if file.group_id == group_id])
    condemned.revive(session, [file.key for file in files])
    fresh = [file for file in files if file.sealed_at is None]
    if not fresh:
        return
    sizes: defaultdict[str, int] = defaultdict(int)
    for file in fresh:
        sizes[f"group:{group_id}"] += present[file.id].size
        sizes[f"user:{file.uploader}"] += present[file.id].size
    _check_undeclared(session, limits, group_id, fresh, present, usage, now)
    table = columns_of(UploadedFile)
    session.connection().execute(
        update(table)
        .where(table.c.id == bindparam("file_id"))
        .values(sealed_at=now, version_id=bindparam("stored_version"), size=bindparam("stored_size")),
        [
            {
                "file_id": file.id,
                "stored_version": present[file.id].version_id,
                "stored_size": present[file.id].size,
            }
            for file in fresh
        ],
    )
    for scope, size in sizes.items():
        quota.add_sealed(session, scope, size)


def take_turns(session: Session, labels: Mapping[int, Mapping[str, str]]) -> None:
    """Wait for everybody who seals or uploads for these groups; call it before `seal` for more than one of them.

    `labels` are file names by file ID, by group. Two that sealed group after group, each with files
    of the same people, would wait for each other for ever.
    """
    named = {file_id for of_group in labels.values() for file_id in of_group}
    quota.lock(session, labels, _uploaders(session, named))


def _uploaders(session: Session, file_ids: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for some in batched(sorted(file_ids), _IDS_PER_QUERY):
        query = select(col(UploadedFile.uploader)).where(col(UploadedFile.id).in_(some)).distinct()
        found.update(session.execute(query).scalars())
    return found


def _find(session: Session, file_ids: Iterable[str], *, for_update: bool = False) -> list[_Upload]:
    """The uploads with these IDs, as the database has them now, by ID."""
    found: list[_Upload] = []
    columns = [getattr(UploadedFile, name) for name in _Upload._fields]
    for some in batched(sorted(file_ids), _IDS_PER_QUERY):
        query = select(*columns).where(col(UploadedFile.id).in_(some)).order_by(UploadedFile.id)
        rows = session.execute(query.with_for_update() if for_update else query)
        found.extend(map(_Upload._make, rows))
    return found


def _check_usable(files: Sequence[_Upload], group_id: int, labels: Mapping[str, str], now: float) -> None:
    known = {file.id for file in files if file.group_id == group_id}
    if unknown := [file_id for file_id in labels if file_id not in known]:
        raise Unprocessable(f"The following file IDs do not exist: {', '.join(unknown)}")
    still_open = [file for file in files if file.sealed_at is None]
    if expired := [file.id for file in still_open if file.expires_at <= now]:
        raise Unprocessable(
            f"The following file IDs are no longer valid because they have expired: {', '.join(expired)}"
        )
    unfinished = [f.id for f in still_open if f.multipart_upload_id is not None and not f.multipart_completed]
    if unfinished:
        raise Unprocessable(f"The following multipart uploads have not been completed: {', '.join(unfinished)}")


def _refuse_shredded(session: Session, files: Sequence[_Upload]) -> None:
    sealed = {(file.key, file.version_id): file.id for file in files if file.sealed_at is not None}
    if gone := sorted(sealed[pin] for pin in erased_among(session, sealed)):
        raise Unprocessable(
            f"The following files were erased: {', '.join(gone)}. Upload them again, or leave them out:"
            " in a revision, give their category a column of its own."
        )


def _first_versions(store: ReadStore, files: Sequence[_Upload]) -> dict[str, StoredVersion]:
    """The first version under each file's key: a later one was written by somebody who got around us.

    Nothing vouches for a listing, and what is sealed is sealed for ever: two listings must say the same.
    """
    sealed = {f.id: StoredVersion(f.key, f.version_id, f.size or 0) for f in files if f.sealed_at is not None}
    file_of_key = {file.key: file.id for file in files if file.sealed_at is None}
    batches = sorted({key.rpartition("/")[0] + "/" for key in file_of_key})
    with ThreadPoolExecutor(_LISTINGS_AT_ONCE) as pool:
        for versions in pool.map(lambda prefix: _listed_alike(store, prefix, file_of_key), batches):
            sealed |= {file_of_key[key]: version for key, version in versions.items()}
    return sealed


def _listed_alike(store: ReadStore, prefix: str, wanted: Collection[str]) -> dict[str, StoredVersion]:
    """The first version under each of the wanted keys, as two listings in a row say; StoreUnavailable if none do."""
    before = None
    for _ in range(_LISTINGS):
        first: dict[str, StoredVersion] = {}
        for version in store.list_versions(prefix):
            if version.key in wanted:
                first.setdefault(version.key, version)
        if first == before:
            return first
        before = first
    raise StoreUnavailable("seal", "S3 lists other versions each time it is asked")


def _check_undeclared(
    session: Session,
    limits: LimitSettings,
    group_id: int,
    fresh: Sequence[_Upload],
    present: Mapping[str, StoredVersion],
    usage: Mapping[str, int],
    now: float,
) -> None:
    """Files with a declared size were counted when it was reserved; the others are counted here."""
    sizes: defaultdict[str, int] = defaultdict(int)
    for file in fresh:
        if file.declared_size is None:
            sizes[file.uploader] += present[file.id].size
    if sizes:
        quota.check_undeclared(session, limits, group_id=group_id, sizes=sizes, usage=usage, now=now)
