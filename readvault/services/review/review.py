"""One accession version as its reviewers see it: what was submitted, what was made of it, with all files."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, select
from sqlmodel import Session, col

from readvault.db import clock, entry_state
from readvault.db.erased import refuse_erased
from readvault.db.tables import EntryVersion, Job, Manifest, Release, SentBack
from readvault.domain.actor import Actor
from readvault.domain.errors import NotFound, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, Visibility
from readvault.services import access_log
from readvault.services.authorization import Action
from readvault.services.entries.finding import find_versions
from readvault.services.entries.visibility import interventions_on
from readvault.services.house import House
from readvault.services.review import files
from readvault.services.review.files import ReviewFile
from readvault.services.submission import terms

PURPOSE = "review"
PROCESSED_KEYS = (
    "metadata",
    "unalignedNucleotideSequences",
    "alignedNucleotideSequences",
    "nucleotideInsertions",
    "alignedAminoAcidSequences",
    "aminoAcidInsertions",
    "sequenceNameToFastaId",
)
"""What Loculus's ProcessedData has besides its files; each is a mapping."""


def review(house: House, actor: Actor | None, organism: str, name: AccessionVersion) -> dict[str, Any]:
    """All that a reviewer needs of one version, every file with a URL that lives for minutes.

    Loculus's get-data-to-edit with more: per file `url` (pre-signed: a secret), `size` (bytes) and
    `sha256`; `processingResult`, `pipelineVersion`, `manifestDigest`, `sentBack`, `dataUseTerms`,
    `visibility` (of a released version), `job`, `history`.
    A maintainer of another group gets None for the URL of what only the group may
    read. Every URL of something that is not public is a row of the access log. `processedData` is
    None before processing. Raises Unprocessable for an unknown version, Forbidden for a foreign one.
    """
    house.organism(organism)
    with house.sessions.begin() as session:
        entry, shown, originals, processed = _look(session, actor, organism, name)
        shown["history"] = _history(session, entry)
        given = [(file.file_id, file.category) for file in (*originals, *processed) if file.given and not file.public]
        if given and actor is not None:
            access_log.note(session, actor.name, name, given, PURPOSE)
    shown["submittedData"]["files"] = files.by_category(originals, house) or None
    if shown["processedData"] is not None:
        shown["processedData"]["files"] = files.by_category(processed, house) or None
    return shown


def overview(house: House, actor: Actor | None, organism: str, name: AccessionVersion) -> dict[str, Any]:
    """The same as `review` without URLs, so that nothing is logged: per file `readable` instead of `url`.

    `file_url` gives the URL of one of them when somebody asks for it. Raises what `review` raises.
    """
    house.organism(organism)
    with house.sessions.read() as session:
        entry, shown, originals, processed = _look(session, actor, organism, name)
        shown["history"] = _history(session, entry)
    shown["submittedData"]["files"] = files.without_urls(originals)
    if shown["processedData"] is not None:
        shown["processedData"]["files"] = files.without_urls(processed)
    return shown


def data_to_edit(house: House, actor: Actor | None, organism: str, name: AccessionVersion) -> dict[str, Any]:
    """What was submitted and what was made of it, in Loculus's exact shape and without URLs.

    Raises Unprocessable for an unknown version or a revocation, Forbidden for a foreign one.
    """
    house.organism(organism)
    with house.sessions.read() as session:
        entry, shown, originals, processed = _look(session, actor, organism, name)
    if entry.is_revocation:
        raise Unprocessable(f"Accession version {name} is a revocation.")
    made = shown["processedData"]
    if made is not None:
        made = {key: made.get(key) or {} for key in PROCESSED_KEYS} | {"files": files.as_loculus(processed) or None}
    return {
        "accession": entry.accession,
        "version": entry.version,
        "status": shown["status"],
        "groupId": entry.group_id,
        "processedData": made,
        "submittedData": {**shown["submittedData"], "files": files.as_loculus(originals) or None},
        "errors": shown["errors"],
        "warnings": shown["warnings"],
        "submissionId": entry.submission_id,
    }


def file_url(house: House, actor: Actor | None, organism: str, name: AccessionVersion, file_id: str) -> str:
    """A fresh pre-signed URL (a secret) of one file of the version, as `review` would give it; logged likewise.

    Raises NotFound for what the actor may not read and for what is not there: file IDs are secret.
    """
    house.organism(organism)
    with house.sessions.begin() as session:
        _, _, originals, processed = _look(session, actor, organism, name)
        file = next((each for each in (*originals, *processed) if each.file_id == file_id and each.given), None)
        if file is None or actor is None:
            raise NotFound("File not found")
        if not file.public:
            access_log.note(session, actor.name, name, [(file.file_id, file.category)], PURPOSE)
    return files.signed(file, house)


def _look(
    session: Session, actor: Actor | None, organism: str, name: AccessionVersion
) -> tuple[EntryVersion, dict[str, Any], list[ReviewFile], list[ReviewFile]]:
    """The entry, what is shown of it (without files), its originals and its processed files."""
    if actor is not None:
        refuse_erased(session, name)
    entry = find_versions(session, actor, Action.REVIEW, organism, [name])[0]
    query = select(entry_state.status(), Manifest, col(Release.accession), SentBack)
    query = entry_state.with_state(query).outerjoin(SentBack, col(SentBack.manifest_id) == col(Manifest.id))
    status, manifest, released, sent_back = session.execute(query.where(_is(name))).one()
    originals = files.originals(session, actor, entry)
    hidden = interventions_on(session, [name]).get(name) if released is not None else None
    state = Visibility.PUBLIC if hidden is None else hidden.state
    processed = []
    if manifest is not None:
        public, withdrawn = released is not None and state is Visibility.PUBLIC, state is Visibility.WITHDRAWN
        processed = files.processed(session, actor, entry, manifest, public=public, withdrawn=withdrawn)
    shown = {
        "accession": entry.accession,
        "version": entry.version,
        "status": status,
        "groupId": entry.group_id,
        "submissionId": entry.submission_id,
        "submitter": entry.submitter,
        "submittedAt": entry.submitted_at,
        "isRevocation": entry.is_revocation,
        "versionComment": entry.version_comment,
        "batchId": entry.batch_id,
        "submittedData": {
            "metadata": entry.submitted_metadata,
            "unalignedNucleotideSequences": entry.submitted_sequences,
        },
        "processedData": None if manifest is None else dict(manifest.processed_data),
        "errors": [] if manifest is None else manifest.errors,
        "warnings": [] if manifest is None else manifest.warnings,
        "processingResult": None if manifest is None else manifest.processing_result,
        "pipelineVersion": None if manifest is None else manifest.pipeline_version,
        "manifestDigest": None if manifest is None else manifest.digest,
        "sentBack": None if sent_back is None else as_json(sent_back),
        "visibility": None if released is None else state.value,
        "visibilityReason": None if hidden is None or state is Visibility.PUBLIC else hidden.reason,
        "dataUseTerms": _terms(session, entry),
        "job": _job(session, name, actor),
    }
    return entry, shown, originals, processed


def as_json(sent_back: SentBack) -> dict[str, Any]:
    """A reviewer's no, as people read it; `at` is seconds since 1970."""
    return {"reason": sent_back.reason, "by": sent_back.sent_by, "at": sent_back.sent_at}


def _is(name: AccessionVersion) -> Any:
    return and_(col(EntryVersion.accession) == name.accession, col(EntryVersion.version) == name.version)


def _terms(session: Session, entry: EntryVersion) -> dict[str, str]:
    as_submitted = terms.Terms(entry.terms_type, entry.restricted_until)
    now = terms.terms_now(session, [entry.accession]).get(entry.accession, as_submitted)
    return terms.as_json(now, terms.today_of(clock.read(session)))


def _history(session: Session, entry: EntryVersion) -> dict[str, Any]:
    """The accession's other versions, and all results that this version ever had; newest first."""
    versions = entry_state.with_state(
        select(
            col(EntryVersion.version),
            entry_state.status(),
            col(Manifest.processing_result),
            col(EntryVersion.is_revocation),
            col(EntryVersion.submitter),
            col(EntryVersion.submitted_at),
            col(Release.released_at),
        )
    ).where(col(EntryVersion.accession) == entry.accession, col(EntryVersion.version) != entry.version)
    keys = ("version", "status", "processingResult", "isRevocation", "submitter", "submittedAt", "releasedAt")
    rows = session.execute(versions.order_by(col(EntryVersion.version).desc()))
    results = session.execute(
        select(
            col(Manifest.pipeline_version),
            col(Manifest.digest),
            col(Manifest.processing_result),
            col(Manifest.created_at),
            col(Manifest.superseded_at),
            SentBack,
        )
        .outerjoin(SentBack, col(SentBack.manifest_id) == col(Manifest.id))
        .where(col(Manifest.accession) == entry.accession, col(Manifest.version) == entry.version)
        .order_by(col(Manifest.id).desc())
    )
    return {
        "versions": [dict(zip(keys, row, strict=True)) for row in rows],
        "results": [_result(tuple(row[:-1]), row[-1]) for row in results],
    }


def _result(facts: tuple[Any, ...], sent_back: SentBack | None) -> dict[str, Any]:
    keys = ("pipelineVersion", "manifestDigest", "processingResult", "createdAt", "supersededAt")
    said = None if sent_back is None else as_json(sent_back)
    return {**dict(zip(keys, facts, strict=True)), "sentBack": said}


def _job(session: Session, name: AccessionVersion, actor: Actor | None) -> dict[str, Any] | None:
    """The newest processing job. Its last error is a maintainer's matter: others read only which step it was."""
    newest = select(Job).where(
        col(Job.accession) == name.accession, col(Job.version) == name.version, col(Job.kind) != JobKind.RELEASE.value
    )
    job = session.scalars(newest.order_by(col(Job.created_at).desc(), col(Job.id)).limit(1)).first()
    if job is None:
        return None
    error = job.last_error
    if error is not None and not (actor is not None and actor.is_maintainer):
        error = error.partition(":")[0]
    return {"id": job.id, "state": job.state, "attempt": job.attempt, "failures": job.failures, "lastError": error}
