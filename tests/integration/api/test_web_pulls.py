"""A group asks for pulls in a browser, looks how far they are, begins and stops them."""

from __future__ import annotations

import html
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from fastapi.testclient import TestClient
from sqlmodel import select

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.db.tables import AuditEntry, Job, Pull, PullSource
from readvault.domain.status import JobState
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from readvault.services.pulls import access, ending
from readvault.web import pulls as pages
from readvault.web.mounting import add_pages
from tests.foreign import Authority
from tests.houses import ALICE, MAINTAINER, group_of
from tests.integration.api.browser import Browser, Page
from tests.integration.api.test_web_hostile import served
from tests.integration.services.pull_scenes import Lab, lab

CANARY = "canary-4e2b"
BODY = b"@r\nACGT\n+\nIIII\n"
BUCKET = {"bucket": "lab-reads", "region": "eu-central-1", "what": "prefix", "prefix": "run7/"}
KEYS = {"access_key": f"AKIA{CANARY}", "secret_key": f"{CANARY}-secret", "session_token": f"{CANARY}-token"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def scene(house: House, authority: Authority) -> Iterator[Lab]:
    with lab(house, authority, group_of(house, ALICE)) as made:
        made.shop.objects |= {"/b/a.fastq": BODY, "/b/b.fastq": BODY + BODY}
        yield made


@pytest.fixture
def browser(scene: Lab, issuer: EmbeddedIssuer, portal: BlockingPortal) -> Browser:
    create_account(scene.house, "alice", "password")
    create_account(scene.house, "bob", "password")
    create_account(scene.house, MAINTAINER.name, "password", MAINTAINER.roles)
    identity = Identity(issuer)
    app = add_pages(create_app(scene.house, identity), scene.house, identity)
    client = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    opened = Browser(client)
    opened.log_in("alice", "password")
    return opened


@pytest.fixture
def place(scene: Lab) -> str:
    return f"/web/groups/{scene.group_id}/pulls"


def _pulls(scene: Lab) -> list[Pull]:
    with scene.house.sessions.read() as session:
        return list(session.exec(select(Pull)))


def _pull_of(page: Page) -> str:
    return page.path.partition("?")[0].rpartition("/")[2]


def test_from_the_first_page_to_what_stands_in_the_metadata(browser: Browser, scene: Lab, place: str) -> None:
    assert place in browser.get("/web").links.values()
    page = browser.get(browser.get(place).links["Ask for a pull"])
    urls = (
        f"{scene.url('/b/a.fastq')}\r\n\r\n  {scene.url('/b/b.fastq')} => second.fastq \n{scene.url('/b/none.fastq')}"
    )
    page = browser.send(page, "pull-urls", urls=urls, category="rawReads")
    assert (page.status, "The pull is on its way." in page.text, page.runnable) == (200, True, [])
    assert 'data-refresh="5"' in page.html
    assert "signature=right" not in page.html
    scene.work()
    page = browser.get(page.path)
    assert "data-refresh" not in page.html
    with scene.house.sessions.read() as session:
        sources = {each.name: each for each in session.exec(select(PullSource))}
    assert set(sources) == {"a.fastq", "second.fastq", "none.fastq"}
    for name in ("a.fastq", "second.fastq"):
        assert f"{name} :{sources[name].file_id}" in page.text
        assert str(sources[name].sha256) in page.text
    assert str(sources["none.fastq"].reason) in page.text
    assert "done, 1 failed" in page.text
    failed = browser.get(page.links["failed 1"])
    assert ("none.fastq" in failed.text, "a.fastq" in failed.text) == (True, False)
    assert not [form for form in page.forms if "cancel" in form.buttons]
    listed = browser.get(place)
    assert "2 of 3" in listed.text
    assert f"/web/pulls/{_pull_of(page)}" in listed.links.values()


def test_the_proof_is_shown_and_the_button_begins(browser: Browser, scene: Lab, place: str) -> None:
    scene.shop.public.add("/b/a.fastq")
    page = browser.send(browser.get(f"{place}/new"), "pull-urls", urls=scene.url("/b/a.fastq", ""))
    (pull,) = _pulls(scene)
    assert (pull.state, "It waits for a proof" in page.text) == ("awaits proof", True)
    for told in (pull.challenge_name, pull.challenge_content, scene.url("/b/", "")):
        assert str(told) in page.text
    assert ("data-refresh" in page.html, scene.shop.asked) == (False, [])
    page = browser.send(page, "start")
    assert "The pull has begun." in page.text
    assert (_pulls(scene)[0].state, "data-refresh" in page.html) == ("open", True)
    scene.shop.objects[f"/b/{pull.challenge_name}"] = str(pull.challenge_content).encode()
    scene.shop.public.add(f"/b/{pull.challenge_name}")
    assert scene.work().files == 1


def test_a_bucket_with_credentials_that_no_page_shows(browser: Browser, scene: Lab, place: str) -> None:
    page = browser.send(browser.get(f"{place}/new"), "pull-bucket", **BUCKET, **KEYS)
    (pull,) = _pulls(scene)
    assert (pull.bucket, pull.prefix, pull.endpoint) == ("lab-reads", "run7/", "https://s3.eu-central-1.amazonaws.com")
    assert pull.secret is not None
    assert CANARY not in page.html + browser.get(place).html
    page = browser.send(page, "cancel", reason="the wrong run")
    assert "The pull is cancelled." in page.text
    with scene.house.sessions.read() as session:
        (told,) = (each.details for each in session.exec(select(AuditEntry)) if each.action == "cancel pull")
    assert told == {"reason": "the wrong run"}
    assert (_pulls(scene)[0].state, _pulls(scene)[0].secret) == ("cancelled", None)
    keys = BUCKET | KEYS | {"what": "keys", "keys": "run7/a b.fastq => a.fastq\r\nrun7/b.fastq"}
    page = browser.send(browser.get(f"{place}/new"), "pull-bucket", **keys)
    assert page.path.startswith("/web/pulls/")
    assert ("run7/a b.fastq" in page.text, "run7/b.fastq" in page.text) == (True, True)


WRONG: tuple[tuple[str, dict[str, str]], ...] = (
    ("pull-bucket", {"bucket": "A"}),
    ("pull-bucket", {"bucket": "Upper"}),
    ("pull-bucket", {"what": "keys", "keys": " \n"}),
    ("pull-bucket", {"what": "keys", "keys": "run7/"}),
    ("pull-bucket", {"secret_key": ""}),
    ("pull-bucket", {"access_key": ""}),
    ("pull-bucket", {"access_key": CANARY * 20}),
    ("pull-bucket", {"session_token": f"{CANARY}ä"}),
    ("pull-bucket", {"endpoint": f"https://{CANARY}@169.254.169.254"}),
    ("pull-bucket", {"endpoint": "https://not.allowed.example"}),
    ("pull-urls", {"urls": ""}),
    ("pull-urls", {"urls": f"https://s3.amazonaws.com/b/?X-Amz-Signature={CANARY}"}),
    ("pull-urls", {"urls": f"https://{CANARY}@s3.amazonaws.com/b/x"}),
    ("pull-urls", {"urls": f"http://s3.amazonaws.com/b/x?X-Amz-Signature={CANARY}"}),
    ("pull-urls", {"urls": f"https://s3.amazonaws.com/b/x?{CANARY}" + "a" * 8200}),
    ("pull-urls", {"urls": f"https://s3.amazonaws.com/b/x?a={CANARY}", "category": "c" * 101}),
    ("fly", {}),
)


def test_after_an_error_the_form_has_all_but_what_is_secret(browser: Browser, scene: Lab, place: str) -> None:
    form = browser.get(f"{place}/new").form("pull-urls")
    for button, changes in WRONG:
        fields = BUCKET | KEYS | {"endpoint": "", "keys": "run7/x.fastq"} | changes
        page = browser.post(form.action, {**form.hidden, "action": button, **fields})
        assert (page.status, page.runnable) == (400, []), changes
        assert "not kept" in page.text
        assert CANARY not in page.html, changes
        assert CANARY not in str(page.headers)
        if button == "pull-bucket":
            assert "run7/" in page.html
    assert _pulls(scene) == []


def test_the_same_form_sent_twice_asks_once(browser: Browser, scene: Lab, place: str) -> None:
    page = browser.get(f"{place}/new")
    first, second = (browser.send(page, "pull-urls", urls=scene.url("/b/a.fastq")) for _ in range(2))
    assert first.path == second.path
    assert len(_pulls(scene)) == 1
    other = browser.send(page, "pull-urls", urls=scene.url("/b/b.fastq"))
    assert (other.status, len(_pulls(scene))) == (422, 1)
    assert browser.send(other, "pull-urls", urls=scene.url("/b/b.fastq")).status == 200
    odd = {**page.form("pull-urls").hidden, "once": "ü\n", "action": "pull-urls", "urls": scene.url("/b/b.fastq")}
    assert browser.post(f"{place}/new", odd).status == 200


def test_strangers_learn_nothing_and_foreign_forms_do_nothing(browser: Browser, scene: Lab, place: str) -> None:
    pull_id = scene.asked("/b/a.fastq").pull.id
    page = browser.get(f"/web/pulls/{pull_id}")
    form = page.form("cancel")
    for fields, headers in (
        ({"action": "cancel"}, {}),
        ({**form.hidden, "action": "cancel"}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        assert browser.post(form.action, fields, headers).status == 403
    assert browser.post(f"{place}/new", {"action": "pull-urls", "urls": scene.url("/b/b.fastq")}).status == 403
    browser.client.cookies.clear()
    assert "/web/login" in browser.get(f"/web/pulls/{pull_id}").path
    browser.log_in("bob", "password")
    csrf = browser.get("/web").forms[0].hidden["csrf"]
    unknown = str(uuid.uuid4())
    foreign_one, none = (browser.get(f"/web/pulls/{each}") for each in (pull_id, unknown))
    assert (foreign_one.status, none.status) == (404, 404)
    assert foreign_one.html.replace(pull_id, unknown) == none.html
    for action in ("start", "cancel", "fly"):
        assert browser.post(f"/web/pulls/{pull_id}", {"csrf": csrf, "action": action}).status == 404
    for path in (place, f"{place}/new"):
        assert browser.get(path).status == 403
    assert [pull.state for pull in _pulls(scene)] == ["open"]


def test_a_maintainer_cancels_with_a_reason_that_is_kept(browser: Browser, scene: Lab) -> None:
    pull_id = scene.asked("/b/a.fastq").pull.id
    browser.client.cookies.clear()
    browser.log_in(MAINTAINER.name, "password")
    page = browser.send(browser.get(f"/web/pulls/{pull_id}"), "cancel", reason=" ")
    assert (page.status, _pulls(scene)[0].state) == (400, "open")
    page = browser.send(page, "cancel", reason="it <fills> the line")
    assert ("The pull is cancelled." in page.text, _pulls(scene)[0].state) == (True, "cancelled")
    with scene.house.sessions.read() as session:
        told = [str(each.details) for each in session.exec(select(AuditEntry)) if each.action == "cancel pull"]
    assert "it <fills> the line" in told[0]
    csrf = page.forms[0].hidden["csrf"]
    assert browser.post(f"/web/pulls/{pull_id}", {"csrf": csrf, "action": "cancel", "reason": "again"}).status == 409


def test_a_pull_that_stands_still_or_has_no_files_says_so(browser: Browser, scene: Lab, place: str) -> None:
    pull = scene.asked("/b/a.fastq").pull
    assert "stands still" not in browser.get(f"/web/pulls/{pull.id}").text
    with scene.house.sessions.begin() as session:
        session.get_one(Job, pull.job_id).state = JobState.NEEDS_ATTENTION
    assert "stands still" in browser.get(f"/web/pulls/{pull.id}").text
    here = {**BUCKET, **KEYS, "endpoint": scene.url("", "")}
    page = browser.send(browser.get(f"{place}/new"), "pull-bucket", **here)
    assert "known when its prefix is listed" in page.text
    scene.work()
    page = browser.get(page.path)
    assert ("the list of files" in page.text, "failed" in page.text) == (True, True)
    page = browser.send(browser.send(browser.get(f"{place}/new"), "pull-bucket", **here), "cancel")
    assert "ended before it was known" in page.text


def test_many_pulls_and_many_files_come_by_pages(
    browser: Browser, scene: Lab, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "PAGE", 2)
    monkeypatch.setattr(pages, "FILES", 2)
    made = [scene.asked("/b/a.fastq", "/b/b.fastq", "/b/c.fastq").pull.id for _ in range(3)]
    first = browser.get(place)
    second = browser.get(first.links["Older"])
    assert [[pull_id in page.html for pull_id in made] for page in (first, second)] == [
        [False, True, True],
        [True, False, False],
    ]
    page = browser.get(f"/web/pulls/{made[0]}")
    assert ("a.fastq" in page.text, "c.fastq" in page.text) == (True, False)
    assert "c.fastq" in browser.get(page.links["More"]).text
    assert browser.get(page.path, state="flying").status == 400


def test_where_pulls_are_off_there_is_no_form(browser: Browser, scene: Lab, place: str) -> None:
    pull_id = scene.asked("/b/a.fastq").pull.id
    scene.house.settings.pulls.enabled = False
    assert place not in browser.get("/web").links.values()
    assert "does not pull files" in browser.get(place).text
    assert browser.get(f"{place}/new").status == 404
    assert browser.get(f"/web/pulls/{pull_id}").status == 200


def test_hostile_names_are_shown_and_do_not_run(browser: Browser, scene: Lab, place: str) -> None:
    pull_id = scene.asked("/b/a.fastq").pull.id
    for evil in ("<script>alert(1)</script>", "' onmouseover=alert(1) x='", "</textarea><b>"):
        with scene.house.sessions.begin() as session:
            source = session.exec(select(PullSource)).one()
            source.name, source.place, source.reason, source.category = evil, f"https://h/{evil}", evil, evil
            pull = session.get_one(Pull, pull_id)
            pull.bucket = pull.endpoint = pull.prefix = pull.asked_by = evil
            pull.challenge_name = pull.challenge_content = evil
        fields: dict[str, Any] = {"urls": evil, "bucket": evil, "keys": evil, "prefix": evil, "endpoint": evil}
        for page in (
            browser.get(place),
            browser.get(f"/web/pulls/{pull_id}"),
            browser.send(browser.get(f"{place}/new"), "pull-bucket", **fields),
        ):
            assert evil in html.unescape(page.html)
            assert page.runnable == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium here")
def test_a_pull_is_followed_in_a_real_browser(
    browser: Browser, scene: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes on shows anew by itself, at any width, until it is over; then there is nothing left to cancel."""
    from tests.chromium import Chromium

    monkeypatch.setattr(pages, "REFRESH_SECONDS", 0.2)
    pull_id = scene.asked("/b/a.fastq", size=2_000_000).pull.id
    with served(browser.client.app) as address:  # type: ignore[arg-type]
        chromium = Chromium(tmp_path / "chromium")
        try:
            chromium.get(f"{address}/web/login?next=/web/pulls/{pull_id}")
            chromium.fill("#name", "alice")
            chromium.fill("#password", "password")
            chromium.click("main button")
            chromium.picture(tmp_path / "narrow.png", width=375)
            assert chromium.run("document.documentElement.scrollWidth") == 375
            with scene.house.sessions.begin() as session:
                session.get_one(PullSource, (pull_id, 1)).bytes_done = 1_500_000
            _until(chromium, "1.5 MB of 2.0 MB")
            ending.cancel(scene.house, ALICE, pull_id)
            _until(chromium, "cancelled 1")
            assert chromium.run("document.querySelectorAll('main button').length") == 0
            assert chromium.complaints == []
        finally:
            chromium.close()


def _until(chromium: Any, text: str) -> None:
    """Wait for a text; a page that is just being loaded has none."""
    end = time.monotonic() + 20
    while text not in (shown := chromium.run("document.body?.innerText ?? ''")):
        assert time.monotonic() < end, shown
        chromium.wait(0.1)
