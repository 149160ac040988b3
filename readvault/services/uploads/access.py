"""Whose uploads somebody may make and touch. File IDs are secret: foreign and unknown ones get one answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import batched

from sqlmodel import Session, col, select

from readvault.db import clock
from readvault.db.tables import EntryVersion, Job, UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import Forbidden, NotFound
from readvault.domain.status import JobKind, JobState
from readvault.services.authorization import Action, authorize, is_member

_IDS_PER_QUERY = 1000


def may_upload(session: Session, actor: Actor | None, group_id: int, *, any_group: bool = False) -> Actor:
    """The actor, who may upload for this group.

    A pipeline may for a group with an entry that it is working on right now, and with `any_group`
    (Loculus's way) for each. Raises what `authorize` raises, and Forbidden.
    """
    authorize(session, actor, Action.UPLOAD, group_id=group_id)
    assert actor is not None
    if not any_group and only_pipeline(session, actor, group_id) and not _works_for(session, actor, group_id):
        raise Forbidden(f"Pipeline {actor.name} works on no entry of group {group_id} now. Action not allowed.")
    return actor


def own_files(
    session: Session, actor: Actor | None, file_ids: Sequence[str], *, for_update: bool = False
) -> list[UploadedFile]:
    """The files with these IDs, in order; of a pipeline those that it uploaded itself.

    Raises one NotFound for unknown and for foreign IDs alike.
    """
    found: dict[str, UploadedFile] = {}
    for some in batched(sorted(set(file_ids)), _IDS_PER_QUERY):
        query = select(UploadedFile).where(col(UploadedFile.id).in_(some)).order_by(UploadedFile.id)
        found |= {file.id: file for file in session.exec(query.with_for_update() if for_update else query).all()}
    authorize(session, actor, Action.LOOK_UP_FILE)
    assert actor is not None
    for group_id in {file.group_id for file in found.values()}:
        if not _may_touch(session, actor, group_id):
            found = {file_id: file for file_id, file in found.items() if file.group_id != group_id}
        elif only_pipeline(session, actor, group_id):
            foreign = [f.id for f in found.values() if f.group_id == group_id and f.uploader != actor.name]
            found = {file_id: file for file_id, file in found.items() if file_id not in foreign}
    if secret := [file_id for file_id in file_ids if file_id not in found]:
        raise NotFound(f"The following file IDs do not exist: {', '.join(secret)}")
    return [found[file_id] for file_id in file_ids]


def only_pipeline(session: Session, actor: Actor, group_id: int) -> bool:
    """Whether the actor has to do with this group as a pipeline and as nothing else."""
    return actor.is_pipeline and not actor.is_maintainer and not is_member(session, actor, group_id)


def _may_touch(session: Session, actor: Actor, group_id: int) -> bool:
    try:
        authorize(session, actor, Action.UPLOAD, group_id=group_id)
    except Forbidden:
        return False
    return True


def _works_for(session: Session, actor: Actor, group_id: int) -> bool:
    """Whether an external job of the group is claimed by this pipeline, and its time is not up."""
    entry = (col(EntryVersion.accession) == col(Job.accession)) & (col(EntryVersion.version) == col(Job.version))
    claimed = (
        select(Job.id)
        .join(EntryVersion, entry)
        .where(
            Job.kind == JobKind.EXTERNAL_PROCESSING.value,
            Job.state == JobState.RUNNING.value,
            Job.lease_owner == f"pipeline {actor.name}",  # as external_claims writes it
            col(Job.lease_until) > clock.now(),
            EntryVersion.group_id == group_id,
        )
    )
    return session.exec(claimed.limit(1)).first() is not None
