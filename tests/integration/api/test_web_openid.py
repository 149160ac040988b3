"""Logging in to the pages at an outside identity provider: code with PKCE, state, nonce; the provider is ours."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.testclient import TestClient

from readvault.adapters.identity import EmbeddedIssuer, Identity, identity_of
from readvault.api.app import create_app
from readvault.domain.actor import Actor
from readvault.domain.errors import Forbidden
from readvault.services.house import House
from readvault.web.mounting import add_pages
from readvault.web.openid import Attempt
from tests.integration.api.browser import Browser

CLIENT = "readvault-pages"
REALM = "/realms/loculus"


@dataclass
class Provider:
    """A small identity provider that checks what a real one checks, with the keys of the built-in issuer."""

    keys: EmbeddedIssuer
    port: int = 0
    user: str = "alice"
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    """What an attacker, or a broken provider, puts into the ID token."""
    broken: str = ""

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}{REALM}"

    def description(self) -> dict[str, Any]:
        issuer = "http://elsewhere.example" if self.broken == "issuer" else self.issuer
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/certs",
        }

    def authorize(self, address: str) -> str:
        """What happens on the provider's login page; the address it sends the browser back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == ("code", CLIENT, "S256")
        assert set(asked["scope"].split()) >= {"openid"}
        assert asked["redirect_uri"] == "http://testserver/web/callback"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return f"/web/callback?state={asked['state']}&code={code}"

    def tokens(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        asked = self.codes.pop(form.get("code", ""), None)
        if self.broken == "down":
            return 502, {}
        if asked is None or form["client_id"] != CLIENT or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode()
        if challenge.rstrip("=") != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        claims = {"aud": CLIENT, "nonce": asked["nonce"], "preferred_username": self.user, "sub": "1"}
        access = self.keys.access_token(Actor(self.user), 600)
        return 200, {
            "access_token": access,
            "id_token": self.keys._signed({**claims, **self.changes}, 600),
            "expires_in": 600,
        }


@pytest.fixture
def provider(issuer_key: Any) -> Iterator[Provider]:
    made = Provider(None)  # type: ignore[arg-type]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, made.keys.jwks() if self.path.endswith("/certs") else made.description())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            self._answer(*made.tokens({name: values[0] for name, values in parse_qs(body).items()}))

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            import json

            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    made.keys = EmbeddedIssuer(issuer_key, url=f"http://127.0.0.1:{made.port}", token_minutes=10)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def _app(house: House, provider: Provider, **web: Any) -> FastAPI:
    identity_settings = house.settings.identity.model_copy(
        update={"issuer": provider.issuer, "jwks_url": f"{provider.issuer}/certs"}
    )
    settings = house.settings.model_copy(
        update={
            "identity": identity_settings,
            "public_url": "http://testserver",
            "web": house.settings.web.model_copy(update={"client_id": CLIENT, **web}),
        }
    )
    outside = replace(house, settings=settings)
    identity: Identity = identity_of(settings)
    return add_pages(create_app(outside, identity), outside, identity)


def _browser(app: FastAPI, portal: BlockingPortal) -> Browser:
    client = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    return Browser(client)


@pytest.fixture
def browser(house: House, provider: Provider, portal: BlockingPortal) -> Browser:
    return _browser(_app(house, provider), portal)


def _begun(browser: Browser) -> str:
    """The address of the provider's login page."""
    answer = browser.client.get("/web/login", params={"next": "/web/organisms/sars-cov-2"})
    assert answer.status_code == 303
    return str(answer.headers["location"])


def test_somebody_logs_in_at_the_provider_and_comes_back(browser: Browser, provider: Provider) -> None:
    address = _begun(browser)
    assert address.startswith(f"{provider.issuer}/auth?")
    page = browser.get(provider.authorize(address))
    assert (page.status, page.links["Go on"]) == (200, "/web/organisms/sars-cov-2")
    page = browser.get(page.links["Go on"])
    assert (page.status, page.path) == (200, "/web/organisms/sars-cov-2")
    assert "alice" in page.text
    assert "You are logged out" in browser.send(page, "submit").text


def test_the_way_there_is_remembered_by_one_browser_alone(browser: Browser, provider: Provider) -> None:
    back = provider.authorize(_begun(browser))
    browser.client.cookies.clear()
    assert browser.get(back).status == 403
    provider.authorize(_begun(browser))
    assert browser.get(back).status == 403
    assert "readvault-session" not in browser.client.cookies


def test_a_code_counts_once(browser: Browser, provider: Provider) -> None:
    cookie = None
    back = provider.authorize(_begun(browser))
    cookie = browser.client.cookies["readvault-login"]
    assert browser.get(back).status == 200
    browser.client.cookies.clear()
    browser.client.cookies.set("readvault-login", cookie)
    assert browser.get(back).status == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": ""},
        {"aud": "another-client"},
        {"iss": "http://evil.example"},
        {"preferred_username": "bob"},
        {"exp": 1},
    ],
)
def test_an_id_token_that_is_no_answer_to_this_login_lets_nobody_in(
    browser: Browser, provider: Provider, changes: dict[str, Any]
) -> None:
    provider.changes = changes
    page = browser.get(provider.authorize(_begun(browser)))
    assert (page.status, "didn't confirm" in page.text) == (403, True)
    assert "readvault-session" not in browser.client.cookies


@pytest.mark.parametrize("back", ["?error=access_denied", "?state=x&code=y", "?code=y", ""])
def test_refused_or_made_up_returns_let_nobody_in(browser: Browser, back: str) -> None:
    _begun(browser)
    assert browser.get(f"/web/callback{back}").status == 403
    browser.client.cookies.set("readvault-login", "made-up")
    assert browser.get(f"/web/callback{back}").status == 403


def test_a_provider_that_is_down_or_another_is_told(house: House, provider: Provider, portal: BlockingPortal) -> None:
    browser = _browser(_app(house, provider), portal)
    back = provider.authorize(_begun(browser))
    provider.broken = "down"
    assert browser.get(back).status == 503
    provider.broken = "issuer"
    other = _browser(_app(house, provider), portal)
    assert other.client.get("/web/login").status_code == 503


def test_without_a_client_nobody_logs_in(house: House, provider: Provider, portal: BlockingPortal) -> None:
    browser = _browser(_app(house, provider, client_id=None), portal)
    page = browser.get("/web/login")
    assert (page.status, "READVAULT_WEB__CLIENT_ID" in page.text) == (503, True)
    assert browser.get("/web/callback?state=a&code=b").status == 403
    assert browser.post("/web/login", {"name": "alice", "password": "password"}).status == 403


def test_cookies_that_are_no_attempt_are_refused() -> None:
    attempt = Attempt("a", "b", "c", "/web")
    assert Attempt.of_cookie(attempt.as_cookie()) == attempt
    for value in (
        "",
        "x",
        "e30",
        base64.urlsafe_b64encode(b'{"state": 1, "nonce": "", "verifier": "", "then": ""}').decode(),
    ):
        with pytest.raises(Forbidden):
            Attempt.of_cookie(value)
