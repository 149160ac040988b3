"""The maintainers' pages as maintainers use them."""

from __future__ import annotations

import gzip
import html
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select as select_columns
from sqlmodel import col, select

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.config import PrefectSettings
from readvault.db import entry_state
from readvault.db.tables import ComparedResult, Erasure, FixityCheck, Manifest, Reprocessing
from readvault.domain.actor import Actor
from readvault.domain.annotations import Annotation, Reason
from readvault.domain.status import JobState
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from readvault.services.reprocessing import going_back, orders
from readvault.services.reprocessing.choices import Choice
from readvault.services.storage.erasing import erasure
from readvault.web.maintain.desk import prefect_pages
from readvault.web.mounting import add_pages
from tests.houses import ALICE, MAINTAINER
from tests.integration.api.browser import Browser
from tests.integration.api.hostile import PAYLOADS
from tests.integration.api.test_web_hostile import ACTIVE, ODD, served
from tests.integration.services import compared, scenes

HERE = "/web/maintain"


def _site(house: House, issuer: EmbeddedIssuer) -> FastAPI:
    identity = Identity(issuer)
    return add_pages(create_app(house, identity), house, identity)


@pytest.fixture
def site(house: House, issuer: EmbeddedIssuer) -> FastAPI:
    return _site(house, issuer)


def _browser(site: FastAPI, portal: BlockingPortal, actor: Actor | None = None) -> Browser:
    """A browser; of an actor who is logged in: to hash passwords takes longer than the rest."""
    client = TestClient(site, follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    browser = Browser(client)
    if actor is not None:
        client.cookies.set("readvault-session", site.state.site.identity.embedded.tokens(actor)["access_token"])
    return browser


@pytest.fixture
def browser(site: FastAPI, portal: BlockingPortal) -> Browser:
    return _browser(site, portal, MAINTAINER)


def _stuck(house: House, group_id: int, cause: str) -> str:
    _, job_id = scenes.entry(house, group_id)
    scenes.change(house, job_id, state=JobState.NEEDS_ATTENTION.value, last_error=cause, failures=3, run_id="run-1")
    return job_id


def test_the_overview_of_a_house_in_which_nothing_waits(browser: Browser) -> None:
    page = browser.get(browser.get("/web").links["Maintenance"])
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
    page = browser.get(HERE)
    for expected in ("3 jobs need attention", "1 results wait for a decision", "1 is damaged", "process-submission"):
        assert expected in page.text
    assert page.runnable == []


def test_others_see_nothing_of_it(house: House, site: FastAPI, portal: BlockingPortal) -> None:
    assert _browser(site, portal).get(HERE).path.startswith("/web/login?next=")
    browser = _browser(site, portal, ALICE)
    page = browser.get("/web")
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
    good = {**browser.get(f"{HERE}/jobs").form("retry").hidden, "action": "retry", "chosen": job_id}
    for fields, headers in (({**good, "csrf": "0" * 64}, {}), (good, {"Sec-Fetch-Site": "cross-site"})):
        for path in ("/jobs", "/confirmations/erasures/1", "/results", "/results/1", "/reprocessing/1"):
            assert browser.post(HERE + path, fields, headers).status == 403, path
    assert scenes.job(house, job_id).state == JobState.NEEDS_ATTENTION


def _waiting(house: House, count: int = 1) -> list[int]:
    group_id = scenes.group(house, "alice")
    return [compared.processed_again(house, compared.released(house, group_id)) for _ in range(count)]


def _states(house: House) -> list[str]:
    with house.sessions.read() as session:
        return list(session.exec(select(ComparedResult.state).order_by(col(ComparedResult.id))))


def _standing(house: House) -> str:
    with house.sessions.read() as session:
        row = session.execute(entry_state.with_state(select_columns(col(Manifest.pipeline_version)))).one()
    return f"version {row[0]}"


def test_a_waiting_result_is_compared_taken_and_taken_back(browser: Browser, house: House) -> None:
    [number] = _waiting(house)
    page = browser.get(f"{HERE}/results")
    page = browser.get(page.links["LOC_" + page.text.partition("LOC_")[2].split()[0]])
    for expected in (
        "breadth 98.00% 60.00%",
        "9 substitution G R 1",
        "18–20 now unknown GCA NNN 3",
        "Only in the new result: 1",
        "Only in the older result: 1",
        "50.0 % 75.0 % 100",
        "consensus.fasta",
    ):
        assert expected in page.text, expected
    assert page.runnable == []
    assert browser.send(page, "accept", reason="no").status == 400
    assert (_states(house), _standing(house)) == (["waits"], "version 1")
    page = browser.send(page, "accept", reason="the old one was <too> sure")
    assert "The new result stands" in page.text
    assert f"Accepted by {MAINTAINER.name}" in page.text
    assert "the old one was <too> sure" in page.text
    assert (_states(house), _standing(house)) == (["accepted"], "version 2")
    assert (
        browser.post(
            f"{HERE}/results/{number}", {**page.form("roll-back").hidden, "action": "keep", "reason": "too late"}
        ).status
        == 409
    )
    page = browser.send(page, "roll-back", reason="it was not")
    assert "The older result stands again" in page.text
    assert (_states(house), _standing(house)) == (["rolled back"], "version 1")
    again = {**page.form("accept").hidden, "action": "roll-back", "reason": "once more"}
    assert browser.post(f"{HERE}/results/{number}", again).status == 409
    assert browser.get(f"{HERE}/results/99").status == 404


def test_waiting_results_are_decided_together(browser: Browser, house: House) -> None:
    numbers = _waiting(house, 3)
    page = browser.get(f"{HERE}/results", choose="all")
    assert page.form("keep").boxes == dict.fromkeys(map(str, numbers), True)
    for chosen, reason, status in (([], "a reason", 400), (["1"], "x", 400), (["x"], "a reason", 400)):
        assert browser.send(page, "keep", chosen=chosen, reason=reason).status == status
    page = browser.send(page, "keep", chosen=["1", "2"], reason="the swabs were bad")
    assert "Decided: 2." in page.text
    page = browser.send(page, "accept", chosen=["1", "3", "77"], reason="all new")
    assert "Decided: 2." in page.text
    assert "Not possible any more for 1" in page.text
    assert _states(house) == ["accepted", "kept", "accepted"]
    assert "None waits." in page.text
    kept = browser.get(f"{HERE}/results", state="kept")
    assert (kept.status, len([form for form in kept.forms if form.buttons == []])) == (200, 1)
    assert browser.get(f"{HERE}/results", state="replaced").status in (200, 400)
    assert browser.get(f"{HERE}/results", state="no such").status == 400


def test_an_order_is_counted_asked_for_confirmed_held_and_taken_back(
    house: House, issuer: EmbeddedIssuer, portal: BlockingPortal
) -> None:
    group_id = scenes.group(house, "alice")
    for _ in range(3):
        compared.released(house, group_id)
    browser = _browser(_site(scenes.of_next_pipeline(house), issuer), portal, MAINTAINER)
    page = browser.get(f"{HERE}/reprocessing/new")
    hidden = page.form("count").hidden
    typed = {**hidden, "organism": scenes.ORGANISM, "results": ["NO_ISSUES"], "reason": "better <primers>"}
    page = browser.post(f"{HERE}/reprocessing/new", {**typed, "action": "count"})
    assert "entries 3 of these released 3" in page.text
    assert page.form("request").boxes["NO_ISSUES"]
    assert "better <primers>" in page.text
    with house.sessions.read() as session:
        assert session.exec(select(Reprocessing)).all() == []
    for wrong in ({"tool": "a b"}, {"perHour": "0"}, {"perHour": "x"}, {"groupIds": "x"}, {"accessionVersions": "x"},
                  {"submittedFrom": "yesterday"}, {"released": "x"}, {"results": "x"}, {"organism": "ebola"},
                  {"toolVersion": "1"}, {"reason": ""}, {"action": "fly"}):  # fmt: skip
        assert browser.post(f"{HERE}/reprocessing/new", {**typed, "action": "request", **wrong}).status == 400, wrong
    page = browser.post(f"{HERE}/reprocessing/new", {**typed, "action": "request", "perHour": "500"})
    assert (page.path, "Nothing begins before" in page.text) == (f"{HERE}/reprocessing/1?done=requested", True)
    for button, state in (("confirm", "running"), ("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        page = browser.send(page, button)
        with house.sessions.read() as session:
            assert session.exec(select(Reprocessing.state)).one() == state
    assert browser.post(page.path, {**hidden, "action": "confirm"}).status == 409
    assert browser.post(page.path, {**hidden, "action": "fly"}).status == 400
    assert "better <primers>" in browser.get(f"{HERE}/reprocessing").text
    assert browser.get(f"{HERE}/reprocessing/77").status == 404
    actions = [row.action for row in scenes.audit_log(house) if row.action.endswith("reprocessing")]
    assert actions[-2:] == ["resume reprocessing", "cancel reprocessing"]


def test_a_whole_order_goes_back(house: House, issuer: EmbeddedIssuer, portal: BlockingPortal) -> None:
    group_id = scenes.group(house, "alice")
    names = [compared.released(house, group_id) for _ in range(2)]
    newer = scenes.of_next_pipeline(house)
    row, _ = orders.request(newer, MAINTAINER, scenes.ORGANISM, Choice(), "better primers")
    assert row.id is not None
    orders.confirm(newer, MAINTAINER, row.id)
    for name in names:
        compared.processed_again(house, name, breadth=0.99, order=row.id)
    assert _states(house) == ["switched", "switched"]
    browser = _browser(_site(newer, issuer), portal, MAINTAINER)
    assert "2" in browser.get(HERE).text
    page = browser.get(f"{HERE}/reprocessing/{row.id}")
    assert "2 results of this order stand now" in page.text
    assert browser.send(page, "roll-back", chosen=[], reason="a mistake").status == 400
    assert browser.send(page, "roll-back", chosen=[], sure="yes", reason="").status == 400
    page = browser.send(page, "roll-back", chosen=[], sure="yes", reason="a mistake of ours")
    assert "going back one by one" in page.text
    going_back.carry_on(newer)
    assert _states(house) == ["rolled back", "rolled back"]
    assert "All entries went back" in browser.get(f"{HERE}/reprocessing/{row.id}").text


def test_an_erasure_takes_a_second_maintainer(
    browser: Browser, house: House, site: FastAPI, portal: BlockingPortal
) -> None:
    name = compared.released(house, scenes.group(house, "alice"))
    row, _ = erasure.request(house, MAINTAINER, [name], "a court's <order>")
    page = browser.get(f"{HERE}/confirmations")
    assert "another maintainer has to confirm" in page.text
    assert not [form for form in page.forms if "confirm" in form.buttons]
    browser = _browser(site, portal, Actor("second", MAINTAINER.roles))
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


@pytest.mark.parametrize("text", ["".join(ACTIVE.values()), "".join(PAYLOADS[name] for name in ODD)])
def test_hostile_texts_are_shown_and_do_not_run(browser: Browser, house: House, text: str) -> None:
    group_id = scenes.group(house, "alice")
    name = compared.released(house, group_id)
    line = " ".join(text.split())
    rows = f"{line}\t5\t.\tA\t{line}\t.\tf{line}\tAF=0.5;DP={line}\n".encode()
    metadata: dict[str, Any] = {f"k{text}": f"v{text}", "reference": f"r{text}"}
    number = compared.processed_again(
        house,
        name,
        warnings=(Annotation(Reason.LOW_DEPTH, f"w{text}"),),
        variants=gzip.compress(rows),
        fasta=f">x|s{line}\nACGT\n".encode(),
        **metadata,
    )
    _stuck(house, group_id, f"c{text}")
    erasure.request(house, MAINTAINER, [name], f"reason {text}")
    newer = scenes.of_next_pipeline(house)
    compared.released(house, group_id)
    orders.request(newer, MAINTAINER, scenes.ORGANISM, Choice(), f"reason {text}")
    for path in ("", "/jobs", "/reprocessing", "/reprocessing/1", "/results", f"/results/{number}", "/confirmations"):
        page = browser.get(HERE + path)
        assert (page.status, page.runnable) == (200, []), path
        assert {form.action.partition("?")[0] for form in page.forms} <= {
            "/web/logout",
            HERE + path,
            f"{HERE}/confirmations/erasures/1",
        }
    shown = html.unescape(browser.get(f"{HERE}/results/{number}").html)
    for letter in "wvk":
        assert (letter + text)[:70] in shown, letter
    form = {**browser.get(f"{HERE}/reprocessing/new").form("count").hidden, "action": "count"}
    for field in ("organism", "reason", "accessionVersions", "tool", "perHour", "groupIds", "submittedFrom"):
        page = browser.post(f"{HERE}/reprocessing/new", {**form, "organism": scenes.ORGANISM, field: text})
        assert (page.status in (200, 400), page.runnable) == (True, []), field
    for path in ("/jobs", "/results", f"/results/{number}", "/reprocessing/1", "/confirmations/erasures/1"):
        page = browser.post(HERE + path, {**form, "action": text, "chosen": text, "objects": text, "reason": text})
        assert (page.status, page.runnable) == (400, []), path


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


def test_a_job_links_to_its_run_where_there_is_prefect(
    house: House, issuer: EmbeddedIssuer, portal: BlockingPortal
) -> None:
    _stuck(house, scenes.group(house, "alice"), "x")
    prefect = house.settings.prefect.model_copy(update={"ui_url": "https://prefect.example"})
    other = replace(house, settings=house.settings.model_copy(update={"prefect": prefect}))
    browser = _browser(_site(other, issuer), portal, MAINTAINER)
    assert browser.get(f"{HERE}/jobs").links["last run"] == "https://prefect.example/runs/flow-run/run-1"
    assert browser.get(HERE).links["Dashboard"] == "https://prefect.example/dashboard"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium here")
def test_a_real_browser_shows_them_on_a_telephone_and_asks_before_what_ends(
    house: House, site: FastAPI, tmp_path: Path
) -> None:
    from tests.chromium import Chromium

    create_account(house, MAINTAINER.name, "password", roles=MAINTAINER.roles)
    [number] = _waiting(house)
    _stuck(house, scenes.group(house, "alice"), "align: " + "a_long_cause_without_a_space" * 20)
    newer = scenes.of_next_pipeline(house)
    compared.released(house, scenes.group(house, "alice"))
    orders.request(newer, MAINTAINER, scenes.ORGANISM, Choice(), "better primers")
    orders.confirm(newer, MAINTAINER, 1)
    pages = ("", "/jobs", "/reprocessing", "/reprocessing/new", "/reprocessing/1", "/results", f"/results/{number}")
    with served(site) as address:
        chromium = Chromium(tmp_path / "chromium")
        try:
            chromium.get(f"{address}/web/login?next={HERE}")
            chromium.fill("#name", MAINTAINER.name)
            chromium.fill("#password", "password")
            chromium.click("main button")
            chromium.picture(tmp_path / "narrow.png", width=390, height=800)
            for path in (*pages, "/confirmations"):
                chromium.get(address + HERE + path)
                assert chromium.run("document.documentElement.scrollWidth") <= 390, path
            chromium.get(f"{address}{HERE}/results/{number}")
            chromium.fill("#reason", "the old one was too sure")
            chromium.click("button[value=accept]")
            assert "The new result stands for the entry" in chromium.text
            chromium.get(f"{address}{HERE}/reprocessing/1")
            chromium.run("document.querySelector('button[value=cancel]').click()")  # this browser says no
            chromium.wait(0.1)
            assert orders.find(house, MAINTAINER, 1).row.state == "running"
        finally:
            chromium.close()
    assert chromium.dialogs == ["Call this order off for good?"]
    assert chromium.complaints == []
    # A field for a day brings its own picture along.
    known = (address, "about:", "data:image/")
    assert [request for request in chromium.requests if not request.startswith(known)] == []
