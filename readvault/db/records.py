"""Records for the bucket, queued in the transaction that makes them true.

A record can't be in S3 before the commit, and must be after it: so it is a row first, and
`readvault.services.storage.rebuilding.records` carries it over, as often as it takes. What is said of an
version, a result or a group is made of its rows only then (`readvault.db.record_documents`): a row
here is small, however much there is to say, and a change of a hundred thousand accessions is one insert.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import batched
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, SQLModel

from readvault.db import clock
from readvault.db.tables import PendingRecord
from readvault.db.upsert import columns_of
from readvault.domain import manifest
from readvault.domain.identifiers import AccessionVersion

ROOT = "records"
GROUPS = f"{ROOT}/groups"
ORGANISMS = f"{ROOT}/organisms"
LIMITS = f"{ROOT}/limits"
REPAIRS = f"{ROOT}/repairs"
ERASURES = f"{ROOT}/erasures"
AUDIT = f"{ROOT}/audit"
ROOMS = frozenset({GROUPS, ORGANISMS, LIMITS, REPAIRS, ERASURES, AUDIT})
"""Every other folder of `records/` is an accession's."""
PAGE = 1000


class Kind(StrEnum):
    """What a pending record is about."""

    DOCUMENT = "document"
    VERSION = "version"
    RESULT = "result"
    TERMS = "terms"
    GROUP = "group"
    ORGANISM = "organism"
    ERASURE = "erasure"


def queue(session: Session, prefix: str, body: dict[str, Any]) -> None:
    """Have `body` written to `<prefix>/<time>-<SHA-256 of it>.json` after the commit. It is private, like all records.

    Documents under one prefix lie in the order of their time, by the database's clock.
    """
    content = manifest.canonical(body)
    at = clock.read(session)
    queue_at(session, f"{prefix}/{stamp(at)}-{manifest.digest(content)}.json", content, at)


def queue_at(session: Session, key: str, content: bytes, at: float) -> None:
    """Have `content` (canonical JSON) written under this very key after the commit."""
    row = {"kind": Kind.DOCUMENT.value, "key": key, "body": content.decode("utf-8"), "created_at": at}
    session.connection().execute(insert(columns_of(PendingRecord)), row)


def changed(session: Session, names: Iterable[AccessionVersion | tuple[str, int]]) -> None:
    """Have all that the database says of these accession versions, but their results, written after the commit."""
    told = {str(name if isinstance(name, AccessionVersion) else AccessionVersion(*name)) for name in names}
    _point(session, Kind.VERSION, sorted(told))


def terms_changed(session: Session, accessions: Iterable[str]) -> None:
    """Have the data use terms of these accessions written to the bucket after the commit."""
    _point(session, Kind.TERMS, sorted(set(accessions)))


def registered(session: Session, results: Iterable[tuple[int | None, AccessionVersion | tuple[str, int]]]) -> None:
    """Have new results (by the IDs of their manifests), and the versions that they are of, written after the commit."""
    found = list(results)
    # A result lies in the bucket before the document that names it.
    _point(session, Kind.RESULT, [str(number) for number, _ in found])
    changed(session, (name for _, name in found))


def group_changed(session: Session, group_id: int) -> None:
    """Have what is said of a group, and who its members are, written to the bucket after the commit."""
    _point(session, Kind.GROUP, [str(group_id)])


def organism_changed(session: Session, organism: str) -> None:
    """Have it written to the bucket after the commit which version of an organism's pipeline counts."""
    _point(session, Kind.ORGANISM, [organism])


def erasure_changed(session: Session, erasure_id: int) -> None:
    """Have an erasure, its tombstones and what it destroyed written to the bucket after the commit."""
    _point(session, Kind.ERASURE, [str(erasure_id)])


def repaired(session: Session, repair: SQLModel) -> None:
    """Have a row of `repair` written to the bucket after the commit."""
    queue(session, REPAIRS, {"repair": repair.model_dump(exclude={"id"})})


def stamp(at: float) -> str:
    """A moment (seconds since 1970) as it stands in keys: in microseconds, so that keys lie in the order of time."""
    return f"{int(at * 1_000_000):017d}"


def _point(session: Session, kind: Kind, subjects: list[str]) -> None:
    at = clock.read(session)
    for page in batched(subjects, PAGE):
        rows = [{"kind": kind.value, "key": subject, "created_at": at} for subject in page]
        session.connection().execute(insert(columns_of(PendingRecord)), rows)
