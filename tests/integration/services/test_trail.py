"""The trail shows whether anybody has touched the log, the reads, or both."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlmodel import Session

from readvault.db import audit, immutability
from readvault.db.tables import FileAccess
from readvault.domain.errors import BadRequest, Forbidden, NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.services import access_log, trail
from readvault.services.house import House
from tests.houses import ALICE, MAINTAINER
from tests.integration.services import scenes

NAME = AccessionVersion("LOC_000001Y", 1)


@pytest.fixture
def written(house: House) -> House:
    """Ten rows in the log; 3 and 6 are about reads, of two files and of one."""
    for number in range(1, 11):
        with house.sessions.begin() as session:
            if number == 3:
                access_log.note(session, "alice", NAME, [("f1", "rawReads"), ("f2", "rawReads")], "review")
            elif number == 6:
                access_log.note(session, "root", NAME, [("f1", "rawReads")], "break-glass", "a court's order")
            else:
                audit.append(session, "alice", "approve", f"A.{number}")
    return house


def tamper(house: House, statement: str) -> None:
    """Alter tables as somebody does who owns the database."""
    with house.sessions.begin() as session:
        immutability.lift(session.connection())
        _run(session, statement)


def _run(session: Session, statement: str) -> None:
    assert session.connection().execute(text(statement)).rowcount > 0


def test_a_trail_that_nobody_touched_is_whole(written: House) -> None:
    verdict = trail.verify(written)
    assert verdict.whole
    assert (verdict.rows, verdict.reads, verdict.first_bad) == (10, 3, None)


def test_an_empty_trail_is_whole(house: House) -> None:
    assert trail.verify(house) == trail.Verdict(0, 0, heads=0)


TAMPERED = {
    "a name in the log": ("UPDATE audit_log SET actor = 'mallory' WHERE id = 5", 5),
    "a reason in the log": ("UPDATE audit_log SET details = '{}' WHERE id = 6", 6),
    "a time in the log": ("UPDATE audit_log SET at = at + 1 WHERE id = 2", 2),
    "a digest in the log": ("UPDATE audit_log SET sha256 = 'x' WHERE id = 4", 4),
    "a row of the log is gone": ("DELETE FROM audit_log WHERE id = 4", 5),
    "the first row of the log is gone": ("DELETE FROM audit_log WHERE id = 1", 2),
    "a read is gone": ("DELETE FROM file_access WHERE file_id = 'f2'", 3),
    "who read": ("UPDATE file_access SET actor = 'mallory' WHERE id = 1", 3),
    "what was read": ("UPDATE file_access SET file_id = 'f3' WHERE id = 3", 6),
    "why it was read": ("UPDATE file_access SET reason = 'none' WHERE id = 3", 6),
    "what for": ("UPDATE file_access SET purpose = 'review' WHERE id = 3", 6),
    "when it was read": ("UPDATE file_access SET at = 0 WHERE id = 3", 6),
    "of which entry": ("UPDATE file_access SET version = 2 WHERE id = 1", 3),
    "a read that hangs on another row": ("UPDATE file_access SET audit_id = 6 WHERE id = 1", 3),
    "a read was made up": (
        "INSERT INTO file_access (at, actor, file_id, accession, version, category, purpose, audit_id)"
        " VALUES (0, 'bob', 'f9', 'A', 1, 'rawReads', 'review', 8)",
        8,
    ),
}


@pytest.mark.parametrize(("statement", "row"), TAMPERED.values(), ids=TAMPERED.keys())
def test_whatever_is_altered_is_found(written: House, statement: str, row: int) -> None:
    tamper(written, statement)
    verdict = trail.verify(written)
    assert not verdict.whole
    assert verdict.first_bad == row
    assert f"row {row}" in verdict.fault


def test_who_read_a_file(house: House) -> None:
    name, _ = scenes.entry(house, scenes.group(house, "alice"))
    with house.sessions.read() as session:
        from readvault.db.tables import EntryFile

        file_id = session.get_one(EntryFile, (name.accession, name.version, "rawReads", "reads_0.fastq")).file_id
    with house.sessions.begin() as session:
        access_log.note(session, "alice", name, [(file_id, "rawReads")], "review")
    rows = trail.who_read(house, MAINTAINER, file_id)
    assert [(row.actor, row.purpose) for row in rows] == [("alice", "review")]
    same: list[FileAccess] = trail.who_read(house, MAINTAINER, f"{name}/rawReads/reads_0.fastq")
    assert [row.id for row in same] == [row.id for row in rows]
    assert [row.id for row in trail.who_read(house, MAINTAINER, file_id.upper())] == [row.id for row in rows]


@pytest.mark.parametrize("file", ["", "x", "A.1", "A.1/rawReads", "A/rawReads/x", "../../etc/passwd", "A.1.2/x/y"])
def test_what_names_no_file_is_refused(house: House, file: str) -> None:
    with pytest.raises(BadRequest):
        trail.who_read(house, MAINTAINER, file)


def test_a_file_that_there_is_not(house: House) -> None:
    with pytest.raises(NotFound):
        trail.who_read(house, MAINTAINER, "A.1/rawReads/x")
    assert trail.who_read(house, MAINTAINER, "00000000-0000-4000-8000-000000000000") == []


def test_only_maintainers_read_the_trail(house: House) -> None:
    for ask in (lambda: trail.page(house, ALICE), lambda: trail.who_read(house, ALICE, "x")):
        with pytest.raises(Forbidden):
            ask()
