"""Does a rebuilt database answer as the lost one did? And a bucket with as many records as one likes."""

from __future__ import annotations

import functools
import hashlib
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select, union
from sqlmodel import SQLModel, col

from readvault.db import records
from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import (
    ComparedResult,
    CurrentResult,
    DataUseTerms,
    DeletedEntryVersion,
    EntryFile,
    EntryVersion,
    Erasure,
    ExternalMetadata,
    Group,
    GroupMember,
    Intervention,
    Manifest,
    ManifestFile,
    OriginalOpening,
    Release,
    ReleasedCount,
    SentBack,
    SubmittedDataArchive,
    UploadedFile,
    Withholding,
)
from readvault.db.upsert import columns_of
from readvault.domain import manifest as manifests
from readvault.domain.errors import RuleViolation
from readvault.domain.identifiers import accession_of
from readvault.ports import ListedVersion, StoredVersion
from readvault.services.house import House
from readvault.services.release import downloads, manifest_list, released_data
from readvault.services.storage.rebuilding.rebuild import LOST, rebuild
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.houses import MAINTAINER, build_house

TABLES: tuple[type[SQLModel], ...] = (
    Group, GroupMember, EntryVersion, EntryFile, DataUseTerms, SubmittedDataArchive, DeletedEntryVersion,
    Manifest, ManifestFile, Release, CurrentResult, Intervention, ExternalMetadata, SentBack, UploadedFile,
    ReleasedCount, Erasure, ComparedResult, Withholding, OriginalOpening,
)  # fmt: skip


def differences(old: House, new: House) -> list[str]:
    """What the rebuilt database says otherwise than the old one: rows, released lines, manifests, downloads."""
    found: list[str] = []
    for table in TABLES:
        before, after = _rows(old, table), _rows(new, table)
        found += [f"{table.__tablename__}: {row} is gone" for row in before if row not in after]
        found += [f"{table.__tablename__}: {row} is new" for row in after if row not in before]
    for organism in old.organisms:
        asks: tuple[Callable[[House], Iterator[Any]], ...] = (
            lambda house, name=organism: released_data.released_data(house, name),  # type: ignore[misc]
            lambda house, name=organism: manifest_list.matching(house, name, manifest_list.Question()),  # type: ignore[misc]
        )
        found += [f"{organism}: lines differ" for ask in asks if _told(ask, old) != _told(ask, new)]
    return found + [f"download: {each}" for each in _downloads(old).items() ^ _downloads(new).items()]


def _told(ask: Callable[[House], Iterator[Any]], house: House) -> list[Any]:
    return [json.dumps(line, sort_keys=True, default=str) for line in ask(house)]


def _rows(house: House, table: type[SQLModel]) -> list[dict[str, Any]]:
    query = select(columns_of(table)).order_by(*columns_of(table).primary_key)
    if table is Manifest:
        query = query.where(col(Manifest.superseded_at).is_(None))
    elif table is ManifestFile:
        standing = select(col(Manifest.id)).where(col(Manifest.superseded_at).is_(None))
        query = query.where(col(ManifestFile.manifest_id).in_(standing))
    elif table is UploadedFile:  # one that nothing refers to any more is not told to the bucket
        used = union(select(col(EntryFile.file_id)), select(col(ManifestFile.file_id)))
        query = query.where(col(UploadedFile.id).in_(used))
    with house.sessions.read() as session:
        return [dict(row) for row in session.execute(query).mappings()]


def _downloads(house: House) -> dict[str, str]:
    """What everybody gets for each processed file: a URL, or a refusal."""
    with house.sessions.read() as session:
        columns = [columns_of(Manifest).c[name] for name in ("accession", "version", "pipeline_version")]
        columns += [columns_of(ManifestFile).c[name] for name in ("category", "name")]
        query = select(*columns).join(ManifestFile, col(ManifestFile.manifest_id) == col(Manifest.id))
        files = session.execute(query.where(col(Manifest.superseded_at).is_(None))).all()
    found = {}
    for accession, version, pipeline, category, name in files:
        try:
            url = downloads.released_file_url(house, accession, version, pipeline, category, name)
        except RuleViolation as refusal:
            url = f"{type(refusal).__name__}: {refusal}"
        found[f"{accession}.{version} {pipeline} {category} {name}"] = url.partition("&X-Amz")[0]
    return found


class ManyAccessions(MemoryStore):
    """A bucket with any number of released accessions of one group, whose records are made when they are asked for."""

    def __init__(self, others: MemoryStore, group_id: int, count: int) -> None:
        super().__init__(versions=others.versions)
        self._group_id = group_id
        self._count = count
        self._listed = self._read = 0
        self._documents = functools.lru_cache(200)(self._made)
        self.most_read_ahead = 0
        """How many accessions were listed and not yet read, at most."""

    def walk(self, prefix: str, *, after: str | None = None) -> Iterator[ListedVersion]:
        if prefix == f"{records.ROOT}/":
            for number in range(1, self._count + 1):
                self._listed += 1
                self.most_read_ahead = max(self.most_read_ahead, self._listed - self._read)
                for key, body in self._documents(number).items():
                    yield _listed(key, len(body))
        elif prefix in ("incoming/", "vault/"):
            for number in range(1, self._count + 1):
                key = self._keys(number)[prefix == "vault/"]
                if after is None or key > after:
                    yield _listed(key, 4)
        yield from super().walk(prefix, after=after)

    def fetch(self, stored: StoredVersion, target: Path, **options: Any) -> str:
        if stored.version_id != "made":
            return super().fetch(stored, target, **options)
        self._read += "/state-" in stored.key
        body = self._documents(int(stored.key.rpartition("/")[2].split("-")[1]))[stored.key]
        target.write_bytes(body)
        return hashlib.sha256(body).hexdigest()

    def _keys(self, number: int) -> tuple[str, str]:
        return f"incoming/b/{number:09}", f"vault/{self._group_id}/{number:09}"

    def _made(self, number: int) -> dict[str, bytes]:
        accession = accession_of(number, "LOC_")
        name = {"accession": accession, "version": 1}
        file_id, (original, processed) = f"file-{number}", self._keys(number)
        sha256 = hashlib.sha256(b"ACGT").hexdigest()
        body = manifests.canonical({**name, "organism": "sars-cov-2", "pipelineVersion": 1, "screened": True})
        digest = manifests.digest(body)
        state = {
            "entry_version": [{
                **name, "organism": "sars-cov-2", "group_id": self._group_id, "submission_id": f"s{number}",
                "submitter": "alice", "submitted_at": 1.0, "released": True, "is_revocation": False,
                "terms_type": "OPEN", "submitted_metadata": {"date": "2020-01-01"}, "submitted_sequences": {},
            }],
            "entry_file": [{**name, "category": "rawReads", "name": "r.fq", "position": 0, "file_id": file_id}],
            "uploaded_file": [{
                "id": file_id, "batch_id": "b", "group_id": self._group_id, "uploader": "alice", "key": original,
                "multipart_completed": False, "part_hashes": False, "requested_at": 1.0, "expires_at": 2.0,
                "sealed_at": 1.0, "version_id": "made", "size": 4, "sha256": sha256,
            }],
            "release": [{**name, "manifest_id": number, "released_at": 3.0, "approver": "alice",
                         "digest_was_given": True}],
            "results": [{"id": number, "pipeline_version": 1, "digest": digest}],
        }  # fmt: skip
        result = {
            "manifest": [{
                **name, "id": number, "pipeline_version": 1, "digest": digest, "body": body.decode(),
                "private_body": None, "processing_result": "NO_ISSUES", "errors": [], "warnings": [],
                "processed_data": {"metadata": {"date": "2020-01-01"}}, "created_at": 2.0, "superseded_at": None,
            }],
            "manifest_file": [{"manifest_id": number, "category": "consensus", "name": "c.fasta",
                               "file_id": f"out-{number}", "stored_object_id": number, "may_be_public": True}],
            "stored_object": [{"id": number, "group_id": self._group_id, "sha256": f"{number:064x}", "size": 4,
                               "key": processed, "version_id": "made", "stored_at": 2.0}],
        }  # fmt: skip
        folder = f"{records.ROOT}/{accession}/1"
        made = {}
        for stem, rows in ((f"{folder}/result-{number:012d}-1", result), (f"{folder}/state-{number}", state)):
            content = manifests.canonical({"schema": 1, "rows": rows})
            made[f"{stem}-{manifests.digest(content)}.json"] = content
        return made


def _listed(key: str, size: int) -> ListedVersion:
    return ListedVersion(StoredVersion(key, "made", size), 0.0, newest=True, deleted=False)


def empty_database(folder: Path) -> Sessions:
    """A migrated SQLite database with nothing in it."""
    url = f"sqlite:///{folder / 'rebuilt.sqlite'}"
    migrate(url)
    return Sessions(create_engine(url))


def main() -> None:
    """Rebuild a database from so many made-up accessions; prints time and memory."""
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        store = ManyAccessions(MemoryStore(), 1, count)
        house = build_house(empty_database(Path(name)), store, RecordingOrchestrator(), Path(name))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        started = time.monotonic()
        counts: Counter[str] = rebuild(replace(house, store=store), MAINTAINER)
        seconds = time.monotonic() - started
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{counts['accessions']} accessions in {seconds:.0f} s, {counts[LOST]} things lost")
        print(f"memory {before} MB before, {after} MB at most")


if __name__ == "__main__":
    main()
