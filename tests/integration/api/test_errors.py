"""Every fault has one code and one shape, and none tells what it shouldn't."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import exc

from readvault.api.app import BYTES_OF_JSON
from readvault.domain import errors
from readvault.domain.annotations import Annotation, Reason
from tests.houses import ALICE
from tests.integration.api.problems import assert_problem

KINDS = {
    errors.BadRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    errors.Unprocessable: 422,
    errors.TooMany: 429,
    errors.Unavailable: 503,
}
SECRET = "X-Amz-Signature=abcdef"


def _failing(app: FastAPI, fault: Exception) -> None:
    def fail() -> None:
        raise fault

    app.add_api_route("/groups/failing/now", fail)
    app.add_api_route("/groups/failing", fail)
    app.router.routes.insert(0, app.router.routes.pop())


@pytest.mark.parametrize(("kind", "status"), KINDS.items(), ids=lambda value: getattr(value, "__name__", str(value)))
def test_each_broken_rule_has_its_code(
    app: FastAPI, api: TestClient, kind: type[errors.RuleViolation], status: int
) -> None:
    _failing(app, kind("what is wrong"))
    assert assert_problem(api.get("/groups/failing"), status) == "what is wrong"


def test_every_kind_of_broken_rule_is_in_the_table() -> None:
    assert set(errors.RuleViolation.__subclasses__()) == set(KINDS)


def test_an_invalid_submission_tells_everything_at_once(app: FastAPI, api: TestClient) -> None:
    _failing(
        app, errors.InvalidSubmission([Annotation(Reason.EMPTY_FILE, "first"), Annotation(Reason.NO_READS, "2nd")])
    )
    assert assert_problem(api.get("/groups/failing"), 422) == "first\n2nd"


@pytest.mark.parametrize("fault", [errors.ProcessingFailure("stage", SECRET), errors.NotReady(SECRET)])
def test_our_failures_ask_to_try_again_and_tell_no_internals(app: FastAPI, api: TestClient, fault: Exception) -> None:
    _failing(app, fault)
    response = api.get("/groups/failing")
    assert SECRET not in assert_problem(response, 503)
    assert int(response.headers["retry-after"]) > 0


def _a_standby() -> Exception:
    """What a database says that only reads, as after a failover."""
    fault = Exception("cannot execute INSERT in a read-only transaction")
    fault.sqlstate = "25006"  # type: ignore[attr-defined]
    return fault


DATABASE_FAULTS = [
    exc.OperationalError("SELECT 1", {}, Exception(SECRET)),
    exc.InternalError("INSERT", {}, _a_standby()),
    exc.TimeoutError("QueuePool limit of size 5 overflow 10 reached"),
    exc.DBAPIError("SELECT 1", {}, Exception("terminating connection"), connection_invalidated=True),
]


@pytest.mark.parametrize("fault", DATABASE_FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_database_that_is_down_or_overloaded_asks_to_try_again(
    app: FastAPI, api: TestClient, fault: Exception
) -> None:
    _failing(app, fault)
    response = api.get("/groups/failing")
    assert SECRET not in assert_problem(response, 503)
    assert int(response.headers["retry-after"]) > 0


def test_the_unexpected_is_told_and_logged_without_its_text(
    app: FastAPI, api: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    _failing(app, RuntimeError(f"connect to https://s3/?{SECRET}"))
    with caplog.at_level(logging.ERROR):
        response = api.get("/groups/failing", headers={"x-request-id": "my-request-7"})
    assert "my-request-7" in assert_problem(response, 500)
    assert "my-request-7" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "test_errors.py" in caplog.text
    for told in (response.text, caplog.text):
        assert SECRET not in told
        assert "https://s3" not in told


def test_unknown_paths_and_methods(api: TestClient, headers: Any) -> None:
    assert_problem(api.get("/nowhere/at/all", headers=headers(ALICE)), 404)
    assert_problem(api.delete("/loculus-info", headers=headers(ALICE)), 405)


def test_an_unknown_organism_lists_the_known(api: TestClient, headers: Any) -> None:
    text = "Invalid organism: ebola, possible values are: [sars-cov-2]"
    assert_problem(api.get("/ebola/get-sequences", headers=headers(ALICE)), 400, text)
    assert_problem(api.get("/ebola/get-released-data"), 400, text)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "no valid JSON"),
        (b"", "A JSON body is required"),
        (b"[]", "Input should be a valid dictionary"),
        (b'{"groupId": 1}', "Required parameter 'files' is not present."),
        (b'{"groupId": null, "files": [{"name": "a", "size": 1}]}', "'groupId'"),
        (b'{"groupId": 1, "files": []}', "'files'"),
        (b'{"groupId": 99999999999, "files": [{"name": "a", "size": 1}]}', "'groupId'"),
        (b'{"groupId": 1, "files": [{"name": "a", "size": -1}]}', "'files.0.size'"),
        (b'{"groupId": 1, "files": [{"name": "a\\u0000", "size": 1}]}', "NUL"),
        (b'{"groupId": 1, "files": [{"name": "a\\ud800", "size": 1}]}', "'files.0.name'"),
        (b'{"groupId": 1, "files": [{"name": "a", "size": 1, "sha256": "xyz"}]}', "'files.0.sha256'"),
    ],
)
def test_malformed_bodies_are_bad_requests(api: TestClient, headers: Any, body: bytes, text: str) -> None:
    sent = {**headers(ALICE), "content-type": "application/json"}
    assert_problem(api.post("/files/request-uploads", content=body, headers=sent), 400, text)


def test_many_faults_are_not_echoed_without_end(api: TestClient, headers: Any) -> None:
    body = {"groupId": 1, "files": [{}] * 5000}
    detail = assert_problem(api.post("/files/request-uploads", json=body, headers=headers(ALICE)), 400, "more faults")
    assert len(detail) < 5000


def test_bodies_over_the_cap_are_refused_by_length_and_by_count(api: TestClient, headers: Any) -> None:
    long = b"x" * (BYTES_OF_JSON + 1)
    declared = {**headers(ALICE), "content-type": "application/json"}
    assert_problem(api.post("/groups", content=long, headers=declared), 413, f"{BYTES_OF_JSON} bytes")
    streamed = api.post("/groups", content=iter([long[: len(long) // 2]] * 3), headers=declared)
    assert_problem(streamed, 413, f"{BYTES_OF_JSON} bytes")


def test_what_no_database_can_hold_is_a_bad_request(api: TestClient, headers: Any) -> None:
    for path in ("/files/%00", "/groups?name=%00", "/sars-cov-2/review/A%00/1", "/groups/1/users/a%00"):
        assert_problem(api.get(path, headers=headers(ALICE)), 400, "NUL")


def test_every_answer_has_an_id_and_its_security_headers(api: TestClient, headers: Any) -> None:
    answers = [
        api.get("/"),
        api.get("/nowhere"),
        api.get("/groups/77"),
        api.get("/user/groups", headers=headers(ALICE)),
        api.get("/user/groups", headers={"Authorization": "Bearer forged"}),
        api.post("/groups", content=b"{", headers=headers(ALICE)),
    ]
    for answer in answers:
        assert len(answer.headers["x-request-id"]) == 36
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "no-store"
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_a_request_id_is_echoed_unless_it_is_odd(api: TestClient) -> None:
    assert api.get("/", headers={"x-request-id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for odd in ("a b", "x" * 129, "<script>"):
        assert api.get("/", headers={"x-request-id": odd}).headers["x-request-id"] != odd


def test_a_page_of_another_origin_may_ask_and_read_errors(api: TestClient) -> None:
    preflight = api.options(
        "/files/request-uploads",
        headers={
            "Origin": "https://database.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        },
    )
    assert preflight.status_code == 200
    refused = api.get("/user/groups", headers={"Origin": "https://database.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in refused.headers


def test_errors_are_json_that_loculus_clients_can_read(api: TestClient) -> None:
    assert list(json.loads(api.get("/groups/77").text)) == ["type", "title", "status", "detail", "instance"]


def test_a_database_that_kills_a_deadlock_is_no_bug_of_the_request(app: FastAPI, api: TestClient) -> None:
    from sqlalchemy.exc import OperationalError

    _failing(app, OperationalError(SECRET, {}, Exception("deadlock detected")))
    answer = api.get("/groups/failing")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert SECRET not in answer.text
