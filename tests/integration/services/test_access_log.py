"""Every URL of a file that is not public leaves a row, and a link of the chain."""

from __future__ import annotations

import pytest
from sqlmodel import col, select

from readvault.db import audit
from readvault.db.tables import FileAccess
from readvault.domain.identifiers import AccessionVersion
from readvault.services import access_log
from readvault.services.house import House
from tests.integration.services import scenes

NAME = AccessionVersion("LOC_000001Y", 1)
OTHER = AccessionVersion("LOC_000002W", 3)


def accesses(house: House) -> list[FileAccess]:
    with house.sessions.read() as session:
        return list(session.exec(select(FileAccess).order_by(col(FileAccess.id))))


def test_each_url_is_a_row_and_each_request_a_link(house: House) -> None:
    with house.sessions.begin() as session:
        access_log.note(session, "alice", NAME, [("f1", "rawReads"), ("f2", "report")], "review")
    with house.sessions.begin() as session:
        access_log.note(session, "root", NAME, [("f1", "rawReads")], "break-glass", "a court's order")
    rows = accesses(house)
    assert [(r.actor, r.file_id, r.category, r.purpose, r.reason) for r in rows] == [
        ("alice", "f1", "rawReads", "review", None),
        ("alice", "f2", "report", "review", None),
        ("root", "f1", "rawReads", "break-glass", "a court's order"),
    ]
    assert {(r.accession, r.version) for r in rows} == {(NAME.accession, NAME.version)}
    first, second = scenes.audit_log(house)
    assert [r.audit_id for r in rows] == [first.id, first.id, second.id]
    assert (first.actor, first.action, first.subject) == ("alice", "read files", str(NAME))
    assert first.details == {"purpose": "review", "files": {str(NAME): [["rawReads", "f1"], ["report", "f2"]]}}
    assert second.details["reason"] == "a court's order"
    with house.sessions.read() as session:
        assert audit.verify(session) == []


def test_many_versions_in_one_request_are_one_link(house: House) -> None:
    with house.sessions.begin() as session:
        given = [(NAME, [("f1", "rawReads")]), (OTHER, [("f2", "rawReads")]), (AccessionVersion("X", 1), [])]
        access_log.note_all(session, "robot", given, "pipeline")
    assert [(r.file_id, r.accession, r.version) for r in accesses(house)] == [
        ("f1", NAME.accession, 1),
        ("f2", OTHER.accession, 3),
    ]
    (link,) = scenes.audit_log(house)
    assert set(link.details["files"]) == {str(NAME), str(OTHER)}


def test_nothing_given_is_nothing_written(house: House) -> None:
    with house.sessions.begin() as session:
        access_log.note(session, "alice", NAME, [], "review")
    assert accesses(house) == [] == scenes.audit_log(house)


def test_what_is_rolled_back_was_never_given(house: House) -> None:
    def given_and_failed() -> None:
        with house.sessions.begin() as session:
            access_log.note(session, "alice", NAME, [("f1", "rawReads")], "review")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        given_and_failed()
    assert accesses(house) == [] == scenes.audit_log(house)
