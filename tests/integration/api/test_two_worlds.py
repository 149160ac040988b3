"""Nobody learns whether somebody else has a private file.

In one world another group has the very file that the curious user declares, uploads, submits, gets
processed, reviews and approves; in the other that group has another file. All answers are the same: codes,
headers, bodies, but for random IDs and times.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from sqlmodel import select

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.db.engine import Sessions, create_engine
from readvault.db.tables import EntryFile, Job, UploadedFile
from readvault.domain.actor import Actor
from readvault.ports import SignedRequest
from readvault.services.house import House
from readvault.services.processing import jobs, neighbours
from tests.conftest import DATABASES, MigratedDatabases
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.houses import ALICE, BOB, build_house, group_of, tsv
from tests.integration.services import scenes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette wants another HTTP library for its test client
    from fastapi.testclient import TestClient

PRIVATE = b"@r1\nACGT\n+\nIIII\n"
OTHER = b"@r1\nTGCA\n+\nIIII\n"
_IDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIMES = re.compile(r"\b\d{10}(?:\.\d+)?\b|\d{4}-\d\d-\d\dT[0-9:.]+Z?|\d{4}-\d\d-\d\d")
_SIGNATURES = re.compile(r"signature=\d+|versionId=v\d+")
_RANDOM_HEADERS = ("date", "x-request-id", "content-length")
"""The length follows from the body, in which times have more digits or fewer."""


class Person:
    """One user at the API; every answer is written down."""

    def __init__(self, api: TestClient, house: House, actor: Actor, headers: dict[str, str]) -> None:
        self.api, self.house, self.headers = api, house, headers
        self.group_id = group_of(house, actor)
        self.transcript: list[str] = []

    def ask(self, method: str, path: str, **request: Any) -> Any:
        answer = self.api.request(method, path, headers=self.headers, **request)
        headers = {name: value for name, value in answer.headers.items() if name not in _RANDOM_HEADERS}
        self.transcript.append(f"{method} {path} {answer.status_code} {json.dumps(headers)} {answer.text}")
        assert answer.status_code < 400, answer.text
        return answer.json() if answer.content else None

    def declare(self, body: bytes, **how: Any) -> Any:
        digest = hashlib.sha256(body).hexdigest()
        file = {"name": "reads.fastq", "size": len(body), "sha256": digest, "category": "rawReads"}
        (ticket,) = self.ask("POST", "/files/request-uploads", json={"groupId": self.group_id, "files": [file], **how})
        return ticket

    def whole_way(self, body: bytes) -> None:
        """Declare, upload, submit, be processed, review, approve, and declare once more."""
        ticket = self.declare(body)
        put = SignedRequest(ticket["put"]["url"], ticket["put"]["headers"])
        self.house.store.put(put, body)  # type: ignore[attr-defined]
        self.ask("GET", f"/files/{ticket['fileId']}")
        row = {"id": "s", "date": "2020-01-01", "platform": "ILLUMINA", "files.rawReads": f"r.fq:{ticket['fileId']}"}
        submission = {"metadataFile": ("metadata.tsv", tsv(row))}
        (entry,) = self.ask("POST", f"/{scenes.ORGANISM}/submit", params={"groupId": self.group_id}, files=submission)
        self.ask("GET", f"/{scenes.ORGANISM}/get-sequences", params={"groupIdsFilter": self.group_id})
        self._processed(entry["accession"], ticket["fileId"], hashlib.sha256(body).hexdigest())
        review = self.ask("GET", f"/{scenes.ORGANISM}/review/{entry['accession']}/1")
        chosen = {"accession": entry["accession"], "version": 1, "manifestDigest": review["manifestDigest"]}
        approval = {"scope": "ALL", "accessionVersionsFilter": [chosen]}
        self.ask("POST", f"/{scenes.ORGANISM}/approve-processed-data", json=approval)
        self.ask("GET", f"/files/{ticket['fileId']}")
        self.ask("GET", f"/groups/{self.group_id}/limits")
        assert self.declare(body)["alreadyYours"], "what is one's own is found"

    def _processed(self, accession: str, file_id: str, sha256: str) -> None:
        with self.house.sessions.begin() as session:
            job_id = session.exec(select(Job.id).where(Job.accession == accession)).one()
            session.get_one(UploadedFile, file_id).sha256 = sha256
            label = session.exec(select(EntryFile.name).where(EntryFile.file_id == file_id)).one()
        claim = scenes.claimed(self.house, job_id)
        warnings = neighbours.same_files(self.house, claim, {file_id: (label, sha256)})
        jobs.register(self.house, claim, scenes.result(self.house, claim, warnings=warnings))


def world(
    make: Callable[[], str], folder: Path, portal: BlockingPortal, issuer: EmbeddedIssuer, theirs: bytes
) -> list[str]:
    """What Alice sees in a world where Bob's group has these bytes."""
    engine = create_engine(make())
    try:
        house = build_house(Sessions(engine), MemoryStore(), RecordingOrchestrator(), folder)
        api = TestClient(create_app(house, Identity(issuer)), follow_redirects=False, raise_server_exceptions=False)
        api.portal = portal
        bob, alice = (
            Person(api, house, who, {"Authorization": f"Bearer {issuer.tokens(who)['access_token']}"})
            for who in (BOB, ALICE)
        )
        bob.whole_way(theirs)
        alice.declare(PRIVATE, multipart=True)
        alice.whole_way(PRIVATE)
    finally:
        engine.dispose()
    return [masked(answer) for answer in alice.transcript]


def masked(answer: str) -> str:
    """Without what is random: IDs by the order in which they appear, times, signatures."""
    names: dict[str, str] = {}
    answer = _IDS.sub(lambda match: names.setdefault(match[0], f"ID{len(names)}"), answer)
    return _SIGNATURES.sub("SIGNED", _TIMES.sub("TIME", answer))


@pytest.mark.parametrize("database", DATABASES)
def test_transcripts_of_the_two_worlds_are_the_same(
    migrated_databases: MigratedDatabases, tmp_path: Path, portal: BlockingPortal, issuer: EmbeddedIssuer, database: str
) -> None:
    make: Callable[[], str] = getattr(migrated_databases, database)
    with_it = world(make, tmp_path, portal, issuer, PRIVATE)
    without = world(make, tmp_path, portal, issuer, OTHER)
    assert len(with_it) == 10
    for one, other in zip(with_it, without, strict=True):
        assert one == other


def test_the_transcript_would_tell() -> None:
    """Masking hides no difference that matters."""
    for one, other in (
        ('{"alreadyYours": true}', '{"alreadyYours": false}'),
        ('{"warnings": ["The entry LOC_000001Y has the same file."]}', '{"warnings": []}'),
        ('{"sha256": "' + "a" * 64 + '"}', '{"sha256": "' + "b" * 64 + '"}'),
    ):
        assert masked(one) != masked(other)
