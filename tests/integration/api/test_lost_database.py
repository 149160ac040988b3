"""Requests that lose their database on the way: done once more where that is safe, else 503, never half done."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api import once_more
from readvault.api.app import create_app
from readvault.db import engine as engines
from readvault.db.engine import Sessions, create_engine
from readvault.db.tables import Group, GroupMember
from readvault.services.house import House
from tests.broken_database import BROKEN, VICTIM, failing
from tests.houses import ALICE
from tests.integration.api.problems import assert_problem
from tests.integration.services import scenes

GROUP = {
    "groupName": "A group",
    "institution": "Institution",
    "address": {"line1": "1 Way", "city": "Basel", "postalCode": "4000", "country": "Switzerland"},
    "contactEmail": "group@example.org",
}


def groups(house: House) -> list[tuple[str, str]]:
    with house.sessions.read() as session:
        return list(session.exec(select(Group.name, GroupMember.user_name).join(GroupMember)))


@pytest.mark.parametrize("instead", [BROKEN, VICTIM], ids=["connection", "deadlock"])
def test_what_was_not_begun_to_be_written_is_done_once_more(
    api: TestClient, headers: Any, house: House, instead: str
) -> None:
    """Broken at each of its statements in turn, the same request makes exactly one group each time."""
    with failing(house.sessions, at=10**6) as came:
        assert api.post("/groups", json=GROUP, headers=headers(ALICE)).status_code == 200
        statements = came()
    assert statements >= 3
    for number in range(1, statements + 1):
        with failing(house.sessions, at=number, instead=instead):
            assert api.post("/groups", json=GROUP, headers=headers(ALICE)).status_code == 200, number
    assert groups(house) == [("A group", "alice")] * (1 + statements)


def test_a_request_that_breaks_twice_is_told_to_come_again(api: TestClient, headers: Any, house: House) -> None:
    for method, path, body in (("POST", "/groups", GROUP), ("GET", "/user/groups", None)):
        with failing(house.sessions, at=2, times=10**6):
            answer = api.request(method, path, json=body, headers=headers(ALICE))
        assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
    assert groups(house) == []
    assert api.post("/groups", json=GROUP, headers=headers(ALICE)).status_code == 200


def test_a_write_whose_commit_nobody_knows_of_is_not_done_again(
    api: TestClient, headers: Any, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks at the commit: the caller decides, and a read finds whole groups only."""

    def breaks(connection: Any) -> None:
        if connection.get_execution_options().get("readvault_writes", True):
            connection.invalidate()
            raise OperationalError("COMMIT", {}, Exception("broken"), connection_invalidated=True)

    event.listen(house.sessions.engine, "commit", breaks)
    try:
        answer = api.post("/groups", json=GROUP, headers=headers(ALICE))
    finally:
        event.remove(house.sessions.engine, "commit", breaks)
    assert_problem(answer, 503)
    assert answer.headers["retry-after"]
    assert groups(house) == []


def test_a_safe_request_is_repeated_whatever_it_has_written(app: FastAPI, api: TestClient, house: House) -> None:
    calls = []

    def route() -> dict[str, int]:
        with house.sessions.begin():
            calls.append(1)
        if len(calls) == 1:
            raise OperationalError("SELECT", {}, Exception("broken"), connection_invalidated=True)
        return {"calls": len(calls)}

    for method in ("GET", "POST"):
        app.add_api_route("/groups/probe", route, methods=[method])
        app.router.routes.insert(0, app.router.routes.pop())
    assert api.get("/groups/probe").json() == {"calls": 2}


def test_a_long_body_is_not_kept(api: TestClient, headers: Any, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once_more, "KEPT_BYTES", 10)
    with failing(house.sessions, at=3):
        assert_problem(api.post("/groups", json=GROUP, headers=headers(ALICE)), 503)
    assert groups(house) == []


def test_a_database_that_stays_locked_is_told_as_such(
    house: House, issuer: EmbeddedIssuer, portal: BlockingPortal, headers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite: another program holds the write lock for longer than we wait. Reads go on."""
    if house.sessions.dialect != "sqlite":
        pytest.skip("SQLite's lock")
    scenes.group(house, "alice")
    monkeypatch.setattr(engines, "BUSY_TIMEOUT", 0.05)
    url = house.sessions.engine.url
    impatient = Sessions(create_engine(url.render_as_string(hide_password=False)))
    client = TestClient(create_app(replace(house, sessions=impatient), Identity(issuer)), raise_server_exceptions=False)
    client.portal = portal
    with closing(sqlite3.connect(str(url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = client.post("/groups", json=GROUP, headers=headers(ALICE))
        assert_problem(answer, 503)
        assert answer.headers["retry-after"]
        assert client.get("/user/groups", headers=headers(ALICE)).status_code == 200
        other.execute("ROLLBACK")
    assert client.post("/groups", json=GROUP, headers=headers(ALICE)).status_code == 200
    impatient.close()


def test_no_free_connection_in_time_is_no_bug_of_the_request(
    api: TestClient, headers: Any, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool: Any = house.sessions.engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.05)
    held = []
    try:
        held = [house.sessions.engine.connect() for _ in range(pool.size() + pool._max_overflow)]
        answer = api.get("/user/groups", headers=headers(ALICE))
        assert_problem(answer, 503)
        assert answer.headers["retry-after"]
    finally:
        for connection in held:
            connection.close()
