"""Revoking: a version without data that is processed at once, approved like any other, and hides nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlmodel import select

from readvault.db.tables import EntryVersion, Job, Manifest, Release
from readvault.domain import manifest
from readvault.domain.errors import Conflict, Forbidden, ReadvaultError, Unauthenticated, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.idempotency import Once
from readvault.services.review.approval import Scope, approve
from readvault.services.submission.revocation import MAX_COMMENT, revoke
from readvault.services.submission.writing import SubmittedEntry
from tests.houses import ALICE, BOB, MAINTAINER
from tests.integration.services.life import at_once, counts, files_of, released, revised, status, version
from tests.integration.services.scenes import ORGANISM, audit_log, entry, group, manifests, processed


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


def _revoke(house: House, *names: AccessionVersion, actor: Any = ALICE, **options: Any) -> list[SubmittedEntry]:
    return revoke(house, actor, ORGANISM, accessions=[name.accession for name in names], **options)


def _refused(house: House, error: type[ReadvaultError], *names: AccessionVersion, **options: Any) -> str:
    before = counts(house)
    with pytest.raises(error) as refusal:
        _revoke(house, *names, **options)
    assert counts(house) == before
    return str(refusal.value)


def test_a_revocation_is_a_processed_version_without_data(house: House, mine: int) -> None:
    first, second = released(house, mine, submission_id="a"), released(house, mine, submission_id="b")
    answer = _revoke(house, second, first, comment="contaminated")
    assert answer == [SubmittedEntry(first.accession, 2, "a"), SubmittedEntry(second.accession, 2, "b")]
    name = AccessionVersion(first.accession, 2)
    row = version(house, name)
    assert row.is_revocation
    assert row.version_comment == "contaminated"
    assert (row.submitted_metadata, row.submitted_sequences, files_of(house, name)) == ({}, {}, {})
    assert status(house, name) == "PROCESSED"
    with house.sessions.read() as session:
        assert session.exec(select(Job).where(Job.version == 2)).all() == [], "there is nothing to process"
    assert audit_log(house)[-1].action == "revoke"


def test_it_is_approved_by_its_digest_and_what_was_there_stays_public(house: House, mine: int) -> None:
    name = released(house, mine)
    _revoke(house, name)
    second = AccessionVersion(name.accession, 2)
    (made,) = manifests(house, second)
    assert made.digest == manifest.digest(made.body.encode())
    body = json.loads(made.body)
    assert (body["metadata"], body["sequences"], body["files"], body["processingResult"]) == ({}, {}, [], "NO_ISSUES")
    assert approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(second, made.digest)]) == [second]
    assert status(house, second) == status(house, name) == "APPROVED_FOR_RELEASE"
    with house.sessions.read() as session:
        assert len(session.exec(select(Release)).all()) == 2
    assert files_of(house, name), "the revoked version keeps its files"


def test_a_revoked_entry_can_be_revised_with_data_of_its_own(house: House, mine: int) -> None:
    name = released(house, mine)
    _revoke(house, name)
    second = AccessionVersion(name.accession, 2)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(second, None)])
    with pytest.raises(Unprocessable, match="neither a file of reads nor a consensus"):
        revised(house, {"accession": name.accession})
    records = {"sequences": b">r0\nACGT\n", "sequences_name": "s.fasta"}
    assert revised(house, {"accession": name.accession}, **records)[0].version == 3


def test_a_maintainer_may_revoke(house: House, mine: int) -> None:
    assert _revoke(house, released(house, mine), actor=MAINTAINER)[0].version == 2


def test_nothing_to_revoke(house: House, mine: int) -> None:
    before = counts(house)
    assert _revoke(house) == []
    assert counts(house) == before


def test_refusals(house: House, mine: int) -> None:
    name = released(house, mine)
    _refused(house, Unauthenticated, name, actor=None)
    assert "bob is not a member of group(s)" in _refused(house, Forbidden, name, actor=BOB)
    assert _refused(house, Unprocessable, AccessionVersion("123", 1), name) == "Accessions 123 do not exist"
    other, _ = entry(house, mine, organism="other")
    text = f"The following accession versions are not of organism {ORGANISM}: {other}"
    assert text in _refused(house, Unprocessable, other)
    waiting, _ = processed(house, mine)
    text = f"Accession versions are not in one of the states [APPROVED_FOR_RELEASE]: {waiting} - PROCESSED"
    assert _refused(house, Unprocessable, waiting, name) == text
    _refused(house, Unprocessable, name, comment="x" * (MAX_COMMENT + 1))


def test_a_revocation_that_is_sent_again_is_done_once(house: House, mine: int) -> None:
    name = released(house, mine)
    once = Once.of("key", "revoke", name.accession)
    assert _revoke(house, name, once=once) == _revoke(house, name, once=once)
    with house.sessions.read() as session:
        assert len(session.exec(select(EntryVersion)).all()) == 2


def test_of_two_revocations_at_once_one_wins(house: House, mine: int) -> None:
    names = [released(house, mine) for _ in range(3)]
    answers = at_once(*(lambda: _revoke(house, *names) for _ in range(4)))
    assert sum(isinstance(answer, list) for answer in answers) == 1, answers
    assert all(isinstance(answer, list | Unprocessable | Conflict) for answer in answers), answers
    with house.sessions.read() as session:
        assert len(session.exec(select(Manifest)).all()) == 6
