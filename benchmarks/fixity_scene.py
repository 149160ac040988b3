"""A million released objects that nobody had to store: rows made in bulk by SQL, a bucket that is arithmetic.

Entry number n has one original and one processed file with bodies of a few bytes, and the documents
from which a database is rebuilt. What is in the bucket follows from n; only what was planted is remembered.
"""

# ruff: noqa: S608 - all that enters these statements is the benchmark's own
from __future__ import annotations

import functools
import hashlib
import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from readvault.db import clock, record_documents, records
from readvault.db.engine import Sessions
from readvault.db.tables import Group
from readvault.domain.errors import BytesLost
from readvault.domain.identifiers import accession_of, number_of
from readvault.ports import ListedVersion, StoredVersion
from tests.fakes import MemoryStore

ORGANISM = "bench"
BASE = 100_000_000
"""Number n is written as BASE + n, in nine digits: so names lie in the order of their numbers."""
VERSION_ID = "a"
WRITTEN_AT = 1_700_000_000.0
DOCUMENTS = ("release", "result", "state")
"""Of each entry, in the order of their keys."""
AT_HAND = 1024
"""Documents that are kept from the listing until they are read."""
_METADATA = '{"date": "2024-01-01", "country": "Switzerland"}'


def original_key(n: int) -> str:
    """Where the original of entry n lies (from 0)."""
    return f"incoming/batch-{BASE + n // 96}/file-{BASE + n}"


def processed_key(n: int) -> str:
    """Where the processed file of entry n lies (from 0)."""
    return f"vault/1/{BASE + n:064d}"


def original(n: int) -> bytes:
    """The bytes of an original."""
    return b"original %d\n" % (BASE + n)


def processed(n: int) -> bytes:
    """The bytes of a processed file."""
    return b">consensus %d\n" % (BASE + n)


def sha256(body: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def fill(sessions: Sessions, entries: int) -> None:
    """Put so many released entries into a migrated database that has none yet; its triggers stay in place."""
    with sessions.begin() as session:
        now = clock.read(session)
        address = {"line1": "1 Way", "city": "Basel", "country": "Switzerland"}
        session.add(
            Group(id=1, name="Group", institution="I", address=address, contact_email="a@example.org", created_at=now)
        )
        session.flush()
        if sessions.dialect == "sqlite":
            connection: Any = session.connection().connection.dbapi_connection
            connection.create_function("hash_of", 1, lambda body: sha256(body.encode()), deterministic=True)
        for statement in _statements(entries, now, sessions.dialect):
            session.execute(text(statement.replace(":", "\\:")))
    if sessions.dialect == "postgresql":  # which would do so by itself a minute later
        with sessions.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _statements(entries: int, now: float, dialect: str) -> list[str]:
    def json(value: str) -> str:
        return f"'{value}'" if dialect == "sqlite" else f"'{value}'::json"

    def digest(value: str) -> str:
        return f"hash_of({value})" if dialect == "sqlite" else f"encode(sha256(convert_to({value}, 'UTF8')), 'hex')"

    newline = "char(10)" if dialect == "sqlite" else "chr(10)"
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {entries - 1}) "
    number = f"({BASE} + i)"
    name, file_id = f"'LOC_' || {number}", f"'file-' || {number}"
    first_key = f"'incoming/batch-' || ({BASE} + i / 96) || '/file-' || {number}"
    second_key = f"'vault/1/{'0' * 55}' || {number}"
    first, second = f"'original ' || {number} || {newline}", f"'>consensus ' || {number} || {newline}"
    private = f"""'{{"accession":"' || {name} || '","file":"' || {file_id} || '","schema":2}}'"""
    body = (
        f"""'{{"accession":"' || {name} || '","files":[{{"category":"consensus","name":"consensus.fasta","sha256":"'"""
        f""" || {digest(second)} || '"}}],"metadata":{_METADATA},"privateSha256":"' || {digest(private)} ||"""
        """ '","processingResult":"NO_ISSUES","schema":2,"version":1}'"""
    )
    length_of_first, length_of_second = len(original(0)), len(processed(0))
    statements = [
        "INSERT INTO uploaded_file (id, batch_id, group_id, uploader, key, declared_size, multipart_completed,"
        " part_hashes, requested_at, expires_at, sealed_at, version_id, size, sha256)"
        f" SELECT {file_id}, 'batch-' || ({BASE} + i / 96), 1, 'alice', {first_key}, {length_of_first}, false, false,"
        f" {now}, {now}, {now}, '{VERSION_ID}', {length_of_first}, {digest(first)} FROM n",
        "INSERT INTO entry_version (accession, version, organism, group_id, submission_id, submitter, submitted_at,"
        " batch_id, released, is_revocation, terms_type, submitted_metadata, submitted_sequences)"
        f" SELECT {name}, 1, '{ORGANISM}', 1, 'sample ' || {number}, 'alice', {now}, 'batch', true, false, 'OPEN',"
        f" {json(_METADATA)}, {json('{}')} FROM n",
        "INSERT INTO entry_file (accession, version, category, name, position, file_id)"
        f" SELECT {name}, 1, 'rawReads', 'reads.fastq', 0, {file_id} FROM n",
        "INSERT INTO data_use_terms (id, accession, terms_type, user_name, changed_at)"
        f" SELECT {number}, {name}, 'OPEN', 'alice', {now} FROM n",
        "INSERT INTO stored_object (id, group_id, sha256, size, key, version_id, stored_at)"
        f" SELECT {number}, 1, {digest(second)}, {length_of_second}, {second_key}, '{VERSION_ID}', {now} FROM n",
        "INSERT INTO manifest (id, accession, version, pipeline_version, digest, body, private_body,"
        " processing_result, errors, warnings, processed_data, created_at)"
        f" SELECT {number}, {name}, 1, 1, {digest(body)}, {body}, {private}, 'NO_ISSUES', {json('[]')}, {json('[]')},"
        f" {json('{}')}, {now} FROM n",
        "INSERT INTO manifest_file (manifest_id, category, name, file_id, stored_object_id, may_be_public)"
        f" SELECT {number}, 'consensus', 'consensus.fasta', 'made-' || {number}, {number}, true FROM n",
        "INSERT INTO release (accession, version, manifest_id, released_at, approver, digest_was_given)"
        f" SELECT {name}, 1, {number}, {now}, 'alice', true FROM n",
    ]
    return [_with_numbers(statement, numbers) for statement in statements]


def _with_numbers(statement: str, numbers: str) -> str:
    """The numbers stand before the SELECT, where both databases take them."""
    into, _, rest = statement.partition(" SELECT ")
    return f"{into} {numbers}SELECT {rest}"


@dataclass(frozen=True, slots=True)
class Records:
    """The documents of entry 0 as readvault wrote them, with what in them is another one for each entry."""

    result: str
    state: str
    body: str
    private: str
    group: tuple[str, bytes]

    @classmethod
    def of(cls, sessions: Sessions) -> Records:
        """Let readvault write them from a filled database."""
        with sessions.read() as session:
            name = f"LOC_{BASE}"
            written = [
                record_documents.document(session, kind, subject, WRITTEN_AT)
                for kind, subject in (
                    (records.Kind.RESULT, str(BASE)),
                    (records.Kind.VERSION, f"{name}.1"),
                    (records.Kind.GROUP, "1"),
                )
            ]
            query = text("SELECT body, private_body FROM manifest WHERE accession = :name")
            body, private = session.execute(query, {"name": name}).one()
        result, state, group = (found for found in written if found is not None)
        return cls(result[1].decode(), state[1].decode(), body, private, group)

    def document(self, n: int, place: int) -> tuple[str, bytes]:
        """Key and content of one of the DOCUMENTS, by its place, of entry n."""
        accession, stamp = accession_of(n + 1, "LOC_"), records.stamp(WRITTEN_AT)
        folder = f"{records.ROOT}/{accession}/1"
        if place == 0:
            return f"{folder}/release.json", b"{}"
        content = self._of(self.result if place == 1 else self.state, n).encode()
        stem = f"result-{BASE + n:012d}" if place == 1 else "state"
        return f"{folder}/{stem}-{stamp}-{sha256(content)}.json", content

    def _of(self, document: str, n: int) -> str:
        old, new = self._hashes(self.body, self.private, 0), self._hashes(*self._manifest(n), n)
        for was, now in zip(old, new, strict=True):
            document = document.replace(was, now)
        return _renamed(document, n)

    def _manifest(self, n: int) -> tuple[str, str]:
        private = _renamed(self.private, n)
        body = self.body.replace(sha256(processed(0)), sha256(processed(n)))
        body = body.replace(sha256(self.private.encode()), sha256(private.encode()))
        return _renamed(body, n), private

    def _hashes(self, body: str, private: str, n: int) -> list[str]:
        return [sha256(each) for each in (original(n), processed(n), body.encode(), private.encode())]


def _renamed(document: str, n: int) -> str:
    named = document.replace(f"LOC_{BASE}", accession_of(n + 1, "LOC_"))
    named = named.replace(f"batch-{BASE}", "batch-#").replace(str(BASE), str(BASE + n))
    return named.replace("batch-#", f"batch-{BASE + n // 96}")


class BrokenOffError(Exception):
    """What a run was made to end with."""


@dataclass
class Bucket(MemoryStore):
    """The bucket of so many entries. Written to, it keeps in memory what was written; nothing else."""

    entries: int = 0
    documents: Records | None = None
    missing: frozenset[str] = frozenset()
    other_size: frozenset[str] = frozenset()
    other_version: frozenset[str] = frozenset()
    wrong: frozenset[str] = frozenset()
    """Keys under which as many bytes lie as should, but others."""
    reads: bytearray = field(default_factory=bytearray)
    """A bit for each object (originals first) that was read."""
    read_again: set[str] = field(default_factory=set)
    fetched: int = 0
    breaks_at: int | None = None
    """Raise BrokenOffError when so many documents were fetched."""

    def __post_init__(self) -> None:
        self.reads = self.reads or bytearray(self.entries // 4 + 1)
        if self.documents is not None:
            self._document = functools.lru_cache(AT_HAND)(self.documents.document)

    def _call(self, name: str) -> None:
        """Not kept: there are millions."""

    def walk(self, prefix: str, *, after: str | None = None) -> Iterator[ListedVersion]:
        """As S3 lists: by key, the newest first; with what was written behind everybody's back."""
        shelves = [_Shelf(self.entries, original_key), _Shelf(self.entries, processed_key)]
        if self.documents is not None:
            shelves.insert(1, _Shelf(len(DOCUMENTS) * self.entries, self._document_key))
        kept = (each for shelf in shelves for each in self._listed(shelf, prefix, after))
        # Of equal keys what was written comes first, as it is newer.
        yield from heapq.merge(super().walk(prefix, after=after), kept, key=lambda each: each.stored.key)

    def _listed(self, shelf: _Shelf, prefix: str, after: str | None) -> Iterator[ListedVersion]:
        for key in shelf.keys(prefix, after):
            if key not in self.missing:
                size = len(self._body(key)) + (key in self.other_size)
                version_id = "another" if key in self.other_version else VERSION_ID
                newest = key not in self.versions
                yield ListedVersion(StoredVersion(key, version_id, size), WRITTEN_AT, newest=newest, deleted=False)

    def list_versions(self, prefix: str) -> Iterator[StoredVersion]:
        """As `walk`."""
        yield from (each.stored for each in self.walk(prefix) if not each.deleted)

    def sha256_of(
        self, stored: StoredVersion, *, progress: Callable[[int], None] | None = None, expected: str | None = None
    ) -> str:
        """Makes the bytes now; notes that they were read."""
        if stored.key in self.missing or stored.version_id != VERSION_ID:
            raise BytesLost("fetch", "the store has no such version")
        n = int(stored.key[-9:]) - BASE
        place, bit = divmod(n if stored.key.startswith("incoming/") else self.entries + n, 8)
        if self.reads[place] >> bit & 1:
            self.read_again.add(stored.key)
        self.reads[place] |= 1 << bit
        body = self._body(stored.key)
        return sha256(body[::-1] if stored.key in self.wrong else body)

    def fetch(
        self,
        stored: StoredVersion,
        target: Path,
        *,
        progress: Callable[[int], None] | None = None,
        expected: str | None = None,
    ) -> str:
        """Of documents only."""
        self.fetched += 1
        if self.breaks_at is not None and self.fetched >= self.breaks_at:
            raise BrokenOffError
        if stored.key in self.versions:
            return super().fetch(stored, target, progress=progress, expected=expected)
        body = self._body(stored.key)
        target.write_bytes(body)
        return sha256(body)

    def _document_key(self, place: int) -> str:
        return self._document(*divmod(place, len(DOCUMENTS)))[0]

    def _body(self, key: str) -> bytes:
        if key.startswith("incoming/"):
            return original(int(key[-9:]) - BASE)
        if key.startswith("vault/"):
            return processed(int(key[-9:]) - BASE)
        _, accession, _, name = key.split("/")
        number = number_of(accession, "LOC_")
        assert number is not None
        return self._document(number - 1, next(p for p, each in enumerate(DOCUMENTS) if name.startswith(each)))[1]


@dataclass(frozen=True, slots=True)
class _Shelf:
    """So many keys in their order, each made when it is asked for."""

    count: int
    key_of: Callable[[int], str]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> str:
        return self.key_of(place)

    def keys(self, prefix: str, after: str | None) -> Iterator[str]:
        """Those under a prefix, beyond `after`."""
        first = bisect_left(self, prefix)
        if after is not None:
            first = max(first, bisect_right(self, after))
        for place in range(first, self.count):
            key = self.key_of(place)
            if not key.startswith(prefix):
                return
            yield key
