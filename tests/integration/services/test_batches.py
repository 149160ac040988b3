"""Batches: a plate as one table, approved here, sent back there."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from readvault.db.tables import GroupMember
from readvault.domain import tsv
from readvault.domain.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthenticated, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Review
from readvault.services.house import House
from readvault.services.review import batches
from readvault.services.review.approval import Scope, approve
from readvault.services.review.review import review
from readvault.services.review.sending_back import MAX_REASON, send_back
from tests.houses import ALICE, BOB, MAINTAINER, organism
from tests.integration.services.scenes import ERROR, ORGANISM, WARNING, audit_log, entry, group, processed


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


def _ids(listed: dict[str, Any]) -> list[str]:
    return [each["batchId"] for each in listed["batches"]]


def test_batches_are_listed_newest_first_with_counts(house: House, mine: int) -> None:
    for n in range(3):
        entry(house, mine, files=(), batch_id=f"plate-{n}", submitted_at=1000.0 + n)
    processed(house, mine, files=(), batch_id="plate-1", submitted_at=1001.0, errors=(ERROR,))
    bad, _ = processed(house, mine, files=(), batch_id="plate-1", submitted_at=1001.0, warnings=(WARNING,))
    send_back(house, ALICE, ORGANISM, [(bad, None)], "no")
    released, _ = processed(house, mine, files=(), batch_id="plate-1", submitted_at=1001.0, submitter="carol")
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(released, None)])
    listed = batches.list_batches(house, ALICE, ORGANISM)
    assert _ids(listed) == ["plate-2", "plate-1", "plate-0"]
    assert listed["next"] is None
    assert listed["batches"][1] == {
        "batchId": "plate-1",
        "submittedAt": 1001.0,
        "submitters": ["alice", "carol"],
        "groupIds": [mine],
        "entries": 4,
        "statusCounts": {"RECEIVED": 1, "IN_PROCESSING": 0, "PROCESSED": 2, "APPROVED_FOR_RELEASE": 1},
        "processingResultCounts": {"NO_ISSUES": 0, "HAS_WARNINGS": 1, "HAS_ERRORS": 1},
        "sentBack": 1,
    }


def test_pages_of_batches_miss_none_and_repeat_none(house: House, mine: int) -> None:
    second = group(house, "alice")
    for n in range(7):
        entry(house, (mine, second)[n % 2], files=(), batch_id=f"b{n}", submitted_at=1000.0 + n)
    entry(house, second, files=(), batch_id="both", submitted_at=2000.0)
    entry(house, mine, files=(), batch_id="both", submitted_at=2000.0)
    entry(house, mine, files=(), batch_id=None, submitted_at=1500.0)
    seen: list[str] = []
    before = None
    while True:
        page = batches.list_batches(house, ALICE, ORGANISM, before=before, size=3)
        seen += _ids(page)
        before = page["next"]
        if before is None:
            break
    assert seen == ["both", "b6", "b5", "b4", "b3", "b2", "b1", "b0"]
    assert _ids(batches.list_batches(house, ALICE, ORGANISM, group_ids=[second])) == ["both", "b5", "b3", "b1"]


def test_whose_batches_somebody_sees(house: House, mine: int, tmp_path: Any) -> None:
    theirs = group(house, "bob")
    for group_id in (mine, theirs):
        entry(house, group_id, files=(), batch_id=f"of-{group_id}")
    assert _ids(batches.list_batches(house, BOB, ORGANISM)) == [f"of-{theirs}"]
    assert set(_ids(batches.list_batches(house, MAINTAINER, ORGANISM))) == {f"of-{mine}", f"of-{theirs}"}
    with pytest.raises(Forbidden):
        batches.list_batches(house, BOB, ORGANISM, group_ids=[mine])
    for call in (
        lambda actor: batches.list_batches(house, actor, ORGANISM),
        lambda actor: batches.batch(house, actor, ORGANISM, f"of-{mine}"),
        lambda actor: batches.send_back(house, actor, ORGANISM, f"of-{mine}", [], "no"),
    ):
        with pytest.raises(Unauthenticated):
            call(None)
    with pytest.raises(BadRequest):
        batches.list_batches(house, ALICE, "ebola")
    refusals = set()
    for actor, batch_id in ((BOB, f"of-{mine}"), (ALICE, "nothing")):
        for ask in (
            lambda a, b: batches.batch(house, a, ORGANISM, b),
            lambda a, b: batches.send_back(house, a, ORGANISM, b, [(AccessionVersion("LOC_X", 1), None)], "no"),
        ):
            with pytest.raises(NotFound) as refusal:
                ask(actor, batch_id)
            refusals.add(str(refusal.value))
    assert refusals == {"There is no such batch."}
    both = replace(house, organisms={**house.organisms, "rsv-b": organism(tmp_path, "rsv-b")})
    with pytest.raises(NotFound):
        batches.batch(both, ALICE, "rsv-b", f"of-{mine}")


def test_a_batch_has_a_row_of_figures_for_each_entry(house: House, mine: int) -> None:
    good, digest = processed(house, mine, files=(), batch_id="plate")
    bad, _ = processed(house, mine, files=(), batch_id="plate", errors=(ERROR, ERROR), warnings=(WARNING,))
    waiting, _ = entry(house, mine, files=(), batch_id="plate")
    control = {"date": "2020-01-01", "sampleRole": "negativeControl"}
    processed(house, mine, files=(), batch_id="plate", submitted_metadata=control)
    found = batches.batch(house, ALICE, ORGANISM, "plate")
    assert found["entries"] == 4
    first, second, third, fourth = found["rows"]
    assert tuple(first) == batches.COLUMNS
    assert (first["accession"], first["status"], first["processingResult"]) == (
        good.accession,
        "PROCESSED",
        "NO_ISSUES",
    )
    assert (first["manifestDigest"], first["totalReads"], first["errors"]) == (digest, None, 0)
    assert (second["accession"], second["errors"], second["firstError"]) == (bad.accession, 2, ERROR.message)
    assert (second["warnings"], second["firstWarning"]) == (1, WARNING.message)
    assert (third["accession"], third["status"], third["manifestDigest"]) == (waiting.accession, "RECEIVED", None)
    assert [row["isControl"] for row in found["rows"]] == [False, False, False, True]
    assert fourth["status"] == "PROCESSED"


def test_ninety_are_approved_and_six_are_sent_back(house: House, mine: int) -> None:
    plate = [processed(house, mine, files=(), batch_id="plate") for _ in range(96)]
    bad, good = plate[:6], plate[6:]
    sent = batches.send_back(house, ALICE, ORGANISM, "plate", bad, " swapped wells ")
    assert sent == sorted(name for name, _ in bad)
    approved = approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=good)
    assert approved == sorted(name for name, _ in good)
    rows = batches.batch(house, ALICE, ORGANISM, "plate")["rows"]
    assert sum(row["sentBack"] == "swapped wells" for row in rows) == 6
    assert sum(row["status"] == "APPROVED_FOR_RELEASE" for row in rows) == 90
    line = next(row for row in audit_log(house) if row.action == "send back")
    assert (line.actor, line.details["reason"], len(line.details["sentBack"])) == ("alice", "swapped wells", 6)


def test_what_was_sent_back_cannot_be_approved(house: House, mine: int) -> None:
    name, digest = processed(house, mine)
    other, _ = processed(house, mine)
    send_back(house, ALICE, ORGANISM, [(name, digest)], "wrong date")
    assert review(house, ALICE, ORGANISM, name)["sentBack"]["reason"] == "wrong date"
    with pytest.raises(Unprocessable, match=f"sent back and have not changed since: {name} - wrong date"):
        approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest), (other, None)])
    assert approve(house, ALICE, ORGANISM, scope=Scope.ALL) == [other]
    with pytest.raises(Conflict, match="already"):
        send_back(house, ALICE, ORGANISM, [(name, None)], "again")


def test_what_cannot_be_sent_back(house: House, mine: int) -> None:
    name, digest = processed(house, mine)
    waiting, _ = entry(house, mine)
    with pytest.raises(Unprocessable, match=f"{waiting} - RECEIVED"):
        send_back(house, ALICE, ORGANISM, [(name, None), (waiting, None)], "no")
    with pytest.raises(Conflict):
        send_back(house, ALICE, ORGANISM, [(name, "0" * 64)], "no")
    with pytest.raises(Forbidden):
        send_back(house, BOB, ORGANISM, [(name, None)], "no")
    for reason in ("", "  ", "x" * (MAX_REASON + 1)):
        with pytest.raises(BadRequest, match="reason"):
            send_back(house, ALICE, ORGANISM, [(name, None)], reason)
    with pytest.raises(BadRequest, match="Which"):
        send_back(house, ALICE, ORGANISM, [], "no")
    assert approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)]) == [name]
    with pytest.raises(Unprocessable, match="APPROVED_FOR_RELEASE"):
        send_back(house, ALICE, ORGANISM, [(name, None)], "too late")


def test_only_entries_of_the_batch_are_sent_back_through_it(house: House, mine: int) -> None:
    inside, _ = processed(house, mine, batch_id="plate")
    outside, _ = processed(house, mine, batch_id="other")
    with pytest.raises(NotFound, match=f"no such entries: {outside}"):
        batches.send_back(house, ALICE, ORGANISM, "plate", [(inside, None), (outside, None)], "no")
    assert review(house, ALICE, ORGANISM, inside)["sentBack"] is None


def test_other_eyes_than_the_submitters_must_approve_where_the_organism_says_so(
    house: House, mine: int, tmp_path: Any
) -> None:
    strict = replace(house, organisms={ORGANISM: organism(tmp_path, review=Review(submitter_may_approve=False))})
    with house.sessions.begin() as session:
        session.add(GroupMember(group_id=mine, user_name="bob"))
    own, _ = processed(strict, mine)
    uploaded, _ = processed(strict, mine, submitter="bob")
    third, _ = processed(strict, mine, files=(), submitter="maintainer")
    for name in (own, uploaded):
        with pytest.raises(Unprocessable, match=f"User alice submitted, edited or uploaded .*: {name}$"):
            approve(strict, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, None), (third, None)])
    with pytest.raises(Unprocessable, match=f"User maintainer .*: {third}$"):
        approve(strict, MAINTAINER, ORGANISM, scope=Scope.ALL, accession_versions=[(third, None)])
    assert approve(strict, ALICE, ORGANISM, scope=Scope.ALL) == [third]
    assert approve(strict, BOB, ORGANISM, scope=Scope.ALL) == [own]


HOSTILE = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '"=1"', "a\tb", "a\nb", "plain", "", "Ångström"]


def test_the_machine_table_is_exact_and_the_spreadsheet_harmless() -> None:
    rows = [{"text": text, "number": -1.5} for text in HOSTILE]
    exact = "".join(tsv.lines(["text", "number"], rows))
    read = list(csv.DictReader(io.StringIO(exact, newline=""), delimiter="\t"))
    assert [row["text"] for row in read] == HOSTILE
    safe = "".join(tsv.lines(["text", "number"], rows, for_spreadsheets=True))
    for row in csv.DictReader(io.StringIO(safe, newline=""), delimiter="\t"):
        assert not row["text"].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert row["number"] == "-1.5"
