"""What monitoring sees: figures that agree with the database, health that tells the truth and never hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text, update

from readvault.adapters.s3_client import failures_of
from readvault.api import readiness
from readvault.db import clock
from readvault.db.tables import CondemnedVersion, FixityCheck, Job, LimitOverride, PendingRecord
from readvault.domain.actor import Actor
from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import LeaseLost
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.housekeeping import figures
from readvault.services.people import accounts, tokens
from readvault.services.processing import jobs
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE, MAINTAINER, group_of
from tests.integration.services import scenes

Told = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _read(body: str) -> Told:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


@pytest.fixture
def told(api: TestClient, headers: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(figures, "KEPT_FOR", 0.0)
    monkeypatch.setattr(figures, "SHARE", 1e9)

    def ask(name: str, **labels: str) -> float | None:
        answer = api.get("/metrics", headers=headers(MAINTAINER))
        assert answer.status_code == 200
        return _read(answer.text).get((name, tuple(sorted(labels.items()))))

    return ask


def test_figures_follow_the_life_of_an_entry(told: Any, house: House) -> None:
    group = group_of(house, ALICE)
    assert told("readvault_jobs", kind="process-submission", state="queued") == 0
    _, job_id = scenes.entry(house, group)
    assert told("readvault_jobs", kind="process-submission", state="queued") == 1
    assert told("readvault_entries", organism="sars-cov-2", status="RECEIVED") == 1
    assert 0 <= told("readvault_jobs_oldest_due_seconds", kind="process-submission") < 60
    claim = scenes.claimed(house, job_id)
    assert told("readvault_entries", organism="sars-cov-2", status="IN_PROCESSING") == 1
    assert told("readvault_leases_held") == 1
    results = told("readvault_results_total", organism="sars-cov-2", result="HAS_ERRORS") or 0
    refusals = told("readvault_refusals_total", organism="sars-cov-2", reason="noReads") or 0
    errors = (Annotation(Reason.NO_READS, "a.fastq has no reads", file="a.fastq"),)
    jobs.register(house, claim, scenes.result(house, claim, errors=errors))
    assert told("readvault_results_total", organism="sars-cov-2", result="HAS_ERRORS") == results + 1
    assert told("readvault_refusals_total", organism="sars-cov-2", reason="noReads") == refusals + 1
    assert told("readvault_entries_with_errors", organism="sars-cov-2") == 1
    scenes.processed(house, group)
    assert told("readvault_entries", organism="sars-cov-2", status="PROCESSED") == 2
    assert told("readvault_entries", organism="sars-cov-2", status="APPROVED_FOR_RELEASE") is None
    approve(house, ALICE, "sars-cov-2", scope=Scope.ALL)
    assert told("readvault_entries", organism="sars-cov-2", status="APPROVED_FOR_RELEASE") == 1
    assert told("readvault_entries", organism="sars-cov-2", status="PROCESSED") == 1


def test_what_was_rolled_back_is_not_counted(told: Any, house: House) -> None:
    _, job_id = scenes.entry(house, group_of(house, ALICE))
    claim = scenes.claimed(house, job_id)
    before = told("readvault_results_total", organism="sars-cov-2", result="NO_ISSUES") or 0
    scenes.let_lease_run_out(house, job_id)
    housekeeping.reap(house)
    with pytest.raises(LeaseLost):
        jobs.register(house, claim, scenes.result(house, claim))
    assert (told("readvault_results_total", organism="sars-cov-2", result="NO_ISSUES") or 0) == before


def test_what_needs_attention_is_told(told: Any, house: House) -> None:
    scenes.entry(house, group_of(house, ALICE))
    with house.sessions.begin() as session:
        session.execute(update(Job).values(state="needs attention", attempt=3, failures=3))
    assert told("readvault_jobs", kind="process-submission", state="needs attention") == 1
    assert told("readvault_jobs_failures", kind="process-submission") == 3
    with house.sessions.begin() as session:
        session.execute(update(Job).values(state="running", lease_until=clock.now() - 100))
    assert told("readvault_leases_expired") == 1
    assert told("readvault_leases_first_end_seconds") == pytest.approx(-100, abs=20)


def test_damage_backlog_and_quotas_are_told(told: Any, house: House) -> None:
    group = group_of(house, ALICE)
    scenes.processed(house, group)
    with house.sessions.begin() as session:
        key = session.execute(text("SELECT key FROM stored_object")).scalar_one()
        now = clock.read(session)
        session.add(FixityCheck(key=key, checked_at=now - 500, size=1, damage="missing", damaged_since=now))
        session.add(FixityCheck(key="nobody/expects/this", checked_at=now - 9000, size=1))
        session.add(PendingRecord(kind="document", key="records/x", body="{}", created_at=now - 50))
        session.add(LimitOverride(scope=f"group:{group}", bytes_total=10, reason="-", set_by="-", set_at=now))
        session.execute(text("INSERT INTO upload_usage (scope, sealed_bytes) VALUES (:s, 9)"), {"s": f"group:{group}"})
    assert told("readvault_objects_damaged", damage="missing") == 1
    assert told("readvault_objects_oldest_check_seconds") == pytest.approx(500, abs=20)
    assert told("readvault_records_oldest_seconds") >= 49
    assert told("readvault_quota_near_limit", owner="group") == 1
    assert told("readvault_quota_largest_share", owner="group") == pytest.approx(0.9)


def test_garbage_that_is_gone_waits_for_nothing(told: Any, house: House) -> None:
    with house.sessions.begin() as session:
        now = clock.read(session)
        for name, deleted_at in (("waits", None), ("gone", now)):
            row = CondemnedVersion(key=name, version_id="v", size=7, category="-", condemned_at=now)
            row.deleted_at = deleted_at
            session.add(row)
    assert told("readvault_condemned_versions") == 1
    assert told("readvault_condemned_bytes") == 7


def test_requests_are_counted_by_template_and_no_label_holds_what_was_sent(
    api: TestClient, headers: Any, told: Any
) -> None:
    for path in ("/groups/424242", "/secret-canary/get-released-data", "/secret-canary", "/files/secret-canary"):
        api.get(path, headers=headers(ALICE))
    api.get("/files/secret-canary")
    assert told("readvault_http_requests_total", route="/groups/{group_id}", method="GET", status="4xx") >= 1
    assert told("readvault_http_requests_total", route="none", method="GET", status="4xx") >= 1
    assert told("readvault_http_request_seconds_count", route="/groups/{group_id}", method="GET") >= 1
    body = api.get("/metrics", headers=headers(MAINTAINER)).text
    assert "canary" not in body
    assert "424242" not in body


def test_failures_of_s3_are_counted_without_its_words(told: Any) -> None:
    from botocore.exceptions import ClientError

    from readvault.domain.errors import ProcessingFailure

    def fail(code: str) -> None:
        with pytest.raises(ProcessingFailure), failures_of("probe"):
            raise ClientError({"Error": {"Code": code}}, "GetObject")

    before = told("readvault_s3_failures_total", operation="probe", kind="SlowDown") or 0
    fail("SlowDown")
    fail("https://s3/secret?X-Amz-Signature=canary")
    assert told("readvault_s3_failures_total", operation="probe", kind="SlowDown") == before + 1
    assert told("readvault_s3_failures_total", operation="probe", kind="other") >= 1


@pytest.mark.parametrize(("scopes", "status"), [(["metrics"], 200), (["review"], 403), (["maintain"], 403)])
def test_a_token_reads_figures_only_when_it_is_made_for_it(
    api: TestClient, house: House, scopes: list[str], status: int
) -> None:
    accounts.create_account(house, MAINTAINER.name, "a long password")
    _, token = tokens.make_token(house, MAINTAINER, name="prometheus", scopes=scopes, days=1)
    assert api.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == status
    assert api.get("/admin/audit", headers={"Authorization": f"Bearer {token}"}).status_code == 403


def test_only_maintainers_make_such_tokens(api: TestClient, headers: Any) -> None:
    wanted = {"name": "p", "scopes": ["metrics"], "expiresInDays": 1}
    assert api.post("/user/tokens", json=wanted, headers=headers(ALICE)).status_code == 403
    assert api.post("/user/tokens", json=wanted, headers=headers(MAINTAINER)).status_code in (200, 201)


def test_figures_are_kept_for_a_while(house: House) -> None:
    kept = figures.Figures(house)
    assert kept.now(MAINTAINER) is kept.now(MAINTAINER)
    scoped = Actor("prometheus", scopes=frozenset({"metrics"}))
    assert kept.now(scoped) is kept.now(MAINTAINER)


@pytest.fixture
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "KEPT_FOR", 0.0)


READY = "/actuator/health/readiness"


@pytest.mark.usefixtures("asked_anew")
def test_ready_means_that_database_triggers_and_storage_are_there(api: TestClient, headers: Any, house: House) -> None:
    whole = api.get(READY, headers=headers(MAINTAINER))
    assert (whole.status_code, whole.json()["status"]) == (200, "UP")
    assert api.get(READY).json() == {"status": "UP"}
    house.store.down = True  # type: ignore[attr-defined]
    down = api.get(READY, headers=headers(MAINTAINER))
    assert down.status_code == 503
    assert {name: part["status"] for name, part in down.json()["components"].items()} == {
        "database": "UP",
        "organisms": "UP",
        "storage": "DOWN",
    }
    assert api.get(READY, headers=headers(ALICE)).json() == {"status": "DOWN"}
    assert api.get("/actuator/health/liveness").json() == {"status": "UP"}


@pytest.mark.usefixtures("asked_anew")
def test_a_missing_trigger_or_another_schema_is_not_ready(api: TestClient, headers: Any, house: House) -> None:
    from readvault.db import immutability

    with house.sessions.engine.begin() as connection:
        immutability.lift(connection)
    answer = api.get(READY, headers=headers(MAINTAINER))
    assert answer.status_code == 503
    assert "triggers are missing" in answer.json()["components"]["database"]["details"]["told"]
    with house.sessions.engine.begin() as connection:
        immutability.install(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    answer = api.get(READY, headers=headers(MAINTAINER))
    assert "its schema is 0001" in answer.json()["components"]["database"]["details"]["told"]


@pytest.fixture
def hanging(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A store that takes the question and never answers."""
    let_go, asked = threading.Event(), []

    def never(_: str) -> Iterator[Any]:
        asked.append(1)
        let_go.wait(30)
        return iter(())

    monkeypatch.setattr(house.store, "list_versions", never)
    yield asked
    let_go.set()


@pytest.mark.usefixtures("asked_anew")
def test_a_storage_that_hangs_is_down_at_once_and_takes_one_thread(
    api: TestClient, hanging: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PATIENCE", 0.1)
    began = time.monotonic()
    assert [api.get(READY).status_code for _ in range(3)] == [503] * 3
    assert time.monotonic() - began < 5
    assert len(hanging) == 1
    assert api.get("/actuator/health").status_code == 200


def test_a_storage_that_has_hung_for_a_while_keeps_no_probe_waiting(
    api: TestClient, hanging: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers may ask as often as they like: only the first waits."""
    monkeypatch.setattr(readiness, "PATIENCE", 0.3)
    assert api.get(READY).status_code == 503
    began = time.monotonic()
    assert [api.get(READY).json() for _ in range(5)] == [{"status": "DOWN"}] * 5
    assert time.monotonic() - began < 1
    assert len(hanging) == 1
