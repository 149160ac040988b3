"""The maintainers' pages as maintainers use them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import select

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.config import PrefectSettings
from readvault.db.tables import Erasure, FixityCheck
from readvault.domain.actor import MAINTAINER_ROLE
from readvault.domain.status import JobState
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from readvault.services.storage.erasing import erasure
from readvault.web.maintain.desk import prefect_pages
from readvault.web.mounting import add_pages
from tests.houses import MAINTAINER
from tests.integration.api.browser import Browser
from tests.integration.services import compared, scenes

HERE = "/web/maintain"


def _site(house: House, issuer: EmbeddedIssuer) -> FastAPI:
    identity = Identity(issuer)
    return add_pages(create_app(house, identity), house, identity)


@pytest.fixture
def site(house: House, issuer: EmbeddedIssuer) -> FastAPI:
    create_account(house, "alice", "password")
    for name in (MAINTAINER.name, "second"):
        create_account(house, name, "password", roles=[MAINTAINER_ROLE])
    return _site(house, issuer)


@pytest.fixture
def browser(site: FastAPI, portal: BlockingPortal) -> Browser:
    client = TestClient(site, follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    return Browser(client)


def _stuck(house: House, group_id: int, cause: str) -> str:
    _, job_id = scenes.entry(house, group_id)
    scenes.change(house, job_id, state=JobState.NEEDS_ATTENTION.value, last_error=cause, failures=3, run_id="run-1")
    return job_id


def test_the_overview_of_a_house_in_which_nothing_waits(browser: Browser) -> None:
    page = browser.log_in(MAINTAINER.name, "password")
    page = browser.get(page.links["Maintenance"])
    assert (page.status, page.path) == (200, HERE)
    for expected in ("Nothing waits for a maintainer", "Nothing is to be done", "none is known to be damaged"):
        assert expected in page.text
    assert "no host index is configured" in page.text
    assert "Prefect" not in page.text


def test_the_overview_tells_what_waits_and_what_is_broken(browser: Browser, house: House) -> None:
    group_id = scenes.group(house, "alice")
    for number in range(3):
        _stuck(house, group_id, f"fetch: cause {number}")
    compared.processed_again(house, compared.released(house, group_id))
    with house.sessions.begin() as session:
        session.add(FixityCheck(key="vault/1/x", checked_at=0.0, size=1, damage="missing", damaged_since=0.0))
    browser.log_in(MAINTAINER.name, "password")
    page = browser.get(HERE)
    for expected in ("3 jobs need attention", "1 results wait for a decision", "1 is damaged", "process-submission"):
        assert expected in page.text
    assert page.runnable == []


def test_others_see_nothing_of_it(browser: Browser, house: House) -> None:
    assert browser.get(HERE).path.startswith("/web/login?next=")
    page = browser.log_in("alice", "password")
    assert "Maintenance" not in page.text
    for path in ("", "/jobs", "/reprocessing", "/results", "/results/1", "/confirmations"):
        page = browser.get(HERE + path)
        assert (page.status, "may not maintain the instance" in page.text) == (403, True), path
    csrf = browser.get("/web").forms[0].hidden["csrf"]
    job_id = _stuck(house, scenes.group(house, "alice"), "x")
    assert browser.post(f"{HERE}/jobs", {"csrf": csrf, "action": "retry", "chosen": job_id}).status == 403
    assert scenes.job(house, job_id).state == JobState.NEEDS_ATTENTION


def test_jobs_are_retried_once_their_cause_is_gone(browser: Browser, house: House) -> None:
    group_id = scenes.group(house, "alice")
    stuck = [_stuck(house, group_id, f"align: <b>minimap2</b> ended with {number}") for number in range(3)]
    browser.log_in(MAINTAINER.name, "password")
    page = browser.get(f"{HERE}/jobs")
    assert "align: <b>minimap2</b> ended with 2" in page.text
    assert "&lt;b&gt;" in page.html
    assert list(page.form("retry").boxes) == stuck
    assert browser.send(page, "retry").status == 400
    assert all(browser.get(f"{HERE}/jobs", choose="all").form("retry").boxes.values())
    page = browser.send(page, "retry", chosen=stuck[:2])
    assert "Queued again: 2." in page.text
    assert [scenes.job(house, job_id).state for job_id in stuck] == ["queued", "queued", "needs attention"]
    assert scenes.job(house, stuck[0]).failures == 0
    page = browser.send(page, "retry", chosen=[*stuck, "none"])
    assert "Queued again: 1." in page.text
    assert "Somebody else was first with 3." in page.text
    assert "None does." in page.text
    assert [row.actor for row in scenes.audit_log(house) if row.action == "retry job"] == [MAINTAINER.name] * 3


def test_many_jobs_come_page_by_page(browser: Browser, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from readvault.web.maintain import jobs

    monkeypatch.setattr(jobs, "ROWS", 2)
    group_id = scenes.group(house, "alice")
    stuck = [_stuck(house, group_id, "x") for _ in range(5)]
    browser.log_in(MAINTAINER.name, "password")
    page, seen = browser.get(f"{HERE}/jobs"), []
    while True:
        seen += list(page.form("retry").boxes)
        if "More" not in page.links:
            break
        page = browser.get(f"{HERE}/jobs{page.links['More']}")
    assert sorted(seen) == sorted(stuck)
    assert browser.get(f"{HERE}/jobs", after="nothing").status == 400


def test_a_form_of_another_site_decides_nothing(browser: Browser, house: House) -> None:
    job_id = _stuck(house, scenes.group(house, "alice"), "x")
    browser.log_in(MAINTAINER.name, "password")
    good = {**browser.get(f"{HERE}/jobs").form("retry").hidden, "action": "retry", "chosen": job_id}
    for fields, headers in (({**good, "csrf": "0" * 64}, {}), (good, {"Sec-Fetch-Site": "cross-site"})):
        for path in ("/jobs", "/confirmations/erasures/1", "/results", "/results/1", "/reprocessing/1"):
            assert browser.post(HERE + path, fields, headers).status == 403, path
    assert scenes.job(house, job_id).state == JobState.NEEDS_ATTENTION


def test_an_erasure_takes_a_second_maintainer(browser: Browser, house: House) -> None:
    name = compared.released(house, scenes.group(house, "alice"))
    row, _ = erasure.request(house, MAINTAINER, [name], "a court's <order>")
    browser.log_in(MAINTAINER.name, "password")
    page = browser.get(f"{HERE}/confirmations")
    assert "another maintainer has to confirm" in page.text
    assert not [form for form in page.forms if "confirm" in form.buttons]
    browser.client.cookies.clear()
    browser.log_in("second", "password")
    page = browser.get(f"{HERE}/confirmations")
    assert "a court's <order>" in page.text
    right = str(row.objects)
    for objects, sure, status in ((right, "", 400), ("", "yes", 400), ("x", "yes", 400), ("999", "yes", 409)):
        answer = browser.send(page, "confirm", chosen=[], objects=objects, sure=sure)
        assert (answer.status, "confirm" in answer.form("confirm").buttons) == (status, True)
    page = browser.send(page, "confirm", chosen=[], objects=right, sure="yes")
    assert "nobody reads these versions any more" in page.text
    with house.sessions.read() as session:
        assert session.exec(select(Erasure.confirmed_by)).one() == "second"
    assert browser.send(browser.get("/web"), "submit").status == 200


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"api_url": "http://127.0.0.1:4200/api"}, "http://127.0.0.1:4200"),
        ({"api_url": "http://user:secret@prefect:4200/api/"}, "http://prefect:4200"),
        ({"api_url": "http://[::1]:4200/api"}, "http://[::1]:4200"),
        (
            {"api_url": "http://prefect/api", "ui_url": "https://me:x@ui.example/prefect/?key=1#a"},
            "https://ui.example/prefect",
        ),
        ({"ui_url": "javascript:alert(1)"}, None),
        ({"ui_url": "http://ui.example:99999"}, None),
        ({"ui_url": "//ui.example"}, None),
    ],
)
def test_prefect_is_linked_without_secrets(settings: dict[str, str], expected: str | None) -> None:
    assert prefect_pages(PrefectSettings(**settings)) == expected


def test_a_job_links_to_its_run_where_there_is_prefect(house: House, issuer: EmbeddedIssuer, site: FastAPI) -> None:
    _stuck(house, scenes.group(house, "alice"), "x")
    prefect = house.settings.prefect.model_copy(update={"ui_url": "https://prefect.example"})
    other = replace(house, settings=house.settings.model_copy(update={"prefect": prefect}))
    browser = Browser(TestClient(_site(other, issuer), follow_redirects=False))
    browser.log_in(MAINTAINER.name, "password")
    assert browser.get(f"{HERE}/jobs").links["last run"] == "https://prefect.example/runs/flow-run/run-1"
    assert browser.get(HERE).links["Dashboard"] == "https://prefect.example/dashboard"
