"""One accession comes back into the database: its rows, in an order that references and triggers allow."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import batched
from typing import Any

from sqlalchemy import insert, select, update
from sqlmodel import Session, SQLModel

from readvault.db import clock
from readvault.db.tables import (
    CurrentResult,
    DataUseTerms,
    DeletedEntryVersion,
    EntryFile,
    EntryVersion,
    ExternalMetadata,
    Group,
    Intervention,
    Job,
    Manifest,
    ManifestFile,
    PartialResult,
    Release,
    SentBack,
    StoredObject,
    SubmittedDataArchive,
    UploadedFile,
)
from readvault.db.upsert import columns_of, insert_into
from readvault.domain import manifest
from readvault.domain.organism import Organism
from readvault.domain.status import JobKind
from readvault.services.queue.new_jobs import job_rows
from readvault.services.storage.record_reading import AccessionRecords, Rows

PAGE = 200
LOST_GROUP = "A group whose record was lost"


class AccessionRebuild:
    """Puts accessions back, one after the other; `lost` is told of each thing that can't be restored."""

    def __init__(self, organisms: Mapping[str, Organism], counts: Counter[str], lost: Callable[[str], None]) -> None:
        self._organisms = organisms
        self._counts = counts
        self._lost = lost

    def restore(self, session: Session, found: AccessionRecords) -> None:
        """Insert all rows of one accession; what is there already, from a run that was broken off, stays."""
        if _is_there(session, found.accession):
            self._counts["accessions that were there already"] += 1
            return
        for key in found.damaged:
            self._lost(f"{key}: its bytes are not those that were written")
        if not found.versions:
            if found.results or found.published:
                self._lost(f"{found.accession}: there is a result of it and no record of what was submitted")
            return
        self._submitted(session, found)
        results = self._results(session, found)
        for number, rows in sorted(found.versions.items()):
            self._public(session, f"{found.accession}.{number}", rows, results)
            self._queue(session, rows, results, published=number in found.published)
        self._counts["accessions"] += 1

    def _submitted(self, session: Session, found: AccessionRecords) -> None:
        together: Rows = {}
        for rows in (found.terms, *found.versions.values(), *found.results.values()):
            for table, listed in rows.items():
                together.setdefault(table, []).extend(listed)
        entries = together.get("entry_version", [])
        self._groups(session, (row["group_id"] for row in (*entries, *together.get("deleted_entry_version", ()))))
        put(session, UploadedFile, together.get("uploaded_file", ()), once=False)
        put(session, EntryVersion, ({**row, "released": False} for row in entries))
        put(session, EntryFile, together.get("entry_file", ()))
        put(session, DataUseTerms, together.get("data_use_terms", ()), once=False)
        put(session, SubmittedDataArchive, together.get("submitted_data_archive", ()))
        put(session, DeletedEntryVersion, together.get("deleted_entry_version", ()))
        self._counts["accession versions"] += len(entries)
        self._counts["deleted names"] += len(together.get("deleted_entry_version", ()))

    def _groups(self, session: Session, ids: Iterable[int]) -> None:
        for number in sorted(set(ids)):
            if session.get(Group, number) is None:
                self._lost(f"group {number}: only its number is known")
                session.add(Group(id=number, name=f"{LOST_GROUP} ({number})", institution="", address={
                    "line1": "", "city": "", "postalCode": "", "country": ""}, contact_email="",
                    created_at=clock.read(session)))  # fmt: skip
                session.flush()

    def _results(self, session: Session, found: AccessionRecords) -> set[int]:
        """Insert the results that stand; the IDs of their manifests."""
        named = {
            result["id"]: f"{found.accession}.{number}"
            for number, rows in found.versions.items()
            for result in rows.get("results", ())
        }
        for number, name in sorted(named.items()):
            rows = found.results.get(number)
            fault = "it is not in the bucket" if rows is None else _fault_of(rows)
            if rows is None or fault is not None:
                self._lost(f"{name}: result {number} could not be restored: {fault}")
                continue
            put(session, StoredObject, rows["stored_object"], once=False)
            put(session, Manifest, rows["manifest"])
            put(session, ManifestFile, rows["manifest_file"])
            self._counts["results"] += 1
            self._counts["files of results"] += len(rows["manifest_file"])
        return {number for number in named if number in found.results and _fault_of(found.results[number]) is None}

    def _public(self, session: Session, name: str, rows: Rows, results: set[int]) -> None:
        def known(table: str, what: str) -> list[dict[str, Any]]:
            listed = rows.get(table, [])
            for _ in (row for row in listed if row["manifest_id"] not in results):
                self._lost(f"{name}: {what} could not be restored without its result")
            return [row for row in listed if row["manifest_id"] in results]

        releases = known("release", "its release")
        for row in releases:
            entry = (EntryVersion.accession == row["accession"], EntryVersion.version == row["version"])
            session.connection().execute(update(EntryVersion).where(*entry).values(released=True))
        put(session, Release, releases)
        put(session, CurrentResult, known("current_result", "a later result that was published"))
        put(session, SentBack, known("sent_back", "why it was sent back"))
        put(session, Intervention, rows.get("intervention", ()))
        put(session, ExternalMetadata, rows.get("external_metadata", ()))
        put(session, PartialResult, rows.get("partial_result", ()) if results else ())
        self._counts["releases"] += len(releases)
        self._counts["interventions"] += len(rows.get("intervention", ()))

    def _queue(self, session: Session, rows: Rows, results: set[int], *, published: bool) -> None:
        """Have done what was not done yet: processing without a result, the side effects of a release."""
        has_result = any(result["id"] in results for result in rows.get("results", ()))
        now = clock.read(session)
        for entry in rows.get("entry_version", ()):
            if not has_result and not entry["is_revocation"]:
                organism = self._organisms.get(entry["organism"])
                name = f"{entry['accession']}.{entry['version']}"
                if organism is None:
                    self._lost(f"{name}: it is not processed, as there is no organism {entry['organism']} here")
                    continue
                put(session, Job, job_rows(organism, [entry], now))
                self._counts["jobs queued again"] += 1
            for release in rows.get("release", ()) if not published else ():
                if release["manifest_id"] in results:
                    put(session, Job, [_release_job(entry, rows, release["manifest_id"], now)])
                    self._counts["jobs queued again"] += 1


def put(session: Session, table: type[SQLModel], rows: Iterable[Mapping[str, Any]], *, once: bool = True) -> None:
    """Insert rows of a record; unless `once`, those that another record brought already are left as they are."""
    columns = columns_of(table)
    for page in batched(rows, PAGE):
        # What the table has no column for any more is left out; what it has got since has its default.
        known = [{name: value for name, value in row.items() if name in columns.c} for row in page]
        new = insert(columns) if once else insert_into(session, columns).on_conflict_do_nothing()
        session.connection().execute(new, known)


def _is_there(session: Session, accession: str) -> bool:
    for table in (EntryVersion, DeletedEntryVersion):
        query = select(columns_of(table).c.accession).where(columns_of(table).c.accession == accession).limit(1)
        if session.execute(query).first() is not None:
            return True
    return False


def _fault_of(rows: Rows) -> str | None:
    """What is wrong with a result: its documents must have the digests that were approved."""
    row = rows["manifest"][0]
    if manifest.digest(row["body"].encode("utf-8")) != row["digest"]:
        return f"its bytes do not have the digest {row['digest']}"
    private, said = row["private_body"], json.loads(row["body"]).get("privateSha256")
    if said is not None and (private is None or manifest.digest(private.encode("utf-8")) != said):
        return f"its private document does not have the digest {said}"
    return None


def _release_job(entry: Mapping[str, Any], rows: Rows, manifest_id: int, now: float) -> dict[str, Any]:
    version = next(result["pipeline_version"] for result in rows["results"] if result["id"] == manifest_id)
    job = Job(
        id=str(uuid.uuid4()),
        kind=JobKind.RELEASE.value,
        organism=entry["organism"],
        accession=entry["accession"],
        version=entry["version"],
        pipeline_version=version,
        created_at=now,
        not_before=now,
    )
    return job.model_dump()
