"""Accessions come back into the database: their rows, in an order that references and triggers allow."""

from __future__ import annotations

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import batched, groupby
from typing import Any

from sqlalchemy import insert, select, update
from sqlmodel import Session, SQLModel, col

from readvault.db import clock
from readvault.db.erased import erased_among, is_erased
from readvault.db.names import among
from readvault.db.tables import (
    ComparedResult,
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
    OriginalOpening,
    PartialResult,
    ReferencedFile,
    Release,
    Screening,
    SentBack,
    StoredObject,
    SubmittedDataArchive,
    UploadedFile,
    Withholding,
)
from readvault.db.upsert import columns_of, insert_into
from readvault.domain import manifest
from readvault.domain.organism import Organism
from readvault.domain.status import JobKind
from readvault.services.queue.new_jobs import job_rows
from readvault.services.queue.sizes import note_sizes
from readvault.services.storage.rebuilding.record_reading import AccessionRecords, Rows

PAGE = 200
LOST_GROUP = "A group whose record was lost"
_BLANKED = "blanked"
"""In a row of `manifest`: its private document was erased."""
SHARED: tuple[type[SQLModel], ...] = (UploadedFile, ReferencedFile, DataUseTerms, StoredObject)
"""Their rows may stand in the records of several versions."""
BEFORE_RELEASE: tuple[type[SQLModel], ...] = (
    UploadedFile, ReferencedFile, EntryVersion, EntryFile, DataUseTerms, SubmittedDataArchive, DeletedEntryVersion,
    StoredObject, Manifest, ManifestFile,
)  # fmt: skip
"""In the order of their references; triggers let nothing of it come after the release."""
AFTER_RELEASE: tuple[type[SQLModel], ...] = (
    CurrentResult,
    ComparedResult,
    SentBack,
    Intervention,
    Screening,
    Withholding,
    OriginalOpening,
    ExternalMetadata,
    PartialResult,
    Job,
)


class RowsRebuild:
    """Puts accessions back, a page in a transaction; `lost` is told of each thing that can't be restored."""

    def __init__(
        self,
        organisms: Mapping[str, Organism],
        counts: Counter[str],
        lost: Callable[[str], None],
        tombstones: Mapping[tuple[str, int], bool],
    ) -> None:
        self._organisms = organisms
        self._counts = counts
        self._lost = lost
        self.tombstones = tombstones
        """Accession versions that were erased, and whether they were released."""
        self._other_pins: set[tuple[str, str | None]] = set()
        self._groups: set[int] = set()

    def restore(self, session: Session, page: Sequence[AccessionRecords]) -> None:
        """Insert all rows of these accessions; what is there already, from a run that was broken off, stays."""
        there = there_already(session, [found.accession for found in page])
        rows: defaultdict[type[SQLModel], list[dict[str, Any]]] = defaultdict(list)
        now = clock.read(session)
        for found in page:
            if found.accession in there:
                self._counts["accessions that were there already"] += 1
            else:
                self._collect(found, rows, now)
        self.make_groups(session, [*rows[EntryVersion], *rows[DeletedEntryVersion]])
        for table in BEFORE_RELEASE:
            put(session, table, rows[table], once=table not in SHARED)
        self._note_other_pins(session, rows[StoredObject])
        released = [(row["accession"], row["version"]) for row in rows[Release]]
        for some in batched(released, PAGE):
            session.connection().execute(update(EntryVersion).where(among(EntryVersion, some)).values(released=True))
        put(session, Release, rows[Release])
        for table in AFTER_RELEASE:
            put(session, table, rows[table])
        note_sizes(session, (row["id"] for row in rows[Job] if row["kind"] != JobKind.RELEASE))

    def pin_what_came_again(self, session: Session) -> None:
        """Where one record pins a version that was erased and another one its successor, pin that."""
        erased = erased_among(session, self._other_pins)
        for key, version_id in sorted(self._other_pins - erased, key=str):
            pin = (col(StoredObject.key) == key, is_erased(col(StoredObject.key), col(StoredObject.version_id)))
            session.connection().execute(update(StoredObject).where(*pin).values(version_id=version_id))

    def _note_other_pins(self, session: Session, objects: Sequence[Mapping[str, Any]]) -> None:
        for page in batched(objects, PAGE):
            query = select(col(StoredObject.id), col(StoredObject.version_id))
            found = session.execute(query.where(col(StoredObject.id).in_([row["id"] for row in page])))
            pins = {row[0]: row[1] for row in found}
            self._other_pins |= {
                (row["key"], row["version_id"]) for row in page if pins[row["id"]] != row["version_id"]
            }

    def _collect(self, found: AccessionRecords, rows: dict[type[SQLModel], list[dict[str, Any]]], now: float) -> None:
        for key in found.damaged:
            self._lost(f"{key}: its bytes are not those that were written")
        if not found.versions:
            numbers = found.published | {result["manifest"][0]["version"] for result in found.results.values()}
            if any((found.accession, number) not in self.tombstones for number in numbers):
                self._lost(f"{found.accession}: there is a result of it and no record of what was submitted")
            return
        _take(rows, found.terms, DataUseTerms)
        for number, told in sorted(found.versions.items()):
            was_released = self.tombstones.get((found.accession, number))
            if was_released is not None and not _blanked(found, told, was_released=was_released):
                _take(rows, told, DeletedEntryVersion)
                continue
            results = self._results(found, f"{found.accession}.{number}", told, rows)
            rows[EntryVersion] += [{**row, "released": False} for row in told.get("entry_version", ())]
            _take(rows, told, UploadedFile, ReferencedFile, EntryFile, DataUseTerms, SubmittedDataArchive,
                  DeletedEntryVersion, Intervention, ExternalMetadata)  # fmt: skip
            if results:
                _take(rows, told, PartialResult)
            self._public(f"{found.accession}.{number}", told, results, rows)
            if was_released is None:
                rows[Job] += self._jobs(told, results, now, published=number in found.published)
            self._counts["accession versions"] += len(told.get("entry_version", ()))
            self._counts["deleted names"] += len(told.get("deleted_entry_version", ()))
            self._counts["interventions"] += len(told.get("intervention", ()))
        self._counts["accessions"] += 1

    def make_groups(self, session: Session, owned: Iterable[Mapping[str, Any]]) -> None:
        """See that the groups of these rows are there, if only by their numbers."""
        for number in sorted({row["group_id"] for row in owned} - self._groups):
            if session.get(Group, number) is None:
                self._lost(f"group {number}: only its number is known")
                nowhere = {"line1": "", "city": "", "postalCode": "", "country": ""}
                name = f"{LOST_GROUP} ({number})"
                session.add(
                    Group(id=number, name=name, institution="", address=nowhere, contact_email="", created_at=0.0)
                )
                session.flush()
            self._groups.add(number)

    def _results(
        self, found: AccessionRecords, name: str, told: Rows, rows: dict[type[SQLModel], list[dict[str, Any]]]
    ) -> set[int]:
        """Take the results that stand; the IDs of their manifests."""
        good = set()
        for number in sorted(result["id"] for result in told.get("results", ())):
            result = found.results.get(number)
            fault = "it is not in the bucket" if result is None else _fault_of(result)
            if result is None or fault is not None:
                self._lost(f"{name}: result {number} could not be restored: {fault}")
                continue
            _take(rows, result, UploadedFile, ReferencedFile, StoredObject, Manifest, ManifestFile)
            good.add(number)
            self._counts["results"] += 1
            self._counts["files of results"] += len(result["manifest_file"])
        return good

    def _public(
        self, name: str, told: Rows, results: set[int], rows: dict[type[SQLModel], list[dict[str, Any]]]
    ) -> None:
        said: dict[type[SQLModel], str] = {
            Release: "its release",
            CurrentResult: "that a later result was published",
            SentBack: "why it was sent back",
            Screening: "which host index has seen its reads",
            Withholding: "that its reads were withheld or given again",
            OriginalOpening: "who opened its originals",
        }
        for table, what in said.items():
            for row in told.get(str(table.__tablename__), ()):
                if row["manifest_id"] in results:
                    rows[table].append(row)
                    self._counts["releases"] += table is Release
                else:
                    self._lost(f"{name}: {what} could not be restored without its result")

        for row in told.get(str(ComparedResult.__tablename__), ()):
            if row["manifest_id"] in results:
                # What it was compared with may have been superseded since, and lies in no record: the decision stays.
                beside = row["compared_manifest_id"]
                beside = beside if beside in results else row["manifest_id"]
                rows[ComparedResult].append({**row, "compared_manifest_id": beside})

    def _jobs(self, told: Rows, results: set[int], now: float, *, published: bool) -> list[dict[str, Any]]:
        """What was not done yet: processing where there is no result, the side effects of a release."""
        jobs: list[dict[str, Any]] = []
        for entry in told.get("entry_version", ()):
            organism = self._organisms.get(entry["organism"])
            if not results and not entry["is_revocation"] and organism is None:
                name = f"{entry['accession']}.{entry['version']}"
                self._lost(f"{name}: it is not processed, as there is no organism {entry['organism']} here")
            elif not results and not entry["is_revocation"] and organism is not None:
                jobs += (Job(**row).model_dump() for row in job_rows(organism, [entry], now))
            for release in told.get("release", ()) if not published else ():
                if release["manifest_id"] in results:
                    jobs.append(_release_job(entry, told, release["manifest_id"], now))
        self._counts["jobs queued again"] += len(jobs)
        return jobs


def put(session: Session, table: type[SQLModel], rows: Iterable[Mapping[str, Any]], *, once: bool = True) -> None:
    """Insert rows of records; unless `once`, those that another record brought already are left as they are."""
    columns = columns_of(table)
    # What the table has no column for any more is left out; what it has got since has its default.
    known = ({name: value for name, value in row.items() if name in columns.c} for row in rows)
    new = insert(columns) if once else insert_into(session, columns).on_conflict_do_nothing()
    for _, alike in groupby(known, key=dict.keys):
        for page in batched(alike, PAGE):
            session.connection().execute(new, list(page))


def _take(rows: dict[type[SQLModel], list[dict[str, Any]]], told: Rows, *tables: type[SQLModel]) -> None:
    for table in tables:
        rows[table] += told.get(str(table.__tablename__), ())


def there_already(session: Session, accessions: Sequence[str]) -> set[str]:
    """Which of these accessions the database has already."""
    found: set[str] = set()
    for table in (EntryVersion, DeletedEntryVersion):
        name = columns_of(table).c.accession
        found |= set(session.execute(select(name).where(name.in_(accessions))).scalars())
    return found


def _blanked(found: AccessionRecords, told: Rows, *, was_released: bool) -> bool:
    """Whether an erased version still has rows: a released one, without its private documents.

    Records that an erasure under way has left may be of more than that, or of less.
    """
    numbers = {result["id"] for result in told.get("results", ())}
    if not was_released or not numbers <= found.results.keys():
        return False
    for number in numbers:
        row = found.results[number]["manifest"][0]
        row["private_body"], row[_BLANKED] = None, True
    return True


def _fault_of(rows: Rows) -> str | None:
    """What is wrong with a result: its documents must have the digests that were approved."""
    row = rows["manifest"][0]
    if manifest.digest(row["body"].encode("utf-8")) != row["digest"]:
        return f"its bytes do not have the digest {row['digest']}"
    private, said = row["private_body"], json.loads(row["body"]).get("privateSha256")
    if (
        said is not None
        and not row.get(_BLANKED)
        and (private is None or manifest.digest(private.encode("utf-8")) != said)
    ):
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
