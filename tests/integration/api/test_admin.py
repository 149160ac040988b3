"""What maintainers do by hand, over HTTP."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobState
from readvault.services.house import House
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE, BOB, MAINTAINER
from tests.integration.api.problems import assert_problem
from tests.integration.services import scenes

WHY = {"reason": "the patient took back consent"}


@pytest.fixture
def released(house: House) -> AccessionVersion:
    name, digest = scenes.processed(house, scenes.group(house, "alice"))
    approve(house, ALICE, scenes.ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    return name


def path(name: AccessionVersion, what: str) -> str:
    return f"/admin/entries/{name.accession}/{name.version}/{what}"


def test_steps_and_their_history(api: TestClient, headers: Any, released: AccessionVersion) -> None:
    root = headers(MAINTAINER)
    done = api.post(path(released, "suppress"), json=WHY, headers=root)
    assert done.status_code == 200
    body = done.json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["at"])
    expected = {"accession": released.accession, "version": 1, "visibility": "SUPPRESSED", "actor": "maintainer"}
    assert body == {**expected, **WHY, "at": body["at"]}
    assert_problem(api.post(path(released, "suppress"), json=WHY, headers=root), 409, "It is SUPPRESSED")
    assert api.post(path(released, "restore"), json=WHY, headers=root).json()["visibility"] == "PUBLIC"
    told = api.get(path(released, "interventions"), headers=root).json()
    assert [each["visibility"] for each in told] == ["SUPPRESSED", "PUBLIC"]
    assert_problem(api.post(path(released, "withdraw"), json=WHY, headers=headers(ALICE)), 403)


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  \n"}, {"reason": "\x00" * 9}, {"reason": 7}, []])
@pytest.mark.parametrize("what", ["withdraw", "originals"])
def test_without_a_reason_nothing_is_done(
    api: TestClient, headers: Any, released: AccessionVersion, what: str, body: Any
) -> None:
    assert_problem(api.post(path(released, what), json=body, headers=headers(MAINTAINER)), 400)
    assert api.get(path(released, "interventions"), headers=headers(MAINTAINER)).json() == []


def test_an_unknown_step_is_a_malformed_request(api: TestClient, headers: Any, released: AccessionVersion) -> None:
    assert_problem(api.post(path(released, "explode"), json=WHY, headers=headers(MAINTAINER)), 400)


def test_opened_originals_are_on_record(
    api: TestClient, headers: Any, house: House, released: AccessionVersion
) -> None:
    opened = api.post(path(released, "originals"), json=WHY, headers=headers(MAINTAINER)).json()
    assert [set(file) for file in opened] == [{"fileId", "category", "name", "size", "sha256", "url"}]
    root = headers(MAINTAINER)
    by_id = api.get("/admin/file-access", params={"file": opened[0]["fileId"]}, headers=root).json()
    named = f"{released}/rawReads/{opened[0]['name']}"
    assert api.get("/admin/file-access", params={"file": named}, headers=root).json() == by_id
    assert [(row["actor"], row["purpose"], row["reason"]) for row in by_id] == [
        ("maintainer", "break-glass", WHY["reason"])
    ]
    assert_problem(api.get("/admin/file-access", params={"file": "what?"}, headers=root), 400)
    assert_problem(api.get("/admin/file-access", params={"file": f"{released}/no/such"}, headers=root), 404)
    assert_problem(api.get("/admin/file-access", params={"file": named}, headers=headers(ALICE)), 403)


def test_the_audit_log_is_read_page_by_page(api: TestClient, headers: Any, released: AccessionVersion) -> None:
    root = headers(MAINTAINER)
    for step in ("suppress", "restore", "withdraw", "restore"):
        assert api.post(path(released, step), json=WHY, headers=root).status_code == 200
    whole = api.get("/admin/audit", headers=root).json()["entries"]
    pages, before = [], None
    while True:
        asked = {"size": 2, **({} if before is None else {"before": before})}
        answer = api.get("/admin/audit", params=asked, headers=root).json()
        pages += answer["entries"]
        before = answer["next"]
        if before is None:
            break
    assert pages == whole
    assert [row["id"] for row in whole] == sorted((row["id"] for row in whole), reverse=True)
    chosen = {"actor": "maintainer", "action": "restore", "subject": str(released)}
    assert len(api.get("/admin/audit", params=chosen, headers=root).json()["entries"]) == 2
    assert api.get("/admin/audit", params={"actor": "nobody"}, headers=root).json() == {"entries": [], "next": None}
    for bad in ({"size": 0}, {"size": 1001}, {"before": -1}, {"before": 2**70}, {"size": "x"}):
        assert_problem(api.get("/admin/audit", params=bad, headers=root), 400)
    assert_problem(api.get("/admin/audit", headers=headers(BOB)), 403)


def test_jobs_that_need_attention_are_seen_page_by_page_and_queued_again(
    api: TestClient, headers: Any, house: House
) -> None:
    root, mine = headers(MAINTAINER), scenes.group(house, "alice")
    stuck = [scenes.entry(house, mine) for _ in range(3)]
    _, queued = scenes.entry(house, mine)
    for _, job_id in stuck:
        changed = {"state": JobState.NEEDS_ATTENTION.value, "last_error": "align: a tool crashed", "failures": 3}
        scenes.change(house, job_id, **changed)
    first = api.get("/admin/jobs", params={"size": 2}, headers=root).json()
    rest = api.get("/admin/jobs", params={"size": 2, "after": first["next"]}, headers=root).json()
    assert rest["next"] is None
    told = [*first["jobs"], *rest["jobs"]]
    assert [(each["id"], f"{each['accession']}.{each['version']}") for each in told] == [
        (job_id, str(name)) for name, job_id in stuck
    ]
    assert {(each["reason"], each["failures"], each["handbacks"]) for each in told} == {("align: a tool crashed", 3, 0)}
    again = stuck[0][1]
    assert api.post(f"/admin/jobs/{again}/retry", headers=root).status_code == 204
    assert (scenes.job(house, again).state, scenes.job(house, again).failures) == (JobState.QUEUED, 0)
    assert [each["id"] for each in api.get("/admin/jobs", headers=root).json()["jobs"]] == [
        each for _, each in stuck[1:]
    ]
    assert_problem(api.post(f"/admin/jobs/{again}/retry", headers=root), 409, "needs attention")
    assert_problem(api.post(f"/admin/jobs/{queued}/retry", headers=root), 409)
    assert_problem(api.post("/admin/jobs/none/retry", headers=root), 404)
    for bad in ({"size": 0}, {"size": 1001}, {"after": "none"}):
        assert_problem(api.get("/admin/jobs", params=bad, headers=root), 400)
