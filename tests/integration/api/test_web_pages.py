"""The pages as people use them: log in, look, decide, log out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import select

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api import login_limit
from readvault.api.app import create_app
from readvault.db.tables import FileAccess
from readvault.domain.errors import NotFound
from readvault.services.drops import announcing
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from readvault.services.uploads.answers import WantedFile
from readvault.web.mounting import add_pages
from tests.integration.api.browser import Browser
from tests.integration.services import scenes
from tests.integration.services.scenes import ERROR, WARNING

ORGANISM = "/web/organisms/sars-cov-2"


@pytest.fixture
def site(house: House, issuer: EmbeddedIssuer) -> FastAPI:
    for name in ("alice", "bob"):
        create_account(house, name, "password")
    identity = Identity(issuer)
    return add_pages(create_app(house, identity), house, identity)


@pytest.fixture
def browser(site: FastAPI, portal: BlockingPortal) -> Browser:
    client = TestClient(site, follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    return Browser(client)


@pytest.fixture
def mine(house: House) -> int:
    return scenes.group(house, "alice")


def _plate(house: House, mine: int, size: int = 8) -> list[tuple[Any, str]]:
    return [scenes.processed(house, mine, files=(), batch_id="plate", submitted_at=1000.0) for _ in range(size)]


def test_from_the_login_to_the_release_of_a_plate(browser: Browser, house: House, mine: int) -> None:
    plate = _plate(house, mine)
    warned, _ = scenes.processed(house, mine, files=(), batch_id="plate", submitted_at=1000.0, warnings=(WARNING,))
    page = browser.get(ORGANISM)
    assert page.path.startswith("/web/login?next=")
    page = browser.send(page, "submit", name="alice", password="password")
    assert (page.status, page.path) == (200, ORGANISM)
    page = browser.get(page.links["1970-01-01 00:16 UTC"])
    assert f"{warned}" in page.text
    assert WARNING.message in page.text
    page = browser.get(page.path, choose="good")
    form = page.form("approve")
    assert {box.partition(":")[0] for box, checked in form.boxes.items() if checked} == {str(n) for n, _ in plate}
    page = browser.send(page, "approve")
    assert "Released: 8." in page.text
    page = browser.send(page, "send-back", chosen=list(page.form("approve").boxes), reason="swapped <wells>")
    assert "Sent back: 1." in page.text
    assert "swapped <wells>" in page.text
    assert "swapped &lt;wells&gt;" in page.html
    with house.sessions.read() as session:
        released = session.exec(select(scenes.EntryVersion.accession).where(scenes.EntryVersion.released)).all()
    assert sorted(released) == sorted(name.accession for name, _ in plate)
    page = browser.send(page, "submit")
    assert "You are logged out" in page.text
    assert browser.get(ORGANISM).path.startswith("/web/login")


def test_one_entry_is_reviewed_and_approved_by_its_digest(browser: Browser, house: House, mine: int) -> None:
    name, digest = scenes.processed(house, mine, warnings=(WARNING,))
    browser.log_in("alice", "password")
    listed = browser.get(f"{ORGANISM}/entries")
    page = browser.get(listed.links[str(name)])
    for expected in (digest, WARNING.message, "reads_0.fastq", "consensus.fasta", "sample-", "2020-01-01"):
        assert expected in page.text
    page = browser.send(page, "approve")
    assert "It is released." in page.text
    assert not [form for form in page.forms if "approve" in form.buttons]


def test_a_file_is_a_fresh_link_that_is_logged_when_it_is_opened(browser: Browser, house: House, mine: int) -> None:
    name, _ = scenes.processed(house, mine)
    browser.log_in("alice", "password")
    page = browser.get(f"{ORGANISM}/entries/{name.accession}/1")
    assert "memory://" not in page.html

    def given() -> list[str]:
        with house.sessions.read() as session:
            return [row.category for row in session.exec(select(FileAccess))]

    assert given() == []
    answer = browser.client.get(page.links["reads_0.fastq"])
    assert (answer.status_code, given()) == (303, ["rawReads"])
    assert answer.headers["location"].startswith("memory://incoming/")
    assert browser.get(f"{ORGANISM}/entries/{name.accession}/1/files/nothing").status == 404


def test_what_changed_meanwhile_is_told_and_nothing_is_done(browser: Browser, house: House, mine: int) -> None:
    (name, digest), *_ = _plate(house, mine, 2)
    browser.log_in("alice", "password")
    page = browser.get(f"{ORGANISM}/batches/plate")
    wrong = f"{name}:{'0' * 64}"
    page = browser.send(page, "approve", chosen=[wrong])
    assert page.status == 409
    assert f"have changed since they were reviewed: {name}" in page.text
    page = browser.get(f"{ORGANISM}/entries/{name.accession}/1")
    form = page.form("approve")
    answer = browser.post(form.action, {**form.hidden, "digest": "0" * 64, "action": "approve"})
    assert answer.status == 409
    assert digest in answer.text
    page = browser.get(f"{ORGANISM}/batches/plate")
    for button, chosen, reason in (("approve", [], ""), ("send-back", [f"{name}:{digest}"], " "), ("fly", ["x"], "")):
        form = page.form("approve")
        answer = browser.post(form.action, {**form.hidden, "action": button, "chosen": chosen, "reason": reason})
        assert answer.status == 400
    assert "Released" not in browser.get(f"{ORGANISM}/batches/plate").text


def test_errors_and_controls_have_no_button(browser: Browser, house: House, mine: int) -> None:
    bad, _ = scenes.processed(house, mine, errors=(ERROR,))
    control = {"date": "2020-01-01", "sampleRole": "negativeControl"}
    negative, _ = scenes.processed(house, mine, submitted_metadata=control)
    browser.log_in("alice", "password")
    for name in (bad, negative):
        page = browser.get(f"{ORGANISM}/entries/{name.accession}/1")
        assert not [form for form in page.forms if "approve" in form.buttons]
        assert [form for form in page.forms if "send-back" in form.buttons]


def test_an_entry_is_deleted_or_revoked_by_who_is_sure(browser: Browser, house: House, mine: int) -> None:
    unreleased, _ = scenes.processed(house, mine, files=())
    browser.log_in("alice", "password")
    page = browser.get(f"{ORGANISM}/entries/{unreleased.accession}/1")
    unsure = browser.send(page, "delete", chosen=[])
    assert (unsure.status, "tick the box" in unsure.text) == (400, True)
    page = browser.send(page, "delete", chosen=[], sure="yes")
    assert (page.status, page.path) == (200, f"{ORGANISM}/entries")
    assert browser.get(f"{ORGANISM}/entries/{unreleased.accession}/1").status == 422
    released, digest = scenes.processed(house, mine, files=())
    page = browser.send(browser.get(f"{ORGANISM}/entries/{released.accession}/1"), "approve")
    page = browser.send(page, "revoke", chosen=[], sure="yes", reason="wrong sample")
    assert page.path == f"{ORGANISM}/entries/{released.accession}/2?done=revoked"
    assert "wrong sample" in page.text
    page = browser.send(page, "approve")
    assert "It is released." in page.text
    page = browser.get(f"{ORGANISM}/entries/{released.accession}/1")
    assert digest in page.html
    assert not [form for form in page.forms if "revoke" in form.buttons]


def test_a_form_of_another_site_does_nothing(browser: Browser, house: House, mine: int) -> None:
    (name, digest), *_ = _plate(house, mine, 1)
    browser.log_in("alice", "password")
    page = browser.get(f"{ORGANISM}/batches/plate")
    form = page.form("approve")
    good = {**form.hidden, "action": "approve", "chosen": [f"{name}:{digest}"]}
    for fields, headers in (
        ({**good, "csrf": ""}, {}),
        ({key: value for key, value in good.items() if key != "csrf"}, {}),
        ({**good, "csrf": "0" * 64}, {}),
        ({**good, "csrf": "ü"}, {}),
        (good, {"Sec-Fetch-Site": "cross-site"}),
        (good, {"Sec-Fetch-Site": "same-site"}),
    ):
        answer = browser.post(form.action, fields, headers)
        assert (answer.status, "not sent from a page of ours" in answer.text) == (403, True)
    assert browser.post("/web/logout", {}).status == 403
    assert browser.get(f"{ORGANISM}/batches/plate").status == 200
    # The proof of one session is none in another.
    own = dict(browser.client.cookies)
    browser.client.cookies.clear()
    browser.log_in("alice", "password")
    assert dict(browser.client.cookies) != own
    assert browser.post(form.action, good).status == 403
    assert browser.send(browser.get(f"{ORGANISM}/batches/plate"), "approve", chosen=good["chosen"]).status == 200


def test_others_see_nothing_of_a_group(browser: Browser, house: House, mine: int) -> None:
    (name, digest), *_ = _plate(house, mine, 1)
    browser.log_in("bob", "password")
    assert "in no group yet" in browser.get("/web").text
    for path in (ORGANISM, f"{ORGANISM}/entries"):
        page = browser.get(path)
        assert (page.status, name.accession in page.html) == (200, False)
    assert browser.get(f"{ORGANISM}/entries/{name.accession}/1").status == 403
    assert browser.get(f"{ORGANISM}/batches/plate").status == 404
    assert browser.get(f"{ORGANISM}/batches/nothing").text == browser.get(f"{ORGANISM}/batches/plate").text
    csrf = browser.get("/web").forms[0].hidden["csrf"]
    chosen = {"csrf": csrf, "action": "approve", "chosen": [f"{name}:{digest}"], "digest": digest}
    assert browser.post(f"{ORGANISM}/batches/plate", chosen).status == 404
    assert browser.post(f"{ORGANISM}/entries/{name.accession}/1", chosen).status == 403


def test_logging_in(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    page = browser.log_in("alice", "wrong")
    assert (page.status, "don't belong together" in page.text) == (401, True)
    assert "/web/login" in browser.get("/web").path
    assert browser.post("/web/login", {"name": "alice", "password": "password"}).status == 403
    monkeypatch.setattr(login_limit, "MAX_FAILURES", 2)
    assert browser.log_in("alice", "wrong").status == 401
    assert browser.log_in("alice", "password").status == 429
    assert browser.log_in("bob", "password").status == 200


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example", "//evil.example", "/web//evil.example", "/web/\\evil", "/groups", "javascript:alert(1)"],
)
def test_nobody_is_led_elsewhere_after_the_login(browser: Browser, wanted: str) -> None:
    answer = browser.client.post(
        "/web/login",
        data={**browser.get("/web/login", next=wanted).forms[0].hidden, "name": "alice", "password": "password"},
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/web")


def test_the_cookie_is_kept_from_scripts_and_other_sites(browser: Browser, house: House, site: FastAPI) -> None:
    form = browser.get("/web/login").forms[0].hidden
    answer = browser.client.post("/web/login", data={**form, "name": "alice", "password": "password"})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("readvault-session=")
    for wanted in ("httponly", "samesite=strict", "path=/", "max-age=7200"):
        assert wanted in cookie
    assert "secure" not in cookie
    token = answer.cookies["readvault-session"]
    browser.client.cookies.set("readvault-session", token[:-4] + "AAAA")
    assert "/web/login" in browser.get("/web").path


def test_over_https_the_cookie_is_secure(house: House, issuer: EmbeddedIssuer, portal: BlockingPortal) -> None:
    create_account(house, "alice", "password")
    settings = house.settings.model_copy(update={"public_url": "https://reads.example.org"})
    secure, identity = replace(house, settings=settings), Identity(issuer)
    client = TestClient(
        add_pages(create_app(secure, identity), secure, identity),
        base_url="https://testserver",
        follow_redirects=False,
    )
    client.portal = portal
    form = Browser(client).get("/web/login").forms[0].hidden
    answer = client.post("/web/login", data={**form, "name": "alice", "password": "password"})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-readvault-session=")
    assert "secure" in cookie


def test_every_page_lets_only_our_own_files_run(browser: Browser, house: House, mine: int) -> None:
    name, _ = scenes.processed(house, mine, batch_id="plate")
    pages = [browser.get("/web/login"), browser.log_in("alice", "password")]
    for path in ("", "/entries", "/batches/plate", "/batches/none", f"/entries/{name.accession}/1", "/nothing"):
        pages.append(browser.get(f"{ORGANISM}{path}"))
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-store"
        if page.status < 404 or "batches" in page.path:
            assert policy.startswith("default-src 'self';")
            assert "frame-ancestors 'none'" in policy
            assert page.runnable == []
    for file in ("style.css", "page.js", "icon.svg"):
        answer = browser.client.get(f"/web/static/{file}")
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff")
    assert browser.client.get("/web/static/base.html").status_code == 404
    assert browser.client.get("/web/static/..%2ftemplates%2fbase.html").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["?before=x", "?before=nan", "/entries?page=-1", "/entries?status=DONE", "/batches/plate?page=x", "/entries/x/y"],
)
def test_odd_addresses_are_told_apart(browser: Browser, house: House, mine: int, path: str) -> None:
    _plate(house, mine, 1)
    browser.log_in("alice", "password")
    page = browser.get(f"{ORGANISM}{path}")
    assert (page.status, page.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert browser.get("/web/organisms/ebola").status == 400


def test_a_group_looks_after_its_drop_links(browser: Browser, house: House, mine: int) -> None:
    house.settings.drop_links.enabled = True
    browser.log_in("alice", "password")
    home = browser.get("/web")
    assert f"/web/groups/{mine}/drops" in home.links.values()
    page = browser.get(f"/web/groups/{mine}/drops")
    evil = "<script>alert(1)</script>"
    wish = {"label": evil, "days": "7", "gigabytes": "1", "objects": "5", "format": "FASTQ", "category": "rawReads"}
    page = browser.send(page, "make", **wish)
    token = page.text.partition("/web/drop#")[2].split()[0]
    assert token.startswith("rvd_")
    assert evil in page.text
    assert page.runnable == []
    again = browser.get(page.path)
    assert token not in again.html
    ticket = announcing.announce(house, token, WantedFile("=1+1.fastq", 4))
    assert ticket.put is not None
    house.store.put(ticket.put, b"ACGT")  # type: ignore[attr-defined]
    page = browser.get(page.path)
    assert f"drop:{ticket.object_name}" in page.text
    page = browser.send(page, "discard")
    assert "The file is discarded." in page.text
    assert ticket.object_name not in page.text
    page = browser.send(page, "revoke")
    assert "The link has ended." in page.text
    with pytest.raises(NotFound):
        announcing.purpose(house, token)
    for wrong in (
        {"days": "0"},
        {"days": "1e9"},
        {"label": " "},
        {"format": "EXE"},
        {"category": "x"},
        {"objects": "-1"},
    ):
        answer = browser.send(page, "make", **{**wish, **wrong})
        assert answer.status in (400, 422), wrong
        assert answer.runnable == []


def test_the_page_of_who_delivers_needs_no_login_and_learns_no_token(browser: Browser, house: House) -> None:
    assert browser.get("/web/drop").status == 404
    house.settings.drop_links.enabled = True
    page = browser.get("/web/drop")
    assert (page.status, page.runnable, page.forms[0].hidden) == (200, [], {})
    policy = page.headers["content-security-policy"]
    assert policy.endswith("connect-src 'self' http://127.0.0.1:8333")
    assert "default-src 'self'" in policy
