"""What an attacker sends: forms in odd codecs, forms of other sites, addresses that look public and are not."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Message

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from readvault.web.mounting import add_pages
from tests.houses import ALICE
from tests.integration.api.browser import Browser
from tests.integration.services import scenes

TOKEN = "/realms/loculus/protocol/openid-connect/token"


@pytest.fixture
def site(house: House, issuer: EmbeddedIssuer) -> FastAPI:
    create_account(house, "alice", "password")
    identity = Identity(issuer)
    return add_pages(create_app(house, identity), house, identity)


@pytest.fixture
def pages(site: FastAPI, portal: BlockingPortal) -> TestClient:
    client = TestClient(site, follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    return client


def _form(charset: str, **fields: bytes) -> tuple[bytes, dict[str, str]]:
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + text + b"\r\n"
        for name, text in fields.items()
    ]
    return b"".join(parts) + b"--x--\r\n", {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("punycode", b"a" * 1000 + b"-" + b"9" * 250_000),
        ("PunyCode", b"a" * 1000 + b"-" + b"9" * 250_000),
        ("undefined", b"alice"),
        ("unicode_escape", rb"\ud800"),
        ("utf-16", b"a\x00"),
        ("", b"alice"),
    ],
)
def test_a_form_in_an_odd_codec_is_refused_before_it_is_decoded(pages: TestClient, charset: str, text: bytes) -> None:
    body, headers = _form(charset, username=text, grant_type=b"password", password=b"password")
    before = time.process_time()
    for path in (TOKEN, "/web/login"):
        answer = pages.post(path, content=body, headers=headers)
        assert (answer.status_code, "UTF-8" in answer.text) == (400, True), path
    # To decode the longest one takes ten seconds; other threads of this process may be busy too.
    assert time.process_time() - before < 4, "the event loop decodes forms: everybody waits"


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "utf8", '"utf-8"', "us-ascii"])
def test_a_form_that_says_that_it_is_utf8_is_taken(pages: TestClient, charset: str) -> None:
    body, headers = _form(charset, username=b"alice", grant_type=b"password", password=b"password")
    assert pages.post(TOKEN, content=body, headers=headers).status_code == 200


def test_nobody_is_logged_in_by_another_site_whose_form_came_without_a_cookie(pages: TestClient) -> None:
    """Browsers don't say where a form came from when it goes to plain HTTP, and everybody can sign nothing."""
    proof = hmac.new(b"", b"readvault form", hashlib.sha256).hexdigest()
    answer = pages.post("/web/login", data={"name": "alice", "password": "password", "csrf": proof})
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


@pytest.mark.parametrize("path", ["submit", "revise", "approve-processed-data", "submit-processed-data", "batches/x"])
@pytest.mark.parametrize("organism", ["web", "web/", "realms/loculus"])
def test_an_organism_that_is_called_like_a_public_place_is_as_private_as_others(
    site: FastAPI, organism: str, path: str
) -> None:
    status, reads = _asked(site, "POST", f"/{organism}/{path}")
    assert (status, reads) in ((401, 0), (404, 0), (405, 0))


@pytest.mark.parametrize("query", [b"\xff", b"a=\xff", b"\xed\xa0\x80"])
@pytest.mark.parametrize("path", ["/", "/groups/1", "/user/groups", "/sars-cov-2/get-released-data"])
def test_a_query_of_raw_bytes_is_refused(site: FastAPI, path: str, query: bytes) -> None:
    assert _asked(site, "GET", path, query)[0] == 400


def _asked(app: FastAPI, method: str, path: str, query: bytes = b"") -> tuple[int, int]:
    """The status of an anonymous request's answer, and how often its body was read."""
    sent: list[Message] = []
    reads = 0

    async def receive() -> Message:
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], reads


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/sars-cov-2/approve-processed-data", {"scope": "ALL", "groupIdsFilter": [*range(1, 100_000)]}, 404),
        ("POST", "/sars-cov-2/approve-processed-data", {"scope": "ALL", "groupIdsFilter": [1] * 100_000}, 200),
        (
            "POST",
            "/sars-cov-2/approve-processed-data",
            {"scope": "ALL", "submitterNamesFilter": [f"user-{number}" for number in range(100_000)]},
            200,
        ),
        (
            "DELETE",
            "/sars-cov-2/delete-sequence-entry-versions",
            {"scope": "ALL", "groupIdsFilter": [*range(1, 100_000)]},
            404,
        ),
        (
            "POST",
            "/files/complete-multipart-upload",
            [{"fileId": str(number), "etags": ["e"]} for number in range(100_000)],
            404,
        ),
    ],
)
def test_a_list_longer_than_a_database_takes_is_answered(
    api: TestClient, headers: Any, house: House, method: str, path: str, body: Any, status: int
) -> None:
    assert scenes.group(house, "alice") == 1
    assert api.request(method, path, json=body, headers=headers(ALICE)).status_code == status


def test_no_text_of_a_form_is_one_that_a_database_refuses(pages: TestClient, house: House) -> None:
    browser = Browser(pages)
    name, digest = scenes.processed(house, scenes.group(house, "alice"), files=(), batch_id="plate")
    form = browser.get("/web/login").forms[0].hidden
    assert browser.post("/web/login", {**form, "name": "alice\x00", "password": "password"}).status == 400
    browser.log_in("alice", "password")
    entry, batch = (f"/web/organisms/sars-cov-2/{place}" for place in (f"entries/{name.accession}/1", "batches/plate"))
    form = browser.get(entry).forms[0].hidden
    sent = {**form, "action": "send-back", "digest": digest, "reason": "wrong\x00sample"}
    assert browser.post(entry, sent).status == 400
    assert browser.post(batch, {**form, "action": "approve", "chosen": f"\x00.1:{digest}"}).status == 400
    assert browser.post(entry, {**sent, "reason": "wrong sample"}).status == 200
